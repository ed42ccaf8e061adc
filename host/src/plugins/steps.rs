//! The operator's steps, and how any change is made: on disk with who did it, then done.

use super::admission::is_older;
use super::{Order, PluginError, Plugins, refused, registry_refusal};
use portolan_domain::lifecycle::{self, Share, Stage, Step, StepRefusal, Version};
use portolan_domain::ports::ReadError;
use std::sync::PoisonError;
use tokio::task::block_in_place;

impl Plugins {
    /// One of the operator's steps with a version.
    pub async fn step(
        &self,
        adapter: &str,
        digest: &str,
        step: Step,
        order: &Order,
    ) -> Result<Vec<Version>, PluginError> {
        let _alone = self.stepping.lock().await;
        let versions = self.list();
        let version = lifecycle::find(&versions, adapter, digest)?.clone();
        let share = order.percent.map(|percent| Share {
            percent,
            takes_over_after: order.takes_over_after,
        });
        let plan = lifecycle::plan(
            &versions,
            (adapter, &version.digest),
            (step, share),
            (&order.reason, self.ambient.now_ms()),
        )?;
        self.check_step(adapter, &version, step, &versions, order)?;
        self.do_plan(&versions, plan, verb(step), order).await
    }

    /// Back to what was before.
    pub async fn roll_back(&self, adapter: &str, order: &Order) -> Result<Vec<Version>, PluginError> {
        let _alone = self.stepping.lock().await;
        let versions = self.list();
        let plan = lifecycle::plan_rollback(&versions, adapter, (&order.reason, self.ambient.now_ms()))?;
        if let Some(active) = plan.iter().find(|it| it.stage == Stage::Active) {
            let left = self.unreadable(adapter, &active.reads_memo, &versions, false)?;
            if left > 0 {
                return Err(StepRefusal::Memos(left).into());
            }
        }
        self.do_plan(&versions, plan, "plugin.rollback", order).await
    }

    async fn do_plan(
        &self,
        versions: &[Version],
        plan: Vec<Version>,
        verb: &str,
        order: &Order,
    ) -> Result<Vec<Version>, PluginError> {
        let mut after = versions.to_vec();
        put(&mut after, plan.clone());
        self.registry.check(&after).map_err(|error| registry_refusal(&error))?;
        if !order.dry_run {
            self.write(versions, plan.clone(), (&order.by, verb, &order.reason))
                .await?;
        }
        Ok(plan)
    }

    fn check_step(
        &self,
        adapter: &str,
        version: &Version,
        step: Step,
        versions: &[Version],
        order: &Order,
    ) -> Result<(), PluginError> {
        match step {
            Step::Activate | Step::Canary => {
                self.check_signed(version)?;
                if let Some(active) = lifecycle::active(versions, adapter)
                    && is_older(&version.version, &active.version)
                    && version.stage != Stage::Draining
                    && !order.downgrade
                {
                    return Err(StepRefusal::Downgrade(version.version.clone(), active.version.clone()).into());
                }
                match self.unreadable(adapter, &version.reads_memo, versions, false)? {
                    0 => Ok(()),
                    left => Err(StepRefusal::Memos(left).into()),
                }
            }
            Step::Retire => {
                let stay = versions
                    .iter()
                    .filter(|it| it.adapter == adapter && it.digest != version.digest && it.stage.is_loaded());
                let reads: Vec<u16> = stay.flat_map(|it| it.reads_memo.clone()).collect();
                let left = self.unreadable(adapter, &reads, versions, true)?;
                if left > 0 {
                    return Err(refused(
                        "retire",
                        format!("{left} payments hold a memo that no other loaded version reads"),
                        "keep it, or ship a version that reads it",
                    ));
                }
                let mut open = 0_usize;
                for id in self.store.open_operations()? {
                    let operation = self.store.operation(id)?;
                    open = open.saturating_add(usize::from(operation.is_some_and(|it| it.0.adapter == version.digest)));
                }
                if open > 0 {
                    return Err(refused(
                        "retire",
                        format!("{open} of its operations are not over"),
                        "wait for them, or resolve their tasks",
                    ));
                }
                Ok(())
            }
            Step::Stage
            | Step::Verify
            | Step::Admit
            | Step::Shadow
            | Step::Supersede
            | Step::RollBack
            | Step::Reject => Ok(()),
        }
    }

    /// How many payments hold a memo in a format that is not among `reads`: open ones, and with `also_over` those that may still
    /// be refunded. Where `reads` has every format that a version of the adapter reads, none can, and nothing is counted.
    pub(super) fn unreadable(
        &self,
        adapter: &str,
        reads: &[u16],
        versions: &[Version],
        also_over: bool,
    ) -> Result<u64, ReadError> {
        let mut formats = versions
            .iter()
            .filter(|it| it.adapter == adapter)
            .flat_map(|it| &it.reads_memo);
        if formats.all(|format| reads.contains(format)) {
            return Ok(0);
        }
        let channels = self.registry.channels_of(adapter);
        let mut left = 0_u64;
        block_in_place(|| {
            self.library.each_payment(&mut |found| {
                let holds = found.payment.attempts.iter().any(|attempt| {
                    let format = attempt.memo.as_ref().map(|memo| memo.format);
                    channels.contains(&attempt.channel) && format.is_some_and(|format| !reads.contains(&format))
                });
                left = left.saturating_add(u64::from(holds && (also_over || !found.payment.is_over())));
            })
        })?;
        Ok(left)
    }

    /// Writes what changes with the act, then does it.
    pub(super) async fn write(
        &self,
        before: &[Version],
        after: Vec<Version>,
        (by, verb, note): (&str, &str, &str),
    ) -> Result<(), PluginError> {
        let mut versions = before.to_vec();
        put(&mut versions, after.clone());
        let about = after
            .first()
            .map(|it| format!("{} {}", it.adapter, it.digest))
            .unwrap_or_default();
        let by = if by.trim().is_empty() { "operator" } else { by };
        let moves: Vec<String> = after
            .iter()
            .map(|it| format!("{} {}", lifecycle::short(&it.digest), it.stage.as_str()))
            .collect();
        let note = if note.is_empty() {
            moves.join(", ")
        } else {
            format!("{}: {note}", moves.join(", "))
        };
        let act = self.act(by, verb, &about, &note);
        self.steps.reached("before_version");
        if let Err(error) = self.versions.put_versions(&only(before, &after), &after, act).await {
            self.take_over(self.versions.versions()?)?;
            return Err(error.into());
        }
        self.steps.reached("after_version");
        tracing::info!(by, verb, about, note, "adapter versions changed");
        self.take_over(versions)
    }

    /// Makes what is written what runs.
    pub(super) fn take_over(&self, versions: Vec<Version>) -> Result<(), PluginError> {
        let applied = self.registry.apply(&versions);
        self.mark(&versions);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = versions;
        applied.map_err(|error| registry_refusal(&error))
    }
}

/// Puts the changed versions in the place of what they were.
pub(super) fn put(versions: &mut Vec<Version>, changed: Vec<Version>) {
    for version in changed {
        let same = |it: &&mut Version| (&it.adapter, &it.digest) == (&version.adapter, &version.digest);
        match versions.iter_mut().find(same) {
            Some(known) => *known = version,
            None => versions.push(version),
        }
    }
}

/// Of `after` those that are not in `before` as they are.
pub(super) fn changed(before: &[Version], after: &[Version]) -> Vec<Version> {
    after.iter().filter(|it| !before.contains(it)).cloned().collect()
}

/// Of `all` those that are in `of`, as they are in `all`.
pub(super) fn only(all: &[Version], of: &[Version]) -> Vec<Version> {
    let is_in = |it: &&Version| {
        of.iter()
            .any(|other| (&it.adapter, &it.digest) == (&other.adapter, &other.digest))
    };
    all.iter().filter(is_in).cloned().collect()
}

fn verb(step: Step) -> &'static str {
    match step {
        Step::Stage => "plugin.stage",
        Step::Verify => "plugin.verify",
        Step::Admit => "plugin.admit",
        Step::Shadow => "plugin.shadow",
        Step::Canary => "plugin.canary",
        Step::Activate => "plugin.activate",
        Step::Supersede => "plugin.supersede",
        Step::RollBack => "plugin.rollback",
        Step::Retire => "plugin.retire",
        Step::Reject => "plugin.reject",
    }
}
