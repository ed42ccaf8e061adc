//! An adapter for Airwallex: prices that are locked, conversions, and transfers to bank accounts. It owns the mapping of
//! that provider's JSON; `README.md` says where each part of it was read.

mod declines;
mod describe;
mod exchange;
mod notify;
mod payouts;

use portolan_adapter::types::{Fault, Request, Response};
use portolan_adapter::{Ctx, ReplyExt, RequestExt, Sessions, post, sessions};
use serde::Deserialize;

/// The adapter.
pub struct Airwallex;

portolan_adapter::export_channel!(Airwallex: adapter, sessions, exchange, payouts, notifications);

const API: &str = "api";
const SESSION: &str = "airwallex";
/// The API's dated version that this adapter speaks.
const VERSION: &str = "2025-06-30";
/// A token lives for 30 minutes; it is renewed before.
const SESSION_S: u32 = 20 * 60;

impl Sessions for Airwallex {
    async fn start(ctx: &Ctx, _name: String) -> Result<sessions::Opened, Fault> {
        let login = post(API, "/api/v1/authentication/login")
            .header("x-client-id", ctx.secret("client_id")?)
            .header("x-api-key", ctx.secret("api_key")?)
            .header("x-api-version", VERSION)
            .prepares();
        let reply = ctx.send(login).await;
        let response = reply.map_err(|no| Fault::Other(format!("no session: {}", portolan_adapter::why(&no))))?;
        match response.status {
            200 | 201 => Ok(sessions::Opened {
                token: sessions::TokenAt::JsonPointer("/token".into()),
                lives_s: SESSION_S,
            }),
            401 | 403 => Err(Fault::Misconfigured("client id and API key are refused".into())),
            status => Err(Fault::Other(format!("no session: status {status}"))),
        }
    }
}

/// Puts session and version onto a request.
fn authorized(ctx: &Ctx, request: Request) -> Result<Request, Fault> {
    let session = ctx.secret("session:airwallex")?;
    let timeout = ctx
        .setting("/timeout_ms")
        .and_then(|value| value.as_u64())
        .and_then(|ms| u32::try_from(ms).ok());
    Ok(request
        .bearer(session)
        .header("x-api-version", VERSION)
        .timeout_ms(timeout.unwrap_or(20_000)))
}

/// An error's body: the same in all parts of the API but for `details`.
#[derive(Deserialize, Default)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    source: Option<String>,
}

impl Problem {
    fn of(response: &Response) -> Self {
        response.read().unwrap_or_default()
    }

    /// The first request with this `request_id` was taken: it has to be looked up.
    fn is_duplicate(&self) -> bool {
        self.code.contains("duplicate")
    }

    /// The quote no longer holds.
    fn is_expired_quote(&self) -> bool {
        matches!(
            self.code.as_str(),
            "expired_quote" | "quote_expired" | "invalid_quote_id"
        )
    }
}

/// A page of a list.
#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}
