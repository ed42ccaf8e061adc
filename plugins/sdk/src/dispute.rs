//! Disputes as the contract's conventions write them: in a standing's `extra`, and on a subject that tells of one.

use crate::notifications::Subject;
use serde::Serialize;

/// Where a dispute stands.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeState {
    /// The payer's bank asks; no money moved.
    Inquiry,
    /// The money is taken; the merchant may answer.
    NeedsResponse,
    /// The merchant has answered.
    UnderReview,
    /// The money is back.
    Won,
    /// The money is gone.
    Lost,
}

/// What the provider says of a dispute.
#[derive(Clone, Serialize)]
pub struct Dispute {
    /// The provider's reference.
    pub reference: String,
    /// Where it stands.
    pub state: DisputeState,
    /// How much is disputed, in minor units of the payment's currency.
    pub units: String,
    /// Why, as a code: letters, digits, `_`, `.`, `-`. Free text is not kept.
    pub reason: String,
    /// The card network's reason code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_code: Option<String>,
    /// Until when the merchant may answer, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
}

impl Dispute {
    /// The pair for a standing's `extra`.
    pub fn extra(&self) -> (String, String) {
        let text = serde_json::to_string(self).unwrap_or_default();
        ("dispute".to_owned(), text)
    }
}

/// The subject is about a dispute: the host asks about what is captured for these alone.
pub fn about_dispute(subject: Subject) -> Subject {
    let mut extra = subject.extra;
    extra.push(("about".into(), "dispute".into()));
    Subject { extra, ..subject }
}
