//! The legs of a cross-border payment: collect, convert, deliver. It owns the convert leg's record and the one pure
//! function that says what has to be done next ([`next_step`]); the engine does it, durably.
//!
//! Reserve first: where the channel can, the payer's money is authorized, the price is looked at once more, and only then
//! is it captured. The capture is the pivot: before it, giving up costs nothing; after it, the conversion goes on, waits,
//! or the payer gets the money back, as the payment names it. Whatever is unknown blocks everything behind it.

use super::Payment;
use super::delivery::deliverable;
use super::status::{AttemptStatus, FollowUpStatus, PaymentStatus};
use crate::ids::{OperationId, QuoteId};
use crate::money::{Asset, Money};
use crate::operation::Kind;
use crate::quote::{Terms, slippage_bps};
use serde::{Deserialize, Serialize};

/// How often a lost price is asked for anew before the payment's policy has the last word.
pub const REQUOTES_MAX: u32 = 3;
/// After so many refused captures or voids a human is asked.
const REFUSALS_MAX: u32 = 2;
/// How often a leg whose request did not get to its channel is begun again.
pub const VAIN_MAX: u32 = 6;

/// What to do where the price was lost before the exchange was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum IfLost {
    /// Take a fresh price, if it is not worse than the accepted slippage; else hold.
    Requote,
    /// Keep the money in the payer's currency, and ask a human.
    Hold,
    /// Give the payer the money back.
    Refund,
}

impl IfLost {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requote => "requote",
            Self::Hold => "hold",
            Self::Refund => "refund",
        }
    }

    /// The policy of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Requote, Self::Hold, Self::Refund]
            .into_iter()
            .find(|policy| policy.as_str() == word)
    }
}

/// Where a leg stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LegState {
    /// To come.
    Planned,
    /// The payer's money is held, not taken.
    Reserved,
    /// On its way.
    Submitted,
    /// Nobody knows.
    Unknown,
    /// Done.
    Succeeded,
    /// Certainly not done.
    Failed,
    /// Being taken back.
    Compensating,
    /// Taken back.
    Compensated,
    /// A human decides.
    Manual,
}

impl LegState {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Reserved => "reserved",
            Self::Submitted => "submitted",
            Self::Unknown => "unknown",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Compensating => "compensating",
            Self::Compensated => "compensated",
            Self::Manual => "manual",
        }
    }
}

/// The convert leg: what the merchant is owed in another asset, and how far that is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conversion {
    /// The quote that the payment used.
    pub quote: QuoteId,
    /// What the merchant was promised.
    pub promised: Money,
    /// The price that holds now: the quote's, or a fresh one within the slippage.
    pub terms: Terms,
    /// What to do where the price is lost.
    pub if_lost: IfLost,
    /// How much less than promised the merchant accepts, in basis points.
    pub slippage_bps: u32,
    /// How far it is.
    pub state: LegState,
    /// Whether the exchange refused the price that is in `terms`.
    pub is_refused: bool,
    /// Whether the payer's money could not be given back.
    pub is_stuck: bool,
    /// How often a fresh price was asked for.
    pub requotes: u32,
    /// How often the channel refused to take the money or to let it go.
    #[serde(default)]
    pub refusals: u32,
    /// How often in a row a request of a leg did not get to its channel, or was not made.
    #[serde(default)]
    pub vain: u32,
    /// When the next leg is begun again after that; until then nothing is done.
    #[serde(default)]
    pub not_before_ms: u64,
    /// The exchange that was done.
    pub operation: Option<OperationId>,
    /// What the merchant got.
    pub given: Option<Money>,
    /// What of it was taken back or is held for refunds.
    pub taken_back: Money,
}

impl Conversion {
    /// A leg to come, at a quote's terms.
    pub fn planned(quote: QuoteId, terms: Terms, (if_lost, slippage_bps): (IfLost, u32)) -> Self {
        Self {
            quote,
            promised: terms.owed.clone(),
            taken_back: Money::zero(terms.owed.asset().clone()),
            terms,
            if_lost,
            slippage_bps,
            state: LegState::Planned,
            is_refused: false,
            is_stuck: false,
            requotes: 0,
            refusals: 0,
            vain: 0,
            not_before_ms: 0,
            operation: None,
            given: None,
        }
    }

    /// Whether nothing more will become of it by itself.
    pub fn is_over(&self) -> bool {
        match self.state {
            LegState::Succeeded | LegState::Compensated | LegState::Manual | LegState::Failed => true,
            LegState::Planned
            | LegState::Reserved
            | LegState::Submitted
            | LegState::Unknown
            | LegState::Compensating => false,
        }
    }

    /// Whether fresh terms may take the place of the lost ones.
    pub fn accepts(&self, fresh: &Terms) -> bool {
        fresh.sold == self.terms.sold
            && slippage_bps(&self.promised, &fresh.owed).is_some_and(|lost| lost <= self.slippage_bps)
    }

    fn holds_at(&self, now_ms: u64) -> bool {
        !self.is_refused && self.terms.holds_at(now_ms)
    }

    /// What the merchant has to give up for a refund that brings what is given back to `after` of `captured`.
    pub fn share_of_refund(&self, after: &Money, captured: &Money) -> Option<Money> {
        let whole = self.given.as_ref()?.share(after, captured).ok()?;
        whole.minus(&self.taken_back).ok()
    }
}

/// What the router has promised for a payment and not exchanged yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exposure {
    /// What will be sold.
    pub sold: Money,
    /// For what.
    pub bought: Asset,
}

/// The exposure of a payment: from its first attempt until its exchange is over.
pub fn exposure_of(payment: &Payment) -> Option<Exposure> {
    let conversion = payment.conversion.as_ref().filter(|it| !it.is_over())?;
    // Not begun: a checkout that is given up holds nothing, and its price lapses.
    let is_begun = !matches!(
        payment.status,
        PaymentStatus::RequiresPaymentMethod | PaymentStatus::RequiresConfirmation
    );
    is_begun.then(|| Exposure {
        sold: conversion.terms.sold.clone(),
        bought: conversion.promised.asset().clone(),
    })
}

/// What has to be done next for a payment that is exchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing: it is over, or somebody else has to act first.
    Rest,
    /// Take what was authorized: the price still holds.
    Capture,
    /// Let the authorization go: the price is lost.
    Void,
    /// Exchange.
    Convert,
    /// Ask for a fresh price.
    Requote,
    /// Give the payer the money back.
    Refund,
    /// Keep what was taken, and ask a human.
    Hold,
    /// Let what was got go on to the beneficiary, and see what becomes of it.
    Deliver,
}

/// What has to be done next. Pure: the same payment at the same time gives the same step.
pub fn next_step(payment: &Payment, now_ms: u64) -> Step {
    let Some(conversion) = &payment.conversion else {
        return Step::Rest;
    };
    // What is swept is the merchant's before and after.
    let mut legs = payment.follow_ups.iter().filter(|it| it.kind != Kind::Sweep);
    let is_blocked = legs.any(|it| matches!(it.status, FollowUpStatus::Pending | FollowUpStatus::Unknown));
    if is_blocked {
        return Step::Rest;
    }
    if conversion.is_over() {
        let is_begun = payment
            .delivery
            .as_ref()
            .is_some_and(|it| it.state == LegState::Submitted);
        return match is_begun || deliverable(payment).is_some() {
            true => Step::Deliver,
            false => Step::Rest,
        };
    }
    if now_ms < conversion.not_before_ms {
        return Step::Rest;
    }
    if conversion.state == LegState::Compensating {
        // Begun, and not done: somebody was stopped in between. What a channel keeps for a dispute cannot be given back too.
        let is_left = payment.refundable().is_some_and(|left| !left.is_zero());
        return if is_left { Step::Refund } else { Step::Hold };
    }
    let holds = conversion.holds_at(now_ms);
    let may_requote = conversion.if_lost == IfLost::Requote && conversion.requotes < REQUOTES_MAX;
    match payment.status {
        PaymentStatus::RequiresCapture if payment.manual_capture => Step::Rest,
        PaymentStatus::RequiresCapture if conversion.refusals >= REFUSALS_MAX => Step::Hold,
        PaymentStatus::RequiresCapture if holds || conversion.if_lost == IfLost::Hold => Step::Capture,
        PaymentStatus::RequiresCapture if may_requote => Step::Requote,
        PaymentStatus::RequiresCapture => Step::Void,
        PaymentStatus::Succeeded
            if !payment.refunded.is_zero()
                || !payment.disputed().is_zero()
                || payment.captured != conversion.terms.sold =>
        {
            Step::Hold
        }
        PaymentStatus::Succeeded if holds => Step::Convert,
        PaymentStatus::Succeeded if may_requote => Step::Requote,
        PaymentStatus::Succeeded if conversion.if_lost == IfLost::Refund && !conversion.is_stuck => Step::Refund,
        PaymentStatus::Succeeded => Step::Hold,
        PaymentStatus::RequiresPaymentMethod
        | PaymentStatus::RequiresConfirmation
        | PaymentStatus::RequiresAction
        | PaymentStatus::Processing
        | PaymentStatus::Canceled
        | PaymentStatus::Failed => Step::Rest,
    }
}

/// A leg as it is shown: its name, its state, and whether nothing can be taken back once it is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leg {
    /// `collect`, `convert` or `deliver`.
    pub name: &'static str,
    /// Where it stands.
    pub state: LegState,
    /// Whether it is the pivot: before it giving up is free.
    pub is_pivot: bool,
    /// Through which channel.
    pub channel: Option<crate::ids::ChannelId>,
    /// How much.
    pub amount: Money,
}

/// The legs of a payment, in order.
pub fn legs(payment: &Payment) -> Vec<Leg> {
    let attempt = payment.open_attempt().or_else(|| payment.attempts.last());
    let name = if payment.payout.is_some() { "deliver" } else { "collect" };
    let mut legs = vec![Leg {
        name,
        state: collected(payment),
        is_pivot: true,
        channel: attempt.map(|attempt| attempt.channel.clone()),
        amount: payment.amount.clone(),
    }];
    legs.extend(payment.conversion.as_ref().map(|conversion| {
        Leg {
            name: "convert",
            state: conversion.state,
            is_pivot: false,
            channel: Some(conversion.terms.channel.clone()),
            amount: conversion
                .given
                .clone()
                .unwrap_or_else(|| conversion.terms.owed.clone()),
        }
    }));
    let brought = payment.conversion.as_ref().map(|conversion| &conversion.terms.owed);
    legs.extend(payment.delivery.as_ref().zip(brought).map(|(delivery, owed)| Leg {
        name: "deliver",
        state: delivery.state,
        is_pivot: false,
        channel: None,
        amount: delivery.amount.clone().unwrap_or_else(|| owed.clone()),
    }));
    legs
}

fn collected(payment: &Payment) -> LegState {
    let status = payment.open_attempt().map(|attempt| attempt.status);
    let is_back = !payment.captured.is_zero() && payment.refunded == payment.captured;
    match (payment.status, status) {
        (PaymentStatus::Succeeded, _) if is_back => LegState::Compensated,
        (PaymentStatus::Succeeded, _) => LegState::Succeeded,
        (PaymentStatus::Canceled, _) => LegState::Compensated,
        (PaymentStatus::Failed, _) => LegState::Failed,
        (PaymentStatus::RequiresCapture, _) => LegState::Reserved,
        (PaymentStatus::Processing, Some(AttemptStatus::Unknown)) => LegState::Unknown,
        (PaymentStatus::Processing | PaymentStatus::RequiresAction, _) => LegState::Submitted,
        (PaymentStatus::RequiresPaymentMethod | PaymentStatus::RequiresConfirmation, _) => LegState::Planned,
    }
}

/// The state of the convert leg after one of its operations got this status.
pub(super) fn after(kind: Kind, status: FollowUpStatus) -> Option<LegState> {
    match (kind, status) {
        (Kind::Convert, FollowUpStatus::Pending) => Some(LegState::Submitted),
        (Kind::Convert, FollowUpStatus::Unknown) => Some(LegState::Unknown),
        (Kind::Convert, FollowUpStatus::Succeeded) => Some(LegState::Succeeded),
        (Kind::Convert, FollowUpStatus::Failed) => Some(LegState::Planned),
        _ => None,
    }
}
