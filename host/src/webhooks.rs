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
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::{Mutex, Semaphore};

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

/// Who tells merchants.
pub struct Webhooks {
    store: Arc<dyn Endpoints>,
    library: Arc<dyn Library>,
    ambient: Arc<dyn Ambient>,
    egress: Egress,
    allow_private: bool,
    endpoints: DashMap<WebhookId, Arc<WebhookEndpoint>>,
    /// Which may have events after their cursor.
    behind: DashMap<WebhookId, ()>,
    /// Which are being told, and whose they are.
    at_work: DashMap<WebhookId, MerchantId>,
    /// When each was written down last by what came of messages.
    written_ms: DashMap<WebhookId, u64>,
    /// One change of an endpoint after the other: a merchant's, and what came of messages.
    changing: DashMap<WebhookId, Arc<Mutex<()>>>,
    adding: Mutex<()>,
    /// Which are tried out.
    testing: DashMap<WebhookId, ()>,
    tests: Semaphore,
    /// Messages that were taken, and that were not.
    pub told: [AtomicU64; 2],
}

/// What an endpoint is tried out by, until dropped.
struct Trying<'a>(&'a DashMap<WebhookId, ()>, WebhookId);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.0.remove(&self.1);
    }
}

impl Webhooks {
    /// With what the store has. `allow_private`: endpoints may be on addresses that are not public, and in test mode not encrypted.
    pub fn load(
        (store, library, ambient): (Arc<dyn Endpoints>, Arc<dyn Library>, Arc<dyn Ambient>),
        allow_private: bool,
    ) -> Result<Self, ReadError> {
        let all = store.webhook_endpoints()?;
        Ok(Self {
            store,
            library,
            ambient,
            egress: Egress::new(Timeouts::default()),
            allow_private,
            endpoints: all.into_iter().map(|it| (it.id, Arc::new(it))).collect(),
            behind: DashMap::new(),
            at_work: DashMap::new(),
            written_ms: DashMap::new(),
            changing: DashMap::new(),
            adding: Mutex::new(()),
            testing: DashMap::new(),
            tests: Semaphore::new(TESTS_AT_ONCE),
            told: Default::default(),
        })
    }

    /// Whether endpoints may be on addresses that are not public.
    pub fn allows_private(&self) -> bool {
        self.allow_private
    }

    /// Every endpoint, the oldest first.
    pub fn all(&self) -> Vec<Arc<WebhookEndpoint>> {
        let mut all: Vec<_> = self.endpoints.iter().map(|it| it.value().clone()).collect();
        all.sort_by_key(|it| (it.created_ms, it.id));
        all
    }

    /// A merchant's.
    pub fn of(&self, merchant: &MerchantId, mode: Mode) -> Vec<Arc<WebhookEndpoint>> {
        let mut all = self.all();
        all.retain(|it| it.merchant == *merchant && it.mode == mode);
        all
    }

    fn get(&self, id: WebhookId) -> Option<Arc<WebhookEndpoint>> {
        self.endpoints.get(&id).map(|it| it.value().clone())
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
        let added = Arc::new(endpoint);
        self.endpoints.insert(added.id, added.clone());
        self.behind.insert(added.id, ());
        Ok(added)
    }

    fn lock_of(&self, id: WebhookId) -> Arc<Mutex<()>> {
        self.changing.entry(id).or_default().clone()
    }

    /// A merchant's change of one: on disk before anybody is told. `None`: it is not there any more.
    pub async fn change(
        &self,
        id: WebhookId,
        change: impl FnOnce(&mut WebhookEndpoint),
    ) -> Result<Option<Arc<WebhookEndpoint>>, WebhookError> {
        let lock = self.lock_of(id);
        let _one = lock.lock().await;
        let Some(found) = self.get(id) else { return Ok(None) };
        let mut changed = (*found).clone();
        change(&mut changed);
        self.store.put_webhook_endpoint(changed.clone()).await?;
        let changed = Arc::new(changed);
        self.endpoints.insert(id, changed.clone());
        Ok(Some(changed))
    }

    /// What came of messages: it counts also where it cannot be written down now, so that nothing is sent again for that.
    async fn note(
        &self,
        id: WebhookId,
        change: impl FnOnce(&mut WebhookEndpoint),
        is_written: bool,
    ) -> Result<(), WebhookError> {
        let lock = self.lock_of(id);
        let _one = lock.lock().await;
        let Some(found) = self.get(id) else { return Ok(()) };
        let mut changed = (*found).clone();
        change(&mut changed);
        let (was, is) = (status_of(&found), status_of(&changed));
        if was != is {
            tracing::warn!(endpoint = %id, merchant = %changed.merchant, was, is, "a merchant's webhook endpoint");
        }
        self.endpoints.insert(id, Arc::new(changed.clone()));
        if is_written {
            self.store.put_webhook_endpoint(changed).await?;
            self.written_ms.insert(id, self.ambient.now_ms());
        }
        Ok(())
    }

    /// One that was away is told at once.
    pub async fn enable(&self, id: WebhookId) -> Result<Option<Arc<WebhookEndpoint>>, WebhookError> {
        let now_ms = self.ambient.now_ms();
        let enabled = self.change(id, |it| it.enable(now_ms)).await?;
        if enabled.is_some() {
            self.behind.insert(id, ());
        }
        Ok(enabled)
    }

    /// Takes one away.
    pub async fn remove(&self, id: WebhookId) -> Result<(), WebhookError> {
        let lock = self.lock_of(id);
        let _one = lock.lock().await;
        self.store.remove_webhook_endpoint(id).await?;
        self.endpoints.remove(&id);
        self.behind.remove(&id);
        self.written_ms.remove(&id);
        self.changing.remove(&id);
        Ok(())
    }

    /// Sends a message that tells nothing, and says what came of it. One that was failing and takes it is back.
    pub async fn try_out(&self, endpoint: &WebhookEndpoint) -> Result<Answer, WebhookError> {
        let Ok(_room) = self.tests.try_acquire() else {
            return Err(WebhookError::Busy);
        };
        if self.testing.insert(endpoint.id, ()).is_some() {
            return Err(WebhookError::Busy);
        }
        let _trying = Trying(&self.testing, endpoint.id);
        let now_ms = self.ambient.now_ms();
        let id = EventId(self.ambient.uuid_v7());
        let message = Message {
            event: id,
            body: WebhookBody::test(id, endpoint.mode, now_ms),
        };
        let answer = send::send(&self.egress, (endpoint, self.allow_private), &message, now_ms).await;
        if matches!(answer, Answer::Taken(_)) && endpoint.failing.is_some() && endpoint.disabled.is_none() {
            self.note(endpoint.id, |it| it.is_back(now_ms), true).await?;
            self.behind.insert(endpoint.id, ());
        }
        Ok(answer)
    }
}
