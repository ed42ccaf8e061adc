//! What the verdict of a payout leads to: on its way, there, stuck, or back.

use super::Policy;
use super::authorization::{accept, settle, wait};
use crate::commit::{Change, TimerKind};
use crate::ids::AttemptId;
use crate::money::Money;
use crate::operation::Operation;
use crate::payment::Payment;
use crate::payment::fact::Fact;
use crate::payment::status::{AttemptStatus, IllegalEvent};
use crate::task::{Task, TaskKind};

/// A payout is on its way, or there.
pub(super) fn sent(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    (is_final, check_after_ms, may_replace): (bool, u32, bool),
    (policy, task): (&Policy, Option<Task>),
) -> Result<(), IllegalEvent> {
    if is_final {
        settle(change, operation.id, task, "paid");
        return accept(payment, change, operation, operation.amount.clone(), true, policy);
    }
    let is_known = operation.progress == crate::operation::Progress::Waiting;
    settle(change, operation.id, task.clone(), "on its way");
    if may_replace && operation.checks >= policy.checks_before_human {
        ask_human(payment, change, operation, task);
    }
    let after_ms = super::asked_for(check_after_ms).max(policy.backoff_ms(operation.checks));
    if is_known {
        let due = change.now_ms.saturating_add(after_ms);
        change
            .timers_set
            .push(payment.timer(TimerKind::Check, operation.id, due));
        return Ok(());
    }
    wait(payment, change, operation, None, after_ms, policy)
}

/// A payout that waits for too low a price, which nothing could better: a human is told, who may change what the channel pays.
pub(super) fn ask_human(payment: &Payment, change: &mut Change, operation: &Operation, task: Option<Task>) {
    // What says that it is on its way closes the task of what was unknown: this one stays.
    change.tasks.retain(|it| it.operation != operation.id);
    match task {
        Some(task) if task.for_human => {}
        Some(task) => change.tasks.push(Task {
            for_human: true,
            ..task
        }),
        None => change.open_task(
            payment,
            TaskKind::UnknownOutcome,
            operation.id,
            operation.amount.clone(),
        ),
    }
}

/// Whether the beneficiary was said to have it: a refusal after that is a return.
pub(super) fn is_paid_out(payment: &Payment, attempt: AttemptId) -> bool {
    let status = payment.attempt(attempt).map(|attempt| attempt.status);
    payment.payout.is_some() && status == Some(AttemptStatus::Captured)
}

/// A payout came back. If nobody had said that it was paid, it was, for a while.
pub(super) fn returned(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    (amount, reason): (Money, String),
    policy: &Policy,
) -> Result<(), IllegalEvent> {
    let status = payment.attempt(operation.attempt).map(|attempt| attempt.status);
    if status.is_some_and(AttemptStatus::is_closed) || payment.payout.as_ref().is_none_or(|it| it.returned.is_some()) {
        return Ok(());
    }
    if status != Some(AttemptStatus::Captured) {
        accept(payment, change, operation, operation.amount.clone(), true, policy)?;
    }
    if let Some(payout) = &mut payment.payout {
        payout.returned = Some((amount.clone(), reason.clone()));
    }
    payment.record(
        change,
        Fact::Returned {
            attempt: operation.attempt,
            amount,
            reason,
        },
    )
}
