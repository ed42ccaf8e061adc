//! The story on a chain: a third shopper pays in a stablecoin, and the shop pays a supplier in it. The node is a real one.

use super::{post, say, timeline};
use anyhow::ensure;
use portolan_tests::World;
use portolan_tests::chain::{CHAIN, CODE, Chain, HOT};
use serde_json::json;
use std::time::{Duration, Instant};

/// One token, in its smallest units.
const TOKEN: u128 = 10_u128.pow(18);
const SUPPLIER: &str = "0x00000000000000000000000000000000000A11cE";
/// How long a step may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Tells it.
pub fn story(world: &World, chain: &Chain) -> anyhow::Result<()> {
    let body = json!({
        "amount": (25 * TOKEN).to_string(), "currency": CODE, "payment_method_type": format!("token:{CODE}"), "confirm": true,
    });
    let waiting = post(world, "/v1/payments", &body)?;
    let address = waiting.text_at("/next_action/value").to_owned();
    say(&format!(
        "— a third shopper sends 25 USDC to {address}, an address of this payment alone —"
    ))?;
    chain.pay(&address, 25 * TOKEN)?;
    chain.mine(2)?;
    let id = waiting.text_at("/id");
    world.await_payment(id, |reply| reply.text_at("/status") == "succeeded")?;
    timeline(world, id)?;

    chain.give_coins(HOT, 1_000)?;
    chain.pay(HOT, 10 * TOKEN)?;
    let body = json!({
        "amount": (10 * TOKEN).to_string(), "currency": CODE, "reference": "invoice 4712",
        "beneficiary": {
            "type": "company", "name": "Lamp Parts Ltd", "country": "HK",
            "account": { "network": format!("eip155:{CHAIN}"), "address": SUPPLIER },
        },
    });
    let sent = post(world, "/v1/payouts", &body)?;
    let started = Instant::now();
    while world
        .get(&format!("/v1/payouts/{}", sent.text_at("/id")))?
        .text_at("/status")
        != "paid"
    {
        ensure!(started.elapsed() < WITHIN, "never paid: {}", sent.text);
        chain.mine(1)?;
        std::thread::park_timeout(Duration::from_millis(50));
    }
    say("— and the shop pays a supplier 10 USDC, in one signed transaction —")?;
    timeline(world, sent.text_at("/id"))?;
    let held = chain.balance(SUPPLIER)?;
    ensure!(held == 10 * TOKEN, "the supplier has {held}");
    say("    the chain itself says: the supplier has 10 USDC\n")
}
