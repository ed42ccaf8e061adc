//! The connections that read, and the one that writes while its epoch lasts.

use super::connector::Connector;
use super::lease::Watch;
use super::mark::Mark;
use super::session::Session;
use crate::OpenError;
use crate::rows::RowError;
use crate::sql::{Database, Desk, Result, Sql, values};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Connections that read. Whoever finds all of them lent waits.
const READERS_MAX: usize = 16;
/// How long it waits before it gives up: longer than a database needs to answer all of them.
const LENT_WITHIN: Duration = Duration::from_secs(10);
/// A question that takes longer is given up: what is long is read piece by piece.
const READING: &str = "SET statement_timeout = '60s'";

/// The database, read over connections of their own.
pub(super) struct Readers {
    connector: Arc<Connector>,
    epoch: i64,
    cluster: String,
    /// Who is told that another router has the store.
    watch: Arc<Watch>,
    pool: Mutex<Pool>,
    given_back: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Session>,
    lent: usize,
}

impl Readers {
    pub fn new(connector: Arc<Connector>, watch: Arc<Watch>, (epoch, cluster): (i64, String)) -> Self {
        Self {
            connector,
            epoch,
            cluster,
            watch,
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
            session: self.take()?,
        };
        let session = match lent.session.take() {
            Some(session) => session,
            None => self.connect()?,
        };
        ask(lent.session.insert(session));
        Ok(())
    }

    /// A new connection to the database that this router writes: where several are named, another may answer.
    fn connect(&self) -> Result<Session> {
        let session = self.connector.connect(None)?;
        session.run(READING)?;
        let connection: &dyn Sql = &session;
        let epoch: Option<i64> = connection.one("SELECT epoch FROM portolan", values![], |row| row.get(0))?;
        let cluster: Option<String> = connection.one(super::CLUSTER, values![], |row| row.get(0))?;
        match epoch == Some(self.epoch) && cluster.as_deref() == Some(&*self.cluster) {
            true => Ok(session),
            false => Err(RowError::new(
                "another database answers than the one that is written".into(),
            )),
        }
    }

    /// One of the connections; `None`: there is room for another.
    fn take(&self) -> Result<Option<Session>> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |pool: &mut Pool| pool.lent >= READERS_MAX;
        let waited = self.given_back.wait_timeout_while(pool, LENT_WITHIN, is_full);
        let (mut pool, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if is_full(&mut pool) {
            return Err(RowError::new("the database does not answer".into()));
        }
        pool.lent = pool.lent.saturating_add(1);
        Ok(std::iter::from_fn(|| pool.idle.pop()).find(Session::is_sound))
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
            if let Err(error) = &done {
                if error.is_fatal {
                    self.watch.ended(&error.text);
                }
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

/// Only the router of the epoch writes: whoever took over waited for the end of a transaction that began before, and one that
/// begins after fails here, in the database, so that nothing of it is taken however it goes on.
fn fence(session: &Session, epoch: i64) -> Result<()> {
    let mine = "SELECT 1 / count(*) FROM (SELECT 1 FROM portolan WHERE epoch = ? FOR SHARE) AS mine";
    session.fence(mine, values![epoch])
}

/// The connection that writes and holds the lock.
pub(super) struct WriteSession {
    session: Session,
    epoch: i64,
    mark: Mark,
    watch: Arc<Watch>,
    /// The threads that carry the connection.
    _connector: Arc<Connector>,
}

impl WriteSession {
    pub fn new(session: Session, epoch: i64, mark: Mark, (watch, connector): (Arc<Watch>, Arc<Connector>)) -> Self {
        Self {
            session,
            epoch,
            mark,
            watch,
            _connector: connector,
        }
    }
}

impl Drop for WriteSession {
    fn drop(&mut self) {
        self.watch.close();
    }
}

impl Desk for WriteSession {
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

    fn tidy(&mut self) -> Result<()> {
        self.mark.keep(&self.session)
    }

    fn note_asked(&self) -> Result<()> {
        self.session.write("UPDATE portolan SET is_restored = FALSE", values![])
    }
}
