//! The desk's HTTP interface: sessions, who may ask, what it really did. Prices and conversions are in `fx.rs`, transfers
//! in `transfers.rs`.

use crate::books::Books;
use crate::{Options, fx, transfers};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portolan_simulator::now_ms;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// The oldest version in which the paths under `/fx` and `/transfers` exist.
const VERSION_MIN: &str = "2024-09-27";

/// The desk.
pub struct Desk {
    pub options: Options,
    books: Mutex<Books>,
    sessions: Mutex<HashMap<String, u64>>,
    counter: AtomicU64,
    /// By how many basis points the market has moved, as a test told.
    pub moved_bps: AtomicI64,
}

pub type Shared = State<Arc<Desk>>;

impl Desk {
    /// Over its record.
    pub fn new(options: Options, books: Books) -> Self {
        let made = books.quotes.len() + books.conversions.len() + books.transfers.len();
        Self {
            options,
            books: Mutex::new(books),
            sessions: Mutex::new(HashMap::new()),
            counter: AtomicU64::new(made as u64),
            moved_bps: AtomicI64::new(0),
        }
    }

    /// The record.
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new id, in the form of a UUID.
    pub fn id(&self) -> String {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-de5c-4000-8000-{:012x}", n, now_ms())
    }

    /// Session and version of a request.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<(), Response> {
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        if header("x-api-version") < VERSION_MIN {
            let how = format!("x-api-version must be {VERSION_MIN} or later");
            return Err(problem(
                StatusCode::BAD_REQUEST,
                "incorrect_version",
                "x-api-version",
                &how,
            ));
        }
        let token = header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match sessions.get(token) {
            Some(until) if *until >= now_ms() => Ok(()),
            _ => Err(problem(
                StatusCode::UNAUTHORIZED,
                "credentials_expired",
                "authorization",
                "the access token is invalid",
            )),
        }
    }
}

/// Every route.
pub fn routes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/api/v1/authentication/login", post(login))
        .route("/api/v1/fx/quotes/create", post(fx::quote))
        .route("/api/v1/fx/conversions/create", post(fx::convert))
        .route("/api/v1/fx/conversions", get(fx::conversions))
        .route("/api/v1/transfers/create", post(transfers::create))
        .route("/api/v1/transfers", get(transfers::list))
        .route("/api/v1/transfers/{id}", get(transfers::show))
        .route("/records", get(records))
        .route("/market", post(move_market))
        .with_state(desk)
}

async fn login(State(desk): Shared, headers: HeaderMap) -> Result<Response, Response> {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let Options {
        client_id,
        api_key,
        session_s,
        ..
    } = &desk.options;
    if header("x-client-id") != client_id || header("x-api-key") != api_key {
        let why = "client id and API key do not fit";
        return Err(problem(
            StatusCode::UNAUTHORIZED,
            "credentials_invalid",
            "x-api-key",
            why,
        ));
    }
    let token = format!("desk-session-token-{}", desk.id());
    let until = now_ms().saturating_add(session_s.saturating_mul(1_000));
    desk.sessions
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(token.clone(), until);
    Ok((
        StatusCode::CREATED,
        axum::Json(json!({ "token": token, "expires_at": time_text(until) })),
    )
        .into_response())
}

/// What it really did: for tests and demos to compare.
async fn records(State(desk): Shared) -> Response {
    let books = desk.books();
    let now = now_ms();
    let transfers: Vec<Value> = books
        .transfers
        .values()
        .map(|it| {
            json!({ "id": it.id, "request_id": it.request_id, "status": it.status_at(now), "currency": it.currency,
                "amount": it.amount.to_string(), "reference": it.reference, "metadata": it.metadata })
        })
        .collect();
    let conversions: Vec<Value> = books
        .conversions
        .values()
        .map(|it| {
            json!({ "id": it.id, "request_id": it.request_id, "status": it.status,
                "sell_currency": it.quote.sell_currency, "sell_amount": it.quote.sell_amount.to_string(),
                "buy_currency": it.quote.buy_currency, "buy_amount": it.quote.buy_amount.to_string() })
        })
        .collect();
    axum::Json(json!({ "quotes": books.quotes.len(), "conversions": conversions, "transfers": transfers }))
        .into_response()
}

/// Moves the market by so many basis points, for tests.
async fn move_market(State(desk): Shared, body: Bytes) -> Result<Response, Response> {
    #[derive(Deserialize)]
    struct Move {
        moved_bps: i64,
    }
    let ask: Move = parse(&body)?;
    desk.moved_bps.store(ask.moved_bps, Ordering::Relaxed);
    Ok(StatusCode::OK.into_response())
}

/// An error as the provider writes it.
pub fn problem(status: StatusCode, code: &str, source: &str, message: &str) -> Response {
    (
        status,
        axum::Json(json!({ "code": code, "source": source, "message": message })),
    )
        .into_response()
}

/// A body; what is unknown or missing is refused.
pub fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body)
        .map_err(|error| problem(StatusCode::BAD_REQUEST, "validation_failed", "body", &error.to_string()))
}

/// A time as the provider writes it.
pub fn time_text(ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(ms / 1_000).unwrap_or(0));
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}+0000",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// A JSON number, digit by digit.
pub fn number(value: Decimal) -> Box<RawValue> {
    RawValue::from_string(value.normalize().to_string()).unwrap_or_default()
}

/// A number in a request: a JSON number or a text of one.
pub fn decimal(raw: &RawValue) -> Result<Decimal, Response> {
    let text = raw.get().trim_matches('"');
    Decimal::from_str_exact(text)
        .ok()
        .filter(|value| *value > Decimal::ZERO)
        .ok_or_else(|| {
            problem(
                StatusCode::BAD_REQUEST,
                "invalid_argument",
                "amount",
                "must be a number above 0",
            )
        })
}

/// An amount's minor units, for the table of faults.
pub fn minor(value: Decimal, decimals: u32) -> u64 {
    let scaled = value.checked_mul(Decimal::from(10_u64.pow(decimals)));
    scaled
        .and_then(|scaled| u64::try_from(scaled.trunc()).ok())
        .unwrap_or(0)
}
