//! Bad input: the right status, the field and the fix, and nothing half done.

use crate::payments::silent;
use portolan_tests::{World, call};
use serde_json::{Value, json};

fn post_text(world: &World, path: &str, body: &str) -> portolan_tests::Reply {
    let (bearer, key) = (format!("Bearer {}", world.key), world.fresh_key());
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", &key),
    ];
    call(world.api, "POST", path, &headers, Some(body)).unwrap()
}

/// Status, code, and the pointers with their codes.
fn refusal(reply: &portolan_tests::Reply) -> String {
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json"),
        "{}",
        reply.text
    );
    let errors = reply.body["errors"].as_array().cloned().unwrap_or_default();
    let errors: Vec<String> = errors
        .iter()
        .map(|it| format!("{}={}", it["pointer"].as_str().unwrap(), it["code"].as_str().unwrap()))
        .collect();
    format!("{} {} {}", reply.status, reply.text_at("/code"), errors.join(" "))
        .trim()
        .to_owned()
}

#[test]
fn payments_name_every_bad_field_at_once() {
    let world = World::start(silent()).unwrap();
    let table = [
        ("{", "400 malformed_json"),
        ("", "422 invalid_request /currency=missing /amount=missing"),
        ("[]", "400 malformed_json"),
        (r#"{"amount":1,"amount":2,"currency":"EUR"}"#, "400 malformed_json"),
        (
            r#"{"amount":10.99,"currency":"EUR"}"#,
            "422 invalid_request /amount=wrong_type",
        ),
        (
            r#"{"amount":"1e3","currency":"EUR"}"#,
            "422 invalid_request /amount=wrong_type",
        ),
        (
            r#"{"amount":0,"currency":"XXX","colour":"red"}"#,
            "422 invalid_request /colour=unknown_field /currency=unknown_currency /amount=out_of_range",
        ),
        (
            r#"{"amount":99999999999999999999,"currency":"EUR"}"#,
            "422 invalid_request /amount=wrong_type",
        ),
        (
            r#"{"amount":1,"currency":"EUR","confirm":"yes"}"#,
            "422 invalid_request /confirm=wrong_type",
        ),
        (
            r#"{"amount":1,"currency":"EUR","confirm":true}"#,
            "422 invalid_request /payment_method=missing",
        ),
        (
            r#"{"amount":1,"currency":"EUR","payment_method":"pm_x"}"#,
            "422 invalid_request /payment_method=invalid_id",
        ),
        (
            r#"{"amount":1,"currency":"EUR","payment_method":"pm_00000000000000000000000000000000"}"#,
            "422 invalid_request /payment_method=not_found",
        ),
        (
            r#"{"amount":1,"currency":"EUR","metadata":{"card":"4242 4242 4242 4242"}}"#,
            "422 invalid_request /metadata/card=card_number",
        ),
        (
            r#"{"amount":1,"currency":"EUR","metadata":{"a":1},"payer":{"nmae":"x"}}"#,
            "422 invalid_request /metadata/a=wrong_type /payer/nmae=unknown_field",
        ),
    ];
    for (body, expected) in table {
        assert_eq!(refusal(&post_text(&world, "/v1/payments", body)), expected, "{body}");
    }
    assert_eq!(
        world.get("/v1/payments").unwrap().body["data"],
        json!([]),
        "nothing half done"
    );
}

#[test]
fn cards_are_checked_and_no_digit_is_repeated() {
    let world = World::start(silent()).unwrap();
    let table = [
        (
            r#"{"type":"card","card":{"number":"4242424242424241","expiry_month":12,"expiry_year":2031}}"#,
            "422 invalid_request /card/number=incorrect_number",
        ),
        (
            r#"{"type":"card","card":{"number":"42","expiry_month":13,"expiry_year":31}}"#,
            "422 invalid_request /card/number=invalid_number /card/expiry_month=out_of_range /card/expiry_year=out_of_range",
        ),
        (
            r#"{"type":"card","card":{"number":"4242424242424242","expiry_month":1,"expiry_year":2020,"security_code":"12"}}"#,
            "422 invalid_request /card/expiry_year=expired_card /card/security_code=invalid_security_code",
        ),
        (
            r#"{"type":"card","card":{"number":4242424242424242,"expiry_month":12,"expiry_year":2031}}"#,
            "422 invalid_request /card/number=wrong_type",
        ),
        (
            r#"{"type":"card","card":{"number":"4242424242424242","pin":"1234","expiry_month":12,"expiry_year":2031}}"#,
            "422 invalid_request /card/pin=unknown_field",
        ),
    ];
    for (body, expected) in table {
        let reply = post_text(&world, "/v1/payment_methods", body);
        assert_eq!(refusal(&reply), expected, "{body}");
        assert!(!reply.text.contains("424242424242"), "{}", reply.text);
    }
}

#[test]
fn who_calls_and_what_it_may() {
    let world = World::start(silent()).unwrap();
    let paid = world.pay("4242424242424242", 1099).unwrap();
    let id = paid.text_at("/id");
    let get = |key: &str| {
        call(
            world.api,
            "GET",
            &format!("/v1/payments/{id}"),
            &[("authorization", key)],
            None,
        )
        .unwrap()
    };
    assert_eq!(get("Bearer sk_test_nobody").status, 401);
    assert_eq!(get("Basic x").status, 401);
    let other = world.new_key("other-shop").unwrap();
    assert_eq!(
        get(&format!("Bearer {other}")).status,
        404,
        "another merchant's payment does not exist"
    );
    let narrow = json!({ "merchant": "shop", "mode": "test", "scopes": ["events:read"] });
    let narrow = world.admin_call("POST", "/admin/keys", Some(&narrow)).unwrap();
    let refused = get(&format!("Bearer {}", narrow.text_at("/key")));
    assert_eq!((refused.status, refused.text_at("/code")), (403, "missing_scope"));
    let live = json!({ "merchant": "shop", "mode": "live", "scopes": [] });
    let live = world.admin_call("POST", "/admin/keys", Some(&live)).unwrap();
    assert_eq!(
        get(&format!("Bearer {}", live.text_at("/key"))).status,
        404,
        "test and live never meet"
    );
    let revoke = format!("/admin/keys/{}/revoke", &world.key[..16]);
    assert_eq!(world.admin_call("POST", &revoke, Some(&json!({}))).unwrap().status, 200);
    assert_eq!(get(&format!("Bearer {}", world.key)).status, 401, "revoked at once");
    let open = call(world.admin, "GET", "/admin/tasks", &[], None).unwrap();
    assert_eq!(open.status, 401);
}

#[test]
fn wrong_states_and_wrong_routes() {
    let world = World::start(silent()).unwrap();
    let paid = world.pay("4242424242424242", 1000).unwrap();
    let id = paid.text_at("/id");
    let table = [
        (format!("/v1/payments/{id}/capture"), json!({}), "409 wrong_status"),
        (format!("/v1/payments/{id}/cancel"), json!({}), "409 wrong_status"),
        ("/v1/payments/pay_x/capture".into(), json!({}), "404 not_found"),
        ("/v1/refunds".into(), json!({}), "422 invalid_request /payment=missing"),
        (
            "/v1/refunds".into(),
            json!({ "payment": id, "amount": 1001 }),
            "422 invalid_request /amount=amount_too_large",
        ),
        (
            "/v1/refunds".into(),
            json!({ "payment": id, "amount": 0 }),
            "422 invalid_request /amount=out_of_range",
        ),
        ("/v1/nothing".into(), json!({}), "404 not_found"),
    ];
    for (path, body, expected) in table {
        assert_eq!(refusal(&world.post(&path, &body).unwrap()), expected, "{path} {body}");
    }
    let unauthorized: Value = json!({ "amount": 1, "currency": "EUR" });
    let bearer = format!("Bearer {}", world.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let no_key = call(
        world.api,
        "POST",
        "/v1/payments",
        &headers,
        Some(&unauthorized.to_string()),
    )
    .unwrap();
    assert_eq!(refusal(&no_key), "400 idempotency_key_missing");
    let no_type = call(
        world.api,
        "POST",
        "/v1/payments",
        &[("authorization", &bearer)],
        Some("{}"),
    )
    .unwrap();
    assert_eq!(refusal(&no_type), "415 unsupported_media_type");
    let wrong_method = call(world.api, "DELETE", "/v1/payments", &[("authorization", &bearer)], None).unwrap();
    assert_eq!(refusal(&wrong_method), "405 method_not_allowed");
}
