//! One key, one effect: new, replay, conflict. In the process a key in use is remembered; on disk the claim is written
//! in the intent's commit, so a key without a commit is free again.

use crate::{Answered, Engine, EngineError};
use portolan_domain::approval::Approved;
use portolan_domain::commit::{Claim, ClaimName, Commit};
use portolan_domain::ids::{OperationId, PaymentId};
use portolan_domain::order::SignedOrder;
use std::sync::Arc;

/// A merchant's key with the fingerprint of the request.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Merchant, mode, key.
    pub name: ClaimName,
    /// A keyed hash over method, path and canonical body.
    pub fingerprint: Vec<u8>,
    /// The request as it was signed, where its key asks for that.
    pub order: Option<Arc<SignedOrder>>,
    /// What was approved, where it has to be.
    pub approved: Option<Arc<Approved>>,
    /// The request was let through because its key is known: nothing new may come of it.
    pub must_be_known: bool,
}

impl ClaimRequest {
    /// Puts the claim into the intent's commit, with the order if it was signed.
    pub(crate) fn put_into(
        &self,
        commit: &mut Commit,
        payment: PaymentId,
        (operation, at_ms): (Option<OperationId>, u64),
    ) {
        commit.claim = Some(self.claim(payment, operation, at_ms));
        let order = self.order.as_deref().cloned();
        commit.order = order.map(|order| Box::new(SignedOrder { operation, ..order }));
        let approved = self.approved.as_deref().cloned();
        commit.approved = approved.map(|approved| Box::new(Approved { operation, ..approved }));
    }

    /// The claim that the intent's commit writes.
    fn claim(&self, payment: PaymentId, operation: Option<OperationId>, at_ms: u64) -> Claim {
        Claim {
            name: self.name.clone(),
            fingerprint: self.fingerprint.clone(),
            payment,
            operation,
            at_ms,
            answer: None,
        }
    }
}

/// Holds a key as in use until dropped.
pub(crate) struct InUse<'a> {
    engine: &'a Engine,
    name: ClaimName,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.engine.claims.remove(&self.name);
    }
}

/// What a key leads to.
pub(crate) enum Claimed<'a> {
    New(InUse<'a>),
    Replay(Answered),
}

impl Engine {
    pub(crate) fn claim(&self, request: &ClaimRequest) -> Result<Claimed<'_>, EngineError> {
        if self.claims.insert(request.name.clone(), ()).is_some() {
            return Err(EngineError::KeyInFlight);
        }
        let in_use = InUse {
            engine: self,
            name: request.name.clone(),
        };
        let Some(claim) = self.ports.store.claim(&request.name)? else {
            return match request.must_be_known {
                // It was forgotten meanwhile: the next try is a new one.
                true => Err(EngineError::KeyInFlight),
                false => Ok(Claimed::New(in_use)),
            };
        };
        if claim.fingerprint != request.fingerprint {
            return Err(EngineError::KeyReused);
        }
        self.replay(&claim).map(Claimed::Replay)
    }

    /// What a key in use has come to so far; `None` while nothing is on disk.
    pub fn as_it_is_now(&self, name: &ClaimName) -> Result<Option<Answered>, EngineError> {
        let Some(claim) = self.ports.store.claim(name)? else {
            return Ok(None);
        };
        let answered = self.replay(&claim)?;
        Ok(Some(Answered {
            is_replay: false,
            ..answered
        }))
    }

    /// The stored answer where the object was final then, else the object as it is now.
    fn replay(&self, claim: &Claim) -> Result<Answered, EngineError> {
        if let Some(answer) = &claim.answer {
            return Ok(Answered {
                answer: answer.clone(),
                is_replay: true,
            });
        }
        let found = self
            .ports
            .store
            .payment(claim.payment)?
            .ok_or(EngineError::NotFound("payment"))?;
        let refund = claim.operation.filter(|id| {
            found
                .payment
                .follow_up(*id)
                .is_some_and(|it| it.kind == portolan_domain::operation::Kind::Refund)
        });
        let answer = match refund {
            Some(refund) => self.ports.render.refund(&found.payment, refund),
            None => self.ports.render.payment(&found.payment),
        };
        Ok(Answered {
            answer,
            is_replay: true,
        })
    }
}
