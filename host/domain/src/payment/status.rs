//! The three state machines: payment, attempt, follow-up (capture, cancel, refund, reversal, exchange). Each is one function
//! from status and fact to status; nothing else sets a status.

use super::fact::Fact;
use crate::operation::Kind;
use serde::{Deserialize, Serialize};

/// A fact that does not fit the status.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("{fact} does not fit a {what} that is {status}")]
pub struct IllegalEvent {
    /// Payment, attempt or follow-up.
    pub what: &'static str,
    /// Its status.
    pub status: &'static str,
    /// The fact.
    pub fact: &'static str,
}

macro_rules! status {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Hash)]
        pub enum $name { $($(#[$case_doc])* $case,)+ }
        impl $name {
            /// Every status.
            pub const ALL: &'static [Self] = &[$(Self::$case,)+];
            /// The word in API and storage.
            pub fn as_str(self) -> &'static str { match self { $(Self::$case => $word,)+ } }
        }
    };
}

status! {
    /// A payment's status.
    PaymentStatus {
        /// No usable payment method.
        RequiresPaymentMethod = "requires_payment_method",
        /// Ready, not yet sent.
        RequiresConfirmation = "requires_confirmation",
        /// The payer has to act.
        RequiresAction = "requires_action",
        /// On its way, or of unknown outcome.
        Processing = "processing",
        /// Authorized, to be captured.
        RequiresCapture = "requires_capture",
        /// The money is taken.
        Succeeded = "succeeded",
        /// Given up, nothing taken.
        Canceled = "canceled",
        /// Declined, or no channel could take it.
        Failed = "failed",
    }
}

status! {
    /// An attempt's status.
    AttemptStatus {
        /// Intent written.
        Started = "started",
        /// The payer has to act.
        ActionRequired = "action_required",
        /// Nobody knows.
        Unknown = "unknown",
        /// The money is held.
        Authorized = "authorized",
        /// The money is taken.
        Captured = "captured",
        /// A certain no.
        Declined = "declined",
        /// Certainly without effect.
        NoEffect = "no_effect",
        /// Voided, lapsed or undone.
        Released = "released",
    }
}

status! {
    /// The status of what follows an authorization.
    FollowUpStatus {
        /// Intent written, or the provider is at it.
        Pending = "pending",
        /// Nobody knows.
        Unknown = "unknown",
        /// Done.
        Succeeded = "succeeded",
        /// Certainly not done.
        Failed = "failed",
    }
}

impl PaymentStatus {
    /// Whether the merchant need not wait for anything any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Canceled | Self::Failed)
    }

    /// The status after `fact`.
    pub fn next(self, fact: &Fact) -> Result<Self, IllegalEvent> {
        use PaymentStatus as S;
        let next = match (fact, self) {
            (Fact::Created { .. }, S::RequiresPaymentMethod | S::RequiresConfirmation) => Some(self),
            (Fact::RateLocked { .. }, S::RequiresPaymentMethod | S::RequiresConfirmation) => Some(self),
            (Fact::Requoted { .. }, S::RequiresCapture | S::Succeeded) => Some(self),
            (Fact::ConversionHeld { .. }, S::RequiresAction | S::Processing | S::RequiresCapture | S::Succeeded) => {
                Some(self)
            }
            (Fact::Converted { .. } | Fact::Returned { .. }, S::Succeeded) => Some(self),
            (Fact::Settled { .. } | Fact::Banked { .. }, S::RequiresCapture | S::Succeeded) => Some(self),
            (Fact::Booked { .. } | Fact::DeliveryMoved { .. }, S::Succeeded) => Some(self),
            (
                Fact::DisputeOpened { .. } | Fact::DisputeMoved { .. } | Fact::DisputeSettled { .. },
                S::RequiresCapture | S::Succeeded,
            ) => Some(self),
            (Fact::Flagged { .. }, S::RequiresPaymentMethod | S::RequiresConfirmation) => Some(self),
            (Fact::MethodSet, S::RequiresPaymentMethod | S::RequiresConfirmation) => Some(S::RequiresConfirmation),
            (Fact::AttemptStarted { .. }, S::RequiresPaymentMethod | S::RequiresConfirmation | S::Processing) => {
                Some(S::Processing)
            }
            (Fact::ActionRequired { .. }, S::Processing | S::RequiresAction) => Some(S::RequiresAction),
            (
                Fact::Resumed { .. }
                | Fact::AttemptPending { .. }
                | Fact::OutcomeUnknown { .. }
                | Fact::AttemptDeclined { .. }
                | Fact::AttemptNoEffect { .. }
                | Fact::AttemptReleased { .. },
                S::Processing | S::RequiresAction,
            ) => Some(S::Processing),
            (Fact::AttemptReleased { .. }, S::RequiresCapture) => Some(S::Processing),
            (Fact::Authorized { .. }, S::Processing | S::RequiresAction) => Some(S::RequiresCapture),
            (Fact::Captured { .. }, S::Processing | S::RequiresAction) => Some(S::Succeeded),
            (Fact::Captured { is_final, .. }, S::RequiresCapture) => {
                Some(if *is_final { S::Succeeded } else { S::RequiresCapture })
            }
            (Fact::CodeRequired, S::Processing) => Some(S::RequiresPaymentMethod),
            (Fact::Failed { .. }, S::RequiresPaymentMethod | S::RequiresConfirmation | S::Processing) => {
                Some(S::Failed)
            }
            (Fact::Canceled { .. }, S::RequiresPaymentMethod | S::RequiresConfirmation | S::Processing) => {
                Some(S::Canceled)
            }
            (Fact::RestReleased, S::Processing) => Some(S::Succeeded),
            (Fact::FollowUpStarted { .. }, S::RequiresAction | S::Processing | S::RequiresCapture | S::Succeeded) => {
                Some(self)
            }
            // The outcome of a cancel may come after the authorization itself was closed.
            (
                Fact::FollowUpUnknown { .. } | Fact::FollowUpPending { .. } | Fact::FollowUpFailed { .. },
                S::RequiresAction | S::Processing | S::RequiresCapture | S::Succeeded | S::Canceled | S::Failed,
            ) => Some(self),
            (Fact::Refunded { .. }, S::RequiresCapture | S::Succeeded) => Some(self),
            // What lies at the address of a payment that ended may have come too late.
            (Fact::FollowUpStarted { kind: Kind::Sweep, .. }, S::Canceled | S::Failed) => Some(self),
            (Fact::Swept { .. }, S::Succeeded | S::Canceled | S::Failed) => Some(self),
            (
                Fact::LateSuccess { .. } | Fact::LateSettled { .. },
                S::RequiresPaymentMethod | S::Processing | S::Succeeded | S::Canceled | S::Failed | S::RequiresCapture,
            ) => Some(self),
            _ => None,
        };
        next.ok_or(IllegalEvent {
            what: "payment",
            status: self.as_str(),
            fact: fact.name(),
        })
    }
}

impl AttemptStatus {
    /// Whether it can no longer bring money, as far as the books know.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Declined | Self::NoEffect | Self::Released)
    }

    /// The status after `fact`.
    pub fn next(self, fact: &Fact) -> Result<Self, IllegalEvent> {
        use AttemptStatus as S;
        let next = match (fact, self) {
            (Fact::AttemptStarted { .. }, S::Started) => Some(S::Started),
            (Fact::ActionRequired { .. }, S::Started | S::Unknown | S::ActionRequired) => Some(S::ActionRequired),
            (Fact::Resumed { .. }, S::ActionRequired) => Some(S::Started),
            (Fact::AttemptPending { .. }, S::Started | S::ActionRequired | S::Unknown) => Some(S::Started),
            (Fact::OutcomeUnknown { .. }, S::Started | S::ActionRequired | S::Unknown) => Some(S::Unknown),
            (Fact::AttemptDeclined { .. }, S::Started | S::ActionRequired | S::Unknown) => Some(S::Declined),
            (Fact::AttemptNoEffect { .. }, S::Started | S::ActionRequired | S::Unknown) => Some(S::NoEffect),
            (Fact::AttemptReleased { .. }, S::Started | S::ActionRequired | S::Unknown | S::Authorized) => {
                Some(S::Released)
            }
            (Fact::Authorized { .. }, S::Started | S::ActionRequired | S::Unknown) => Some(S::Authorized),
            (Fact::Captured { .. }, S::Started | S::ActionRequired | S::Unknown) => Some(S::Captured),
            (Fact::Captured { is_final, .. }, S::Authorized) => {
                Some(if *is_final { S::Captured } else { S::Authorized })
            }
            (Fact::Returned { .. }, S::Captured) => Some(S::Captured),
            (Fact::LateSuccess { .. } | Fact::LateSettled { .. }, _) => Some(self),
            _ => None,
        };
        next.ok_or(IllegalEvent {
            what: "attempt",
            status: self.as_str(),
            fact: fact.name(),
        })
    }
}

impl FollowUpStatus {
    /// The status after `fact`.
    pub fn next(self, fact: &Fact) -> Result<Self, IllegalEvent> {
        use FollowUpStatus as S;
        let next = match (fact, self) {
            (Fact::FollowUpStarted { .. }, S::Pending) => Some(S::Pending),
            (Fact::FollowUpUnknown { .. }, S::Pending | S::Unknown) => Some(S::Unknown),
            (Fact::FollowUpPending { .. }, S::Unknown) => Some(S::Pending),
            (Fact::FollowUpFailed { .. }, S::Pending | S::Unknown) => Some(S::Failed),
            (
                Fact::Captured { .. }
                | Fact::AttemptReleased { .. }
                | Fact::Refunded { .. }
                | Fact::Swept { .. }
                | Fact::Converted { .. },
                S::Pending | S::Unknown,
            ) => Some(S::Succeeded),
            _ => None,
        };
        next.ok_or(IllegalEvent {
            what: "follow-up",
            status: self.as_str(),
            fact: fact.name(),
        })
    }
}

#[cfg(test)]
mod tests;
