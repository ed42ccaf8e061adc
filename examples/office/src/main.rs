//! A merchant's back office to try approvals in: one page for its people, and behind it the server that has the API key. It owns no
//! data: what the page asks goes on to the router, so far as this office is for it. A real one has its people log in first.

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use clap::Parser;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The largest body, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// How long the router may take.
const WITHIN: Duration = Duration::from_secs(60);

/// What the page may do with the key: nothing else of it is needed here.
const ALLOWED: [(Method, &str); 6] = [
    (Method::GET, "/v1/approvals"),
    (Method::GET, "/v1/balances"),
    (Method::GET, "/v1/payouts"),
    (Method::POST, "/v1/payouts"),
    (Method::POST, "/v1/approvers"),
    (Method::POST, "/v1/approvers/options"),
];

/// Options.
#[derive(Parser)]
#[command(
    name = "portolan-office",
    about = "A merchant's back office: people pay out, and approve with passkeys"
)]
struct Options {
    /// Where to listen; browsers take http on localhost alone, so this is loopback.
    #[arg(long, default_value = "127.0.0.1:4180")]
    listen: std::net::SocketAddr,
    /// The router's API: its host and port.
    #[arg(long, default_value = "127.0.0.1:8080")]
    router: String,
    /// The merchant's API key, with balances:read, payouts:read and payouts:write; better in PORTOLAN_KEY.
    #[arg(long, env = "PORTOLAN_KEY", hide_env_values = true)]
    key: String,
}

struct Office {
    router: String,
    bearer: HeaderValue,
    origin: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .context("listening")?;
    let origin = format!("http://localhost:{}", listener.local_addr()?.port());
    portolan_simulator::announce(&format!("office listening on {origin}"))?;
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", options.key)).context("the key")?;
    bearer.set_sensitive(true);
    let office = Arc::new(Office {
        router: options.router,
        bearer,
        origin,
    });
    let routes = Router::new()
        .route("/", get(|| async { page() }))
        .route("/v1/{*path}", get(forward).post(forward))
        .with_state(office);
    portolan_simulator::serve(listener, routes).await
}

fn page() -> Response {
    let mut response = Html(include_str!("page.html")).into_response();
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let body = json!({ "status": status.as_u16(), "code": code, "detail": detail });
    (status, axum::Json(body)).into_response()
}

/// Passes a request of this page on, with the key.
async fn forward(State(office): State<Arc<Office>>, request: Request) -> Response {
    let path = request.uri().path();
    if !ALLOWED
        .iter()
        .any(|(method, allowed)| method == request.method() && *allowed == path)
    {
        return problem(StatusCode::NOT_FOUND, "not_found", "this office does not do that");
    }
    // Another site's page must not use this one's key, nor one that has its name point here.
    if !is_from_here(request.headers(), &office.origin) {
        let how = format!("open this office at {}", office.origin);
        return problem(StatusCode::FORBIDDEN, "elsewhere", &how);
    }
    match tokio::time::timeout(WITHIN, ask(&office, request)).await {
        Ok(Ok(response)) => response.map(Body::new).into_response(),
        Ok(Err(error)) => problem(
            StatusCode::BAD_GATEWAY,
            "no_router",
            &format!("the router at {}: {error}", office.router),
        ),
        Err(_) => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "no_router",
            "the router did not answer: pay again, the same order is carried out once",
        ),
    }
}

fn is_from_here(headers: &HeaderMap, origin: &str) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).is_some_and(|host| format!("http://{host}") == origin);
    host && text(header::ORIGIN).is_none_or(|it| it == origin)
}

async fn ask(office: &Office, request: Request) -> anyhow::Result<hyper::Response<Incoming>> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the body: {error}"))?.to_bytes();
    let stream = tokio::net::TcpStream::connect(&office.router).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut asked = hyper::Request::builder().method(parts.method).uri(parts.uri.path());
    for name in ["content-type", "idempotency-key"] {
        if let Some(value) = parts.headers.get(name) {
            asked = asked.header(name, value);
        }
    }
    let asked = asked
        .header(header::HOST, &office.router)
        .header(header::AUTHORIZATION, office.bearer.clone());
    Ok(sender
        .send_request(asked.body(http_body_util::Full::new(body))?)
        .await?)
}
