//! A stablecoin on a real chain: deposits with confirmations, a reorg, too little, too much, late; payouts, fifty at once,
//! gas that is too dear.

use crate::approvals;
use crate::cross_border::{account, balance, with_desks};
use crate::limits::{back_up, lose_the_disk};
use portolan_tests::chain::{CHAIN, CODE, Chain, HOT};
use portolan_tests::{Options, Reply, World};
use serde_json::{Value, json};

/// One token, in its smallest units.
pub(crate) const TOKEN: u128 = 10_u128.pow(18);
/// A router with a channel for the chain's token.
pub(crate) fn with_chain(chain: &Chain, policy: &str, more: &str) -> World {
    let options = Options {
        more: chain.channel(3, more),
        policy: format!("check_first_ms = 200\ncheck_max_ms = 1000\n{policy}"),
        timeout_ms: 3_000,
        ..with_desks(&[])
    };
    World::start(options).unwrap()
}

pub(crate) fn pay(world: &World, units: u128) -> Reply {
    let body = json!({
        "amount": units.to_string(), "currency": CODE, "payment_method_type": format!("token:{CODE}"), "confirm": true,
    });
    let reply = world.post("/v1/payments", &body).unwrap();
    assert_eq!(reply.text_at("/next_action/type"), "transfer_to", "{}", reply.text);
    reply
}

pub(crate) fn until(world: &World, payment: &Reply, status: &str) -> Reply {
    let id = payment.text_at("/id").to_owned();
    world
        .await_payment(&id, |reply| reply.text_at("/status") == status)
        .unwrap()
}

pub(crate) fn available(world: &World) -> u128 {
    let reply = world.get("/v1/balances").unwrap();
    let all = reply.body["balances"].as_array().cloned().unwrap();
    let found = all.into_iter().find(|it| it["currency"] == CODE).unwrap_or_default();
    let shown = &found["available"];
    let number = shown.as_str().map(str::to_owned).unwrap_or_else(|| shown.to_string());
    number.parse().unwrap_or(0)
}

#[test]
fn a_deposit_counts_once_it_is_deep_enough() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "", "");
    let waiting = pay(&world, 25 * TOKEN);
    let address = waiting.text_at("/next_action/value").to_owned();
    assert_eq!(waiting.text_at("/next_action/amount"), (25 * TOKEN).to_string());
    let other = pay(&world, 25 * TOKEN);
    assert_ne!(other.text_at("/next_action/value"), address, "an address of its own");
    chain.pay(&address, 25 * TOKEN).unwrap();
    chain.mine(1).unwrap();
    // Two deep of three: it is seen and does not count.
    let seen = world.get(&format!("/v1/payments/{}", waiting.text_at("/id"))).unwrap();
    assert_eq!(seen.text_at("/status"), "requires_action", "{}", seen.text);
    chain.mine(1).unwrap();
    let paid = until(&world, &waiting, "succeeded");
    assert_eq!(paid.text_at("/amount_captured"), (25 * TOKEN).to_string());
    assert_eq!(available(&world), 25 * TOKEN);
    world.assert_books().unwrap();
}

const PAYER: &str = "0x0000000000000000000000000000000000000B0b";

fn payer(network: &str, address: &str) -> Value {
    json!({ "beneficiary": {
        "type": "person", "name": "Pat Payer", "country": "DE", "account": { "network": network, "address": address },
    } })
}

fn give_back(world: &World, payment: &str, units: u128) -> Reply {
    let deliver = payer(&format!("eip155:{CHAIN}"), PAYER);
    let body = json!({ "payment": payment, "amount": units.to_string(), "deliver": deliver });
    world.post("/v1/refunds", &body).unwrap()
}

fn await_refund(world: &World, chain: &Chain, id: &str, status: &str) -> Reply {
    let started = std::time::Instant::now();
    loop {
        let reply = world.get(&format!("/v1/refunds/{id}")).unwrap();
        if reply.text_at("/status") == status {
            return reply;
        }
        assert!(started.elapsed().as_secs() < 60, "never {status}: {}", reply.text);
        chain.mine(1).unwrap();
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
}

/// A shop that got tokens, some of which lie at the payout address; the payment.
fn with_paid(chain: &Chain, policy: &str) -> (World, String) {
    let world = funded(chain, with_chain(chain, policy, ""), 10);
    let paid = world.get("/v1/payments").unwrap().text_at("/data/0/id").to_owned();
    (world, paid)
}

/// A chain gives nothing back by itself: the payer says where to.
#[test]
fn a_refund_of_tokens_is_paid_to_whom_the_payer_names() {
    let chain = Chain::start().unwrap();
    let (world, paid) = with_paid(&chain, "");
    let sent = give_back(&world, &paid, 4 * TOKEN);
    assert_eq!(
        (sent.status, sent.text_at("/status")),
        (200, "pending"),
        "{}",
        sent.text
    );
    assert_eq!(available(&world), 6 * TOKEN, "reserved as soon as it is asked for");
    let done = await_refund(&world, &chain, sent.text_at("/id"), "succeeded");
    assert_eq!(done.text_at("/account"), "eip155:31337 …0B0b", "{}", done.text);
    assert_eq!(done.text_at("/reference").len(), 66, "the transaction: {}", done.text);
    assert_eq!(chain.balance(PAYER).unwrap(), 4 * TOKEN);
    assert_eq!(
        (available(&world), prefund(&world)),
        (6 * TOKEN, 6 * i128::try_from(TOKEN).unwrap())
    );
    let more = give_back(&world, &paid, 7 * TOKEN);
    assert_eq!(more.status, 422, "{}", more.text);
    let rest = json!({ "payment": paid, "deliver": payer(&format!("eip155:{CHAIN}"), PAYER) });
    // Where people approve what goes out, they approve what is left, and no more is given back.
    approvals::set(&world, 1, json!({}));
    let (mut mei, _) = approvals::approver(&world, "Mei Wong", false);
    let give = |body: &Value| world.post_with_key("/v1/refunds", body, "the-rest").unwrap();
    let asked = give(&rest);
    assert_eq!(asked.text_at("/code"), "approval_required", "{}", asked.text);
    let text = asked.text_at("/approval/text");
    assert!(text.contains("\nPays: 6.") && text.contains(PAYER), "{text}");
    let sent = give(&approvals::approved(
        &rest,
        &asked,
        &[approvals::approve(&mut mei, &asked)],
    ));
    await_refund(&world, &chain, sent.text_at("/id"), "succeeded");
    // Nothing is left now: who asks again is told what became of it.
    let again = give(&rest);
    assert_eq!(
        (again.status, again.text_at("/id")),
        (200, sent.text_at("/id")),
        "{}",
        again.text
    );
    let shown = world.get(&format!("/v1/payments/{paid}")).unwrap();
    assert_eq!(
        shown.text_at("/amount_refunded"),
        (10 * TOKEN).to_string(),
        "{}",
        shown.text
    );
    assert_eq!(chain.balance(PAYER).unwrap(), 10 * TOKEN);
    assert_eq!((available(&world), prefund(&world)), (0, 0));
    world.assert_books().unwrap();
}

#[test]
fn a_refund_of_tokens_says_to_whom_and_a_refund_of_a_card_does_not() {
    let chain = Chain::start().unwrap();
    let (world, paid) = with_paid(&chain, "");
    let first = |body: &Value| {
        let reply = world.post("/v1/refunds", body).unwrap();
        let (pointer, code) = (reply.text_at("/errors/0/pointer"), reply.text_at("/errors/0/code"));
        (reply.status, pointer.to_owned(), code.to_owned())
    };
    let told = |pointer: &str, code: &str| (422, pointer.to_owned(), code.to_owned());
    let here = format!("eip155:{CHAIN}");
    assert_eq!(first(&json!({ "payment": paid })), told("/deliver", "missing"));
    let elsewhere = json!({ "payment": paid, "deliver": payer("eip155:1", PAYER) });
    assert_eq!(
        first(&elsewhere),
        told("/deliver/beneficiary/account/network", "other_chain")
    );
    let short = json!({ "payment": paid, "deliver": payer(&here, "0x0B0b") });
    assert_eq!(
        first(&short),
        told("/deliver/beneficiary/account/address", "invalid_address")
    );
    let mut nobody = json!({ "payment": paid, "deliver": payer(&here, PAYER) });
    nobody["deliver"]["beneficiary"]["name"] = json!("");
    assert_eq!(first(&nobody), told("/deliver/beneficiary/name", "missing"));
    let nothing = json!({ "payment": paid, "amount": 0, "deliver": payer(&here, PAYER) });
    assert_eq!(first(&nothing), told("/amount", "out_of_range"));
    let unpaid = pay(&world, TOKEN);
    let too_soon = json!({ "payment": unpaid.text_at("/id"), "deliver": payer(&here, PAYER) });
    assert_eq!(world.post("/v1/refunds", &too_soon).unwrap().status, 409);
    let other = "pay_0192e4a07c1b70008000000000000000";
    let unknown = json!({ "payment": other, "deliver": payer(&here, PAYER) });
    assert_eq!(world.post("/v1/refunds", &unknown).unwrap().status, 404);
    let card = world.pay("4242424242424242", 1_000).unwrap();
    let to_another = json!({ "payment": card.text_at("/id"), "deliver": payer(&here, PAYER) });
    let refused = first(&to_another);
    assert_eq!(
        (refused.0, refused.1.starts_with("/deliver")),
        (422, true),
        "{refused:?}"
    );
    assert_eq!(chain.balance(PAYER).unwrap(), 0);
    assert_eq!(available(&world), 10 * TOKEN);
    world.assert_books().unwrap();
}

/// What lies at the addresses of deposits pays nobody: the refund fails, and the merchant has the money.
#[test]
fn a_refund_that_the_payout_address_cannot_pay_fails_and_moves_nothing() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "", "");
    let waiting = pay(&world, 5 * TOKEN);
    chain.pay(waiting.text_at("/next_action/value"), 5 * TOKEN).unwrap();
    chain.mine(3).unwrap();
    until(&world, &waiting, "succeeded");
    chain.give_coins(HOT, 1_000).unwrap();
    let failed = give_back(&world, waiting.text_at("/id"), TOKEN);
    assert_eq!(failed.text_at("/status"), "failed", "{}", failed.text);
    assert_eq!(failed.text_at("/failure_reason"), "insufficient-prefund");
    assert_eq!(available(&world), 5 * TOKEN);
    world.assert_books().unwrap();
}

/// The same number for a dearer one, as for a payout: one of them is mined.
#[test]
fn a_refund_that_waits_for_too_low_a_price_is_made_dearer_and_paid_once() {
    let chain = Chain::start().unwrap();
    let (world, paid) = with_paid(&chain, "");
    chain.rpc("evm_setAutomine", json!([false])).unwrap();
    let sent = give_back(&world, &paid, 4 * TOKEN);
    assert_eq!(sent.text_at("/status"), "pending", "{}", sent.text);
    fees(&chain, "0x174876e800");
    await_refund(&world, &chain, sent.text_at("/id"), "succeeded");
    assert_eq!(transactions(&world, &paid).len(), 2);
    assert_eq!(chain.balance(PAYER).unwrap(), 4 * TOKEN);
    assert_eq!(available(&world), 6 * TOKEN);
    world.assert_books().unwrap();
}

/// A backup knows the first price, and the dearer one was mined: that its number is taken proves nothing. A human decides.
#[test]
fn a_restored_backup_does_not_give_back_twice_what_was_made_dearer_since() {
    let chain = Chain::start().unwrap();
    let (mut world, paid) = with_paid(&chain, "checks_before_human = 3");
    chain.rpc("evm_setAutomine", json!([false])).unwrap();
    let sent = give_back(&world, &paid, 4 * TOKEN);
    assert_eq!(sent.text_at("/status"), "pending", "{}", sent.text);
    let copy = back_up(&world);
    fees(&chain, "0x174876e800");
    await_refund(&world, &chain, sent.text_at("/id"), "succeeded");
    assert_eq!(transactions(&world, &paid).len(), 2);
    lose_the_disk(&mut world, &copy);
    chain.mine(3).unwrap();
    let for_humans = |world: &World| {
        let tasks = world.admin_call("GET", "/admin/tasks", None).unwrap();
        (tasks.text_at("/tasks/0/owner") == "operator").then(|| tasks.text_at("/tasks/0/id").to_owned())
    };
    portolan_tests::await_until(|| for_humans(&world).is_some()).unwrap();
    let shown = world.get(&format!("/v1/refunds/{}", sent.text_at("/id"))).unwrap();
    assert_eq!(shown.text_at("/status"), "pending", "{}", shown.text);
    assert_eq!(
        (available(&world), chain.balance(PAYER).unwrap()),
        (6 * TOKEN, 4 * TOKEN)
    );
    let path = format!("/admin/tasks/{}/resolve", for_humans(&world).unwrap());
    let word = json!({ "resolution": "succeeded", "by": "ann", "reason": "the chain shows it", "reference": "0x22" });
    assert_eq!(world.admin_call("POST", &path, Some(&word)).unwrap().status, 200);
    let shown = world.get(&format!("/v1/refunds/{}", sent.text_at("/id"))).unwrap();
    assert_eq!(shown.text_at("/status"), "succeeded", "{}", shown.text);
    assert_eq!(available(&world), 6 * TOKEN);
    world.assert_books().unwrap();
}

/// Killed before and after the request left, and before its outcome was written: paid once each time.
#[test]
fn a_kill_in_the_middle_of_a_refund_of_tokens_pays_once() {
    let chain = Chain::start().unwrap();
    let (mut world, paid) = with_paid(&chain, "");
    for (n, step) in ["after_intent:1", "after_answer:1", "after_outcome:1"]
        .into_iter()
        .enumerate()
    {
        world.stop_host().unwrap();
        world.set_env(vec![("PORTOLAN_STOP_AT".into(), step.into())]);
        world.start_host().unwrap();
        let deliver = payer(&format!("eip155:{CHAIN}"), PAYER);
        let body = json!({ "payment": paid, "amount": TOKEN.to_string(), "deliver": deliver });
        let key = world.fresh_key();
        let cut = world.post_with_key("/v1/refunds", &body, &key);
        assert!(cut.is_err(), "the router was killed: {cut:?}");
        world.await_host_end().unwrap();
        world.set_env(vec![]);
        world.start_host().unwrap();
        let again = world.post_with_key("/v1/refunds", &body, &key).unwrap();
        await_refund(&world, &chain, again.text_at("/id"), "succeeded");
        let so_far = u128::try_from(n + 1).unwrap();
        assert_eq!(chain.balance(PAYER).unwrap(), so_far * TOKEN, "{step}");
        assert_eq!(available(&world), (10 - so_far) * TOKEN);
        world.assert_books().unwrap();
    }
}

#[test]
fn a_reorganized_chain_takes_back_what_did_not_count_yet() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "", "");
    let waiting = pay(&world, 5 * TOKEN);
    let address = waiting.text_at("/next_action/value").to_owned();
    chain.pay(&address, 5 * TOKEN).unwrap();
    chain.mine(1).unwrap();
    chain.reorganize(2).unwrap();
    assert_eq!(chain.balance(&address).unwrap(), 0, "it never happened");
    chain.mine(6).unwrap();
    let again = pay(&world, TOKEN);
    chain.pay(again.text_at("/next_action/value"), TOKEN).unwrap();
    chain.mine(3).unwrap();
    until(&world, &again, "succeeded");
    let still = world.get(&format!("/v1/payments/{}", waiting.text_at("/id"))).unwrap();
    assert_eq!(still.text_at("/status"), "requires_action", "{}", still.text);
    assert_eq!(available(&world), TOKEN);
    world.assert_books().unwrap();
}

/// A deposit that counts, and then a chain that goes further back than its confirmations; the payer's transaction.
fn taken_back(watch_s: u64) -> (Chain, World, Reply, String) {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "", &format!("watch_s = {watch_s},"));
    let waiting = pay(&world, 5 * TOKEN);
    let address = waiting.text_at("/next_action/value").to_owned();
    let hash = chain.pay(&address, 5 * TOKEN).unwrap();
    let raw = chain.rpc("eth_getRawTransactionByHash", json!([hash])).unwrap();
    chain.mine(3).unwrap();
    until(&world, &waiting, "succeeded");
    assert_eq!(available(&world), 5 * TOKEN);
    chain.reorganize(4).unwrap();
    assert_eq!(chain.balance(&address).unwrap(), 0, "it never happened");
    (chain, world, waiting, raw.as_str().unwrap().to_owned())
}

/// What the books say lies at the channel.
fn prefund(world: &World) -> i128 {
    let books = world.admin_call("GET", "/admin/ledger/check", None).unwrap();
    let rows = books.body["balances"].as_array().cloned().unwrap();
    let row = rows
        .iter()
        .find(|it| it["account"].as_str().unwrap().contains("prefund"))
        .unwrap();
    let number = |name: &str| row[name].as_str().unwrap().parse::<i128>().unwrap();
    number("debit") - number("credit")
}

fn await_dispute(world: &World, status: &str) -> Value {
    let found = |reply: &Reply| {
        reply.body["data"]
            .as_array()?
            .iter()
            .find(|it| it["status"] == status)
            .cloned()
    };
    let listed = world.await_at("/v1/disputes", |reply| found(reply).is_some());
    found(&listed.unwrap()).unwrap()
}

#[test]
fn what_a_chain_takes_back_after_it_counted_is_held_until_it_comes_again() {
    let (chain, world, waiting, raw) = taken_back(3_600);
    let dispute = await_dispute(&world, "under_review");
    assert_eq!(dispute["reason"], "reorganization", "{dispute}");
    assert_eq!(available(&world), 0, "what is not there is not paid out");
    world.assert_books().unwrap();
    // The same transaction comes with a later block, and is not counted a second time.
    chain.rpc("eth_sendRawTransaction", json!([raw])).unwrap();
    chain.mine(3).unwrap();
    await_dispute(&world, "won");
    assert_eq!(available(&world), 5 * TOKEN);
    let shown = world.get(&format!("/v1/payments/{}", waiting.text_at("/id"))).unwrap();
    assert_eq!(
        shown.text_at("/amount_captured"),
        (5 * TOKEN).to_string(),
        "{}",
        shown.text
    );
    assert!(tasks(&world).is_empty(), "{:?}", tasks(&world));
    world.assert_books().unwrap();
}

#[test]
fn what_a_chain_takes_back_for_good_is_lost() {
    let (chain, world, _, raw) = taken_back(4);
    let dispute = await_dispute(&world, "lost");
    assert_eq!(dispute["funds"], "taken", "{dispute}");
    assert_eq!(available(&world), 0);
    assert_eq!(prefund(&world), 0, "nothing lies on the chain");
    // Even then: what comes is the payment's.
    chain.rpc("eth_sendRawTransaction", json!([raw])).unwrap();
    chain.mine(4).unwrap();
    await_dispute(&world, "won");
    assert_eq!(available(&world), 5 * TOKEN);
    world.assert_books().unwrap();
}

fn tasks(world: &World) -> Vec<(String, String)> {
    let reply = world.admin_call("GET", "/admin/tasks", None).unwrap();
    let all = reply.body["tasks"].as_array().cloned().unwrap();
    let text = |task: &Value, name: &str| task[name].as_str().unwrap().to_owned();
    all.iter()
        .map(|task| (text(task, "kind"), text(task, "exposure")))
        .collect()
}

#[test]
fn too_much_too_little_and_too_late_belong_to_somebody() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "action_ms = 4000", "");
    let (more, less, late) = (pay(&world, 3 * TOKEN), pay(&world, 3 * TOKEN), pay(&world, 3 * TOKEN));
    chain.pay(more.text_at("/next_action/value"), 4 * TOKEN).unwrap();
    chain.pay(less.text_at("/next_action/value"), TOKEN).unwrap();
    chain.mine(3).unwrap();
    let paid = until(&world, &more, "succeeded");
    assert_eq!(paid.text_at("/amount_captured"), (3 * TOKEN).to_string());
    until(&world, &less, "canceled");
    until(&world, &late, "canceled");
    chain.pay(late.text_at("/next_action/value"), 3 * TOKEN).unwrap();
    chain.mine(3).unwrap();
    let started = std::time::Instant::now();
    while tasks(&world).len() < 3 {
        assert!(started.elapsed().as_secs() < 60, "{:?}", tasks(&world));
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    let mut found = tasks(&world);
    found.sort();
    let shown = |units: u128| format!("{units}.000000000000000000 {CODE}");
    let expected = [("excess", 1), ("late_success", 1), ("late_success", 3)];
    let expected: Vec<_> = expected
        .iter()
        .map(|(kind, units)| ((*kind).to_owned(), shown(*units)))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(available(&world), 3 * TOKEN);
    world.assert_books().unwrap();
}

fn await_tasks(world: &World, expected: &[(&str, u128)]) {
    let shown = |(kind, units): &(&str, u128)| ((*kind).to_owned(), format!("{units}.000000000000000000 {CODE}"));
    let expected: Vec<_> = expected.iter().map(shown).collect();
    let started = std::time::Instant::now();
    loop {
        let mut found = tasks(world);
        found.sort();
        if found == expected {
            return;
        }
        assert!(started.elapsed().as_secs() < 60, "{found:?}, not {expected:?}");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}

/// Everybody can pay to an address at any time: each deposit is booked once, and once it went back nothing is left.
#[test]
fn what_comes_after_the_money_is_booked_too_and_given_back_by_a_human() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "action_ms = 4000", "");
    let (paid, late) = (pay(&world, 3 * TOKEN), pay(&world, 3 * TOKEN));
    let come = |payment: &Reply, tokens: u128| {
        chain
            .pay(payment.text_at("/next_action/value"), tokens * TOKEN)
            .unwrap();
        chain.mine(3).unwrap();
    };
    come(&paid, 3);
    until(&world, &paid, "succeeded");
    until(&world, &late, "canceled");
    come(&paid, 2);
    await_tasks(&world, &[("excess", 2)]);
    come(&paid, 1);
    await_tasks(&world, &[("excess", 3)]);
    come(&late, 3);
    await_tasks(&world, &[("excess", 3), ("late_success", 3)]);
    come(&late, 1);
    await_tasks(&world, &[("excess", 3), ("late_success", 4)]);
    let suspended = || account(&world, "suspense:unmatched", CODE);
    assert_eq!(i128::from(suspended()), 7 * i128::try_from(TOKEN).unwrap());
    world.assert_books().unwrap();
    let open = world.admin_call("GET", "/admin/tasks", None).unwrap();
    for task in open.body["tasks"].as_array().unwrap() {
        let path = format!("/admin/tasks/{}/resolve", task["id"].as_str().unwrap());
        let word = json!({ "resolution": "refunded_outside", "by": "ann", "reason": "sent back by hand" });
        let resolved = world.admin_call("POST", &path, Some(&word)).unwrap();
        assert_eq!(resolved.status, 200, "{}", resolved.text);
    }
    assert_eq!((suspended(), tasks(&world)), (0, vec![]));
    assert_eq!(available(&world), 3 * TOKEN);
    world.assert_books().unwrap();
}

/// A shop with tokens available, and a payout address with tokens and coins.
fn with_money(chain: &Chain, more: &str, tokens: u128) -> World {
    funded(chain, with_chain(chain, "", more), tokens)
}

fn funded(chain: &Chain, world: World, tokens: u128) -> World {
    let waiting = pay(&world, tokens * TOKEN);
    chain
        .pay(waiting.text_at("/next_action/value"), tokens * TOKEN)
        .unwrap();
    chain.mine(3).unwrap();
    until(&world, &waiting, "succeeded");
    chain.give_coins(HOT, 1_000).unwrap();
    chain.pay(HOT, tokens * TOKEN).unwrap();
    world
}

pub(crate) fn to(address: &str, units: u128) -> Value {
    json!({
        "amount": units.to_string(), "currency": CODE, "reference": "invoice 7",
        "beneficiary": {
            "type": "company", "name": "Supplier", "country": "HK",
            "account": { "network": format!("eip155:{CHAIN}"), "address": address },
        },
    })
}

pub(crate) fn await_payout(world: &World, chain: &Chain, id: &str, status: &str) -> Reply {
    let started = std::time::Instant::now();
    loop {
        let reply = world.get(&format!("/v1/payouts/{id}")).unwrap();
        if reply.text_at("/status") == status {
            return reply;
        }
        assert!(started.elapsed().as_secs() < 60, "never {status}: {}", reply.text);
        chain.mine(1).unwrap();
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
}

pub(crate) const SUPPLIER: &str = "0x00000000000000000000000000000000000A11cE";

#[test]
fn a_supplier_is_paid_in_tokens() {
    let chain = Chain::start().unwrap();
    let world = with_money(&chain, "", 10);
    let sent = world.post("/v1/payouts", &to(SUPPLIER, 4 * TOKEN)).unwrap();
    assert_eq!(sent.text_at("/status"), "processing", "{}", sent.text);
    let paid = await_payout(&world, &chain, sent.text_at("/id"), "paid");
    assert_eq!(paid.text_at("/beneficiary/rail"), "token:USDC");
    assert_eq!(chain.balance(SUPPLIER).unwrap(), 4 * TOKEN);
    assert_eq!(available(&world), 6 * TOKEN);
    let elsewhere = json!({ "network": "eip155:1", "address": SUPPLIER });
    let mut body = to(SUPPLIER, TOKEN);
    body["beneficiary"]["account"] = elsewhere;
    let refused = world.post("/v1/payouts", &body).unwrap();
    assert_eq!(refused.text_at("/errors/0/code"), "other_chain", "{}", refused.text);
    world.assert_books().unwrap();
}

#[test]
fn fifty_payouts_at_once_take_fifty_numbers() {
    let chain = Chain::start().unwrap();
    let world = with_money(&chain, "", 60);
    let sent: Vec<Reply> = std::thread::scope(|scope| {
        let call = || world.post("/v1/payouts", &to(SUPPLIER, TOKEN)).unwrap();
        let calls: Vec<_> = (0..50).map(|_| scope.spawn(call)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for reply in &sent {
        assert_eq!(reply.status, 200, "{}", reply.text);
        await_payout(&world, &chain, reply.text_at("/id"), "paid");
    }
    assert_eq!(chain.balance(SUPPLIER).unwrap(), 50 * TOKEN);
    assert_eq!(available(&world), 10 * TOKEN);
    world.assert_books().unwrap();
}

#[test]
fn gas_that_is_too_dear_pays_nothing_and_gives_the_money_back() {
    let chain = Chain::start().unwrap();
    let world = with_money(&chain, "max_fee_gwei = 50", 10);
    chain
        .rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x174876e800"]))
        .unwrap();
    chain.mine(1).unwrap();
    let sent = world.post("/v1/payouts", &to(SUPPLIER, TOKEN)).unwrap();
    assert_eq!(sent.text_at("/status"), "failed", "{}", sent.text);
    assert_eq!(sent.text_at("/last_error/decline_reason"), "gas-too-dear");
    assert_eq!(available(&world), 10 * TOKEN);
    assert_eq!(balance(&world, CODE).2, 0);
    world.assert_books().unwrap();
}

/// A payout that no block takes any more: its price is of before the fees rose a hundredfold.
fn stuck_payout(chain: &Chain, world: &World, units: u128) -> Reply {
    chain.rpc("evm_setAutomine", json!([false])).unwrap();
    let sent = world.post("/v1/payouts", &to(SUPPLIER, units)).unwrap();
    assert_eq!(sent.text_at("/status"), "processing", "{}", sent.text);
    fees(chain, "0x174876e800");
    sent
}

/// What a block takes from now on, in wei.
pub(crate) fn fees(chain: &Chain, base: &str) {
    chain.rpc("anvil_setNextBlockBaseFeePerGas", json!([base])).unwrap();
    chain.mine(1).unwrap();
}

/// What the router sent for a payout: the signed transactions, in order.
fn transactions(world: &World, id: &str) -> Vec<String> {
    let shown = world.admin_call("GET", &format!("/admin/payments/{id}"), None).unwrap();
    let operations = shown.body["operations"].as_array().unwrap().iter();
    let exchanges = operations.flat_map(|it| it["exchanges"].as_array().unwrap());
    let writes = exchanges.filter(|it| it["effect"] == "write");
    let bodies = writes.map(|it| serde_json::from_str::<Value>(it["body"].as_str().unwrap()).unwrap());
    bodies.map(|it| it["params"][0].as_str().unwrap().to_owned()).collect()
}

#[test]
fn fees_that_rise_make_a_payout_dearer_and_pay_it_once() {
    let chain = Chain::start().unwrap();
    let world = with_money(&chain, "", 10);
    let sent = stuck_payout(&chain, &world, 4 * TOKEN);
    let id = sent.text_at("/id").to_owned();
    await_payout(&world, &chain, &id, "paid");
    assert_eq!(chain.balance(SUPPLIER).unwrap(), 4 * TOKEN);
    assert_eq!(available(&world), 6 * TOKEN);
    let left = transactions(&world, &id);
    assert_eq!(left.len(), 2, "{left:?}");
    // The next one takes the next number.
    chain.rpc("evm_setAutomine", json!([true])).unwrap();
    let next = world.post("/v1/payouts", &to(SUPPLIER, TOKEN)).unwrap();
    await_payout(&world, &chain, next.text_at("/id"), "paid");
    assert_eq!(chain.balance(SUPPLIER).unwrap(), 5 * TOKEN);
    world.assert_books().unwrap();
}

/// The channel pays no more: a human hears of it, and it is paid once the fees allow.
#[test]
fn a_payout_that_nothing_can_replace_is_told_to_a_human() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "checks_before_human = 3", "max_fee_gwei = 50");
    let world = funded(&chain, world, 10);
    let sent = stuck_payout(&chain, &world, TOKEN);
    let started = std::time::Instant::now();
    while world
        .admin_call("GET", "/admin/tasks", None)
        .unwrap()
        .text_at("/tasks/0/owner")
        != "operator"
    {
        assert!(started.elapsed().as_secs() < 60, "nobody was asked");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    await_tasks(&world, &[("unknown_outcome", 1)]);
    let id = sent.text_at("/id").to_owned();
    assert_eq!(transactions(&world, &id).len(), 1, "nothing else left");
    let shown = world.get(&format!("/v1/payouts/{id}")).unwrap();
    assert_eq!(shown.text_at("/status"), "processing", "{}", shown.text);
    fees(&chain, "0x3b9aca00");
    await_payout(&world, &chain, &id, "paid");
    await_tasks(&world, &[]);
    assert_eq!(chain.balance(SUPPLIER).unwrap(), TOKEN);
    world.assert_books().unwrap();
}

/// The dearer one gets lost and somebody's node still had the first: that one concludes the payout.
#[test]
fn a_transaction_that_was_replaced_and_is_mined_late_is_the_payout() {
    let chain = Chain::start().unwrap();
    let world = with_money(&chain, "", 10);
    let sent = stuck_payout(&chain, &world, 4 * TOKEN);
    let id = sent.text_at("/id").to_owned();
    let started = std::time::Instant::now();
    while transactions(&world, &id).len() < 2 {
        assert!(started.elapsed().as_secs() < 60, "never replaced");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    let first = transactions(&world, &id).remove(0);
    chain.rpc("anvil_dropAllTransactions", json!([])).unwrap();
    fees(&chain, "0x3b9aca00");
    let hash = chain.rpc("eth_sendRawTransaction", json!([first])).unwrap();
    chain.mine(1).unwrap();
    let receipt = chain.rpc("eth_getTransactionReceipt", json!([hash])).unwrap();
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    await_payout(&world, &chain, &id, "paid");
    assert_eq!(chain.balance(SUPPLIER).unwrap(), 4 * TOKEN);
    assert_eq!(available(&world), 6 * TOKEN);
    world.assert_books().unwrap();
}

/// Killed between the intent of the dearer one and its request.
#[test]
fn a_kill_before_the_dearer_one_leaves_pays_once() {
    let chain = Chain::start().unwrap();
    let mut world = with_money(&chain, "", 10);
    world.stop_host().unwrap();
    world.set_env(vec![("PORTOLAN_STOP_AT".into(), "after_intent:2".into())]);
    world.start_host().unwrap();
    let sent = stuck_payout(&chain, &world, 4 * TOKEN);
    let id = sent.text_at("/id").to_owned();
    world.await_host_end().unwrap();
    world.set_env(vec![]);
    world.start_host().unwrap();
    assert_eq!(transactions(&world, &id).len(), 2, "both are on disk");
    await_payout(&world, &chain, &id, "paid");
    assert_eq!(chain.balance(SUPPLIER).unwrap(), 4 * TOKEN);
    assert_eq!(available(&world), 6 * TOKEN);
    world.assert_books().unwrap();
}

/// Killed after the intent and before the request: the very same transaction goes out again, and is mined once.
#[test]
fn a_kill_between_signing_and_sending_pays_once() {
    let chain = Chain::start().unwrap();
    let mut world = with_money(&chain, "", 10);
    world.stop_host().unwrap();
    world.set_env(vec![("PORTOLAN_STOP_AT".into(), "after_intent:1".into())]);
    world.start_host().unwrap();
    let key = world.fresh_key();
    let cut = world.post_with_key("/v1/payouts", &to(SUPPLIER, 2 * TOKEN), &key);
    assert!(cut.is_err(), "the router was killed: {cut:?}");
    world.await_host_end().unwrap();
    assert_eq!(chain.balance(SUPPLIER).unwrap(), 0);
    world.set_env(vec![]);
    world.start_host().unwrap();
    let again = world
        .post_with_key("/v1/payouts", &to(SUPPLIER, 2 * TOKEN), &key)
        .unwrap();
    let id = again.text_at("/id").to_owned();
    await_payout(&world, &chain, &id, "paid");
    assert_eq!(chain.balance(SUPPLIER).unwrap(), 2 * TOKEN);
    assert_eq!(available(&world), 8 * TOKEN);
    world.assert_books().unwrap();
}
