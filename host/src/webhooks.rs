//! Telling merchants of events: reads what was written, sends it to every endpoint that wants it, and keeps how far each one is.
//! At least once, and those of one payment in the order of their writing; the rules are the domain's (`webhook.rs`), the signature the vault's.

mod send;

pub use send::Target;

use crate::wire::WebhookBody;
use dashmap::DashMap;
use futures_util::{StreamExt, stream};
use portolan_domain::ids::{EventId, MerchantId, Mode, WebhookId};
use portolan_domain::payment::fact::Event;
use portolan_domain::ports::{Ambient, CommitError, Library, Page, ReadError, Webhooks as Endpoints};
use portolan_domain::webhook::{Answer, Message, WebhookEndpoint};
use portolan_egress::{Egress, Timeouts};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, watch};
use uuid::Uuid;

/// How often endpoints are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Endpoints that are served at once, and of one merchant.
const ENDPOINTS_AT_ONCE: usize = 128;
const PER_MERCHANT: usize = 4;
/// Events that are looked at in one go.
const EVENTS_AT_ONCE: usize = 64;
/// Payments whose events go to one endpoint at once; those of one payment go one after the other.
const PAYMENTS_AT_ONCE: usize = 8;
/// How long an endpoint rests that cannot be read for, or written down.
const AGAIN: Duration = Duration::from_secs(2);
/// How long a stopping router waits for receivers: what was not heard of is sent again by the next one.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Why an endpoint is not changed, or nobody is told now.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// What happened cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be written down.
    #[error(transparent)]
    Commit(#[from] CommitError),
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
    /// One change of an endpoint after the other: a merchant's, and what came of a message.
    changing: Mutex<()>,
    /// Messages that were taken, and that were not.
    pub told: [AtomicU64; 2],
}

/// Whether there is more to tell at once.
#[derive(PartialEq, Eq)]
enum Told {
    All,
    MoreToTell,
}

impl Webhooks {
    /// With what the store has. `allow_private`: endpoints may be on addresses that are not public, and not encrypted.
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
            changing: Mutex::new(()),
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

    /// Adds one, which hears of what happens from now on.
    pub async fn add(&self, endpoint: WebhookEndpoint) -> Result<Arc<WebhookEndpoint>, WebhookError> {
        let _one = self.changing.lock().await;
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
        let added = self.keep(endpoint).await?;
        self.behind.insert(added.id, ());
        Ok(added)
    }

    async fn keep(&self, endpoint: WebhookEndpoint) -> Result<Arc<WebhookEndpoint>, WebhookError> {
        self.store.put_webhook_endpoint(endpoint.clone()).await?;
        let kept = Arc::new(endpoint);
        self.endpoints.insert(kept.id, kept.clone());
        Ok(kept)
    }

    /// Changes one; `None`: it is not there any more.
    pub async fn change(
        &self,
        id: WebhookId,
        change: impl FnOnce(&mut WebhookEndpoint),
    ) -> Result<Option<Arc<WebhookEndpoint>>, WebhookError> {
        let _one = self.changing.lock().await;
        let Some(found) = self.endpoints.get(&id).map(|it| it.value().clone()) else {
            return Ok(None);
        };
        let mut changed = (*found).clone();
        change(&mut changed);
        self.keep(changed).await.map(Some)
    }

    /// The same, for one that was away and is to be told at once.
    pub async fn enable(&self, id: WebhookId) -> Result<Option<Arc<WebhookEndpoint>>, WebhookError> {
        let now_ms = self.ambient.now_ms();
        let enabled = self.change(id, |it| it.enable(now_ms)).await?;
        self.behind.insert(id, ());
        Ok(enabled)
    }

    /// Takes one away.
    pub async fn remove(&self, id: WebhookId) -> Result<(), WebhookError> {
        let _one = self.changing.lock().await;
        self.store.remove_webhook_endpoint(id).await?;
        self.endpoints.remove(&id);
        self.behind.remove(&id);
        Ok(())
    }

    /// Sends a message that tells nothing, and says what came of it. What the endpoint waits for does not change.
    pub async fn try_out(&self, endpoint: &WebhookEndpoint) -> Answer {
        let now_ms = self.ambient.now_ms();
        let id = EventId(self.ambient.uuid_v7());
        let message = Message {
            event: id,
            body: WebhookBody::test(id, endpoint.mode, now_ms),
        };
        send::send(&self.egress, (endpoint, self.allow_private), &message, now_ms).await
    }

    /// Tells merchants until `stop` says so.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(ENDPOINTS_AT_ONCE));
        let mut place = None;
        while !*stop.borrow() {
            tokio::select! {
                _ = tokio::time::sleep(TICK) => {}
                _ = stop.changed() => break,
            }
            if self.endpoints.is_empty() {
                place = None;
                continue;
            }
            match self.store.wrote_since(place) {
                Ok((now, owners)) => {
                    self.have_news(place.is_some().then_some(owners));
                    place = Some(now);
                }
                Err(error) => tracing::warn!(%error, "merchants are told later"),
            }
            self.serve_all(&slots, &stop);
        }
        let all = u32::try_from(ENDPOINTS_AT_ONCE).unwrap_or(1);
        let _ = tokio::time::timeout(STOP_WITHIN, slots.acquire_many(all)).await;
    }

    /// Whose endpoints are behind; `None`: it is not known, so all are looked at.
    fn have_news(&self, owners: Option<Vec<(Mode, MerchantId)>>) {
        for it in &self.endpoints {
            let is_theirs = |(mode, merchant): &(Mode, MerchantId)| *mode == it.mode && *merchant == it.merchant;
            if owners.as_ref().is_none_or(|owners| owners.iter().any(is_theirs)) {
                self.behind.insert(it.id, ());
            }
        }
    }

    /// Begins with every endpoint that is behind, or has something due, as far as there is room: nobody's slow receivers take it
    /// all.
    fn serve_all(self: &Arc<Self>, slots: &Arc<Semaphore>, stop: &watch::Receiver<bool>) {
        let now_ms = self.ambient.now_ms();
        let is_to_do = |it: &WebhookEndpoint| {
            let is_news = self.behind.contains_key(&it.id) && it.goes_on();
            (is_news || it.has_due(now_ms)) && !self.at_work.contains_key(&it.id)
        };
        for endpoint in self.all().into_iter().filter(|it| is_to_do(it)) {
            let of_theirs = self.at_work.iter().filter(|it| *it.value() == endpoint.merchant);
            if of_theirs.count() >= PER_MERCHANT {
                continue;
            }
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                return;
            };
            let id = endpoint.id;
            self.at_work.insert(id, endpoint.merchant.clone());
            let (webhooks, stop) = (self.clone(), stop.clone());
            tokio::spawn(async move {
                webhooks.serve(id, &stop).await;
                webhooks.at_work.remove(&id);
                drop(slot);
            });
        }
    }

    async fn serve(&self, id: WebhookId, stop: &watch::Receiver<bool>) {
        // Before it is looked at: what is written from now on makes it behind again.
        self.behind.remove(&id);
        while !*stop.borrow() {
            match self.tell(id).await {
                Ok(Told::MoreToTell) => {}
                Ok(Told::All) => return,
                Err(error) => {
                    tracing::warn!(%error, endpoint = %id, "a merchant is told later");
                    tokio::time::sleep(AGAIN).await;
                    break;
                }
            }
        }
        self.behind.insert(id, ());
    }

    /// Sends what is due again, and what is new.
    async fn tell(&self, id: WebhookId) -> Result<Told, WebhookError> {
        let Some(endpoint) = self.endpoints.get(&id).map(|it| it.value().clone()) else {
            return Ok(Told::All);
        };
        let again = endpoint.due(self.ambient.now_ms());
        let new = match endpoint.goes_on() {
            true => self.written_since(&endpoint)?,
            false => vec![],
        };
        let cursor = new.last().map(|event| event.id);
        let is_full = new.len() >= EVENTS_AT_ONCE;
        let wanted = new.iter().filter(|event| endpoint.wants(&event.name()));
        // What is sent again stands for itself.
        let mut by_payment: BTreeMap<Uuid, Vec<Message>> = again.into_iter().map(|it| (it.event.0, vec![it])).collect();
        for event in wanted {
            let messages = by_payment.entry(event.payment.0).or_default();
            messages.push(Message {
                event: event.id,
                body: WebhookBody::of(event),
            });
        }
        if by_payment.is_empty() {
            self.look_past(id, cursor, is_full).await?;
        } else {
            let heard = self.send_all(&endpoint, by_payment.into_values()).await;
            self.change(id, |it| {
                let now_ms = self.ambient.now_ms();
                heard
                    .into_iter()
                    .for_each(|(message, answer)| it.hear(message, answer, now_ms));
                it.cursor = cursor.or(it.cursor);
            })
            .await?;
            // One that was failing, or had too much parked, may go on now.
            if !endpoint.goes_on() {
                self.behind.insert(id, ());
            }
        }
        Ok(if is_full { Told::MoreToTell } else { Told::All })
    }

    /// The events of the endpoint's merchant after its cursor, the oldest first.
    fn written_since(&self, endpoint: &WebhookEndpoint) -> Result<Vec<Event>, ReadError> {
        let page = Page {
            merchant: endpoint.merchant.clone(),
            mode: endpoint.mode,
            limit: EVENTS_AT_ONCE,
            after: None,
            before: Some(endpoint.cursor.unwrap_or(EventId(Uuid::nil()))),
            created_gte_ms: None,
        };
        let mut events = self.library.events(&page, None)?;
        events.reverse();
        Ok(events)
    }

    /// Nothing of it is wanted. Written down only now and then: a restart looks at some again.
    async fn look_past(&self, id: WebhookId, cursor: Option<EventId>, is_full: bool) -> Result<(), WebhookError> {
        let Some(cursor) = cursor else { return Ok(()) };
        if is_full {
            self.change(id, |it| it.cursor = Some(cursor)).await?;
            return Ok(());
        }
        let _one = self.changing.lock().await;
        if let Some(mut it) = self.endpoints.get_mut(&id) {
            let moved = WebhookEndpoint {
                cursor: Some(cursor),
                ..(**it).clone()
            };
            *it = Arc::new(moved);
        }
        Ok(())
    }

    async fn send_all(
        &self,
        endpoint: &WebhookEndpoint,
        payments: impl Iterator<Item = Vec<Message>>,
    ) -> Vec<(Message, Answer)> {
        let sent = stream::iter(payments).map(|messages| async move {
            let mut heard = vec![];
            for message in messages {
                let now_ms = self.ambient.now_ms();
                let answer = send::send(&self.egress, (endpoint, self.allow_private), &message, now_ms).await;
                let is_taken = matches!(answer, Answer::Taken(_));
                let [taken, not_taken] = &self.told;
                let counter = if is_taken { taken } else { not_taken };
                counter.fetch_add(1, Ordering::Relaxed);
                if !is_taken {
                    tracing::info!(endpoint = %endpoint.id, event = %message.event, ?answer, "a message was not taken");
                }
                heard.push((message, answer));
            }
            heard
        });
        let heard: Vec<_> = sent.buffer_unordered(PAYMENTS_AT_ONCE).collect().await;
        heard.into_iter().flatten().collect()
    }
}
