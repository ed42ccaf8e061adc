//! One process writes one store: the lock that says which, and waiting for it.

use super::{check, check_version};
use crate::OpenError;
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a start waits for the lock: a router that was killed just now holds it until its last thread is gone.
const LOCK_WITHIN: Duration = Duration::from_secs(3);
/// How often it is tried: what a router that stands by is late by.
const TRIED_EVERY: Duration = Duration::from_millis(20);
/// What stands in the lock's file after an end that leaves the store in doubt.
const IN_DOUBT: &[u8] = b"look through the store before it is used\n";

/// The store is this process's as long as this is kept. The system takes it from a process that ends, however it ends.
pub struct StoreLock {
    file: File,
    /// The store's own file, once it is there.
    store: Option<File>,
    /// Whether the store was looked at while another process had it, and was sound.
    pub(super) is_checked: bool,
}

impl StoreLock {
    /// Takes the lock of the store in that file; [`OpenError::InUse`] if another process goes on having it.
    pub fn take(store: &Path) -> Result<Self, OpenError> {
        let started = Instant::now();
        loop {
            if let Some(lock) = Self::try_take(store)? {
                return Ok(lock);
            }
            if started.elapsed() >= LOCK_WITHIN {
                return Err(OpenError::InUse(store.display().to_string()));
            }
            std::thread::park_timeout(TRIED_EVERY);
        }
    }

    /// Waits for it as long as it takes, where another process has it. The store is looked through before, which takes long where
    /// it is large: who takes over has no time for it. `waiting` is called once it was found sound.
    pub fn wait(store: &Path, waiting: impl FnOnce()) -> Result<Self, OpenError> {
        if let Some(lock) = Self::try_take(store)? {
            return Ok(lock);
        }
        let looked_at = identity(store);
        if looked_at.is_some() {
            look_through(store)?;
        }
        waiting();
        let mut lock = loop {
            match Self::try_take(store)? {
                Some(lock) => break lock,
                None => std::thread::park_timeout(TRIED_EVERY),
            }
        };
        let there = identity(store);
        if looked_at.is_some() && there.is_none() {
            // An empty one in its place would know nothing of what was promised.
            return Err(OpenError::Gone(store.display().to_string()));
        }
        lock.is_checked = looked_at.is_some() && looked_at == there && !is_in_doubt(&lock.file);
        Ok(lock)
    }

    /// `None`: another process has it. Only the lock's file that stands there now counts, for the folder may have been put
    /// elsewhere since; and the store's own file with it, for whoever removes a lock's file as stale must not let in a second
    /// writer.
    fn try_take(store: &Path) -> Result<Option<Self>, OpenError> {
        let path = path_of(store);
        let mut options = std::fs::OpenOptions::new();
        let opened = options.read(true).append(true).create(true).open(&path);
        let file = opened.map_err(|error| OpenError::File(path.display().to_string(), error))?;
        if !try_lock(&file, &path)? || identity(&path) != identity_of(&file) {
            return Ok(None);
        }
        let mut lock = Self {
            file,
            store: None,
            is_checked: false,
        };
        let is_whole = !store.exists() || lock.take_file(store)?;
        Ok(Some(lock).filter(|_| is_whole))
    }

    /// Keeps the store's own file too, where it was made since; `false`: another process has it. It is taken before SQLite opens it
    /// and let go with the lock, for closing a file ends SQLite's own locks on it.
    pub(super) fn take_file(&mut self, store: &Path) -> Result<bool, OpenError> {
        if self.store.is_none() {
            let opened = File::open(store);
            let file = opened.map_err(|error| OpenError::File(store.display().to_string(), error))?;
            let is_ours = try_lock(&file, store)?;
            self.store = Some(file).filter(|_| is_ours);
        }
        Ok(self.store.is_some())
    }

    /// Says to whoever has the store next that it is to be looked through first, as far as the disk still takes it.
    pub fn leave_in_doubt(store: &Path) {
        let open = std::fs::OpenOptions::new().write(true).open(path_of(store));
        if let Ok(mut file) = open {
            let _ = file.write_all(IN_DOUBT).and_then(|()| file.sync_all());
        }
    }

    /// The store was found sound.
    pub(super) fn note_sound(&self) {
        // Where that is not kept, it is looked through once more than needed.
        let _ = self.file.set_len(0);
    }
}

fn path_of(store: &Path) -> PathBuf {
    store.with_extension("lock")
}

/// Which file stands at a path; `None`: none.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

fn is_in_doubt(mut file: &File) -> bool {
    let mut first = [0; 1];
    // What cannot be read is in doubt.
    file.rewind()
        .and_then(|()| file.read(&mut first))
        .map_or(true, |read| read > 0)
}

fn identity_of(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|it| (it.dev(), it.ino()))
}

/// `false`: another process has it.
fn try_lock(file: &File, path: &Path) -> Result<bool, OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(OpenError::File(path.display().to_string(), error)),
    }
}

/// Looks through a store that another process is writing.
fn look_through(store: &Path) -> Result<(), OpenError> {
    let name = store.display().to_string();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(store, flags).map_err(|error| OpenError::Sqlite(name.clone(), error))?;
    check(&connection, &name)?;
    check_version(&connection, &name).map(drop)
}
