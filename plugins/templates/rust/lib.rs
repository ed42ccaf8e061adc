//! NAME: start here. `PROVIDER` is a made-up card API; put your provider's paths, fields and codes in its place.
#![allow(missing_docs)]

use portolan_adapter::payments::{Accepted, Authorization, Finding, Instrument, Outcome, Standing, State};
use portolan_adapter::types::{Capability, Decline, EndpointAsk, Fault, Manifest, Money, Place, PlaceAsk, Request, Retry, SecretAsk, Target};
use portolan_adapter::{Adapter, Ctx, Declines, Payments, ReplyExt, RequestExt, Value, declined, get, json, minor_units, post, why};
// can: captures
use portolan_adapter::Captures;
// end
// can: refunds
use portolan_adapter::Refunds;
// end
// can: captures refunds
use portolan_adapter::captures;
// end

pub struct Own;

portolan_adapter::export_channel!(Own: adapter, payments /* can: captures */, captures /* end */ /* can: refunds */, refunds /* end */);

const API: &str = "api";

/// Your provider's codes: the router's reason, what may be tried next. A code that is not here is never tried again.
const DECLINES: Declines = &[
    ("51", "insufficient-funds", Retry::Later),
    ("54", "expired-card", Retry::AfterCorrection),
    ("91", "issuer-unavailable", Retry::OtherChannel),
];

impl Adapter for Own {
    fn describe() -> Manifest {
        let at = |place: Place| vec![PlaceAsk { endpoint: API.into(), places: vec![place] }];
        let capability = |of: &str| Capability {
            of: of.into(),
            idempotent_for_s: Some(86_400),
            found_by_key: true,
            not_found_final_after_s: None,
            partial: true,
            multiple: true,
            assets: vec![],
        };
        Manifest {
            name: "NAME".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "PROVIDER, cards".into(),
            methods: vec!["card".into()],
            countries: vec![],
            capabilities: ["payments" /* can: captures */, "captures" /* end */ /* can: refunds */, "refunds" /* end */].map(capability).into(),
            endpoints: vec![EndpointAsk {
                name: API.into(),
                purpose: "charges".into(),
                live_url: "https://api.provider.example".into(),
                test_url: "https://test.provider.example".into(),
            }],
            harmless: vec![],
            secrets: vec![SecretAsk {
                name: "api_key".into(),
                purpose: "every request".into(),
                at: at(Place::Header(("authorization".into(), "Bearer ".into()))),
            }],
            card_number: at(Place::JsonPointer("/card/number".into())),
            card_security_code: at(Place::JsonPointer("/card/cvc".into())),
            keys: vec![],
            sessions: vec![],
            key_format: "uuid".into(),
            reads_memo: vec![],
            settings_schema: r#"{"type":"object","additionalProperties":false}"#.into(),
            extra: vec![],
        }
    }
}

impl Payments for Own {
    async fn authorize(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
        let Instrument::Card(card) = &request.instrument else {
            return Err(Fault::Unsupported("only cards".into()));
        };
        let body = json!({
            "amount": minor_units(&request.amount)?,
            "currency": request.amount.asset,
            "capture": request.capture,
            "card": { "number": card.number, "cvc": card.security_code, "month": card.expiry_month, "year": card.expiry_year },
        });
        match write(ctx, "/charges", &body).await? {
            Ok(charge) => outcome(&charge, &request.amount),
            Err(doubt) => Ok(Outcome::unknown(doubt)),
        }
    }

    /// What became of it: the router asks whenever it does not know.
    async fn status(ctx: &Ctx, of: Target) -> Result<Finding, Fault> {
        let path = match (&of.reference, of.keys.first()) {
            (Some(reference), _) => format!("/charges/{reference}"),
            (None, Some(key)) => format!("/charges?key={key}"),
            (None, None) => return Err(Fault::Unsupported("a charge is found by its id or its key".into())),
        };
        match ctx.send(authorized(ctx, get(API, path))?).await {
            Ok(reply) if reply.status == 200 => Ok(Finding::Standing(standing(&reply.json()?, &of)?)),
            Ok(reply) if reply.status == 404 => Ok(Finding::NotFound),
            Ok(reply) => Ok(Finding::Unknown(format!("status {}", reply.status))),
            Err(no) => Ok(Finding::Unknown(why(&no))),
        }
    }
}

// can: captures
impl Captures for Own {
    async fn capture(ctx: &Ctx, of: Target, amount: Money, is_final: bool) -> Result<captures::Outcome, Fault> {
        let body = json!({ "amount": minor_units(&amount)?, "final": is_final });
        follow(ctx, &format!("/charges/{}/captures", charge_of(&of)?), &body, &amount).await
    }

    async fn cancel(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        follow(ctx, &format!("/charges/{}/void", charge_of(&of)?), &json!({}), &amount_of(&of)?).await
    }

    /// What became of that one capture or cancel.
    async fn status(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        found(ctx, if of.kind == "capture" { "captures" } else { "voids" }, &of).await
    }
}

// end
// can: refunds
impl Refunds for Own {
    async fn refund(ctx: &Ctx, of: Target, amount: Money, _reason: Option<String>) -> Result<captures::Outcome, Fault> {
        let body = json!({ "amount": minor_units(&amount)? });
        follow(ctx, &format!("/charges/{}/refunds", charge_of(&of)?), &body, &amount).await
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault> {
        found(ctx, "refunds", &of).await
    }
}

// end
// can: captures refunds
fn charge_of(of: &Target) -> Result<&str, Fault> {
    let charge = of.parent_reference.as_deref().or(of.reference.as_deref());
    charge.ok_or_else(|| Fault::Unsupported("the charge has no id yet".into()))
}

fn amount_of(of: &Target) -> Result<Money, Fault> {
    of.amount.clone().ok_or_else(|| Fault::Other("the target has no amount".into()))
}

/// Something that follows a charge.
async fn follow(ctx: &Ctx, path: &str, body: &Value, asked: &Money) -> Result<captures::Outcome, Fault> {
    match write(ctx, path, body).await? {
        Ok(made) => follow_outcome(&made, asked),
        Err(doubt) => Ok(captures::Outcome::Unknown(doubt)),
    }
}

/// What became of it.
async fn found(ctx: &Ctx, list: &str, of: &Target) -> Result<captures::Outcome, Fault> {
    let key = of.keys.first().ok_or_else(|| Fault::Unsupported("it is found by its key".into()))?;
    match ctx.send(authorized(ctx, get(API, format!("/{list}?key={key}")))?).await {
        Ok(reply) if reply.status == 200 => follow_outcome(&reply.json()?, &amount_of(of)?),
        Ok(reply) if reply.status == 404 => Ok(captures::Outcome::NotFound),
        Ok(reply) => Ok(captures::Outcome::Unknown(format!("status {}", reply.status))),
        Err(no) => Ok(captures::Outcome::Unknown(why(&no))),
    }
}

fn follow_outcome(made: &Value, asked: &Money) -> Result<captures::Outcome, Fault> {
    match text(made, "status")? {
        "captured" | "voided" | "refunded" => Ok(captures::Outcome::Done(captures::Done {
            reference: text(made, "id")?.to_owned(),
            amount: money(made, asked)?,
            fee: None,
            memo: None,
            extra: vec![],
        })),
        "declined" => Ok(captures::Outcome::Declined(decline(made))),
        other => Ok(captures::Outcome::Unknown(format!("status {other:?} is not in the documents"))),
    }
}
// end

fn authorized(ctx: &Ctx, request: Request) -> Result<Request, Fault> {
    Ok(request.bearer(ctx.secret("api_key")?))
}

/// One write with its key. The inner error: nobody knows what it did.
async fn write(ctx: &Ctx, path: &str, body: &Value) -> Result<Result<Value, String>, Fault> {
    let request = authorized(ctx, post(API, path).json(body))?.header("idempotency-key", ctx.next_key()?);
    match ctx.send(request).await {
        Ok(reply) => match reply.status {
            200 | 402 => Ok(Ok(reply.json()?)),
            400 => Err(Fault::Invalid(("request".into(), text(&reply.json()?, "message")?.to_owned()))),
            401 => Err(Fault::Misconfigured("the API key is refused".into())),
            status => Ok(Err(format!("status {status}"))),
        },
        Err(no) => Ok(Err(why(&no))),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Fault> {
    let found = value.get(name).and_then(Value::as_str);
    found.ok_or_else(|| Fault::Protocol(format!("the reply has no text {name:?}")))
}

/// What the provider says was moved, in its own words: the router compares.
fn money(value: &Value, like: &Money) -> Result<Money, Fault> {
    let units = value.get("amount").and_then(Value::as_u64);
    let units = units.ok_or_else(|| Fault::Protocol("the reply has no whole number \"amount\"".into()))?;
    Ok(Money { units: units.to_string(), exponent: like.exponent, asset: text(value, "currency")?.to_owned() })
}

fn decline(reply: &Value) -> Decline {
    let field = |name: &str| reply.get(name).and_then(Value::as_str).unwrap_or_default();
    declined(DECLINES, field("code"), field("message"))
}

fn outcome(charge: &Value, asked: &Money) -> Result<Outcome, Fault> {
    match text(charge, "status")? {
        status @ ("authorized" | "captured") => Ok(Outcome::Accepted(Accepted {
            reference: text(charge, "id")?.to_owned(),
            authorized: money(charge, asked)?,
            captured: status == "captured",
            network_reference: None,
            memo: None,
            extra: vec![],
        })),
        "declined" => Ok(Outcome::Declined(decline(charge))),
        other => Ok(Outcome::unknown(format!("status {other:?} is not in the documents"))),
    }
}

fn standing(charge: &Value, of: &Target) -> Result<Standing, Fault> {
    let like = of.amount.clone().ok_or_else(|| Fault::Other("the target has no amount".into()))?;
    let status = text(charge, "status")?;
    let amount = money(charge, &like)?;
    Ok(Standing {
        reference: text(charge, "id")?.to_owned(),
        state: match status {
            "authorized" => State::Authorized,
            "captured" => State::Captured,
            "voided" => State::Canceled,
            "declined" => State::Failed,
            other => return Err(Fault::Protocol(format!("status {other:?} is not in the documents"))),
        },
        captured: (status == "captured").then(|| amount.clone()),
        authorized: Some(amount),
        refunded: None,
        received: None,
        fee: None,
        declined: (status == "declined").then(|| decline(charge)),
        progress: None,
        check_after_ms: 5_000,
        memo: None,
        extra: vec![],
    })
}
