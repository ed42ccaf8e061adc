//! What a provider tells of its own accord: verified in the adapter, dealt with once, and never believed: it makes the
//! router ask.

use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Seen, TimerKind};
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::operation::Subject;
use portolan_domain::payment::Payment;
use portolan_domain::ports::{CommitError, Notification, Receipt, Rejection};

/// News that could not be asked about are asked about again after this.
pub(crate) const HINT_AGAIN_MS: u64 = 60_000;

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
        self.deal_with(channel, &receipt.subjects).await?;
        Ok(Notified::Taken(receipt))
    }

    /// Asks about everything that somebody told of, once each.
    pub(crate) async fn deal_with(&self, channel: &ChannelId, subjects: &[Subject]) -> Result<(), EngineError> {
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
                tracing::info!(%channel, event = subject.event, "a notification about nothing known");
                continue;
            };
            // Asked first, then dealt with: what is asked twice does no harm, what is forgotten does.
            self.check_hinted(operation).await?;
            let dealt_with = Commit {
                seen: Some(seen),
                ..Commit::default()
            };
            match self.ports.store.commit(&dealt_with).await {
                Ok(()) | Err(CommitError::SeenBefore) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
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
