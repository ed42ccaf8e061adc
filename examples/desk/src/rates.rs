//! Mid rates, fixed and made up: a few pairs by market convention, the others by way of the dollar. They move only when a
//! test moves them.

use rust_decimal::Decimal;

/// Units of US dollars for one unit, in millionths; and how many decimals the currency has.
const DOLLARS: [(&str, i64, u32); 8] = [
    ("USD", 1_000_000, 2),
    ("EUR", 1_082_300, 2),
    ("GBP", 1_268_400, 2),
    ("HKD", 128_310, 2),
    ("CNY", 140_440, 2),
    ("JPY", 6_690, 0),
    ("SGD", 744_210, 2),
    ("BHD", 2_652_500, 3),
];
/// Market convention: a pair is written with the earlier of the two first.
const CONVENTION: [&str; 8] = ["EUR", "GBP", "BHD", "USD", "SGD", "HKD", "CNY", "JPY"];

/// How many decimals a currency has; `None` if the desk does not trade it.
pub fn decimals(code: &str) -> Option<u32> {
    DOLLARS
        .iter()
        .find(|(known, ..)| *known == code)
        .map(|(.., decimals)| *decimals)
}

fn dollars(code: &str) -> Option<Decimal> {
    let found = DOLLARS.iter().find(|(known, ..)| *known == code)?;
    Some(Decimal::new(found.1, 6))
}

/// The pair as the market writes it, and the mid rate in that direction, moved by so many basis points.
pub fn mid(sell: &str, buy: &str, moved_bps: i64) -> Option<(String, Decimal)> {
    let place = |code: &str| CONVENTION.iter().position(|known| *known == code);
    let (base, term) = if place(sell)? < place(buy)? {
        (sell, buy)
    } else {
        (buy, sell)
    };
    let rate = dollars(base)?.checked_div(dollars(term)?)?;
    let factor = Decimal::new(10_000 + moved_bps, 4);
    Some((format!("{base}{term}"), rate.checked_mul(factor)?.round_dp(6)))
}

/// The rate for a client that sells `sell`: worse than mid by so many basis points.
pub fn client(pair: &str, sell: &str, mid: Decimal, spread_bps: u32) -> Option<Decimal> {
    let spread = Decimal::new(i64::from(spread_bps), 4);
    let factor = if pair.starts_with(sell) {
        Decimal::ONE - spread
    } else {
        Decimal::ONE + spread
    };
    Some(mid.checked_mul(factor)?.round_dp(6))
}

/// What an amount of the sold currency buys, or the other way round, at a rate of the pair.
pub fn other_side(pair: &str, rate: Decimal, (code, amount): (&str, Decimal), other: &str) -> Option<Decimal> {
    let exact = if pair.starts_with(code) {
        amount.checked_mul(rate)?
    } else {
        amount.checked_div(rate)?
    };
    Some(exact.round_dp(decimals(other)?))
}
