//! The bank's HTTP interface: transfers in, their status, the account's transactions and statement, what it really did.

use crate::books::{Books, Incoming, Transfer};
use crate::caller::{self, Certificate, header, problem};
use crate::credit_transfer::{self, Order};
use crate::fault::{self, Fault};
use crate::{Options, report};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portolan_simulator::{dropped, now_ms};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long "no answer ever comes" lasts.
const NEVER: Duration = Duration::from_secs(120);
const PRODUCTS: [&str; 2] = [
    "pain.001-sepa-credit-transfers",
    "pain.001-cross-border-credit-transfers",
];

/// The bank.
pub struct Bank {
    options: Options,
    certificate: Certificate,
    books: Mutex<Books>,
    counter: AtomicU64,
}

type Shared = State<Arc<Bank>>;

impl Bank {
    /// Over its record.
    pub fn new(options: Options, certificate: Certificate, books: Books) -> Self {
        let made = books.transfers.len() + books.incoming.len();
        Self {
            options,
            certificate,
            books: Mutex::new(books),
            counter: AtomicU64::new(made as u64),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self) -> String {
        format!("{:06}-{}", self.counter.fetch_add(1, Ordering::Relaxed), now_ms())
    }

    fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Response> {
        caller::check(&self.certificate, &self.options.access_token, headers, body)
    }
}

/// Every route.
pub fn routes(bank: Arc<Bank>) -> Router {
    Router::new()
        .route("/v1/payments/{product}", post(initiate))
        .route("/v1/payments/{product}/{id}/status", get(status))
        .route("/v1/accounts/{account}/transactions", get(transactions))
        .route("/statement", get(statement))
        .route("/incoming", post(incoming))
        .route("/records", get(records))
        .with_state(bank)
}

async fn initiate(
    State(bank): Shared,
    Path(product): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    bank.check(&headers, &body)?;
    if !PRODUCTS.contains(&product.as_str()) {
        return Err(problem(StatusCode::NOT_FOUND, "PRODUCT_UNKNOWN", &product));
    }
    if header(&headers, "psu-ip-address").parse::<std::net::IpAddr>().is_err() {
        return Err(problem(StatusCode::BAD_REQUEST, "FORMAT_ERROR", "PSU-IP-Address"));
    }
    if header(&headers, "content-type") != "application/xml" {
        return Err(problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "FORMAT_ERROR",
            "application/xml",
        ));
    }
    let order = credit_transfer::read(&body, &product, &bank.options.iban)
        .map_err(|why| problem(StatusCode::BAD_REQUEST, "FORMAT_ERROR", &why))?;
    let (transfer, fault) = take(&bank, order, (&product, &body))?;
    match fault {
        Fault::TimeoutThenSuccess => {
            tokio::time::sleep(NEVER).await;
            Ok(dropped())
        }
        Fault::ErrorAfterEffect => Ok(internal("scripted, after the effect")),
        _ => Ok(initiated(&transfer, &product)),
    }
}

fn internal(text: &str) -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", text)
}

fn initiated(transfer: &Transfer, product: &str) -> Response {
    let at = format!("/v1/payments/{product}/{}", transfer.id);
    let links = json!({ "self": { "href": at }, "status": { "href": format!("{at}/status") } });
    let status = transfer.status_at(now_ms());
    let mut body = json!({ "transactionStatus": status, "paymentId": transfer.id, "_links": links });
    if let (Some(reason), "RJCT", Some(fields)) = (&transfer.reason, status, body.as_object_mut()) {
        let message = json!([{ "category": "ERROR", "code": reason, "text": "scripted" }]);
        fields.insert("tppMessages".into(), message);
    }
    (StatusCode::CREATED, axum::Json(body)).into_response()
}

fn take(bank: &Bank, order: Order, (product, xml): (&str, &[u8])) -> Result<(Transfer, Fault), Response> {
    let mut books = bank.books();
    if books.transfers.contains_key(&order.message) {
        return Err(problem(StatusCode::BAD_REQUEST, "AM05", "the message was sent before"));
    }
    let fault = fault::of_amount(minor(order.amount));
    if fault == Fault::ErrorWithoutEffect {
        return Err(internal("scripted, without effect"));
    }
    let transfer = course(bank, fault, order, (product, xml));
    let written = books.put_transfer(transfer.clone());
    written.map_err(|error| internal(&error.to_string()))?;
    Ok((transfer, fault))
}

/// What becomes of a transfer, and when.
fn course(bank: &Bank, fault: Fault, order: Order, (product, xml): (&str, &[u8])) -> Transfer {
    let (now, pays_after) = (now_ms(), bank.options.pays_after_ms);
    let later = |factor: u64| now.saturating_add(pays_after.saturating_mul(factor));
    let at = |at: u64, status: &str| (at, status.to_owned());
    let taken = || vec![at(now, "ACTC"), at(now.saturating_add(pays_after / 2), "ACSP")];
    let settled = || [taken(), vec![at(later(1), "ACSC")]].concat();
    let (statuses, reason, booked_ms, returned_ms) = match fault {
        Fault::InsufficientFunds => (vec![at(now, "RJCT")], Some("AM04"), None, None),
        Fault::AccountClosed => ([taken(), vec![at(later(1), "RJCT")]].concat(), Some("AC04"), None, None),
        Fault::ReturnedAfterPaid => (settled(), Some("AC04"), Some(later(1)), Some(later(5))),
        Fault::NeverPaid => (taken(), None, None, None),
        _ => (settled(), None, Some(later(1)), None),
    };
    Transfer {
        id: bank.id(),
        product: product.to_owned(),
        message: order.message,
        end_to_end: order.end_to_end,
        uetr: order.uetr,
        currency: order.currency,
        amount: order.amount,
        charges: if fault == Fault::Charged {
            Decimal::new(150, 2)
        } else {
            Decimal::ZERO
        },
        reason: reason.map(str::to_owned),
        statuses,
        booked_ms,
        returned_ms,
        xml: String::from_utf8_lossy(xml).into_owned(),
    }
}

/// Minor units of two decimals, for the table of faults.
fn minor(amount: Decimal) -> u64 {
    let scaled = amount.checked_mul(Decimal::ONE_HUNDRED);
    scaled
        .and_then(|scaled| u64::try_from(scaled.trunc()).ok())
        .unwrap_or(0)
}

async fn status(
    State(bank): Shared,
    Path((product, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    bank.check(&headers, b"")?;
    let books = bank.books();
    let mut transfers = books.transfers.values();
    let transfer = transfers
        .find(|it| it.id == id && it.product == product)
        .ok_or_else(|| problem(StatusCode::NOT_FOUND, "RESOURCE_UNKNOWN", "no such payment"))?;
    xml(report::pain_002(transfer, now_ms()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Since {
    date_from: String,
    date_to: String,
    booking_status: String,
}

async fn transactions(
    State(bank): Shared,
    Path(account): Path<String>,
    Query(since): Query<Since>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    bank.check(&headers, b"")?;
    if header(&headers, "consent-id") != bank.options.consent {
        return Err(problem(StatusCode::UNAUTHORIZED, "CONSENT_INVALID", "no such consent"));
    }
    if account != bank.options.account {
        return Err(problem(StatusCode::NOT_FOUND, "RESOURCE_UNKNOWN", "no such account"));
    }
    if since.date_from.len() != 10 || since.date_to.len() != 10 || since.booking_status != "booked" {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "FORMAT_ERROR",
            "dateFrom, dateTo, bookingStatus",
        ));
    }
    let (books, now) = (bank.books(), now_ms());
    let mut bookings = report::bookings(&books, now);
    bookings.retain(|it| it.is_within(&since.date_from, &since.date_to));
    xml(report::camt_054(&bookings, &bank.options.iban, now))
}

/// The account's statement as a file that the bank would send at the end of the day.
async fn statement(State(bank): Shared) -> Result<Response, Response> {
    let (books, now) = (bank.books(), now_ms());
    xml(report::camt_053(
        &report::bookings(&books, now),
        &bank.options.iban,
        now,
    ))
}

fn xml(written: std::io::Result<Vec<u8>>) -> Result<Response, Response> {
    let body = written.map_err(|error| internal(&error.to_string()))?;
    Ok(([("content-type", "application/xml")], body).into_response())
}

/// Money comes in from outside, for tests and demos.
async fn incoming(State(bank): Shared, body: Bytes) -> Result<Response, Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct New {
        currency: String,
        amount: Decimal,
        text: String,
    }
    let new: New = serde_json::from_slice(&body)
        .map_err(|error| problem(StatusCode::BAD_REQUEST, "FORMAT_ERROR", &error.to_string()))?;
    let came = Incoming {
        id: format!("C-{}", bank.id()),
        currency: new.currency,
        amount: new.amount,
        text: new.text,
        at_ms: now_ms(),
    };
    let written = bank.books().put_incoming(came);
    written.map_err(|error| internal(&error.to_string()))?;
    Ok(StatusCode::OK.into_response())
}

/// What it really did: for tests and demos to compare.
async fn records(State(bank): Shared) -> Response {
    let (books, now) = (bank.books(), now_ms());
    let text = |written: std::io::Result<Vec<u8>>| {
        let bytes = written.unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let notification = report::camt_054(&report::bookings(&books, now), &bank.options.iban, now);
    let transfers = books.transfers.values();
    let transfers: Vec<Value> = transfers
        .map(|it| {
            json!({ "id": it.id, "product": it.product, "end_to_end": it.end_to_end, "uetr": it.uetr, "status": it.status_at(now),
                "currency": it.currency, "amount": it.amount.to_string(), "xml": it.xml, "pain_002": text(report::pain_002(it, now)) })
        })
        .collect();
    axum::Json(json!({ "transfers": transfers, "incoming": books.incoming.len(), "camt_054": text(notification) }))
        .into_response()
}
