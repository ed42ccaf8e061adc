//! The start: what the store says is loaded, what was being admitted is brought to its end, a configured file that was never
//! seen becomes active.

use super::admission::new_version;
use super::files::read;
use super::steps::{changed, only, put};
use super::{CONFIGURED, Plugins, ROUTER};
use portolan_channels::{AdapterSource, RegistryError, SandboxError};
use portolan_domain::lifecycle::{self, Stage, Step, Version};

impl Plugins {
    /// Takes up what the store says: loads what may run, brings to its end what was being admitted. A configured file that the
    /// store has never seen becomes active, as if it were put there by an operator: it was. `is_check`: nothing is written.
    pub async fn start(&self, is_check: bool) -> anyhow::Result<()> {
        self.registry.stop(self.stops.stops()?);
        let stored = self.versions.versions()?;
        let mut versions = stored.clone();
        self.fetch()?;
        self.load_stored(&mut versions)?;
        for source in &self.sources {
            if let Some(configured) = self.take_configured(source, &versions, is_check)? {
                put(&mut versions, configured);
            }
        }
        let changed = changed(&stored, &versions);
        if !changed.is_empty() && !is_check {
            let about: Vec<String> = changed
                .iter()
                .map(|it| format!("{} {}", it.adapter, it.stage.as_str()))
                .collect();
            let about = about.join(", ");
            let act = self.act(
                ROUTER,
                "plugin.start",
                &about,
                "what the configuration and the files say",
            );
            self.versions
                .put_versions(&only(&stored, &changed), &changed, act)
                .await?;
        }
        self.take_over(versions.clone())?;
        if !is_check {
            self.sweep()?;
            self.share_all()?;
            let half = versions
                .iter()
                .filter(|it| matches!(it.stage, Stage::Staged | Stage::Verified));
            for version in half {
                if let Err(error) = self.take_up(&version.adapter, &version.digest).await {
                    tracing::warn!(adapter = version.adapter, digest = version.digest, %error, "not admitted");
                }
            }
        }
        Ok(())
    }

    /// Loads what the store says may run. A canary that does not load any more goes; an active version that does not is for the
    /// operator to say.
    fn load_stored(&self, versions: &mut [Version]) -> anyhow::Result<()> {
        for version in versions.iter_mut().filter(|it| it.stage.is_loaded()) {
            let signed = self.check_signed(version);
            let loaded = self.registry.load(
                &self.artifacts,
                (&self.file(&version.digest), &version.digest),
                self.wall(&version.adapter),
            );
            let problem = match (loaded, signed) {
                (Ok(_), Ok(())) => continue,
                // That is the machine's trouble: no version is given up for it.
                (Err(error @ RegistryError::Sandbox(SandboxError::Worker(_))), _) => return Err(error.into()),
                (Err(error), _) => error.to_string(),
                (_, Err(error)) => error.to_string(),
            };
            let (adapter, digest) = (&version.adapter, &version.digest);
            tracing::error!(adapter, digest, problem, "a version may not run");
            anyhow::ensure!(
                version.stage != Stage::Active,
                "adapter {adapter}: its active version {digest}: {problem}"
            );
            version.stage = Stage::Rejected;
            version.share = None;
            version.changed_ms = self.ambient.now_ms();
            version.reason = problem;
        }
        Ok(())
    }

    /// A configured file that the store has never seen: its version, active, and the one before it, draining.
    fn take_configured(
        &self,
        source: &AdapterSource,
        versions: &[Version],
        is_check: bool,
    ) -> anyhow::Result<Option<Vec<Version>>> {
        let (digest, bytes) = read(&source.file)?;
        if versions
            .iter()
            .any(|it| it.adapter == source.name && it.digest == digest)
        {
            return Ok(None);
        }
        let file = if is_check {
            source.file.clone()
        } else {
            self.keep(&digest, &bytes)?;
            self.share(&self.file(&digest))?;
            self.file(&digest)
        };
        let loaded = self.registry.load(&self.artifacts, (&file, &digest), source.wall);
        let described = loaded.map_err(|error| anyhow::anyhow!("adapter {}: {error}", source.name))?;
        let (adapter, version) = (&source.name, &described.version);
        tracing::info!(adapter, name = described.name, version, digest, "adapter loaded");
        let now_ms = self.ambient.now_ms();
        let mut with = versions.to_vec();
        with.push(Version {
            signers: vec![CONFIGURED.into()],
            reason: "configured".into(),
            ..new_version(adapter, &described, now_ms)
        });
        let plan = lifecycle::plan(
            &with,
            (adapter, &digest),
            (Step::Activate, None),
            ("configured", now_ms),
        )?;
        match self.unreadable(adapter, &described.reads_memo, &with, false)? {
            0 => Ok(Some(plan)),
            left => {
                tracing::error!(
                    adapter,
                    digest,
                    left,
                    "the configured file is ready and not active: open payments hold memos that it does not read"
                );
                Ok(with.pop().map(|ready| vec![ready]))
            }
        }
    }
}
