//! Typed ids: one append-only list of kinds, each a UUID with its prefix. They are made by the ambient port, never here.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A text that is not an id of the expected kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("is not an id of the form {0}_ and 32 hexadecimal digits")]
pub struct IdError(pub &'static str);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let hex = text.strip_prefix(concat!($prefix, "_")).filter(|hex| hex.len() == 32);
                hex.and_then(|hex| Uuid::try_parse(hex).ok()).map(Self).ok_or(IdError($prefix))
            }
        }
    )+};
}

ids! {
    /// A merchant's instruction to move money.
    PaymentId = "pay";
    /// One try to execute a payment through one channel.
    AttemptId = "att";
    /// The unit that has keys, a clock, an intent and an outcome.
    OperationId = "op";
    /// One capture of an authorization.
    CaptureId = "cap";
    /// One refund of a captured payment.
    RefundId = "re";
    /// A fact that happened.
    EventId = "evt";
    /// A stored payment method (a vault token).
    MethodId = "pm";
    /// Something a human has to decide.
    TaskId = "task";
    /// A priced exchange of one asset for another, open to be used once.
    QuoteId = "qt";
    /// Money to a beneficiary: a payment that goes out, under its merchants' name.
    PayoutId = "po";
    /// A payer's bank wants money back.
    DisputeId = "dp";
    /// Somebody whom a merchant pays again and again.
    BeneficiaryId = "ben";
    /// Somebody who approves what a merchant's API key orders.
    ApproverId = "apr";
    /// Where a merchant is told of events.
    WebhookId = "we";
}

/// How many of an operation's last bytes are its own; the others are its payment's.
const PART_BYTES: usize = 4;

impl PaymentId {
    /// A payment's id from a fresh version 7 UUID: the last four bytes are left to its operations.
    pub fn new(uuid: Uuid) -> Self {
        Self(with_part(uuid, 0))
    }
}

impl OperationId {
    /// An operation of a payment: the payment's id, with `part` in its last four bytes. So an operation's payment, and a
    /// refund's, is known without looking it up.
    pub fn of(payment: PaymentId, part: u32) -> Self {
        Self(with_part(payment.0, part))
    }

    /// The payment that it belongs to.
    pub fn payment(self) -> PaymentId {
        PaymentId(with_part(self.0, 0))
    }
}

impl RefundId {
    /// The payment that it belongs to.
    pub fn payment(self) -> PaymentId {
        PaymentId(with_part(self.0, 0))
    }
}

impl DisputeId {
    /// The `nth` dispute of a payment: the payment's id with its number in the last bytes, from 0.
    pub fn of(payment: PaymentId, nth: usize) -> Self {
        Self(with_part(
            payment.0,
            u32::try_from(nth).map_or(u32::MAX, |nth| nth.saturating_add(1)),
        ))
    }

    /// The payment that it belongs to.
    pub fn payment(self) -> PaymentId {
        PaymentId(with_part(self.0, 0))
    }
}

impl PayoutId {
    /// The payment that it is.
    pub fn payment(self) -> PaymentId {
        PaymentId(self.0)
    }
}

impl QuoteId {
    /// The operation that asks the `nth` channel for its price.
    pub fn operation(self, nth: u32) -> OperationId {
        OperationId(with_part(self.0, nth.saturating_add(1)))
    }
}

fn with_part(uuid: Uuid, part: u32) -> Uuid {
    let mut bytes = uuid.into_bytes();
    for (byte, value) in bytes.iter_mut().rev().take(PART_BYTES).zip(part.to_le_bytes()) {
        *byte = value;
    }
    Uuid::from_bytes(bytes)
}

/// A name chosen by the operator: 1 to 40 of `a-z 0-9 - _`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct Name(String);

/// A merchant, by name.
pub type MerchantId = Name;
/// A channel (an account at a provider), by name.
pub type ChannelId = Name;

impl Name {
    /// Parses a name; `None` if it is empty, too long, or has other characters.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=40).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        fits.then(|| Self(text.to_owned()))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Test and live never meet: the mode is part of every row, key, account and claim.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, PartialOrd, Ord)]
pub enum Mode {
    /// Simulators and providers' sandboxes.
    Test,
    /// Real money.
    Live,
}

impl Mode {
    /// `test` or `live`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Live => "live",
        }
    }
}
