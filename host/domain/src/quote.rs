//! Quotes: what an exchange of one asset for another costs, all in, known before and open to be used once. It owns the
//! request, the pricing of a channel's quotation, the comparison of channels, and the rules of using one.

use crate::ids::{ChannelId, MerchantId, Mode, PaymentId, QuoteId};
use crate::money::rate::{Rate, Rounding};
use crate::money::{Asset, Money};
use crate::operation::{Fixed, Inquiry, Quotation};
use crate::payment::request::{AMOUNT_MAX, FieldError, amount_max};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Before this much of its life is left, a quotation is no longer begun with: the request has to arrive in time.
pub const MARGIN_MS: u64 = 2_000;
/// The longest that a price may be asked to hold.
pub const LOCK_MAX_S: u32 = 24 * 60 * 60;
const LOCK_DEFAULT_S: u32 = 15 * 60;
/// A basis point is a hundredth of a percent.
const BPS: i128 = 10_000;

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct QuoteRequest {
    /// What is sold: minor units.
    pub source_amount: Option<i128>,
    /// What is sold: its code.
    pub source_currency: Option<String>,
    /// What is bought: minor units.
    pub destination_amount: Option<i128>,
    /// What is bought: its code.
    pub destination_currency: Option<String>,
    /// For how many seconds it should hold.
    pub lock_s: Option<i128>,
}

/// Checks everything and reports every error. `asset` knows the currencies, and the tokens that the operator named.
pub fn validate(request: &QuoteRequest, asset: impl Fn(&str) -> Option<Asset>) -> Result<Inquiry, Vec<FieldError>> {
    let mut errors = vec![];
    let mut side = |name: &str, code: &Option<String>| {
        let at = format!("/{name}/currency");
        match code.as_deref().map(|code| (code, asset(code))) {
            Some((_, Some(asset))) => return Some(asset),
            Some((code, None)) => {
                let why = format!("{code:?} is no ISO 4217 currency and no token of this router; write EUR, not eur");
                errors.push(FieldError::new(at, "unknown_currency", why));
            }
            None => errors.push(FieldError::new(
                at,
                "missing",
                "an ISO 4217 code such as EUR, or a token's",
            )),
        }
        None
    };
    let sell = side("source", &request.source_currency);
    let buy = side("destination", &request.destination_currency);
    if sell.is_some() && sell == buy {
        let why = "source and destination are the same: no exchange is needed";
        errors.push(FieldError::new("/destination/currency", "same_currency", why));
    }
    let fixed = fixed_side(request, (sell.as_ref(), buy.as_ref()), &mut errors);
    let lock_s = match request.lock_s {
        None => LOCK_DEFAULT_S,
        Some(seconds) => match u32::try_from(seconds).ok().filter(|s| (1..=LOCK_MAX_S).contains(s)) {
            Some(seconds) => seconds,
            None => {
                errors.push(FieldError::new(
                    "/lock_seconds",
                    "out_of_range",
                    format!("from 1 to {LOCK_MAX_S}"),
                ));
                LOCK_DEFAULT_S
            }
        },
    };
    match (sell, buy, fixed) {
        (Some(sell), Some(buy), Some(fixed)) if errors.is_empty() => Ok(Inquiry {
            sell,
            buy,
            fixed,
            lock_s,
        }),
        _ => Err(errors),
    }
}

fn fixed_side(
    request: &QuoteRequest,
    (sell, buy): (Option<&Asset>, Option<&Asset>),
    errors: &mut Vec<FieldError>,
) -> Option<Fixed> {
    let mut check = |at: &str, minor: i128, asset: Option<&Asset>| {
        let most = asset.map_or(AMOUNT_MAX, amount_max);
        if !(1..=most).contains(&minor) {
            errors.push(FieldError::new(
                at,
                "out_of_range",
                format!("must be from 1 to {most} minor units"),
            ));
            return None;
        }
        Money::new(minor, asset?.clone())
    };
    match (request.source_amount, request.destination_amount) {
        (Some(minor), None) => check("/source/amount", minor, sell).map(Fixed::Sell),
        (None, Some(minor)) => check("/destination/amount", minor, buy).map(Fixed::Buy),
        (Some(_), Some(_)) => {
            let why = "fix the source or the destination, never both: the other one is the answer";
            errors.push(FieldError::new("/destination/amount", "both_fixed", why));
            None
        }
        (None, None) => {
            let why = "fix one side: source.amount or destination.amount, in minor units";
            errors.push(FieldError::new("/source/amount", "missing", why));
            None
        }
    }
}

/// One channel's price with the router's own share in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Terms {
    /// The channel.
    pub channel: ChannelId,
    /// What is sold.
    pub sold: Money,
    /// What the channel gives for it.
    pub bought: Money,
    /// What the merchant gets: what is bought, less the router's share.
    pub owed: Money,
    /// Units owed for one unit sold, all costs in.
    pub rate: Rate,
    /// The channel's word on the rate without costs.
    pub mid: Option<Rate>,
    /// What the channel takes besides.
    pub fee: Option<Money>,
    /// All costs against mid, in basis points; `None` where the channel names no mid rate.
    pub cost_bps: Option<Decimal>,
    /// The quotation that it rests on.
    pub quotation: Quotation,
}

impl Terms {
    /// Whether a conversion at this price may be begun at `now_ms`.
    pub fn holds_at(&self, now_ms: u64) -> bool {
        now_ms.saturating_add(MARGIN_MS) < self.quotation.expires_ms
    }
}

/// Why a channel has no price.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unavailable {
    /// The channel.
    pub channel: ChannelId,
    /// In one line.
    pub why: String,
}

/// A quote: the best terms, the others, and who has none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quote {
    /// Its id.
    pub id: QuoteId,
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// When it was made.
    pub created_ms: u64,
    /// What was asked.
    pub inquiry: Inquiry,
    /// What it costs, the best first; never empty.
    pub terms: Vec<Terms>,
    /// Who has no price.
    pub unavailable: Vec<Unavailable>,
    /// The payment that used it.
    pub used_by: Option<PaymentId>,
}

/// Why a quote cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuoteRefusal {
    /// Its time is up.
    #[error("the quote has expired")]
    Expired,
    /// It paid for something already.
    #[error("the quote was used: it is good for one payment")]
    Used,
    /// It says another amount.
    #[error("the amount is not the quote's")]
    OtherAmount,
}

impl Quote {
    /// The best terms.
    pub fn best(&self) -> Option<&Terms> {
        self.terms.first()
    }

    /// The terms for a payment of that amount, or why not.
    pub fn usable(&self, amount: Option<&Money>, now_ms: u64) -> Result<&Terms, QuoteRefusal> {
        let terms = self.best().ok_or(QuoteRefusal::Expired)?;
        if self.used_by.is_some() {
            Err(QuoteRefusal::Used)
        } else if amount.is_some_and(|amount| *amount != terms.sold) {
            Err(QuoteRefusal::OtherAmount)
        } else if !terms.holds_at(now_ms) {
            Err(QuoteRefusal::Expired)
        } else {
            Ok(terms)
        }
    }
}

/// What a channel is asked: where the destination is fixed, enough for the router's share besides.
pub fn with_markup(inquiry: &Inquiry, markup_bps: u32) -> Option<Inquiry> {
    let fixed = match &inquiry.fixed {
        Fixed::Sell(_) => inquiry.fixed.clone(),
        Fixed::Buy(owed) => {
            let kept = BPS.checked_sub(i128::from(markup_bps)).filter(|kept| *kept > 0)?;
            let scaled = owed.minor().checked_mul(BPS)?;
            // Rounded up: the merchant gets what was fixed, to the last unit.
            let minor = scaled.checked_add(kept.checked_sub(1)?)?.checked_div(kept)?;
            Fixed::Buy(Money::new(minor, owed.asset().clone())?)
        }
    };
    Some(Inquiry {
        fixed,
        ..inquiry.clone()
    })
}

/// The terms that a channel's quotation comes to, or why it cannot be taken.
pub fn price(
    inquiry: &Inquiry,
    channel: &ChannelId,
    quotation: Quotation,
    (markup_bps, now_ms): (u32, u64),
) -> Result<Terms, &'static str> {
    if *quotation.sell.asset() != inquiry.sell || *quotation.buy.asset() != inquiry.buy {
        return Err("it quoted another pair");
    }
    let asked = with_markup(inquiry, markup_bps).ok_or("the router's share leaves nothing")?;
    let keeps_to_it = match &asked.fixed {
        Fixed::Sell(sold) => quotation.sell == *sold,
        Fixed::Buy(bought) => quotation.buy == *bought,
    };
    if !keeps_to_it {
        return Err("it quoted another amount than the one that was fixed");
    }
    if quotation.buy.is_zero() || quotation.sell.is_zero() {
        return Err("it quoted nothing");
    }
    // What is taken beside the amounts would be in no price that the merchant saw.
    if quotation.fee.as_ref().is_some_and(|fee| !fee.is_zero()) {
        return Err("it takes a fee beside the amounts");
    }
    let owed = match &inquiry.fixed {
        Fixed::Buy(owed) => owed.clone(),
        Fixed::Sell(_) => less_bps(&quotation.buy, markup_bps).ok_or("the amount is out of range")?,
    };
    let all_in = rate_of(&quotation.sell, &owed).ok_or("the rate is out of range")?;
    let said = Rate::new(inquiry.sell.clone(), inquiry.buy.clone(), quotation.rate).ok_or("its rate is not above 0")?;
    if !agrees(&said, &quotation) {
        return Err("its rate and its amounts do not agree");
    }
    let mid = quotation
        .mid
        .and_then(|mid| Rate::new(inquiry.sell.clone(), inquiry.buy.clone(), mid));
    if quotation.expires_ms <= now_ms.saturating_add(MARGIN_MS) {
        return Err("its price is about to expire");
    }
    Ok(Terms {
        channel: channel.clone(),
        sold: quotation.sell.clone(),
        bought: quotation.buy.clone(),
        cost_bps: mid.as_ref().and_then(|mid| all_in.markup_bps(mid)),
        owed,
        rate: all_in,
        mid,
        fee: quotation.fee.clone(),
        quotation,
    })
}

/// An amount less so many basis points, rounded down.
fn less_bps(amount: &Money, bps: u32) -> Option<Money> {
    let kept = BPS.checked_sub(i128::from(bps))?;
    let minor = amount.minor().checked_mul(kept)?.checked_div(BPS)?;
    Money::new(minor, amount.asset().clone())
}

/// Units bought for one unit sold, to ten digits behind the point: the amounts are what binds, the rate tells.
fn rate_of(sold: &Money, bought: &Money) -> Option<Rate> {
    let units = |money: &Money| {
        let minor = Decimal::try_from_i128_with_scale(money.minor(), u32::from(money.asset().exponent())).ok()?;
        Some(minor)
    };
    let value = units(bought)?.checked_div(units(sold)?)?.round_dp(10);
    Rate::new(sold.asset().clone(), bought.asset().clone(), value)
}

/// Whether amounts and rate say the same, to one minor unit of either side.
fn agrees(rate: &Rate, quotation: &Quotation) -> bool {
    let near = |a: &Money, b: &Money| a.minor().abs_diff(b.minor()) <= 1;
    let bought = rate.convert(&quotation.sell, Rounding::HalfEven);
    let sold = rate.cost_of(&quotation.buy, Rounding::HalfEven);
    bought.is_ok_and(|bought| near(&bought, &quotation.buy)) || sold.is_ok_and(|sold| near(&sold, &quotation.sell))
}

/// The terms, the best for the merchant first: most owed, where the source is fixed; least sold, where it is not.
/// Between equals, the one that holds longer.
pub fn best_first(mut terms: Vec<Terms>) -> Vec<Terms> {
    let cost = |terms: &Terms| terms.sold.minor().saturating_sub(terms.owed.minor());
    // One side is the same for all, so the difference orders by the other.
    terms.sort_by_key(|terms| (cost(terms), std::cmp::Reverse(terms.quotation.expires_ms)));
    terms
}

/// The same deal, priced again: how much less the merchant would get than was promised, in basis points, rounded up.
pub fn slippage_bps(promised: &Money, offered: &Money) -> Option<u32> {
    let missing = promised.minor().checked_sub(offered.minor())?.max(0);
    let scaled = missing
        .checked_mul(BPS)?
        .checked_add(promised.minor().checked_sub(1)?)?;
    u32::try_from(scaled.checked_div(promised.minor())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;

    fn money(code: &str, minor: i128) -> Money {
        Money::new(minor, Asset::currency(code).unwrap()).unwrap()
    }

    fn quotation(sell: i128, buy: i128, rate: &str) -> Quotation {
        Quotation {
            reference: "q".into(),
            sell: money("EUR", sell),
            buy: money("HKD", buy),
            rate: rate.parse().unwrap(),
            mid: "8.5".parse().ok(),
            fee: None,
            expires_ms: 100_000,
            memo: None,
        }
    }

    fn inquiry(fixed: Fixed) -> Inquiry {
        let asset = |code| Asset::currency(code).unwrap();
        Inquiry {
            sell: asset("EUR"),
            buy: asset("HKD"),
            fixed,
            lock_s: 60,
        }
    }

    fn desk(name: &str) -> ChannelId {
        Name::parse(name).unwrap()
    }

    #[test]
    fn the_price_is_all_in_and_the_share_comes_out_of_what_is_bought() {
        let asked = inquiry(Fixed::Sell(money("EUR", 10_000)));
        let terms = price(&asked, &desk("a"), quotation(10_000, 84_300, "8.43"), (50, 0)).unwrap();
        // 843.00 less half a percent, rounded down.
        assert_eq!(terms.owed, money("HKD", 83_878));
        assert_eq!(terms.rate.value(), "8.3878".parse().unwrap());
        assert_eq!(terms.cost_bps, "132".parse().ok());
    }

    #[test]
    fn a_fixed_destination_is_met_to_the_last_unit() {
        let asked = inquiry(Fixed::Buy(money("HKD", 84_300)));
        let of_channel = with_markup(&asked, 50).unwrap();
        assert_eq!(of_channel.fixed, Fixed::Buy(money("HKD", 84_724)));
        let terms = price(&asked, &desk("a"), quotation(10_050, 84_724, "8.43025"), (50, 0)).unwrap();
        assert_eq!((terms.owed, terms.sold), (money("HKD", 84_300), money("EUR", 10_050)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let asked = inquiry(Fixed::Sell(money("EUR", 10_000)));
        let why = |q: Quotation, now| price(&asked, &desk("a"), q, (0, now)).unwrap_err();
        assert_eq!(
            why(quotation(9_999, 84_300, "8.43"), 0),
            "it quoted another amount than the one that was fixed"
        );
        assert_eq!(
            why(quotation(10_000, 84_300, "8.50"), 0),
            "its rate and its amounts do not agree"
        );
        assert_eq!(
            why(quotation(10_000, 84_300, "8.43"), 99_000),
            "its price is about to expire"
        );
        let mut other = quotation(10_000, 84_300, "8.43");
        other.buy = money("USD", 84_300);
        assert_eq!(why(other, 0), "it quoted another pair");
    }

    #[test]
    fn the_best_is_first() {
        let asked = inquiry(Fixed::Sell(money("EUR", 10_000)));
        let of = |name, buy, rate| price(&asked, &desk(name), quotation(10_000, buy, rate), (0, 0)).unwrap();
        let sorted = best_first(vec![of("a", 84_300, "8.43"), of("b", 84_500, "8.45")]);
        assert_eq!(sorted[0].channel, desk("b"));
        assert_eq!(slippage_bps(&money("HKD", 84_500), &money("HKD", 84_300)), Some(24));
        assert_eq!(slippage_bps(&money("HKD", 84_300), &money("HKD", 84_500)), Some(0));
    }

    #[test]
    fn one_side_is_fixed_and_every_error_is_told() {
        let request = QuoteRequest {
            source_amount: Some(1),
            source_currency: Some("EUR".into()),
            destination_amount: Some(2),
            destination_currency: Some("eur".into()),
            lock_s: Some(0),
        };
        let errors = validate(&request, Asset::currency).unwrap_err();
        let codes: Vec<_> = errors
            .iter()
            .map(|error| (error.pointer.as_str(), error.code))
            .collect();
        assert_eq!(
            codes,
            [
                ("/destination/currency", "unknown_currency"),
                ("/destination/amount", "both_fixed"),
                ("/lock_seconds", "out_of_range")
            ]
        );
    }
}
