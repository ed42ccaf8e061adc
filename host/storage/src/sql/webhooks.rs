//! Webhook endpoints: sealed, for their secrets and for what was not taken yet.

use super::writer::Unit;
use super::{Result, Sql, SqlStore, values};
use crate::rows::{self, WebhookRow};
use async_trait::async_trait;
use portolan_domain::ids::{MerchantId, Mode, WebhookId};
use portolan_domain::ports::{CommitError, ReadError, Webhooks};
use portolan_domain::webhook::WebhookEndpoint;

pub(super) fn put(connection: &dyn Sql, row: &WebhookRow) -> Result<usize> {
    connection.execute(
        "INSERT INTO webhook_endpoint (id, data_key, sealed) VALUES (?,?,?)
         ON CONFLICT (id) DO UPDATE SET data_key = excluded.data_key, sealed = excluded.sealed",
        values![&row.id.0, &row.data_key, &row.sealed],
    )
}

pub(super) fn remove(connection: &dyn Sql, id: WebhookId) -> Result<usize> {
    connection.execute("DELETE FROM webhook_endpoint WHERE id = ?", values![&id.0])
}

#[async_trait]
impl Webhooks for SqlStore {
    fn webhook_endpoints(&self) -> Result<Vec<WebhookEndpoint>, ReadError> {
        self.read(|connection| {
            connection.all("SELECT id, data_key, sealed FROM webhook_endpoint", values![], |row| {
                let (key, sealed): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
                rows::read_webhook(&*self.sealer, WebhookId(row.get(0)?), (&key, &sealed))
            })
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
            let now: Option<Option<u64>> =
                connection.one("SELECT MAX(seq) FROM journal", values![], |row| row.get(0))?;
            let now = now.flatten().unwrap_or(0);
            let Some(place) = place.filter(|place| *place < now) else {
                return Ok((now, vec![]));
            };
            let owners: Vec<String> = connection.all(
                "SELECT DISTINCT owner FROM journal WHERE seq > ? AND seq <= ?",
                values![place, now],
                |row| row.get(0),
            )?;
            Ok((now, owners.iter().filter_map(|it| rows::owner_from(it)).collect()))
        })
    }
}
