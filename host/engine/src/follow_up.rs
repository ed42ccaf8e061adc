//! What follows an authorization: capture, cancel, refund. The amount is checked and reserved in the intent's commit, on
//! the payment's last version, so that two at once cannot both pass.

use crate::idempotency::{ClaimRequest, Claimed};
use crate::progress::{LOOK_AFTER_MS, journaled, progress_of};
use crate::run::{Intent, NewOperation, Ran};
use crate::{Answered, Engine, EngineError};
use async_trait::async_trait;
use portolan_domain::beneficiary::PayoutTerms;
use portolan_domain::commit::{Change, Commit, TimerKind, Versioned};
use portolan_domain::exchange::Exchange;
use portolan_domain::ids::{AttemptId, ChannelId, MerchantId, Mode, OperationId, PaymentId};
use portolan_domain::money::Money;
use portolan_domain::operation::{Fixed, Input, Inquiry, KEYS, Kind, Memo, Operation, PayOrder, Target};
use portolan_domain::payment::decide::{self, Begun, Refusal};
use portolan_domain::payment::fact::Fact;
use portolan_domain::payment::request::FieldError;
use portolan_domain::payment::status::{AttemptStatus, FollowUpStatus};
use portolan_domain::payment::{Attempt, Payment};
use portolan_domain::ports::{CommitError, Need};
use std::sync::Arc;

/// Why a refund may not say to whom.
const GOES_BACK: &str = "it goes back the way that it came: leave it out";
/// Why one must. An exchange pays its customers from an address of its own.
const SAY_TO_WHOM: &str = "what it was paid through gives nothing back by itself: ask the payer where to, and name it as for a \
                           payout; the address that the money came from may be an exchange's, where it would be lost";
/// Why there is none.
const PAY_THE_PAYER: &str = "what it was paid through gives nothing back by itself; pay the payer: POST /v1/payouts";

/// `POST /v1/payments/{id}/capture`.
#[derive(Clone, Debug)]
pub struct CapturePayment {
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// The merchant's key.
    pub claim: ClaimRequest,
    /// Which.
    pub payment: PaymentId,
    /// How much, in minor units; all that is left if absent.
    pub amount: Option<i128>,
    /// Nothing more will be captured.
    pub is_final: bool,
}

/// `POST /v1/payments/{id}/cancel`.
#[derive(Clone, Debug)]
pub struct CancelPayment {
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// The merchant's key.
    pub claim: ClaimRequest,
    /// Which.
    pub payment: PaymentId,
    /// Why.
    pub reason: Option<String>,
}

/// `POST /v1/refunds`.
#[derive(Clone, Debug)]
pub struct RefundPayment {
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// The merchant's key.
    pub claim: ClaimRequest,
    /// Which.
    pub payment: PaymentId,
    /// How much, in minor units; all that is left if absent.
    pub amount: Option<i128>,
    /// Why.
    pub reason: Option<String>,
    /// Whether what was exchanged is given up at today's rate: the merchant bears the difference then, not the router.
    pub at_current_rate: bool,
    /// To whom it goes, where the channel gives nothing back by itself.
    pub deliver: Option<Box<PayoutTerms>>,
}

/// What is asked for, as far as the payment's last version allows it.
#[derive(Clone)]
pub(crate) struct Ask {
    pub kind: Kind,
    pub amount: Option<i128>,
    pub is_final: bool,
    pub reason: Option<String>,
    pub at_current: Option<Money>,
    pub deliver: Option<Box<PayoutTerms>>,
}

impl Ask {
    /// The attempt that it goes through and the exact amount, or why not.
    fn allowed(&self, payment: &Payment, now_ms: u64) -> Result<(AttemptId, Money), Refusal> {
        let asset = payment.amount.asset().clone();
        let bad = || Refusal::BadAmount(asset.code().to_owned());
        let asked = self
            .amount
            .map(|minor| Money::new(minor, asset.clone()).ok_or_else(bad))
            .transpose()?;
        match self.kind {
            Kind::Capture => decide::may_capture(payment, asked.as_ref()),
            Kind::Refund => decide::may_refund(payment, asked.as_ref()),
            Kind::Convert => decide::may_convert(payment, now_ms),
            Kind::Sweep => decide::may_sweep(payment),
            Kind::Cancel | Kind::Reverse | Kind::Authorize | Kind::Resume | Kind::Quote | Kind::Pay | Kind::Poll => {
                let attempt = payment
                    .open_attempt()
                    .ok_or(Refusal::WrongStatus(payment.status.as_str()))?;
                let held = attempt
                    .hold
                    .as_ref()
                    .map_or_else(|| payment.amount.clone(), |hold| hold.amount.clone());
                if self.kind == Kind::Cancel {
                    decide::may_cancel(payment)?;
                } else if attempt.status != AttemptStatus::Unknown || has_reversal(payment, attempt.id) {
                    return Err(Refusal::WrongStatus(payment.status.as_str()));
                }
                Ok((attempt.id, held))
            }
        }
    }
}

/// The intent of a follow-up.
struct FollowUpIntent {
    base: Versioned,
    ask: Ask,
    claim: Option<ClaimRequest>,
    is_written: bool,
}

#[async_trait]
impl Intent for FollowUpIntent {
    async fn write(
        &mut self,
        engine: &Engine,
        operation: &Operation,
        exchanges: &[Exchange],
    ) -> Result<(), EngineError> {
        let begin = |payment: &mut Payment, change: &mut Change| self.begin(payment, change, operation);
        let complete = |commit: &mut Commit, payment: &Payment, (): &()| {
            commit
                .operations
                .push(Arc::new((operation.clone(), exchanges.to_vec())));
            commit.is_new_money = self.claim.is_some();
            self.put_claim_into(commit, payment, operation);
        };
        let (written, ()) = engine.update(&self.base, begin, complete).await?;
        self.base = written;
        self.is_written = true;
        Ok(())
    }
}

impl FollowUpIntent {
    fn put_claim_into(&self, commit: &mut Commit, payment: &Payment, operation: &Operation) {
        if let Some(claim) = self.claim.as_ref().filter(|_| !self.is_written) {
            claim.put_into(commit, payment.id, (Some(operation.id), operation.started_ms));
        }
    }

    fn begin(&self, payment: &mut Payment, change: &mut Change, operation: &Operation) -> Result<(), EngineError> {
        if let Some(follow_up) = payment.follow_up(operation.id) {
            if !self.is_written {
                // Another one took the same id: start over with a new one.
                return Err(CommitError::VersionConflict.into());
            }
            let is_pending = follow_up.status == FollowUpStatus::Pending;
            return if is_pending {
                Ok(())
            } else {
                Err(Refusal::InFlight(operation.kind.as_str()).into())
            };
        }
        let (attempt, amount) = self.ask.allowed(payment, change.now_ms)?;
        if attempt != operation.attempt || amount != operation.amount {
            // The payment changed since the request was made from it: start over on what it is now.
            return Err(CommitError::VersionConflict.into());
        }
        let begun = Begun {
            is_final: self.ask.is_final,
            reason: self.ask.reason.clone(),
            at_current: self.ask.at_current.clone(),
            deliver: self.ask.deliver.clone(),
        };
        decide::begin_follow_up(payment, change, operation, begun)?;
        let due = change.now_ms.saturating_add(LOOK_AFTER_MS);
        change
            .timers_set
            .push(payment.timer(TimerKind::Check, operation.id, due));
        Ok(())
    }
}

impl Engine {
    /// Captures.
    pub async fn capture_payment(&self, command: CapturePayment) -> Result<Answered, EngineError> {
        let _in_use = match self.claim(&command.claim)? {
            Claimed::Replay(answered) => return Ok(answered),
            Claimed::New(in_use) => in_use,
        };
        let base = self.owned(&command.merchant, command.mode, command.payment)?;
        let ask = Ask {
            kind: Kind::Capture,
            amount: command.amount,
            is_final: command.is_final,
            reason: None,
            at_current: None,
            deliver: None,
        };
        let (done, _) = self.follow_up(base, ask, Some(command.claim)).await?;
        Ok(self.answered(&done.payment))
    }

    /// Cancels; a payment that was never sent is canceled without asking anybody.
    pub async fn cancel_payment(&self, command: CancelPayment) -> Result<Answered, EngineError> {
        let _in_use = match self.claim(&command.claim)? {
            Claimed::Replay(answered) => return Ok(answered),
            Claimed::New(in_use) => in_use,
        };
        let base = self.owned(&command.merchant, command.mode, command.payment)?;
        if decide::may_cancel(&base.payment)?.is_none() {
            return self.cancel_unsent(base, &command).await;
        }
        let ask = Ask {
            kind: Kind::Cancel,
            amount: None,
            is_final: true,
            reason: command.reason,
            at_current: None,
            deliver: None,
        };
        let (done, _) = self.follow_up(base, ask, Some(command.claim)).await?;
        Ok(self.answered(&done.payment))
    }

    /// Refunds.
    pub async fn refund_payment(&self, command: RefundPayment) -> Result<Answered, EngineError> {
        let _in_use = match self.claim(&command.claim)? {
            Claimed::Replay(answered) => return Ok(answered),
            Claimed::New(in_use) => in_use,
        };
        let base = self.owned(&command.merchant, command.mode, command.payment)?;
        self.check_gives_back(&base.payment, command.deliver.as_deref())?;
        let (amount, at_current) = match command.at_current_rate {
            true => self.price_of_refund(&base.payment, command.amount).await?,
            false => (command.amount, None),
        };
        let ask = Ask {
            kind: Kind::Refund,
            amount,
            is_final: false,
            reason: command.reason,
            at_current,
            deliver: command.deliver,
        };
        let (done, refund) = self.follow_up(base, ask, Some(command.claim)).await?;
        Ok(Answered {
            answer: self.ports.render.refund(&done.payment, refund),
            is_replay: false,
        })
    }

    /// Brings what came to a payment's own address to where payouts are made from.
    pub async fn sweep(&self, id: PaymentId) -> Result<Versioned, EngineError> {
        let base = self.load(id)?;
        let ask = Ask {
            kind: Kind::Sweep,
            amount: None,
            is_final: true,
            reason: None,
            at_current: None,
            deliver: None,
        };
        Ok(self.follow_up(base, ask, None).await?.0)
    }

    /// A channel that knows no refunds, a chain say, is not asked for one: it pays whom the merchant names. To others money
    /// goes back the way that it came, and nobody names another.
    fn check_gives_back(&self, payment: &Payment, deliver: Option<&PayoutTerms>) -> Result<(), EngineError> {
        let is_token = payment.is_settled_at_once();
        let refuse = |(pointer, code, how): (&str, &'static str, &str)| {
            Err(EngineError::Invalid(vec![FieldError::new(pointer, code, how)]))
        };
        if !is_token && deliver.is_some() {
            return refuse(("/deliver", "not_used", GOES_BACK));
        }
        let taken = payment
            .attempts
            .iter()
            .rev()
            .find(|it| it.status == AttemptStatus::Captured);
        let Some(attempt) = taken else { return Ok(()) };
        let facts = self.ports.channels.facts();
        // Of another version than the active one, which reads what this payment left, nothing is known here: then a token is
        // paid out, and anything else goes back.
        let version = self.later_version(&attempt.channel, attempt.memo.as_ref(), &attempt.adapter);
        let its = facts
            .iter()
            .find(|it| it.id == attempt.channel && it.adapter == version);
        let refunds = its.map_or(!is_token, |it| it.kinds.contains(&Kind::Refund));
        let pays_out = is_token && its.is_none_or(|it| it.kinds.contains(&Kind::Pay));
        match (refunds, pays_out, deliver) {
            (true, _, None) | (false, true, Some(_)) => Ok(()),
            (true, _, Some(_)) => refuse(("/deliver", "not_used", GOES_BACK)),
            (false, true, None) => refuse(("/deliver", "missing", SAY_TO_WHOM)),
            (false, false, _) => refuse(("/payment", "no_refunds", PAY_THE_PAYER)),
        }
    }

    /// What a refund costs the merchant at today's rate, and of how much it is.
    async fn price_of_refund(
        &self,
        payment: &Payment,
        asked: Option<i128>,
    ) -> Result<(Option<i128>, Option<Money>), EngineError> {
        let Some(got) = payment.exchanged() else {
            let how = "nothing was exchanged: there is one rate, leave it out";
            let error = FieldError::new("/rate", "not_exchanged", how);
            return Err(EngineError::Invalid(vec![error]));
        };
        let ask = Ask {
            kind: Kind::Refund,
            amount: asked,
            is_final: false,
            reason: None,
            at_current: None,
            deliver: None,
        };
        let (_, amount) = ask.allowed(payment, self.ports.ambient.now_ms())?;
        let inquiry = Inquiry {
            sell: got.asset().clone(),
            buy: amount.asset().clone(),
            fixed: Fixed::Buy(amount.clone()),
            lock_s: self.pricing.requote_lock_s,
        };
        let (terms, unavailable) = self.prices(&payment.merchant, payment.mode, &inquiry).await;
        let best = terms.into_iter().next().ok_or(EngineError::NoPrice(unavailable))?;
        Ok((Some(amount.minor()), Some(best.sold)))
    }

    async fn cancel_unsent(&self, base: Versioned, command: &CancelPayment) -> Result<Answered, EngineError> {
        let now_ms = self.ports.ambient.now_ms();
        let reason = command.reason.clone().unwrap_or_else(|| decide::BY_MERCHANT.into());
        let cancel = |payment: &mut Payment, change: &mut Change| {
            if decide::may_cancel(payment)?.is_some() {
                return Err(Refusal::WrongStatus(payment.status.as_str()).into());
            }
            payment.cancel_reason = Some(reason.clone());
            let word = decide::BY_MERCHANT.to_owned();
            Ok(payment.record(change, Fact::Canceled { reason: word })?)
        };
        let complete = |commit: &mut Commit, payment: &Payment, (): &()| {
            command.claim.put_into(commit, payment.id, (None, now_ms));
            commit.answer = Some((command.claim.name.clone(), self.ports.render.payment(payment)));
        };
        let (written, ()) = self.update(&base, cancel, complete).await?;
        Ok(self.answered(&written.payment))
    }

    /// Runs a capture, cancel, refund or reversal to its outcome.
    pub(crate) async fn follow_up(
        &self,
        mut base: Versioned,
        ask: Ask,
        claim: Option<ClaimRequest>,
    ) -> Result<(Versioned, OperationId), EngineError> {
        loop {
            let id = self.new_operation_id(&base.payment);
            let operation = self.make_follow_up(id, &base.payment, &ask).await?;
            let mut intent = FollowUpIntent {
                base,
                ask: ask.clone(),
                claim: claim.clone(),
                is_written: false,
            };
            match self.run(&operation, None, &mut intent).await {
                Ok(ran) => {
                    let done = self.conclude_follow_up(intent, operation, ran).await?;
                    return Ok((done, id));
                }
                Err(EngineError::Store(CommitError::VersionConflict)) if !intent.is_written => {
                    base = self.load(intent.base.payment.id)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn make_follow_up(&self, id: OperationId, payment: &Payment, ask: &Ask) -> Result<Operation, EngineError> {
        let (attempt_id, amount) = ask.allowed(payment, self.ports.ambient.now_ms())?;
        let attempt = payment.attempt(attempt_id).ok_or(EngineError::NotFound("attempt"))?;
        let target = self.authorization_of(payment, attempt);
        let terms = payment.conversion.as_ref().map(|conversion| &conversion.terms);
        let mut channel = attempt.channel.clone();
        let mut memo = attempt.memo.clone();
        let input = match (ask.kind, terms) {
            (Kind::Convert, Some(terms)) => {
                channel = terms.channel.clone();
                memo = None;
                Input::Convert(terms.quotation.clone())
            }
            (Kind::Capture, _) => Input::Capture(target, ask.is_final),
            (Kind::Refund, _) => match &ask.deliver {
                Some(terms) => Input::Pay(PayOrder {
                    replaces: vec![],
                    uetr: self.ports.ambient.uuid_v4(),
                    terms: (**terms).clone(),
                    originator: payment.merchant.to_string(),
                }),
                None => Input::Refund(target, ask.reason.clone()),
            },
            (Kind::Reverse, _) => Input::Reverse(target),
            (Kind::Sweep, _) => Input::Sweep(target),
            (
                Kind::Cancel | Kind::Authorize | Kind::Resume | Kind::Quote | Kind::Convert | Kind::Pay | Kind::Poll,
                _,
            ) => Input::Cancel(target),
        };
        let new = NewOperation {
            id,
            payment,
            adapter: self.later_version(&channel, memo.as_ref(), &attempt.adapter),
            channel,
            kind: ask.kind,
            attempt: attempt_id,
            amount,
            input,
            method: None,
        };
        self.new_operation(new).await.map_err(EngineError::Channel)
    }

    /// The authorization of an attempt as the target of what follows it, from the payment alone: journals are pruned.
    fn authorization_of(&self, payment: &Payment, attempt: &Attempt) -> Target {
        let key = |n| self.ports.vault.provider_key(attempt.operation, n);
        Target {
            kind: Kind::Authorize,
            operation: attempt.operation,
            keys: (0..KEYS).map(key).collect(),
            reference: attempt.reference.clone(),
            parent_reference: None,
            amount: payment.amount.clone(),
            started_ms: attempt.started_ms,
            memo: attempt.memo.clone(),
            sent: vec![],
            captured: None,
            captured_ms: None,
            disputed: vec![],
        }
    }

    /// The version for what follows an operation that began in `begun`: the active one, where it reads the memo.
    pub(crate) fn later_version(&self, channel: &ChannelId, memo: Option<&Memo>, begun: &str) -> String {
        let memo = memo.map(|memo| memo.format);
        let version = self.ports.channels.version(channel, Need::Later { memo, begun });
        version.unwrap_or_else(|| begun.to_owned())
    }

    async fn conclude_follow_up(
        &self,
        intent: FollowUpIntent,
        operation: Operation,
        ran: Ran,
    ) -> Result<Versioned, EngineError> {
        let conclude = |payment: &mut Payment, change: &mut Change| {
            if payment.follow_up(operation.id).is_none() {
                intent.begin(payment, change, &operation)?;
            }
            if operation.kind == Kind::Cancel {
                let reason = intent.ask.reason.clone().unwrap_or_else(|| decide::BY_MERCHANT.into());
                payment.cancel_reason.get_or_insert(reason);
            }
            let verdict = ran.verdict.clone();
            Ok(decide::conclude_follow_up(
                payment,
                change,
                &operation,
                verdict,
                (&self.policy, None),
            )?)
        };
        let complete = |commit: &mut Commit, payment: &Payment, (): &()| {
            let progress = progress_of(payment, &operation);
            commit.operations.push(journaled(&operation, progress, &ran.exchanges));
            intent.put_claim_into(commit, payment, &operation);
            if let Some(claim) = intent.claim.as_ref().filter(|_| is_final(payment, operation.id)) {
                let answer = match operation.kind {
                    Kind::Refund => self.ports.render.refund(payment, operation.id),
                    _ => self.ports.render.payment(payment),
                };
                commit.answer = Some((claim.name.clone(), answer));
            }
        };
        let (written, ()) = self.update(&intent.base, conclude, complete).await?;
        self.ports.steps.reached("after_outcome");
        Ok(written)
    }
}

pub(crate) fn has_reversal(payment: &Payment, attempt: AttemptId) -> bool {
    payment
        .follow_ups
        .iter()
        .any(|it| it.kind == Kind::Reverse && it.attempt == attempt)
}

/// Whether that follow-up has its last status.
pub(crate) fn is_final(payment: &Payment, operation: OperationId) -> bool {
    use portolan_domain::payment::status::FollowUpStatus as S;
    payment
        .follow_up(operation)
        .is_some_and(|follow_up| matches!(follow_up.status, S::Succeeded | S::Failed))
}
