//! Payments: create, confirm, capture, cancel.

use crate::api::approval::{self, Outgoing};
use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::strict::{self, Fields};
use crate::api::v1::payouts;
use crate::api::{Api, read_body, respond};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use portolan_domain::approval::Approved;
use portolan_domain::beneficiary::Beneficiary;
use portolan_domain::ids::{MethodId, PaymentId};
use portolan_domain::money::Money;
use portolan_domain::payment::request::{FieldError, PaymentRequest, ValidPayment, validate};
use portolan_engine::{
    Answered, CancelPayment, CapturePayment, ClaimRequest, ConfirmPayment, CreatePayment, Engine, EngineError,
};
use std::future::Future;
use std::sync::Arc;

/// `POST /v1/payments`.
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (claim, mut fields, order) = approval::open(&api, (&caller, "POST /v1/payments"), &headers, body).await?;
    let request = PaymentRequest {
        amount: fields.integer("amount"),
        currency: fields.text("currency"),
        capture_method: fields.text("capture_method"),
        payment_method: fields.text("payment_method"),
        payment_method_type: fields.text("payment_method_type"),
        quote: fields.text("quote"),
        if_rate_lost: fields.text("if_rate_lost"),
        max_slippage_bps: fields.integer("max_slippage_bps"),
        authentication: fields.text("authentication"),
        confirm: fields.flag("confirm"),
        description: fields.text("description"),
        statement_descriptor: fields.text("statement_descriptor"),
        return_url: fields.text("return_url"),
        metadata: fields.texts("metadata"),
        ..PaymentRequest::default()
    };
    let request = read_payer(&mut fields, request);
    let delivery = payouts::read_delivery(&api, &caller, &mut fields, request.quote.as_deref())?;
    let order = order.read(&mut fields);
    let valid = validate(request, |code| api.app.config.asset(code));
    let valid = both(valid, both(delivery, order));
    let (valid, (delivery, order)) = fields.finish(valid)?;
    let claim = match &delivery {
        Some((owed, delivery)) => {
            let outgoing = Outgoing {
                amount: owed,
                pays: &what_a_quote_brings(owed),
                to: &delivery.terms.beneficiary,
                is_owned: false,
            };
            order.approve((&api, &caller), claim, outgoing).await?
        }
        None => claim,
    };
    let valid = ValidPayment {
        delivery: delivery.map(|(_, delivery)| delivery),
        ..valid
    };
    let command = CreatePayment {
        merchant: caller.merchant,
        mode: caller.mode,
        claim: claim.clone(),
        valid,
    };
    run(
        &api,
        claim,
        |engine| async move { engine.create_payment(command).await },
    )
    .await
}

/// What goes on, as people read it: where the price is lost, a new one may bring somewhat more or less.
fn what_a_quote_brings(owed: &Money) -> String {
    format!("{owed}, or what a new quote brings where this one's price is lost")
}

/// What a payment will pass on that was made before, where nobody who may approved that.
fn staged(api: &Api, caller: &Caller, id: PaymentId) -> Result<Option<(Money, Beneficiary)>, Problem> {
    let Some(approvals) = api.app.approving.in_force((caller.mode, &caller.merchant)) else {
        return Ok(None);
    };
    let found = api.app.store.payment(id)?.map(|found| found.payment);
    let theirs = found.filter(|it| it.merchant == caller.merchant && it.mode == caller.mode);
    let Some(payment) = theirs else { return Ok(None) };
    let Some(delivery) = payment.delivery else {
        return Ok(None);
    };
    let goes_on = payment.conversion.map_or(payment.amount, |it| it.promised);
    let stands = |it: &Approved| approvals.still_stands(it);
    match api.app.library.approved(id)?.iter().any(stands) {
        true => Ok(None),
        false => Ok(Some((goes_on, delivery.terms.beneficiary))),
    }
}

/// Both, or all that is wrong with either.
pub(super) fn both<A, B>(
    one: Result<A, Vec<FieldError>>,
    other: Result<B, Vec<FieldError>>,
) -> Result<(A, B), Vec<FieldError>> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(mut errors), Err(more)) => {
            errors.extend(more);
            Err(errors)
        }
        (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => Err(errors),
    }
}

/// Who pays, and where goods go, as far as the merchant says.
pub(super) fn read_payer(fields: &mut Fields, request: PaymentRequest) -> PaymentRequest {
    let mut payer = fields.inside("payer");
    let mut request = PaymentRequest {
        payer_name: payer.text("name"),
        payer_email: payer.text("email"),
        payer_country: payer.text("country"),
        payer_id: payer.text("id"),
        payer_ip: payer.text("ip"),
        ip_country: payer.text("ip_country"),
        ..request
    };
    fields.close(payer);
    let mut shipping = fields.inside("shipping");
    request.shipping_country = shipping.text("country");
    fields.close(shipping);
    request
}

/// `POST /v1/payments/{id}/confirm`.
pub async fn confirm(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let path = format!("POST /v1/payments/{id}/confirm");
    let (claim, mut fields, order) = approval::open(&api, (&caller, &path), &headers, body).await?;
    let payment = payment_id(&id)?;
    let method = fields.text("payment_method");
    let code = fields.text("security_code");
    let parsed = method.map(|text| text.parse::<MethodId>()).transpose();
    let parsed = parsed.map_err(|error| vec![FieldError::new("/payment_method", "invalid_id", error.to_string())]);
    let order = order.read(&mut fields);
    let (method, order) = fields.finish(both(parsed, order))?;
    let claim = match staged(&api, &caller, payment)? {
        Some((owed, to)) => {
            let outgoing = Outgoing {
                amount: &owed,
                pays: &what_a_quote_brings(&owed),
                to: &to,
                is_owned: false,
            };
            order.approve((&api, &caller), claim, outgoing).await?
        }
        None => claim,
    };
    if let Some(code) = code {
        let target = own_method(&api, &caller, payment, method)?;
        let taken = api.app.vault.take_code(target, &code, api.app.ambient.now_ms());
        taken.map_err(|error| Problem::fields(vec![error]))?;
    }
    let command = ConfirmPayment {
        merchant: caller.merchant,
        mode: caller.mode,
        claim: claim.clone(),
        payment,
        method,
    };
    run(
        &api,
        claim,
        |engine| async move { engine.confirm_payment(command).await },
    )
    .await
}

/// The method that a security code is for: the caller's own, on the caller's own payment.
fn own_method(api: &Api, caller: &Caller, id: PaymentId, named: Option<MethodId>) -> Result<MethodId, Problem> {
    let found = api.app.store.payment(id)?.map(|found| found.payment);
    let theirs = found.filter(|it| it.merchant == caller.merchant && it.mode == caller.mode);
    let payment = theirs
        .filter(|it| it.payout.is_none())
        .ok_or_else(|| Problem::not_found("payment"))?;
    let method = named
        .or(payment.method())
        .map(|id| api.app.store.method(id))
        .transpose()?
        .flatten();
    let theirs = method.filter(|it| it.merchant == caller.merchant && it.mode == caller.mode);
    theirs
        .map(|it| it.id)
        .ok_or_else(|| Problem::not_found("payment method"))
}

/// `POST /v1/payments/{id}/capture`.
pub async fn capture(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let path = format!("POST /v1/payments/{id}/capture");
    let (claim, mut fields) = open(&api, &caller, &headers, body, &path).await?;
    let (amount, is_final) = (fields.integer("amount"), fields.optional_flag("final").unwrap_or(true));
    fields.finish(Ok(()))?;
    let payment = payment_id(&id)?;
    let Caller { merchant, mode, .. } = caller;
    let command = CapturePayment {
        merchant,
        mode,
        claim: claim.clone(),
        payment,
        amount,
        is_final,
    };
    run(
        &api,
        claim,
        |engine| async move { engine.capture_payment(command).await },
    )
    .await
}

/// `POST /v1/payments/{id}/cancel`.
pub async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let path = format!("POST /v1/payments/{id}/cancel");
    let (claim, mut fields) = open(&api, &caller, &headers, body, &path).await?;
    let reason = fields.text("reason");
    let reason = fields.finish(super::refunds::check_reason(reason))?;
    let payment = payment_id(&id)?;
    let Caller { merchant, mode, .. } = caller;
    let command = CancelPayment {
        merchant,
        mode,
        claim: claim.clone(),
        payment,
        reason,
    };
    run(
        &api,
        claim,
        |engine| async move { engine.cancel_payment(command).await },
    )
    .await
}

/// An id in a path; what is no id is nobody's.
pub fn payment_id(text: &str) -> Result<PaymentId, Problem> {
    text.parse().map_err(|_| Problem::not_found("payment"))
}

/// What every write begins with: the body, the key.
pub async fn open(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
    method_path: &str,
) -> Result<(ClaimRequest, Fields), Problem> {
    let value = read(headers, body).await?;
    let claim = api.claim(headers, caller, (method_path, &value))?;
    Ok((claim, Fields::of(value)?))
}

/// The body; none is an empty object.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<strict::Value, Problem> {
    let bytes = read_body(headers, body).await?;
    strict::parse(if bytes.is_empty() { b"{}" } else { &bytes })
}

/// Runs a command to its end, whoever hangs up meanwhile. After `answer_within` the caller gets the payment as it is
/// then, and the work goes on.
pub async fn run<F>(api: &Api, claim: ClaimRequest, command: impl FnOnce(Arc<Engine>) -> F) -> Result<Response, Problem>
where
    F: Future<Output = Result<Answered, EngineError>> + Send + 'static,
{
    let span = tracing::Span::current();
    let work = tokio::spawn(tracing::Instrument::instrument(command(api.app.engine.clone()), span));
    match tokio::time::timeout(api.app.config.answer_within, work).await {
        Ok(Ok(answered)) => Ok(respond(&answered?)),
        Ok(Err(panic)) => {
            tracing::error!(%panic, "a command panicked");
            Err(Problem::new(
                500,
                "internal",
                "the router failed; ask again with the same Idempotency-Key",
            ))
        }
        Err(_) => as_it_is_now(api, &claim),
    }
}

fn as_it_is_now(api: &Api, claim: &ClaimRequest) -> Result<Response, Problem> {
    match api.app.engine.as_it_is_now(&claim.name)? {
        Some(answered) => Ok(respond(&answered)),
        None => Err(Problem::busy("nothing was done yet; ask again with the same key")),
    }
}
