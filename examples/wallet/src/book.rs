//! What the provider did: payments by the client's request id, refunds by theirs.

use portolan_simulator::journal::Journal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// An amount: digits of the smallest unit.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    pub currency: String,
    pub value: String,
}

impl Amount {
    /// As a number.
    pub fn units(&self) -> u64 {
        self.value.parse().unwrap_or(0)
    }
}

/// A payment.
#[derive(Clone, Serialize, Deserialize)]
pub struct Payment {
    pub id: String,
    pub request_id: String,
    pub order: String,
    pub wallet: String,
    pub amount: Amount,
    pub notify_url: String,
    pub redirect_url: String,
    /// `PROCESSING`, `SUCCESS`, `FAIL`, `CANCELLED`.
    pub status: String,
    pub failure: Option<String>,
    pub refunded: u64,
}

/// A refund.
#[derive(Clone, Serialize, Deserialize)]
pub struct Refund {
    pub id: String,
    pub request_id: String,
    pub payment: String,
    pub amount: Amount,
    /// From when on it is done.
    pub done_ms: u64,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Payment(Payment),
    Refund(Refund),
}

/// Everything that the provider did.
pub struct Book {
    journal: Journal<Line>,
    /// By the client's request id.
    pub payments: BTreeMap<String, Payment>,
    /// By the client's request id.
    pub refunds: BTreeMap<String, Refund>,
}

impl Book {
    /// Reads the record back.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let (mut payments, mut refunds) = (BTreeMap::new(), BTreeMap::new());
        let journal = Journal::open(path, true, |line| match line {
            Line::Payment(it) => drop(payments.insert(it.request_id.clone(), it)),
            Line::Refund(it) => drop(refunds.insert(it.request_id.clone(), it)),
        })?;
        Ok(Self {
            journal,
            payments,
            refunds,
        })
    }

    /// Writes a payment as it is now.
    pub fn put(&mut self, payment: Payment) -> anyhow::Result<()> {
        self.journal.append(&Line::Payment(payment.clone()))?;
        self.payments.insert(payment.request_id.clone(), payment);
        Ok(())
    }

    /// Writes a refund.
    pub fn put_refund(&mut self, refund: Refund) -> anyhow::Result<()> {
        self.journal.append(&Line::Refund(refund.clone()))?;
        self.refunds.insert(refund.request_id.clone(), refund);
        Ok(())
    }

    /// A payment by either id.
    pub fn find(&self, id: Option<&str>, request_id: Option<&str>) -> Option<&Payment> {
        match (id, request_id) {
            (Some(id), _) => self.payments.values().find(|payment| payment.id == id),
            (None, Some(request_id)) => self.payments.get(request_id),
            (None, None) => None,
        }
    }
}
