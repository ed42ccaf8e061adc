//! The merchant API: routes, who is calling, limits. Bodies are read in `strict.rs`, errors become answers in
//! `problem.rs` alone, the resources are under `v1/`.

mod approval;
mod auth;
mod endpoints;
mod limit;
mod openapi;
mod problem;
mod signed;
mod strict;
mod v1;

pub use auth::{SCOPES, new_key};
pub use limit::Limiter;
pub use signed::Signatures;

use crate::app::App;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use problem::Problem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing::Instrument;

/// The largest body, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// The dated version that this binary speaks.
pub const API_VERSION: &str = "2026-11-23";

/// Counts for the metrics page.
#[derive(Default)]
pub struct Counters {
    /// Requests by class of status: 2xx, 4xx, 5xx.
    pub answered: [AtomicU64; 3],
    /// Requests in flight.
    pub in_flight: AtomicU64,
    /// Requests shed.
    pub shed: AtomicU64,
    /// Notifications taken and refused.
    pub notifications: [AtomicU64; 2],
}

/// What handlers get.
#[derive(Clone)]
pub struct Api {
    /// The application.
    pub app: Arc<App>,
    /// Counts.
    pub counters: Arc<Counters>,
    /// How often a key may call.
    pub limiter: Arc<Limiter>,
    /// The signatures that were taken lately.
    pub signatures: Arc<Signatures>,
}

/// Every route.
pub fn routes(api: Api) -> Router {
    let endpoints = endpoints::endpoints();
    let document = openapi::document(&endpoints);
    let merchant = endpoints.into_iter().fold(Router::new(), |router, endpoint| {
        let needs = (api.clone(), endpoint.scope);
        let guarded = endpoint
            .handler
            .layer(axum::middleware::from_fn_with_state(needs, auth::authenticate));
        router.route(endpoint.path, guarded)
    });
    let public = Router::new()
        .route("/return/{operation}", get(v1::public::returned))
        .route("/notify/{channel}", post(v1::public::notified))
        .route("/openapi.json", get(|| async move { axum::Json(document) }));
    merchant
        .merge(public)
        .fallback(|| async { Problem::not_found("route") })
        .method_not_allowed_fallback(|| async {
            Problem::new(405, "method_not_allowed", "this route takes another method")
        })
        .layer(axum::middleware::from_fn_with_state(api.clone(), around))
        .with_state(api)
}

/// Counts a request as in flight until dropped: also when its client hangs up in the middle.
struct InFlight(Arc<Counters>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A path for the log: the word of a return address opens it, so it stays out.
fn shown(path: &str) -> &str {
    if path.starts_with("/return/") {
        "/return/…"
    } else {
        path
    }
}

/// What goes around every request: an id, a limit on how many at once, the version, counts, one log line.
async fn around(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = format!("req_{}", api.app.ambient.uuid_v7().simple());
    let in_flight = api.counters.in_flight.fetch_add(1, Ordering::Relaxed);
    let _counted = InFlight(api.counters.clone());
    let span = tracing::info_span!("request", id, method = %request.method(), path = shown(request.uri().path()));
    let path = request.uri().path().to_owned();
    let response = if in_flight >= api.app.config.in_flight_max as u64 {
        api.counters.shed.fetch_add(1, Ordering::Relaxed);
        Problem::busy("too many requests are in flight; nothing was done").into_response()
    } else {
        next.run(request).instrument(span.clone()).await
    };
    let mut response = problem::name_request(response, &id, &path);
    let class = match response.status().as_u16() {
        500.. => 2,
        400..=499 => 1,
        _ => 0,
    };
    if let Some(counter) = api.counters.answered.get(class) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    let headers = response.headers_mut();
    headers.insert("portolan-version", HeaderValue::from_static(API_VERSION));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("request-id", id);
    }
    response
}

/// Reads a JSON body within size and time.
async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !content_type.to_ascii_lowercase().starts_with("application/json") {
        return Err(Problem::new(
            415,
            "unsupported_media_type",
            "send content-type: application/json",
        ));
    }
    read_bytes(body).await
}

/// A body of JSON, to be read field by field.
pub async fn open_body(headers: &HeaderMap, body: Body) -> Result<strict::Fields, Problem> {
    strict::Fields::of(strict::parse(&read_body(headers, body).await?)?)
}

async fn read_bytes(body: Body) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::new(
            413,
            "body_too_large",
            "the body must come whole and have at most 65536 bytes",
        )),
        Err(_) => Err(Problem::new(
            408,
            "body_too_slow",
            "the body must come within 10 seconds",
        )),
    }
}

/// A stored answer as a response.
fn respond(answered: &portolan_engine::Answered) -> Response {
    let status = StatusCode::from_u16(answered.answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answered.answer.body.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if answered.is_replay {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}
