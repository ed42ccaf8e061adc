//! What a merchant may ask for when, and the intents that follow. Pure: facts go through [`Payment::record`], everything
//! else the engine does. What a verdict leads to is in `authorization.rs`, `payout.rs` and `follow_up.rs`.

mod authorization;
mod follow_up;
mod payout;

pub use authorization::{
    conclude_authorization, decline_and_go_on, fail, fault_error, is_between_attempts, release, still_unknown,
};
pub use follow_up::conclude_follow_up;

use super::conversion::{Conversion, LegState, Step, next_step};
use super::fact::Fact;
use super::request::ValidPayment;
use super::status::{AttemptStatus, IllegalEvent, PaymentStatus};
use super::{Attempt, FollowUp, Payment};
use crate::beneficiary::PayoutTerms;
use crate::commit::Change;
use crate::ids::{AttemptId, ChannelId, MerchantId, Mode, OperationId, PaymentId};
use crate::money::Money;
use crate::operation::{AskedBy, Kind, Operation};
use crate::quote::Terms;
use crate::task::TaskKind;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The word in events for a merchant's own reason: its text is personal perhaps, and stays with the payment.
pub const BY_MERCHANT: &str = "requested_by_merchant";
/// The reason where a payment's price was lost and no other could be taken.
pub const RATE_LOST: &str = "rate_lost";
/// The router's own reasons to give a payment up.
const OWN_REASONS: [&str; 7] = [
    RATE_LOST,
    "action_expired",
    "authorization_expired",
    "expired",
    "provider",
    "reverse",
    "cancel",
];

/// A reason as events may keep it.
fn public_reason(reason: &str) -> String {
    let own = OWN_REASONS.iter().find(|own| **own == reason);
    (*own.unwrap_or(&BY_MERCHANT)).to_owned()
}

/// How long the router waits for what, and what takes two people.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Until the first status query after an unknown outcome.
    pub check_first_ms: u64,
    /// The longest time between two status queries.
    pub check_max_ms: u64,
    /// What has not left so soon after its intent began to be written does not leave any more. A process that was stopped in
    /// between may not be the one that writes the store now; who is asks already what became of it.
    pub leaves_within_ms: u64,
    /// How long after its start a router expects that the one before may still send what it had decided on: 0 where that one has
    /// certainly ended.
    pub overlap_ms: u64,
    /// After so many vain queries the router reverses, where the channel can.
    pub checks_before_reversal: u32,
    /// After so many vain queries a human is asked.
    pub checks_before_human: u32,
    /// How long the payer has for an action.
    pub action_ms: u64,
    /// How long an authorization is kept.
    pub authorization_ms: u64,
    /// How many attempts a payment may have.
    pub attempts_max: usize,
    /// A decision by hand about more than this takes two people, by currency, in minor units.
    pub two_people_above: BTreeMap<String, i128>,
}

impl Policy {
    /// Whether a decision by hand about so much takes two people.
    pub fn takes_two(&self, exposure: &Money) -> bool {
        let limit = self.two_people_above.get(exposure.asset().code());
        limit.is_some_and(|limit| exposure.minor() > *limit)
    }

    /// The time until the next query: doubled each time, up to the longest.
    pub fn backoff_ms(&self, checks: u32) -> u64 {
        let factor = 1_u64.checked_shl(checks.min(30)).unwrap_or(u64::MAX);
        self.check_first_ms.saturating_mul(factor).min(self.check_max_ms)
    }
}

/// An adapter may ask for a question this much later, and no more.
const CHECK_AFTER_MAX_MS: u64 = 24 * 60 * 60 * 1_000;

/// When to ask again, as an adapter says it: never so late that nobody would look.
fn asked_for(check_after_ms: u32) -> u64 {
    u64::from(check_after_ms).min(CHECK_AFTER_MAX_MS)
}

/// What an authorization's verdict leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Nothing more to do now.
    Rest,
    /// The attempt had no effect: the next channel may be tried, or the payment fails.
    TryNext,
}

/// Why the router will not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// Not in this status.
    #[error("the payment is {0}")]
    WrongStatus(&'static str),
    /// An outcome is unknown; until it is known nothing may follow.
    #[error("an outcome is still unknown; the router asks the provider and says so when it knows")]
    OutcomeUnknown,
    /// Another capture or cancel is on its way.
    #[error("a {0} is in flight")]
    InFlight(&'static str),
    /// More than there is.
    #[error("{asked} is more than the {limit} that are left")]
    TooMuch {
        /// What was asked.
        asked: Money,
        /// What is left.
        limit: Money,
    },
    /// Nothing, or of another currency.
    #[error("the amount must be from 1 minor unit up, in {0}")]
    BadAmount(String),
    /// A fact does not fit: a defect of the router.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
}

/// A new payment, with its first facts.
pub fn create(
    change: &mut Change,
    (id, uetr, merchant, mode): (PaymentId, Uuid, MerchantId, Mode),
    valid: ValidPayment,
) -> Result<Payment, Refusal> {
    let zero = Money::zero(valid.amount.asset().clone());
    let mut payment = Payment {
        id,
        uetr,
        merchant,
        mode,
        created_ms: change.now_ms,
        amount: valid.amount.clone(),
        manual_capture: valid.manual_capture,
        description: valid.description,
        statement_descriptor: valid.statement_descriptor,
        return_url: valid.return_url,
        metadata: valid.metadata,
        payer_name: valid.payer_name,
        payer_email: valid.payer_email,
        payer_country: valid.payer_country,
        payer_id: valid.payer_id,
        payer_ip: valid.payer_ip,
        ip_country: valid.ip_country,
        shipping_country: valid.shipping_country,
        flags: vec![],
        instrument: valid.instrument,
        must_authenticate: valid.must_authenticate,
        conversion: None,
        delivery: valid.delivery,
        payout: valid.payout,
        status: PaymentStatus::RequiresPaymentMethod,
        attempts: vec![],
        follow_ups: vec![],
        authorized: zero.clone(),
        captured: zero.clone(),
        refunded: zero,
        settled: None,
        action: None,
        last_error: None,
        unknown: None,
        cancel_reason: None,
        events: 0,
        entries: 0,
        timers: vec![],
        disputes: vec![],
    };
    payment.record(
        change,
        Fact::Created {
            amount: valid.amount,
            manual_capture: valid.manual_capture,
        },
    )?;
    if payment.instrument.is_some() {
        payment.record(change, Fact::MethodSet)?;
    }
    Ok(payment)
}

/// Binds a payment to the quote that it uses.
pub fn lock_rate(payment: &mut Payment, change: &mut Change, conversion: Conversion) -> Result<(), Refusal> {
    let fact = Fact::RateLocked {
        quote: conversion.quote,
        channel: conversion.terms.channel.clone(),
        owed: conversion.promised.clone(),
    };
    payment.conversion = Some(Box::new(conversion));
    Ok(payment.record(change, fact)?)
}

/// Takes a fresh price in the place of the lost one, or counts that there was none to take.
pub fn requote(payment: &mut Payment, change: &mut Change, fresh: Option<Terms>) -> Result<(), Refusal> {
    let Some(conversion) = &mut payment.conversion else {
        return Err(Refusal::WrongStatus(payment.status.as_str()));
    };
    conversion.requotes = conversion.requotes.saturating_add(1);
    (conversion.vain, conversion.not_before_ms) = (0, 0);
    let Some(fresh) = fresh.filter(|fresh| conversion.accepts(fresh)) else {
        payment.wake(change);
        return Ok(());
    };
    let fact = Fact::Requoted {
        channel: fresh.channel.clone(),
        owed: fresh.owed.clone(),
    };
    conversion.is_refused = false;
    conversion.terms = fresh;
    Ok(payment.record(change, fact)?)
}

/// Whether the exchange of a payment from a backup may have been done since.
pub fn may_hold_restored(payment: &Payment) -> bool {
    let is_begun = matches!(
        payment.status,
        PaymentStatus::RequiresAction
            | PaymentStatus::Processing
            | PaymentStatus::RequiresCapture
            | PaymentStatus::Succeeded
    );
    // One that is in flight is asked about by its own check.
    let is_known = payment.in_flight(Kind::Convert).next().is_some();
    is_begun && !is_known && payment.conversion.as_ref().is_some_and(|it| !it.is_over())
}

/// The exchange is left to a human.
pub fn hold_conversion(payment: &mut Payment, change: &mut Change, why: &str) -> Result<(), Refusal> {
    payment.record(change, Fact::ConversionHeld { why: why.into() })?;
    let attempt = payment.open_attempt().or_else(|| payment.attempts.last());
    if let Some(operation) = attempt.map(|attempt| attempt.operation) {
        let amounts = [&payment.captured, &payment.authorized];
        let held = amounts.into_iter().find(|amount| !amount.is_zero());
        let exposure = held.unwrap_or(&payment.amount).clone();
        change.open_task(payment, TaskKind::ConversionHeld, operation, exposure);
    }
    Ok(())
}

/// The payer gets the money back: the exchange is given up.
pub fn begin_compensation(payment: &mut Payment) {
    if let Some(conversion) = &mut payment.conversion {
        conversion.state = LegState::Compensating;
        // Giving back has its own tries.
        (conversion.vain, conversion.not_before_ms) = (0, 0);
    }
}

/// A human's word on an exchange that was held: at this price, or not at all.
pub fn settle_held(payment: &mut Payment, change: &mut Change, fresh: Option<Terms>) -> Result<(), Refusal> {
    let wrong = wrong_status(payment);
    let to_sell = if payment.captured.is_zero() {
        &payment.authorized
    } else {
        &payment.captured
    };
    let is_undisputed = payment.disputed().is_zero();
    let Some(conversion) = payment.conversion.as_mut() else {
        return Err(wrong);
    };
    match fresh {
        _ if conversion.state != LegState::Manual => {
            // It ended by itself meanwhile: nothing is left to exchange.
            let is_moot = fresh.is_none() && conversion.is_over();
            if is_moot { Ok(()) } else { Err(wrong) }
        }
        Some(fresh) if fresh.sold == *to_sell && payment.refunded.is_zero() && is_undisputed => {
            let fact = Fact::Requoted {
                channel: fresh.channel.clone(),
                owed: fresh.owed.clone(),
            };
            conversion.terms = fresh;
            conversion.is_refused = false;
            (conversion.refusals, conversion.vain, conversion.not_before_ms) = (0, 0, 0);
            conversion.state = LegState::Planned;
            Ok(payment.record(change, fact)?)
        }
        Some(_) => Err(wrong),
        None => {
            conversion.state = LegState::Failed;
            Ok(())
        }
    }
}

/// Whether the exchange may be done now, and what it sells.
pub fn may_convert(payment: &Payment, now_ms: u64) -> Result<(AttemptId, Money), Refusal> {
    let attempt = payment.open_attempt().ok_or_else(|| wrong_status(payment))?;
    match (next_step(payment, now_ms), &payment.conversion) {
        (Step::Convert, Some(conversion)) => Ok((attempt.id, conversion.terms.sold.clone())),
        _ => Err(wrong_status(payment)),
    }
}

/// Writes the intent of an attempt.
pub fn begin_attempt(
    payment: &mut Payment,
    change: &mut Change,
    attempt: AttemptId,
    operation: OperationId,
    ((channel, adapter), authenticate): ((ChannelId, String), Option<AskedBy>),
) -> Result<(), Refusal> {
    payment.attempts.push(Attempt {
        id: attempt,
        channel: channel.clone(),
        operation,
        adapter: adapter.clone(),
        started_ms: change.now_ms,
        status: AttemptStatus::Started,
        reference: None,
        network_reference: None,
        memo: None,
        hold: None,
        late: None,
        late_gone: None,
        captured_ms: None,
        authenticate: authenticate.clone(),
        authentication: None,
    });
    // What an issuer said stays until another one says something better: the next channel may not even be reached.
    let is_next = payment.status == PaymentStatus::Processing;
    payment
        .last_error
        .take_if(|error| !is_next || error.decline_reason.is_none());
    authorization::not_between_attempts(payment, change);
    Ok(payment.record(
        change,
        Fact::AttemptStarted {
            attempt,
            channel,
            adapter,
            operation,
            authenticate,
        },
    )?)
}

/// Whether, and how much, may be captured now.
pub fn may_capture(payment: &Payment, asked: Option<&Money>) -> Result<(AttemptId, Money), Refusal> {
    if payment.status != PaymentStatus::RequiresCapture {
        return Err(wrong_status(payment));
    }
    refuse_in_flight(payment, Kind::Capture)?;
    refuse_in_flight(payment, Kind::Cancel)?;
    let attempt = payment.open_attempt().ok_or_else(|| wrong_status(payment))?;
    let limit = attempt
        .hold
        .as_ref()
        .map(|hold| hold.amount.clone())
        .ok_or_else(|| wrong_status(payment))?;
    let amount = asked.cloned().unwrap_or_else(|| limit.clone());
    within(&amount, limit).map(|amount| (attempt.id, amount))
}

/// Whether the payment may be canceled, and through which attempt; `None`: nothing was sent yet.
pub fn may_cancel(payment: &Payment) -> Result<Option<AttemptId>, Refusal> {
    match payment.status {
        PaymentStatus::RequiresPaymentMethod | PaymentStatus::RequiresConfirmation => Ok(None),
        PaymentStatus::RequiresAction | PaymentStatus::RequiresCapture => {
            refuse_in_flight(payment, Kind::Capture)?;
            refuse_in_flight(payment, Kind::Cancel)?;
            let attempt = payment.open_attempt().ok_or_else(|| wrong_status(payment))?;
            Ok(Some(attempt.id))
        }
        PaymentStatus::Processing => Err(Refusal::OutcomeUnknown),
        PaymentStatus::Succeeded | PaymentStatus::Canceled | PaymentStatus::Failed => Err(wrong_status(payment)),
    }
}

/// Whether, and how much, may be refunded now.
pub fn may_refund(payment: &Payment, asked: Option<&Money>) -> Result<(AttemptId, Money), Refusal> {
    if !matches!(
        payment.status,
        PaymentStatus::Succeeded | PaymentStatus::RequiresCapture
    ) {
        return Err(wrong_status(payment));
    }
    // What is being exchanged is not the payer's currency any more.
    refuse_in_flight(payment, Kind::Convert)?;
    let has_money = |attempt: &&Attempt| {
        matches!(
            attempt.status,
            AttemptStatus::Captured | AttemptStatus::Authorized | AttemptStatus::Released
        )
    };
    let attempt = payment
        .attempts
        .iter()
        .rev()
        .find(has_money)
        .ok_or_else(|| wrong_status(payment))?;
    let limit = payment.refundable().ok_or_else(|| wrong_status(payment))?;
    let amount = asked.cloned().unwrap_or_else(|| limit.clone());
    within(&amount, limit).map(|amount| (attempt.id, amount))
}

/// Whether what came to the payment's own address may be swept: the attempt, and how much the books have of it. A second time
/// too: more may have come since.
pub fn may_sweep(payment: &Payment) -> Result<(AttemptId, Money), Refusal> {
    refuse_in_flight(payment, Kind::Sweep)?;
    let its = payment.attempts.iter().filter(|_| payment.is_settled_at_once());
    let amount = |it: &Attempt| match it.status {
        AttemptStatus::Captured => Some(payment.captured.clone()),
        _ => it.late.clone(),
    };
    let mut brought = its.filter_map(|it| Some((it.id, amount(it)?)));
    brought.next().ok_or_else(|| wrong_status(payment))
}

fn within(asked: &Money, limit: Money) -> Result<Money, Refusal> {
    if asked.asset() != limit.asset() || (asked.is_zero() && !limit.is_zero()) {
        Err(Refusal::BadAmount(limit.asset().code().to_owned()))
    } else if !asked.fits_in(&limit) || asked.is_zero() {
        Err(Refusal::TooMuch {
            asked: asked.clone(),
            limit,
        })
    } else {
        Ok(asked.clone())
    }
}

fn wrong_status(payment: &Payment) -> Refusal {
    if payment.status == PaymentStatus::Processing {
        Refusal::OutcomeUnknown
    } else {
        Refusal::WrongStatus(payment.status.as_str())
    }
}

fn refuse_in_flight(payment: &Payment, kind: Kind) -> Result<(), Refusal> {
    match payment.in_flight(kind).next() {
        Some(_) => Err(Refusal::InFlight(kind.as_str())),
        None => Ok(()),
    }
}

/// What a follow-up's intent says besides its operation.
#[derive(Clone, Debug, Default)]
pub struct Begun {
    /// A capture after which nothing more will be captured.
    pub is_final: bool,
    /// The merchant's reason.
    pub reason: Option<String>,
    /// What the merchant gives up for a refund at the current rate.
    pub at_current: Option<Money>,
    /// To whom a refund is paid out.
    pub deliver: Option<Box<PayoutTerms>>,
}

/// Writes the intent of a capture, cancel, refund or reversal.
pub fn begin_follow_up(
    payment: &mut Payment,
    change: &mut Change,
    operation: &Operation,
    begun: Begun,
) -> Result<(), Refusal> {
    let Begun { is_final, reason, .. } = begun;
    payment.follow_ups.push(FollowUp {
        operation: operation.id,
        attempt: operation.attempt,
        channel: operation.channel.clone(),
        kind: operation.kind,
        created_ms: change.now_ms,
        amount: operation.amount.clone(),
        is_final,
        reason,
        status: super::status::FollowUpStatus::Pending,
        reference: None,
        failure: None,
        settled: None,
        is_from_available: false,
        hold: None,
        at_current: begun.at_current,
        share: None,
        delivered_to: begun.deliver,
        fee: None,
    });
    Ok(payment.record(
        change,
        Fact::FollowUpStarted {
            attempt: operation.attempt,
            operation: operation.id,
            kind: operation.kind,
            amount: operation.amount.clone(),
            is_final,
        },
    )?)
}
