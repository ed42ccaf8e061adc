//! What an authorization's verdict leads to: accepted, waiting, declined, without effect, unknown, late. Nothing here is
//! more certain than the verdict.

use super::{Next, Policy, payout};
use crate::commit::{Change, Timer, TimerKind};
use crate::ids::{AttemptId, OperationId};
use crate::money::Money;
use crate::operation::{Decline, Fault, Kind, Operation, Outcome, Standing, State, Verdict};
use crate::payment::dispute;
use crate::payment::fact::Fact;
use crate::payment::status::{AttemptStatus, IllegalEvent};
use crate::payment::{LastError, Payment, UnknownSince};
use crate::task::{Task, TaskKind};

/// Longer than opening a session and making the next request take.
const BETWEEN_ATTEMPTS_MS: u64 = 180_000;
/// What is taken is not looked at more often than this.
const WATCH_MIN_MS: u64 = 1_000;
/// Nor more often than each time that part of its age.
const WATCH_PART: u64 = 16;

/// Applies the verdict of an authorization or of its resumption. `task` is the open task about it, if there is one.
pub fn conclude_authorization(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    verdict: Verdict,
    (policy, task): (&Policy, Option<Task>),
) -> Result<Next, IllegalEvent> {
    let id = operation.attempt;
    let verdict = of_resumption(operation, verdict);
    if let Some(known) = known_already(payment, operation, &verdict) {
        // A notification was quicker than the provider's own reply.
        settle(change, operation.id, task, known);
        return Ok(Next::Rest);
    }
    let settled = |change: &mut Change, how: &str| settle(change, operation.id, task.clone(), how);
    match verdict {
        Verdict::Proven(Outcome::Accepted {
            reference,
            authorized,
            captured,
            network_reference,
            authentication,
            memo,
        }) => {
            note(payment, id, Some(reference), memo);
            if let Some(attempt) = payment.attempt_mut(id) {
                attempt.network_reference = network_reference;
                attempt.authentication = authentication.or_else(|| attempt.authentication.take());
            }
            settled(change, "succeeded");
            accept(payment, change, operation, authorized, captured, policy).map(|()| Next::Rest)
        }
        Verdict::Proven(Outcome::Standing(standing)) => {
            conclude_standing(payment, change, operation, standing, (policy, task))
        }
        Verdict::Proven(Outcome::Waiting {
            reference,
            action,
            check_after_ms,
            memo,
        }) => {
            note(payment, id, reference, memo);
            settled(change, "waiting");
            wait(
                payment,
                change,
                operation,
                action,
                super::asked_for(check_after_ms),
                policy,
            )
            .map(|()| Next::Rest)
        }
        Verdict::Proven(Outcome::Sent {
            reference,
            is_final,
            check_after_ms,
            iso_status,
            fee,
            memo,
            may_replace,
        }) => {
            note(payment, id, Some(reference), memo);
            if let Some(payout) = &mut payment.payout {
                payout.iso_status = iso_status.or_else(|| payout.iso_status.take());
                payout.fee = fee.or_else(|| payout.fee.take());
            }
            let on_its_way = (is_final, check_after_ms, may_replace);
            payout::sent(payment, change, operation, on_its_way, (policy, task))?;
            Ok(Next::Rest)
        }
        Verdict::Proven(Outcome::Returned {
            reference,
            amount,
            reason,
        }) => {
            note(payment, id, Some(reference), None);
            settled(change, "returned");
            payout::returned(payment, change, operation, (amount, reason), policy).map(|()| Next::Rest)
        }
        Verdict::Proven(Outcome::Declined(decline)) if payout::is_paid_out(payment, id) => {
            settled(change, "returned");
            let back = (operation.amount.clone(), decline.reason);
            payout::returned(payment, change, operation, back, policy).map(|()| Next::Rest)
        }
        Verdict::Proven(Outcome::Declined(decline)) => {
            settled(change, "declined");
            decline_attempt(payment, change, id, decline).map(|()| Next::Rest)
        }
        Verdict::Proven(Outcome::NotFound) => {
            settled(change, "not found, finally");
            no_effect(payment, change, id, "not_found", "the provider has no such payment")?;
            Ok(try_next(payment, change))
        }
        Verdict::NoEffect(fault) => {
            settled(change, "no effect");
            let (code, text) = fault_error(&fault);
            no_effect(payment, change, id, code, &text)?;
            Ok(try_next(payment, change))
        }
        Verdict::Unknown(doubt, fault) => {
            note(payment, id, doubt.reference, None);
            unknown(payment, change, operation, fault, (policy, task.is_some())).map(|()| Next::Rest)
        }
        Verdict::Proven(
            Outcome::Done { .. }
            | Outcome::Unknown(_)
            | Outcome::Quoted(_)
            | Outcome::Converted { .. }
            | Outcome::Page(_)
            | Outcome::Expired,
        ) => unknown(payment, change, operation, None, (policy, task.is_some())).map(|()| Next::Rest),
    }
}

/// Between two attempts nothing looks after the payment but this: should whoever tries the next channel be gone, it is
/// given up.
fn try_next(payment: &Payment, change: &mut Change) -> Next {
    let due = change.now_ms.saturating_add(BETWEEN_ATTEMPTS_MS);
    let id = OperationId::of(payment.id, 0);
    change.timers_set.retain(|timer| timer.kind != TimerKind::Advance);
    change.timers_set.push(payment.timer(TimerKind::Advance, id, due));
    Next::TryNext
}

/// A resumption that had no effect says nothing of the authorization, which left long before it.
fn of_resumption(operation: &Operation, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::NoEffect(fault) if operation.kind == Kind::Resume => {
            Verdict::Unknown(fault.to_string().into(), Some(fault))
        }
        Verdict::Proven(Outcome::NotFound) if operation.kind == Kind::Resume => {
            Verdict::Unknown("the resumption found nothing".to_owned().into(), None)
        }
        other => other,
    }
}

/// Whether the books know already what the verdict says, or know better.
fn known_already(payment: &Payment, operation: &Operation, verdict: &Verdict) -> Option<&'static str> {
    let status = payment.attempt(operation.attempt)?.status;
    let has_money = matches!(status, AttemptStatus::Captured | AttemptStatus::Authorized);
    match verdict {
        Verdict::Proven(Outcome::Standing(_)) => None,
        Verdict::Proven(Outcome::Accepted { .. } | Outcome::Waiting { .. } | Outcome::Sent { .. }) if has_money => {
            Some("succeeded")
        }
        Verdict::Unknown(..) | Verdict::NoEffect(_) if has_money => Some("succeeded"),
        Verdict::Unknown(..) | Verdict::NoEffect(_) if status.is_closed() => Some("closed"),
        Verdict::Proven(Outcome::Declined(_) | Outcome::Waiting { .. } | Outcome::NotFound) if status.is_closed() => {
            Some("closed")
        }
        Verdict::Proven(_) | Verdict::Unknown(..) | Verdict::NoEffect(_) => None,
    }
}

/// The payment has no further attempt: it failed, for the reason of the last one.
pub fn fail(payment: &mut Payment, change: &mut Change) -> Result<(), IllegalEvent> {
    let code = payment
        .last_error
        .as_ref()
        .map_or_else(|| "no_route".to_owned(), |error| error.code.clone());
    not_between_attempts(payment, change);
    payment.record(change, Fact::Failed { code })
}

/// The next attempt is there, or there is none: nobody has to look after the gap any more.
pub(super) fn not_between_attempts(payment: &Payment, change: &mut Change) {
    change.timers_set.retain(|timer| timer.kind != TimerKind::Advance);
    change
        .timers_clear
        .push((TimerKind::Advance, OperationId::of(payment.id, 0)));
}

/// Whether an attempt ended without effect and the next one has not begun.
pub fn is_between_attempts(payment: &Payment) -> bool {
    let is_processing = payment.status == crate::payment::status::PaymentStatus::Processing;
    is_processing && !payment.attempts.is_empty() && payment.open_attempt().is_none()
}

pub(super) fn note(
    payment: &mut Payment,
    id: AttemptId,
    reference: Option<String>,
    memo: Option<crate::operation::Memo>,
) {
    if let Some(attempt) = payment.attempt_mut(id) {
        attempt.reference = reference.or_else(|| attempt.reference.take());
        attempt.memo = memo.or_else(|| attempt.memo.take());
    }
}

pub(super) fn settle(change: &mut Change, operation: OperationId, task: Option<Task>, how: &str) {
    // Set by the intent in this same change, where nothing was written before the outcome.
    change.timers_set.retain(|timer| timer.operation != operation);
    change.timers_clear.push((TimerKind::Check, operation));
    change.timers_clear.push((TimerKind::ActionExpiry, operation));
    if let Some(task) = task.filter(|task| task.closed.is_none()) {
        change.close_task(task, "router", how);
    }
}

pub(super) fn accept(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    amount: Money,
    captured: bool,
    policy: &Policy,
) -> Result<(), IllegalEvent> {
    let attempt = operation.attempt;
    if payment
        .attempt(attempt)
        .is_some_and(|attempt| attempt.status.is_closed())
    {
        return late_success(payment, change, operation, amount);
    }
    payment.last_error = None;
    if captured {
        let taken = if amount.fits_in(&payment.amount) {
            amount.clone()
        } else {
            payment.amount.clone()
        };
        payment.record(
            change,
            Fact::Captured {
                attempt,
                operation: None,
                amount: taken,
                is_final: true,
            },
        )?;
        return late_success(payment, change, operation, amount);
    }
    payment.record(change, Fact::Authorized { attempt, amount })?;
    let due = change.now_ms.saturating_add(policy.authorization_ms);
    change
        .timers_set
        .push(payment.timer(TimerKind::AuthorizationExpiry, operation.id, due));
    Ok(())
}

/// Money that came although nothing waits for it any more, `total` of it in all: booked once, what is new of it each time, and
/// somebody is asked whose it is.
fn late_success(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    total: Money,
) -> Result<(), IllegalEvent> {
    let Some(attempt) = payment.attempt(operation.attempt) else {
        return Ok(());
    };
    let nothing = || Money::zero(total.asset().clone());
    // What a closed attempt had taken before stays the payment's; no other attempt's money counts here.
    let taken = match attempt.status {
        AttemptStatus::Captured | AttemptStatus::Authorized | AttemptStatus::Released => payment.captured.clone(),
        _ => nothing(),
    };
    let kind = match attempt.status.is_closed() {
        true => TaskKind::LateSuccess,
        false => TaskKind::Excess,
    };
    let booked = attempt.late.clone().unwrap_or_else(nothing);
    let gone = attempt.late_gone.clone().unwrap_or_else(nothing);
    let surplus = total.minus(&taken).and_then(|rest| rest.minus(&booked));
    let Some(surplus) = surplus.ok().filter(|surplus| !surplus.is_zero()) else {
        // Told again: it is booked, and there is a task.
        return Ok(());
    };
    let exposure = booked.plus(&surplus).and_then(|all| all.minus(&gone));
    let exposure = exposure.unwrap_or_else(|_| surplus.clone());
    change.open_task(payment, kind, operation.id, exposure);
    payment.record(
        change,
        Fact::LateSuccess {
            attempt: operation.attempt,
            amount: surplus,
        },
    )
}

pub(super) fn wait(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    action: Option<crate::operation::Action>,
    check_after_ms: u64,
    policy: &Policy,
) -> Result<(), IllegalEvent> {
    let attempt = operation.attempt;
    payment.last_error = None;
    let check = change.now_ms.saturating_add(check_after_ms.max(policy.check_first_ms));
    change
        .timers_set
        .push(payment.timer(TimerKind::Check, operation.id, check));
    match action {
        Some(action) => {
            payment.record(change, Fact::ActionRequired { attempt })?;
            payment.action = Some(action);
            let due = change.now_ms.saturating_add(policy.action_ms);
            change
                .timers_set
                .push(payment.timer(TimerKind::ActionExpiry, operation.id, due));
            Ok(())
        }
        None => payment.record(change, Fact::AttemptPending { attempt }),
    }
}

fn declined_code(payment: &Payment) -> &'static str {
    use crate::operation::Instrument;
    match (&payment.payout, &payment.instrument) {
        (Some(_), _) => "payout_refused",
        (None, Some(Instrument::Wallet(_) | Instrument::Token(_))) => "payment_declined",
        (None, Some(Instrument::Card(..)) | None) => "card_declined",
    }
}

/// Applies the decline of an attempt after which another channel is tried at once; `None`: the attempt is not open any more, and
/// the books know better ([`conclude_authorization`] says what then).
pub fn decline_and_go_on(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    decline: Decline,
) -> Result<Option<Next>, IllegalEvent> {
    let status = payment.attempt(operation.attempt).map(|attempt| attempt.status);
    match status {
        Some(AttemptStatus::Started | AttemptStatus::Unknown | AttemptStatus::ActionRequired) => {
            settle(change, operation.id, None, "declined");
            record_decline(payment, change, operation.attempt, decline)?;
            Ok(Some(try_next(payment, change)))
        }
        Some(
            AttemptStatus::Authorized
            | AttemptStatus::Captured
            | AttemptStatus::Declined
            | AttemptStatus::NoEffect
            | AttemptStatus::Released,
        )
        | None => Ok(None),
    }
}

fn decline_attempt(
    payment: &mut Payment,
    change: &mut Change,
    attempt: AttemptId,
    decline: Decline,
) -> Result<(), IllegalEvent> {
    record_decline(payment, change, attempt, decline)?;
    fail(payment, change)
}

fn record_decline(
    payment: &mut Payment,
    change: &mut Change,
    attempt: AttemptId,
    decline: Decline,
) -> Result<(), IllegalEvent> {
    payment.last_error = Some(LastError {
        code: declined_code(payment).into(),
        decline_reason: Some(decline.reason.clone()),
        network_code: decline.network_code.clone(),
        advice: Some(decline.retry.as_str().into()),
        message: decline.message,
        not_before_ms: decline.wait_ms.map(|wait| change.now_ms.saturating_add(wait)),
    });
    let fact = Fact::AttemptDeclined {
        attempt,
        reason: decline.reason,
        provider_code: decline.provider_code,
        network_code: decline.network_code,
        retry: Some(decline.retry),
        blocks_card: decline.blocks_card,
    };
    payment.record(change, fact)
}

fn no_effect(
    payment: &mut Payment,
    change: &mut Change,
    attempt: AttemptId,
    code: &str,
    message: &str,
) -> Result<(), IllegalEvent> {
    // An issuer's word says more to the payer than what was in the way of asking another channel.
    let was_declined = payment
        .last_error
        .as_ref()
        .is_some_and(|error| error.decline_reason.is_some());
    if !was_declined {
        payment.last_error = Some(LastError {
            code: code.into(),
            message: message.into(),
            ..LastError::default()
        });
    }
    payment.record(
        change,
        Fact::AttemptNoEffect {
            attempt,
            why: code.into(),
        },
    )
}

/// The error code of a fault, and its text for the merchant.
pub fn fault_error(fault: &Fault) -> (&'static str, String) {
    use crate::operation::FaultKind as F;
    match fault.kind {
        F::Invalid => ("invalid_for_channel", fault.text.clone()),
        F::Other => ("channel_unavailable", fault.text.clone()),
        F::Unsupported => ("unsupported_by_channel", fault.text.clone()),
        F::Misconfigured | F::StaleSession => ("channel_misconfigured", "the channel's credentials are refused".into()),
        F::Protocol
        | F::Trap
        | F::Timeout
        | F::Memory
        | F::TooLarge
        | F::NotPure
        | F::Rounds
        | F::NotGranted
        | F::HandleMisplaced
        | F::ClaimsMore
        | F::ClaimsUnheard => ("plugin_fault", format!("plugin_fault: {}", fault.kind)),
    }
}

fn unknown(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    fault: Option<Fault>,
    (policy, has_task): (&Policy, bool),
) -> Result<(), IllegalEvent> {
    let is_closed = payment
        .attempt(operation.attempt)
        .is_some_and(|attempt| attempt.status.is_closed());
    if !is_closed {
        payment.last_error = None;
        payment.record(
            change,
            Fact::OutcomeUnknown {
                attempt: operation.attempt,
                operation: operation.id,
            },
        )?;
    }
    if let Some(fault) = fault {
        let (code, message) = fault_error(&fault);
        payment.last_error = Some(LastError {
            code: code.into(),
            message,
            ..LastError::default()
        });
    }
    await_check(payment, change, operation, (policy, has_task));
    Ok(())
}

/// Sets the next status query, and opens the task that everything unknown has.
pub(super) fn await_check(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    (policy, has_task): (&Policy, bool),
) {
    let due = change.now_ms.saturating_add(policy.backoff_ms(operation.checks));
    let since_ms = payment.unknown.map_or(change.now_ms, |unknown| unknown.since_ms);
    payment.unknown = Some(UnknownSince {
        since_ms,
        next_check_ms: due,
    });
    change
        .timers_set
        .push(payment.timer(TimerKind::Check, operation.id, due));
    if !has_task {
        change.open_task(
            payment,
            TaskKind::UnknownOutcome,
            operation.id,
            operation.amount.clone(),
        );
    }
}

/// A vain status query: ask again later, and at last a human.
pub fn still_unknown(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    (policy, task): (&Policy, Option<Task>),
) {
    await_check(payment, change, operation, (policy, task.is_some()));
    let hand_over = operation.checks >= policy.checks_before_human;
    if let Some(task) = task.filter(|task| hand_over && !task.for_human && task.closed.is_none()) {
        change.tasks.push(Task {
            for_human: true,
            ..task
        });
    }
}

/// Applies what the provider says of an authorization in its own totals.
fn conclude_standing(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    standing: Standing,
    (policy, task): (&Policy, Option<Task>),
) -> Result<Next, IllegalEvent> {
    let id = operation.attempt;
    note(payment, id, Some(standing.reference), None);
    if let Some(attempt) = payment.attempt_mut(id) {
        attempt.authentication = standing.authentication.or_else(|| attempt.authentication.take());
    }
    let status = payment.attempt(id).map(|attempt| attempt.status);
    let is_settled = matches!(status, Some(AttemptStatus::Captured | AttemptStatus::Authorized));
    let (disputes, watch_ms, sweep_ms) = (standing.disputes, standing.watch_ms, standing.sweep_ms);
    match standing.state {
        State::Captured
            if status == Some(AttemptStatus::Authorized) && payment.in_flight(Kind::Capture).next().is_none() =>
        {
            // Captured by a way that these books do not know: a restored backup, or the provider's own console.
            settle(change, operation.id, task, "captured elsewhere");
            let all = standing.captured.unwrap_or_else(|| operation.amount.clone());
            let held = payment.attempt(id).and_then(|attempt| attempt.hold.as_ref());
            let held = held.map_or_else(|| operation.amount.clone(), |hold| hold.amount.clone());
            let rest = all.minus(&payment.captured).ok().filter(|rest| !rest.is_zero());
            if let Some(rest) = rest {
                let amount = if rest.fits_in(&held) { rest } else { held };
                change.timers_clear.push((TimerKind::AuthorizationExpiry, operation.id));
                payment.record(
                    change,
                    Fact::Captured {
                        attempt: id,
                        operation: Some(operation.id),
                        amount,
                        is_final: true,
                    },
                )?;
                late_success(payment, change, operation, all)?;
            }
        }
        State::Authorized | State::Captured | State::Disputed if is_settled => {
            settle(change, operation.id, task, "known already");
            // More may have come to where everybody can pay.
            if let Some(received) = standing.received.filter(|_| status == Some(AttemptStatus::Captured)) {
                late_success(payment, change, operation, received)?;
            }
        }
        State::Authorized => {
            settle(change, operation.id, task, "authorized");
            let amount = standing.authorized.unwrap_or_else(|| operation.amount.clone());
            accept(payment, change, operation, amount, false, policy)?;
        }
        State::Captured | State::Disputed => {
            settle(change, operation.id, task, "captured");
            let amount = standing.captured.unwrap_or_else(|| operation.amount.clone());
            accept(payment, change, operation, amount, true, policy)?;
        }
        State::Failed if status.is_some_and(|status| !status.is_closed() && status != AttemptStatus::Captured) => {
            settle(change, operation.id, task, "declined");
            match standing.declined {
                Some(decline) => decline_attempt(payment, change, id, decline)?,
                None => {
                    no_effect(payment, change, id, "declined", "the provider says that it failed")?;
                    fail(payment, change)?;
                }
            }
        }
        State::Canceled | State::Expired | State::Reversed
            if status.is_some_and(|status| !status.is_closed() && status != AttemptStatus::Captured) =>
        {
            settle(change, operation.id, task, "released");
            change.timers_clear.push((TimerKind::AuthorizationExpiry, operation.id));
            let by = if standing.state == State::Expired {
                "expired"
            } else {
                "provider"
            };
            let undoing = payment
                .in_flight(Kind::Cancel)
                .chain(payment.in_flight(Kind::Reverse))
                .next();
            let undoing = undoing.map(|follow_up| follow_up.operation);
            release(payment, change, id, by, undoing)?;
            // Too little came, or too late: it belongs to somebody, and a human finds out to whom.
            if let Some(received) = standing.received.filter(|received| !received.is_zero()) {
                late_success(payment, change, operation, received)?;
            }
        }
        State::Waiting if operation.progress == crate::operation::Progress::Unknown => {
            settle(change, operation.id, task, "waiting");
            wait(payment, change, operation, None, policy.check_first_ms, policy)?;
        }
        State::Waiting => {
            let due = change.now_ms.saturating_add(policy.backoff_ms(operation.checks));
            change
                .timers_set
                .push(payment.timer(TimerKind::Check, operation.id, due));
        }
        State::Failed | State::Canceled | State::Expired | State::Reversed => {
            settle(change, operation.id, task, "no effect");
            let is_closed = status.is_some_and(AttemptStatus::is_closed);
            if let Some(received) = standing.received.filter(|it| is_closed && !it.is_zero()) {
                late_success(payment, change, operation, received)?;
            }
        }
    }
    // Only what was taken can be disputed.
    for news in &disputes {
        dispute::hear(payment, change, (id, &operation.channel), news)?;
    }
    let taken = payment.attempt(id).filter(|it| it.status == AttemptStatus::Captured);
    if let Some((watch_ms, attempt)) = watch_ms.zip(taken) {
        // The older it is, the more seldom: an adapter that watches for ever costs next to nothing.
        let since_ms = attempt.captured_ms.unwrap_or(operation.started_ms);
        let age_ms = change.now_ms.saturating_sub(since_ms);
        let after_ms = super::asked_for(watch_ms).max(WATCH_MIN_MS).max(age_ms / WATCH_PART);
        let due = change.now_ms.saturating_add(after_ms);
        change
            .timers_set
            .push(payment.timer(TimerKind::Hint, operation.id, due));
    }
    if let Some(sweep_ms) = sweep_ms.filter(|_| is_to_be_swept(payment, operation)) {
        let due = change.now_ms.saturating_add(u64::from(sweep_ms));
        change
            .timers_set
            .push(payment.timer(TimerKind::Sweep, operation.id, due));
    }
    Ok(Next::Rest)
}

/// Whether what an attempt brought still lies where it came, as far as anybody began to sweep it.
fn is_to_be_swept(payment: &Payment, operation: &Operation) -> bool {
    let is_timer = |it: &Timer| it.kind == TimerKind::Sweep && it.operation == operation.id;
    let is_begun = payment.follow_ups.iter().any(|it| it.kind == Kind::Sweep);
    let attempt = payment.attempt(operation.attempt);
    let is_taken = attempt.is_some_and(|it| it.status == AttemptStatus::Captured);
    is_taken && payment.is_settled_at_once() && !is_begun && !payment.timers.iter().any(is_timer)
}

/// The attempt is voided, lapsed or undone, and the payment ends: with what was captured before, or canceled.
pub fn release(
    payment: &mut Payment,
    change: &mut Change,
    attempt: AttemptId,
    by: &str,
    operation: Option<OperationId>,
) -> Result<(), IllegalEvent> {
    payment.record(
        change,
        Fact::AttemptReleased {
            attempt,
            by: by.into(),
            operation,
        },
    )?;
    if payment.captured.is_zero() {
        let reason = payment.cancel_reason.clone().unwrap_or_else(|| by.to_owned());
        let word = super::public_reason(&reason);
        payment.cancel_reason = Some(reason);
        payment.record(change, Fact::Canceled { reason: word })
    } else {
        payment.record(change, Fact::RestReleased)
    }
}
