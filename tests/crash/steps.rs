//! A kill at each named step of one payment, and of its recovery.

use portolan_tests::{Options, Reply, World};
use serde_json::json;

/// The steps at which the engine can be stopped, in the order of the walk, and whether the acquirer has acted by then.
const STEPS: [(&str, bool); 4] = [
    ("before_intent", false),
    ("after_intent", false),
    ("after_answer", true),
    ("after_outcome", true),
];

fn stop_at(step: &str) -> Options {
    Options {
        env: vec![("PORTOLAN_STOP_AT".into(), format!("{step}:1"))],
        acquirer: vec!["--silent".into()],
        ..Options::default()
    }
}

/// Kills at `step`, starts again, repeats the request with the same key, and returns the payment once it is final.
fn killed_at(step: &str, amount: u64) -> (World, Reply) {
    let mut world = World::start(stop_at(step)).unwrap();
    let method = world.store_card("4242424242424242").unwrap();
    let body = json!({ "amount": amount, "currency": "EUR", "payment_method": method, "confirm": true });
    assert!(
        world.post_with_key("/v1/payments", &body, "once").is_err(),
        "the host must die at {step}"
    );
    world.await_host_end().unwrap();
    world.set_env(vec![]);
    world.start_host().unwrap();
    let again = world.post_with_key("/v1/payments", &body, "once").unwrap();
    assert_eq!(again.status, 200, "{step}: {}", again.text);
    let id = again.text_at("/id").to_owned();
    let done = |reply: &Reply| ["succeeded", "failed", "requires_payment_method"].contains(&reply.text_at("/status"));
    let last = world.await_payment(&id, done).unwrap();
    (world, last)
}

#[test]
fn a_kill_at_each_step_charges_once_and_forgets_nothing() {
    for (step, has_charged) in STEPS {
        let (world, payment) = killed_at(step, 1099);
        let charges = world.charges_of(payment.text_at("/id")).unwrap();
        match step {
            // Nothing was on disk: the repeated request is a first one, but its security code is still unknown to the
            // new process; the acquirer takes the card without it.
            "before_intent" => assert_eq!((payment.text_at("/status"), charges.len()), ("succeeded", 1), "{step}"),
            // The intent is on disk, nothing was sent, and the code was never written down.
            "after_intent" => {
                assert_eq!(
                    (payment.text_at("/status"), charges.len()),
                    ("requires_payment_method", 0),
                    "{step}"
                );
                assert_eq!(payment.text_at("/last_error/code"), "security_code_required");
            }
            _ => assert_eq!(
                (payment.text_at("/status"), charges.len()),
                ("succeeded", 1),
                "{step}: {}",
                payment.text
            ),
        }
        assert_eq!(charges.len() == 1, has_charged || step == "before_intent");
        world.assert_books().unwrap();
    }
}

#[test]
fn a_kill_in_the_recovery_changes_nothing() {
    for step in ["after_recovery", "after_status", "after_outcome"] {
        let mut world = World::start(stop_at("after_answer")).unwrap();
        let method = world.store_card("4242424242424242").unwrap();
        let body = json!({ "amount": 1099, "currency": "EUR", "payment_method": method, "confirm": true });
        assert!(world.post_with_key("/v1/payments", &body, "once").is_err());
        world.await_host_end().unwrap();
        world.set_env(vec![("PORTOLAN_STOP_AT".into(), format!("{step}:1"))]);
        world.spawn_host().unwrap();
        assert!(!world.await_host_end().unwrap().success(), "{step}");
        world.set_env(vec![]);
        world.start_host().unwrap();
        let again = world.post_with_key("/v1/payments", &body, "once").unwrap();
        let last = world
            .await_payment(again.text_at("/id"), |reply| reply.text_at("/status") == "succeeded")
            .unwrap();
        assert_eq!(world.charges_of(last.text_at("/id")).unwrap().len(), 1, "{step}");
        world.assert_books().unwrap();
    }
}

/// A charge that the provider shows to nobody is undone by a reversal. A kill between the reversal's outcome and the
/// closing of what it undid leaves nothing that nobody looks after.
#[test]
fn a_kill_in_a_reversal_forgets_nothing() {
    for stop in [None, Some("after_outcome:2")] {
        let mut world = World::start(Options {
            env: stop
                .map(|stop| ("PORTOLAN_STOP_AT".to_owned(), stop.to_owned()))
                .into_iter()
                .collect(),
            acquirer: vec!["--silent".into()],
            policy: "check_first_ms = 50\ncheck_max_ms = 100\nchecks_before_reversal = 2\nchecks_before_human = 1000"
                .into(),
            ..Options::default()
        })
        .unwrap();
        let told = world.pay("4242424242424242", 10_914).unwrap();
        assert_eq!(told.text_at("/outcome"), "unknown", "{}", told.text);
        if stop.is_some() {
            world.await_host_end().unwrap();
            world.set_env(vec![]);
            world.start_host().unwrap();
        }
        let id = told.text_at("/id");
        world
            .await_payment(id, |reply| reply.text_at("/status") == "canceled")
            .unwrap();
        let nothing_left = |world: &World| {
            let unknowns = world.admin_call("GET", "/admin/unknowns", None).unwrap();
            let tasks = world.admin_call("GET", "/admin/tasks", None).unwrap();
            unknowns.body["unknowns"] == json!([]) && tasks.body["tasks"] == json!([])
        };
        let started = std::time::Instant::now();
        while !nothing_left(&world) {
            assert!(started.elapsed().as_secs() < 20, "something is left: {stop:?}");
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        let charges = world.charges_of(id).unwrap();
        assert_eq!(
            (charges.len(), &charges[0]["status"]),
            (1, &json!("reversed")),
            "{stop:?}"
        );
        world.assert_books().unwrap();
    }
}

/// Killed on the way from a decline to the next channel: nobody is charged twice, whatever was declined stays so, and what the second
/// acquirer did is found out. Where the next attempt had not begun, the payment is given up by its timer, minutes later.
#[test]
fn a_kill_between_a_decline_and_the_next_channel_charges_once() {
    let cases = [
        ("after_outcome:1", "processing", 0),
        ("before_intent:2", "processing", 0),
        ("after_intent:2", "requires_payment_method", 0),
        ("after_answer:2", "succeeded", 1),
    ];
    for (step, status, charged) in cases {
        let mut world = World::start(Options {
            env: vec![("PORTOLAN_STOP_AT".into(), step.into())],
            acquirers: vec![String::new()],
            ..Options::default()
        })
        .unwrap();
        world.issuers_say("acquirer-a", Some("05")).unwrap();
        let method = world.store_card("4242424242424242").unwrap();
        let body = json!({ "amount": 1099, "currency": "EUR", "payment_method": method, "confirm": true });
        assert!(world.post_with_key("/v1/payments", &body, "once").is_err(), "{step}");
        world.await_host_end().unwrap();
        world.set_env(vec![]);
        world.start_host().unwrap();
        let again = world.post_with_key("/v1/payments", &body, "once").unwrap();
        let id = again.text_at("/id").to_owned();
        let last = world
            .await_payment(&id, |reply| reply.text_at("/status") == status)
            .unwrap();
        assert_eq!(last.text_at("/attempts/0/status"), "declined", "{step}: {}", last.text);
        assert_eq!(world.charges_at("acquirer-a", &id).unwrap().len(), 1, "{step}");
        assert_eq!(world.charges_at("acquirer-b", &id).unwrap().len(), charged, "{step}");
        world.assert_books().unwrap();
    }
}
