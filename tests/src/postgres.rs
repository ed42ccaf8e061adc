//! A private PostgreSQL: a cluster in a temporary folder, reached over a socket in it, gone with the value or the test.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long the server may take to be there.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Runs until its input ends, which it does with the test, however that ends. Its name is the folder that goes with it, if one does.
const UNTIL_END: &str =
    r#""$@" & server=$!; read -r _; kill -QUIT $server; wait $server; [ "$0" = sh ] || rm -rf "$0""#;

/// A cluster with its server.
pub struct Postgres {
    folder: tempfile::TempDir,
    bin: PathBuf,
    server: Option<Child>,
    is_durable: bool,
    /// Nobody drops it: its files go with the server.
    is_shared: bool,
    databases: AtomicU32,
}

/// One cluster for all tests of a process. It ends with the process.
pub fn shared() -> anyhow::Result<&'static Postgres> {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if SHARED.get().is_none() {
        let _ = SHARED.set(Postgres::begin(true, true)?);
    }
    SHARED.get().context("no cluster")
}

/// PostgreSQL refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    let mut command = match rustix::process::geteuid().is_root() {
        true => {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        }
        false => Command::new(program),
    };
    command.current_dir("/");
    command
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    anyhow::ensure!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}

impl Postgres {
    /// A new cluster. `is_durable`: whether it syncs; a test that kills only processes needs no disk.
    pub fn start(is_durable: bool) -> anyhow::Result<Self> {
        Self::begin(is_durable, false)
    }

    fn begin(is_durable: bool, is_shared: bool) -> anyhow::Result<Self> {
        let missing = "Debian: apt-get install postgresql";
        let versions = std::fs::read_dir("/usr/lib/postgresql").context(missing)?;
        let mut bins: Vec<PathBuf> = versions
            .map(|it| it.map(|it| it.path().join("bin")))
            .collect::<Result<_, _>>()?;
        bins.sort();
        let mut cluster = Self {
            folder: tempfile::tempdir()?,
            bin: bins.pop().context(missing)?,
            server: None,
            is_durable,
            is_shared,
            databases: AtomicU32::new(0),
        };
        if rustix::process::geteuid().is_root() {
            done(Command::new("chown").arg("postgres").arg(cluster.folder()))?;
        }
        let initdb = [
            "--auth",
            "trust",
            "--no-sync",
            "--username",
            "portolan",
            "-E",
            "UTF8",
            "-D",
        ];
        done(
            unprivileged(&cluster.bin.join("initdb"))
                .args(initdb)
                .arg(cluster.data()),
        )?;
        cluster.up()?;
        Ok(cluster)
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Starts the server, over the files that are there.
    pub fn up(&mut self) -> anyhow::Result<()> {
        let mut log = std::fs::OpenOptions::new();
        let log = log.create(true).append(true).open(self.folder().join("server.log"))?;
        let data = self.data();
        let goes = if self.is_shared {
            data.as_path()
        } else {
            Path::new("sh")
        };
        let server = unprivileged(Path::new("sh"))
            .args(["-c", UNTIL_END])
            .arg(goes)
            .arg(self.bin.join("postgres"))
            .args(["-c", "listen_addresses=", "-c"])
            .arg(format!("fsync={}", if self.is_durable { "on" } else { "off" }))
            .arg("-k")
            .arg(self.folder())
            .arg("-D")
            .arg(self.data())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.server = Some(server);
        let started = Instant::now();
        while self.run("postgres", "SELECT 1").is_err() {
            anyhow::ensure!(started.elapsed() < START_WITHIN, "PostgreSQL does not start");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Tells the server to end at once; it does so while the caller goes on.
    pub fn cut(&mut self) {
        drop(self.server.as_mut().and_then(|server| server.stdin.take()));
    }

    /// Ends the server at once, as a power cut would end its processes.
    pub fn down(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            server.wait()?;
        }
        Ok(())
    }

    /// A copy of the whole cluster that follows it and is then promoted: a cluster of its own from there on.
    pub fn promoted_copy(&self) -> anyhow::Result<Self> {
        let mut copy = Self {
            folder: tempfile::tempdir()?,
            bin: self.bin.clone(),
            server: None,
            is_durable: self.is_durable,
            is_shared: false,
            databases: AtomicU32::new(0),
        };
        if rustix::process::geteuid().is_root() {
            done(Command::new("chown").arg("postgres").arg(copy.folder()))?;
        }
        let words = ["-U", "portolan", "-X", "stream", "-c", "fast", "-R", "--no-sync", "-h"];
        let mut backup = unprivileged(&self.bin.join("pg_basebackup"));
        done(backup.args(words).arg(self.folder()).arg("-D").arg(copy.data()))?;
        copy.up()?;
        copy.run("postgres", "SELECT pg_promote()")?;
        Ok(copy)
    }

    /// A new database; the string that connects to it.
    pub fn database(&self) -> anyhow::Result<String> {
        let name = format!("store_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.connection(&name))
    }

    /// The string that connects to a database of that name.
    pub fn connection(&self, name: &str) -> String {
        format!("host={} user=portolan dbname={name}", self.folder().display())
    }

    /// Runs statements in a database; what they print, a row a line.
    pub fn run(&self, database: &str, statements: &str) -> anyhow::Result<String> {
        let words = [
            "-U",
            "portolan",
            "-X",
            "-v",
            "ON_ERROR_STOP=1",
            "-At",
            "-d",
            database,
            "-c",
            statements,
        ];
        self.tool("psql", &words)
    }

    /// Runs a program of PostgreSQL's against the cluster; what it prints.
    pub fn tool(&self, program: &str, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.bin.join(program));
        let out = command.arg("-h").arg(self.folder()).args(words).output()?;
        if !out.status.success() {
            bail!("{}", String::from_utf8_lossy(&out.stderr));
        }
        Ok(String::from_utf8(out.stdout)?.trim().to_owned())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The folder goes after it.
        let _ = self.down();
    }
}
