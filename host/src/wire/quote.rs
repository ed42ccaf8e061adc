//! A quote for merchants: what it costs, all in, and who else was asked.

use super::{Minor, seconds, text, text_or_null};
use portolan_domain::ids::{Mode, PaymentId, QuoteId};
use portolan_domain::money::Money;
use portolan_domain::operation::Fixed;
use portolan_domain::quote::{Quote, Terms, Unavailable};
use schemars::JsonSchema;
use serde::Serialize;

/// An amount with its currency.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Amount")]
pub(super) struct AmountView<'a> {
    amount: Minor,
    currency: &'a str,
}

impl<'a> AmountView<'a> {
    pub fn of(money: &'a Money) -> Self {
        Self {
            amount: Minor(money.minor()),
            currency: money.asset().code(),
        }
    }
}

/// A quote.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Quote")]
pub struct QuoteView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String", regex(pattern = "^qt_[0-9a-f]{32}$"))]
    id: QuoteId,
    object: &'static str,
    /// `open` until it is used, or its time is up.
    status: &'static str,
    /// `source` or `destination`.
    fixed: &'static str,
    /// What the payer pays.
    source: Option<AmountView<'a>>,
    /// What the merchant gets.
    destination: Option<AmountView<'a>>,
    /// Units of the destination for one unit of the source, all costs in.
    rate: Option<String>,
    mid_rate: Option<MidView<'a>>,
    fees: Vec<FeeView<'a>>,
    /// All costs against the mid rate, in basis points.
    cost_bps: Option<String>,
    /// One rounding per conversion, towards the router's disadvantage never.
    rounding: &'static str,
    expires_at: u64,
    /// Every channel's price, the best first.
    options: Vec<OptionView<'a>>,
    unavailable: Vec<UnavailableView<'a>>,
    #[serde(serialize_with = "text_or_null")]
    #[schemars(with = "Option<String>")]
    used_by: Option<PaymentId>,
    livemode: bool,
    created: u64,
}

/// The rate without costs, by whom and when.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "MidRate")]
struct MidView<'a> {
    rate: String,
    source: &'a str,
    at: u64,
}

/// A fee: who charges it, who pays it.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "QuoteFee")]
struct FeeView<'a> {
    charged_by: &'a str,
    paid_by: &'static str,
    amount: Minor,
    currency: &'a str,
}

/// One channel's price.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "QuoteOption")]
struct OptionView<'a> {
    channel: &'a str,
    source: AmountView<'a>,
    destination: AmountView<'a>,
    rate: String,
    cost_bps: Option<String>,
    expires_at: u64,
}

/// A channel without a price, and why.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "QuoteUnavailable")]
struct UnavailableView<'a> {
    channel: &'a str,
    reason: &'a str,
}

impl<'a> QuoteView<'a> {
    /// The quote as its merchant sees it.
    pub fn of(quote: &'a Quote) -> Self {
        let best = quote.best();
        Self {
            id: quote.id,
            object: "quote",
            status: if quote.used_by.is_some() { "used" } else { "open" },
            fixed: match quote.inquiry.fixed {
                Fixed::Sell(_) => "source",
                Fixed::Buy(_) => "destination",
            },
            source: best.map(|terms| AmountView::of(&terms.sold)),
            destination: best.map(|terms| AmountView::of(&terms.owed)),
            rate: best.map(|terms| terms.rate.value().to_string()),
            mid_rate: best.and_then(|terms| mid_of(terms, quote.created_ms)),
            fees: best.map(fees_of).unwrap_or_default(),
            cost_bps: best.and_then(|terms| terms.cost_bps).map(|bps| bps.to_string()),
            rounding: "down",
            expires_at: best.map_or(0, |terms| seconds(terms.quotation.expires_ms)),
            options: quote.terms.iter().map(OptionView::of).collect(),
            unavailable: quote.unavailable.iter().map(UnavailableView::of).collect(),
            used_by: quote.used_by,
            livemode: quote.mode == Mode::Live,
            created: seconds(quote.created_ms),
        }
    }
}

fn mid_of(terms: &Terms, at_ms: u64) -> Option<MidView<'_>> {
    Some(MidView {
        rate: terms.mid.as_ref()?.value().to_string(),
        source: terms.channel.as_str(),
        at: seconds(at_ms),
    })
}

fn fees_of(terms: &Terms) -> Vec<FeeView<'_>> {
    let fee = |charged_by, amount: &Money, currency| FeeView {
        charged_by,
        paid_by: "merchant",
        amount: Minor(amount.minor()),
        currency,
    };
    let of_channel = terms
        .fee
        .as_ref()
        .map(|money| fee(terms.channel.as_str(), money, money.asset().code()));
    let share = terms.bought.minus(&terms.owed).ok().filter(|share| !share.is_zero());
    let of_router = share.map(|share| fee("router", &share, terms.bought.asset().code()));
    of_channel.into_iter().chain(of_router).collect()
}

impl<'a> OptionView<'a> {
    fn of(terms: &'a Terms) -> Self {
        Self {
            channel: terms.channel.as_str(),
            source: AmountView::of(&terms.sold),
            destination: AmountView::of(&terms.owed),
            rate: terms.rate.value().to_string(),
            cost_bps: terms.cost_bps.map(|bps| bps.to_string()),
            expires_at: seconds(terms.quotation.expires_ms),
        }
    }
}

impl<'a> UnavailableView<'a> {
    fn of(unavailable: &'a Unavailable) -> Self {
        Self {
            channel: unavailable.channel.as_str(),
            reason: &unavailable.why,
        }
    }
}
