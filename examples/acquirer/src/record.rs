//! The durable record: every change is a JSON line, synced before it is answered, and read back at start.

use crate::charge::{Charge, FollowUp};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

/// One line.
#[derive(Serialize, Deserialize)]
enum Line {
    Charge(Charge),
    FollowUp(FollowUp),
}

/// Everything that the acquirer did.
pub struct Record {
    file: File,
    is_synced: bool,
    /// By id.
    pub charges: HashMap<String, Charge>,
    /// By key; without keys, by id.
    pub follow_ups: HashMap<String, FollowUp>,
    /// Charge ids by idempotency key, in order of making: more than one only where keys are ignored.
    pub by_key: HashMap<String, Vec<String>>,
}

impl Record {
    /// Reads the record back; a torn last line is what a crash leaves, and is dropped.
    pub fn open(path: &Path, is_synced: bool) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).read(true).open(path)?;
        let mut record = Self {
            file: file.try_clone()?,
            is_synced,
            charges: HashMap::new(),
            follow_ups: HashMap::new(),
            by_key: HashMap::new(),
        };
        for line in BufReader::new(file).lines() {
            match serde_json::from_str(&line?) {
                Ok(Line::Charge(charge)) => record.index(charge),
                Ok(Line::FollowUp(follow_up)) => {
                    record.follow_ups.insert(follow_up.key.clone(), follow_up);
                }
                Err(_) => break,
            }
        }
        Ok(record)
    }

    fn index(&mut self, charge: Charge) {
        let ids = self.by_key.entry(charge.key.clone()).or_default();
        if !ids.contains(&charge.id) {
            ids.push(charge.id.clone());
        }
        self.charges.insert(charge.id.clone(), charge);
    }

    /// Writes a charge as it is now.
    pub fn put_charge(&mut self, charge: Charge) -> anyhow::Result<()> {
        self.append(&Line::Charge(charge.clone()))?;
        self.index(charge);
        Ok(())
    }

    /// Writes a follow-up as it is now.
    pub fn put_follow_up(&mut self, follow_up: FollowUp) -> anyhow::Result<()> {
        self.append(&Line::FollowUp(follow_up.clone()))?;
        self.follow_ups.insert(follow_up.key.clone(), follow_up);
        Ok(())
    }

    fn append(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)?;
        if self.is_synced {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// The charge of an idempotency key.
    pub fn charge_of_key(&self, key: &str) -> Option<&Charge> {
        self.charges.get(self.by_key.get(key)?.first()?)
    }
}
