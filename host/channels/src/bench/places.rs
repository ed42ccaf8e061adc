//! Whether a request keeps to what the adapter asks for: an endpoint of its own, and every handle at a place that it asked
//! for. A router refuses the rest; here its partner learns of it first.

use crate::abi::exported::adapter::{Manifest, Place, PlaceAsk};
use serde_json::Value;

/// What is wrong with a request, by the adapter's own asks. `card`: the handles of the vector's card.
pub(super) fn misplaced(manifest: &Manifest, request: &Value, input: &[Value]) -> Option<String> {
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let endpoint = text("endpoint");
    if !manifest.endpoints.iter().any(|ask| ask.name == endpoint) {
        return Some(format!("the endpoint {endpoint:?} is not among its asks"));
    }
    let bytes = request.get("body").and_then(Value::as_array).into_iter().flatten();
    let bytes: Vec<u8> = bytes.filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
    let sent = Sent {
        path: text("path"),
        headers: request
            .get("headers")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice),
        body: String::from_utf8_lossy(&bytes).into_owned(),
    };
    let card = |field: &str| {
        input
            .iter()
            .find_map(|it| it.pointer(&format!("/instrument/Card/{field}"))?.as_str())
    };
    let secrets = manifest
        .secrets
        .iter()
        .map(|ask| (format!("handle-{}", ask.name), ask.name.as_str(), &ask.at));
    let number = card("number").map(|handle| (handle.to_owned(), "card number", &manifest.card_number));
    let code =
        card("security_code").map(|handle| (handle.to_owned(), "card security code", &manifest.card_security_code));
    let mut handles = secrets.chain(number).chain(code);
    let wrong = handles
        .find(|(handle, _, asks)| !handle.is_empty() && sent.times(handle) > sent.granted(handle, endpoint, asks));
    wrong.map(|(_, name, _)| format!("the handle of {name:?} stands where it is not asked for"))
}

struct Sent<'a> {
    path: &'a str,
    headers: &'a [Value],
    body: String,
}

impl Sent<'_> {
    fn header<'b>(&self, header: &'b Value, part: &str) -> &'b str {
        header.get(part).and_then(Value::as_str).unwrap_or_default()
    }

    /// How often the handle stands in the request; not as a part of a longer word.
    fn times(&self, handle: &str) -> usize {
        let is_word = |byte: Option<u8>| {
            byte.is_some_and(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b':' || it == b'-')
        };
        let count = |text: &str| {
            let found = text.match_indices(handle);
            let whole = found.filter(|(at, _)| !is_word(text.as_bytes().get(at.saturating_add(handle.len())).copied()));
            whole.count()
        };
        let headers = self.headers.iter().map(|header| count(self.header(header, "value")));
        headers
            .sum::<usize>()
            .saturating_add(count(self.path))
            .saturating_add(count(&self.body))
    }

    /// At how many of the places that were asked for at this endpoint it stands.
    fn granted(&self, handle: &str, endpoint: &str, asks: &[PlaceAsk]) -> usize {
        let places = asks
            .iter()
            .filter(|ask| ask.endpoint == endpoint)
            .flat_map(|ask| &ask.places);
        places.filter(|place| self.is_at(handle, place)).count()
    }

    fn is_at(&self, handle: &str, place: &Place) -> bool {
        match place {
            Place::Header((name, prefix)) => self.headers.iter().any(|header| {
                let value = self.header(header, "value");
                self.header(header, "name").eq_ignore_ascii_case(name)
                    && value.strip_prefix(prefix.as_str()) == Some(handle)
            }),
            Place::JsonPointer(pointer) => {
                let body: Value = serde_json::from_str(&self.body).unwrap_or(Value::Null);
                body.pointer(pointer).and_then(Value::as_str) == Some(handle)
            }
            Place::FormField(field) => self.body.split('&').any(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let plain = |text: &str| text.replace("%3A", ":").replace("%5B", "[").replace("%5D", "]");
                plain(name) == *field && plain(value) == handle
            }),
            Place::Basic => self.headers.iter().any(|header| {
                self.header(header, "name").eq_ignore_ascii_case("authorization")
                    && self
                        .header(header, "value")
                        .strip_prefix("Basic ")
                        .is_some_and(|pair| pair.split(':').any(|it| it == handle))
            }),
            Place::XmlPath(_) => false,
        }
    }
}
