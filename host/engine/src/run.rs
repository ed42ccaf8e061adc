//! Running one operation: the adapter says the next request, the host writes the intent of every write, sends, and
//! judges what came of it. Everything that touches a provider passes here.

use crate::{Engine, EngineError};
use async_trait::async_trait;
use portolan_domain::certainty::{Certainty, ceiling};
use portolan_domain::channel::ChannelFacts;
use portolan_domain::commit::Journaled;
use portolan_domain::exchange::{Answer, Effect, Exchange, RUN_OF_CHECKS, Reply};
use portolan_domain::ids::{AttemptId, ChannelId, MerchantId, Mode, OperationId};
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::{Fault, FaultKind, Fixed, Input, Kind, Operation, Outcome, Progress, Verdict, judge};
use portolan_domain::payment::status::AttemptStatus;
use portolan_domain::payment::{Attempt, Payment};
use portolan_domain::ports::{ContextRequest, Method, Step};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most requests of one operation.
const ROUNDS_MAX: usize = 8;
/// Of so many operations one is run again, prefix by prefix, to see whether the adapter is pure.
const PURITY_SAMPLE: u128 = 100;

/// What came of an operation.
pub(crate) struct Ran {
    pub verdict: Verdict,
    pub exchanges: Vec<Exchange>,
}

/// How the intent of a write gets onto the disk.
#[async_trait]
pub(crate) trait Intent: Send {
    /// Once it returns, operation and request are on disk. `exchanges` ends with the write that is about to leave.
    async fn write(
        &mut self,
        engine: &Engine,
        operation: &Operation,
        exchanges: &[Exchange],
    ) -> Result<(), EngineError>;
}

/// What an operation is made from.
pub(crate) struct NewOperation<'a> {
    pub id: OperationId,
    pub payment: &'a Payment,
    pub channel: ChannelId,
    pub adapter: String,
    pub kind: Kind,
    pub attempt: AttemptId,
    pub amount: Money,
    pub input: Input,
    /// The card, where the operation may need it.
    pub method: Option<&'a Method>,
}

/// What a question is made from that belongs to no payment yet.
pub(crate) struct NewQuestion {
    pub id: OperationId,
    pub channel: ChannelId,
    pub adapter: String,
    pub merchant: MerchantId,
    pub mode: Mode,
    pub input: Input,
}

impl Engine {
    /// Makes an operation with its context. Opens a session with the provider where one is needed.
    pub(crate) async fn new_operation(&self, new: NewOperation<'_>) -> Result<Operation, Fault> {
        let now_ms = self.ports.ambient.now_ms();
        let has_code = new
            .payment
            .method()
            .is_some_and(|method| self.ports.vault.has_code(method, now_ms));
        let request = ContextRequest {
            channel: &new.channel,
            adapter: &new.adapter,
            operation: new.id,
            card: new.method.map(|method| &method.card),
            has_code,
        };
        let context = self.ports.channels.context(request).await?;
        Ok(Operation {
            id: new.id,
            payment: new.payment.id,
            merchant: new.payment.merchant.clone(),
            mode: new.payment.mode,
            channel: new.channel,
            adapter: new.adapter,
            kind: new.kind,
            attempt: new.attempt,
            amount: new.amount,
            input: new.input,
            started_ms: context.now_ms,
            context,
            progress: Progress::Open,
            checks: 0,
            is_restored: false,
        })
    }

    /// Takes in how the channel is. What a version breaks that is not the channel's active one, a canary's say, is that version's
    /// own: the channel is not ill of it.
    fn note_health(&self, operation: &Operation, verdict: &Verdict, begun_ms: u64) {
        let facts = self.ports.channels.facts();
        let is_active = |it: &ChannelFacts| it.id == operation.channel && it.adapter == operation.adapter;
        if facts.iter().any(is_active) || !matches!(verdict, Verdict::NoEffect(_)) {
            let now_ms = self.ports.ambient.now_ms();
            let of = (&operation.channel, operation.kind);
            self.traffic
                .heard(of, verdict, (now_ms.saturating_sub(begun_ms), now_ms));
        }
    }

    /// Runs an operation to its verdict. The intent is written before every write leaves; if that fails, nothing is sent
    /// and its error is returned.
    pub(crate) async fn run(
        &self,
        operation: &Operation,
        card: Option<&Method>,
        intent: &mut dyn Intent,
    ) -> Result<Ran, EngineError> {
        self.run_on(operation, card, intent, vec![]).await
    }

    /// The same, going on after exchanges that were made before: their answers are taken as they were, so that the
    /// adapter comes to the very same write.
    pub(crate) async fn run_on(
        &self,
        operation: &Operation,
        card: Option<&Method>,
        intent: &mut dyn Intent,
        before: Vec<Exchange>,
    ) -> Result<Ran, EngineError> {
        let _alone = self.lane_of(operation).await;
        let begun_ms = self.ports.ambient.now_ms();
        let mut exchanges: Vec<Exchange> = vec![];
        let mut answers: Vec<Answer> = before.iter().filter_map(|it| it.answer.clone()).collect();
        let mut run = 0;
        let claim = loop {
            match self.ports.channels.step(operation, &operation.input, &answers) {
                Err(fault) if may_start_again(&fault, run, &exchanges) => {
                    self.ports.channels.forget_session(&operation.channel, &fault.text);
                    run = 1;
                    answers.clear();
                }
                Err(fault) => break Err(fault),
                Ok(Step::Done(outcome)) => {
                    break self
                        .check_purity(operation, (&before, &exchanges), run)
                        .map(|()| outcome);
                }
                Ok(Step::Send(_)) if before.len() + exchanges.len() >= ROUNDS_MAX => {
                    break Err(Fault {
                        kind: FaultKind::Rounds,
                        text: format!("more than {ROUNDS_MAX} requests"),
                    });
                }
                Ok(Step::Send(request)) => {
                    let is_write = request.effect == Effect::Write;
                    exchanges.push(Exchange {
                        run,
                        request: request.clone(),
                        answer: None,
                    });
                    let decided = (self.ports.ambient.now_ms(), Instant::now());
                    if is_write {
                        self.ports.steps.reached("before_intent");
                        intent.write(self, operation, &exchanges).await?;
                        self.ports.steps.reached("after_intent");
                    }
                    let sent = match is_write && self.is_too_late(decided) {
                        true => Ok(stale(self.ports.ambient.now_ms())),
                        false => self.ports.channels.send(operation, &request, card).await,
                    };
                    let (answer, refused) = answer_of(sent, self.ports.ambient.now_ms());
                    if let Some(last) = exchanges.last_mut() {
                        last.answer = Some(answer.clone());
                    }
                    if is_write {
                        self.ports.steps.reached("after_answer");
                    }
                    if let Some(fault) = refused {
                        break Err(fault);
                    }
                    answers.push(answer);
                }
            }
        };
        let heard = answers.iter().any(|answer| matches!(answer.reply, Reply::Response(_)));
        let verdict = self.by_network(operation, judge(operation, (ceiling(&exchanges), heard), claim));
        // One that takes another's place says nothing of how the channel does with new ones.
        if !operation.input.is_in_place() {
            self.note_health(operation, &verdict, begun_ms);
            self.ports.channels.concluded(operation, &verdict);
        }
        tracing::debug!(operation = %operation.id, kind = operation.kind.as_str(), ?verdict, "operation ran");
        Ok(Ran { verdict, exchanges })
    }

    /// Whether a write that was decided on then must not leave any more. A clock may be set, and may stand still with a machine: of
    /// two the one that says more counts.
    fn is_too_late(&self, (decided_ms, decided): (u64, Instant)) -> bool {
        let passed_ms = self.ports.ambient.now_ms().saturating_sub(decided_ms);
        let limit = self.policy.leaves_within_ms;
        passed_ms > limit || decided.elapsed() > Duration::from_millis(limit)
    }

    /// Whether what the operation sends takes a number of its channel's. It can then be executed at any time later, whoever
    /// refuses a copy of it: a signed transaction, until another takes its number. Only the channel's own word about that
    /// number settles it.
    pub(crate) fn is_in_a_lane(&self, operation: &Operation) -> bool {
        let facts = self.ports.channels.facts();
        let has_lane = |facts: &ChannelFacts| facts.id == operation.channel && facts.has_lane;
        operation.function() == Kind::Pay && facts.iter().any(has_lane)
    }

    /// Where a channel numbers its payouts itself, they go one at a time: from the first read, which learns the number, to
    /// the answer of the write, which takes it.
    async fn lane_of(&self, operation: &Operation) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        if !self.is_in_a_lane(operation) {
            return None;
        }
        let lane = self.lanes.entry(operation.channel.clone()).or_default().clone();
        Some(lane.lock_owned().await)
    }

    /// Asks a channel for a price, or for what is new, which belongs to no payment yet. It may read and prepare, never write.
    pub(crate) async fn ask_channel(&self, new: NewQuestion) -> Result<Outcome, Fault> {
        let request = ContextRequest {
            channel: &new.channel,
            adapter: &new.adapter,
            operation: new.id,
            card: None,
            has_code: false,
        };
        let context = self.ports.channels.context(request).await?;
        let (kind, amount) = match &new.input {
            Input::Quote(inquiry) => match &inquiry.fixed {
                Fixed::Sell(amount) | Fixed::Buy(amount) => (Kind::Quote, amount.clone()),
            },
            Input::Poll(_) => (Kind::Poll, nothing()?),
            _ => return Err(unsupported("this is not asked without a payment")),
        };
        let operation = Operation {
            id: new.id,
            payment: new.id.payment(),
            merchant: new.merchant,
            mode: new.mode,
            channel: new.channel,
            adapter: new.adapter,
            kind,
            attempt: AttemptId(new.id.0),
            amount,
            input: new.input,
            started_ms: context.now_ms,
            context,
            progress: Progress::Open,
            checks: 0,
            is_restored: false,
        };
        let allowed = |effect| matches!(effect, Effect::Read | Effect::Prepare);
        self.converse(&operation, allowed).await.map(|(outcome, _)| outcome)
    }

    /// Asks what became of an operation, in which version of its adapter. It sends reads only.
    pub(crate) async fn ask_status(
        &self,
        payment: &Payment,
        of: &Operation,
        exchanges: &[Exchange],
    ) -> Result<(Outcome, Vec<Exchange>, String), Fault> {
        let attempt = payment.attempt(of.attempt);
        let parent = attempt.and_then(|attempt| attempt.reference.clone());
        let memo = attempt.and_then(|attempt| attempt.memo.clone());
        let reference = match of.kind.is_attempt() {
            true => parent.clone(),
            false => payment
                .follow_up(of.id)
                .and_then(|follow_up| follow_up.reference.clone()),
        };
        // What another channel left on the payment says nothing to this one.
        let is_attempts = attempt.is_some_and(|attempt| attempt.channel == of.channel);
        let (parent, memo) = if is_attempts { (parent, memo) } else { (None, None) };
        let mut target = of.as_target(reference, parent, memo.clone(), sent(exchanges));
        let is_taken = |it: &&Attempt| is_attempts && it.status == AttemptStatus::Captured;
        if let Some(attempt) = attempt.filter(is_taken).filter(|_| payment.payout.is_none()) {
            target.captured = Some(payment.captured.clone());
            target.captured_ms = attempt.captured_ms;
            let kept = payment
                .disputes
                .iter()
                .filter(|it| it.attempt == attempt.id && it.is_taken());
            target.disputed = kept.map(|it| it.reference.clone()).collect();
        }
        // A version that knows no sweeps takes one for a payout of two prices.
        let adapter = match of.kind {
            Kind::Sweep => of.adapter.clone(),
            _ => self.later_version(&of.channel, memo.as_ref(), &of.adapter),
        };
        let new = NewOperation {
            id: self.new_operation_id(payment),
            payment,
            channel: of.channel.clone(),
            adapter,
            kind: of.kind,
            attempt: of.attempt,
            amount: of.amount.clone(),
            input: Input::Status(target),
            method: None,
        };
        let status = self.new_operation(new).await?;
        let (outcome, asked) = self.converse(&status, |effect| effect == Effect::Read).await?;
        Ok((outcome, asked, status.adapter))
    }

    /// Runs an operation that moves nothing: it sends only what `allowed` lets through, and nothing of it is on disk before.
    async fn converse(
        &self,
        operation: &Operation,
        allowed: impl Fn(Effect) -> bool + Send + Sync,
    ) -> Result<(Outcome, Vec<Exchange>), Fault> {
        let mut exchanges: Vec<Exchange> = vec![];
        let mut answers = vec![];
        let mut restarted = false;
        loop {
            match self.ports.channels.step(operation, &operation.input, &answers) {
                Err(fault) if fault.kind == FaultKind::StaleSession && !restarted => {
                    self.ports.channels.forget_session(&operation.channel, &fault.text);
                    restarted = true;
                    answers.clear();
                }
                Err(fault) => return Err(fault),
                Ok(Step::Done(outcome)) => return Ok((outcome, exchanges)),
                Ok(Step::Send(request)) if !allowed(request.effect) => {
                    return Err(Fault {
                        kind: FaultKind::NotGranted,
                        text: format!("a {} may not send a request with an effect", operation.kind.as_str()),
                    });
                }
                Ok(Step::Send(_)) if exchanges.len() >= ROUNDS_MAX => {
                    return Err(Fault {
                        kind: FaultKind::Rounds,
                        text: format!("more than {ROUNDS_MAX} requests"),
                    });
                }
                Ok(Step::Send(request)) => {
                    let answer = self.ports.channels.send(operation, &request, None).await?;
                    exchanges.push(Exchange {
                        run: RUN_OF_CHECKS,
                        request,
                        answer: Some(answer.clone()),
                    });
                    answers.push(answer);
                }
            }
        }
    }

    /// Runs every prefix again on a sample of the operations and compares each request with what was sent.
    fn check_purity(
        &self,
        operation: &Operation,
        (before, exchanges): (&[Exchange], &[Exchange]),
        run: u8,
    ) -> Result<(), Fault> {
        if !operation.id.0.as_u128().is_multiple_of(PURITY_SAMPLE) {
            return Ok(());
        }
        let earlier = before
            .iter()
            .filter(|_| run == 0)
            .map(|it| Exchange { run: 0, ..it.clone() });
        let all: Vec<Exchange> = earlier.chain(exchanges.iter().cloned()).collect();
        self.compare_with_journal(operation, &all, run)
    }

    /// Runs every prefix of a journaled run again: the same arguments must give the same request.
    pub(crate) fn compare_with_journal(
        &self,
        operation: &Operation,
        exchanges: &[Exchange],
        run: u8,
    ) -> Result<(), Fault> {
        let of_run = || exchanges.iter().filter(|exchange| exchange.run == run);
        let mut answers = vec![];
        for exchange in of_run() {
            let again = self.ports.channels.step(operation, &operation.input, &answers)?;
            match again {
                Step::Send(request) if request == exchange.request => {}
                Step::Send(_) | Step::Done(_) => {
                    return Err(Fault {
                        kind: FaultKind::NotPure,
                        text: "the same arguments gave another request".into(),
                    });
                }
            }
            answers.extend(exchange.answer.clone());
        }
        Ok(())
    }
}

/// A journaled operation, to go on with.
pub(crate) fn owned(journaled: Journaled) -> (Operation, Vec<Exchange>) {
    Arc::try_unwrap(journaled).unwrap_or_else(|shared| (*shared).clone())
}

/// The longest body of a write that a status query is told.
const SENT_MAX: usize = 8 * 1024;

/// The bodies of the writes that left, for whoever has to find them again.
pub(crate) fn sent(exchanges: &[Exchange]) -> Vec<String> {
    let writes = exchanges.iter().filter(|it| it.request.effect == Effect::Write);
    let bodies = writes
        .map(|it| it.request.body.as_bytes())
        .filter(|body| body.len() <= SENT_MAX);
    bodies.map(|body| String::from_utf8_lossy(body).into_owned()).collect()
}

/// What a feed moves.
fn nothing() -> Result<Money, Fault> {
    let asset = Asset::currency("EUR").ok_or_else(|| unsupported("no asset"))?;
    Ok(Money::zero(asset))
}

fn unsupported(text: &str) -> Fault {
    Fault {
        kind: FaultKind::Unsupported,
        text: text.into(),
    }
}

/// A session that went stale is opened again once, and only if nothing can have happened.
fn may_start_again(fault: &Fault, run: u8, exchanges: &[Exchange]) -> bool {
    fault.kind == FaultKind::StaleSession
        && run == 0
        && matches!(ceiling(exchanges), Certainty::NotSent | Certainty::Refused)
}

/// What stands in the place of an answer to a write that did not leave.
fn stale(now_ms: u64) -> Answer {
    tracing::error!("a write did not leave: too long after its intent began to be written");
    Answer {
        at_ms: now_ms,
        reply: Reply::NotSent("too long after its intent began to be written".into()),
    }
}

/// A request that the grant refuses was not sent.
fn answer_of(sent: Result<Answer, Fault>, now_ms: u64) -> (Answer, Option<Fault>) {
    match sent {
        Ok(answer) => (answer, None),
        Err(fault) => (
            Answer {
                at_ms: now_ms,
                reply: Reply::NotSent(fault.to_string()),
            },
            Some(fault),
        ),
    }
}
