//! Cards: the one place where a card number is parsed. Luhn, expiry and brand are checked, the number is sealed, the
//! security code goes to memory.

use crate::secrets::LocalVault;
use portolan_domain::ids::{MerchantId, MethodId, Mode};
use portolan_domain::operation::CardFacts;
use portolan_domain::payment::request::{FieldError, luhn};
use portolan_domain::ports::{Mac, Method, Sealed};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

/// The body of `POST /v1/payment_methods`, parsed here alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    card: CardBody,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardBody {
    number: String,
    expiry_month: u8,
    expiry_year: u16,
    security_code: Option<String>,
    holder: Option<String>,
}

impl Drop for CardBody {
    fn drop(&mut self) {
        self.number.zeroize();
        self.security_code.zeroize();
    }
}

/// Why a card is refused. No text repeats a digit.
#[derive(Debug)]
pub enum CardError {
    /// The body is not the JSON that is asked for.
    Malformed(String),
    /// Fields that cannot be accepted.
    Fields(Vec<FieldError>),
    /// Sealing failed.
    Vault(String),
}

/// Whose card, and when: what the vault cannot know.
pub struct NewCard {
    /// The token to give.
    pub id: MethodId,
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// Now, for the expiry and the code's life.
    pub now_ms: u64,
    /// This month, as year and month.
    pub today: (u16, u8),
}

/// The brand of a number, by its leading digits (ISO/IEC 7812 ranges as the schemes publish them).
pub fn brand(number: &str) -> &'static str {
    let lead = |digits: usize| {
        number
            .get(..digits)
            .and_then(|text| text.parse::<u32>().ok())
            .unwrap_or(0)
    };
    match (lead(1), lead(2), lead(3), lead(4), lead(6)) {
        (_, 34 | 37, ..) => "amex",
        (_, 51..=55, ..) | (_, _, _, 2221..=2720, _) => "mastercard",
        (_, _, _, _, 622126..=622925) | (_, 65, ..) | (_, _, 644..=649, ..) | (_, _, _, 6011, _) => "discover",
        (_, 62 | 81, ..) => "unionpay",
        (_, 36 | 38 | 39, ..) | (_, _, 300..=305, ..) => "diners",
        (_, _, _, 3528..=3589, _) => "jcb",
        (4, ..) => "visa",
        (_, 50 | 56..=58, ..) | (6, ..) => "maestro",
        _ => "unknown",
    }
}

/// What is expected, for whoever sent something else.
const EXPECTED: &str = "type \"card\", and card with number (a text), expiry_month and expiry_year (whole numbers), and optionally \
                        security_code and holder (texts)";

/// The body, or the field that is wrong with it.
fn read(body: &[u8]) -> Result<Body, CardError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json);
    let read = read.map_err(|error| refused(&error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| refused(".", &error))?;
    Ok(read)
}

/// serde's text may repeat what was sent: of it only the names of fields are told, and of those no digit.
fn refused(path: &str, error: &serde_json::Error) -> CardError {
    if error.classify() != serde_json::error::Category::Data {
        let (line, column) = (error.line(), error.column());
        return CardError::Malformed(format!(
            "this is not JSON (line {line}, column {column}); expected: {EXPECTED}"
        ));
    }
    let text = error.to_string();
    let named = |what: &str| Some(text.strip_prefix(what)?.split_once('`')?.0.to_owned());
    let (code, name) = match (named("missing field `"), named("unknown field `")) {
        (Some(name), _) => ("missing", Some(name)),
        (None, Some(name)) => ("unknown_field", Some(name)),
        (None, None) => ("wrong_type", None),
    };
    let is_telling = |it: &&str| !it.is_empty() && it.len() <= 40 && !it.bytes().any(|byte| byte.is_ascii_digit());
    let mut parts: Vec<&str> = path.split('.').filter(is_telling).collect();
    // Where it is unknown, serde has it in its path already.
    let name = name
        .as_deref()
        .filter(|name| is_telling(name) && parts.last() != Some(name));
    parts.extend(name);
    let at: String = parts.iter().map(|part| format!("/{part}")).collect();
    CardError::Fields(vec![FieldError::new(at, code, format!("expected: {EXPECTED}"))])
}

impl LocalVault {
    /// Takes the unparsed body, checks the card, seals the number, keeps the code in memory.
    pub fn take_card(&self, body: &[u8], new: NewCard) -> Result<Method, CardError> {
        let body = read(body)?;
        let number = Zeroizing::new(
            body.card
                .number
                .bytes()
                .filter(|byte| !b" -".contains(byte))
                .map(char::from)
                .collect::<String>(),
        );
        let errors = check(&body, &number, new.today);
        if !errors.is_empty() {
            return Err(CardError::Fields(errors));
        }
        let place = method_place(new.id);
        let sealed = self.keys.seal(&place, number.as_bytes()).map_err(CardError::Vault)?;
        if let Some(code) = &body.card.security_code {
            self.keep_code(new.id, code.clone(), new.now_ms);
        }
        let tail = number.len().saturating_sub(4);
        let card = CardFacts {
            brand: brand(&number).to_owned(),
            bin: number.get(..6).unwrap_or_default().to_owned(),
            last4: number.get(tail..).unwrap_or_default().to_owned(),
            expiry_month: body.card.expiry_month,
            expiry_year: body.card.expiry_year,
            fingerprint: hex::encode(
                self.mac("card fingerprint", number.as_bytes())
                    .get(..16)
                    .unwrap_or_default(),
            ),
            has_code: body.card.security_code.is_some(),
            holder: body.card.holder.clone(),
        };
        Ok(Method {
            id: new.id,
            merchant: new.merchant,
            mode: new.mode,
            created_ms: new.now_ms,
            card,
            sealed: Sealed(sealed),
        })
    }

    /// Keeps a security code that came with a confirmation.
    pub fn take_code(&self, method: MethodId, code: &str, now_ms: u64) -> Result<(), FieldError> {
        check_code(code, "/security_code")?;
        self.keep_code(method, code.to_owned(), now_ms);
        Ok(())
    }

    /// The number behind a token.
    pub(crate) fn card_number(&self, method: &Method) -> Result<Zeroizing<Vec<u8>>, String> {
        self.keys.open_sealed(&method_place(method.id), &method.sealed.0)
    }
}

fn method_place(id: MethodId) -> Vec<u8> {
    format!("card number {id}").into_bytes()
}

fn check_code(code: &str, pointer: &str) -> Result<(), FieldError> {
    if (3..=4).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(())
    } else {
        Err(FieldError::new(pointer, "invalid_security_code", "3 or 4 digits"))
    }
}

fn check(body: &Body, number: &str, (year, month): (u16, u8)) -> Vec<FieldError> {
    let mut errors = vec![];
    if body.kind != "card" {
        errors.push(FieldError::new("/type", "invalid_value", "only card"));
    }
    let digits: Vec<u8> = number.bytes().map(|byte| byte.wrapping_sub(b'0')).collect();
    if !(12..=19).contains(&digits.len()) || digits.iter().any(|digit| *digit > 9) {
        errors.push(FieldError::new("/card/number", "invalid_number", "12 to 19 digits"));
    } else if !luhn(&digits) {
        errors.push(FieldError::new(
            "/card/number",
            "incorrect_number",
            "the check digit does not fit: a digit is mistyped",
        ));
    }
    if !(1..=12).contains(&body.card.expiry_month) {
        errors.push(FieldError::new("/card/expiry_month", "out_of_range", "1 to 12"));
    }
    if !(2000..=2099).contains(&body.card.expiry_year) {
        errors.push(FieldError::new(
            "/card/expiry_year",
            "out_of_range",
            "four digits, 2000 to 2099",
        ));
    } else if (body.card.expiry_year, body.card.expiry_month) < (year, month) {
        errors.push(FieldError::new(
            "/card/expiry_year",
            "expired_card",
            "the card has expired",
        ));
    }
    if let Some(code) = &body.card.security_code {
        errors.extend(check_code(code, "/card/security_code").err());
    }
    if body
        .card
        .holder
        .as_ref()
        .is_some_and(|holder| holder.chars().count() > 200 || holder.chars().any(char::is_control))
    {
        errors.push(FieldError::new(
            "/card/holder",
            "too_long",
            "at most 200 characters, no control characters",
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_is_wrong_is_named_and_no_digit_is_repeated() {
        let told = |body: &str| match read(body.as_bytes()) {
            Err(CardError::Fields(errors)) => {
                assert!(!format!("{errors:?}").contains("4242"), "{errors:?}");
                format!("{} {}", errors[0].code, errors[0].pointer)
            }
            Err(CardError::Malformed(text)) => text.split(" (").next().unwrap_or_default().to_owned(),
            Err(CardError::Vault(text)) => text,
            Ok(_) => "good".into(),
        };
        let card = |fields: &str| format!(r#"{{"type":"card","card":{{{fields}}}}}"#);
        for (body, expected) in [
            (card(r#""number":"4242","expiry_month":1,"expiry_year":2030"#), "good"),
            (
                card(r#""number":4242,"expiry_month":1,"expiry_year":2030"#),
                "wrong_type /card/number",
            ),
            (
                card(r#""number":"4242","expiry_month":"1","expiry_year":2030"#),
                "wrong_type /card/expiry_month",
            ),
            (card(r#""number":"4242","expiry_month":1"#), "missing /card/expiry_year"),
            (
                card(r#""number":"4242","expiry_month":1,"expiry_year":2030,"cvc":"4242""#),
                "unknown_field /card/cvc",
            ),
            (card(r#""4242424242424242":1"#), "unknown_field /card"),
            (
                r#"{"card":{"number":"4242","expiry_month":1,"expiry_year":2030}}"#.into(),
                "missing /type",
            ),
            (r#"{"type":"card","card":"4242"}"#.into(), "wrong_type /card"),
            ("[]".into(), "wrong_type "),
            ("{".into(), "this is not JSON"),
            (
                format!("{} x", card(r#""number":"4242","expiry_month":1,"expiry_year":2030"#)),
                "this is not JSON",
            ),
        ] {
            assert_eq!(told(&body), expected, "{body}");
        }
    }

    #[test]
    fn brands_by_leading_digits() {
        let brands = [
            "4242424242424242",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "6011111111111117",
        ];
        assert_eq!(
            brands.map(brand),
            ["visa", "mastercard", "mastercard", "amex", "discover"]
        );
        assert_eq!(
            ["3566002020360505", "36227206271667", "6200000000000005", "9999"].map(brand),
            ["jcb", "diners", "unionpay", "unknown"]
        );
        // Rules name brands too.
        for lead in (0..1_000_000).step_by(37) {
            let brand = brand(&format!("{lead:06}0000000000"));
            assert!(portolan_domain::operation::CARD_BRANDS.contains(&brand), "{brand}");
        }
    }
}
