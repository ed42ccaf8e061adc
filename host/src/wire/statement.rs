//! A merchant's postings and statements: as JSON, as CSV for a spreadsheet, as camt.053 for whoever reads a bank's.

mod camt;

use super::{Minor, seconds, text, text_or_null};
use portolan_domain::ids::{EventId, MerchantId, Mode, PaymentId, PayoutId};
use portolan_domain::ledger::Layer;
use portolan_domain::money::Asset;
use portolan_domain::statement::{Posting, Purses, Statement};
use schemars::JsonSchema;
use serde::Serialize;

pub use camt::{camt_053, time_text};

/// One line on one of the merchant's accounts.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Posting")]
pub struct PostingView<'a> {
    object: &'static str,
    /// The event that caused it.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    event: EventId,
    /// That event's type.
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(serialize_with = "text_or_null")]
    #[schemars(with = "Option<String>")]
    payment: Option<PaymentId>,
    /// In the place of `payment`, where the money goes out.
    #[serde(serialize_with = "text_or_null", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    payout: Option<PayoutId>,
    created: u64,
    /// `pending` or `available`.
    account: &'static str,
    /// `held`, `released` or `posted`: only what is posted has moved.
    layer: &'static str,
    /// Above zero in the merchant's favour.
    amount: Minor,
    currency: &'a str,
    /// What the account holds after it; in statements only.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Minor>,
}

impl<'a> PostingView<'a> {
    /// The line as its merchant sees it.
    pub fn of(posting: &'a Posting, balance: Option<i128>) -> Self {
        Self {
            object: "posting",
            event: posting.event,
            kind: &posting.name,
            payment: Some(posting.payment).filter(|_| !posting.is_payout),
            payout: Some(PayoutId(posting.payment.0)).filter(|_| posting.is_payout),
            created: seconds(posting.at_ms),
            account: posting.purse.as_str(),
            layer: match posting.layer {
                Layer::Pending => "held",
                Layer::Released => "released",
                Layer::Posted => "posted",
            },
            amount: Minor(posting.minor),
            currency: posting.asset.code(),
            balance: balance.map(Minor),
        }
    }
}

/// What is on the merchant's two accounts.
#[derive(Serialize, JsonSchema)]
struct PursesView {
    pending: Minor,
    available: Minor,
}

impl PursesView {
    fn of(purses: &Purses) -> Self {
        Self {
            pending: Minor(purses.pending),
            available: Minor(purses.available),
        }
    }
}

/// What was booked in one currency from one time until another.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Statement")]
pub struct StatementView<'a> {
    object: &'static str,
    livemode: bool,
    currency: &'a str,
    /// Seconds since 1970.
    from: u64,
    /// That moment excluded.
    until: u64,
    opening: PursesView,
    closing: PursesView,
    /// What moved, in order of writing.
    postings: Vec<PostingView<'a>>,
}

impl<'a> StatementView<'a> {
    /// The statement as its merchant sees it.
    pub fn of(statement: &'a Statement, mode: Mode) -> Self {
        let postings = statement.postings.iter();
        Self {
            object: "statement",
            livemode: mode == Mode::Live,
            currency: statement.asset.code(),
            from: seconds(statement.from_ms),
            until: seconds(statement.until_ms),
            opening: PursesView::of(&statement.opening),
            closing: PursesView::of(&statement.closing),
            postings: postings.map(|(it, after)| PostingView::of(it, Some(*after))).collect(),
        }
    }
}

/// Whose statement it is, for the formats that say so.
pub struct Holder<'a> {
    /// The merchant.
    pub merchant: &'a MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// When it is made, in milliseconds since 1970.
    pub now_ms: u64,
}

/// The statement as a table. Amounts are in major units; no cell holds a text that somebody outside wrote.
pub fn csv(statement: &Statement) -> Result<Vec<u8>, csv::Error> {
    let mut table = csv::Writer::from_writer(vec![]);
    table.write_record([
        "created", "type", "payment", "payout", "event", "account", "currency", "amount", "balance",
    ])?;
    for (posting, after) in &statement.postings {
        let (payment, payout) = match posting.is_payout {
            true => (String::new(), PayoutId(posting.payment.0).to_string()),
            false => (posting.payment.to_string(), String::new()),
        };
        table.write_record([
            time_text(posting.at_ms),
            posting.name.to_string(),
            payment,
            payout,
            posting.event.to_string(),
            posting.purse.as_str().to_owned(),
            posting.asset.code().to_owned(),
            major(posting.minor, &posting.asset),
            major(*after, &posting.asset),
        ])?;
    }
    table.into_inner().map_err(|error| error.into_error().into())
}

/// An amount in major units, with its sign.
fn major(minor: i128, asset: &Asset) -> String {
    let digits = usize::from(asset.exponent());
    let text = format!("{:0>width$}", minor.unsigned_abs(), width = digits + 1);
    let at = text.len().saturating_sub(digits);
    let (whole, part) = text.split_at_checked(at).unwrap_or((&text, ""));
    let sign = if minor < 0 { "-" } else { "" };
    let point = if digits == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{part}")
}
