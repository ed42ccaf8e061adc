//! Where the calls of a version run: in this process, or behind the second wall, in worker processes of its own. It owns what
//! is the same for both: the keys that a call may use, its log and its counters.

use crate::abi::exported::adapter::Manifest;
use crate::abi::{Ask, Exports, Told, call};
use crate::counts::Counts;
use crate::guest::{Bounds, Level, Traces};
use crate::limits::{Limits, TICK_MS};
use crate::ring::{Granted, KeyGrant, Naming};
use crate::sandbox::Prepared;
use crate::table::Adapter;
use crate::worker::Workers;
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::operation::{Fault, FaultKind};
use portolan_domain::ports::Keys;
use std::sync::Arc;

/// Where an adapter's code runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wall {
    /// In worker processes with no files, network, keys or card data: for other people's code.
    #[default]
    Workers,
    /// In the router's own process, in its sandbox alone: for one's own.
    Sandbox,
}

impl Wall {
    /// `workers` or `sandbox`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Sandbox => "sandbox",
        }
    }
}

/// Where a loaded version runs.
pub(crate) enum Home {
    Here(Box<Prepared>),
    Apart(Workers),
}

/// What a call is about.
pub(crate) struct CallScope {
    pub vault: Arc<dyn Keys>,
    pub channel: ChannelId,
    pub operation: OperationId,
    pub limits: Limits,
    pub now_ms: u64,
    pub entropy: [u8; 32],
    pub naming: Naming,
    pub keys: Arc<[KeyGrant]>,
    /// Where the call is counted.
    pub counts: Arc<Counts>,
}

impl CallScope {
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            limits: self.limits,
            now_ms: self.now_ms,
            entropy: self.entropy,
            naming: self.naming,
        }
    }

    pub(crate) fn ring(&self) -> Granted {
        Granted {
            vault: self.vault.clone(),
            channel: self.channel.clone(),
            keys: self.keys.clone(),
            verified: false,
        }
    }

    /// Whether a call that was ended had less than half of its time on the processor. Of one that fell silent nothing is known.
    fn was_starved(&self, traces: &Traces) -> bool {
        let allowed_us = self.limits.ticks.saturating_mul(TICK_MS).saturating_mul(1_000);
        traces.took_us > 0 && traces.took_us < allowed_us / 2
    }

    /// Counts a call that is over.
    pub(crate) fn count(&self, traces: &Traces, failed: Option<&Fault>) {
        self.counts.called(traces.took_us, traces.memory);
        if let Some(fault) = failed {
            self.counts.failed(fault.kind);
        }
    }

    fn write_log(&self, traces: &Traces) {
        let (channel, operation) = (&self.channel, self.operation);
        for (level, text) in traces.lines.iter().take(self.limits.log_lines) {
            match level {
                Level::Debug => tracing::debug!(target: "guest", %channel, %operation, "{text}"),
                Level::Info => tracing::info!(target: "guest", %channel, %operation, "{text}"),
                Level::Warn => tracing::warn!(target: "guest", %channel, %operation, "{text}"),
            }
        }
    }
}

impl Home {
    pub(crate) fn exports(&self) -> Exports {
        match self {
            Self::Here(prepared) => prepared.indices.exports(),
            Self::Apart(workers) => workers.exports(),
        }
    }

    fn call_once(&self, scope: &CallScope, ask: &Ask) -> (Result<Told, Fault>, Traces) {
        match self {
            Self::Here(prepared) => call::call(prepared, scope.bounds(), Box::new(scope.ring()), ask),
            Self::Apart(workers) => workers.call(scope, ask),
        }
    }

    /// One call, wherever it runs. One that ran out of time and had little of the processor was starved by a busy machine: it
    /// is made again, for it has no effects.
    pub(crate) fn call(&self, scope: &CallScope, ask: Ask) -> (Result<Told, Fault>, Traces) {
        let (told, traces) = match self.call_once(scope, &ask) {
            (Err(fault), traces) if fault.kind == FaultKind::Timeout && scope.was_starved(&traces) => {
                tracing::info!(channel = %scope.channel, operation = %scope.operation, "a call had no processor: again");
                self.call_once(scope, &ask)
            }
            done => done,
        };
        let told = told.and_then(|told| match told.is_of(&ask) {
            true => Ok(told),
            false => Err(Fault {
                kind: FaultKind::Trap,
                text: "the answer is not one to this call".into(),
            }),
        });
        scope.write_log(&traces);
        if let Err(fault) = &told {
            tracing::info!(channel = %scope.channel, operation = %scope.operation, %fault, "a call of the adapter failed");
        }
        scope.count(&traces, told.as_ref().err());
        (told, traces)
    }

    /// Asks the adapter who it is.
    pub(crate) fn describe(&self, scope: &CallScope) -> Result<Manifest, Fault> {
        match self.call(scope, Ask::Describe).0? {
            Told::Manifest(manifest) => Ok(*manifest),
            _ => Err(Fault {
                kind: FaultKind::Trap,
                text: "it does not say who it is".into(),
            }),
        }
    }
}

impl Adapter {
    pub(crate) fn call(&self, scope: &CallScope, ask: Ask) -> (Result<Told, Fault>, Traces) {
        self.home.call(scope, ask)
    }
}
