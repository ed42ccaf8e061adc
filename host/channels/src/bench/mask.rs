//! A payer's data out of what a partner is given: values that say who somebody is keep their shape and nothing else. The same
//! value is masked the same way wherever it stands, so that what was compared can still be compared. It is a help for whoever
//! hands a case on, who reads it first: a provider may say of a payer what no list knows.

use regex::{Captures, Regex};
use serde_json::Value;
use std::collections::BTreeSet;

/// Fields of the contract and of providers that say who, where or by what somebody is reached, as letters only.
const TELLING: [&str; 33] = [
    "accountno",
    "addressline1",
    "addressline2",
    "adrline",
    "birthdate",
    "birthdt",
    "bldgnb",
    "buyerid",
    "contact",
    "dateofbirth",
    "dob",
    "emailadr",
    "geo",
    "ip",
    "line1",
    "line2",
    "lines",
    "mobnb",
    "msisdn",
    "nm",
    "openid",
    "payerid",
    "phnenb",
    "pstcd",
    "ssn",
    "street",
    "strtnm",
    "surname",
    "taxid",
    "twnnm",
    "useragent",
    "userid",
    "ustrd",
];
/// The same at the end of a field's name.
const TELLING_ENDS: [&str; 18] = [
    "accountnumber",
    "address",
    "bban",
    "city",
    "clientip",
    "email",
    "holder",
    "iban",
    "mobile",
    "name",
    "names",
    "nationalid",
    "phone",
    "phonenumber",
    "postalcode",
    "postcode",
    "street",
    "zip",
];
/// Free texts: masked where they stand and not looked for elsewhere, for they may be any word.
const FREE: [&str; 3] = ["description", "remittance", "note"];
/// Fields of the contract that hold names with values.
const PAIRS: [&str; 2] = ["identifiers", "local"];
/// What the contract and most providers work by: never anybody's name, whatever somebody is called.
const KEPT: [&str; 16] = [
    "amount",
    "asset",
    "brand",
    "code",
    "country",
    "currency",
    "exponent",
    "id",
    "kind",
    "operation",
    "parent_reference",
    "payment",
    "reference",
    "state",
    "status",
    "units",
];
/// A shorter value is masked where it stands, and not looked for elsewhere: it could be part of any word.
const TELLING_MIN: usize = 4;

/// What is to be masked.
pub(super) struct Mask {
    known: BTreeSet<String>,
    /// `"name": "value"`, `name=value` and `<name>value` in what is not whole.
    loose: Vec<Regex>,
}

/// Letters as x, digits as 0, the rest as it is.
pub(super) fn shape(text: &str) -> String {
    let masked = |letter: char| match letter {
        it if it.is_ascii_digit() => '0',
        it if it.is_uppercase() => 'X',
        it if it.is_alphanumeric() => 'x',
        it => it,
    };
    text.chars().map(masked).collect()
}

fn is_telling(field: &str) -> bool {
    let letters: String = field.chars().filter(char::is_ascii_alphanumeric).collect();
    let letters = letters.to_ascii_lowercase();
    TELLING.contains(&letters.as_str()) || TELLING_ENDS.iter().any(|it| letters.ends_with(it))
}

fn is_free(field: &str) -> bool {
    FREE.contains(&field.to_ascii_lowercase().as_str())
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In no field that tells.
    Open,
    /// In one that does.
    Telling,
    /// In one that does, as names with values: the names say what, not who.
    Named,
}

impl Place {
    /// What stands in a field of that name there.
    fn field(self, name: &str) -> Self {
        match self {
            Self::Open if PAIRS.contains(&name.to_ascii_lowercase().as_str()) => Self::Named,
            Self::Open if is_telling(name) => Self::Telling,
            known => known,
        }
    }

    fn tells(self) -> bool {
        self != Self::Open
    }
}

/// A list of two texts, of which the first is the other's name; not where two lines of an address stand.
fn pair(value: &Value, place: Place) -> Option<(&str, &Value)> {
    match value.as_array().map(Vec::as_slice) {
        Some([Value::String(name), value @ Value::String(_)]) if place != Place::Telling => Some((name, value)),
        _ => None,
    }
}

impl Mask {
    /// Fails only if a pattern is none: then nothing is handed on.
    pub fn new() -> Result<Self, String> {
        let patterns = [
            r#""([A-Za-z0-9_. -]{1,60})"\s*:\s*("(?:[^"\\]|\\.)*"?|-?[0-9][0-9.]*)"#,
            r#"([A-Za-z0-9_.\[\]-]{1,60})=([^&\s"<;]+)"#,
            r"<(?:[A-Za-z0-9_.-]{1,40}:)?([A-Za-z0-9_.-]{1,60})(?:\s[^>]*)?>([^<]+)",
        ];
        let loose: Result<Vec<Regex>, regex::Error> = patterns.into_iter().map(Regex::new).collect();
        Ok(Self {
            known: BTreeSet::new(),
            loose: loose.map_err(|error| error.to_string())?,
        })
    }

    /// Notes every value that tells who somebody is, and the words in it.
    pub fn note(&mut self, value: &Value) {
        self.look(value, Place::Open);
    }

    fn look(&mut self, value: &Value, place: Place) {
        if let Some((name, value)) = pair(value, place) {
            return self.look(value, place.field(name));
        }
        match value {
            Value::String(text) if place.tells() => {
                let words = text.split(|it: char| !it.is_alphanumeric());
                for it in words.chain([text.as_str()]).filter(|it| it.len() >= TELLING_MIN) {
                    self.known.insert(it.to_lowercase());
                }
            }
            Value::Array(items) => items.iter().for_each(|it| self.look(it, place)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.look(value, place.field(name));
                }
            }
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// The value without them, and without what stands in fields that tell.
    pub fn value(&self, value: Value) -> Value {
        self.masked(value, Place::Open)
    }

    fn masked(&self, value: Value, place: Place) -> Value {
        if let Some((name, it)) = pair(&value, place) {
            let it = self.field(name, it.clone(), place);
            return Value::Array(vec![Value::from(name), it]);
        }
        match value {
            Value::String(text) if place.tells() => Value::String(shape(&text)),
            Value::Number(_) if place.tells() => Value::from(0),
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|it| self.masked(it, place)).collect(),
            Value::Object(fields) => {
                let one = |(name, value): (String, Value)| (self.plain(&name), self.field(&name, value, place));
                Value::Object(fields.into_iter().map(one).collect())
            }
            other @ (Value::Number(_) | Value::Bool(_) | Value::Null) => other,
        }
    }

    fn field(&self, name: &str, value: Value, place: Place) -> Value {
        if place == Place::Open && KEPT.contains(&name) && !value.is_object() && !value.is_array() {
            return value;
        }
        let free = if is_free(name) { Place::Telling } else { place };
        self.masked(value, free.field(name))
    }

    /// A text without them; what stands in telling fields of JSON, XML or a form goes too.
    pub fn text(&self, text: &str) -> String {
        match serde_json::from_str::<Value>(text) {
            // Written anew: spaces may go, and a fraction's last zeros, but no name stays.
            Ok(json @ (Value::Object(_) | Value::Array(_))) => self.value(json).to_string(),
            _ => self.loosely(self.plain(text)),
        }
    }

    fn loosely(&self, text: String) -> String {
        let one = |found: &Captures<'_>| {
            let part = |n: usize| found.get(n).map_or("", |it| it.as_str());
            let (whole, name, value) = (part(0), part(1), part(2));
            match is_telling(name) || is_free(name) {
                true => format!("{}{}", whole.strip_suffix(value).unwrap_or(""), shape(value)),
                false => whole.to_owned(),
            }
        };
        self.loose
            .iter()
            .fold(text, |text, pattern| pattern.replace_all(&text, one).into_owned())
    }

    /// Whole words only, whatever their case, as they are and as a form would write them.
    fn plain(&self, text: &str) -> String {
        // The longest first: one may be part of another.
        let mut known: Vec<String> = self.known.iter().flat_map(|it| [it.clone(), encoded(it)]).collect();
        known.sort_by_key(|it| std::cmp::Reverse(it.len()));
        known.dedup();
        known.iter().fold(text.to_owned(), |text, it| without(&text, it))
    }
}

fn encoded(text: &str) -> String {
    let byte = |it: u8| match it {
        b' ' => "+".to_owned(),
        it if it.is_ascii_alphanumeric() || b"-_.~".contains(&it) => char::from(it).to_string(),
        it => format!("%{it:02x}"),
    };
    text.bytes().map(byte).collect()
}

/// The text with each occurrence of a word as its shape. `word`: in lower case.
fn without(text: &str, word: &str) -> String {
    let lower = text.to_lowercase();
    if lower.len() != text.len() || !lower.contains(word) {
        return text.to_owned();
    }
    let is_edge = |it: Option<char>| it.is_none_or(|it| !it.is_alphanumeric());
    let (mut out, mut from) = (String::new(), 0);
    for (at, _) in lower.match_indices(word) {
        let end = at.saturating_add(word.len());
        let (Some(before), Some(found), Some(after)) = (text.get(..at), text.get(at..end), text.get(end..)) else {
            continue;
        };
        if at >= from && is_edge(before.chars().next_back()) && is_edge(after.chars().next()) {
            out.push_str(text.get(from..at).unwrap_or_default());
            out.push_str(&shape(found));
            from = end;
        }
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mask() -> (Mask, Value) {
        let mut mask = Mask::new().unwrap();
        let input = json!({ "amount": { "units": "1099", "asset": "EUR" }, "payer": { "name": "Ann Šmíd", "email": "ann@example.org",
            "address": { "lines": ["Hill House", "7 High St"], "country": "GB" }, "identifiers": [["tax-id", "AB12345"]] },
            "account": { "Iban": "DE89370400440532013000" }, "description": "captured" });
        mask.note(&input);
        (mask, input)
    }

    #[test]
    fn who_somebody_is_keeps_its_shape_and_nothing_else() {
        let (mask, input) = mask();
        assert_eq!(
            mask.value(input),
            json!({ "amount": { "units": "1099", "asset": "EUR" }, "payer": { "name": "Xxx Xxxx", "email": "xxx@xxxxxxx.xxx",
                "address": { "lines": ["Xxxx Xxxxx", "0 Xxxx Xx"], "country": "XX" }, "identifiers": [["tax-id", "XX00000"]] },
                "account": { "Iban": "XX00000000000000000000" }, "description": "xxxxxxxx" })
        );
        // Wherever it stands: in a provider's own fields, in XML, in a form, in a text; in another case, a part of it.
        for (said, masked) in [
            (
                r#"{"id":"ch_1","billing":{"first_name":"Ann","zip":"N1","phone":420777},"note":"for Ann Šmíd"}"#,
                r#"{"id":"ch_1","billing":{"first_name":"Xxx","zip":"X0","phone":0},"note":"xxx Xxx Xxxx"}"#,
            ),
            ("{\n  \"holder\": \"Bo\" }", r#"{"holder":"Xx"}"#),
            ("<Nm>Bo Li</Nm><Id>ch_1</Id>", "<Nm>Xx Xx</Nm><Id>ch_1</Id>"),
            ("paid by ŠMÍD of Hill House", "paid by XXXX of Xxxx Xxxxx"),
            (
                r#"{"names":[["Jan","Nový"]],"first_names":"Jo"}"#,
                r#"{"names":[["Xxx","Xxxx"]],"first_names":"Xx"}"#,
            ),
            ("x=ann%40example.org&id=1", "x=xxx%00xxxxxxx.xxx&id=1"),
            ("phone=%2B420&id=1", "phone=%0X000&id=1"),
            (r#"{"ann@example.org":1}"#, r#"{"xxx@xxxxxxx.xxx":1}"#),
            // Cut short.
            (
                r#"{"id":"ch_1","email":"x@y.org","name": "Jan No"#,
                r#"{"id":"ch_1","email":"x@x.xxx","name": "Xxx Xx"#,
            ),
            (
                r#"[["email","jan@x.org"],["state","ok"]]"#,
                r#"[["email","xxx@x.xxx"],["state","ok"]]"#,
            ),
        ] {
            assert_eq!(mask.text(said), masked);
        }
    }

    #[test]
    fn what_an_adapter_works_by_is_not_touched() {
        let (mut mask, _) = mask();
        mask.note(&json!({ "holder": "visa captured", "name": "1099" }));
        let said = r#"{"id":"ch_1099","status":"captured","amount":"1099","brand":"visa","cards":"visas"}"#;
        assert_eq!(mask.text(said), said);
    }
}
