//! The facts that happen to a payment. Append-only; they hold no personal data, so they stay when a payment's data key
//! is erased.

use super::conversion::LegState;
use super::dispute::DisputeState;
use crate::ids::{AttemptId, ChannelId, DisputeId, EventId, MerchantId, Mode, OperationId, PaymentId, QuoteId};
use crate::money::Money;
use crate::operation::{AskedBy, Kind, Retry};
use crate::risk::Flag;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What an event's name begins with.
pub const EVENT_FAMILIES: [&str; 9] = [
    "attempt",
    "capture",
    "conversion",
    "dispute",
    "operation",
    "payment",
    "payout",
    "refund",
    "sweep",
];

/// The names of events, in alphabetical order; what happens to a payout is called `payout.…` in the place of `payment.…`.
const NAMES: [&str; 61] = [
    "attempt.declined",
    "attempt.no_effect",
    "attempt.pending",
    "attempt.released",
    "attempt.resumed",
    "attempt.started",
    "capture.created",
    "capture.failed",
    "capture.outcome_unknown",
    "capture.pending",
    "conversion.created",
    "conversion.failed",
    "conversion.outcome_unknown",
    "conversion.pending",
    "dispute.inquiry",
    "dispute.lost",
    "dispute.needs_response",
    "dispute.opened",
    "dispute.settled",
    "dispute.under_review",
    "dispute.won",
    "operation.failed",
    "operation.outcome_unknown",
    "operation.pending",
    "operation.started",
    "payment.authorized",
    "payment.banked",
    "payment.booked",
    "payment.canceled",
    "payment.captured",
    "payment.conversion_held",
    "payment.converted",
    "payment.created",
    "payment.delivered",
    "payment.delivery_failed",
    "payment.delivery_started",
    "payment.failed",
    "payment.flagged",
    "payment.late_settled",
    "payment.late_success",
    "payment.method_set",
    "payment.outcome_unknown",
    "payment.rate_locked",
    "payment.requires_action",
    "payment.requoted",
    "payment.rest_released",
    "payment.return_booked",
    "payment.returned",
    "payment.security_code_required",
    "payment.settled",
    "refund.created",
    "refund.failed",
    "refund.outcome_unknown",
    "refund.pending",
    "refund.settled",
    "refund.succeeded",
    "sweep.created",
    "sweep.failed",
    "sweep.outcome_unknown",
    "sweep.pending",
    "sweep.succeeded",
];

/// Whether an event can be called so.
pub fn is_event_name(name: &str) -> bool {
    let known = |name: &str| NAMES.binary_search(&name).is_ok();
    match name.strip_prefix("payout.") {
        Some(what) => what == "paid" || known(&format!("payment.{what}")),
        None => known(name),
    }
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fact {
    /// The merchant asked for it.
    Created {
        /// How much.
        amount: Money,
        /// Whether the merchant captures later.
        manual_capture: bool,
    },
    /// What the merchant will get for it, by the quote that it used.
    RateLocked {
        /// The quote.
        quote: QuoteId,
        /// The exchange.
        channel: ChannelId,
        /// What is owed.
        owed: Money,
    },
    /// The price was lost, and a fresh one taken.
    Requoted {
        /// The exchange.
        channel: ChannelId,
        /// What is owed now.
        owed: Money,
    },
    /// The exchange is done.
    Converted {
        /// The operation.
        operation: OperationId,
        /// The exchange.
        channel: ChannelId,
        /// What was sold.
        sold: Money,
        /// What was bought.
        bought: Money,
        /// What the merchant gets of it.
        owed: Money,
    },
    /// The exchange is not done, and a human decides.
    ConversionHeld {
        /// Why.
        why: String,
    },
    /// The channel settled what was taken, or what was given back.
    Settled {
        /// The authorization, capture or refund that the report names.
        operation: OperationId,
        /// The channel.
        channel: ChannelId,
        /// How much.
        gross: Money,
        /// What the channel took of it.
        fee: Money,
        /// Whether it is a refund.
        is_refund: bool,
        /// The channel's payout that it is part of.
        batch: String,
    },
    /// The bank's statement shows what a channel had settled: it is no longer on its way.
    Banked {
        /// The authorization, capture or refund that the channel's report named.
        operation: OperationId,
        /// The channel.
        channel: ChannelId,
        /// The bank.
        bank: ChannelId,
        /// How much of the statement's entry is this payment's.
        net: Money,
        /// Whether it came: otherwise the channel took it.
        is_credit: bool,
        /// The channel's payout that the entry is.
        batch: String,
    },
    /// The bank's statement shows the payout, or that it came back.
    Booked {
        /// The payout's operation.
        operation: OperationId,
        /// The bank.
        bank: ChannelId,
        /// How much.
        amount: Money,
        /// What the bank kept besides.
        fee: Money,
        /// Whether it came back.
        is_return: bool,
    },
    /// A payer's bank wants money back, or asks.
    DisputeOpened {
        /// The dispute.
        dispute: DisputeId,
        /// The channel.
        channel: ChannelId,
        /// How much.
        amount: Money,
        /// Why, as a code.
        reason: String,
        /// Where it stands.
        state: DisputeState,
        /// Until when the merchant may answer.
        due_ms: Option<u64>,
    },
    /// A dispute went on.
    DisputeMoved {
        /// The dispute.
        dispute: DisputeId,
        /// Where it stands now.
        state: DisputeState,
        /// Until when the merchant may answer.
        due_ms: Option<u64>,
    },
    /// The channel's report shows that it took disputed money, or gave it back.
    DisputeSettled {
        /// The dispute.
        dispute: DisputeId,
        /// The channel.
        channel: ChannelId,
        /// How much.
        gross: Money,
        /// What the channel takes for it.
        fee: Money,
        /// Whether it gave it back.
        is_return: bool,
        /// The channel's payout that it is part of.
        batch: String,
    },
    /// What was got goes on to the beneficiary, is there, or is not.
    DeliveryMoved {
        /// The payout.
        payout: Option<PaymentId>,
        /// How much.
        amount: Money,
        /// How far it is.
        state: LegState,
        /// Why it failed: a code.
        why: Option<String>,
    },
    /// A payout came back.
    Returned {
        /// The attempt.
        attempt: AttemptId,
        /// How much.
        amount: Money,
        /// Why.
        reason: String,
    },
    /// A rule of the merchant's refused it, wants its payer authenticated, or warns.
    Flagged {
        /// Which, with what follows and why.
        flag: Flag,
    },
    /// There is a payment method now.
    MethodSet,
    /// An attempt's intent is written.
    AttemptStarted {
        /// The attempt.
        attempt: AttemptId,
        /// Through this channel.
        channel: ChannelId,
        /// In this adapter version.
        adapter: String,
        /// Its authorization.
        operation: OperationId,
        /// Who asks that the payer be authenticated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authenticate: Option<AskedBy>,
    },
    /// The payer has to act.
    ActionRequired {
        /// The attempt.
        attempt: AttemptId,
    },
    /// The payer came back.
    Resumed {
        /// The attempt.
        attempt: AttemptId,
        /// The operation that goes on.
        operation: OperationId,
    },
    /// The provider is at it.
    AttemptPending {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Nobody knows what the authorization did.
    OutcomeUnknown {
        /// The attempt.
        attempt: AttemptId,
        /// The operation.
        operation: OperationId,
    },
    /// A certain no.
    AttemptDeclined {
        /// The attempt.
        attempt: AttemptId,
        /// The router's reason.
        reason: String,
        /// The provider's code.
        provider_code: String,
        /// The network's code.
        network_code: Option<String>,
        /// What it allows next.
        #[serde(default)]
        retry: Option<Retry>,
        /// Whether the card is not to be tried again by anybody.
        #[serde(default)]
        blocks_card: bool,
    },
    /// Certainly without effect.
    AttemptNoEffect {
        /// The attempt.
        attempt: AttemptId,
        /// The fault's kind, or `not_found`.
        why: String,
    },
    /// Voided, lapsed or undone.
    AttemptReleased {
        /// The attempt.
        attempt: AttemptId,
        /// By what: `cancel`, `reverse`, `expired`, …
        by: String,
        /// The operation, where one did it.
        operation: Option<OperationId>,
    },
    /// The money is held.
    Authorized {
        /// The attempt.
        attempt: AttemptId,
        /// How much.
        amount: Money,
    },
    /// Money is taken.
    Captured {
        /// The attempt.
        attempt: AttemptId,
        /// The capture; `None`: with the authorization.
        operation: Option<OperationId>,
        /// How much.
        amount: Money,
        /// Nothing more will be captured.
        is_final: bool,
    },
    /// The request must be sent again and its security code is gone.
    CodeRequired,
    /// No attempt brought money.
    Failed {
        /// Why: a decline reason or an error code.
        code: String,
    },
    /// Given up.
    Canceled {
        /// Why.
        reason: String,
    },
    /// After partial captures the rest was let go: the payment is done.
    RestReleased,
    /// Intent of a capture, cancel, refund, reversal or exchange.
    FollowUpStarted {
        /// The attempt.
        attempt: AttemptId,
        /// The operation.
        operation: OperationId,
        /// What it does.
        kind: Kind,
        /// How much.
        amount: Money,
        /// A capture after which nothing more will be captured.
        is_final: bool,
    },
    /// Nobody knows what it did.
    FollowUpUnknown {
        /// The operation.
        operation: OperationId,
        /// What it does; what was written before this was does not say.
        #[serde(default)]
        kind: Option<Kind>,
    },
    /// The provider is at it: that was not known for a while.
    FollowUpPending {
        /// The operation.
        operation: OperationId,
        /// What it does.
        kind: Kind,
    },
    /// Certainly not done.
    FollowUpFailed {
        /// The operation.
        operation: OperationId,
        /// What it does; what was written before this was does not say.
        #[serde(default)]
        kind: Option<Kind>,
        /// Why.
        reason: String,
    },
    /// A refund is done.
    Refunded {
        /// The operation.
        operation: OperationId,
        /// How much.
        amount: Money,
    },
    /// What came is where payouts are made from.
    Swept {
        /// The operation.
        operation: OperationId,
    },
    /// An attempt that was closed brought money after all.
    LateSuccess {
        /// The attempt.
        attempt: AttemptId,
        /// How much.
        amount: Money,
    },
    /// That money is gone back.
    LateSettled {
        /// The attempt.
        attempt: AttemptId,
        /// How much.
        amount: Money,
    },
}

impl Fact {
    /// Its name, as the API's event type shows it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "payment.created",
            Self::RateLocked { .. } => "payment.rate_locked",
            Self::Requoted { .. } => "payment.requoted",
            Self::Converted { .. } => "payment.converted",
            Self::ConversionHeld { .. } => "payment.conversion_held",
            Self::Returned { .. } => "payment.returned",
            Self::Settled { is_refund: true, .. } => "refund.settled",
            Self::Settled { .. } => "payment.settled",
            Self::DeliveryMoved { state, .. } => match state {
                LegState::Succeeded => "payment.delivered",
                LegState::Failed => "payment.delivery_failed",
                _ => "payment.delivery_started",
            },
            Self::DisputeOpened { .. } => "dispute.opened",
            Self::DisputeMoved { state, .. } => match state {
                DisputeState::Inquiry => "dispute.inquiry",
                DisputeState::NeedsResponse => "dispute.needs_response",
                DisputeState::UnderReview => "dispute.under_review",
                DisputeState::Won => "dispute.won",
                DisputeState::Lost => "dispute.lost",
            },
            Self::DisputeSettled { .. } => "dispute.settled",
            Self::Banked { .. } => "payment.banked",
            Self::Booked { is_return: true, .. } => "payment.return_booked",
            Self::Booked { .. } => "payment.booked",
            Self::Flagged { .. } => "payment.flagged",
            Self::MethodSet => "payment.method_set",
            Self::AttemptStarted { .. } => "attempt.started",
            Self::ActionRequired { .. } => "payment.requires_action",
            Self::Resumed { .. } => "attempt.resumed",
            Self::AttemptPending { .. } => "attempt.pending",
            Self::OutcomeUnknown { .. } => "payment.outcome_unknown",
            Self::AttemptDeclined { .. } => "attempt.declined",
            Self::AttemptNoEffect { .. } => "attempt.no_effect",
            Self::AttemptReleased { .. } => "attempt.released",
            Self::Authorized { .. } => "payment.authorized",
            Self::Captured { .. } => "payment.captured",
            Self::CodeRequired => "payment.security_code_required",
            Self::Failed { .. } => "payment.failed",
            Self::Canceled { .. } => "payment.canceled",
            Self::RestReleased => "payment.rest_released",
            Self::FollowUpStarted { kind: Kind::Refund, .. } => "refund.created",
            Self::FollowUpStarted {
                kind: Kind::Capture, ..
            } => "capture.created",
            Self::FollowUpStarted {
                kind: Kind::Convert, ..
            } => "conversion.created",
            Self::FollowUpStarted { kind: Kind::Sweep, .. } => "sweep.created",
            Self::FollowUpStarted { .. } => "operation.started",
            Self::FollowUpUnknown { kind, .. } => match kind {
                Some(Kind::Refund) => "refund.outcome_unknown",
                Some(Kind::Capture) => "capture.outcome_unknown",
                Some(Kind::Convert) => "conversion.outcome_unknown",
                Some(Kind::Sweep) => "sweep.outcome_unknown",
                _ => "operation.outcome_unknown",
            },
            Self::FollowUpPending { kind, .. } => match kind {
                Kind::Refund => "refund.pending",
                Kind::Capture => "capture.pending",
                Kind::Convert => "conversion.pending",
                Kind::Sweep => "sweep.pending",
                _ => "operation.pending",
            },
            Self::FollowUpFailed { kind, .. } => match kind {
                Some(Kind::Refund) => "refund.failed",
                Some(Kind::Capture) => "capture.failed",
                Some(Kind::Convert) => "conversion.failed",
                Some(Kind::Sweep) => "sweep.failed",
                _ => "operation.failed",
            },
            Self::Refunded { .. } => "refund.succeeded",
            Self::Swept { .. } => "sweep.succeeded",
            Self::LateSuccess { .. } => "payment.late_success",
            Self::LateSettled { .. } => "payment.late_settled",
        }
    }

    /// The attempt that it happened to.
    pub fn attempt(&self) -> Option<AttemptId> {
        match self {
            Self::AttemptStarted { attempt, .. }
            | Self::ActionRequired { attempt }
            | Self::Resumed { attempt, .. }
            | Self::AttemptPending { attempt }
            | Self::OutcomeUnknown { attempt, .. }
            | Self::AttemptDeclined { attempt, .. }
            | Self::AttemptNoEffect { attempt, .. }
            | Self::AttemptReleased { attempt, .. }
            | Self::Authorized { attempt, .. }
            | Self::Captured { attempt, .. }
            | Self::Returned { attempt, .. }
            | Self::LateSuccess { attempt, .. }
            | Self::LateSettled { attempt, .. } => Some(*attempt),
            Self::Created { .. }
            | Self::RateLocked { .. }
            | Self::Requoted { .. }
            | Self::Converted { .. }
            | Self::ConversionHeld { .. }
            | Self::Settled { .. }
            | Self::DeliveryMoved { .. }
            | Self::DisputeOpened { .. }
            | Self::DisputeMoved { .. }
            | Self::DisputeSettled { .. }
            | Self::Banked { .. }
            | Self::Booked { .. }
            | Self::Flagged { .. }
            | Self::MethodSet
            | Self::CodeRequired
            | Self::Failed { .. }
            | Self::Canceled { .. }
            | Self::RestReleased
            | Self::FollowUpStarted { .. }
            | Self::FollowUpUnknown { .. }
            | Self::FollowUpPending { .. }
            | Self::FollowUpFailed { .. }
            | Self::Refunded { .. }
            | Self::Swept { .. } => None,
        }
    }

    /// The dispute that it is about.
    pub fn dispute(&self) -> Option<DisputeId> {
        match self {
            Self::DisputeOpened { dispute, .. }
            | Self::DisputeMoved { dispute, .. }
            | Self::DisputeSettled { dispute, .. } => Some(*dispute),
            _ => None,
        }
    }

    /// The capture, cancel, refund, reversal or exchange that it happened to.
    pub fn follow_up(&self) -> Option<OperationId> {
        match self {
            Self::FollowUpStarted { operation, .. }
            | Self::FollowUpUnknown { operation, .. }
            | Self::FollowUpPending { operation, .. }
            | Self::FollowUpFailed { operation, .. }
            | Self::Converted { operation, .. }
            | Self::Refunded { operation, .. }
            | Self::Swept { operation } => Some(*operation),
            Self::Captured { operation, .. } | Self::AttemptReleased { operation, .. } => *operation,
            Self::Created { .. }
            | Self::Flagged { .. }
            | Self::MethodSet
            | Self::AttemptStarted { .. }
            | Self::ActionRequired { .. }
            | Self::Resumed { .. }
            | Self::AttemptPending { .. }
            | Self::OutcomeUnknown { .. }
            | Self::AttemptDeclined { .. }
            | Self::AttemptNoEffect { .. }
            | Self::Authorized { .. }
            | Self::CodeRequired
            | Self::RateLocked { .. }
            | Self::Requoted { .. }
            | Self::ConversionHeld { .. }
            | Self::Settled { .. }
            | Self::DeliveryMoved { .. }
            | Self::DisputeOpened { .. }
            | Self::DisputeMoved { .. }
            | Self::DisputeSettled { .. }
            | Self::Banked { .. }
            | Self::Booked { .. }
            | Self::Returned { .. }
            | Self::Failed { .. }
            | Self::Canceled { .. }
            | Self::RestReleased
            | Self::LateSuccess { .. }
            | Self::LateSettled { .. } => None,
        }
    }
}

/// A fact with its place and time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// The payment.
    pub payment: PaymentId,
    /// Counts the payment's events from 1.
    pub number: u32,
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// When.
    pub at_ms: u64,
    /// Whether it happened to a payment that goes out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_payout: bool,
    /// What happened.
    pub fact: Fact,
}

impl Event {
    /// Its name, as the API's event type shows it: what happens to a payout is called so.
    pub fn name(&self) -> Cow<'static, str> {
        match (self.is_payout, &self.fact) {
            (true, Fact::Captured { .. }) => "payout.paid".into(),
            (true, fact) => match fact.name().strip_prefix("payment.") {
                Some(what) => format!("payout.{what}").into(),
                None => fact.name().into(),
            },
            (false, fact) => fact.name().into(),
        }
    }
}
