//! The story's chapter on routes: a decline that another acquirer takes, why, a merchant's rule, an acquirer that is gone, and a
//! card that nobody may try again.

use super::say;
use anyhow::ensure;
use portolan_tests::{Reply, World, card_number};
use serde_json::{Value, json};

const CARD: &str = "4242424242424242";

/// The acquirers of this chapter take pounds; the second one takes nothing else.
pub const SECOND: &str = "currencies = [\"GBP\"]\ncost = [{ fixed = 20, bps = 120 }]";

fn pay(world: &World, number: &str, amount: u64) -> anyhow::Result<Reply> {
    let method = world.store_card(number)?;
    let body = json!({ "amount": amount, "currency": "GBP", "confirm": true, "payment_method": method });
    world.post("/v1/payments", &body)
}

/// `acquirer-a declined, acquirer-b captured`.
fn attempts(reply: &Reply) -> String {
    let all = reply.body.get("attempts").and_then(Value::as_array);
    let text = |it: &Value, name: &str| it.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let shown = all
        .into_iter()
        .flatten()
        .map(|it| format!("{} {}", text(it, "channel"), text(it, "status")));
    shown.collect::<Vec<_>>().join(", ")
}

/// Why the channels stand as they stand.
fn reasons(world: &World, payment: &Reply) -> anyhow::Result<()> {
    let told = world.get(&format!("/v1/payments/{}?expand[]=routing", payment.text_at("/id")))?;
    for list in ["plan", "excluded"] {
        let rows = told
            .body
            .pointer(&format!("/routing/0/{list}"))
            .and_then(Value::as_array);
        for row in rows.into_iter().flatten() {
            let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
            // Exchanges, banks and wallets take no cards; that is no news.
            if text("stage") == "eligibility" {
                continue;
            }
            say(&format!("    {list:<8} {:<10} {}", text("channel"), text("why")))?;
        }
    }
    Ok(())
}

/// Tells it.
pub fn story(world: &mut World) -> anyhow::Result<()> {
    say("\n— routes: two acquirers take pounds, and the first one's banks say no (05) —")?;
    world.issuers_say("acquirer-a", Some("05"))?;
    let paid = pay(world, CARD, 2_000)?;
    ensure!(
        attempts(&paid) == "acquirer-a declined, acquirer-b captured",
        "{}",
        paid.text
    );
    say(&format!("    20.00 GBP: {}", attempts(&paid)))?;
    reasons(world, &paid)?;

    world.issuers_say("acquirer-a", Some("43"))?;
    let stolen = card_number(1);
    let refused = pay(world, &stolen, 2_000)?;
    let again = pay(world, &stolen, 2_000)?;
    ensure!(again.text_at("/last_error/code") == "card_blocked", "{}", again.text);
    say(&format!(
        "    a stolen card (43): {}; the next payment with it: {}, nobody is asked",
        attempts(&refused),
        again.text_at("/last_error/code")
    ))?;
    world.issuers_say("acquirer-a", None)?;

    let set = json!({
        "rules": [{ "name": "pounds to b", "when": "payment.currency == 'GBP' && payment.amount >= 10000", "prefer": ["acquirer-b"] }],
        "tests": [{ "name": "100.00", "payment": { "amount": 10000, "currency": "GBP" }, "applies": ["pounds to b"] }],
    });
    let put = world.post("/v1/routes/rules", &set)?;
    ensure!(put.status == 200, "{}", put.text);
    let paid = pay(world, CARD, 10_000)?;
    ensure!(attempts(&paid) == "acquirer-b captured", "{}", paid.text);
    say("— a rule of the merchant's, with its test: pounds from 100.00 on to acquirer-b —")?;
    reasons(world, &paid)?;

    say("— acquirer-b is gone —")?;
    world.switch_acquirer("acquirer-b", false)?;
    let mut payments = 0;
    let left_out = loop {
        let paid = pay(world, CARD, 10_000)?;
        ensure!(paid.text_at("/status") == "succeeded", "{}", paid.text);
        payments += 1;
        ensure!(payments < 20, "acquirer-b is asked again and again");
        if attempts(&paid) == "acquirer-a captured" {
            break paid;
        }
    };
    say(&format!(
        "    {payments} payments, all of them succeeded; then nobody waits for it any more:"
    ))?;
    reasons(world, &left_out)?;
    world.switch_acquirer("acquirer-b", true)
}
