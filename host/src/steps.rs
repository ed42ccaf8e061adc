//! Named moments for crash tests: `PORTOLAN_STOP_AT=after_intent:3` kills the process, as the kernel would, the third
//! time it gets there. Only development builds listen to it.

use portolan_domain::ports::Steps;
use std::sync::atomic::{AtomicU64, Ordering};

/// Stops at the wanted moment, or never.
pub struct StopAt {
    wanted: Option<(String, u64)>,
    times: AtomicU64,
}

impl StopAt {
    /// From the environment.
    pub fn from_env() -> Self {
        let wanted = if cfg!(debug_assertions) {
            std::env::var("PORTOLAN_STOP_AT").ok()
        } else {
            None
        };
        let wanted = wanted.and_then(|text| {
            let (step, times) = text.split_once(':')?;
            Some((step.to_owned(), times.parse().ok()?))
        });
        Self {
            wanted,
            times: AtomicU64::new(0),
        }
    }
}

impl Steps for StopAt {
    fn reached(&self, step: &'static str) {
        let Some((wanted, at)) = &self.wanted else { return };
        if wanted == step && self.times.fetch_add(1, Ordering::SeqCst).saturating_add(1) == *at {
            let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            tracing::error!(?killed, step, "stopped for a test");
        }
    }
}
