//! The acquirer's HTTP interface: sessions, charges, what follows them, status by id or key, the payer's page, and what
//! it really did.

#![expect(
    clippy::result_large_err,
    reason = "handlers answer with a whole response in either case"
)]

use crate::charge::{Authentication, Charge, Decline, FollowUp, NewCharge, issuer};
use crate::fault::{self, Fault};
use crate::record::Record;
use crate::{Options, disputes, notify};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use portolan_simulator::notify::hmac_hex;
use portolan_simulator::{dropped, now_ms};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long "no answer ever comes" lasts: longer than anybody waits.
const NEVER: Duration = Duration::from_secs(120);
/// How much later a late success shows.
const LATE_MS: u64 = 3_000;

/// The acquirer.
pub struct Acquirer {
    options: Options,
    base: String,
    record: Mutex<Record>,
    sessions: Mutex<HashMap<String, u64>>,
    counter: AtomicU64,
    /// Requests that came, whatever became of them.
    requests: AtomicU64,
    /// What every issuer answers through this acquirer, whatever the card; `None`: what the card says.
    says: Mutex<Option<String>>,
}

impl Acquirer {
    /// Over its record.
    pub fn new(options: Options, record: Record, base: String) -> Self {
        let counter = AtomicU64::new(record.charges.len() as u64 + record.follow_ups.len() as u64);
        Self {
            options,
            base,
            record: Mutex::new(record),
            sessions: Mutex::new(HashMap::new()),
            counter,
            requests: AtomicU64::new(0),
            says: Mutex::new(None),
        }
    }

    /// Where notifications are signed with; `None`: none are sent.
    pub fn notify_key(&self) -> Option<String> {
        (!self.options.silent).then(|| self.options.notify_key.clone())
    }

    /// What the issuer says to a charge.
    fn issuer_of(&self, new: &NewCharge) -> Result<&'static str, Option<Decline>> {
        let must_authenticate = new.three_d_secure.is_some();
        match self.says.lock().unwrap_or_else(PoisonError::into_inner).as_deref() {
            Some("1A") if must_authenticate => Ok("action_required"),
            Some(code) => Err(Some(Decline::of_network(code, "as told"))),
            None => issuer(&new.card, must_authenticate),
        }
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", now_ms(), self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// Session and signature of a request.
    fn authenticate(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Response> {
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let token = header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.get(token).is_none_or(|until| *until < now_ms()) {
            return Err(problem(StatusCode::UNAUTHORIZED, "authorization", "no open session"));
        }
        if header("x-signature") != hmac_hex(&self.options.signing_key, body) {
            return Err(problem(
                StatusCode::FORBIDDEN,
                "x-signature",
                "the signature does not fit the body",
            ));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

pub fn problem(status: StatusCode, field: &str, message: &str) -> Response {
    (status, axum::Json(json!({ "field": field, "message": message }))).into_response()
}

pub fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body).map_err(|error| problem(StatusCode::BAD_REQUEST, "body", &error.to_string()))
}

fn key_of(headers: &HeaderMap) -> Result<String, Response> {
    let key = headers
        .get("idempotency-key")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if key.is_empty() {
        Err(problem(StatusCode::BAD_REQUEST, "idempotency-key", "missing"))
    } else {
        Ok(key.to_owned())
    }
}

pub type Shared = State<Arc<Acquirer>>;

/// Every route.
pub fn routes(acquirer: Arc<Acquirer>) -> Router {
    Router::new()
        .route("/v1/sessions", post(open_session))
        .route("/v1/charges", post(create_charge).get(charge_by_key))
        .route("/v1/charges/{id}", get(charge_by_id))
        .route("/v1/charges/{id}/complete", post(complete_charge))
        .route("/v1/charges/{id}/{action}", post(follow_up))
        .route("/v1/reversals", post(reverse))
        .route("/v1/operations", get(operation_by_key))
        .route("/3ds/{id}", get(payer_page))
        .route("/disputes", post(disputes::open))
        .route("/disputes/{id}", post(disputes::change))
        .route("/settlement.csv", get(settlement))
        .route("/records", get(records))
        .route("/issuer", post(script_issuer))
        .with_state(acquirer)
}

/// Lets every issuer answer with one code, or each card with its own again: an acquirer whose approvals fall.
async fn script_issuer(State(acquirer): Shared, body: Bytes) -> Result<Response, Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Says {
        says: Option<String>,
    }
    let said: Says = parse(&body)?;
    *acquirer.says.lock().unwrap_or_else(PoisonError::into_inner) = said.says;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn open_session(State(acquirer): Shared, body: Bytes) -> Result<Response, Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Open {
        client_secret: String,
    }
    let open: Open = parse(&body)?;
    if open.client_secret != acquirer.options.client_secret {
        return Err(problem(StatusCode::UNAUTHORIZED, "client_secret", "unknown"));
    }
    let token = format!("session-token-{}-{}", now_ms(), acquirer.id("s"));
    let until = now_ms().saturating_add(acquirer.options.session_s.saturating_mul(1_000));
    acquirer
        .sessions
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(token.clone(), until);
    Ok(
        axum::Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": acquirer.options.session_s }))
            .into_response(),
    )
}

async fn create_charge(State(acquirer): Shared, headers: HeaderMap, body: Bytes) -> Result<Response, Response> {
    acquirer.authenticate(&headers, &body)?;
    let key = key_of(&headers)?;
    let new: NewCharge = parse(&body)?;
    check_charge(&new)?;
    if let Some(known) = acquirer
        .record()
        .charge_of_key(&key)
        .filter(|_| !acquirer.options.ignore_idempotency)
    {
        return Ok(show(&acquirer, known));
    }
    let fault = fault::of_amount(new.amount);
    if !fault.has_effect() {
        return Ok(without_effect(fault));
    }
    let charge = decide(&acquirer, key, new, fault);
    let written = acquirer.record().put_charge(charge.clone());
    written.map_err(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, "record", &error.to_string()))?;
    announce(&acquirer, &charge, fault);
    Ok(answer(&acquirer, &charge, fault).await)
}

fn check_charge(new: &NewCharge) -> Result<(), Response> {
    let bad = |field: &str, message: &str| Err(problem(StatusCode::UNPROCESSABLE_ENTITY, field, message));
    if new.amount == 0 {
        bad("amount", "must be more than 0")
    } else if new.currency.len() != 3 {
        bad("currency", "three letters")
    } else if new.three_d_secure.as_deref().is_some_and(|word| word != "required") {
        bad("three_d_secure", "required, or nothing")
    } else if !(12..=19).contains(&new.card.number.len()) || !new.card.number.bytes().all(|b| b.is_ascii_digit()) {
        bad("card.number", "12 to 19 digits")
    } else if !(1..=12).contains(&new.card.expiry_month) || new.card.expiry_year < 2000 {
        bad("card.expiry_month", "not a month")
    } else if new
        .card
        .security_code
        .as_ref()
        .is_some_and(|code| code.len() < 3 || !code.bytes().all(|b| b.is_ascii_digit()))
    {
        bad("card.security_code", "3 or 4 digits")
    } else {
        Ok(())
    }
}

fn decide(acquirer: &Acquirer, key: String, new: NewCharge, fault: Fault) -> Charge {
    let said = acquirer.issuer_of(&new);
    let mut charge = Charge {
        id: acquirer.id("ch"),
        key,
        reference: new.reference,
        amount: new.amount,
        currency: new.currency,
        capture: new.capture,
        status: "declined".into(),
        captured: 0,
        refunded: 0,
        last4: new
            .card
            .number
            .get(new.card.number.len().saturating_sub(4)..)
            .unwrap_or_default()
            .to_owned(),
        return_url: new.return_url,
        notify_url: new.notify_url,
        action_token: None,
        authentication: None,
        decline: None,
        disputes: vec![],
        visible_ms: if fault == Fault::LateSuccess {
            now_ms().saturating_add(LATE_MS)
        } else {
            0
        },
    };
    match (said, fault) {
        (_, Fault::TimeoutThenDecline) => {
            charge.decline = Some(Decline::of_network("05", "do not honor"));
        }
        (Err(decline), _) => charge.decline = decline,
        (Ok("action_required"), _) => {
            charge.status = "action_required".into();
            charge.action_token = Some(acquirer.id("auth"));
        }
        (Ok("authenticated"), _) => {
            charge.authentication = Some(Authentication::new("Y", false));
            charge.approve();
        }
        (Ok(_), _) => charge.approve(),
    }
    charge
}

fn without_effect(fault: Fault) -> Response {
    match fault {
        Fault::ResetWithoutEffect => dropped(),
        _ => problem(StatusCode::INTERNAL_SERVER_ERROR, "-", "scripted error"),
    }
}

fn announce(acquirer: &Arc<Acquirer>, charge: &Charge, fault: Fault) {
    if acquirer.options.silent {
        return;
    }
    let key = acquirer.options.notify_key.clone();
    let event = |n: u32| format!("{}-{n}", charge.id);
    let events: Vec<(String, String)> = match fault {
        Fault::DuplicateNotifications => (0..3).map(|_| (event(1), charge.status.clone())).collect(),
        Fault::ReorderedNotifications => vec![(event(2), charge.status.clone()), (event(1), "processing".into())],
        Fault::LateSuccess | Fault::Mute => vec![],
        _ => vec![(event(1), charge.status.clone())],
    };
    let charge = charge.clone();
    tokio::spawn(async move {
        for (id, status) in events {
            notify::send(charge.clone(), id, status, key.clone()).await;
        }
    });
}

async fn answer(acquirer: &Acquirer, charge: &Charge, fault: Fault) -> Response {
    let whole = || view(acquirer, charge).to_string();
    match fault {
        Fault::TimeoutThenSuccess | Fault::TimeoutThenDecline | Fault::LateSuccess | Fault::Mute => {
            tokio::time::sleep(NEVER).await;
            dropped()
        }
        Fault::ErrorAfterEffect => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "-",
            "scripted error after the effect",
        ),
        Fault::Garbage => (StatusCode::OK, "<html>maintenance</html>").into_response(),
        Fault::Reset => dropped(),
        Fault::HalfBody => cut(&whole(), Duration::ZERO),
        Fault::SlowBody => cut(&whole(), Duration::from_millis(400)),
        Fault::ClaimsMore => {
            let mut more = view(acquirer, charge);
            if let Some(fields) = more.as_object_mut() {
                fields.insert("amount".into(), json!(charge.amount.saturating_add(1)));
            }
            axum::Json(more).into_response()
        }
        Fault::None
        | Fault::DuplicateNotifications
        | Fault::ReorderedNotifications
        | Fault::ErrorWithoutEffect
        | Fault::ResetWithoutEffect => show(acquirer, charge),
    }
}

/// The first half of a body whose length promised more; with a pause, one byte at a time.
fn cut(body: &str, pause: Duration) -> Response {
    let half: Vec<u8> = body.bytes().take(body.len() / 2).collect();
    let pieces: Vec<Vec<u8>> = if pause.is_zero() {
        vec![half]
    } else {
        half.into_iter().map(|byte| vec![byte]).collect()
    };
    let stream = futures_util::stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        tokio::time::sleep(pause).await;
        match pieces.next() {
            Some(piece) => Some((Ok(piece), pieces)),
            None => Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)), pieces)),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_LENGTH, body.len().to_string()),
    ];
    (headers, Body::from_stream(stream)).into_response()
}

fn view(acquirer: &Acquirer, charge: &Charge) -> Value {
    let redirect = (charge.status == "action_required").then(|| format!("{}/3ds/{}", acquirer.base, charge.id));
    let shown = charge.disputes.iter().filter(|it| !it.status.starts_with("hidden"));
    json!({
        "id": charge.id, "status": charge.status, "amount": charge.amount, "currency": charge.currency,
        "captured": charge.captured, "refunded": charge.refunded, "decline": charge.decline,
        "network_reference": format!("net-{}", charge.id), "redirect_url": redirect, "authentication": charge.authentication, "disputes": shown.collect::<Vec<_>>(),
    })
}

fn show(acquirer: &Acquirer, charge: &Charge) -> Response {
    let status = if charge.status == "declined" {
        StatusCode::PAYMENT_REQUIRED
    } else {
        StatusCode::OK
    };
    (status, axum::Json(view(acquirer, charge))).into_response()
}

/// Some charges are shown to nobody while they stand.
fn refuse_mute(charge: &Charge) -> Result<(), Response> {
    if fault::of_amount(charge.amount) == Fault::Mute && charge.status != "reversed" {
        return Err(problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "-",
            "scripted: this charge is not shown",
        ));
    }
    Ok(())
}

fn visible(charge: Option<&Charge>) -> Option<&Charge> {
    charge.filter(|charge| charge.visible_ms <= now_ms())
}

async fn charge_by_id(
    State(acquirer): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    acquirer.authenticate(&headers, b"")?;
    let record = acquirer.record();
    match visible(record.charges.get(&id)) {
        Some(charge) => refuse_mute(charge).map(|()| axum::Json(view(&acquirer, charge)).into_response()),
        None => Err(problem(StatusCode::NOT_FOUND, "id", "no such charge")),
    }
}

#[derive(Deserialize)]
struct ByKey {
    key: String,
}

async fn charge_by_key(
    State(acquirer): Shared,
    Query(by): Query<ByKey>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    acquirer.authenticate(&headers, b"")?;
    let record = acquirer.record();
    match visible(record.charge_of_key(&by.key)) {
        Some(charge) => refuse_mute(charge).map(|()| axum::Json(view(&acquirer, charge)).into_response()),
        None => Err(problem(StatusCode::NOT_FOUND, "key", "no such charge")),
    }
}

async fn complete_charge(
    State(acquirer): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Complete {
        result: String,
    }
    acquirer.authenticate(&headers, &body)?;
    let complete: Complete = parse(&body)?;
    let mut record = acquirer.record();
    let mut charge = record
        .charges
        .get(&id)
        .cloned()
        .ok_or_else(|| problem(StatusCode::NOT_FOUND, "id", "no such charge"))?;
    if charge.status == "action_required" {
        if charge.action_token.as_deref() == Some(complete.result.as_str()) {
            charge.authentication = Some(Authentication::new("Y", true));
            charge.approve();
        } else {
            charge.authentication = Some(Authentication::new("N", true));
            charge.status = "declined".into();
            charge.decline = Some(Decline::of_network("3D", "authentication failed"));
        }
        let written = record.put_charge(charge.clone());
        written.map_err(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, "record", &error.to_string()))?;
    }
    Ok(show(&acquirer, &charge))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Amount {
    amount: Option<u64>,
    #[serde(rename = "final")]
    is_final: Option<bool>,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

async fn follow_up(
    State(acquirer): Shared,
    Path((id, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    acquirer.authenticate(&headers, &body)?;
    let key = key_of(&headers)?;
    let ask: Amount = parse(&body)?;
    let amount = ask.amount.unwrap_or(0);
    apply(&acquirer, key, &id, &action, |charge| match action.as_str() {
        "captures" => charge.take(amount, ask.is_final.unwrap_or(true)),
        "void" => charge.void(),
        "refunds" => charge.give_back(amount),
        _ => Err(None),
    })
    .await
}

async fn reverse(State(acquirer): Shared, headers: HeaderMap, body: Bytes) -> Result<Response, Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Reverse {
        charge_key: String,
    }
    acquirer.authenticate(&headers, &body)?;
    let key = key_of(&headers)?;
    let ask: Reverse = parse(&body)?;
    let id = acquirer
        .record()
        .charge_of_key(&ask.charge_key)
        .map(|charge| charge.id.clone());
    let id = id.ok_or_else(|| problem(StatusCode::NOT_FOUND, "charge_key", "no such charge"))?;
    apply(&acquirer, key, &id, "reversal", |charge| Ok(charge.reverse())).await
}

async fn apply(
    acquirer: &Arc<Acquirer>,
    key: String,
    id: &str,
    kind: &str,
    change: impl FnOnce(&mut Charge) -> Result<u64, Option<Decline>>,
) -> Result<Response, Response> {
    let (follow_up, fault) = {
        let mut record = acquirer.record();
        if let Some(known) = record
            .follow_ups
            .get(&key)
            .filter(|_| !acquirer.options.ignore_idempotency)
        {
            return Ok(axum::Json(known.clone()).into_response());
        }
        let found = record.charges.get(id).cloned();
        let mut charge = found.ok_or_else(|| problem(StatusCode::NOT_FOUND, "id", "no such charge"))?;
        let changed = change(&mut charge);
        let follow_up = FollowUp {
            id: acquirer.id("op"),
            key,
            charge: id.to_owned(),
            kind: kind.to_owned(),
            amount: *changed.as_ref().unwrap_or(&0),
            currency: charge.currency.clone(),
            status: if changed.is_ok() { "done" } else { "refused" }.into(),
            decline: changed.err().flatten(),
        };
        let fault = fault::of_amount(follow_up.amount);
        if !fault.has_effect() {
            return Ok(without_effect(fault));
        }
        let written = record
            .put_charge(charge)
            .and_then(|()| record.put_follow_up(follow_up.clone()));
        written.map_err(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, "record", &error.to_string()))?;
        (follow_up, fault)
    };
    match fault {
        Fault::TimeoutThenSuccess => {
            tokio::time::sleep(NEVER).await;
            Ok(dropped())
        }
        Fault::ErrorAfterEffect => Ok(problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "-",
            "scripted error after the effect",
        )),
        Fault::Reset => Ok(dropped()),
        _ => Ok(axum::Json(follow_up).into_response()),
    }
}

async fn operation_by_key(
    State(acquirer): Shared,
    Query(by): Query<ByKey>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    acquirer.authenticate(&headers, b"")?;
    match acquirer.record().follow_ups.get(&by.key) {
        Some(follow_up) => Ok(axum::Json(follow_up.clone()).into_response()),
        None => Err(problem(StatusCode::NOT_FOUND, "key", "no such operation")),
    }
}

/// Where the payer is sent for 3-D Secure: it authenticates at once and sends the browser back.
async fn payer_page(State(acquirer): Shared, Path(id): Path<String>) -> Result<Response, Response> {
    let record = acquirer.record();
    let charge = record
        .charges
        .get(&id)
        .ok_or_else(|| problem(StatusCode::NOT_FOUND, "id", "no such charge"))?;
    let token = charge.action_token.clone().unwrap_or_default();
    Ok(Redirect::to(&format!("{}?result={token}", charge.return_url)).into_response())
}

/// What it settles: everything that it took and gave back, as one batch. 1.4 % and 10 of the smallest unit are its fee.
async fn settlement(State(acquirer): Shared) -> Response {
    let record = acquirer.record();
    let mut report = "batch,kind,reference,key,currency,gross,fee,net,value_date\n".to_owned();
    let mut charges: Vec<&Charge> = record.charges.values().filter(|charge| charge.captured > 0).collect();
    charges.sort_by(|a, b| a.id.cmp(&b.id));
    for charge in charges {
        let fee = (charge.captured * 14).div_ceil(1_000) + 10;
        let net = i128::from(charge.captured) - i128::from(fee);
        report.push_str(&format!(
            "batch-1,charge,{},{},{},{},{fee},{net},2026-11-27\n",
            charge.id, charge.key, charge.currency, charge.captured
        ));
    }
    let mut refunds: Vec<&FollowUp> = record.follow_ups.values().collect();
    refunds.retain(|it| it.kind == "refunds" && it.status == "done");
    refunds.sort_by(|a, b| a.id.cmp(&b.id));
    for refund in refunds {
        report.push_str(&format!(
            "batch-1,refund,{},{},{},-{},0,-{},2026-11-27\n",
            refund.id, refund.key, refund.currency, refund.amount, refund.amount
        ));
    }
    report.push_str(&disputes::report(&record));
    ([(header::CONTENT_TYPE, "text/csv")], report).into_response()
}

/// What it really did: for tests and demos to compare.
async fn records(State(acquirer): Shared) -> Response {
    let record = acquirer.record();
    let charges: Vec<&Charge> = record.charges.values().collect();
    let follow_ups: Vec<&FollowUp> = record.follow_ups.values().collect();
    axum::Json(json!({
        "requests": acquirer.requests.load(Ordering::Relaxed), "charges": charges, "follow_ups": follow_ups,
    }))
    .into_response()
}
