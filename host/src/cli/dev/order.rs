//! What a merchant would send to the router so that it comes to a vector's operation, and how to read the answer.

use super::rehearsal::Part;
use super::sample::Sum;
use crate::cli::client::Client;
use anyhow::{Context, bail};
use portolan_domain::money::Asset;
use serde_json::{Map, Value, json};

/// Amounts begin here, in minor units; the last two digits choose the vector.
const CHARGED: u64 = 1_000;
const FOLLOWED: u64 = 100;
/// The digits of a card number before its check digit.
const CARD_DIGITS: usize = 15;

/// A request to the router.
pub struct Order {
    /// `payment`, `capture`, …
    pub what: &'static str,
    /// Its amount, for people.
    pub shown: String,
    /// The body.
    pub body: Value,
    path: String,
}

impl Order {
    /// Sends it: what the router says.
    pub fn send(&self, merchant: &Client) -> anyhow::Result<Value> {
        merchant.post(&self.path, &self.body)
    }

    /// Where what became of it is read.
    pub fn place(&self, answer: &Value) -> String {
        let list = if self.what == "refund" { "refunds" } else { "payments" };
        format!("/v1/{list}/{}", id(answer))
    }
}

/// The payment that comes to an `authorize` vector. An error says why there is none.
pub fn payment(part: &Part, merchant: &Client) -> anyhow::Result<Order> {
    let asked = part.input.first().context("the vector has no arguments")?;
    let sum = asked
        .get("amount")
        .and_then(Sum::of)
        .context("the vector has no amount")?;
    let amount = CHARGED.saturating_add(part.number);
    let is_captured = asked.get("capture").and_then(Value::as_bool).unwrap_or(true);
    let (field, method) = method(part, asked, merchant)?;
    let mut body = json!({
        "amount": amount,
        "currency": sum.asset,
        "confirm": true,
        "capture_method": if is_captured { "automatic" } else { "manual" },
        "return_url": "https://shop.example/back",
    });
    let said = |from: &Value, names: &[&str]| -> Map<String, Value> {
        let texts = names
            .iter()
            .filter_map(|name| Some((*name, from.get(*name)?.as_str()?)));
        let texts = texts.filter(|(_, text)| !text.is_empty());
        texts.map(|(name, text)| (name.to_owned(), json!(text))).collect()
    };
    if let Some(fields) = body.as_object_mut() {
        fields.insert(field.into(), json!(method));
        fields.extend(said(asked, &["description", "statement_descriptor"]));
        let payer = said(asked.get("payer").unwrap_or(&Value::Null), &["name", "email"]);
        if !payer.is_empty() {
            fields.insert("payer".into(), Value::Object(payer));
        }
    }
    Ok(Order {
        what: "payment",
        shown: shown(amount, &sum.asset),
        path: "/v1/payments".into(),
        body,
    })
}

/// What follows a payment.
pub fn follow_up(part: &Part, function: &str, paid: &Value) -> Order {
    let amount = FOLLOWED.saturating_add(part.number);
    let currency = paid.get("currency").and_then(Value::as_str).unwrap_or_default();
    let at = format!("/v1/payments/{}", id(paid));
    let whole = paid.get("amount").and_then(Value::as_u64).unwrap_or_default();
    let (what, path, body, amount) = match function {
        "capture" => ("capture", format!("{at}/capture"), json!({ "amount": amount }), amount),
        "cancel" => ("cancel", format!("{at}/cancel"), json!({}), whole),
        _ => (
            "refund",
            "/v1/refunds".into(),
            json!({ "payment": id(paid), "amount": amount }),
            amount,
        ),
    };
    Order {
        what,
        shown: shown(amount, currency),
        body,
        path,
    }
}

/// `10.01 EUR`
fn shown(amount: u64, currency: &str) -> String {
    let sum = Sum {
        units: amount.to_string(),
        exponent: Asset::currency(currency).map_or(0, |asset| usize::from(asset.exponent())),
        asset: String::new(),
    };
    format!("{} {currency}", sum.major())
}

/// The payment method, and the field that it goes into.
fn method(part: &Part, asked: &Value, merchant: &Client) -> anyhow::Result<(&'static str, String)> {
    let instrument = asked.get("instrument").unwrap_or(&Value::Null);
    if let Some(card) = instrument.get("Card") {
        return Ok(("payment_method", stored(merchant, card, part.number)?));
    }
    match instrument.get("Wallet").and_then(Value::as_str) {
        Some(name) => Ok(("payment_method_type", format!("wallet:{name}"))),
        None => bail!("only cards and wallets are paid with here"),
    }
}

/// The token of a card of the vector's range, another one for each vector.
fn stored(merchant: &Client, card: &Value, number: u64) -> anyhow::Result<String> {
    let bin = card.get("bin").and_then(Value::as_str).unwrap_or("424242");
    let mut body = json!({
        "number": card_number(bin, number),
        "expiry_month": card.get("expiry_month"),
        "expiry_year": card.get("expiry_year"),
    });
    for (field, value) in [
        ("security_code", json!("123")),
        ("holder", card.get("holder").cloned().unwrap_or_default()),
    ] {
        let is_said = card.get(field).is_some_and(|it| !it.is_null());
        if let Some(fields) = body.as_object_mut().filter(|_| is_said) {
            fields.insert(field.into(), value);
        }
    }
    let made = merchant.post("/v1/payment_methods", &json!({ "type": "card", "card": body }))?;
    Ok(id(&made).to_owned())
}

/// A number of that range, which passes Luhn's test.
fn card_number(bin: &str, number: u64) -> String {
    let is_amex = bin.starts_with("34") || bin.starts_with("37");
    let length = CARD_DIGITS.saturating_sub(usize::from(is_amex));
    let rest = length.saturating_sub(bin.len());
    let body = format!("{bin}{number:0>rest$}");
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let digit = u32::from(byte.saturating_sub(b'0'));
            let doubled = if at % 2 == 0 { digit * 2 } else { digit };
            doubled / 10 + doubled % 10
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

/// The status of what the router tells of.
pub fn status(answer: &Value) -> &str {
    answer.get("status").and_then(Value::as_str).unwrap_or_default()
}

/// Its id.
pub fn id(answer: &Value) -> &str {
    answer.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// Why it failed, where the router says so.
pub fn why(answer: &Value) -> String {
    let said = |name: &str| answer.get("last_error")?.get(name)?.as_str();
    let words = ["decline_reason", "code", "message"].map(said);
    let [reason, code, message] = words;
    let word = reason.or(code);
    let message = message.filter(|it| !it.is_empty());
    match (word, message) {
        (Some(word), Some(message)) => format!(" ({word}: {message})"),
        (Some(word), None) => format!(" ({word})"),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_card_numbers_pass_luhns_test() {
        assert_eq!(card_number("424242", 1).len(), 16);
        assert_eq!(card_number("378282", 7).len(), 15);
        assert_eq!(card_number("424242", 424_242_424), "4242424242424242");
    }

    #[test]
    fn amounts_are_shown_as_people_write_them() {
        assert_eq!(shown(1_001, "EUR"), "10.01 EUR");
        assert_eq!(shown(1_001, "JPY"), "1001 JPY");
        assert_eq!(shown(1_001, "KWD"), "1.001 KWD");
    }
}
