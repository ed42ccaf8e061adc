//! Other people's code at the door: what is refused, in which words, and what is left behind; signatures, vectors, dry runs.

use crate::plugins::{ALL, active, good, misbehaving, ready, rebuilt, refusal, stage, step, world};
use portolan_tests::{Options, World, guest};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn each_bad_component_is_refused_in_one_line_that_names_rule_and_mend() {
    let world = world();
    let first = active(&world);
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = world.folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let refused = |file: &Path| {
        let line = refusal(&world, &["stage", "sandbox", file.to_str().unwrap()]);
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    let core = [0, b'a', b's', b'm', 1, 0, 0, 0];
    let cases = [
        (
            "text.wasm",
            b"#!/bin/sh".to_vec(),
            "portolan: component: not WebAssembly; build it with the kit",
        ),
        (
            "core.wasm",
            core.to_vec(),
            "a core module, not a component: build it for wasm32-wasip2",
        ),
        ("cut.wasm", misbehaving()[..50_000].to_vec(), "component: "),
        (
            "empty.wasm",
            vec![0, b'a', b's', b'm', 0x0d, 0, 1, 0],
            "the component does not export portolan:channel/adapter@0.1.0",
        ),
        (
            "big.wasm",
            vec![0; 25 * 1024 * 1024],
            "size: 26214400 bytes are more than the 25165824 that are taken",
        ),
    ];
    for (name, bytes, expected) in cases {
        let line = refused(&file(name, &bytes));
        assert!(line.contains(expected), "{name}: {line}");
    }
    let unknown = refusal(
        &world,
        &["stage", "acme", guest("portolan_sandbox_adapter").to_str().unwrap()],
    );
    assert!(unknown.contains("no adapter is called \"acme\""), "{unknown}");
    let stripe = refused(&guest("portolan_stripe_adapter"));
    assert!(
        stripe.contains("name: it is \"dev.portolan.stripe\", the adapter runs \"dev.portolan.sandbox\""),
        "{stripe}"
    );
    assert_eq!(active(&world), first, "none of it touched what runs");
    let dry = good(
        &world,
        &[
            "stage",
            "sandbox",
            file("new.wasm", &rebuilt("portolan_sandbox_adapter", b'6'))
                .to_str()
                .unwrap(),
            "--dry-run",
        ],
    );
    assert!(dry.contains("\"dry_run\": true"), "{dry}");
    let all = world.admin_call("GET", ALL, None).unwrap();
    let staged: Vec<&Value> = all.body["versions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["stage"] == "ready")
        .collect();
    assert_eq!(staged, Vec::<&Value>::new(), "a dry run leaves nothing");
    assert_eq!(
        world.pay("4242424242424242", 1_000).unwrap().text_at("/status"),
        "succeeded"
    );
}

/// A router whose channel is live, and which knows a partner `acme` and an operator `ops`; `stranger` has a key as well.
pub fn live_world() -> World {
    let mut world = World::start(Options {
        acquirer: vec!["--silent".into()],
        ..Options::default()
    })
    .unwrap();
    let path = |name: &str| world.folder.join(name).display().to_string();
    for key in ["acme", "ops", "stranger"] {
        good(&world, &["keygen", &path(key)]);
    }
    let config = std::fs::read_to_string(world.config()).unwrap();
    let live = config.replace(
        "[[channel]]\nid = \"acquirer-a\"\nmode = \"test\"",
        "[[channel]]\nid = \"acquirer-a\"\nmode = \"live\"",
    );
    let live = live.replace(
        &format!(
            "http://{}",
            config.split("http://").nth(1).unwrap().split('"').next().unwrap()
        ),
        "https://acquirer.example",
    );
    let signers = [
        ("acme", "partner", "namespace = \"dev.portolan\""),
        ("ops", "operator", ""),
    ];
    let signers = signers.map(|(name, role, more)| {
        format!("[[signer]]\nname = \"{name}\"\nrole = \"{role}\"\nkey = \"{name}.pub\"\n{more}\n")
    });
    std::fs::write(world.config(), format!("{live}\n{}", signers.concat())).unwrap();
    world.kill_host().unwrap();
    world.start_host().unwrap();
    world
}

/// Signs a component with one of that world's keys.
pub fn sign(world: &World, component: &str, key: &str) {
    let file = world.folder.join(key).display().to_string();
    good(world, &["sign", component, "--key", &file, "--key-name", key]);
}

#[test]
fn a_live_channel_takes_what_partner_and_operator_signed() {
    let world = live_world();
    let component = world.folder.join("new.wasm");
    std::fs::write(&component, rebuilt("portolan_sandbox_adapter", b'7')).unwrap();
    let (component, envelope) = (component.to_str().unwrap(), world.folder.join("new.wasm.dsse.json"));
    let sign = |key: &str| sign(&world, component, key);
    let stage = ["stage", "sandbox", component];
    assert!(
        refusal(&world, &stage).contains("signature: unsigned; a live channel takes"),
        "unsigned"
    );
    sign("stranger");
    assert!(
        refusal(&world, &stage).contains("signature: no signature is of a key that this router knows"),
        "a stranger's"
    );
    sign("acme");
    assert!(
        refusal(&world, &stage).contains("signature: no operator signed it"),
        "the partner's alone"
    );
    sign("ops");
    let whole = std::fs::read(&envelope).unwrap();
    // The statement is changed after it was signed.
    let mut forged: Value = serde_json::from_slice(&whole).unwrap();
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    let statement = engine.decode(forged["payload"].as_str().unwrap()).unwrap();
    let statement = String::from_utf8(statement).unwrap().replace("\"0.1.0\"", "\"0.9.0\"");
    forged["payload"] = json!(engine.encode(statement));
    std::fs::write(&envelope, forged.to_string()).unwrap();
    let line = refusal(&world, &stage);
    assert!(
        line.contains("contract: made for the contract 0.9.0") || line.contains("signature: no signature"),
        "{line}"
    );
    // A statement about another build.
    std::fs::write(&envelope, &whole).unwrap();
    std::fs::write(component, rebuilt("portolan_sandbox_adapter", b'8')).unwrap();
    assert!(
        refusal(&world, &stage).contains("statement: it is about "),
        "another build"
    );
    std::fs::write(component, rebuilt("portolan_sandbox_adapter", b'7')).unwrap();
    let staged = good(&world, &stage);
    assert!(
        staged.contains("\"ready\"") && staged.contains("acme (partner)") && staged.contains("ops (operator)"),
        "{staged}"
    );
    // Openssl, which nobody here wrote, finds the same signature good.
    let sealed: Value = serde_json::from_slice(&whole).unwrap();
    let payload = engine.decode(sealed["payload"].as_str().unwrap()).unwrap();
    let kind = sealed["payloadType"].as_str().unwrap();
    let mut signed = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    signed.extend(payload);
    let ops = sealed["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["keyid"] == "ops")
        .unwrap();
    std::fs::write(world.folder.join("signed"), signed).unwrap();
    std::fs::write(
        world.folder.join("sig"),
        engine.decode(ops["sig"].as_str().unwrap()).unwrap(),
    )
    .unwrap();
    let openssl = Command::new("openssl")
        .args([
            "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", "ops.pub", "-sigfile", "sig", "-in", "signed",
        ])
        .current_dir(&world.folder)
        .output()
        .expect("openssl (Debian: apt-get install openssl)");
    assert!(openssl.status.success(), "{}", String::from_utf8_lossy(&openssl.stderr));
}

/// The sandbox adapter with some of its vectors in it, each changed as it says.
fn packed(world: &World, from: &str, vectors: &[(&str, &dyn Fn(String) -> String)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, change) in vectors {
        let file = format!("plugins/sandbox/vectors/{name}.json");
        let text = std::fs::read_to_string(portolan_tests::workspace().join(file)).unwrap();
        std::fs::write(folder.path().join(format!("{name}.json")), change(text)).unwrap();
    }
    let file = world.folder.join("packed.wasm").display().to_string();
    std::fs::copy(guest(from), &file).unwrap();
    good(
        world,
        &["pack", &file, "--vectors", &folder.path().display().to_string()],
    );
    file
}

#[test]
fn a_component_is_held_to_the_vectors_that_it_brings() {
    let plain = "portolan_sandbox_adapter";
    let same = |text: String| text;
    for trusted in [false, true] {
        let world = World::start(Options {
            acquirer: vec!["--silent".into()],
            more: "[plugins]\nrequire_vectors = true\n".into(),
            trusted,
            ..Options::default()
        })
        .unwrap();
        let file = packed(&world, plain, &[("approved", &same), ("declined", &same)]);
        let stage = ["stage", "sandbox", &file];
        let staged = good(&world, &stage);
        assert!(
            staged.contains("\"ready\"") && staged.contains("\"tried_with\": \"2 vectors, "),
            "{staged}"
        );
        let (list, top) = (good(&world, &["list"]), good(&world, &["top"]));
        assert!(list.starts_with("ADAPTER") && list.contains("  ready"), "{list}");
        assert!(top.contains("US/CALL") && top.lines().count() == 3, "{top}");
        let history = world.admin_call("GET", "/admin/plugins/sandbox/history", None).unwrap();
        let note = history.text_at("/history/0/note");
        assert!(note.contains("2 vectors, ") && note.ends_with(" attacks"), "{note}");

        let other = |text: String| text.replacen("Accepted", "Declined", 1);
        packed(&world, plain, &[("approved", &other), ("declined", &same)]);
        let line = refusal(&world, &stage);
        assert!(
            line.contains("vectors: approved (") && line.contains("step 2:") && line.contains("build it again"),
            "{line}"
        );
        let kept = || std::fs::read_dir(world.folder.join("data/plugins")).unwrap().count();
        let before = kept();
        assert_eq!(before, 2, "what was rejected is not kept");
        let dry = refusal(&world, &["stage", "sandbox", &file, "--dry-run"]);
        assert_eq!(kept(), before, "nor what was only looked at");
        assert_eq!(dry, line);
        assert!(line.len() < 2_000, "{line}");
        // Each fault is the vector's, and the router is none the worse.
        let on = |units: &'static str| move |text: String| text.replace("1099", units);
        let bad = "portolan_misbehaving_adapter";
        let cases = [
            ("10801", "timeout"),
            ("10802", "memory"),
            ("10803", "trap"),
            ("10812", "nobody can know that"),
        ];
        for (units, finding) in cases {
            packed(&world, bad, &[("approved", &on(units))]);
            let line = refusal(&world, &stage);
            assert!(
                line.contains("vectors: approved") && line.contains(finding),
                "{units}: {line}"
            );
        }
        // Nothing, or nothing that can be read.
        std::fs::write(&file, rebuilt(plain, b'v')).unwrap();
        assert!(refusal(&world, &stage).contains("vectors: it brings none, and this router wants some"));
        let mut torn = std::fs::read(guest(plain)).unwrap();
        torn.extend_from_slice(b"\0\x13\x10portolan:vectors{}");
        std::fs::write(&file, torn).unwrap();
        assert!(refusal(&world, &stage).contains("vectors: "), "torn");
        let paid = world.pay("4242424242424242", 1_234).unwrap();
        assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    }
}

#[test]
fn a_dry_run_takes_nobodys_component_away() {
    let world = world();
    for round in 0..6 {
        let component = rebuilt("portolan_sandbox_adapter", b'A' + round);
        let digest = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let dry = stage(&world, &component, &json!({ "dry_run": true }));
                    assert_eq!(dry.status, 200, "{}", dry.text);
                });
            }
            scope.spawn(|| ready(&world, &component)).join().unwrap()
        });
        let file = world.folder.join("data/plugins").join(format!("{digest}.wasm"));
        assert!(file.exists(), "{}", file.display());
    }
    let only_looked_at = rebuilt("portolan_sandbox_adapter", b'Z');
    let dry = stage(&world, &only_looked_at, &json!({ "dry_run": true }));
    let digest = dry.text_at("/changed/0/digest");
    assert!(
        !world
            .folder
            .join("data/plugins")
            .join(format!("{digest}.wasm"))
            .exists()
    );
}

/// Components that attack their admission, in WebAssembly's text form.
fn hostile() -> Vec<(&'static str, String, &'static str)> {
    let started = |body: &str, more: &str| {
        format!("(component (core module $m {more} (func $s {body}) (start $s)) (core instance (instantiate $m)))")
    };
    let instances = "(core instance (instantiate $m)) ".repeat(200);
    let functions = (0..30_000).map(|n| format!("(func (result i32) i32.const {n} i32.const 1 i32.add)"));
    let globals = "(global i64 (i64.const 1)) ".repeat(150_000);
    vec![
        (
            "imports of its own",
            r#"(component (import "evil:host/steal" (instance (export "key" (func)))))"#.into(),
            "evil:host/steal",
        ),
        (
            "a contract that does not exist",
            r#"(component (import "portolan:channel/keys@0.9.0" (instance (export "all" (func)))))"#.into(),
            "portolan:channel/keys@0.9.0",
        ),
        (
            "an interface that does not exist",
            r#"(component (instance $i) (export "portolan:channel/payments@0.2.0" (instance $i)))"#.into(),
            "is not in the contract 0.1.0",
        ),
        ("a loop in start", started("(loop br 0)", ""), "timeout"),
        ("a trap in start", started("unreachable", ""), "trap"),
        ("recursion in start", started("call $s", ""), "trap"),
        (
            "memory in start",
            started("i32.const 60000 memory.grow drop unreachable", "(memory 1)"),
            "memory",
        ),
        ("a memory of 4 GiB", started("", "(memory 65536)"), "memory"),
        ("ten memories", started("", &"(memory 1) ".repeat(10)), "memor"),
        (
            "a table of ten millions",
            started("", "(table 10000000 funcref)"),
            "table",
        ),
        (
            "200 instances",
            format!("(component (core module $m) {instances})"),
            "instances",
        ),
        (
            "30,000 functions",
            started("", &functions.collect::<String>()),
            "does not export portolan:channel/adapter",
        ),
        ("150,000 globals", started("", &globals), "component"),
        (
            "nothing at all",
            "(component)".into(),
            "does not export portolan:channel/adapter",
        ),
    ]
}

#[test]
fn a_hostile_component_is_refused_while_others_pay() {
    let world = world();
    let first = active(&world);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pay = || {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(
                    world.pay("4242424242424242", 1_000).unwrap().text_at("/status"),
                    "succeeded"
                );
            }
        };
        let payer = scope.spawn(pay);
        for (what, text, expected) in hostile() {
            let component = wat::parse_str(&text).unwrap_or_else(|error| panic!("{what}: {error}"));
            let refused = stage(&world, &component, &json!({}));
            let detail = refused.text_at("/detail");
            assert_eq!(refused.status, 422, "{what}: {}", refused.text);
            assert!(
                detail.contains(expected) && detail.lines().count() == 1,
                "{what}: {detail}"
            );
        }
        stop.store(true, Ordering::Relaxed);
        payer.join().unwrap();
    });
    assert_eq!(active(&world), first);
    let all = world.admin_call("GET", ALL, None).unwrap();
    let stages: Vec<&str> = all.body["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["stage"].as_str().unwrap())
        .collect();
    assert_eq!(
        stages.iter().filter(|stage| **stage == "rejected").count(),
        hostile().len()
    );
}

#[test]
fn what_is_put_into_the_watched_folder_is_staged_and_no_more() {
    let world = World::start(Options {
        acquirer: vec!["--silent".into()],
        more: "[plugins]\ninbox = \"inbox\"\n".into(),
        ..Options::default()
    })
    .unwrap();
    let first = active(&world);
    let folder = world.folder.join("inbox/sandbox");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("bad.wasm"), "not a component").unwrap();
    let component = rebuilt("portolan_sandbox_adapter", b'9');
    std::fs::write(folder.join("new.wasm"), &component).unwrap();
    let mut stages = vec![];
    for _ in 0..1_200 {
        let all = world.admin_call("GET", ALL, None).unwrap();
        stages = all.body["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["stage"].as_str().unwrap().to_owned())
            .collect();
        if stages.iter().any(|it| it == "ready") && stages.iter().any(|it| it == "rejected") {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    stages.sort();
    assert_eq!(
        stages,
        ["active", "ready", "rejected"],
        "{}",
        std::fs::read_to_string(world.folder.join("host.log")).unwrap()
    );
    assert_eq!(active(&world), first);
}

#[test]
fn what_was_good_enough_for_test_money_does_not_run_once_the_channel_is_live() {
    let mut world = world();
    let unsigned = ready(&world, &rebuilt("portolan_sandbox_adapter", b'a'));
    assert_eq!(step(&world, &unsigned, "activate", &json!({})).status, 200);
    world.kill_host().unwrap();
    let config = std::fs::read_to_string(world.config()).unwrap();
    let live = config
        .replace("mode = \"test\"", "mode = \"live\"")
        .replace("http://127", "https://127");
    std::fs::write(world.config(), live).unwrap();
    let refused = world.start_host().unwrap_err().to_string();
    assert!(
        refused.contains("signature: unsigned; a live channel takes what partner and operator signed"),
        "{refused}"
    );
    std::fs::write(world.config(), config).unwrap();
    world.start_host().unwrap();
    assert_eq!(active(&world), unsigned, "and nothing of it was lost");
}

#[test]
fn two_who_do_the_same_at_once_do_it_once() {
    let world = world();
    let component = rebuilt("portolan_sandbox_adapter", b'b');
    let digests: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| ready(&world, &component))).collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|it| *it == digests[0]));
    let done: Vec<u16> = std::thread::scope(|scope| {
        let activate = || step(&world, &digests[0], "activate", &json!({})).status;
        let all: Vec<_> = (0..4).map(|_| scope.spawn(activate)).collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(done.iter().filter(|status| **status == 200).count(), 1, "{done:?}");
    assert_eq!(active(&world), digests[0]);
    let history = world.admin_call("GET", "/admin/plugins/sandbox/history", None).unwrap();
    let verbs: Vec<&str> = history.body["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["verb"].as_str().unwrap())
        .collect();
    assert_eq!(
        verbs,
        [
            "plugin.activate",
            "plugin.admit",
            "plugin.verify",
            "plugin.stage",
            "plugin.start"
        ]
    );
}
