//! Other people's code in a running router: swapped under load, given a share, compared, taken back by the router itself,
//! stopped; and where a restart finds it. How it is let in is `admission.rs`.

use portolan_tests::{Options, Reply, World, binary, guest};
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub const ALL: &str = "/admin/plugins";

pub fn world() -> World {
    World::start(Options {
        acquirer: vec!["--silent".into()],
        server: "requests_per_second = 100000".into(),
        ..Options::default()
    })
    .unwrap()
}

pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The same component under another digest: with a custom section at its end, which says nothing to anybody.
pub fn rebuilt(name: &str, mark: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(guest(name)).unwrap();
    bytes.extend_from_slice(&[0, 3, 1, b'm', mark]);
    bytes
}

/// What asks the sandbox adapter's grants and behaves worse: see `tests/guests/misbehaving`.
pub fn misbehaving() -> Vec<u8> {
    std::fs::read(guest("portolan_misbehaving_adapter")).unwrap()
}

pub fn post(world: &World, path: &str, body: &Value) -> Reply {
    world
        .admin_call("POST", &format!("{ALL}/sandbox/{path}"), Some(body))
        .unwrap()
}

pub fn stage(world: &World, component: &[u8], more: &Value) -> Reply {
    let mut body = json!({ "component": base64(component), "by": "alice" });
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    post(world, "versions", &body)
}

/// Stages it and returns its digest.
pub fn ready(world: &World, component: &[u8]) -> String {
    let staged = stage(world, component, &json!({}));
    assert_eq!(
        (staged.status, staged.text_at("/changed/0/stage")),
        (200, "ready"),
        "{}",
        staged.text
    );
    staged.text_at("/changed/0/digest").to_owned()
}

pub fn step(world: &World, digest: &str, step: &str, more: &Value) -> Reply {
    let mut body = json!({ "by": "alice", "reason": "a test" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    post(world, &format!("versions/{digest}/{step}"), &body)
}

pub fn stage_of(world: &World, digest: &str) -> (String, String) {
    let all = world.admin_call("GET", ALL, None).unwrap();
    let versions = all.body["versions"].as_array().unwrap().clone();
    let found = versions.iter().find(|it| it["digest"] == digest);
    let text = |name: &str| found.map_or(String::new(), |it| it[name].as_str().unwrap_or_default().to_owned());
    (text("stage"), text("reason"))
}

pub fn active(world: &World) -> String {
    let all = world.admin_call("GET", ALL, None).unwrap();
    let versions = all.body["versions"].as_array().unwrap().clone();
    let mut active = versions
        .iter()
        .filter(|it| it["stage"] == "active" && it["adapter"] == "sandbox");
    let only = active.next().expect("an active version")["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(active.next().is_none(), "two are active");
    only
}

/// The version that made a payment's first operation.
pub fn made_in(world: &World, payment: &str) -> String {
    let all = world
        .admin_call("GET", &format!("/admin/payments/{payment}"), None)
        .unwrap();
    all.text_at("/operations/0/adapter").to_owned()
}

pub fn cli(world: &World, words: &[&str]) -> Output {
    let mut command = Command::new(binary("portolan"));
    command.arg("--config").arg(world.config()).arg("plugin").args(words);
    command.output().unwrap()
}

pub fn good(world: &World, words: &[&str]) -> String {
    let out = cli(world, words);
    let (said, wrong) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{words:?}: {wrong}");
    said.into_owned()
}

/// One line, and nothing else happened.
pub fn refusal(world: &World, words: &[&str]) -> String {
    let out = cli(world, words);
    assert!(!out.status.success(), "{words:?} was not refused");
    String::from_utf8_lossy(&out.stderr).trim().to_owned()
}

#[test]
fn a_version_is_staged_swapped_and_swapped_back_while_payments_run() {
    let world = world();
    let first = active(&world);
    let second = ready(&world, &rebuilt("portolan_sandbox_adapter", b'2'));
    assert_ne!(first, second);
    let (stop, paid) = (AtomicBool::new(false), AtomicUsize::new(0));
    let seen: Vec<(String, String)> = std::thread::scope(|scope| {
        let pay = || {
            let mut made = vec![];
            while !stop.load(Ordering::Relaxed) {
                let told = world.pay("4242424242424242", 1_000).unwrap();
                assert_eq!(told.text_at("/status"), "succeeded", "{}", told.text);
                made.push(told.text_at("/id").to_owned());
                paid.fetch_add(1, Ordering::Relaxed);
            }
            made
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(pay)).collect();
        for n in 0..100 {
            let digest = if n % 2 == 0 { &second } else { &first };
            let before = paid.load(Ordering::Relaxed);
            let swapped = step(&world, digest, "activate", &json!({}));
            assert_eq!(swapped.status, 200, "{}", swapped.text);
            while paid.load(Ordering::Relaxed) < before + 4 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        let made = threads.into_iter().flat_map(|it| it.join().unwrap());
        made.map(|id| (made_in(&world, &id), id)).collect()
    });
    for (version, id) in &seen {
        assert!(*version == first || *version == second);
        assert_eq!(world.charges_of(id).unwrap().len(), 1, "{id}");
    }
    let by_first = seen.iter().filter(|(version, _)| *version == first).count();
    assert!(by_first > 0 && by_first < seen.len(), "both took payments");
    println!(
        "{} payments over 100 swaps, {by_first} in the first version",
        seen.len()
    );
    let back = post(&world, "rollback", &json!({ "by": "alice" }));
    assert_eq!(back.status, 200, "{}", back.text);
    assert_eq!(active(&world), second, "what was active before the last swap");
    world.assert_books().unwrap();
}

#[test]
fn a_bad_canary_is_taken_back_by_the_router_and_says_why() {
    let world = world();
    let first = active(&world);
    let bad = ready(&world, &misbehaving());
    for _ in 0..60 {
        assert_eq!(
            world.pay("4242424242424242", 10_830).unwrap().text_at("/status"),
            "succeeded"
        );
    }
    let shared = step(&world, &bad, "canary", &json!({ "percent": 50 }));
    assert_eq!(shared.status, 200, "{}", shared.text);
    let (mut declined, mut payments) = (0, 0_u32);
    while stage_of(&world, &bad).0 == "canary" {
        // A card of its own for each: one that is declined so often would not be tried any more.
        let told = world.pay(&portolan_tests::card_number(payments), 10_830).unwrap();
        declined += usize::from(told.text_at("/status") == "failed");
        payments += 1;
        assert!(payments < 500, "it is still there");
    }
    println!("taken back after {payments} payments, {declined} of them declined by it");
    let (stage, reason) = stage_of(&world, &bad);
    assert_eq!(stage, "ready");
    assert!(reason.starts_with("declines: "), "{reason}");
    assert_eq!(active(&world), first);
    assert_eq!(
        world.pay("4242424242424242", 10_830).unwrap().text_at("/status"),
        "succeeded"
    );
    let history = world.admin_call("GET", "/admin/plugins/sandbox/history", None).unwrap();
    assert_eq!(history.text_at("/history/0/by"), "router");
    assert_eq!(history.text_at("/history/0/verb"), "plugin.rollback");
    world.assert_books().unwrap();
}

#[test]
fn a_dear_canary_goes_too_and_a_good_one_takes_over() {
    let world = world();
    let bad = ready(&world, &misbehaving());
    step(&world, &bad, "canary", &json!({ "percent": 50 }));
    let mut payments = 0;
    while stage_of(&world, &bad).0 == "canary" {
        assert_eq!(
            world.pay("4242424242424242", 10_831).unwrap().text_at("/status"),
            "succeeded"
        );
        payments += 1;
        assert!(payments < 600, "it is still there");
    }
    let (stage, reason) = stage_of(&world, &bad);
    assert!(stage == "ready" && reason.starts_with("cost: "), "{stage} {reason}");
    let good = ready(&world, &rebuilt("portolan_sandbox_adapter", b'3'));
    let hasty = step(
        &world,
        &good,
        "canary",
        &json!({ "percent": 5, "takes_over_after": 10 }),
    );
    assert_eq!(
        hasty.text_at("/detail"),
        "takes_over_after 10: less than 50 payments show nothing"
    );
    step(
        &world,
        &good,
        "canary",
        &json!({ "percent": 50, "takes_over_after": 50 }),
    );
    while stage_of(&world, &good).0 == "canary" {
        assert_eq!(
            world.pay("4242424242424242", 1_000).unwrap().text_at("/status"),
            "succeeded"
        );
    }
    assert_eq!(active(&world), good);
    let reason = stage_of(&world, &good).1;
    assert!(reason.ends_with(" payments went no worse"), "{reason}");
}

#[test]
fn what_breaks_in_a_canary_is_paid_in_the_active_version() {
    let world = world();
    let first = active(&world);
    let bad = ready(&world, &misbehaving());
    step(&world, &bad, "canary", &json!({ "percent": 50 }));
    let mut broken = 0;
    for _ in 0..40 {
        // 804: it panics before anything is sent.
        let told = world.pay("4242424242424242", 10_804).unwrap();
        assert_eq!(told.text_at("/status"), "succeeded", "{}", told.text);
        assert_eq!(world.charges_of(told.text_at("/id")).unwrap().len(), 1);
        let path = format!("/admin/payments/{}", told.text_at("/id"));
        let all = world.admin_call("GET", &path, None).unwrap();
        let versions: Vec<&str> = all.body["operations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["adapter"].as_str().unwrap())
            .collect();
        assert_eq!(*versions.last().unwrap(), first);
        broken += usize::from(versions.len() == 2);
    }
    assert!(broken > 0, "none of 40 was in the canary's half");
    // The channel is none the worse for it.
    let health = world.admin_call("GET", "/admin/channels/health", None).unwrap();
    assert!(health.text.contains("\"state\":\"well\""), "{}", health.text);
    for told in health.text.split("\"failing_ppm\":").skip(1) {
        assert!(told.starts_with("0,"), "{}", health.text);
    }
    world.assert_books().unwrap();
}

#[test]
fn a_version_is_checked_on_what_was_and_on_what_comes() {
    let world = world();
    let same = ready(&world, &rebuilt("portolan_sandbox_adapter", b'4'));
    let other = ready(&world, &misbehaving());
    for amount in [1_000, 2_000, 10_830] {
        world.pay("4242424242424242", amount).unwrap();
    }
    world.pay("4000000000000002", 3_000).unwrap();
    let replay = |digest: &str| {
        step_report(&post(
            &world,
            &format!("versions/{digest}/replay"),
            &json!({ "last": 100 }),
        ))
    };
    let (report, _) = replay(&same);
    assert_eq!(
        (&report["operations"], &report["same"]),
        (&json!(4), &json!(4)),
        "{report}"
    );
    let (report, text) = replay(&other);
    assert_eq!(
        (&report["operations"], &report["same"]),
        (&json!(4), &json!(3)),
        "{report}"
    );
    assert_eq!(report["differences"][0]["at"], "request 1");
    assert_eq!(
        report["differences"][0]["fields"],
        json!(["an outcome instead of the request"])
    );
    assert!(text.contains("4 operations: 3 the same"), "{text}");
    assert!(
        !format!("{report}{text}").contains("4242"),
        "no card number is in a report"
    );

    step(&world, &other, "shadow", &json!({}));
    assert_eq!(stage_of(&world, &other).0, "shadow");
    assert_eq!(
        world.pay("4242424242424242", 10_830).unwrap().text_at("/status"),
        "succeeded",
        "it sends nothing"
    );
    let path = format!("{ALL}/sandbox/versions/{other}");
    let mut seen = json!(null);
    for _ in 0..200 {
        seen = world.admin_call("GET", &path, None).unwrap().body["shadow"].clone();
        if seen["requests_differ"] == 1 {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    assert_eq!(
        (&seen["operations"], &seen["requests_differ"]),
        (&json!(1), &json!(1)),
        "{seen}"
    );
    let back = post(&world, "rollback", &json!({ "by": "alice" }));
    assert_eq!(back.text_at("/changed/0/stage"), "ready");
}

fn step_report(reply: &Reply) -> (Value, String) {
    assert_eq!(reply.status, 200, "{}", reply.text);
    (reply.body["report"].clone(), reply.text_at("/text").to_owned())
}

#[test]
fn a_restart_finds_the_versions_where_they_were() {
    let mut world = world();
    let first = active(&world);
    let second = ready(&world, &rebuilt("portolan_sandbox_adapter", b'5'));
    step(&world, &second, "activate", &json!({}));
    let paid = world.pay("4242424242424242", 1_000).unwrap();
    assert_eq!(made_in(&world, paid.text_at("/id")), second);
    world.kill_host().unwrap();
    // A kill in the middle of staging leaves what belongs to no version.
    let folder = world.folder.join("data/plugins");
    let stray = ["ab".repeat(32) + ".wasm", first.clone() + ".7.part"].map(|name| folder.join(name));
    for file in &stray {
        std::fs::write(file, "half a component").unwrap();
    }
    world.start_host().unwrap();
    assert!(stray.iter().all(|file| !file.exists()));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    assert_eq!(
        active(&world),
        second,
        "the file of the configuration is the first one still"
    );
    assert_eq!(stage_of(&world, &first).0, "draining");
    let refund = json!({ "payment": paid.text_at("/id"), "amount": 400 });
    let refunded = world.post("/v1/refunds", &refund).unwrap();
    assert_eq!(refunded.text_at("/status"), "succeeded", "{}", refunded.text);
    // What was active may be stopped at once: the one before it takes over.
    let killed = step(&world, &second, "reject", &json!({ "reason": "it leaks" }));
    assert_eq!(killed.status, 200, "{}", killed.text);
    assert_eq!(active(&world), first);
    let paid = world.pay("4242424242424242", 1_000).unwrap();
    assert_eq!(
        (paid.text_at("/status"), made_in(&world, paid.text_at("/id"))),
        ("succeeded", first.clone())
    );
    let again = step(&world, &second, "activate", &json!({}));
    assert_eq!(again.status, 422);
    assert!(
        again.text_at("/detail").ends_with("is rejected: stage it again first"),
        "{}",
        again.text
    );
    let retired = step(&world, &first, "retire", &json!({}));
    assert!(
        retired.text_at("/detail").ends_with("activate another version first"),
        "{}",
        retired.text
    );
}

#[test]
fn a_channel_and_an_endpoint_are_stopped_at_once_and_stay_so() {
    let mut world = world();
    let switch = |world: &World, word: &str, more: &[&str]| {
        let words = [
            &["channel", word, "acquirer-a", "--by", "alice", "--reason", "it leaks"],
            more,
        ]
        .concat();
        let mut command = Command::new(binary("portolan"));
        let out = command
            .arg("--config")
            .arg(world.config())
            .args(words)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let paid = world.pay("4242424242424242", 1_000).unwrap();
    switch(&world, "stop", &[]);
    world.kill_host().unwrap();
    world.start_host().unwrap();
    let refused = world.pay("4242424242424242", 1_000).unwrap();
    assert_eq!(refused.text_at("/last_error/code"), "no_route", "{}", refused.text);
    // What follows an earlier payment goes on.
    let refund = json!({ "payment": paid.text_at("/id"), "amount": 400 });
    assert_eq!(
        world.post("/v1/refunds", &refund).unwrap().text_at("/status"),
        "succeeded"
    );
    switch(&world, "start", &[]);
    assert_eq!(
        world.pay("4242424242424242", 1_000).unwrap().text_at("/status"),
        "succeeded"
    );
    switch(&world, "stop", &["--endpoint", "acquirer"]);
    let failed = world.pay("4242424242424242", 1_000).unwrap();
    assert_eq!(failed.text_at("/status"), "failed", "{}", failed.text);
    assert_eq!(world.charges_of(failed.text_at("/id")).unwrap().len(), 0);
    switch(&world, "start", &["--endpoint", "acquirer"]);
    assert_eq!(
        world.pay("4242424242424242", 1_000).unwrap().text_at("/status"),
        "succeeded"
    );
    world.assert_books().unwrap();
}
