//! What a merchant asked for, checked: [`ValidPayment`] is the only form that the rest accepts. Every error at once,
//! each with the pointer to its field.

use super::Payout;
use super::conversion::IfLost;
use super::delivery::Delivery;
use crate::beneficiary::{self, PayoutAccount, PayoutTerms};
use crate::ids::{MethodId, QuoteId};
use crate::money::{Asset, Money};
use crate::operation::Instrument;
use core::net::IpAddr;
use iso_currency::Country;
use std::str::FromStr;

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct PaymentRequest {
    /// Minor units.
    pub amount: Option<i128>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// `automatic` or `manual`.
    pub capture_method: Option<String>,
    /// `pm_…`.
    pub payment_method: Option<String>,
    /// `wallet:…` or `token:…`, where it is no stored card.
    pub payment_method_type: Option<String>,
    /// `qt_…`: what the merchant will get for it.
    pub quote: Option<String>,
    /// `requote`, `hold` or `refund`.
    pub if_rate_lost: Option<String>,
    /// Basis points.
    pub max_slippage_bps: Option<i128>,
    /// `automatic` or `required`.
    pub authentication: Option<String>,
    /// Create and confirm in one call.
    pub confirm: bool,
    /// At most 1,000 characters.
    pub description: Option<String>,
    /// At most 22 characters.
    pub statement_descriptor: Option<String>,
    /// http or https.
    pub return_url: Option<String>,
    /// The merchant's own pairs.
    pub metadata: Vec<(String, String)>,
    /// The payer's name.
    pub payer_name: Option<String>,
    /// The payer's e-mail.
    pub payer_email: Option<String>,
    /// Where the payer lives, ISO 3166-1 alpha-2.
    pub payer_country: Option<String>,
    /// The merchant's own id of the payer.
    pub payer_id: Option<String>,
    /// The address that the payer comes from.
    pub payer_ip: Option<String>,
    /// Where that is, ISO 3166-1 alpha-2.
    pub ip_country: Option<String>,
    /// Where goods are sent to, ISO 3166-1 alpha-2.
    pub shipping_country: Option<String>,
}

/// What is meant.
#[derive(Clone, Debug)]
pub struct ValidPayment {
    /// More than nothing.
    pub amount: Money,
    /// Whether the merchant captures later.
    pub manual_capture: bool,
    /// The token.
    pub method: Option<MethodId>,
    /// What the payer pays with, where it is known without the vault.
    pub instrument: Option<Instrument>,
    /// The quote that it uses, and what to do where its price is lost.
    pub quote: Option<QuoteUse>,
    /// To whom what is got goes on.
    pub delivery: Option<Box<Delivery>>,
    /// Who is paid, where the money goes out.
    pub payout: Option<Box<Payout>>,
    /// Whether the payer must be authenticated, whatever the issuer would let pass.
    pub must_authenticate: bool,
    /// Create and confirm in one call.
    pub confirm: bool,
    /// The merchant's text.
    pub description: Option<String>,
    /// For the payer's statement.
    pub statement_descriptor: Option<String>,
    /// Where the payer goes after an action.
    pub return_url: Option<String>,
    /// The merchant's own pairs.
    pub metadata: Vec<(String, String)>,
    /// The payer's name.
    pub payer_name: Option<String>,
    /// The payer's e-mail.
    pub payer_email: Option<String>,
    /// Where the payer lives, ISO 3166-1 alpha-2.
    pub payer_country: Option<String>,
    /// The merchant's own id of the payer.
    pub payer_id: Option<String>,
    /// The address that the payer comes from.
    pub payer_ip: Option<IpAddr>,
    /// Where that is, ISO 3166-1 alpha-2.
    pub ip_country: Option<String>,
    /// Where goods are sent to, ISO 3166-1 alpha-2.
    pub shipping_country: Option<String>,
}

/// How a payment uses a quote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuoteUse {
    /// Which.
    pub id: QuoteId,
    /// What to do where its price is lost.
    pub if_lost: IfLost,
    /// How much less than promised the merchant accepts, in basis points.
    pub slippage_bps: u32,
}

/// One field that cannot be accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldError {
    /// JSON pointer.
    pub pointer: String,
    /// A word for programs.
    pub code: &'static str,
    /// What to do about it.
    pub message: String,
}

impl FieldError {
    /// An error at the pointer.
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            code,
            message: message.into(),
        }
    }
}

/// The largest amount taken: 10^15 minor units.
pub const AMOUNT_MAX: i128 = 1_000_000_000_000_000;
/// Characters of the merchant's own id of a payer.
const PAYER_ID_MAX: usize = 64;
/// The largest slippage that may be accepted: a tenth.
const SLIPPAGE_MAX_BPS: u32 = 1_000;

/// The largest amount in that asset: as many whole units as for a currency with two decimals.
pub fn amount_max(asset: &Asset) -> i128 {
    let more = u32::from(asset.exponent()).max(2).saturating_sub(2);
    let scale = 10_i128.checked_pow(more);
    scale
        .and_then(|scale| AMOUNT_MAX.checked_mul(scale))
        .unwrap_or(AMOUNT_MAX)
}

/// Checks everything and reports every error. `asset` knows the currencies, and the tokens that the operator named.
pub fn validate(
    request: PaymentRequest,
    asset: impl Fn(&str) -> Option<Asset>,
) -> Result<ValidPayment, Vec<FieldError>> {
    let mut errors = vec![];
    let amount = check_amount_of(request.amount, request.currency.as_deref(), &asset, &mut errors);
    let manual_capture = match request.capture_method.as_deref() {
        None | Some("automatic") => false,
        Some("manual") => true,
        Some(other) => {
            errors.push(FieldError::new(
                "/capture_method",
                "invalid_value",
                format!("{other:?} is neither automatic nor manual"),
            ));
            false
        }
    };
    let method = request.payment_method.as_deref().and_then(|text| match text.parse() {
        Ok(id) => Some(id),
        Err(error) => {
            errors.push(FieldError::new("/payment_method", "invalid_id", format!("{error}")));
            None
        }
    });
    let instrument = check_instrument(&request, &mut errors);
    let must_authenticate = check_authentication(&request, &mut errors);
    let quote = check_quote_use(&request, manual_capture, &mut errors);
    if request.confirm && request.payment_method.is_none() && request.payment_method_type.is_none() {
        errors.push(FieldError::new(
            "/payment_method",
            "missing",
            "needed to confirm: store a card with POST /v1/payment_methods, or name a payment_method_type",
        ));
    }
    check_text("/description", request.description.as_deref(), 1_000, &mut errors);
    check_text(
        "/statement_descriptor",
        request.statement_descriptor.as_deref(),
        22,
        &mut errors,
    );
    check_text("/payer/name", request.payer_name.as_deref(), 200, &mut errors);
    check_text("/payer/email", request.payer_email.as_deref(), 320, &mut errors);
    check_country("/payer/country", request.payer_country.as_deref(), &mut errors);
    check_payer_id(request.payer_id.as_deref(), &mut errors);
    let payer_ip = check_ip(request.payer_ip.as_deref(), &mut errors);
    check_country("/payer/ip_country", request.ip_country.as_deref(), &mut errors);
    check_country("/shipping/country", request.shipping_country.as_deref(), &mut errors);
    check_url(request.return_url.as_deref(), &mut errors);
    check_metadata(&request.metadata, &mut errors);
    match amount {
        Some(amount) if errors.is_empty() => Ok(ValidPayment {
            amount,
            manual_capture,
            method,
            instrument,
            quote,
            delivery: None,
            payout: None,
            must_authenticate,
            confirm: request.confirm,
            description: request.description,
            statement_descriptor: request.statement_descriptor,
            return_url: request.return_url,
            metadata: request.metadata,
            payer_name: request.payer_name,
            payer_email: request.payer_email,
            payer_country: request.payer_country,
            payer_id: request.payer_id,
            payer_ip,
            ip_country: request.ip_country,
            shipping_country: request.shipping_country,
        }),
        Some(_) | None => Err(errors),
    }
}

/// An id is compared as it is written, so nothing invisible is in it; a bare number may be a card's.
fn check_payer_id(id: Option<&str>, errors: &mut Vec<FieldError>) {
    let Some(id) = id else { return };
    let mut bad = |code, how: &str| errors.push(FieldError::new("/payer/id", code, how));
    let is_visible = id.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible || !(1..=PAYER_ID_MAX).contains(&id.len()) {
        bad(
            "invalid_value",
            "1 to 64 visible characters of ASCII, your own id of the payer; leave it out for one that has none",
        );
    } else if !id.bytes().any(|byte| byte.is_ascii_alphabetic()) && holds_card_number(id) {
        bad(
            "card_number",
            "it may be a card number: put a letter in front of your id",
        );
    }
}

/// The address of the payer. One of IPv4 that was written as one of IPv6 is what it is.
fn check_ip(text: Option<&str>, errors: &mut Vec<FieldError>) -> Option<IpAddr> {
    let text = text?;
    let parsed: Option<IpAddr> = text.parse().ok();
    if parsed.is_none() {
        let how = "an IPv4 or IPv6 address, without a port";
        errors.push(FieldError::new("/payer/ip", "invalid_value", how));
    }
    parsed.map(|ip| ip.to_canonical())
}

fn check_authentication(request: &PaymentRequest, errors: &mut Vec<FieldError>) -> bool {
    let mut wrong = |message: String| errors.push(FieldError::new("/authentication", "invalid_value", message));
    match (request.authentication.as_deref(), &request.payment_method_type) {
        (None | Some("automatic"), _) => {}
        (Some("required"), None) => return true,
        (Some("required"), Some(word)) => wrong(format!("{word} knows its payers by itself: it is for cards")),
        (Some(other), _) => wrong(format!("{other:?} is neither automatic nor required")),
    }
    false
}

fn check_amount_of(
    amount: Option<i128>,
    currency: Option<&str>,
    known: &impl Fn(&str) -> Option<Asset>,
    errors: &mut Vec<FieldError>,
) -> Option<Money> {
    let asset = match currency {
        None => {
            errors.push(FieldError::new("/currency", "missing", "an ISO 4217 code such as EUR"));
            None
        }
        Some(code) => {
            let asset = known(code);
            if asset.is_none() {
                errors.push(FieldError::new(
                    "/currency",
                    "unknown_currency",
                    format!("{code:?} is no ISO 4217 currency and no token of this router; write EUR, not eur"),
                ));
            }
            asset
        }
    };
    match amount {
        None => errors.push(FieldError::new(
            "/amount",
            "missing",
            "minor units as an integer, 1099 for 10.99 EUR",
        )),
        Some(minor) => {
            // Tokens have more decimals than currencies: the limit counts whole units.
            let most = asset.as_ref().map_or(AMOUNT_MAX, amount_max);
            if (1..=most).contains(&minor) {
                return Money::new(minor, asset?);
            }
            errors.push(FieldError::new(
                "/amount",
                "out_of_range",
                format!("must be from 1 to {most} minor units"),
            ));
        }
    }
    None
}

/// What the payer pays with, where it is no stored card.
fn check_instrument(request: &PaymentRequest, errors: &mut Vec<FieldError>) -> Option<Instrument> {
    let word = request.payment_method_type.as_deref()?;
    let mut bad = |code, how: &str| {
        errors.push(FieldError::new("/payment_method_type", code, how));
        None
    };
    if request.payment_method.is_some() {
        return bad(
            "both_given",
            "a stored payment method says its type itself: give one of the two",
        );
    }
    let fits = |name: &str| {
        (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':'))
    };
    match word.split_once(':') {
        Some(("wallet", name)) if fits(name) => Some(Instrument::Wallet(name.to_owned())),
        Some(("token", code)) if fits(code) => Some(Instrument::Token(code.to_owned())),
        _ => bad(
            "invalid_value",
            "wallet:NAME or token:CODE; a card is stored first and named as payment_method",
        ),
    }
}

fn check_quote_use(request: &PaymentRequest, manual: bool, errors: &mut Vec<FieldError>) -> Option<QuoteUse> {
    let mut bad = |at: &str, code, how: String| errors.push(FieldError::new(at, code, how));
    let Some(text) = request.quote.as_deref() else {
        for (at, is_there) in [
            ("/if_rate_lost", request.if_rate_lost.is_some()),
            ("/max_slippage_bps", request.max_slippage_bps.is_some()),
        ] {
            if is_there {
                bad(
                    at,
                    "without_quote",
                    "says what to do with a quote's price, and there is no quote".into(),
                );
            }
        }
        return None;
    };
    if request
        .payment_method_type
        .as_deref()
        .is_some_and(|it| it.starts_with("token:"))
    {
        bad(
            "/payment_method_type",
            "not_with_quote",
            "a token is paid as it is: leave the quote out".into(),
        );
    }
    if manual {
        bad(
            "/capture_method",
            "not_with_quote",
            "a quote is for the whole amount: capture_method automatic".into(),
        );
    }
    let if_lost = match request.if_rate_lost.as_deref() {
        None => Some(IfLost::Requote),
        Some(word) => IfLost::parse(word),
    };
    if if_lost.is_none() {
        bad("/if_rate_lost", "invalid_value", "requote, hold or refund".into());
    }
    let slippage = request.max_slippage_bps.unwrap_or(0);
    let slippage = u32::try_from(slippage).ok().filter(|bps| *bps <= SLIPPAGE_MAX_BPS);
    if slippage.is_none() {
        bad(
            "/max_slippage_bps",
            "out_of_range",
            format!("from 0 to {SLIPPAGE_MAX_BPS} basis points"),
        );
    }
    match text.parse() {
        Ok(id) => Some(QuoteUse {
            id,
            if_lost: if_lost?,
            slippage_bps: slippage?,
        }),
        Err(error) => {
            bad("/quote", "invalid_id", format!("{error}"));
            None
        }
    }
}

/// A payout, checked: its amount, its beneficiary, its words.
pub fn validate_payout(
    (amount, currency): (Option<i128>, Option<&str>),
    terms: PayoutTerms,
    (description, metadata): (Option<String>, Vec<(String, String)>),
    asset: impl Fn(&str) -> Option<Asset>,
) -> Result<ValidPayment, Vec<FieldError>> {
    let mut errors = vec![];
    let amount = check_amount_of(amount, currency, &asset, &mut errors);
    beneficiary::check(&terms.beneficiary, "/beneficiary", &mut errors);
    check_text("/description", description.as_deref(), 1_000, &mut errors);
    check_text("/reference", Some(&terms.remittance), 140, &mut errors);
    check_text("/purpose", terms.purpose.as_deref(), 35, &mut errors);
    check_metadata(&metadata, &mut errors);
    if let Some(amount) = &amount {
        check_chain(&terms.beneficiary.account, amount.asset(), "/beneficiary", &mut errors);
    }
    match amount {
        Some(amount) if errors.is_empty() => Ok(ValidPayment {
            must_authenticate: false,
            amount,
            manual_capture: false,
            method: None,
            instrument: None,
            quote: None,
            delivery: None,
            payout: Some(Box::new(Payout {
                terms,
                iso_status: None,
                returned: None,
                fee: None,
                booked: None,
                return_booked: None,
                leg_of: None,
            })),
            confirm: true,
            description,
            statement_descriptor: None,
            return_url: None,
            metadata,
            payer_name: None,
            payer_email: None,
            payer_country: None,
            payer_id: None,
            payer_ip: None,
            ip_country: None,
            shipping_country: None,
        }),
        Some(_) | None => Err(errors),
    }
}

/// A token lives on one chain: its code says which, and an address on another would lose it.
pub fn check_chain(account: &PayoutAccount, asset: &Asset, at: &str, errors: &mut Vec<FieldError>) {
    let code = asset.code();
    if let (PayoutAccount::Chain(network, _), Some((_, of_token))) = (account, code.split_once(':'))
        && network != of_token
    {
        let how = format!("{code} is on {of_token}; an address on {network} cannot receive it");
        errors.push(FieldError::new(format!("{at}/account/network"), "other_chain", how));
    }
}

pub(crate) fn check_text(pointer: &str, text: Option<&str>, longest: usize, errors: &mut Vec<FieldError>) {
    let Some(text) = text else { return };
    if text.chars().count() > longest {
        errors.push(FieldError::new(
            pointer,
            "too_long",
            format!("at most {longest} characters"),
        ));
    }
    if text.chars().any(char::is_control) {
        errors.push(FieldError::new(
            pointer,
            "control_character",
            "control characters are not accepted",
        ));
    }
    check_no_card_number(pointer, text, errors);
}

/// A country of ISO 3166-1, by its two letters.
pub fn check_country(pointer: &str, code: Option<&str>, errors: &mut Vec<FieldError>) {
    let is_one = |code: &str| Country::from_str(code).is_ok_and(|it| it.to_string() == code);
    if let Some(code) = code.filter(|code| !is_one(code)) {
        let how =
            format!("{code:?} is no country of ISO 3166-1; two capital letters as DE, and GB for the United Kingdom");
        errors.push(FieldError::new(pointer, "unknown_country", how));
    }
}

fn check_url(url: Option<&str>, errors: &mut Vec<FieldError>) {
    let Some(url) = url else { return };
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let fits =
        rest.is_some_and(|rest| !rest.is_empty()) && url.len() <= 2_048 && url.bytes().all(|b| b.is_ascii_graphic());
    if !fits {
        errors.push(FieldError::new(
            "/return_url",
            "invalid_url",
            "an absolute http or https URL of at most 2048 characters",
        ));
    }
}

fn check_metadata(metadata: &[(String, String)], errors: &mut Vec<FieldError>) {
    if metadata.len() > 50 {
        errors.push(FieldError::new("/metadata", "too_many", "at most 50 keys"));
    }
    for (key, value) in metadata {
        let pointer = format!("/metadata/{}", key.replace('~', "~0").replace('/', "~1"));
        if key.is_empty() || key.chars().count() > 40 {
            errors.push(FieldError::new(&pointer, "too_long", "keys have 1 to 40 characters"));
        }
        check_no_card_number(&pointer, key, errors);
        check_text(&pointer, Some(value), 500, errors);
    }
}

/// Refuses a text that holds a card number: 13 to 19 digits, spaces and dashes aside, that pass the Luhn check.
fn check_no_card_number(pointer: &str, text: &str, errors: &mut Vec<FieldError>) {
    if holds_card_number(text) {
        errors.push(FieldError::new(
            pointer,
            "card_number",
            "card numbers are taken by POST /v1/payment_methods alone",
        ));
    }
}

/// Whether a text holds what looks like a card number: a run of digits, by itself or joined over spaces and dashes, of 13
/// to 19 that pass the Luhn check. Parts of longer runs are not looked at: one in ten would pass.
pub fn holds_card_number(text: &str) -> bool {
    let is_separator = |c: char| c == ' ' || c == '-';
    let joined = text
        .split(|c: char| !c.is_ascii_digit() && !is_separator(c))
        .map(|run| run.replace(is_separator, ""));
    let alone = text.split(|c: char| !c.is_ascii_digit()).map(str::to_owned);
    joined.chain(alone).any(|run| is_card_number(&run))
}

fn is_card_number(run: &str) -> bool {
    let digits: Vec<u8> = run.bytes().map(|byte| byte.wrapping_sub(b'0')).collect();
    (13..=19).contains(&digits.len()) && luhn(&digits) && digits.first() != Some(&0)
}

/// The Luhn check of ISO/IEC 7812-1 over digits.
pub fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let doubled = u32::from(*digit) * if at % 2 == 1 { 2 } else { 1 };
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_at_once() {
        let request = PaymentRequest {
            amount: Some(0),
            currency: Some("eur".into()),
            capture_method: Some("later".into()),
            confirm: true,
            return_url: Some("javascript:alert(1)".into()),
            metadata: vec![("note".into(), "card 4242 4242 4242 4242".into())],
            ..PaymentRequest::default()
        };
        let errors = validate(request, Asset::currency).unwrap_err();
        let pointers: Vec<_> = errors
            .iter()
            .map(|error| (error.pointer.as_str(), error.code))
            .collect();
        assert_eq!(
            pointers,
            [
                ("/currency", "unknown_currency"),
                ("/amount", "out_of_range"),
                ("/capture_method", "invalid_value"),
                ("/payment_method", "missing"),
                ("/return_url", "invalid_url"),
                ("/metadata/note", "card_number"),
            ]
        );
    }

    #[test]
    fn card_numbers_are_found_in_any_spelling() {
        for text in [
            "4242424242424242",
            "4242-4242-4242-4242",
            "order 42 4242424242424242x",
            "a5555555555554444",
        ] {
            assert!(holds_card_number(text), "{text}");
        }
        for text in ["4242424242424241", "order 20261123", "+49 30 901820", ""] {
            assert!(!holds_card_number(text), "{text}");
        }
    }
}
