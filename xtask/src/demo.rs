//! The demo: one story over the real binaries, told payment by payment, with the three records at its end. Everything
//! that it prints it has just seen.

mod approvals;
mod banks;
mod borders;
mod risk;
mod routes;
mod tokens;
mod versions;

use anyhow::{Context, ensure};
use portolan_tests::chain::Chain;
use portolan_tests::{Options, Reply, World, call};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;

pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Runs the story; keeps serving until Ctrl-C unless `once`.
pub fn run(once: bool) -> anyhow::Result<()> {
    let chain = chain()?;
    let mut world = World::start(Options {
        is_fresh: true,
        acquirers: vec![routes::SECOND.into()],
        more: chain
            .as_ref()
            .map(|chain| chain.channel(2, tokens::SETTINGS))
            .unwrap_or_default(),
        timeout_ms: 1_500,
        desks: vec![vec![], vec!["--spread-bps".into(), "90".into()]],
        wallet: Some(vec![]),
        bank: Some(vec![]),
        ..Options::default()
    })?;
    say(&format!(
        "portolan serves merchants on http://{}, the acquirer is http://{}\n",
        world.api, world.acquirer_at
    ))?;
    let payments = story(&world)?;
    let refused = same_key_again(&world)?;
    let abroad = borders::story(&world)?;
    if let Some(chain) = &chain {
        tokens::story(&world, chain)?;
    }
    say("— the books, and the providers' own records —")?;
    proof(&world, &payments, &abroad)?;
    banks::story(&world)?;
    versions::story(&world)?;
    routes::story(&mut world)?;
    risk::story(&world)?;
    approvals::story(&mut world)?;
    ensure!(refused == 1, "one key made {refused} charges");
    try_next(&world, &payments)?;
    if once {
        return Ok(());
    }
    say("\nServing until Ctrl-C.")?;
    loop {
        std::thread::park();
    }
}

/// A real EVM node, where npm can bring one.
fn chain() -> anyhow::Result<Option<Chain>> {
    if crate::peers::install_npm().is_err() {
        say("(without npm there is no EVM node, and no stablecoin in the story)")?;
        return Ok(None);
    }
    Chain::start().map(Some)
}

fn story(world: &World) -> anyhow::Result<Vec<String>> {
    let mut ids = vec![];
    let mut tell = |title: &str, expected: &str, reply: Reply| -> anyhow::Result<String> {
        ensure!(reply.text_at("/status") == expected, "{title}: {}", reply.text);
        let id = reply.text_at("/id").to_owned();
        say(&format!("— {title}: {} —", reply.text_at("/status")))?;
        timeline(world, &id)?;
        ids.push(id.clone());
        Ok(id)
    };
    tell("an approved card", "succeeded", world.pay("4242424242424242", 1_099)?)?;
    tell("a declined card", "failed", world.pay("4000000000000002", 1_099)?)?;

    let authenticated = challenged(world, "4000000000003220")?;
    tell("3-D Secure, redirected and resumed", "succeeded", authenticated)?;
    let stepped_up = challenged(world, "4000002500003155")?;
    tell(
        "declined until the payer is authenticated: asked, and tried again",
        "succeeded",
        stepped_up,
    )?;

    let id = authorized(world, 10_000)?;
    post(
        world,
        &format!("/v1/payments/{id}/capture"),
        &json!({ "amount": 4_000, "final": false }),
    )?;
    let captured = post(
        world,
        &format!("/v1/payments/{id}/capture"),
        &json!({ "amount": 3_000 }),
    )?;
    tell("authorized 100.00, captured 40.00 and 30.00", "succeeded", captured)?;
    for amount in [1_000, 2_500] {
        post(
            world,
            "/v1/refunds",
            &json!({ "payment": id, "amount": amount, "reason": "returned goods" }),
        )?;
    }
    tell(
        "…and refunded 10.00 and 25.00",
        "succeeded",
        world.get(&format!("/v1/payments/{id}"))?,
    )?;

    let id = authorized(world, 5_000)?;
    let canceled = post(
        world,
        &format!("/v1/payments/{id}/cancel"),
        &json!({ "reason": "out of stock" }),
    )?;
    tell("authorized and canceled", "canceled", canceled)?;

    let lost = world.pay("4242424242424242", 7_903)?;
    say(&format!(
        "  (the acquirer charged late and never answered; the merchant was told: {}, outcome unknown)",
        lost.text_at("/status")
    ))?;
    let found = world.await_payment(lost.text_at("/id"), |reply| reply.text_at("/status") == "succeeded")?;
    tell("a lost answer, found out by asking", "succeeded", found)?;
    Ok(ids)
}

/// Pays with a card whose payer is sent to the issuer and back.
fn challenged(world: &World, card: &str) -> anyhow::Result<Reply> {
    let method = world.store_card(card)?;
    let body = json!({
        "amount": 2_500, "currency": "EUR", "payment_method": method, "confirm": true, "return_url": "https://shop.example/done",
    });
    let waiting = post(world, "/v1/payments", &body)?;
    ensure!(
        waiting.text_at("/status") == "requires_action",
        "3-D Secure: {}",
        waiting.text
    );
    visit(waiting.text_at("/next_action/url")).context("the payer's browser")?;
    world.get(&format!("/v1/payments/{}", waiting.text_at("/id")))
}

fn authorized(world: &World, amount: u64) -> anyhow::Result<String> {
    let method = world.store_card("5555555555554444")?;
    let body = json!({
        "amount": amount, "currency": "EUR", "payment_method": method, "confirm": true, "capture_method": "manual",
    });
    let reply = post(world, "/v1/payments", &body)?;
    ensure!(reply.text_at("/status") == "requires_capture", "{}", reply.text);
    Ok(reply.text_at("/id").to_owned())
}

pub(crate) fn post(world: &World, path: &str, body: &Value) -> anyhow::Result<Reply> {
    let reply = world.post(path, body)?;
    ensure!(reply.status == 200, "{path}: {}", reply.text);
    Ok(reply)
}

/// What a browser does: goes where it is sent, and back.
pub(crate) fn visit(url: &str) -> anyhow::Result<()> {
    let mut next = url.to_owned();
    for _ in 0..3 {
        // The shop's own page is nobody here.
        let Some(rest) = next.strip_prefix("http://") else {
            return Ok(());
        };
        let (authority, path) = rest.split_once('/').context("no path")?;
        let address: SocketAddr = authority.parse()?;
        let reply = call(address, "GET", &format!("/{path}"), &[], None)?;
        match reply.header("location") {
            Some(location) => next = location.to_owned(),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// What happened to a payment or payout, in order.
pub(crate) fn timeline(world: &World, id: &str) -> anyhow::Result<()> {
    let which = if id.starts_with("po_") { "payout" } else { "payment" };
    let events = world.get(&format!("/v1/events?{which}={id}&limit=100"))?;
    let events = events
        .body
        .get("data")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for event in events.iter().rev() {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let amount = event.pointer("/data/amount").and_then(Value::as_u64);
        let amount = amount.map(|minor| format!("{}.{:02}", minor / 100, minor % 100));
        // From 2^53 on an amount is a text of digits: tokens, here of 18 decimals.
        let whole = |digits: &str| digits.strip_suffix(&"0".repeat(18)).map(str::to_owned);
        let amount = amount.or_else(|| whole(text("/data/amount")));
        let amount = amount.map(|amount| format!("{amount} {}", text("/data/currency")));
        say(&format!("    {:<32}{}", text("/type"), amount.unwrap_or_default()))?;
    }
    Ok(())
}

/// The same request twice with one key: one charge, and the same bytes as an answer.
fn same_key_again(world: &World) -> anyhow::Result<usize> {
    let method = world.store_card("4242424242424242")?;
    let body = json!({ "amount": 4_200, "currency": "EUR", "payment_method": method, "confirm": true });
    let first = world.post_with_key("/v1/payments", &body, "order-4711")?;
    let again = world.post_with_key("/v1/payments", &body, "order-4711")?;
    ensure!(
        first.text == again.text && again.header("idempotent-replayed") == Some("true"),
        "{}",
        again.text
    );
    say("— the same Idempotency-Key again: the same answer, byte for byte —\n")?;
    Ok(world.charges_of(first.text_at("/id"))?.len())
}

fn proof(world: &World, payments: &[String], abroad: &borders::Abroad) -> anyhow::Result<()> {
    world.assert_books()?;
    let books = world.admin_call("GET", "/admin/ledger/check", None)?.body;
    for row in books.get("balances").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
        say(&format!(
            "    {:<34}{:<18} debit {:>8} credit {:>8}   held: debit {:>5} credit {:>5}",
            text("account"),
            text("asset"),
            text("debit"),
            text("credit"),
            text("pending_debit"),
            text("pending_credit"),
        ))?;
    }
    let count = |name: &str| books.get(name).and_then(Value::as_u64).unwrap_or_default();
    say(&format!(
        "    balanced: {} entries of {} payments, debits equal credits",
        count("entries"),
        count("payments")
    ))?;
    let records = world.records()?;
    let sum = |field: &str| -> u64 {
        let charges = records.get("charges").and_then(Value::as_array);
        charges
            .into_iter()
            .flatten()
            .filter_map(|charge| charge.get(field).and_then(Value::as_u64))
            .sum()
    };
    let charges = records.get("charges").and_then(Value::as_array).map_or(0, Vec::len);
    say(&format!(
        "    the acquirer itself counts {charges} charges, {}.{:02} EUR captured, {}.{:02} EUR refunded",
        sum("captured") / 100,
        sum("captured") % 100,
        sum("refunded") / 100,
        sum("refunded") % 100
    ))?;
    for id in payments {
        let shown = world.get(&format!("/v1/payments/{id}"))?;
        let attempts = shown.body.get("attempts").and_then(Value::as_array).map_or(0, Vec::len);
        let charges = world.charges_of(id)?;
        ensure!(
            charges.len() == attempts,
            "{id} has {} charges and {attempts} attempts",
            charges.len()
        );
        let is_taken = |charge: &&Value| charge.get("captured").and_then(Value::as_u64) > Some(0);
        ensure!(charges.iter().filter(is_taken).count() <= 1, "{id} is charged twice");
    }
    let net = merchant_net(&books)? + abroad.euro_exchanged;
    ensure!(
        net == i128::from(sum("captured")) - i128::from(sum("refunded")) + abroad.euro_refunded,
        "books {net}, acquirer {records}"
    );
    say("    the merchant is owed exactly what the acquirer took and did not give back, less what was exchanged")?;
    borders::proof(world, &books, abroad)
}

/// An account's posted credit less its debit.
pub(crate) fn posted(books: &Value, account: &str, asset: &str) -> i128 {
    let rows = books.get("balances").and_then(Value::as_array);
    let text = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut rows = rows.into_iter().flatten();
    let row = rows.find(|row| text(row, "account") == account && text(row, "asset") == asset);
    let number = |row: &Value, name: &str| text(row, name).parse::<i128>().unwrap_or(0);
    row.map_or(0, |row| number(row, "credit") - number(row, "debit"))
}

fn merchant_net(books: &Value) -> anyhow::Result<i128> {
    Ok(posted(books, "merchant:shop:pending", "EUR"))
}

fn try_next(world: &World, payments: &[String]) -> anyhow::Result<()> {
    let (api, key) = (world.api, &world.key);
    let first = payments.first().context("no payment")?;
    say("\n— try next —")?;
    say(&format!(
        "curl http://{api}/v1/payment_methods -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\\n  \
         -d '{{\"type\":\"card\",\"card\":{{\"number\":\"4242424242424242\",\"expiry_month\":12,\"expiry_year\":2031,\"security_code\":\"123\"}}}}'"
    ))?;
    say(&format!(
        "curl http://{api}/v1/payments -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\\n  \
         -H 'idempotency-key: order-1' -d '{{\"amount\":1099,\"currency\":\"EUR\",\"payment_method\":\"pm_…\",\"confirm\":true}}'"
    ))?;
    say(&format!(
        "curl http://{api}/v1/payments/{first} -H 'authorization: Bearer {key}'"
    ))?;
    say(&format!(
        "curl 'http://{api}/v1/balances' -H 'authorization: Bearer {key}'"
    ))?;
    say(&format!(
        "curl -g 'http://{api}/v1/statements?currency=EUR&created[gte]=0&format=csv' -H 'authorization: Bearer {key}'"
    ))?;
    let config = world.config();
    say(&format!(
        "target/debug/portolan --config {} payment {first}",
        config.display()
    ))?;
    say(&format!(
        "target/debug/portolan --config {} ledger check",
        config.display()
    ))
}
