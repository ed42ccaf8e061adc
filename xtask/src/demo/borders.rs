//! The story across borders: a card in euro for a shop in Hong Kong, a wallet's code scanned in yuan, suppliers paid, one
//! payment given back at its original rate. Each step is compared with what the provider itself did.

use super::{post, posted, say, timeline, visit};
use anyhow::{Context, ensure};
use portolan_tests::{Reply, World};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a step may take.
const WITHIN: Duration = Duration::from_secs(30);

/// What went across borders, for the proof.
pub struct Abroad {
    /// Cents of euro that were exchanged.
    pub euro_exchanged: i128,
    /// Cents of euro that were given back at the original rate.
    pub euro_refunded: i128,
    /// Cents of HKD that the payouts took.
    hkd_paid_out: i128,
}

fn number(reply: &Reply, pointer: &str) -> i128 {
    reply
        .body
        .pointer(pointer)
        .and_then(Value::as_i64)
        .map_or(0, i128::from)
}

fn shown(minor: i128, currency: &str) -> String {
    format!("{}.{:02} {currency}", minor / 100, minor % 100)
}

/// Tells it.
pub fn story(world: &World) -> anyhow::Result<Abroad> {
    let quote = priced(world, 10_000, "EUR")?;
    let card = by_card(world, &quote)?;
    by_wallet(world)?;
    let paid_out = suppliers(world)?;
    let refund = json!({ "payment": card.text_at("/id"), "amount": 2_500, "reason": "one lamp was broken" });
    let before = available(world)?;
    let back = post(world, "/v1/refunds", &refund)?;
    ensure!(back.text_at("/status") == "succeeded", "{}", back.text);
    let taken = before - available(world)?;
    say("— …25.00 EUR of it are given back at the original rate —")?;
    say(&format!(
        "    the shop gives up {}: what it got for them, whatever the rate is today\n",
        shown(taken, "HKD")
    ))?;
    Ok(Abroad {
        euro_exchanged: 10_000,
        euro_refunded: 2_500,
        hkd_paid_out: paid_out,
    })
}

/// What an amount comes to in HKD, before anything is done.
fn priced(world: &World, amount: u64, currency: &str) -> anyhow::Result<Reply> {
    let body = json!({ "source": { "amount": amount, "currency": currency }, "destination": { "currency": "HKD" } });
    let quote = post(world, "/v1/quotes", &body)?;
    let text = |pointer: &str| quote.text_at(pointer).to_owned();
    say(&format!(
        "— what are {} worth in Hong Kong? —\n    {} at {}, all in; mid is {} ({} basis points); the other desk offers {}\n",
        shown(number(&quote, "/source/amount"), currency),
        shown(number(&quote, "/destination/amount"), "HKD"),
        text("/rate"),
        text("/mid_rate/rate"),
        text("/cost_bps"),
        shown(number(&quote, "/options/1/destination/amount"), "HKD"),
    ))?;
    Ok(quote)
}

fn by_card(world: &World, quote: &Reply) -> anyhow::Result<Reply> {
    let method = world.store_card("4242424242424242")?;
    let body = json!({
        "amount": 10_000, "currency": "EUR", "payment_method": method, "confirm": true, "quote": quote.text_at("/id"),
        "description": "three lamps", "max_slippage_bps": 50,
    });
    let paid = post(world, "/v1/payments", &body)?;
    ensure!(paid.text_at("/settlement/status") == "succeeded", "{}", paid.text);
    let got = number(&paid, "/settlement/amount");
    ensure!(
        got == number(quote, "/destination/amount"),
        "promised {}, got {got}",
        quote.text
    );
    say("— a shopper in Europe pays 100.00 EUR by card; the shop has Hong Kong dollars —")?;
    timeline(world, paid.text_at("/id"))?;
    Ok(paid)
}

fn by_wallet(world: &World) -> anyhow::Result<()> {
    let quote = priced(world, 8_800, "CNY")?;
    let body = json!({
        "amount": 8_800, "currency": "CNY", "payment_method_type": "wallet:alipay-plus:ALIPAY_CN", "confirm": true,
        "quote": quote.text_at("/id"), "description": "a lamp", "return_url": "https://shop.example/done",
    });
    let waiting = post(world, "/v1/payments", &body)?;
    ensure!(waiting.text_at("/status") == "requires_action", "{}", waiting.text);
    let code = waiting.text_at("/next_action/text").to_owned();
    say(&format!(
        "— another shopper scans {code} with a wallet and pays 88.00 CNY —"
    ))?;
    visit(&code).context("the payer's wallet")?;
    let id = waiting.text_at("/id");
    world.await_payment(id, |reply| reply.text_at("/settlement/status") == "succeeded")?;
    timeline(world, id)
}

fn available(world: &World) -> anyhow::Result<i128> {
    let balances = world.get("/v1/balances")?;
    let all = balances
        .body
        .get("balances")
        .and_then(Value::as_array)
        .context("no balances")?;
    let hkd = all
        .iter()
        .find(|it| it.get("currency").and_then(Value::as_str) == Some("HKD"));
    let amount = hkd.and_then(|it| it.get("available")).and_then(Value::as_i64);
    Ok(amount.map_or(0, i128::from))
}

/// Pays two suppliers: one is paid, the other's bank sends the money back.
fn suppliers(world: &World) -> anyhow::Result<i128> {
    let body = |amount: u64, name: &str| {
        json!({
            "amount": amount, "currency": "HKD", "reference": "invoice 4711",
            "beneficiary": {
                "type": "company", "name": name, "country": "HK",
                "account": { "bank_code": "004", "account_number": "123456789001" },
            },
        })
    };
    let paid = post(world, "/v1/payouts", &body(30_000, "Kowloon Lamps Ltd"))?;
    until(world, paid.text_at("/id"), "paid")?;
    say("— the shop pays a supplier 300.00 HKD out of it —")?;
    timeline(world, paid.text_at("/id"))?;
    // …932: the simulator's bank pays, and sends it back.
    let back = post(world, "/v1/payouts", &body(10_932, "Closed Lamps Ltd"))?;
    until(world, back.text_at("/id"), "returned")?;
    say("— and another 109.32 HKD, which a bank sends back after they were paid —")?;
    timeline(world, back.text_at("/id"))?;
    Ok(30_000)
}

pub(super) fn until(world: &World, payout: &str, status: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let reply = world.get(&format!("/v1/payouts/{payout}"))?;
        if reply.text_at("/status") == status {
            return Ok(());
        }
        ensure!(started.elapsed() < WITHIN, "never {status}: {}", reply.text);
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The desk's own record against the books.
pub fn proof(world: &World, books: &Value, abroad: &Abroad) -> anyhow::Result<()> {
    let desk = world.desk_records(0)?;
    let list = |name: &str| desk.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let cents = |row: &Value, name: &str| -> i128 {
        let amount = text(row, name);
        let (whole, part) = amount.split_once('.').unwrap_or((amount.as_str(), ""));
        format!("{whole}{part:0<2}").parse().unwrap_or(0)
    };
    let bought: i128 = list("conversions").iter().map(|row| cents(row, "buy_amount")).sum();
    let paid: i128 = list("transfers")
        .iter()
        .filter(|row| text(row, "status") == "PAID")
        .map(|row| cents(row, "amount"))
        .sum();
    ensure!(paid == abroad.hkd_paid_out, "the desk paid {paid}");
    let prefund = posted(books, "channel:desk-a:prefund", "HKD");
    ensure!(
        -prefund == bought - paid,
        "books {prefund}, the desk bought {bought} and paid {paid}"
    );
    say(&format!(
        "    the desk itself counts {} bought in {} exchanges and {} paid out: what the books say lies there",
        shown(bought, "HKD"),
        list("conversions").len(),
        shown(paid, "HKD")
    ))?;
    let wallet = world.wallet_records()?;
    let scanned = wallet.pointer("/payments/0/status").and_then(Value::as_str);
    ensure!(scanned == Some("SUCCESS"), "{wallet}");
    say(&format!(
        "    open after the refund at the original rate: fx:position {} and {}",
        shown(-posted(books, "fx:position", "EUR"), "EUR short"),
        shown(posted(books, "fx:position", "HKD"), "HKD long")
    ))
}
