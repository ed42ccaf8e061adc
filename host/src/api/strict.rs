//! Strict JSON: no duplicate keys, no deep nesting, no floats where integers are meant; and reading an object field by
//! field, so that every error is reported at once, unknown fields by name.

use super::problem::Problem;
use portolan_domain::payment::request::FieldError;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The deepest nesting.
const DEPTH_MAX: usize = 32;

/// A JSON value, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction or an exponent: never accepted, but named.
    Fraction,
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object, each key once.
    Map(Vec<(String, Value)>),
}

struct Seed(usize);

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 > DEPTH_MAX {
            return Err(D::Error::custom(format!("nested deeper than {DEPTH_MAX}")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(i128::from(value)))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(i128::from(value)))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Fraction)
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(item) = items.next_element_seed(Seed(self.0 + 1))? {
            list.push(item);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map: Vec<(String, Value)> = vec![];
        while let Some(key) = entries.next_key::<String>()? {
            if map.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
            map.push((key, entries.next_value_seed(Seed(self.0 + 1))?));
        }
        Ok(Value::Map(map))
    }
}

impl Value {
    /// Whether it is an object with such a field.
    pub fn has(&self, field: &str) -> bool {
        matches!(self, Self::Map(fields) if fields.iter().any(|(name, _)| name == field))
    }

    /// The same without a field, where it is an object.
    pub fn without(&self, field: &str) -> Self {
        match self {
            Self::Map(fields) => Self::Map(fields.iter().filter(|(name, _)| name != field).cloned().collect()),
            other => other.clone(),
        }
    }

    /// The same for other readers; a fraction, which no field takes, becomes a text that says so.
    fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as J;
        match self {
            Self::Null => J::Null,
            Self::Bool(value) => J::Bool(*value),
            Self::Integer(value) => i64::try_from(*value).map_or_else(|_| J::String(value.to_string()), J::from),
            Self::Fraction => J::String("a fraction".into()),
            Self::Text(text) => J::String(text.clone()),
            Self::List(items) => J::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(map) => J::Object(map.iter().map(|(key, value)| (key.clone(), value.to_json())).collect()),
        }
    }
}

/// Parses a whole body.
pub fn parse(body: &[u8]) -> Result<Value, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Seed(0).deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| Problem::malformed(format!("this is not the JSON that is accepted: {error}")))
}

/// The same text for the same content: keys sorted, no space. For fingerprints.
pub fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Integer(value) => out.push_str(&value.to_string()),
        Value::Fraction => out.push_str("fraction"),
        Value::Text(text) => out.push_str(&serde_json::Value::String(text.clone()).to_string()),
        Value::List(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Map(map) => {
            let mut sorted: Vec<_> = map.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push('{');
            for (key, value) in sorted {
                out.push_str(&serde_json::Value::String(key.clone()).to_string());
                out.push(':');
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
    }
}

/// The same JSON for the same content, on one line, its keys sorted. For people to read.
pub fn sorted(value: &Value) -> String {
    fn sort(value: &Value) -> Value {
        match value {
            Value::List(items) => Value::List(items.iter().map(sort).collect()),
            Value::Map(map) => {
                let mut map: Vec<_> = map.iter().map(|(key, value)| (key.clone(), sort(value))).collect();
                map.sort_by(|(a, _), (b, _)| a.cmp(b));
                Value::Map(map)
            }
            other => other.clone(),
        }
    }
    sort(value).to_json().to_string()
}

/// Reads an object field by field.
pub struct Fields {
    map: Vec<(String, Value)>,
    at: String,
    errors: Vec<FieldError>,
    /// What was asked for: the fields that exist.
    known: Vec<String>,
}

impl Fields {
    /// Over a parsed body, which must be an object.
    pub fn of(value: Value) -> Result<Self, Problem> {
        match value {
            Value::Map(map) => Ok(Self {
                map,
                at: String::new(),
                errors: vec![],
                known: vec![],
            }),
            _ => Err(Problem::malformed("the body must be a JSON object")),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.known.push(name.to_owned());
        let at = self.map.iter().position(|(known, _)| known == name)?;
        Some(self.map.remove(at).1).filter(|value| *value != Value::Null)
    }

    fn wrong(&mut self, name: &str, expected: &str) {
        let pointer = format!("{}/{name}", self.at);
        self.errors
            .push(FieldError::new(pointer, "wrong_type", format!("must be {expected}")));
    }

    /// Whether the field is there, and not `null`; it is read afterwards.
    pub fn is_given(&self, name: &str) -> bool {
        self.map
            .iter()
            .any(|(known, value)| known == name && *value != Value::Null)
    }

    /// Whether the field is a text; it is read afterwards.
    pub fn is_text(&self, name: &str) -> bool {
        self.map
            .iter()
            .any(|(known, value)| known == name && matches!(value, Value::Text(_)))
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::Text(text) => Some(text),
            _ => {
                self.wrong(name, "a text");
                None
            }
        }
    }

    /// A truth value; `false` if absent.
    pub fn flag(&mut self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    /// A truth value.
    pub fn optional_flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong(name, "true or false");
                None
            }
        }
    }

    /// A whole number, or its digits as a text.
    pub fn integer(&mut self, name: &str) -> Option<i128> {
        let value = self.take(name)?;
        let number = match &value {
            Value::Integer(number) => Some(*number),
            Value::Text(digits)
                if !digits.is_empty() && digits.len() <= 38 && digits.bytes().all(|b| b.is_ascii_digit()) =>
            {
                digits.parse().ok()
            }
            _ => None,
        };
        if number.is_none() {
            self.wrong(name, "a whole number of minor units: 1099, not 10.99");
        }
        number
    }

    /// A time, in seconds since 1970.
    pub fn seconds(&mut self, name: &str) -> Option<u64> {
        match self.take(name)? {
            Value::Integer(number) if u64::try_from(number).is_ok() => u64::try_from(number).ok(),
            _ => {
                self.wrong(name, "a time: whole seconds since 1970");
                None
            }
        }
    }

    /// Whatever it is, as JSON text, for whoever reads it whole.
    pub fn json(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|value| value.to_json().to_string())
    }

    /// An object of texts.
    pub fn texts(&mut self, name: &str) -> Vec<(String, String)> {
        match self.take(name) {
            None => vec![],
            Some(Value::Map(map)) => {
                let mut texts = vec![];
                for (key, value) in map {
                    match value {
                        Value::Text(text) => texts.push((key, text)),
                        _ => self.wrong(&format!("{name}/{key}"), "a text"),
                    }
                }
                texts
            }
            Some(_) => {
                self.wrong(name, "an object of texts");
                vec![]
            }
        }
    }

    /// An object inside; empty if absent. Give it back with [`Fields::close`].
    pub fn inside(&mut self, name: &str) -> Self {
        let at = format!("{}/{name}", self.at);
        let map = match self.take(name) {
            Some(Value::Map(map)) => map,
            None => vec![],
            Some(_) => {
                self.wrong(name, "an object");
                vec![]
            }
        };
        Self {
            map,
            at,
            errors: vec![],
            known: vec![],
        }
    }

    /// Takes over what an inner object left: its errors and its unknown fields.
    pub fn close(&mut self, inner: Self) {
        self.errors.extend(inner.all_errors());
    }

    fn all_errors(self) -> Vec<FieldError> {
        let Self {
            map,
            at,
            mut errors,
            known,
        } = self;
        let unknown = map.into_iter().map(|(name, _)| {
            let message = format!("this field does not exist; these do: {}", known.join(", "));
            FieldError::new(format!("{at}/{name}"), "unknown_field", message)
        });
        errors.extend(unknown);
        errors
    }

    /// Whatever is left is unknown; all errors so far, with those of `more`.
    pub fn finish<T>(self, more: Result<T, Vec<FieldError>>) -> Result<T, Problem> {
        let mut errors = self.all_errors();
        match more {
            Ok(value) if errors.is_empty() => Ok(value),
            Ok(_) => Err(Problem::fields(errors)),
            Err(more) => {
                // A field of the wrong type is also missing: its first error says enough.
                let named: Vec<String> = errors.iter().map(|error| error.pointer.clone()).collect();
                errors.extend(more.into_iter().filter(|error| !named.contains(&error.pointer)));
                Err(Problem::fields(errors))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_depth_and_rubbish_are_refused() {
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"m":{"k":"1","k":"2"}}"#,
            "{",
            "",
            "[1] x",
            "\u{feff}{}",
            r#"{"a":01}"#,
            r#"{"a":NaN}"#,
            &format!("{}1{}", "[".repeat(40), "]".repeat(40)),
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(&[b'"', 0xff, b'"']).is_err());
        assert_eq!(
            parse(b"{\"a\":1.0}").unwrap(),
            Value::Map(vec![("a".into(), Value::Fraction)])
        );
    }

    #[test]
    fn canonical_text_ignores_order_and_space() {
        let canonical_of = |body: &str| {
            let mut text = String::new();
            canonical(&parse(body.as_bytes()).unwrap(), &mut text);
            text
        };
        assert_eq!(
            canonical_of(r#"{"b":[1, 2],"a":"x"}"#),
            canonical_of(r#" { "a": "x", "b": [1,2] } "#)
        );
        assert_ne!(canonical_of(r#"{"a":"1"}"#), canonical_of(r#"{"a":1}"#));
    }
}
