//! Where merchants are told of events: the endpoints, in memory as the store has them. What is told when is in `tell.rs`, one
//! message in `send.rs`; the rules are the domain's (`webhook.rs`), the signature the vault's.

mod send;
mod tell;

pub use send::Target;

use crate::wire::{WebhookBody, status_of};
use dashmap::DashMap;
use portolan_domain::ids::{EventId, MerchantId, Mode, WebhookId};
use portolan_domain::ports::{Ambient, CommitError, Library, Page, ReadError, Webhooks as Endpoints};
use portolan_domain::webhook::{Answer, ENDPOINTS_MAX, Message, WebhookEndpoint};
use portolan_egress::{Egress, Timeouts};
use portolan_vault::{LocalVault, WebhookSigner};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Mutex, Semaphore};
use uuid::Uuid;

/// Test messages that are under way at once, of all merchants.
const TESTS_AT_ONCE: usize = 8;

/// Why an endpoint is not changed, or nobody is told now.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// What happened cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be written down.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The merchant has as many endpoints as one may have.
    #[error("there are {ENDPOINTS_MAX} endpoints already: remove one")]
    TooMany,
    /// Others are tried out at this moment.
    #[error("others are tried out at this moment: ask again in a few seconds")]
    Busy,
}

/// An endpoint, and how far telling it is.
struct Line {
    endpoint: RwLock<Arc<WebhookEndpoint>>,
    /// Whether there may be events after its cursor.
    is_behind: AtomicBool,
    /// Whether it is being told.
    is_at_work: AtomicBool,
    /// Whether it is tried out.
    is_tried: AtomicBool,
    /// When it was written down last by what came of messages.
    written_ms: AtomicU64,
    /// How often its merchant asked to be told again.
    replays: AtomicU64,
    /// The router's own key to what this merchant is told.
    signer: Option<WebhookSigner>,
    /// One change after the other: a merchant's, and what came of messages.
    changing: Mutex<()>,
}

impl Line {
    fn new(endpoint: WebhookEndpoint, vault: &LocalVault) -> Arc<Self> {
        let signer = WebhookSigner::new(vault, (endpoint.mode, &endpoint.merchant));
        if let Err(problem) = &signer {
            tracing::error!(problem, endpoint = %endpoint.id, "the router's own signature will be missing");
        }
        Arc::new(Self {
            signer: signer.ok(),
            replays: AtomicU64::new(0),
            endpoint: RwLock::new(Arc::new(endpoint)),
            is_behind: AtomicBool::new(true),
            is_at_work: AtomicBool::new(false),
            is_tried: AtomicBool::new(false),
            written_ms: AtomicU64::new(0),
            changing: Mutex::new(()),
        })
    }

    fn endpoint(&self) -> Arc<WebhookEndpoint> {
        self.endpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, endpoint: WebhookEndpoint) -> Arc<WebhookEndpoint> {
        let new = Arc::new(endpoint);
        *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
        new
    }
}

/// Something that is so of a line until this is dropped.
struct While<'a>(&'a AtomicBool);

impl<'a> While<'a> {
    /// `None`: it is so already.
    fn begin(is_so: &'a AtomicBool) -> Option<Self> {
        (!is_so.swap(true, Ordering::SeqCst)).then_some(Self(is_so))
    }
}

impl Drop for While<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Who tells merchants.
pub struct Webhooks {
    store: Arc<dyn Endpoints>,
    library: Arc<dyn Library>,
    ambient: Arc<dyn Ambient>,
    egress: Egress,
    vault: Arc<LocalVault>,
    allow_private: bool,
    lines: DashMap<WebhookId, Arc<Line>>,
    adding: Mutex<()>,
    tests: Semaphore,
    /// Messages that were taken, and that were not.
    pub told: [AtomicU64; 2],
}

impl Webhooks {
    /// With what the store has. `allow_private`: endpoints may be on addresses that are not public, and in test mode not encrypted.
    pub fn load(
        (store, library, ambient): (Arc<dyn Endpoints>, Arc<dyn Library>, Arc<dyn Ambient>),
        vault: Arc<LocalVault>,
        allow_private: bool,
    ) -> Result<Self, ReadError> {
        let all = store.webhook_endpoints()?;
        Ok(Self {
            store,
            library,
            ambient,
            egress: Egress::new(Timeouts::default()),
            allow_private,
            lines: all.into_iter().map(|it| (it.id, Line::new(it, &vault))).collect(),
            vault,
            adding: Mutex::new(()),
            tests: Semaphore::new(TESTS_AT_ONCE),
            told: Default::default(),
        })
    }

    /// Whether endpoints may be on addresses that are not public.
    pub fn allows_private(&self) -> bool {
        self.allow_private
    }

    /// The public key to what the router signs for this endpoint's merchant, in its mode.
    pub fn public_key(&self, id: WebhookId) -> Option<String> {
        Some(self.lines.get(&id)?.signer.as_ref()?.public())
    }

    /// Every endpoint, the oldest first.
    pub fn all(&self) -> Vec<Arc<WebhookEndpoint>> {
        let mut all: Vec<_> = self.lines.iter().map(|it| it.endpoint()).collect();
        all.sort_by_key(|it| (it.created_ms, it.id));
        all
    }

    /// A merchant's.
    pub fn of(&self, merchant: &MerchantId, mode: Mode) -> Vec<Arc<WebhookEndpoint>> {
        let mut all = self.all();
        all.retain(|it| it.merchant == *merchant && it.mode == mode);
        all
    }

    fn line(&self, id: WebhookId) -> Option<Arc<Line>> {
        self.lines.get(&id).map(|it| it.value().clone())
    }

    /// Adds one, which hears of what happens from now on.
    pub async fn add(&self, endpoint: WebhookEndpoint) -> Result<Arc<WebhookEndpoint>, WebhookError> {
        let _one = self.adding.lock().await;
        if self.of(&endpoint.merchant, endpoint.mode).len() >= ENDPOINTS_MAX {
            return Err(WebhookError::TooMany);
        }
        let last = Page {
            merchant: endpoint.merchant.clone(),
            mode: endpoint.mode,
            limit: 1,
            after: None,
            before: None,
            created_gte_ms: None,
        };
        let last = self.library.events(&last, None)?;
        let endpoint = WebhookEndpoint {
            cursor: last.first().map(|event| event.id),
            ..endpoint
        };
        self.store.put_webhook_endpoint(endpoint.clone()).await?;
        let line = Line::new(endpoint, &self.vault);
        let added = line.endpoint();
        self.lines.insert(added.id, line);
        Ok(added)
    }

    /// A merchant's change of one: on disk before anybody is told. `None`: it is not there any more.
    pub async fn change(
        &self,
        id: WebhookId,
        change: impl FnOnce(&mut WebhookEndpoint),
    ) -> Result<Option<Arc<WebhookEndpoint>>, WebhookError> {
        let Some(line) = self.line(id) else { return Ok(None) };
        let _one = line.changing.lock().await;
        if !self.lines.contains_key(&id) {
            return Ok(None);
        }
        let mut changed = (*line.endpoint()).clone();
        change(&mut changed);
        self.store.put_webhook_endpoint(changed.clone()).await?;
        Ok(Some(line.set(changed)))
    }

    /// What came of messages: it counts also where it cannot be written down now, so that nothing is sent again for that.
    async fn note(
        &self,
        line: &Line,
        change: impl FnOnce(&mut WebhookEndpoint),
        is_written: bool,
    ) -> Result<(), WebhookError> {
        let _one = line.changing.lock().await;
        let found = line.endpoint();
        if !self.lines.contains_key(&found.id) {
            return Ok(());
        }
        let mut changed = (*found).clone();
        change(&mut changed);
        let (was, is) = (status_of(&found), status_of(&changed));
        if was != is {
            tracing::warn!(endpoint = %found.id, merchant = %found.merchant, was, is, "a merchant's webhook endpoint");
        }
        // On disk before anybody is told how it is: a kill takes nothing back that was shown.
        let written = match is_written {
            true => Some(self.store.put_webhook_endpoint(changed.clone()).await),
            false => None,
        };
        line.set(changed);
        if written.transpose()?.is_some() {
            line.written_ms.store(self.ambient.now_ms(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// One that was away is told at once.
    pub async fn enable(&self, id: WebhookId) -> Result<Option<Arc<WebhookEndpoint>>, WebhookError> {
        let now_ms = self.ambient.now_ms();
        let enabled = self.change(id, |it| it.enable(now_ms)).await?;
        if let Some(line) = self.line(id) {
            line.is_behind.store(true, Ordering::SeqCst);
        }
        Ok(enabled)
    }

    /// It is told again, from that event on; what waits is sent again besides. `None`: the merchant has no such event, or no such
    /// endpoint any more.
    pub async fn replay(
        &self,
        endpoint: &WebhookEndpoint,
        from: EventId,
    ) -> Result<Option<Arc<WebhookEndpoint>>, WebhookError> {
        let page = |after, before| Page {
            merchant: endpoint.merchant.clone(),
            mode: endpoint.mode,
            limit: 1,
            after,
            before,
            created_gte_ms: None,
        };
        let one_before = self.library.events(&page(Some(from), None), None)?;
        let cursor = one_before.first().map_or(EventId(Uuid::nil()), |event| event.id);
        let found = self.library.events(&page(None, Some(cursor)), None)?;
        if found.first().is_none_or(|event| event.id != from) {
            return Ok(None);
        }
        // Where it is further back than that, it will be told of this one too; nothing in between is passed over.
        let here = endpoint.cursor.unwrap_or(EventId(Uuid::nil()));
        let is_ahead = !self.library.events(&page(Some(from), Some(here)), None)?.is_empty();
        let Some(line) = self.line(endpoint.id) else {
            return Ok(None);
        };
        let back = |it: &mut WebhookEndpoint| {
            if !is_ahead {
                it.cursor = Some(cursor);
                line.replays.fetch_add(1, Ordering::SeqCst);
            }
        };
        let replayed = self.change(endpoint.id, back).await?;
        line.is_behind.store(true, Ordering::SeqCst);
        Ok(replayed)
    }

    /// Takes one away.
    pub async fn remove(&self, id: WebhookId) -> Result<(), WebhookError> {
        let Some(line) = self.line(id) else { return Ok(()) };
        let _one = line.changing.lock().await;
        self.store.remove_webhook_endpoint(id).await?;
        self.lines.remove(&id);
        Ok(())
    }

    async fn send(&self, line: &Line, endpoint: &WebhookEndpoint, message: &Message) -> Answer {
        let how = (line.signer.as_ref(), self.allow_private);
        send::send(&self.egress, how, (endpoint, message), self.ambient.now_ms()).await
    }

    /// Sends a message that tells nothing, and says what came of it. One that was failing and takes it is back.
    pub async fn try_out(&self, endpoint: &WebhookEndpoint) -> Result<Answer, WebhookError> {
        let (Ok(_room), Some(line)) = (self.tests.try_acquire(), self.line(endpoint.id)) else {
            return Err(WebhookError::Busy);
        };
        let _trying = While::begin(&line.is_tried).ok_or(WebhookError::Busy)?;
        let now_ms = self.ambient.now_ms();
        let id = EventId(self.ambient.uuid_v7());
        let message = Message {
            event: id,
            body: WebhookBody::test(id, endpoint.mode, now_ms),
        };
        let answer = self.send(&line, endpoint, &message).await;
        if matches!(answer, Answer::Taken(_)) && endpoint.failing.is_some() && endpoint.disabled.is_none() {
            self.note(&line, |it| it.is_back(now_ms), true).await?;
            line.is_behind.store(true, Ordering::SeqCst);
        }
        Ok(answer)
    }
}
