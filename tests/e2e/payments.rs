//! Card payments, the way a merchant sees them.

use portolan_tests::{Options, World};
use serde_json::json;

/// An acquirer that tells nothing of its own accord, so that only the router's own questions find out.
pub fn silent() -> Options {
    Options {
        acquirer: vec!["--silent".into()],
        ..Options::default()
    }
}

#[test]
fn approve_decline_and_timeout() {
    let world = World::start(silent()).unwrap();

    let approved = world.pay("4242424242424242", 1099).unwrap();
    assert_eq!(
        (approved.status, approved.text_at("/status")),
        (200, "succeeded"),
        "{}",
        approved.text
    );
    assert_eq!(world.charges_of(approved.text_at("/id")).unwrap().len(), 1);

    let declined = world.pay("4000000000000002", 1099).unwrap();
    assert_eq!(
        (declined.status, declined.text_at("/status")),
        (200, "failed"),
        "{}",
        declined.text
    );
    assert_eq!(declined.text_at("/last_error/decline_reason"), "do-not-honor");

    let unknown = world.pay("4242424242424242", 1901).unwrap();
    assert_eq!(
        (unknown.status, unknown.text_at("/status"), unknown.text_at("/outcome")),
        (200, "processing", "unknown")
    );
    let known = world
        .await_payment(unknown.text_at("/id"), |reply| reply.text_at("/status") == "succeeded")
        .unwrap();
    assert_eq!(known.body["amount_captured"], json!(1901));
    assert_eq!(world.charges_of(unknown.text_at("/id")).unwrap().len(), 1);
    world.assert_books().unwrap();
}

#[test]
fn two_durable_commits_for_a_plain_card_payment() {
    let world = World::start(silent()).unwrap();
    let paid = world.pay("4242424242424242", 1099).unwrap();
    let shown = world
        .admin_call("GET", &format!("/admin/payments/{}", paid.text_at("/id")), None)
        .unwrap();
    assert_eq!(shown.body["version"], json!(2), "intent and outcome, nothing else");
}

#[test]
fn two_channels_on_one_adapter_and_the_next_after_a_certain_no_effect() {
    // The first channel's endpoint refuses connections: certainly not sent, so the second one takes the payment.
    let dead = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut world = World::start(silent()).unwrap();
    let config = std::fs::read_to_string(world.config()).unwrap();
    let (head, channel) = config.split_once("[[channel]]").unwrap();
    let first = channel
        .replace("acquirer-a", "acquirer-dead")
        .replace(&world.acquirer_at.to_string(), &dead.to_string());
    std::fs::write(
        world.config(),
        format!("{head}[[channel]]{first}\n[[channel]]{channel}"),
    )
    .unwrap();
    world.kill_host().unwrap();
    world.start_host().unwrap();
    let paid = world.pay("4242424242424242", 1099).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    assert_eq!(paid.text_at("/attempts/0/channel"), "acquirer-a", "{}", paid.text);
    world.assert_books().unwrap();
}
