//! Named moments for crash tests: `PORTOLAN_STOP_AT=after_intent:3` kills the process, as the kernel would, the third
//! time it gets there; `PORTOLAN_SLEEP_AT` stops it there until somebody lets it go on. Only development builds listen to it.

use portolan_domain::ports::Steps;
use rustix::process::Signal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a signal may take.
const TAKES_EFFECT: Duration = Duration::from_millis(500);

/// Stops at the wanted moment, or never.
pub struct StopAt {
    wanted: Option<(String, u64)>,
    signal: Signal,
    times: AtomicU64,
}

impl StopAt {
    /// From the environment.
    pub fn from_env() -> Self {
        let ways = [("PORTOLAN_STOP_AT", Signal::KILL), ("PORTOLAN_SLEEP_AT", Signal::STOP)];
        let asked = ways
            .iter()
            .find_map(|(name, signal)| Some((std::env::var(name).ok()?, *signal)));
        let (text, signal) = asked.filter(|_| cfg!(debug_assertions)).unzip();
        let wanted = text.and_then(|text: String| {
            let (step, times) = text.split_once(':')?;
            Some((step.to_owned(), times.parse().ok()?))
        });
        Self {
            wanted,
            signal: signal.unwrap_or(Signal::KILL),
            times: AtomicU64::new(0),
        }
    }
}

impl Steps for StopAt {
    fn reached(&self, step: &'static str) {
        let Some((wanted, at)) = &self.wanted else { return };
        if wanted == step && self.times.fetch_add(1, Ordering::SeqCst).saturating_add(1) == *at {
            let killed = rustix::process::kill_process(rustix::process::getpid(), self.signal);
            // Another thread may be the one that takes the signal; this one goes nowhere meanwhile.
            std::thread::park_timeout(TAKES_EFFECT);
            tracing::error!(?killed, step, "stopped for a test");
        }
    }
}
