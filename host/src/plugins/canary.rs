//! Watching canaries: what each did since it got its share, against the active version over the same time. A worse one goes
//! back, one that held out takes over. And following the journal for versions in the shadow.

use super::{Order, PluginError, Plugins, ROUTER};
use portolan_domain::lifecycle::canary::{Finding, Tally, judge};
use portolan_domain::lifecycle::{self, Share, Stage, Step, Version};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often canaries are looked at.
const LOOK_EACH: Duration = Duration::from_millis(200);

impl Plugins {
    /// Looks after canaries until told to stop.
    pub async fn watch(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        while is_on(&mut stopped).await {
            for version in self.list().iter().filter(|it| it.stage == Stage::Canary) {
                if let Err(error) = self.look_at(version).await {
                    tracing::warn!(adapter = version.adapter, digest = version.digest, %error, "judging a canary");
                }
            }
        }
    }

    /// Follows the journal for versions in the shadow until told to stop; a slow one keeps no canary waiting.
    pub async fn watch_shadows(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        while is_on(&mut stopped).await {
            for version in self.list().iter().filter(|it| it.stage == Stage::Shadow) {
                if let Err(error) = self.follow(version).await {
                    tracing::warn!(adapter = version.adapter, digest = version.digest, %error, "following with a shadow");
                }
            }
        }
    }

    async fn look_at(&self, canary: &Version) -> Result<(), PluginError> {
        let (Some(share), Some((of_active, of_canary))) = (canary.share, self.tallies(canary)) else {
            return Ok(());
        };
        let (step, reason) = match judge(&of_active, &of_canary, share.takes_over_after) {
            Finding::Wait => return Ok(()),
            Finding::Worse(why) => (Step::RollBack, why),
            Finding::NoWorse(payments) => (Step::Activate, format!("{payments} payments went no worse")),
        };
        let order = Order {
            by: ROUTER.into(),
            reason,
            downgrade: true,
            ..Order::default()
        };
        self.step(&canary.adapter, &canary.digest, step, &order).await.map(drop)
    }

    /// What active version and canary did since the canary has its share.
    pub fn tallies(&self, canary: &Version) -> Option<(Tally, Tally)> {
        let now = self.tallies_now(canary)?;
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let (active, own) = marks.get(&self.mark_of(canary, &self.list())?)?;
        Some((now.0.since(*active), now.1.since(*own)))
    }

    fn tallies_now(&self, canary: &Version) -> Option<(Tally, Tally)> {
        let versions = self.list();
        let active = lifecycle::active(&versions, &canary.adapter)?;
        Some((
            self.registry.usage(&active.digest)?.tally,
            self.registry.usage(&canary.digest)?.tally,
        ))
    }

    /// Remembers where the counters stood when each canary began; forgets those that are none any more.
    pub(super) fn mark(&self, versions: &[Version]) {
        let canaries: Vec<&Version> = versions.iter().filter(|it| it.stage == Stage::Canary).collect();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let terms: Vec<String> = canaries.iter().filter_map(|it| self.mark_of(it, versions)).collect();
        marks.retain(|mark, _| terms.contains(mark));
        for canary in canaries {
            let active = lifecycle::active(versions, &canary.adapter);
            let usage = |digest: &str| self.registry.usage(digest).map(|usage| usage.tally);
            let tallies = active.and_then(|it| usage(&it.digest)).zip(usage(&canary.digest));
            if let (Some(tallies), Some(mark)) = (tallies, self.mark_of(canary, versions)) {
                marks.entry(mark).or_insert(tallies);
            }
        }
    }

    /// A canary's term: it begins anew with another share, and with another version beside it.
    fn mark_of(&self, canary: &Version, versions: &[Version]) -> Option<String> {
        let percent = canary.share.map_or(0, |share: Share| share.percent);
        let beside = &lifecycle::active(versions, &canary.adapter)?.digest;
        Some(format!(
            "{} {} {} {percent} {beside}",
            canary.adapter, canary.digest, canary.changed_ms
        ))
    }
}

/// Waits until it is time for another look; `false`: it is over.
async fn is_on(stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(LOOK_EACH) => true,
        _ = stopped.changed() => false,
    }
}
