//! Notifications: the provider's signature over the path of the notify address. They are hints; the host asks.

use crate::AlipayPlus;
use crate::payments::text;
use crate::signed::{client_id, is_signed};
use portolan_adapter::notifications::{Notification, Receipt, Rejection, Subject};
use portolan_adapter::types::{Header, Response};
use portolan_adapter::{Ctx, Notifications, Value, from_slice};

/// What the provider wants to hear, whatever it told.
const TAKEN: &str = r#"{"result":{"resultCode":"SUCCESS","resultStatus":"S","resultMessage":"success"}}"#;

impl Notifications for AlipayPlus {
    async fn receive(ctx: &Ctx, notification: Notification) -> Result<Receipt, Rejection> {
        let header = |name: &str| {
            let mut headers = notification.headers.iter();
            let found = headers.find(|header| header.name.eq_ignore_ascii_case(name));
            found.map_or("", |header| header.value.as_str())
        };
        if header("client-id") != client_id(ctx)? {
            return Err(Rejection::Forged("another client's".into()));
        }
        // The path that the provider called, whatever stands between it and the host.
        let url = ctx.context.notify_url.as_str();
        let path = url
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
        let of = (header("client-id"), header("request-time"));
        if !is_signed(path.unwrap_or("/"), of, &notification.body, header("signature"))? {
            return Err(Rejection::Forged("the signature does not fit".into()));
        }
        let body: Value = from_slice(&notification.body).map_err(|error| Rejection::Malformed(error.to_string()))?;
        let kind = text(&body, "/notifyType").ok_or_else(|| Rejection::Malformed("no notifyType".into()))?;
        let (key, reference) = match kind.as_str() {
            "REFUND_RESULT" => (text(&body, "/refundRequestId"), text(&body, "/refundId")),
            _ => (text(&body, "/paymentRequestId"), text(&body, "/paymentId")),
        };
        let about = key.clone().or_else(|| reference.clone()).unwrap_or_default();
        let at = ["/paymentTime", "/refundTime", "/paymentCreateTime"]
            .iter()
            .find_map(|at| text(&body, at));
        Ok(Receipt {
            subjects: vec![Subject {
                key,
                reference,
                // The provider numbers nothing: what, about what, and when is told once.
                event: format!("{kind} {about} {}", at.unwrap_or_default()),
                says: None,
                extra: vec![],
            }],
            reply: Response {
                status: 200,
                headers: vec![Header {
                    name: "content-type".into(),
                    value: "application/json".into(),
                }],
                body: TAKEN.into(),
            },
        })
    }
}
