//! Stripe's disputes (docs.stripe.com/api/disputes): listed by payment intent, their statuses as a table with a row for the
//! one that nobody knows yet.

use crate::{API, authorized, brief};
use portolan_adapter::types::Fault;
use portolan_adapter::{Ctx, Dispute, DisputeState, ReplyExt, Value, get};

/// Whether the intent's charge is disputed, or was.
pub fn is_disputed(intent: &Value) -> bool {
    intent.pointer("/latest_charge/disputed").and_then(Value::as_bool) == Some(true)
}

/// What Stripe says of them, as a standing carries it; `Err`: nobody knows now.
pub async fn of(ctx: &Ctx, intent: &str, currency: &str) -> Result<Result<Vec<(String, String)>, String>, Fault> {
    let path = format!("/v1/disputes?payment_intent={intent}&limit=16");
    match ctx.send(authorized(ctx, get(API, path))?).await {
        Ok(response) if response.status == 200 => {
            let list = response.json()?;
            let disputes = list.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
            let told: Result<_, Fault> = disputes.iter().map(|it| Ok(dispute(it, currency)?.extra())).collect();
            Ok(Ok(told?))
        }
        other => Ok(Err(brief(&other))),
    }
}

/// `currency`: the payment's. A dispute in another one moves no money in the books: how much it is cannot be said.
fn dispute(dispute: &Value, currency: &str) -> Result<Dispute, Fault> {
    let text = |pointer: &str| dispute.pointer(pointer).and_then(Value::as_str);
    let amount = dispute.get("amount").and_then(Value::as_u64);
    let due_s = dispute.pointer("/evidence_details/due_by").and_then(Value::as_u64);
    Ok(Dispute {
        reference: text("/id")
            .ok_or_else(|| Fault::Protocol("a dispute without id".into()))?
            .to_owned(),
        state: match text("/currency").is_some_and(|it| it.eq_ignore_ascii_case(currency)) {
            true => state(text("/status").unwrap_or_default()),
            false => DisputeState::Inquiry,
        },
        units: amount
            .ok_or_else(|| Fault::Protocol("a dispute without amount".into()))?
            .to_string(),
        reason: text("/reason").unwrap_or("general").to_owned(),
        network_code: text("/payment_method_details/card/network_reason_code").map(str::to_owned),
        due_ms: due_s.and_then(|seconds| seconds.checked_mul(1_000)),
    })
}

/// A status that is not in the documents moves no money in the books: the merchant is told, and a human looks.
fn state(status: &str) -> DisputeState {
    match status {
        "needs_response" => DisputeState::NeedsResponse,
        "under_review" => DisputeState::UnderReview,
        // An inquiry that was closed: it never became a dispute.
        "won" | "warning_closed" | "prevented" => DisputeState::Won,
        "lost" => DisputeState::Lost,
        _ => DisputeState::Inquiry,
    }
}
