//! The story's end at the bank: the acquirer's report makes money available, its batch comes in, a supplier is paid by pain.001,
//! and the bank's statement closes the triangle of books, report and bank.

use super::borders::until;
use super::{post, posted, say, timeline};
use anyhow::{Context, ensure};
use portolan_tests::{Reply, World, call};
use serde_json::{Value, json};

/// What the shop pays its supplier, in cents.
const PAID: u64 = 5_000;

fn take(world: &World, channel: &str, report: &str) -> anyhow::Result<Reply> {
    let token = std::fs::read_to_string(world.folder.join("data/admin.token"))?;
    let bearer = format!("Bearer {}", token.trim());
    let path = format!("/admin/reports/{channel}");
    let reply = call(world.admin, "POST", &path, &[("authorization", &bearer)], Some(report))?;
    ensure!(reply.body.get("breaks") == Some(&json!([])), "{}", reply.text);
    Ok(reply)
}

fn matched(reply: &Reply) -> u64 {
    reply.body.get("matched").and_then(Value::as_u64).unwrap_or_default()
}

/// Tells it.
pub fn story(world: &World) -> anyhow::Result<()> {
    let report = call(world.acquirer_at, "GET", "/settlement.csv", &[], None)?.text;
    let settled = take(world, "acquirer-a", &report)?;
    let listed = world.admin_call("GET", "/admin/transit", None)?;
    let amount = listed.text_at("/batches/0/amount").to_owned();
    let batch = listed.text_at("/batches/0/batch").to_owned();
    say(&format!(
        "\n— the acquirer's report: {} lines fit the books; {amount} are on their way to the bank as {batch} —",
        matched(&settled)
    ))?;
    let digits = amount.split(' ').next().context("an amount")?;
    world.bank_receives(digits, &format!("ACQUIRER A {batch}"))?;
    let body = json!({
        "amount": PAID, "currency": "EUR", "reference": "invoice 4712",
        "beneficiary": {
            "type": "company", "name": "Lampes & Fils SARL", "country": "FR",
            "account": { "iban": "FR1420041010050500013M02606" },
        },
    });
    let paid = post(world, "/v1/payouts", &body)?;
    until(world, paid.text_at("/id"), "paid")?;
    say("— the shop pays a supplier in France 50.00 EUR out of it, as pain.001 —")?;
    timeline(world, paid.text_at("/id"))?;
    let statement = take(world, "bank-a", &world.bank_statement()?)?;
    ensure!(matched(&statement) == 2, "{}", statement.text);
    let books = world.admin_call("GET", "/admin/ledger/check", None)?.body;
    let transit = posted(&books, "channel:acquirer-a:in_transit", "EUR");
    ensure!(transit == 0, "{transit} are still on their way");
    say("    the bank's camt.053 shows both: nothing is on its way any more; books, report and bank agree")
}
