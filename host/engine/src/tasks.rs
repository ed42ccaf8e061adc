//! What a human decides about a task, with what it posts.

use crate::run::{Ran, owned};
use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit};
use portolan_domain::ids::TaskId;
use portolan_domain::operation::{Input, Kind, Operation, Outcome, Verdict};
use portolan_domain::payment::Payment;
use portolan_domain::payment::fact::Fact;
use portolan_domain::task::{Proposal, Resolution, Task, TaskKind};

/// Why a decision is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// No such task.
    #[error("there is no such task")]
    NotFound,
    /// It is closed.
    #[error("the task is closed already")]
    Closed,
    /// Not for this kind.
    #[error("{0} is not a decision for a task of the kind {1}")]
    NotAllowed(&'static str, &'static str),
    /// The same person twice is one person.
    #[error("{0} decided this already: it takes a second person")]
    SecondPerson(String),
    /// The engine cannot.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What became of a human's decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decided {
    /// It is carried out.
    Done,
    /// It waits for a second person who decides the same.
    Proposed,
}

impl Engine {
    /// Carries out a human's decision; where so much is at stake that it takes two, once the second one decides the same. `reference`: the provider's, from its console, where it happened.
    pub async fn resolve_task(
        &self,
        id: TaskId,
        resolution: Resolution,
        (by, why): (&str, &str),
        reference: Option<String>,
    ) -> Result<Decided, TaskError> {
        let found = self.ports.store.task(id).map_err(EngineError::from)?;
        let task = found.ok_or(TaskError::NotFound)?;
        if task.closed.is_some() {
            return Err(TaskError::Closed);
        }
        if !task
            .kind
            .resolutions()
            .iter()
            .any(|(allowed, _)| *allowed == resolution)
        {
            return Err(TaskError::NotAllowed(resolution.as_str(), task.kind.as_str()));
        }
        tracing::warn!(task = %id, resolution = resolution.as_str(), by, why, "a human decided");
        if resolution != Resolution::CheckAgain && self.policy.takes_two(&task.exposure) {
            let same = task.proposed.as_ref();
            match same.filter(|it| it.is_same(resolution, reference.as_deref())) {
                Some(first) if first.is_by(by) => return Err(TaskError::SecondPerson(first.by.clone())),
                Some(_) => {}
                None => {
                    self.propose(task, (resolution, reference), by).await?;
                    return Ok(Decided::Proposed);
                }
            }
        }
        self.carry_out(task, resolution, (by, why), reference).await?;
        Ok(Decided::Done)
    }

    async fn propose(
        &self,
        task: Task,
        (resolution, reference): (Resolution, Option<String>),
        by: &str,
    ) -> Result<(), EngineError> {
        let base = self.load(task.payment)?;
        let propose = |_: &mut Payment, change: &mut Change| {
            let proposed = Proposal {
                at_ms: change.now_ms,
                by: by.to_owned(),
                resolution,
                reference: reference.clone(),
            };
            change.tasks.push(Task {
                proposed: Some(proposed),
                ..task.clone()
            });
            Ok(())
        };
        self.update(&base, propose, |_: &mut Commit, _: &Payment, (): &()| {})
            .await
            .map(drop)
    }

    async fn carry_out(
        &self,
        task: Task,
        resolution: Resolution,
        (by, why): (&str, &str),
        reference: Option<String>,
    ) -> Result<(), EngineError> {
        match resolution {
            Resolution::CheckAgain => self.check_hinted(task.operation, true).await,
            Resolution::RefundedOutside => self.settle_late(task, by, why).await,
            Resolution::ConvertNow | Resolution::KeepCurrency => {
                self.decide_conversion(task, resolution, by, why).await
            }
            Resolution::Succeeded | Resolution::NoEffect => {
                self.decide_unknown(task, resolution, reference, (by, why)).await
            }
        }
    }

    async fn decide_unknown(
        &self,
        task: Task,
        resolution: Resolution,
        reference: Option<String>,
        (by, why): (&str, &str),
    ) -> Result<(), EngineError> {
        let found = self.ports.store.operation(task.operation)?;
        let (operation, exchanges) = owned(found.ok_or(EngineError::NotFound("operation"))?);
        let reference = reference.unwrap_or_else(|| format!("by hand: {by}"));
        let verdict = Verdict::Proven(match resolution {
            Resolution::Succeeded => success(&operation, reference),
            Resolution::NoEffect
            | Resolution::CheckAgain
            | Resolution::RefundedOutside
            | Resolution::ConvertNow
            | Resolution::KeepCurrency => Outcome::NotFound,
        });
        let closing = task.clone();
        let base = self.load(task.payment)?;
        let (by, how) = (by.to_owned(), format!("{}: {why}", resolution.as_str()));
        self.apply(base, operation, Ran { verdict, exchanges }).await?;
        let close = |_: &mut Payment, change: &mut Change| {
            change.close_task(closing.clone(), &by, &how);
            Ok(())
        };
        let base = self.load(task.payment)?;
        self.update(&base, close, |_: &mut Commit, _: &Payment, (): &()| {})
            .await
            .map(drop)
    }

    async fn settle_late(&self, task: Task, by: &str, why: &str) -> Result<(), EngineError> {
        let base = self.load(task.payment)?;
        let mut attempts = base.payment.attempts.iter();
        let attempt = attempts.find(|attempt| attempt.operation == task.operation);
        let attempt = attempt.ok_or(EngineError::NotFound("attempt"))?.id;
        let settle = |payment: &mut Payment, change: &mut Change| {
            debug_assert!(matches!(task.kind, TaskKind::LateSuccess | TaskKind::Excess));
            let fact = Fact::LateSettled {
                attempt,
                amount: task.exposure.clone(),
            };
            payment.record(change, fact)?;
            change.close_task(task.clone(), by, &format!("refunded_outside: {why}"));
            Ok(())
        };
        self.update(&base, settle, |_: &mut Commit, _: &Payment, (): &()| {})
            .await
            .map(drop)
    }
}

fn success(operation: &Operation, reference: String) -> Outcome {
    match operation.function() {
        Kind::Authorize | Kind::Resume => Outcome::Accepted {
            reference,
            authorized: operation.amount.clone(),
            captured: captures_at_once(operation),
            network_reference: None,
            authentication: None,
            memo: None,
        },
        Kind::Pay => Outcome::Sent {
            reference,
            is_final: true,
            check_after_ms: 0,
            iso_status: None,
            fee: None,
            memo: None,
            may_replace: false,
        },
        Kind::Capture
        | Kind::Cancel
        | Kind::Refund
        | Kind::Reverse
        | Kind::Quote
        | Kind::Convert
        | Kind::Sweep
        | Kind::Poll => match &operation.input {
            Input::Convert(quotation) => Outcome::Converted {
                reference,
                sold: quotation.sell.clone(),
                bought: quotation.buy.clone(),
                memo: None,
            },
            _ => Outcome::Done {
                reference,
                amount: operation.amount.clone(),
                memo: None,
            },
        },
    }
}

fn captures_at_once(operation: &Operation) -> bool {
    match &operation.input {
        Input::Authorize(authorization) | Input::Resume(authorization, ..) => authorization.capture,
        Input::Capture(..)
        | Input::Cancel(_)
        | Input::Refund(..)
        | Input::Reverse(_)
        | Input::Quote(_)
        | Input::Convert(_)
        | Input::Pay(_)
        | Input::Sweep(_)
        | Input::Poll(_)
        | Input::Status(_) => false,
    }
}
