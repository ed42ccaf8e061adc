//! Calls: signed requests, and answers that count only with the provider's own signature.

use crate::API;
use portolan_adapter::types::{Fault, Money, NoResponse, Response};
use portolan_adapter::{Ctx, ReplyExt, RequestExt, Value, keys, percent_decode, post};
use serde::{Deserialize, Serialize};

/// An amount as the provider counts it: digits of the smallest unit.
#[derive(Serialize, Deserialize, Clone)]
pub struct Amount {
    pub currency: String,
    pub value: String,
}

impl Amount {
    pub fn of(money: &Money) -> Self {
        Self {
            currency: money.asset.clone(),
            value: money.units.clone(),
        }
    }

    pub fn money(&self, like: &Money) -> Money {
        Money {
            units: self.value.clone(),
            exponent: like.exponent,
            asset: self.currency.clone(),
        }
    }
}

/// What every answer begins with.
#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub struct CallResult {
    pub result_code: String,
    pub result_status: String,
    #[serde(default)]
    pub result_message: String,
}

/// An answer that is the provider's, or why nobody knows what it would have said.
pub enum Called {
    Answer(Value, CallResult),
    Nothing(String),
}

/// Calls one of the provider's methods; which of them only read is the operator's grant.
pub async fn call(ctx: &Ctx, method: &str, body: &Value) -> Result<Called, Fault> {
    let sandbox = ctx
        .setting("/sandbox")
        .and_then(|value| value.as_bool())
        .unwrap_or(false);
    let base = if sandbox { "/ams/sandbox/api" } else { "/ams/api" };
    let path = format!("{base}/v1/payments/{method}");
    let client = client_id(ctx)?;
    let time = ctx.now_ms().to_string();
    let text = body.to_string();
    let data = format!("POST {path}\n{client}.{time}.{text}");
    let signature = keys::sign(
        "signing",
        "rsa-pkcs1-sha256:percent",
        "text/plain",
        data.as_bytes(),
        keys::Encoding::Base64,
    )?;
    let timeout = ctx
        .setting("/timeout_ms")
        .and_then(|value| value.as_u64())
        .and_then(|ms| u32::try_from(ms).ok());
    let request = post(API, path.as_str())
        .json(body)
        .header("client-id", client.as_str())
        .header("request-time", time)
        .header(
            "signature",
            format!("algorithm=RSA256,keyVersion=1,signature={signature}"),
        )
        .timeout_ms(timeout.unwrap_or(20_000));
    let request = if method.starts_with("inquiry") {
        request.reads()
    } else {
        request
    };
    match ctx.send(request).await {
        Ok(response) => read(&response, &path),
        Err(NoResponse::NotSent(why)) => Ok(Called::Nothing(format!("not sent: {why}"))),
        Err(NoResponse::Unknown(why)) => Ok(Called::Nothing(why)),
    }
}

pub fn client_id(ctx: &Ctx) -> Result<String, Fault> {
    let found = ctx.setting("/client_id");
    let text = found.as_ref().and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| Fault::Misconfigured("the channel's settings have no client_id".into()))
}

fn read(response: &Response, path: &str) -> Result<Called, Fault> {
    if response.status != 200 {
        return Ok(Called::Nothing(format!("status {}", response.status)));
    }
    let header = |name: &str| response.header(name).unwrap_or_default();
    let (client, time) = (header("client-id"), header("response-time"));
    if !is_signed(path, (client, time), &response.body, header("signature"))? {
        return Ok(Called::Nothing("an answer without the provider's signature".into()));
    }
    let body = response.json()?;
    let result: CallResult = match body.get("result").cloned().map(portolan_adapter::from_value) {
        Some(Ok(result)) => result,
        Some(Err(_)) | None => return Err(Fault::Protocol("an answer without a result".into())),
    };
    Ok(Called::Answer(body, result))
}

/// Whether `signature`'s header is the provider's over path, client, time and body.
pub fn is_signed(path: &str, (client, time): (&str, &str), body: &[u8], header: &str) -> Result<bool, Fault> {
    let Some(signature) = header
        .split(',')
        .find_map(|part| part.trim().strip_prefix("signature="))
    else {
        return Ok(false);
    };
    // Requests carry it percent-encoded; what comes back may not be: a plain one has no percent sign.
    let signature = percent_decode(signature);
    let data = [format!("POST {path}\n{client}.{time}.").as_bytes(), body].concat();
    keys::verify("provider", "rsa-pkcs1-sha256:base64", &data, signature.as_bytes())
}
