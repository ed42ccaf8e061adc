//! What the verdict of a capture, cancel, refund, reversal, exchange or sweep leads to.

use super::Policy;
use super::authorization::{await_check, note, release, settle};
use super::payout::ask_human;
use crate::commit::{Change, TimerKind};
use crate::ids::OperationId;
use crate::money::Money;
use crate::operation::{FaultKind, Kind, Operation, Outcome, Verdict};
use crate::payment::conversion::{LegState, VAIN_MAX};
use crate::payment::decide::fault_error;
use crate::payment::fact::Fact;
use crate::payment::status::{FollowUpStatus, IllegalEvent};
use crate::payment::{FollowUp, Payment};
use crate::task::Task;

/// What was not swept is swept so much later; after so many times more seldom.
const SWEEP_AGAIN_MS: u64 = 3_600_000;
const SWEEPS_OFTEN: usize = 24;
const SWEEP_SELDOM_MS: u64 = 86_400_000;
/// The decline of a sweep after which there is nothing to be swept.
const NOTHING_THERE: &str = "nothing-there";

/// Applies the verdict of a capture, cancel, refund, reversal, exchange or sweep.
pub fn conclude_follow_up(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    verdict: Verdict,
    (policy, task): (&Policy, Option<Task>),
) -> Result<(), IllegalEvent> {
    use crate::payment::status::FollowUpStatus as F;
    let id = operation.id;
    if payment
        .follow_up(id)
        .is_some_and(|follow_up| matches!(follow_up.status, F::Succeeded | F::Failed))
    {
        settle(change, id, task, "known already");
        return Ok(());
    }
    match verdict {
        Verdict::Proven(Outcome::Done { .. }) if undoes_what_is_closed(payment, operation) => {
            settle(change, id, task, "released already");
            follow_up_failed(payment, change, id, "released_already".into())
        }
        Verdict::Proven(Outcome::Done {
            reference,
            amount,
            memo,
        }) => {
            settle(change, id, task, "done");
            note(payment, operation.attempt, None, memo);
            if let Some(follow_up) = payment.follow_up_mut(id) {
                follow_up.reference = Some(reference);
                follow_up.amount = amount.clone();
            }
            done(payment, change, operation, amount)
        }
        Verdict::Proven(Outcome::Converted {
            reference,
            sold,
            bought,
            memo: _,
        }) if operation.kind == Kind::Convert => {
            if let Some(follow_up) = payment.follow_up_mut(id) {
                follow_up.reference = Some(reference);
            }
            settle(change, id, task, "converted");
            converted(payment, change, operation, sold, bought)
        }
        Verdict::Proven(Outcome::Sent {
            reference,
            is_final,
            check_after_ms,
            fee,
            may_replace,
            ..
        }) if operation.function() == Kind::Pay => {
            if let Some(follow_up) = payment.follow_up_mut(id) {
                follow_up.reference = Some(reference);
                follow_up.fee = fee.or_else(|| follow_up.fee.take());
            }
            settle(change, id, task.clone(), if is_final { "paid" } else { "on its way" });
            if is_final {
                return done(payment, change, operation, operation.amount.clone());
            }
            if may_replace && operation.checks >= policy.checks_before_human {
                ask_human(payment, change, operation, task);
            }
            look_again(payment, change, operation, (check_after_ms, policy))
        }
        Verdict::Proven(Outcome::Expired) => {
            settle(change, id, task, "expired");
            follow_up_failed(payment, change, id, "quote_expired".into())
        }
        Verdict::Proven(Outcome::Waiting { check_after_ms, .. }) => {
            look_again(payment, change, operation, (check_after_ms, policy))
        }
        Verdict::Proven(Outcome::Declined(decline)) => {
            settle(change, id, task, "declined");
            follow_up_failed(payment, change, id, decline.reason)?;
            sweep_again(payment, change, id);
            Ok(())
        }
        Verdict::Proven(Outcome::NotFound) => {
            settle(change, id, task, "not found, finally");
            follow_up_failed(payment, change, id, "not_found".into())
        }
        Verdict::NoEffect(fault) => {
            settle(change, id, task, "no effect");
            let was = payment.conversion.as_ref().map(|it| it.state);
            follow_up_failed(payment, change, id, fault_error(&fault).0.into())?;
            // What the provider refused, or nobody can do or grants, is the same a moment later.
            let is_final = matches!(fault.kind, FaultKind::Unsupported | FaultKind::NotGranted);
            if !fault.kind.is_providers_word() && !is_final {
                again_later(payment, change, (operation.kind, was), policy);
                sweep_again(payment, change, id);
            }
            Ok(())
        }
        Verdict::Unknown(..)
        | Verdict::Proven(
            Outcome::Accepted { .. }
            | Outcome::Standing(_)
            | Outcome::Unknown(_)
            | Outcome::Quoted(_)
            | Outcome::Converted { .. }
            | Outcome::Page(_)
            | Outcome::Sent { .. }
            | Outcome::Returned { .. },
        ) => {
            payment.record(
                change,
                Fact::FollowUpUnknown {
                    operation: id,
                    kind: Some(operation.kind),
                },
            )?;
            await_check(payment, change, operation, (policy, task.is_some()));
            Ok(())
        }
    }
}

/// The provider is at it: it is asked again when it said so, or later.
fn look_again(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    (check_after_ms, policy): (u32, &Policy),
) -> Result<(), IllegalEvent> {
    let follow_up = payment.follow_up(operation.id);
    if follow_up.is_some_and(|it| it.status == FollowUpStatus::Unknown) {
        let (operation, kind) = (operation.id, operation.kind);
        payment.record(change, Fact::FollowUpPending { operation, kind })?;
    }
    let after_ms = super::asked_for(check_after_ms).max(policy.backoff_ms(operation.checks));
    let due = change.now_ms.saturating_add(after_ms);
    change
        .timers_set
        .push(payment.timer(TimerKind::Check, operation.id, due));
    Ok(())
}

/// The request did not get there, or was not made: that says nothing of the price or of the money. The leg is begun again, a few
/// times, each time later; after that it counts as refused.
fn again_later(payment: &mut Payment, change: &mut Change, (kind, was): (Kind, Option<LegState>), policy: &Policy) {
    let Some(conversion) = payment.conversion.as_mut().filter(|it| it.vain < VAIN_MAX) else {
        return;
    };
    match kind {
        Kind::Convert => conversion.is_refused = false,
        Kind::Capture | Kind::Cancel => conversion.refusals = conversion.refusals.saturating_sub(1),
        Kind::Refund if was == Some(LegState::Compensating) => {
            (conversion.state, conversion.is_stuck) = (LegState::Compensating, false);
        }
        Kind::Refund
        | Kind::Authorize
        | Kind::Resume
        | Kind::Reverse
        | Kind::Quote
        | Kind::Pay
        | Kind::Sweep
        | Kind::Poll => return,
    }
    conversion.not_before_ms = change.now_ms.saturating_add(policy.backoff_ms(conversion.vain));
    conversion.vain = conversion.vain.saturating_add(1);
    payment.wake(change);
}

/// The exchange is done. What the merchant was promised is kept as long as the exchange gave what it had quoted; whatever
/// it gave otherwise is the router's to bear, or to keep.
fn converted(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    sold: Money,
    bought: Money,
) -> Result<(), IllegalEvent> {
    let terms = payment.conversion.as_ref().map(|it| &it.terms);
    let owed = terms.map_or_else(|| bought.clone(), |terms| terms.owed.clone());
    payment.record(
        change,
        Fact::Converted {
            operation: operation.id,
            channel: operation.channel.clone(),
            sold,
            bought,
            owed,
        },
    )
}

/// A cancel or reversal of an attempt that was closed by another way meanwhile.
fn undoes_what_is_closed(payment: &Payment, operation: &Operation) -> bool {
    matches!(operation.kind, Kind::Cancel | Kind::Reverse)
        && payment
            .attempt(operation.attempt)
            .is_some_and(|attempt| attempt.status.is_closed())
}

fn follow_up_failed(
    payment: &mut Payment,
    change: &mut Change,
    operation: OperationId,
    reason: String,
) -> Result<(), IllegalEvent> {
    let kind = payment.follow_up_mut(operation).map(|follow_up| {
        follow_up.failure = Some(reason.clone());
        follow_up.kind
    });
    payment.record(
        change,
        Fact::FollowUpFailed {
            operation,
            kind,
            reason,
        },
    )
}

/// Fees fall, what pays them is filled up, and what a chain took back comes again: what was not swept is swept later.
fn sweep_again(payment: &Payment, change: &mut Change, failed: OperationId) {
    let is_sweep = |it: &&FollowUp| it.kind == Kind::Sweep;
    let Some(attempt) = payment.follow_up(failed).filter(is_sweep).map(|it| it.attempt) else {
        return;
    };
    let tries = payment.follow_ups.iter().filter(is_sweep).count();
    let is_empty = payment.follow_up(failed).and_then(|it| it.failure.as_deref()) == Some(NOTHING_THERE);
    let operation = payment.attempt(attempt).map(|attempt| attempt.operation);
    if let Some(operation) = operation.filter(|_| !is_empty) {
        let after_ms = if tries < SWEEPS_OFTEN {
            SWEEP_AGAIN_MS
        } else {
            SWEEP_SELDOM_MS
        };
        let due = change.now_ms.saturating_add(after_ms);
        change.timers_set.push(payment.timer(TimerKind::Sweep, operation, due));
    }
}

fn done(payment: &mut Payment, change: &mut Change, operation: &Operation, amount: Money) -> Result<(), IllegalEvent> {
    let attempt = operation.attempt;
    let authorization = payment.attempt(attempt).map(|attempt| attempt.operation);
    let is_final = payment
        .follow_up(operation.id)
        .is_some_and(|follow_up| follow_up.is_final);
    match operation.kind {
        Kind::Capture => {
            let taken_all = payment
                .attempt(attempt)
                .and_then(|attempt| attempt.hold.as_ref())
                .is_none_or(|hold| hold.amount.fits_in(&amount));
            let is_final = is_final || taken_all;
            payment.record(
                change,
                Fact::Captured {
                    attempt,
                    operation: Some(operation.id),
                    amount,
                    is_final,
                },
            )?;
            if let Some(authorization) = authorization.filter(|_| is_final) {
                change
                    .timers_clear
                    .push((TimerKind::AuthorizationExpiry, authorization));
            }
            Ok(())
        }
        Kind::Refund => payment.record(
            change,
            Fact::Refunded {
                operation: operation.id,
                amount,
            },
        ),
        Kind::Sweep => payment.record(
            change,
            Fact::Swept {
                operation: operation.id,
            },
        ),
        Kind::Cancel | Kind::Reverse => {
            if let Some(authorization) = authorization {
                change
                    .timers_clear
                    .push((TimerKind::AuthorizationExpiry, authorization));
                // Its check stays: it finds the authorization released and closes it.
                change.timers_clear.push((TimerKind::ActionExpiry, authorization));
            }
            release(payment, change, attempt, operation.kind.as_str(), Some(operation.id))
        }
        Kind::Authorize | Kind::Resume | Kind::Quote | Kind::Convert | Kind::Pay | Kind::Poll => Ok(()),
    }
}
