//! The components and what was signed about them, beside the store, by digest. What is kept here is whole and on disk.

use super::statement::Envelope;
use super::{PluginError, Plugins, refused};
use portolan_domain::lifecycle::{Stage, Version};
use portolan_domain::ports::ReadError;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a digest is: every file here begins with one.
const DIGEST: usize = 64;
/// How the name of what was signed ends.
const ENVELOPE: &str = ".dsse.json";

impl Plugins {
    pub(super) fn file(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    /// Keeps the component under its digest.
    pub(super) fn keep(&self, digest: &str, bytes: &[u8]) -> std::io::Result<()> {
        let file = self.file(digest);
        if std::fs::read(&file).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        write_durably(&file, bytes)
    }

    /// Puts a file where other machines of the store find it: before a version says that it is there.
    pub(super) fn share(&self, file: &Path) -> std::io::Result<()> {
        let name = name_of(file);
        self.files
            .put_file(&name, Some(&std::fs::read(file)?))
            .map_err(std::io::Error::other)
    }

    /// Puts there what this machine alone has: the store may have been a file of it before.
    pub(super) fn share_all(&self) -> anyhow::Result<()> {
        let Some(there) = self.files.file_names()? else {
            return Ok(());
        };
        for version in self.list().iter().filter(|it| has_files(it)) {
            for file in [
                self.file(&version.digest),
                self.envelope(&version.adapter, &version.digest),
            ] {
                if file.exists() && !there.contains(&name_of(&file)) {
                    self.share(&file)?;
                }
            }
        }
        Ok(())
    }

    /// Brings what other machines of the store put there.
    pub(super) fn fetch(&self) -> anyhow::Result<()> {
        let there = self.files.file_names()?.unwrap_or_default();
        mirror(&self.folder, &there, |name| self.files.file(name))
    }

    /// From now on somebody works with the component's file: nobody takes it away.
    pub(super) fn hold(&self, digest: &str) -> Held {
        let digest: Arc<str> = digest.into();
        held_files(&self.held).push(digest.clone());
        Held {
            digest,
            all: self.held.clone(),
        }
    }

    /// Whoever only looked at it takes it away again, unless somebody else has it or works with it.
    pub(super) fn let_go(&self, held: Held) -> std::io::Result<()> {
        let digest = held.digest.clone();
        drop(held);
        let is_had = self.list().iter().any(|it| has_files(it) && *it.digest == *digest);
        if is_had { Ok(()) } else { self.remove(&digest) }
    }

    /// Removes what was kept for an adapter's version; the component only if no other adapter has it.
    pub(super) fn forget(&self, adapter: &str, digest: &str) -> std::io::Result<()> {
        let is_others = |it: &Version| has_files(it) && it.adapter != adapter && it.digest == digest;
        if !self.list().iter().any(is_others) {
            self.remove(digest)?;
        }
        self.remove_file(&self.envelope(adapter, digest))
    }

    /// Takes a file away, here and where other machines find it.
    fn remove_file(&self, file: &Path) -> std::io::Result<()> {
        removed(file)?;
        self.files.put_file(&name_of(file), None).map_err(std::io::Error::other)
    }

    /// Removes what a kill left: files of no version. Nothing else works with the folder yet.
    pub(super) fn sweep(&self) -> std::io::Result<()> {
        let mut versions = self.list();
        versions.retain(has_files);
        let is_had = |name: &str| versions.iter().any(|it| name.starts_with(&it.digest));
        let shared = self.files.file_names().map_err(std::io::Error::other)?;
        for name in shared.unwrap_or_default() {
            if !is_had(&name) {
                self.files.put_file(&name, None).map_err(std::io::Error::other)?;
            }
        }
        let folder = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            folder => folder?,
        };
        for file in folder {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let is_whole = !name.ends_with(".part") && is_had(&name);
            if digest_in(&name).is_some() && !is_whole {
                tracing::info!(name, "removed: it belongs to no version");
                removed(&file.path())?;
            }
        }
        Ok(())
    }

    fn remove(&self, digest: &str) -> std::io::Result<()> {
        // Nobody begins to work with it meanwhile.
        let held = held_files(&self.held);
        if held.iter().any(|it| **it == *digest) {
            return Ok(());
        }
        self.remove_file(&self.file(digest))
    }

    /// What was signed for this adapter: another may run the same component with other signatures, or none.
    fn envelope(&self, adapter: &str, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.{adapter}{ENVELOPE}"))
    }

    pub(super) fn keep_envelope(
        &self,
        adapter: &str,
        digest: &str,
        envelope: Option<&Envelope>,
    ) -> Result<(), PluginError> {
        let file = self.envelope(adapter, digest);
        match envelope {
            Some(envelope) => {
                let text = serde_json::to_vec_pretty(envelope).map_err(std::io::Error::from)?;
                write_durably(&file, &text)?;
                Ok(self.share(&file)?)
            }
            None => Ok(self.remove_file(&file)?),
        }
    }

    pub(super) fn kept_envelope(&self, adapter: &str, digest: &str) -> Result<Option<Envelope>, PluginError> {
        let file = self.envelope(adapter, digest);
        if !file.exists() {
            return Ok(None);
        }
        let read = serde_json::from_slice(&std::fs::read(&file)?);
        read.map(Some)
            .map_err(|error| refused("statement", error.to_string(), "stage it again"))
    }
}

/// What was rejected before it was ever active is not kept: whoever brings it again brings its bytes.
const fn has_files(version: &Version) -> bool {
    !matches!(version.stage, Stage::Rejected) || version.activated_ms.is_some()
}

/// Digests of components whose files somebody works with, each as often as somebody does.
pub(super) type HeldFiles = Arc<Mutex<Vec<Arc<str>>>>;

fn held_files(all: &HeldFiles) -> MutexGuard<'_, Vec<Arc<str>>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One who works with a component's file.
pub(super) struct Held {
    digest: Arc<str>,
    all: HeldFiles,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = held_files(&self.all);
        if let Some(at) = all.iter().position(|it| *it == self.digest) {
            all.swap_remove(at);
        }
    }
}

/// Brings a machine's folder to what a shared store has. A component is what its name says; what was signed about it may
/// have been signed again, or is gone.
pub fn mirror(
    folder: &Path,
    names: &[String],
    read: impl Fn(&str) -> Result<Option<Vec<u8>>, ReadError>,
) -> anyhow::Result<()> {
    let here = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let signed = here.map(|it| it.path()).filter(|it| name_of(it).ends_with(ENVELOPE));
    for stale in signed.filter(|it| !names.is_empty() && !names.contains(&name_of(it))) {
        removed(&stale)?;
    }
    for name in names {
        let file = folder.join(name);
        let Some(digest) = digest_in(name).filter(|_| *name == name_of(&file)) else {
            continue;
        };
        let is_component = !name.ends_with(ENVELOPE);
        let is_whole = |bytes: &[u8]| !is_component || hex::encode(Sha256::digest(bytes)) == digest;
        let here = std::fs::read(&file).ok();
        if is_component && here.as_deref().is_some_and(is_whole) {
            continue;
        }
        match read(name)? {
            Some(bytes) if here.as_ref() == Some(&bytes) => {}
            Some(bytes) if is_whole(&bytes) => {
                write_durably(&file, &bytes)?;
                tracing::info!(name, "fetched from the store");
            }
            // A version that needs it is refused where it is loaded.
            Some(_) => tracing::error!(name, "a file in the store is not what its name says"),
            None => {}
        }
    }
    Ok(())
}

/// The digest that a file's name begins with.
fn digest_in(name: &str) -> Option<&str> {
    name.get(..DIGEST)
        .filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()))
}

fn name_of(file: &Path) -> String {
    file.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn removed(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// How many files were written, so that two at once do not write the same part.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

fn write_durably(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let part = file.with_extension(format!("{}.part", WRITTEN.fetch_add(1, Ordering::Relaxed)));
    let mut out = std::fs::File::create(&part)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    std::fs::rename(&part, file)?;
    std::fs::File::open(folder)?.sync_all()
}

/// A file and its digest.
pub(super) fn read(file: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    let bytes = std::fs::read(file).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    Ok((hex::encode(Sha256::digest(&bytes)), bytes))
}
