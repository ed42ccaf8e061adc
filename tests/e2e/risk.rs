//! Risk as merchants set it: limits by amount, frequency and place, what follows where one is passed, and who is told.

use crate::payouts;
use portolan_tests::{Options, Reply, World, card_number};
use serde_json::{Value, json};

const GOOD: &str = "4242424242424242";

fn with_rules(rules: Value) -> World {
    let world = World::start(Options::default()).unwrap();
    put(&world, rules);
    world
}

fn put(world: &World, rules: Value) {
    let put = world.post("/v1/routes/rules", &json!({ "rules": rules })).unwrap();
    assert_eq!(put.status, 200, "{}", put.text);
}

/// A payment by that card with these fields besides.
fn pay(world: &World, number: &str, amount: u64, more: Value) -> Reply {
    let method = world.store_card(number).unwrap();
    let mut body = json!({ "amount": amount, "currency": "EUR", "payment_method": method, "confirm": true });
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    world.post("/v1/payments", &body).unwrap()
}

fn routing(world: &World, payment: &Reply) -> Value {
    let path = format!("/v1/payments/{}?expand[]=routing", payment.text_at("/id"));
    world.get(&path).unwrap().body["routing"][0].clone()
}

/// What the payment was flagged with, `rule effect`, by its events.
fn flagged(world: &World, payment: &Reply) -> Vec<String> {
    let path = format!("/v1/events?payment={}&limit=100", payment.text_at("/id"));
    let events = world.get(&path).unwrap();
    let all = events.body["data"].as_array().unwrap();
    let of_rules = all.iter().filter(|it| it["type"] == "payment.flagged");
    let shown = |it: &Value| {
        let detail = &it["data"]["detail"];
        format!(
            "{} {}",
            detail["rule"].as_str().unwrap(),
            detail["effect"].as_str().unwrap()
        )
    };
    of_rules.map(shown).collect()
}

#[test]
fn a_payer_who_pays_too_often_is_refused_before_anything_is_sent() {
    let mut world = with_rules(json!([
        { "name": "twice an hour", "limit": { "per": "payer", "payments": 2, "within": "1h" } } ]));
    let by = |who: &str| json!({ "payer": { "id": who } });
    for _ in 0..2 {
        let paid = pay(&world, GOOD, 1_000, by("ann"));
        assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
        assert_eq!(paid.body["flags"], json!([]));
    }
    // Over a restart too.
    world.stop_host().unwrap();
    world.start_host().unwrap();
    let refused = pay(&world, GOOD, 1_000, by("ann"));
    assert_eq!(refused.text_at("/status"), "failed", "{}", refused.text);
    assert_eq!(refused.text_at("/last_error/code"), "refused_by_rule");
    let why = "3 payments for one payer in 60 minutes with this payment, and 2 are allowed";
    assert_eq!(
        refused.body["flags"],
        json!([{ "rule": "twice an hour", "effect": "refuse", "why": why }])
    );
    assert_eq!(refused.body["attempts"], json!([]));
    assert!(world.charges_of(refused.text_at("/id")).unwrap().is_empty());
    assert_eq!(flagged(&world, &refused), ["twice an hour refuse"]);
    let told = routing(&world, &refused);
    assert_eq!(
        told["measured"],
        json!([{ "rule": "twice an hour", "seen": 3, "most": 2, "passed": true }])
    );
    assert_eq!(told["plan"][0]["attempt"], Value::Null);
    // Another payer is another one; and where nobody says who pays, nothing is counted, and the trace says so.
    assert_eq!(pay(&world, GOOD, 1_000, by("bob")).text_at("/status"), "succeeded");
    let nobody = pay(&world, GOOD, 1_000, json!({}));
    assert_eq!(nobody.text_at("/status"), "succeeded");
    assert_eq!(routing(&world, &nobody)["measured"][0]["seen"], Value::Null);
    // Ids are the merchant's: another case is another payer; and an id is no e-mail.
    for other in [by("Ann"), json!({ "payer": { "email": "ann" } })] {
        assert_eq!(pay(&world, GOOD, 1_000, other).text_at("/status"), "succeeded");
    }
    // Told again under its key, it is what it was, and nobody is told twice.
    let events = flagged(&world, &refused).len();
    let shown = world.get(&format!("/v1/payments/{}", refused.text_at("/id"))).unwrap();
    assert_eq!((shown.body["flags"][0]["why"].as_str(), events), (Some(why), 1));
    // Another merchant has its own counts, by the same rule.
    world.key = world.new_key("other").unwrap();
    let rule = json!([{ "name": "twice an hour", "limit": { "per": "payer", "payments": 2, "within": "1h" } }]);
    put(&world, rule);
    assert_eq!(pay(&world, GOOD, 1_000, by("ann")).text_at("/status"), "succeeded");
    world.assert_books().unwrap();
}

#[test]
fn payments_side_by_side_do_not_pass_a_limit_together() {
    let world = with_rules(json!([
        { "name": "five", "limit": { "per": "ip", "payments": 5, "within": "1h" } },
        { "name": "in all", "limit": { "per": "ip", "total": { "EUR": 4_000 }, "within": "1h" } } ]));
    // One network of IPv6, many addresses.
    let methods: Vec<(usize, String)> = (0..30)
        .map(|n| (n as usize, world.store_card(&card_number(n)).unwrap()))
        .collect();
    let status = |(n, method): &(usize, String)| {
        let body = json!({ "amount": 1_000, "currency": "EUR", "payment_method": method, "confirm": true,
            "payer": { "ip": format!("2001:db8::{n}") } });
        let paid = world.post("/v1/payments", &body).unwrap();
        // One that is refused says so everywhere, whoever refused it: the plan, or the commit.
        if paid.text_at("/status") == "failed" {
            let told = routing(&world, &paid);
            let passed = told["measured"]
                .as_array()
                .unwrap()
                .iter()
                .any(|it| it["passed"] == true);
            assert!(passed && told["flags"][0]["effect"] == "refuse", "{told}");
            assert_eq!(
                flagged(&world, &paid).len(),
                paid.body["flags"].as_array().unwrap().len()
            );
        }
        (paid.text_at("/status").to_owned(), paid.text.clone())
    };
    let all: Vec<(String, String)> = std::thread::scope(|scope| {
        let begun: Vec<_> = methods
            .iter()
            .map(|method| scope.spawn(move || status(method)))
            .collect();
        begun.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let taken = all.iter().filter(|(status, _)| status == "succeeded").count();
    assert_eq!(taken, 4, "{all:?}");
    let refused = all.iter().filter(|(_, text)| text.contains("refused_by_rule")).count();
    assert_eq!(refused, 26, "{all:?}");
    let charges = world.records().unwrap()["charges"].as_array().unwrap().len();
    assert_eq!(charges, 4);
    world.assert_books().unwrap();
}

#[test]
fn totals_count_what_did_not_fail_and_cards_what_was_tried() {
    let world = with_rules(json!([
        { "name": "a hundred", "limit": { "per": "payer", "total": { "EUR": 10_000 }, "within": "24h" } },
        { "name": "card testing", "limit": { "per": "ip", "cards": 3, "within": "10m" } } ]));
    let ann = || json!({ "payer": { "email": "ann@example.org" } });
    assert_eq!(pay(&world, GOOD, 6_000, ann()).text_at("/status"), "succeeded");
    let declined = pay(&world, "4000000000000002", 4_000, ann());
    assert_eq!(
        declined.text_at("/last_error/code"),
        "card_declined",
        "{}",
        declined.text
    );
    assert_eq!(pay(&world, GOOD, 4_000, ann()).text_at("/status"), "succeeded");
    let over = pay(&world, GOOD, 1, ann());
    assert_eq!(over.text_at("/last_error/code"), "refused_by_rule", "{}", over.text);
    // What is canceled is no part of it either.
    let held = || json!({ "payer": { "id": "bob" }, "capture_method": "manual" });
    let first = pay(&world, GOOD, 10_000, held());
    assert_eq!(first.text_at("/status"), "requires_capture", "{}", first.text);
    assert_eq!(
        pay(&world, GOOD, 100, held()).text_at("/last_error/code"),
        "refused_by_rule"
    );
    world
        .post(&format!("/v1/payments/{}/cancel", first.text_at("/id")), &json!({}))
        .unwrap();
    assert_eq!(pay(&world, GOOD, 100, held()).text_at("/status"), "requires_capture");
    // Somebody tries cards from one address: the fourth is not even tried, the known ones go on.
    let from = || json!({ "payer": { "ip": "198.51.100.7" } });
    for n in 0..3 {
        assert_eq!(
            pay(&world, &card_number(n), 100, from()).text_at("/status"),
            "succeeded"
        );
    }
    let fourth = pay(&world, &card_number(3), 100, from());
    assert_eq!(fourth.text_at("/last_error/code"), "refused_by_rule", "{}", fourth.text);
    assert_eq!(
        pay(&world, &card_number(2), 100, from()).text_at("/status"),
        "succeeded"
    );
    // The same address, written as one of IPv6.
    let mapped = json!({ "payer": { "ip": "::ffff:198.51.100.7" } });
    let same = pay(&world, &card_number(4), 100, mapped);
    assert_eq!(same.text_at("/last_error/code"), "refused_by_rule", "{}", same.text);
    world.assert_books().unwrap();
}

#[test]
fn places_authenticate_warn_and_refuse() {
    let world = with_rules(json!([
        { "name": "not there", "when": "shipping.country == 'AQ'", "refuse": true },
        { "name": "elsewhere", "when": "payer.country != '' && payer.ip_country != '' && payer.country != payer.ip_country",
          "warn": true },
        { "name": "travels", "limit": { "per": "card", "countries": 1, "within": "1h", "then": "authenticate" } } ]));
    let refused = pay(&world, GOOD, 1_000, json!({ "shipping": { "country": "AQ" } }));
    assert_eq!(
        refused.text_at("/last_error/code"),
        "refused_by_rule",
        "{}",
        refused.text
    );
    assert_eq!(refused.text_at("/shipping/country"), "AQ");
    let home = pay(
        &world,
        GOOD,
        1_000,
        json!({ "payer": { "country": "DE", "ip_country": "DE" }, "return_url": "https://shop.example/done" }),
    );
    assert_eq!(home.text_at("/status"), "succeeded", "{}", home.text);
    assert!(flagged(&world, &home).is_empty());
    let away = pay(
        &world,
        GOOD,
        1_000,
        json!({ "payer": { "country": "DE", "ip_country": "BR" }, "return_url": "https://shop.example/done" }),
    );
    assert_eq!(flagged(&world, &away), ["travels authenticate", "elsewhere warn"]);
    let metrics = world.admin_call("GET", "/metrics", None).unwrap().text;
    for line in ["refuse\"} 1", "authenticate\"} 1", "warn\"} 1"] {
        assert!(
            metrics.contains(&format!("portolan_flags_total{{effect=\"{line}")),
            "{metrics}"
        );
    }
    assert_eq!(
        (
            &away.body["attempts"][0]["authentication"]["asked_by"],
            &away.body["attempts"][0]["authentication"]["rule"]
        ),
        (&json!("rule"), &json!("travels")),
        "{}",
        away.text
    );
    assert_eq!(away.text_at("/status"), "requires_action", "{}", away.text);
}

#[test]
fn a_beneficiary_is_paid_so_much_and_no_more() {
    let world = payouts::with_money(10_000);
    put(
        &world,
        json!([{ "name": "to one account", "when": "payment.kind == 'payout' && beneficiary.country == 'HK'",
            "limit": { "per": "beneficiary", "total": { "HKD": 50_000 }, "within": "24h" } }]),
    );
    let first = world.post("/v1/payouts", &payouts::to_hong_kong(30_000)).unwrap();
    assert_eq!(first.status, 200, "{}", first.text);
    assert_ne!(first.text_at("/status"), "failed", "{}", first.text);
    let second = world.post("/v1/payouts", &payouts::to_hong_kong(20_001)).unwrap();
    assert_eq!(second.text_at("/last_error/code"), "refused_by_rule", "{}", second.text);
    assert_eq!(second.text_at("/flags/0/rule"), "to one account");
    // Calling the account something else besides makes no other account of it.
    let mut again = payouts::to_hong_kong(20_001);
    again["beneficiary"]["name"] = "Kowloon Lamps".into();
    let again = world.post("/v1/payouts", &again).unwrap();
    assert_eq!(again.text_at("/last_error/code"), "refused_by_rule", "{}", again.text);
    let third = world.post("/v1/payouts", &payouts::to_hong_kong(20_000)).unwrap();
    assert_ne!(third.text_at("/status"), "failed", "{}", third.text);
    let events = world.get("/v1/events?limit=100").unwrap();
    assert!(events.text.contains("payout.flagged"), "{}", events.text);
    world.assert_books().unwrap();
}

#[test]
fn what_a_limit_would_have_done_is_known_before_it_is_in_force() {
    let world = World::start(Options::default()).unwrap();
    for _ in 0..4 {
        pay(&world, GOOD, 1_000, json!({ "payer": { "id": "ann" } }));
    }
    // What failed, and what was never confirmed, is no part of a total.
    pay(&world, "4000000000000002", 5_000, json!({ "payer": { "id": "ann" } }));
    let draft = json!({ "amount": 5_000, "currency": "EUR", "payer": { "id": "ann" } });
    world.post("/v1/payments", &draft).unwrap();
    let set = json!({ "rules": [{ "name": "three", "limit": { "per": "payer", "payments": 3, "within": "1h" } }] });
    let replayed = world
        .admin_call("POST", "/admin/routes/shop/test/replay?last=10", Some(&set))
        .unwrap();
    let changed = replayed.body["changed"].as_array().unwrap();
    // The fourth, the declined one after it, and the draft, if it came to that.
    assert_eq!(changed.len(), 3, "{}", replayed.text);
    assert_eq!(
        (&changed[0]["to"], &changed[0]["flags"][0]["effect"]),
        (&Value::Null, &json!("refuse")),
        "{}",
        replayed.text
    );
    let total =
        json!({ "rules": [{ "name": "50", "limit": { "per": "payer", "total": { "EUR": 9_000 }, "within": "1h" } }] });
    let replayed = world
        .admin_call("POST", "/admin/routes/shop/test/replay?last=10", Some(&total))
        .unwrap();
    assert_eq!(replayed.body["changed"], json!([]), "{}", replayed.text);
    // What is refused now is judged as if it had not been, by the rules in force and by others.
    put(&world, total["rules"].clone());
    let over = pay(&world, GOOD, 9_001, json!({ "payer": { "id": "bob" } }));
    assert_eq!(over.text_at("/last_error/code"), "refused_by_rule", "{}", over.text);
    let wider =
        json!({ "rules": [{ "name": "50", "limit": { "per": "payer", "total": { "EUR": 9_001 }, "within": "1h" } }] });
    let replayed = world
        .admin_call("POST", "/admin/routes/shop/test/replay?last=10", Some(&wider))
        .unwrap();
    let (from, to) = (&replayed.body["changed"][0]["from"], &replayed.body["changed"][0]["to"]);
    assert_eq!((from, to), (&Value::Null, &json!("acquirer-a")), "{}", replayed.text);
    // Nobody's uses were counted while there was no limit: it begins when it is in force.
    put(&world, set["rules"].clone());
    let ask = json!({ "amount": 1_000, "currency": "EUR", "payer": { "id": "ann" } });
    let seen = |world: &World| world.post("/v1/routes/evaluate", &ask).unwrap().body["measured"][0]["seen"].clone();
    assert_eq!(seen(&world), 1);
    pay(&world, GOOD, 1_000, json!({ "payer": { "id": "ann" } }));
    assert_eq!((seen(&world), seen(&world)), (json!(2), json!(2)));
}

#[test]
fn limits_and_places_that_cannot_be_meant_are_refused_with_their_place() {
    let world = World::start(Options::default()).unwrap();
    let limit = |limit: Value| {
        let set = json!({ "rules": [{ "name": "x", "limit": limit }] });
        let refused = world.post("/v1/routes/rules", &set).unwrap();
        assert_eq!(refused.status, 422, "{}", refused.text);
        let errors = refused.body["errors"].as_array().unwrap().clone();
        let pointers = errors
            .iter()
            .map(|it| it["pointer"].as_str().unwrap().replace("/rules/0", ""));
        pointers.collect::<Vec<_>>().join(" ")
    };
    for (written, at) in [
        (json!({ "per": "cow", "payments": 1, "within": "1h" }), "/limit/per"),
        (json!({ "per": "card", "payments": 1, "within": "1y" }), "/limit/within"),
        (
            json!({ "per": "card", "payments": 1, "within": "31d" }),
            "/limit/within",
        ),
        (json!({ "per": "card", "payments": 1, "within": "é" }), "/limit/within"),
        (
            json!({ "per": "card", "payments": 0, "within": "1h" }),
            "/limit/payments",
        ),
        (json!({ "per": "card", "within": "1h" }), "/limit"),
        (
            json!({ "per": "ip", "cards": 1, "payments": 1, "within": "1h" }),
            "/limit",
        ),
        (
            json!({ "per": "ip", "total": { "EURO": 1 }, "within": "1h" }),
            "/limit/total/EURO",
        ),
        (
            json!({ "per": "beneficiary", "countries": 2, "within": "1h" }),
            "/limit/countries",
        ),
        (json!({ "per": "ip", "total": {}, "within": "1h" }), "/limit/total"),
        (json!({ "per": "card", "cards": 2, "within": "1h" }), "/limit/cards"),
        (
            json!({ "per": "card", "payments": 2, "within": "1h", "then": "explode" }),
            "/limit/then",
        ),
        (
            json!({ "per": "cow", "within": "1", "then": "no" }),
            "/limit/per /limit/within /limit/then /limit",
        ),
        (
            json!({ "per": "card", "payments": 2, "within": "1h", "colour": 1 }),
            "/limit/colour",
        ),
        (
            json!({ "per": "card", "payments": 1.5, "within": "1h" }),
            "/limit/payments",
        ),
    ] {
        assert_eq!(limit(written.clone()), at, "{written}");
    }
    let all = json!({ "rules": [{ "name": "x", "refuse": true }] });
    let all = world.post("/v1/routes/rules", &all).unwrap();
    assert_eq!(all.text_at("/errors/0/pointer"), "/rules/0/when", "{}", all.text);
    // An id is what it looks like; one with a letter is no card number.
    for (id, status) in [
        ("cus_4242424242424242", 200),
        ("4242424242424242", 422),
        ("a b", 422),
        ("a\u{200b}", 422),
        ("", 422),
    ] {
        let body = json!({ "amount": 1, "currency": "EUR", "payer": { "id": id } });
        let made = world.post("/v1/payments", &body).unwrap();
        assert_eq!(made.status, status, "{id:?}: {}", made.text);
    }
    let eleven: Vec<Value> = (0..11)
        .map(|n| json!({ "name": format!("{n}"), "limit": { "per": "ip", "payments": 1, "within": "1h" } }))
        .collect();
    let many = world.post("/v1/routes/rules", &json!({ "rules": eleven })).unwrap();
    assert_eq!(
        (many.status, many.text_at("/errors/0/code")),
        (422, "too_many"),
        "{}",
        many.text
    );
    let bad = json!({ "amount": 1, "currency": "EUR", "shipping": { "country": "Mars", "city": "x" },
        "payer": { "ip": "1.2.3.4:80", "ip_country": "UK", "id": "x".repeat(65) } });
    let refused = world.post("/v1/payments", &bad).unwrap();
    let errors = refused.body["errors"].as_array().unwrap();
    let mut told: Vec<&str> = errors.iter().map(|it| it["pointer"].as_str().unwrap()).collect();
    told.sort_unstable();
    let expected = [
        "/payer/id",
        "/payer/ip",
        "/payer/ip_country",
        "/shipping/city",
        "/shipping/country",
    ];
    assert_eq!(told, expected, "{}", refused.text);
}

#[test]
fn what_is_refused_is_not_recommended() {
    let world = World::start(Options {
        desks: vec![vec![]],
        ..Options::default()
    })
    .unwrap();
    put(
        &world,
        json!([{ "name": "no HKD", "when": "payment.currency == 'HKD' || shipping.country == 'AQ'", "refuse": true }]),
    );
    let ask = |more: Value| {
        let mut ask = json!({ "amount": 10_000, "currency": "EUR", "payer": { "country": "HK" } });
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.post("/v1/payment_methods/recommend", &ask).unwrap()
    };
    let offered = ask(json!({}));
    let data = offered.body["data"].as_array().unwrap();
    assert!(
        !data.is_empty() && data.iter().all(|it| it["currency"] == "EUR"),
        "{}",
        offered.text
    );
    let nothing = ask(json!({ "shipping": { "country": "AQ" } }));
    assert_eq!(nothing.body["data"], json!([]), "{}", nothing.text);
    assert!(nothing.text.contains("refuses it"), "{}", nothing.text);
}

/// What a quote brings to a beneficiary is a payout of its own: where a rule refuses it, the money is the shop's.
#[test]
fn a_delivery_that_is_refused_leaves_the_money_with_the_shop() {
    let world = World::start(crate::cross_border::with_desks(&[&[]])).unwrap();
    put(
        &world,
        json!([{ "name": "not to HK", "when": "beneficiary.country == 'HK'", "refuse": true }]),
    );
    let paid = payouts::delivered(&world, 10_000, &json!({}));
    assert_eq!(paid.text_at("/settlement/status"), "succeeded", "{}", paid.text);
    let has_failed = |reply: &Reply| reply.text_at("/delivery/status") == "failed";
    let failed = world.await_payment(paid.text_at("/id"), has_failed).unwrap();
    assert_eq!(
        (failed.text_at("/status"), failed.text_at("/delivery/reason")),
        ("succeeded", "refused_by_rule"),
        "{}",
        failed.text
    );
    let got = failed.body["settlement"]["amount"].as_i64().unwrap();
    assert_eq!(crate::cross_border::balance(&world, "HKD"), (got, 0, 0));
    let path = format!("/v1/payouts/{}", failed.text_at("/delivery/payout"));
    assert_eq!(world.get(&path).unwrap().text_at("/flags/0/effect"), "refuse");
    world.assert_books().unwrap();
}
