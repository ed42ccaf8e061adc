//! Switches: what operators stopped, and let go on.

use super::{Order, PluginError, Plugins, refused};
use portolan_domain::channel::Stop;

impl Plugins {
    /// What operators stopped.
    pub fn stopped(&self) -> Result<Vec<Stop>, PluginError> {
        Ok(self.stops.stops()?)
    }

    /// Stops a channel, or one of its endpoints, or lets it go on. On disk before it is done.
    pub async fn stop(
        &self,
        (channel, endpoint): (&str, Option<&str>),
        is_on: bool,
        order: &Order,
    ) -> Result<Vec<Stop>, PluginError> {
        let _alone = self.stepping.lock().await;
        let known = self
            .sources
            .iter()
            .flat_map(|source| self.registry.channels_of(&source.name));
        let found = known.into_iter().find(|id| id.as_str() == channel);
        let found = found.ok_or_else(|| {
            refused(
                "channel",
                format!("no channel is called {channel:?}"),
                "see `[[channel]]` in the configuration",
            )
        })?;
        let stop = Stop {
            channel: found,
            endpoint: endpoint.map(str::to_owned),
            by: order.by.clone(),
            reason: order.reason.clone(),
            at_ms: self.ambient.now_ms(),
        };
        let about = format!("{channel}{}", endpoint.map(|it| format!("/{it}")).unwrap_or_default());
        let act = self.act(
            &order.by,
            if is_on { "channel.stop" } else { "channel.start" },
            &about,
            &order.reason,
        );
        self.stops.put_stop(stop, is_on, act).await?;
        let stops = self.stops.stops()?;
        self.registry.stop(stops.clone());
        tracing::warn!(
            about,
            is_on,
            by = order.by,
            reason = order.reason,
            "an operator's switch"
        );
        Ok(stops)
    }
}
