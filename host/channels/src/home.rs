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
    pub(crate) fn was_starved(&self, traces: &Traces) -> bool {
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
            Told::Manifest(manifest) => named(*manifest),
            _ => Err(Fault {
                kind: FaultKind::Trap,
                text: "it does not say who it is".into(),
            }),
        }
    }
}

/// The longest name.
const NAME_MAX: usize = 100;

/// What is wrong with a name, which says whose it is, or with a version, which says which of two is newer.
fn misnamed(name: &str, version: &str) -> Option<String> {
    let is_word = |word: &str| {
        let letters = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-' || it == b'_';
        !word.is_empty() && word.bytes().all(letters)
    };
    if name.len() > NAME_MAX || !name.contains('.') || !name.split('.').all(is_word) {
        return Some(format!(
            "{name:.NAME_MAX$?} is no reverse-domain name in lower case, as com.acme.cards"
        ));
    }
    let wrong = semver::Version::parse(version).err();
    wrong.map(|_| format!("{version:.NAME_MAX$?} is no semantic version, as 1.2.3"))
}

fn named(manifest: Manifest) -> Result<Manifest, Fault> {
    match misnamed(&manifest.name, &manifest.version) {
        None => Ok(manifest),
        Some(text) => Err(Fault {
            kind: FaultKind::Other,
            text,
        }),
    }
}

impl Adapter {
    pub(crate) fn call(&self, scope: &CallScope, ask: Ask) -> (Result<Told, Fault>, Traces) {
        self.home.call(scope, ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_are_what_they_are_for() {
        for (name, version) in [("com.acme.cards", "1.2.3"), ("dev.portolan.wechat-pay", "0.1.0-rc.1+5")] {
            assert_eq!(misnamed(name, version), None);
        }
        let long = format!("com.{}", "a".repeat(NAME_MAX));
        for name in [
            "",
            "cards",
            "com..cards",
            "Com.acme",
            "com.acme/cards",
            ".com",
            "com.ac me",
            &long,
        ] {
            let problem = misnamed(name, "1.0.0").unwrap();
            assert!(problem.contains("reverse-domain"), "{problem}");
            assert!(problem.len() < NAME_MAX + 100);
        }
        for version in ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0"] {
            assert!(
                misnamed("com.acme", version).unwrap().contains("semantic version"),
                "{version}"
            );
        }
    }
}
