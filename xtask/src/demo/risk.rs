//! The story's chapter on risk: stolen numbers tried from one address, a total for one payer, and who hears of it.

use super::say;
use anyhow::ensure;
use portolan_tests::{Reply, World, card_number};
use serde_json::{Value, json};

fn pay(world: &World, number: &str, amount: u64, payer: &Value) -> anyhow::Result<Reply> {
    let method = world.store_card(number)?;
    let body = json!({ "amount": amount, "currency": "GBP", "confirm": true, "payment_method": method, "payer": payer,
        "return_url": "https://shop.example/done" });
    world.post("/v1/payments", &body)
}

fn flag(reply: &Reply) -> String {
    let text = |name: &str| reply.text_at(&format!("/flags/0/{name}")).to_owned();
    format!("{:?}, {}: {}", text("rule"), text("effect"), text("why"))
}

/// Tells it.
pub fn story(world: &World) -> anyhow::Result<()> {
    say("\n— risk: limits by frequency, amount and place, of the merchant's own —")?;
    let set = json!({ "rules": [
        { "name": "card testing", "limit": { "per": "ip", "cards": 3, "within": "10m" } },
        { "name": "a lot from abroad", "when": "payer.country != '' && payer.ip_country != '' && payer.country != payer.ip_country",
          "limit": { "per": "payer", "total": { "GBP": 5000 }, "within": "24h", "then": "authenticate" } },
    ]});
    let put = world.post("/v1/routes/rules", &set)?;
    ensure!(put.status == 200, "{}", put.text);
    let from = json!({ "ip": "198.51.100.7" });
    for n in 20..23 {
        let paid = pay(world, &card_number(n), 100, &from)?;
        ensure!(paid.text_at("/status") == "succeeded", "{}", paid.text);
    }
    let fourth = pay(world, &card_number(23), 100, &from)?;
    ensure!(
        fourth.text_at("/last_error/code") == "refused_by_rule",
        "{}",
        fourth.text
    );
    let attempts = fourth.body.get("attempts").and_then(Value::as_array);
    ensure!(attempts.is_some_and(Vec::is_empty), "{}", fourth.text);
    say("    three cards from one address pay 1.00 GBP; the fourth is refused before anything is sent")?;
    say(&format!("      {}", flag(&fourth)))?;

    let away = json!({ "id": "ann", "country": "GB", "ip_country": "BR" });
    let first = pay(world, &card_number(24), 4_000, &away)?;
    ensure!(first.text_at("/status") == "succeeded", "{}", first.text);
    let second = pay(world, &card_number(24), 4_000, &away)?;
    ensure!(second.text_at("/status") == "requires_action", "{}", second.text);
    say("    40.00 GBP from abroad, and 40.00 more: the payer is authenticated first")?;
    say(&format!("      {}", flag(&second)))?;
    let events = world.get(&format!("/v1/events?payment={}&limit=100", second.text_at("/id")))?;
    let all = events.body.get("data").and_then(Value::as_array);
    let is_it = |it: &&Value| it.get("type").and_then(Value::as_str) == Some("payment.flagged");
    let told = all.into_iter().flatten().filter(is_it).count();
    ensure!(told == 1, "{}", events.text);
    say("    each is told at once: payment.flagged, in /v1/events and to webhooks")
}
