//! What an adapter asks for and the operator granted: effects of requests, places of handles, capabilities. Pure
//! look-ups over the manifest and the channel's configuration.

use crate::abi::exported::adapter as wit;
use crate::channel::ChannelConfig;
use portolan_domain::channel::Capability;
use portolan_domain::exchange::{Effect, Request};
use portolan_domain::operation::{Context, Fault, FaultKind, Kind};
use portolan_domain::ports::{Fill, Meaning, Place};

/// Asked and granted.
pub(crate) struct Grants {
    harmless: Vec<wit::HarmlessAsk>,
    secrets: Vec<wit::SecretAsk>,
    card_number: Vec<wit::PlaceAsk>,
    card_code: Vec<wit::PlaceAsk>,
    endpoints: Vec<String>,
}

pub(crate) const SESSION_PREFIX: &str = "session:";

impl Grants {
    pub fn new(manifest: &wit::Manifest, channel: &ChannelConfig) -> Self {
        let line = |ask: &wit::HarmlessAsk| format!("{} {}", ask.method, ask.path);
        let has_secret = |name: &str| channel.secrets.iter().any(|secret| secret == name);
        let card = |asks: &Vec<wit::PlaceAsk>| if channel.card_data { asks.clone() } else { vec![] };
        let asked = |name: &str| manifest.endpoints.iter().any(|ask| ask.name == name);
        Self {
            harmless: manifest
                .harmless
                .iter()
                .filter(|ask| channel.harmless.contains(&line(ask)))
                .cloned()
                .collect(),
            secrets: manifest
                .secrets
                .iter()
                .filter(|ask| ask.name.starts_with(SESSION_PREFIX) || has_secret(&ask.name))
                .cloned()
                .collect(),
            card_number: card(&manifest.card_number),
            card_code: card(&manifest.card_security_code),
            endpoints: channel
                .endpoints
                .iter()
                .map(|endpoint| endpoint.name.clone())
                .filter(|name| asked(name))
                .collect(),
        }
    }

    /// Names of the granted secrets, sessions among them.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|ask| ask.name.as_str())
    }

    /// What the request may do, from method and grant alone. A request that cannot be sent is refused here.
    pub fn effect(&self, request: &Request) -> Result<Effect, Fault> {
        if !self.endpoints.contains(&request.endpoint) {
            return Err(not_granted(format!(
                "the endpoint {:?} is not configured for this channel",
                request.endpoint
            )));
        }
        check_shape(request)?;
        if matches!(request.method.as_str(), "GET" | "HEAD") {
            return Ok(Effect::Read);
        }
        // A query could say what the body may not.
        let path = request.path.as_str();
        let ask = self.harmless.iter().find(|ask| {
            ask.endpoint == request.endpoint
                && ask.method == request.method
                && path_fits(&ask.path, path)
                && !ask.without.iter().any(|rule| is_excluded(request, rule))
        });
        Ok(match ask {
            Some(ask) if ask.prepare => Effect::Prepare,
            Some(_) => Effect::Read,
            None => Effect::Write,
        })
    }

    /// Every handle of the context, with the places that are granted to it at the request's endpoint.
    pub fn fills(&self, endpoint: &str, context: &Context) -> Vec<Fill> {
        let mut fills = vec![];
        for ask in &self.secrets {
            if let Some((_, handle)) = context.secrets.iter().find(|(name, _)| *name == ask.name) {
                let meaning = Meaning::Secret(ask.name.clone());
                fills.push(Fill {
                    handle: handle.clone(),
                    meaning,
                    places: places(&ask.at, endpoint),
                });
            }
        }
        let number = (&context.card_number, Meaning::CardNumber, &self.card_number);
        let code = context
            .card_code
            .as_ref()
            .map(|code| (code, Meaning::CardCode, &self.card_code));
        for (handle, meaning, asks) in std::iter::once(number).chain(code) {
            if !handle.is_empty() {
                fills.push(Fill {
                    handle: handle.clone(),
                    meaning,
                    places: places(asks, endpoint),
                });
            }
        }
        fills
    }
}

fn not_granted(text: String) -> Fault {
    Fault {
        kind: FaultKind::NotGranted,
        text,
    }
}

/// Refuses what could be read as another request by somebody on the way: control characters, dot segments, framing
/// headers.
fn check_shape(request: &Request) -> Result<(), Fault> {
    const HOSTS_OWN: [&str; 9] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "upgrade",
        "trailer",
        "expect",
        "cookie",
    ];
    let is_method = matches!(
        request.method.as_str(),
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE"
    );
    let path = request.path.to_ascii_lowercase();
    let is_path = request.path.starts_with('/')
        && request.path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
        && !["//", "/../", "/./", "%2e", "%2f", "%5c", "\\"]
            .iter()
            .any(|bad| path.contains(bad))
        && !path.ends_with("/..");
    let header_fits = |(name, value): &(String, String)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
            && !HOSTS_OWN.contains(&name.to_ascii_lowercase().as_str())
    };
    if !is_method {
        Err(not_granted(format!("the method {:?} is not sent", request.method)))
    } else if !is_path {
        Err(not_granted(
            "the path must be absolute, of visible characters, without dot segments".into(),
        ))
    } else if let Some((name, _)) = request.headers.iter().find(|header| !header_fits(header)) {
        Err(not_granted(format!("the header {name:?} is not sent")))
    } else {
        Ok(())
    }
}

pub(crate) fn path_fits(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let fits = pattern.split('/').all(|wanted| {
        segments
            .next()
            .is_some_and(|segment| wanted == "*" || wanted == segment)
    });
    fits && segments.next().is_none()
}

/// Whether a rule of `without` makes the request a write all the same: a field that must be absent, or, as
/// `field in a,b`, one that must be there once with one of these texts (JSON-RPC has one path for everything).
fn is_excluded(request: &Request, rule: &str) -> bool {
    match rule.split_once(" in ") {
        None => body_has(request, rule),
        Some((field, allowed)) => {
            let said = json_field(request.body.as_bytes(), field);
            !said.is_some_and(|said| allowed.split(',').any(|one| one == said))
        }
    }
}

/// The text of a top-level field that stands exactly once in a JSON object, in this spelling alone: some readers take
/// `METHOD` for `method`.
fn json_field(body: &[u8], field: &str) -> Option<String> {
    struct Pairs(Vec<(String, serde_json::Value)>);
    impl<'de> serde::Deserialize<'de> for Pairs {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Visit)
        }
    }
    struct Visit;
    impl<'de> serde::de::Visitor<'de> for Visit {
        type Value = Pairs;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
            let mut pairs = vec![];
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(Pairs(pairs))
        }
    }
    let Pairs(pairs) = serde_json::from_slice(body).ok()?;
    let mut found = pairs.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case(field));
    match (found.next(), found.next()) {
        (Some((name, serde_json::Value::String(text))), None) if name == field => Some(text),
        _ => None,
    }
}

/// Whether a body has the top-level field, read as its content type says. A body that cannot be read has every field.
fn body_has(request: &Request, field: &str) -> bool {
    let body = request.body.as_bytes();
    let content_type = request
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    match content_type.map(|(_, value)| value.as_str()) {
        _ if body.is_empty() => false,
        Some("application/json") => match serde_json::from_slice(body) {
            Ok(serde_json::Value::Object(fields)) => fields.keys().any(|name| name.eq_ignore_ascii_case(field)),
            Ok(_) | Err(_) => true,
        },
        Some("application/x-www-form-urlencoded") => match std::str::from_utf8(body) {
            Ok(form) => form
                .split('&')
                .any(|pair| form_name(pair).is_none_or(|name| name.eq_ignore_ascii_case(field))),
            Err(_) => true,
        },
        Some(_) | None => true,
    }
}

/// The decoded name of a form's pair, up to its first bracket; `None` if it does not decode.
fn form_name(pair: &str) -> Option<String> {
    let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
    let mut bytes = vec![];
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    Some(name.split('[').next().unwrap_or_default().trim().to_owned())
}

fn places(asks: &[wit::PlaceAsk], endpoint: &str) -> Vec<Place> {
    let granted = asks
        .iter()
        .filter(|ask| ask.endpoint == endpoint)
        .flat_map(|ask| &ask.places);
    granted
        .filter_map(|place| match place {
            wit::Place::Header((name, prefix)) => Some(Place::Header(name.to_ascii_lowercase(), prefix.clone())),
            wit::Place::JsonPointer(pointer) => Some(Place::JsonPointer(pointer.clone())),
            wit::Place::FormField(field) => Some(Place::FormField(field.clone())),
            wit::Place::Basic => Some(Place::Basic),
            wit::Place::XmlPath(_) => None,
        })
        .collect()
}

/// The interface that does operations of a kind.
pub(crate) fn interface_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Authorize | Kind::Resume => "payments",
        Kind::Quote | Kind::Convert => "exchange",
        Kind::Pay | Kind::Sweep => "payouts",
        Kind::Poll => "feeds",
        Kind::Capture | Kind::Cancel => "captures",
        Kind::Refund => "refunds",
        Kind::Reverse => "reversals",
    }
}

/// Whether the adapter heeds the demand to authenticate a payer.
pub(crate) fn authenticates(manifest: &wit::Manifest) -> bool {
    let says = |(name, how): &(String, String)| name == "authenticates" && how == "on-demand";
    manifest.extra.iter().any(says)
}

/// What the manifest says of the interface that does `kind`.
pub(crate) fn capability(manifest: &wit::Manifest, kind: Kind) -> Option<Capability> {
    let ms = |seconds: Option<u32>| seconds.map(|seconds| u64::from(seconds).saturating_mul(1_000));
    manifest
        .capabilities
        .iter()
        .find(|capability| capability.of == interface_of(kind))
        .map(|found| Capability {
            idempotent_for_ms: ms(found.idempotent_for_s),
            found_by_key: found.found_by_key,
            not_found_final_after_ms: ms(found.not_found_final_after_s),
            partial: found.partial,
            multiple: found.multiple,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_domain::exchange::Body;

    fn request(method: &str, path: &str, body: &str) -> Request {
        Request {
            endpoint: "api".into(),
            method: method.into(),
            path: path.into(),
            headers: vec![],
            body: Body::Text(body.into()),
            effect: Effect::Write,
            timeout_ms: 0,
            words: vec![],
        }
    }

    fn grants() -> Grants {
        let harmless = wit::HarmlessAsk {
            endpoint: "api".into(),
            method: "POST".into(),
            path: "/v1/intents".into(),
            without: vec!["confirm".into()],
            prepare: true,
        };
        Grants {
            harmless: vec![harmless],
            secrets: vec![],
            card_number: vec![],
            card_code: vec![],
            endpoints: vec!["api".into()],
        }
    }

    #[test]
    fn a_charge_called_a_read_is_a_write() {
        let effect = |method, path, kind: &str, body| {
            let mut request = request(method, path, body);
            request.headers.push(("Content-Type".into(), kind.into()));
            grants().effect(&request).unwrap()
        };
        let (form, json) = ("application/x-www-form-urlencoded", "application/json");
        assert_eq!(effect("GET", "/v1/intents/1", form, ""), Effect::Read);
        assert_eq!(
            effect("POST", "/v1/intents", form, "amount=1&metadata%5Ba%5D=confirm"),
            Effect::Prepare
        );
        assert_eq!(effect("POST", "/v1/intents", json, r#"{"amount":1}"#), Effect::Prepare);
        for (path, kind, body) in [
            ("/v1/intents", form, "amount=1&confirm=true"),
            ("/v1/intents", form, "amount=1&%63onfirm=true"),
            ("/v1/intents", form, "amount=1&confirm%5B%5D=true"),
            ("/v1/intents", form, "amount=1&Confirm=true"),
            ("/v1/intents", json, r#"{"CONFIRM":true}"#),
            ("/v1/intents", form, r#"{"a":"&confirm=true&b="}"#),
            ("/v1/intents", json, r#"{"confirm":true}"#),
            ("/v1/intents", json, "amount=1"),
            ("/v1/intents", "text/plain", "amount=1"),
            ("/v1/intents?confirm=true", form, "amount=1"),
            ("/v1/intents/1/confirm", form, ""),
            ("/v1/intentsx", form, ""),
        ] {
            assert_eq!(effect("POST", path, kind, body), Effect::Write, "{path} {kind} {body}");
        }
    }

    #[test]
    fn one_path_for_everything_is_told_apart_by_its_method() {
        let mut grants = grants();
        if let Some(ask) = grants.harmless.first_mut() {
            ask.without = vec!["method in eth_call,eth_getLogs".into()];
            ask.path = "/".into();
        }
        let effect = |body| {
            let mut request = request("POST", "/", body);
            request.headers.push(("content-type".into(), "application/json".into()));
            grants.effect(&request).unwrap()
        };
        assert_eq!(effect(r#"{"method":"eth_call","params":[]}"#), Effect::Prepare);
        for body in [
            r#"{"method":"eth_sendRawTransaction"}"#,
            r#"{"method":"eth_call","method":"eth_sendRawTransaction"}"#,
            r#"{"method":"eth_call","METHOD":"eth_sendRawTransaction"}"#,
            r#"{"Method":"eth_call"}"#,
            r#"[{"method":"eth_sendRawTransaction"}]"#,
            r#"{"method":["eth_call"]}"#,
            r#"{"params":[]}"#,
            "",
        ] {
            assert_eq!(effect(body), Effect::Write, "{body}");
        }
    }

    #[test]
    fn what_could_be_read_otherwise_is_refused() {
        for path in [
            "v1",
            "/v1/../x",
            "/v1/%2e%2e/x",
            "//host/x",
            "/a b",
            "/a\r\nHost: x",
            "/v1/..",
            "/a#b",
        ] {
            assert!(grants().effect(&request("POST", path, "")).is_err(), "{path}");
        }
        for (name, value) in [
            ("Host", "x"),
            ("content-length", "1"),
            ("x", "a\r\nb: c"),
            ("", "x"),
            ("x y", "z"),
        ] {
            let mut bad = request("GET", "/", "");
            bad.headers.push((name.into(), value.into()));
            assert!(grants().effect(&bad).is_err(), "{name}");
        }
        assert!(grants().effect(&request("CONNECT", "/", "")).is_err());
        let mut elsewhere = request("GET", "/", "");
        elsewhere.endpoint = "metadata".into();
        assert!(grants().effect(&elsewhere).is_err());
    }
}
