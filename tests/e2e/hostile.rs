//! Guests that misbehave: each a named fault on its own payment, the host up, other payments undisturbed, and never a
//! certainty that the exchanges do not prove.

use portolan_tests::{Options, World, guest};
use serde_json::{Value, json};

/// A world whose only channel runs the misbehaving adapter.
fn world() -> World {
    let mut world = World::start(Options {
        acquirer: vec!["--silent".into()],
        ..Options::default()
    })
    .unwrap();
    let config = std::fs::read_to_string(world.config()).unwrap();
    let sandbox = guest("portolan_sandbox_adapter").display().to_string();
    let config = config.replace(&sandbox, &guest("portolan_misbehaving_adapter").display().to_string());
    std::fs::write(world.config(), config).unwrap();
    world.kill_host().unwrap();
    world.start_host().unwrap();
    world
}

/// Nothing left the host: the payment fails with the fault's name, and the acquirer never heard of it.
const WITHOUT_EFFECT: [(u64, &str); 11] = [
    (801, "plugin_fault: timeout"),
    (802, "plugin_fault: memory"),
    (803, "plugin_fault: trap"),
    (804, "plugin_fault: trap"),
    (805, "plugin_fault: too_large"),
    (806, "plugin_fault: too_large"),
    (809, "plugin_fault: handle_misplaced"),
    (810, "plugin_fault: handle_misplaced"),
    (813, "plugin_fault: claims_unheard"),
    (814, "plugin_fault: not_granted"),
    (816, "plugin_fault: not_granted"),
];

/// The acquirer was charged: whatever the guest says, the outcome is unknown until the router has asked.
const AFTER_A_WRITE: [u64; 3] = [808, 817, 818];

#[test]
fn each_misbehaviour_is_a_named_fault_and_disturbs_nobody() {
    let world = world();
    for (digits, fault) in WITHOUT_EFFECT {
        let told = world.pay("4242424242424242", 10_000 + digits).unwrap();
        assert_eq!(
            (told.text_at("/status"), told.text_at("/last_error/message")),
            ("failed", fault),
            "{digits}: {}",
            told.text
        );
        assert_eq!(
            world.charges_of(told.text_at("/id")).unwrap(),
            Vec::<Value>::new(),
            "{digits}"
        );
        let neighbour = world.pay("4242424242424242", 1_000).unwrap();
        assert_eq!(
            neighbour.text_at("/status"),
            "succeeded",
            "after {digits}: {}",
            neighbour.text
        );
    }
    // A reason of its own words is none that a shop could act on.
    let told = world.pay("4242424242424242", 10_830).unwrap();
    let error = |name: &str| told.text_at(&format!("/last_error/{name}")).to_owned();
    assert_eq!(
        (error("code"), error("decline_reason")),
        ("card_declined".to_owned(), "generic-decline".to_owned()),
        "{}",
        told.text
    );
    for digits in AFTER_A_WRITE {
        let told = world.pay("4242424242424242", 10_000 + digits).unwrap();
        assert_eq!(
            (told.text_at("/status"), told.text_at("/outcome")),
            ("processing", "unknown"),
            "{digits}: {}",
            told.text
        );
        let known = world
            .await_payment(told.text_at("/id"), |reply| reply.text_at("/status") == "succeeded")
            .unwrap();
        assert_eq!(known.body["amount_captured"], json!(10_000 + digits));
    }
    world.assert_books().unwrap();
}

/// A guest that searches its whole memory after the provider's reply finds the payer's name, which it was given, and
/// neither the card number nor a secret nor the session's token.
#[test]
fn a_guest_finds_no_secret_in_its_own_memory() {
    let world = world();
    let pay_searching = |wanted: &str| {
        let turned: String = wanted.bytes().map(|byte| format!("{:02x}", byte ^ 0x55)).collect();
        let method = world.store_card("4242424242424242").unwrap();
        let body = json!({
            "amount": 10_819, "currency": "EUR", "payment_method": method, "confirm": true, "description": turned,
            "payer": { "name": "Zebedee Quixwortham" },
        });
        world.post("/v1/payments", &body).unwrap()
    };
    let found = pay_searching("Zebedee Quixwortham");
    assert_eq!(
        found.text_at("/outcome"),
        "unknown",
        "the search sees nothing: {}",
        found.text
    );
    for secret in [
        "4242424242424242",
        "acquirer-client-secret",
        "acquirer-signing-key",
        "session-token-",
    ] {
        let told = pay_searching(secret);
        assert_eq!(told.text_at("/status"), "succeeded", "{secret}: {}", told.text);
    }
}

#[test]
fn a_charge_called_a_read_is_a_write_all_the_same() {
    let world = world();
    let told = world.pay("4242424242424242", 10_811).unwrap();
    let shown = world
        .admin_call("GET", &format!("/admin/payments/{}", told.text_at("/id")), None)
        .unwrap();
    assert_eq!(
        shown.body["operations"][0]["exchanges"][0]["effect"], "write",
        "{}",
        shown.text
    );
}

#[test]
fn too_many_requests_end_the_operation() {
    let world = world();
    let told = world.pay("4242424242424242", 10_815).unwrap();
    assert_eq!(
        (told.text_at("/status"), told.text_at("/last_error/message")),
        ("failed", "plugin_fault: rounds"),
        "{}",
        told.text
    );
}

#[test]
fn a_changed_byte_in_the_compiled_component_is_never_loaded() {
    let mut world = World::start(Options {
        is_fresh: true,
        ..Options::default()
    })
    .unwrap();
    let folder = world.folder.join("data/components");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&file).unwrap();
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&file, &changed).unwrap();
    world.kill_host().unwrap();
    world.start_host().unwrap();
    let log = std::fs::read_to_string(world.folder.join("host.log")).unwrap();
    assert!(log.contains("the compiled component was changed on disk"), "{log}");
    assert_eq!(std::fs::read(&file).unwrap(), good, "compiled again, byte for byte");
    assert_eq!(
        world.pay("4242424242424242", 1_000).unwrap().text_at("/status"),
        "succeeded"
    );
}
