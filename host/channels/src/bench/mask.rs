//! A payer's data out of what a partner is given: values that say who somebody is keep their shape and nothing else. The same
//! value is masked the same way wherever it stands, so that what was compared can still be compared.

use serde_json::Value;
use std::collections::BTreeSet;

/// Fields of the contract and of providers that say who, where or by what somebody is reached, as letters only.
const TELLING: [&str; 18] = [
    "addressline1",
    "addressline2",
    "birthdate",
    "buyerid",
    "cardholder",
    "dateofbirth",
    "description",
    "dob",
    "identifiers",
    "ip",
    "line1",
    "line2",
    "lines",
    "local",
    "openid",
    "payerid",
    "remittance",
    "useragent",
];
/// The same at the end of a field's name.
const TELLING_ENDS: [&str; 14] = [
    "accountnumber",
    "address",
    "bban",
    "city",
    "email",
    "holder",
    "iban",
    "mobile",
    "name",
    "phone",
    "phonenumber",
    "postalcode",
    "postcode",
    "zip",
];
/// A shorter value is masked where it stands, and not looked for elsewhere: it could be part of any word.
const TELLING_MIN: usize = 4;

/// What is to be masked.
#[derive(Default)]
pub(super) struct Mask(BTreeSet<String>);

/// Letters as x, digits as 0, the rest as it is.
fn shape(text: &str) -> String {
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

impl Mask {
    /// Notes every value that tells who somebody is.
    pub fn note(&mut self, value: &Value) {
        self.look(value, false);
    }

    fn look(&mut self, value: &Value, is_inside: bool) {
        match value {
            Value::String(text) if is_inside && text.len() >= TELLING_MIN => {
                self.0.insert(text.clone());
            }
            Value::Array(items) => items.iter().for_each(|it| self.look(it, is_inside)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.look(value, is_inside || is_telling(name));
                }
            }
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// The value without them, and without what stands in fields that tell.
    pub fn value(&self, value: Value) -> Value {
        self.masked(value, false)
    }

    fn masked(&self, value: Value, is_inside: bool) -> Value {
        match value {
            Value::String(text) if is_inside => Value::String(shape(&text)),
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|it| self.masked(it, is_inside)).collect(),
            Value::Object(fields) => {
                let one = |(name, value): (String, Value)| {
                    let is_inside = is_inside || is_telling(&name);
                    (name, self.masked(value, is_inside))
                };
                Value::Object(fields.into_iter().map(one).collect())
            }
            other @ (Value::Number(_) | Value::Bool(_) | Value::Null) => other,
        }
    }

    /// A text without them; one that is JSON loses what stands in telling fields too.
    pub fn text(&self, text: &str) -> String {
        match serde_json::from_str::<Value>(text) {
            // Written anew: spaces may go, and a fraction's last zeros, but no name stays.
            Ok(json @ (Value::Object(_) | Value::Array(_))) => self.value(json).to_string(),
            _ => self.plain(text),
        }
    }

    fn plain(&self, text: &str) -> String {
        // The longest first: one may be part of another.
        let mut known: Vec<&String> = self.0.iter().collect();
        known.sort_by_key(|it| std::cmp::Reverse(it.len()));
        known
            .into_iter()
            .fold(text.to_owned(), |text, it| text.replace(it.as_str(), &shape(it)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_somebody_is_keeps_its_shape_and_nothing_else() {
        let mut mask = Mask::default();
        let input = json!({ "amount": { "units": "1099", "asset": "EUR" }, "payer": { "name": "Ann Šmíd", "email": "ann@example.org",
            "address": { "lines": ["7 High St"], "country": "GB" } }, "account": { "Iban": "DE89370400440532013000" } });
        mask.note(&input);
        let masked = mask.value(input);
        assert_eq!(
            masked,
            json!({ "amount": { "units": "1099", "asset": "EUR" }, "payer": { "name": "Xxx Xxxx", "email": "xxx@xxxxxxx.xxx",
                "address": { "lines": ["0 Xxxx Xx"], "country": "XX" } }, "account": { "Iban": "XX00000000000000000000" } })
        );
        // Wherever it stands: in a provider's own fields, in XML, in a form, in a text.
        let reply = r#"{"id":"ch_1","billing":{"first_name":"Ann","zip":"N1"},"note":"for Ann Šmíd"}"#;
        let reply = mask.text(reply);
        assert_eq!(
            reply,
            r#"{"id":"ch_1","billing":{"first_name":"Xxx","zip":"X0"},"note":"for Xxx Xxxx"}"#
        );
        assert_eq!(
            mask.text("<Nm>Ann Šmíd</Nm><Id>ch_1</Id>"),
            "<Nm>Xxx Xxxx</Nm><Id>ch_1</Id>"
        );
        assert_eq!(mask.text("{\n  \"holder\": \"Bo\" }"), r#"{"holder":"Xx"}"#);
        assert_eq!(mask.text("email=ann@example.org&id=1"), "email=xxx@xxxxxxx.xxx&id=1");
    }
}
