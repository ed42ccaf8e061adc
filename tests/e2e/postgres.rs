//! The store in a PostgreSQL that the tests start: the same payments, routers on two machines of which one writes, and what a
//! router does that lost the database.

use crate::limits::lose_a_capture;
use crate::plugins::{active, ready, rebuilt, step};
use crate::standby::finds;
use portolan_tests::postgres::{Postgres, shared};
use portolan_tests::{Options, World, await_until, binary, call, workspace};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const GOOD: &str = "4242424242424242";
/// The acquirer takes it and its answer is lost.
const LOST: u64 = 2_903;
/// How a router ends that cannot keep what it promised.
const GIVEN_UP: i32 = 74;

fn world() -> World {
    World::start(Options {
        acquirer: vec!["--silent".into()],
        postgres: Some(shared().unwrap().database().unwrap()),
        ..Options::default()
    })
    .unwrap()
}

/// The database as a dump.
pub(crate) fn dump(world: &World, database: &str) -> PathBuf {
    let words = ["-U", "portolan", "--no-owner", "-d", database];
    let copy = world.folder.join("copy.sql");
    std::fs::write(&copy, shared().unwrap().tool("pg_dump", &words).unwrap()).unwrap();
    copy
}

/// The database is gone, and a dump takes its place.
pub(crate) fn restore(database: &str, copy: &Path) {
    let cluster = shared().unwrap();
    for statement in [
        format!("DROP DATABASE {database} WITH (FORCE)"),
        format!("CREATE DATABASE {database}"),
    ] {
        cluster.run("postgres", &statement).unwrap();
    }
    let copy = copy.display().to_string();
    let words = [
        "-U",
        "portolan",
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        database,
        "-f",
        &copy,
    ];
    cluster.tool("psql", &words).unwrap();
}

/// Ends the connection that writes, as a network or a failover does: the database lets go of the lease with it.
fn cut(world: &World) {
    let holder = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let ended = shared().unwrap().run(world.database().unwrap(), holder).unwrap();
    assert_eq!(ended, "1", "one router has the lease");
}

#[test]
fn the_same_payments_and_the_same_books_in_a_database() {
    let mut world = world();
    let paid = world.pay(GOOD, 1_000).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    let declined = world.pay("4000000000000002", 1_000).unwrap();
    assert_eq!(declined.text_at("/status"), "failed", "{}", declined.text);
    let lost = world.pay(GOOD, LOST).unwrap();
    assert_eq!(lost.text_at("/outcome"), "unknown", "{}", lost.text);
    world.kill_host().unwrap();
    world.start_host().unwrap();
    let found = world
        .await_payment(lost.text_at("/id"), |it| it.text_at("/status") == "succeeded")
        .unwrap();
    assert_eq!(world.charges_of(found.text_at("/id")).unwrap().len(), 1);
    let all = world.get("/v1/payments").unwrap();
    assert_eq!(all.body["data"].as_array().unwrap().len(), 3, "{}", all.text);
    world.assert_books().unwrap();
}

/// Nothing but the keys is carried from machine to machine: adapters, versions, payments and what is unknown are in the database.
#[test]
fn a_router_on_another_machine_takes_over_from_one_that_is_killed() {
    let mut world = world();
    let elsewhere = world.stand_by_elsewhere().unwrap();
    let second = ready(&world, &rebuilt("portolan_sandbox_adapter", b'2'));
    assert_eq!(step(&world, &second, "activate", &json!({})).status, 200);
    // It is compiled there before it is needed.
    let is_prepared = || {
        let compiled = std::fs::read_dir(elsewhere.join("data/components"))
            .into_iter()
            .flatten();
        compiled
            .flatten()
            .any(|it| it.file_name().to_string_lossy().starts_with(&second))
    };
    // Compiling gives way to all else that runs.
    assert!((0..4).any(|_| await_until(is_prepared).is_ok()), "{}", world.log_tail());
    let paid = world.pay(GOOD, 1_000).unwrap();
    let lost = world.pay(GOOD, LOST).unwrap();
    assert_eq!(lost.text_at("/outcome"), "unknown", "{}", lost.text);
    world.kill_host().unwrap();
    // The first machine is gone with its files.
    std::fs::rename(world.folder.join("data"), world.folder.join("gone")).unwrap();
    world.await_takeover().unwrap();
    assert_eq!(active(&world), second);
    assert!(elsewhere.join(format!("data/plugins/{second}.wasm")).exists());
    finds(&world, &paid, &lost);
    assert_eq!(world.pay(GOOD, 1_000).unwrap().text_at("/status"), "succeeded");
    world.assert_books().unwrap();
}

/// The first router is stopped in the middle of its work, loses the lease, and wakes up when another has taken over: it writes
/// nothing more, and ends.
#[test]
fn a_router_that_slept_while_another_took_over_writes_nothing_more() {
    let mut world = world();
    world.stand_by_elsewhere().unwrap();
    let paid = world.pay(GOOD, 1_000).unwrap();
    world.signal_host(rustix::process::Signal::STOP).unwrap();
    cut(&world);
    world.await_takeover().unwrap();
    let next = world.pay(GOOD, 1_100).unwrap();
    assert_eq!(next.text_at("/status"), "succeeded", "{}", next.text);
    assert_eq!(
        world.wake_first().unwrap().code(),
        Some(GIVEN_UP),
        "{}",
        world.log_tail()
    );
    let path = format!("/v1/payments/{}", paid.text_at("/id"));
    assert_eq!(world.get(&path).unwrap().text_at("/status"), "succeeded");
    for payment in [&paid, &next] {
        assert_eq!(world.charges_of(payment.text_at("/id")).unwrap().len(), 1);
    }
    world.assert_books().unwrap();
}

/// The database itself goes away and comes back: who wrote it ends, who stood by waits on, and is there when it is.
#[test]
fn who_stands_by_outlives_the_database() {
    let mut cluster = Postgres::start(true).unwrap();
    let mut world = World::start(Options {
        acquirer: vec!["--silent".into()],
        postgres: Some(cluster.database().unwrap()),
        ..Options::default()
    })
    .unwrap();
    world.stand_by_elsewhere().unwrap();
    let paid = world.pay(GOOD, 1_000).unwrap();
    cluster.down().unwrap();
    assert_eq!(
        world.await_host_end().unwrap().code(),
        Some(GIVEN_UP),
        "{}",
        world.log_tail()
    );
    let log = || std::fs::read_to_string(world.folder.join("host.log")).unwrap();
    await_until(|| log().contains("it goes on as soon as this is mended")).unwrap();
    cluster.up().unwrap();
    world.await_takeover().unwrap();
    let path = format!("/v1/payments/{}", paid.text_at("/id"));
    assert_eq!(world.get(&path).unwrap().text_at("/status"), "succeeded");
    assert_eq!(world.pay(GOOD, 1_000).unwrap().text_at("/status"), "succeeded");
    world.assert_books().unwrap();
}

/// The worst moment: the first router sleeps between the intent on disk and the request. Who takes over finds out that nothing
/// arrived and says so; when the first wakes up, its request must not leave any more.
#[test]
fn a_request_does_not_leave_after_another_router_has_settled_it() {
    let policy = "check_first_ms = 50\ncheck_max_ms = 100\nleaves_within_ms = 300";
    let mut world = World::start(Options {
        acquirer: vec!["--silent".into()],
        postgres: Some(shared().unwrap().database().unwrap()),
        policy: policy.into(),
        ..Options::default()
    })
    .unwrap();
    world.set_env(vec![("PORTOLAN_SLEEP_AT".into(), "after_intent:1".into())]);
    world.stop_host().unwrap();
    world.start_host().unwrap();
    world.set_env(vec![]);
    world.stand_by_elsewhere().unwrap();
    // Its security code is in that router's memory.
    let method = world.store_card(GOOD).unwrap();
    let body = json!({ "amount": 1_200, "currency": "EUR", "payment_method": method, "confirm": true });
    let (api, authorization, key) = (world.api, format!("Bearer {}", world.key), world.fresh_key());
    // Whoever asked waits until the sleeper has ended.
    let asking = std::thread::spawn(move || {
        let headers = [
            ("Authorization", &*authorization),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", &key),
        ];
        call(api, "POST", "/v1/payments", &headers, Some(&body.to_string()))
    });
    let intents = "SELECT count(*) FROM timer WHERE kind = 'check'";
    let database = world.database().unwrap();
    await_until(|| shared().unwrap().run(database, intents).unwrap() == "1").unwrap();
    cut(&world);
    world.await_takeover().unwrap();
    let all = world.get("/v1/payments").unwrap();
    let id = all.text_at("/data/0/id").to_owned();
    let settled = world
        .await_payment(&id, |it| {
            it.text_at("/outcome") != "unknown" && it.text_at("/status") != "processing"
        })
        .unwrap();
    assert_eq!(
        settled.text_at("/status"),
        "requires_payment_method",
        "{}",
        settled.text
    );
    assert_eq!(
        world.wake_first().unwrap().code(),
        Some(GIVEN_UP),
        "{}",
        world.log_tail()
    );
    assert!(asking.join().unwrap().is_err(), "nobody was told anything");
    assert_eq!(world.charges_of(&id).unwrap().len(), 0);
    world.assert_books().unwrap();
}

#[test]
fn a_router_that_lost_the_database_ends_and_is_started_again() {
    let mut world = world();
    let paid = world.pay(GOOD, 1_000).unwrap();
    cut(&world);
    let ended = world.await_host_end().unwrap();
    assert_eq!(ended.code(), Some(GIVEN_UP), "{}", world.log_tail());
    world.start_host().unwrap();
    let path = format!("/v1/payments/{}", paid.text_at("/id"));
    assert_eq!(world.get(&path).unwrap().text_at("/status"), "succeeded");
    world.assert_books().unwrap();
}

/// A database that was put back in time is noticed without being told, and asked for before anything is written.
#[test]
fn a_dump_that_takes_the_databases_place_is_noticed() {
    let mut world = world();
    let id = lose_a_capture(&mut world);
    let shown = world
        .await_payment(&id, |it| it.text_at("/status") == "succeeded")
        .unwrap();
    assert_eq!(shown.body["amount_captured"], json!(5000), "{}", shown.text);
    assert_eq!(world.charges_of(&id).unwrap().len(), 1);
    world.assert_books().unwrap();
    // Asked once, it is an ordinary store again.
    let is_restored = || {
        let database = world.database().unwrap().to_owned();
        shared()
            .unwrap()
            .run(&database, "SELECT is_restored FROM portolan")
            .unwrap()
    };
    await_until(|| is_restored() == "f").unwrap();
}

/// A store that began as a file goes on in a database: payments, books, adapters, what is unknown, and the answers of keys.
#[test]
fn a_store_moves_from_its_file_into_a_database() {
    let mut world = crate::plugins::world();
    let second = ready(&world, &rebuilt("portolan_sandbox_adapter", b'2'));
    assert_eq!(step(&world, &second, "activate", &json!({})).status, 200);
    let method = world.store_card(GOOD).unwrap();
    let body = json!({ "amount": 1_000, "currency": "EUR", "payment_method": method, "confirm": true });
    let key = world.fresh_key();
    let paid = world.post_with_key("/v1/payments", &body, &key).unwrap();
    let refund = json!({ "payment": paid.text_at("/id"), "amount": 300 });
    assert_eq!(world.post("/v1/refunds", &refund).unwrap().status, 200);
    let lost = world.pay(GOOD, LOST).unwrap();
    assert_eq!(lost.text_at("/outcome"), "unknown", "{}", lost.text);
    let events = world.get("/v1/events?limit=100").unwrap();
    world.stop_host().unwrap();
    let connection = shared().unwrap().database().unwrap();
    world.set_postgres(connection).unwrap();
    let moved = || {
        let mut command = Command::new(binary("portolan"));
        command
            .arg("--config")
            .arg(world.config())
            .arg("move")
            .output()
            .unwrap()
    };
    let out = moved();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        said.contains("rows are in the database"),
        "{said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let again = String::from_utf8_lossy(&moved().stderr).into_owned();
    assert!(again.contains("there is no store at"), "{again}");
    // One that was killed before it could put the file away ends what it began.
    let file = world.data().join("portolan.db");
    std::fs::rename(file.with_extension("moved"), &file).unwrap();
    let ended = String::from_utf8_lossy(&moved().stdout).into_owned();
    assert!(ended.contains("all rows are in the database"), "{ended}");
    assert!(!file.exists());
    world.start_host().unwrap();
    assert_eq!(active(&world), second);
    let replayed = world.post_with_key("/v1/payments", &body, &key).unwrap();
    assert_eq!((replayed.status, &replayed.text), (paid.status, &paid.text));
    let found = world
        .await_payment(lost.text_at("/id"), |it| it.text_at("/status") == "succeeded")
        .unwrap();
    assert_eq!(world.charges_of(found.text_at("/id")).unwrap().len(), 1);
    let now = world.get("/v1/events?limit=100").unwrap();
    let ids = |reply: &portolan_tests::Reply| -> Vec<String> {
        let all = reply.body["data"].as_array().unwrap();
        all.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
    };
    assert!(ids(&now).ends_with(&ids(&events)), "{}", now.text);
    assert_eq!(world.pay(GOOD, 1_000).unwrap().text_at("/status"), "succeeded");
    world.assert_books().unwrap();
    let kept = shared()
        .unwrap()
        .run(world.database().unwrap(), "SELECT count(*) FROM adapter_file")
        .unwrap();
    assert_ne!(kept, "0", "another machine finds the adapters");
}

/// What the router says when it does not start with `store` as its store.
fn refusal(world: &World, store: &str) -> String {
    refusal_of(world, store, &["serve"])
}

fn refusal_of(world: &World, store: &str, verb: &[&str]) -> String {
    let folder = world.folder.join("refused");
    std::fs::create_dir_all(&folder).unwrap();
    let text = std::fs::read_to_string(world.config()).unwrap();
    let line = text.lines().find(|line| line.starts_with("postgres = ")).unwrap();
    let file = folder.join("portolan.toml");
    std::fs::write(&file, text.replace(line, store)).unwrap();
    let out = Command::new(binary("portolan"))
        .arg("--config")
        .arg(&file)
        .args(verb)
        .output()
        .unwrap();
    assert!(!out.status.success());
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_database_that_cannot_be_used_is_said_in_one_line() {
    let mut world = world();
    let mine = format!(
        "postgres = \"{}\"",
        shared().unwrap().connection(world.database().unwrap())
    );
    let in_use = refusal(&world, &mine);
    assert!(in_use.contains("is in use by another router"), "{in_use}");
    // Who stands by says what it lacks while there is somebody to mend it, and makes no keys of its own.
    let stand_by = ["serve", "--standby"];
    let no_keys = refusal_of(&world, &mine, &stand_by);
    assert!(
        no_keys.contains("sealed with keys that this router does not have"),
        "{no_keys}"
    );
    let secret = std::fs::read(world.folder.join("client.secret")).unwrap();
    std::fs::remove_file(world.folder.join("client.secret")).unwrap();
    let no_secret = refusal_of(&world, &mine, &stand_by);
    assert!(no_secret.contains("client.secret"), "{no_secret}");
    std::fs::write(world.folder.join("client.secret"), secret).unwrap();
    assert!(!world.folder.join("refused/data/keys.json").exists());
    world.stop_host().unwrap();
    let keys = refusal(&world, &mine);
    assert!(
        keys.contains("sealed with keys that this router does not have"),
        "{keys}"
    );
    let absent = format!("postgres = \"{}\"", shared().unwrap().connection("nowhere"));
    assert!(refusal(&world, &absent).contains("database \"nowhere\" does not exist"));
    let password = refusal(
        &world,
        "postgres = \"host=db.example user=u password=hunter2 dbname=d\"",
    );
    assert!(
        password.contains("a password does not stand in a configuration"),
        "{password}"
    );
    let garbled = refusal(&world, "postgres = \"host=db password='hunter2\"");
    assert!(
        garbled.contains("[store] postgres:") && !garbled.contains("hunter2"),
        "{garbled}"
    );
    let no_host = refusal(&world, "postgres = \"dbname=d\"");
    assert!(no_host.contains("it names no host"), "{no_host}");
    let unset = refusal(&world, "postgres = \"env:PORTOLAN_NOT_SET\"");
    assert!(unset.contains("PORTOLAN_NOT_SET is not set"), "{unset}");
    shared()
        .unwrap()
        .run(world.database().unwrap(), "UPDATE portolan SET migrations = 999")
        .unwrap();
    let newer = refusal(&world, &mine);
    assert!(newer.contains("was written by a newer version"), "{newer}");
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
fn the_database_has_the_embedded_stores_tables_and_columns() {
    let world = world();
    let listed = shared()
        .unwrap()
        .run(
            world.database().unwrap(),
            "SELECT table_name || ' ' || column_name FROM information_schema.columns WHERE table_schema = 'public'",
        )
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
    assert!(theirs.remove("portolan").is_some(), "who writes it");
    assert!(theirs.remove("adapter_file").is_some(), "what machines have in files");
    assert_eq!(theirs, columns(&embedded));
}
