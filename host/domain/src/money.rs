//! Exact amounts: minor units of an asset, checked arithmetic only. Rates and conversions are in [`rate`].

pub mod rate;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest code of a token: symbol, and its network by CAIP-2.
const TOKEN_CODE_MAX: usize = 64;
/// The most decimals that a token has.
const EXPONENT_MAX: u8 = 18;

/// A currency (ISO 4217), or a token on a network, by its code, with the number of decimals of its minor unit.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
pub struct Asset {
    code: String,
    exponent: u8,
}

impl Asset {
    /// A currency of ISO 4217 that has a minor unit; `None` for anything else.
    pub fn currency(code: &str) -> Option<Self> {
        let known = iso_currency::Currency::from_code(code)?;
        let exponent = u8::try_from(known.exponent()?).ok()?;
        Some(Self {
            code: code.to_owned(),
            exponent,
        })
    }

    /// The currency of a country, by its two letters (ISO 3166-1); some have none.
    pub fn of_country(code: &str) -> Option<Self> {
        let country = iso_currency::Country::from_str(code).ok()?;
        let all = iso_currency::Currency::from_country(country);
        let own = all.into_iter().find(|it| it.flags().is_empty())?;
        Self::currency(own.code())
    }

    /// A token by symbol and network (CAIP-2), `USDC:eip155:1`; `None` if that is not its form, or with more than 18
    /// decimals.
    pub fn token(code: &str, exponent: u8) -> Option<Self> {
        let (symbol, network) = code.split_once(':')?;
        let (namespace, reference) = network.split_once(':')?;
        let is_symbol = !symbol.is_empty() && symbol.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let is_network = |part: &str| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !part.is_empty() && part.bytes().all(fits)
        };
        let is_token = is_symbol && is_network(namespace) && is_network(reference);
        (is_token && code.len() <= TOKEN_CODE_MAX && exponent <= EXPONENT_MAX).then(|| Self {
            code: code.to_owned(),
            exponent,
        })
    }

    /// The code, `EUR` or `USDC:eip155:1`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The decimals of the minor unit.
    pub fn exponent(&self) -> u8 {
        self.exponent
    }
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)
    }
}

/// Why two amounts do not combine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MoneyError {
    /// Amounts of two assets.
    #[error("amounts of {0} and {1} do not combine")]
    OtherAsset(String, String),
    /// The result is below zero or outside 128 bits.
    #[error("the amount is out of range")]
    OutOfRange,
}

/// An exact amount, never negative.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    minor: i128,
    asset: Asset,
}

impl Money {
    /// `minor` units of the asset; `None` below zero.
    pub fn new(minor: i128, asset: Asset) -> Option<Self> {
        (minor >= 0).then_some(Self { minor, asset })
    }

    /// None of that asset.
    pub fn zero(asset: Asset) -> Self {
        Self { minor: 0, asset }
    }

    /// Minor units.
    pub fn minor(&self) -> i128 {
        self.minor
    }

    /// The asset.
    pub fn asset(&self) -> &Asset {
        &self.asset
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.minor == 0
    }

    /// The sum; amounts of two assets have none.
    pub fn plus(&self, other: &Self) -> Result<Self, MoneyError> {
        self.same_asset(other)?;
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::OutOfRange)?;
        Ok(Self {
            minor,
            asset: self.asset.clone(),
        })
    }

    /// The difference; below zero is an error.
    pub fn minus(&self, other: &Self) -> Result<Self, MoneyError> {
        self.same_asset(other)?;
        let minor = self
            .minor
            .checked_sub(other.minor)
            .filter(|minor| *minor >= 0)
            .ok_or(MoneyError::OutOfRange)?;
        Ok(Self {
            minor,
            asset: self.asset.clone(),
        })
    }

    /// Whether it is the same asset and not more.
    pub fn fits_in(&self, limit: &Self) -> bool {
        self.asset == limit.asset && self.minor <= limit.minor
    }

    fn same_asset(&self, other: &Self) -> Result<(), MoneyError> {
        if self.asset == other.asset {
            Ok(())
        } else {
            Err(MoneyError::OtherAsset(
                self.asset.code.clone(),
                other.asset.code.clone(),
            ))
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::from(self.asset.exponent);
        let text = format!("{:0>width$}", self.minor, width = digits + 1);
        let (whole, part) = text
            .split_at_checked(text.len().saturating_sub(digits))
            .unwrap_or((&text, ""));
        let point = if digits == 0 { "" } else { "." };
        write!(f, "{whole}{point}{part} {}", self.asset.code)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_has_a_currency_or_none() {
        let all = (b'A'..=b'Z').flat_map(|a| (b'A'..=b'Z').map(move |b| [char::from(a), char::from(b)]));
        let codes: Vec<String> = all.map(String::from_iter).collect();
        let with = codes.iter().filter(|code| Asset::of_country(code).is_some()).count();
        assert!(with > 200, "{with}");
        assert_eq!(Asset::of_country("HK"), Asset::currency("HKD"));
        assert_eq!(Asset::of_country("AQ"), None);
    }

    #[test]
    fn exponents_follow_iso_4217() {
        let shown = |code, minor| Money::new(minor, Asset::currency(code).unwrap()).unwrap().to_string();
        assert_eq!(shown("EUR", 1099), "10.99 EUR");
        assert_eq!(shown("EUR", 5), "0.05 EUR");
        assert_eq!(shown("JPY", 1099), "1099 JPY");
        assert_eq!(shown("KWD", 1099), "1.099 KWD");
        assert_eq!(Asset::currency("XXX"), None);
        assert_eq!(Asset::currency("eur"), None);
    }

    #[test]
    fn arithmetic_is_checked() {
        let eur = |minor| Money::new(minor, Asset::currency("EUR").unwrap()).unwrap();
        let usd = Money::new(1, Asset::currency("USD").unwrap()).unwrap();
        assert_eq!(eur(5).plus(&eur(7)), Ok(eur(12)));
        assert_eq!(eur(5).minus(&eur(7)), Err(MoneyError::OutOfRange));
        assert_eq!(eur(i128::MAX).plus(&eur(1)), Err(MoneyError::OutOfRange));
        assert!(matches!(eur(5).plus(&usd), Err(MoneyError::OtherAsset(..))));
        assert!(!usd.fits_in(&eur(5)));
    }
}
