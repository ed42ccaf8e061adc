//! Attempts: one channel after the other in the order of the route, and the next one only after a certain "no effect",
//! or a decline that allows it.

use crate::progress::{journaled, progress_of};
use crate::route::{GoesOn, kind_of};
use crate::run::{NewOperation, Ran};
use crate::walk::{GivenUp, Lead, Walk, refuse_beside_another};
use crate::{Answered, Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Versioned};
use portolan_domain::ids::{AttemptId, ChannelId, OperationId};
use portolan_domain::operation::{
    AskedBy, Authorization, Fault, FaultKind, Input, Instrument, Kind, Operation, PayOrder, Progress,
};
use portolan_domain::payment::decide::{self, Next};
use portolan_domain::payment::status::AttemptStatus;
use portolan_domain::payment::{LastError, Payment};
use portolan_domain::ports::{CommitError, Method, Need};
use portolan_domain::routing::decision::Stage;
use portolan_domain::routing::tries::CardKey;

impl Engine {
    /// Tries the route's channels until one concludes; the answer.
    pub(crate) async fn attempt(
        &self,
        base: Versioned,
        mut lead: Lead,
        method: Option<Method>,
    ) -> Result<Answered, EngineError> {
        let claim = lead.claim.name.clone();
        let mut why = None;
        let (route, limits) = self.route(&base.payment, method.as_ref())?;
        let is_full = route.decision.excluded.iter().any(|it| it.stage == Stage::Capacity);
        if route.channels.is_empty() && is_full {
            why = Some(GivenUp::Unusable(busy()));
        }
        if let Some(flag) = route.decision.refused() {
            why = Some(GivenUp::Refused(flag.clone()));
        }
        let nowhere = (base.payment.merchant.clone(), String::new());
        let asked_now = route.decision.authenticate.clone();
        let (attempts_before, attempts_max) = (base.payment.attempts.len(), route.decision.attempts_max);
        let flags = route.decision.flags.clone();
        lead.decision = Some(Box::new(route.decision));
        let mut walk = Walk {
            authenticate: asked_now.or_else(|| asked_before(&base.payment)),
            attempts_before,
            attempts_max,
            base,
            lead: Some(lead),
            claim,
            method,
            chosen: nowhere,
            channels_left: route.channels.len(),
            all_sick: route.all_sick,
            limits,
            flags,
            answer: None,
        };
        'route: for (channel, active) in route.channels {
            walk.channels_left = walk.channels_left.saturating_sub(1);
            for version in self.versions_for(&walk, &channel, active) {
                walk.chosen = (channel.clone(), version);
                match self.attempt_with_step_up(&mut walk).await {
                    Ok(Ok(Next::Rest)) => return self.go_on(walk).await,
                    Ok(Ok(Next::TryNext)) if was_declined(&walk.base.payment) => break,
                    Ok(Ok(Next::TryNext)) => {}
                    Ok(Err(unusable)) => why = Some(GivenUp::Unusable(unusable)),
                    Err(EngineError::Store(CommitError::CardRefused(refusal))) => {
                        why = Some(GivenUp::CardRefused(refusal));
                        break 'route;
                    }
                    // Another payment was quicker since it was measured.
                    Err(EngineError::Store(CommitError::LimitPassed(passed))) => {
                        why = Some(GivenUp::Refused(walk.refused_late(*passed)));
                        break 'route;
                    }
                    // What the balance covered at first may be gone after a decline. The payment is on disk: it has to end.
                    Err(EngineError::Store(CommitError::Uncovered)) if walk.lead.is_none() => break 'route,
                    Err(error) => return Err(error),
                }
            }
        }
        self.give_up(walk, why).await
    }

    /// The version that the payment gets on a channel; where that is a canary, the active one stands behind it, so that what
    /// certainly had no effect through the canary's fault is the canary's trouble, not the payment's.
    fn versions_for(&self, walk: &Walk, channel: &ChannelId, active: String) -> Vec<String> {
        let fits = |version: &String| !walk.insists() || self.ports.channels.authenticates(channel, version);
        let chosen = self.ports.channels.version(channel, Need::New(walk.base.payment.id));
        match chosen.filter(fits) {
            Some(chosen) if chosen != active => vec![chosen, active],
            Some(_) | None => vec![active],
        }
    }

    /// Where the payment is exchanged, its next legs are done before the answer, as far as they go.
    async fn go_on(&self, mut walk: Walk) -> Result<Answered, EngineError> {
        if walk.base.payment.conversion.is_some() {
            walk.base = self.advance(walk.base).await?;
            walk.answer = None;
        }
        Ok(walk.answered(self))
    }

    /// One attempt; and one more on the same channel, if its issuer wants to know the payer first.
    async fn attempt_with_step_up(&self, walk: &mut Walk) -> Result<Result<Next, Fault>, EngineError> {
        let was_asked = walk.authenticate.is_some();
        let ended = self.attempt_on(walk).await?;
        match ended {
            Ok(Next::TryNext) if !was_asked && walk.authenticate.is_some() => self.attempt_on(walk).await,
            ended => Ok(ended),
        }
    }

    /// One attempt. The inner error: the channel cannot be used at all, and nothing was sent.
    async fn attempt_on(&self, walk: &mut Walk) -> Result<Result<Next, Fault>, EngineError> {
        let ambient = &*self.ports.ambient;
        let (kind, now_ms) = (kind_of(&walk.base.payment), ambient.now_ms());
        let facts = self.ports.channels.facts();
        let channel = facts.iter().find(|it| it.id == walk.chosen.0);
        let card = card_of(&walk.base.payment, walk.method.as_ref());
        if walk.insists() && !self.ports.channels.authenticates(&walk.chosen.0, &walk.chosen.1) {
            return Ok(Err(cannot_authenticate()));
        }
        let begun = channel.map(|it| self.traffic.begin((it, kind, card), walk.all_sick, now_ms));
        let Some(Some(_under_way)) = begun else {
            return Ok(Err(busy()));
        };
        self.traffic
            .earn_cascade(walk.base.payment.mode, &walk.base.payment.merchant);
        let input = self.input_of(walk).await?;
        let new = NewOperation {
            id: self.new_operation_id(&walk.base.payment),
            payment: &walk.base.payment,
            channel: walk.chosen.0.clone(),
            adapter: walk.chosen.1.clone(),
            kind,
            attempt: AttemptId(ambient.uuid_v7()),
            amount: walk.base.payment.amount.clone(),
            input,
            method: walk.method.as_ref(),
        };
        let operation = match self.new_operation(new).await {
            Ok(operation) => operation,
            Err(fault) => {
                tracing::warn!(channel = %walk.chosen.0, %fault, "the channel cannot be used");
                self.cannot_be_used(&walk.chosen.0, kind, &fault);
                return Ok(Err(fault));
            }
        };
        let method = walk.method.clone();
        let _walking = Walking::begin(self, operation.id);
        let ran = self.run(&operation, method.as_ref(), walk).await?;
        self.conclude_attempt(walk, operation, ran).await.map(Ok)
    }

    /// Commits the outcome: the exchanges, what follows from the verdict, and the answer if it is final.
    async fn conclude_attempt(&self, walk: &mut Walk, operation: Operation, ran: Ran) -> Result<Next, EngineError> {
        let goes_on = self.goes_on_after(&operation, &ran, walk);
        // As it is when it is written: a notification may have been quicker than the base that was read.
        let mut before = None;
        let conclude = |payment: &mut Payment, change: &mut Change| {
            before = payment.attempt(operation.attempt).map(|it| it.status);
            if payment.attempt(operation.attempt).is_none() {
                walk.begin(self, payment, change, &operation)?;
            }
            if let Some((decline, _)) = goes_on.clone()
                && let Some(next) = decide::decline_and_go_on(payment, change, &operation, decline)?
            {
                return Ok(next);
            }
            let verdict = ran.verdict.clone();
            Ok(decide::conclude_authorization(
                payment,
                change,
                &operation,
                verdict,
                (&self.policy, None),
            )?)
        };
        let mut answer = None;
        let complete = |commit: &mut Commit, payment: &Payment, _: &Next| {
            let progress = progress_of(payment, &operation);
            commit.operations.push(journaled(&operation, progress, &ran.exchanges));
            answer = None;
            if payment.is_over() {
                let rendered = self.ports.render.payment(payment);
                commit.answer = Some((walk.claim.clone(), rendered.clone()));
                answer = Some(rendered);
            }
            if let Some(lead) = &walk.lead {
                lead.put_into(commit, payment, Some(operation.id), operation.started_ms);
            }
        };
        let (written, next) = self.update(&walk.base, conclude, complete).await?;
        walk.base = written;
        walk.answer = answer;
        walk.lead = None;
        if let Some((_, GoesOn::Authenticating)) = goes_on {
            walk.authenticate = Some(AskedBy::Issuer);
            let able = self.version_that_authenticates(&walk.chosen.0, &walk.chosen.1);
            walk.chosen.1 = able.unwrap_or_else(|| operation.adapter.clone());
        }
        self.ports.steps.reached("after_outcome");
        // What an issuer wants to know first is no answer yet.
        if !matches!(goes_on, Some((_, GoesOn::Authenticating))) {
            self.learn_from(before, &walk.base.payment, &operation);
        }
        if progress_of(&walk.base.payment, &operation) != Progress::Unknown && next == Next::Rest {
            walk.method
                .iter()
                .for_each(|method| self.ports.vault.forget_code(method.id));
        }
        Ok(next)
    }

    /// No channel is left: the payment failed.
    async fn give_up(&self, mut walk: Walk, why: Option<GivenUp>) -> Result<Answered, EngineError> {
        let now_ms = self.ports.ambient.now_ms();
        let fail = |payment: &mut Payment, change: &mut Change| {
            walk.precede(payment, change)?;
            refuse_beside_another(payment)?;
            // An issuer's word says more to the payer than what was in the way of asking another channel.
            let last = payment.last_error.as_ref();
            let was_declined = last.is_some_and(|error| error.decline_reason.is_some());
            if let Some(why) = why.as_ref().filter(|_| !was_declined) {
                payment.last_error = Some(why.error());
            }
            payment.last_error.get_or_insert_with(|| LastError {
                code: "no_route".into(),
                message: "no channel takes this payment".into(),
                ..LastError::default()
            });
            Ok(decide::fail(payment, change)?)
        };
        let complete = |commit: &mut Commit, payment: &Payment, (): &()| {
            commit.answer = Some((walk.claim.clone(), self.ports.render.payment(payment)));
            if let Some(lead) = &walk.lead {
                lead.put_into(commit, payment, None, now_ms);
            }
        };
        walk.base = self.update(&walk.base, fail, complete).await?.0;
        walk.method
            .iter()
            .for_each(|method| self.ports.vault.forget_code(method.id));
        Ok(walk.answered(self))
    }

    /// A new operation's id: its payment's, with a part that no other operation of it has.
    pub(crate) fn new_operation_id(&self, payment: &Payment) -> OperationId {
        let is_taken = |id: &OperationId| {
            payment.attempts.iter().any(|attempt| attempt.operation == *id) || payment.follow_up(*id).is_some()
        };
        let mut ids = std::iter::repeat_with(|| {
            let [.., a, b, c, d] = *self.ports.ambient.uuid_v4().as_bytes();
            OperationId::of(payment.id, u32::from_be_bytes([a, b, c, d]).max(1))
        });
        let first = OperationId::of(payment.id, 1);
        ids.find(|id| !is_taken(id)).unwrap_or(first)
    }
}

/// The card that the attempt is about to use, as its tries are counted.
fn card_of(payment: &Payment, method: Option<&Method>) -> Option<CardKey> {
    let named = method.map(|it| CardKey::new(payment.mode, &payment.merchant, &it.card.fingerprint));
    named.or_else(|| CardKey::of(payment))
}

/// An attempt under way; it is not any more when this is dropped.
struct Walking<'a>(&'a Engine, OperationId);

impl<'a> Walking<'a> {
    fn begin(engine: &'a Engine, operation: OperationId) -> Self {
        engine.walking.insert(operation, ());
        Self(engine, operation)
    }
}

impl Drop for Walking<'_> {
    fn drop(&mut self) {
        self.0.walking.remove(&self.1);
    }
}

/// Others were quicker: the channel is probed by one payment at a time, and has no more under way than it may.
fn busy() -> Fault {
    Fault {
        kind: FaultKind::Other,
        text: "every channel that takes it has as much under way as it may now: try again".into(),
    }
}

/// What an issuer asked for in an earlier confirmation it would ask for again.
fn asked_before(payment: &Payment) -> Option<AskedBy> {
    let mut asked = payment.attempts.iter().filter_map(|it| it.authenticate.clone());
    asked.find(|by| *by == AskedBy::Issuer)
}

/// Since the plan was made another version took over, or an issuer asked for it.
fn cannot_authenticate() -> Fault {
    Fault {
        kind: FaultKind::Unsupported,
        text: "the channel cannot be told to authenticate the payer".into(),
    }
}

/// Whether the last attempt was declined: another version of the same adapter would hear the same.
fn was_declined(payment: &Payment) -> bool {
    let last = payment.attempts.last();
    last.is_some_and(|attempt| attempt.status == AttemptStatus::Declined)
}

impl Engine {
    /// What an attempt's operation is given.
    async fn input_of(&self, walk: &Walk) -> Result<Input, EngineError> {
        let (payment, channel) = (&walk.base.payment, &walk.chosen.0);
        if let Some(payout) = &payment.payout {
            return Ok(Input::Pay(PayOrder {
                replaces: vec![],
                uetr: payment.uetr,
                terms: payout.terms.clone(),
                originator: payment.merchant.to_string(),
            }));
        }
        let card = walk
            .method
            .as_ref()
            .map(|method| Instrument::Card(method.id, method.card.clone()));
        let instrument = card.or_else(|| payment.instrument.clone());
        let facts = self.ports.channels.facts();
        let facts = facts.iter().find(|facts| facts.id == *channel);
        let can_capture = facts.is_some_and(|facts| facts.kinds.contains(&Kind::Capture));
        // Reserve first: what is exchanged is taken only once the price was looked at again.
        let reserves = payment.conversion.is_some() && can_capture;
        let now_ms = self.ports.ambient.now_ms();
        let index = match &instrument {
            Some(Instrument::Token(_)) => self.ports.store.next_index(channel).await?,
            Some(Instrument::Card(..) | Instrument::Wallet(_)) | None => 0,
        };
        Ok(Input::Authorize(Authorization {
            capture: !payment.manual_capture && !reserves,
            instrument: instrument.ok_or(EngineError::NotFound("payment method"))?,
            description: payment.description.clone().unwrap_or_default(),
            statement_descriptor: payment.statement_descriptor.clone(),
            payer_name: payment.payer_name.clone(),
            payer_email: payment.payer_email.clone(),
            expires_ms: now_ms.saturating_add(self.policy.action_ms),
            index,
            must_authenticate: walk.insists(),
        }))
    }
}
