//! What a provider tells of its own accord: verified in the adapter, dealt with once, and never believed: it makes the
//! router ask.

use crate::{Engine, EngineError};
use portolan_domain::commit::{Commit, Seen};
use portolan_domain::ids::ChannelId;
use portolan_domain::ports::{CommitError, Notification, Receipt, Rejection};

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
        for subject in &receipt.subjects {
            let seen = Seen {
                channel: channel.clone(),
                event: subject.event.clone(),
            };
            let store = &self.ports.store;
            let found = store.find_operation(channel, subject.key.as_deref(), subject.reference.as_deref())?;
            let Some(operation) = found else {
                tracing::info!(%channel, event = subject.event, "a notification about nothing known");
                continue;
            };
            match store
                .commit(Commit {
                    seen: Some(seen),
                    ..Commit::default()
                })
                .await
            {
                Ok(()) => self.check_hinted(operation).await?,
                Err(CommitError::SeenBefore) => tracing::debug!(%channel, event = subject.event, "seen before"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Notified::Taken(receipt))
    }
}
