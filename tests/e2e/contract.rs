//! The API's own description: it lists the routes that there are, the fields that are taken, and the answers that come;
//! and how often a key may call.

use crate::payments::silent;
use portolan_tests::{Options, Reply, World, call};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn document(world: &World) -> Value {
    call(world.api, "GET", "/openapi.json", &[], None).unwrap().body
}

/// Whether the answer is what the document says of that route.
fn assert_described(document: &Value, (method, path): (&str, &str), reply: &Reply) {
    let status = match reply.status {
        200 => "200",
        401 => "401",
        _ => "default",
    };
    let content = &document["paths"][path][method]["responses"][status]["content"];
    let schema = content
        .as_object()
        .and_then(|content| content.values().next())
        .map(|content| content["schema"].clone());
    let schema = schema.unwrap_or_else(|| panic!("{method} {path} is not described for {status}"));
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::validator_for(&whole).unwrap();
    let errors: Vec<String> = validator.iter_errors(&reply.body).map(|it| it.to_string()).collect();
    assert!(errors.is_empty(), "{method} {path}: {errors:?} in {}", reply.text);
}

#[test]
fn every_described_route_is_there_and_takes_the_fields_that_are_described() {
    let world = World::start(silent()).unwrap();
    let document = document(&world);
    let paths = document["paths"].as_object().unwrap();
    let mut seen = 0;
    for (path, methods) in paths {
        for (method, described) in methods.as_object().unwrap() {
            let at = path.replace("{id}", "pay_00000000000000000000000000000000");
            let keyless = call(world.api, &method.to_uppercase(), &at, &[], None).unwrap();
            assert_eq!(keyless.status, 401, "{method} {path}: {}", keyless.text);
            assert_described(&document, (method, path), &keyless);
            seen += 1;
            let properties = described.pointer("/requestBody/content/application~1json/schema/properties");
            let Some(properties) = properties
                .and_then(Value::as_object)
                .filter(|_| path != "/v1/payment_methods")
            else {
                continue;
            };
            let refused = world.post(&at, &json!({ "colour": "red" })).unwrap();
            let errors = refused.body["errors"].as_array().unwrap();
            let unknown = errors.iter().find(|error| error["code"] == "unknown_field").unwrap();
            let told = unknown["message"].as_str().unwrap().split_once("these do: ").unwrap().1;
            let told: BTreeSet<&str> = told.split(", ").collect();
            let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            assert_eq!(told, described, "{method} {path}");
        }
    }
    assert_eq!(seen, 43);
    let elsewhere = call(world.api, "DELETE", "/v1/payments", &[], None).unwrap();
    assert_eq!(elsewhere.status, 405, "{}", elsewhere.text);
}

#[test]
fn answers_are_as_described() {
    let world = World::start(silent()).unwrap();
    let document = document(&world);
    let card = json!({ "number": "4242424242424242", "expiry_month": 12, "expiry_year": 2031 });
    let method = world
        .post("/v1/payment_methods", &json!({ "type": "card", "card": card }))
        .unwrap();
    assert_described(&document, ("post", "/v1/payment_methods"), &method);
    let paid = world.pay("4242424242424242", 1_099).unwrap();
    assert_described(&document, ("post", "/v1/payments"), &paid);
    for (number, amount) in [
        ("4000000000000002", 1_099),
        ("4000000000003220", 2_500),
        ("4242424242424242", 1_901),
    ] {
        let other = world.pay(number, amount).unwrap();
        assert_described(&document, ("post", "/v1/payments"), &other);
    }
    let id = paid.text_at("/id");
    let refund = world
        .post("/v1/refunds", &json!({ "payment": id, "amount": 99 }))
        .unwrap();
    assert_described(&document, ("post", "/v1/refunds"), &refund);
    let refunded = refund.text_at("/id");
    for (path, at) in [
        ("/v1/payments/{id}", format!("/v1/payments/{id}")),
        ("/v1/payments", "/v1/payments?limit=3".into()),
        ("/v1/refunds/{id}", format!("/v1/refunds/{refunded}")),
        ("/v1/refunds", "/v1/refunds".into()),
        (
            "/v1/payment_methods/{id}",
            format!("/v1/payment_methods/{}", method.text_at("/id")),
        ),
        ("/v1/events", format!("/v1/events?payment={id}&limit=100")),
        ("/v1/balances", "/v1/balances".into()),
    ] {
        let shown = world.get(&at).unwrap();
        assert_eq!(shown.status, 200, "{at}: {}", shown.text);
        assert_described(&document, ("get", path), &shown);
    }
    let missing = world.get("/v1/payments/pay_00000000000000000000000000000000").unwrap();
    assert_described(&document, ("get", "/v1/payments/{id}"), &missing);
    assert!(missing.text_at("/request_id").starts_with("req_"), "{}", missing.text);
    assert_eq!(missing.header("request-id"), Some(missing.text_at("/request_id")));
}

#[test]
fn answers_across_borders_are_as_described() {
    let world = crate::cross_border::world();
    let document = document(&world);
    let quote = crate::cross_border::eur_to_hkd(&world, 10_000);
    assert_described(&document, ("post", "/v1/quotes"), &quote);
    let paid = crate::cross_border::pay(&world, &quote, &json!({}));
    assert_described(&document, ("post", "/v1/payments"), &paid);
    let payout = world
        .post("/v1/payouts", &crate::payouts::to_hong_kong(20_000))
        .unwrap();
    assert_eq!(payout.status, 200, "{}", payout.text);
    assert_described(&document, ("post", "/v1/payouts"), &payout);
    for (path, at) in [
        ("/v1/quotes/{id}", format!("/v1/quotes/{}", quote.text_at("/id"))),
        ("/v1/payouts/{id}", format!("/v1/payouts/{}", payout.text_at("/id"))),
        ("/v1/payouts", "/v1/payouts".into()),
        ("/v1/corridors", "/v1/corridors".into()),
        ("/v1/balances", "/v1/balances".into()),
        ("/v1/events", "/v1/events?limit=100".into()),
        ("/v1/postings", format!("/v1/postings?payout={}", payout.text_at("/id"))),
        ("/v1/statements", "/v1/statements?currency=HKD&created[gte]=0".into()),
    ] {
        let shown = world.get(&at).unwrap();
        assert_eq!(shown.status, 200, "{at}: {}", shown.text);
        assert_described(&document, ("get", path), &shown);
    }
}

#[test]
fn a_key_that_calls_too_often_is_told_to_wait_and_nothing_was_done() {
    let world = World::start(Options {
        server: "requests_per_second = 5".into(),
        ..silent()
    })
    .unwrap();
    let mut refused = None;
    for _ in 0..20 {
        let reply = world.get("/v1/balances").unwrap();
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        assert_eq!(
            reply.header("ratelimit-policy"),
            Some("\"key\";q=5;w=1"),
            "{}",
            reply.text
        );
        assert!(reply.header("ratelimit").unwrap().starts_with("\"key\";r="));
    }
    let refused = refused.expect("20 calls at once are more than 5 a second");
    assert_eq!(refused.text_at("/code"), "too_many_requests");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Another merchant's key has a bucket of its own.
    let other = world.new_key("other").unwrap();
    let headers = [("authorization", format!("Bearer {other}"))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let served = call(world.api, "GET", "/v1/balances", &headers, None).unwrap();
    assert_eq!(served.status, 200, "{}", served.text);
}
