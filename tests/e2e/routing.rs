//! Routing as merchants and operators see it: which channel, why, what a decline allows, what a sick channel costs nobody, and
//! what no rule can overrule.

use portolan_tests::{Options, Reply, World, await_until, card_number as card};
use serde_json::{Value, json};

const GOOD: &str = "4242424242424242";

/// Two acquirers; the second one's channel with these lines.
fn two(lines: &str) -> World {
    let options = Options {
        acquirers: vec![lines.into()],
        ..Options::default()
    };
    World::start(options).unwrap()
}

/// The attempts, `acquirer-a declined`.
fn attempts(reply: &Reply) -> Vec<String> {
    let attempts = reply.body["attempts"].as_array().unwrap();
    let shown = |it: &Value| format!("{} {}", it["channel"].as_str().unwrap(), it["status"].as_str().unwrap());
    attempts.iter().map(shown).collect()
}

fn routing(world: &World, payment: &Reply) -> Value {
    let path = format!("/v1/payments/{}?expand[]=routing", payment.text_at("/id"));
    world.get(&path).unwrap().body["routing"][0].clone()
}

#[test]
fn a_decline_that_allows_it_goes_on_to_the_next_channel() {
    let world = two("");
    world.issuers_say("acquirer-a", Some("05")).unwrap();
    let paid = world.pay(GOOD, 1_000).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    assert_eq!(attempts(&paid), ["acquirer-a declined", "acquirer-b captured"]);
    let id = paid.text_at("/id");
    assert_eq!(world.charges_at("acquirer-a", id).unwrap().len(), 1);
    assert_eq!(world.charges_at("acquirer-b", id).unwrap().len(), 1);
    let told = routing(&world, &paid);
    let plan = told["plan"].as_array().unwrap();
    assert_eq!(
        (&plan[0]["channel"], &plan[0]["attempt"]),
        (&json!("acquirer-a"), &json!("declined"))
    );
    assert_eq!(
        (&plan[1]["channel"], &plan[1]["attempt"]),
        (&json!("acquirer-b"), &json!("captured"))
    );
    assert_eq!(plan[0]["why"], "nothing is known of it yet");
    world.assert_books().unwrap();
}

#[test]
fn what_an_issuer_said_stays_until_another_says_something_better() {
    let mut world = two("");
    world.issuers_say("acquirer-a", Some("05")).unwrap();
    let paid = world.pay(GOOD, 1_000).unwrap();
    assert_eq!(paid.body["last_error"], Value::Null, "{}", paid.text);
    world.switch_acquirer("acquirer-b", false).unwrap();
    let failed = world.pay(&card(1), 1_000).unwrap();
    assert_eq!(attempts(&failed), ["acquirer-a declined", "acquirer-b no_effect"]);
    assert_eq!(failed.text_at("/last_error/code"), "card_declined");
    assert_eq!(failed.text_at("/last_error/decline_reason"), "do-not-honor");
}

#[test]
fn a_payment_with_a_quote_goes_on_too_and_uses_it_once() {
    let options = Options {
        acquirers: vec![String::new()],
        desks: vec![vec![]],
        ..Options::default()
    };
    let world = World::start(options).unwrap();
    world.issuers_say("acquirer-a", Some("05")).unwrap();
    let ask = json!({ "source": { "amount": 10_000, "currency": "EUR" }, "destination": { "currency": "HKD" } });
    let quote = world.post("/v1/quotes", &ask).unwrap();
    let method = world.store_card(GOOD).unwrap();
    let pay = json!({ "amount": 10_000, "currency": "EUR", "quote": quote.text_at("/id"), "payment_method": method, "confirm": true });
    let paid = world.post("/v1/payments", &pay).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    assert_eq!(attempts(&paid), ["acquirer-a declined", "acquirer-b captured"]);
    let again = world.post("/v1/payments", &pay).unwrap();
    assert_eq!(again.text_at("/code"), "quote_used", "{}", again.text);
    let refund = json!({ "payment": paid.text_at("/id"), "amount": 4_000 });
    assert_eq!(
        world.post("/v1/refunds", &refund).unwrap().text_at("/status"),
        "succeeded"
    );
    assert_eq!(
        world.charges_at("acquirer-b", paid.text_at("/id")).unwrap()[0]["refunded"],
        4_000
    );
    world.assert_books().unwrap();
}

#[test]
fn what_a_decline_forbids_is_not_tried_elsewhere() {
    let world = two("");
    // Not enough money now, or wrong data: no other channel helps.
    for (n, (code, advice)) in [
        ("51", "later"),
        ("54", "after_correction"),
        ("1A", "after_authentication"),
    ]
    .into_iter()
    .enumerate()
    {
        world.issuers_say("acquirer-a", Some(code)).unwrap();
        let failed = world.pay(&card(n as u32), 1_000).unwrap();
        assert_eq!(failed.text_at("/status"), "failed", "{}", failed.text);
        assert_eq!(failed.text_at("/last_error/advice"), advice);
        assert_eq!(attempts(&failed), ["acquirer-a declined"]);
        assert!(
            world
                .charges_at("acquirer-b", failed.text_at("/id"))
                .unwrap()
                .is_empty()
        );
    }
    // Stolen: never again, on no channel, by no other payment.
    world.issuers_say("acquirer-a", Some("43")).unwrap();
    let stolen = card(9);
    assert_eq!(
        world.pay(&stolen, 1_000).unwrap().text_at("/last_error/advice"),
        "never"
    );
    world.issuers_say("acquirer-a", None).unwrap();
    let again = world.pay(&stolen, 2_000).unwrap();
    assert_eq!(again.text_at("/status"), "failed");
    assert_eq!(again.text_at("/last_error/code"), "card_blocked");
    assert_eq!(attempts(&again), [""; 0]);
    assert!(world.charges_at("acquirer-a", again.text_at("/id")).unwrap().is_empty());
    assert_eq!(world.pay(GOOD, 1_000).unwrap().text_at("/status"), "succeeded");
    // An operator who knows better lets it be tried again.
    let path = format!("/admin/cards/{}/unblock", again.text_at("/id"));
    let order = json!({ "by": "alice", "reason": "the acquirer was set up wrongly" });
    let unblocked = world.admin_call("POST", &path, Some(&order)).unwrap();
    assert_eq!(
        (unblocked.status, &unblocked.body["forgotten"]),
        (200, &json!(1)),
        "{}",
        unblocked.text
    );
    assert_eq!(world.pay(&stolen, 1_000).unwrap().text_at("/status"), "succeeded");
    world.assert_books().unwrap();
}

#[test]
fn an_unknown_outcome_is_never_tried_elsewhere() {
    let options = Options {
        acquirer: vec!["--silent".into()],
        acquirers: vec![String::new()],
        ..Options::default()
    };
    let world = World::start(options).unwrap();
    let unknown = world.pay(GOOD, 1_901).unwrap();
    assert_eq!(unknown.text_at("/outcome"), "unknown", "{}", unknown.text);
    let id = unknown.text_at("/id").to_owned();
    let paid = world
        .await_payment(&id, |it| it.text_at("/status") == "succeeded")
        .unwrap();
    assert_eq!(attempts(&paid), ["acquirer-a captured"]);
    assert!(world.charges_at("acquirer-b", &id).unwrap().is_empty());
}

#[test]
fn a_network_limit_holds_over_all_channels_and_payments() {
    let world = two("");
    for acquirer in ["acquirer-a", "acquirer-b"] {
        world.issuers_say(acquirer, Some("05")).unwrap();
    }
    let mut declined = 0;
    let last = loop {
        let reply = world.pay(GOOD, 1_000).unwrap();
        assert_eq!(reply.text_at("/status"), "failed");
        declined += attempts(&reply).len();
        if attempts(&reply).is_empty() {
            break reply;
        }
        assert!(declined < 30);
    };
    // Visa's 15 attempts, whatever the payment and the channel.
    assert_eq!(declined, 15);
    assert_eq!(last.text_at("/last_error/code"), "too_many_attempts");
    assert_eq!(
        world
            .pay(&card(1), 1_000)
            .unwrap()
            .text_at("/last_error/decline_reason"),
        "do-not-honor"
    );
}

#[test]
fn rules_decide_are_checked_and_are_shown() {
    let world = two("");
    let set = json!({
        "rules": [
            { "name": "large to b", "when": "payment.amount >= 100000 && payment.currency == 'EUR'", "prefer": ["acquirer-b"] },
            { "name": "never a for USD", "when": "payment.currency == 'USD'", "exclude": ["acquirer-a"] },
            { "name": "one try", "when": "card.network == 'amex'", "attempts": 1 },
        ],
        "tests": [
            { "name": "large", "payment": { "amount": 100000, "currency": "EUR" }, "applies": ["large to b"] },
            { "name": "small", "payment": { "amount": 99999, "currency": "EUR" }, "applies": [] },
        ],
    });
    let put = world.post("/v1/routes/rules", &set).unwrap();
    assert_eq!((put.status, &put.body["version"]), (200, &json!(1)), "{}", put.text);
    let large = world.pay(GOOD, 10_0000).unwrap();
    assert_eq!(attempts(&large), ["acquirer-b captured"]);
    let told = routing(&world, &large);
    assert_eq!(told["rules_version"], 1);
    assert_eq!(
        told["applied"],
        json!([{ "rule": "large to b", "asks": { "prefer": ["acquirer-b"] } }])
    );
    assert_eq!(told["plan"][0]["why"], "preferred by the rule \"large to b\"");
    assert_eq!(attempts(&world.pay(GOOD, 99_999).unwrap()), ["acquirer-a captured"]);

    // What would happen, and what another set would change, without doing it.
    let ask = json!({ "amount": 500, "currency": "USD", "card": { "network": "visa" } });
    let would = world.post("/v1/routes/evaluate", &ask).unwrap();
    let excluded =
        json!([{ "channel": "acquirer-a", "stage": "rules", "why": "excluded by the rule \"never a for USD\"" }]);
    assert_eq!(would.body["excluded"], excluded, "{}", would.text);
    // A card number has no business here, and is not told back.
    let number = json!({ "amount": 500, "currency": "EUR", "card": { "network": "Visa", "bin": GOOD } });
    let refused = world.post("/v1/routes/evaluate", &number).unwrap();
    assert_eq!(refused.status, 422);
    assert!(
        !refused.text.contains(GOOD) && refused.text_at("/errors/1/pointer") == "/card/bin",
        "{}",
        refused.text
    );
    let draft = json!({ "rules": [{ "name": "all b", "prefer": ["acquirer-b"] }] });
    let ask = json!({ "amount": 500, "currency": "EUR", "rules": draft });
    let would = world.post("/v1/routes/evaluate", &ask).unwrap();
    assert_eq!(would.body["plan"][0]["channel"], "acquirer-b");
    let path = "/admin/routes/shop/test/replay?last=10";
    let replayed = world.admin_call("POST", path, Some(&draft)).unwrap();
    assert_eq!(replayed.body["payments"], 2, "{}", replayed.text);
    let changed = replayed.body["changed"].as_array().unwrap();
    assert_eq!((changed.len(), &changed[0]["to"]), (1, &json!("acquirer-b")));

    // A set that is wrong changes nothing, and says where.
    let wrong = json!({ "rules": [
        { "name": "x", "when": "payment.amout > 1", "prefer": ["acquirer-z"] },
        { "name": "y", "when": "payment.amount > 9 && payment.amount < 5", "exclude": ["acquirer-a"] } ] });
    let refused = world.post("/v1/routes/rules", &wrong).unwrap();
    assert_eq!(refused.status, 422);
    let errors = refused.body["errors"].as_array().unwrap();
    let told: Vec<&str> = errors.iter().map(|it| it["pointer"].as_str().unwrap()).collect();
    assert_eq!(told, ["/rules/0/when", "/rules/0/prefer"]);
    let sets = world.get("/v1/routes/rules").unwrap();
    assert_eq!(sets.body["data"].as_array().unwrap().len(), 1);
}

#[test]
fn rules_hold_over_a_restart_and_belong_to_one_merchant() {
    let mut world = two("");
    let set = json!({ "rules": [{ "name": "b first", "prefer": ["acquirer-b"] }] });
    assert_eq!(world.post("/v1/routes/rules", &set).unwrap().status, 200);
    assert_eq!(world.post("/v1/routes/rules", &set).unwrap().body["version"], 2);
    world.stop_host().unwrap();
    world.start_host().unwrap();
    let paid = world.pay(GOOD, 1_000).unwrap();
    assert_eq!(attempts(&paid), ["acquirer-b captured"]);
    assert_eq!(routing(&world, &paid)["rules_version"], 2);
    world.key = world.new_key("other").unwrap();
    assert_eq!(attempts(&world.pay(GOOD, 1_000).unwrap()), ["acquirer-a captured"]);
    let acts = world.admin_call("GET", "/admin/audit/acts", None).unwrap();
    assert!(acts.text.contains("routes.put"), "{}", acts.text);
    assert_eq!(
        world.admin_call("GET", "/admin/audit/verify", None).unwrap().body["intact"],
        true
    );
}

#[test]
fn a_sick_channel_is_left_and_found_again() {
    let mut world = two("");
    let set = json!({ "rules": [{ "name": "b first", "prefer": ["acquirer-b"] }] });
    assert_eq!(world.post("/v1/routes/rules", &set).unwrap().status, 200);
    assert_eq!(attempts(&world.pay(GOOD, 1_000).unwrap()), ["acquirer-b captured"]);
    world.switch_acquirer("acquirer-b", false).unwrap();
    // Nobody's payment fails: what was certainly not sent goes on, and soon b is not asked at all.
    let mut until_left_out = 0;
    loop {
        let paid = world.pay(GOOD, 1_000).unwrap();
        assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
        let told = routing(&world, &paid);
        if told["excluded"][0]["stage"] == "health" {
            assert_eq!(attempts(&paid), ["acquirer-a captured"]);
            break;
        }
        until_left_out += 1;
        assert!(until_left_out < 12);
    }
    let health = world.admin_call("GET", "/admin/channels/health", None).unwrap();
    assert!(health.text.contains("failing"), "{}", health.text);
    let metrics = portolan_tests::call(world.admin, "GET", "/metrics", &[], None)
        .unwrap()
        .text;
    let sick = "portolan_channel_well{channel=\"acquirer-b\",operation=\"authorize\"} 0";
    assert!(metrics.contains(sick), "{metrics}");
    world.switch_acquirer("acquirer-b", true).unwrap();
    let path = "/admin/channels/health";
    let is_well = |world: &World| {
        let paid = world.pay(GOOD, 1_000).unwrap();
        assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
        let health = world.admin_call("GET", path, None).unwrap();
        let states = health.body.as_array().unwrap().clone();
        states.iter().all(|it| it["state"] == "well")
    };
    let started = std::time::Instant::now();
    while !is_well(&world) {
        assert!(started.elapsed().as_secs() < 60);
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    assert_eq!(attempts(&world.pay(GOOD, 1_000).unwrap()), ["acquirer-b captured"]);
    world.assert_books().unwrap();
}

#[test]
fn what_approves_more_comes_first_and_is_known_after_a_restart() {
    let mut world = two("");
    world.issuers_say("acquirer-a", Some("51")).unwrap();
    for n in 0..40 {
        let reply = world.pay(&card(n), 1_000).unwrap();
        if attempts(&reply) == ["acquirer-b captured"] {
            let told = routing(&world, &reply);
            assert_eq!(told["plan"][1]["channel"], "acquirer-a");
            let expected = told["plan"][1]["score"]["approval_ppm"].as_u64().unwrap();
            assert!(expected < 850_000, "{told}");
            world.stop_host().unwrap();
            world.start_host().unwrap();
            let ask = json!({ "amount": 1_000, "currency": "EUR", "card": { "network": "visa", "bin": "424242" } });
            let first = || world.post("/v1/routes/evaluate", &ask).unwrap().body["plan"][0]["channel"].clone();
            // It is learnt again beside the first payments.
            await_until(|| first() == "acquirer-b").unwrap();
            return;
        }
    }
    panic!("the router never learnt");
}

#[test]
fn prices_amounts_and_maintenance_count() {
    let options = Options {
        acquirers: vec![
            "cost = [{ currency = \"EUR\", fixed = 5, bps = 50 }]\namounts = { EUR = { max = 50000 } }\n\
             maintenance = [{ from = \"2020-01-01T00:00:00Z\", until = \"2020-01-02T00:00:00Z\" }]"
                .into(),
            "maintenance = [{ from = \"2020-01-01T00:00:00Z\", until = \"2099-01-01T00:00:00Z\" }]".into(),
        ],
        ..Options::default()
    };
    let world = World::start(options).unwrap();
    // Nobody priced a: it counts as the dearest that is priced, so nothing speaks against the configured order.
    let first = |amount: u64| {
        let ask = json!({ "amount": amount, "currency": "EUR" });
        world.post("/v1/routes/evaluate", &ask).unwrap().body
    };
    let small = first(1_000);
    assert_eq!(small["plan"][1]["score"]["cost"], 10);
    // One is in maintenance, the other was.
    assert_eq!(small["excluded"].as_array().unwrap().len(), 1);
    assert!(
        small["excluded"][0]["why"]
            .as_str()
            .unwrap()
            .starts_with("in maintenance for ")
    );
    let told = first(50_001);
    assert_eq!(told["excluded"][0]["channel"], "acquirer-b");
    assert_eq!(
        told["excluded"][0]["why"],
        "takes at most 50000 minor units of EUR only"
    );
    let bad = world
        .get("/v1/payments/pay_00000000000000000000000000000000?expand[]=legs")
        .unwrap();
    assert_eq!(bad.status, 422, "{}", bad.text);
}

#[test]
fn the_command_line_puts_the_example_in_force() {
    let world = two("");
    let file = portolan_tests::workspace().join("examples/routes.toml");
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(portolan_tests::binary("portolan"));
        command.arg("--config").arg(world.config()).arg("routes").args(words);
        let output = command.output().unwrap();
        let said = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let path = file.to_str().unwrap();
    let (good, said) = run(&["check", "--merchant", "shop", path]);
    assert!(good && said.contains("\"tests\": 3"), "{said}");
    assert!(run(&["put", "--merchant", "shop", "--by", "alice", path]).0);
    let (_, said) = run(&["list", "--merchant", "shop"]);
    assert!(
        said.contains("\"by\": \"alice\"") && said.contains("\"version\": 1"),
        "{said}"
    );
    let (good, said) = run(&["replay", "--merchant", "shop", "--last", "5", path]);
    assert!(good && said.contains("\"payments\": 0"), "{said}");
    let wrong = world.folder.join("wrong.toml");
    std::fs::write(
        &wrong,
        "[[rules]]\nname = \"x\"\nwhen = \"payment.amout > 1\"\nsticky = true\n",
    )
    .unwrap();
    let (good, said) = run(&["put", "--merchant", "shop", "--by", "alice", wrong.to_str().unwrap()]);
    assert!(!good && said.contains("payment.amout is no fact"), "{said}");
}

#[test]
fn the_ways_to_pay_are_ranked_with_prices_that_hold() {
    let options = Options {
        desks: vec![vec![]],
        wallet: Some(vec![]),
        ..Options::default()
    };
    let world = World::start(options).unwrap();
    let ask = json!({ "amount": 10_000, "currency": "EUR", "payer": { "country": "HK" } });
    let told = world.post("/v1/payment_methods/recommend", &ask).unwrap();
    assert_eq!(told.status, 200, "{}", told.text);
    let offers = told.body["data"].as_array().unwrap();
    let shown: Vec<(&str, &str)> = offers
        .iter()
        .map(|it| {
            (
                it["payment_method_type"].as_str().unwrap(),
                it["currency"].as_str().unwrap(),
            )
        })
        .collect();
    assert!(
        shown.contains(&("card", "EUR")) && shown.contains(&("card", "HKD")),
        "{shown:?}"
    );
    assert_eq!(
        shown[0].1, "HKD",
        "of equal worth the payer's own currency comes first: {shown:?}"
    );
    // The price holds: a payment with the quote takes exactly that.
    let own = offers
        .iter()
        .find(|it| it["payment_method_type"] == "card" && it["currency"] == "HKD")
        .unwrap();
    let method = world.store_card(GOOD).unwrap();
    let pay = json!({ "amount": own["amount"], "currency": "HKD", "quote": own["quote"], "payment_method": method,
        "payer": { "country": "HK" }, "confirm": true });
    let paid = world.post("/v1/payments", &pay).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    assert_eq!(paid.body["settlement"]["amount"], 10_000, "{}", paid.text);
    assert_eq!(paid.text_at("/payer/country"), "HK");
    // At home there is one price; where nobody exchanges, the answer says so.
    let home = json!({ "amount": 500, "currency": "EUR", "payer": { "country": "DE" } });
    let told = world.post("/v1/payment_methods/recommend", &home).unwrap();
    assert!(
        told.body["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["currency"] == "EUR"),
        "{}",
        told.text
    );
    let wrong = json!({ "amount": 500, "currency": "EUR", "payer": { "country": "Germany" } });
    let refused = world.post("/v1/payment_methods/recommend", &wrong).unwrap();
    assert_eq!(
        refused.text_at("/errors/0/pointer"),
        "/payer/country",
        "{}",
        refused.text
    );
    world.assert_books().unwrap();
}

#[test]
fn attempts_side_by_side_exceed_no_limit_once_one_was_declined() {
    let world = two("");
    for acquirer in ["acquirer-a", "acquirer-b"] {
        world.issuers_say(acquirer, Some("05")).unwrap();
    }
    assert_eq!(world.pay(GOOD, 1_000).unwrap().text_at("/status"), "failed");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..3).for_each(|_| drop(world.pay(GOOD, 1_000).unwrap())));
        }
    });
    let charged = |name: &str| {
        let page = world.get("/v1/payments?limit=100").unwrap();
        let ids = page.body["data"].as_array().unwrap().clone();
        ids.iter()
            .map(|it| world.charges_at(name, it["id"].as_str().unwrap()).unwrap().len())
            .sum::<usize>()
    };
    // Visa's 15, by both acquirers' own records.
    assert_eq!(charged("acquirer-a") + charged("acquirer-b"), 15);
}

#[test]
fn nobody_brings_the_router_down_by_what_is_written() {
    let world = two("");
    let bodies = [
        json!({ "rules": [{ "name": "x", "when": format!("{}true{}", "(".repeat(400), ")".repeat(400)), "attempts": 1 }] }),
        json!({ "rules": [{ "name": "x", "when": format!("{}true{}", "(".repeat(8), ")".repeat(8)), "attempts": 1 }] }),
        json!({ "rules": [{ "name": "x", "when": "[".repeat(8), "attempts": 1 }] }),
        json!({ "rules": [{ "name": "x", "when": format!("1{} > 0", "+1".repeat(480)), "attempts": 1 }] }),
        json!({ "rules": [{ "name": "\u{1b}[31m", "attempts": 1 }] }),
        json!({ "rules": [{ "name": "x", "prefer": vec!["acquirer-a"; 4_000] }] }),
    ];
    for body in bodies {
        let told = world.post("/v1/routes/rules", &body).unwrap();
        assert!([200, 422].contains(&told.status), "{}", told.text);
    }
    for country in ["AQ", "GS"] {
        let ask = json!({ "amount": 500, "currency": "EUR", "payer": { "country": country } });
        let told = world.post("/v1/payment_methods/recommend", &ask).unwrap();
        assert_eq!(told.status, 200, "{}", told.text);
    }
    let many = world.get("/v1/routes/rules?limit=100").unwrap();
    assert_eq!(many.status, 422);
    assert_eq!(world.pay(GOOD, 1_000).unwrap().text_at("/status"), "succeeded");
}
