//! Wallets: the payer scans, the provider tells, the router asks. Signatures are checked by the provider's own SDK.

use crate::cross_border::{balance, with_desks};
use portolan_tests::{Options, Reply, World, call, peers};
use serde_json::{Value, json};
use std::process::Command;

fn with_wallet(arguments: &[&str]) -> Options {
    Options {
        wallet: Some(arguments.iter().map(|word| (*word).to_owned()).collect()),
        ..with_desks(&[&[]])
    }
}

fn pay(world: &World, amount: u64, more: &Value) -> Reply {
    let mut body = json!({
        "amount": amount, "currency": "CNY", "payment_method_type": "wallet:alipay-plus:ALIPAY_CN", "confirm": true,
        "description": "Cappuccino", "return_url": "https://shop.example/done",
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().cloned().unwrap_or_default());
    world.post("/v1/payments", &body).unwrap()
}

/// What the payer's phone does with a code.
fn scan(payment: &Reply) {
    let code = payment.text_at("/next_action/text").strip_prefix("http://").unwrap();
    let (authority, path) = code.split_once('/').unwrap();
    let reply = call(authority.parse().unwrap(), "GET", &format!("/{path}"), &[], None).unwrap();
    assert_eq!(reply.status, 303, "{}", reply.text);
}

fn until(world: &World, payment: &Reply, status: &str) -> Reply {
    let id = payment.text_at("/id").to_owned();
    world
        .await_payment(&id, |reply| reply.text_at("/status") == status)
        .unwrap()
}

#[test]
fn a_shopper_scans_and_the_shop_is_paid() {
    let world = World::start(with_wallet(&[])).unwrap();
    let waiting = pay(&world, 8_800, &json!({}));
    assert_eq!(
        (waiting.status, waiting.text_at("/status")),
        (200, "requires_action"),
        "{}",
        waiting.text
    );
    assert_eq!(waiting.text_at("/next_action/type"), "qr");
    assert_eq!(waiting.text_at("/payment_method_type"), "wallet:alipay-plus:ALIPAY_CN");
    scan(&waiting);
    let paid = until(&world, &waiting, "succeeded");
    assert_eq!(paid.body["amount_captured"], 8_800);
    assert_eq!(balance(&world, "CNY"), (0, 8_800, 0));
    let record = world.wallet_records().unwrap();
    assert_eq!(record["payments"][0]["status"], "SUCCESS");
    assert_eq!(record["payments"].as_array().unwrap().len(), 1);

    let refund = world
        .post(
            "/v1/refunds",
            &json!({ "payment": paid.text_at("/id"), "amount": 3_000 }),
        )
        .unwrap();
    assert_eq!(refund.text_at("/status"), "succeeded", "{}", refund.text);
    // …945: the provider takes a while.
    let slow = world
        .post("/v1/refunds", &json!({ "payment": paid.text_at("/id"), "amount": 945 }))
        .unwrap();
    assert_eq!(slow.text_at("/status"), "pending", "{}", slow.text);
    let id = paid.text_at("/id").to_owned();
    world
        .await_payment(&id, |reply| reply.body["amount_refunded"] == 3_945)
        .unwrap();
    world.assert_books().unwrap();
}

#[test]
fn a_scan_in_yuan_owes_hong_kong_dollars() {
    let world = World::start(with_wallet(&[])).unwrap();
    let body = json!({ "source": { "amount": 20_000, "currency": "CNY" }, "destination": { "currency": "HKD" } });
    let quote = world.post("/v1/quotes", &body).unwrap();
    let waiting = pay(&world, 20_000, &json!({ "quote": quote.text_at("/id") }));
    assert_eq!(waiting.text_at("/settlement/status"), "planned", "{}", waiting.text);
    scan(&waiting);
    let id = waiting.text_at("/id").to_owned();
    let done = world
        .await_payment(&id, |reply| reply.text_at("/settlement/status") == "succeeded")
        .unwrap();
    assert_eq!(done.body["settlement"]["amount"], quote.body["destination"]["amount"]);
    assert_eq!(balance(&world, "CNY"), (0, 0, 0));
    assert_eq!(
        Some(balance(&world, "HKD").0),
        quote.body["destination"]["amount"].as_i64()
    );
    world.assert_books().unwrap();
}

#[test]
fn what_nobody_told_is_found_out() {
    let world = World::start(with_wallet(&["--silent"])).unwrap();
    let waiting = pay(&world, 8_800, &json!({}));
    scan(&waiting);
    until(&world, &waiting, "succeeded");
    // …941: made, no answer; …943: an answer that is not signed; …944: U, and nothing said.
    for amount in [10_941, 10_943, 10_944] {
        let unknown = pay(&world, amount, &json!({}));
        assert_eq!(
            (unknown.text_at("/status"), unknown.text_at("/outcome")),
            ("processing", "unknown"),
            "{}",
            unknown.text
        );
    }
    // …942: the payer has too little; …948: paid at once.
    let poor = pay(&world, 10_942, &json!({}));
    scan(&poor);
    let failed = until(&world, &poor, "failed");
    assert_eq!(failed.text_at("/last_error/decline_reason"), "insufficient-funds");
    assert_eq!(failed.text_at("/last_error/code"), "payment_declined");
    assert_eq!(pay(&world, 10_948, &json!({})).text_at("/status"), "succeeded");
    let canceled = pay(&world, 7_700, &json!({}));
    let path = format!("/v1/payments/{}/cancel", canceled.text_at("/id"));
    assert_eq!(world.post(&path, &json!({})).unwrap().text_at("/status"), "canceled");
    world.assert_books().unwrap();
}

#[test]
fn forged_and_repeated_notifications_change_nothing() {
    let world = World::start(with_wallet(&[])).unwrap();
    // …946: told three times; …947: a forged one comes first.
    for amount in [10_946, 10_947] {
        let waiting = pay(&world, amount, &json!({}));
        scan(&waiting);
        until(&world, &waiting, "succeeded");
    }
    let metrics = call(world.admin, "GET", "/metrics", &[], None).unwrap();
    let refused = metrics
        .text
        .lines()
        .find(|line| line.starts_with("portolan_notifications_total{result=\"refused\"}"));
    assert_ne!(refused.unwrap().rsplit(' ').next(), Some("0"), "{refused:?}");
    assert_eq!(balance(&world, "CNY").1, 21_893);
    world.assert_books().unwrap();
}

/// The provider's own SDK (PyPI, global-open-sdk-python) checks what we signed.
#[test]
fn the_providers_own_sdk_accepts_our_signature() {
    let world = World::start(with_wallet(&[])).unwrap();
    pay(&world, 8_800, &json!({}));
    let last = world.wallet_records().unwrap()["last_request"].clone();
    let program = r#"
import json, re, sys
from com.alipay.ams.api.tools.webhook_tool import check_signature
last, pem = json.loads(sys.argv[1]), open(sys.argv[2]).read()
key = re.sub(r"-----[^-]+-----|\s", "", pem)
check = lambda body: check_signature("POST", last["path"], last["client_id"], last["request_time"], body, last["signature"], key)
def refused(body):
    try:
        return not check(body)
    except Exception:
        return True
print(bool(check(last["body"])), refused(last["body"] + " "))
"#;
    let key = portolan_tests::workspace().join("examples/wallet/keys/router.pub");
    let out = Command::new(peers::python())
        .args(["-c", program, &last.to_string()])
        .arg(key)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    assert_eq!(said, "True True", "{}", String::from_utf8_lossy(&out.stderr));
}
