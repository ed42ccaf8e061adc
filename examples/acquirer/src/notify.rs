//! The acquirer's notifications: the charge and its key in the body, an HMAC over it in `x-signature`.

use crate::charge::{Charge, Dispute};
use portolan_simulator::notify::{self, hmac_hex};

/// Tells the router that something happened to the charge.
pub async fn send(charge: Charge, event_id: String, status: String, key: String) {
    let body = serde_json::json!({
        "event_id": event_id, "charge": charge.id, "key": charge.key, "status": status,
    });
    tell(charge, body.to_string(), key).await;
}

/// Tells the router that a dispute went on.
pub async fn send_dispute(charge: Charge, dispute: Dispute, event_id: String, key: String) {
    let body = serde_json::json!({
        "event_id": event_id, "charge": charge.id, "key": charge.key, "status": charge.status, "dispute": dispute.id,
    });
    tell(charge, body.to_string(), key).await;
}

async fn tell(charge: Charge, body: String, key: String) {
    let signature = hmac_hex(&key, body.as_bytes());
    notify::send(&charge.notify_url, &body, || {
        vec![("x-signature".into(), signature.clone())]
    })
    .await;
}
