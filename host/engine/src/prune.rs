//! Forgetting what is old: answers of idempotency keys, operations with their exchanges, news that nothing matched. Events and entries stay.

use crate::Engine;
use portolan_domain::ports::Older;
use portolan_domain::risk::WITHIN_MAX_MS;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often something is forgotten.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// News that nothing matched are kept for 72 hours.
const NEWS_MS: u64 = 72 * 60 * 60 * 1_000;
/// Rows in one transaction: payments go on in between.
const AT_ONCE: usize = 500;

/// How long what is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Answers of idempotency keys.
    pub answers_ms: u64,
    /// Operations with their exchanges.
    pub journals_ms: u64,
}

/// No card network counts further back than this.
const TRIES_MS: u64 = 32 * 24 * 60 * 60 * 1_000;

impl Engine {
    /// Forgets, at start and then every hour, until `stop` says so.
    pub async fn run_pruning(self: Arc<Self>, retention: Retention, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            self.prune(retention, &stop).await;
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn prune(&self, retention: Retention, stop: &watch::Receiver<bool>) {
        let now_ms = self.ports.ambient.now_ms();
        let older = Older {
            answers_ms: now_ms.saturating_sub(retention.answers_ms),
            journals_ms: now_ms.saturating_sub(retention.journals_ms),
            news_ms: now_ms.saturating_sub(NEWS_MS),
            tries_ms: now_ms.saturating_sub(self.routing.blocked_ms.max(TRIES_MS)),
            uses_ms: now_ms.saturating_sub(WITHIN_MAX_MS),
        };
        while !*stop.borrow() {
            match self.ports.store.prune(older, AT_ONCE).await {
                Ok(0) => return,
                Ok(rows) => tracing::debug!(rows, "forgot what is old"),
                Err(error) => return tracing::warn!(%error, "what is old could not be forgotten"),
            }
        }
    }
}
