//! Stripe's webhooks (docs.stripe.com/webhooks): `Stripe-Signature: t=…,v1=…`, an HMAC-SHA-256 over `{t}.{body}`. Older
//! than five minutes is stale. They carry no evidence here, so the host asks for the status.

use crate::Stripe;
use portolan_adapter::notifications::{Notification, Receipt, Rejection, Subject};
use portolan_adapter::types::Response;
use portolan_adapter::{Ctx, Notifications, Value, about_dispute, keys};

/// The tolerance that Stripe's own libraries have.
const TOLERANCE_S: u64 = 300;

impl Notifications for Stripe {
    async fn receive(ctx: &Ctx, notification: Notification) -> Result<Receipt, Rejection> {
        let header = notification
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("stripe-signature"));
        let header = header.ok_or_else(|| Rejection::Forged("no Stripe-Signature".into()))?;
        let parts = || header.value.split(',').filter_map(|part| part.trim().split_once('='));
        let stamp = parts()
            .find(|(name, _)| *name == "t")
            .map(|(_, value)| value.to_owned());
        let stamp = stamp.ok_or_else(|| Rejection::Malformed("no timestamp".into()))?;
        let mut signed = format!("{stamp}.").into_bytes();
        signed.extend_from_slice(&notification.body);
        let mut is_genuine = false;
        for (_, signature) in parts().filter(|(name, _)| *name == "v1") {
            is_genuine |= keys::verify("webhook", "hmac-sha256:hex", &signed, signature.as_bytes())?;
        }
        if !is_genuine {
            return Err(Rejection::Forged("no signature fits".into()));
        }
        let sent_s: u64 = stamp
            .parse()
            .map_err(|_| Rejection::Malformed("the timestamp is no number".into()))?;
        if (ctx.now_ms() / 1_000).abs_diff(sent_s) > TOLERANCE_S {
            return Err(Rejection::Stale(format!("sent at {sent_s}")));
        }
        receipt(&notification.body)
    }
}

fn receipt(body: &[u8]) -> Result<Receipt, Rejection> {
    let event: Value = serde_json::from_slice(body).map_err(|error| Rejection::Malformed(error.to_string()))?;
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let id = text("/id").ok_or_else(|| Rejection::Malformed("no event id".into()))?;
    let kind = text("/type").unwrap_or_default();
    let reference = match kind.split('.').next() {
        Some("payment_intent") => text("/data/object/id"),
        Some("charge" | "refund") => text("/data/object/payment_intent"),
        _ => None,
    };
    let subject = Subject {
        key: None,
        reference,
        event: id,
        says: None,
        extra: vec![],
    };
    let subject = match kind.starts_with("charge.dispute.") {
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
