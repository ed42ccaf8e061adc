//! A router for one adapter's folder: its configuration, with everything granted that the adapter asks for and made-up secrets; its
//! process; a merchant with a key. It is new at each start and lies in `.portolan` in the folder.

use super::super::client::Client;
use crate::config::Config;
use anyhow::{Context, bail, ensure};
use portolan_channels::Asked;
use serde_json::{Map, Value, json};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The folder in an adapter's folder.
pub const PLACE: &str = ".portolan";
/// The adapter's name in the configuration, and its channel's.
pub const NAME: &str = "adapter";
/// How long a start may take: compiling a large component takes most of it.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// What its configuration begins with.
const MARK: &str = "# Made by `portolan plugin dev`, anew at each start.\n";
const LOOK: Duration = Duration::from_millis(20);
/// Lines of its log that are shown when it does not start.
const LOG_SHOWN: usize = 5;
/// How soon it asks after an unknown outcome: somebody is watching.
const CHECK_FIRST_MS: u64 = 200;

/// A running router; it ends when this is dropped, or when this process ends.
pub struct Local {
    /// Calls it as a merchant does.
    pub merchant: Client,
    /// Calls it as an operator does.
    pub operator: Client,
    /// Where merchants call.
    pub at: SocketAddr,
    /// The merchant's key.
    pub key: String,
    /// Its configuration.
    pub config: PathBuf,
    process: Running,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Its store is thrown away at the next start.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Local {
    /// Starts a router for the component in a folder, whose provider is there. `settings`: of its channel.
    pub fn start(folder: &Path, asked: &Asked, provider: SocketAddr, settings: &Value) -> anyhow::Result<Self> {
        let place = folder.join(PLACE);
        let config = place.join("portolan.toml");
        if place.exists() {
            let is_empty = std::fs::read_dir(&place)?.next().is_none();
            let is_own = is_empty || std::fs::read_to_string(&config).is_ok_and(|text| text.starts_with(MARK));
            ensure!(is_own, "{} was not made by `plugin dev`: move it away", place.display());
            std::fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
        }
        // What is made up is nobody's business all the same.
        std::fs::DirBuilder::new().mode(0o700).create(&place)?;
        std::fs::write(&config, MARK)?;
        let secrets = place.join("secrets");
        std::fs::create_dir(&secrets)?;
        std::fs::write(place.join(".gitignore"), "*\n")?;
        for name in &asked.secrets {
            std::fs::write(secrets.join(name), format!("made-up-{name}"))?;
        }
        for (name, algorithm) in &asked.keys {
            std::fs::write(secrets.join(name), made_up_key(name, algorithm)?)?;
        }
        let [at, admin] = free()?;
        let text = toml::to_string(&written(asked, (at, admin), provider, settings))?;
        std::fs::write(&config, format!("{MARK}{text}"))?;
        let log = place.join("router.log");
        let child = Command::new(std::env::current_exe()?)
            .arg("--config")
            .arg(&config)
            .args(["serve", "--until-stdin-ends"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .context("starting a router")?;
        let mut process = Running(child);
        let operator = ready(&mut process, &config, &log)?;
        let made = operator.post(
            "/admin/keys",
            &json!({ "merchant": "dev", "mode": "test", "scopes": [] }),
        )?;
        let key = made
            .get("key")
            .and_then(Value::as_str)
            .context("no key was made")?
            .to_owned();
        Ok(Self {
            merchant: Client::at(at, key.clone()),
            operator,
            at,
            key,
            config,
            process,
        })
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.process.0.try_wait(), Ok(None))
    }
}

/// What that key's algorithm can work with, made up here.
fn made_up_key(name: &str, algorithm: &str) -> anyhow::Result<String> {
    match algorithm.split_once('-').map_or(algorithm, |(family, _)| family) {
        "hmac" => Ok(format!("made-up-{name}")),
        "ed25519" => Ok(portolan_vault::new_signer().map_err(anyhow::Error::msg)?.0.to_string()),
        _ => bail!(
            "it asks for the key {name} for {algorithm}, whose other half only a provider has: give it a router of your own and \
             your provider's test account, with --into"
        ),
    }
}

/// The configuration.
fn written(asked: &Asked, (at, admin): (SocketAddr, SocketAddr), provider: SocketAddr, settings: &Value) -> Value {
    let files = |names: &mut dyn Iterator<Item = &String>| -> Map<String, Value> {
        names
            .map(|name| (name.clone(), json!(format!("file:secrets/{name}"))))
            .collect()
    };
    let endpoint = json!({ "url": format!("http://{provider}"), "allow_private": true });
    let endpoints: Map<String, Value> = asked
        .endpoints
        .iter()
        .map(|name| (name.clone(), endpoint.clone()))
        .collect();
    json!({
        "server": { "listen": at, "admin": admin },
        "store": { "folder": "data" },
        "policy": { "check_first_ms": CHECK_FIRST_MS },
        "adapter": [{ "name": NAME, "file": "../adapter.wasm" }],
        "channel": [{
            "id": NAME,
            "mode": "test",
            "adapter": NAME,
            "card_data": asked.card_data,
            "harmless": asked.harmless,
            "settings": settings,
            "endpoints": endpoints,
            "secrets": files(&mut asked.secrets.iter()),
            "keys": files(&mut asked.keys.iter().map(|(name, _)| name)),
        }],
    })
}

/// Two ports that nobody has just now.
fn free() -> anyhow::Result<[SocketAddr; 2]> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok([one.local_addr()?, other.local_addr()?])
}

/// Waits until it takes payments.
fn ready(process: &mut Running, config: &Path, log: &Path) -> anyhow::Result<Client> {
    let config = Config::read(config)?;
    let started = Instant::now();
    loop {
        if let Ok(client) = Client::new(&config)
            && client.is_ready()
        {
            return Ok(client);
        }
        let has_ended = !matches!(process.0.try_wait(), Ok(None));
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(LOG_SHOWN).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        ensure!(!has_ended, "the router did not start:\n{last}");
        ensure!(
            started.elapsed() < READY_WITHIN,
            "the router is not ready; {}:\n{last}",
            log.display()
        );
        std::thread::sleep(LOOK);
    }
}
