//! A request's parts, each with its place: what two requests of one shape are compared by. Knows JSON and forms; a body in
//! another language is one part.

use serde_json::Value;
use std::collections::BTreeMap;

/// A request as it is sent: by a vector's adapter, or by a router.
pub struct Sent {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// `path/1`, `query/key`, `header/idempotency-key`, `body/card/number`: what stands there.
pub type Leaves = BTreeMap<String, String>;

/// What `path/…` begins with: a request to another path is another request.
pub const PATH: &str = "path/";

impl Sent {
    /// Every part.
    pub fn leaves(&self) -> Leaves {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let mut all = Leaves::new();
        for (at, segment) in path.split('/').skip(1).enumerate() {
            all.insert(format!("{PATH}{at}"), plain(segment));
        }
        pairs(query, "query", &mut all);
        for (name, value) in &self.headers {
            all.insert(format!("header/{name}"), value.clone());
        }
        match serde_json::from_str::<Value>(&self.body) {
            Ok(json) => walk(&json, "body".into(), &mut |place, value| {
                all.insert(place, value.to_owned());
            }),
            Err(_) if self.is_form() => pairs(&self.body, "body", &mut all),
            Err(_) if self.body.is_empty() => {}
            Err(_) => {
                all.insert("body".into(), self.body.clone());
            }
        }
        all
    }

    fn is_form(&self) -> bool {
        let mut kinds = self.headers.iter().filter(|(name, _)| name == "content-type");
        kinds.any(|(_, kind)| kind.starts_with("application/x-www-form-urlencoded"))
    }
}

/// Every text and number of a JSON value, with its place.
pub fn walk(value: &Value, place: String, found: &mut impl FnMut(String, &str)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                walk(value, format!("{place}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                walk(value, format!("{place}/{at}"), found);
            }
        }
        Value::String(text) => found(place, text),
        Value::Number(_) | Value::Bool(_) => found(place, &value.to_string()),
        Value::Null => {}
    }
}

/// `a=1&b=2`, decoded.
fn pairs(text: &str, place: &str, into: &mut Leaves) {
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        into.insert(format!("{place}/{}", plain(name)), plain(&value.replace('+', " ")));
    }
}

/// Percent-decoded; what cannot be decoded is left as it is.
fn plain(text: &str) -> String {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%');
        match hex.and_then(|pair| hex::decode(pair).ok()) {
            Some(decoded) => {
                bytes.extend(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_falls_into_its_parts() {
        let sent = |kind: &str, body: &str| Sent {
            method: "POST".into(),
            path: "/charges/ch_1/refunds?key=a%20b&x".into(),
            headers: vec![("content-type".into(), kind.into())],
            body: body.into(),
        };
        let leaves = sent(
            "application/json",
            r#"{"amount":400,"card":{"cvc":"1"},"all":["x"],"none":null}"#,
        )
        .leaves();
        let told: Vec<String> = leaves.iter().map(|(place, value)| format!("{place}={value}")).collect();
        assert_eq!(
            told,
            [
                "body/all/0=x",
                "body/amount=400",
                "body/card/cvc=1",
                "header/content-type=application/json",
                "path/0=charges",
                "path/1=ch_1",
                "path/2=refunds",
                "query/key=a b",
                "query/x="
            ]
        );
        let form = sent(
            "application/x-www-form-urlencoded",
            "card%5Bnumber%5D=4%2B2&a=b+c&bad=%zz",
        )
        .leaves();
        assert_eq!(form.get("body/card[number]").map(String::as_str), Some("4+2"));
        assert_eq!(form.get("body/a").map(String::as_str), Some("b c"));
        assert_eq!(form.get("body/bad").map(String::as_str), Some("%zz"));
        assert_eq!(
            sent("text/xml", "<a/>").leaves().get("body").map(String::as_str),
            Some("<a/>")
        );
    }
}
