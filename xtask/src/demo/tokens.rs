//! The story on a chain: a third shopper pays in a stablecoin, what came is swept to where payouts are made from, and the shop
//! pays a supplier with it and gives some back. The node is a real one.

use super::{post, say, timeline};
use anyhow::ensure;
use portolan_tests::World;
use portolan_tests::chain::{CHAIN, CODE, Chain, HOT};
use serde_json::json;
use std::time::{Duration, Instant};

/// One token, in its smallest units.
const TOKEN: u128 = 10_u128.pow(18);
/// The channel's settings: what came is swept as soon as it counts.
pub const SETTINGS: &str = "sweep_from = \"1000000000000000000\", sweep_after_s = 0,";
const PAYER: &str = "0x0000000000000000000000000000000000000B0b";
const SUPPLIER: &str = "0x00000000000000000000000000000000000A11cE";
/// How long a step may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Tells it.
pub fn story(world: &World, chain: &Chain) -> anyhow::Result<()> {
    let body = json!({
        "amount": (25 * TOKEN).to_string(), "currency": CODE, "payment_method_type": format!("token:{CODE}"), "confirm": true,
    });
    chain.give_coins(HOT, 1_000)?;
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

    await_blocks(chain, "the deposit is swept", || Ok(chain.balance(HOT)? == 25 * TOKEN))?;
    say("— what came is swept: coins for gas, then the tokens, to where payouts are made from —\n")?;

    let account = |address: &str| json!({ "network": format!("eip155:{CHAIN}"), "address": address });
    let body = json!({
        "amount": (10 * TOKEN).to_string(), "currency": CODE, "reference": "invoice 4712",
        "beneficiary": { "type": "company", "name": "Lamp Parts Ltd", "country": "HK", "account": account(SUPPLIER) },
    });
    let sent = post(world, "/v1/payouts", &body)?;
    let payout = format!("/v1/payouts/{}", sent.text_at("/id"));
    await_blocks(chain, "the supplier is paid", || {
        Ok(world.get(&payout)?.text_at("/status") == "paid")
    })?;
    say("— the shop pays a supplier 10 USDC of it, in one signed transaction —")?;
    timeline(world, sent.text_at("/id"))?;

    let payer = json!({ "type": "person", "name": "Pat Payer", "country": "DE", "account": account(PAYER) });
    let body = json!({ "payment": id, "amount": (5 * TOKEN).to_string(), "deliver": { "beneficiary": payer } });
    let refund = post(world, "/v1/refunds", &body)?;
    let shown = format!("/v1/refunds/{}", refund.text_at("/id"));
    await_blocks(chain, "the shopper has some back", || {
        Ok(world.get(&shown)?.text_at("/status") == "succeeded")
    })?;
    say("— and the shopper gets 5 USDC back, at an address of the shopper's own —")?;
    timeline(world, id)?;
    let held = (chain.balance(SUPPLIER)?, chain.balance(PAYER)?, chain.balance(HOT)?);
    ensure!(held == (10 * TOKEN, 5 * TOKEN, 10 * TOKEN), "the chain has {held:?}");
    say("    the chain itself says: the supplier has 10 USDC, the shopper 5, the shop 10\n")
}

/// Blocks come until it is so.
fn await_blocks(chain: &Chain, what: &str, is_so: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let started = Instant::now();
    while !is_so()? {
        ensure!(started.elapsed() < WITHIN, "it never came to pass that {what}");
        chain.mine(1)?;
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Ok(())
}
