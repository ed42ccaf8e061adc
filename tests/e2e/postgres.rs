//! The schema for many nodes on a private PostgreSQL, which the test starts: it is accepted, it has the embedded store's
//! tables and columns, and its guards refuse what they must. The store over it is not written yet.

use portolan_tests::workspace;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A cluster of its own on a socket of its own, stopped with the value.
struct Postgres {
    folder: tempfile::TempDir,
    bin: PathBuf,
}

/// PostgreSQL refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn done(command: &mut Command) -> Output {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    out
}

impl Postgres {
    fn start() -> Self {
        let versions = std::fs::read_dir("/usr/lib/postgresql").expect("Debian: apt-get install postgresql");
        let mut bins: Vec<PathBuf> = versions.map(|it| it.unwrap().path().join("bin")).collect();
        bins.sort();
        let bin = bins.pop().expect("Debian: apt-get install postgresql");
        let folder = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            done(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let data = folder.path().join("data");
        let initdb = ["--auth", "trust", "--no-sync", "--username", "portolan", "-D"];
        done(
            unprivileged(&bin.join("initdb"))
                .args(initdb)
                .arg(&data)
                .current_dir("/"),
        );
        let socket = format!("-k {} -c listen_addresses=''", folder.path().display());
        let log = folder.path().join("log");
        let start = ["start", "--wait", "--silent", "-o", &socket, "-D"];
        done(
            unprivileged(&bin.join("pg_ctl"))
                .args(start)
                .arg(&data)
                .arg("-l")
                .arg(&log)
                .current_dir("/"),
        );
        Self { folder, bin }
    }

    /// Runs statements; what they print, or the error.
    fn run(&self, statements: &str) -> Result<String, String> {
        let socket = self.folder.path().display().to_string();
        let words = [
            "-h",
            &socket,
            "-U",
            "portolan",
            "-d",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-At",
            "-c",
        ];
        let out = Command::new(self.bin.join("psql"))
            .args(words)
            .arg(statements)
            .output()
            .unwrap();
        match out.status.success() {
            true => Ok(String::from_utf8(out.stdout).unwrap().trim().to_owned()),
            false => Err(String::from_utf8(out.stderr).unwrap()),
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.folder.path().join("data");
        let stop = ["stop", "--silent", "--mode", "immediate", "-D"];
        let _ = unprivileged(&self.bin.join("pg_ctl"))
            .args(stop)
            .arg(data)
            .current_dir("/")
            .status();
    }
}

fn schema(backend: &str) -> String {
    let folder = workspace().join(format!("host/storage/migrations/{backend}"));
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect()
}

/// Table and column, a line each, of the embedded store's schema.
fn embedded_columns() -> String {
    let mut sqlite = Command::new("sqlite3")
        .arg(":memory:")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 (Debian: apt-get install sqlite3)");
    // Names that begin so are SQLite's own.
    let list = "SELECT m.name || ' ' || c.name FROM sqlite_master m, pragma_table_info(m.name) c \
                WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\';";
    let mut input = sqlite.stdin.take().unwrap();
    write!(input, "{}\n{list}", schema("sqlite")).unwrap();
    drop(input);
    String::from_utf8(sqlite.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn the_schema_for_many_nodes_is_the_embedded_one_and_its_guards_hold() {
    let postgres = Postgres::start();
    postgres.run(&schema("postgres")).unwrap();
    let listed = postgres
        .run("SELECT table_name || ' ' || column_name FROM information_schema.columns WHERE table_schema = 'public'")
        .unwrap();
    let embedded = embedded_columns();
    let columns = |text: &str| -> BTreeMap<String, BTreeSet<String>> {
        let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (table, column) in text.lines().filter_map(|line| line.split_once(' ')) {
            tables.entry(table.to_owned()).or_default().insert(column.to_owned());
        }
        tables
    };
    let mut theirs = columns(&listed);
    assert!(theirs.remove("chain_head").is_some(), "many nodes need one order");
    assert_eq!(theirs, columns(&embedded));

    let id = "'01a21010-4996-724b-8db8-c20400000000'";
    let insert = format!(
        "INSERT INTO payment (id, owner, version, status, journal, data_key, sealed)
         VALUES ({id}, 'test:shop', 1, 'processing', '{{1}}', '', '') ON CONFLICT DO NOTHING"
    );
    assert_eq!(postgres.run(&insert).unwrap(), "INSERT 0 1");
    assert_eq!(postgres.run(&insert).unwrap(), "INSERT 0 0", "it exists");
    let update = |version: u64| {
        format!(
            "UPDATE payment SET version = version + 1, journal = journal || 2::bigint WHERE id = {id} AND version = {version}"
        )
    };
    assert_eq!(postgres.run(&update(7)).unwrap(), "UPDATE 0", "another version");
    assert_eq!(postgres.run(&update(1)).unwrap(), "UPDATE 1");
    let claim = format!("INSERT INTO claim VALUES ('\\x01', {id}, NULL, '\\x02', 5)");
    postgres.run(&claim).unwrap();
    assert!(
        postgres.run(&claim).unwrap_err().contains("claim_pkey"),
        "a key is taken once"
    );
    let row = |hash: &str| format!("INSERT INTO journal VALUES (1, {id}, 'test:shop', '{{}}', {hash}, NULL, NULL)");
    assert!(
        postgres.run(&row("'\\x00'")).unwrap_err().contains("check"),
        "a hash has 32 bytes"
    );
    postgres.run(&row("(SELECT hash FROM chain_head)")).unwrap();
    let quote = format!("INSERT INTO quote VALUES ({id}, 'test:shop', 5, NULL, '', '')");
    postgres.run(&quote).unwrap();
    let take = format!("UPDATE quote SET used_by = {id} WHERE id = {id} AND used_by IS NULL");
    assert_eq!(postgres.run(&take).unwrap(), "UPDATE 1");
    assert_eq!(postgres.run(&take).unwrap(), "UPDATE 0", "a quote is used once");
    let most = "9".repeat(38);
    postgres
        .run(&format!(
            "INSERT INTO balance VALUES (0, 'a', 'EUR', '', {most}, 0, 0, 0)"
        ))
        .unwrap();
    assert_eq!(postgres.run("SELECT debit FROM balance").unwrap(), most, "exact");
}
