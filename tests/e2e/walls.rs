//! The second wall: what a worker process has, and what becomes of payments when workers die or fall silent.

use portolan_tests::{Options, World};
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn world_of(trusted: bool) -> World {
    World::start(Options {
        acquirer: vec!["--silent".into()],
        server: "requests_per_second = 100000".into(),
        trusted,
        ..Options::default()
    })
    .unwrap()
}

/// The worker processes of a host.
fn workers(world: &World) -> Vec<u32> {
    let host = world.host_pid().unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{host}/task")).unwrap();
    let children = |task: PathBuf| std::fs::read_to_string(task.join("children")).unwrap_or_default();
    let all: String = tasks.map(|task| children(task.unwrap().path())).collect();
    let is_worker = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(b"\0worker\0")
    };
    all.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .filter(is_worker)
        .collect()
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).output().unwrap();
    // It may be gone already.
    drop(sent);
}

#[test]
fn a_worker_has_no_rights_no_files_and_no_words_of_the_router() {
    let world = world_of(false);
    world.pay("4242424242424242", 1_000).unwrap();
    let found = workers(&world);
    assert!(!found.is_empty());
    for pid in found {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name));
            found
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(line("Seccomp:"), "2", "{status}");
        assert_eq!(line("NoNewPrivs:"), "1", "{status}");
        assert_eq!(u64::from_str_radix(&line("CapEff:"), 16), Ok(0), "{status}");
        assert!(!line("Uid:").split(' ').any(|uid| uid == "0"), "{status}");
        assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        for file in files {
            let to = std::fs::read_link(file.unwrap().path()).unwrap();
            let to = to.to_string_lossy().into_owned();
            let own = [format!("/proc/{pid}/pagemap"), "/dev/null".into()];
            assert!(
                !to.starts_with('/') || to.starts_with("/memfd:") || own.contains(&to),
                "a worker has {to}"
            );
        }
    }
}

#[test]
fn what_the_operator_trusts_has_no_worker() {
    let world = world_of(true);
    let paid = world.pay("4242424242424242", 1_000).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    assert_eq!(workers(&world), Vec::<u32>::new());
    for (trusted, runs_in) in [(true, "sandbox"), (false, "workers")] {
        let mut world = world_of(trusted);
        let all = world.admin_call("GET", "/admin/plugins", None).unwrap();
        let digest = all.text_at("/versions/0/digest");
        let inspected = world.admin_call("GET", &format!("/admin/plugins/sandbox/versions/{digest}"), None);
        assert_eq!(inspected.unwrap().text_at("/runs_in"), runs_in);
        world.stop_host().unwrap();
    }
}

#[test]
fn workers_that_die_are_replaced_and_nobody_is_charged_twice() {
    let world = world_of(false);
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut killed = HashSet::new();
    let told: Vec<String> = std::thread::scope(|scope| {
        let pay = || {
            let mut told = vec![];
            while !stop.load(Ordering::Relaxed) {
                let answer = world.pay("4242424242424242", 1_000).unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text);
                told.push(answer.text_at("/id").to_owned());
                answered.fetch_add(1, Ordering::Relaxed);
            }
            told
        };
        let payers: Vec<_> = (0..4).map(|_| scope.spawn(pay)).collect();
        while killed.len() < 20 {
            for pid in workers(&world) {
                let before = answered.load(Ordering::Relaxed);
                signal(pid, "-KILL");
                killed.insert(pid);
                while answered.load(Ordering::Relaxed) < before + 2 {
                    std::thread::yield_now();
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        payers.into_iter().flat_map(|payer| payer.join().unwrap()).collect()
    });
    let mut succeeded = 0;
    for payment in &told {
        let last = world
            .await_payment(payment, |it| it.text_at("/status") != "processing")
            .unwrap();
        let charges = world.charges_of(payment).unwrap().len();
        match last.text_at("/status") {
            "succeeded" => assert_eq!(charges, 1, "{}", last.text),
            "failed" => assert_eq!(charges, 0, "{}", last.text),
            other => panic!("{other}: {}", last.text),
        }
        succeeded += usize::from(last.text_at("/status") == "succeeded");
    }
    assert!(succeeded > 0, "of {} payments none succeeded", told.len());
    let after = world.pay("4242424242424242", 1_000).unwrap();
    assert_eq!(after.text_at("/status"), "succeeded", "{}", after.text);
    world.assert_books().unwrap();
}

#[test]
fn a_worker_that_falls_silent_is_replaced() {
    let world = world_of(false);
    for pid in workers(&world) {
        signal(pid, "-STOP");
    }
    let silent = workers(&world);
    assert!(!silent.is_empty());
    let failed = world.pay("4242424242424242", 1_000).unwrap();
    assert_eq!(failed.text_at("/status"), "failed", "{}", failed.text);
    assert_eq!(failed.text_at("/last_error/code"), "plugin_fault", "{}", failed.text);
    assert_eq!(world.charges_of(failed.text_at("/id")).unwrap().len(), 0);
    let paid = world.pay("4242424242424242", 1_000).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    assert!(
        workers(&world).iter().all(|pid| !silent.contains(pid)),
        "the silent one lives"
    );
}
