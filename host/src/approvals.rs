//! Approvals as use cases: who is asked to approve what goes out, and whether they did. Operators say what needs it and invite
//! people; these bring their passkeys and approve orders on the merchant's own page. The rules are the domain's, the cryptography the
//! vault's.

use dashmap::DashMap;
use portolan_domain::approval::{
    APPROVED_MS, APPROVERS_MAX, Approval, ApprovalTerms, Approvals, Approved, Approver, ApproverState, INVITED_MS,
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
    /// The store says no, or somebody else was first.
    #[error("{0}")]
    Store(#[from] CommitError),
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
    all: DashMap<(Mode, MerchantId), Arc<Approvals>>,
    changing: Mutex<()>,
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
        Ok(Self {
            all: all.map(|it| ((it.mode, it.merchant.clone()), Arc::new(it))).collect(),
            book,
            vault,
            ambient,
            changing: Mutex::new(()),
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

    /// What an order of that amount needs; `None`: nothing.
    pub fn needed(&self, owner: Owner<'_>, amount: &Money) -> Option<Arc<Approvals>> {
        self.of(owner).filter(|it| it.needed(amount).is_some())
    }

    fn challenge_of(code: &str) -> [u8; 32] {
        sha256(format!("portolan passkey\n{code}").as_bytes())
    }

    fn hash_of(&self, code: &str) -> [u8; 32] {
        self.vault.mac("invitation", code.as_bytes())
    }

    /// Changes a merchant's approvals: on disk, with who did it, before it counts.
    async fn change<T>(
        &self,
        (mode, merchant): Owner<'_>,
        (by, verb): (&str, &str),
        change: impl FnOnce(&mut Approvals) -> Result<(T, String, String), ApprovalError>,
    ) -> Result<T, ApprovalError> {
        let _one = self.changing.lock().await;
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
        self.book.put_approvals(after.clone(), act).await?;
        self.all.insert((mode, merchant.clone()), Arc::new(after));
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
            Some(terms) => format!("{} people on {}, free {:?}", terms.people, terms.rp_id, terms.free),
            None => "nothing has to be approved".into(),
        };
        let verb = if terms.is_some() {
            "approvals.set"
        } else {
            "approvals.lift"
        };
        self.change(owner, (by, verb), |it| {
            let is_elsewhere = |new: &ApprovalTerms| it.terms.as_ref().is_some_and(|was| was.rp_id != new.rp_id);
            if terms.as_ref().is_some_and(is_elsewhere) && !it.approvers.is_empty() {
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
        let others: Vec<&str> = found.registered().into_iter().map(|(_, passkey)| passkey).collect();
        let user = (approver.id.0.as_bytes().as_slice(), approver.name.as_str());
        Ok(party(terms)?.creation(&Self::challenge_of(code), user, &others)?)
    }

    /// Takes the passkey of whom the code invites.
    pub async fn register(&self, owner: Owner<'_>, code: &str, answer: &str) -> Result<Approver, ApprovalError> {
        let (hash, now_ms) = (self.hash_of(code), self.ambient.now_ms());
        self.change(owner, ("an invitation", "approver.register"), |it| {
            let terms = it.terms.as_ref().ok_or(ApprovalError::NotInvited)?;
            let id = it.invited(&hash, now_ms).ok_or(ApprovalError::NotInvited)?.id;
            let others: Vec<&str> = it.registered().into_iter().map(|(_, passkey)| passkey).collect();
            let passkey = party(terms)?.register(&Self::challenge_of(code), answer, &others)?;
            let approver = it.approvers.iter_mut().find(|it| it.id == id);
            let approver = approver.ok_or(ApprovalError::NotInvited)?;
            approver.state = ApproverState::Registered { passkey, at_ms: now_ms };
            Ok((approver.clone(), id.to_string(), approver.name.clone()))
        })
        .await
    }

    /// What is asked of those who may approve: nothing but `text`, now.
    pub fn demand(&self, approvals: &Approvals, text: String, asked_at: u64) -> Result<Demand, ApprovalError> {
        let terms = approvals
            .terms
            .as_ref()
            .ok_or(ApprovalError::None("nothing has to be approved"))?;
        let passkeys: Vec<&str> = approvals.registered().into_iter().map(|(_, passkey)| passkey).collect();
        if passkeys.len() < usize::from(terms.people) {
            return Err(ApprovalError::None(
                "this has to be approved, and too few of the merchant's people have brought a passkey: the router's operator invites them",
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

    /// Whether it may still, or already, have been asked then.
    pub fn is_timely(&self, asked_at: u64) -> bool {
        let now = self.ambient.now_ms() / 1_000;
        asked_at <= now.saturating_add(AHEAD_MAX_S) && now.saturating_sub(asked_at) <= APPROVED_MS / 1_000
    }

    /// Who approved, if they are enough, each once. Passkeys that count how often they are used are written again.
    pub async fn check(&self, owner: Owner<'_>, text: String, answers: &[String]) -> Result<Approved, ApprovalError> {
        let challenge = sha256(text.as_bytes());
        let at_ms = self.ambient.now_ms();
        let found = self
            .of(owner)
            .ok_or(ApprovalError::None("nothing has to be approved"))?;
        let (by, used) = approvals_of(&found, &challenge, answers)?;
        if !used.is_empty() {
            self.change(owner, ("an approval", "approver.count"), |it| {
                let (_, used) = approvals_of(it, &challenge, answers)?;
                for (id, kept) in used {
                    let is_theirs = |it: &&mut Approver| it.id == id;
                    if let Some(ApproverState::Registered { passkey, .. }) =
                        it.approvers.iter_mut().find(is_theirs).map(|it| &mut it.state)
                    {
                        *passkey = kept;
                    }
                }
                Ok((
                    (),
                    by.first().map_or_else(String::new, |it| it.approver.to_string()),
                    String::new(),
                ))
            })
            .await?;
        }
        Ok(Approved {
            at_ms,
            text,
            by,
            operation: None,
        })
    }
}

type Checked = (Vec<Approval>, Vec<(ApproverId, String)>);

/// Whose the answers are, with the passkeys that count their uses.
fn approvals_of(approvals: &Approvals, challenge: &[u8; 32], answers: &[String]) -> Result<Checked, ApprovalError> {
    let terms = approvals
        .terms
        .as_ref()
        .ok_or(ApprovalError::None("nothing has to be approved"))?;
    let party = party(terms)?;
    let registered = approvals.registered();
    let passkeys: Vec<&str> = registered.iter().map(|(_, passkey)| *passkey).collect();
    let (mut by, mut used): Checked = (vec![], vec![]);
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
        used.extend(good.passkey.map(|passkey| (approver.id, passkey)));
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
        true => Ok((by, used)),
        false => {
            let why = format!("{} of {} people approved it", by.len(), terms.people);
            Err(ApprovalError::Invalid(why))
        }
    }
}
