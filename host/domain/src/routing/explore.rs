//! What may be spent on learning: payments that go where more is to be learnt, in money, spread over the day. Integers, time comes
//! with each call.

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// So much of a day's sum may be spent before its time: an hour's.
const AHEAD_MS: u64 = 60 * 60 * 1_000;

/// What may be spent in one currency, in its minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExploreLimit {
    /// The largest payment that may go where more is to be learnt.
    pub payment_max: i128,
    /// The sum of such payments in one day, UTC.
    pub day_max: i128,
}

/// What was spent today.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Explored {
    day: u64,
    spent: i128,
}

impl Explored {
    /// Whether a payment of that amount may go where more is to be learnt.
    pub fn may(&self, limit: &ExploreLimit, minor: i128, now_ms: u64) -> bool {
        let spent = if self.day == now_ms / DAY_MS { self.spent } else { 0 };
        let until_now = (now_ms % DAY_MS).saturating_add(AHEAD_MS).min(DAY_MS);
        let allowed = limit.day_max.checked_mul(i128::from(until_now));
        let allowed = allowed.map_or(0, |it| it / i128::from(DAY_MS));
        minor <= limit.payment_max && spent.checked_add(minor).is_some_and(|sum| sum <= allowed)
    }

    /// Notes that one did.
    pub fn spend(&mut self, minor: i128, now_ms: u64) {
        let day = now_ms / DAY_MS;
        if self.day != day {
            *self = Self { day, spent: 0 };
        }
        self.spent = self.spent.saturating_add(minor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_spent_over_the_day() {
        let limit = ExploreLimit {
            payment_max: 100,
            day_max: 2_400,
        };
        let mut explored = Explored::default();
        let midnight = 20_000 * DAY_MS;
        assert!(!explored.may(&limit, 101, midnight));
        assert!(explored.may(&limit, 100, midnight));
        explored.spend(100, midnight);
        assert!(!explored.may(&limit, 1, midnight));
        assert!(explored.may(&limit, 100, midnight + AHEAD_MS));
        explored.spend(2_300, midnight + AHEAD_MS);
        assert!(!explored.may(&limit, 1, midnight + DAY_MS - 1));
        assert!(explored.may(&limit, 100, midnight + DAY_MS));
    }
}
