//! What follows an authorization: action, capture, cancel, refund; alone, in parts, and many at once.

use crate::payments::silent;
use portolan_tests::{Options, Reply, World, call};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Authorizes without capturing; returns the payment's id.
fn authorize(world: &World, amount: u64) -> String {
    let method = world.store_card("4242424242424242").unwrap();
    let body = json!({
        "amount": amount, "currency": "EUR", "payment_method": method, "confirm": true, "capture_method": "manual",
    });
    let reply = world.post("/v1/payments", &body).unwrap();
    assert_eq!(reply.text_at("/status"), "requires_capture", "{}", reply.text);
    reply.text_at("/id").to_owned()
}

/// Goes where a browser is sent, until nobody sends it on; returns every address.
pub fn browse(url: &str) -> Vec<String> {
    let mut visited = vec![url.to_owned()];
    while let Some(rest) = visited.last().and_then(|url| url.strip_prefix("http://127.0.0.1")) {
        let (authority, path) = rest.split_once('/').unwrap();
        let address: SocketAddr = format!("127.0.0.1{authority}").parse().unwrap();
        let reply = call(address, "GET", &format!("/{path}"), &[], None).unwrap();
        match reply.header("location") {
            Some(location) => visited.push(location.to_owned()),
            None => break,
        }
    }
    visited
}

fn pay_3ds(world: &World) -> Reply {
    let method = world.store_card("4000000000003220").unwrap();
    let body = json!({
        "amount": 2500, "currency": "EUR", "payment_method": method, "confirm": true,
        "return_url": "https://shop.example/done?order=1",
    });
    let reply = world.post("/v1/payments", &body).unwrap();
    assert_eq!(reply.text_at("/status"), "requires_action", "{}", reply.text);
    reply
}

#[test]
fn three_d_secure_redirects_and_resumes_once() {
    let world = World::start(silent()).unwrap();
    let waiting = pay_3ds(&world);
    let visited = browse(waiting.text_at("/next_action/url"));
    let id = waiting.text_at("/id");
    assert_eq!(
        visited.last().unwrap(),
        &format!("https://shop.example/done?order=1&payment={id}&status=succeeded")
    );
    assert_eq!(
        world.get(&format!("/v1/payments/{id}")).unwrap().text_at("/status"),
        "succeeded"
    );
    // The browser's reload changes nothing, and somebody else's word opens nothing.
    assert_eq!(browse(&visited[1]).last(), visited.last());
    let forged = call(
        world.api,
        "GET",
        "/return/op_00000000000000000000000000000000-hdl00",
        &[],
        None,
    )
    .unwrap();
    assert_eq!(forged.status, 404);
    assert_eq!(world.charges_of(id).unwrap().len(), 1);
    world.assert_books().unwrap();
}

#[test]
fn a_failed_authentication_is_a_decline() {
    let world = World::start(silent()).unwrap();
    let waiting = pay_3ds(&world);
    let page = waiting
        .text_at("/next_action/url")
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    let (authority, path) = page.split_once('/').unwrap();
    let sent = call(authority.parse().unwrap(), "GET", &format!("/{path}"), &[], None).unwrap();
    let back = sent.header("location").unwrap().split('?').next().unwrap().to_owned();
    browse(&format!("{back}?result=wrong"));
    let reply = world.get(&format!("/v1/payments/{}", waiting.text_at("/id"))).unwrap();
    assert_eq!(
        (reply.text_at("/status"), reply.text_at("/last_error/decline_reason")),
        ("failed", "authentication-failed")
    );
    world.assert_books().unwrap();
}

#[test]
fn an_action_nobody_completes_is_voided() {
    let policy = "check_first_ms = 200\ncheck_max_ms = 1000\naction_ms = 600".to_owned();
    let world = World::start(Options { policy, ..silent() }).unwrap();
    let waiting = pay_3ds(&world);
    let id = waiting.text_at("/id");
    let last = world
        .await_payment(id, |reply| reply.text_at("/status") == "canceled")
        .unwrap();
    assert_eq!(last.text_at("/cancellation_reason"), "action_expired");
    assert_eq!(world.charges_of(id).unwrap()[0]["status"], "voided");
    world.assert_books().unwrap();
}

#[test]
fn an_authorization_nobody_captures_is_voided() {
    let policy = "check_first_ms = 200\ncheck_max_ms = 1000\nauthorization_ms = 600".to_owned();
    let world = World::start(Options { policy, ..silent() }).unwrap();
    let id = authorize(&world, 1000);
    let last = world
        .await_payment(&id, |reply| reply.text_at("/status") == "canceled")
        .unwrap();
    assert_eq!(last.text_at("/cancellation_reason"), "authorization_expired");
    assert_eq!(world.charges_of(&id).unwrap()[0]["status"], "voided");
    world.assert_books().unwrap();
}

#[test]
fn partial_captures_then_cancel_of_the_rest() {
    let world = World::start(silent()).unwrap();
    let id = authorize(&world, 10_000);
    let part = world
        .post(
            &format!("/v1/payments/{id}/capture"),
            &json!({ "amount": 4000, "final": false }),
        )
        .unwrap();
    assert_eq!(
        (part.text_at("/status"), &part.body["amount_captured"]),
        ("requires_capture", &json!(4000)),
        "{}",
        part.text
    );
    let more = world
        .post(&format!("/v1/payments/{id}/capture"), &json!({ "amount": 6001 }))
        .unwrap();
    assert_eq!((more.status, more.text_at("/errors/0/code")), (422, "amount_too_large"));
    let rest = world.post(&format!("/v1/payments/{id}/cancel"), &json!({})).unwrap();
    assert_eq!(
        (rest.text_at("/status"), &rest.body["amount_captured"]),
        ("succeeded", &json!(4000)),
        "{}",
        rest.text
    );
    let refund = world
        .post("/v1/refunds", &json!({ "payment": id, "amount": 1000 }))
        .unwrap();
    assert_eq!(
        refund.text_at("/status"),
        "succeeded",
        "what was captured can be refunded: {}",
        refund.text
    );
    world.assert_books().unwrap();
}

#[test]
fn cancel_before_and_after_confirming() {
    let world = World::start(silent()).unwrap();
    let unsent = world
        .post("/v1/payments", &json!({ "amount": 1000, "currency": "EUR" }))
        .unwrap();
    assert_eq!(unsent.text_at("/status"), "requires_payment_method");
    let canceled = world
        .post(&format!("/v1/payments/{}/cancel", unsent.text_at("/id")), &json!({}))
        .unwrap();
    assert_eq!(canceled.text_at("/status"), "canceled");
    let id = authorize(&world, 1000);
    let canceled = world
        .post(
            &format!("/v1/payments/{id}/cancel"),
            &json!({ "reason": "out of stock" }),
        )
        .unwrap();
    assert_eq!(
        (canceled.text_at("/status"), canceled.text_at("/cancellation_reason")),
        ("canceled", "out of stock")
    );
    let again = world.post(&format!("/v1/payments/{id}/cancel"), &json!({})).unwrap();
    assert_eq!((again.status, again.text_at("/code")), (409, "wrong_status"));
    world.assert_books().unwrap();
}

#[test]
fn create_then_confirm() {
    let world = World::start(silent()).unwrap();
    let created = world
        .post("/v1/payments", &json!({ "amount": 1000, "currency": "JPY" }))
        .unwrap();
    let id = created.text_at("/id");
    let method = world.store_card("4242424242424242").unwrap();
    let confirmed = world
        .post(
            &format!("/v1/payments/{id}/confirm"),
            &json!({ "payment_method": method }),
        )
        .unwrap();
    assert_eq!(confirmed.text_at("/status"), "succeeded", "{}", confirmed.text);
    let again = world.post(&format!("/v1/payments/{id}/confirm"), &json!({})).unwrap();
    assert_eq!((again.status, again.text_at("/code")), (409, "wrong_status"));
    world.assert_books().unwrap();
}

#[test]
fn fifty_refunds_at_once_never_pass_the_captured_amount() {
    let world = World::start(silent()).unwrap();
    let paid = world.pay("4242424242424242", 1000).unwrap();
    let id = paid.text_at("/id");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let refund = || {
            world
                .post("/v1/refunds", &json!({ "payment": id, "amount": 100 }))
                .unwrap()
        };
        let calls: Vec<_> = (0..50).map(|_| scope.spawn(refund)).collect();
        calls.into_iter().map(|call| call.join().unwrap().status).collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        10,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 422).count(),
        40,
        "{statuses:?}"
    );
    let charge = &world.charges_of(id).unwrap()[0];
    assert_eq!(charge["refunded"], json!(1000));
    let list = world.get("/v1/refunds?limit=100").unwrap();
    assert_eq!(list.body["data"].as_array().map(Vec::len), Some(10));
    world.assert_books().unwrap();
}

#[test]
fn a_refund_of_unknown_outcome_keeps_its_reserve() {
    let world = World::start(silent()).unwrap();
    let paid = world.pay("4242424242424242", 5_000).unwrap();
    let id = paid.text_at("/id");
    let lost = world
        .post("/v1/refunds", &json!({ "payment": id, "amount": 901 }))
        .unwrap();
    assert_eq!(
        (lost.text_at("/status"), lost.text_at("/outcome")),
        ("pending", "unknown"),
        "{}",
        lost.text
    );
    let too_much = world
        .post("/v1/refunds", &json!({ "payment": id, "amount": 4_100 }))
        .unwrap();
    assert_eq!(too_much.status, 422, "{}", too_much.text);
    let done = world
        .await_payment(id, |reply| reply.body["amount_refunded"] == json!(901))
        .unwrap();
    let shown = world.get(&format!("/v1/refunds/{}", lost.text_at("/id"))).unwrap();
    assert_eq!(
        (shown.text_at("/status"), shown.body.get("outcome")),
        ("succeeded", Some(&Value::Null)),
        "{}",
        done.text
    );
    world.assert_books().unwrap();
}

#[test]
fn lists_page_both_ways() {
    let world = World::start(silent()).unwrap();
    let ids: Vec<String> = (0..5)
        .map(|_| {
            world
                .post("/v1/payments", &json!({ "amount": 1, "currency": "EUR" }))
                .unwrap()
                .text_at("/id")
                .to_owned()
        })
        .collect();
    let page = |query: &str| {
        let reply = world.get(&format!("/v1/payments{query}")).unwrap();
        let ids = reply.body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), reply.body["has_more"] == json!(true))
    };
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(page(""), (newest_first.clone(), false));
    assert_eq!(page("?limit=2"), (newest_first[..2].to_vec(), true));
    assert_eq!(
        page(&format!("?limit=2&starting_after={}", newest_first[1])),
        (newest_first[2..4].to_vec(), true)
    );
    assert_eq!(
        page(&format!("?limit=3&starting_after={}", newest_first[1])),
        (newest_first[2..].to_vec(), false)
    );
    assert_eq!(
        page(&format!("?limit=5&ending_before={}", newest_first[1])),
        (newest_first[..1].to_vec(), false)
    );
    assert_eq!(
        page(&format!("?limit=2&ending_before={}", newest_first[3])),
        (newest_first[1..3].to_vec(), true),
        "the ones next to the cursor"
    );
    assert_eq!(page("?created[gte]=4102444800"), (vec![], false));
    let bad = world.get("/v1/payments?limit=0&colour=red").unwrap();
    assert_eq!(
        (bad.status, bad.body["errors"].as_array().map(Vec::len)),
        (422, Some(2))
    );
}
