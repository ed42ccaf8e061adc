//! Reading a provider's reply. It owns the step from bytes to JSON and its faults.

use crate::types::{Fault, NoResponse, Response};
use serde_json::Value;

/// Why there is no response, for people: the same words in every language's SDK.
pub fn why(no: &NoResponse) -> String {
    match no {
        NoResponse::NotSent(why) => format!("not sent: {why}"),
        NoResponse::Unknown(why) => format!("no answer: {why}"),
    }
}

/// Reading steps over a response.
pub trait ReplyExt {
    /// The body as JSON; a fault `protocol` if it is none.
    fn json(&self) -> Result<Value, Fault>;
    /// The body as a type of the adapter's; a fault `protocol` that says what is missing.
    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Fault>;
    /// The first header of that name, in any case.
    fn header(&self, name: &str) -> Option<&str>;
}

impl ReplyExt for Response {
    fn json(&self) -> Result<Value, Fault> {
        let parsed = serde_json::from_slice(&self.body);
        parsed.map_err(|_| Fault::Protocol(format!("status {} with a body that is not JSON", self.status)))
    }

    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Fault> {
        let parsed = serde_json::from_slice(&self.body);
        parsed.map_err(|error| Fault::Protocol(format!("status {} with a body of another form: {error}", self.status)))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value.as_str())
    }
}
