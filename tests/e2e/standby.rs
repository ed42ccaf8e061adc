//! A second router on the same store: it waits, and goes on where the first one stopped, however that one ended.

use crate::plugins::{active, ready, rebuilt, step, world};
use portolan_tests::{Reply, World};
use serde_json::json;

const GOOD: &str = "4242424242424242";

/// What took over finds: a payment that was told of, and one whose answer was lost, charged once.
pub fn finds(world: &World, paid: &Reply, lost: &Reply) {
    let path = format!("/v1/payments/{}", paid.text_at("/id"));
    assert_eq!(world.get(&path).unwrap().text_at("/status"), "succeeded");
    let found = world
        .await_payment(lost.text_at("/id"), |it| it.text_at("/status") == "succeeded")
        .unwrap();
    assert_eq!(world.charges_of(found.text_at("/id")).unwrap().len(), 1);
}

#[test]
fn who_stands_by_takes_over_from_a_router_that_is_killed() {
    let mut world = world();
    world.stand_by().unwrap();
    // What is done while it waits, it finds: the version in force, payments, keys, what nobody knows yet.
    let second = ready(&world, &rebuilt("portolan_sandbox_adapter", b'2'));
    assert_eq!(step(&world, &second, "activate", &json!({})).status, 200);
    let paid = world.pay(GOOD, 1_000).unwrap();
    let lost = world.pay(GOOD, 2_903).unwrap();
    assert_eq!(lost.text_at("/outcome"), "unknown", "{}", lost.text);
    world.kill_host().unwrap();
    world.await_takeover().unwrap();
    assert_eq!(active(&world), second);
    finds(&world, &paid, &lost);
    let next = world.pay(GOOD, 1_000).unwrap();
    assert_eq!(next.text_at("/status"), "succeeded", "{}", next.text);
    world.assert_books().unwrap();
}

#[test]
fn one_after_the_other_takes_over_from_a_router_that_is_stopped() {
    let mut world = world();
    for _ in 0..2 {
        world.stand_by().unwrap();
        assert!(world.pay(GOOD, 1_000).unwrap().text_at("/status") == "succeeded");
        assert!(world.stop_host().unwrap().success());
        world.await_takeover().unwrap();
    }
    assert_eq!(world.pay(GOOD, 1_000).unwrap().text_at("/status"), "succeeded");
    world.assert_books().unwrap();
}
