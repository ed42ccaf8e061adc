//! The walk of one payment: claim, validate, route, attempt, answer. Confirming later joins it after the first step.

use crate::idempotency::{ClaimRequest, Claimed};
use crate::walk::{Lead, set_method};
use crate::{Answered, Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Versioned};
use portolan_domain::ids::{MerchantId, MethodId, Mode, PaymentId};
use portolan_domain::payment::Payment;
use portolan_domain::payment::conversion::Conversion;
use portolan_domain::payment::decide::{self, Refusal};
use portolan_domain::payment::request::{FieldError, ValidPayment};
use portolan_domain::payment::status::PaymentStatus;
use portolan_domain::ports::Method;

/// `POST /v1/payments`.
#[derive(Clone, Debug)]
pub struct CreatePayment {
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// The merchant's key.
    pub claim: ClaimRequest,
    /// What is meant.
    pub valid: ValidPayment,
}

/// `POST /v1/payments/{id}/confirm`.
#[derive(Clone, Debug)]
pub struct ConfirmPayment {
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// The merchant's key.
    pub claim: ClaimRequest,
    /// Which.
    pub payment: PaymentId,
    /// The token, where it comes now.
    pub method: Option<MethodId>,
}

impl Engine {
    /// Creates a payment, and confirms it where asked. One with a beneficiary goes out, and is always confirmed.
    pub async fn create_payment(&self, command: CreatePayment) -> Result<Answered, EngineError> {
        let _in_use = match self.claim(&command.claim)? {
            Claimed::Replay(answered) => return Ok(answered),
            Claimed::New(in_use) => in_use,
        };
        let method = command
            .valid
            .method
            .map(|id| self.method_of(&command.merchant, command.mode, id))
            .transpose()?;
        let confirm = command.valid.confirm;
        let conversion = self.conversion_of(&command).await?;
        let (draft, change) = self.draft(&command, method.as_ref(), conversion)?;
        if !confirm {
            return self
                .store_unconfirmed(change.into_commit(draft, 0), &command.claim)
                .await;
        }
        let base = Versioned {
            payment: draft,
            version: 0,
            in_flight: vec![],
        };
        let lead = Lead {
            events: change.events,
            claim: command.claim,
            decision: None,
        };
        self.attempt(base, lead, method).await
    }

    /// Confirms a payment that was created before.
    pub async fn confirm_payment(&self, command: ConfirmPayment) -> Result<Answered, EngineError> {
        let _in_use = match self.claim(&command.claim)? {
            Claimed::Replay(answered) => return Ok(answered),
            Claimed::New(in_use) => in_use,
        };
        let base = self.owned(&command.merchant, command.mode, command.payment)?;
        if !matches!(
            base.payment.status,
            PaymentStatus::RequiresConfirmation | PaymentStatus::RequiresPaymentMethod
        ) {
            return Err(Refusal::WrongStatus(base.payment.status.as_str()).into());
        }
        let id = command.method.or(base.payment.method());
        if id.is_none() && base.payment.instrument.is_none() {
            let missing = FieldError::new("/payment_method", "missing", "this payment has none yet");
            return Err(EngineError::Invalid(vec![missing]));
        }
        let method = id
            .map(|id| self.method_of(&command.merchant, command.mode, id))
            .transpose()?;
        let lead = Lead {
            events: vec![],
            claim: command.claim,
            decision: None,
        };
        self.attempt(base, lead, method).await
    }

    /// A payment of that merchant; somebody else's does not exist.
    pub(crate) fn owned(&self, merchant: &MerchantId, mode: Mode, id: PaymentId) -> Result<Versioned, EngineError> {
        let found = self.load(id)?;
        let is_theirs =
            found.payment.merchant == *merchant && found.payment.mode == mode && found.payment.payout.is_none();
        if is_theirs {
            Ok(found)
        } else {
            Err(EngineError::NotFound("payment"))
        }
    }

    fn method_of(&self, merchant: &MerchantId, mode: Mode, id: MethodId) -> Result<Method, EngineError> {
        let found = self
            .ports
            .store
            .method(id)?
            .filter(|method| method.merchant == *merchant && method.mode == mode);
        found.ok_or_else(|| {
            EngineError::Invalid(vec![FieldError::new(
                "/payment_method",
                "not_found",
                "there is no such payment method",
            )])
        })
    }

    pub(crate) fn draft(
        &self,
        command: &CreatePayment,
        method: Option<&Method>,
        conversion: Option<Conversion>,
    ) -> Result<(Payment, Change), EngineError> {
        let ambient = &*self.ports.ambient;
        let mut change = Change::new(ambient);
        let names = (
            PaymentId::new(ambient.uuid_v7()),
            ambient.uuid_v4(),
            command.merchant.clone(),
            command.mode,
        );
        let mut payment = decide::create(&mut change, names, command.valid.clone())?;
        if let Some(conversion) = conversion {
            decide::lock_rate(&mut payment, &mut change, conversion)?;
        }
        if let Some(method) = method {
            set_method(&mut payment, &mut change, method)?;
        }
        Ok((payment, change))
    }

    async fn store_unconfirmed(&self, mut commit: Commit, claim: &ClaimRequest) -> Result<Answered, EngineError> {
        let created = commit
            .payment
            .as_ref()
            .map(|(payment, _)| (payment.id, payment.created_ms));
        if let Some((id, at_ms)) = created {
            claim.put_into(&mut commit, id, (None, at_ms));
        }
        commit.is_new_money = true;
        let quoted = commit
            .payment
            .as_ref()
            .and_then(|(payment, _)| payment.conversion.as_ref());
        commit.quote = quoted.map(|conversion| conversion.quote);
        self.ports.store.commit(&commit).await?;
        let (payment, _) = commit.payment.ok_or(EngineError::NotFound("payment"))?;
        Ok(self.answered(&payment))
    }

    pub(crate) fn answered(&self, payment: &Payment) -> Answered {
        Answered {
            answer: self.ports.render.payment(payment),
            is_replay: false,
        }
    }
}
