//! One payment's walk through its attempts: what is decided and not on disk yet, and what the intent of each attempt writes.

use crate::idempotency::ClaimRequest;
use crate::progress::LOOK_AFTER_MS;
use crate::run::Intent;
use crate::{Answered, Engine, EngineError};
use async_trait::async_trait;
use portolan_domain::commit::{Change, ClaimName, Commit, StoredAnswer, TimerKind, Versioned};
use portolan_domain::exchange::Exchange;
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::ledger::Account;
use portolan_domain::operation::{AskedBy, Fault, Instrument, Operation};
use portolan_domain::payment::decide::{self, Refusal};
use portolan_domain::payment::fact::{Event, Fact};
use portolan_domain::payment::status::{AttemptStatus, PaymentStatus};
use portolan_domain::payment::{LastError, Payment};
use portolan_domain::ports::Method;
use portolan_domain::risk::{self, Flag, LimitGuard, LimitPassed};
use portolan_domain::routing::decision::Decision;
use portolan_domain::routing::tries::TryRefusal;
use std::sync::Arc;

/// What is decided and not on disk yet: it goes in front of the first commit.
pub(crate) struct Lead {
    /// The draft's facts.
    pub events: Vec<Event>,
    /// The merchant's key.
    pub claim: ClaimRequest,
    /// How the route came about, once there is one.
    pub decision: Option<Box<Decision>>,
}

impl Lead {
    pub fn put_into(&self, commit: &mut Commit, payment: &Payment, operation: Option<OperationId>, now_ms: u64) {
        self.claim.put_into(commit, payment.id, (operation, now_ms));
        commit.decision.clone_from(&self.decision);
        commit.is_new_money = true;
    }
}

/// A payment on its way through its attempts.
pub(crate) struct Walk {
    pub base: Versioned,
    pub lead: Option<Lead>,
    pub claim: ClaimName,
    pub method: Option<Method>,
    pub chosen: (ChannelId, String),
    /// How many channels of the route come after the chosen one.
    pub channels_left: usize,
    /// Whether no channel is well, so that they are tried all the same.
    pub all_sick: bool,
    /// Who asks that the payer be authenticated: since the route was made, or since an issuer did.
    pub authenticate: Option<AskedBy>,
    /// How many attempts earlier confirmations made.
    pub attempts_before: usize,
    /// How many this one may make.
    pub attempts_max: usize,
    /// The limits that count the payment.
    pub limits: Option<Box<LimitGuard>>,
    /// What rules brought about, and is not on the payment yet.
    pub flags: Vec<Flag>,
    /// The answer as it is stored, once it is final.
    pub answer: Option<StoredAnswer>,
}

#[async_trait]
impl Intent for Walk {
    /// Commits claim, payment, operation with its request, pending entries, and the timer that looks after it.
    async fn write(
        &mut self,
        engine: &Engine,
        operation: &Operation,
        exchanges: &[Exchange],
    ) -> Result<(), EngineError> {
        let begin = |payment: &mut Payment, change: &mut Change| self.begin(engine, payment, change, operation);
        let complete = |commit: &mut Commit, payment: &Payment, (): &()| {
            commit
                .operations
                .push(Arc::new((operation.clone(), exchanges.to_vec())));
            commit.is_new_money = true;
            if let Some(lead) = &self.lead {
                lead.put_into(commit, payment, Some(operation.id), operation.started_ms);
            }
        };
        let (written, ()) = engine.update(&self.base, begin, complete).await?;
        self.base = written;
        self.lead = None;
        Ok(())
    }
}

impl Walk {
    pub fn answered(self, engine: &Engine) -> Answered {
        let answer = self
            .answer
            .unwrap_or_else(|| engine.ports.render.payment(&self.base.payment));
        Answered {
            answer,
            is_replay: false,
        }
    }

    /// What was decided before stands in front, in the same commit.
    pub fn precede(&self, payment: &mut Payment, change: &mut Change) -> Result<(), EngineError> {
        if let Some(lead) = &self.lead {
            change.precede(&lead.events);
        }
        Ok(risk::write_flags(payment, change, &self.flags)?)
    }

    /// The attempt's own facts, unless they are on the payment already (the second write of an operation).
    pub fn begin(
        &self,
        engine: &Engine,
        payment: &mut Payment,
        change: &mut Change,
        operation: &Operation,
    ) -> Result<(), EngineError> {
        self.precede(payment, change)?;
        if let Some(attempt) = payment.attempt(operation.attempt) {
            return if attempt.status == AttemptStatus::Started {
                Ok(())
            } else {
                Err(Refusal::OutcomeUnknown.into())
            };
        }
        refuse_beside_another(payment)?;
        use PaymentStatus as S;
        if !matches!(
            payment.status,
            S::RequiresConfirmation | S::RequiresPaymentMethod | S::Processing
        ) {
            return Err(Refusal::WrongStatus(payment.status.as_str()).into());
        }
        if let Some(method) = &self.method {
            set_method(payment, change, method)?;
        }
        if payment.payout.is_some() {
            let account = Account::MerchantAvailable(payment.merchant.clone());
            change.covers = Some((account, payment.amount.clone()));
        }
        if let Some(conversion) = payment.conversion.as_ref().filter(|_| self.base.version == 0) {
            change.quote = Some(conversion.quote);
        }
        change.tries = engine.try_guard(payment, operation);
        // It is one payment, however many attempts it takes.
        change.limits = self.limits.clone().filter(|_| self.lead.is_some());
        let chosen = (self.chosen.clone(), self.asks_for_authentication(operation));
        decide::begin_attempt(payment, change, operation.attempt, operation.id, chosen)?;
        let due = change.now_ms.saturating_add(LOOK_AFTER_MS);
        change
            .timers_set
            .push(payment.timer(TimerKind::Check, operation.id, due));
        Ok(())
    }
}

impl Walk {
    /// A limit was passed since it was measured: the trace says so too.
    pub fn refused_late(&mut self, passed: LimitPassed) -> Flag {
        let decision = self.lead.as_mut().and_then(|lead| lead.decision.as_mut());
        if let Some(decision) = decision {
            decision.measured.retain(|it| it.rule != passed.measured.rule);
            decision.measured.push(passed.measured);
            decision.flags.push(passed.flag.clone());
        }
        self.flags.push(passed.flag.clone());
        passed.flag
    }

    /// Whether no attempt may be made any more without the payer's authentication.
    pub fn insists(&self) -> bool {
        self.authenticate.is_some()
    }

    /// Whether one more attempt may be made besides those of the plan: as many as policy and rules allow, with this one.
    pub fn may_add_to(&self, operation: &Operation) -> bool {
        let attempts = &self.base.payment.attempts;
        let others = attempts.iter().filter(|it| it.id != operation.attempt).count();
        others.saturating_sub(self.attempts_before).saturating_add(1) < self.attempts_max
    }

    /// Who asks for the payer's authentication in this operation, which tells the channel so.
    fn asks_for_authentication(&self, operation: &Operation) -> Option<AskedBy> {
        self.authenticate.clone().filter(|_| operation.must_authenticate())
    }
}

/// A second confirmation must not start beside an attempt that is on its way: a next attempt finds all others closed.
pub(crate) fn refuse_beside_another(payment: &Payment) -> Result<(), EngineError> {
    match payment.open_attempt() {
        Some(_) => Err(Refusal::OutcomeUnknown.into()),
        None => Ok(()),
    }
}

/// Gives the payment its method, where it has another one or none.
pub(crate) fn set_method(payment: &mut Payment, change: &mut Change, method: &Method) -> Result<(), EngineError> {
    if payment.method() == Some(method.id) && payment.status != PaymentStatus::RequiresPaymentMethod {
        return Ok(());
    }
    payment.instrument = Some(Instrument::Card(method.id, method.card.clone()));
    Ok(payment.record(change, Fact::MethodSet)?)
}

/// The error code of a payment that a rule of its merchant's refuses.
pub(crate) const REFUSED: &str = "refused_by_rule";

/// Why no channel was left, beside what the attempts met.
pub(crate) enum GivenUp {
    /// The last channel could not be used at all.
    Unusable(Fault),
    /// The card may not be tried now.
    CardRefused(TryRefusal),
    /// A rule of the merchant's refuses it.
    Refused(Flag),
}

impl GivenUp {
    pub fn error(&self) -> LastError {
        let ((code, message), advice) = match self {
            Self::Unusable(fault) => (decide::fault_error(fault), None),
            Self::CardRefused(refusal) => ((refusal.code(), refusal.to_string()), Some(refusal.advice())),
            Self::Refused(flag) => ((REFUSED, flag.to_string()), None),
        };
        LastError {
            code: code.into(),
            message,
            advice: advice.map(|it| it.as_str().to_owned()),
            ..LastError::default()
        }
    }
}
