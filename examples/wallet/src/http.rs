//! The provider's HTTP interface: pay, inquire, cancel, refund; every request signed by the client, every answer by the
//! provider. What payers do is in `payer.rs`.

use crate::book::{Amount, Book, Payment, Refund};
use crate::fault::{self, Fault};
use crate::keys::Keys;
use crate::{Options, payer};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portolan_simulator::{dropped, now_ms};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long "no answer ever comes" lasts.
const NEVER: Duration = Duration::from_secs(120);
/// How long a slow refund takes.
const SLOW_REFUND_MS: u64 = 1_000;
/// The wallets that there are.
const WALLETS: [&str; 6] = ["ALIPAY_CN", "ALIPAY_HK", "GCASH", "KAKAOPAY", "DANA", "TNG"];

/// The provider.
pub struct Wallet {
    pub options: Options,
    pub keys: Keys,
    pub base: String,
    book: Mutex<Book>,
    counter: AtomicU64,
    /// The last request as it came, for others to check its signature.
    last: Mutex<Value>,
}

pub type Shared = State<Arc<Wallet>>;

impl Wallet {
    /// Over its record.
    pub fn new(options: Options, keys: Keys, book: Book, base: String) -> Self {
        let made = book.payments.len() + book.refunds.len();
        Self {
            options,
            keys,
            base,
            book: Mutex::new(book),
            counter: AtomicU64::new(made as u64),
            last: Mutex::new(Value::Null),
        }
    }

    /// The record.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new id, as long as the provider's.
    fn id(&self) -> String {
        format!(
            "2026{:013}{:010}",
            now_ms(),
            self.counter.fetch_add(1, Ordering::Relaxed)
        )
    }

    fn note(&self, path: &str, headers: &HeaderMap, body: &[u8]) {
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let noted = json!({
            "path": path, "client_id": header("client-id"), "request_time": header("request-time"),
            "signature": header("signature"), "body": String::from_utf8_lossy(body),
        });
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }
}

/// Every route.
pub fn routes(wallet: Arc<Wallet>) -> Router {
    let mut router = Router::new();
    for base in ["/ams/api", "/ams/sandbox/api"] {
        router = router
            .route(&format!("{base}/v1/payments/pay"), post(pay))
            .route(&format!("{base}/v1/payments/inquiryPayment"), post(inquire))
            .route(&format!("{base}/v1/payments/cancel"), post(cancel))
            .route(&format!("{base}/v1/payments/refund"), post(refund))
            .route(&format!("{base}/v1/payments/inquiryRefund"), post(inquire_refund));
    }
    router
        .route("/scan/{id}", get(payer::scan))
        .route("/records", get(records))
        .with_state(wallet)
}

fn result(code: &str, status: &str, message: &str) -> Value {
    json!({ "resultCode": code, "resultStatus": status, "resultMessage": message })
}

fn failed(code: &str, message: &str) -> Value {
    json!({ "result": result(code, "F", message) })
}

fn ok() -> Value {
    result("SUCCESS", "S", "Success")
}

/// A time as the provider writes it: of no use to anybody but its signature.
fn time_text() -> String {
    format!("{}", now_ms())
}

/// The client's request, its signature checked.
fn open<T: for<'de> Deserialize<'de>>(
    wallet: &Wallet,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<T, Response> {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    wallet.note(uri.path(), headers, body);
    let of = (header("client-id"), header("request-time"));
    if of.0 != wallet.options.client_id {
        return Err(signed(wallet, uri, &failed("CLIENT_INVALID", "no such client")));
    }
    if !wallet.keys.is_clients(uri.path(), of, body, header("signature")) {
        // As the provider does it: this answer carries no signature.
        return Err(axum::Json(failed("INVALID_SIGNATURE", "the signature is invalid")).into_response());
    }
    serde_json::from_slice(body).map_err(|error| signed(wallet, uri, &failed("PARAM_ILLEGAL", &error.to_string())))
}

fn signed(wallet: &Wallet, uri: &Uri, body: &Value) -> Response {
    let (text, time) = (body.to_string(), time_text());
    let client = wallet.options.client_id.clone();
    let signature = wallet.keys.sign(uri.path(), &client, &time, text.as_bytes());
    let headers = [
        ("content-type", "application/json; charset=UTF-8".to_owned()),
        ("client-id", client),
        ("response-time", time),
        ("signature", signature),
    ];
    (StatusCode::OK, headers, text).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Pay {
    product_code: String,
    payment_request_id: String,
    order: Order,
    payment_amount: Amount,
    payment_method: Method,
    payment_notify_url: String,
    payment_redirect_url: String,
    env: Env,
    #[serde(default)]
    #[expect(dead_code, reason = "accepted, as the provider does")]
    settlement_strategy: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Order {
    reference_order_id: String,
    order_description: String,
    order_amount: Amount,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Method {
    payment_method_type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Env {
    terminal_type: String,
}

async fn pay(State(wallet): Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> Result<Response, Response> {
    let new: Pay = open(&wallet, &uri, &headers, &body)?;
    check(&new).map_err(|why| signed(&wallet, &uri, &failed("PARAM_ILLEGAL", why)))?;
    let fault = fault::of_amount(&new.payment_amount.value);
    let payment = made(&wallet, new).map_err(|refused| signed(&wallet, &uri, &refused))?;
    match fault {
        Fault::TimeoutThenMade => {
            tokio::time::sleep(NEVER).await;
            Ok(dropped())
        }
        Fault::Unsigned => Ok(axum::Json(json!({ "result": ok(), "paymentId": payment.id })).into_response()),
        Fault::UnknownThenMade => {
            let unknown = json!({ "result": result("UNKNOWN_EXCEPTION", "U", "an API call is failed") });
            Ok(signed(&wallet, &uri, &unknown))
        }
        Fault::PaidAtOnce => {
            payer::pays(&wallet, &payment.id);
            let paid = json!({
                "result": ok(), "paymentId": payment.id, "paymentRequestId": payment.request_id, "paymentAmount": payment.amount,
            });
            Ok(signed(&wallet, &uri, &paid))
        }
        _ => Ok(signed(&wallet, &uri, &in_process(&wallet, &payment))),
    }
}

fn check(new: &Pay) -> Result<(), &'static str> {
    let digits =
        |amount: &Amount| (1..=16).contains(&amount.value.len()) && amount.value.bytes().all(|b| b.is_ascii_digit());
    if new.product_code != "CASHIER_PAYMENT" {
        Err("productCode")
    } else if new.payment_request_id.is_empty() || new.payment_request_id.len() > 64 {
        Err("paymentRequestId")
    } else if !digits(&new.payment_amount) || new.payment_amount.units() == 0 || new.payment_amount.currency.len() != 3
    {
        Err("paymentAmount")
    } else if new.payment_amount.currency == "IDR" && !new.payment_amount.value.ends_with("00") {
        Err("paymentAmount: the last two digits of IDR are 00")
    } else if new.order.order_amount != new.payment_amount || new.order.order_description.is_empty() {
        Err("order")
    } else if !WALLETS.contains(&new.payment_method.payment_method_type.as_str()) {
        Err("paymentMethodType")
    } else if !matches!(new.env.terminal_type.as_str(), "WEB" | "WAP" | "APP" | "MINI_APP") {
        Err("env.terminalType")
    } else {
        Ok(())
    }
}

fn made(wallet: &Wallet, new: Pay) -> Result<Payment, Value> {
    let mut book = wallet.book();
    if let Some(known) = book.payments.get(&new.payment_request_id) {
        let same = known.amount == new.payment_amount && known.wallet == new.payment_method.payment_method_type;
        return if same {
            Ok(known.clone())
        } else {
            Err(failed("REPEAT_REQ_INCONSISTENT", "the repeated request differs"))
        };
    }
    let payment = Payment {
        id: wallet.id(),
        request_id: new.payment_request_id,
        order: new.order.reference_order_id,
        wallet: new.payment_method.payment_method_type,
        amount: new.payment_amount,
        notify_url: new.payment_notify_url,
        redirect_url: new.payment_redirect_url,
        status: "PROCESSING".into(),
        failure: None,
        refunded: 0,
    };
    book.put(payment.clone())
        .map_err(|error| failed("SYSTEM_ERROR", &error.to_string()))?;
    Ok(payment)
}

fn in_process(wallet: &Wallet, payment: &Payment) -> Value {
    let code = format!("{}/scan/{}", wallet.base, payment.id);
    json!({
        "result": result("PAYMENT_IN_PROCESS", "U", "payment in process"),
        "paymentId": payment.id, "paymentRequestId": payment.request_id, "paymentAmount": payment.amount,
        "paymentCreateTime": "2026-11-25T01:20:46-08:00", "normalUrl": format!("{code}?back=1"),
        "orderCodeForm": { "codeDetails": [
            { "codeValue": code, "displayType": "TEXT" },
            { "codeValue": format!("{code}/image"), "displayType": "BIGIMAGE" },
        ], "expireTime": "2026-11-25T01:34:45-08:00" },
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Which {
    payment_id: Option<String>,
    payment_request_id: Option<String>,
}

async fn inquire(State(wallet): Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> Result<Response, Response> {
    let which: Which = open(&wallet, &uri, &headers, &body)?;
    let book = wallet.book();
    let found = book.find(which.payment_id.as_deref(), which.payment_request_id.as_deref());
    let answer = found.map_or_else(|| failed("ORDER_NOT_EXIST", "The order does not exist."), shown);
    Ok(signed(&wallet, &uri, &answer))
}

fn shown(payment: &Payment) -> Value {
    let mut answer = json!({
        "result": ok(), "paymentStatus": payment.status, "paymentId": payment.id, "paymentRequestId": payment.request_id,
        "paymentAmount": payment.amount, "paymentCreateTime": "2026-11-25T12:01:01+08:00", "transactions": null,
    });
    if let (Some(failure), Some(fields)) = (&payment.failure, answer.as_object_mut()) {
        fields.insert("paymentResultCode".into(), failure.as_str().into());
        fields.insert("paymentResultMessage".into(), failure.as_str().into());
    }
    answer
}

async fn cancel(State(wallet): Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> Result<Response, Response> {
    let which: Which = open(&wallet, &uri, &headers, &body)?;
    let mut book = wallet.book();
    let found = book
        .find(which.payment_id.as_deref(), which.payment_request_id.as_deref())
        .cloned();
    let answer = match found {
        None => failed("ORDER_NOT_EXIST", "The order does not exist."),
        Some(payment) if payment.refunded > 0 => failed("ORDER_STATUS_INVALID", "it was refunded"),
        Some(mut payment) => {
            payment.status = "CANCELLED".into();
            let answer = json!({ "result": ok(), "paymentId": payment.id, "paymentRequestId": payment.request_id });
            book.put(payment)
                .map_or_else(|error| failed("SYSTEM_ERROR", &error.to_string()), |()| answer)
        }
    };
    Ok(signed(&wallet, &uri, &answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewRefund {
    refund_request_id: String,
    payment_id: String,
    refund_amount: Amount,
    #[expect(dead_code, reason = "accepted, as the provider does")]
    refund_reason: Option<String>,
    #[expect(dead_code, reason = "accepted, as the provider does")]
    refund_notify_url: Option<String>,
}

async fn refund(State(wallet): Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> Result<Response, Response> {
    let new: NewRefund = open(&wallet, &uri, &headers, &body)?;
    let answer = match give_back(&wallet, new) {
        Ok(refund) if refund.done_ms > now_ms() => json!({ "result": result("REFUND_IN_PROCESS", "U", "in process") }),
        Ok(refund) => json!({
            "result": ok(), "refundId": refund.id, "refundRequestId": refund.request_id, "refundAmount": refund.amount,
            "paymentId": refund.payment,
        }),
        Err(refused) => refused,
    };
    Ok(signed(&wallet, &uri, &answer))
}

fn give_back(wallet: &Wallet, new: NewRefund) -> Result<Refund, Value> {
    let mut book = wallet.book();
    if let Some(known) = book.refunds.get(&new.refund_request_id) {
        let same = known.amount == new.refund_amount;
        return if same {
            Ok(known.clone())
        } else {
            Err(failed("REPEAT_REQ_INCONSISTENT", "another amount"))
        };
    }
    let found = book.find(Some(&new.payment_id), None).cloned();
    let mut payment = found.ok_or_else(|| failed("ORDER_NOT_EXIST", "The order does not exist."))?;
    if payment.status != "SUCCESS" {
        return Err(failed("ORDER_STATUS_INVALID", "it is not paid"));
    }
    let after = payment.refunded.saturating_add(new.refund_amount.units());
    if new.refund_amount.currency != payment.amount.currency || after > payment.amount.units() {
        return Err(failed("REFUND_AMOUNT_EXCEED", "more than was paid"));
    }
    let slow = fault::of_amount(&new.refund_amount.value) == Fault::SlowRefund;
    let refund = Refund {
        id: wallet.id(),
        request_id: new.refund_request_id,
        payment: payment.id.clone(),
        amount: new.refund_amount,
        done_ms: if slow {
            now_ms().saturating_add(SLOW_REFUND_MS)
        } else {
            0
        },
    };
    payment.refunded = after;
    let written = book.put(payment).and_then(|()| book.put_refund(refund.clone()));
    written.map_err(|error| failed("SYSTEM_ERROR", &error.to_string()))?;
    Ok(refund)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WhichRefund {
    refund_request_id: String,
}

async fn inquire_refund(
    State(wallet): Shared,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let which: WhichRefund = open(&wallet, &uri, &headers, &body)?;
    let book = wallet.book();
    let answer = match book.refunds.get(&which.refund_request_id) {
        None => failed("ORDER_NOT_EXIST", "The order does not exist."),
        Some(refund) => json!({
            "result": ok(), "refundId": refund.id, "refundRequestId": refund.request_id, "refundAmount": refund.amount,
            "refundStatus": if refund.done_ms > now_ms() { "PROCESSING" } else { "SUCCESS" },
        }),
    };
    Ok(signed(&wallet, &uri, &answer))
}

/// What it really did: for tests and demos to compare.
async fn records(State(wallet): Shared) -> Response {
    let book = wallet.book();
    let payments: Vec<&Payment> = book.payments.values().collect();
    let refunds: Vec<&Refund> = book.refunds.values().collect();
    let last = wallet.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
    axum::Json(json!({ "payments": payments, "refunds": refunds, "last_request": last })).into_response()
}
