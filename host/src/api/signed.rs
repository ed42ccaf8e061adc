//! Requests that their merchant signs (RFC 9421, HTTP Message Signatures, over a Content-Digest by RFC 9530), with Ed25519: who has
//! a key of this kind cannot deny an order, and nobody with the API key alone can give one.

use super::problem::Problem;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use portolan_domain::order::SignedOrder;
use portolan_vault::{content_digest, is_ordered};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, ListSerializer, Parser};

/// A signature is this old at most; a retry is signed anew, under the same Idempotency-Key.
const OLD_MAX_S: i64 = 300;
/// Clocks differ by this much at most.
const AHEAD_MAX_S: i64 = 60;
/// Headers and parts of a request that one signature may cover.
const COVERED_MAX: usize = 32;
/// Headers that nothing keeps.
const SECRET: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];
/// A body with this word in it is not kept: no security code is ever written.
const NEVER_KEPT: &str = "security_code";

/// Whether a request must be signed, where the key says so: it may change something.
pub fn must_be(method: &Method) -> bool {
    !method.is_safe()
}

/// The order, if the request is signed by that key over everything that matters.
pub fn check(
    (parts, body): (&Parts, &[u8]),
    (key, public_key): (&str, &[u8; 32]),
    now_ms: u64,
) -> Result<SignedOrder, Problem> {
    check_digest(&parts.headers, body)?;
    let (label, input) = input_of(&parts.headers, key)?;
    check_times(&input, now_ms)?;
    check_algorithm(&input)?;
    let base = base(parts, &input)?;
    let signature = signature(&parts.headers, &label)?;
    if !is_ordered(public_key, &base, &signature) {
        let detail = format!("the signature {label:?} is not the registered key's over this signature base:\n{base}");
        return Err(Problem::new(401, "signature_invalid", detail));
    }
    let text = std::str::from_utf8(body).ok();
    Ok(SignedOrder {
        key: key.to_owned(),
        public_key: *public_key,
        base,
        signature,
        body: text.filter(|it| !it.contains(NEVER_KEPT)).map(str::to_owned),
    })
}

fn missing(what: &str) -> Problem {
    let detail = format!("this API key's requests are signed (RFC 9421, Ed25519): {what}");
    Problem::new(401, "signature_missing", detail)
}

fn invalid(what: impl Into<String>) -> Problem {
    Problem::new(401, "signature_invalid", what)
}

/// A header's values as one, as the standard puts them together.
fn value_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().map(str::trim));
    let values: Vec<&str> = values.collect::<Result<_, _>>().ok()?;
    (!values.is_empty()).then(|| values.join(", "))
}

fn dictionary(headers: &HeaderMap, name: &str) -> Result<Option<Dictionary>, Problem> {
    let Some(text) = value_of(headers, name) else {
        return Ok(None);
    };
    let read = Parser::new(&text).parse::<Dictionary>();
    read.map(Some)
        .map_err(|error| invalid(format!("{name} is no dictionary of RFC 9651: {error}")))
}

/// The body is the one whose digest was signed.
fn check_digest(headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let digests = dictionary(headers, "content-digest")?.ok_or_else(|| {
        missing("send Content-Digest: sha-256=:…: over the body, of no bytes too, and cover it by the signature")
    })?;
    let known = digests.iter().filter_map(|(name, value)| {
        let right = content_digest(name.as_str(), body)?;
        let ListEntry::Item(item) = value else { return None };
        Some(item.bare_item.as_byte_sequence() == Some(right.as_slice()))
    });
    let known: Vec<bool> = known.collect();
    match known.as_slice() {
        [] => Err(invalid("Content-Digest has neither sha-256 nor sha-512")),
        all if all.iter().all(|is_right| *is_right) => Ok(()),
        _ => Err(invalid("Content-Digest is not the digest of this body")),
    }
}

/// The signature whose `keyid` is the API key's, by its label, with what it covers.
fn input_of(headers: &HeaderMap, key: &str) -> Result<(String, InnerList), Problem> {
    let inputs = dictionary(headers, "signature-input")?.ok_or_else(|| {
        missing("send Signature-Input, Signature and Content-Digest; the answer to GET /openapi.json says how")
    })?;
    let ours = inputs.into_iter().find_map(|(label, entry)| match entry {
        ListEntry::InnerList(list) if text_of(&list, "keyid") == Some(key) => Some((label.as_str().to_owned(), list)),
        ListEntry::InnerList(_) | ListEntry::Item(_) => None,
    });
    ours.ok_or_else(|| {
        invalid(format!(
            "Signature-Input has no signature with keyid={key:?}, this API key's id"
        ))
    })
}

fn text_of<'a>(list: &'a InnerList, name: &str) -> Option<&'a str> {
    let value = list.params.get(name)?;
    value.as_string().map(|text| text.as_str())
}

fn number_of(list: &InnerList, name: &str) -> Option<i64> {
    let value = list.params.get(name)?;
    value.as_integer().map(i64::from)
}

fn check_times(input: &InnerList, now_ms: u64) -> Result<(), Problem> {
    let now_s = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
    let created = number_of(input, "created").ok_or_else(|| invalid("Signature-Input needs created=, in seconds"))?;
    let age = now_s.saturating_sub(created);
    if !(-AHEAD_MAX_S..=OLD_MAX_S).contains(&age) {
        let detail =
            format!("created={created} is {age} s ago here; at most {OLD_MAX_S}: sign each request when it is sent");
        return Err(invalid(detail));
    }
    if number_of(input, "expires").is_some_and(|expires| expires < now_s) {
        return Err(invalid("the signature's own expires= is over"));
    }
    Ok(())
}

fn check_algorithm(input: &InnerList) -> Result<(), Problem> {
    match input.params.get("alg") {
        None => Ok(()),
        Some(_) if text_of(input, "alg") == Some("ed25519") => Ok(()),
        Some(_) => Err(invalid("alg is \"ed25519\", or left out")),
    }
}

fn signature(headers: &HeaderMap, label: &str) -> Result<Vec<u8>, Problem> {
    let all = dictionary(headers, "signature")?.ok_or_else(|| missing("send Signature beside Signature-Input"))?;
    let bytes = match all.get(label) {
        Some(ListEntry::Item(item)) => item.bare_item.as_byte_sequence().map(<[u8]>::to_vec),
        Some(ListEntry::InnerList(_)) | None => None,
    };
    bytes.ok_or_else(|| {
        invalid(format!(
            "Signature has no bytes under {label:?}, the label in Signature-Input"
        ))
    })
}

/// What was signed: a line for each part that is covered, and what the signature says of itself.
fn base(parts: &Parts, input: &InnerList) -> Result<String, Problem> {
    if input.items.len() > COVERED_MAX {
        return Err(invalid(format!("a signature covers at most {COVERED_MAX} parts")));
    }
    let mut covered: Vec<&str> = vec![];
    let mut base = String::new();
    for item in &input.items {
        let name = match &item.bare_item {
            BareItem::String(name) if item.params.is_empty() => name.as_str(),
            _ => return Err(invalid("what is covered is named by plain strings, without parameters")),
        };
        if covered.contains(&name) {
            return Err(invalid(format!("{name} is covered twice")));
        }
        base.push_str(&format!("\"{name}\": {}\n", part(parts, name)?));
        covered.push(name);
    }
    let has_query = parts.uri.query().is_some().then_some("@query");
    let has_key = parts
        .headers
        .contains_key("idempotency-key")
        .then_some("idempotency-key");
    let needed = ["@method", "@path", "content-digest"].into_iter();
    let lacking: Vec<&str> = needed
        .chain(has_query)
        .chain(has_key)
        .filter(|it| !covered.contains(it))
        .collect();
    if !lacking.is_empty() {
        return Err(invalid(format!("the signature does not cover {}", lacking.join(", "))));
    }
    let mut parameters = ListSerializer::new();
    parameters.members([&ListEntry::InnerList(input.clone())]);
    let parameters = parameters.finish().unwrap_or_default();
    base.push_str(&format!("\"@signature-params\": {parameters}"));
    Ok(base)
}

fn part(parts: &Parts, name: &str) -> Result<String, Problem> {
    let path = |uri: &Uri| uri.path().to_owned();
    match name {
        "@method" => Ok(parts.method.as_str().to_owned()),
        "@path" => Ok(path(&parts.uri)),
        "@query" => Ok(format!("?{}", parts.uri.query().unwrap_or_default())),
        "@authority" => value_of(&parts.headers, "host")
            .map(|host| host.to_ascii_lowercase())
            .ok_or_else(|| invalid("@authority is covered, and there is no Host")),
        // What is signed is kept, and shown to whoever is to believe it.
        name if SECRET.contains(&name) => Err(invalid(format!("{name} is a secret: leave it out of what is signed"))),
        name if name.starts_with('@') => Err(invalid(format!(
            "{name} cannot be covered here; @method, @path, @query, @authority and headers can"
        ))),
        name => {
            value_of(&parts.headers, name).ok_or_else(|| invalid(format!("{name} is covered, and not in the request")))
        }
    }
}
