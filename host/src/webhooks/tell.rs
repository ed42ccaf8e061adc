//! Telling: reads what was written, sends it to every endpoint that wants it, and notes how far each one is. At least once; first
//! tries of one payment's events go in the order of their writing.

use super::{Line, WebhookError, Webhooks, While};
use crate::wire::WebhookBody;
use futures_util::{StreamExt, stream};
use portolan_domain::ids::{EventId, MerchantId, Mode};
use portolan_domain::payment::fact::Event;
use portolan_domain::ports::{Page, ReadError};
use portolan_domain::webhook::{Answer, FAILING_AFTER, Message, WebhookEndpoint};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

/// How often endpoints are looked at.
const TICK: Duration = Duration::from_millis(200);
/// After so many looks connections that nobody uses are closed.
const CLOSE_EVERY: u32 = 50;
/// Endpoints that are served at once, and of one merchant.
const ENDPOINTS_AT_ONCE: usize = 128;
const PER_MERCHANT: usize = 4;
/// Events that are looked at in one go.
const EVENTS_AT_ONCE: usize = 128;
/// Payments whose events go to one endpoint at once; those of one payment go one after the other.
const PAYMENTS_AT_ONCE: usize = 32;
/// A cursor that only passed what is not wanted is written down so seldom: a restart looks at some again.
const PASSED_EVERY_MS: u64 = 60_000;
/// How long an endpoint rests that cannot be read for, or written down.
const AGAIN: Duration = Duration::from_secs(2);
/// How long a stopping router waits for what is being noted.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Whether there is more to tell at once.
#[derive(PartialEq, Eq)]
enum Told {
    All,
    MoreToTell,
}

/// What came of a message whose turn had come.
enum Heard {
    Answered(Message, Answer),
    /// It was not sent: the endpoint takes nothing, or the router stops.
    PutOff(Message),
}

impl Webhooks {
    /// Tells merchants until `stop` says so.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(ENDPOINTS_AT_ONCE));
        let (mut place, mut looks) = (None, 0_u32);
        while !*stop.borrow() {
            tokio::select! {
                _ = tokio::time::sleep(TICK) => {}
                _ = stop.changed() => break,
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(CLOSE_EVERY) {
                self.egress.close_idle();
            }
            if self.lines.is_empty() {
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
        for line in &self.lines {
            let it = line.endpoint();
            let is_theirs = |(mode, merchant): &(Mode, MerchantId)| *mode == it.mode && *merchant == it.merchant;
            if owners.as_ref().is_none_or(|owners| owners.iter().any(is_theirs)) {
                line.is_behind.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Begins with every endpoint that is behind, or has something due, as far as there is room: nobody's slow receivers take it
    /// all.
    fn serve_all(self: &Arc<Self>, slots: &Arc<Semaphore>, stop: &watch::Receiver<bool>) {
        let now_ms = self.ambient.now_ms();
        let mut at_work: HashMap<MerchantId, usize> = HashMap::new();
        let mut to_do: Vec<Arc<Line>> = vec![];
        for line in self.lines.iter().map(|it| it.value().clone()) {
            let it = line.endpoint();
            if line.is_at_work.load(Ordering::SeqCst) {
                *at_work.entry(it.merchant.clone()).or_default() += 1;
            } else if it.goes_on() && line.is_behind.load(Ordering::SeqCst) || it.has_due(now_ms) {
                to_do.push(line);
            }
        }
        for line in to_do {
            let of_theirs = at_work.entry(line.endpoint().merchant.clone()).or_default();
            if *of_theirs >= PER_MERCHANT {
                continue;
            }
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                return;
            };
            *of_theirs += 1;
            let (webhooks, slots, stop) = (self.clone(), slots.clone(), stop.clone());
            tokio::spawn(async move {
                if let Some(_at_work) = While::begin(&line.is_at_work) {
                    webhooks.serve(&line, &slots, &stop).await;
                }
                drop(slot);
            });
        }
    }

    async fn serve(&self, line: &Line, slots: &Semaphore, stop: &watch::Receiver<bool>) {
        // Before it is looked at: what is written from now on makes it behind again.
        line.is_behind.store(false, Ordering::SeqCst);
        loop {
            match self.tell(line, stop).await {
                Ok(Told::All) => return,
                // While there is room for others; else they have their turn first.
                Ok(Told::MoreToTell) if slots.available_permits() > 0 && !*stop.borrow() => {
                    if !line.endpoint().goes_on() {
                        break;
                    }
                }
                Ok(Told::MoreToTell) => break,
                Err(error) => {
                    tracing::warn!(%error, endpoint = %line.endpoint().id, "a merchant is told later");
                    tokio::time::sleep(AGAIN).await;
                    break;
                }
            }
        }
        line.is_behind.store(true, Ordering::SeqCst);
    }

    /// Sends what is due again, and what is new.
    async fn tell(&self, line: &Line, stop: &watch::Receiver<bool>) -> Result<Told, WebhookError> {
        let replays = line.replays.load(Ordering::SeqCst);
        let endpoint = line.endpoint();
        // It may have been removed since its turn came.
        if !self.lines.contains_key(&endpoint.id) {
            return Ok(Told::All);
        }
        let now_ms = self.ambient.now_ms();
        let again = endpoint.due(now_ms);
        let new = self.new_for(&endpoint, now_ms)?;
        let cursor = new.last().map(|event| event.id);
        let is_full = new.len() >= EVENTS_AT_ONCE;
        // What is sent again stands for itself.
        let mut by_payment: BTreeMap<Uuid, Vec<Message>> = again.into_iter().map(|it| (it.event.0, vec![it])).collect();
        let waits = |event: &Event| endpoint.parked.iter().any(|it| it.message.event == event.id);
        for event in new.iter().filter(|it| endpoint.wants(&it.name()) && !waits(it)) {
            let messages = by_payment.entry(event.payment.0).or_default();
            messages.push(Message {
                event: event.id,
                body: WebhookBody::of(event),
            });
        }
        let is_sent = !by_payment.is_empty();
        let heard = self.send_all((line, &endpoint), by_payment.into_values(), stop).await;
        let last_ms = line.written_ms.load(Ordering::Relaxed);
        let is_written = is_sent || cursor.is_some() && now_ms.saturating_sub(last_ms) >= PASSED_EVERY_MS;
        let note = |it: &mut WebhookEndpoint| {
            let now_ms = self.ambient.now_ms();
            for heard in heard {
                match heard {
                    Heard::Answered(message, answer) => it.hear(message, answer, now_ms),
                    Heard::PutOff(message) => it.put_off(message, now_ms),
                }
            }
            // Meanwhile the merchant may have asked to be told from somewhere else.
            if line.replays.load(Ordering::SeqCst) == replays {
                it.cursor = cursor.or(it.cursor);
            }
        };
        if is_sent || cursor.is_some() {
            self.note(line, note, is_written).await?;
        }
        // One that takes messages again may be far behind.
        Ok(match is_full || endpoint.failing.is_some() || !endpoint.goes_on() {
            true => Told::MoreToTell,
            false => Told::All,
        })
    }

    /// What is new for an endpoint: of one that is failing as far as the first event that it wants.
    fn new_for(&self, endpoint: &WebhookEndpoint, now_ms: u64) -> Result<Vec<Event>, ReadError> {
        let is_probe = endpoint.is_probed_with_new(now_ms);
        if !endpoint.goes_on() && !is_probe {
            return Ok(vec![]);
        }
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
        let first = events.iter().position(|event| endpoint.wants(&event.name()));
        if let Some(first) = first.filter(|_| is_probe) {
            events.truncate(first + 1);
        }
        Ok(events)
    }

    /// Sends; once several in a row were not taken, or the endpoint is gone, or the router stops, the others are put off.
    async fn send_all(
        &self,
        (line, endpoint): (&Line, &WebhookEndpoint),
        payments: impl Iterator<Item = Vec<Message>>,
        stop: &watch::Receiver<bool>,
    ) -> Vec<Heard> {
        let (in_a_row, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
        let (in_a_row, is_over) = (&in_a_row, &is_over);
        let sent = stream::iter(payments).map(|messages| async move {
            let mut heard = vec![];
            for message in messages {
                if is_over.load(Ordering::Relaxed) || *stop.borrow() {
                    heard.push(Heard::PutOff(message));
                    continue;
                }
                let mut stop = stop.clone();
                let answer = tokio::select! {
                    answer = self.send(line, endpoint, &message) => answer,
                    _ = stop.changed() => {
                        heard.push(Heard::PutOff(message));
                        continue;
                    }
                };
                match &answer {
                    Answer::Taken(_) => in_a_row.store(0, Ordering::Relaxed),
                    Answer::Gone => is_over.store(true, Ordering::Relaxed),
                    Answer::NotTaken { .. } => {
                        let so_many = in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                        is_over.fetch_or(so_many >= FAILING_AFTER, Ordering::Relaxed);
                    }
                }
                self.count(endpoint, &message, &answer);
                heard.push(Heard::Answered(message, answer));
            }
            heard
        });
        let heard: Vec<_> = sent.buffer_unordered(PAYMENTS_AT_ONCE).collect().await;
        heard.into_iter().flatten().collect()
    }

    fn count(&self, endpoint: &WebhookEndpoint, message: &Message, answer: &Answer) {
        let [taken, not_taken] = &self.told;
        let is_taken = matches!(answer, Answer::Taken(_));
        let counter = if is_taken { taken } else { not_taken };
        counter.fetch_add(1, Ordering::Relaxed);
        if !is_taken {
            tracing::debug!(endpoint = %endpoint.id, event = %message.event, ?answer, "a message was not taken");
        }
    }
}
