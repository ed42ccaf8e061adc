//! What the desk did: quotes, conversions, transfers, by id and by the client's `request_id`.

use portolan_simulator::journal::Journal;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A locked price.
#[derive(Clone, Serialize, Deserialize)]
pub struct Quote {
    pub id: String,
    pub pair: String,
    pub client_rate: Decimal,
    pub mid_rate: Decimal,
    pub sell_currency: String,
    pub sell_amount: Decimal,
    pub buy_currency: String,
    pub buy_amount: Decimal,
    pub dealt_currency: String,
    pub validity: String,
    pub from_ms: u64,
    pub to_ms: u64,
    pub is_used: bool,
}

/// A conversion.
#[derive(Clone, Serialize, Deserialize)]
pub struct Conversion {
    pub id: String,
    pub request_id: String,
    pub quote: Quote,
    pub status: String,
    pub created_ms: u64,
}

/// A transfer.
#[derive(Clone, Serialize, Deserialize)]
pub struct Transfer {
    pub id: String,
    pub request_id: String,
    pub currency: String,
    pub amount: Decimal,
    pub method: String,
    pub reference: String,
    pub reason: String,
    pub fee_paid_by: String,
    pub beneficiary: serde_json::Value,
    pub metadata: serde_json::Value,
    pub failure: Option<(String, String)>,
    pub created_ms: u64,
    /// Every status with the time from which on it holds.
    pub statuses: Vec<(u64, String)>,
}

impl Transfer {
    /// Where it stands at a time.
    pub fn status_at(&self, now_ms: u64) -> &str {
        let reached = self.statuses.iter().rev().find(|(from_ms, _)| *from_ms <= now_ms);
        reached.map_or("SCHEDULED", |(_, status)| status.as_str())
    }
}

#[derive(Serialize, Deserialize)]
enum Line {
    Quote(Quote),
    Conversion(Conversion),
    Transfer(Transfer),
}

/// Everything that the desk did.
pub struct Books {
    journal: Journal<Line>,
    pub quotes: BTreeMap<String, Quote>,
    /// By `request_id`.
    pub conversions: BTreeMap<String, Conversion>,
    /// By `request_id`.
    pub transfers: BTreeMap<String, Transfer>,
}

impl Books {
    /// Reads the record back.
    pub fn open(path: &Path, is_synced: bool) -> anyhow::Result<Self> {
        let (mut quotes, mut conversions, mut transfers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let journal = Journal::open(path, is_synced, |line| match line {
            Line::Quote(it) => drop(quotes.insert(it.id.clone(), it)),
            Line::Conversion(it) => drop(conversions.insert(it.request_id.clone(), it)),
            Line::Transfer(it) => drop(transfers.insert(it.request_id.clone(), it)),
        })?;
        Ok(Self {
            journal,
            quotes,
            conversions,
            transfers,
        })
    }

    /// Writes a quote as it is now.
    pub fn put_quote(&mut self, quote: Quote) -> anyhow::Result<()> {
        self.journal.append(&Line::Quote(quote.clone()))?;
        self.quotes.insert(quote.id.clone(), quote);
        Ok(())
    }

    /// Writes a conversion.
    pub fn put_conversion(&mut self, conversion: Conversion) -> anyhow::Result<()> {
        self.journal.append(&Line::Conversion(conversion.clone()))?;
        self.conversions.insert(conversion.request_id.clone(), conversion);
        Ok(())
    }

    /// Writes a transfer.
    pub fn put_transfer(&mut self, transfer: Transfer) -> anyhow::Result<()> {
        self.journal.append(&Line::Transfer(transfer.clone()))?;
        self.transfers.insert(transfer.request_id.clone(), transfer);
        Ok(())
    }
}
