//! Files that every machine of a store must have. They are large, so they do not wait in the writer's line.

use super::{Result, Sql, SqlStore, values};
use portolan_domain::ports::{Files, ReadError};

/// The names of all files.
pub(crate) fn all_names(connection: &dyn Sql) -> Result<Vec<String>> {
    connection.all("SELECT name FROM adapter_file ORDER BY name", values![], |row| {
        row.get(0)
    })
}

/// The file of that name.
pub(crate) fn one(connection: &dyn Sql, name: &str) -> Result<Option<Vec<u8>>> {
    let question = "SELECT bytes FROM adapter_file WHERE name = ?";
    connection.one(question, values![name], |row| row.get(0))
}

impl Files for SqlStore {
    fn put_file(&self, name: &str, bytes: Option<&[u8]>) -> Result<(), ReadError> {
        let written = self.database.aside(&mut |connection| match bytes {
            Some(_) if connection.exists("SELECT 1 FROM adapter_file WHERE name = ? AND bytes = ?", values![name, bytes])? => Ok(()),
            Some(bytes) => connection.write(
                "INSERT INTO adapter_file (name, bytes) VALUES (?,?) ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes",
                values![name, bytes],
            ),
            None => connection.write("DELETE FROM adapter_file WHERE name = ?", values![name]),
        });
        Ok(written.unwrap_or(Ok(()))?)
    }

    fn file_names(&self) -> Result<Option<Vec<String>>, ReadError> {
        let mut names = vec![];
        let read = self.database.aside(&mut |connection| {
            names = connection.all("SELECT name FROM adapter_file ORDER BY name", values![], |row| {
                row.get(0)
            })?;
            Ok(())
        });
        Ok(read.transpose()?.map(|()| names))
    }

    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let mut bytes = None;
        let read = self.database.aside(&mut |connection| {
            bytes = one(connection, name)?;
            Ok(())
        });
        read.unwrap_or(Ok(()))?;
        Ok(bytes)
    }
}
