//! Approvals as use cases: who is asked to approve what goes out, and whether they did. Operators say what needs it and invite
//! people; these bring their passkeys and approve orders on the merchant's own page. The rules are the domain's, the cryptography the
//! vault's.

use dashmap::DashMap;
use portolan_domain::approval::{
    APPROVED_MS, APPROVERS_MAX, Approval, ApprovalTerms, Approvals, Approved, Approver, ApproverState, INVITED_MS,
    KEY_PART_MIN,
};
use portolan_domain::commit::Act;
use portolan_domain::ids::{ApproverId, EventId, MerchantId, Mode};
use portolan_domain::money::Money;
use portolan_domain::ports::{Ambient, ApprovalBook, CommitError, Mac as _, ReadError};
use portolan_vault::{LocalVault, PasskeyError, RelyingParty, sha256};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Mutex;

/// A router's clock and another's differ by so much at most.
const AHEAD_MAX_S: u64 = 10;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Whose.
pub type Owner<'a> = (Mode, &'a MerchantId);

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// Nothing is to be approved for this merchant, or nobody of that name is there.
    #[error("{0}")]
    None(&'static str),
    /// The code is unknown, was used, or is too old.
    #[error("this invitation is not known, was taken, or is over: ask for another one")]
    NotInvited,
    /// The passkey's answer is not good.
    #[error("{0}")]
    Passkey(#[from] PasskeyError),
    /// What is asked cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Somebody else was first.
    #[error("the approvals were changed meanwhile: look at them, and ask again")]
    Conflict,
    /// The store says no.
    #[error("{0}")]
    Store(CommitError),
}

impl From<CommitError> for ApprovalError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::VersionConflict => Self::Conflict,
            other => Self::Store(other),
        }
    }
}

/// When an approval was asked, seen from now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// So that it counts.
    InTime,
    /// Too long ago, or before this router began: what was used then, a copy of the store that was put back does not know.
    TooOld,
    /// In time to come.
    Ahead,
}

/// An order that has to be approved.
pub struct Demand {
    /// What is approved: its SHA-256 is the challenge.
    pub text: String,
    /// When it was asked, in seconds since 1970.
    pub asked_at: u64,
    /// How many people must.
    pub people: u8,
    /// For `PublicKeyCredential.parseRequestOptionsFromJSON`.
    pub options: Value,
}

/// The use cases.
pub struct Approving {
    book: Arc<dyn ApprovalBook>,
    vault: Arc<LocalVault>,
    ambient: Arc<dyn Ambient>,
    all: Arc<DashMap<(Mode, MerchantId), Arc<Approvals>>>,
    changing: Arc<Mutex<()>>,
    born_s: u64,
}

fn party(terms: &ApprovalTerms) -> Result<RelyingParty, PasskeyError> {
    RelyingParty::new(&terms.rp_id, &terms.rp_id, &terms.origins)
}

impl Approving {
    /// With what the store has.
    pub fn load(
        book: Arc<dyn ApprovalBook>,
        vault: Arc<LocalVault>,
        ambient: Arc<dyn Ambient>,
    ) -> Result<Self, ReadError> {
        let all = book.approvals()?.into_iter();
        let all: DashMap<_, _> = all.map(|it| ((it.mode, it.merchant.clone()), Arc::new(it))).collect();
        Ok(Self {
            all: Arc::new(all),
            book,
            vault,
            born_s: ambient.now_ms() / 1_000,
            ambient,
            changing: Arc::default(),
        })
    }

    /// Every merchant's.
    pub fn all(&self) -> Vec<Arc<Approvals>> {
        let mut all: Vec<_> = self.all.iter().map(|it| it.value().clone()).collect();
        all.sort_by(|a, b| (a.merchant.as_str(), a.mode.as_str()).cmp(&(b.merchant.as_str(), b.mode.as_str())));
        all
    }

    /// A merchant's.
    pub fn of(&self, (mode, merchant): Owner<'_>) -> Option<Arc<Approvals>> {
        self.all.get(&(mode, merchant.clone())).map(|it| it.value().clone())
    }

    /// A merchant's, where something has to be approved.
    pub fn in_force(&self, owner: Owner<'_>) -> Option<Arc<Approvals>> {
        self.of(owner).filter(|it| it.terms.is_some())
    }

    /// Counts an amount as one that needs no approval today; `false`: it does.
    pub async fn take_free(&self, owner: Owner<'_>, amount: &Money) -> Result<bool, ApprovalError> {
        let day = self.ambient.now_ms() / DAY_MS;
        let found = self.of(owner).map(|it| (*it).clone());
        if found.is_none_or(|mut it| it.take_free(amount, day).is_none()) {
            return Ok(false);
        }
        let taken = self.change(owner, ("the terms", "approval.free"), |it| {
            it.take_free(amount, day)
                .ok_or(ApprovalError::None("nothing is free any more today"))?;
            Ok(((), amount.asset().code().to_owned(), amount.to_string()))
        });
        match taken.await {
            Ok(()) => Ok(true),
            Err(ApprovalError::None(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn challenge_of(code: &str) -> [u8; 32] {
        sha256(format!("portolan passkey\n{code}").as_bytes())
    }

    fn hash_of(&self, code: &str) -> [u8; 32] {
        self.vault.mac("invitation", code.as_bytes())
    }

    /// Changes a merchant's approvals: on disk, with who did it, before it counts. Whoever hangs up meanwhile, it is done to its end.
    async fn change<T>(
        &self,
        (mode, merchant): Owner<'_>,
        (by, verb): (&str, &str),
        change: impl FnOnce(&mut Approvals) -> Result<(T, String, String), ApprovalError>,
    ) -> Result<T, ApprovalError> {
        let one = self.changing.clone().lock_owned().await;
        let found = self.of((mode, merchant));
        let mut after = found.map_or_else(|| Approvals::none(merchant.clone(), mode), |it| (*it).clone());
        let (made, about, note) = change(&mut after)?;
        after.version = after.version.saturating_add(1);
        let act = Act {
            id: EventId(self.ambient.uuid_v7()),
            at_ms: self.ambient.now_ms(),
            by: by.to_owned(),
            verb: verb.to_owned(),
            about,
            note,
        };
        let (book, all) = (self.book.clone(), self.all.clone());
        let writing = tokio::spawn(async move {
            let written = book.put_approvals(after.clone(), act).await;
            // Where it is not known what is on disk, it is read.
            let now = match &written {
                Ok(()) => vec![after],
                Err(_) => book.approvals().unwrap_or_default(),
            };
            now.into_iter().for_each(|it| {
                all.insert((it.mode, it.merchant.clone()), Arc::new(it));
            });
            drop(one);
            written
        });
        let written = writing
            .await
            .map_err(|error| CommitError::Unavailable(error.to_string()))?;
        written?;
        Ok(made)
    }

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
        let state = ApproverState::Invited {
            code: self.hash_of(&code),
            until_ms: self.ambient.now_ms().saturating_add(INVITED_MS),
        };
        self.change(owner, (by, "approver.invite"), |it| {
            if it.terms.is_none() {
                return Err(ApprovalError::None(
                    "say first what has to be approved, and on which domain: approvals set",
                ));
            }
            if it.approvers.len() >= APPROVERS_MAX {
                return Err(ApprovalError::Invalid(format!(
                    "there are {APPROVERS_MAX} approvers: remove one first"
                )));
            }
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
            .filter(|it| !it.is_whitespace())
            .collect::<String>()
            .to_ascii_lowercase();
        if wanted.len() < KEY_PART_MIN {
            let why = format!("key: at least the first {KEY_PART_MIN} digits of the fingerprint that they read out");
            return Err(ApprovalError::Invalid(why));
        }
        self.change(owner, (by, "approver.confirm"), |it| {
            let found = it.approvers.iter_mut().find(|it| it.id == id);
            let found = found.ok_or(ApprovalError::None("there is no such approver"))?;
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
        self.change(owner, (by, "approver.remove"), |it| {
            let at = it.approvers.iter().position(|it| it.id == id);
            let at = at.ok_or(ApprovalError::None("there is no such approver"))?;
            let gone = it.approvers.remove(at);
            Ok(((), id.to_string(), gone.name))
        })
        .await
    }

    /// What a browser needs to make a passkey for whom the code invites.
    pub fn creation(&self, owner: Owner<'_>, code: &str) -> Result<Value, ApprovalError> {
        let found = self.of(owner).ok_or(ApprovalError::NotInvited)?;
        let terms = found.terms.as_ref().ok_or(ApprovalError::NotInvited)?;
        let approver = found.invited(&self.hash_of(code), self.ambient.now_ms());
        let approver = approver.ok_or(ApprovalError::NotInvited)?;
        let others = found.passkeys();
        let user = (approver.id.0.as_bytes().as_slice(), approver.name.as_str());
        Ok(party(terms)?.creation(&Self::challenge_of(code), user, &others)?)
    }

    /// Takes the passkey of whom the code invites.
    pub async fn register(&self, owner: Owner<'_>, code: &str, answer: &str) -> Result<Approver, ApprovalError> {
        let (hash, now_ms) = (self.hash_of(code), self.ambient.now_ms());
        self.change(owner, ("an invitation", "approver.register"), |it| {
            let terms = it.terms.as_ref().ok_or(ApprovalError::NotInvited)?;
            let id = it.invited(&hash, now_ms).ok_or(ApprovalError::NotInvited)?.id;
            let made = party(terms)?.register(&Self::challenge_of(code), answer, &it.passkeys())?;
            let rp_id = terms.rp_id.clone();
            let approver = it.approvers.iter_mut().find(|it| it.id == id);
            let approver = approver.ok_or(ApprovalError::NotInvited)?;
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

    /// What is asked of those who may approve: nothing but `text`, now.
    pub fn demand(&self, approvals: &Approvals, text: String, asked_at: u64) -> Result<Demand, ApprovalError> {
        let terms = approvals
            .terms
            .as_ref()
            .ok_or(ApprovalError::None("nothing has to be approved"))?;
        let passkeys: Vec<&str> = approvals.confirmed().into_iter().map(|(_, passkey)| passkey).collect();
        if passkeys.len() < usize::from(terms.people) {
            return Err(ApprovalError::None(
                "this has to be approved, and too few of the merchant's people may yet: the router's operator invites them, and confirms the passkey that each brings",
            ));
        }
        let options = party(terms)?.request(&sha256(text.as_bytes()), &passkeys)?;
        Ok(Demand {
            options,
            text,
            asked_at,
            people: terms.people,
        })
    }

    /// When that is, seen from now.
    pub fn when(&self, asked_at: u64) -> Asked {
        let now = self.ambient.now_ms() / 1_000;
        if asked_at > now.saturating_add(AHEAD_MAX_S) {
            return Asked::Ahead;
        }
        let is_young = now.saturating_sub(asked_at) <= APPROVED_MS / 1_000;
        match is_young && asked_at >= self.born_s {
            true => Asked::InTime,
            false => Asked::TooOld,
        }
    }

    /// Who approved, if they are enough, each once.
    pub fn check(&self, owner: Owner<'_>, text: String, answers: &[String]) -> Result<Approved, ApprovalError> {
        let found = self
            .of(owner)
            .ok_or(ApprovalError::None("nothing has to be approved"))?;
        Ok(Approved {
            at_ms: self.ambient.now_ms(),
            by: approvals_of(&found, &sha256(text.as_bytes()), answers)?,
            text,
            operation: None,
        })
    }
}

/// Whose the answers are.
fn approvals_of(
    approvals: &Approvals,
    challenge: &[u8; 32],
    answers: &[String],
) -> Result<Vec<Approval>, ApprovalError> {
    let terms = approvals
        .terms
        .as_ref()
        .ok_or(ApprovalError::None("nothing has to be approved"))?;
    let party = party(terms)?;
    let registered = approvals.confirmed();
    let passkeys: Vec<&str> = registered.iter().map(|(_, passkey)| *passkey).collect();
    let mut by: Vec<Approval> = vec![];
    for answer in answers {
        let good = party.check(challenge, &passkeys, answer)?;
        let found = registered.get(good.which).map(|(approver, _)| *approver);
        let approver = found.ok_or(ApprovalError::None("there is no such approver"))?;
        if by.iter().any(|it| it.approver == approver.id) {
            return Err(ApprovalError::Invalid(format!(
                "{} has approved it twice",
                approver.name
            )));
        }
        by.push(Approval {
            approver: approver.id,
            name: approver.name.clone(),
            public_key: good.public_key,
            authenticator_data: good.authenticator_data,
            client_data: good.client_data,
            signature: good.signature,
        });
    }
    match by.len() >= usize::from(terms.people) {
        true => Ok(by),
        false => {
            let why = format!("{} of {} people approved it", by.len(), terms.people);
            Err(ApprovalError::Invalid(why))
        }
    }
}
