//! What a provider tells of its own accord: verified in the adapter, dealt with once, and never believed: it makes the
//! router ask.

use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit, News, Seen, TimerKind};
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::operation::Subject;
use portolan_domain::payment::Payment;
use portolan_domain::ports::{CommitError, Notification, Receipt, Rejection};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// News that could not be asked about are asked about again after this.
pub(crate) const HINT_AGAIN_MS: u64 = 60_000;

/// How often the inbox is looked through.
const INBOX_EVERY: Duration = Duration::from_secs(10);
/// The longest key, reference or event of kept news, in bytes.
const NEWS_TEXT_MAX: usize = 256;
/// Kept news that are looked at in one go.
const INBOX_PAGE: usize = 500;

/// What became of a notification.
#[derive(Debug)]
pub enum Notified {
    /// Verified; the answer for the provider.
    Taken(Receipt),
    /// Refused.
    Rejected(Rejection),
}

impl Engine {
    /// Takes a notification of a channel.
    pub async fn notified(&self, channel: &ChannelId, notification: &Notification) -> Result<Notified, EngineError> {
        let receipt = match self.ports.channels.receive(channel, notification) {
            Ok(receipt) => receipt,
            Err(rejection) => return Ok(Notified::Rejected(rejection)),
        };
        for subject in self.deal_with(channel, &receipt.subjects).await? {
            self.keep(channel, subject).await?;
        }
        Ok(Notified::Taken(receipt))
    }

    /// Keeps what nothing matches yet: a provider may be quicker than its own answer.
    async fn keep(&self, channel: &ChannelId, subject: &Subject) -> Result<(), EngineError> {
        let texts = [subject.key.as_ref(), subject.reference.as_ref()];
        if texts.iter().all(Option::is_none) {
            return Ok(());
        }
        // An adapter's word: one that verifies nothing must not let anybody fill the disk.
        let is_long = |text: &&String| text.len() > NEWS_TEXT_MAX;
        if texts
            .into_iter()
            .flatten()
            .chain([&subject.event])
            .any(|text| is_long(&text))
        {
            tracing::warn!(%channel, "news with texts above {NEWS_TEXT_MAX} bytes are not kept");
            return Ok(());
        }
        let news = News {
            channel: channel.clone(),
            subject: subject.clone(),
            at_ms: self.ports.ambient.now_ms(),
        };
        if !self.ports.store.put_news(news).await? {
            tracing::warn!(%channel, event = subject.event, "too many news that match nothing, or no room for them: these are not kept");
        }
        Ok(())
    }

    /// Looks again and again for what kept news are about, until `stop` says so.
    pub async fn run_inbox(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(error) = self.look_through_inbox().await {
                tracing::warn!(%error, "the inbox could not be looked through");
            }
            tokio::select! {
                () = tokio::time::sleep(INBOX_EVERY) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Deals with the kept news that match something now.
    pub async fn look_through_inbox(&self) -> Result<(), EngineError> {
        let mut after = 0;
        loop {
            let page = self.ports.store.news(after, INBOX_PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = *last;
            for (_, news) in &page {
                let subject = std::slice::from_ref(&news.subject);
                if let Err(error) = self.deal_with(&news.channel, subject).await {
                    tracing::warn!(channel = %news.channel, %error, "kept news are asked about later");
                    self.ask_later(&news.channel, &news.subject).await?;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Asks about everything that somebody told of, once each; what matches nothing comes back.
    pub(crate) async fn deal_with<'a>(
        &self,
        channel: &ChannelId,
        subjects: &'a [Subject],
    ) -> Result<Vec<&'a Subject>, EngineError> {
        let mut unmatched = vec![];
        for subject in subjects {
            let seen = Seen {
                channel: channel.clone(),
                event: subject.event.clone(),
            };
            if self.ports.store.was_seen(&seen)? {
                tracing::debug!(%channel, event = subject.event, "seen before");
                continue;
            }
            let Some(operation) = self.find_subject(channel, subject)? else {
                tracing::debug!(%channel, event = subject.event, "news about nothing known");
                unmatched.push(subject);
                continue;
            };
            // Asked first, then dealt with: what is asked twice does no harm, what is forgotten does.
            self.check_hinted(operation, subject.is_dispute()).await?;
            let dealt_with = Commit {
                seen: Some(seen),
                ..Commit::default()
            };
            match self.ports.store.commit(&dealt_with).await {
                Ok(()) | Err(CommitError::SeenBefore) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(unmatched)
    }

    /// What cannot be asked about now is asked about later: that is on disk, and whoever told need not tell again.
    pub(crate) async fn ask_later(&self, channel: &ChannelId, subject: &Subject) -> Result<(), EngineError> {
        let Some(operation) = self.find_subject(channel, subject)? else {
            return Ok(());
        };
        let seen = Seen {
            channel: channel.clone(),
            event: subject.event.clone(),
        };
        let base = self.load(operation.payment())?;
        let remember = |payment: &mut Payment, change: &mut Change| {
            let due = change.now_ms.saturating_add(HINT_AGAIN_MS);
            change.timers_set.push(payment.timer(TimerKind::Hint, operation, due));
            Ok(())
        };
        let complete = |commit: &mut Commit, _: &Payment, (): &()| commit.seen = Some(seen.clone());
        match self.update(&base, remember, complete).await {
            Ok(_) | Err(EngineError::Store(CommitError::SeenBefore)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The operation of this channel that a notification is about: by our key, which says so itself, or by reference.
    pub(crate) fn find_subject(
        &self,
        channel: &ChannelId,
        subject: &Subject,
    ) -> Result<Option<OperationId>, EngineError> {
        let store = &self.ports.store;
        let by_key = subject
            .key
            .as_deref()
            .and_then(|key| self.ports.vault.operation_of_key(key));
        if let Some(found) = by_key.map(|id| store.operation(id)).transpose()?.flatten()
            && found.0.channel == *channel
        {
            return Ok(Some(found.0.id));
        }
        let found = match subject.reference.as_deref() {
            Some(reference) => store.find_operation(channel, reference)?,
            None => None,
        };
        // One whose journal was pruned is nothing that could be asked about any more.
        let known = found.map(|id| store.operation(id)).transpose()?.flatten();
        Ok(known.map(|it| it.0.id))
    }
}
