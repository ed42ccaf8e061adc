//! The deliver leg: what a payment's exchange brought goes out as a payout of its own. The payout's id is written with the
//! payment before there is a payout, so that a kill in between makes it once, and never twice.

use crate::idempotency::ClaimRequest;
use crate::walk::Lead;
use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, ClaimName, Commit, Versioned};
use portolan_domain::ids::PaymentId;
use portolan_domain::payment::conversion::LegState;
use portolan_domain::payment::decide;
use portolan_domain::payment::delivery::{self, outcome_of};
use portolan_domain::payment::request::ValidPayment;
use portolan_domain::payment::{Payment, Payout};
use portolan_domain::ports::CommitError;

/// Why nothing goes on: the merchant paid it out meanwhile.
const UNCOVERED: &str = "uncovered";
/// Why nothing goes on: a backup cannot know whether it did.
const RESTORED: &str = "restored";

impl Engine {
    /// Begins the leg, or looks how far it is. `false`: nothing changed, somebody else has to act first.
    pub(crate) async fn deliver(&self, base: Versioned) -> Result<(Versioned, bool), EngineError> {
        let Some(leg) = &base.payment.delivery else {
            return Ok((base, false));
        };
        if leg.state == LegState::Planned {
            let id = PaymentId::new(self.ports.ambient.uuid_v7());
            let begin = |payment: &mut Payment, change: &mut Change| Ok(delivery::begin(payment, change, id)?);
            let (written, ()) = self
                .update(&base, begin, |_: &mut Commit, _: &Payment, (): &()| {})
                .await?;
            self.ports.steps.reached("after_delivery_begun");
            return Ok((written, true));
        }
        let Some(id) = leg.payout else {
            return Ok((base, false));
        };
        if self.ports.store.payment(id)?.is_none() {
            match Box::pin(self.pay_on(&base.payment, id)).await {
                Ok(()) | Err(EngineError::Store(CommitError::ClaimTaken | CommitError::VersionConflict)) => {}
                Err(EngineError::Store(CommitError::Uncovered)) => {
                    return self
                        .conclude_delivery(base, (LegState::Failed, Some(UNCOVERED.into())))
                        .await;
                }
                Err(error) => return Err(error),
            }
        }
        self.follow_delivery(base, id).await
    }

    /// What became of the payout, if it is known.
    async fn follow_delivery(&self, base: Versioned, id: PaymentId) -> Result<(Versioned, bool), EngineError> {
        let payout = self.ports.store.payment(id)?;
        match payout.and_then(|found| outcome_of(&found.payment)) {
            Some(outcome) => self.conclude_delivery(base, outcome).await,
            None => Ok((base, false)),
        }
    }

    async fn conclude_delivery(
        &self,
        base: Versioned,
        outcome: (LegState, Option<String>),
    ) -> Result<(Versioned, bool), EngineError> {
        let conclude =
            |payment: &mut Payment, change: &mut Change| Ok(delivery::conclude(payment, change, outcome.clone())?);
        self.update(&base, conclude, |_: &mut Commit, _: &Payment, _: &bool| {})
            .await
    }

    /// Something became of a payout: the payment whose leg it is hears of it, now or by its own timer.
    pub(crate) async fn tell_of_delivery(&self, payout: &Payment) {
        let Some(parent) = payout.payout.as_ref().and_then(|it| it.leg_of) else {
            return;
        };
        let told = match self.load(parent) {
            Ok(base) => self.follow_delivery(base, payout.id).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::warn!(payment = %parent, %error, "its delivery is looked at later");
        }
    }

    /// Makes the payout, of that id.
    async fn pay_on(&self, parent: &Payment, id: PaymentId) -> Result<(), EngineError> {
        let (payment, change) = self.payout_of(parent, id)?;
        // No merchant's key begins so: it is of the router's own.
        let name = ClaimName {
            merchant: parent.merchant.clone(),
            mode: parent.mode,
            key: format!("\u{a7} delivery of {}", parent.id),
        };
        let lead = Lead {
            events: change.events,
            decision: None,
            claim: ClaimRequest {
                name,
                fingerprint: vec![],
                order: None,
                approved: None,
                must_be_known: false,
            },
        };
        let base = Versioned {
            payment,
            version: 0,
            in_flight: vec![],
        };
        self.attempt(base, lead, None).await.map(drop)
    }

    fn payout_of(&self, parent: &Payment, id: PaymentId) -> Result<(Payment, Change), EngineError> {
        let delivery = parent.delivery.as_ref().ok_or(EngineError::NotFound("delivery"))?;
        let amount = delivery.amount.clone().ok_or(EngineError::NotFound("delivery"))?;
        let valid = ValidPayment {
            must_authenticate: false,
            amount,
            manual_capture: false,
            method: None,
            instrument: None,
            quote: None,
            delivery: None,
            payout: Some(Box::new(Payout {
                terms: delivery.terms.clone(),
                iso_status: None,
                returned: None,
                fee: None,
                booked: None,
                return_booked: None,
                leg_of: Some(parent.id),
            })),
            confirm: true,
            description: parent.description.clone(),
            statement_descriptor: None,
            return_url: None,
            metadata: parent.metadata.clone(),
            payer_name: None,
            payer_email: None,
            payer_country: None,
            payer_id: None,
            payer_ip: None,
            ip_country: None,
            shipping_country: None,
        };
        let mut change = Change::new(&*self.ports.ambient);
        let names = (id, self.ports.ambient.uuid_v4(), parent.merchant.clone(), parent.mode);
        let payment = decide::create(&mut change, names, valid)?;
        Ok((payment, change))
    }

    /// After a restore: what the backup does not know as paid on was paid on since, perhaps. It does not go out again.
    pub(crate) async fn hold_delivery(&self, id: PaymentId) -> Result<(), EngineError> {
        let base = self.load(id)?;
        let Some(delivery) = base.payment.delivery.as_ref().filter(|it| !it.is_over()) else {
            return Ok(());
        };
        let payout = delivery.payout.map(|id| self.ports.store.payment(id)).transpose()?;
        if payout.flatten().is_some() {
            // It is asked about like everything that was in flight.
            return Ok(());
        }
        let give_up = |payment: &mut Payment, _: &mut Change| {
            delivery::give_up(payment, RESTORED);
            Ok(())
        };
        self.update(&base, give_up, |_: &mut Commit, _: &Payment, (): &()| {})
            .await
            .map(drop)
    }
}
