//! Payouts: a payment that goes out. It is checked, covered by the merchant's balance in its intent's commit, and then
//! takes the same walk as every payment.

use crate::attempt::Lead;
use crate::create_payment::CreatePayment;
use crate::idempotency::Claimed;
use crate::{Answered, Engine, EngineError};
use portolan_domain::commit::Versioned;

/// `POST /v1/payouts`: its `valid` has a beneficiary.
pub type CreatePayout = CreatePayment;

impl Engine {
    /// Pays a beneficiary out of what the merchant has available.
    pub async fn create_payout(&self, command: CreatePayout) -> Result<Answered, EngineError> {
        let _in_use = match self.claim(&command.claim)? {
            Claimed::Replay(answered) => return Ok(answered),
            Claimed::New(in_use) => in_use,
        };
        let (draft, change) = self.draft(&command, None, None)?;
        let base = Versioned {
            payment: draft,
            version: 0,
            in_flight: vec![],
        };
        let lead = Lead {
            events: change.events,
            claim: command.claim,
        };
        self.attempt(base, lead, None).await
    }
}
