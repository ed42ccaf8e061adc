//! Compiled components on disk: once per digest and engine, authenticated. A changed byte means compile again, never
//! load. The one place where native code is taken from a file.

use crate::limits::{COMPONENT_BYTES_MAX, at_most};
use crate::sandbox::{Sandbox, SandboxError};
use portolan_domain::ports::Mac;
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use wasmtime::component::Component;

/// The cache of compiled components.
#[derive(Clone)]
pub struct Artifacts {
    folder: PathBuf,
    mac: Arc<dyn Mac>,
    compiler: PathBuf,
}

const MAC_BYTES: usize = 32;

impl Artifacts {
    /// A cache in a folder that only this process's user should be able to write.
    /// `compiler` is the program that compiles: called with `compile`, the component and the file to write; it ends in
    /// [`compile`].
    pub fn new(folder: PathBuf, mac: Arc<dyn Mac>, compiler: PathBuf) -> Self {
        Self { folder, mac, compiler }
    }

    /// The component of that digest, from the cache or compiled, for this process.
    pub(crate) fn load(&self, sandbox: &Sandbox, file: &Path, digest: &str) -> Result<Component, SandboxError> {
        if let Ok(component) = deserialize(sandbox, &self.compiled(file, digest)?) {
            return Ok(component);
        }
        tracing::info!(digest, "compiled by another engine: compiling again");
        self.forget(digest);
        let component = deserialize(sandbox, &self.compiled(file, digest)?);
        component.map_err(|error| SandboxError::Component(one_line(&error)))
    }

    /// This program: what compiles, and what runs other people's code behind the second wall.
    pub(crate) fn program(&self) -> &Path {
        &self.compiler
    }

    fn place(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{:016x}.cwasm", engine_hash()))
    }

    /// The next one who wants it compiles it again.
    pub(crate) fn forget(&self, digest: &str) {
        if let Err(error) = std::fs::remove_file(self.place(digest)) {
            tracing::debug!(%error, "the compiled component was not kept");
        }
    }

    /// Sees to it that the component of that digest is in the cache.
    pub fn warm(&self, file: &Path, digest: &str) -> Result<(), SandboxError> {
        self.compiled(file, digest).map(drop)
    }

    /// The component of that digest, compiled: checked when it comes from the cache.
    pub(crate) fn compiled(&self, file: &Path, digest: &str) -> Result<Vec<u8>, SandboxError> {
        let refused = SandboxError::Component;
        let unread = |error: std::io::Error| refused(format!("{}: {error}", file.display()));
        let size = std::fs::metadata(file).map_err(unread)?.len();
        if size > COMPONENT_BYTES_MAX {
            return Err(refused(format!(
                "{size} bytes are more than the {COMPONENT_BYTES_MAX} that are taken"
            )));
        }
        let bytes = std::fs::read(file).map_err(unread)?;
        let found = hex::encode(Sha256::digest(&bytes));
        if found != digest {
            let problem = format!("{} is {found}, not {digest}: it was changed on disk", file.display());
            return Err(refused(problem));
        }
        let cached = self.place(digest);
        if let Some(compiled) = self.read_cached(&cached, digest) {
            return Ok(compiled);
        }
        check_header(&bytes).map_err(refused)?;
        let compiled = self.compile_apart(file, digest).map_err(refused)?;
        self.write_cached(&cached, digest, &compiled);
        Ok(compiled)
    }

    fn read_cached(&self, cached: &Path, digest: &str) -> Option<Vec<u8>> {
        let mut bytes = std::fs::read(cached).ok()?;
        let (tag, compiled) = bytes.split_at_checked(MAC_BYTES)?;
        if !self.mac.verify_mac(&purpose(digest), compiled, tag) {
            tracing::warn!(file = %cached.display(), "the compiled component was changed on disk: compiling again");
            return None;
        }
        bytes.drain(..MAC_BYTES);
        Some(bytes)
    }

    fn write_cached(&self, cached: &Path, digest: &str, compiled: &[u8]) {
        let mut bytes = self.mac.mac(&purpose(digest), compiled).to_vec();
        bytes.extend_from_slice(compiled);
        let temporary = cached.with_extension("part");
        let written = std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::write(&temporary, &bytes))
            .and_then(|()| std::fs::rename(&temporary, cached));
        if let Err(error) = written {
            tracing::warn!(%error, file = %cached.display(), "the compiled component is not kept");
        }
    }
}

fn purpose(digest: &str) -> String {
    format!("compiled component {digest}")
}

/// What compiled code depends on, besides the component: the engine's version and settings.
fn engine_hash() -> u64 {
    static HASH: OnceLock<u64> = OnceLock::new();
    *HASH.get_or_init(|| {
        let mut hasher = std::hash::DefaultHasher::new();
        match wasmtime::Engine::new(&crate::sandbox::compiling()) {
            Ok(engine) => engine.precompile_compatibility_hash().hash(&mut hasher),
            Err(error) => tracing::warn!(%error, "the engine that compiles does not start"),
        }
        hasher.finish()
    })
}

/// Says in one line what a file is, where it is no component.
pub(crate) fn check_header(bytes: &[u8]) -> Result<(), String> {
    match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(
            "a core module, not a component: build it for wasm32-wasip2, or make a component of it with `wasm-tools component new`"
                .into(),
        ),
        [0, b'a', b's', b'm', ..] => Err("WebAssembly of another version than the component model's".into()),
        _ => Err("not WebAssembly".into()),
    }
}

/// What compiling may take: a component of 18 MB takes some ten seconds of one core and less than 1 GiB.
const COMPILE_CPU_S: u64 = 120;
const COMPILE_MEMORY: u64 = 4 << 30;
const COMPILED_BYTES: u64 = 512 << 20;
const COMPILE_WITHIN: Duration = Duration::from_secs(300);

impl Artifacts {
    /// Compiles in a process of its own, so that neither a compiler's fault nor its appetite is this one's.
    fn compile_apart(&self, file: &Path, digest: &str) -> Result<Vec<u8>, String> {
        std::fs::create_dir_all(&self.folder).map_err(|error| error.to_string())?;
        let to = self.folder.join(format!(
            "{digest}-{}-{:?}.compiled",
            std::process::id(),
            std::thread::current().id()
        ));
        let started = Instant::now();
        let ended = self.run_compiler(file, &to);
        let compiled = ended.and_then(|()| std::fs::read(&to).map_err(|error| error.to_string()));
        if let Err(error) = std::fs::remove_file(&to) {
            tracing::debug!(%error, "the compiler left nothing behind");
        }
        tracing::info!(digest, took_ms = started.elapsed().as_millis(), "compiled");
        compiled
    }

    fn run_compiler(&self, from: &Path, to: &Path) -> Result<(), String> {
        let mut child = std::process::Command::new(&self.compiler)
            .arg("compile")
            .args([from, to])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.compiler.display()))?;
        let until = Instant::now() + COMPILE_WITHIN;
        let status = loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if Instant::now() >= until => {
                    child
                        .kill()
                        .and_then(|()| child.wait())
                        .map_err(|error| error.to_string())?;
                    return Err(format!("compiling took more than {} s", COMPILE_WITHIN.as_secs()));
                }
                None => std::thread::park_timeout(Duration::from_millis(2)),
            }
        };
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        let read = child
            .stderr
            .take()
            .map(|text| text.take(2_000).read_to_string(&mut said));
        match (read, said.trim()) {
            (Some(Ok(_)), said) if !said.is_empty() => Err(said.lines().next().unwrap_or_default().to_owned()),
            _ => Err(format!(
                "the compiler ended with {status}: it may take {COMPILE_CPU_S} s of a core and {} GiB",
                COMPILE_MEMORY >> 30
            )),
        }
    }
}

/// The whole work of the compiler's process: takes a limit upon itself, compiles at the lowest priority, writes.
pub fn compile(from: &Path, to: &Path) -> Result<(), String> {
    use rustix::process::{Resource, setpriority_process};
    let limits = [
        (Resource::Cpu, COMPILE_CPU_S),
        (Resource::As, COMPILE_MEMORY),
        (Resource::Fsize, COMPILED_BYTES),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        at_most(resource, most).map_err(|error| error.to_string())?;
    }
    setpriority_process(None, 19).map_err(|error| error.to_string())?;
    let bytes = std::fs::read(from).map_err(|error| error.to_string())?;
    let engine = wasmtime::Engine::new(&crate::sandbox::compiling()).map_err(|error| format!("{error:#}"))?;
    let compiled = engine.precompile_component(&bytes).map_err(|error| one_line(&error))?;
    std::fs::write(to, compiled).map_err(|error| error.to_string())
}

pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    // No longer than a pipe takes without a reader.
    format!("{error:#}").replace('\n', " ").chars().take(2_000).collect()
}

#[expect(
    unsafe_code,
    reason = "native code made by this deployment's own engine, checked by MAC just before"
)]
pub(crate) fn deserialize(sandbox: &Sandbox, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `compiled` comes from `compile_apart`, in this run or in one that had the same MAC key; in a worker, over the
    // pipe from the router that checked it.
    unsafe { Component::deserialize(&sandbox.engine, compiled) }
}
