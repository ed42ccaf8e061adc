//! Orders that a merchant's people have to approve: what is asked of whom, and whether what came with the order answers it. The
//! approval stands in the order's body and is no part of what the Idempotency-Key is for: a retry may bring it again, or not.

use super::Api;
use super::auth::Caller;
use super::problem::Problem;
use super::strict::{self, Fields};
use super::v1::{beneficiaries, payments};
use crate::approvals::{ApprovalError, Asked, Demand, Owner};
use crate::wire::time_text;
use axum::body::Body;
use axum::http::HeaderMap;
use portolan_domain::approval::{Approvals, Approved, OrderText, PEOPLE_MAX};
use portolan_domain::beneficiary::Beneficiary;
use portolan_domain::ledger::Account;
use portolan_domain::money::Money;
use portolan_domain::payment::request::FieldError;
use portolan_domain::ports::CommitError;
use portolan_engine::ClaimRequest;
use serde_json::json;
use std::sync::Arc;

/// The field.
const FIELD: &str = "approval";

/// An order that may have to be approved.
pub struct Order {
    order: String,
    body: String,
    has_code: bool,
    given: Option<Given>,
}

/// What goes out by it.
pub struct Outgoing<'a> {
    /// How much, as far as it is known before.
    pub amount: &'a Money,
    /// The same for people to read.
    pub pays: &'a str,
    /// To whom.
    pub to: &'a Beneficiary,
    /// Whether the merchant must have it by now: nobody is asked for what cannot be done.
    pub is_owned: bool,
}

/// What came with it.
struct Given {
    asked_at: u64,
    credentials: Vec<String>,
}

/// Opens an order: its key, its fields, and itself as it would be approved.
pub async fn open(
    api: &Api,
    (caller, order): (&Caller, &str),
    headers: &HeaderMap,
    body: Body,
) -> Result<(ClaimRequest, Fields, Order), Problem> {
    let value = payments::read(headers, body).await?;
    let bare = value.without(FIELD);
    let claim = api.claim(headers, caller, (order, &bare))?;
    let order = Order {
        order: order.to_owned(),
        body: strict::sorted(&bare),
        has_code: bare.has("security_code"),
        given: None,
    };
    Ok((claim, Fields::of(value)?, order))
}

impl Order {
    /// Reads what came with it.
    pub fn read(self, fields: &mut Fields) -> Result<Self, Vec<FieldError>> {
        if !fields.is_given(FIELD) {
            fields.inside(FIELD);
            return Ok(self);
        }
        let mut inner = fields.inside(FIELD);
        let (asked_at, credentials) = (inner.seconds("asked_at"), inner.json("credentials"));
        fields.close(inner);
        let (asked_at, credentials) = (read_time(asked_at), read_credentials(credentials));
        match (asked_at, credentials) {
            (Ok(asked_at), Ok(credentials)) => Ok(Self {
                given: Some(Given { asked_at, credentials }),
                ..self
            }),
            (asked_at, credentials) => Err([asked_at.err(), credentials.err()].into_iter().flatten().collect()),
        }
    }

    /// Lets it through where nobody has to approve it, or those who have to did; else says what is asked of whom.
    pub async fn approve(
        self,
        (api, caller): (&Api, &Caller),
        claim: ClaimRequest,
        outgoing: Outgoing<'_>,
    ) -> Result<ClaimRequest, Problem> {
        let owner = (caller.mode, &caller.merchant);
        let Some(approvals) = api.app.approving.in_force(owner) else {
            return Ok(claim);
        };
        // Whoever asks again is told what came of it, however old the approval is by now.
        if api.app.store.claim(&claim.name)?.is_some() {
            return Ok(ClaimRequest {
                must_be_known: true,
                ..claim
            });
        }
        if outgoing.is_owned && !is_covered(api, owner, outgoing.amount)? {
            return Err(CommitError::Uncovered.into());
        }
        if self.given.is_none() && api.app.approving.take_free(owner, outgoing.amount).await? {
            let free = Approved {
                at_ms: api.app.ambient.now_ms(),
                text: format!("Pays: {}, which needed no approval\n", outgoing.pays),
                by: vec![],
                operation: None,
            };
            return Ok(ClaimRequest {
                approved: Some(Arc::new(free)),
                ..claim
            });
        }
        // What is approved is kept, and a code may not be.
        if self.has_code {
            let how = "an approved order is kept, and no code may be: send it with the card, POST /v1/payment_methods";
            return Err(Problem::fields(vec![FieldError::new(
                "/security_code",
                "not_approved",
                how,
            )]));
        }
        let to = beneficiaries::shown_of(outgoing.to).to_string();
        let text = |asked_at: u64| {
            OrderText {
                merchant: &caller.merchant,
                mode: caller.mode,
                pays: outgoing.pays,
                to: &to,
                order: &self.order,
                key: &claim.name.key,
                asked: &time_text(asked_at.saturating_mul(1_000)),
                body: &self.body,
            }
            .text()
        };
        let now = api.app.ambient.now_ms() / 1_000;
        let ask = |code| Err(asked(api, &approvals, code, (text(now), now)));
        let Some(given) = &self.given else {
            return ask("approval_required");
        };
        match api.app.approving.when(given.asked_at) {
            Asked::TooOld => return ask("approval_expired"),
            Asked::Ahead => return ask("approval_ahead"),
            Asked::InTime => {}
        }
        let approved = api.app.approving.check(owner, text(given.asked_at), &given.credentials);
        Ok(ClaimRequest {
            approved: Some(Arc::new(approved.map_err(invalid)?)),
            ..claim
        })
    }
}

/// Whether the merchant has so much, at this moment: the books' own guard comes with the order.
fn is_covered(api: &Api, (mode, merchant): Owner<'_>, amount: &Money) -> Result<bool, Problem> {
    let balances = api.app.library.balances(mode, Some(merchant))?;
    let account = (Account::MerchantAvailable(merchant.clone()), amount.asset().clone());
    Ok(balances.get(&account).is_some_and(|it| it.to_give() >= amount.minor()))
}

/// What is asked of whom, as a problem.
fn asked(api: &Api, approvals: &Approvals, code: &str, (text, at): (String, u64)) -> Problem {
    match api.app.approving.demand(approvals, text, at) {
        Ok(demand) => Problem::approval(code, &demand),
        Err(error) => error.into(),
    }
}

fn invalid(error: ApprovalError) -> Problem {
    match error {
        ApprovalError::Store(_) | ApprovalError::Conflict => error.into(),
        ApprovalError::None(_)
        | ApprovalError::NotInvited(_)
        | ApprovalError::NoApprover(..)
        | ApprovalError::Passkey(_)
        | ApprovalError::Invalid(_) => {
            let how = format!(
                "{error}: what is approved is the text that was asked, of this order, under this Idempotency-Key; leave approval out to be asked again"
            );
            Problem::new(403, "approval_invalid", how)
        }
    }
}

impl From<ApprovalError> for Problem {
    fn from(error: ApprovalError) -> Self {
        let text = error.to_string();
        match error {
            ApprovalError::Store(error) => error.into(),
            ApprovalError::Conflict => Self::new(409, "conflict", text),
            ApprovalError::None(_) | ApprovalError::NoApprover(..) => Self::new(403, "no_approvers", text),
            ApprovalError::NotInvited(_) => Self::new(403, "not_invited", text),
            ApprovalError::Passkey(_) => Self::fields(vec![FieldError::new("/credential", "invalid_passkey", text)]),
            ApprovalError::Invalid(_) => Self::new(422, "invalid_request", text),
        }
    }
}

impl Problem {
    /// Somebody has to approve it: what, and how they are asked.
    fn approval(code: &str, demand: &Demand) -> Self {
        let detail = match code {
            "approval_expired" => {
                "the approval is too old, or older than this router's start: ask again, with what is in `approval`"
            }
            "approval_ahead" => {
                "the approval is of a time to come: asked_at is not this router's; ask again, with what is in `approval`"
            }
            _ => {
                "one of the merchant's people has to approve this with a passkey: ask with what is in `approval`, then send the same order again, with the same Idempotency-Key and their answer"
            }
        };
        Self::new(403, code, detail).with(
            FIELD,
            json!({
                "text": demand.text, "asked_at": demand.asked_at, "people": demand.people, "options": demand.options,
            }),
        )
    }
}

fn read_time(asked_at: Option<u64>) -> Result<u64, FieldError> {
    asked_at.ok_or_else(|| {
        let how = "the asked_at of what was approved, in seconds since 1970";
        FieldError::new("/approval/asked_at", "missing", how)
    })
}

fn read_credentials(text: Option<String>) -> Result<Vec<String>, FieldError> {
    let how = "a list with credential.toJSON() of each who approves";
    let wrong = |code: &'static str| FieldError::new("/approval/credentials", code, how);
    let text = text.ok_or_else(|| wrong("missing"))?;
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).map_err(|_| wrong("wrong_type"))?;
    match (1..=usize::from(PEOPLE_MAX)).contains(&all.len()) {
        true => Ok(all.iter().map(ToString::to_string).collect()),
        false => Err(wrong("invalid_value")),
    }
}
