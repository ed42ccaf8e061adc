//! The Stripe adapter against localstripe, a real server that nobody here wrote.

use portolan_tests::peers::LocalStripe;
use portolan_tests::{Options, World, guest};
use serde_json::json;

/// A world whose only channel is Stripe.
fn world(stripe: &LocalStripe) -> World {
    let secrets = tempfile::tempdir().unwrap().keep();
    std::fs::write(secrets.join("api"), "sk_test_12345").unwrap();
    std::fs::write(secrets.join("webhook"), "whsec_test_secret").unwrap();
    let more = format!(
        r#"
[[adapter]]
name = "stripe"
file = "{guest}"

[[channel]]
id = "stripe-a"
mode = "test"
adapter = "stripe"
card_data = true
harmless = ["POST /v1/payment_methods", "POST /v1/payment_intents"]
settings = {{ send_return_url = false }}
endpoints.api = {{ url = "http://{at}", allow_private = true }}
secrets.api_key = "file:{folder}/api"
keys.webhook = "file:{folder}/webhook"
"#,
        guest = guest("portolan_stripe_adapter").display(),
        at = stripe.address,
        folder = secrets.display(),
    );
    World::start(Options {
        more,
        channel: "disabled = true".into(),
        ..Options::default()
    })
    .unwrap()
}

#[test]
fn charge_decline_capture_refund_and_cancel() {
    let stripe = LocalStripe::start().unwrap();
    let world = world(&stripe);
    let paid = world.pay("4242424242424242", 1099).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    let intent = stripe
        .get(&format!(
            "/v1/payment_intents/{}",
            paid.text_at("/attempts/0/reference")
        ))
        .unwrap();
    assert_eq!(
        (&intent["status"], &intent["amount"]),
        (&json!("succeeded"), &json!(1099))
    );

    let shown = world
        .admin_call("GET", &format!("/admin/payments/{}", paid.text_at("/id")), None)
        .unwrap();
    assert_eq!(
        shown.body["version"],
        json!(2),
        "create, then confirm: the preparation costs no commit"
    );
    let effects: Vec<_> = shown.body["operations"][0]["exchanges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["effect"].clone())
        .collect();
    assert_eq!(effects, [json!("prepare"), json!("prepare"), json!("write")]);
    assert!(
        !shown.text.contains("4242424242424242") && !shown.text.contains("sk_test_12345"),
        "handles, not values"
    );

    // What asks for 3-D Secure is taken by a server that knows the field, and nothing is claimed of what it does not tell.
    let method = world.store_card("4242424242424242").unwrap();
    let body = json!({
        "amount": 1099, "currency": "EUR", "payment_method": method, "confirm": true, "authentication": "required",
    });
    let asked = world.post("/v1/payments", &body).unwrap();
    assert_eq!(asked.text_at("/status"), "succeeded", "{}", asked.text);
    let told = &asked.body["attempts"][0]["authentication"];
    assert_eq!((&told["asked_by"], &told["result"]), (&json!("merchant"), &json!(null)));

    let declined = world.pay("4000000000000341", 1099).unwrap();
    assert_eq!(declined.text_at("/status"), "failed", "{}", declined.text);
    assert_eq!(
        declined.text_at("/last_error/code"),
        "card_declined",
        "{}",
        declined.text
    );

    let refund = world
        .post("/v1/refunds", &json!({ "payment": paid.text_at("/id"), "amount": 99 }))
        .unwrap();
    assert_eq!(refund.text_at("/status"), "succeeded", "{}", refund.text);

    // The security code is forgotten after its payment, so each payment brings its card again.
    let hold = || {
        let method = world.store_card("4242424242424242").unwrap();
        let body = json!({
            "amount": 5000, "currency": "USD", "payment_method": method, "confirm": true, "capture_method": "manual",
        });
        world.post("/v1/payments", &body).unwrap()
    };
    let held = hold();
    assert_eq!(held.text_at("/status"), "requires_capture", "{}", held.text);
    let captured = world
        .post(
            &format!("/v1/payments/{}/capture", held.text_at("/id")),
            &json!({ "amount": 3000 }),
        )
        .unwrap();
    assert_eq!(
        (captured.text_at("/status"), &captured.body["amount_captured"]),
        ("succeeded", &json!(3000)),
        "{}",
        captured.text
    );

    let held = hold();
    let canceled = world
        .post(&format!("/v1/payments/{}/cancel", held.text_at("/id")), &json!({}))
        .unwrap();
    assert_eq!(canceled.text_at("/status"), "canceled", "{}", canceled.text);
    world.assert_books().unwrap();
}

#[test]
fn three_d_secure_waits_for_the_payer_and_webhooks_are_verified() {
    let stripe = LocalStripe::start().unwrap();
    let world = world(&stripe);
    stripe
        .notify(&format!("http://{}/notify/stripe-a", world.api), "whsec_test_secret")
        .unwrap();
    let waiting = world.pay("4000002500003155", 1099).unwrap();
    assert_eq!(waiting.text_at("/status"), "requires_action", "{}", waiting.text);
    let paid = world.pay("4242424242424242", 2000).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    let taken = |metrics: &str| {
        metrics
            .lines()
            .any(|line| line.starts_with("portolan_notifications_total{result=\"taken\"}") && !line.ends_with(" 0"))
    };
    let started = std::time::Instant::now();
    loop {
        let metrics = portolan_tests::call(world.admin, "GET", "/metrics", &[], None)
            .unwrap()
            .text;
        if taken(&metrics) {
            break;
        }
        assert!(
            started.elapsed().as_secs() < 30,
            "no webhook of localstripe was taken: {metrics}"
        );
        std::thread::yield_now();
    }
    let forged = portolan_tests::call(
        world.api,
        "POST",
        "/notify/stripe-a",
        &[("stripe-signature", "t=1,v1=00"), ("content-type", "application/json")],
        Some(r#"{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"pi_1"}}}"#),
    )
    .unwrap();
    assert_eq!(forged.status, 401);
    world.assert_books().unwrap();
}
