//! Stripe PaymentIntents (API version 2024-06-20, docs.stripe.com/api). It owns the mapping of Stripe's forms and JSON.
//! A payment method and an unconfirmed intent are made first (they cannot move money), then the one write confirms.

mod authentication;
mod declines;
mod describe;
mod disputes;
mod notify;

use portolan_adapter::payments::{
    Accepted, Authorization, Doubt, Finding, Instrument, Outcome, Standing, State, Waiting,
};
use portolan_adapter::types::{Action, Fault, Money, Request, Response, Target};
use portolan_adapter::{
    Actions, Captures, Ctx, Form, Payments, Refunds, ReplyExt, RequestExt, Value, captures, get, must_authenticate,
    post,
};

/// The adapter.
pub struct Stripe;

#[cfg(feature = "export")]
portolan_adapter::export_channel!(Stripe: adapter, payments, actions, captures, refunds, notifications);

const API: &str = "api";
const VERSION: &str = "2024-06-20";

impl Payments for Stripe {
    async fn authorize(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
        let method = match prepare(ctx, "/v1/payment_methods", method_form(&request)?).await? {
            Ok(method) => method,
            Err(refused) => return Ok(refused),
        };
        let intent = match prepare(ctx, "/v1/payment_intents", intent_form(&request, text(&method, "id")?)?).await? {
            Ok(intent) => intent,
            Err(refused) => return Ok(refused),
        };
        let id = text(&intent, "id")?.to_owned();
        // Some servers that stand in for Stripe do not know the field.
        let sends_url = ctx
            .setting("/send_return_url")
            .and_then(|value| value.as_bool())
            .unwrap_or(true);
        let form = Form::default()
            .optional("return_url", sends_url.then_some(&ctx.context.return_url))
            .field("expand[]", "latest_charge");
        let confirm = authorized(ctx, post(API, format!("/v1/payment_intents/{id}/confirm")).form(form))?
            .header("idempotency-key", ctx.next_key()?);
        match ctx.send(confirm).await {
            Err(no) => Ok(doubt(portolan_adapter::why(&no), &id)),
            Ok(response) => confirmed(&response, &request.amount, &id),
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Finding, Fault> {
        let Some(reference) = &of.reference else {
            // Without a reference no request ever got past the preparation, or the host lost it: Stripe's search lags by
            // minutes, so it proves nothing.
            return Ok(Finding::Unknown("the intent has no reference yet".into()));
        };
        match ctx
            .send(authorized(
                ctx,
                get(API, format!("/v1/payment_intents/{reference}?expand[]=latest_charge")),
            )?)
            .await
        {
            Err(no) => Ok(Finding::Unknown(portolan_adapter::why(&no))),
            Ok(response) => match response.status {
                200 => {
                    let intent = response.json()?;
                    // Not confirmed: the write never got there, or is still on its way. The host waits before it believes.
                    let is_unconfirmed = matches!(
                        text(&intent, "status")?,
                        "requires_confirmation" | "requires_payment_method"
                    );
                    if is_unconfirmed && !has_failed(&intent) {
                        return Ok(Finding::NotFound);
                    }
                    let mut standing = standing(&intent, &of)?;
                    if disputes::is_disputed(&intent) {
                        match disputes::of(ctx, reference, text(&intent, "currency")?).await? {
                            Ok(told) => standing.extra.extend(told),
                            Err(nothing) => return Ok(Finding::Unknown(nothing)),
                        }
                    }
                    Ok(Finding::Standing(standing))
                }
                404 => Ok(Finding::NotFound),
                status => Ok(Finding::Unknown(format!("status {status}"))),
            },
        }
    }
}

impl Actions for Stripe {
    /// The payer's return brings nothing that Stripe does not know itself: ask.
    async fn resume(
        ctx: &Ctx,
        original: Authorization,
        of: Target,
        _returned: Vec<(String, String)>,
    ) -> Result<Outcome, Fault> {
        let reference = reference(&of)?.to_owned();
        match ctx
            .send(authorized(
                ctx,
                get(API, format!("/v1/payment_intents/{reference}?expand[]=latest_charge")),
            )?)
            .await
        {
            Err(no) => Ok(doubt(portolan_adapter::why(&no), &reference)),
            Ok(response) => confirmed(&response, &original.amount, &reference),
        }
    }
}

impl Captures for Stripe {
    async fn capture(ctx: &Ctx, of: Target, amount: Money, is_final: bool) -> Result<captures::Outcome, Fault> {
        if !is_final {
            return Err(Fault::Unsupported("Stripe captures a card payment once".into()));
        }
        let form = Form::default().field("amount_to_capture", &amount.units);
        match write(ctx, &format!("/v1/payment_intents/{}/capture", reference(&of)?), form).await? {
            Ok(intent) => follow_up_of(&intent, &amount, "succeeded"),
            Err(outcome) => Ok(outcome),
        }
    }

    async fn cancel(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        let amount = target_amount(&of)?;
        match write(
            ctx,
            &format!("/v1/payment_intents/{}/cancel", reference(&of)?),
            Form::default(),
        )
        .await?
        {
            Ok(intent) => follow_up_of(&intent, &amount, "canceled"),
            Err(outcome) => Ok(outcome),
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        let wanted = if of.kind == "cancel" { "canceled" } else { "succeeded" };
        let amount = target_amount(&of)?;
        match ctx
            .send(authorized(
                ctx,
                get(API, format!("/v1/payment_intents/{}", reference(&of)?)),
            )?)
            .await
        {
            Ok(response) if response.status == 200 => {
                let intent = response.json()?;
                if text(&intent, "status")? == "requires_capture" {
                    return Ok(captures::Outcome::NotFound);
                }
                follow_up_of(&intent, &amount, wanted)
            }
            other => Ok(captures::Outcome::Unknown(brief(&other))),
        }
    }
}

impl Refunds for Stripe {
    async fn refund(ctx: &Ctx, of: Target, amount: Money, _reason: Option<String>) -> Result<captures::Outcome, Fault> {
        let form = Form::default()
            .field("payment_intent", reference(&of)?)
            .field("amount", &amount.units)
            .field("metadata[operation]", &ctx.context.operation);
        match write(ctx, "/v1/refunds", form).await? {
            Ok(refund) => refund_outcome(&refund, &amount),
            Err(outcome) => Ok(outcome),
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        let path = format!("/v1/refunds?payment_intent={}&limit=100", reference(&of)?);
        let amount = target_amount(&of)?;
        match ctx.send(authorized(ctx, get(API, path))?).await {
            Ok(response) if response.status == 200 => {
                let list = response.json()?;
                let refunds = list.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
                let ours = |refund: &&Value| {
                    refund.pointer("/metadata/operation").and_then(Value::as_str) == Some(of.operation.as_str())
                };
                match refunds.iter().find(ours) {
                    Some(refund) => refund_outcome(refund, &amount),
                    None => Ok(captures::Outcome::NotFound),
                }
            }
            other => Ok(captures::Outcome::Unknown(brief(&other))),
        }
    }
}

// === requests ===

fn authorized(ctx: &Ctx, request: Request) -> Result<Request, Fault> {
    Ok(request.bearer(ctx.secret("api_key")?).header("stripe-version", VERSION))
}

fn method_form(request: &Authorization) -> Result<Form, Fault> {
    let Instrument::Card(card) = &request.instrument else {
        return Err(Fault::Unsupported("only cards".into()));
    };
    Ok(Form::default()
        .field("type", "card")
        .field("card[number]", &card.number)
        .field("card[exp_month]", card.expiry_month.to_string())
        .field("card[exp_year]", card.expiry_year.to_string())
        .optional("card[cvc]", card.security_code.as_ref())
        .optional(
            "billing_details[name]",
            card.holder.as_ref().or(request.payer.name.as_ref()),
        )
        .optional("billing_details[email]", request.payer.email.as_ref()))
}

fn intent_form(request: &Authorization, method: &str) -> Result<Form, Fault> {
    portolan_adapter::minor_units(&request.amount)?;
    // `any`: 3-D Secure, with or without a challenge, as the issuer likes.
    let demand = must_authenticate(request).then_some("any");
    let description = (!request.description.is_empty()).then_some(&request.description);
    Ok(Form::default()
        .field("amount", &request.amount.units)
        .field("currency", request.amount.asset.to_ascii_lowercase())
        .field("capture_method", if request.capture { "automatic" } else { "manual" })
        .field("payment_method_types[]", "card")
        .field("payment_method", method)
        .field("metadata[payment]", &request.payment)
        .optional("description", description)
        .optional("payment_method_options[card][request_three_d_secure]", demand)
        .optional("statement_descriptor_suffix", request.statement_descriptor.as_ref()))
}

/// Sends a request that cannot move money. `Ok(Err(outcome))`: the provider said no, or did not say anything; nothing
/// can have happened.
async fn prepare(ctx: &Ctx, path: &str, form: Form) -> Result<Result<Value, Outcome>, Fault> {
    match ctx.send(authorized(ctx, post(API, path).form(form))?.prepares()).await {
        Err(no) => Err(Fault::Other(format!(
            "preparing at Stripe: {}",
            portolan_adapter::why(&no)
        ))),
        Ok(response) if response.status == 200 => Ok(Ok(response.json()?)),
        Ok(response) if response.status == 402 => Ok(Err(Outcome::Declined(declines::decline(&response.json()?)))),
        Ok(response) => Err(refused(&response)?),
    }
}

/// Sends a write that follows an authorization.
async fn write(ctx: &Ctx, path: &str, form: Form) -> Result<Result<Value, captures::Outcome>, Fault> {
    let request = authorized(ctx, post(API, path).form(form))?.header("idempotency-key", ctx.next_key()?);
    match ctx.send(request).await {
        Err(no) => Ok(Err(captures::Outcome::Unknown(portolan_adapter::why(&no)))),
        Ok(response) => match response.status {
            200 => Ok(Ok(response.json()?)),
            400 | 402 | 404 => Ok(Err(captures::Outcome::Declined(declines::decline(&response.json()?)))),
            401 | 403 => Err(refused(&response)?),
            status => Ok(Err(captures::Outcome::Unknown(format!("status {status}")))),
        },
    }
}

/// The fault that a refusal is: the field that Stripe names, or its credentials.
fn refused(response: &Response) -> Result<Fault, Fault> {
    let body = response.json()?;
    let error = |name: &str| {
        body.pointer(&format!("/error/{name}"))
            .and_then(Value::as_str)
            .unwrap_or("?")
            .to_owned()
    };
    Ok(match response.status {
        401 | 403 => Fault::Misconfigured(error("message")),
        400 | 404 => Fault::Invalid((error("param"), error("message"))),
        status => Fault::Other(format!("Stripe answers {status}")),
    })
}

// === replies ===

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Fault> {
    let found = value.get(name).and_then(Value::as_str);
    found.ok_or_else(|| Fault::Protocol(format!("the reply has no text {name:?}")))
}

fn money(value: &Value, name: &str, like: &Money) -> Result<Money, Fault> {
    let units = value.get(name).and_then(Value::as_u64).unwrap_or(0);
    let asset = text(value, "currency")?.to_ascii_uppercase();
    Ok(Money {
        units: units.to_string(),
        exponent: like.exponent,
        asset,
    })
}

fn reference(of: &Target) -> Result<&str, Fault> {
    let found = of.parent_reference.as_deref().or(of.reference.as_deref());
    found.ok_or_else(|| Fault::Unsupported("the intent has no reference".into()))
}

fn target_amount(of: &Target) -> Result<Money, Fault> {
    of.amount
        .clone()
        .ok_or_else(|| Fault::Other("the target has no amount".into()))
}

fn doubt(why: String, reference: &str) -> Outcome {
    Outcome::Unknown(Doubt {
        why,
        reference: Some(reference.to_owned()),
        extra: vec![],
    })
}

fn brief(reply: &Result<Response, portolan_adapter::types::NoResponse>) -> String {
    match reply {
        Ok(response) => format!("status {}", response.status),
        Err(no) => portolan_adapter::why(no),
    }
}

/// What a confirmed (or re-read) intent says.
fn confirmed(response: &Response, asked: &Money, id: &str) -> Result<Outcome, Fault> {
    match response.status {
        200 => intent_outcome(&response.json()?, asked, id),
        402 => Ok(Outcome::Declined(declines::decline(&response.json()?))),
        400 | 401 | 403 | 404 => Err(refused(response)?),
        status => Ok(doubt(format!("status {status}"), id)),
    }
}

fn intent_outcome(intent: &Value, asked: &Money, id: &str) -> Result<Outcome, Fault> {
    match text(intent, "status")? {
        status @ ("succeeded" | "requires_capture") => Ok(Outcome::Accepted(Accepted {
            reference: text(intent, "id")?.to_owned(),
            authorized: money(intent, "amount", asked)?,
            captured: status == "succeeded",
            network_reference: None,
            memo: None,
            extra: authentication::of(intent).into_iter().collect(),
        })),
        "requires_action" => Ok(Outcome::Waiting(Waiting {
            reference: Some(id.to_owned()),
            action: redirect(intent).map(Action::Redirect),
            check_after_ms: 30_000,
            progress: None,
            memo: None,
            extra: vec![],
        })),
        "processing" => Ok(Outcome::Waiting(Waiting {
            reference: Some(id.to_owned()),
            action: None,
            check_after_ms: 5_000,
            progress: Some("processing".into()),
            memo: None,
            extra: vec![],
        })),
        "requires_payment_method" => Ok(Outcome::Declined(declines::decline(&last_error(intent)))),
        other => Ok(doubt(format!("intent status {other:?}"), id)),
    }
}

/// Where the payer authenticates: a page to go to, or the one behind Stripe's own script.
fn redirect(intent: &Value) -> Option<String> {
    let at = |pointer: &str| intent.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    at("/next_action/redirect_to_url/url").or_else(|| at("/next_action/use_stripe_sdk/stripe_js"))
}

/// An intent keeps its decline under another name than an error reply.
fn last_error(intent: &Value) -> Value {
    portolan_adapter::json!({ "error": intent.get("last_payment_error").cloned().unwrap_or_default() })
}

fn has_failed(intent: &Value) -> bool {
    intent.get("last_payment_error").is_some_and(|error| !error.is_null())
}

fn standing(intent: &Value, of: &Target) -> Result<Standing, Fault> {
    let amount = target_amount(of)?;
    let status = text(intent, "status")?;
    let state = match status {
        "succeeded" => State::Captured,
        "requires_capture" => State::Authorized,
        "canceled" => State::Canceled,
        "requires_payment_method" => State::Failed,
        "processing" | "requires_action" => State::Waiting,
        other => return Err(Fault::Protocol(format!("intent status {other:?}"))),
    };
    let captured = if state == State::Captured {
        Some(money(intent, "amount_received", &amount)?)
    } else {
        None
    };
    Ok(Standing {
        reference: text(intent, "id")?.to_owned(),
        state,
        authorized: Some(money(intent, "amount", &amount)?),
        captured: captured.filter(|captured| captured.units != "0").or_else(|| {
            if state == State::Captured {
                money(intent, "amount", &amount).ok()
            } else {
                None
            }
        }),
        refunded: None,
        received: None,
        fee: None,
        declined: (state == State::Failed).then(|| declines::decline(&last_error(intent))),
        progress: Some(status.to_owned()),
        check_after_ms: 5_000,
        memo: None,
        extra: authentication::of(intent).into_iter().collect(),
    })
}

fn follow_up_of(intent: &Value, amount: &Money, wanted: &str) -> Result<captures::Outcome, Fault> {
    let status = text(intent, "status")?;
    if status != wanted {
        return Ok(captures::Outcome::Unknown(format!(
            "the intent is {status}, not {wanted}"
        )));
    }
    Ok(captures::Outcome::Done(captures::Done {
        reference: text(intent, "id")?.to_owned(),
        amount: told(intent, wanted, amount),
        fee: None,
        memo: None,
        extra: vec![],
    }))
}

/// What the intent says was captured or cancelled, where it says so: the router compares it with what was asked.
fn told(intent: &Value, status: &str, asked: &Money) -> Money {
    let field = if status == "succeeded" {
        "amount_received"
    } else {
        "amount"
    };
    let units = intent.get(field).and_then(Value::as_u64);
    let asset = intent.get("currency").and_then(Value::as_str);
    Money {
        units: units.map_or_else(|| asked.units.clone(), |units| units.to_string()),
        exponent: asked.exponent,
        asset: asset.map_or_else(|| asked.asset.clone(), str::to_ascii_uppercase),
    }
}

fn refund_outcome(refund: &Value, asked: &Money) -> Result<captures::Outcome, Fault> {
    match text(refund, "status")? {
        "succeeded" => Ok(captures::Outcome::Done(captures::Done {
            reference: text(refund, "id")?.to_owned(),
            amount: money(refund, "amount", asked)?,
            fee: None,
            memo: None,
            extra: vec![],
        })),
        "pending" | "requires_action" => Ok(captures::Outcome::Waiting(5_000)),
        "failed" | "canceled" => {
            let reason = refund.get("failure_reason").cloned().unwrap_or_default();
            let error = portolan_adapter::json!({ "error": { "code": reason, "message": "the refund failed" } });
            Ok(captures::Outcome::Declined(declines::decline(&error)))
        }
        other => Ok(captures::Outcome::Unknown(format!("refund status {other:?}"))),
    }
}
