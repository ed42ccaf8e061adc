//! Disputes: a payer's bank takes money back, told by a notification or by the report alone; won, lost, settled, and what the
//! books say at every step.

use crate::cross_border::{account, balance, eur_to_hkd, pay, with_desks};
use crate::reports::{breaks, report, take_at};
use portolan_tests::{Options, Reply, World, call};
use serde_json::{Value, json};

/// A bank raises a dispute with the acquirer; its id there.
fn raise(world: &World, payment: &Reply, amount: u64, more: &Value) -> String {
    let charges = world.charges_of(payment.text_at("/id")).unwrap();
    let mut body = json!({ "charge": charges[0]["id"], "amount": amount, "status": "needs_response" });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().cloned().unwrap_or_default());
    let headers = [("content-type", "application/json")];
    let reply = call(
        world.acquirer_at,
        "POST",
        "/disputes",
        &headers,
        Some(&body.to_string()),
    )
    .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.text_at("/id").to_owned()
}

fn goes_on(world: &World, dispute: &str, status: &str) {
    let body = json!({ "status": status }).to_string();
    let headers = [("content-type", "application/json")];
    let path = format!("/disputes/{dispute}");
    let reply = call(world.acquirer_at, "POST", &path, &headers, Some(&body)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
}

fn await_dispute(world: &World, status: &str) -> Value {
    let found = |reply: &Reply| {
        let all = reply.body["data"].as_array().cloned().unwrap();
        all.into_iter().find(|it| it["status"] == status)
    };
    let listed = world.await_at("/v1/disputes", |reply| found(reply).is_some());
    found(&listed.unwrap()).unwrap()
}

fn events_of(world: &World, payment: &Reply) -> Vec<String> {
    let path = format!("/v1/events?payment={}&limit=100", payment.text_at("/id"));
    let all = world.get(&path).unwrap().body["data"].as_array().cloned().unwrap();
    let mut names: Vec<String> = all.iter().map(|it| it["type"].as_str().unwrap().to_owned()).collect();
    names.reverse();
    names
}

#[test]
fn a_dispute_is_heard_of_and_won() {
    let world = World::start(Options::default()).unwrap();
    let paid = world.pay("4242424242424242", 10_000).unwrap();
    assert_eq!(balance(&world, "EUR"), (0, 10_000, 0));
    let at_the_acquirer = raise(&world, &paid, 6_000, &json!({}));
    let dispute = await_dispute(&world, "needs_response");
    assert_eq!(
        (&dispute["amount"], &dispute["funds"], &dispute["network_code"]),
        (&json!(6_000), &json!("taken"), &json!("10.4"))
    );
    assert!(dispute["evidence_due_by"].as_u64().unwrap() > 1_700_000_000);
    assert!(dispute.get("evidence").is_none());
    assert_eq!(balance(&world, "EUR"), (0, 4_000, 0));
    let shown = world.get(&format!("/v1/payments/{}", paid.text_at("/id"))).unwrap();
    assert_eq!(shown.body["amount_disputed"], 6_000, "{}", shown.text);
    // What the acquirer keeps cannot be refunded too.
    let refund = |amount: u64| {
        let body = json!({ "payment": paid.text_at("/id"), "amount": amount });
        world.post("/v1/refunds", &body).unwrap()
    };
    assert_eq!(refund(4_001).status, 422);
    assert_eq!(refund(1_000).text_at("/status"), "succeeded");
    // What the router can say for the merchant.
    let one = world
        .get(&format!("/v1/disputes/{}", dispute["id"].as_str().unwrap()))
        .unwrap();
    assert_eq!(one.body["evidence"]["card"]["last4"], "4242", "{}", one.text);
    let timeline = one.body["evidence"]["timeline"].as_array().unwrap();
    assert!(timeline.iter().any(|it| it["type"] == "payment.captured"));
    // Answered, and won.
    goes_on(&world, &at_the_acquirer, "under_review");
    await_dispute(&world, "under_review");
    assert_eq!(balance(&world, "EUR"), (0, 3_000, 0));
    goes_on(&world, &at_the_acquirer, "won");
    assert_eq!(await_dispute(&world, "won")["funds"], "returned");
    assert_eq!(balance(&world, "EUR"), (0, 9_000, 0));
    let told = events_of(&world, &paid);
    let disputed: Vec<&str> = told
        .iter()
        .filter(|it| it.starts_with("dispute"))
        .map(String::as_str)
        .collect();
    assert_eq!(disputed, ["dispute.opened", "dispute.under_review", "dispute.won"]);
    // Nobody else sees it.
    let key = world.new_key("other").unwrap();
    let path = format!("/v1/disputes/{}", dispute["id"].as_str().unwrap());
    let bearer = format!("Bearer {key}");
    let theirs = call(world.api, "GET", &path, &[("authorization", &bearer)], None).unwrap();
    assert_eq!(theirs.status, 404);
    world.assert_books().unwrap();
}

#[test]
fn an_inquiry_moves_nothing_until_it_is_more() {
    let world = World::start(Options::default()).unwrap();
    let paid = world.pay("4242424242424242", 10_000).unwrap();
    let at_the_acquirer = raise(&world, &paid, 10_000, &json!({ "status": "inquiry" }));
    assert_eq!(await_dispute(&world, "inquiry")["funds"], "untouched");
    assert_eq!(balance(&world, "EUR"), (0, 10_000, 0));
    goes_on(&world, &at_the_acquirer, "needs_response");
    await_dispute(&world, "needs_response");
    goes_on(&world, &at_the_acquirer, "lost");
    assert_eq!(await_dispute(&world, "lost")["funds"], "taken");
    assert_eq!(balance(&world, "EUR"), (0, 0, 0));
    world.assert_books().unwrap();
}

#[test]
fn reports_settle_what_was_taken_and_given_back() {
    let world = World::start(Options::default()).unwrap();
    let first = world.pay("4242424242424242", 10_000).unwrap();
    let second = world.pay("4242424242424242", 5_000).unwrap();
    // One before the charge is settled, one after.
    let early = raise(&world, &first, 4_000, &json!({}));
    await_dispute(&world, "needs_response");
    let taken = take_at(&world, "acquirer-a", &report(&world));
    assert_eq!(
        (taken.body["matched"].as_u64(), breaks(&taken)),
        (Some(3), vec![]),
        "{}",
        taken.text
    );
    assert_eq!(balance(&world, "EUR"), (11_000, 0, 0));
    let late = raise(&world, &second, 5_000, &json!({}));
    let are_two = |reply: &Reply| reply.body["data"].as_array().unwrap().len() == 2;
    world.await_at("/v1/disputes", are_two).unwrap();
    assert_eq!(balance(&world, "EUR"), (6_000, 0, 0));
    for dispute in [&early, &late] {
        goes_on(&world, dispute, "won");
    }
    let is_back = |reply: &Reply| reply.body["balances"][0]["available"] == 15_000;
    world.await_at("/v1/balances", is_back).unwrap();
    let taken = take_at(&world, "acquirer-a", &report(&world));
    assert_eq!(
        (taken.body["matched"].as_u64(), breaks(&taken)),
        (Some(3), vec![]),
        "{}",
        taken.text
    );
    assert_eq!(balance(&world, "EUR"), (15_000, 0, 0));
    // The acquirer owes nothing more; a dispute costs the router 15.00.
    assert_eq!(account(&world, "channel:acquirer-a:receivable", "EUR"), 0);
    let repeated = take_at(&world, "acquirer-a", &report(&world));
    assert_eq!(repeated.body["repeated"].as_u64(), Some(6), "{}", repeated.text);
    world.assert_books().unwrap();
}

#[test]
fn a_report_alone_opens_and_wins_a_dispute() {
    let world = World::start(Options::default()).unwrap();
    let paid = world.pay("4242424242424242", 10_000).unwrap();
    raise(&world, &paid, 10_000, &json!({ "hidden": true }));
    let whole = report(&world);
    let taken = take_at(&world, "acquirer-a", &whole);
    assert_eq!(
        (taken.body["matched"].as_u64(), breaks(&taken)),
        (Some(2), vec![]),
        "{}",
        taken.text
    );
    let dispute = await_dispute(&world, "needs_response");
    assert_eq!(
        (&dispute["reason"], &dispute["funds"]),
        (&json!("unspecified"), &json!("taken"))
    );
    assert_eq!(balance(&world, "EUR"), (0, 0, 0));
    // A line for more than was taken is a break, and opens nothing.
    let line = whole.lines().find(|line| line.contains("chargeback")).unwrap();
    let wrong = line
        .replace("dp_", "dp_x")
        .replace("-10000", "-20000")
        .replace("-11500", "-21500");
    let head = whole.lines().next().unwrap();
    let taken = take_at(&world, "acquirer-a", &format!("{head}\n{wrong}\n"));
    assert_eq!(breaks(&taken), ["missing_internal"], "{}", taken.text);
    // And it comes back.
    let back = line
        .replace("chargeback", "chargeback_reversal")
        .replace("-10000,1500,-11500", "10000,0,10000");
    let taken = take_at(&world, "acquirer-a", &format!("{head}\n{back}\n"));
    assert_eq!(
        (taken.body["matched"].as_u64(), breaks(&taken)),
        (Some(1), vec![]),
        "{}",
        taken.text
    );
    assert_eq!(await_dispute(&world, "won")["funds"], "returned");
    assert_eq!(balance(&world, "EUR"), (10_000, 0, 0));
    assert_eq!(account(&world, "channel:acquirer-a:receivable", "EUR"), 0);
    world.assert_books().unwrap();
}

#[test]
fn what_was_exchanged_is_given_up_at_the_original_rate() {
    let mut options = with_desks(&[&[]]);
    options.acquirer = vec![];
    let world = World::start(options).unwrap();
    let paid = pay(&world, &eur_to_hkd(&world, 10_000), &json!({}));
    // On a busy machine the acquirer's notification overtakes the answer, and brings the legs on beside it.
    let is_exchanged = |it: &Reply| it.text_at("/settlement/status") == "succeeded";
    let paid = world.await_payment(paid.text_at("/id"), is_exchanged).unwrap();
    let got = paid.body["settlement"]["amount"].as_i64().unwrap();
    world.move_market(0, 300).unwrap();
    let half = raise(&world, &paid, 5_000, &json!({}));
    await_dispute(&world, "needs_response");
    let (available, pending, _) = balance(&world, "HKD");
    assert!((available - got / 2).abs() <= 1, "{available} of {got}");
    assert_eq!((pending, balance(&world, "EUR")), (0, (0, 0, 0)));
    goes_on(&world, &half, "won");
    await_dispute(&world, "won");
    assert_eq!(balance(&world, "HKD").0, got);
    // The refund of all of it gives up all of it: nothing was lost by rounding.
    let refund = world
        .post("/v1/refunds", &json!({ "payment": paid.text_at("/id") }))
        .unwrap();
    assert_eq!(refund.text_at("/status"), "succeeded", "{}", refund.text);
    assert_eq!(balance(&world, "HKD").0, 0);
    world.assert_books().unwrap();
}

#[test]
fn what_was_won_before_its_lines_came_is_freed_once() {
    let world = World::start(Options::default()).unwrap();
    let paid = world.pay("4242424242424242", 10_000).unwrap();
    let dispute = raise(&world, &paid, 10_000, &json!({}));
    await_dispute(&world, "needs_response");
    goes_on(&world, &dispute, "won");
    await_dispute(&world, "won");
    assert_eq!(balance(&world, "EUR"), (0, 10_000, 0));
    let whole = report(&world);
    let (head, lines): (&str, Vec<&str>) = (whole.lines().next().unwrap(), whole.lines().skip(1).collect());
    assert_eq!(lines.len(), 3, "{whole}");
    // The lines come one by one, in the worst order.
    for line in lines.iter().rev() {
        let taken = take_at(&world, "acquirer-a", &format!("{head}\n{line}\n"));
        assert_eq!(breaks(&taken), [""; 0], "{}", taken.text);
    }
    assert_eq!(balance(&world, "EUR"), (10_000, 0, 0));
    assert_eq!(account(&world, "channel:acquirer-a:receivable", "EUR"), 0);
    world.assert_books().unwrap();
}

#[test]
fn only_what_is_won_is_given_back() {
    let world = World::start(Options::default()).unwrap();
    let paid = world.pay("4242424242424242", 10_000).unwrap();
    let dispute = raise(&world, &paid, 10_000, &json!({}));
    await_dispute(&world, "needs_response");
    goes_on(&world, &dispute, "inquiry");
    assert_eq!(await_dispute(&world, "inquiry")["funds"], "taken");
    assert_eq!(balance(&world, "EUR"), (0, 0, 0));
    world.assert_books().unwrap();
}
