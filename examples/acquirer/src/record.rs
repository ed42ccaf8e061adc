//! The durable record: every change is a JSON line, synced before it is answered, and read back at start.

use crate::charge::{Charge, FollowUp};
use portolan_simulator::journal::Journal;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// One line.
#[derive(Serialize, Deserialize)]
enum Line {
    Charge(Charge),
    FollowUp(FollowUp),
}

/// Everything that the acquirer did.
pub struct Record {
    journal: Journal<Line>,
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
        let (mut charges, mut follow_ups) = (vec![], HashMap::new());
        let journal = Journal::open(path, is_synced, |line| match line {
            Line::Charge(charge) => charges.push(charge),
            Line::FollowUp(follow_up) => {
                follow_ups.insert(follow_up.key.clone(), follow_up);
            }
        })?;
        let mut record = Self {
            journal,
            charges: HashMap::new(),
            follow_ups,
            by_key: HashMap::new(),
        };
        charges.into_iter().for_each(|charge| record.index(charge));
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
        self.journal.append(&Line::Charge(charge.clone()))?;
        self.index(charge);
        Ok(())
    }

    /// Writes a follow-up as it is now.
    pub fn put_follow_up(&mut self, follow_up: FollowUp) -> anyhow::Result<()> {
        self.journal.append(&Line::FollowUp(follow_up.clone()))?;
        self.follow_ups.insert(follow_up.key.clone(), follow_up);
        Ok(())
    }

    /// The charge of an idempotency key.
    pub fn charge_of_key(&self, key: &str) -> Option<&Charge> {
        self.charges.get(self.by_key.get(key)?.first()?)
    }
}
