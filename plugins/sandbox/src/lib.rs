//! An adapter for a plain card acquirer, the one in `examples/acquirer`. It owns the mapping of that provider's JSON;
//! partners read it as the example of an adapter.

mod declines;
mod describe;
mod notify;
mod settlements;

use portolan_adapter::payments::{Accepted, Authorization, Finding, Instrument, Outcome, Standing, State, Waiting};
use portolan_adapter::types::{Action, Fault, Money, Request, Response, Target};
use portolan_adapter::{
    Actions, Authentication, AuthenticationResult, Captures, Ctx, Dispute, DisputeState, Payments, Refunds, ReplyExt,
    RequestExt, Reversals, Sessions, Value, captures, get, json, keys, must_authenticate, post, sessions,
};

/// The adapter.
pub struct Sandbox;

#[cfg(feature = "export")]
portolan_adapter::export_channel!(Sandbox: adapter, sessions, payments, actions, captures, refunds, reversals, notifications, settlements);

const ACQUIRER: &str = "acquirer";

impl Sessions for Sandbox {
    async fn start(ctx: &Ctx, _name: String) -> Result<sessions::Opened, Fault> {
        let body = json!({ "client_secret": ctx.secret("client_secret")? });
        let reply = ctx.send(post(ACQUIRER, "/v1/sessions").json(&body).prepares()).await;
        let response = reply.map_err(|no| Fault::Other(format!("no session: {}", portolan_adapter::why(&no))))?;
        if response.status != 200 {
            return Err(Fault::Misconfigured(format!(
                "the acquirer refuses the client secret with {}",
                response.status
            )));
        }
        let lives_s = response.json()?.get("expires_in").and_then(Value::as_u64).unwrap_or(60);
        let token = sessions::TokenAt::JsonPointer("/access_token".into());
        Ok(sessions::Opened {
            token,
            lives_s: u32::try_from(lives_s).unwrap_or(60),
        })
    }
}

impl Payments for Sandbox {
    async fn authorize(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
        let Instrument::Card(card) = &request.instrument else {
            return Err(Fault::Unsupported("only cards".into()));
        };
        let mut body = json!({
            "reference": request.payment,
            "amount": minor(&request.amount)?,
            "currency": request.amount.asset,
            "capture": request.capture,
            "card": { "number": card.number, "expiry_month": card.expiry_month, "expiry_year": card.expiry_year },
            "return_url": ctx.context.return_url,
            "notify_url": ctx.context.notify_url,
        });
        if let (Some(code), Some(fields)) = (
            &card.security_code,
            body.pointer_mut("/card").and_then(Value::as_object_mut),
        ) {
            fields.insert("security_code".into(), Value::String(code.clone()));
        }
        if let (true, Some(fields)) = (must_authenticate(&request), body.as_object_mut()) {
            fields.insert("three_d_secure".into(), "required".into());
        }
        match send_write(ctx, "/v1/charges", &body).await? {
            Ok(charge) => charge_outcome(&charge, &request.amount),
            Err(unknown) => Ok(Outcome::unknown(unknown)),
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Finding, Fault> {
        let path = match (&of.reference, of.keys.first()) {
            (Some(reference), _) => format!("/v1/charges/{reference}"),
            (None, Some(key)) => format!("/v1/charges?key={key}"),
            (None, None) => return Err(Fault::Unsupported("a charge is found by its id or by its key".into())),
        };
        let response = match ctx.send(signed(ctx, get(ACQUIRER, path))?).await {
            Ok(response) => response,
            Err(no) => return Ok(Finding::Unknown(portolan_adapter::why(&no))),
        };
        match response.status {
            200 => Ok(Finding::Standing(standing(&response.json()?, &of)?)),
            401 => Err(Fault::StaleSession("acquirer".into())),
            404 => Ok(Finding::NotFound),
            status => Ok(Finding::Unknown(format!("status {status}"))),
        }
    }
}

impl Actions for Sandbox {
    async fn resume(
        ctx: &Ctx,
        original: Authorization,
        of: Target,
        returned: Vec<(String, String)>,
    ) -> Result<Outcome, Fault> {
        let reference = reference(&of)?;
        let result = returned
            .iter()
            .find(|(name, _)| name == "result")
            .map_or("", |(_, value)| value);
        match send_write(
            ctx,
            &format!("/v1/charges/{reference}/complete"),
            &json!({ "result": result }),
        )
        .await?
        {
            Ok(charge) => charge_outcome(&charge, &original.amount),
            Err(unknown) => Ok(Outcome::unknown(unknown)),
        }
    }
}

impl Captures for Sandbox {
    async fn capture(ctx: &Ctx, of: Target, amount: Money, is_final: bool) -> Result<captures::Outcome, Fault> {
        let path = format!("/v1/charges/{}/captures", reference(&of)?);
        follow_up(
            ctx,
            &path,
            &json!({ "amount": minor(&amount)?, "final": is_final }),
            &amount,
        )
        .await
    }

    async fn cancel(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        let path = format!("/v1/charges/{}/void", reference(&of)?);
        follow_up(ctx, &path, &json!({}), &target_amount(&of)?).await
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        operation_status(ctx, &of).await
    }
}

impl Refunds for Sandbox {
    async fn refund(ctx: &Ctx, of: Target, amount: Money, reason: Option<String>) -> Result<captures::Outcome, Fault> {
        let path = format!("/v1/charges/{}/refunds", reference(&of)?);
        follow_up(
            ctx,
            &path,
            &json!({ "amount": minor(&amount)?, "reason": reason }),
            &amount,
        )
        .await
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        operation_status(ctx, &of).await
    }
}

impl Reversals for Sandbox {
    async fn reverse(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        let body = json!({ "charge_key": of.keys.first() });
        follow_up(ctx, "/v1/reversals", &body, &target_amount(&of)?).await
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        operation_status(ctx, &of).await
    }
}

fn minor(amount: &Money) -> Result<u64, Fault> {
    portolan_adapter::minor_units(amount)
}

fn reference(of: &Target) -> Result<&str, Fault> {
    let found = of.parent_reference.as_deref().or(of.reference.as_deref());
    found.ok_or_else(|| Fault::Unsupported("the charge has no reference yet".into()))
}

fn target_amount(of: &Target) -> Result<Money, Fault> {
    of.amount
        .clone()
        .ok_or_else(|| Fault::Other("the target has no amount".into()))
}

fn signed(ctx: &Ctx, request: Request) -> Result<Request, Fault> {
    let session = ctx.secret("session:acquirer")?;
    let signature = keys::sign(
        "signing",
        "hmac-sha256",
        "application/json",
        &request.body,
        keys::Encoding::Hex,
    )?;
    let timeout = ctx
        .setting("/timeout_ms")
        .and_then(|value| value.as_u64())
        .and_then(|ms| u32::try_from(ms).ok());
    Ok(request
        .bearer(session)
        .header("x-signature", signature)
        .timeout_ms(timeout.unwrap_or(20_000)))
}

/// Sends one write with its idempotency key. `Ok(Err(text))`: nobody knows what it did.
async fn send_write(ctx: &Ctx, path: &str, body: &Value) -> Result<Result<Value, String>, Fault> {
    let request = signed(ctx, post(ACQUIRER, path).json(body))?.header("idempotency-key", ctx.next_key()?);
    match ctx.send(request).await {
        Err(no) => Ok(Err(portolan_adapter::why(&no))),
        Ok(response) => read_write(&response),
    }
}

fn read_write(response: &Response) -> Result<Result<Value, String>, Fault> {
    match response.status {
        200 | 201 | 402 => Ok(Ok(response.json()?)),
        401 => Err(Fault::StaleSession("acquirer".into())),
        400 | 422 => {
            let problem = response.json()?;
            let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
            Err(Fault::Invalid((text("field"), text("message"))))
        }
        status => Ok(Err(format!("status {status}"))),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Fault> {
    let found = value.get(name).and_then(Value::as_str);
    found.ok_or_else(|| Fault::Protocol(format!("the reply has no text {name:?}")))
}

fn money(value: &Value, name: &str, like: &Money) -> Result<Money, Fault> {
    let units = value.get(name).and_then(Value::as_u64);
    let units = units.ok_or_else(|| Fault::Protocol(format!("the reply has no whole number {name:?}")))?;
    let asset = text(value, "currency")?.to_owned();
    Ok(Money {
        units: units.to_string(),
        exponent: like.exponent,
        asset,
    })
}

fn charge_outcome(charge: &Value, asked: &Money) -> Result<Outcome, Fault> {
    let reference = text(charge, "id")?.to_owned();
    match text(charge, "status")? {
        status @ ("authorized" | "captured") => Ok(Outcome::Accepted(Accepted {
            reference,
            authorized: money(charge, "amount", asked)?,
            captured: status == "captured",
            network_reference: charge
                .get("network_reference")
                .and_then(Value::as_str)
                .map(str::to_owned),
            memo: None,
            extra: authentication(charge).into_iter().collect(),
        })),
        "declined" => Ok(Outcome::Declined(declines::decline(charge))),
        "action_required" => Ok(Outcome::Waiting(Waiting {
            reference: Some(reference),
            action: Some(Action::Redirect(text(charge, "redirect_url")?.to_owned())),
            check_after_ms: 30_000,
            progress: None,
            memo: None,
            extra: vec![],
        })),
        "processing" => Ok(Outcome::Waiting(Waiting {
            reference: Some(reference),
            action: None,
            check_after_ms: 1_000,
            progress: Some("processing".into()),
            memo: None,
            extra: vec![],
        })),
        other => Ok(Outcome::unknown(format!(
            "status {other:?} is not in the acquirer's documents"
        ))),
    }
}

fn standing(charge: &Value, of: &Target) -> Result<Standing, Fault> {
    let amount = target_amount(of)?;
    let status = text(charge, "status")?;
    let state = match status {
        "authorized" => State::Authorized,
        "captured" => State::Captured,
        "declined" => State::Failed,
        "action_required" | "processing" => State::Waiting,
        "voided" => State::Canceled,
        "expired" => State::Expired,
        "reversed" => State::Reversed,
        other => return Err(Fault::Protocol(format!("charge status {other:?}"))),
    };
    Ok(Standing {
        reference: text(charge, "id")?.to_owned(),
        state,
        authorized: Some(money(charge, "amount", &amount)?),
        captured: Some(money(charge, "captured", &amount)?),
        refunded: Some(money(charge, "refunded", &amount)?),
        received: None,
        fee: None,
        declined: (status == "declined").then(|| declines::decline(charge)),
        progress: Some(status.to_owned()),
        check_after_ms: 1_000,
        memo: None,
        extra: disputes(charge)?.into_iter().chain(authentication(charge)).collect(),
    })
}

/// What became of the payer's authentication.
fn authentication(charge: &Value) -> Option<(String, String)> {
    let told = charge.get("authentication")?;
    let text = |name: &str| told.get(name).and_then(Value::as_str).map(str::to_owned);
    let it = Authentication {
        result: match text("result")?.as_str() {
            "Y" => AuthenticationResult::Authenticated,
            "A" => AuthenticationResult::Attempted,
            "I" => AuthenticationResult::Exempted,
            _ => AuthenticationResult::NotAuthenticated,
        },
        challenge: told.get("challenge").and_then(Value::as_bool),
        version: text("version"),
        eci: text("eci"),
    };
    Some(it.extra())
}

/// What payers' banks want back of a charge.
fn disputes(charge: &Value) -> Result<Vec<(String, String)>, Fault> {
    let all = charge.get("disputes").and_then(Value::as_array);
    let dispute = |it: &Value| {
        let units = it.get("amount").and_then(Value::as_u64);
        let dispute = Dispute {
            reference: text(it, "id")?.to_owned(),
            state: match text(it, "status")? {
                "inquiry" => DisputeState::Inquiry,
                "needs_response" => DisputeState::NeedsResponse,
                "under_review" => DisputeState::UnderReview,
                "won" => DisputeState::Won,
                "lost" => DisputeState::Lost,
                other => return Err(Fault::Protocol(format!("dispute status {other:?}"))),
            },
            units: units
                .ok_or_else(|| Fault::Protocol("a dispute without amount".into()))?
                .to_string(),
            reason: text(it, "reason")?.to_owned(),
            network_code: it.get("network_code").and_then(Value::as_str).map(str::to_owned),
            due_ms: it.get("due_ms").and_then(Value::as_u64),
        };
        Ok(dispute.extra())
    };
    all.into_iter().flatten().map(dispute).collect()
}

async fn follow_up(ctx: &Ctx, path: &str, body: &Value, asked: &Money) -> Result<captures::Outcome, Fault> {
    match send_write(ctx, path, body).await? {
        Ok(operation) => operation_outcome(&operation, asked),
        Err(unknown) => Ok(captures::Outcome::Unknown(unknown)),
    }
}

fn operation_outcome(operation: &Value, asked: &Money) -> Result<captures::Outcome, Fault> {
    match text(operation, "status")? {
        "done" => Ok(captures::Outcome::Done(captures::Done {
            reference: text(operation, "id")?.to_owned(),
            amount: money(operation, "amount", asked)?,
            fee: None,
            memo: None,
            extra: vec![],
        })),
        "pending" => Ok(captures::Outcome::Waiting(1_000)),
        "refused" => Ok(captures::Outcome::Declined(declines::decline(operation))),
        other => Ok(captures::Outcome::Unknown(format!(
            "status {other:?} is not in the acquirer's documents"
        ))),
    }
}

async fn operation_status(ctx: &Ctx, of: &Target) -> Result<captures::Outcome, Fault> {
    let key = of
        .keys
        .first()
        .ok_or_else(|| Fault::Unsupported("an operation is found by its key".into()))?;
    match ctx
        .send(signed(ctx, get(ACQUIRER, format!("/v1/operations?key={key}")))?)
        .await
    {
        Err(no) => Ok(captures::Outcome::Unknown(portolan_adapter::why(&no))),
        Ok(response) => match response.status {
            200 => operation_outcome(&response.json()?, &target_amount(of)?),
            401 => Err(Fault::StaleSession("acquirer".into())),
            404 => Ok(captures::Outcome::NotFound),
            status => Ok(captures::Outcome::Unknown(format!("status {status}"))),
        },
    }
}
