//! The provider of the templates, asked as their adapter asks it.

use super::super::leaves::Sent;
use super::{Answer, Script};
use portolan_channels::Vector;
use serde_json::{Value, json};

macro_rules! vectors {
    ($($name:literal),+) => {
        vec![$(($name.to_owned(), serde_json::from_str(include_str!(
            concat!("../../../../../plugins/templates/vectors/", $name, ".json"))).unwrap())),+]
    };
}

/// In the order of their files.
fn script() -> Script {
    Script::new(vectors![
        "approved",
        "declined-unknown-code",
        "declined",
        "refund-status",
        "refund",
        "server-error",
        "status-not-found",
        "status",
        "timeout"
    ])
}

fn sent(method: &str, path: &str, key: Option<&str>, body: &Value) -> Sent {
    let mut headers = vec![
        ("authorization".into(), "Bearer made-up".into()),
        ("content-type".into(), "application/json".into()),
    ];
    headers.extend(key.map(|key| ("idempotency-key".to_owned(), key.to_owned())));
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let (method, path) = (method.into(), path.into());
    Sent {
        method,
        path,
        headers,
        body,
    }
}

fn charge(amount: u64, key: &str) -> Sent {
    let card = json!({ "number": "4242424242424242", "cvc": "123", "month": 11, "year": 2032 });
    let body = json!({ "amount": amount, "currency": "USD", "capture": true, "card": card });
    sent("POST", "/charges", Some(key), &body)
}

fn said(script: &mut Script, sent: &Sent) -> (u16, Value) {
    match script.answer(sent).answer {
        Answer::Said(status, _, body) => (status, serde_json::from_str(&body).unwrap_or(Value::String(body))),
        Answer::Silence => (0, Value::Null),
    }
}

#[test]
fn each_charge_has_its_own_amount_and_id_and_is_found_again() {
    let mut script = script();
    let (status, first) = said(&mut script, &charge(1_001, "k-1"));
    assert_eq!(
        (status, &first),
        (
            200,
            &json!({ "id": "ch_1_1", "status": "captured", "amount": 1001, "currency": "USD" })
        )
    );
    let (_, second) = said(&mut script, &charge(2_000, "k-2"));
    assert_eq!(
        second,
        json!({ "id": "ch_1_2", "status": "captured", "amount": 2000, "currency": "USD" })
    );
    assert_eq!(
        said(&mut script, &charge(1_001, "k-1")).1,
        first,
        "the same key, the same charge"
    );
    for path in ["/charges?key=k-2", "/charges/ch_1_2"] {
        let found = said(&mut script, &sent("GET", path, None, &Value::Null));
        // The templates' vectors ask by key; by id nothing is known of how it is answered.
        assert_eq!(found.0, if path.contains('?') { 200 } else { 501 }, "{path}");
        assert!(path.contains("ch_") || found.1 == second, "{found:?}");
    }
    assert_eq!(
        said(&mut script, &sent("GET", "/charges?key=k-9", None, &Value::Null)).0,
        404
    );
}

#[test]
fn the_last_two_digits_choose_and_what_nobody_knows_was_done() {
    let mut script = script();
    assert_eq!(said(&mut script, &charge(5_002, "k-2")).1["code"], "X9");
    assert_eq!(said(&mut script, &charge(5_003, "k-3")).1["code"], "51");
    assert_eq!(said(&mut script, &charge(5_004, "k-4")).0, 500);
    assert_eq!(said(&mut script, &charge(5_005, "k-5")).0, 0, "no answer");
    for (key, amount) in [("k-4", 5_004), ("k-5", 5_005)] {
        let found = said(
            &mut script,
            &sent("GET", &format!("/charges?key={key}"), None, &Value::Null),
        );
        assert_eq!((found.0, &found.1["amount"]), (200, &json!(amount)), "{key}");
        assert_eq!(
            said(&mut script, &charge(amount, key)).0,
            200,
            "the same key again is told"
        );
    }
    assert_eq!(
        said(&mut script, &sent("GET", "/charges?key=k-3", None, &Value::Null)).0,
        404,
        "it was declined"
    );
}

#[test]
fn a_refund_is_about_its_charge_and_has_an_amount_of_its_own() {
    let mut script = script();
    said(&mut script, &charge(1_001, "k-1"));
    let refund = sent(
        "POST",
        "/charges/ch_1_1/refunds",
        Some("k-2"),
        &json!({ "amount": 250 }),
    );
    let told = json!({ "id": "re_1_2", "status": "refunded", "amount": 250, "currency": "USD" });
    assert_eq!(said(&mut script, &refund), (200, told.clone()));
    assert_eq!(
        said(&mut script, &sent("GET", "/refunds?key=k-2", None, &Value::Null)),
        (200, told)
    );
    assert_eq!(
        said(&mut script, &sent("GET", "/charges?key=k-1", None, &Value::Null)).1["amount"],
        1_001
    );
}

/// What follows the whole of a payment says the payment's amount.
#[test]
fn a_cancel_is_about_its_charge() {
    let mut script = Script::new(vectors!["cancel", "held"]);
    let held = said(&mut script, &charge(1_234, "k-1"));
    let void = said(
        &mut script,
        &sent("POST", "/charges/ch_1_1/void", Some("k-2"), &json!({})),
    );
    assert_eq!(
        (held.0, void.0, &void.1["amount"], &void.1["id"]),
        (200, 200, &json!(1_234), &json!("vo_1_2"))
    );
}

#[test]
fn a_request_that_no_vector_sends_is_told_so() {
    let mut script = script();
    let (status, body) = said(&mut script, &sent("POST", "/payouts?x=1", None, &json!({})));
    assert_eq!(status, 501);
    assert_eq!(
        body["error"],
        "no vector sends POST /payouts: write one, with what your provider answers"
    );
}

/// A vector of one request.
fn vector(function: &str, input: Value, (request, body): (&str, Value), answer: Value, done: Value) -> Vector {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let send =
        json!({ "request": request, "headers": ["idempotency-key: key-1"], "body": body, "effect": "Effect::Write" });
    let all = json!({
        "shows": "", "function": function, "input": input, "answers": [answer],
        "expect": [{ "send": send }, { "done": done }],
    });
    serde_json::from_value(all).unwrap()
}

fn eur(units: &str) -> Value {
    json!({ "units": units, "exponent": 2, "asset": "EUR" })
}

fn order(kind: &str, captured: bool) -> Vector {
    vector(
        "authorize",
        json!([{ "payment": "pay_1", "amount": eur("1099") }]),
        (
            "api POST /orders",
            json!({ "id": "pay_1", "value": "10.99", "ccy": "EUR", "now": captured }),
        ),
        json!({ "response_with": [201, [["location", "/orders/o-77"]], { "state": kind, "value": "10.99" }] }),
        json!({ "Accepted": { "reference": "ord:o-77", "captured": captured } }),
    )
}

fn target() -> Value {
    json!({ "reference": "ord:o-77", "keys": ["k"], "operation": "op_1", "amount": eur("1099"), "started_ms": 1 })
}

fn orders() -> Script {
    let refund = vector(
        "refund",
        json!([target(), eur("400"), null]),
        ("api POST /orders/o-77/refunds", json!({ "value": "4.00" })),
        json!({ "response": [201, { "refund": "r-1", "value": "4.00" }] }),
        json!({ "Done": { "reference": "r-1" } }),
    );
    let paid = vector(
        "status",
        json!([target()]),
        ("api GET /orders/o-77", Value::Null),
        json!({ "response": [200, { "state": "PAID", "value": "10.99" }] }),
        json!({ "Standing": { "reference": "ord:o-77", "state": "Captured" } }),
    );
    let all = [
        ("held", order("HELD", false)),
        ("paid", order("PAID", true)),
        ("refund", refund),
        ("status", paid),
    ];
    Script::new(all.map(|(name, vector)| (name.to_owned(), vector)).into())
}

fn ordered(script: &mut Script, value: &str, (ccy, now): (&str, bool)) -> (String, Value) {
    let body = json!({ "id": "pay_9", "value": value, "ccy": ccy, "now": now });
    let Answer::Said(201, headers, body) = script.answer(&sent("POST", "/orders", Some(value), &body)).answer else {
        panic!("not taken")
    };
    (headers[0].1.clone(), serde_json::from_str(&body).unwrap())
}

#[test]
fn an_id_in_a_header_is_another_one_each_time_and_found_in_a_path_that_only_it_stands_in() {
    let mut script = orders();
    assert_eq!(ordered(&mut script, "5.10", ("EUR", true)).0, "/orders/o-77_1");
    assert_eq!(
        ordered(&mut script, "6.20", ("EUR", true)),
        ("/orders/o-77_2".into(), json!({ "state": "PAID", "value": "6.20" }))
    );
    let refund = sent("POST", "/orders/o-77_2/refunds", Some("k"), &json!({ "value": "1.50" }));
    assert_eq!(said(&mut script, &refund).1["value"], "1.50");
    let found = said(&mut script, &sent("GET", "/orders/o-77_1", None, &Value::Null));
    assert_eq!(found, (200, json!({ "state": "PAID", "value": "5.10" })));
}

#[test]
fn what_is_a_yes_or_no_in_a_request_is_the_vectors_whatever_the_amount_chooses() {
    let mut script = orders();
    // The second vector is for those that are captured at once.
    assert_eq!(ordered(&mut script, "5.02", ("EUR", false)).1["state"], "HELD");
    assert_eq!(ordered(&mut script, "5.01", ("EUR", true)).1["state"], "PAID");
}

#[test]
fn nothing_is_said_of_a_state_that_no_vector_shows() {
    let mut script = orders();
    let held = ordered(&mut script, "5.10", ("EUR", false)).0;
    let (status, body) = said(&mut script, &sent("GET", &held, None, &Value::Null));
    assert_eq!(status, 501);
    assert_eq!(
        body["error"],
        "no vector shows what is told of something that is Authorized: write one"
    );
}

#[test]
fn a_currency_has_its_own_decimals() {
    let mut script = orders();
    assert_eq!(ordered(&mut script, "501", ("JPY", true)).1["value"], "501");
    assert_eq!(ordered(&mut script, "0.501", ("KWD", true)).1["value"], "0.501");
}
