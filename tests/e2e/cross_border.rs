//! Across borders: a price known before, the exchange after the card, what happens when the price is lost, and refunds at
//! the original rate. The desk is a process of its own, and its record is compared with the books.

use portolan_tests::{Options, Reply, World};
use serde_json::{Value, json};

/// A world with desks; each is told how to be.
pub fn with_desks(desks: &[&[&str]]) -> Options {
    let words = |desk: &&[&str]| desk.iter().map(|word| (*word).to_owned()).collect();
    Options {
        acquirer: vec!["--silent".into()],
        desks: desks.iter().map(words).collect(),
        ..Options::default()
    }
}

pub fn world() -> World {
    World::start(with_desks(&[&[]])).unwrap()
}

fn quote_of(world: &World, body: &Value) -> Reply {
    world.post("/v1/quotes", body).unwrap()
}

/// What 100.00 EUR, or another amount of them, are in HKD.
pub fn eur_to_hkd(world: &World, cents: u64) -> Reply {
    let body = json!({ "source": { "amount": cents, "currency": "EUR" }, "destination": { "currency": "HKD" } });
    let reply = quote_of(world, &body);
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

/// Pays by card with that quote.
pub fn pay(world: &World, quote: &Reply, more: &Value) -> Reply {
    let method = world.store_card("4242424242424242").unwrap();
    let mut body = json!({
        "amount": quote.body["source"]["amount"], "currency": "EUR", "payment_method": method, "confirm": true,
        "quote": quote.text_at("/id"),
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().cloned().unwrap_or_default());
    world.post("/v1/payments", &body).unwrap()
}

/// Available and pending of a currency, and what is reserved.
pub fn balance(world: &World, currency: &str) -> (i64, i64, i64) {
    let reply = world.get("/v1/balances").unwrap();
    let balances = reply.body["balances"].as_array().cloned().unwrap_or_default();
    let found = balances
        .into_iter()
        .find(|it| it["currency"] == currency)
        .unwrap_or_default();
    let number = |name: &str| found[name].as_i64().unwrap_or(0);
    (number("available"), number("pending"), number("reserved"))
}

/// An account's posted balance: credit less debit.
pub fn account(world: &World, name: &str, asset: &str) -> i64 {
    let books = world.admin_call("GET", "/admin/ledger/check", None).unwrap().body;
    let rows = books["balances"].as_array().cloned().unwrap_or_default();
    let row = rows
        .into_iter()
        .find(|row| row["account"] == name && row["asset"] == asset);
    let number = |row: &Value, name: &str| row[name].as_str().unwrap_or("0").parse::<i64>().unwrap();
    row.map_or(0, |row| number(&row, "credit") - number(&row, "debit"))
}

pub fn until_settled(world: &World, payment: &Reply, status: &str) -> Reply {
    let id = payment.text_at("/id").to_owned();
    world
        .await_payment(&id, |reply| reply.text_at("/settlement/status") == status)
        .unwrap()
}

fn events(world: &World, payment: &Reply) -> Vec<String> {
    let path = format!("/v1/events?payment={}&limit=100", payment.text_at("/id"));
    let events = world.get(&path).unwrap().body["data"].as_array().cloned().unwrap();
    events
        .iter()
        .rev()
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_quote_compares_every_exchange_all_in() {
    let world = World::start(with_desks(&[
        &["--spread-bps", "90"],
        &["--spread-bps", "40"],
        &["--slow-ms", "20000"],
    ]))
    .unwrap();
    let quote = eur_to_hkd(&world, 10_000);
    assert_eq!(quote.body["options"][0]["channel"], "desk-b");
    assert_eq!(quote.body["options"][1]["channel"], "desk-a");
    assert_eq!(quote.body["unavailable"][0]["channel"], "desk-c");
    // 1 EUR is 1.0823 USD is 8.435040 HKD at mid; 0.4 % less at the better desk.
    assert_eq!(quote.text_at("/mid_rate/rate"), "8.43504");
    assert_eq!(
        quote.body["destination"],
        json!({ "amount": 84_013, "currency": "HKD" })
    );
    assert_eq!(quote.text_at("/cost_bps"), "40");
    let shown = world.get(&format!("/v1/quotes/{}", quote.text_at("/id"))).unwrap();
    assert_eq!(shown.body, quote.body);

    let fixed = quote_of(
        &world,
        &json!({ "source": { "currency": "EUR" }, "destination": { "amount": 100_000, "currency": "HKD" } }),
    );
    assert_eq!(fixed.body["destination"]["amount"], 100_000);
    assert_eq!(fixed.text_at("/fixed"), "destination");
}

#[test]
fn bad_quotes_are_told_by_field() {
    let world = world();
    let codes = |body: Value| {
        let reply = quote_of(&world, &body);
        assert_eq!(reply.status, 422, "{}", reply.text);
        let errors = reply.body["errors"].as_array().cloned().unwrap();
        let code = |error: &Value| {
            format!(
                "{} {}",
                error["pointer"].as_str().unwrap(),
                error["code"].as_str().unwrap()
            )
        };
        errors.iter().map(code).collect::<Vec<_>>()
    };
    let eur = json!({ "amount": 1, "currency": "EUR" });
    assert_eq!(
        codes(json!({ "source": eur, "destination": { "amount": 2, "currency": "HKD" } })),
        ["/destination/amount both_fixed"]
    );
    assert_eq!(
        codes(json!({ "source": eur, "destination": { "currency": "EUR" } })),
        ["/destination/currency same_currency"]
    );
    assert_eq!(
        codes(json!({ "source": eur, "destination": { "currency": "XYZ" } })),
        ["/destination/currency unknown_currency"]
    );
    assert_eq!(
        codes(json!({ "source": eur, "destination": { "curency": "HKD" } })).len(),
        2
    );
    let unpriced = quote_of(&world, &json!({ "source": eur, "destination": { "currency": "ISK" } }));
    assert_eq!(
        (unpriced.status, unpriced.text_at("/code")),
        (409, "no_price"),
        "{}",
        unpriced.text
    );
    assert!(unpriced.text.contains("does not trade this pair"), "{}", unpriced.text);
}

#[test]
fn a_card_in_euro_owes_the_shop_hong_kong_dollars() {
    let world = world();
    let quote = eur_to_hkd(&world, 10_000);
    let paid = pay(&world, &quote, &json!({}));
    assert_eq!(
        (paid.status, paid.text_at("/status")),
        (200, "succeeded"),
        "{}",
        paid.text
    );
    assert_eq!(paid.body["settlement"]["amount"], 84_013, "{}", paid.text);
    assert_eq!(paid.text_at("/settlement/status"), "succeeded");
    let legs = paid.body["legs"].as_array().unwrap();
    let states: Vec<_> = legs
        .iter()
        .map(|leg| (&leg["name"], &leg["status"], &leg["pivot"]))
        .collect();
    assert_eq!(
        json!(states),
        json!([["collect", "succeeded", true], ["convert", "succeeded", false]])
    );
    assert_eq!(balance(&world, "HKD"), (84_013, 0, 0));
    assert_eq!(balance(&world, "EUR"), (0, 0, 0));
    assert_eq!(
        (
            account(&world, "fx:position", "EUR"),
            account(&world, "fx:position", "HKD")
        ),
        (0, 0)
    );
    let desk = world.desk_records(0).unwrap();
    assert_eq!(desk["conversions"].as_array().unwrap().len(), 1);
    assert_eq!(desk["conversions"][0]["buy_amount"], "840.13");
    // Reserved first: authorized, looked at the price, captured, exchanged.
    let told = events(&world, &paid);
    let place = |name: &str| {
        told.iter()
            .position(|event| event == name)
            .unwrap_or_else(|| panic!("{name} in {told:?}"))
    };
    assert!(place("payment.rate_locked") < place("payment.authorized"));
    assert!(place("payment.authorized") < place("payment.captured"));
    assert!(place("payment.captured") < place("payment.converted"));
    world.assert_books().unwrap();

    let again = pay(&world, &quote, &json!({}));
    assert_eq!(
        (again.status, again.text_at("/code")),
        (409, "quote_used"),
        "{}",
        again.text
    );
}

#[test]
fn the_routers_share_is_a_posting_of_its_own() {
    let world = World::start(Options {
        more: "[pricing]\nmarkup_bps = 50\n".into(),
        ..with_desks(&[&[]])
    })
    .unwrap();
    let quote = eur_to_hkd(&world, 10_000);
    assert_eq!(
        quote.body["fees"],
        json!([{ "charged_by": "router", "paid_by": "merchant", "amount": 421, "currency": "HKD" }])
    );
    let paid = pay(&world, &quote, &json!({}));
    assert_eq!(paid.text_at("/settlement/status"), "succeeded", "{}", paid.text);
    assert_eq!(balance(&world, "HKD").0, 83_592);
    assert_eq!(account(&world, "fx:spread", "HKD"), 421);
    world.assert_books().unwrap();
}

#[test]
fn fifty_uses_of_one_quote_are_one() {
    let world = world();
    let quote = eur_to_hkd(&world, 5_000);
    let method = world.store_card("4242424242424242").unwrap();
    let body = json!({
        "amount": 5_000, "currency": "EUR", "payment_method": method, "confirm": true, "quote": quote.text_at("/id"),
    });
    let answers: Vec<Reply> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| world.post("/v1/payments", &body).unwrap()))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let paid = answers.iter().filter(|reply| reply.status == 200).count();
    let refused = answers
        .iter()
        .filter(|reply| reply.text_at("/code") == "quote_used")
        .count();
    assert_eq!((paid, refused), (1, 49));
    assert_eq!(world.records().unwrap()["charges"].as_array().unwrap().len(), 1);
    assert_eq!(
        world.desk_records(0).unwrap()["conversions"].as_array().unwrap().len(),
        1
    );
    world.assert_books().unwrap();
}

#[test]
fn an_expired_quote_brings_a_fresh_one() {
    let world = World::start(with_desks(&[&["--lock-max-ms", "6000"]])).unwrap();
    let quote = eur_to_hkd(&world, 10_000);
    let expires = quote.body["expires_at"].as_u64().unwrap();
    let now = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    while now() < expires {
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    let late = pay(&world, &quote, &json!({}));
    assert_eq!(
        (late.status, late.text_at("/code")),
        (409, "quote_expired"),
        "{}",
        late.text
    );
    assert_ne!(late.text_at("/quote/id"), quote.text_at("/id"));
    assert_eq!(late.body["quote"]["source"], quote.body["source"]);
    assert_eq!(world.records().unwrap()["charges"], json!([]));
}

#[test]
fn what_a_quote_does_not_fit_is_refused() {
    let world = world();
    let quote = eur_to_hkd(&world, 10_000);
    let refused = |more: Value| {
        let reply = pay(&world, &quote, &more);
        assert_eq!(reply.status, 422, "{}", reply.text);
        format!(
            "{} {}",
            reply.text_at("/errors/0/pointer"),
            reply.text_at("/errors/0/code")
        )
    };
    assert_eq!(refused(json!({ "amount": 9_999 })), "/amount not_the_quotes");
    assert_eq!(
        refused(json!({ "capture_method": "manual" })),
        "/capture_method not_with_quote"
    );
    assert_eq!(
        refused(json!({ "if_rate_lost": "pray" })),
        "/if_rate_lost invalid_value"
    );
    assert_eq!(
        refused(json!({ "max_slippage_bps": 1_001 })),
        "/max_slippage_bps out_of_range"
    );
    assert_eq!(
        refused(json!({ "quote": "qt_00000000000000000000000000000000" })),
        "/quote not_found"
    );
    let mut other = World::start(with_desks(&[])).unwrap();
    other.api = world.api;
    other.key = world.new_key("other-shop").unwrap();
    let foreign = pay(&other, &quote, &json!({}));
    assert_eq!(foreign.text_at("/errors/0/code"), "not_found", "{}", foreign.text);
    assert_eq!(world.records().unwrap()["charges"], json!([]));
}

#[test]
fn a_lost_price_is_asked_for_anew() {
    let world = world();
    // …921: the desk says that the first locked price is gone.
    let paid = pay(&world, &eur_to_hkd(&world, 10_921), &json!({}));
    assert_eq!(paid.text_at("/settlement/status"), "succeeded", "{}", paid.text);
    assert_eq!(paid.body["settlement"]["requotes"], 1);
    assert!(events(&world, &paid).contains(&"payment.requoted".to_owned()));
    assert_eq!(
        world.desk_records(0).unwrap()["conversions"].as_array().unwrap().len(),
        1
    );
    world.assert_books().unwrap();
}

#[test]
fn a_worse_price_is_taken_within_the_slippage_only() {
    let world = world();
    let (narrow, wide) = (eur_to_hkd(&world, 20_921), eur_to_hkd(&world, 30_921));
    world.move_market(0, -100).unwrap();
    let held = pay(&world, &narrow, &json!({ "max_slippage_bps": 50 }));
    assert_eq!(held.text_at("/settlement/status"), "manual", "{}", held.text);
    assert_eq!(balance(&world, "EUR").1, 20_921);
    let task = world.admin_call("GET", "/admin/tasks", None).unwrap();
    assert_eq!(task.text_at("/tasks/0/kind"), "conversion_held", "{}", task.text);

    let taken = pay(&world, &wide, &json!({ "max_slippage_bps": 150 }));
    assert_eq!(taken.text_at("/settlement/status"), "succeeded", "{}", taken.text);
    let promised = wide.body["destination"]["amount"].as_i64().unwrap();
    let got = taken.body["settlement"]["amount"].as_i64().unwrap();
    assert!(got < promised && got > promised * 98 / 100, "{got} of {promised}");
    assert_eq!(balance(&world, "HKD").0, got);

    // A human takes today's price for the other one.
    let path = format!("/admin/tasks/{}/resolve", task.text_at("/tasks/0/id"));
    let word = json!({ "resolution": "convert_now", "by": "ada", "reason": "the shop agreed" });
    let resolved = world.admin_call("POST", &path, Some(&word)).unwrap();
    assert_eq!(resolved.status, 200, "{}", resolved.text);
    until_settled(&world, &held, "succeeded");
    assert_eq!(balance(&world, "EUR").1, 0);
    world.assert_books().unwrap();
}

#[test]
fn where_the_payment_says_so_the_payer_gets_the_money_back() {
    let world = world();
    let quote = eur_to_hkd(&world, 10_921);
    let back = pay(&world, &quote, &json!({ "if_rate_lost": "refund" }));
    let back = until_settled(&world, &back, "compensated");
    assert_eq!(back.body["amount_refunded"], 10_921, "{}", back.text);
    assert_eq!(balance(&world, "EUR"), (0, 0, 0));
    assert_eq!(world.desk_records(0).unwrap()["conversions"], json!([]));
    world.assert_books().unwrap();
}

#[test]
fn an_exchange_of_unknown_outcome_is_found_out() {
    let world = world();
    // …922: done, no answer; …923: done, and a 500; …924: not done, and a 500.
    for cents in [10_922, 10_923, 10_924] {
        let before = world.desk_records(0).unwrap()["conversions"].as_array().unwrap().len();
        let paid = pay(&world, &eur_to_hkd(&world, cents), &json!({}));
        assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
        if cents == 10_924 {
            continue;
        }
        let done = until_settled(&world, &paid, "succeeded");
        assert_eq!(done.text_at("/outcome"), "", "{}", done.text);
        let after = world.desk_records(0).unwrap()["conversions"].as_array().unwrap().len();
        assert_eq!(after, before + 1, "{cents}");
    }
    world.assert_books().unwrap();
}

#[test]
fn refunds_go_at_the_original_rate_and_sum_to_the_last_unit() {
    let world = world();
    let paid = pay(&world, &eur_to_hkd(&world, 10_000), &json!({}));
    let id = paid.text_at("/id").to_owned();
    world.move_market(0, 500).unwrap();
    for (cents, left) in [(3_333, 56_012), (3_333, 28_010), (3_334, 0)] {
        let refund = world
            .post("/v1/refunds", &json!({ "payment": id, "amount": cents }))
            .unwrap();
        assert_eq!(refund.text_at("/status"), "succeeded", "{}", refund.text);
        assert_eq!(balance(&world, "HKD"), (left, 0, 0));
    }
    // The payer's euro came out of the router's position, and the dollars went into it.
    assert_eq!(
        (
            account(&world, "fx:position", "EUR"),
            account(&world, "fx:position", "HKD")
        ),
        (-10_000, 84_013)
    );
    let shown = world.get(&format!("/v1/payments/{id}")).unwrap();
    assert_eq!(shown.body["amount_refunded"], 10_000);
    world.assert_books().unwrap();
}

#[test]
fn at_the_current_rate_the_merchant_bears_the_difference() {
    let world = world();
    let paid = pay(&world, &eur_to_hkd(&world, 10_000), &json!({}));
    let got = paid.body["settlement"]["amount"].as_i64().unwrap();
    // What a dearer refund takes beyond its share comes out of other money.
    pay(&world, &eur_to_hkd(&world, 1_000), &json!({}));
    let before = balance(&world, "HKD").0;
    // One euro is dearer by three percent now.
    world.move_market(0, 300).unwrap();
    let id = paid.text_at("/id");
    let refund = |cents: u64, rate: &str| {
        let body = json!({ "payment": id, "amount": cents, "rate": rate });
        world.post("/v1/refunds", &body).unwrap()
    };
    let position = account(&world, "fx:position", "HKD");
    let current = refund(2_500, "current");
    assert_eq!(current.text_at("/status"), "succeeded", "{}", current.text);
    assert_eq!(
        (
            current.text_at("/gives_up/rate"),
            current.text_at("/gives_up/difference_borne_by")
        ),
        ("current", "merchant")
    );
    let gave = current.body["gives_up"]["amount"].as_i64().unwrap();
    assert!(gave > got / 4 + got / 200, "{gave} of {got}");
    assert_eq!(balance(&world, "HKD").0, before - gave);
    assert_eq!(account(&world, "fx:position", "HKD") - position, gave);
    // What is left goes at the original rate, as if nothing had been at another.
    let original = refund(7_500, "original");
    assert_eq!(original.text_at("/gives_up/difference_borne_by"), "router");
    assert_eq!(original.body["gives_up"]["amount"].as_i64().unwrap(), got - got / 4);
    world.assert_books().unwrap();
}

#[test]
fn a_rate_is_asked_for_where_there_is_one() {
    let world = world();
    let paid = pay(&world, &eur_to_hkd(&world, 10_000), &json!({}));
    let other = world.pay("4242424242424242", 1_000).unwrap();
    let refused = |payment: &Reply, amount: u64, rate: &str| {
        let body = json!({ "payment": payment.text_at("/id"), "amount": amount, "rate": rate });
        let reply = world.post("/v1/refunds", &body).unwrap();
        assert_eq!(reply.status, 422, "{}", reply.text);
        reply.text_at("/errors/0/pointer").to_owned()
    };
    assert_eq!(refused(&paid, 1_000, "best"), "/rate");
    assert_eq!(refused(&other, 1_000, "current"), "/rate");
    assert_eq!(refused(&paid, 10_001, "current"), "/amount");
    assert_eq!(balance(&world, "EUR"), (0, 1_000, 0));
    world.assert_books().unwrap();
}

#[test]
fn no_more_is_promised_for_a_pair_than_its_limit() {
    let mut options = with_desks(&[&[]]);
    options.more = "[pricing]\nexposure_max = { \"EUR/HKD\" = 15000 }\n".into();
    let world = World::start(options).unwrap();
    let (first, second) = (eur_to_hkd(&world, 10_000), eur_to_hkd(&world, 10_000));
    // The payer has to act: the price is promised meanwhile.
    let method = world.store_card("4000000000003220").unwrap();
    let held = pay(&world, &first, &json!({ "payment_method": method }));
    assert_eq!(held.text_at("/status"), "requires_action", "{}", held.text);
    let refused = pay(&world, &second, &json!({}));
    assert_eq!(
        (refused.status, refused.text_at("/code")),
        (409, "exposure_full"),
        "{}",
        refused.text
    );
    let body = json!({ "source": { "amount": 5_001, "currency": "EUR" }, "destination": { "currency": "HKD" } });
    let priced = quote_of(&world, &body);
    assert_eq!(
        (priced.status, priced.text_at("/code")),
        (409, "exposure_full"),
        "{}",
        priced.text
    );
    // Once it is given up, there is room again; once it is exchanged, too.
    let path = format!("/v1/payments/{}/cancel", held.text_at("/id"));
    let canceled = world.post(&path, &json!({})).unwrap();
    assert_eq!(canceled.text_at("/status"), "canceled", "{}", canceled.text);
    let paid = pay(&world, &second, &json!({}));
    assert_eq!(paid.text_at("/settlement/status"), "succeeded", "{}", paid.text);
    let third = eur_to_hkd(&world, 15_000);
    assert_eq!(
        pay(&world, &third, &json!({})).text_at("/settlement/status"),
        "succeeded"
    );
    world.assert_books().unwrap();
}
