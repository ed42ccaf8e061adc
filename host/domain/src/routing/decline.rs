//! What a decline allows next: the adapter's word, and beside it dated rows of what card networks say of their codes. The
//! stricter one counts, so a row that is out of date can only forbid too much, and no adapter can allow what a network forbids.

use super::tries::RetryLimit;
use crate::operation::{Decline, Retry};

/// What a network says of one of its codes, or of an advice that comes with one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeclineRow {
    /// The network; `None`: any.
    pub network: Option<String>,
    /// Its code, or its advice.
    pub code: String,
    /// What it allows.
    pub retry: Retry,
    /// How long to wait, where that is said.
    pub wait_ms: Option<u64>,
    /// From when it holds.
    pub from_ms: u64,
}

/// Every row, and the limits of repetition.
#[derive(Clone, Debug, Default)]
pub struct DeclineTable {
    /// By response code.
    pub codes: Vec<DeclineRow>,
    /// By merchant advice code.
    pub advices: Vec<DeclineRow>,
    /// How often a card may be tried again.
    pub limits: Vec<RetryLimit>,
}

/// What a decline allows, with everything that was known of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged {
    /// What it allows.
    pub retry: Retry,
    /// How long to wait, where that is said.
    pub wait_ms: Option<u64>,
    /// Whether the card itself is not to be tried again, by anybody: its network says so, or it is lost or stolen. An adapter's
    /// own "never" is about the payment.
    pub blocks_card: bool,
}

/// Reasons that are about the card, whoever says them.
const CARD_IS_GONE: [&str; 2] = ["lost-card", "stolen-card"];

/// How much a decline forbids: the larger binds.
fn strictness(retry: Retry) -> u8 {
    match retry {
        Retry::OtherChannel => 0,
        // At once, with the payer authenticated: it forbids less than waiting.
        Retry::AfterAuthentication => 1,
        Retry::Later => 2,
        Retry::AfterCorrection => 3,
        Retry::Never => 4,
    }
}

impl DeclineTable {
    /// What a decline of a card of that network allows at that time.
    pub fn judge(&self, network: Option<&str>, decline: &Decline, now_ms: u64) -> Judged {
        let code = decline.network_code.as_deref();
        let advice = decline.advice.as_deref();
        let by_code = code.and_then(|code| newest(&self.codes, network, code, now_ms));
        let by_advice = advice.and_then(|advice| newest(&self.advices, network, advice, now_ms));
        let said = [by_code, by_advice].into_iter().flatten();
        let mut judged = Judged {
            retry: decline.retry,
            wait_ms: None,
            blocks_card: decline.retry == Retry::Never && CARD_IS_GONE.contains(&decline.reason.as_str()),
        };
        for row in said {
            judged.blocks_card |= row.retry == Retry::Never;
            if strictness(row.retry) > strictness(judged.retry) {
                judged.retry = row.retry;
            }
            judged.wait_ms = judged.wait_ms.max(row.wait_ms);
        }
        judged
    }

    /// The limits for a network's cards. A network without limits of its own has the strictest of all.
    pub fn limits_for(&self, network: &str, now_ms: u64) -> Vec<RetryLimit> {
        let in_force = |limit: &&RetryLimit| limit.from_ms <= now_ms;
        let of = |name: &str| -> Vec<RetryLimit> {
            let own = self
                .limits
                .iter()
                .filter(in_force)
                .filter(|limit| is_of(&limit.network, Some(name)));
            own.cloned().collect()
        };
        match of(network) {
            own if own.is_empty() => self.limits.iter().filter(in_force).cloned().collect(),
            own => own,
        }
    }
}

/// Whether a card of that network falls under a row of another's name: Maestro is Mastercard's, and of a card whose network nobody
/// knows every row is true.
fn is_of(named: &str, network: Option<&str>) -> bool {
    match network {
        None | Some("unknown") => true,
        Some("maestro") => named == "mastercard",
        Some(network) => named == network,
    }
}

/// The row that is in force: of the network before of any, the newest first.
fn newest<'a>(rows: &'a [DeclineRow], network: Option<&str>, code: &str, now_ms: u64) -> Option<&'a DeclineRow> {
    let fits = |row: &&DeclineRow| {
        row.code == code && row.from_ms <= now_ms && row.network.as_deref().is_none_or(|named| is_of(named, network))
    };
    rows.iter()
        .filter(fits)
        .max_by_key(|row| (row.network.is_some(), row.from_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(network: Option<&str>, code: &str, retry: Retry, from_ms: u64) -> DeclineRow {
        DeclineRow {
            network: network.map(str::to_owned),
            code: code.into(),
            retry,
            wait_ms: None,
            from_ms,
        }
    }

    fn decline(retry: Retry, code: &str, advice: Option<&str>) -> Decline {
        Decline {
            retry,
            reason: "do-not-honor".into(),
            provider_code: String::new(),
            network_code: Some(code.into()),
            advice: advice.map(str::to_owned),
            message: String::new(),
            wait_ms: None,
            blocks_card: false,
        }
    }

    #[test]
    fn the_stricter_word_binds() {
        let table = DeclineTable {
            codes: vec![
                row(None, "05", Retry::OtherChannel, 0),
                row(None, "62", Retry::Never, 0),
                row(None, "62", Retry::Later, 1_000),
                row(Some("mastercard"), "65", Retry::AfterAuthentication, 0),
                row(None, "65", Retry::Later, 0),
            ],
            advices: vec![DeclineRow {
                wait_ms: Some(3_600_000),
                ..row(Some("mastercard"), "24", Retry::Later, 0)
            }],
            limits: vec![],
        };
        let retry = |network, decline: &Decline, now| table.judge(network, decline, now).retry;
        // An adapter's never stays, whatever the row says; a row's never binds an adapter that would go on.
        assert_eq!(retry(None, &decline(Retry::Never, "05", None), 5_000), Retry::Never);
        assert_eq!(
            retry(None, &decline(Retry::OtherChannel, "62", None), 500),
            Retry::Never
        );
        // Once the newer row is in force, it is the one that counts.
        assert_eq!(
            retry(None, &decline(Retry::OtherChannel, "62", None), 5_000),
            Retry::Later
        );
        let on_65 = decline(Retry::OtherChannel, "65", None);
        assert_eq!(retry(Some("mastercard"), &on_65, 5_000), Retry::AfterAuthentication);
        assert_eq!(retry(Some("visa"), &on_65, 5_000), Retry::Later);
        let advised = table.judge(
            Some("mastercard"),
            &decline(Retry::OtherChannel, "05", Some("24")),
            5_000,
        );
        assert_eq!((advised.retry, advised.wait_ms), (Retry::Later, Some(3_600_000)));
        // Who is told to wait does not try again with the payer authenticated: not of one code, nor of two sources.
        let advised = table.judge(
            Some("mastercard"),
            &decline(Retry::OtherChannel, "65", Some("24")),
            5_000,
        );
        assert_eq!((advised.retry, advised.wait_ms), (Retry::Later, Some(3_600_000)));
        let on_65 = decline(Retry::AfterAuthentication, "65", None);
        assert_eq!(retry(Some("visa"), &on_65, 5_000), Retry::Later);
        // Maestro is Mastercard's.
        let advised = table.judge(Some("maestro"), &decline(Retry::OtherChannel, "05", Some("24")), 5_000);
        assert_eq!(advised.retry, Retry::Later);
        // An adapter's never ends the payment; only the network's, or a card that is gone, blocks the card.
        let blocks = |decline: &Decline| table.judge(Some("visa"), decline, 500).blocks_card;
        assert!(!blocks(&decline(Retry::Never, "05", None)));
        assert!(blocks(&decline(Retry::OtherChannel, "62", None)));
        let stolen = Decline {
            reason: "stolen-card".into(),
            ..decline(Retry::Never, "05", None)
        };
        assert!(blocks(&stolen));
    }
}
