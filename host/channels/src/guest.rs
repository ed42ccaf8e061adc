//! One call of a guest: a fresh instance, its limits, its imports, and what becomes of a trap. It neither knows in which
//! process it runs nor whose keys it asks for.

use crate::abi::portolan::channel as wit;
use crate::limits::Limits;
use crate::ring::{KeyAsk, Keyring, Naming, Refused, WORDS_MAX, name_of};
use portolan_domain::exchange::{Body, Word};
use portolan_domain::operation::{Fault, FaultKind};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, ResourceLimiter, Store, Trap};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// What a call may use, and what it takes for the time and for chance.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Bounds {
    pub limits: Limits,
    pub now_ms: u64,
    pub entropy: [u8; 32],
    pub naming: Naming,
}

/// How a guest's line of log is meant.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
}

/// What a call leaves behind besides its result.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Traces {
    /// The words for the wire.
    pub words: Vec<Word>,
    /// Whether a signature was verified, or something sealed opened.
    pub verified: bool,
    /// The guest's own log.
    pub lines: Vec<(Level, String)>,
    /// The processor's time that it took, in microseconds: waiting for keys is not its cost.
    pub took_us: u64,
    /// The most linear memory that it had, in bytes.
    pub memory: u64,
}

/// A guest's own state on the host's side, for one call.
pub(crate) struct Guest {
    bounds: Bounds,
    ring: Box<dyn Keyring>,
    words: Vec<Word>,
    /// Made when the guest first asks for it: most never do.
    wasi: Option<WasiCtx>,
    table: ResourceTable,
    lines: Vec<(Level, String)>,
    memory: usize,
    /// The processor's time of this thread when the call began, in microseconds.
    began_us: u64,
    panic: Option<String>,
}

/// A limit that the guest ran into.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
struct Exceeded(FaultKind, String);

/// A store for one call. The deadline is set before anything of the guest runs.
pub(crate) fn store(engine: &Engine, bounds: Bounds, ring: Box<dyn Keyring>) -> Store<Guest> {
    let limits = bounds.limits;
    let guest = Guest {
        bounds,
        ring,
        words: vec![],
        wasi: None,
        table: ResourceTable::new(),
        lines: vec![],
        memory: 0,
        began_us: spent_us(),
        panic: None,
    };
    let mut store = Store::new(engine, guest);
    store.set_epoch_deadline(limits.ticks);
    store.limiter(|guest| guest);
    store.set_hostcall_fuel(limits.copied_bytes);
    store.set_max_component_handles(64);
    store
}

/// What this thread has had of the processor so far, in microseconds.
pub(crate) fn spent_us() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let of = |part: i64| u64::try_from(part).unwrap_or(0);
    of(spent.tv_sec)
        .saturating_mul(1_000_000)
        .saturating_add(of(spent.tv_nsec) / 1_000)
}

/// What a call that is over left behind.
pub(crate) fn traces(store: &mut Store<Guest>) -> Traces {
    let guest = store.data_mut();
    Traces {
        words: std::mem::take(&mut guest.words),
        verified: guest.ring.has_verified(),
        lines: std::mem::take(&mut guest.lines),
        took_us: spent_us().saturating_sub(guest.began_us),
        memory: u64::try_from(guest.memory).unwrap_or(u64::MAX),
    }
}

/// The fault that a failed call was.
pub(crate) fn fault(store: &Store<Guest>, error: &wasmtime::Error) -> Fault {
    if let Some(Exceeded(kind, text)) = error.downcast_ref::<Exceeded>() {
        return Fault {
            kind: *kind,
            text: text.clone(),
        };
    }
    if let Some(panic) = &store.data().panic {
        return Fault {
            kind: FaultKind::Trap,
            text: panic.clone(),
        };
    }
    let text = error.root_cause().to_string();
    let text = text.lines().next().unwrap_or_default().to_owned();
    let kind = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => FaultKind::Timeout,
        _ if text.contains("fuel allocated for hostcalls") || text.contains("too much data") => FaultKind::TooLarge,
        _ => FaultKind::Trap,
    };
    Fault { kind, text }
}

/// WASI for guests whose language insists on it: nothing to see, the operation's time, the operation's entropy.
fn empty_wasi(bounds: &Bounds) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .wall_clock(FixedClock(bounds.now_ms))
        .monotonic_clock(FixedClock(bounds.now_ms))
        .secure_random(Deterministic::new(bounds.entropy.to_vec()))
        .insecure_random(Deterministic::new(bounds.entropy.to_vec()))
        .insecure_random_seed(u128::from(bounds.now_ms))
        .max_random_size(4_096)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    builder.build()
}

/// The operation's time, standing still.
struct FixedClock(u64);

impl HostWallClock for FixedClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }
    fn now(&self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl HostMonotonicClock for FixedClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }
    fn now(&self) -> u64 {
        self.0.saturating_mul(1_000_000)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| empty_wasi(&self.bounds)),
            table: &mut self.table,
        }
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, _now: usize, desired: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        self.memory = self.memory.max(desired);
        within(desired, self.bounds.limits.memory_bytes, "bytes of memory")
    }

    fn table_growing(&mut self, _now: usize, desired: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        within(desired, self.bounds.limits.table_elements, "table elements")
    }
}

fn within(desired: usize, limit: usize, what: &str) -> wasmtime::Result<bool> {
    if desired <= limit {
        Ok(true)
    } else {
        Err(Exceeded(
            FaultKind::Memory,
            format!("{desired} {what} are more than the {limit} that are granted"),
        )
        .into())
    }
}

impl wit::types::Host for Guest {}

impl wit::log::Host for Guest {
    fn line(&mut self, level: wit::log::Level, text: String) -> wasmtime::Result<()> {
        let limits = self.bounds.limits;
        if self.lines.len() >= limits.log_lines || text.len() > limits.log_line_bytes {
            let text = format!(
                "more than {} log lines of {} bytes",
                limits.log_lines, limits.log_line_bytes
            );
            return Err(Exceeded(FaultKind::TooLarge, text).into());
        }
        if text.starts_with("panic: ") {
            self.panic = Some(text.clone());
        }
        let level = match level {
            wit::log::Level::Debug => Level::Debug,
            wit::log::Level::Info => Level::Info,
            wit::log::Level::Warn => Level::Warn,
        };
        self.lines.push((level, text));
        Ok(())
    }
}

type Used<T> = wasmtime::Result<Result<T, wit::keys::Refusal>>;

impl Guest {
    fn apply(&mut self, ask: KeyAsk) -> Result<Vec<u8>, wit::keys::Refusal> {
        self.ring.apply(ask).map_err(|refused| match refused {
            Refused::NotGranted(text) => wit::keys::Refusal::NotGranted(text),
            Refused::Unsuitable(text) => wit::keys::Refusal::Unsuitable(text),
        })
    }

    fn stand_in(
        &mut self,
        key: Option<String>,
        (algorithm, encoding): (String, wit::keys::Encoding),
        content_type: String,
        data: Vec<u8>,
    ) -> Result<String, wit::keys::Refusal> {
        let (place, asked) = (self.words.len(), algorithm.clone());
        if place >= WORDS_MAX {
            let text = format!("more than {WORDS_MAX} signatures in one call");
            return Err(wit::keys::Refusal::Unsuitable(text));
        }
        self.apply(KeyAsk::CanSign {
            key: key.clone(),
            algorithm: asked,
        })?;
        let word = Word {
            word: String::new(),
            key,
            algorithm,
            content_type,
            data: Body::from(data),
            encoding: encoding_name(encoding).into(),
        };
        let name = name_of(self.bounds.naming, &self.bounds.entropy, place, &word);
        self.words.push(Word {
            word: name.clone(),
            ..word
        });
        Ok(name)
    }
}

impl wit::keys::Host for Guest {
    fn sign(
        &mut self,
        key: String,
        algorithm: String,
        content_type: String,
        data: Vec<u8>,
        encoding: wit::keys::Encoding,
    ) -> Used<String> {
        Ok(self.stand_in(Some(key), (algorithm, encoding), content_type, data))
    }

    fn digest(
        &mut self,
        algorithm: String,
        content_type: String,
        data: Vec<u8>,
        encoding: wit::keys::Encoding,
    ) -> Used<String> {
        Ok(self.stand_in(None, (algorithm, encoding), content_type, data))
    }

    fn seal(&mut self, _: String, scheme: String, _: Vec<u8>) -> Used<String> {
        let text = format!("this router does not seal with {scheme} yet");
        Ok(Err(wit::keys::Refusal::Unsuitable(text)))
    }

    fn sign_hash(&mut self, key: String, path: String, hash: Vec<u8>) -> Used<Vec<u8>> {
        Ok(self.apply(KeyAsk::SignHash { key, path, hash }))
    }

    fn verify(&mut self, key: String, algorithm: String, data: Vec<u8>, signature: Vec<u8>) -> Used<bool> {
        let verified = self.apply(KeyAsk::Verify {
            key,
            algorithm,
            data,
            signature,
        });
        Ok(verified.map(|answer| answer == [1]))
    }

    fn decrypt(&mut self, key: String, nonce: Vec<u8>, associated: Vec<u8>, sealed: Vec<u8>) -> Used<Vec<u8>> {
        Ok(self.apply(KeyAsk::Decrypt {
            key,
            nonce,
            associated,
            sealed,
        }))
    }

    fn public_key(&mut self, key: String, path: String) -> Used<Vec<u8>> {
        Ok(self.apply(KeyAsk::PublicKey { key, path }))
    }
}

fn encoding_name(encoding: wit::keys::Encoding) -> &'static str {
    match encoding {
        wit::keys::Encoding::Base64 => "base64",
        wit::keys::Encoding::Base64url => "base64url",
        wit::keys::Encoding::Hex => "hex",
        wit::keys::Encoding::HexUpper => "hex-upper",
    }
}
