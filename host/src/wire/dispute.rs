//! A dispute for merchants, with what the router itself can say for them: what happened to the payment, and when.

use super::authentication::AuthenticationView;
use super::{CardView, Minor, PayerView, seconds, text};
use portolan_domain::ids::{DisputeId, Mode, PaymentId};
use portolan_domain::operation::{AuthenticationResult, Instrument};
use portolan_domain::payment::dispute::{Dispute, Funds};
use portolan_domain::payment::fact::{Event, Fact};
use portolan_domain::payment::{Attempt, Payment};
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

/// A dispute: a payer's bank wants money back, or asks.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Dispute")]
pub struct DisputeView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String", regex(pattern = "^dp_[0-9a-f]{32}$"))]
    id: DisputeId,
    object: &'static str,
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    payment: PaymentId,
    /// `inquiry`, `needs_response`, `under_review`, `won` or `lost`.
    status: &'static str,
    amount: Minor,
    currency: &'a str,
    /// A code of the provider's.
    reason: &'a str,
    /// The card network's reason code.
    network_code: Option<&'a str>,
    /// Until when it may be answered, in the provider's console.
    evidence_due_by: Option<u64>,
    /// `untouched`, `taken` (out of what the shop had) or `returned`.
    funds: &'static str,
    channel: &'a str,
    /// The provider's reference.
    reference: &'a str,
    /// What the router can say for the merchant; in one dispute, not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<EvidenceView<'a>>,
    livemode: bool,
    created: u64,
}

/// What happened to the payment, from the router's own record.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "DisputeEvidence")]
struct EvidenceView<'a> {
    payer: PayerView<'a>,
    card: Option<CardView<'a>>,
    description: Option<&'a str>,
    statement_descriptor: Option<&'a str>,
    /// The card network's reference of the authorization.
    network_reference: Option<&'a str>,
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    uetr: uuid::Uuid,
    amount_captured: Minor,
    amount_refunded: Minor,
    /// Whether the payer was authenticated: the provider says so, or they were sent to their bank and came back.
    authenticated: bool,
    /// What the provider says of it.
    authentication: Option<AuthenticationView<'a>>,
    /// What happened, with its time.
    timeline: Vec<MomentView>,
}

/// One event.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Moment")]
struct MomentView {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    at: u64,
}

impl<'a> DisputeView<'a> {
    /// The dispute as its merchant sees it in a list.
    pub fn of(payment: &'a Payment, dispute: &'a Dispute) -> Self {
        Self {
            id: dispute.id,
            object: "dispute",
            payment: payment.id,
            status: dispute.state.as_str(),
            amount: Minor(dispute.amount.minor()),
            currency: dispute.amount.asset().code(),
            reason: &dispute.reason,
            network_code: dispute.network_code.as_deref(),
            evidence_due_by: dispute.due_ms.map(seconds),
            funds: match dispute.funds {
                Funds::Untouched => "untouched",
                Funds::Taken { .. } => "taken",
                Funds::Back { .. } => "returned",
            },
            channel: dispute.channel.as_str(),
            reference: &dispute.reference,
            evidence: None,
            livemode: payment.mode == Mode::Live,
            created: seconds(dispute.opened_ms),
        }
    }

    /// The same with the router's evidence.
    pub fn with_evidence(self, payment: &'a Payment, dispute: &'a Dispute, events: &'a [Event]) -> Self {
        let attempt = payment.attempt(dispute.attempt);
        let names = events.iter().map(|event| (event.name(), event.at_ms));
        let evidence = EvidenceView {
            payer: PayerView::of(payment),
            card: match &payment.instrument {
                Some(Instrument::Card(_, card)) => Some(CardView::of(card)),
                Some(Instrument::Wallet(_) | Instrument::Token(_)) | None => None,
            },
            description: payment.description.as_deref(),
            statement_descriptor: payment.statement_descriptor.as_deref(),
            network_reference: attempt.and_then(|attempt| attempt.network_reference.as_deref()),
            uetr: payment.uetr,
            amount_captured: Minor(payment.captured.minor()),
            amount_refunded: Minor(payment.refunded.minor()),
            authenticated: is_authenticated(attempt, events),
            authentication: attempt.and_then(AuthenticationView::of),
            timeline: names
                .map(|(kind, at_ms)| MomentView {
                    kind,
                    at: seconds(at_ms),
                })
                .collect(),
        };
        Self {
            evidence: Some(evidence),
            ..self
        }
    }
}

fn is_authenticated(attempt: Option<&Attempt>, events: &[Event]) -> bool {
    let Some(attempt) = attempt else { return false };
    let came_back = |event: &Event| matches!(event.fact, Fact::Resumed { attempt: id, .. } if id == attempt.id);
    match &attempt.authentication {
        Some(told) => told.result == AuthenticationResult::Authenticated,
        None => events.iter().any(came_back),
    }
}
