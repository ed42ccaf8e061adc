//! Operators and approvals: what of a merchant's has to be approved before it goes out, and who is invited to do it.

use super::routes::owner_of;
use super::{App, Refusal, failed, refuse};
use crate::approvals::ApprovalError;
use crate::wire::ApprovalsView;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use portolan_domain::approval::{ApprovalTerms, Approvals, NAME_MAX, PEOPLE_MAX};
use portolan_domain::ids::{ApproverId, MerchantId, Mode};
use portolan_domain::money::Money;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pages on which a merchant's people approve.
const ORIGINS_MAX: usize = 8;
/// Currencies in which small amounts are free.
const FREE_MAX: usize = 32;
/// The longest name of whoever decides.
const BY_MAX: usize = 100;

fn refused(error: ApprovalError) -> Refusal {
    match error {
        ApprovalError::Store(error) => failed(error),
        ApprovalError::Conflict => refuse(StatusCode::CONFLICT, error),
        ApprovalError::None(_) | ApprovalError::NotInvited(_) | ApprovalError::NoApprover(..) => {
            refuse(StatusCode::NOT_FOUND, error)
        }
        ApprovalError::Passkey(_) | ApprovalError::Invalid(_) => refuse(StatusCode::UNPROCESSABLE_ENTITY, error),
    }
}

fn bad(what: impl std::fmt::Display) -> Refusal {
    refuse(StatusCode::UNPROCESSABLE_ENTITY, what)
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(bad)
}

/// A name of somebody, as people write it.
fn name<'a>(field: &str, text: &'a str, max: usize) -> Result<&'a str, Refusal> {
    let is_good = !text.trim().is_empty() && text.chars().count() <= max && !text.chars().any(char::is_control);
    is_good
        .then_some(text)
        .ok_or_else(|| bad(format!("{field}: 1 to {max} characters, no control characters")))
}

fn shown(approvals: &Approvals) -> Value {
    let (may, people) = (
        approvals.confirmed().len(),
        approvals.terms.as_ref().map_or(0, |it| it.people),
    );
    let waits = may < usize::from(people);
    let note =
        waits.then(|| format!("payouts wait: {may} of the {people} that it takes may approve; invite, and confirm"));
    json!({
        "merchant": approvals.merchant.as_str(), "mode": approvals.mode.as_str(), "version": approvals.version,
        "may_approve": may, "note": note, "approvals": ApprovalsView::of(approvals),
    })
}

/// `GET /admin/approvals`.
pub(super) async fn list(State(shared): App) -> Json<Value> {
    let all = shared.app.approving.all();
    Json(json!({ "merchants": all.iter().map(|it| shown(it)).collect::<Vec<_>>() }))
}

/// `POST /admin/approvals/{merchant}/{mode}`: from now on, in the place of what was said before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    by: String,
    terms: Terms,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    rp_id: String,
    origins: Vec<String>,
    people: u8,
    /// By currency, in minor units.
    #[serde(default)]
    free: BTreeMap<String, u64>,
}

pub(super) async fn set(
    State(shared): App,
    Path(owner): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let ask: Set = parse(&body)?;
    let owner = owner_of(owner)?;
    if ask.terms.rp_id == "localhost" && owner.0 == Mode::Live {
        return Err(bad("rp_id: localhost is for test mode"));
    }
    let terms = read(ask.terms, |code| shared.app.config.asset(code))?;
    put(&shared.app, owner, &ask.by, Some(terms)).await
}

/// `POST /admin/approvals/{merchant}/{mode}/lift`: nothing has to be approved from now on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lift {
    by: String,
}

pub(super) async fn lift(
    State(shared): App,
    Path(owner): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let ask: Lift = parse(&body)?;
    put(&shared.app, owner_of(owner)?, &ask.by, None).await
}

async fn put(
    app: &crate::app::App,
    (mode, merchant): (Mode, MerchantId),
    by: &str,
    terms: Option<ApprovalTerms>,
) -> Result<Json<Value>, Refusal> {
    let by = name("by", by, BY_MAX)?;
    let keys = app.key_ring.api_keys().map_err(failed)?;
    if !keys.iter().any(|it| it.mode == mode && it.merchant == merchant) {
        let what = format!("no API key of {merchant} in {}: is that whom you mean?", mode.as_str());
        return Err(refuse(StatusCode::NOT_FOUND, what));
    }
    let before = app.approving.of((mode, &merchant));
    app.approving.set((mode, &merchant), by, terms).await.map_err(refused)?;
    let after = app.approving.of((mode, &merchant));
    let shown = |it: Option<Arc<Approvals>>| it.map_or(Value::Null, |it| shown(&it));
    Ok(Json(json!({ "before": shown(before), "after": shown(after) })))
}

fn read(terms: Terms, asset: impl Fn(&str) -> Option<portolan_domain::money::Asset>) -> Result<ApprovalTerms, Refusal> {
    if !(1..=PEOPLE_MAX).contains(&terms.people) {
        return Err(bad(format!("people: 1 to {PEOPLE_MAX}")));
    }
    if terms.origins.len() > ORIGINS_MAX || terms.free.len() > FREE_MAX {
        return Err(bad(format!("at most {ORIGINS_MAX} origins and {FREE_MAX} currencies")));
    }
    let free = terms.free.iter().map(|(code, minor)| {
        let asset = asset(code).ok_or_else(|| bad(format!("free: no currency {code:?}")))?;
        Money::new(i128::from(*minor), asset).ok_or_else(|| bad("free: out of range"))
    });
    Ok(ApprovalTerms {
        free: free.collect::<Result<_, _>>()?,
        rp_id: terms.rp_id,
        origins: terms.origins,
        people: terms.people,
    })
}

/// `POST /admin/approvals/{merchant}/{mode}/invite`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Invite {
    by: String,
    name: String,
}

pub(super) async fn invite(
    State(shared): App,
    Path(owner): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let ask: Invite = parse(&body)?;
    let (mode, merchant) = owner_of(owner)?;
    let (by, who) = (name("by", &ask.by, BY_MAX)?, name("name", &ask.name, NAME_MAX)?);
    let invited = shared.app.approving.invite((mode, &merchant), by, who).await;
    let (id, code) = invited.map_err(refused)?;
    let how = "shown once, good for three days: give it to them yourself; they enter it on the merchant's page, and read you the fingerprint that it shows: then `approvals confirm`";
    Ok(Json(
        json!({ "approver": id.to_string(), "name": who, "invite": code, "note": how }),
    ))
}

/// `POST /admin/approvals/{merchant}/{mode}/confirm`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirm {
    by: String,
    approver: String,
    key: String,
}

pub(super) async fn confirm(
    State(shared): App,
    Path(owner): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let ask: Confirm = parse(&body)?;
    let (mode, merchant) = owner_of(owner)?;
    let (id, by) = (approver(&ask.approver)?, name("by", &ask.by, BY_MAX)?);
    let confirmed = shared
        .app
        .approving
        .confirm((mode, &merchant), by, (id, &ask.key))
        .await;
    confirmed.map_err(refused)?;
    Ok(Json(json!({ "confirmed": id.to_string() })))
}

fn approver(text: &str) -> Result<ApproverId, Refusal> {
    text.parse().map_err(|error| bad(format!("approver: {error}")))
}

/// `POST /admin/approvals/{merchant}/{mode}/remove`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    by: String,
    approver: String,
}

pub(super) async fn remove(
    State(shared): App,
    Path(owner): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let ask: Remove = parse(&body)?;
    let (mode, merchant) = owner_of(owner)?;
    let id = approver(&ask.approver)?;
    let by = name("by", &ask.by, BY_MAX)?;
    shared
        .app
        .approving
        .remove((mode, &merchant), by, id)
        .await
        .map_err(refused)?;
    let after = shared.app.approving.of((mode, &merchant));
    Ok(Json(
        json!({ "removed": id.to_string(), "after": after.map(|it| shown(&it)) }),
    ))
}
