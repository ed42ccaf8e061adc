//! Card payments, the way a merchant sees them.

use portolan_tests::{Options, World};
use serde_json::json;

/// An acquirer that tells nothing of its own accord, so that only the router's own questions find out.
fn silent() -> Options {
    Options { acquirer: vec!["--silent".into()], ..Options::default() }
}

#[test]
fn approve_decline_and_timeout() {
    let world = World::start(silent()).unwrap();

    let approved = world.pay("4242424242424242", 1099).unwrap();
    assert_eq!((approved.status, approved.text_at("/status")), (200, "succeeded"), "{}", approved.text);
    assert_eq!(world.charges_of(approved.text_at("/id")).unwrap().len(), 1);

    let declined = world.pay("4000000000000002", 1099).unwrap();
    assert_eq!((declined.status, declined.text_at("/status")), (200, "failed"), "{}", declined.text);
    assert_eq!(declined.text_at("/last_error/decline_reason"), "do-not-honor");

    let unknown = world.pay("4242424242424242", 1901).unwrap();
    assert_eq!((unknown.status, unknown.text_at("/status"), unknown.text_at("/outcome")), (200, "processing", "unknown"));
    let known = world.await_payment(unknown.text_at("/id"), |reply| reply.text_at("/status") == "succeeded").unwrap();
    assert_eq!(known.body["amount_captured"], json!(1901));
    assert_eq!(world.charges_of(unknown.text_at("/id")).unwrap().len(), 1);
    world.assert_books().unwrap();
}
