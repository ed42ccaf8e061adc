//! Webhook endpoints: sealed, for their secrets and for what was not taken yet.

use super::SqliteStore;
use super::writer::Unit;
use crate::rows::{self, RowError, WebhookRow};
use async_trait::async_trait;
use portolan_domain::ids::{MerchantId, Mode, WebhookId};
use portolan_domain::ports::{CommitError, ReadError, Webhooks};
use portolan_domain::webhook::WebhookEndpoint;
use rusqlite::{Connection, params};
use uuid::Uuid;

pub(super) fn put(connection: &Connection, row: &WebhookRow) -> rusqlite::Result<usize> {
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO webhook_endpoint (id, data_key, sealed) VALUES (?,?,?)")?;
    insert.execute(params![row.id.0.as_bytes().as_slice(), row.data_key, row.sealed])
}

pub(super) fn remove(connection: &Connection, id: WebhookId) -> rusqlite::Result<usize> {
    let mut delete = connection.prepare_cached("DELETE FROM webhook_endpoint WHERE id = ?")?;
    delete.execute([id.0.as_bytes().as_slice()])
}

#[async_trait]
impl Webhooks for SqliteStore {
    fn webhook_endpoints(&self) -> Result<Vec<WebhookEndpoint>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT id, data_key, sealed FROM webhook_endpoint")?;
            let mut found = select.query([])?;
            let mut all = vec![];
            while let Some(row) = found.next()? {
                let (id, key, sealed): (Vec<u8>, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let id = Uuid::from_slice(&id).map_err(|error| RowError(error.to_string()))?;
                all.push(rows::read_webhook(&*self.sealer, WebhookId(id), (&key, &sealed))?);
            }
            Ok(all)
        })
    }

    async fn put_webhook_endpoint(&self, endpoint: WebhookEndpoint) -> Result<(), CommitError> {
        let row = rows::webhook_row(&endpoint, &*self.sealer)?;
        self.writer.write(Unit::Webhook(Box::new(row))).await.map(drop)
    }

    async fn remove_webhook_endpoint(&self, id: WebhookId) -> Result<bool, CommitError> {
        Ok(self.writer.write(Unit::RemoveWebhook(id)).await? > 0)
    }

    fn wrote_since(&self, place: Option<u64>) -> Result<(u64, Vec<(Mode, MerchantId)>), ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT MAX(seq) FROM journal")?;
            let now: u64 = select.query_row([], |row| row.get::<_, Option<u64>>(0))?.unwrap_or(0);
            let Some(place) = place.filter(|place| *place < now) else {
                return Ok((now, vec![]));
            };
            let mut select =
                connection.prepare_cached("SELECT DISTINCT owner FROM journal WHERE seq > ? AND seq <= ?")?;
            let owners = select.query_map([place, now], |row| row.get::<_, String>(0))?;
            let owners: Vec<String> = owners.collect::<rusqlite::Result<_>>()?;
            Ok((now, owners.iter().filter_map(|it| rows::owner_from(it)).collect()))
        })
    }
}
