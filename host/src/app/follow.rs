//! What a router on another machine does while it stands by: it has the keys, and every adapter compiled, before it is needed.

use portolan_channels::Artifacts;
use portolan_domain::ports::ReadError;
use portolan_storage::{Glance, KeyProof, StandBy};
use portolan_vault::{KeyFile, LocalVault};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// A router that stands by.
pub(super) struct Follower {
    folder: PathBuf,
    is_said: bool,
    /// Digests that are compiled, or that it was tried with.
    warm: HashSet<String>,
    /// Compiling takes as long as it takes: who takes over does not wait for it.
    compiling: Option<std::thread::JoinHandle<()>>,
}

impl Follower {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            is_said: false,
            warm: HashSet::new(),
            compiling: None,
        }
    }

    /// The vault over the key file as it is now. One that is not there is not made: it would be another store's.
    fn vault(&self) -> Option<LocalVault> {
        let keys = self.folder.join("keys.json");
        let keys = keys.exists().then(|| KeyFile::open_or_create(&keys).ok());
        LocalVault::new(keys.flatten()?).ok()
    }
}

impl StandBy for Follower {
    fn waiting(&mut self) {
        if !std::mem::replace(&mut self.is_said, true) {
            tracing::info!("standing by: another router has the store");
        }
    }

    fn has_keys(&self, proof: &KeyProof) -> bool {
        self.vault().is_some_and(|vault| proof.is_opened_by(&vault))
    }

    fn follow(&mut self, store: &Glance<'_>) -> Result<(), ReadError> {
        if self.compiling.as_ref().is_some_and(|it| !it.is_finished()) {
            return Ok(());
        }
        let versions = store.versions()?;
        let is_new = |digest: &String| !self.warm.contains(digest);
        let loaded = versions.into_iter().filter(|it| it.stage.is_loaded());
        let new: HashSet<String> = loaded.map(|it| it.digest).filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let folder = self.folder.join("plugins");
        let fetched = crate::plugins::mirror(&folder, &store.file_names()?, |name| store.file(name));
        fetched.map_err(|error| ReadError(error.to_string()))?;
        let (Some(vault), Ok(compiler)) = (self.vault(), super::this_program()) else {
            return Ok(());
        };
        let artifacts = Artifacts::new(self.folder.join("components"), Arc::new(vault), compiler);
        self.warm.extend(new.iter().cloned());
        self.compiling = Some(std::thread::spawn(move || {
            for digest in new {
                match artifacts.warm(&folder.join(format!("{digest}.wasm")), &digest) {
                    Ok(()) => tracing::info!(digest, "standing by: an adapter is prepared"),
                    // Whoever takes over says so again, and what to do.
                    Err(error) => tracing::warn!(digest, %error, "standing by: an adapter cannot be prepared"),
                }
            }
        }));
        Ok(())
    }
}
