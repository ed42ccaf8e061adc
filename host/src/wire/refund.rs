//! Refunds and captures for merchants, with what a refund of an exchanged payment costs them.

use super::{Minor, seconds, text};
use portolan_domain::ids::{CaptureId, RefundId};
use portolan_domain::operation::Kind;
use portolan_domain::payment::status::FollowUpStatus;
use portolan_domain::payment::{FollowUp, Payment};
use schemars::JsonSchema;
use serde::Serialize;

/// A refund, or a capture, which has the same shape.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Refund")]
pub struct RefundView<'a> {
    id: String,
    object: &'static str,
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    payment: portolan_domain::ids::PaymentId,
    amount: Minor,
    currency: &'a str,
    /// `pending`, `succeeded` or `failed`.
    status: &'static str,
    /// `unknown` while nobody knows: it is pending then.
    outcome: Option<&'static str>,
    reason: Option<&'a str>,
    failure_reason: Option<&'a str>,
    /// What it costs the merchant in the currency that the payment was exchanged into.
    #[serde(skip_serializing_if = "Option::is_none")]
    gives_up: Option<GivesUpView<'a>>,
    /// Where it is paid to, where the channel gives nothing back by itself: the rail's network, and the end of the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// The provider's reference of what was paid: a transaction's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    created: u64,
}

/// What a refund of an exchanged payment costs the merchant.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "GivesUp")]
struct GivesUpView<'a> {
    amount: Minor,
    currency: &'a str,
    /// `original` or `current`.
    rate: &'static str,
    /// Who bears the difference between the two: `router` at the original rate, `merchant` at the current one.
    difference_borne_by: &'static str,
}

impl<'a> GivesUpView<'a> {
    fn of(refund: &'a FollowUp) -> Option<Self> {
        let share = refund.share.as_ref()?;
        let amount = refund.at_current.as_ref().unwrap_or(share);
        let (rate, difference_borne_by) = match refund.at_current {
            Some(_) => ("current", "merchant"),
            None => ("original", "router"),
        };
        Some(Self {
            amount: Minor(amount.minor()),
            currency: amount.asset().code(),
            rate,
            difference_borne_by,
        })
    }
}

impl<'a> RefundView<'a> {
    /// The refund or capture as its merchant sees it.
    pub fn of(payment: &Payment, follow_up: &'a FollowUp) -> Self {
        let is_refund = follow_up.kind == Kind::Refund;
        let (id, object) = if is_refund {
            (RefundId(follow_up.operation.0).to_string(), "refund")
        } else {
            (CaptureId(follow_up.operation.0).to_string(), "capture")
        };
        let (status, outcome) = match follow_up.status {
            FollowUpStatus::Unknown => ("pending", Some("unknown")),
            FollowUpStatus::Pending | FollowUpStatus::Succeeded | FollowUpStatus::Failed => {
                (follow_up.status.as_str(), None)
            }
        };
        let (currency, deliver) = (follow_up.amount.asset().code(), follow_up.delivered_to.as_deref());
        Self {
            id,
            object,
            payment: payment.id,
            amount: Minor(follow_up.amount.minor()),
            currency,
            status,
            outcome,
            reason: follow_up.reason.as_deref(),
            failure_reason: follow_up.failure.as_deref(),
            gives_up: GivesUpView::of(follow_up),
            account: deliver.map(|terms| terms.beneficiary.account.masked()),
            reference: follow_up.reference.as_deref().filter(|_| deliver.is_some()),
            created: seconds(follow_up.created_ms),
        }
    }
}
