//! Builders for requests: JSON, form and headers. They own encoding and nothing else.

use crate::types::{Effect, Fault, Header, Request};
use serde_json::Value;

/// A read: repeating it is free.
pub fn get(endpoint: &str, path: impl Into<String>) -> Request {
    request(endpoint, "GET", path.into(), Effect::Read)
}

/// A write. The host takes it as one whatever the adapter says, unless the operator granted otherwise.
pub fn post(endpoint: &str, path: impl Into<String>) -> Request {
    request(endpoint, "POST", path.into(), Effect::Write)
}

fn request(endpoint: &str, method: &str, path: String, effect: Effect) -> Request {
    Request {
        endpoint: endpoint.into(),
        method: method.into(),
        path,
        headers: vec![],
        body: vec![],
        effect,
        timeout_ms: 30_000,
        extra: vec![],
    }
}

/// Building steps, each returning the request.
pub trait RequestExt: Sized {
    /// Adds a header.
    fn header(self, name: &str, value: impl Into<String>) -> Self;
    /// `authorization: Bearer <handle>`.
    fn bearer(self, handle: impl Into<String>) -> Self;
    /// A JSON body with its content type.
    fn json(self, body: &Value) -> Self;
    /// A JSON body from a type of the adapter's.
    fn json_of<T: serde::Serialize>(self, body: &T) -> Result<Self, Fault>;
    /// A form body with its content type.
    fn form(self, form: Form) -> Self;
    /// Says that this write only prepares: it cannot move money. The grant decides.
    fn prepares(self) -> Self;
    /// Says that this POST only looks. The grant decides.
    fn reads(self) -> Self;
    /// The longest the host waits for the whole reply, in milliseconds.
    fn timeout_ms(self, timeout: u32) -> Self;
}

impl RequestExt for Request {
    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push(Header {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    fn bearer(self, handle: impl Into<String>) -> Self {
        self.header("authorization", format!("Bearer {}", handle.into()))
    }

    fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("content-type", "application/json")
    }

    fn json_of<T: serde::Serialize>(mut self, body: &T) -> Result<Self, Fault> {
        self.body = serde_json::to_vec(body).map_err(|error| Fault::Other(error.to_string()))?;
        Ok(self.header("content-type", "application/json"))
    }

    fn form(mut self, form: Form) -> Self {
        self.body = form.0.into_bytes();
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    fn prepares(mut self) -> Self {
        self.effect = Effect::Prepare;
        self
    }

    fn reads(mut self) -> Self {
        self.effect = Effect::Read;
        self
    }

    fn timeout_ms(mut self, timeout: u32) -> Self {
        self.timeout_ms = timeout;
        self
    }
}

/// An `application/x-www-form-urlencoded` body, fields in the order they were added.
#[derive(Default)]
pub struct Form(String);

impl Form {
    /// Adds one field.
    pub fn field(mut self, name: &str, value: impl AsRef<str>) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        percent_encode(name, &mut self.0);
        self.0.push('=');
        percent_encode(value.as_ref(), &mut self.0);
        self
    }

    /// Adds a field where there is a value.
    pub fn optional(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
pub fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Undoes [`percent_encode`]; what is no whole escape stays as it is.
pub fn percent_decode(text: &str) -> String {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| *byte == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The amount's units as a whole number, for providers that take minor units.
pub fn minor_units(money: &crate::types::Money) -> Result<u64, Fault> {
    let parsed = money.units.parse();
    parsed.map_err(|_| {
        Fault::Invalid((
            "amount".into(),
            format!("{} units are more than 64 bits hold", money.units),
        ))
    })
}
