//! Calls of the node: JSON-RPC 2.0 over HTTP, numbers in hexadecimal.

use crate::NODE;
use alloy_primitives::U256;
use portolan_adapter::types::{Fault, NoResponse, Request};
use portolan_adapter::{Ctx, ReplyExt, RequestExt, Value, json, post};
use serde::Deserialize;

/// What came of a call.
pub enum Called {
    /// The node's result.
    Result(Value),
    /// The node's error: nothing was done.
    Refused(String),
    /// Nobody knows; or the request did not even leave.
    Nothing(String),
}

#[derive(Deserialize)]
struct Reply {
    result: Option<Value>,
    error: Option<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    message: String,
}

fn request(ctx: &Ctx, method: &str, params: &Value) -> Request {
    let timeout = ctx
        .setting("/timeout_ms")
        .and_then(|value| value.as_u64())
        .and_then(|ms| u32::try_from(ms).ok());
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    post(NODE, "/").json(&body).timeout_ms(timeout.unwrap_or(10_000))
}

/// Calls; sends a transaction, if the method does.
pub async fn call(ctx: &Ctx, method: &str, params: Value) -> Result<Called, Fault> {
    answer(ctx, request(ctx, method, &params)).await
}

async fn answer(ctx: &Ctx, request: Request) -> Result<Called, Fault> {
    let response = match ctx.send(request).await {
        Ok(response) => response,
        Err(NoResponse::NotSent(why) | NoResponse::Unknown(why)) => return Ok(Called::Nothing(why)),
    };
    if response.status != 200 {
        return Ok(Called::Nothing(format!("status {}", response.status)));
    }
    let reply: Reply = response.read()?;
    Ok(match (reply.result, reply.error) {
        (_, Some(problem)) => Called::Refused(problem.message),
        // A result of `null` reads as none: it is an answer all the same.
        (result, None) => Called::Result(result.unwrap_or(Value::Null)),
    })
}

/// Calls something that only looks; `Err(text)`: the node does not say.
pub async fn ask(ctx: &Ctx, method: &str, params: Value) -> Result<Result<Value, String>, Fault> {
    let request = request(ctx, method, &params).reads();
    Ok(match answer(ctx, request).await? {
        Called::Result(value) => Ok(value),
        Called::Refused(why) | Called::Nothing(why) => Err(why),
    })
}

/// The same for a number.
pub async fn number(ctx: &Ctx, method: &str, params: Value) -> Result<Result<U256, String>, Fault> {
    Ok(match ask(ctx, method, params).await? {
        Ok(value) => Ok(hex(&value)?),
        Err(why) => Err(why),
    })
}

/// A number as JSON-RPC writes it.
pub fn hex(value: &Value) -> Result<U256, Fault> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits
        .and_then(|digits| U256::from_str_radix(digits, 16).ok())
        .ok_or_else(|| Fault::Protocol(format!("{value} is no number in hexadecimal")))
}

/// The same, of 64 bits.
pub fn hex64(value: &Value) -> Result<u64, Fault> {
    u64::try_from(hex(value)?).map_err(|_| Fault::Protocol(format!("{value} does not fit")))
}
