//! The payer is back from an action: the attempt goes on with what the browser brought along, or, where the adapter has
//! nothing to do then, with a status query.

use crate::progress::{LOOK_AFTER_MS, journaled};
use crate::run::{Intent, NewOperation};
use crate::{Engine, EngineError};
use async_trait::async_trait;
use portolan_domain::commit::{Change, Commit, TimerKind, Versioned};
use portolan_domain::exchange::Exchange;
use portolan_domain::ids::OperationId;
use portolan_domain::operation::{Input, Kind, Operation, Progress};
use portolan_domain::payment::Payment;
use portolan_domain::payment::decide::Refusal;
use portolan_domain::payment::fact::Fact;
use portolan_domain::payment::status::AttemptStatus;
use std::sync::Arc;

struct ResumeIntent {
    base: Versioned,
    original: OperationId,
}

#[async_trait]
impl Intent for ResumeIntent {
    async fn write(
        &mut self,
        engine: &Engine,
        operation: &Operation,
        exchanges: &[Exchange],
    ) -> Result<(), EngineError> {
        let begin = |payment: &mut Payment, change: &mut Change| self.begin(payment, change, operation);
        let complete = |commit: &mut Commit, _: &Payment, (): &()| {
            commit
                .operations
                .push(Arc::new((operation.clone(), exchanges.to_vec())));
            // What waited for the payer is over; its timers are cleared in this commit.
            let waited = commit.in_flight.iter().find(|it| it.0.id == self.original);
            let concluded = waited.map(|it| journaled(&it.0, Progress::Concluded, &it.1));
            commit.operations.extend(concluded);
        };
        self.base = engine.update(&self.base, begin, complete).await?.0;
        Ok(())
    }
}

impl ResumeIntent {
    /// Once: the attempt waits for the payer, or it does not.
    fn begin(&self, payment: &mut Payment, change: &mut Change, operation: &Operation) -> Result<(), EngineError> {
        let status = payment.attempt(operation.attempt).map(|attempt| attempt.status);
        if status != Some(AttemptStatus::ActionRequired) {
            return Err(Refusal::WrongStatus(payment.status.as_str()).into());
        }
        payment.record(
            change,
            Fact::Resumed {
                attempt: operation.attempt,
                operation: operation.id,
            },
        )?;
        change.timers_clear.push((TimerKind::ActionExpiry, self.original));
        change.timers_clear.push((TimerKind::Check, self.original));
        let due = change.now_ms.saturating_add(LOOK_AFTER_MS);
        change
            .timers_set
            .push(payment.timer(TimerKind::Check, operation.id, due));
        Ok(())
    }
}

impl Engine {
    /// Goes on after the payer's return to `/return/{operation}`; the payment as it is afterwards.
    pub async fn resume(
        &self,
        original: OperationId,
        returned: Vec<(String, String)>,
    ) -> Result<Versioned, EngineError> {
        let found = self.ports.store.operation(original)?;
        let found = found.ok_or(EngineError::NotFound("operation"))?;
        let operation = &found.0;
        let base = self.load(operation.payment)?;
        let waits = base
            .payment
            .attempt(operation.attempt)
            .is_some_and(|it| it.status == AttemptStatus::ActionRequired);
        if !waits {
            // A second visit, or a browser's reload: the payer sees where the payment is now.
            return Ok(base);
        }
        let facts = self.ports.channels.facts();
        let mut facts = facts.iter().filter(|facts| facts.id == operation.channel);
        let can_resume = facts.any(|facts| facts.kinds.contains(&Kind::Resume));
        let Input::Authorize(authorization) = &operation.input else {
            return Err(EngineError::NotFound("authorization"));
        };
        if !can_resume {
            self.check(original).await?;
            return self.load(operation.payment);
        }
        let attempt = base.payment.attempt(operation.attempt);
        let reference = attempt.and_then(|attempt| attempt.reference.clone());
        let memo = attempt.and_then(|attempt| attempt.memo.clone());
        let new = NewOperation {
            id: self.new_operation_id(&base.payment),
            payment: &base.payment,
            channel: operation.channel.clone(),
            adapter: operation.adapter.clone(),
            kind: Kind::Resume,
            attempt: operation.attempt,
            amount: operation.amount.clone(),
            input: Input::Resume(
                authorization.clone(),
                operation.as_target(reference, None, memo, vec![]),
                returned,
            ),
            method: None,
        };
        let resumed = self.new_operation(new).await.map_err(EngineError::Channel)?;
        let mut intent = ResumeIntent { base, original };
        let ran = self.run(&resumed, None, &mut intent).await?;
        self.apply(intent.base, resumed, ran).await
    }
}
