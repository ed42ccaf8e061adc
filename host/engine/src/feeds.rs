//! Feeds: what nobody pushes is fetched, one poll per channel, its place kept in the store. What a page tells of is dealt
//! with like a notification: it makes the router ask.

use crate::run::NewQuestion;
use crate::{Engine, EngineError};
use portolan_domain::channel::ChannelFacts;
use portolan_domain::ids::{Name, QuoteId};
use portolan_domain::operation::{Fault, FaultKind, Input, Kind, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A feed that cannot be read is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest time between two polls of one feed.
const AT_MOST: Duration = Duration::from_secs(60 * 60);
/// The shortest time between two polls of one feed.
const AT_LEAST: Duration = Duration::from_millis(200);

impl Engine {
    /// Reads every channel's feed until `stop` says so.
    pub async fn run_feeds(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let facts = self.ports.channels.facts();
        let feeds = facts.iter().filter(|facts| facts.kinds.contains(&Kind::Poll));
        let tasks: Vec<_> = feeds
            .map(|facts| tokio::spawn(self.clone().follow(facts.clone(), stop.clone())))
            .collect();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a feed ended");
            }
        }
    }

    async fn follow(self: Arc<Self>, facts: ChannelFacts, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let wait = match self.poll(&facts).await {
                Ok(wait) => wait.clamp(AT_LEAST, AT_MOST),
                Err(error) => {
                    tracing::warn!(channel = %facts.id, %error, "a feed could not be read");
                    AGAIN
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// One page: what it tells of is dealt with, or on disk as a timer, before its place is noted. One subject that cannot be
    /// dealt with holds up none that come after it.
    async fn poll(&self, facts: &ChannelFacts) -> Result<Duration, EngineError> {
        let store = &self.ports.store;
        let before = store.cursor(&facts.id)?;
        let nobody = Name::parse("feed").ok_or(EngineError::NotFound("name"))?;
        let question = NewQuestion {
            id: QuoteId(self.ports.ambient.uuid_v7()).operation(0),
            channel: facts.id.clone(),
            adapter: facts.adapter.clone(),
            merchant: facts.merchant.clone().unwrap_or(nobody),
            mode: facts.mode,
            input: Input::Poll(before.clone()),
        };
        let page = match self.ask_channel(question).await.map_err(EngineError::Channel)? {
            Outcome::Page(page) => page,
            _ => {
                let text = "the feed answered something that is no page".to_owned();
                let kind = FaultKind::Protocol;
                return Err(EngineError::Channel(Fault { kind, text }));
            }
        };
        for subject in &page.subjects {
            if let Err(error) = self.deal_with(&facts.id, std::slice::from_ref(subject)).await {
                tracing::warn!(channel = %facts.id, %error, event = subject.event, "a feed's news is asked about later");
                self.ask_later(&facts.id, subject).await?;
            }
        }
        if page.cursor != before {
            store.put_cursor(&facts.id, page.cursor).await?;
        }
        Ok(Duration::from_millis(u64::from(page.check_after_ms)))
    }
}
