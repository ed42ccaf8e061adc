//! What proves that a payment was wanted, for operators to hand on.

use super::{App, Refusal, failed, payment_id, refuse};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// `GET /admin/payments/{id}/orders`: what its merchant signed, and its people approved, for others to check.
pub(super) async fn show(State(shared): App, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let payment = payment_id(&id)?;
    let known = shared.app.store.payment(payment).map_err(failed)?;
    let known = known.ok_or_else(|| refuse(StatusCode::NOT_FOUND, "no such payment"))?;
    // What goes on to a beneficiary was ordered and approved with the payment that brought it.
    let parent = known.payment.payout.as_ref().and_then(|it| it.leg_of);
    let payment = parent.unwrap_or(payment);
    let orders = shared.app.library.orders(payment).map_err(failed)?;
    let shown = orders.iter().map(|order| {
        json!({
            "key": order.key, "public_key": portolan_vault::order_key_pem(&order.public_key), "signed": order.base,
            "signature": STANDARD.encode(&order.signature), "body": order.body, "at_ms": order.at_ms,
            "operation": order.operation.map(|operation| operation.to_string()),
        })
    });
    let approved = shared.app.library.approved(payment).map_err(failed)?;
    let approvals = approved.iter().map(|it| {
        let by = it.by.iter().map(|by| {
            json!({
                "approver": by.approver.to_string(), "name": by.name, "public_key": by.public_key,
                "authenticator_data": STANDARD.encode(&by.authenticator_data), "client_data": STANDARD.encode(&by.client_data),
                "signature": STANDARD.encode(&by.signature),
            })
        });
        json!({
            "text": it.text, "at_ms": it.at_ms, "by": by.collect::<Vec<_>>(),
            "operation": it.operation.map(|operation| operation.to_string()),
        })
    });
    Ok(Json(
        json!({ "orders": shown.collect::<Vec<_>>(), "approvals": approvals.collect::<Vec<_>>() }),
    ))
}
