//! The composition root: builds store, vault, channels and engine from the configuration, and nothing else.

mod follow;
mod store;

pub use store::{move_store, note_restored};

use crate::approvals::Approving;
use crate::config::{Config, read_secret};
use crate::corridors::Corridors;
use crate::plugins::{Parts, Plugins};
use crate::routes::{RouteParts, Routes};
use crate::steps::StopAt;
use crate::webhooks::Webhooks;
use crate::wire::Json;
use anyhow::Context;
use portolan_channels::{Artifacts, Registry, Sandbox};
use portolan_domain::ports::{Ambient, Channels, KeyRing, Library, Store};
use portolan_egress::{Egress, Timeouts};
use portolan_engine::{Engine, Ports};
use portolan_rules::RuleBook;
use portolan_storage::SqlStore;
use portolan_vault::{KeyFile, LocalVault};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use store::{Hold, is_same};
use uuid::Uuid;

/// Guest calls at once: more than threads that could make them.
const SANDBOX_SLOTS: u32 = 64;

/// Everything that the servers need.
pub struct App {
    /// The configuration.
    pub config: Config,
    /// The engine.
    pub engine: Arc<Engine>,
    /// The vault.
    pub vault: Arc<LocalVault>,
    /// The store, for lists and operators.
    pub library: Arc<dyn Library>,
    /// The same store, for single look-ups.
    pub store: Arc<dyn Store>,
    /// The API keys.
    pub key_ring: Arc<dyn KeyRing>,
    /// The store itself, for backups.
    pub record: Arc<SqlStore>,
    /// The channels.
    pub channels: Arc<dyn Channels>,
    /// The versions of the adapters.
    pub plugins: Arc<Plugins>,
    /// Merchants' rules about routes.
    pub routes: Routes,
    /// Who tells merchants of events.
    pub webhooks: Arc<Webhooks>,
    /// What has to be approved, and by whom.
    pub approving: Approving,
    /// What payouts need.
    pub corridors: Corridors,
    /// Time and ids.
    pub ambient: Arc<dyn Ambient>,
}

/// The system's clock and randomness.
pub struct System;

impl Ambient for System {
    fn now_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }
    fn uuid_v7(&self) -> Uuid {
        Uuid::now_v7()
    }
    fn uuid_v4(&self) -> Uuid {
        Uuid::new_v4()
    }
}

impl App {
    /// Builds it all. Nothing listens yet, and no adapter is loaded: [`Plugins::start`] does that.
    pub fn build(config: Config) -> anyhow::Result<Self> {
        Self::build_with(config, |registry| registry)
    }

    /// The same as soon as no other router has the store: one that stands by. What is configured then counts, so it is read
    /// again.
    pub fn build_when_free(
        config: &Config,
        read_again: impl FnOnce() -> anyhow::Result<Config>,
    ) -> anyhow::Result<Self> {
        let hold = Hold::wait(config)?;
        let now = read_again()?;
        anyhow::ensure!(
            is_same(config, &now),
            "[store] is another one than when this router began to stand by: start it again"
        );
        Self::assemble(now, hold, |registry| registry)
    }

    /// Builds it all, with whatever `channels` makes of the registry.
    pub fn build_with(
        config: Config,
        channels: impl FnOnce(Arc<Registry>) -> Arc<dyn Channels>,
    ) -> anyhow::Result<Self> {
        let hold = Hold::take(&config)?;
        Self::assemble(config, hold, channels)
    }

    fn assemble(
        config: Config,
        hold: Hold,
        channels: impl FnOnce(Arc<Registry>) -> Arc<dyn Channels>,
    ) -> anyhow::Result<Self> {
        let folder = config.folder.clone();
        let vault = Arc::new(LocalVault::new(KeyFile::open_or_create(&folder.join("keys.json"))?)?);
        for (channel, name, place) in &config.secrets {
            let value =
                read_secret(place).map_err(|problem| anyhow::anyhow!("channel {channel}: {name}: {problem}"))?;
            vault.put_secret(channel.clone(), name.clone(), value);
        }
        let store = Arc::new(hold.open(&config, vault.clone())?);
        let ambient: Arc<dyn Ambient> = Arc::new(System);
        let sandbox = Sandbox::start(SANDBOX_SLOTS)?;
        let steps = Arc::new(StopAt::from_env());
        let compiler = this_program()?;
        let registry = Arc::new(Registry::new(
            sandbox,
            config.channels.clone(),
            (Egress::new(Timeouts::default()), vault.clone(), ambient.clone()),
            config.public_url.clone(),
        ));
        let parts = Parts {
            registry: registry.clone(),
            artifacts: Artifacts::new(folder.join("components"), vault.clone(), compiler),
            versions: store.clone(),
            files: store.clone(),
            stops: store.clone(),
            store: store.clone(),
            library: store.clone(),
            ambient: ambient.clone(),
            steps: steps.clone(),
        };
        let plugins = Arc::new(Plugins::new(parts, &config));
        let channels = channels(registry);
        let book = Arc::new(RuleBook::default());
        let ports = Ports {
            store: store.clone(),
            channels: channels.clone(),
            vault: vault.clone(),
            ambient: ambient.clone(),
            rules: book.clone(),
            render: Arc::new(Json),
            steps,
        };
        let engine = Arc::new(Engine::new(
            ports,
            config.policy.clone(),
            config.pricing.clone(),
            config.routing.clone(),
        ));
        let routes = Routes::new(RouteParts {
            book,
            sets: store.clone(),
            engine: engine.clone(),
            channels: channels.clone(),
            library: store.clone(),
            store: store.clone(),
            ambient: ambient.clone(),
        });
        routes.start()?;
        let told_of = (store.clone() as _, store.clone() as _, ambient.clone());
        let webhooks = Webhooks::load(told_of, vault.clone(), config.webhooks_allow_private)?;
        let approving = Approving::load(store.clone(), vault.clone(), ambient.clone())?;
        Ok(Self {
            routes,
            approving,
            webhooks: Arc::new(webhooks),
            config,
            engine,
            vault,
            library: store.clone(),
            store: store.clone(),
            key_ring: store.clone(),
            record: store,
            channels,
            plugins,
            corridors: Corridors::load()?,
            ambient,
        })
    }
}

/// The program that runs, also when another was put in its place meanwhile.
fn this_program() -> anyhow::Result<PathBuf> {
    let itself = PathBuf::from("/proc/self/exe");
    match itself.exists() {
        true => Ok(itself),
        false => std::env::current_exe().context("finding this program"),
    }
}
