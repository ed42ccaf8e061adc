//! A canary: which payments it gets, and whether it does worse than the version beside it. Sequential tests (Wald 1945)
//! over counts, so that they may be read after every payment; the limits are chosen so that a version which is no worse is
//! practically never taken back. Shares and likelihoods are no money: they are floats.

#![expect(clippy::float_arithmetic, reason = "shares and likelihoods; no amount comes near")]

use crate::ids::PaymentId;

/// The evidence that takes a canary back: a version that is no worse reaches it once in 500 whole runs, at most.
const EVIDENCE: f64 = 6.2;
/// Conclusions of a version before its rates are a measure: below this none takes over.
pub const BASELINE_MIN: u64 = 50;
/// Calls of each before their cost is compared.
const CALLS_MIN: u64 = 100;
/// A call may cost so many times as much as the active version's.
const COST_TIMES: u64 = 3;
/// Dearer calls below this are nobody's trouble, in microseconds.
const COST_US: u64 = 200;
/// A provider may be asked so many times as long.
const WAIT_TIMES: u64 = 3;
/// Slower conclusions below this are nobody's trouble, in milliseconds.
const WAIT_MS: u64 = 200;

/// What a version did since it has its share.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Calls of its functions.
    pub calls: u64,
    /// What they took inside, together.
    pub guest_us: u64,
    /// Attempts that came to an end.
    pub concluded: u64,
    /// Of these: declined.
    pub declined: u64,
    /// Of these: nobody knows.
    pub unknown: u64,
    /// Of these: without effect, through a fault of the adapter.
    pub faulted: u64,
    /// From the start of each to its end, together.
    pub took_ms: u64,
}

impl Tally {
    /// What was added since.
    pub fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(before.calls),
            guest_us: self.guest_us.saturating_sub(before.guest_us),
            concluded: self.concluded.saturating_sub(before.concluded),
            declined: self.declined.saturating_sub(before.declined),
            unknown: self.unknown.saturating_sub(before.unknown),
            faulted: self.faulted.saturating_sub(before.faulted),
            took_ms: self.took_ms.saturating_sub(before.took_ms),
        }
    }
}

/// What is to be done with a canary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Nothing is known against it yet.
    Wait,
    /// It goes back, for this reason.
    Worse(String),
    /// It takes over: so many payments went no worse.
    NoWorse(u64),
}

/// Whether a payment belongs to the share. The same payment always does or never.
pub fn takes_part(payment: PaymentId, percent: u8) -> bool {
    // FNV-1a: the id's last bytes are random, its first ones a clock.
    let hash = payment
        .0
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash >> 32)
        .checked_rem(100)
        .is_some_and(|place| place < u64::from(percent))
}

/// Compares a canary with the version beside it over the same time.
pub fn judge(active: &Tally, canary: &Tally, takes_over_after: Option<u64>) -> Finding {
    let rates = [
        ("declines", active.declined, canary.declined, 0.02, 0.10),
        ("unknown outcomes", active.unknown, canary.unknown, 0.005, 0.05),
        ("faults", active.faulted, canary.faulted, 0.005, 0.05),
    ];
    for (what, of_active, of_canary, least, more) in rates {
        let base = upper(of_active, active.concluded, least);
        if evidence(of_canary, canary.concluded, base, (base + more).min(0.99)) > EVIDENCE {
            return Finding::Worse(format!(
                "{what}: {of_canary} of {} payments, against {of_active} of {} in the active version",
                canary.concluded, active.concluded
            ));
        }
    }
    if let Some(worse) = dearer(active, canary) {
        return Finding::Worse(worse);
    }
    match takes_over_after {
        Some(enough) if canary.concluded >= enough.max(BASELINE_MIN) && active.concluded >= BASELINE_MIN => {
            Finding::NoWorse(canary.concluded)
        }
        Some(_) | None => Finding::Wait,
    }
}

fn dearer(active: &Tally, canary: &Tally) -> Option<String> {
    let mean = |sum: u64, of: u64| sum.checked_div(of).unwrap_or(0);
    let (a, c) = (mean(active.guest_us, active.calls), mean(canary.guest_us, canary.calls));
    let enough = active.calls >= CALLS_MIN && canary.calls >= CALLS_MIN;
    if enough && c > COST_US && c > a.saturating_mul(COST_TIMES) {
        return Some(format!("cost: {c} µs a call, against {a} µs in the active version"));
    }
    let (a, c) = (
        mean(active.took_ms, active.concluded),
        mean(canary.took_ms, canary.concluded),
    );
    let enough = active.concluded >= CALLS_MIN && canary.concluded >= CALLS_MIN;
    if enough && c > WAIT_MS && c > a.saturating_mul(WAIT_TIMES) {
        return Some(format!("time: {c} ms a payment, against {a} ms in the active version"));
    }
    None
}

#[expect(clippy::cast_precision_loss, reason = "counts of payments, far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// A rate that the active version is hardly above: one and a half deviations over what was seen (Agresti and Coull 1998), and `least` at least. With
/// too little seen it is no measure: one half.
fn upper(hits: u64, of: u64, least: f64) -> f64 {
    if of < BASELINE_MIN {
        return 0.5;
    }
    let of = float(of) + 4.0;
    let rate = (float(hits) + 2.0) / of;
    (rate + 1.5 * (rate * (1.0 - rate) / of).sqrt()).clamp(least, 0.9)
}

/// The logarithm of how much better `p1` explains what was seen than `p0`.
fn evidence(hits: u64, of: u64, p0: f64, p1: f64) -> f64 {
    let misses = of.saturating_sub(hits);
    float(hits) * (p1 / p0).ln() + float(misses) * ((1.0 - p1) / (1.0 - p0)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    /// A seeded generator (SplitMix64), so that a run can be repeated.
    struct Dice(u64);
    impl Dice {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
        fn hits(&mut self, permille: u64) -> bool {
            self.next() % 1_000 < permille
        }
    }

    fn pay(tally: &mut Tally, dice: &mut Dice, declines: u64, us: u64) {
        tally.concluded += 1;
        tally.calls += 2;
        tally.guest_us += 2 * us;
        tally.declined += u64::from(dice.hits(declines));
        tally.unknown += u64::from(dice.hits(2));
        tally.faulted += u64::from(dice.hits(1));
        tally.took_ms += 120;
    }

    /// How many of a canary's payments were through when it went back; `None`: it stayed.
    fn run(seed: u64, payments: u64, percent: u64, declines: (u64, u64), us: (u64, u64)) -> Option<u64> {
        let mut dice = Dice(seed);
        let (mut active, mut canary) = (Tally::default(), Tally::default());
        while active.concluded + canary.concluded < payments {
            if dice.next() % 100 < percent {
                pay(&mut canary, &mut dice, declines.1, us.1);
            } else {
                pay(&mut active, &mut dice, declines.0, us.0);
            }
            if let Finding::Worse(_) = judge(&active, &canary, None) {
                return Some(canary.concluded);
            }
        }
        None
    }

    #[test]
    fn a_bad_canary_goes_before_500_payments_have_seen_it() {
        // The more an account declines anyway, the longer ten of a hundred more take to show.
        for (declines, in_time) in [(50, 200), (100, 195), (200, 180)] {
            let seen: Vec<Option<u64>> = (0..200)
                .map(|seed| run(seed, 40_000, 5, (declines, declines + 100), (40, 40)))
                .collect();
            let before_500 = seen.iter().flatten().filter(|seen| **seen < 500).count();
            assert!(before_500 >= in_time, "{declines}: {before_500} of 200");
            assert!(
                seen.iter().all(|seen| seen.is_some_and(|seen| seen < 1_500)),
                "{declines}: {seen:?}"
            );
        }
        for seed in 0..30 {
            let seen = run(seed, 20_000, 5, (100, 100), (60, 300));
            assert!(seen.is_some_and(|seen| seen < 100), "dear, seed {seed}: {seen:?}");
        }
    }

    #[test]
    fn a_good_one_stays_in_100_runs_of_10_000() {
        for seed in 0..100 {
            for (percent, declines) in [(5, 50), (5, 100), (5, 300), (50, 100), (50, 500)] {
                let seen = run(seed, 10_000, percent, (declines, declines), (40, 44));
                assert_eq!(seen, None, "{percent} % at {declines}, seed {seed}");
            }
        }
    }

    #[test]
    fn the_share_is_kept_and_stays_with_the_payment() {
        let mut dice = Dice(1);
        let ids: Vec<PaymentId> = (0..20_000)
            .map(|_| {
                let tail = u128::from(dice.next()) << 64 | u128::from(dice.next());
                PaymentId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 | tail >> 66))
            })
            .collect();
        for percent in [1, 5, 50] {
            let part = ids.iter().filter(|id| takes_part(**id, percent)).count();
            let expected = 200 * usize::from(percent);
            assert!(part.abs_diff(expected) < 60 + expected / 10, "{percent}: {part}");
            assert!(ids.iter().all(|id| !takes_part(*id, percent) || takes_part(*id, 50)));
        }
    }

    #[test]
    fn enough_good_payments_let_it_take_over() {
        let mut tally = Tally {
            concluded: 99,
            ..Tally::default()
        };
        assert_eq!(judge(&tally, &tally, Some(100)), Finding::Wait);
        tally.concluded = 100;
        assert_eq!(judge(&tally, &tally, Some(100)), Finding::NoWorse(100));
        let few = Tally {
            concluded: 10,
            declined: 10,
            ..Tally::default()
        };
        assert_eq!(judge(&few, &few, Some(0)), Finding::Wait, "too few say nothing");
        assert!(
            matches!(judge(&tally, &few, Some(0)), Finding::Worse(_)),
            "all declined"
        );
    }
}
