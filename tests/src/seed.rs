//! What the worlds of one test process share, so that each need not do it again: one key file, and the adapters that were compiled
//! under it. A world that is to begin with nothing says so.

use crate::world::workspace;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const KEYS: &str = "keys.json";
const COMPILED: &str = "components";
/// No test process lives so long.
const KEPT: Duration = Duration::from_secs(6 * 3_600);

/// The folder, once somebody needed it; whoever reads or writes it holds the lock.
static SHARED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Does something with the folder: this process's own. Those of a while ago are removed.
fn with_shared(act: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = shared.as_ref() {
        return act(folder);
    }
    let all = workspace().join("target/seeds");
    std::fs::create_dir_all(&all)?;
    for entry in std::fs::read_dir(&all)?.filter_map(Result::ok) {
        let age = entry
            .metadata()
            .and_then(|about| about.modified())
            .map(|at| at.elapsed());
        if age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT)) {
            // Another process may be at it.
            let _removed = std::fs::remove_dir_all(entry.path());
        }
    }
    let folder = tempfile::Builder::new().prefix("seed-").tempdir_in(&all)?.keep();
    act(shared.insert(folder))
}

/// Puts what there is into a data folder that is not there yet.
pub fn plant(data: &Path) -> anyhow::Result<()> {
    with_shared(|shared| {
        if data.exists() || !shared.join(KEYS).exists() {
            return Ok(());
        }
        std::fs::create_dir_all(data)?;
        std::fs::copy(shared.join(KEYS), data.join(KEYS))?;
        copy_new(&shared.join(COMPILED), &data.join(COMPILED))
    })
}

/// Takes what a world has compiled, if it is under the shared key file; the first one's becomes that.
pub fn harvest(data: &Path) -> anyhow::Result<()> {
    with_shared(|shared| {
        let (keys, own) = (shared.join(KEYS), data.join(KEYS));
        if !keys.exists() {
            std::fs::copy(&own, &keys).with_context(|| own.display().to_string())?;
        }
        if std::fs::read(&keys)? == std::fs::read(&own)? {
            copy_new(&data.join(COMPILED), &shared.join(COMPILED))?;
        }
        Ok(())
    })
}

fn copy_new(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, name) = entry.map(|it| (it.path(), it.file_name()))?;
        let is_whole = path.extension().is_some_and(|extension| extension == "cwasm");
        if is_whole && !to.join(&name).exists() {
            std::fs::copy(&path, to.join(&name))?;
        }
    }
    Ok(())
}
