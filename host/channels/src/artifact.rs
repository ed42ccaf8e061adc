//! Compiled components on disk: once per digest and engine, authenticated. A changed byte means compile again, never
//! load. The one place where native code is taken from a file.

use crate::limits::COMPONENT_BYTES_MAX;
use crate::sandbox::{Sandbox, SandboxError};
use portolan_domain::ports::Mac;
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmtime::component::Component;

/// The cache of compiled components.
pub struct Artifacts {
    folder: PathBuf,
    mac: Arc<dyn Mac>,
}

const MAC_BYTES: usize = 32;

impl Artifacts {
    /// A cache in a folder that only this process's user should be able to write.
    pub fn new(folder: PathBuf, mac: Arc<dyn Mac>) -> Self {
        Self { folder, mac }
    }

    /// The component with its digest, from the cache or compiled.
    pub(crate) fn load(&self, sandbox: &Sandbox, file: &Path) -> Result<(String, Component), SandboxError> {
        let refused = |text: String| SandboxError::Component(format!("{}: {text}", file.display()));
        let size = std::fs::metadata(file)
            .map_err(|error| refused(error.to_string()))?
            .len();
        if size > COMPONENT_BYTES_MAX {
            return Err(refused(format!(
                "{size} bytes are more than the {COMPONENT_BYTES_MAX} that are taken"
            )));
        }
        let bytes = std::fs::read(file).map_err(|error| refused(error.to_string()))?;
        let digest = hex::encode(Sha256::digest(&bytes));
        let cached = self
            .folder
            .join(format!("{digest}-{:016x}.cwasm", engine_hash(sandbox)));
        if let Some(component) = self.read_cached(sandbox, &cached, &digest) {
            return Ok((digest, component));
        }
        let compiled = compile_at_low_priority(sandbox, bytes).map_err(refused)?;
        self.write_cached(&cached, &digest, &compiled);
        let component = deserialize(sandbox, &compiled).map_err(|error| refused(format!("{error:#}")))?;
        Ok((digest, component))
    }

    fn read_cached(&self, sandbox: &Sandbox, cached: &Path, digest: &str) -> Option<Component> {
        let bytes = std::fs::read(cached).ok()?;
        let (tag, compiled) = bytes.split_at_checked(MAC_BYTES)?;
        if !self.mac.verify_mac(&purpose(digest), compiled, tag) {
            tracing::warn!(file = %cached.display(), "the compiled component was changed on disk: compiling again");
            return None;
        }
        let component = deserialize(sandbox, compiled);
        component
            .inspect_err(|error| tracing::info!(%error, "compiled by another engine: compiling again"))
            .ok()
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

fn engine_hash(sandbox: &Sandbox) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    sandbox.engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Compiles on one thread of the lowest priority, so that payments do not feel it.
fn compile_at_low_priority(sandbox: &Sandbox, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let engine = sandbox.engine.clone();
    let compile = move || {
        if let Err(error) = rustix::process::setpriority_process(None, 19) {
            tracing::debug!(%error, "compiling at normal priority");
        }
        engine
            .precompile_component(&bytes)
            .map_err(|error| format!("{error:#}"))
    };
    let thread = std::thread::Builder::new()
        .name("compile".into())
        .spawn(compile)
        .map_err(|error| error.to_string())?;
    thread.join().map_err(|_| "the compiler stopped".to_owned())?
}

#[expect(
    unsafe_code,
    reason = "native code made by this deployment's own engine, checked by MAC just before"
)]
fn deserialize(sandbox: &Sandbox, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `compiled` comes from `compile_at_low_priority`, in this run or in one that had the same MAC key.
    unsafe { Component::deserialize(&sandbox.engine, compiled) }
}
