//! Processes: an acquirer with its record, a host with its store, a merchant's key. Everything ends with the value.

use crate::http::{Reply, call};
use crate::{postgres, seed};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where this is set, every world's store is in a database.
const IN_POSTGRES: &str = "PORTOLAN_TEST_IN_POSTGRES";
/// How long a process may take to be there.
const START_WITHIN: Duration = Duration::from_secs(60);

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

static PROFILE: OnceLock<&str> = OnceLock::new();

/// Which build the binaries are taken from; the first word counts.
pub fn use_profile(profile: &'static str) {
    PROFILE.get_or_init(|| profile);
}

/// A binary of the workspace, built by `cargo xtask`.
pub fn binary(name: &str) -> PathBuf {
    workspace()
        .join("target")
        .join(PROFILE.get().copied().unwrap_or("debug"))
        .join(name)
}

/// A guest of the workspace, built by `cargo xtask`.
pub fn guest(name: &str) -> PathBuf {
    let target = if name.contains("misbehaving") {
        "guests-misbehaving"
    } else {
        "guests"
    };
    workspace().join(format!("target/{target}/wasm32-wasip2/guest/{name}.wasm"))
}

/// What differs from world to world.
#[derive(Clone, Debug)]
pub struct Options {
    /// Environment of the host.
    pub env: Vec<(String, String)>,
    /// More arguments for the acquirer.
    pub acquirer: Vec<String>,
    /// Lines put under `[server]`, `[store]` and `[policy]`.
    pub server: String,
    /// See `server`.
    pub store: String,
    /// The database that the store is in; none: a file.
    pub postgres: Option<String>,
    /// See `server`.
    pub policy: String,
    /// How long the adapter waits for the acquirer.
    pub timeout_ms: u32,
    /// More configuration, put at the end.
    pub more: String,
    /// More acquirers, `acquirer-b`, `acquirer-c`: lines put into each one's channel.
    pub acquirers: Vec<String>,
    /// FX desks, `desk-a`, `desk-b`, …: more arguments for each.
    pub desks: Vec<Vec<String>>,
    /// A wallet provider, `wallet-a`: more arguments for it.
    pub wallet: Option<Vec<String>>,
    /// A bank, `bank-a`: more arguments for it.
    pub bank: Option<Vec<String>>,
    /// Lines put into the sandbox channel's table: `disabled = true` and the like.
    pub channel: String,
    /// Put in front of the host's command: `strace` and the like.
    pub wrapper: Vec<String>,
    /// The host's binary.
    pub program: &'static str,
    /// Whether the sandbox adapter runs in the host's own process rather than behind the second wall.
    pub trusted: bool,
    /// Whether it begins with nothing, not even with the keys and compiled adapters that a test process's worlds share.
    pub is_fresh: bool,
    /// Where the logs go: inherited, or `host.log` in the folder.
    pub is_loud: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            env: vec![],
            acquirer: vec![],
            server: String::new(),
            store: String::new(),
            postgres: None,
            policy: "check_first_ms = 200\ncheck_max_ms = 1000".into(),
            timeout_ms: 800,
            more: String::new(),
            acquirers: vec![],
            desks: vec![],
            wallet: None,
            bank: None,
            channel: String::new(),
            wrapper: vec![],
            program: "portolan",
            trusted: false,
            is_fresh: false,
            is_loud: false,
        }
    }
}

/// The channels of the acquirers beside the first, in order.
const ACQUIRERS: [&str; 3] = ["acquirer-b", "acquirer-c", "acquirer-d"];
/// The desks' channels, in order.
const DESKS: [&str; 3] = ["desk-a", "desk-b", "desk-c"];

/// Starts a simulator over its record; where it listens.
fn simulator(name: &str, listen: &str, record: &Path, arguments: &[String]) -> anyhow::Result<(Child, SocketAddr)> {
    let mut command = Command::new(binary(name));
    command
        .args(["--listen", listen, "--record"])
        .arg(record)
        .args(arguments);
    let (child, at) = announced(command)?;
    let at = at.parse().with_context(|| format!("{name} is at {at:?}"))?;
    Ok((child, at))
}

/// Starts a program that says where it listens: its host and port.
fn announced(mut command: Command) -> anyhow::Result<(Child, String)> {
    let started = command.stdout(Stdio::piped()).spawn();
    let program = Path::new(command.get_program()).display().to_string();
    let mut child = started.with_context(|| format!("{program}: run cargo xtask build"))?;
    let out = child.stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let at = line.trim().rsplit("http://").next().unwrap_or_default();
    Ok((child, at.to_owned()))
}

/// A card number that nobody has used, of the right length and check digit.
pub fn card_number(n: u32) -> String {
    let body = format!("42424242{n:07}");
    let sum = body.bytes().rev().enumerate().fold(0_u32, |sum, (at, byte)| {
        let digit = u32::from(byte - b'0');
        let digit = if at % 2 == 0 { digit * 2 } else { digit };
        sum + digit / 10 + digit % 10
    });
    format!("{body}{}", (10 - sum % 10) % 10)
}

/// A running world.
pub struct World {
    /// Where everything is.
    pub folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    options: Options,
    /// Whether the host runs without a wrapper.
    is_host_alone: bool,
    /// Whether what starts next starts as on the other machine.
    is_elsewhere: bool,
    acquirer: Option<Child>,
    more_acquirers: Vec<(Child, SocketAddr)>,
    others: Vec<Child>,
    host: Option<Child>,
    /// A second host on the same store.
    standby: Option<Child>,
    /// The first host, where another took over and it did not end.
    first: Option<Child>,
    /// Where merchants and operators call the second host, if it is on another machine.
    elsewhere: Option<(SocketAddr, SocketAddr)>,
    /// Where the acquirer listens.
    pub acquirer_at: SocketAddr,
    /// Where the desks listen.
    pub desks_at: Vec<SocketAddr>,
    /// Where the wallet provider listens.
    pub wallet_at: Option<SocketAddr>,
    /// Where the bank listens.
    pub bank_at: Option<SocketAddr>,
    /// Where merchants call.
    pub api: SocketAddr,
    /// Where operators call.
    pub admin: SocketAddr,
    /// The merchant's key.
    pub key: String,
    counter: AtomicU64,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.kill_host();
        let hosts = self.standby.iter_mut().chain(&mut self.first);
        let others = self.others.iter_mut().chain(hosts);
        let more = self.more_acquirers.iter_mut().map(|(child, _)| child);
        for child in self.acquirer.iter_mut().chain(more).chain(others) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The processes that a process has started.
fn children(of: &Child) -> Vec<rustix::process::Pid> {
    let list = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", of.id()));
    let list = list.unwrap_or_default();
    let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(rustix::process::Pid::from_raw).collect()
}

/// Whether no thread of a process runs any more; its files are closed then, whoever is to reap it.
fn is_gone(pid: rustix::process::Pid) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else {
        return true;
    };
    let is_dead = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
        matches!(state, None | Some('Z' | 'X'))
    };
    threads.flatten().all(is_dead)
}

/// Waits until it is so.
pub fn await_until(is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !is_so() {
        anyhow::ensure!(
            started.elapsed() < Duration::from_secs(20),
            "what was waited for did not come"
        );
        std::thread::park_timeout(Duration::from_millis(2));
    }
    Ok(())
}

/// A port that nobody has. Below the range from which the kernel hands out ports by itself, so that no connection of
/// another test takes it between this look and the host's.
fn free_port() -> anyhow::Result<SocketAddr> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    for _ in 0..20_000 {
        let n = NEXT
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(u64::from(std::process::id()) * 97);
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(10_000 + n % 20_000)?));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free")
}

impl World {
    /// A world in a temporary folder, with a merchant `shop`.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let temporary = tempfile::tempdir()?;
        let mut world = Self::start_in(temporary.path().to_path_buf(), options)?;
        world._temporary = Some(temporary);
        Ok(world)
    }

    /// A world in that folder.
    pub fn start_in(folder: PathBuf, mut options: Options) -> anyhow::Result<Self> {
        if options.postgres.is_none() && std::env::var_os(IN_POSTGRES).is_some() {
            options.postgres = Some(postgres::shared()?.database()?);
        }
        let mut world = Self {
            folder,
            _temporary: None,
            is_host_alone: true,
            is_elsewhere: false,
            acquirer: None,
            more_acquirers: vec![],
            others: vec![],
            host: None,
            standby: None,
            first: None,
            elsewhere: None,
            acquirer_at: SocketAddr::from(([127, 0, 0, 1], 0)),
            desks_at: vec![],
            wallet_at: None,
            bank_at: None,
            api: free_port()?,
            admin: free_port()?,
            key: String::new(),
            counter: AtomicU64::new(0),
            options,
        };
        world.start_acquirer()?;
        world.start_more_acquirers()?;
        world.start_desks()?;
        world.start_wallet()?;
        world.start_bank()?;
        world.write_config()?;
        let data = world.folder.join("data");
        if !world.options.is_fresh {
            seed::plant(&data)?;
        }
        world.start_host()?;
        if !world.options.is_fresh {
            seed::harvest(&data)?;
        }
        world.key = world.new_key("shop")?;
        Ok(world)
    }

    /// Starts the merchant's back office; its origin.
    pub fn start_office(&mut self) -> anyhow::Result<String> {
        let mut command = Command::new(binary("portolan-office"));
        command.args(["--listen", "127.0.0.1:0", "--router", &self.api.to_string()]);
        command.env("PORTOLAN_KEY", &self.key);
        let (child, at) = announced(command)?;
        self.others.push(child);
        Ok(format!("http://{at}"))
    }

    /// Starts the acquirer over its record.
    pub fn start_acquirer(&mut self) -> anyhow::Result<()> {
        let listen = self.acquirer_at.to_string();
        let record = self.folder.join("acquirer.jsonl");
        let (child, at) = simulator("portolan-acquirer", &listen, &record, &self.options.acquirer)?;
        self.acquirer_at = at;
        self.acquirer = Some(child);
        Ok(())
    }

    fn start_more_acquirers(&mut self) -> anyhow::Result<()> {
        for (name, _) in ACQUIRERS.iter().zip(self.options.acquirers.clone()) {
            let record = self.folder.join(format!("{name}.jsonl"));
            self.more_acquirers
                .push(simulator("portolan-acquirer", "127.0.0.1:0", &record, &[])?);
        }
        Ok(())
    }

    /// Kills the acquirer of that channel, or starts it again where it listened.
    pub fn switch_acquirer(&mut self, name: &str, is_on: bool) -> anyhow::Result<()> {
        let at = ACQUIRERS.iter().position(|it| *it == name);
        let Some((child, address)) = at.and_then(|at| self.more_acquirers.get_mut(at)) else {
            bail!("no acquirer {name}");
        };
        child.kill()?;
        child.wait()?;
        if is_on {
            let record = self.folder.join(format!("{name}.jsonl"));
            *child = simulator("portolan-acquirer", &address.to_string(), &record, &[])?.0;
        }
        Ok(())
    }

    /// Lets every issuer answer with that code through an acquirer; `None`: each card as it is.
    pub fn issuers_say(&self, name: &str, code: Option<&str>) -> anyhow::Result<()> {
        let reply = call(
            self.at_acquirer(name)?,
            "POST",
            "/issuer",
            &[],
            Some(&json!({ "says": code }).to_string()),
        )?;
        anyhow::ensure!(reply.status == 204, "{}", reply.text);
        Ok(())
    }

    /// What the acquirer of a channel has done for a payment.
    pub fn charges_at(&self, name: &str, payment: &str) -> anyhow::Result<Vec<Value>> {
        let records = call(self.at_acquirer(name)?, "GET", "/records", &[], None)?.body;
        let charges = records
            .get("charges")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let of_payment = |charge: &Value| charge.get("reference").and_then(Value::as_str) == Some(payment);
        Ok(charges.into_iter().filter(of_payment).collect())
    }

    fn at_acquirer(&self, name: &str) -> anyhow::Result<SocketAddr> {
        if name == "acquirer-a" {
            return Ok(self.acquirer_at);
        }
        let at = ACQUIRERS.iter().position(|it| *it == name);
        let found = at.and_then(|at| self.more_acquirers.get(at));
        Ok(found.with_context(|| format!("no acquirer {name}"))?.1)
    }

    fn more_acquirer_channels(&self) -> String {
        let channels = ACQUIRERS.iter().zip(&self.options.acquirers).zip(&self.more_acquirers);
        let text = channels.map(|((name, lines), (_, at))| {
            format!(
                r#"
[[channel]]
id = "{name}"
mode = "test"
adapter = "sandbox"
card_data = true
{lines}
harmless = ["POST /v1/sessions"]
settings = {{ timeout_ms = {timeout_ms} }}
endpoints.acquirer = {{ url = "http://{at}", allow_private = true }}
secrets.client_secret = "file:{folder}/client.secret"
keys.signing = "file:{folder}/signing.secret"
keys.notify = "file:{folder}/notify.secret"
"#,
                timeout_ms = self.options.timeout_ms,
                folder = self.folder.display(),
            )
        });
        text.collect()
    }

    fn start_desks(&mut self) -> anyhow::Result<()> {
        for (name, more) in DESKS.iter().zip(self.options.desks.clone()) {
            let webhook = format!("http://{}/notify/{name}", self.api);
            let mut arguments = vec!["--webhook-url".to_owned(), webhook];
            arguments.extend(more);
            let record = self.folder.join(format!("{name}.jsonl"));
            let (child, at) = simulator("portolan-desk", "127.0.0.1:0", &record, &arguments)?;
            self.others.push(child);
            self.desks_at.push(at);
        }
        Ok(())
    }

    /// The channels of the desks, as configuration.
    fn desk_channels(&self) -> String {
        if self.desks_at.is_empty() {
            return String::new();
        }
        let (folder, guest) = (self.folder.display(), guest("portolan_airwallex_adapter"));
        let timeout_ms = self.options.timeout_ms;
        let mut text = format!("\n[[adapter]]\nname = \"airwallex\"\nfile = \"{}\"\n", guest.display());
        for (name, at) in DESKS.iter().zip(&self.desks_at) {
            text.push_str(&format!(
                r#"
[[channel]]
id = "{name}"
mode = "test"
adapter = "airwallex"
harmless = ["POST /api/v1/authentication/login", "POST /api/v1/fx/quotes/create"]
settings = {{ timeout_ms = {timeout_ms} }}
endpoints.api = {{ url = "http://{at}", allow_private = true }}
secrets.client_id = "file:{folder}/desk-id.secret"
secrets.api_key = "file:{folder}/desk-key.secret"
keys.webhook = "file:{folder}/desk-webhook.secret"
"#
            ));
        }
        text
    }

    fn start_wallet(&mut self) -> anyhow::Result<()> {
        let Some(more) = self.options.wallet.clone() else {
            return Ok(());
        };
        let keys = workspace().join("examples/wallet/keys");
        let at = |name: &str| keys.join(name).display().to_string();
        let mut arguments = vec![
            "--client-key".to_owned(),
            at("router.pub"),
            "--provider-key".to_owned(),
            at("provider.key"),
        ];
        arguments.extend(more);
        let record = self.folder.join("wallet.jsonl");
        let (child, at) = simulator("portolan-wallet", "127.0.0.1:0", &record, &arguments)?;
        self.others.push(child);
        self.wallet_at = Some(at);
        Ok(())
    }

    /// The wallet provider's channel, as configuration.
    fn wallet_channel(&self) -> String {
        let Some(at) = self.wallet_at else {
            return String::new();
        };
        let (keys, guest) = (
            workspace().join("examples/wallet/keys"),
            guest("portolan_alipay_plus_adapter"),
        );
        format!(
            r#"
[[adapter]]
name = "alipay-plus"
file = "{guest}"

[[channel]]
id = "wallet-a"
mode = "test"
adapter = "alipay-plus"
harmless = ["POST /ams/sandbox/api/v1/payments/inquiryPayment", "POST /ams/sandbox/api/v1/payments/inquiryRefund"]
settings = {{ client_id = "SANDBOX_5Y00000000000000", sandbox = true, timeout_ms = {timeout_ms} }}
endpoints.api = {{ url = "http://{at}", allow_private = true }}
keys.signing = "file:{keys}/router.key"
keys.provider = "file:{keys}/provider.pub"
"#,
            guest = guest.display(),
            keys = keys.display(),
            timeout_ms = self.options.timeout_ms,
        )
    }

    fn start_bank(&mut self) -> anyhow::Result<()> {
        let Some(more) = self.options.bank.clone() else {
            return Ok(());
        };
        let certificate = workspace().join("examples/bank/keys/router.crt");
        let mut arguments = vec!["--client-certificate".to_owned(), certificate.display().to_string()];
        arguments.extend(more);
        let record = self.folder.join("bank.jsonl");
        let (child, at) = simulator("portolan-bank", "127.0.0.1:0", &record, &arguments)?;
        self.others.push(child);
        self.bank_at = Some(at);
        Ok(())
    }

    /// The bank's channel, as configuration.
    fn bank_channel(&self) -> anyhow::Result<String> {
        let Some(at) = self.bank_at else {
            return Ok(String::new());
        };
        std::fs::write(self.folder.join("bank-token.secret"), "bank-access-token")?;
        std::fs::write(self.folder.join("bank-consent.secret"), "bank-consent")?;
        let keys = workspace().join("examples/bank/keys");
        let pem = std::fs::read_to_string(keys.join("router.crt"))?;
        let certificate: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        Ok(format!(
            r#"
[[adapter]]
name = "iso20022-bank"
file = "{guest}"

[[channel]]
id = "bank-a"
mode = "test"
adapter = "iso20022-bank"
currencies = ["EUR"]
endpoints.api = {{ url = "http://{at}", allow_private = true }}
secrets.access_token = "file:{folder}/bank-token.secret"
secrets.consent = "file:{folder}/bank-consent.secret"
keys.signing = "file:{keys}/router.key"
[channel.settings]
account = "acc-1"
debtor_name = "Portolan Ltd"
debtor_iban = "DE89370400440532013000"
debtor_bic = "COBADEFFXXX"
certificate = "{certificate}"
key_id = "SN=1,CA=CN=Portolan"
psu_ip = "192.0.2.1"
timeout_ms = {timeout_ms}
poll_ms = 100
"#,
            guest = guest("portolan_iso20022_bank_adapter").display(),
            keys = keys.display(),
            folder = self.folder.display(),
            timeout_ms = self.options.timeout_ms,
        ))
    }

    /// What the bank really did.
    pub fn bank_records(&self) -> anyhow::Result<Value> {
        let at = self.bank_at.context("no bank")?;
        Ok(call(at, "GET", "/records", &[], None)?.body)
    }

    /// The account's statement at the bank, camt.053.
    pub fn bank_statement(&self) -> anyhow::Result<String> {
        let at = self.bank_at.context("no bank")?;
        Ok(call(at, "GET", "/statement", &[], None)?.text)
    }

    /// Money comes in at the bank.
    pub fn bank_receives(&self, amount: &str, text: &str) -> anyhow::Result<()> {
        let at = self.bank_at.context("no bank")?;
        let body = json!({ "currency": "EUR", "amount": amount, "text": text }).to_string();
        let headers = [("content-type", "application/json")];
        let reply = call(at, "POST", "/incoming", &headers, Some(&body))?;
        anyhow::ensure!(reply.status == 200, "money at the bank: {}", reply.text);
        Ok(())
    }

    /// What the wallet provider really did.
    pub fn wallet_records(&self) -> anyhow::Result<Value> {
        let at = self.wallet_at.context("no wallet")?;
        Ok(call(at, "GET", "/records", &[], None)?.body)
    }

    /// What a desk really did.
    pub fn desk_records(&self, which: usize) -> anyhow::Result<Value> {
        let at = self.desks_at.get(which).context("no such desk")?;
        Ok(call(*at, "GET", "/records", &[], None)?.body)
    }

    /// Moves the market at a desk by so many basis points.
    pub fn move_market(&self, which: usize, moved_bps: i64) -> anyhow::Result<()> {
        let at = self.desks_at.get(which).context("no such desk")?;
        let body = json!({ "moved_bps": moved_bps }).to_string();
        let reply = call(
            *at,
            "POST",
            "/market",
            &[("content-type", "application/json")],
            Some(&body),
        )?;
        anyhow::ensure!(reply.status == 200, "moving the market: {}", reply.text);
        Ok(())
    }

    /// Writes the host's configuration.
    pub fn write_config(&self) -> anyhow::Result<()> {
        let database = self.options.postgres.as_ref();
        let database = database.map(|it| format!("postgres = \"{it}\"")).unwrap_or_default();
        let secrets = [
            ("client", "acquirer-client-secret"),
            ("signing", "acquirer-signing-key"),
            ("notify", "acquirer-notify-key"),
            ("desk-id", "desk-client-id"),
            ("desk-key", "desk-api-key"),
            ("desk-webhook", "desk-webhook-secret"),
        ];
        for (name, value) in secrets {
            std::fs::write(self.folder.join(format!("{name}.secret")), value)?;
        }
        let Options {
            server,
            store,
            policy,
            timeout_ms,
            more,
            channel,
            trusted,
            ..
        } = &self.options;
        let folder = self.folder.display();
        let text = format!(
            r#"[server]
listen = "{api}"
admin = "{admin}"
{server}
[store]
{database}
{store}
[policy]
{policy}
[[adapter]]
name = "sandbox"
trusted = {trusted}
file = "{guest}"

[[channel]]
id = "acquirer-a"
mode = "test"
adapter = "sandbox"
card_data = true
{channel}
harmless = ["POST /v1/sessions"]
settings = {{ timeout_ms = {timeout_ms} }}
endpoints.acquirer = {{ url = "http://{acquirer}", allow_private = true }}
secrets.client_secret = "file:{folder}/client.secret"
keys.signing = "file:{folder}/signing.secret"
keys.notify = "file:{folder}/notify.secret"
{acquirers}
{bank}
{desks}
{wallet}
{more}
"#,
            acquirers = self.more_acquirer_channels(),
            desks = self.desk_channels(),
            wallet = self.wallet_channel(),
            bank = self.bank_channel()?,
            api = self.api,
            admin = self.admin,
            guest = guest("portolan_sandbox_adapter").display(),
            acquirer = self.acquirer_at,
        );
        Ok(std::fs::write(self.config(), text)?)
    }

    /// Puts the store there from the next start on.
    pub fn set_postgres(&mut self, connection: String) -> anyhow::Result<()> {
        self.options.postgres = Some(connection);
        self.write_config()
    }

    /// The name of the database that the store is in, on the cluster that tests share.
    pub fn database(&self) -> Option<&str> {
        let connection = self.options.postgres.as_deref()?;
        connection.rsplit("dbname=").next()
    }

    /// Where the host has its files.
    pub fn data(&self) -> PathBuf {
        self.config().with_file_name("data")
    }

    /// The configuration's file.
    pub fn config(&self) -> PathBuf {
        let folder = if self.is_elsewhere { "elsewhere" } else { "." };
        self.folder.join(folder).join("portolan.toml")
    }

    /// Starts the host and waits until it is ready.
    pub fn start_host(&mut self) -> anyhow::Result<()> {
        self.spawn_host()?;
        self.wait_ready()
    }

    /// Starts the host without waiting.
    pub fn spawn_host(&mut self) -> anyhow::Result<()> {
        self.is_host_alone = self.options.wrapper.is_empty();
        self.host = Some(self.spawn(&[])?);
        Ok(())
    }

    /// Starts a second host on the same store, and waits until it stands by.
    pub fn stand_by(&mut self) -> anyhow::Result<()> {
        let log = self.folder.join("host.log");
        let stood = || std::fs::read_to_string(&log).map_or(0, |text| text.matches("standing by").count());
        let before = stood();
        self.standby = Some(self.spawn(&["--standby"])?);
        await_until(|| stood() > before).with_context(|| format!("it does not stand by: {}", self.log_tail()))
    }

    /// Starts a second host as on another machine: a folder of its own, the first one's keys, and nothing else of it.
    pub fn stand_by_elsewhere(&mut self) -> anyhow::Result<PathBuf> {
        let elsewhere = self.folder.join("elsewhere");
        std::fs::create_dir_all(elsewhere.join("data"))?;
        std::fs::copy(self.folder.join("data/keys.json"), elsewhere.join("data/keys.json"))?;
        let (api, admin) = (free_port()?, free_port()?);
        let text = std::fs::read_to_string(self.config())?;
        let text = text.replace(&self.api.to_string(), &api.to_string());
        let text = text.replace(&self.admin.to_string(), &admin.to_string());
        std::fs::write(elsewhere.join("portolan.toml"), text)?;
        self.elsewhere = Some((api, admin));
        let here = std::mem::replace(&mut self.is_elsewhere, true);
        let standing = self.stand_by();
        self.is_elsewhere = here;
        standing.map(|()| elsewhere)
    }

    /// Waits until the host that stood by is ready.
    pub fn await_takeover(&mut self) -> anyhow::Result<()> {
        self.first = self.host.take();
        self.host = Some(self.standby.take().context("nobody stands by")?);
        if let Some((api, admin)) = self.elsewhere {
            (self.api, self.admin, self.is_elsewhere) = (api, admin, true);
        }
        self.wait_ready()
    }

    /// Lets a first host go on that was stopped when another took over, and waits for its end.
    pub fn wake_first(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        let mut first = self.first.take().context("no first host")?;
        signal(&first, rustix::process::Signal::CONT)?;
        Ok(first.wait()?)
    }

    fn spawn(&self, more: &[&str]) -> anyhow::Result<Child> {
        let program = binary(self.options.program);
        let mut words = self.options.wrapper.clone();
        words.extend([
            program.display().to_string(),
            "--config".into(),
            self.config().display().to_string(),
            "serve".into(),
        ]);
        words.extend(more.iter().map(|word| (*word).to_owned()));
        let (first, rest) = words.split_first().context("no command")?;
        let mut command = Command::new(first);
        command.args(rest).envs(self.options.env.clone());
        if !self.options.is_loud {
            let log = std::fs::File::options()
                .create(true)
                .append(true)
                .open(self.folder.join("host.log"))?;
            command.stdout(log.try_clone()?).stderr(log);
        }
        command
            .spawn()
            .with_context(|| format!("{}: run cargo xtask build", program.display()))
    }

    /// Waits until the host is ready, or says why it is not.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while started.elapsed() < START_WITHIN {
            if let Some(status) = self.host_ended()? {
                bail!("the host ended with {status}: {}", self.log_tail());
            }
            let reachable = TcpStream::connect(self.admin).is_ok();
            if reachable && call(self.admin, "GET", "/readyz", &[], None).is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        bail!("the host is not ready: {}", self.log_tail())
    }

    /// How the host ended, if it did.
    pub fn host_ended(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        match &mut self.host {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Kills the host as the kernel would, and waits for its end.
    pub fn kill_host(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.host.take() {
            // What wraps the host does not take it along when it is killed.
            let wrapped = if self.is_host_alone { vec![] } else { children(&child) };
            let _ = child.kill();
            child.wait()?;
            for pid in &wrapped {
                let _ = rustix::process::kill_process(*pid, rustix::process::Signal::KILL);
            }
            // Nobody here is its parent: until its last thread is gone it holds the store's lock.
            await_until(|| wrapped.iter().all(|pid| is_gone(*pid)))?;
        }
        Ok(())
    }

    /// Asks the host to stop, and waits for its end.
    pub fn stop_host(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        let mut child = self.host.take().context("no host")?;
        signal(&child, rustix::process::Signal::TERM)?;
        Ok(child.wait()?)
    }

    /// Sends the host a signal.
    pub fn signal_host(&self, which: rustix::process::Signal) -> anyhow::Result<()> {
        signal(self.host.as_ref().context("no host")?, which)
    }

    /// Waits for the host's end.
    pub fn await_host_end(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        Ok(self.host.take().context("no host")?.wait()?)
    }

    /// Kills the acquirer.
    pub fn kill_acquirer(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.acquirer.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Changes the host's environment for the next start.
    pub fn set_env(&mut self, env: Vec<(String, String)>) {
        self.options.env = env;
    }

    /// What is put in front of the host's command at the next start.
    pub fn set_wrapper(&mut self, wrapper: Vec<String>) {
        self.options.wrapper = wrapper;
    }

    /// The process id of the host.
    pub fn host_pid(&self) -> Option<u32> {
        self.host.as_ref().map(Child::id)
    }

    /// The last lines of the host's log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("host.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(5))
            .copied()
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Makes a test key for a merchant, with all scopes.
    pub fn new_key(&self, merchant: &str) -> anyhow::Result<String> {
        let body = json!({ "merchant": merchant, "mode": "test", "scopes": [] });
        let reply = self.admin_call("POST", "/admin/keys", Some(&body))?;
        Ok(reply
            .body
            .get("key")
            .and_then(Value::as_str)
            .context("no key")?
            .to_owned())
    }

    /// Calls the operators' API.
    pub fn admin_call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let token = std::fs::read_to_string(self.data().join("admin.token"))?;
        let bearer = format!("Bearer {}", token.trim());
        let text = body.map(Value::to_string);
        call(
            self.admin,
            method,
            path,
            &[("authorization", &bearer), ("content-type", "application/json")],
            text.as_deref(),
        )
    }

    /// A new Idempotency-Key.
    pub fn fresh_key(&self) -> String {
        format!(
            "key-{}-{}",
            std::process::id(),
            self.counter.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// `GET` as the merchant.
    pub fn get(&self, path: &str) -> anyhow::Result<Reply> {
        let bearer = format!("Bearer {}", self.key);
        call(self.api, "GET", path, &[("authorization", &bearer)], None)
    }

    /// `POST` as the merchant, with a new Idempotency-Key.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.post_with_key(path, body, &self.fresh_key())
    }

    /// `POST` as the merchant, with that Idempotency-Key.
    pub fn post_with_key(&self, path: &str, body: &Value, key: &str) -> anyhow::Result<Reply> {
        self.post_as(&self.key, path, body, key)
    }

    /// The same as whoever has that API key.
    pub fn post_as(&self, api_key: &str, path: &str, body: &Value, key: &str) -> anyhow::Result<Reply> {
        let bearer = format!("Bearer {api_key}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ];
        call(self.api, "POST", path, &headers, Some(&body.to_string()))
    }

    /// Stores a card; returns its token.
    pub fn store_card(&self, number: &str) -> anyhow::Result<String> {
        let card = json!({ "number": number, "expiry_month": 12, "expiry_year": 2031, "security_code": "123", "holder": "Ada Lovelace" });
        let reply = self.post("/v1/payment_methods", &json!({ "type": "card", "card": card }))?;
        anyhow::ensure!(reply.status == 200, "storing a card: {}", reply.text);
        Ok(reply.text_at("/id").to_owned())
    }

    /// Creates and confirms a payment with a card.
    pub fn pay(&self, number: &str, amount: u64) -> anyhow::Result<Reply> {
        let method = self.store_card(number)?;
        self.post(
            "/v1/payments",
            &json!({ "amount": amount, "currency": "EUR", "payment_method": method, "confirm": true }),
        )
    }

    /// What the acquirer really did.
    pub fn records(&self) -> anyhow::Result<Value> {
        Ok(call(self.acquirer_at, "GET", "/records", &[], None)?.body)
    }

    /// The acquirer's charges for a payment.
    pub fn charges_of(&self, payment: &str) -> anyhow::Result<Vec<Value>> {
        let records = self.records()?;
        let charges = records
            .get("charges")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        Ok(charges
            .into_iter()
            .filter(|charge| charge.get("reference").and_then(Value::as_str) == Some(payment))
            .collect())
    }

    /// Waits until `is_there` finds what it looks for in the payment.
    pub fn await_payment(&self, id: &str, is_there: impl FnMut(&Reply) -> bool) -> anyhow::Result<Reply> {
        self.await_at(&format!("/v1/payments/{id}"), is_there)
    }

    /// Waits until `is_there` finds what it looks for at that path.
    pub fn await_at(&self, path: &str, mut is_there: impl FnMut(&Reply) -> bool) -> anyhow::Result<Reply> {
        let started = Instant::now();
        loop {
            let reply = self.get(path)?;
            if is_there(&reply) {
                return Ok(reply);
            }
            if started.elapsed() > START_WITHIN {
                bail!("it never happened: {}", reply.text);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Fails unless the books balance and the log is whole.
    pub fn assert_books(&self) -> anyhow::Result<()> {
        let books = self.admin_call("GET", "/admin/ledger/check", None)?;
        anyhow::ensure!(
            books.body.get("balanced") == Some(&json!(true)),
            "the books: {}",
            books.text
        );
        // What a merchant has is never less than nothing, but for money that was paid out and then taken back.
        let rows = books.body.get("balances").and_then(Value::as_array);
        for row in rows.into_iter().flatten() {
            let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
            let number = |name: &str| text(name).parse::<i128>().unwrap_or_default();
            let is_purse = text("account").starts_with("merchant:");
            anyhow::ensure!(
                !is_purse || number("credit") >= number("debit"),
                "a purse below nothing: {row}"
            );
        }
        let log = self.admin_call("GET", "/admin/audit/verify", None)?;
        anyhow::ensure!(log.body.get("intact") == Some(&json!(true)), "the log: {}", log.text);
        Ok(())
    }
}

fn signal(child: &Child, which: rustix::process::Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .context("no process id")?;
    Ok(rustix::process::kill_process(pid, which)?)
}
