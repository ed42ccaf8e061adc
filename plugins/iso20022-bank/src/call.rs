//! Signed calls: who asks, a number for every request, a digest of its body, and a signature over both (draft-cavage HTTP
//! signatures as NextGenPSD2 1.3 wants them). What a refusal's body says is read here too.

use crate::API;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portolan_adapter::types::{Fault, Request, Response};
use portolan_adapter::{Ctx, ReplyExt, RequestExt, Value, get, keys, post};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

pub const XML: &str = "application/xml";

/// A credit transfer.
pub fn initiate(ctx: &Ctx, product: &str, document: Vec<u8>) -> Result<Request, Fault> {
    let mut request = post(API, format!("/v1/payments/{product}"));
    request.body = document;
    let ip = setting(ctx, "psu_ip")?;
    signed(
        ctx,
        request
            .header("content-type", XML)
            .header("accept", "application/json")
            .header("psu-ip-address", ip),
        0,
    )
}

/// What became of it, as pain.002.
pub fn status(ctx: &Ctx, product: &str, id: &str) -> Result<Request, Fault> {
    let request = get(API, format!("/v1/payments/{product}/{id}/status")).header("accept", XML);
    signed(ctx, request, 1)
}

/// What was booked on the account on the day of that time: one day a request, for an account may be a busy one.
pub fn transactions(ctx: &Ctx, at_ms: u64, number: u8) -> Result<Request, Fault> {
    let account = setting(ctx, "account")?;
    let day = day(at_ms)?;
    let path = format!("/v1/accounts/{account}/transactions?dateFrom={day}&dateTo={day}&bookingStatus=booked");
    let request = get(API, path)
        .header("accept", XML)
        .header("consent-id", ctx.secret("consent")?);
    signed(ctx, request, number)
}

fn signed(ctx: &Ctx, request: Request, number: u8) -> Result<Request, Fault> {
    let digest = format!("SHA-256={}", STANDARD.encode(Sha256::digest(&request.body)));
    let id = request_id(ctx, number);
    let text = format!("digest: {digest}\nx-request-id: {id}");
    let signature = keys::sign(
        "signing",
        "rsa-pkcs1-sha256",
        "text/plain",
        text.as_bytes(),
        keys::Encoding::Base64,
    )?;
    let key_id = setting(ctx, "key_id")?;
    let timeout = ctx.setting("/timeout_ms").and_then(|value| value.as_u64());
    let timeout = timeout.and_then(|ms| u32::try_from(ms).ok()).unwrap_or(30_000);
    Ok(request
        .bearer(ctx.secret("access_token")?)
        .header("x-request-id", id)
        .header("digest", digest)
        .header(
            "signature",
            format!(r#"keyId="{key_id}",algorithm="rsa-sha256",headers="digest x-request-id",signature="{signature}""#),
        )
        .header("tpp-signature-certificate", setting(ctx, "certificate")?)
        .timeout_ms(timeout))
}

/// A UUID for each request of an operation, the same each time that it is made.
fn request_id(ctx: &Ctx, number: u8) -> String {
    let mut bytes = [0_u8; 16];
    for (byte, random) in bytes.iter_mut().zip(&ctx.context.entropy) {
        *byte = *random;
    }
    if let Some(last) = bytes.last_mut() {
        *last ^= number;
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// A setting that is a text.
pub fn setting(ctx: &Ctx, name: &str) -> Result<String, Fault> {
    let found = ctx.setting(&format!("/{name}"));
    let text = found.as_ref().and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| Fault::Misconfigured(format!("the channel's settings have no {name}")))
}

/// The time as ISO 8601 writes it.
pub fn at(ms: u64) -> Result<OffsetDateTime, Fault> {
    let seconds = i64::try_from(ms / 1_000).ok();
    seconds
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or_else(|| Fault::Other(format!("{ms} ms is no time")))
}

/// The day of a time, in UTC.
pub fn day(ms: u64) -> Result<String, Fault> {
    Ok(at(ms)?.date().to_string())
}

/// A refusal's body.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Problem {
    #[serde(default)]
    tpp_messages: Vec<TppMessage>,
}

#[derive(Deserialize, Clone, Default)]
pub struct TppMessage {
    #[serde(default)]
    pub category: String,
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub text: String,
}

/// The first error that a refusal names.
pub fn problem(response: &Response) -> TppMessage {
    let problem: Problem = response.read().unwrap_or_default();
    let mut messages = problem.tpp_messages.into_iter();
    messages.find(|it| it.category != "WARNING").unwrap_or_default()
}

/// Whether a refusal is about who calls, not about the money.
pub fn refused_caller(response: &Response) -> Option<Fault> {
    let code = problem(response).code;
    let is_callers = response.status == 401
        || ["CERTIFICATE_", "SIGNATURE_", "TOKEN_", "CONSENT_"]
            .iter()
            .any(|family| code.starts_with(family));
    is_callers.then(|| Fault::Misconfigured(format!("the bank refuses the caller: {code}")))
}
