//! Deposits brought together on a real chain: what came to an address per payment is brought to the payout address, by itself
//! from some amount on, or when an operator says so; whatever fees do, and wherever the router is killed.

use crate::tokens::{SUPPLIER, TOKEN, available, await_payout, fees, pay, to, until, with_chain};
use portolan_tests::chain::{Chain, HOT};
use portolan_tests::{Reply, World};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Deposits of a whole token or more are swept as soon as they count.
const AT_ONCE: &str = "sweep_from = \"1000000000000000000\", sweep_after_s = 0,";

/// A deposit that counts: the payment, and its address.
fn paid(world: &World, chain: &Chain, units: u128) -> (Reply, String) {
    let waiting = pay(world, units);
    let address = waiting.text_at("/next_action/value").to_owned();
    chain.pay(&address, units).unwrap();
    chain.mine(3).unwrap();
    (until(world, &waiting, "succeeded"), address)
}

/// The sweeps of a payment as an operator sees them: status and failure.
fn sweeps(world: &World, payment: &Reply) -> Vec<(String, Option<String>)> {
    let path = format!("/admin/payments/{}", payment.text_at("/id"));
    let shown = world.admin_call("GET", &path, None).unwrap();
    let all = shown.body["events"].as_array().unwrap().iter();
    let of = |it: &Value| it["type"].as_str().unwrap().to_owned();
    let created: Vec<&Value> = all.clone().filter(|it| of(it) == "sweep.created").collect();
    let ended = |operation: &Value| {
        let mut ends = all.clone().filter(|it| it["data"]["operation"] == *operation);
        let end = ends.find(|it| ["sweep.succeeded", "sweep.failed"].contains(&of(it).as_str()));
        match end {
            Some(end) if of(end) == "sweep.succeeded" => ("succeeded".to_owned(), None),
            Some(end) => {
                let why = end["data"]["detail"]["reason"].as_str().map(str::to_owned);
                ("failed".to_owned(), why)
            }
            None => ("pending".to_owned(), None),
        }
    };
    created.iter().map(|it| ended(&it["data"]["operation"])).collect()
}

/// Blocks come until the payment's last sweep has that status.
fn await_sweep(world: &World, chain: &Chain, payment: &Reply, status: &str) {
    let started = Instant::now();
    loop {
        let all = sweeps(world, payment);
        if all.last().is_some_and(|(it, _)| it == status) {
            return;
        }
        assert!(started.elapsed().as_secs() < 60, "never {status}: {all:?}");
        chain.mine(1).unwrap();
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn sweep(world: &World, payment: &Reply) -> Reply {
    let path = format!("/admin/payments/{}/sweep", payment.text_at("/id"));
    let word = json!({ "by": "ann", "reason": "to pay the supplier" });
    world.admin_call("POST", &path, Some(&word)).unwrap()
}

#[test]
fn what_came_pays_the_supplier() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "", AT_ONCE);
    chain.give_coins(HOT, 10).unwrap();
    let (payment, address) = paid(&world, &chain, 25 * TOKEN);
    await_sweep(&world, &chain, &payment, "succeeded");
    assert_eq!(
        (chain.balance(&address).unwrap(), chain.balance(HOT).unwrap()),
        (0, 25 * TOKEN)
    );
    assert_eq!(sweeps(&world, &payment).len(), 1);
    assert_eq!(available(&world), 25 * TOKEN, "it was the merchant's before");
    let sent = world.post("/v1/payouts", &to(SUPPLIER, 20 * TOKEN)).unwrap();
    await_payout(&world, &chain, sent.text_at("/id"), "paid");
    assert_eq!(chain.balance(SUPPLIER).unwrap(), 20 * TOKEN);
    world.assert_books().unwrap();
}

/// What is not worth its gas stays where it came, until somebody says otherwise; and what comes after a sweep too.
#[test]
fn an_operator_sweeps_what_is_too_little_to_go_by_itself() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "", AT_ONCE);
    chain.give_coins(HOT, 10).unwrap();
    let (payment, address) = paid(&world, &chain, TOKEN / 2);
    let (other, _) = paid(&world, &chain, 2 * TOKEN);
    await_sweep(&world, &chain, &other, "succeeded");
    assert_eq!(sweeps(&world, &payment), []);
    let swept = sweep(&world, &payment);
    assert_eq!(
        (swept.status, swept.text_at("/status")),
        (200, "pending"),
        "{}",
        swept.text
    );
    await_sweep(&world, &chain, &payment, "succeeded");
    assert_eq!(chain.balance(&address).unwrap(), 0);
    let nothing = sweep(&world, &payment);
    assert_eq!(nothing.text_at("/failure"), "nothing-there", "{}", nothing.text);
    chain.pay(&address, TOKEN).unwrap();
    assert_eq!(sweep(&world, &payment).status, 200);
    await_sweep(&world, &chain, &payment, "succeeded");
    assert_eq!(chain.balance(HOT).unwrap(), 2 * TOKEN + TOKEN / 2 + TOKEN);
    let card = world.pay("4242424242424242", 1_000).unwrap();
    assert_eq!(
        sweep(&world, &card).status,
        422,
        "a card's money is nowhere to be swept"
    );
    world.assert_books().unwrap();
}

/// Blocks become a hundred times dearer after the coins left, and again after the tokens did.
#[test]
fn fees_that_rise_over_a_sweep_make_it_dearer() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "", "");
    chain.give_coins(HOT, 1_000).unwrap();
    let (payment, address) = paid(&world, &chain, 5 * TOKEN);
    chain.rpc("evm_setAutomine", json!([false])).unwrap();
    assert_eq!(sweep(&world, &payment).text_at("/status"), "pending");
    fees(&chain, "0x174876e800");
    let started = Instant::now();
    while chain.coins(&address).unwrap() == 0 {
        assert!(
            started.elapsed().as_secs() < 60,
            "the coins never came: {:?}",
            sweeps(&world, &payment)
        );
        chain.mine(1).unwrap();
        std::thread::park_timeout(Duration::from_millis(100));
    }
    await_sweep(&world, &chain, &payment, "succeeded");
    assert_eq!(
        (chain.balance(&address).unwrap(), chain.balance(HOT).unwrap()),
        (0, 5 * TOKEN)
    );
    world.assert_books().unwrap();
}

#[test]
fn without_coins_for_gas_nothing_is_swept_until_there_are_some() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "", AT_ONCE);
    let (payment, address) = paid(&world, &chain, 5 * TOKEN);
    await_sweep(&world, &chain, &payment, "failed");
    assert_eq!(
        sweeps(&world, &payment),
        [("failed".to_owned(), Some("insufficient-gas".to_owned()))]
    );
    assert_eq!(chain.balance(&address).unwrap(), 5 * TOKEN);
    // By itself it is tried again in an hour.
    let path = format!("/admin/payments/{}", payment.text_at("/id"));
    let shown = world.admin_call("GET", &path, None).unwrap();
    let timer = shown.body["timers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["kind"] == "sweep");
    let in_s = timer.and_then(|it| it["in_s"].as_u64());
    assert!(
        in_s.is_some_and(|it| (3_500..=3_600).contains(&it)),
        "{}",
        shown.body["timers"]
    );
    chain.give_coins(HOT, 10).unwrap();
    sweep(&world, &payment);
    await_sweep(&world, &chain, &payment, "succeeded");
    assert_eq!(chain.balance(HOT).unwrap(), 5 * TOKEN);
    world.assert_books().unwrap();
}

/// Too little, and too late: nobody's yet, and an operator brings it in all the same.
#[test]
fn what_came_too_late_is_swept_when_an_operator_says_so() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "action_ms = 2000", "");
    chain.give_coins(HOT, 10).unwrap();
    let waiting = pay(&world, 3 * TOKEN);
    let address = waiting.text_at("/next_action/value").to_owned();
    until(&world, &waiting, "canceled");
    assert_eq!(sweep(&world, &waiting).status, 422, "nothing came");
    chain.pay(&address, 2 * TOKEN).unwrap();
    chain.mine(3).unwrap();
    let tasks = |reply: &Reply| !reply.body["tasks"].as_array().unwrap().is_empty();
    portolan_tests::await_until(|| tasks(&world.admin_call("GET", "/admin/tasks", None).unwrap())).unwrap();
    assert_eq!(sweep(&world, &waiting).status, 200);
    await_sweep(&world, &chain, &waiting, "succeeded");
    assert_eq!(chain.balance(HOT).unwrap(), 2 * TOKEN);
    assert_eq!(available(&world), 0, "it is still nobody's");
    world.assert_books().unwrap();
}

/// Each with a number of its own, whatever they are for.
#[test]
fn sweeps_and_payouts_at_once_take_each_a_number() {
    let chain = Chain::start().unwrap();
    let world = with_chain(&chain, "", AT_ONCE);
    chain.give_coins(HOT, 1_000).unwrap();
    chain.pay(HOT, 10 * TOKEN).unwrap();
    let waiting: Vec<Reply> = (0..10).map(|_| pay(&world, TOKEN)).collect();
    for it in &waiting {
        chain.pay(it.text_at("/next_action/value"), TOKEN).unwrap();
    }
    chain.mine(3).unwrap();
    let came: Vec<Reply> = waiting.iter().map(|it| until(&world, it, "succeeded")).collect();
    let sent: Vec<Reply> = std::thread::scope(|scope| {
        let call = || world.post("/v1/payouts", &to(SUPPLIER, TOKEN)).unwrap();
        let calls: Vec<_> = (0..10).map(|_| scope.spawn(call)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for reply in &sent {
        await_payout(&world, &chain, reply.text_at("/id"), "paid");
    }
    for payment in &came {
        await_sweep(&world, &chain, payment, "succeeded");
        assert_eq!(sweeps(&world, payment).len(), 1);
    }
    assert_eq!(
        (chain.balance(SUPPLIER).unwrap(), chain.balance(HOT).unwrap()),
        (10 * TOKEN, 10 * TOKEN)
    );
    world.assert_books().unwrap();
}

/// Killed with each of the two transactions on disk and not sent, and sent and not answered.
#[test]
fn a_kill_in_the_middle_of_a_sweep_sweeps_once() {
    let chain = Chain::start().unwrap();
    let mut world = with_chain(&chain, "", "");
    chain.give_coins(HOT, 1_000).unwrap();
    for step in ["after_intent:1", "after_answer:1", "after_intent:2", "after_answer:2"] {
        let (payment, address) = paid(&world, &chain, 5 * TOKEN);
        let before = chain.balance(HOT).unwrap();
        world.stop_host().unwrap();
        world.set_env(vec![("PORTOLAN_STOP_AT".into(), step.into())]);
        world.start_host().unwrap();
        let path = format!("/admin/payments/{}/sweep", payment.text_at("/id"));
        let word = json!({ "by": "ann", "reason": "a test" });
        let _cut = world.admin_call("POST", &path, Some(&word));
        world.await_host_end().unwrap();
        world.set_env(vec![]);
        world.start_host().unwrap();
        await_sweep(&world, &chain, &payment, "succeeded");
        assert_eq!(
            (chain.balance(&address).unwrap(), chain.balance(HOT).unwrap()),
            (0, before + 5 * TOKEN),
            "{step}"
        );
        world.assert_books().unwrap();
    }
}
