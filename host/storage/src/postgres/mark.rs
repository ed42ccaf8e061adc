//! How far this machine saw the journal, kept beside its keys. A database that has not got that far was put back in time: a base
//! backup, a snapshot of its disk, which look in all else like the database that was.

use crate::rows::RowError;
use crate::sql::{Result, Sql, values};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often it is written, while there is something new.
const EVERY: Duration = Duration::from_secs(10);

pub(super) struct Mark {
    file: PathBuf,
    written: Option<Instant>,
}

impl Mark {
    pub const fn new(file: PathBuf) -> Self {
        Self { file, written: None }
    }

    /// Whether the journal lacks what this machine saw of it.
    pub fn is_missed(&self, connection: &dyn Sql) -> Result<bool> {
        let text = match std::fs::read_to_string(&self.file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            read => read.map_err(|error| RowError::new(format!("{}: {error}", self.file.display())))?,
        };
        // One that was cut short says nothing.
        let Some((seq, hash)) = text.trim().split_once(' ') else {
            return Ok(false);
        };
        let Ok(seq) = seq.parse::<i64>() else { return Ok(false) };
        let found: Option<Vec<u8>> =
            connection.one("SELECT hash FROM journal WHERE seq = ?", values![seq], |row| row.get(0))?;
        Ok(found.is_none_or(|found| hex::encode(found) != hash))
    }

    /// Notes how far the journal is, from time to time.
    pub fn keep(&mut self, connection: &dyn Sql) -> Result<()> {
        if self.written.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(());
        }
        self.written = Some(Instant::now());
        let last = "SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1";
        let last: Option<(i64, Vec<u8>)> = connection.one(last, values![], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some((seq, hash)) = last else { return Ok(()) };
        let part = self.file.with_extension("part");
        let written = std::fs::write(&part, format!("{seq} {}\n", hex::encode(hash)));
        let kept = written.and_then(|()| std::fs::rename(&part, &self.file));
        kept.map_err(|error| RowError::new(format!("{}: {error}", self.file.display())))
    }
}
