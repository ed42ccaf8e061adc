//! One process writes one store: the lock that says which, and waiting for it.

use super::{OpenError, check};
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a start waits for the lock: a router that was killed just now holds it until its last thread is gone.
const LOCK_WITHIN: Duration = Duration::from_secs(3);
/// How often it is tried: what a router that stands by is late by.
const TRIED_EVERY: Duration = Duration::from_millis(20);

/// The store is this process's as long as this is kept. The system takes it from a process that ends, however it ends.
pub struct StoreLock {
    _file: File,
    /// Whether the store was looked at while another process had it, and was sound.
    pub(super) is_checked: bool,
}

impl StoreLock {
    /// Takes the lock of the store in that file; [`OpenError::InUse`] if another process goes on having it.
    pub fn take(store: &Path) -> Result<Self, OpenError> {
        let (lock, path) = open(store)?;
        let started = Instant::now();
        while !try_lock(&lock, &path)? {
            if started.elapsed() >= LOCK_WITHIN {
                return Err(OpenError::InUse(store.display().to_string()));
            }
            std::thread::park_timeout(TRIED_EVERY);
        }
        Ok(Self {
            _file: lock,
            is_checked: false,
        })
    }

    /// Waits for it as long as it takes; `waiting` is called once, where another process has it. The store is looked through
    /// meanwhile, which takes long where it is large: who takes over has no time for it.
    pub fn wait(store: &Path, waiting: impl FnOnce()) -> Result<Self, OpenError> {
        let (lock, path) = open(store)?;
        let mut is_checked = false;
        if !try_lock(&lock, &path)? {
            waiting();
            is_checked = look_through(store)?;
            while !try_lock(&lock, &path)? {
                std::thread::park_timeout(TRIED_EVERY);
            }
        }
        Ok(Self {
            _file: lock,
            is_checked,
        })
    }
}

fn open(store: &Path) -> Result<(File, String), OpenError> {
    let path = store.with_extension("lock");
    let name = path.display().to_string();
    let lock = File::create(&path).map_err(|error| OpenError::File(name.clone(), error))?;
    Ok((lock, name))
}

fn try_lock(lock: &File, path: &str) -> Result<bool, OpenError> {
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(OpenError::File(path.to_owned(), error)),
    }
}

/// Looks through a store that another process is writing; `false`: it is not there yet.
fn look_through(store: &Path) -> Result<bool, OpenError> {
    let name = store.display().to_string();
    if !store.exists() {
        return Ok(false);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(store, flags).map_err(|error| OpenError::Sqlite(name.clone(), error))?;
    check(&connection, &name).map(|()| true)
}
