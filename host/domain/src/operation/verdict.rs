//! What the host makes of an adapter's claim: faults, and the verdict under the ceiling of what the exchanges prove.

use super::{Doubt, Operation, Outcome};
use crate::certainty::Certainty;
use serde::{Deserialize, Serialize};

/// The adapter could not do its work; no statement about money.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}: {text}")]
pub struct Fault {
    /// One of the named kinds.
    pub kind: FaultKind,
    /// What happened.
    pub text: String,
}

/// The named faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FaultKind {
    /// The adapter cannot do this.
    Unsupported,
    /// The merchant's input cannot be sent to this provider.
    Invalid,
    /// The provider answered something that the adapter does not understand.
    Protocol,
    /// Credentials or settings are refused.
    Misconfigured,
    /// A session is no longer accepted.
    StaleSession,
    /// The adapter's own word for something else.
    Other,
    /// A trap: a panic, an index out of range, an unreachable.
    Trap,
    /// Its time is up.
    Timeout,
    /// It wanted more memory, tables or instances than granted.
    Memory,
    /// Its result or its log is larger than granted.
    TooLarge,
    /// The same arguments gave another step.
    NotPure,
    /// More rounds than granted.
    Rounds,
    /// A request that the grant does not allow.
    NotGranted,
    /// A handle outside its granted places.
    HandleMisplaced,
    /// An outcome for more, or for something else, than was asked.
    ClaimsMore,
    /// A claim of money although nothing was heard from the provider.
    ClaimsUnheard,
}

impl FaultKind {
    /// The word in API, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid",
            Self::Protocol => "protocol",
            Self::Misconfigured => "misconfigured",
            Self::StaleSession => "stale_session",
            Self::Other => "other",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::TooLarge => "too_large",
            Self::NotPure => "not_pure",
            Self::Rounds => "rounds",
            Self::NotGranted => "not_granted",
            Self::HandleMisplaced => "handle_misplaced",
            Self::ClaimsMore => "claims_more",
            Self::ClaimsUnheard => "claims_unheard",
        }
    }

    /// Whether the adapter's own code is to blame, as far as the router can tell; the network, the provider's refusal of
    /// credentials and the merchant's input are not its.
    pub fn is_adapters(self) -> bool {
        match self {
            Self::Unsupported
            | Self::Protocol
            | Self::Trap
            | Self::Timeout
            | Self::Memory
            | Self::TooLarge
            | Self::NotPure
            | Self::Rounds
            | Self::NotGranted
            | Self::HandleMisplaced
            | Self::ClaimsMore
            | Self::ClaimsUnheard => true,
            Self::Invalid | Self::Misconfigured | Self::StaleSession | Self::Other => false,
        }
    }

    /// Whether the provider itself said so in a clear reply (the adapter only reads it).
    pub(crate) fn is_providers_word(self) -> bool {
        matches!(self, Self::Invalid | Self::Misconfigured | Self::StaleSession)
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the host makes of an operation: the adapter's claim under the ceiling of what the exchanges prove.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The adapter's outcome, allowed as it is. Never `Outcome::Unknown`.
    Proven(Outcome),
    /// Certainly no effect, and no decline either: the next channel may be tried.
    NoEffect(Fault),
    /// Nobody knows; with the fault where the adapter had one.
    Unknown(Doubt, Option<Fault>),
}

/// Puts the ceiling over the adapter's claim about an operation. `heard`: whether any of its requests got a reply.
pub fn judge(operation: &Operation, (ceiling, heard): (Certainty, bool), claim: Result<Outcome, Fault>) -> Verdict {
    let claim = claim.and_then(|outcome| check_claim(operation, heard, outcome));
    match (ceiling, claim) {
        (Certainty::Unknown, Ok(Outcome::Unknown(why))) => Verdict::Unknown(why, None),
        (Certainty::Unknown, Ok(_)) => {
            Verdict::Unknown("a request left and its effect is not known".to_owned().into(), None)
        }
        (Certainty::Unknown, Err(fault)) => Verdict::Unknown(fault.to_string().into(), Some(fault)),
        // Nothing left, so nothing was paid or exchanged, whatever was read.
        (Certainty::NotSent, Ok(Outcome::Sent { .. } | Outcome::Converted { .. } | Outcome::Returned { .. })) => {
            Verdict::NoEffect(fault(
                FaultKind::ClaimsUnheard,
                "success although nothing was sent".into(),
            ))
        }
        (Certainty::NotSent, Ok(Outcome::Unknown(why))) => Verdict::NoEffect(fault(FaultKind::Other, why.why)),
        // Some providers refuse single payers with 403: that is a decline, and no trouble of the channel.
        (Certainty::Refused, Ok(Outcome::Declined(decline))) => Verdict::Proven(Outcome::Declined(decline)),
        (Certainty::Refused, Ok(_)) => {
            Verdict::NoEffect(fault(FaultKind::Misconfigured, "refused with 401 or 403".into()))
        }
        (Certainty::NotSent | Certainty::Refused, Err(fault)) => Verdict::NoEffect(fault),
        (Certainty::Clear | Certainty::TurnedDown, Ok(Outcome::Unknown(why))) => Verdict::Unknown(why, None),
        // A write was taken: a fault, or a reading that finds nothing, cannot make it undone.
        (Certainty::Clear, Ok(Outcome::NotFound)) => {
            Verdict::Unknown("a request was taken and is not found".to_owned().into(), None)
        }
        (Certainty::TurnedDown, Err(fault)) if fault.kind.is_providers_word() => Verdict::NoEffect(fault),
        (Certainty::Clear | Certainty::TurnedDown, Err(fault)) => {
            Verdict::Unknown(fault.to_string().into(), Some(fault))
        }
        (Certainty::Clear | Certainty::TurnedDown | Certainty::NotSent, Ok(outcome)) => Verdict::Proven(outcome),
    }
}

fn fault(kind: FaultKind, text: String) -> Fault {
    Fault { kind, text }
}

/// A claim that cannot be this operation's is no claim, and neither is success out of silence.
fn check_claim(operation: &Operation, heard: bool, outcome: Outcome) -> Result<Outcome, Fault> {
    let is_success = match &outcome {
        Outcome::Accepted { .. }
        | Outcome::Done { .. }
        | Outcome::Returned { .. }
        | Outcome::Converted { .. }
        | Outcome::Sent { .. } => true,
        Outcome::Quoted(_)
        | Outcome::Expired
        | Outcome::Page(_)
        | Outcome::Standing(_)
        | Outcome::Waiting { .. }
        | Outcome::Declined(_)
        | Outcome::NotFound
        | Outcome::Unknown(_) => false,
    };
    match operation.contradiction(&outcome) {
        Some(why) => Err(fault(FaultKind::ClaimsMore, why)),
        None if is_success && !heard => Err(fault(
            FaultKind::ClaimsUnheard,
            "success without any reply of the provider".into(),
        )),
        None => Ok(outcome),
    }
}
