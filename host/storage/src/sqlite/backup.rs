//! Backup and restore. A restored store has lost every outcome younger than the backup, so all that was open or young
//! then is asked about before anything is written.

use super::StoreLock;
use crate::OpenError;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

/// Puts a backup where the store was. Operations whose outcome the backup knows as open stay so; the engine asks
/// about each before anything else is written, because later outcomes are lost. No router has the store meanwhile, and none
/// finds half of it there.
pub fn restore(from: &Path, to: &Path) -> Result<(), OpenError> {
    let _lock = StoreLock::take(to)?;
    let failed = |error| OpenError::File(to.display().to_string(), error);
    // What the last store's log holds would be read into this one, over the mark and the books.
    let parts = ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", to.display())));
    if let Some(part) = parts.iter().find(|part| part.exists()) {
        return Err(OpenError::Occupied(part.display().to_string()));
    }
    let beside = to.with_extension("restoring");
    std::fs::remove_file(&beside).or_else(not_there).map_err(failed)?;
    backup_file(from, &beside)?;
    let mark =
        Connection::open(&beside).and_then(|restored| restored.pragma_update(None, "application_id", super::RESTORED));
    mark.map_err(|error| OpenError::Sqlite(beside.display().to_string(), error))?;
    let synced = std::fs::File::open(&beside).and_then(|file| file.sync_all());
    let moved = synced.and_then(|()| std::fs::rename(&beside, to));
    moved.and_then(|()| sync_folder(to)).map_err(failed)
}

/// A name is on disk once its folder is.
fn sync_folder(of: &Path) -> std::io::Result<()> {
    let folder = of.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn not_there(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// Copies the running store into a new file, consistently.
pub(super) fn backup_file(from: &Path, to: &Path) -> Result<(), OpenError> {
    let name = to.display().to_string();
    if to.exists() {
        return Err(OpenError::File(name, std::io::ErrorKind::AlreadyExists.into()));
    }
    let failed = |error| OpenError::Sqlite(name.clone(), error);
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    source
        .execute("VACUUM INTO ?", [to.to_string_lossy()])
        .map_err(failed)?;
    let written = std::fs::File::open(to).and_then(|file| file.sync_all());
    written.map_err(|error| OpenError::File(name.clone(), error))
}
