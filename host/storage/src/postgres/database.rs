//! The connections that read, and the one that writes while its epoch lasts.

use super::lease::{Line, Watch};
use super::session::{Must, Session};
use crate::OpenError;
use crate::sql::{Database, Desk, Result, Sql, values};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Connections that read. Whoever finds all of them lent waits.
const READERS_MAX: usize = 16;

/// The database, read over connections of their own.
pub(super) struct Readers {
    line: Arc<Line>,
    epoch: i64,
    pool: Mutex<Pool>,
    given_back: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Session>,
    lent: usize,
}

impl Readers {
    pub fn new(line: Arc<Line>, epoch: i64) -> Self {
        Self {
            line,
            epoch,
            pool: Mutex::default(),
            given_back: Condvar::new(),
        }
    }

    /// The answer comes over a network: whatever else this thread has to do is done by another meanwhile.
    fn with_session(&self, ask: &mut dyn FnMut(&Session)) -> Result<()> {
        let is_shared = Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
        match is_shared {
            true => tokio::task::block_in_place(|| self.lend(ask)),
            false => self.lend(ask),
        }
    }

    fn lend(&self, ask: &mut dyn FnMut(&Session)) -> Result<()> {
        let mut lent = Lent {
            readers: self,
            session: self.take(),
        };
        let session = match lent.session.take() {
            Some(session) => session,
            None => self.line.connect(None)?,
        };
        ask(lent.session.insert(session));
        Ok(())
    }

    /// One of the connections; `None`: there is room for another.
    fn take(&self) -> Option<Session> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        while pool.lent >= READERS_MAX {
            pool = self.given_back.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        pool.lent = pool.lent.saturating_add(1);
        std::iter::from_fn(|| pool.idle.pop()).find(Session::is_sound)
    }
}

/// A connection that is lent, or is about to be made. It comes back however the asking ends.
struct Lent<'r> {
    readers: &'r Readers,
    session: Option<Session>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.lent = pool.lent.saturating_sub(1);
        pool.idle.extend(self.session.take().filter(Session::is_sound));
        self.readers.given_back.notify_one();
    }
}

impl Database for Readers {
    fn with(&self, is_snapshot: bool, ask: &mut dyn FnMut(&dyn Sql)) -> Result<()> {
        if !is_snapshot {
            return self.with_session(&mut |session| ask(session));
        }
        let mut begun = Ok(());
        self.with_session(&mut |session| {
            begun = session.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY");
            ask(session);
            begun = std::mem::replace(&mut begun, Ok(())).and(session.roll_back());
        })?;
        begun
    }

    fn was_restored(&self) -> Result<bool> {
        let mut found = Ok(None);
        self.with(false, &mut |connection| {
            found = connection.one("SELECT 1 FROM portolan WHERE is_restored", values![], |row| {
                row.get::<bool>(0)
            });
        })?;
        Ok(found?.unwrap_or(false))
    }

    fn aside(&self, write: &mut dyn FnMut(&dyn Sql) -> Result<()>) -> Option<Result<()>> {
        let mut written = Ok(());
        let lent = self.with_session(&mut |session| {
            let done = session
                .begin("")
                .and_then(|()| fence(session, self.epoch))
                .and_then(|()| write(session))
                .and_then(|()| session.commit());
            if done.is_err() {
                // The connection is given up if it does not come back from this.
                let _ = session.roll_back();
            }
            written = done;
        });
        Some(lent.and(written))
    }

    fn backup(&self, _: &Path) -> Result<(), OpenError> {
        Err(OpenError::NoBackup)
    }
}

/// Only the router of the epoch writes: whoever took over waited for the end of a transaction that began before, and no other
/// begins after.
fn fence(session: &Session, epoch: i64) -> Result<()> {
    let fence = "SELECT 1 FROM portolan WHERE epoch = ? FOR SHARE";
    session.expect(fence, values![epoch], Must::Have)
}

/// The connection that writes and holds the lock.
pub(super) struct Scribe {
    session: Session,
    epoch: i64,
    watch: Arc<Watch>,
    /// The threads that carry the connection.
    _line: Arc<Line>,
}

impl Scribe {
    pub const fn new(session: Session, epoch: i64, watch: Arc<Watch>, line: Arc<Line>) -> Self {
        Self {
            session,
            epoch,
            watch,
            _line: line,
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.watch.close();
    }
}

impl Desk for Scribe {
    fn sql(&self) -> &dyn Sql {
        &self.session
    }

    fn begin(&self) -> Result<()> {
        self.session.begin("")?;
        fence(&self.session, self.epoch)
    }

    fn commit(&self) -> Result<()> {
        self.session.commit()
    }

    fn roll_back(&self) -> Result<()> {
        self.session.roll_back()
    }

    fn note_asked(&self) -> Result<()> {
        self.session.write("UPDATE portolan SET is_restored = FALSE", values![])
    }
}
