//! A merchant's books as the merchant reads them: postings of one payment, statements that join on to each other, and the
//! same as camt.053, checked by the standard's own definition of it.

use crate::cross_border::{balance, eur_to_hkd, pay, with_desks};
use crate::payouts::to_hong_kong;
use portolan_tests::{World, peers, workspace};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// A payment that was exchanged, a refund of a part of it, and a payout.
fn world() -> World {
    let world = World::start(with_desks(&[&[]])).unwrap();
    let paid = pay(&world, &eur_to_hkd(&world, 10_000), &json!({}));
    let refund = json!({ "payment": paid.text_at("/id"), "amount": 2_500 });
    assert_eq!(
        world.post("/v1/refunds", &refund).unwrap().text_at("/status"),
        "succeeded"
    );
    let sent = world.post("/v1/payouts", &to_hong_kong(20_000)).unwrap();
    let path = format!("/v1/payouts/{}", sent.text_at("/id"));
    let started = std::time::Instant::now();
    while world.get(&path).unwrap().text_at("/status") != "paid" {
        assert!(started.elapsed().as_secs() < 60, "never paid");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    world
}

fn numbers(statement: &Value, of: &str) -> (i64, i64) {
    let number = |purse: &str| statement[of][purse].as_i64().unwrap();
    (number("pending"), number("available"))
}

#[test]
fn statements_add_up_and_join_on() {
    let world = world();
    let whole = world.get("/v1/statements?currency=HKD&created[gte]=0").unwrap();
    assert_eq!(whole.status, 200, "{}", whole.text);
    assert_eq!(numbers(&whole.body, "opening"), (0, 0));
    let (available, pending, _) = balance(&world, "HKD");
    assert_eq!(numbers(&whole.body, "closing"), (pending, available));
    // Exchanged 840.13; a quarter of it given up for the refund, rounded once; 200.00 paid out.
    let postings = whole.body["postings"].as_array().cloned().unwrap();
    let told: Vec<(&str, i64, i64)> = postings
        .iter()
        .map(|it| {
            let number = |name: &str| it[name].as_i64().unwrap();
            (it["type"].as_str().unwrap(), number("amount"), number("balance"))
        })
        .collect();
    let expected = [
        ("payment.converted", 84_013, 84_013),
        ("refund.succeeded", -21_003, 63_010),
        ("payout.paid", -20_000, 43_010),
    ];
    assert_eq!(told, expected);
    assert!(postings[2]["payout"].as_str().unwrap().starts_with("po_"));

    // Where one ends the next begins, at any second.
    let paid_at = postings[1]["created"].as_u64().unwrap();
    for at in [paid_at, paid_at + 1] {
        let before = world
            .get(&format!("/v1/statements?currency=HKD&created[gte]=0&created[lt]={at}"))
            .unwrap();
        let after = world
            .get(&format!("/v1/statements?currency=HKD&created[gte]={at}"))
            .unwrap();
        assert_eq!(before.body["closing"], after.body["opening"]);
        let count = |reply: &Value| reply["postings"].as_array().map_or(0, Vec::len);
        assert_eq!(count(&before.body) + count(&after.body), postings.len());
    }
    let future = world
        .get("/v1/statements?currency=HKD&created[gte]=4000000000&created[lt]=4000000001")
        .unwrap();
    assert_eq!(future.body["opening"], whole.body["closing"]);
}

#[test]
fn one_payment_shows_all_that_it_moved() {
    let world = world();
    let payments = world.get("/v1/payments").unwrap();
    let id = payments.text_at("/data/0/id");
    let postings = world.get(&format!("/v1/postings?payment={id}")).unwrap();
    let lines = postings.body["data"].as_array().cloned().unwrap();
    let posted = lines
        .iter()
        .filter(|it| it["layer"] == "posted" && it["currency"] == "EUR");
    assert_eq!(posted.map(|it| it["amount"].as_i64().unwrap()).sum::<i64>(), 0);
    let held = |layer: &str| lines.iter().filter(|it| it["layer"] == layer).count();
    assert_eq!(held("held"), held("released"));
    // Nobody sees another's.
    let key = world.new_key("other").unwrap();
    let theirs = portolan_tests::call(
        world.api,
        "GET",
        &format!("/v1/postings?payment={id}"),
        &[("authorization", &format!("Bearer {key}"))],
        None,
    );
    assert_eq!(theirs.unwrap().body["data"], json!([]));
}

#[test]
fn the_standards_own_definition_accepts_camt_053() {
    let world = world();
    let reply = world
        .get("/v1/statements?currency=HKD&created[gte]=0&format=camt.053")
        .unwrap();
    assert_eq!(reply.header("content-type"), Some("application/xml"));
    let mut check = Command::new(peers::python())
        .arg(workspace().join("tests/e2e/iso20022_check.py"))
        .arg("camt.053.001.08")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(reply.text.as_bytes()).unwrap();
    let out = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(
        said.trim(),
        "pending 0.00 0.00 0\navailable 0.00 430.10 3",
        "{}\n{}",
        String::from_utf8_lossy(&out.stderr),
        reply.text
    );
}

#[test]
fn a_spreadsheet_reads_the_same() {
    let world = world();
    let reply = world
        .get("/v1/statements?currency=HKD&created[gte]=0&format=csv")
        .unwrap();
    let rows: Vec<Vec<&str>> = reply.text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 4, "{}", reply.text);
    assert_eq!(rows[0][7..], ["amount", "balance"]);
    assert_eq!(rows[2][5..], ["available", "HKD", "-210.03", "630.10"]);
}

#[test]
fn a_wrong_question_names_what_is_wrong() {
    let world = World::start(with_desks(&[])).unwrap();
    for (query, at) in [
        ("created[gte]=0", "?currency"),
        ("currency=EUR", "?created[gte]"),
        ("currency=XXY&created[gte]=0", "?currency"),
        ("currency=EUR&created[gte]=9&created[lt]=8", "?created[lt]"),
        ("currency=EUR&created[gte]=x", "?created[gte]"),
        ("currency=EUR&created[gte]=0&format=pdf", "?format"),
        ("currency=EUR&created[gte]=0&limit=1", "?limit"),
    ] {
        let reply = world.get(&format!("/v1/statements?{query}")).unwrap();
        assert_eq!(reply.status, 422, "{query}: {}", reply.text);
        assert!(reply.text.contains(at), "{query}: {}", reply.text);
    }
    for query in ["", "payment=x", "payment=pay_0&payout=po_0", "merchant=other"] {
        let reply = world.get(&format!("/v1/postings?{query}")).unwrap();
        assert!(matches!(reply.status, 404 | 422), "{query}: {}", reply.text);
    }
}
