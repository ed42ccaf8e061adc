//! The API keys, by the keyed hash of their secret.

use super::writer::Unit;
use super::{Columns, Result, SqlStore, values};
use crate::rows::{RowError, mode_from};
use async_trait::async_trait;
use portolan_domain::ids::Name;
use portolan_domain::ports::{ApiKey, CommitError, KeyRing, ReadError};

fn api_key(row: &dyn Columns) -> Result<ApiKey> {
    let merchant: String = row.get(2)?;
    Ok(ApiKey {
        hash: row.get(0)?,
        id: row.get(1)?,
        merchant: Name::parse(&merchant).ok_or_else(|| RowError::new(format!("{merchant:?} is no name")))?,
        mode: mode_from(row.get(3)?),
        scopes: row.get::<String>(4)?.split_whitespace().map(str::to_owned).collect(),
        created_ms: row.get(5)?,
        revoked_ms: row.get(6)?,
        public_key: row.get(7)?,
    })
}

const API_KEY: &str = "SELECT hash, id, merchant, mode, scopes, created_ms, revoked_ms, public_key FROM api_key";

#[async_trait]
impl KeyRing for SqlStore {
    fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, ReadError> {
        if let Some(key) = self.kept.api_keys.get(hash) {
            return Ok(Some(key));
        }
        let found =
            self.read(|connection| connection.one(&format!("{API_KEY} WHERE hash = ?"), values![hash], api_key))?;
        if let Some(key) = &found {
            self.kept.api_keys.put_read(*hash, key.clone());
        }
        Ok(found)
    }

    fn api_keys(&self) -> Result<Vec<ApiKey>, ReadError> {
        self.read(|connection| connection.all(&format!("{API_KEY} ORDER BY created_ms"), values![], api_key))
    }

    async fn put_api_key(&self, key: ApiKey) -> Result<(), CommitError> {
        self.writer.write(Unit::ApiKey(Box::new(key.clone()))).await?;
        self.kept.api_keys.put(key.hash, key);
        Ok(())
    }
}
