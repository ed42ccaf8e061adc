//! Approvals as their merchant sees them: what needs one, and who may give it. No passkey, no invitation.

use super::{Minor, text};
use portolan_domain::approval::{Approvals, Approver, ApproverState};
use portolan_domain::ids::{ApproverId, Mode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// What has to be approved, and by whom.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Approvals")]
pub struct ApprovalsView<'a> {
    object: &'static str,
    /// How many people approve an order; 0: nothing has to be approved.
    people: u8,
    /// The domain that passkeys belong to.
    rp_id: Option<&'a str>,
    /// The pages on it where orders are approved.
    origins: Vec<&'a str>,
    /// What needs no approval: up to so much a day (UTC), in these currencies.
    free: Vec<FreeView<'a>>,
    approvers: Vec<ApproverView<'a>>,
    livemode: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename = "ApprovalFree")]
struct FreeView<'a> {
    amount: Minor,
    currency: &'a str,
}

/// Somebody who may approve.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Approver")]
pub struct ApproverView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String", regex(pattern = "^apr_[0-9a-f]{32}$"))]
    id: ApproverId,
    object: &'static str,
    name: &'a str,
    /// `invited`: brings a passkey until `invited_until`; `registered`: has brought one, and the router's operator has not made sure yet
    /// that it is theirs; `confirmed`: may approve.
    status: &'static str,
    /// The SHA-256 of their public key: what they tell the operator.
    key: Option<&'a str>,
    invited_until: Option<u64>,
    registered: Option<u64>,
}

/// What a browser needs to make a passkey.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "PasskeyOptions")]
pub struct CreationView {
    /// For `PublicKeyCredential.parseCreationOptionsFromJSON`.
    pub options: Value,
}

impl<'a> ApprovalsView<'a> {
    /// As the merchant sees them.
    pub fn of(approvals: &'a Approvals) -> Self {
        let terms = approvals.terms.as_ref();
        let free = terms.map_or(&[][..], |it| it.free.as_slice()).iter();
        Self {
            object: "approvals",
            people: terms.map_or(0, |it| it.people),
            rp_id: terms.map(|it| it.rp_id.as_str()),
            origins: terms.map_or_else(Vec::new, |it| it.origins.iter().map(String::as_str).collect()),
            free: free
                .map(|it| FreeView {
                    amount: Minor(it.minor()),
                    currency: it.asset().code(),
                })
                .collect(),
            approvers: approvals.approvers.iter().map(ApproverView::of).collect(),
            livemode: approvals.mode == Mode::Live,
        }
    }
}

impl<'a> ApproverView<'a> {
    /// As the merchant sees them.
    pub fn of(approver: &'a Approver) -> Self {
        let (status, key, invited_ms, registered_ms) = match &approver.state {
            ApproverState::Invited { until_ms, .. } => ("invited", None, Some(*until_ms), None),
            ApproverState::Registered {
                is_confirmed: true,
                key,
                at_ms,
                ..
            } => ("confirmed", Some(key.as_str()), None, Some(*at_ms)),
            ApproverState::Registered { key, at_ms, .. } => ("registered", Some(key.as_str()), None, Some(*at_ms)),
        };
        Self {
            id: approver.id,
            object: "approver",
            name: &approver.name,
            status,
            key,
            invited_until: invited_ms.map(|ms| ms / 1_000),
            registered: registered_ms.map(|ms| ms / 1_000),
        }
    }
}
