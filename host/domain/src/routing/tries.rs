//! How often a card may be tried again: counted per merchant and card over all channels, so that no adapter, rule or second
//! payment can exceed what a card network allows. The store keeps the declines; the guard is part of the commit that writes an
//! attempt's intent. Attempts that were under way before the first decline are no repetitions; after it, what is under way counts.

use crate::ids::{AttemptId, MerchantId, Mode};
use crate::money::Money;
use crate::operation::{Instrument, Retry};
use crate::payment::Payment;
use crate::payment::fact::{Event, Fact};
use serde::{Deserialize, Serialize};

/// Suites of tests run again and again with the same numbers: in test mode nothing is held against a card for longer.
const TEST_WINDOW_MS: u64 = 60_000;

/// One limit of a card network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetryLimit {
    /// Whose.
    pub network: String,
    /// So many declined attempts …
    pub most: u32,
    /// … in this time.
    pub within_ms: u64,
    /// Whether only attempts for the same amount count.
    pub is_same_amount: bool,
    /// From when it holds.
    pub from_ms: u64,
}

/// A card, as a merchant's declines are counted: never its number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CardKey(pub String);

impl CardKey {
    /// The card of a merchant by its fingerprint.
    pub fn new(mode: Mode, merchant: &MerchantId, fingerprint: &str) -> Self {
        Self(format!("{}:{merchant}:{fingerprint}", mode.as_str()))
    }

    /// The card that a payment is paid with.
    pub fn of(payment: &Payment) -> Option<Self> {
        match &payment.instrument {
            Some(Instrument::Card(_, card)) if !card.fingerprint.is_empty() => {
                Some(Self::new(payment.mode, &payment.merchant, &card.fingerprint))
            }
            _ => None,
        }
    }
}

/// How far a counted attempt is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TryState {
    /// It may still be declined.
    Open,
    /// It was declined.
    Declined,
    /// It was declined for good: the card is not tried again.
    Never,
}

/// An attempt with a card that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Try {
    /// Which.
    pub attempt: AttemptId,
    /// When it began.
    pub at_ms: u64,
    /// For how much, `1050 EUR`.
    pub amount: String,
    /// How far it is.
    pub state: TryState,
}

/// The guard of an intent: the card, and what may not be exceeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TryGuard {
    /// The card.
    pub card: CardKey,
    /// The attempt that begins.
    pub attempt: AttemptId,
    /// For how much.
    pub amount: Money,
    /// When.
    pub now_ms: u64,
    /// The limits of its network.
    pub limits: Vec<RetryLimit>,
    /// How long a card that is never to be tried again is refused.
    pub blocked_ms: u64,
    /// Other attempts with it that are under way in this process, counted by the store or not.
    pub under_way: usize,
}

/// Why a card is not tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TryRefusal {
    /// Its issuer said never.
    #[error("this card was declined for good: it may not be tried again on any channel")]
    Blocked,
    /// The network's limit.
    #[error(
        "this card has {most} attempts in {minutes} minutes that were declined, or are under way since: its network allows no more yet"
    )]
    TooOften {
        /// So many.
        most: u32,
        /// In so many minutes.
        minutes: u64,
    },
}

impl TryRefusal {
    /// The payment's error code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Blocked => "card_blocked",
            Self::TooOften { .. } => "too_many_attempts",
        }
    }

    /// What it allows next.
    pub fn advice(self) -> Retry {
        match self {
            Self::Blocked => Retry::Never,
            Self::TooOften { .. } => Retry::Later,
        }
    }
}

impl TryGuard {
    /// A guard for that attempt; in test mode with the short windows.
    pub fn new(
        (card, mode): (CardKey, Mode),
        (attempt, amount): (AttemptId, Money),
        now_ms: u64,
        (mut limits, mut blocked_ms, under_way): (Vec<RetryLimit>, u64, usize),
    ) -> Self {
        if mode == Mode::Test {
            blocked_ms = blocked_ms.min(TEST_WINDOW_MS);
            limits
                .iter_mut()
                .for_each(|limit| limit.within_ms = limit.within_ms.min(TEST_WINDOW_MS));
        }
        Self {
            card,
            attempt,
            amount,
            now_ms,
            limits,
            blocked_ms,
            under_way,
        }
    }

    /// Since when attempts count.
    pub fn since_ms(&self) -> u64 {
        let longest = self.limits.iter().map(|limit| limit.within_ms).max().unwrap_or(0);
        self.now_ms.saturating_sub(longest.max(self.blocked_ms))
    }

    /// Whether the attempt may begin, after these. A card that was not declined is tried as often as its holder likes; one
    /// that was counts what is still open too, so that attempts side by side cannot exceed a limit together.
    pub fn check(&self, tries: &[Try]) -> Result<(), TryRefusal> {
        let age = |it: &Try| self.now_ms.saturating_sub(it.at_ms);
        let others = || tries.iter().filter(|it| it.attempt != self.attempt);
        if others().any(|it| it.state == TryState::Never && age(it) < self.blocked_ms) {
            return Err(TryRefusal::Blocked);
        }
        let amount = self.amount.to_string();
        for limit in &self.limits {
            let counted = |it: &&Try| age(it) < limit.within_ms && (!limit.is_same_amount || it.amount == amount);
            let closed = others().filter(counted).filter(|it| it.state != TryState::Open).count();
            let open = others().filter(counted).count().saturating_sub(closed);
            let was_declined = closed > 0;
            let count = closed.saturating_add(open.max(self.under_way));
            if was_declined && count >= usize::try_from(limit.most).unwrap_or(usize::MAX) {
                return Err(TryRefusal::TooOften {
                    most: limit.most,
                    minutes: limit.within_ms / 60_000,
                });
            }
        }
        Ok(())
    }

    /// What the store keeps of the attempt while it is open.
    pub fn opened(&self) -> Try {
        Try {
            attempt: self.attempt,
            at_ms: self.now_ms,
            amount: self.amount.to_string(),
            state: TryState::Open,
        }
    }
}

/// What a commit's facts change in the count of a card: an attempt that was declined, or one that does not count any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TryChange {
    /// It counts.
    Declined(CardKey, Try),
    /// It does not.
    Gone(AttemptId),
}

/// What the facts of one commit say of the payment's card.
pub fn changes(payment: &Payment, events: &[Event]) -> Vec<TryChange> {
    let Some(card) = CardKey::of(payment) else {
        return vec![];
    };
    let change = |event: &Event| match &event.fact {
        Fact::AttemptDeclined {
            attempt, blocks_card, ..
        } => {
            let begun = payment.attempt(*attempt).map(|it| it.started_ms);
            let state = match blocks_card {
                true => TryState::Never,
                false => TryState::Declined,
            };
            let tried = Try {
                attempt: *attempt,
                at_ms: begun.unwrap_or(event.at_ms),
                amount: payment.amount.to_string(),
                state,
            };
            Some(TryChange::Declined(card.clone(), tried))
        }
        Fact::Authorized { attempt, .. }
        | Fact::Captured { attempt, .. }
        | Fact::AttemptNoEffect { attempt, .. }
        | Fact::AttemptReleased { attempt, .. } => Some(TryChange::Gone(*attempt)),
        _ => None,
    };
    events.iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use crate::money::Asset;
    use uuid::Uuid;

    fn tried(n: u128, at_ms: u64, minor: i128, state: TryState) -> Try {
        Try {
            attempt: AttemptId(Uuid::from_u128(n)),
            at_ms,
            amount: eur(minor).to_string(),
            state,
        }
    }

    fn eur(minor: i128) -> Money {
        Money::new(minor, Asset::currency("EUR").unwrap()).unwrap()
    }

    fn guard(mode: Mode, now_ms: u64) -> TryGuard {
        let limit = |most, within_ms, is_same_amount| RetryLimit {
            network: "visa".into(),
            most,
            within_ms,
            is_same_amount,
            from_ms: 0,
        };
        let hour = 3_600_000;
        TryGuard::new(
            (CardKey::new(mode, &Name::parse("shop").unwrap(), "f"), mode),
            (AttemptId(Uuid::from_u128(99)), eur(100)),
            now_ms,
            (
                vec![limit(3, 24 * hour, false), limit(2, 48 * hour, true)],
                1_000 * hour,
                0,
            ),
        )
    }

    #[test]
    fn limits_bind_from_the_number_that_they_name() {
        use TryState::{Declined, Open};
        let now = 1_000_000_000;
        let guard = guard(Mode::Live, now);
        let declined = |n: u128, age_h: u64, minor| tried(n, now - age_h * 3_600_000, minor, Declined);
        let two = [declined(1, 1, 500), declined(2, 2, 600)];
        assert_eq!(guard.check(&two), Ok(()));
        let three = [two.as_slice(), &[declined(3, 3, 700)]].concat();
        assert_eq!(
            guard.check(&three),
            Err(TryRefusal::TooOften {
                most: 3,
                minutes: 1_440
            })
        );
        // What is open counts beside what was declined, and only then.
        let with_open = [two.as_slice(), &[tried(3, now, 700, Open)]].concat();
        assert!(guard.check(&with_open).is_err());
        let only_open: Vec<Try> = (1..9).map(|n| tried(n, now, 100, Open)).collect();
        assert_eq!(guard.check(&only_open), Ok(()));
        // So does what this process has under way, from before the decline too.
        let busy = TryGuard {
            under_way: 2,
            ..guard.clone()
        };
        assert_eq!(busy.check(&[]), Ok(()));
        assert!(busy.check(&two[..1]).is_err());
        // Old ones do not count; those of the same amount do for longer.
        let old = [declined(1, 30, 500), declined(2, 30, 600), declined(3, 30, 700)];
        assert_eq!(guard.check(&old), Ok(()));
        let same = [declined(1, 30, 100), declined(2, 30, 100)];
        assert_eq!(
            guard.check(&same),
            Err(TryRefusal::TooOften {
                most: 2,
                minutes: 2_880
            })
        );
        // The attempt itself, told of again, does not stand in its own way.
        let itself = [two.as_slice(), &[tried(99, now, 100, Declined)]].concat();
        assert_eq!(guard.check(&itself), Ok(()));
    }

    #[test]
    fn never_is_never_and_in_test_mode_a_minute() {
        let now = 1_000_000_000;
        let never = [tried(1, now - 61_000, 100, TryState::Never)];
        assert_eq!(guard(Mode::Live, now).check(&never), Err(TryRefusal::Blocked));
        assert_eq!(guard(Mode::Test, now).check(&never), Ok(()));
        let just_now = [tried(1, now - 59_000, 100, TryState::Never)];
        assert_eq!(guard(Mode::Test, now).check(&just_now), Err(TryRefusal::Blocked));
    }
}
