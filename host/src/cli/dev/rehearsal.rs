//! Payments through the local router, one for each vector of `authorize`, and one refund for each of `refund`: what a merchant
//! would see of the adapter that was just saved.

use super::super::client::Client;
use super::case::{Case, Ending};
use super::local::Local;
use super::provider::Provider;
use super::sample::Sum;
use crate::cli::say;
use anyhow::Context;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Amounts begin here, in minor units; the last two digits choose the vector.
const CHARGED: u64 = 1_000;
const REFUNDED: u64 = 100;
/// How long an unknown outcome is waited for.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);
/// The digits of a card number before its check digit.
const CARD_DIGITS: usize = 15;

/// What a vector is about, for one that is to be paid.
struct Part {
    name: String,
    shows: String,
    number: u64,
    ending: Ending,
    input: Vec<Value>,
}

/// What came of it.
#[derive(Default)]
pub struct Rehearsed {
    /// How many ended otherwise than their vector says.
    pub surprises: usize,
    /// The first payment's request.
    pub body: Option<Value>,
}

/// Pays each. `is_wordy`: what the provider was asked is told of every one, not only of a surprise.
pub fn rehearse(local: &Local, provider: &Provider, is_wordy: bool) -> anyhow::Result<Rehearsed> {
    let parts = |function: &'static str| -> Vec<Part> {
        provider.with(|script| {
            let wanted = script
                .cases()
                .iter()
                .filter(|case| case.function == function && case.is_playable());
            wanted.map(Part::of).collect()
        })
    };
    let (mut rehearsed, mut paid) = (Rehearsed::default(), None);
    provider.heard();
    for part in parts("authorize") {
        let Some(body) = part.payment(&local.merchant)? else {
            say(&format!("{}: not paid: the API has no such payment method", part.name))?;
            continue;
        };
        let done = part.send(local, ("/v1/payments", &body))?;
        let is_surprise = part.told(&done, provider, ("payment", is_wordy))?;
        rehearsed.surprises = rehearsed.surprises.saturating_add(usize::from(is_surprise));
        rehearsed.body = rehearsed.body.or(Some(body));
        if paid.is_none() && done.get("status").and_then(Value::as_str) == Some("succeeded") {
            paid = done.get("id").and_then(Value::as_str).map(str::to_owned);
        }
    }
    let Some(paid) = paid else { return Ok(rehearsed) };
    for part in parts("refund") {
        let body = json!({ "payment": paid, "amount": REFUNDED.saturating_add(part.number) });
        let done = part.send(local, ("/v1/refunds", &body))?;
        let is_surprise = part.told(&done, provider, ("refund", is_wordy))?;
        rehearsed.surprises = rehearsed.surprises.saturating_add(usize::from(is_surprise));
    }
    Ok(rehearsed)
}

impl Part {
    fn of(case: &Case) -> Self {
        Self {
            name: case.name.clone(),
            shows: case.shows.clone(),
            number: case.number,
            ending: case.ending,
            input: case.input.clone(),
        }
    }

    /// The merchant's request that comes to such an operation.
    fn payment(&self, merchant: &Client) -> anyhow::Result<Option<Value>> {
        let Some(asked) = self.input.first() else {
            return Ok(None);
        };
        let Some(sum) = asked.get("amount").and_then(Sum::of) else {
            return Ok(None);
        };
        let is_captured = asked.get("capture").and_then(Value::as_bool).unwrap_or(true);
        let mut body = json!({
            "amount": CHARGED.saturating_add(self.number),
            "currency": sum.asset,
            "confirm": true,
            "capture_method": if is_captured { "automatic" } else { "manual" },
            "return_url": "https://shop.example/back",
        });
        let instrument = asked.get("instrument").unwrap_or(&Value::Null);
        let (field, method) = if let Some(card) = instrument.get("Card") {
            ("payment_method", stored(merchant, card, self.number)?)
        } else if let Some(name) = instrument.get("Wallet").and_then(Value::as_str) {
            ("payment_method_type", format!("wallet:{name}"))
        } else {
            return Ok(None);
        };
        if let Some(fields) = body.as_object_mut() {
            fields.insert(field.into(), json!(method));
        }
        Ok(Some(body))
    }

    /// Sends it, and waits a while where nobody knows what became of it.
    fn send(&self, local: &Local, (path, body): (&str, &Value)) -> anyhow::Result<Value> {
        let started = Instant::now();
        let mut now = local.merchant.post(path, body)?;
        let id = now.get("id").and_then(Value::as_str).context("no id")?.to_owned();
        let word = |value: &Value| {
            value
                .get("status")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let first = word(&now);
        while matches!(word(&now).as_str(), "processing" | "pending" | "unknown") && started.elapsed() < SETTLES_WITHIN
        {
            std::thread::sleep(LOOK);
            now = local.merchant.get(&format!("{path}/{id}"))?;
        }
        if let Some(fields) = now.as_object_mut() {
            fields.insert("first".into(), json!(first));
            fields.insert("took_ms".into(), json!(u64::try_from(started.elapsed().as_millis())?));
        }
        Ok(now)
    }

    /// Whether that status is what the vector's outcome comes to.
    fn is_expected(&self, status: &str) -> bool {
        let is_open = matches!(status, "requires_action" | "processing" | "pending" | "unknown");
        match self.ending {
            Ending::Done => matches!(status, "succeeded" | "requires_capture"),
            Ending::Refused => matches!(status, "failed" | "requires_payment_method"),
            Ending::Pending => is_open,
            // It was done; whether that can be found out is for other vectors to say.
            Ending::Unclear => is_open || matches!(status, "succeeded" | "requires_capture"),
            Ending::Absent => true,
        }
    }

    /// Says what became of it; whether that is a surprise.
    fn told(&self, done: &Value, provider: &Provider, (what, is_wordy): (&str, bool)) -> anyhow::Result<bool> {
        let text = |name: &str| done.get(name).and_then(Value::as_str).unwrap_or_default();
        let (status, first, heard) = (text("status"), text("first"), provider.heard());
        let way = if first == status {
            status.to_owned()
        } else {
            format!("{first}, then {status}")
        };
        // A vector that ends before anything says the amount is not played.
        let is_played = heard.iter().any(|it| it.by.as_ref() == Some(&self.name));
        let is_unheard = heard.iter().any(|it| it.by.is_none());
        let (is_surprise, mark) = match (is_played, self.is_expected(status)) {
            (true, true) => (false, ""),
            (true, false) => (true, "; THE VECTOR SAYS OTHERWISE"),
            (false, _) if is_unheard => (true, "; NO VECTOR SENDS ITS REQUEST"),
            (false, _) => (false, "; not played: its request has no amount to choose it by"),
        };
        let number = |name: &str| done.get(name).and_then(Value::as_u64).unwrap_or_default();
        say(&format!(
            "  {what} of {} {}, {} ({}): {way}, {} ms, {}{mark}",
            number("amount"),
            text("currency"),
            self.name,
            self.shows,
            number("took_ms"),
            text("id"),
        ))?;
        for it in heard.iter().filter(|_| is_wordy || is_surprise) {
            say(&format!("      {}", it.line))?;
        }
        Ok(is_surprise)
    }
}

/// The token of a card like the vector's: its first and last digits where they make a number, and another one for each vector.
fn stored(merchant: &Client, card: &Value, number: u64) -> anyhow::Result<String> {
    let bin = card.get("bin").and_then(Value::as_str).unwrap_or("424242");
    let body = json!({
        "type": "card",
        "card": {
            "number": card_number(bin, number),
            "expiry_month": card.get("expiry_month"),
            "expiry_year": card.get("expiry_year"),
            "security_code": "123",
        },
    });
    let made = merchant.post("/v1/payment_methods", &body)?;
    Ok(made
        .get("id")
        .and_then(Value::as_str)
        .context("no card was stored")?
        .to_owned())
}

/// A number of that range, which passes Luhn's test.
fn card_number(bin: &str, number: u64) -> String {
    let length = if bin.starts_with("34") || bin.starts_with("37") {
        CARD_DIGITS - 1
    } else {
        CARD_DIGITS
    };
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

#[cfg(test)]
mod tests {
    use super::card_number;

    #[test]
    fn made_up_card_numbers_pass_luhns_test() {
        assert_eq!(card_number("424242", 1).len(), 16);
        assert_eq!(card_number("378282", 7).len(), 15);
        assert_eq!(card_number("424242", 424_242_424), "4242424242424242");
    }
}
