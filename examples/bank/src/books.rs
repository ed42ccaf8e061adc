//! What the bank did: transfers by the number of their message, and money that came in.

use portolan_simulator::journal::Journal;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A transfer.
#[derive(Clone, Serialize, Deserialize)]
pub struct Transfer {
    pub id: String,
    pub product: String,
    pub message: String,
    pub end_to_end: String,
    pub uetr: String,
    pub currency: String,
    pub amount: Decimal,
    /// What the bank kept of it besides.
    pub charges: Decimal,
    /// Why it is refused or comes back in the end.
    pub reason: Option<String>,
    /// Every status with the time from which on it holds.
    pub statuses: Vec<(u64, String)>,
    /// When it is booked, and when it comes back.
    pub booked_ms: Option<u64>,
    pub returned_ms: Option<u64>,
    /// The message, as it came.
    pub xml: String,
}

impl Transfer {
    /// Where it stands at a time.
    pub fn status_at(&self, now_ms: u64) -> &str {
        let reached = self.statuses.iter().rev().find(|(from_ms, _)| *from_ms <= now_ms);
        reached.map_or("RCVD", |(_, status)| status.as_str())
    }
}

/// Money that came in: from whom does not matter.
#[derive(Clone, Serialize, Deserialize)]
pub struct Incoming {
    pub id: String,
    pub currency: String,
    pub amount: Decimal,
    pub text: String,
    pub at_ms: u64,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Transfer(Transfer),
    Incoming(Incoming),
}

/// Everything that the bank did.
pub struct Books {
    journal: Journal<Line>,
    /// By message.
    pub transfers: BTreeMap<String, Transfer>,
    pub incoming: Vec<Incoming>,
}

impl Books {
    /// Reads the record back.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let (mut transfers, mut incoming) = (BTreeMap::new(), vec![]);
        let journal = Journal::open(path, true, |line| match line {
            Line::Transfer(it) => drop(transfers.insert(it.message.clone(), it)),
            Line::Incoming(it) => incoming.push(it),
        })?;
        Ok(Self {
            journal,
            transfers,
            incoming,
        })
    }

    /// Writes a transfer.
    pub fn put_transfer(&mut self, transfer: Transfer) -> anyhow::Result<()> {
        self.journal.append(&Line::Transfer(transfer.clone()))?;
        self.transfers.insert(transfer.message.clone(), transfer);
        Ok(())
    }

    /// Writes money that came in.
    pub fn put_incoming(&mut self, incoming: Incoming) -> anyhow::Result<()> {
        self.journal.append(&Line::Incoming(incoming.clone()))?;
        self.incoming.push(incoming);
        Ok(())
    }
}
