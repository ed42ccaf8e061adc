//! The payer's authentication: asked for by the merchant, by a rule, by the issuer; and what the merchant can show of it later.

use crate::flows::browse;
use crate::payments::silent;
use portolan_tests::{Reply, World};
use serde_json::{Value, json};

const GOOD: &str = "4242424242424242";
/// Declined, 1A, until the payer is authenticated.
const WANTS: &str = "4000002500003155";
/// Authenticated without asking the payer, where that is wanted.
const FRICTIONLESS: &str = "4000000000003055";

fn pay(world: &World, card: &str, more: &Value) -> Reply {
    let method = world.store_card(card).unwrap();
    let mut body = json!({ "amount": 2_500, "currency": "EUR", "payment_method": method, "confirm": true });
    let fields = body.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    world.post("/v1/payments", &body).unwrap()
}

fn with_return() -> Value {
    json!({ "return_url": "https://shop.example/done" })
}

/// The payment after its payer went where it says.
fn sent_and_back(world: &World, waiting: &Reply) -> Reply {
    assert_eq!(waiting.text_at("/status"), "requires_action", "{}", waiting.text);
    browse(waiting.text_at("/next_action/url"));
    world.get(&format!("/v1/payments/{}", waiting.text_at("/id"))).unwrap()
}

#[test]
fn an_issuer_that_asks_for_it_gets_it_and_the_card_is_tried_again() {
    let world = World::start(silent()).unwrap();
    let paid = sent_and_back(&world, &pay(&world, WANTS, &with_return()));
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    let attempts = paid.body["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    assert_eq!(
        (&attempts[0]["status"], &attempts[0]["authentication"]),
        (&json!("declined"), &json!(null))
    );
    assert_eq!(
        attempts[1]["authentication"],
        json!({ "asked_by": "issuer", "result": "authenticated", "challenge": true, "version": "2.2.0", "eci": "05" })
    );
    let taken = world.charges_of(paid.text_at("/id")).unwrap();
    // The acquirer lists its charges by their ids; in which order they were made, the attempts say.
    let mut states: Vec<&str> = taken.iter().map(|it| it["status"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["captured", "declined"]);
    // In the trace the channel shows how it ended.
    let path = format!("/v1/payments/{}?expand[]=routing", paid.text_at("/id"));
    assert_eq!(
        world.get(&path).unwrap().text_at("/routing/0/plan/0/attempt"),
        "captured"
    );
    let events = world
        .get(&format!("/v1/events?payment={}", paid.text_at("/id")))
        .unwrap();
    assert!(
        events.text.contains(r#""authentication_asked_by":"issuer""#),
        "{}",
        events.text
    );
    world.assert_books().unwrap();
}

#[test]
fn nobody_is_sent_anywhere_who_is_not_there() {
    let world = World::start(silent()).unwrap();
    let failed = pay(&world, WANTS, &json!({}));
    assert_eq!(failed.text_at("/status"), "failed", "{}", failed.text);
    assert_eq!(failed.text_at("/last_error/advice"), "after_authentication");
    assert_eq!(failed.body["attempts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_merchant_asks_for_it() {
    let world = World::start(silent()).unwrap();
    let ask = json!({ "authentication": "required", "return_url": "https://shop.example/done" });
    let paid = sent_and_back(&world, &pay(&world, GOOD, &ask));
    assert_eq!(
        (paid.text_at("/status"), paid.text_at("/authentication")),
        ("succeeded", "required")
    );
    assert_eq!(paid.text_at("/attempts/0/authentication/asked_by"), "merchant");
    assert_eq!(paid.text_at("/attempts/0/authentication/result"), "authenticated");
    let at_once = pay(&world, FRICTIONLESS, &ask);
    assert_eq!(at_once.text_at("/status"), "succeeded", "{}", at_once.text);
    assert_eq!(at_once.body["attempts"][0]["authentication"]["challenge"], json!(false));
    // Without asking nobody is bothered, and nothing is claimed.
    let plain = pay(&world, FRICTIONLESS, &with_return());
    assert_eq!(
        (plain.text_at("/status"), &plain.body["attempts"][0]["authentication"]),
        ("succeeded", &json!(null))
    );
    world.assert_books().unwrap();
}

#[test]
fn a_word_that_nobody_knows_and_a_method_that_needs_none_are_refused() {
    let world = World::start(silent()).unwrap();
    let refused = pay(&world, GOOD, &json!({ "authentication": "always" }));
    assert_eq!(
        (refused.status, refused.text_at("/errors/0/pointer")),
        (422, "/authentication"),
        "{}",
        refused.text
    );
    let body = json!({ "amount": 100, "currency": "EUR", "payment_method_type": "wallet:alipay-plus", "authentication": "required" });
    let refused = world.post("/v1/payments", &body).unwrap();
    assert_eq!(
        (refused.status, refused.text_at("/errors/0/pointer")),
        (422, "/authentication"),
        "{}",
        refused.text
    );
}

/// A rule that allows one attempt allows none besides, whatever an issuer asks.
#[test]
fn a_rule_about_attempts_binds_this_too() {
    let world = World::start(silent()).unwrap();
    let set = json!({ "rules": [{ "name": "once", "attempts": 1 }] });
    assert_eq!(world.post("/v1/routes/rules", &set).unwrap().status, 200);
    let failed = pay(&world, WANTS, &with_return());
    assert_eq!(failed.text_at("/status"), "failed", "{}", failed.text);
    assert_eq!(failed.body["attempts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_rule_asks_for_it() {
    let world = World::start(silent()).unwrap();
    let set = json!({
        "rules": [{ "name": "large is proven", "when": "payment.amount >= 2000", "authenticate": true }],
        "tests": [{ "name": "t", "payment": { "amount": 2_000, "currency": "EUR" }, "applies": ["large is proven"] }],
    });
    let written = world.post("/v1/routes/rules", &set).unwrap();
    assert_eq!(written.status, 200, "{}", written.text);
    let paid = pay(&world, FRICTIONLESS, &json!({}));
    let told = &paid.body["attempts"][0]["authentication"];
    assert_eq!(
        (&told["asked_by"], &told["rule"]),
        (&json!("rule"), &json!("large is proven"))
    );
    assert_eq!(told["result"], json!("authenticated"));
    let small = pay(&world, FRICTIONLESS, &json!({ "amount": 1_999 }));
    assert_eq!(small.body["attempts"][0]["authentication"], json!(null));
}
