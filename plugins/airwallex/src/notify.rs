//! Notifications: an HMAC over time and body. They are hints; the host asks.

use crate::Airwallex;
use portolan_adapter::notifications::{Notification, Receipt, Rejection, Subject};
use portolan_adapter::types::Response;
use portolan_adapter::{Ctx, Notifications, Value, from_slice, keys};

/// How far a notification's time may be from now: the provider tries again for three days, each time signed anew.
const AGE_MAX_MS: u64 = 10 * 60 * 1_000;

impl Notifications for Airwallex {
    async fn receive(ctx: &Ctx, notification: Notification) -> Result<Receipt, Rejection> {
        let header = |name: &str| {
            let mut headers = notification.headers.iter();
            let found = headers.find(|header| header.name.eq_ignore_ascii_case(name));
            found.map(|header| header.value.clone())
        };
        let (time, signature) = (header("x-timestamp"), header("x-signature"));
        let (Some(time), Some(signature)) = (time, signature) else {
            return Err(Rejection::Forged("no x-timestamp or no x-signature".into()));
        };
        let signed = [time.as_bytes(), &notification.body].concat();
        if !keys::verify("webhook", "hmac-sha256:hex", &signed, signature.as_bytes())? {
            return Err(Rejection::Forged("the signature does not fit time and body".into()));
        }
        let sent_ms: u64 = time
            .parse()
            .map_err(|_| Rejection::Malformed("x-timestamp is no number".into()))?;
        if ctx.now_ms().abs_diff(sent_ms) > AGE_MAX_MS {
            return Err(Rejection::Stale(format!("signed at {sent_ms}")));
        }
        let body: Value = from_slice(&notification.body).map_err(|error| Rejection::Malformed(error.to_string()))?;
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let event = text("/id").ok_or_else(|| Rejection::Malformed("no id".into()))?;
        // Conversions were once told in camel case.
        let reference = ["/data/conversion_id", "/data/conversionId", "/data/id"]
            .into_iter()
            .find_map(text);
        let key = ["/data/request_id", "/data/requestId"].into_iter().find_map(text);
        Ok(Receipt {
            subjects: vec![Subject {
                key,
                reference,
                event,
                says: None,
                extra: vec![],
            }],
            reply: Response {
                status: 200,
                headers: vec![],
                body: vec![],
            },
        })
    }
}
