//! A durable record: every change is a JSON line, synced before it is answered, and read back at start.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::path::Path;

/// The lines of one simulator.
pub struct Journal<L> {
    file: File,
    is_synced: bool,
    line: PhantomData<L>,
}

impl<L: Serialize + DeserializeOwned> Journal<L> {
    /// Reads the record back, line by line; a torn last line is what a crash leaves, and is dropped.
    pub fn open(path: &Path, is_synced: bool, mut each: impl FnMut(L)) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).read(true).open(path)?;
        for line in BufReader::new(file.try_clone()?).lines() {
            match serde_json::from_str(&line?) {
                Ok(line) => each(line),
                Err(_) => break,
            }
        }
        Ok(Self {
            file,
            is_synced,
            line: PhantomData,
        })
    }

    /// Writes a line.
    pub fn append(&mut self, line: &L) -> anyhow::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)?;
        if self.is_synced {
            self.file.sync_data()?;
        }
        Ok(())
    }
}
