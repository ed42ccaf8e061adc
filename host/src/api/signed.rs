//! Requests that their merchant signs (RFC 9421, HTTP Message Signatures, over a Content-Digest by RFC 9530), with Ed25519: who has
//! a key of this kind cannot deny an order, and nobody with the API key alone can give one.

use super::problem::Problem;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use dashmap::DashMap;
use portolan_domain::order::SignedOrder;
use portolan_vault::{content_digest, is_ordered, sha256};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, ListSerializer, Parser};

/// A signature is this old at most; a retry is signed anew, under the same Idempotency-Key.
const OLD_MAX_S: i64 = 300;
/// A merchant's clock is ahead by this much at most: for so long after a start, what a router before took may be taken once more.
const AHEAD_MAX_S: i64 = 10;
/// Headers and parts of a request that one signature may cover.
const COVERED_MAX: usize = 32;
/// Bytes of what is signed, without the body.
const BASE_MAX: usize = 4 * 1024;
/// The headers that may be signed: what is signed is kept, so nothing that may hold a secret.
const HEADERS: [&str; 6] = [
    "content-digest",
    "content-length",
    "content-type",
    "date",
    "host",
    "idempotency-key",
];
/// Signatures that are remembered: more in five minutes are more than one router takes.
const REMEMBERED_MAX: usize = 400_000;

/// The signatures that were taken and could still be: none counts twice. What a router before this one took is older than it, but for
/// what was dated ahead.
pub struct Signatures {
    taken: DashMap<[u8; 32], i64>,
    born_s: i64,
}

impl Signatures {
    /// None yet.
    pub fn new(now_ms: u64) -> Self {
        Self {
            taken: DashMap::new(),
            born_s: seconds(now_ms),
        }
    }

    /// Takes a signature, once.
    pub fn take(&self, proof: &Proof, now_ms: u64) -> Result<(), Problem> {
        let now_s = seconds(now_ms);
        if proof.created_s < self.born_s {
            return Err(invalid(
                "it was signed before this router began: sign it anew, under the same Idempotency-Key",
            ));
        }
        if self.taken.len() >= REMEMBERED_MAX {
            self.taken
                .retain(|_, created_s| created_s.saturating_add(OLD_MAX_S) >= now_s);
        }
        if self.taken.len() >= REMEMBERED_MAX {
            return Err(Problem::busy(
                "more signed requests than this router remembers: try again in a minute",
            ));
        }
        match self.taken.insert(proof.name, proof.created_s) {
            None => Ok(()),
            Some(_) => {
                let detail = "this signature was used, and the request that it was for may have been carried out: sign each try anew, with a nonce or a later created; a retry under the same Idempotency-Key";
                Err(Problem::new(401, "signature_used", detail))
            }
        }
    }
}

fn seconds(ms: u64) -> i64 {
    i64::try_from(ms / 1_000).unwrap_or(i64::MAX)
}

/// A signature that is good.
pub struct Proof {
    base: String,
    signature: Vec<u8>,
    created_s: i64,
    /// By which it is known again.
    name: [u8; 32],
}

impl Proof {
    /// The order as it is kept.
    pub fn order(self, key: &str, (public_key, at_ms): ([u8; 32], u64), body: &[u8]) -> Result<SignedOrder, Problem> {
        let body = std::str::from_utf8(body).map_err(|_| Problem::malformed("the body is not UTF-8"))?;
        Ok(SignedOrder {
            at_ms,
            key: key.to_owned(),
            public_key,
            base: self.base,
            signature: self.signature,
            body: body.to_owned(),
            operation: None,
        })
    }
}

/// Whether a request must be signed, where the key says so: it may change something.
pub fn must_be(method: &Method) -> bool {
    !method.is_safe()
}

/// The proof, if the request is signed by that key over everything that matters.
pub fn check(
    (parts, body): (&Parts, &[u8]),
    (key, public_key): (&str, &[u8; 32]),
    now_ms: u64,
) -> Result<Proof, Problem> {
    check_digest(&parts.headers, body)?;
    let (label, input) = input_of(&parts.headers, key)?;
    let created_s = check_times(&input, now_ms)?;
    check_algorithm(&input)?;
    let base = base(parts, &input)?;
    let signature = signature(&parts.headers, &label)?;
    if !is_ordered(public_key, &base, &signature) {
        let detail = format!("the signature {label:?} is not the registered key's over this signature base:\n{base}");
        return Err(Problem::new(401, "signature_invalid", detail));
    }
    let name = sha256(&[base.as_bytes(), &signature].concat());
    Ok(Proof {
        base,
        signature,
        created_s,
        name,
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

fn check_times(input: &InnerList, now_ms: u64) -> Result<i64, Problem> {
    let now_s = seconds(now_ms);
    let created = number_of(input, "created").ok_or_else(|| invalid("Signature-Input needs created=, in seconds"))?;
    let age = now_s.saturating_sub(created);
    if age > OLD_MAX_S {
        let detail =
            format!("created={created} is {age} s ago; at most {OLD_MAX_S}: sign each request when it is sent");
        return Err(invalid(detail));
    }
    if age < -AHEAD_MAX_S {
        let ahead = age.saturating_neg();
        return Err(invalid(format!(
            "created={created} is in {ahead} s here, at {now_s}: set your clock"
        )));
    }
    let is_over = |expires: Option<i64>| expires.is_none_or(|expires| expires < now_s);
    if input.params.contains_key("expires") && is_over(number_of(input, "expires")) {
        return Err(invalid("the signature's own expires= is over, or no whole number"));
    }
    Ok(created)
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
    match base.len() <= BASE_MAX {
        true => Ok(base),
        false => Err(invalid(format!("what is covered has more than {BASE_MAX} bytes"))),
    }
}

fn part(parts: &Parts, name: &str) -> Result<String, Problem> {
    match name {
        "@method" => Ok(parts.method.as_str().to_owned()),
        "@path" => Ok(parts.uri.path().to_owned()),
        "@query" => Ok(format!("?{}", parts.uri.query().unwrap_or_default())),
        "@authority" => value_of(&parts.headers, "host")
            .map(|host| host.to_ascii_lowercase())
            .ok_or_else(|| invalid("@authority is covered, and there is no Host")),
        name if HEADERS.contains(&name) => {
            value_of(&parts.headers, name).ok_or_else(|| invalid(format!("{name} is covered, and not in the request")))
        }
        // What is signed is kept, and shown to whoever is to believe it.
        other => Err(invalid(format!(
            "{other:?} cannot be covered: @method, @path, @query, @authority and, in small letters, {} can",
            HEADERS.join(", ")
        ))),
    }
}
