//! Every scripted fault of the acquirer: told unknown where it is unknown, never charged twice, always found out.

use crate::payments::silent;
use portolan_tests::{Options, World};
use serde_json::{Value, json};

/// What the payment is once the router has found out, and how many charges the acquirer made.
const FAULTS: [(u64, &str, &str, usize); 10] = [
    (901, "processing", "succeeded", 1),
    (902, "processing", "failed", 1),
    (903, "processing", "succeeded", 1),
    (904, "processing", "succeeded", 1),
    (905, "processing", "succeeded", 1),
    (906, "processing", "succeeded", 1),
    (907, "processing", "succeeded", 1),
    (908, "processing", "succeeded", 1),
    // The provider says that more was authorized than was asked: nothing is believed but its status.
    (913, "processing", "succeeded", 1),
    (909, "succeeded", "succeeded", 1),
];

#[test]
fn every_scripted_fault_is_found_out() {
    let world = World::start(silent()).unwrap();
    std::thread::scope(|scope| {
        for (digits, at_first, at_last, charges) in FAULTS {
            let world = &world;
            scope.spawn(move || {
                let told = world.pay("4242424242424242", 10_000 + digits).unwrap();
                assert_eq!(told.text_at("/status"), at_first, "{digits}: {}", told.text);
                let id = told.text_at("/id");
                let known = world
                    .await_payment(id, |reply| reply.text_at("/status") != "processing")
                    .unwrap();
                assert_eq!(known.text_at("/status"), at_last, "{digits}: {}", known.text);
                assert_eq!(world.charges_of(id).unwrap().len(), charges, "{digits}");
            });
        }
    });
    let open = world.admin_call("GET", "/admin/tasks", None).unwrap();
    assert_eq!(
        open.body["tasks"],
        json!([]),
        "every unknown that was found out has its task closed"
    );
    world.assert_books().unwrap();
}

#[test]
fn a_lost_request_is_sent_again_with_the_same_key() {
    // The acquirer resets the connection before it acts, once: the amount's digits script it for ever, so the status
    // query says "not there" until that is final, and the same request goes out again and is lost again.
    let policy = "check_first_ms = 100\ncheck_max_ms = 500\nchecks_before_human = 3".to_owned();
    let world = World::start(Options { policy, ..silent() }).unwrap();
    let told = world.pay("4242424242424242", 10_912).unwrap();
    assert_eq!(
        (told.text_at("/status"), told.text_at("/outcome")),
        ("processing", "unknown"),
        "{}",
        told.text
    );
    let id = told.text_at("/id").to_owned();
    let mut keys: Vec<String> = vec![];
    world
        .await_payment(&id, |_| {
            let shown = world.admin_call("GET", &format!("/admin/payments/{id}"), None).unwrap();
            let exchanges = shown.body["operations"][0]["exchanges"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let writes = exchanges
                .iter()
                .filter(|exchange| exchange["effect"] == "write")
                .count();
            keys = shown.body["operations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["keys"].to_string())
                .collect();
            writes >= 2
        })
        .unwrap();
    assert_eq!(keys.len(), 1, "one operation, one key");
    assert_eq!(world.charges_of(&id).unwrap().len(), 0);
    let tasks = world.admin_call("GET", "/admin/tasks", None).unwrap();
    assert_eq!(tasks.body["tasks"][0]["kind"], "unknown_outcome", "{}", tasks.text);
}

#[test]
fn a_human_decides_what_nobody_can_find_out() {
    let policy = "check_first_ms = 50\ncheck_max_ms = 100\nchecks_before_reversal = 1000\nchecks_before_human = 2\n\
         two_people_above = { EUR = 10000 }"
        .to_owned();
    let mut world = World::start(Options { policy, ..silent() }).unwrap();
    let method = world.store_card("4242424242424242").unwrap();
    let body = json!({ "amount": 10_904, "currency": "EUR", "payment_method": method, "confirm": true });
    // From here on nobody answers at the acquirer but the charge itself.
    let told = world.post("/v1/payments", &body).unwrap();
    world.kill_acquirer().unwrap();
    let id = told.text_at("/id").to_owned();
    if world.get(&format!("/v1/payments/{id}")).unwrap().text_at("/status") != "processing" {
        return; // The first question was quicker than the kill.
    }
    let mut task = Value::Null;
    world
        .await_payment(&id, |_| {
            let tasks = world.admin_call("GET", "/admin/tasks", None).unwrap();
            task = tasks.body["tasks"][0].clone();
            task["owner"] == "operator"
        })
        .unwrap();
    let resolve = format!("/admin/tasks/{}/resolve", task["id"].as_str().unwrap());
    let wrong = world
        .admin_call(
            "POST",
            &resolve,
            Some(&json!({ "resolution": "refunded_outside", "by": "ann", "reason": "x" })),
        )
        .unwrap();
    assert_eq!(wrong.status, 422, "{}", wrong.text);
    let decide = json!({ "resolution": "succeeded", "by": "ann", "reason": "seen in the acquirer's console" });
    // So much takes two people, and one person in two spellings is one.
    let first = world.admin_call("POST", &resolve, Some(&decide)).unwrap();
    assert_eq!(
        (first.status, first.body["proposed"] == task["id"]),
        (200, true),
        "{}",
        first.text
    );
    let again = json!({ "resolution": "succeeded", "by": " Ann", "reason": "still" });
    let alone = world.admin_call("POST", &resolve, Some(&again)).unwrap();
    assert_eq!(alone.status, 422);
    assert_eq!(
        alone.text_at("/detail"),
        "ann decided this already: it takes a second person"
    );
    let status = || {
        world
            .get(&format!("/v1/payments/{id}"))
            .unwrap()
            .text_at("/status")
            .to_owned()
    };
    assert_eq!(status(), "processing");
    let second = json!({ "resolution": "succeeded", "by": "bob", "reason": "seen too" });
    let resolved = world.admin_call("POST", &resolve, Some(&second)).unwrap();
    assert_eq!(resolved.status, 200, "{}", resolved.text);
    assert_eq!(status(), "succeeded");
    let acts = world.admin_call("GET", "/admin/audit/acts", None).unwrap();
    assert!(
        acts.text.contains("task.propose") && acts.text.contains("task.resolve"),
        "{}",
        acts.text
    );
    world.assert_books().unwrap();
}

#[test]
fn notifications_hint_and_forged_ones_do_nothing() {
    let world = World::start(Options::default()).unwrap();
    for digits in [909, 910] {
        let told = world.pay("4242424242424242", 10_000 + digits).unwrap();
        let id = told.text_at("/id");
        let known = world
            .await_payment(id, |reply| reply.text_at("/status") == "succeeded")
            .unwrap();
        assert_eq!(known.body["amount_captured"], json!(10_000 + digits));
        assert_eq!(world.charges_of(id).unwrap().len(), 1);
    }
    let forged = portolan_tests::call(
        world.api,
        "POST",
        "/notify/acquirer-a",
        &[("x-signature", "00"), ("content-type", "application/json")],
        Some(r#"{"event_id":"e1","charge":"ch_1","key":"k","status":"captured"}"#),
    )
    .unwrap();
    assert_eq!(forged.status, 401, "{}", forged.text);
    world.assert_books().unwrap();
}
