//! Watching canaries: what each did since it got its share, against the active version over the same time. A worse one is
//! rejected, one that held out takes over. And following the journal for versions in the shadow.

use super::{Order, PluginError, Plugins, ROUTER};
use portolan_domain::lifecycle::canary::{Finding, Tally, judge};
use portolan_domain::lifecycle::{self, Share, Stage, Step, Version};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often canaries are looked at.
const LOOK_EACH: Duration = Duration::from_millis(200);

impl Plugins {
    /// Looks after canaries and shadows until told to stop.
    pub async fn watch(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EACH) => {}
                _ = stopped.changed() => return,
            }
            for version in self.list() {
                let done = match version.stage {
                    Stage::Canary => self.look_at(&version).await,
                    Stage::Shadow => self.follow(&version).await,
                    Stage::Staged
                    | Stage::Verified
                    | Stage::Ready
                    | Stage::Active
                    | Stage::Draining
                    | Stage::Retired
                    | Stage::Rejected => Ok(()),
                };
                if let Err(error) = done {
                    tracing::warn!(adapter = version.adapter, digest = version.digest, %error, "looking after a version");
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
            Finding::Worse(why) => (Step::Reject, why),
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
        let (active, own) = marks.get(&mark_of(canary))?;
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
        marks.retain(|mark, _| canaries.iter().any(|it| mark_of(it) == *mark));
        for canary in canaries {
            let active = lifecycle::active(versions, &canary.adapter);
            let usage = |digest: &str| self.registry.usage(digest).map(|usage| usage.tally);
            if let (Some(active), Some(own)) = (active.and_then(|it| usage(&it.digest)), usage(&canary.digest)) {
                marks.entry(mark_of(canary)).or_insert((active, own));
            }
        }
    }
}

/// A canary's term: it begins anew with another share, and with another version beside it.
fn mark_of(canary: &Version) -> String {
    let percent = canary.share.map_or(0, |share: Share| share.percent);
    format!("{} {} {} {percent}", canary.adapter, canary.digest, canary.changed_ms)
}
