//! The disk: kills and errors at every durable or network system call of the unmodified binary (strace injection), and
//! power loss: files rebuilt from a system-call log with unsynced writes dropped. As root strace may inject; where it is
//! missing, these tests say so and fail.

use portolan_tests::{Options, Reply, World};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Whichever of them the store's SQLite was built with.
const SYNC: &str = "fdatasync,fsync";

fn quiet() -> Options {
    Options {
        is_fresh: true,
        acquirer: vec!["--silent".into(), "--no-sync".into()],
        policy: "check_first_ms = 50\ncheck_max_ms = 200".into(),
        timeout_ms: 400,
        // What is injected is for the host; its workers would get it too.
        trusted: true,
        ..Options::default()
    }
}

/// A card without security code, so that a lost request can go out again after a restart.
fn method(world: &World) -> String {
    let card = json!({ "number": "4242424242424242", "expiry_month": 12, "expiry_year": 2031 });
    let stored = world
        .post("/v1/payment_methods", &json!({ "type": "card", "card": card }))
        .unwrap();
    stored.text_at("/id").to_owned()
}

fn pay(world: &World, method: &str, key: &str) -> Option<Reply> {
    let body = json!({ "amount": 1000, "currency": "EUR", "payment_method": method, "confirm": true });
    world.post_with_key("/v1/payments", &body, key).ok()
}

/// After a fault: start without it, ask again with the same key, and compare books and acquirer.
fn recovers(world: &mut World, method: &str, keys: &[String], what: &str) {
    world.set_wrapper(vec![]);
    world.start_host().unwrap();
    for key in keys {
        let again = pay(world, method, key).unwrap();
        assert_eq!(again.status, 200, "{what} {key}: {}", again.text);
        let last = world
            .await_payment(again.text_at("/id"), |it| it.text_at("/status") != "processing")
            .unwrap();
        assert_eq!(last.text_at("/status"), "succeeded", "{what} {key}: {}", last.text);
        assert_eq!(world.charges_of(last.text_at("/id")).unwrap().len(), 1, "{what} {key}");
    }
    world.assert_books().unwrap();
}

/// Runs payments under an injected fault until the host dies or `most` are through; returns their keys.
fn payments_under(world: &mut World, method: &str, inject: &str, most: usize) -> Vec<String> {
    world.kill_host().unwrap();
    let trace = world.folder.join("strace.log").display().to_string();
    world.set_wrapper(
        ["strace", "-f", "-qq", "-o", &trace, "-e", &format!("inject={inject}")]
            .map(str::to_owned)
            .into(),
    );
    world.spawn_host().unwrap();
    let mut keys = vec![];
    if world.wait_ready().is_ok() {
        for _ in 0..most {
            let key = world.fresh_key();
            let told = pay(world, method, &key);
            keys.push(key);
            if told.is_none() {
                // It died under the request; whoever traces it needs a moment to see that.
                await_end(world);
                break;
            }
            if world.host_ended().unwrap().is_some() {
                break;
            }
        }
    }
    keys
}

fn await_end(world: &mut World) {
    let started = Instant::now();
    while world.host_ended().unwrap().is_none() && started.elapsed() < Duration::from_secs(2) {
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_kill_at_every_nth_system_call() {
    let mut world = World::start(quiet()).unwrap();
    let method = method(&world);
    let mut killed = 0;
    for call in ["pwrite64", SYNC, "sendto,write,writev", "recvfrom,read"] {
        // Later ones in larger strides: the walk repeats itself from payment to payment.
        for n in [1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 45] {
            let keys = payments_under(&mut world, &method, &format!("{call}:signal=SIGKILL:when={n}"), 25);
            killed += usize::from(world.host_ended().unwrap().is_some());
            world.kill_host().unwrap();
            recovers(&mut world, &method, &keys, &format!("kill at {call} {n}"));
        }
    }
    assert!(killed >= 40, "only {killed} of 52 injections killed the host");
}

#[test]
fn every_reported_disk_error_is_refused_or_ends_the_process_within_a_second() {
    let mut world = World::start(quiet()).unwrap();
    let method = method(&world);
    for call in ["pwrite64", SYNC] {
        for error in ["EIO", "ENOSPC"] {
            for n in 1..=6 {
                let what = format!("{error} at {call} {n}");
                let keys = payments_under(&mut world, &method, &format!("{call}:error={error}:when={n}"), 3);
                let log = std::fs::read_to_string(world.folder.join("host.log")).unwrap();
                if log.contains("stopping at once") {
                    let started = Instant::now();
                    while world.host_ended().unwrap().is_none() {
                        assert!(started.elapsed() < Duration::from_secs(1), "{what}: still alive");
                        std::thread::yield_now();
                    }
                }
                std::fs::write(world.folder.join("host.log"), "").unwrap();
                world.kill_host().unwrap();
                recovers(&mut world, &method, &keys, &what);
            }
        }
    }
}

/// A system call on a file of the store, from the log.
enum Call {
    Write {
        file: PathBuf,
        at: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        file: PathBuf,
        length: u64,
    },
    Sync {
        file: PathBuf,
    },
    /// Something was told to a client: from here on it must be there.
    Told(usize),
}

/// Rebuilds the store's files at every step of a system-call log, dropping what was not synced, and opens each.
#[test]
fn power_loss_loses_nothing_acknowledged_and_without_sync_it_does() {
    let lost_with_sync = lost_after_power_loss("durable = true");
    assert_eq!(lost_with_sync, 0, "acknowledged payments were lost");
    let lost_without = lost_after_power_loss("durable = false");
    assert!(
        lost_without > 0,
        "the same run with synchronous=NORMAL must lose some, or this test proves nothing"
    );
}

fn lost_after_power_loss(store: &str) -> usize {
    let mut world = World::start(Options {
        is_fresh: true,
        store: store.into(),
        ..quiet()
    })
    .unwrap();
    let method = method(&world);
    assert!(world.stop_host().unwrap().success());
    let before = world.folder.join("before");
    copy_store(&world.folder.join("data"), &before);
    let trace = world.folder.join("power.log").display().to_string();
    let calls = "trace=openat,close,pwrite64,ftruncate,fdatasync,fsync,unlink,write,writev,sendto";
    world.set_wrapper(
        [
            "strace", "-f", "-qq", "-y", "-xx", "-s", "10000000", "-o", &trace, "-e", calls,
        ]
        .map(str::to_owned)
        .into(),
    );
    world.start_host().unwrap();
    let mut told = vec![];
    for _ in 0..12 {
        let key = world.fresh_key();
        let reply = pay(&world, &method, &key).unwrap();
        assert_eq!(reply.text_at("/status"), "succeeded");
        told.push(reply.text_at("/id").to_owned());
    }
    world.kill_host().unwrap();
    let log = std::fs::read_to_string(&trace).unwrap();
    let calls = parse(&log, &told);
    replay(&world.folder, &before, &calls, &told)
}

fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["portolan.db", "portolan.db-wal"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// `\x41\x42` as strace prints it.
fn unhex(text: &str) -> Vec<u8> {
    text.split("\\x")
        .skip(1)
        .filter_map(|pair| u8::from_str_radix(pair.get(..2)?, 16).ok())
        .collect()
}

fn parse(log: &str, told: &[String]) -> Vec<Call> {
    let mut calls = vec![];
    for line in log.lines() {
        let Some((call, rest)) = line.split_once(' ').and_then(|(_, call)| call.trim().split_once('(')) else {
            continue;
        };
        // With -y the path stands behind the descriptor: 9</data/portolan.db-wal>, in hexadecimal with -xx.
        let path = rest
            .split_once('<')
            .and_then(|(_, path)| path.split_once('>'))
            .map(|(path, _)| path);
        let path = path.map(|path| {
            if path.contains("\\x") {
                String::from_utf8_lossy(&unhex(path)).into_owned()
            } else {
                path.to_owned()
            }
        });
        let file = path
            .map(PathBuf::from)
            .filter(|path| path.to_string_lossy().contains("portolan.db"));
        let quoted = rest.split('"').nth(1).map(unhex).unwrap_or_default();
        // Behind the bytes, or behind the descriptor: length and offset, whether or not the line is whole.
        let behind = rest
            .rsplit(if quoted.is_empty() { '>' } else { '"' })
            .next()
            .unwrap_or_default();
        let numbers: Vec<u64> = behind
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect();
        match (call, file) {
            ("pwrite64", Some(file)) => {
                calls.push(Call::Write {
                    file,
                    at: numbers[1],
                    bytes: quoted,
                });
            }
            ("ftruncate", Some(file)) => calls.push(Call::Truncate {
                file,
                length: numbers[0],
            }),
            ("fdatasync" | "fsync", Some(file)) => calls.push(Call::Sync { file }),
            ("write" | "writev" | "sendto", None) => {
                let text = String::from_utf8_lossy(&unhex(rest)).into_owned();
                if let Some(n) = told.iter().position(|id| {
                    text.starts_with("HTTP/1.1 200") && text.contains(id.as_str())
                        || text.contains(&format!(
                            "\"id\":\"{id}\",\"object\":\"payment\",\"status\":\"succeeded\""
                        ))
                }) {
                    calls.push(Call::Told(n));
                }
            }
            _ => {}
        }
    }
    calls
}

/// At every sync and every acknowledgement: the files as they would be found after the power went, and how many
/// acknowledged payments are not in them.
fn replay(folder: &Path, before: &Path, calls: &[Call], told: &[String]) -> usize {
    let mut synced: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for name in ["portolan.db", "portolan.db-wal"] {
        synced.insert(name.into(), std::fs::read(before.join(name)).unwrap_or_default());
    }
    let mut written = synced.clone();
    let name = |file: &Path| file.file_name().unwrap().to_string_lossy().into_owned();
    let (mut acknowledged, mut lost, mut states) = (vec![], 0, 0);
    for call in calls {
        match call {
            Call::Write { file, at, bytes } => {
                let content = written.entry(name(file)).or_default();
                let end = usize::try_from(*at).unwrap() + bytes.len();
                content.resize(content.len().max(end), 0);
                content[usize::try_from(*at).unwrap()..end].copy_from_slice(bytes);
            }
            Call::Truncate { file, length } => {
                written
                    .entry(name(file))
                    .or_default()
                    .resize(usize::try_from(*length).unwrap(), 0);
            }
            Call::Sync { file } => {
                let content = written.get(&name(file)).cloned().unwrap_or_default();
                synced.insert(name(file), content);
            }
            Call::Told(n) => {
                acknowledged.push(told[*n].clone());
                states += 1;
                lost += missing(folder, &synced, &acknowledged, states);
            }
        }
    }
    assert!(
        states >= told.len(),
        "only {states} acknowledgements were found in the log"
    );
    lost
}

/// Opens one crash state with SQLite's own shell and counts the acknowledged payments that are not in it.
fn missing(folder: &Path, files: &BTreeMap<String, Vec<u8>>, acknowledged: &[String], state: usize) -> usize {
    let place = folder.join(format!("crash-{state}"));
    std::fs::create_dir_all(&place).unwrap();
    for (name, content) in files.iter().filter(|(name, _)| !name.ends_with("-shm")) {
        std::fs::write(place.join(name), content).unwrap();
    }
    let out = Command::new("sqlite3")
        .arg(place.join("portolan.db"))
        .arg("PRAGMA integrity_check; SELECT lower(hex(id)) || ' ' || status FROM payment;")
        .output()
        .expect("sqlite3 (Debian: apt-get install sqlite3)");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        text.starts_with("ok"),
        "crash state {state} is damaged: {text} {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let found: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    let there = |id: &&String| found.get(id.trim_start_matches("pay_")) == Some(&"succeeded");
    acknowledged.len() - acknowledged.iter().filter(there).count()
}
