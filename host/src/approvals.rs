//! Approvals as use cases: who is asked to approve what goes out, and whether they did. What needs it, and who may, is `people`. The
//! rules are the domain's, the cryptography the vault's.

mod people;

use dashmap::DashMap;
use portolan_domain::approval::{APPROVED_MS, Approval, ApprovalTerms, Approvals, Approved};
use portolan_domain::commit::Act;
use portolan_domain::ids::{EventId, MerchantId, Mode};
use portolan_domain::money::Money;
use portolan_domain::ports::{Ambient, ApprovalBook, CommitError, ReadError};
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
    #[error("this invitation is not known in {0}, was taken, or is over: ask for another one")]
    NotInvited(&'static str),
    /// No such approver, here.
    #[error("there is no such approver of {0} in {1}")]
    NoApprover(MerchantId, &'static str),
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
        let approver = found.ok_or(ApprovalError::NoApprover(
            approvals.merchant.clone(),
            approvals.mode.as_str(),
        ))?;
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
