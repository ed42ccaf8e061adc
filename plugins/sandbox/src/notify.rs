//! The acquirer's notifications: an HMAC over the body in `x-signature`, the charge and its key in the body. They carry
//! no evidence, so the host asks for the status.

use crate::Sandbox;
use portolan_adapter::notifications::{Notification, Receipt, Rejection, Subject};
use portolan_adapter::types::Response;
use portolan_adapter::{Ctx, Notifications, Value, about_dispute, keys};

impl Notifications for Sandbox {
    async fn receive(_ctx: &Ctx, notification: Notification) -> Result<Receipt, Rejection> {
        let header = notification
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("x-signature"));
        let signature = header.ok_or_else(|| Rejection::Forged("no x-signature".into()))?;
        if !keys::verify(
            "notify",
            "hmac-sha256:hex",
            &notification.body,
            signature.value.as_bytes(),
        )? {
            return Err(Rejection::Forged("the signature does not fit the body".into()));
        }
        let body: Value =
            serde_json::from_slice(&notification.body).map_err(|e| Rejection::Malformed(e.to_string()))?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let event = text("event_id").ok_or_else(|| Rejection::Malformed("no event_id".into()))?;
        let is_dispute = body.get("dispute").and_then(Value::as_str).is_some();
        let subject = Subject {
            key: text("key"),
            reference: text("charge"),
            event,
            says: None,
            extra: vec![],
        };
        let subject = match is_dispute {
            true => about_dispute(subject),
            false => subject,
        };
        Ok(Receipt {
            subjects: vec![subject],
            reply: Response {
                status: 200,
                headers: vec![],
                body: vec![],
            },
        })
    }
}
