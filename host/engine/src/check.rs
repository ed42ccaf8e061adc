//! Finding out what an operation did: status with back-off, reversal, a human; the same key again is in `send_again.rs`.
//! Nothing here decides that an unknown one failed.

use crate::follow_up::{Ask, has_reversal};
use crate::progress::{journaled, progress_of};
use crate::run::{Ran, owned};
use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Timer, TimerKind, Versioned, task_uuid};
use portolan_domain::exchange::{Answer, Body, Effect, Exchange, RUN_OF_CHECKS, Reply};
use portolan_domain::ids::{OperationId, TaskId};
use portolan_domain::operation::{Fault, FaultKind, Kind, Operation, Outcome, Progress, State, Verdict};
use portolan_domain::payment::Payment;
use portolan_domain::payment::decide::{self, Next};
use portolan_domain::payment::status::{AttemptStatus, FollowUpStatus, PaymentStatus};
use portolan_domain::task::{Task, TaskKind};
use std::sync::Arc;

/// How many exchanges of status queries are kept with an operation.
const KEPT_CHECKS: usize = 8;
/// A longer answer of a status query is not kept.
const KEPT_BODY: usize = 8 * 1024;
/// A request without an answer counts as on its way for so long: longer than any call takes.
const ON_ITS_WAY_MS: u64 = 10 * 60 * 1_000;

/// What somebody else told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hint {
    /// Nothing.
    None,
    /// That something happened.
    Something,
    /// That a payer's bank wants money back.
    Dispute,
}

/// What a status query leads to.
enum Finding {
    /// The provider said what became of it.
    Known(Verdict),
    /// It never got there, finally.
    NotThere,
    /// The provider does not know it, which may change.
    NotThereYet,
    /// Still nobody knows.
    Unknown(String),
}

impl Engine {
    /// Asks what became of an operation and applies the answer.
    pub async fn check(&self, id: OperationId) -> Result<(), EngineError> {
        self.ask_in_turn(id, Hint::None).await
    }

    /// Asks because somebody else said that something happened: also about what the books have closed, where money may
    /// have come late; and about what is captured, if they told of a dispute.
    pub async fn check_hinted(&self, id: OperationId, is_dispute: bool) -> Result<(), EngineError> {
        // Its own reply is about to be read: a decline that was heard of first would keep it from the next channel. What stays
        // unknown has its timer.
        match is_dispute {
            false if self.walking.contains_key(&id) => Ok(()),
            false => self.ask_in_turn(id, Hint::Something).await,
            true => self.ask_in_turn(id, Hint::Dispute).await,
        }
    }

    /// One question after the other: an older answer that is written last would move a dispute back, or forget what was sent in
    /// the place of what it asked about.
    async fn ask_in_turn(&self, id: OperationId, hint: Hint) -> Result<(), EngineError> {
        let turn = self.asking.entry(id).or_default().clone();
        let asked = {
            let _turn = turn.lock().await;
            self.ask(id, hint).await
        };
        // Two handles are this function's and the map's: nobody waits.
        self.asking
            .remove_if(&id, |_, kept| Arc::ptr_eq(kept, &turn) && Arc::strong_count(kept) <= 2);
        asked
    }

    async fn ask(&self, id: OperationId, hint: Hint) -> Result<(), EngineError> {
        let found = self.ports.store.operation(id)?;
        let (operation, exchanges) = owned(found.ok_or(EngineError::NotFound("operation"))?);
        let base = self.load(operation.payment)?;
        let is_late = hint != Hint::None && may_come_late(&base.payment, &operation, hint);
        if is_settled(&base.payment, &operation) && !is_late {
            return self.close_check(base, &operation).await;
        }
        let none = String::new();
        let (finding, asked, version) = match self.ask_status(&base.payment, &operation, &exchanges).await {
            Ok(_) if is_being_reversed(&base.payment, &operation) => (Finding::NotThereYet, vec![], none),
            Ok((outcome, asked, version)) => (self.finding(&operation, &exchanges, outcome), asked, version),
            Err(fault) => (Finding::Unknown(fault.to_string()), vec![], none),
        };
        let found = match &finding {
            Finding::Known(_) => "known",
            Finding::NotThere => "not there",
            Finding::NotThereYet => "not there yet",
            Finding::Unknown(why) => why,
        };
        tracing::info!(operation = %id, kind = operation.kind.as_str(), found, checks = operation.checks, "asked what became of it");
        self.ports.steps.reached("after_status");
        let exchanges = with_checks(exchanges, asked);
        match finding {
            Finding::Known(verdict) if is_late && came_late(&verdict, &base.payment, &operation) => {
                self.apply(base, operation, Ran { verdict, exchanges }).await.map(drop)
            }
            // Whoever hinted tells again: the money may have come.
            Finding::Unknown(why) if is_late => Err(EngineError::Channel(Fault {
                kind: FaultKind::Other,
                text: why,
            })),
            _ if is_late => Ok(()),
            Finding::Known(verdict) => {
                let may_replace = matches!(&verdict, Verdict::Proven(Outcome::Sent { may_replace: true, .. }));
                self.apply(base, operation, Ran { verdict, exchanges }).await?;
                match may_replace {
                    true => Box::pin(self.replace(id, version)).await,
                    false => Ok(()),
                }
            }
            // Boxed: what goes out again runs a whole operation on this task's stack.
            Finding::NotThere => Box::pin(self.send_again_or_close(base, operation, exchanges)).await,
            Finding::NotThereYet => self.still_unknown(base, operation, exchanges).await.map(drop),
            Finding::Unknown(_) => Box::pin(self.still_unknown_or_reverse(base, operation, exchanges)).await,
        }
    }

    fn finding(&self, operation: &Operation, exchanges: &[Exchange], outcome: Outcome) -> Finding {
        let capability = self
            .ports
            .channels
            .capability(&operation.channel, operation.function())
            .unwrap_or_default();
        // Counted from when the request last went out: one on its way may still arrive.
        let last_sent_ms = writes(exchanges)
            .filter_map(|it| it.answer.as_ref().map(|answer| answer.at_ms))
            .max();
        let age_ms = self
            .ports
            .ambient
            .now_ms()
            .saturating_sub(last_sent_ms.unwrap_or(operation.started_ms));
        let since_start_ms = self.ports.ambient.now_ms().saturating_sub(operation.started_ms);
        if let Some(why) = operation.contradiction(&outcome) {
            return Finding::Unknown(why);
        }
        let is_on_its_way =
            since_start_ms < ON_ITS_WAY_MS && writes(exchanges).any(|exchange| exchange.answer.is_none());
        match outcome {
            Outcome::NotFound if is_on_its_way => Finding::NotThereYet,
            Outcome::NotFound => match capability.not_found_final_after_ms {
                Some(_) if self.may_be_sent_by_another(operation) => Finding::NotThereYet,
                Some(after_ms) if age_ms >= after_ms => Finding::NotThere,
                Some(_) | None => Finding::NotThereYet,
            },
            Outcome::Declined(decline) if operation.is_restored && self.is_in_a_lane(operation) => {
                Finding::Unknown(format!(
                    "{}, perhaps by what left after the backup: look at the channel",
                    decline.reason
                ))
            }
            Outcome::Unknown(doubt) => Finding::Unknown(doubt.why),
            Outcome::Waiting { .. } => Finding::Unknown("the provider is at it".into()),
            Outcome::Standing(standing) if standing.state == State::Waiting && !operation.kind.is_attempt() => {
                Finding::Unknown("the provider is at it".into())
            }
            known => Finding::Known(Verdict::Proven(known)),
        }
    }

    /// Whether the router before this one may still send what it had decided on.
    fn may_be_sent_by_another(&self, operation: &Operation) -> bool {
        let since_birth_ms = self.ports.ambient.now_ms().saturating_sub(self.born_ms);
        operation.started_ms < self.born_ms && since_birth_ms < self.policy.overlap_ms
    }

    /// Applies a verdict to an operation whose intent is on disk.
    pub(crate) async fn apply(
        &self,
        base: Versioned,
        operation: Operation,
        ran: Ran,
    ) -> Result<Versioned, EngineError> {
        let ran = Ran {
            verdict: self.by_network(&operation, ran.verdict),
            ..ran
        };
        let task = self.open_task(operation.id)?;
        let is_waiting = matches!(&ran.verdict, Verdict::Proven(Outcome::Standing(standing)) if standing.state == State::Waiting)
            || matches!(&ran.verdict, Verdict::Proven(Outcome::Sent { is_final: false, .. }));
        let checks = operation.checks.saturating_add(u32::from(is_waiting));
        let operation = Operation { checks, ..operation };
        let mut before = None;
        let conclude = |payment: &mut Payment, change: &mut Change| {
            before = payment.attempt(operation.attempt).map(|it| it.status);
            let verdict = ran.verdict.clone();
            match operation.kind.is_attempt() {
                // Nothing is believed of what is being undone at this moment; its timer stays.
                true if is_being_reversed(payment, &operation) => {}
                true => {
                    let context = (&self.policy, task.clone());
                    let next = decide::conclude_authorization(payment, change, &operation, verdict, context)?;
                    if next == Next::TryNext {
                        decide::fail(payment, change)?;
                    }
                }
                false => {
                    decide::conclude_follow_up(payment, change, &operation, verdict, (&self.policy, task.clone()))?;
                }
            }
            Ok(())
        };
        let complete = |commit: &mut Commit, payment: &Payment, (): &()| {
            let progress = progress_of(payment, &operation);
            commit.operations.push(journaled(&operation, progress, &ran.exchanges));
        };
        let (written, ()) = self.update(&base, conclude, complete).await?;
        self.conclude_reversed(&written, &operation).await?;
        self.ports.steps.reached("after_outcome");
        self.learn_from(before, &written.payment, &operation);
        Box::pin(self.tell_of_delivery(&written.payment)).await;
        // What was found out may let the next leg go on.
        Box::pin(self.advance(written)).await
    }

    /// A reversal that is done settles the authorization that it undid.
    async fn conclude_reversed(&self, written: &Versioned, reversal: &Operation) -> Result<(), EngineError> {
        let attempt = written.payment.attempt(reversal.attempt);
        let is_undone = attempt.is_some_and(|attempt| attempt.status == AttemptStatus::Released);
        match attempt {
            Some(attempt) if is_undone && matches!(reversal.kind, Kind::Reverse | Kind::Cancel) => {
                let found = self.ports.store.operation(attempt.operation)?;
                let Some(found) = found.filter(|found| found.0.progress != Progress::Concluded) else {
                    return Ok(());
                };
                self.close_check(written.clone(), &found.0).await
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn open_task(&self, operation: OperationId) -> Result<Option<Task>, EngineError> {
        let id = TaskId(task_uuid(operation, TaskKind::UnknownOutcome));
        Ok(self.ports.store.task(id)?.filter(|task| task.closed.is_none()))
    }

    /// The operation was settled by another way: only its timer, task and progress are left.
    async fn close_check(&self, base: Versioned, operation: &Operation) -> Result<(), EngineError> {
        let Some(current) = self.ports.store.operation(operation.id)? else {
            return Ok(());
        };
        let task = self.open_task(operation.id)?;
        let is_concluded = current.0.progress == Progress::Concluded;
        let is_timer = |timer: &Timer| timer.kind == TimerKind::Check && timer.operation == operation.id;
        if is_concluded && task.is_none() && !base.payment.timers.iter().any(is_timer) {
            return Ok(());
        }
        let concluded = (!is_concluded).then(|| journaled(&current.0, Progress::Concluded, &current.1));
        let close = |_: &mut Payment, change: &mut Change| {
            change.timers_clear.push((TimerKind::Check, operation.id));
            if let Some(task) = task.clone() {
                change.close_task(task, "router", "settled by another operation");
            }
            Ok(())
        };
        let complete = |commit: &mut Commit, _: &Payment, (): &()| {
            commit.operations.extend(concluded.clone());
        };
        self.update(&base, close, complete).await.map(drop)
    }

    /// Asks again later; after some vain queries a human is asked.
    pub(crate) async fn still_unknown(
        &self,
        base: Versioned,
        operation: Operation,
        exchanges: Vec<Exchange>,
    ) -> Result<(Versioned, Operation), EngineError> {
        let task = self.open_task(operation.id)?;
        let operation = Operation {
            checks: operation.checks.saturating_add(1),
            ..operation
        };
        let wait = |payment: &mut Payment, change: &mut Change| {
            // What was settled while the question was on its way stays settled.
            if is_open(payment, &operation) {
                decide::still_unknown(payment, change, &operation, (&self.policy, task.clone()));
            }
            Ok(())
        };
        let complete = |commit: &mut Commit, payment: &Payment, (): &()| {
            if is_open(payment, &operation) {
                let waiting = journaled(&operation, operation.progress, &exchanges);
                commit.operations.push(waiting);
            }
        };
        let (written, ()) = self.update(&base, wait, complete).await?;
        Ok((written, operation))
    }

    /// Where the provider cannot say what happened, the router undoes it, if the channel can.
    async fn still_unknown_or_reverse(
        &self,
        base: Versioned,
        operation: Operation,
        exchanges: Vec<Exchange>,
    ) -> Result<(), EngineError> {
        let (written, operation) = self.still_unknown(base, operation, exchanges).await?;
        if self.may_reverse(&written.payment, &operation) {
            let ask = Ask {
                kind: Kind::Reverse,
                amount: None,
                is_final: true,
                reason: None,
                at_current: None,
                deliver: None,
            };
            let (written, reversal) = match self.follow_up(written, ask, None).await {
                Err(EngineError::Refused(refusal)) => {
                    tracing::info!(%refusal, "nothing to reverse any more");
                    return Ok(());
                }
                done => done?,
            };
            if let Some(reversal) = self.ports.store.operation(reversal)? {
                self.conclude_reversed(&written, &reversal.0).await?;
            }
        }
        Ok(())
    }

    fn may_reverse(&self, payment: &Payment, operation: &Operation) -> bool {
        operation.kind == Kind::Authorize
            && operation.checks >= self.policy.checks_before_reversal
            && !has_reversal(payment, operation.attempt)
            && payment
                .attempt(operation.attempt)
                .is_some_and(|attempt| attempt.status == AttemptStatus::Unknown)
            && self
                .ports
                .channels
                .capability(&operation.channel, Kind::Reverse)
                .is_some()
    }
}

/// Whether nothing is to be found out about an operation any more.
fn is_settled(payment: &Payment, operation: &Operation) -> bool {
    match operation.kind.is_attempt() {
        true => payment.attempt(operation.attempt).is_none_or(|attempt| {
            matches!(operation.progress, Progress::Concluded | Progress::Waiting)
                && !matches!(
                    attempt.status,
                    AttemptStatus::Started | AttemptStatus::ActionRequired | AttemptStatus::Authorized
                )
                || attempt.status == AttemptStatus::Released && payment.status != PaymentStatus::Processing
        }),
        false => payment
            .follow_up(operation.id)
            .is_none_or(|follow_up| matches!(follow_up.status, FollowUpStatus::Succeeded | FollowUpStatus::Failed)),
    }
}

/// Whether the books still wait for what the operation did.
pub(crate) fn is_open(payment: &Payment, operation: &Operation) -> bool {
    match operation.kind.is_attempt() {
        true => payment.attempt(operation.attempt).is_some_and(|attempt| {
            matches!(
                attempt.status,
                AttemptStatus::Started | AttemptStatus::Unknown | AttemptStatus::ActionRequired
            )
        }),
        false => payment
            .follow_up(operation.id)
            .is_some_and(|it| matches!(it.status, FollowUpStatus::Pending | FollowUpStatus::Unknown)),
    }
}

/// Whether something may still come of what the books have concluded.
fn may_come_late(payment: &Payment, operation: &Operation, hint: Hint) -> bool {
    if hint == Hint::Dispute && operation.kind.is_attempt() && !payment.captured.is_zero() {
        return true;
    }
    is_closed_authorization(payment, operation)
        || is_paid_out(payment, operation)
        || payment.is_settled_at_once() && is_captured(payment, operation)
}

/// What comes late and counts: money for a closed attempt, more of it than was asked where everybody can pay, a payout that
/// came back, or one that went out although its attempt was closed.
fn came_late(verdict: &Verdict, payment: &Payment, operation: &Operation) -> bool {
    let Verdict::Proven(outcome) = verdict else {
        return false;
    };
    match outcome {
        Outcome::Returned { .. } | Outcome::Declined(_) => is_paid_out(payment, operation),
        Outcome::Standing(standing) => {
            matches!(standing.state, State::Captured | State::Authorized | State::Disputed)
                || !standing.disputes.is_empty()
                || standing.received.as_ref().is_some_and(|received| !received.is_zero())
        }
        Outcome::Sent { is_final, .. } => *is_final && is_closed_authorization(payment, operation),
        _ => false,
    }
}

fn is_paid_out(payment: &Payment, operation: &Operation) -> bool {
    operation.kind == Kind::Pay && is_captured(payment, operation)
}

fn is_captured(payment: &Payment, operation: &Operation) -> bool {
    let status = payment.attempt(operation.attempt).map(|attempt| attempt.status);
    operation.kind.is_attempt() && status == Some(AttemptStatus::Captured)
}

fn is_closed_authorization(payment: &Payment, operation: &Operation) -> bool {
    operation.kind.is_attempt()
        && payment
            .attempt(operation.attempt)
            .is_some_and(|attempt| attempt.status.is_closed())
}

/// Whether the attempt is being undone: until that is settled, what the provider says of it may change.
fn is_being_reversed(payment: &Payment, operation: &Operation) -> bool {
    operation.kind != Kind::Reverse
        && payment
            .in_flight(Kind::Reverse)
            .any(|it| it.attempt == operation.attempt)
}

pub(crate) fn writes(exchanges: &[Exchange]) -> impl Iterator<Item = &Exchange> {
    exchanges
        .iter()
        .filter(|exchange| exchange.request.effect == Effect::Write)
}

/// What a question brought is kept for people to read, not to be played back: a page that tells of others as well is not kept
/// whole with one payment.
fn shortened(mut exchange: Exchange) -> Exchange {
    if let Some(Answer {
        reply: Reply::Response(response),
        ..
    }) = &mut exchange.answer
        && response.body.as_bytes().len() > KEPT_BODY
    {
        response.body = Body::Text(format!("({} bytes, not kept)", response.body.as_bytes().len()));
    }
    exchange
}

/// The operation's own exchanges, and the last few status queries.
fn with_checks(mut exchanges: Vec<Exchange>, asked: Vec<Exchange>) -> Vec<Exchange> {
    let mut checks: Vec<Exchange> = exchanges
        .extract_if(.., |exchange| exchange.run == RUN_OF_CHECKS)
        .collect();
    checks.extend(asked.into_iter().map(shortened));
    let skip = checks.len().saturating_sub(KEPT_CHECKS);
    exchanges.extend(checks.into_iter().skip(skip));
    exchanges
}
