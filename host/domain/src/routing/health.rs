//! Whether a channel is well: a circuit breaker over what its operations met, apart from what issuers said. Integers only, time
//! comes with each call, so that a history gives the same breaker on every machine.

use serde::{Deserialize, Serialize};

/// One whole, in millionths.
const ALL_PPM: u32 = 1_000_000;
/// Each signal counts an eighth: six failures in a row, beginning well, make more than half.
const WEIGHT: u32 = 8;
/// The breaker opens when more than this is failing …
const OPEN_PPM: u32 = 500_000;
/// … of at least so many signals since it closed.
const SIGNALS_MIN: u32 = 5;
/// How long it stays open at first; doubled each time a probe fails.
const OPEN_FIRST_MS: u64 = 5_000;
/// The longest that it stays open without a probe.
const OPEN_MAX_MS: u64 = 300_000;
/// Probes that must go well before it closes.
const PROBES: u32 = 2;
/// Who probes and never tells of it is waited for so long.
const PROBE_WITHIN_MS: u64 = 30_000;

/// What an operation met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// The provider gave an answer that means something: an approval, or a decline.
    Well,
    /// It was not reached, refused everybody, or answered nonsense; nobody knows what it did.
    Failing,
}

/// Where the breaker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Breaker {
    Closed {
        signals: u32,
    },
    Open {
        until_ms: u64,
        times: u32,
    },
    Probing {
        since_ms: Option<u64>,
        well: u32,
        times: u32,
    },
}

/// What routing does with the channel now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It takes payments.
    Well,
    /// It takes none before that time.
    Sick {
        /// When it is probed.
        until_ms: u64,
    },
    /// Single payments find out whether it is well again.
    Probe,
    /// One is finding out at this moment.
    BeingProbed,
}

/// A channel's health.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Health {
    failing_ppm: u32,
    latency_ms: u64,
    breaker: Breaker,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            failing_ppm: 0,
            latency_ms: 0,
            breaker: Breaker::Closed { signals: 0 },
        }
    }
}

impl Health {
    /// How much of what it met lately failed, in millionths; recent signals count more.
    pub fn failing_ppm(&self) -> u32 {
        self.failing_ppm
    }

    /// How long its operations took lately, in milliseconds.
    pub fn latency_ms(&self) -> u64 {
        self.latency_ms
    }

    /// What routing does with it at that time.
    pub fn standing(&self, now_ms: u64) -> Standing {
        match self.breaker {
            Breaker::Closed { .. } => Standing::Well,
            Breaker::Open { until_ms, .. } if now_ms < until_ms => Standing::Sick { until_ms },
            Breaker::Open { .. } => Standing::Probe,
            Breaker::Probing {
                since_ms: Some(since), ..
            } if now_ms.saturating_sub(since) < PROBE_WITHIN_MS => Standing::BeingProbed,
            Breaker::Probing { .. } => Standing::Probe,
        }
    }

    /// A payment goes there to find out; `false`: another is on its way already, or there is nothing to find out.
    pub fn take_probe(&mut self, now_ms: u64) -> bool {
        if self.standing(now_ms) != Standing::Probe {
            return false;
        }
        let (well, times) = match self.breaker {
            Breaker::Probing { well, times, .. } => (well, times),
            Breaker::Open { times, .. } => (0, times),
            Breaker::Closed { .. } => return false,
        };
        self.breaker = Breaker::Probing {
            since_ms: Some(now_ms),
            well,
            times,
        };
        true
    }

    /// Takes in what an operation met, and how long it took.
    pub fn note(&mut self, signal: Signal, took_ms: u64, now_ms: u64) {
        let met = match signal {
            Signal::Well => 0,
            Signal::Failing => ALL_PPM,
        };
        self.failing_ppm = self.failing_ppm - self.failing_ppm / WEIGHT + met / WEIGHT;
        let share = u64::from(WEIGHT);
        self.latency_ms = match self.latency_ms {
            0 => took_ms,
            known => (known.saturating_mul(share - 1)).saturating_add(took_ms) / share,
        };
        self.breaker = self.after(signal, now_ms);
        if self.breaker == (Breaker::Closed { signals: 0 }) {
            self.failing_ppm = 0;
        }
    }

    fn after(&self, signal: Signal, now_ms: u64) -> Breaker {
        let open = |times: u32| {
            let factor = 1_u64.checked_shl(times.min(20)).unwrap_or(u64::MAX);
            Breaker::Open {
                until_ms: now_ms.saturating_add(OPEN_FIRST_MS.saturating_mul(factor).min(OPEN_MAX_MS)),
                times: times.saturating_add(1),
            }
        };
        match (self.breaker, signal) {
            (Breaker::Closed { signals }, Signal::Failing)
                if self.failing_ppm > OPEN_PPM && signals.saturating_add(1) >= SIGNALS_MIN =>
            {
                open(0)
            }
            (Breaker::Closed { signals }, _) => Breaker::Closed {
                signals: signals.saturating_add(1),
            },
            // What began before it opened says nothing of how it is now.
            (Breaker::Open { .. }, _) => self.breaker,
            (Breaker::Probing { since_ms: None, .. }, _) => self.breaker,
            (Breaker::Probing { times, .. }, Signal::Failing) => open(times),
            (Breaker::Probing { well, .. }, Signal::Well) if well.saturating_add(1) >= PROBES => {
                Breaker::Closed { signals: 0 }
            }
            (Breaker::Probing { well, times, .. }, Signal::Well) => Breaker::Probing {
                since_ms: None,
                well: well.saturating_add(1),
                times,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(health: &mut Health, times: usize, now_ms: u64) {
        (0..times).for_each(|_| health.note(Signal::Failing, 100, now_ms));
    }

    #[test]
    fn it_opens_is_probed_and_closes() {
        let mut health = Health::default();
        failing(&mut health, 5, 0);
        assert_eq!(health.standing(0), Standing::Well);
        failing(&mut health, 1, 0);
        assert_eq!(health.standing(0), Standing::Sick { until_ms: 5_000 });
        // A late answer to what began before changes nothing.
        health.note(Signal::Well, 10, 100);
        assert_eq!(health.standing(100), Standing::Sick { until_ms: 5_000 });
        assert!(!health.take_probe(4_999));
        assert!(health.take_probe(5_000));
        assert_eq!(health.standing(5_001), Standing::BeingProbed);
        assert!(!health.take_probe(5_001));
        health.note(Signal::Failing, 10, 5_100);
        assert_eq!(health.standing(5_100), Standing::Sick { until_ms: 15_100 });
        for now in [15_100, 15_200] {
            assert!(health.take_probe(now));
            health.note(Signal::Well, 10, now);
        }
        assert_eq!(health.standing(15_200), Standing::Well);
        assert_eq!(health.failing_ppm(), 0);
    }

    #[test]
    fn a_lost_probe_is_waited_for_and_no_longer() {
        let mut health = Health::default();
        failing(&mut health, 6, 0);
        assert!(health.take_probe(5_000));
        assert_eq!(health.standing(34_999), Standing::BeingProbed);
        assert!(health.take_probe(35_000));
    }

    #[test]
    fn some_failures_among_many_answers_open_nothing() {
        let mut health = Health::default();
        for n in 0..1_000_u64 {
            let signal = if n % 3 == 0 { Signal::Failing } else { Signal::Well };
            health.note(signal, 50, n);
            assert_eq!(health.standing(n), Standing::Well);
        }
        assert!((200_000..500_000).contains(&health.failing_ppm()));
        assert_eq!(health.latency_ms(), 50);
    }
}
