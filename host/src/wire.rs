//! What merchants see: payments, refunds, events and balances as JSON. The one place where a domain type becomes the
//! API's; each function takes its source apart field by field.

use portolan_domain::commit::StoredAnswer;
use portolan_domain::ids::{Mode, OperationId, RefundId};
use portolan_domain::ledger::{Account, Balances};
use portolan_domain::operation::{Action, CardFacts, Kind};
use portolan_domain::payment::fact::{Event, Fact};
use portolan_domain::payment::status::FollowUpStatus;
use portolan_domain::payment::{Attempt, FollowUp, LastError, Payment};
use portolan_domain::ports::{Method, Render};
use serde_json::{Map, Value, json};

/// Renders answers as JSON.
pub struct Json;

impl Render for Json {
    fn payment(&self, payment: &Payment) -> StoredAnswer {
        StoredAnswer {
            status: 200,
            body: payment_json(payment).to_string().into_bytes(),
        }
    }

    fn refund(&self, payment: &Payment, refund: OperationId) -> StoredAnswer {
        let body = payment
            .follow_up(refund)
            .map_or(Value::Null, |refund| refund_json(payment, refund));
        StoredAnswer {
            status: 200,
            body: body.to_string().into_bytes(),
        }
    }
}

fn seconds(ms: u64) -> u64 {
    ms / 1_000
}

fn amount(minor: i128) -> Value {
    // 2^53 is where JSON readers that use floats begin to lose digits.
    match i64::try_from(minor) {
        Ok(small) if small < (1 << 53) => json!(small),
        _ => json!(minor.to_string()),
    }
}

/// A payment.
pub fn payment_json(payment: &Payment) -> Value {
    let metadata: Map<String, Value> = payment
        .metadata
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let mut shown = json!({
        "id": payment.id.to_string(),
        "object": "payment",
        "status": payment.status.as_str(),
        "amount": amount(payment.amount.minor()),
        "currency": payment.amount.asset().code(),
        "amount_authorized": amount(payment.authorized.minor()),
        "amount_captured": amount(payment.captured.minor()),
        "amount_refunded": amount(payment.refunded.minor()),
        "capture_method": if payment.manual_capture { "manual" } else { "automatic" },
        "payment_method": payment.method.map(|method| method.to_string()),
        "card": payment.card.as_ref().map(card_json),
        "next_action": payment.action.as_ref().map(action_json),
        "last_error": payment.last_error.as_ref().map(error_json),
        "description": payment.description,
        "statement_descriptor": payment.statement_descriptor,
        "return_url": payment.return_url,
        "payer": { "name": payment.payer_name, "email": payment.payer_email },
        "metadata": metadata,
        "cancellation_reason": payment.cancel_reason,
        "attempts": payment.attempts.iter().map(attempt_json).collect::<Vec<_>>(),
        "captures": of_kind(payment, Kind::Capture),
        "refunds": of_kind(payment, Kind::Refund),
        "uetr": payment.uetr.to_string(),
        "livemode": payment.mode == Mode::Live,
        "created": seconds(payment.created_ms),
    });
    if let (Some(unknown), Some(fields)) = (payment.unknown, shown.as_object_mut()) {
        fields.insert("outcome".into(), json!("unknown"));
        fields.insert("unknown_since".into(), json!(seconds(unknown.since_ms)));
        fields.insert("next_check_at".into(), json!(seconds(unknown.next_check_ms)));
    }
    shown
}

fn of_kind(payment: &Payment, kind: Kind) -> Vec<Value> {
    payment
        .follow_ups
        .iter()
        .filter(|it| it.kind == kind)
        .map(|it| refund_json(payment, it))
        .collect()
}

/// A card, as far as a merchant may see it.
pub fn card_json(card: &CardFacts) -> Value {
    json!({
        "brand": card.brand, "bin": card.bin, "last4": card.last4, "expiry_month": card.expiry_month,
        "expiry_year": card.expiry_year, "fingerprint": card.fingerprint, "holder": card.holder,
    })
}

fn action_json(action: &Action) -> Value {
    match action {
        Action::Redirect(url) => json!({ "type": "redirect", "url": url }),
        Action::Form(url, fields) => json!({ "type": "form", "url": url, "fields": fields }),
        Action::Qr(text) => json!({ "type": "qr", "text": text }),
        Action::Other(kind, value) => json!({ "type": kind, "value": value }),
    }
}

fn error_json(error: &LastError) -> Value {
    json!({
        "code": error.code, "decline_reason": error.decline_reason, "network_code": error.network_code,
        "advice": error.advice, "message": error.message,
    })
}

fn attempt_json(attempt: &Attempt) -> Value {
    json!({
        "id": attempt.id.to_string(), "channel": attempt.channel.as_str(), "status": attempt.status.as_str(),
        "reference": attempt.reference, "network_reference": attempt.network_reference,
    })
}

/// A refund, or a capture, which has the same shape.
pub fn refund_json(payment: &Payment, follow_up: &FollowUp) -> Value {
    let is_refund = follow_up.kind == Kind::Refund;
    let id = if is_refund {
        RefundId(follow_up.operation.0).to_string()
    } else {
        portolan_domain::ids::CaptureId(follow_up.operation.0).to_string()
    };
    // Unknown is "pending" for the merchant, with the word beside it.
    let (status, outcome) = match follow_up.status {
        FollowUpStatus::Unknown => ("pending", Some("unknown")),
        FollowUpStatus::Pending | FollowUpStatus::Succeeded | FollowUpStatus::Failed => {
            (follow_up.status.as_str(), None)
        }
    };
    json!({
        "id": id, "object": if is_refund { "refund" } else { "capture" }, "payment": payment.id.to_string(),
        "amount": amount(follow_up.amount.minor()), "currency": follow_up.amount.asset().code(), "status": status,
        "outcome": outcome, "reason": follow_up.reason, "failure_reason": follow_up.failure,
        "created": seconds(follow_up.created_ms),
    })
}

/// A stored payment method.
pub fn method_json(method: &Method) -> Value {
    json!({
        "id": method.id.to_string(), "object": "payment_method", "type": "card", "card": card_json(&method.card),
        "livemode": method.mode == Mode::Live, "created": seconds(method.created_ms),
    })
}

/// A fact. It holds no personal data, so it shows what changed, not the whole payment.
pub fn event_json(event: &Event) -> Value {
    let money = match &event.fact {
        Fact::Created { amount, .. }
        | Fact::Authorized { amount, .. }
        | Fact::Captured { amount, .. }
        | Fact::FollowUpStarted { amount, .. }
        | Fact::Refunded { amount, .. }
        | Fact::LateSuccess { amount, .. }
        | Fact::LateSettled { amount, .. } => Some(amount),
        _ => None,
    };
    let detail = match &event.fact {
        Fact::AttemptStarted { channel, adapter, .. } => json!({ "channel": channel.as_str(), "adapter": adapter }),
        Fact::AttemptDeclined {
            reason,
            provider_code,
            network_code,
            ..
        } => {
            json!({ "decline_reason": reason, "provider_code": provider_code, "network_code": network_code })
        }
        Fact::AttemptNoEffect { why, .. } => json!({ "code": why }),
        Fact::AttemptReleased { by, .. } => json!({ "by": by }),
        Fact::Failed { code } => json!({ "code": code }),
        Fact::Canceled { reason } | Fact::FollowUpFailed { reason, .. } => json!({ "reason": reason }),
        _ => json!({}),
    };
    json!({
        "id": event.id.to_string(), "object": "event", "type": event.fact.name(), "created": seconds(event.at_ms),
        "sequence": event.number, "livemode": event.mode == Mode::Live,
        "data": {
            "payment": event.payment.to_string(),
            "attempt": event.fact.attempt().map(|id| id.to_string()),
            "operation": event.fact.follow_up().map(|id| id.to_string()),
            "amount": money.map(|money| amount(money.minor())),
            "currency": money.map(|money| money.asset().code().to_owned()),
            "detail": detail,
        },
    })
}

/// A merchant's balances by currency.
pub fn balances_json(balances: &Balances, mode: Mode) -> Value {
    let rows = balances
        .iter()
        .filter(|((account, _), _)| matches!(account, Account::MerchantPending(_)));
    let rows = rows.map(|((_, asset), balance)| {
        json!({
            "currency": asset.code(),
            "pending": amount(balance.credit.saturating_sub(balance.debit)),
            "available": 0,
            "reserved": amount(balance.pending_debit),
            "authorized": amount(balance.pending_credit),
        })
    });
    json!({ "object": "balances", "livemode": mode == Mode::Live, "balances": rows.collect::<Vec<_>>() })
}
