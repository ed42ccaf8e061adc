//! Reconciliation: an acquirer's report against the books, with lines that are missing, doubled, short and nobody's.

use crate::cross_border::{account, balance, eur_to_hkd, pay, until_settled, with_desks};
use crate::payments::silent;
use portolan_tests::{Reply, World, call};
use serde_json::{Value, json};

/// The acquirer's report.
pub fn report(world: &World) -> String {
    call(world.acquirer_at, "GET", "/settlement.csv", &[], None)
        .unwrap()
        .text
}

fn take(world: &World, report: &str) -> Reply {
    take_at(world, "acquirer-a", report)
}

/// Takes that channel's report.
pub fn take_at(world: &World, channel: &str, report: &str) -> Reply {
    try_take_at(world, channel, report).unwrap()
}

/// The same, where the router may not be there to answer.
pub fn try_take_at(world: &World, channel: &str, report: &str) -> anyhow::Result<Reply> {
    let token = std::fs::read_to_string(world.folder.join("data/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let headers = [("authorization", bearer.as_str())];
    let path = format!("/admin/reports/{channel}");
    call(world.admin, "POST", &path, &headers, Some(report))
}

/// The kinds of what does not fit.
pub fn breaks(reply: &Reply) -> Vec<String> {
    let all = reply.body["breaks"].as_array().cloned().unwrap_or_default();
    all.iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_report_settles_can_be_paid_out() {
    let world = World::start(silent()).unwrap();
    let paid = world.pay("4242424242424242", 10_000).unwrap();
    let other = world.pay("4242424242424242", 5_000).unwrap();
    let refund = json!({ "payment": paid.text_at("/id"), "amount": 2_500 });
    assert_eq!(
        world.post("/v1/refunds", &refund).unwrap().text_at("/status"),
        "succeeded"
    );
    assert_eq!(balance(&world, "EUR"), (0, 12_500, 0));
    let report = report(&world);
    let taken = take(&world, &report);
    assert_eq!(
        (taken.body["matched"].as_u64(), breaks(&taken).len()),
        (Some(3), 0),
        "{}",
        taken.text
    );
    assert_eq!(balance(&world, "EUR"), (12_500, 0, 0));
    let shown = world.get(&format!("/v1/payments/{}", other.text_at("/id"))).unwrap();
    assert_eq!(shown.body["amount_settled"], 5_000);
    // Taken again, it changes nothing.
    let again = take(&world, &report);
    assert_eq!(
        (again.body["matched"].as_u64(), again.body["repeated"].as_u64()),
        (Some(0), Some(3))
    );
    assert_eq!(balance(&world, "EUR"), (12_500, 0, 0));
    world.assert_books().unwrap();
}

#[test]
fn what_does_not_fit_is_a_break_and_posts_nothing() {
    let world = World::start(silent()).unwrap();
    for amount in [10_000, 5_000, 7_000] {
        world.pay("4242424242424242", amount).unwrap();
    }
    let report = report(&world);
    let lines: Vec<&str> = report.lines().collect();
    let [head, first, second, third] = lines.as_slice() else {
        panic!("{report}");
    };
    let changed = |line: &str, at: usize, to: &str| {
        let mut columns: Vec<&str> = line.split(',').collect();
        columns[at] = to;
        columns.join(",")
    };
    let gross = |line: &str| line.split(',').nth(5).unwrap().parse::<i64>().unwrap();
    let fee = |line: &str| line.split(',').nth(6).unwrap().parse::<i64>().unwrap();
    // Short by a hundred; one that is nobody's; one whose sum is wrong; the third line is missing.
    let short = changed(first, 5, &(gross(first) - 100).to_string());
    let short = changed(&short, 7, &(gross(first) - 100 - fee(first)).to_string());
    let nobodys = changed(&changed(second, 2, "ch_unknown"), 3, "");
    let wrong_sum = changed(second, 7, "1");
    let text = [head, short.as_str(), nobodys.as_str(), wrong_sum.as_str()].join("\n");
    let taken = take(&world, &text);
    assert_eq!(
        breaks(&taken),
        ["amount_diff", "missing_internal", "fee_diff"],
        "{}",
        taken.text
    );
    assert_eq!(balance(&world, "EUR"), (0, 22_000, 0));
    let unsettled = world.admin_call("GET", "/admin/unsettled", None).unwrap();
    assert_eq!(
        unsettled.body["unsettled"].as_array().unwrap().len(),
        3,
        "the missing one is among them"
    );
    // They are listed until their lines fit, with whoever looks after them.
    let open = |world: &World| {
        let listed = world.admin_call("GET", "/admin/breaks", None).unwrap();
        let all = listed.body["breaks"].as_array().cloned().unwrap();
        let kind_of = |it: &Value| {
            (
                it["kind"].as_str().unwrap().to_owned(),
                it["owner"].clone(),
                it["id"].clone(),
            )
        };
        all.iter().map(kind_of).collect::<Vec<_>>()
    };
    let [(_, _, short), (_, _, nobodys), (_, _, _)] = open(&world).try_into().unwrap();
    let give = json!({ "owner": "ada", "by": "bob" });
    let given = world.admin_call("POST", &format!("/admin/breaks/{short}/give"), Some(&give));
    assert_eq!(given.unwrap().status, 200);
    let owners: Vec<_> = open(&world).into_iter().map(|(_, owner, _)| owner).collect();
    assert_eq!(owners, [json!("ada"), Value::Null, Value::Null]);
    // The whole report, with one line of it under another batch as well.
    let doubled = format!("{report}{}\n", changed(third, 0, "batch-2"));
    let taken = take(&world, &doubled);
    assert_eq!(
        (taken.body["matched"].as_u64(), breaks(&taken)),
        (Some(3), vec!["duplicate".to_owned()]),
        "{}",
        taken.text
    );
    assert_eq!(balance(&world, "EUR"), (22_000, 0, 0));
    let left: Vec<_> = open(&world).into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(left, ["missing_internal", "duplicate"], "the others fit now");
    let why = |reason: &str| json!({ "by": "ada", "reason": reason });
    let close = format!("/admin/breaks/{nobodys}/close");
    let closed = |reason: &str| world.admin_call("POST", &close, Some(&why(reason))).unwrap().status;
    assert_eq!(
        (closed(" "), closed("another router's"), closed("again")),
        (422, 200, 404)
    );
    let refused = take(&world, "not,a,report\n");
    assert_eq!(refused.status, 422, "{}", refused.text);
    let acts = world.admin_call("GET", "/admin/audit/acts", None).unwrap();
    let told = acts.body["acts"].as_array().cloned().unwrap();
    let closing = told.iter().find(|act| act["verb"] == "break.close").unwrap();
    assert_eq!(
        closing["about"], "acquirer-a settled batch-1 charge ch_unknown",
        "which one, not only its number"
    );
    let told = told.iter().filter(|act: &&Value| act["verb"] == "report.break").count();
    assert_eq!(told, 4, "every break stands in the audit chain");
    world.assert_books().unwrap();
}

#[test]
fn what_was_exchanged_is_not_owed_twice() {
    let world = World::start(with_desks(&[&[]])).unwrap();
    let paid = pay(&world, &eur_to_hkd(&world, 10_000), &json!({}));
    assert_eq!(paid.text_at("/settlement/status"), "succeeded");
    let taken = take(&world, &report(&world));
    assert_eq!(taken.body["matched"], 1, "{}", taken.text);
    assert_eq!(
        (balance(&world, "EUR"), balance(&world, "HKD")),
        ((0, 0, 0), (84_013, 0, 0))
    );
    world.assert_books().unwrap();
}

/// …904: charged, and a 500. The report says that it was; the router asks, and knows.
#[test]
fn a_report_ends_what_was_unknown() {
    let mut options = silent();
    options.policy = "check_first_ms = 600000".into();
    let world = World::start(options).unwrap();
    let unknown = world.pay("4242424242424242", 1_904).unwrap();
    assert_eq!(unknown.text_at("/outcome"), "unknown", "{}", unknown.text);
    let taken = take(&world, &report(&world));
    assert_eq!(taken.body["matched"], 1, "{}", taken.text);
    let shown = world.get(&format!("/v1/payments/{}", unknown.text_at("/id"))).unwrap();
    assert_eq!(
        (shown.text_at("/status"), shown.body["amount_settled"].as_u64()),
        ("succeeded", Some(1_904))
    );
    world.assert_books().unwrap();
}

/// To an account that the desk pays out of what it has.
fn to_germany(cents: u64) -> Value {
    json!({
        "amount": cents, "currency": "EUR", "reference": "invoice 4711",
        "beneficiary": {
            "type": "company", "name": "Lampen GmbH", "country": "DE",
            "account": { "iban": "DE89370400440532013000" },
        },
    })
}

/// What is settled and paid out is gone: a refund of it is refused, not owed. What is still there is given back once.
#[test]
fn a_refund_of_what_is_settled_takes_what_is_available() {
    let world = World::start(with_desks(&[&[]])).unwrap();
    let paid = world.pay("4242424242424242", 10_000).unwrap();
    assert_eq!(take(&world, &report(&world)).body["matched"], 1);
    let out = world.post("/v1/payouts", &to_germany(9_000)).unwrap();
    assert_eq!(out.status, 200, "{}", out.text);
    let refund = |cents: u64| {
        let body = json!({ "payment": paid.text_at("/id"), "amount": cents });
        world.post("/v1/refunds", &body).unwrap()
    };
    let too_much = refund(2_000);
    assert_eq!(
        (too_much.status, too_much.text_at("/code")),
        (409, "insufficient_balance"),
        "{}",
        too_much.text
    );
    let given = refund(400);
    assert_eq!(given.text_at("/status"), "succeeded", "{}", given.text);
    assert_eq!(balance(&world, "EUR").0, 600);
    // The provider's line about the refund takes nothing from the shop a second time.
    let taken = take(&world, &report(&world));
    assert_eq!(
        (taken.body["matched"].as_u64(), breaks(&taken).len()),
        (Some(1), 0),
        "{}",
        taken.text
    );
    assert_eq!(balance(&world, "EUR").0, 600);
    world.assert_books().unwrap();
}

/// The report comes while the exchange is held; then it is done, out of what is available now.
#[test]
fn what_is_settled_before_its_exchange_is_exchanged_once() {
    let world = World::start(with_desks(&[&[]])).unwrap();
    let quote = eur_to_hkd(&world, 20_921);
    world.move_market(0, -100).unwrap();
    let held = pay(&world, &quote, &json!({ "max_slippage_bps": 50 }));
    assert_eq!(held.text_at("/settlement/status"), "manual", "{}", held.text);
    assert_eq!(take(&world, &report(&world)).body["matched"], 1);
    assert_eq!(balance(&world, "EUR"), (20_921, 0, 0));
    let task = world.admin_call("GET", "/admin/tasks", None).unwrap();
    let path = format!("/admin/tasks/{}/resolve", task.text_at("/tasks/0/id"));
    let word = json!({ "resolution": "convert_now", "by": "ada", "reason": "the shop agreed" });
    let resolved = world.admin_call("POST", &path, Some(&word)).unwrap();
    assert_eq!(resolved.status, 200, "{}", resolved.text);
    until_settled(&world, &held, "succeeded");
    assert_eq!(balance(&world, "EUR"), (0, 0, 0));
    assert_eq!(account(&world, "fx:position", "EUR"), 0);
    world.assert_books().unwrap();
}

/// The same, but the shop paid it out meanwhile: nothing is exchanged that is not there, and a human is asked again.
#[test]
fn what_was_paid_out_is_not_exchanged() {
    let world = World::start(with_desks(&[&[]])).unwrap();
    let quote = eur_to_hkd(&world, 20_921);
    world.move_market(0, -100).unwrap();
    let held = pay(&world, &quote, &json!({ "max_slippage_bps": 50 }));
    assert_eq!(take(&world, &report(&world)).body["matched"], 1);
    assert_eq!(world.post("/v1/payouts", &to_germany(20_000)).unwrap().status, 200);
    let task = world.admin_call("GET", "/admin/tasks", None).unwrap();
    let path = format!("/admin/tasks/{}/resolve", task.text_at("/tasks/0/id"));
    let word = json!({ "resolution": "convert_now", "by": "ada", "reason": "the shop agreed" });
    world.admin_call("POST", &path, Some(&word)).unwrap();
    until_settled(&world, &held, "manual");
    assert_eq!(world.desk_records(0).unwrap()["conversions"], json!([]));
    assert_eq!(balance(&world, "EUR").0, 921);
    let tasks = world.admin_call("GET", "/admin/tasks", None).unwrap();
    assert_eq!(tasks.text_at("/tasks/0/kind"), "conversion_held", "{}", tasks.text);
    world.assert_books().unwrap();
}
