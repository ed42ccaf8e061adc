//! Putting values in place of handles, at the wire. A handle must be the whole value at a granted place; one anywhere
//! else refuses the request before a byte is written.

use crate::secrets::LocalVault;
use crate::sign;
use base64::Engine;
use portolan_domain::exchange::{Request, Word};
use portolan_domain::ids::ChannelId;
use portolan_domain::operation::{Fault, FaultKind};
use portolan_domain::ports::{Fill, Meaning, Method, Place};
use portolan_domain::wire::{WireBytes, WireRequest};
use zeroize::Zeroizing;

struct Value<'a> {
    fill: &'a Fill,
    bytes: Zeroizing<Vec<u8>>,
}

pub(crate) fn fill(
    vault: &LocalVault,
    channel: &ChannelId,
    request: &Request,
    fills: &[Fill],
    card: Option<&Method>,
) -> Result<WireRequest, Fault> {
    let mut values = vec![];
    for fill in fills.iter().filter(|fill| stands_in(request, &fill.handle)) {
        let bytes = vault.value(channel, &fill.meaning, card).ok_or_else(|| missing(fill))?;
        values.push(Value { fill, bytes });
    }
    refuse_in_path(request, &values)?;
    let content_type = request
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.map_or("", |(_, value)| value.as_str());
    let mut body = fill_body(request.body.as_bytes(), content_type, &values)?;
    let mut headers = vec![];
    for (name, value) in &request.headers {
        headers.push((name.clone(), fill_header(name, value, &values)?));
    }
    for word in &request.words {
        let signature = sign_word(vault, channel, word, &values)?;
        body = replace(body, word.word.as_bytes(), signature.as_bytes());
        headers = headers
            .into_iter()
            .map(|(name, value)| (name, replace(value, word.word.as_bytes(), signature.as_bytes())))
            .collect();
    }
    let headers = headers
        .into_iter()
        .map(|(name, mut value)| (name, WireBytes::new(std::mem::take(&mut *value))))
        .collect();
    let body = WireBytes::new(std::mem::take(&mut *body));
    Ok(WireRequest {
        method: request.method.clone(),
        path: request.path.clone(),
        headers,
        body,
    })
}

fn stands_in(request: &Request, handle: &str) -> bool {
    let handle_bytes = handle.as_bytes();
    count(request.path.as_bytes(), handle_bytes) > 0
        || request.headers.iter().any(|(_, value)| value.contains(handle))
        || count(request.body.as_bytes(), handle_bytes) > 0
        || request
            .words
            .iter()
            .any(|word| count(word.data.as_bytes(), handle_bytes) > 0)
}

/// A card's security code lives for one payment: whoever comes second has to send it again. Anything else that is missing is the
/// operator's to set up.
fn missing(fill: &Fill) -> Fault {
    if fill.meaning == Meaning::CardCode {
        return Fault {
            kind: FaultKind::Invalid,
            text: "the security code was used by another payment meanwhile: send it again".into(),
        };
    }
    Fault {
        kind: FaultKind::Misconfigured,
        text: format!("the value of {:?} is not at hand", fill.meaning),
    }
}

fn misplaced(fill: &Fill, place: &str) -> Fault {
    let text = format!(
        "the handle of {:?} stands in {place}, where it is not granted",
        fill.meaning
    );
    Fault {
        kind: FaultKind::HandleMisplaced,
        text,
    }
}

fn refuse_in_path(request: &Request, values: &[Value<'_>]) -> Result<(), Fault> {
    match values.iter().find(|value| request.path.contains(&value.fill.handle)) {
        Some(value) => Err(misplaced(value.fill, "the path")),
        None => Ok(()),
    }
}

fn fill_header(name: &str, text: &str, values: &[Value<'_>]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut filled = Zeroizing::new(text.as_bytes().to_vec());
    let basic = name
        .eq_ignore_ascii_case("authorization")
        .then(|| text.strip_prefix("Basic "))
        .flatten();
    for value in values.iter().filter(|value| text.contains(&value.fill.handle)) {
        let handle = value.fill.handle.as_str();
        let fits = value.fill.places.iter().any(|place| match place {
            Place::Header(granted, prefix) => {
                granted.eq_ignore_ascii_case(name) && text.strip_prefix(prefix.as_str()) == Some(handle)
            }
            Place::Basic => basic
                .and_then(|pair| pair.split_once(':'))
                .is_some_and(|(user, password)| {
                    (user == handle) != (password == handle) && text.matches(handle).count() == 1
                }),
            Place::JsonPointer(_) | Place::FormField(_) => false,
        });
        if !fits {
            return Err(misplaced(value.fill, &format!("the header {name}")));
        }
        filled = replace(filled, handle.as_bytes(), &value.bytes);
    }
    match basic {
        Some(_) if values.iter().any(|value| value.fill.places.contains(&Place::Basic)) => Ok(encode_basic(&filled)),
        Some(_) | None => Ok(filled),
    }
}

/// `Basic user:password` in clear becomes what RFC 7617 asks for.
fn encode_basic(clear: &[u8]) -> Zeroizing<Vec<u8>> {
    let pair = clear.strip_prefix(b"Basic ").unwrap_or(clear);
    let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pair));
    Zeroizing::new([b"Basic ", encoded.as_bytes()].concat())
}

/// Fills a body of that content type. The bytes around the handles stay as they are.
fn fill_body(body: &[u8], content_type: &str, values: &[Value<'_>]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut filled = Zeroizing::new(body.to_vec());
    for value in values {
        let handle = value.fill.handle.as_bytes();
        let stands = count(body, handle);
        if stands == 0 {
            continue;
        }
        let (granted, encoded) = if content_type.starts_with("application/json") {
            (granted_in_json(body, value.fill), json_text(&value.bytes))
        } else if content_type.starts_with("application/x-www-form-urlencoded") {
            (granted_in_form(body, value.fill), form_text(&value.bytes))
        } else {
            (0, value.bytes.clone())
        };
        if granted != stands {
            return Err(misplaced(value.fill, "the body"));
        }
        filled = replace(filled, handle, &encoded);
    }
    Ok(filled)
}

fn granted_in_json(body: &[u8], fill: &Fill) -> usize {
    let Ok(parsed) = serde_json::from_slice::<serde_json::Value>(body) else {
        return 0;
    };
    let is_whole =
        |pointer: &String| parsed.pointer(pointer).and_then(|value| value.as_str()) == Some(fill.handle.as_str());
    fill.places
        .iter()
        .filter(|place| matches!(place, Place::JsonPointer(pointer) if is_whole(pointer)))
        .count()
}

fn granted_in_form(body: &[u8], fill: &Fill) -> usize {
    let body = String::from_utf8_lossy(body);
    let is_whole = |pair: &str| {
        pair.split_once('=').is_some_and(|(name, value)| {
            let name = name
                .replace("%5B", "[")
                .replace("%5D", "]")
                .replace("%5b", "[")
                .replace("%5d", "]");
            value == fill.handle && fill.places.contains(&Place::FormField(name))
        })
    };
    body.split('&').filter(|pair| is_whole(pair)).count()
}

/// The text inside a JSON string.
fn json_text(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    let quoted = Zeroizing::new(serde_json::Value::String(text.to_string()).to_string());
    Zeroizing::new(
        quoted
            .trim_start_matches('"')
            .strip_suffix('"')
            .unwrap_or_default()
            .as_bytes()
            .to_vec(),
    )
}

/// The text of a form field.
pub(crate) fn form_text(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len()));
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(*byte);
        } else {
            text.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    text
}

fn sign_word(vault: &LocalVault, channel: &ChannelId, word: &Word, values: &[Value<'_>]) -> Result<String, Fault> {
    let data = fill_body(word.data.as_bytes(), &word.content_type, values)?;
    sign::compute(vault, channel, word, &data).map_err(|text| Fault {
        kind: FaultKind::Misconfigured,
        text,
    })
}

fn count(text: &[u8], word: &[u8]) -> usize {
    if word.is_empty() || text.len() < word.len() {
        return 0;
    }
    memchr::memmem::find_iter(text, word).count()
}

/// Every `from` in the text becomes `to`.
pub(crate) fn replace(text: Zeroizing<Vec<u8>>, from: &[u8], to: &[u8]) -> Zeroizing<Vec<u8>> {
    if from.is_empty() || memchr::memmem::find(&text, from).is_none() {
        return text;
    }
    let mut replaced = Zeroizing::new(Vec::with_capacity(text.len() + to.len()));
    let mut rest = text.as_slice();
    while let Some(at) = memchr::memmem::find(rest, from) {
        let (before, after) = rest.split_at(at);
        replaced.extend_from_slice(before);
        replaced.extend_from_slice(to);
        rest = after.get(from.len()..).unwrap_or_default();
    }
    replaced.extend_from_slice(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_domain::exchange::{Body, Effect};
    use portolan_domain::ids::Name;
    use portolan_domain::ports::Meaning;

    const HANDLE: &str = "hdl0123456789";

    fn vault() -> (LocalVault, ChannelId) {
        let folder = tempfile::tempdir().unwrap();
        let keys = crate::KeyFile::open_or_create(&folder.path().join("keys")).unwrap();
        let vault = LocalVault::new(keys).unwrap();
        let channel = Name::parse("acme").unwrap();
        vault.put_secret(channel.clone(), "key".into(), b"s3cr\"t/value".to_vec());
        (vault, channel)
    }

    fn send(places: Vec<Place>, header: (&str, &str), path: &str, body: &str) -> Result<(String, String), FaultKind> {
        let (vault, channel) = vault();
        let request = Request {
            endpoint: "e".into(),
            method: "POST".into(),
            path: path.into(),
            headers: vec![(header.0.into(), header.1.into())],
            body: Body::Text(body.into()),
            effect: Effect::Write,
            timeout_ms: 1,
            words: vec![],
        };
        let fills = [Fill {
            handle: HANDLE.into(),
            meaning: Meaning::Secret("key".into()),
            places,
        }];
        let wire = fill(&vault, &channel, &request, &fills, None).map_err(|fault| fault.kind)?;
        let text = |bytes: &WireBytes| String::from_utf8(bytes.expose_for_wire().to_vec()).unwrap();
        Ok((text(&wire.headers[0].1), text(&wire.body)))
    }

    /// The code is gone with the payment that used it; that is no fault of the channel's set-up.
    #[test]
    fn a_security_code_that_is_gone_is_the_merchants_to_send_again() {
        let (vault, channel) = vault();
        let request = Request {
            endpoint: "e".into(),
            method: "POST".into(),
            path: "/".into(),
            headers: vec![],
            body: Body::Text(format!("{{\"code\":\"{HANDLE}\"}}")),
            effect: Effect::Write,
            timeout_ms: 1,
            words: vec![],
        };
        let missing = |meaning| {
            let fills = [Fill {
                handle: HANDLE.into(),
                meaning,
                places: vec![],
            }];
            fill(&vault, &channel, &request, &fills, None)
                .err()
                .map(|fault| fault.kind)
        };
        assert_eq!(missing(Meaning::CardCode), Some(FaultKind::Invalid));
        assert_eq!(missing(Meaning::Secret("other".into())), Some(FaultKind::Misconfigured));
    }

    #[test]
    fn whole_values_at_granted_places_are_filled() {
        let bearer = send(
            vec![Place::Header("authorization".into(), "Bearer ".into())],
            ("Authorization", "Bearer hdl0123456789"),
            "/",
            "",
        );
        assert_eq!(bearer.unwrap().0, "Bearer s3cr\"t/value");
        let basic = send(vec![Place::Basic], ("authorization", "Basic hdl0123456789:"), "/", "");
        assert_eq!(basic.unwrap().0, "Basic czNjciJ0L3ZhbHVlOg==");
        let json = send(
            vec![Place::JsonPointer("/a/b".into())],
            ("content-type", "application/json"),
            "/",
            r#"{"a":{"b":"hdl0123456789"}}"#,
        );
        assert_eq!(json.unwrap().1, r#"{"a":{"b":"s3cr\"t/value"}}"#);
        let form = send(
            vec![Place::FormField("card[number]".into())],
            ("content-type", "application/x-www-form-urlencoded"),
            "/",
            "x=1&card%5Bnumber%5D=hdl0123456789",
        );
        assert_eq!(form.unwrap().1, "x=1&card%5Bnumber%5D=s3cr%22t%2Fvalue");
    }

    #[test]
    fn a_handle_anywhere_else_refuses_the_request() {
        let json = || vec![Place::JsonPointer("/key".into())];
        let misplaced = [
            send(json(), ("content-type", "application/json"), "/?k=hdl0123456789", "{}"),
            send(json(), ("x-note", "hdl0123456789"), "/", "{}"),
            send(
                json(),
                ("content-type", "application/json"),
                "/",
                r#"{"description":"hdl0123456789"}"#,
            ),
            send(
                json(),
                ("content-type", "application/json"),
                "/",
                r#"{"key":"x hdl0123456789"}"#,
            ),
            send(
                json(),
                ("content-type", "application/json"),
                "/",
                r#"{"key":"hdl0123456789","hdl0123456789":1}"#,
            ),
            send(
                json(),
                ("content-type", "text/plain"),
                "/",
                r#"{"key":"hdl0123456789"}"#,
            ),
            send(
                vec![Place::Header("authorization".into(), "Bearer ".into())],
                ("authorization", "bearer hdl0123456789"),
                "/",
                "",
            ),
            send(vec![], ("authorization", "Basic hdl0123456789:x"), "/", ""),
        ];
        for (at, sent) in misplaced.into_iter().enumerate() {
            assert_eq!(sent.unwrap_err(), FaultKind::HandleMisplaced, "case {at}");
        }
    }
}
