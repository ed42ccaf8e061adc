//! One key, one effect: repeated, at once, across restarts, with other content.

use crate::payments::silent;
use portolan_tests::World;
use serde_json::json;

#[test]
fn a_hundred_at_once_make_one_charge() {
    let world = World::start(silent()).unwrap();
    let method = world.store_card("4242424242424242").unwrap();
    let body = json!({ "amount": 1099, "currency": "EUR", "payment_method": method, "confirm": true });
    let replies: Vec<_> = std::thread::scope(|scope| {
        let send = || world.post_with_key("/v1/payments", &body, "the-same").unwrap();
        let calls: Vec<_> = (0..100).map(|_| scope.spawn(send)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let paid: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert!(!paid.is_empty());
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 200 || (reply.status == 409 && reply.header("retry-after").is_some()))
    );
    assert!(
        paid.iter().all(|reply| reply.text == paid[0].text),
        "the same answer, byte for byte"
    );
    let records = world.records().unwrap();
    assert_eq!(records["charges"].as_array().map(Vec::len), Some(1));
    world.assert_books().unwrap();
}

#[test]
fn other_content_is_refused_and_a_restart_forgets_nothing() {
    let mut world = World::start(silent()).unwrap();
    let method = world.store_card("4242424242424242").unwrap();
    let body = json!({ "amount": 1099, "currency": "EUR", "payment_method": method, "confirm": true });
    let first = world.post_with_key("/v1/payments", &body, "k1").unwrap();
    let other = json!({ "amount": 1100, "currency": "EUR", "payment_method": method, "confirm": true });
    let reused = world.post_with_key("/v1/payments", &other, "k1").unwrap();
    assert_eq!(
        (reused.status, reused.text_at("/code")),
        (422, "idempotency_key_reused")
    );
    assert!(world.stop_host().unwrap().success(), "a stop is not a crash");
    world.start_host().unwrap();
    let again = world.post_with_key("/v1/payments", &body, "k1").unwrap();
    assert_eq!(
        (again.text.as_str(), again.header("idempotent-replayed")),
        (first.text.as_str(), Some("true"))
    );
    // The same key of another merchant is another key.
    let theirs = world.new_key("other-shop").unwrap();
    let bearer = format!("Bearer {theirs}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "k1"),
    ];
    let created = r#"{"amount":5,"currency":"EUR"}"#;
    let reply = portolan_tests::call(world.api, "POST", "/v1/payments", &headers, Some(created)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(world.records().unwrap()["charges"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_refused_request_leaves_the_key_free() {
    let world = World::start(silent()).unwrap();
    let bad = world
        .post_with_key("/v1/payments", &json!({ "amount": -1, "currency": "EUR" }), "k")
        .unwrap();
    assert_eq!(bad.status, 422);
    let good = world
        .post_with_key("/v1/payments", &json!({ "amount": 1, "currency": "EUR" }), "k")
        .unwrap();
    assert_eq!((good.status, good.header("idempotent-replayed")), (200, None));
}

#[test]
fn many_confirmations_of_one_payment_charge_once() {
    let world = World::start(silent()).unwrap();
    let method = world.store_card("4242424242424242").unwrap();
    let created = json!({ "amount": 1099, "currency": "EUR", "payment_method": method });
    let created = world.post("/v1/payments", &created).unwrap();
    let id = created.text_at("/id");
    let confirm = format!("/v1/payments/{id}/confirm");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| world.post(&confirm, &json!({})).unwrap().status))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(
        statuses.contains(&200) && statuses.iter().all(|status| [200, 409].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(world.charges_of(id).unwrap().len(), 1);
    assert_eq!(
        world.get(&format!("/v1/payments/{id}")).unwrap().text_at("/status"),
        "succeeded"
    );
    world.assert_books().unwrap();
}
