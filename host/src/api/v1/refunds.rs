//! Refunds.

use crate::api::Api;
use crate::api::approval::{self, Outgoing};
use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::v1::payments::both;
use crate::api::v1::{payments, payouts};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use portolan_domain::ids::PaymentId;
use portolan_domain::money::Money;
use portolan_domain::payment::request::{FieldError, holds_card_number};
use portolan_engine::RefundPayment;

/// `POST /v1/refunds`.
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (claim, mut fields, order) = approval::open(&api, (&caller, "POST /v1/refunds"), &headers, body).await?;
    let (payment, amount, reason) = (fields.text("payment"), fields.integer("amount"), fields.text("reason"));
    let rate = parse_rate(fields.text("rate"));
    let payment = parse_payment(payment);
    let deliver = match &payment {
        Ok(id) if fields.is_given("deliver") => {
            let amount = amount_of(&api, &caller, (*id, amount))?;
            payouts::read_deliver(&api, &caller, &mut fields, || Ok(amount))?.map_err(at_its_amount)
        }
        Ok(_) | Err(_) => {
            fields.inside("deliver");
            Ok(None)
        }
    };
    let order = order.read(&mut fields);
    let checked = both(both(payment, deliver), both(both(rate, check_reason(reason)), order));
    let ((payment, deliver), ((at_current_rate, reason), order)) = fields.finish(checked)?;
    let claim = match &deliver {
        Some((amount, terms)) => {
            let outgoing = Outgoing {
                amount,
                pays: &amount.to_string(),
                to: &terms.beneficiary,
                is_owned: false,
            };
            order.approve((&api, &caller), claim, outgoing).await?
        }
        None => claim,
    };
    // What was shown to whoever approved it is what is given back.
    let approved = deliver.as_ref().filter(|_| claim.approved.is_some());
    let command = RefundPayment {
        merchant: caller.merchant,
        mode: caller.mode,
        claim: claim.clone(),
        payment,
        amount: approved.map_or(amount, |(shown, _)| Some(shown.minor())),
        reason,
        at_current_rate,
        deliver: deliver.map(|(_, terms)| Box::new(terms)),
    };
    payments::run(
        &api,
        claim,
        |engine| async move { engine.refund_payment(command).await },
    )
    .await
}

/// The amount that is delivered is the refund's own.
fn at_its_amount(mut errors: Vec<FieldError>) -> Vec<FieldError> {
    let delivered = errors.iter_mut().filter(|error| error.pointer == "/deliver/amount");
    delivered.for_each(|error| error.pointer = "/amount".into());
    errors
}

/// How much a refund is of: what is asked, or what is left of what was taken; before anything was, what is to be paid.
fn amount_of(api: &Api, caller: &Caller, (id, asked): (PaymentId, Option<i128>)) -> Result<Money, Problem> {
    let found = api.app.store.payment(id)?.map(|found| found.payment);
    let theirs = found.filter(|it| it.merchant == caller.merchant && it.mode == caller.mode);
    let payment = theirs.ok_or_else(|| Problem::not_found("payment"))?;
    let all = match payment.captured.is_zero() {
        true => payment.amount,
        false => {
            // Of what is given back already a retry is told by its key, whatever it would be now.
            let rest = payment.refundable().filter(|rest| !rest.is_zero());
            rest.unwrap_or(payment.captured)
        }
    };
    let asked = asked.and_then(|minor| Money::new(minor, all.asset().clone()));
    Ok(asked.unwrap_or(all))
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
