//! Refunds.

use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::{Api, v1::payments};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use portolan_domain::ids::PaymentId;
use portolan_domain::payment::request::{FieldError, holds_card_number};
use portolan_engine::RefundPayment;

/// `POST /v1/refunds`.
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (claim, mut fields) = payments::open(&api, &caller, &headers, body, "POST /v1/refunds").await?;
    let (payment, amount, reason) = (fields.text("payment"), fields.integer("amount"), fields.text("reason"));
    let rate = parse_rate(fields.text("rate"));
    let payment = parse_payment(payment);
    let reason = check_reason(reason);
    let reason = match (rate, reason) {
        (Ok(rate), Ok(reason)) => Ok((rate, reason)),
        (Err(mut errors), Err(more)) => {
            errors.extend(more);
            Err(errors)
        }
        (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => Err(errors),
    };
    let checked = match (payment, reason) {
        (Ok(payment), Ok(reason)) => Ok((payment, reason)),
        (Ok(_), Err(errors)) | (Err(errors), Ok(_)) => Err(errors),
        (Err(mut errors), Err(more)) => {
            errors.extend(more);
            Err(errors)
        }
    };
    let (payment, (at_current_rate, reason)) = fields.finish(checked)?;
    let command = RefundPayment {
        merchant: caller.merchant,
        mode: caller.mode,
        claim: claim.clone(),
        payment,
        amount,
        reason,
        at_current_rate,
    };
    payments::run(
        &api,
        claim,
        |engine| async move { engine.refund_payment(command).await },
    )
    .await
}

/// Whether what was exchanged is given up at today's rate.
fn parse_rate(text: Option<String>) -> Result<bool, Vec<FieldError>> {
    match text.as_deref() {
        None | Some("original") => Ok(false),
        Some("current") => Ok(true),
        Some(_) => {
            let how = "original (the router bears the difference) or current (the merchant does)";
            Err(vec![FieldError::new("/rate", "invalid_value", how)])
        }
    }
}

fn parse_payment(text: Option<String>) -> Result<PaymentId, Vec<FieldError>> {
    let text = text.ok_or_else(|| vec![FieldError::new("/payment", "missing", "the payment to refund, pay_…")])?;
    text.parse()
        .map_err(|error| vec![FieldError::new("/payment", "invalid_id", format!("{error}"))])
}

/// A reason is a short text without card numbers.
pub fn check_reason(reason: Option<String>) -> Result<Option<String>, Vec<FieldError>> {
    match &reason {
        Some(text) if text.chars().count() > 500 || text.chars().any(char::is_control) => Err(vec![FieldError::new(
            "/reason",
            "too_long",
            "at most 500 characters, no control characters",
        )]),
        Some(text) if holds_card_number(text) => Err(vec![FieldError::new(
            "/reason",
            "card_number",
            "card numbers are taken by POST /v1/payment_methods alone",
        )]),
        Some(_) | None => Ok(reason),
    }
}
