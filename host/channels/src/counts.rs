//! What each adapter version costs and does: counted where it happens, read by operators and by the canary's judge.

use portolan_domain::lifecycle::canary::Tally;
use portolan_domain::operation::{Fault, FaultKind, Kind, Operation, Outcome, Verdict};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one version since it was loaded.
#[derive(Default)]
pub(crate) struct Counts {
    calls: AtomicU64,
    guest_us: AtomicU64,
    memory_peak: AtomicU64,
    requests: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    provider_us: AtomicU64,
    concluded: AtomicU64,
    declined: AtomicU64,
    unknown: AtomicU64,
    faulted: AtomicU64,
    took_ms: AtomicU64,
    faults: Mutex<Vec<(FaultKind, u64)>>,
}

/// The same at one moment.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Calls of the adapter's functions.
    pub calls: u64,
    /// What they took inside, together, in microseconds.
    pub guest_us: u64,
    /// The most linear memory that one call had, in bytes.
    pub memory_peak: u64,
    /// Requests to the provider.
    pub requests: u64,
    /// Bodies that went out, in bytes.
    pub bytes_out: u64,
    /// Bodies that came in.
    pub bytes_in: u64,
    /// How long the provider was waited for, together, in microseconds.
    pub provider_us: u64,
    /// What a canary is judged by.
    pub tally: Tally,
    /// Calls that failed, by kind.
    pub faults: Vec<(FaultKind, u64)>,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl Counts {
    pub fn called(&self, took_us: u64, memory: u64) {
        add(&self.calls, 1);
        add(&self.guest_us, took_us);
        self.memory_peak.fetch_max(memory, Ordering::Relaxed);
    }

    pub fn failed(&self, kind: FaultKind) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match faults.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => faults.push((kind, 1)),
        }
    }

    pub fn sent(&self, out: usize, back: usize, took: Duration) {
        add(&self.requests, 1);
        add(&self.bytes_out, bytes(out));
        add(&self.bytes_in, bytes(back));
        add(&self.provider_us, micros(took));
    }

    /// An attempt came to its verdict.
    pub fn concluded(&self, operation: &Operation, verdict: &Verdict, now_ms: u64) {
        if !matches!(operation.kind, Kind::Authorize | Kind::Pay) {
            return;
        }
        add(&self.concluded, 1);
        add(&self.took_ms, now_ms.saturating_sub(operation.started_ms));
        match verdict {
            Verdict::Proven(Outcome::Declined(_)) => add(&self.declined, 1),
            Verdict::Proven(_) => {}
            // Not sent is the network's fault, not the version's.
            Verdict::NoEffect(fault) if !fault.kind.is_adapters() => {}
            Verdict::NoEffect(_) => add(&self.faulted, 1),
            Verdict::Unknown(..) => add(&self.unknown, 1),
        }
    }

    /// A channel could not be used at all: its session did not open.
    pub fn unusable(&self, fault: &Fault) {
        if fault.kind.is_adapters() {
            add(&self.concluded, 1);
            add(&self.faulted, 1);
        }
    }

    pub fn usage(&self) -> Usage {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Usage {
            calls: get(&self.calls),
            guest_us: get(&self.guest_us),
            memory_peak: get(&self.memory_peak),
            requests: get(&self.requests),
            bytes_out: get(&self.bytes_out),
            bytes_in: get(&self.bytes_in),
            provider_us: get(&self.provider_us),
            tally: Tally {
                calls: get(&self.calls),
                guest_us: get(&self.guest_us),
                concluded: get(&self.concluded),
                declined: get(&self.declined),
                unknown: get(&self.unknown),
                faulted: get(&self.faulted),
                took_ms: get(&self.took_ms),
            },
            faults: self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
