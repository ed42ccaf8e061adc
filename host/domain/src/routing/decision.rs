//! The decision trace: for each payment, which channels there were, what ruled some out, and why the others stand in the order
//! in which they stand. Written in the commit that starts the payment's first attempt; it never changes.

use super::learner::Estimate;
use super::rule::{Applied, SetName};
use crate::ids::ChannelId;
use crate::operation::AskedBy;
use crate::risk::{Effect, Flag, Measured};
use serde::{Deserialize, Serialize};

/// Where in the pipeline something was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The channel cannot take this payment at all.
    Eligibility,
    /// A rule asked for it.
    Rules,
    /// The channel is sick.
    Health,
    /// The channel has as much to do as it may.
    Capacity,
}

impl Stage {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eligibility => "eligibility",
            Self::Rules => "rules",
            Self::Health => "health",
            Self::Capacity => "capacity",
        }
    }
}

/// A channel that was left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Excluded {
    /// Which.
    pub channel: ChannelId,
    /// Where.
    pub stage: Stage,
    /// Why.
    pub why: String,
}

/// What is expected of a channel for one payment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Score {
    /// How likely it approves, with the counts behind it.
    pub estimate: Estimate,
    /// The probability that was used, in millionths: the estimate, or one that was drawn to explore.
    pub used_ppm: u32,
    /// What it takes if it approves, in minor units; `None`: nobody told the router.
    pub cost: Option<i128>,
    /// What trying it first is worth: millionths of a minor unit.
    pub worth_micro: i128,
}

/// A channel in the plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// Which.
    pub channel: ChannelId,
    /// Why it stands where it stands.
    pub why: String,
    /// What is expected of it.
    pub score: Score,
}

impl Decision {
    /// The rule that refuses the payment, if one does.
    pub fn refused(&self) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.effect == Effect::Refuse)
    }
}

/// Everything that led to a payment's route.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at_ms: u64,
    /// The rules that were in force.
    pub rules: Option<SetName>,
    /// Those whose condition held.
    pub applied: Vec<Applied>,
    /// Those that could not be judged, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<(String, String)>,
    /// What the limits among them count, with this payment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Measured>,
    /// What follows of the rules about risk; if one refuses, nothing of the plan is tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// Channels that were left out.
    pub excluded: Vec<Excluded>,
    /// The others, in order.
    pub plan: Vec<Planned>,
    /// At most so many are tried.
    pub attempts_max: usize,
    /// Who asks that the payer be authenticated; every channel of the plan can be told to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticate: Option<AskedBy>,
    /// From what the draws come.
    pub seed: u64,
    /// Whether the first channel is one that was drawn to learn more of it.
    pub is_exploring: bool,
}
