//! Backup and restore. A restored store has lost every outcome younger than the backup, so all that was open or young
//! then is asked about before anything is written.

use super::{OpenError, SqliteStore};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

impl SqliteStore {
    /// Copies the running store into a new file, consistently.
    pub fn backup(&self, to: &Path) -> Result<(), OpenError> {
        backup_file(&self.file, to)
    }

    /// Puts a backup where the store was. Operations whose outcome the backup knows as open stay so; the engine asks
    /// about each before anything else is written, because later outcomes are lost.
    pub fn restore(from: &Path, to: &Path) -> Result<(), OpenError> {
        backup_file(from, to)?;
        let mark =
            Connection::open(to).and_then(|restored| restored.pragma_update(None, "application_id", super::RESTORED));
        mark.map_err(|error| OpenError::Sqlite(to.display().to_string(), error))
    }
}

fn backup_file(from: &Path, to: &Path) -> Result<(), OpenError> {
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
