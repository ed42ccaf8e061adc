//! One call of a guest: a fresh instance, its limits, its imports, and what becomes of a trap.

use crate::abi::{portolan::channel as wit, refusal};
use crate::counts::Counts;
use crate::limits::Limits;
use portolan_domain::exchange::{Body, Word};
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::operation::{Fault, FaultKind};
use portolan_domain::ports::Keys;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, ResourceLimiter, Store, Trap};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// What a call is about, as far as the imports need it.
#[derive(Clone)]
pub(crate) struct CallScope {
    /// What may be done with the channel's keys.
    pub vault: Arc<dyn Keys>,
    pub channel: ChannelId,
    pub operation: OperationId,
    pub limits: Limits,
    pub now_ms: u64,
    pub entropy: [u8; 32],
    /// Names of the granted keys.
    pub keys: Arc<[String]>,
    /// Where the call is counted.
    pub counts: Arc<Counts>,
}

/// A guest's own state on the host's side, for one call.
pub(crate) struct Guest {
    scope: CallScope,
    /// Made when the guest first asks for it: most never do.
    wasi: Option<WasiCtx>,
    table: ResourceTable,
    pub words: Vec<Word>,
    /// Whether a signature was verified, or something sealed opened, in this call.
    pub verified: bool,
    log_lines: usize,
    memory: usize,
    started: Instant,
    panic: Option<String>,
}

/// A limit that the guest ran into.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
struct Exceeded(FaultKind, String);

/// A store for one call. The deadline is set before anything of the guest runs.
pub(crate) fn store(engine: &Engine, scope: CallScope) -> Store<Guest> {
    let limits = scope.limits;
    let guest = Guest {
        wasi: None,
        scope,
        table: ResourceTable::new(),
        words: vec![],
        verified: false,
        log_lines: 0,
        memory: 0,
        started: Instant::now(),
        panic: None,
    };
    let mut store = Store::new(engine, guest);
    store.set_epoch_deadline(limits.ticks);
    store.limiter(|guest| guest);
    store.set_hostcall_fuel(limits.copied_bytes);
    store.set_max_component_handles(64);
    store
}

/// Counts a call that is over.
pub(crate) fn count(store: &Store<Guest>, failed: Option<&Fault>) {
    let guest = store.data();
    guest.scope.counts.called(guest.started.elapsed(), guest.memory);
    if let Some(fault) = failed {
        guest.scope.counts.failed(fault.kind);
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
fn empty_wasi(scope: &CallScope) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .wall_clock(FixedClock(scope.now_ms))
        .monotonic_clock(FixedClock(scope.now_ms))
        .secure_random(Deterministic::new(scope.entropy.to_vec()))
        .insecure_random(Deterministic::new(scope.entropy.to_vec()))
        .insecure_random_seed(u128::from(scope.now_ms))
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
            ctx: self.wasi.get_or_insert_with(|| empty_wasi(&self.scope)),
            table: &mut self.table,
        }
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, _now: usize, desired: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        self.memory = self.memory.max(desired);
        within(desired, self.scope.limits.memory_bytes, "bytes of memory")
    }

    fn table_growing(&mut self, _now: usize, desired: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        within(desired, self.scope.limits.table_elements, "table elements")
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
        self.log_lines += 1;
        let limits = self.scope.limits;
        if self.log_lines > limits.log_lines || text.len() > limits.log_line_bytes {
            let text = format!(
                "more than {} log lines of {} bytes",
                limits.log_lines, limits.log_line_bytes
            );
            return Err(Exceeded(FaultKind::TooLarge, text).into());
        }
        let (channel, operation) = (&self.scope.channel, self.scope.operation);
        match level {
            wit::log::Level::Debug => tracing::debug!(target: "guest", %channel, %operation, "{text}"),
            wit::log::Level::Info => tracing::info!(target: "guest", %channel, %operation, "{text}"),
            wit::log::Level::Warn => tracing::warn!(target: "guest", %channel, %operation, "{text}"),
        }
        if text.starts_with("panic: ") {
            self.panic = Some(text);
        }
        Ok(())
    }
}

impl Guest {
    fn refuse_ungranted(&self, key: &str) -> Result<(), wit::keys::Refusal> {
        if self.scope.keys.iter().any(|granted| granted == key) {
            Ok(())
        } else {
            Err(wit::keys::Refusal::NotGranted(format!(
                "the key {key:?} is not configured for this channel"
            )))
        }
    }

    /// The word is the same each time the guest asks for the same signature at the same place.
    fn word(&mut self, word: Word) -> String {
        let (place, key) = (self.words.len(), word.key.as_deref().unwrap_or_default());
        let of = format!("word {place} {key} {} {}", word.algorithm, word.encoding);
        let name = self.scope.vault.handle(self.scope.operation, &of);
        self.words.push(Word {
            word: name.clone(),
            ..word
        });
        name
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
    ) -> wasmtime::Result<Result<String, wit::keys::Refusal>> {
        Ok(self.refuse_ungranted(&key).and_then(|()| {
            let word = Word {
                word: String::new(),
                key: Some(key),
                algorithm,
                content_type,
                data: Body::from(data),
                encoding: encoding_name(encoding).into(),
            };
            self.scope.vault.can_sign(&self.scope.channel, &word).map_err(refusal)?;
            Ok(self.word(word))
        }))
    }

    fn digest(
        &mut self,
        algorithm: String,
        content_type: String,
        data: Vec<u8>,
        encoding: wit::keys::Encoding,
    ) -> wasmtime::Result<Result<String, wit::keys::Refusal>> {
        let data = Body::from(data);
        let word = Word {
            word: String::new(),
            key: None,
            algorithm,
            content_type,
            data,
            encoding: encoding_name(encoding).into(),
        };
        let allowed = self.scope.vault.can_sign(&self.scope.channel, &word).map_err(refusal);
        Ok(allowed.map(|()| self.word(word)))
    }

    fn seal(&mut self, _: String, scheme: String, _: Vec<u8>) -> wasmtime::Result<Result<String, wit::keys::Refusal>> {
        Ok(Err(refusal(format!("this router does not seal with {scheme} yet"))))
    }

    fn sign_hash(
        &mut self,
        key: String,
        path: String,
        hash: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, wit::keys::Refusal>> {
        Ok(self.refuse_ungranted(&key).and_then(|()| {
            let (vault, channel) = (&self.scope.vault, &self.scope.channel);
            vault.sign_hash(channel, &key, &path, &hash).map_err(refusal)
        }))
    }

    fn verify(
        &mut self,
        key: String,
        algorithm: String,
        data: Vec<u8>,
        signature: Vec<u8>,
    ) -> wasmtime::Result<Result<bool, wit::keys::Refusal>> {
        Ok(self.refuse_ungranted(&key).and_then(|()| {
            let verified = self
                .scope
                .vault
                .verify(&self.scope.channel, &key, &algorithm, &data, &signature);
            let verified = verified.map_err(refusal)?;
            self.verified |= verified;
            Ok(verified)
        }))
    }

    fn decrypt(
        &mut self,
        key: String,
        nonce: Vec<u8>,
        associated: Vec<u8>,
        sealed: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, wit::keys::Refusal>> {
        Ok(self.refuse_ungranted(&key).and_then(|()| {
            let (vault, channel) = (&self.scope.vault, &self.scope.channel);
            let opened = vault.decrypt(channel, &key, &nonce, &associated, &sealed);
            let plain = opened.map_err(refusal)?;
            // Only who has the key can have sealed it.
            self.verified = true;
            Ok(plain)
        }))
    }

    fn public_key(&mut self, key: String, path: String) -> wasmtime::Result<Result<Vec<u8>, wit::keys::Refusal>> {
        Ok(self.refuse_ungranted(&key).and_then(|()| {
            let (vault, channel) = (&self.scope.vault, &self.scope.channel);
            vault.public_key(channel, &key, &path).map_err(refusal)
        }))
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
