//! What of a merchant's has to be approved, and by whom: operators say so and invite people; these bring their passkeys; an operator
//! confirms them, or takes them away.

use super::{ApprovalError, Approving, Owner, party};
use portolan_domain::approval::{APPROVERS_MAX, ApprovalTerms, Approver, ApproverState, INVITED_MS, KEY_PART_MIN};
use portolan_domain::ids::ApproverId;
use portolan_domain::ports::Mac as _;
use portolan_vault::sha256;
use serde_json::Value;

const NOTHING: &str = "nothing of this merchant's has to be approved now: the router's operator says so first";

impl Approving {
    /// Says what has to be approved; `None`: nothing from now on, and who may approve stays. Passkeys belong to a domain: on another
    /// one nobody has any.
    pub async fn set(&self, owner: Owner<'_>, by: &str, terms: Option<ApprovalTerms>) -> Result<(), ApprovalError> {
        if let Some(terms) = &terms {
            party(terms)?;
        }
        let about = format!("{}:{}", owner.0.as_str(), owner.1);
        let note = match &terms {
            Some(terms) => format!(
                "{} people on {} ({}), free a day {:?}",
                terms.people,
                terms.rp_id,
                terms.origins.join(" "),
                terms.free
            ),
            None => "nothing has to be approved".into(),
        };
        let verb = if terms.is_some() {
            "approvals.set"
        } else {
            "approvals.lift"
        };
        self.change(owner, (by, verb), |it| {
            let is_elsewhere = |new: &ApprovalTerms| {
                it.approvers.iter().any(|it| match &it.state {
                    ApproverState::Registered { rp_id, .. } => *rp_id != new.rp_id,
                    ApproverState::Invited { .. } => false,
                })
            };
            if terms.as_ref().is_some_and(is_elsewhere) {
                let why = "the approvers' passkeys belong to another domain: remove them first, then invite them anew";
                return Err(ApprovalError::Invalid(why.into()));
            }
            it.terms = terms;
            Ok(((), about, note))
        })
        .await
    }

    /// Invites somebody: the code, told once.
    pub async fn invite(&self, owner: Owner<'_>, by: &str, name: &str) -> Result<(ApproverId, String), ApprovalError> {
        let id = ApproverId(self.ambient.uuid_v7());
        let parts = [self.ambient.uuid_v4(), self.ambient.uuid_v4()];
        let code = format!("inv_{}{}", parts[0].simple(), parts[1].simple());
        let now_ms = self.ambient.now_ms();
        let state = ApproverState::Invited {
            code: self.hash_of(&code),
            until_ms: now_ms.saturating_add(INVITED_MS),
        };
        self.change(owner, (by, "approver.invite"), |it| {
            if it.terms.is_none() {
                return Err(ApprovalError::None(
                    "say first what has to be approved, and on which domain: approvals set",
                ));
            }
            if it.places_taken(now_ms) >= APPROVERS_MAX {
                return Err(ApprovalError::Invalid(format!(
                    "there are {APPROVERS_MAX} approvers: remove one first"
                )));
            }
            // Who did not come in time has gone.
            it.approvers
                .retain(|it| !matches!(&it.state, ApproverState::Invited { until_ms, .. } if *until_ms <= now_ms));
            it.approvers.push(Approver {
                id,
                name: name.to_owned(),
                state,
            });
            Ok(((), id.to_string(), name.to_owned()))
        })
        .await?;
        Ok((id, code))
    }

    /// Counts an approver from now on: an operator has asked the person whose key it is. `key` is how its fingerprint begins.
    pub async fn confirm(
        &self,
        owner: Owner<'_>,
        by: &str,
        (id, key): (ApproverId, &str),
    ) -> Result<(), ApprovalError> {
        let wanted: String = key
            .chars()
            .filter(|it| !it.is_whitespace() && *it != '-')
            .collect::<String>()
            .to_ascii_lowercase();
        if wanted.len() < KEY_PART_MIN {
            let why = format!("key: at least the first {KEY_PART_MIN} digits of the fingerprint that they read out");
            return Err(ApprovalError::Invalid(why));
        }
        let none = ApprovalError::NoApprover(owner.1.clone(), owner.0.as_str());
        self.change(owner, (by, "approver.confirm"), |it| {
            let found = it.approvers.iter_mut().find(|it| it.id == id);
            let found = found.ok_or(none)?;
            match &mut found.state {
                ApproverState::Invited { .. } => Err(ApprovalError::Invalid("they have brought no passkey yet".into())),
                ApproverState::Registered { key, .. } if !key.starts_with(&wanted) => Err(ApprovalError::Invalid(
                    "that is not this passkey's fingerprint: somebody else may have used the invitation; remove it, and invite anew".into(),
                )),
                ApproverState::Registered { key, is_confirmed, .. } => {
                    *is_confirmed = true;
                    Ok(((), id.to_string(), format!("{}, {key}", found.name)))
                }
            }
        })
        .await
    }

    /// Takes an approver away: from now on nothing that they sign counts.
    pub async fn remove(&self, owner: Owner<'_>, by: &str, id: ApproverId) -> Result<(), ApprovalError> {
        let none = ApprovalError::NoApprover(owner.1.clone(), owner.0.as_str());
        self.change(owner, (by, "approver.remove"), |it| {
            let at = it.approvers.iter().position(|it| it.id == id);
            let at = at.ok_or(none)?;
            let gone = it.approvers.remove(at);
            Ok(((), id.to_string(), gone.name))
        })
        .await
    }

    /// What a browser needs to make a passkey for whom the code invites.
    pub fn creation(&self, owner: Owner<'_>, code: &str) -> Result<Value, ApprovalError> {
        let found = self.of(owner).ok_or(ApprovalError::None(NOTHING))?;
        let terms = found.terms.as_ref().ok_or(ApprovalError::None(NOTHING))?;
        let approver = found.invited(&self.hash_of(code), self.ambient.now_ms());
        let approver = approver.ok_or(ApprovalError::NotInvited(owner.0.as_str()))?;
        let others = found.passkeys();
        let user = (approver.id.0.as_bytes().as_slice(), approver.name.as_str());
        Ok(party(terms)?.creation(&Self::challenge_of(code), user, &others)?)
    }

    /// Takes the passkey of whom the code invites.
    pub async fn register(&self, owner: Owner<'_>, code: &str, answer: &str) -> Result<Approver, ApprovalError> {
        let (hash, now_ms, mode) = (self.hash_of(code), self.ambient.now_ms(), owner.0.as_str());
        self.change(owner, ("an invitation", "approver.register"), |it| {
            let terms = it.terms.as_ref().ok_or(ApprovalError::None(NOTHING))?;
            let id = it.invited(&hash, now_ms).ok_or(ApprovalError::NotInvited(mode))?.id;
            let made = party(terms)?.register(&Self::challenge_of(code), answer, &it.passkeys())?;
            let rp_id = terms.rp_id.clone();
            let approver = it.approvers.iter_mut().find(|it| it.id == id);
            let approver = approver.ok_or(ApprovalError::NotInvited(mode))?;
            let note = format!("{}, {}", approver.name, made.key);
            approver.state = ApproverState::Registered {
                passkey: made.passkey,
                key: made.key,
                rp_id,
                at_ms: now_ms,
                is_confirmed: false,
            };
            Ok((approver.clone(), id.to_string(), note))
        })
        .await
    }

    fn challenge_of(code: &str) -> [u8; 32] {
        sha256(format!("portolan passkey\n{code}").as_bytes())
    }

    fn hash_of(&self, code: &str) -> [u8; 32] {
        self.vault.mac("invitation", code.as_bytes())
    }
}
