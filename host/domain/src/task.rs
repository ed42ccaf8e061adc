//! Tasks: what only a human, or time, can settle. It owns their kinds and what may be done about each.

use crate::ids::{MerchantId, Mode, OperationId, PaymentId, TaskId};
use crate::money::Money;
use serde::{Deserialize, Serialize};

/// Why there is a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TaskKind {
    /// Nobody knows what an operation did.
    UnknownOutcome,
    /// An attempt that was given up succeeded after all: the money has to go back.
    LateSuccess,
    /// The provider took more than was asked.
    Excess,
    /// An exchange was not done and the payment's policy does not say what then.
    ConversionHeld,
}

/// What a human may decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Resolution {
    /// The provider's console shows that it happened.
    Succeeded,
    /// The provider's console shows that it did not happen.
    NoEffect,
    /// Ask the provider again now.
    CheckAgain,
    /// The money went back by another way.
    RefundedOutside,
    /// Take whatever price there is now.
    ConvertNow,
    /// Leave the money in the payer's currency.
    KeepCurrency,
}

impl TaskKind {
    /// The word in CLI and admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownOutcome => "unknown_outcome",
            Self::LateSuccess => "late_success",
            Self::Excess => "excess",
            Self::ConversionHeld => "conversion_held",
        }
    }

    /// What may be decided, with what each posts.
    pub fn resolutions(self) -> &'static [(Resolution, &'static str)] {
        match self {
            Self::UnknownOutcome => &[
                (Resolution::Succeeded, "posts the pending entry"),
                (Resolution::NoEffect, "voids the pending entry"),
                (Resolution::CheckAgain, "posts nothing"),
            ],
            Self::ConversionHeld => &[
                (Resolution::ConvertNow, "exchanges at today's price, whatever it is"),
                (
                    Resolution::KeepCurrency,
                    "posts nothing: the merchant is owed what was collected",
                ),
            ],
            Self::LateSuccess | Self::Excess => &[(
                Resolution::RefundedOutside,
                "takes it out of suspense:unmatched again, where it lay with the channel",
            )],
        }
    }
}

impl Resolution {
    /// The word in CLI and admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::NoEffect => "no_effect",
            Self::CheckAgain => "check_again",
            Self::RefundedOutside => "refunded_outside",
            Self::ConvertNow => "convert_now",
            Self::KeepCurrency => "keep_currency",
        }
    }

    /// The resolution of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Succeeded,
            Self::NoEffect,
            Self::CheckAgain,
            Self::RefundedOutside,
            Self::ConvertNow,
            Self::KeepCurrency,
        ]
        .into_iter()
        .find(|resolution| resolution.as_str() == word)
    }
}

/// One task. It exists from the commit that made it necessary; while the router still has means of its own, it is the
/// router's, and nobody is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Why.
    pub kind: TaskKind,
    /// Whose payment.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// The payment.
    pub payment: PaymentId,
    /// The operation that it is about.
    pub operation: OperationId,
    /// How much may be lost.
    pub exposure: Money,
    /// Since when.
    pub opened_ms: u64,
    /// Whether the router has run out of means and a human is asked.
    pub for_human: bool,
    /// How it ended, by whom and why.
    pub closed: Option<Closed>,
    /// What one person decided, where it takes a second one.
    #[serde(default)]
    pub proposed: Option<Proposal>,
}

/// A decision that waits for a second person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// When.
    pub at_ms: u64,
    /// Who.
    pub by: String,
    /// What.
    pub resolution: Resolution,
    /// The provider's reference, where it happened.
    pub reference: Option<String>,
}

impl Proposal {
    /// Whether it says the same; the same person saying it twice is still one.
    pub fn is_same(&self, resolution: Resolution, reference: Option<&str>) -> bool {
        self.resolution == resolution && self.reference.as_deref() == reference
    }

    /// Whether it is that person's, however the name is written.
    pub fn is_by(&self, by: &str) -> bool {
        self.by.trim().to_lowercase() == by.trim().to_lowercase()
    }
}

/// How a task ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Closed {
    /// When.
    pub at_ms: u64,
    /// `router`, or the human's name.
    pub by: String,
    /// What was found or decided.
    pub how: String,
}
