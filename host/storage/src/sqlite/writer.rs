//! The one writer: takes every waiting unit, writes them as one transaction with a savepoint each, syncs once, then
//! answers all of them. A reported sync failure ends the process: nothing is known of the disk any more.

use super::SqliteConfig;
use crate::chain;
use crate::rows::{Rows, mode_number};
use portolan_domain::ids::Mode;
use portolan_domain::ledger::{Balance, Balances};
use portolan_domain::ports::{ApiKey, CommitError, Method};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::oneshot;

/// Units that may wait for the disk. At 10,000 units a second this is less than half a second.
const QUEUE: usize = 4_096;
/// Units in one transaction.
const BATCH: usize = 256;
/// Pages in the write-ahead log after which the writer copies them back.
const CHECKPOINT_PAGES: i64 = 16_000;

/// Something to write.
pub(crate) enum Unit {
    Commit(Box<Rows>),
    Method(Box<Method>, Vec<u8>, Vec<u8>),
    ApiKey(Box<ApiKey>),
    AskedAfterRestore,
}

type Reply = oneshot::Sender<Result<(), CommitError>>;

pub(crate) struct Writer {
    queue: SyncSender<(Unit, Reply)>,
}

impl Writer {
    pub fn start(
        connection: Connection,
        config: SqliteConfig,
        on_fatal: Box<dyn Fn(&str) + Send>,
    ) -> rusqlite::Result<Self> {
        let last = connection.query_row("SELECT hash FROM event ORDER BY seq DESC LIMIT 1", [], |row| row.get(0));
        let hash = last.optional()?.unwrap_or(chain::START);
        let (queue, waiting) = sync_channel(QUEUE);
        let mut disk = Disk {
            connection,
            config,
            hash,
            on_fatal,
        };
        let spawned = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || disk.run(&waiting));
        spawned.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(Self { queue })
    }

    /// Queues a unit and waits until it is on disk.
    pub async fn write(&self, unit: Unit) -> Result<(), CommitError> {
        let (reply, written) = oneshot::channel();
        match self.queue.try_send((unit, reply)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(CommitError::Unavailable("too many writes are waiting".into())),
            Err(TrySendError::Disconnected(_)) => return Err(CommitError::Unavailable("the store is closed".into())),
        }
        written
            .await
            .unwrap_or_else(|_| Err(CommitError::Unavailable("the store is closed".into())))
    }
}

struct Disk {
    connection: Connection,
    config: SqliteConfig,
    hash: [u8; 32],
    on_fatal: Box<dyn Fn(&str) + Send>,
}

/// Why one unit of a batch is not written.
enum UnitError {
    Refused(CommitError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for UnitError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Disk {
    fn run(&mut self, waiting: &Receiver<(Unit, Reply)>) {
        while let Ok(first) = waiting.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH {
                match waiting.try_recv() {
                    Ok(next) => batch.push(next),
                    Err(_) => break,
                }
            }
            let (units, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let results = self.write_batch(&units);
            for (reply, result) in replies.into_iter().zip(results) {
                // A caller that is gone does not need the answer; the unit is written all the same.
                let _ = reply.send(result);
            }
            self.checkpoint();
        }
    }

    fn write_batch(&mut self, units: &[Unit]) -> Vec<Result<(), CommitError>> {
        let hash_before = self.hash;
        match self.try_batch(units) {
            Ok(results) => results,
            Err(error) => {
                self.hash = hash_before;
                if is_fatal(&error) {
                    (self.on_fatal)(&format!("the disk did not take a commit: {error}"));
                }
                if let Err(rollback) = self.connection.execute_batch("ROLLBACK") {
                    tracing::debug!(%rollback, "the transaction was rolled back already");
                }
                units
                    .iter()
                    .map(|_| Err(CommitError::Unavailable(error.to_string())))
                    .collect()
            }
        }
    }

    fn try_batch(&mut self, units: &[Unit]) -> rusqlite::Result<Vec<Result<(), CommitError>>> {
        let is_low = self.disk_is_low();
        let mut balances: BTreeMap<Mode, Balances> = BTreeMap::new();
        let mut results = Vec::with_capacity(units.len());
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        for unit in units {
            results.push(self.write_unit(unit, is_low, &mut balances)?);
        }
        for (mode, changes) in balances {
            self.add_balances(mode, &changes)?;
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(results)
    }

    /// One unit in its savepoint: written whole, or refused and undone.
    fn write_unit(
        &mut self,
        unit: &Unit,
        is_low: bool,
        balances: &mut BTreeMap<Mode, Balances>,
    ) -> rusqlite::Result<Result<(), CommitError>> {
        let hash_before = self.hash;
        self.connection.prepare_cached("SAVEPOINT unit")?.execute([])?;
        let written = match unit {
            Unit::Commit(rows) if rows.is_new_money && is_low => Err(UnitError::Refused(CommitError::DiskFloor)),
            Unit::Commit(rows) => self.write_rows(rows),
            Unit::Method(method, key, sealed) => self.write_method(method, key, sealed).map_err(UnitError::from),
            Unit::ApiKey(key) => self.write_api_key(key).map_err(UnitError::from),
            Unit::AskedAfterRestore => self
                .connection
                .pragma_update(None, "application_id", 0)
                .map_err(UnitError::from),
        };
        match written {
            Ok(()) => {
                self.connection.prepare_cached("RELEASE unit")?.execute([])?;
                if let Unit::Commit(rows) = unit {
                    merge(balances, rows);
                }
                Ok(Ok(()))
            }
            Err(UnitError::Refused(refusal)) => {
                self.hash = hash_before;
                self.connection.execute_batch("ROLLBACK TO unit; RELEASE unit")?;
                Ok(Err(refusal))
            }
            Err(UnitError::Sqlite(error)) => Err(error),
        }
    }

    fn write_rows(&mut self, rows: &Rows) -> Result<(), UnitError> {
        if let Some(claim) = &rows.claim {
            let taken = self.connection.prepare_cached(
                "INSERT INTO claim (merchant, mode, key, fingerprint, payment, operation, at_ms) VALUES (?,?,?,?,?,?,?)
                 ON CONFLICT DO NOTHING",
            )?;
            let mut insert = taken;
            let inserted = insert.execute(params![
                claim.name.merchant.as_str(),
                mode_number(claim.name.mode),
                claim.name.key,
                claim.fingerprint,
                claim.payment.0.as_bytes(),
                claim.operation.map(|id| id.0.into_bytes()),
                claim.at_ms,
            ])?;
            if inserted == 0 {
                return Err(UnitError::Refused(CommitError::ClaimTaken));
            }
        }
        if let Some(seen) = &rows.seen {
            let mut insert = self
                .connection
                .prepare_cached("INSERT INTO seen (channel, event) VALUES (?,?) ON CONFLICT DO NOTHING")?;
            if insert.execute(params![seen.channel.as_str(), seen.event])? == 0 {
                return Err(UnitError::Refused(CommitError::SeenBefore));
            }
        }
        self.write_payment(rows)?;
        self.write_operations(rows)?;
        self.write_books(rows)?;
        self.write_rest(rows)?;
        Ok(())
    }

    fn write_payment(&mut self, rows: &Rows) -> Result<(), UnitError> {
        let Some(payment) = &rows.payment else { return Ok(()) };
        let id = payment.id.0.as_bytes().as_slice();
        let changed = if payment.expect == 0 {
            let mut insert = self.connection.prepare_cached(
                "INSERT INTO payment (id, merchant, mode, version, created_ms, status, data_key, sealed)
                 VALUES (?,?,?,1,?,?,?,?) ON CONFLICT DO NOTHING",
            )?;
            insert.execute(params![
                id,
                payment.merchant,
                mode_number(payment.mode),
                payment.created_ms,
                payment.status,
                payment.data_key,
                payment.sealed
            ])?
        } else {
            let mut update = self.connection.prepare_cached(
                "UPDATE payment SET version = version + 1, status = ?, sealed = ? WHERE id = ? AND version = ?",
            )?;
            update.execute(params![payment.status, payment.sealed, id, payment.expect])?
        };
        if changed == 1 {
            Ok(())
        } else {
            Err(UnitError::Refused(CommitError::VersionConflict))
        }
    }

    fn write_operations(&mut self, rows: &Rows) -> rusqlite::Result<()> {
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO operation (id, payment, channel, progress, provider_key, reference, sealed) VALUES (?,?,?,?,?,?,?)
             ON CONFLICT (id) DO UPDATE SET progress = excluded.progress,
             reference = coalesce(excluded.reference, reference), sealed = excluded.sealed",
        )?;
        for operation in &rows.operations {
            upsert.execute(params![
                operation.id.0.as_bytes().as_slice(),
                operation.payment.0.as_bytes().as_slice(),
                operation.channel,
                operation.progress,
                operation.key,
                operation.reference,
                operation.sealed
            ])?;
        }
        Ok(())
    }

    fn write_books(&mut self, rows: &Rows) -> rusqlite::Result<()> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO event (id, payment, merchant, mode, body, hash) VALUES (?,?,?,?,?,?)")?;
        for (event, body) in &rows.events {
            self.hash = chain::link(&self.hash, body.as_bytes());
            insert.execute(params![
                event.id.0.as_bytes().as_slice(),
                event.payment.0.as_bytes().as_slice(),
                event.merchant.as_str(),
                mode_number(event.mode),
                body,
                self.hash
            ])?;
        }
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO entry (payment, number, body) VALUES (?,?,?)")?;
        for (entry, body) in &rows.entries {
            insert.execute(params![entry.payment.0.as_bytes().as_slice(), entry.number, body])?;
        }
        Ok(())
    }

    fn write_rest(&mut self, rows: &Rows) -> rusqlite::Result<()> {
        let connection = &self.connection;
        for (kind, operation) in &rows.timers_clear {
            let mut delete = connection.prepare_cached("DELETE FROM timer WHERE operation = ? AND kind = ?")?;
            delete.execute(params![operation.0.as_bytes().as_slice(), kind])?;
        }
        for (timer, body) in &rows.timers_set {
            let mut upsert = connection
                .prepare_cached("INSERT OR REPLACE INTO timer (kind, operation, due_ms, body) VALUES (?,?,?,?)")?;
            upsert.execute(params![
                timer.kind.as_str(),
                timer.operation.0.as_bytes().as_slice(),
                timer.due_ms,
                body
            ])?;
        }
        for (id, is_closed, body) in &rows.tasks {
            let mut upsert =
                connection.prepare_cached("INSERT OR REPLACE INTO task (id, is_closed, body) VALUES (?,?,?)")?;
            upsert.execute(params![id.as_bytes().as_slice(), is_closed, body])?;
        }
        for (refund, payment) in &rows.refunds {
            let mut insert = connection.prepare_cached(
                "INSERT INTO refund (id, payment, merchant, mode) SELECT ?, id, merchant, mode FROM payment WHERE id = ?",
            )?;
            insert.execute(params![refund.0.as_bytes().as_slice(), payment.0.as_bytes().as_slice()])?;
        }
        if let Some((name, status, sealed)) = &rows.answer {
            let mut update = connection.prepare_cached(
                "UPDATE claim SET status = ?, sealed = ? WHERE merchant = ? AND mode = ? AND key = ?",
            )?;
            update.execute(params![
                status,
                sealed,
                name.merchant.as_str(),
                mode_number(name.mode),
                name.key
            ])?;
        }
        Ok(())
    }

    fn write_method(&mut self, method: &Method, key: &[u8], sealed: &[u8]) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO method (id, merchant, mode, created_ms, data_key, sealed, number) VALUES (?,?,?,?,?,?,?)",
        )?;
        let id = method.id.0.as_bytes().as_slice();
        let mode = mode_number(method.mode);
        insert.execute(params![
            id,
            method.merchant.as_str(),
            mode,
            method.created_ms,
            key,
            sealed,
            method.sealed.0
        ])?;
        Ok(())
    }

    fn write_api_key(&mut self, key: &ApiKey) -> rusqlite::Result<()> {
        let mut upsert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO api_key (hash, id, merchant, mode, scopes, created_ms, revoked_ms) VALUES (?,?,?,?,?,?,?)",
        )?;
        let (mode, scopes) = (mode_number(key.mode), key.scopes.join(" "));
        upsert.execute(params![
            key.hash,
            key.id,
            key.merchant.as_str(),
            mode,
            scopes,
            key.created_ms,
            key.revoked_ms
        ])?;
        Ok(())
    }

    fn add_balances(&mut self, mode: Mode, changes: &Balances) -> rusqlite::Result<()> {
        for ((account, asset), change) in changes {
            let body = serde_json::to_string(&(account, asset))
                .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
            let key = params![mode_number(mode), account.to_string(), asset.code()];
            let mut select = self.connection.prepare_cached(
                "SELECT debit, credit, pending_debit, pending_credit FROM balance WHERE mode = ? AND account = ? AND asset = ?",
            )?;
            let mut balance = select
                .query_row(key, super::reader::balance)
                .optional()?
                .unwrap_or_default();
            balance
                .merge(change)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let Balance {
                debit,
                credit,
                pending_debit,
                pending_credit,
            } = balance;
            let mut upsert = self.connection.prepare_cached(
                "INSERT OR REPLACE INTO balance (mode, account, asset, body, debit, credit, pending_debit, pending_credit)
                 VALUES (?,?,?,?,?,?,?,?)",
            )?;
            upsert.execute(params![
                mode_number(mode),
                account.to_string(),
                asset.code(),
                body,
                debit.to_be_bytes(),
                credit.to_be_bytes(),
                pending_debit.to_be_bytes(),
                pending_credit.to_be_bytes()
            ])?;
        }
        Ok(())
    }

    fn disk_is_low(&self) -> bool {
        let folder = self.config.file.parent().unwrap_or(std::path::Path::new("."));
        match rustix::fs::statvfs(folder) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize) < self.config.disk_floor_bytes,
            Err(_) => false,
        }
    }

    /// Copies the log back once it is long, and reads what came of it.
    fn checkpoint(&mut self) {
        let pages = self
            .connection
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1));
        if pages.is_ok_and(|pages| (0..CHECKPOINT_PAGES).contains(&pages)) {
            return;
        }
        if let Err(error) = self
            .connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(0))
        {
            if is_fatal(&error) {
                (self.on_fatal)(&format!("a checkpoint failed: {error}"));
            }
            tracing::warn!(%error, "a checkpoint failed and will be tried again");
        }
    }
}

fn merge(balances: &mut BTreeMap<Mode, Balances>, rows: &Rows) {
    let Some(mode) = rows.entries.first().map(|(entry, _)| entry.mode) else {
        return;
    };
    let sums = balances.entry(mode).or_default();
    for (key, change) in &rows.balances {
        // Sums of amounts that each fit in 10^15 stay far below 128 bits.
        let _ = sums.entry(key.clone()).or_default().merge(change);
    }
}

/// After an I/O error nothing is known of what is on disk; a full disk or a lock is an ordinary refusal.
fn is_fatal(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}
