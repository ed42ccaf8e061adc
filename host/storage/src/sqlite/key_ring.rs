//! The API keys, by the keyed hash of their secret.

use super::SqliteStore;
use super::reader::Result;
use super::writer::Unit;
use crate::rows::{RowError, mode_from};
use async_trait::async_trait;
use portolan_domain::ids::Name;
use portolan_domain::ports::{ApiKey, CommitError, KeyRing, ReadError};
use rusqlite::Row;

fn api_key(row: &Row<'_>) -> Result<ApiKey> {
    let merchant: String = row.get(2)?;
    Ok(ApiKey {
        hash: row.get(0)?,
        id: row.get(1)?,
        merchant: Name::parse(&merchant).ok_or_else(|| RowError(format!("{merchant:?} is no name")))?,
        mode: mode_from(row.get(3)?),
        scopes: row.get::<_, String>(4)?.split_whitespace().map(str::to_owned).collect(),
        created_ms: row.get(5)?,
        revoked_ms: row.get(6)?,
    })
}

const API_KEY: &str = "SELECT hash, id, merchant, mode, scopes, created_ms, revoked_ms FROM api_key";

#[async_trait]
impl KeyRing for SqliteStore {
    fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, ReadError> {
        if let Some(key) = self.kept.api_keys.get(hash) {
            return Ok(Some(key));
        }
        let found = self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{API_KEY} WHERE hash = ?"))?;
            let mut found = select.query([hash.as_slice()])?;
            found.next()?.map(api_key).transpose()
        })?;
        if let Some(key) = &found {
            self.kept.api_keys.put_read(*hash, key.clone());
        }
        Ok(found)
    }

    fn api_keys(&self) -> Result<Vec<ApiKey>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{API_KEY} ORDER BY created_ms"))?;
            let mut found = select.query([])?;
            let mut keys = vec![];
            while let Some(row) = found.next()? {
                keys.push(api_key(row)?);
            }
            Ok(keys)
        })
    }

    async fn put_api_key(&self, key: ApiKey) -> Result<(), CommitError> {
        self.writer.write(Unit::ApiKey(Box::new(key.clone()))).await?;
        self.kept.api_keys.put(key.hash, key);
        Ok(())
    }
}
