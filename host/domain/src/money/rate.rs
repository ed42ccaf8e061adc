//! Rates and what is made of amounts with them: conversions with one named rounding, splits whose parts always sum,
//! shares that add up whatever the order. Every result is exact in 256 bits and then rounded once.

use super::{Asset, Money, MoneyError};
use ethnum::U256;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the one rounding of a conversion goes. Amounts are never negative, so up is away from zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Rounding {
    /// To the nearest; a tie to the even neighbour.
    HalfEven,
    /// To the nearest; a tie up.
    HalfUp,
    /// Towards zero: never more than is there.
    Down,
    /// Away from zero: never less than is asked.
    Up,
}

impl Rounding {
    /// The word in a quote.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HalfEven => "half_even",
            Self::HalfUp => "half_up",
            Self::Down => "down",
            Self::Up => "up",
        }
    }
}

/// A price with its direction: one unit of `base` is `value` units of `counter`. Never zero, never a float.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rate {
    base: Asset,
    counter: Asset,
    value: Decimal,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1 {} = {} {}", self.base.code(), self.value, self.counter.code())
    }
}

impl Rate {
    /// One unit of `base` is `value` units of `counter`; `None` unless the value is above zero.
    pub fn new(base: Asset, counter: Asset, value: Decimal) -> Option<Self> {
        let value = value.normalize();
        (value.is_sign_positive() && !value.is_zero()).then_some(Self { base, counter, value })
    }

    /// What is sold.
    pub fn base(&self) -> &Asset {
        &self.base
    }

    /// What is bought.
    pub fn counter(&self) -> &Asset {
        &self.counter
    }

    /// Units of the bought asset for one of the sold.
    pub fn value(&self) -> Decimal {
        self.value
    }

    /// What an amount of `base` buys.
    pub fn convert(&self, sold: &Money, rounding: Rounding) -> Result<Money, MoneyError> {
        same(sold.asset(), &self.base)?;
        let (mantissa, scale) = self.parts()?;
        let from = u32::from(self.base.exponent()).saturating_add(scale);
        let to = u32::from(self.counter.exponent());
        let numerator = wide(sold.minor())?
            .checked_mul(mantissa)
            .and_then(|product| product.checked_mul(ten_to(to.saturating_sub(from))?));
        let minor = divide(
            numerator.ok_or(MoneyError::OutOfRange)?,
            ten_to(from.saturating_sub(to)).ok_or(MoneyError::OutOfRange)?,
            rounding,
        )?;
        Money::new(minor, self.counter.clone()).ok_or(MoneyError::OutOfRange)
    }

    /// What has to be sold for an amount of `counter`.
    pub fn cost_of(&self, bought: &Money, rounding: Rounding) -> Result<Money, MoneyError> {
        same(bought.asset(), &self.counter)?;
        let (mantissa, scale) = self.parts()?;
        let up = u32::from(self.base.exponent()).saturating_add(scale);
        let down = u32::from(self.counter.exponent());
        let numerator = ten_to(up.saturating_sub(down)).and_then(|scale| wide(bought.minor()).ok()?.checked_mul(scale));
        let denominator = ten_to(down.saturating_sub(up)).and_then(|scale| mantissa.checked_mul(scale));
        let minor = divide(
            numerator.ok_or(MoneyError::OutOfRange)?,
            denominator.ok_or(MoneyError::OutOfRange)?,
            rounding,
        )?;
        Money::new(minor, self.base.clone()).ok_or(MoneyError::OutOfRange)
    }

    /// How much worse than `mid` this rate is for whoever sells, in basis points of mid, rounded half to even. Negative
    /// where it is better. `None` where the rates are of two pairs or the figure does not fit.
    pub fn markup_bps(&self, mid: &Self) -> Option<Decimal> {
        if self.base != mid.base || self.counter != mid.counter {
            return None;
        }
        let missing = mid.value.checked_sub(self.value)?;
        let share = missing.checked_div(mid.value)?.checked_mul(Decimal::from(10_000))?;
        Some(share.round_dp(2).normalize())
    }

    fn parts(&self) -> Result<(U256, u32), MoneyError> {
        Ok((wide(self.value.mantissa())?, self.value.scale()))
    }
}

impl Money {
    /// Parts by weight that sum to the whole: the largest remainders get what rounding left over, earlier ones first.
    /// `None` without a weight above zero.
    pub fn split(&self, weights: &[u64]) -> Option<Vec<Self>> {
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let (total, whole) = (U256::from(total), wide(self.minor()).ok()?);
        if total == U256::ZERO {
            return None;
        }
        let mut parts = vec![];
        for weight in weights {
            let product = whole.checked_mul(U256::from(*weight))?;
            parts.push((product.checked_div(total)?, product.checked_rem(total)?));
        }
        let given = parts
            .iter()
            .try_fold(U256::ZERO, |sum, (part, _)| sum.checked_add(*part))?;
        let mut left = whole.checked_sub(given)?;
        let mut by_remainder: Vec<usize> = (0..parts.len()).collect();
        by_remainder.sort_by_key(|at| std::cmp::Reverse(parts.get(*at).map(|(_, remainder)| *remainder)));
        for at in by_remainder {
            if left == U256::ZERO {
                break;
            }
            let (part, _) = parts.get_mut(at)?;
            *part = part.checked_add(U256::ONE)?;
            left = left.checked_sub(U256::ONE)?;
        }
        let money = |(part, _): (U256, U256)| Self::new(narrow(part).ok()?, self.asset().clone());
        parts.into_iter().map(money).collect()
    }

    /// The share of this whole that belongs to `done` of `of`, rounded down; all of it once all is done. Given back in
    /// parts, the shares' differences sum to the whole: refunds at the original rate are made of these.
    pub fn share(&self, done: &Self, of: &Self) -> Result<Self, MoneyError> {
        same(done.asset(), of.asset())?;
        if of.is_zero() || !done.fits_in(of) {
            return Err(MoneyError::OutOfRange);
        }
        let product = wide(self.minor())?.checked_mul(wide(done.minor())?);
        let minor = divide(
            product.ok_or(MoneyError::OutOfRange)?,
            wide(of.minor())?,
            Rounding::Down,
        )?;
        Self::new(minor, self.asset().clone()).ok_or(MoneyError::OutOfRange)
    }

    /// The same amount in units of another exponent, as some providers count: exact, or none.
    pub fn units_at(&self, exponent: u8) -> Option<i128> {
        let own = self.asset().exponent();
        let factor = |places: u8| 10_i128.checked_pow(u32::from(places));
        match exponent.checked_sub(own) {
            Some(more) => self.minor().checked_mul(factor(more)?),
            None => {
                let step = factor(own.checked_sub(exponent)?)?;
                (self.minor().checked_rem(step)? == 0).then(|| self.minor().checked_div(step))?
            }
        }
    }

    /// An amount from a provider's units of another exponent: exact, or none.
    pub fn from_units_at(units: i128, exponent: u8, asset: Asset) -> Option<Self> {
        let factor = |places: u8| 10_i128.checked_pow(u32::from(places));
        let minor = match asset.exponent().checked_sub(exponent) {
            Some(missing) => units.checked_mul(factor(missing)?)?,
            None => {
                let step = factor(exponent.checked_sub(asset.exponent())?)?;
                (units.checked_rem(step)? == 0).then(|| units.checked_div(step))??
            }
        };
        Self::new(minor, asset)
    }
}

fn same(found: &Asset, wanted: &Asset) -> Result<(), MoneyError> {
    if found == wanted {
        Ok(())
    } else {
        Err(MoneyError::OtherAsset(
            found.code().to_owned(),
            wanted.code().to_owned(),
        ))
    }
}

fn wide(minor: i128) -> Result<U256, MoneyError> {
    u128::try_from(minor)
        .map(U256::from)
        .map_err(|_| MoneyError::OutOfRange)
}

fn narrow(minor: U256) -> Result<i128, MoneyError> {
    i128::try_from(minor).map_err(|_| MoneyError::OutOfRange)
}

fn ten_to(power: u32) -> Option<U256> {
    U256::new(10).checked_pow(power)
}

fn divide(numerator: U256, denominator: U256, rounding: Rounding) -> Result<i128, MoneyError> {
    let divided = numerator
        .checked_div(denominator)
        .zip(numerator.checked_rem(denominator));
    let (whole, rest) = divided.ok_or(MoneyError::OutOfRange)?;
    // Compares the rest with its complement instead of doubling it, which might not fit.
    let to_next = denominator.checked_sub(rest).ok_or(MoneyError::OutOfRange)?;
    let is_odd = whole.checked_rem(U256::new(2)) == Some(U256::ONE);
    let goes_up = match rounding {
        _ if rest == U256::ZERO => false,
        Rounding::Down => false,
        Rounding::Up => true,
        Rounding::HalfUp => rest >= to_next,
        Rounding::HalfEven => rest > to_next || rest == to_next && is_odd,
    };
    let rounded = if goes_up {
        whole.checked_add(U256::ONE)
    } else {
        Some(whole)
    };
    narrow(rounded.ok_or(MoneyError::OutOfRange)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(code: &str, minor: i128) -> Money {
        let asset = Asset::currency(code).or_else(|| Asset::token(code, 18)).unwrap();
        Money::new(minor, asset).unwrap()
    }

    fn rate(base: &str, counter: &str, value: &str) -> Rate {
        let asset = |code| money(code, 0).asset().clone();
        Rate::new(asset(base), asset(counter), value.parse().unwrap()).unwrap()
    }

    #[test]
    fn conversions_round_once_in_the_named_way() {
        let eur = rate("EUR", "JPY", "161.255");
        let at = |minor, rounding| eur.convert(&money("EUR", minor), rounding).unwrap().minor();
        assert_eq!(at(100, Rounding::HalfEven), 161);
        assert_eq!(at(100, Rounding::Up), 162);
        // 2.00 EUR are 322.51 JPY; 4.00 are 645.02.
        assert_eq!((at(200, Rounding::HalfUp), at(400, Rounding::HalfUp)), (323, 645));
        let half = rate("EUR", "JPY", "0.5");
        let tie = |minor| half.convert(&money("EUR", minor), Rounding::HalfEven).unwrap().minor();
        assert_eq!((tie(100), tie(300), tie(500)), (0, 2, 2));
        assert!(eur.convert(&money("USD", 1), Rounding::Down).is_err());
    }

    #[test]
    fn what_is_sold_covers_what_is_bought() {
        let rate = rate("EUR", "HKD", "8.43");
        let cost = rate.cost_of(&money("HKD", 84_301), Rounding::Up).unwrap();
        assert_eq!(cost.minor(), 10_001);
        assert!(rate.convert(&cost, Rounding::Down).unwrap().minor() >= 84_301);
    }

    #[test]
    fn tokens_of_18_decimals_fit() {
        let dai = rate("DAI:eip155:1", "EUR", "0.921234567890123456789");
        let million = money("DAI:eip155:1", 1_000_000 * 10_i128.pow(18));
        assert_eq!(dai.convert(&million, Rounding::Down).unwrap().minor(), 92_123_456);
        let most = money("DAI:eip155:1", i128::MAX);
        assert_eq!(most.units_at(6), None);
        assert!(dai.convert(&most, Rounding::Down).is_ok());
    }

    #[test]
    fn providers_count_otherwise_and_lose_nothing() {
        let isk = money("ISK", 1_500);
        assert_eq!(isk.units_at(2), Some(150_000));
        assert_eq!(Money::from_units_at(150_000, 2, isk.asset().clone()), Some(isk.clone()));
        assert_eq!(Money::from_units_at(150_050, 2, isk.asset().clone()), None);
        assert_eq!(money("KWD", 1_235).units_at(2), None);
        assert_eq!(money("KWD", 1_230).units_at(2), Some(123));
    }

    #[test]
    fn a_markup_is_what_the_seller_loses_against_mid() {
        let (all_in, mid) = (rate("EUR", "USD", "1.0715"), rate("EUR", "USD", "1.0823"));
        assert_eq!(all_in.markup_bps(&mid), Some("99.79".parse().unwrap()));
        assert_eq!(mid.markup_bps(&all_in), Some("-100.79".parse().unwrap()));
        assert_eq!(all_in.markup_bps(&rate("EUR", "HKD", "8.4")), None);
    }
}
