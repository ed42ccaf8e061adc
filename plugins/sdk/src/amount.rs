//! Exact amounts and times between the contract's form and a provider's: major units as decimal text, JSON numbers as they
//! are written, timestamps of ISO 8601. Nothing here is ever a float.

use crate::types::{Fault, Money};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A JSON number (or a text of one) as the provider wrote it, digit by digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exact(pub String);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        Ok(Self(raw.get().trim_matches('"').to_owned()))
    }
}

impl Exact {
    /// The amount in the asset's minor units. More decimals than it has are refused, unless they are zeros.
    pub fn money(&self, asset: &str, exponent: u8) -> Result<Money, Fault> {
        from_major(&self.0, asset, exponent)
    }
}

/// An amount in major units, with as many decimals as the asset has: `100.00`.
pub fn major(money: &Money) -> String {
    let places = usize::from(money.exponent);
    let digits = format!("{:0>width$}", money.units, width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    if places == 0 {
        whole.to_owned()
    } else {
        format!("{whole}.{part}")
    }
}

/// An amount from a provider's major units.
pub fn from_major(text: &str, asset: &str, exponent: u8) -> Result<Money, Fault> {
    let bad = || Fault::Protocol(format!("{text:?} is no amount of {asset}"));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 30 || !is_digits(whole) || !is_digits(part) {
        return Err(bad());
    }
    let places = usize::from(exponent);
    let (kept, rest) = part.split_at_checked(places).unwrap_or((part, ""));
    if rest.bytes().any(|byte| byte != b'0') {
        return Err(bad());
    }
    let digits = format!("{whole}{kept:0<places$}");
    let units = digits.trim_start_matches('0');
    Ok(Money {
        units: if units.is_empty() { "0" } else { units }.to_owned(),
        exponent,
        asset: asset.to_owned(),
    })
}

/// How many decimals a currency has, for the few that have not two (ISO 4217); `None` if it is no currency's code.
pub fn currency_exponent(code: &str) -> Option<u8> {
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Some(match code {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    })
}

/// Milliseconds since 1970-01-01 UTC of an ISO 8601 time: `2026-05-04T02:49:05+0000`, `…Z`, `….123+08:00`.
pub fn epoch_ms(text: &str) -> Result<u64, Fault> {
    parse_time(text).ok_or_else(|| Fault::Protocol(format!("{text:?} is no time of ISO 8601")))
}

fn parse_time(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once('T')?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.splitn(3, ':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
    let month = time::Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date = time::Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    let at = date
        .with_hms(hour.parse().ok()?, minute.parse().ok()?, second.parse().ok()?)
        .ok()?;
    let seconds = at.assume_utc().unix_timestamp().checked_sub(offset_s(zone)?)?;
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    u64::try_from(seconds.checked_mul(1_000)?.checked_add(millis)?).ok()
}

fn offset_s(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone == "Z" {
        return Some(0);
    }
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = digits.split_at_checked(2)?;
    let minutes: i64 = if minutes.is_empty() { 0 } else { minutes.parse().ok()? };
    let seconds = hours.parse::<i64>().ok()? * 3_600 + minutes * 60;
    Some(if zone.starts_with('-') { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(units: &str, exponent: u8) -> Money {
        Money {
            units: units.into(),
            exponent,
            asset: "X".into(),
        }
    }

    #[test]
    fn amounts_go_there_and_back() {
        for (units, exponent, text) in [
            ("10000", 2, "100.00"),
            ("5", 2, "0.05"),
            ("7", 0, "7"),
            ("1", 3, "0.001"),
        ] {
            assert_eq!(major(&money(units, exponent)), text);
            assert_eq!(from_major(text, "X", exponent), Ok(money(units, exponent)));
        }
        assert_eq!(from_major("14000", "X", 2), Ok(money("1400000", 2)));
        assert_eq!(from_major("3.8800", "X", 2), Ok(money("388", 2)));
        for bad in ["", "1e3", "-1", "1.005", ".5", "1,5"] {
            assert!(from_major(bad, "X", 2).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_stay_as_written() {
        let read: Vec<Exact> = serde_json::from_str(r#"[12345678901234567890.123456789, "1.10", 5]"#).unwrap();
        assert_eq!(
            read.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(),
            ["12345678901234567890.123456789", "1.10", "5"]
        );
    }

    #[test]
    fn times_of_every_spelling() {
        for text in [
            "1970-01-02T00:00:01+0000",
            "1970-01-02T00:00:01Z",
            "1970-01-02T08:00:01.000+08:00",
        ] {
            assert_eq!(epoch_ms(text), Ok(86_401_000), "{text}");
        }
        assert_eq!(epoch_ms("2026-05-12T00:00:00+00:00"), Ok(1_778_544_000_000));
        assert!(epoch_ms("2026-13-12T00:00:00Z").is_err());
    }
}
