//! Merchants are told of events: signed as the standard says (verified by its own library), in order, again where they were not
//! taken, and nothing is lost while a receiver or the router is away.

use portolan_tests::{Options, Reply, World, call, peers, workspace};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CARD: &str = "4242424242424242";

/// A merchant's server.
struct Receiver {
    child: Child,
    at: SocketAddr,
}

impl Receiver {
    fn start() -> Self {
        let mut child = Command::new(peers::python())
            .arg(workspace().join("tests/e2e/webhook_receiver.py"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        let at = format!("127.0.0.1:{}", port.trim()).parse().unwrap();
        Self { child, at }
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/hooks/{name}", self.at)
    }

    fn script(&self, name: &str, script: &Value) {
        let reply = call(
            self.at,
            "POST",
            &format!("/script/{name}"),
            &[],
            Some(&script.to_string()),
        )
        .unwrap();
        assert_eq!(reply.status, 204);
    }

    fn seen(&self, name: &str) -> Vec<Value> {
        let reply = call(self.at, "GET", &format!("/seen/{name}"), &[], None).unwrap();
        reply.body.as_array().cloned().unwrap()
    }

    /// What it saw, once that is so.
    fn await_seen(&self, name: &str, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let seen = self.seen(name);
            if is_so(&seen) {
                return seen;
            }
            assert!(started.elapsed().as_secs() < 60, "{seen:#?}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn world() -> World {
    World::start(Options {
        more: "[webhooks]\nallow_private = true\n".into(),
        ..Options::default()
    })
    .unwrap()
}

/// An endpoint at the receiver, which knows its secret.
fn endpoint(world: &World, receiver: &Receiver, name: &str, events: &[&str]) -> Reply {
    let body = json!({ "url": receiver.url(name), "events": events });
    let made = world.post("/v1/webhook_endpoints", &body).unwrap();
    assert_eq!(made.status, 200, "{}", made.text);
    assert!(made.text_at("/secret").starts_with("whsec_"), "{}", made.text);
    receiver.script(name, &json!({ "secret": made.text_at("/secret") }));
    made
}

fn does(world: &World, endpoint: &Reply, what: &str) -> Reply {
    let path = format!("/v1/webhook_endpoints/{}/{what}", endpoint.text_at("/id"));
    let reply = world.post(&path, &json!({})).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

fn shown(world: &World, endpoint: &Reply) -> Reply {
    let path = format!("/v1/webhook_endpoints/{}", endpoint.text_at("/id"));
    world.get(&path).unwrap()
}

fn await_endpoint(world: &World, endpoint: &Reply, is_so: impl FnMut(&Reply) -> bool) -> Reply {
    let path = format!("/v1/webhook_endpoints/{}", endpoint.text_at("/id"));
    world.await_at(&path, is_so).unwrap()
}

/// Every event of the merchant, the oldest first.
fn events(world: &World) -> Vec<Value> {
    let mut all: Vec<Value> = vec![];
    loop {
        let after = all
            .last()
            .map(|it| format!("&starting_after={}", it["id"].as_str().unwrap()));
        let path = format!("/v1/events?limit=100{}", after.unwrap_or_default());
        let page = world.get(&path).unwrap();
        all.extend(page.body["data"].as_array().cloned().unwrap());
        if page.body["has_more"] == false {
            all.reverse();
            return all;
        }
    }
}

fn ids(all: &[Value]) -> Vec<String> {
    all.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

fn told(seen: &[Value], what: &str) -> usize {
    seen.iter().filter(|it| it["told"]["type"] == what).count()
}

#[test]
fn a_merchant_is_told_of_everything_in_order_and_signed() {
    let (world, receiver) = (world(), Receiver::start());
    world.pay(CARD, 500).unwrap();
    let made = endpoint(&world, &receiver, "all?shop=1", &[]);
    let keys = json!({ "secret": made.text_at("/secret"), "public_key": made.text_at("/public_key") });
    receiver.script("all", &keys);
    let refunds = endpoint(&world, &receiver, "refunds", &["refund.*"]);
    let before = events(&world).len();
    let paid = world.pay(CARD, 1_000).unwrap();
    let refund = json!({ "payment": paid.text_at("/id"), "amount": 300 });
    assert_eq!(world.post("/v1/refunds", &refund).unwrap().status, 200);
    let seen = receiver.await_seen("all", |seen| told(seen, "refund.succeeded") == 1);
    assert!(
        seen.iter().all(|it| it["verified"] == true && it["proven"] == true),
        "{seen:#?}"
    );
    assert_eq!(seen[0]["path"], "/hooks/all?shop=1");
    assert!(seen[0]["agent"].as_str().unwrap().starts_with("Portolan/"));
    // What is told is what the list of events shows, with a time; nothing of before, and nothing twice.
    let all = events(&world);
    assert_eq!(ids(&seen), ids(&all[before..]));
    for (it, event) in seen.iter().zip(&all[before..]) {
        let mut body = it["told"].clone();
        let timestamp = body.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
        assert_eq!(body, *event);
    }
    let seen = receiver.await_seen("refunds", |seen| seen.len() == 2);
    assert_eq!((told(&seen, "refund.created"), told(&seen, "refund.succeeded")), (1, 1));
    let after = await_endpoint(&world, &refunds, |it| it.body["delivered"] == 2);
    assert_eq!(
        (
            after.text_at("/status"),
            &after.body["waiting"],
            after.body.get("secret")
        ),
        ("enabled", &json!(0), None),
        "{}",
        after.text
    );
    let listed = world.get("/v1/webhook_endpoints").unwrap();
    let listed = ids(listed.body["data"].as_array().unwrap());
    assert_eq!(listed, [refunds.text_at("/id"), made.text_at("/id")]);
    // Another choice counts from the next event on.
    let path = format!("/v1/webhook_endpoints/{}/update", refunds.text_at("/id"));
    let other = json!({ "events": ["payment.captured"], "url": receiver.url("captured") });
    let updated = world.post(&path, &other).unwrap();
    assert_eq!(
        (updated.status, &updated.body["events"]),
        (200, &json!(["payment.captured"])),
        "{}",
        updated.text
    );
    assert_eq!(world.post(&path, &json!({ "url": "nowhere" })).unwrap().status, 422);
    world.pay(CARD, 700).unwrap();
    let seen = receiver.await_seen("captured", |seen| seen.len() == 1);
    assert_eq!(told(&seen, "payment.captured"), 1);
    does(&world, &refunds, "remove");
    assert_eq!(shown(&world, &refunds).status, 404);
}

#[test]
fn what_is_not_taken_is_sent_again_and_holds_up_nothing() {
    let (world, receiver) = (world(), Receiver::start());
    let made = endpoint(&world, &receiver, "shop", &[]);
    // What comes after a status that says that it was taken does not matter, however long it is.
    let answers = json!({ "answers": [
        { "status": 500, "type": "payment.created" }, { "status": 302, "type": "payment.captured" },
        { "status": 200, "size": 3_000_000, "type": "attempt.started" },
    ] });
    receiver.script("shop", &answers);
    world.pay(CARD, 1_000).unwrap();
    let seen = receiver.await_seen("shop", |seen| {
        told(seen, "payment.created") == 2 && told(seen, "payment.captured") == 2
    });
    let of = |what: &str| -> Vec<&Value> { seen.iter().filter(|it| it["told"]["type"] == what).collect() };
    for what in ["payment.created", "payment.captured"] {
        let both = of(what);
        assert_eq!((&both[0]["id"], &both[0]["told"]), (&both[1]["id"], &both[1]["told"]));
        assert_eq!(
            (&both[1]["verified"], &both[1]["answered"]),
            (&json!(true), &json!(204))
        );
        let at = |it: &Value| it["timestamp"].as_u64().unwrap();
        assert!(at(both[1]) >= at(both[0]) + 4, "of each try its own time");
    }
    let first = |what: &str| seen.iter().position(|it| it["told"]["type"] == what).unwrap();
    assert!(first("payment.captured") < 6, "the others went on: {seen:#?}");
    let after = await_endpoint(&world, &made, |it| it.body["waiting"] == 0);
    assert_eq!(after.body["delivered"], events(&world).len(), "{}", after.text);
    assert_eq!(after.body["given_up"], 0);
    assert_eq!(told(&receiver.seen("shop"), "attempt.started"), 1);
}

/// Away for a while, and the router killed meanwhile: everything comes, once the merchant says that the receiver is back.
#[test]
fn nothing_is_lost_while_a_receiver_is_away_and_the_router_is_killed() {
    let (mut world, receiver) = (world(), Receiver::start());
    let made = endpoint(&world, &receiver, "shop", &[]);
    receiver.script("shop", &json!({ "always": { "status": 503, "retry_after": 3_600 } }));
    for n in 0..10 {
        world.pay(&portolan_tests::card_number(n), 1_000).unwrap();
    }
    let away = await_endpoint(&world, &made, |it| it.text_at("/status") == "failing");
    let waiting = away.body["waiting"].as_u64().unwrap();
    assert!(
        (5..=64).contains(&waiting),
        "the others wait where they are: {}",
        away.text
    );
    assert_eq!(away.body["last_delivery"]["status"], 503, "{}", away.text);
    assert!(away.body["next_try_at"].is_u64() && away.body["failing_since"].is_u64());
    world.kill_host().unwrap();
    world.start_host().unwrap();
    for n in 10..15 {
        world.pay(&portolan_tests::card_number(n), 1_000).unwrap();
    }
    assert_eq!(shown(&world, &made).text_at("/status"), "failing");
    receiver.script("shop", &json!({ "always": { "status": 200 } }));
    does(&world, &made, "enable");
    let all = ids(&events(&world));
    let taken = |seen: &[Value]| -> Vec<String> {
        let taken = seen.iter().filter(|it| it["answered"] == 200);
        taken.map(|it| it["id"].as_str().unwrap().to_owned()).collect()
    };
    let seen = receiver.await_seen("shop", |seen| taken(seen).len() >= all.len());
    let taken = taken(&seen);
    assert_eq!(taken.len(), all.len(), "each once, now that they are taken");
    assert_eq!(HashSet::<String>::from_iter(taken), all.iter().cloned().collect());
    assert!(seen.iter().all(|it| it["verified"] == true));
    let metrics = world.admin_call("GET", "/metrics", None).unwrap();
    assert!(
        metrics
            .text
            .contains("portolan_webhook_endpoints{status=\"enabled\"} 1"),
        "{}",
        metrics.text
    );
}

#[test]
fn one_that_is_gone_is_told_no_more_until_it_is_enabled() {
    let (world, receiver) = (world(), Receiver::start());
    let made = endpoint(&world, &receiver, "shop", &["payment.captured"]);
    receiver.script("shop", &json!({ "answers": [{ "status": 410 }] }));
    world.pay(CARD, 1_000).unwrap();
    let gone = await_endpoint(&world, &made, |it| it.text_at("/status") == "disabled");
    assert_eq!(gone.text_at("/reason"), "gone", "{}", gone.text);
    world.pay(CARD, 1_000).unwrap();
    assert_eq!(receiver.seen("shop").len(), 1);
    does(&world, &made, "enable");
    let seen = receiver.await_seen("shop", |seen| seen.len() == 3);
    let again = seen[1..].iter().filter(|it| it["id"] == seen[0]["id"]);
    assert_eq!(again.count(), 1, "what it refused, and what came meanwhile: {seen:#?}");
    let operators = world.admin_call("GET", "/admin/webhooks", None).unwrap();
    assert_eq!(
        operators.text_at("/endpoints/0/status"),
        "enabled",
        "{}",
        operators.text
    );
}

/// While a secret is changed both sign: a receiver that knows either takes the message.
#[test]
fn a_secret_is_rotated_without_a_gap() {
    let (world, receiver) = (world(), Receiver::start());
    let made = endpoint(&world, &receiver, "shop", &["payment.captured"]);
    let rotated = does(&world, &made, "rotate_secret");
    assert_ne!(rotated.text_at("/secret"), made.text_at("/secret"));
    world.pay(CARD, 1_000).unwrap();
    receiver.await_seen("shop", |seen| seen.len() == 1);
    receiver.script("shop", &json!({ "secret": rotated.text_at("/secret") }));
    world.pay(CARD, 1_000).unwrap();
    let seen = receiver.await_seen("shop", |seen| seen.len() == 2);
    let how: Vec<_> = seen.iter().map(|it| (&it["verified"], &it["signatures"])).collect();
    assert_eq!(
        how,
        [(&json!(true), &json!(3)); 2],
        "the old one, the new one, and the router's own"
    );
    // A stranger's secret proves nothing.
    receiver.script("shop", &json!({ "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }));
    let tried = does(&world, &made, "test");
    assert_eq!(
        (&tried.body["delivered"], &tried.body["status"]),
        (&json!(true), &json!(204))
    );
    let seen = receiver.seen("shop");
    assert_eq!(
        (&seen[2]["told"]["type"], &seen[2]["verified"]),
        (&json!("webhook.test"), &json!(false))
    );
}

fn sorted(ids: &[String]) -> Vec<String> {
    let mut sorted = ids.to_vec();
    sorted.sort();
    sorted
}

/// What a receiver lost it is told again: from an event on, under the same ids. The router's own key stays.
#[test]
fn an_endpoint_is_told_again_from_an_event_on() {
    let (mut world, receiver) = (world(), Receiver::start());
    let made = endpoint(&world, &receiver, "shop", &["payment.captured"]);
    for amount in [1_000, 1_001, 1_002] {
        world.pay(CARD, amount).unwrap();
    }
    receiver.await_seen("shop", |seen| seen.len() == 3);
    let captured = events(&world).into_iter().filter(|it| it["type"] == "payment.captured");
    let first = ids(&captured.collect::<Vec<_>>());
    let path = format!("/v1/webhook_endpoints/{}/replay", made.text_at("/id"));
    for body in [
        json!({}),
        json!({ "from": "yesterday" }),
        json!({ "from": first[1], "to": 1 }),
    ] {
        assert_eq!(world.post(&path, &body).unwrap().status, 422, "{body}");
    }
    let nobodys = first[1].replace("evt_0", "evt_f");
    assert_eq!(world.post(&path, &json!({ "from": nobodys })).unwrap().status, 404);
    let replayed = world.post(&path, &json!({ "from": first[1] })).unwrap();
    assert_eq!(replayed.status, 200, "{}", replayed.text);
    let seen = receiver.await_seen("shop", |seen| seen.len() == 5);
    // Those of several payments go at once.
    assert_eq!(sorted(&ids(&seen[3..])), sorted(&first[1..]));
    // One that was never told of an event is not moved past those before it.
    let late = endpoint(&world, &receiver, "late", &["payment.captured"]);
    receiver.script("late", &json!({ "always": { "status": 410 } }));
    for amount in [2_000, 2_001] {
        world.pay(CARD, amount).unwrap();
    }
    await_endpoint(&world, &late, |it| it.text_at("/status") == "disabled");
    let newest = events(&world)
        .into_iter()
        .rfind(|it| it["type"] == "payment.captured")
        .unwrap();
    receiver.script("late", &json!({ "always": { "status": 204 } }));
    let path = format!("/v1/webhook_endpoints/{}/replay", late.text_at("/id"));
    assert_eq!(world.post(&path, &json!({ "from": newest["id"] })).unwrap().status, 200);
    does(&world, &late, "enable");
    receiver.await_seen("late", |seen| {
        let taken = seen.iter().filter(|it| it["answered"] == 204);
        taken
            .map(|it| it["told"]["data"]["amount"].clone())
            .collect::<HashSet<_>>()
            .len()
            == 2
    });
    receiver.await_seen("shop", |seen| seen.len() == 7);
    world.pay(CARD, 1_003).unwrap();
    assert_eq!(receiver.await_seen("shop", |seen| seen.len() == 8).len(), 8);
    world.kill_host().unwrap();
    world.start_host().unwrap();
    let key = made.text_at("/public_key");
    assert!(key.starts_with("whpk_") && key == late.text_at("/public_key"), "{key}");
    assert_eq!(shown(&world, &made).text_at("/public_key"), key);
}

/// Asked for while the first delivery of that very event is under way: what is noted of that does not pass the replay over.
#[test]
fn a_replay_is_not_lost_to_a_delivery_that_is_under_way() {
    let (world, receiver) = (world(), Receiver::start());
    world.pay(CARD, 500).unwrap();
    let before = events(&world).len();
    let made = endpoint(&world, &receiver, "shop", &["payment.captured"]);
    receiver.script("shop", &json!({ "answers": [{ "status": 204, "delay": 3 }] }));
    world.pay(CARD, 1_000).unwrap();
    // It has come, and is not answered yet.
    let seen = receiver.await_seen("shop", |seen| seen.len() == 1);
    let first = events(&world).into_iter().nth(before).unwrap();
    assert_eq!(shown(&world, &made).body["delivered"], 0);
    let path = format!("/v1/webhook_endpoints/{}/replay", made.text_at("/id"));
    assert_eq!(world.post(&path, &json!({ "from": first["id"] })).unwrap().status, 200);
    let again = receiver.await_seen("shop", |seen| seen.len() == 2);
    assert_eq!(ids(&again[1..]), ids(&seen));
    await_endpoint(&world, &made, |it| it.body["delivered"] == 2);
}

#[test]
fn what_is_no_endpoint_is_refused_with_the_reason() {
    let world = World::start(Options::default()).unwrap();
    let first = |body: &Value| {
        let reply = world.post("/v1/webhook_endpoints", body).unwrap();
        let (pointer, code) = (reply.text_at("/errors/0/pointer"), reply.text_at("/errors/0/code"));
        (reply.status, pointer.to_owned(), code.to_owned())
    };
    let refused = |pointer: &str, code: &str| (422, pointer.to_owned(), code.to_owned());
    let url = "https://127.0.0.1:9/hooks";
    assert_eq!(first(&json!({})), refused("/url", "missing"));
    assert_eq!(
        first(&json!({ "url": "http://shop.example/" })),
        refused("/url", "invalid_url")
    );
    assert_eq!(
        first(&json!({ "url": url, "events": "all" })),
        refused("/events", "wrong_type")
    );
    assert_eq!(
        first(&json!({ "url": url, "events": ["payment.captured", "payment.paid"] })),
        refused("/events/1", "unknown_event")
    );
    assert_eq!(
        first(&json!({ "url": url, "enabled": true })),
        refused("/enabled", "unknown_field")
    );
    let long = "x".repeat(201);
    assert_eq!(
        first(&json!({ "url": url, "description": long })),
        refused("/description", "too_long")
    );
    // It may be made; that the address is nobody's but the router's own is found out when it is sent to.
    let made = world.post("/v1/webhook_endpoints", &json!({ "url": url })).unwrap();
    assert_eq!(made.status, 200, "{}", made.text);
    let tried = does(&world, &made, "test");
    assert_eq!(tried.body["delivered"], false);
    assert!(tried.text_at("/error").contains("no public address"), "{}", tried.text);
    assert!(!tried.text.contains("127.0.0.1"), "{}", tried.text);
    for n in 1..16 {
        let more = world
            .post("/v1/webhook_endpoints", &json!({ "url": format!("{url}/{n}") }))
            .unwrap();
        assert_eq!(more.status, 200, "{}", more.text);
    }
    let one_more = world.post("/v1/webhook_endpoints", &json!({ "url": url })).unwrap();
    assert_eq!(
        (one_more.status, one_more.text_at("/code")),
        (409, "too_many_endpoints")
    );
    // Another merchant's is not there.
    let other = world.new_key("other").unwrap();
    let path = format!("/v1/webhook_endpoints/{}/remove", made.text_at("/id"));
    assert_eq!(
        world
            .post_as(&other, &path, &json!({}), &world.fresh_key())
            .unwrap()
            .status,
        404
    );
    assert_eq!(shown(&world, &made).status, 200);
}

/// One that is back takes a probe, or a test message, and then everything: nobody has to say so.
#[test]
fn an_endpoint_that_is_back_is_told_everything_by_itself() {
    let (world, receiver) = (world(), Receiver::start());
    let made = endpoint(&world, &receiver, "shop", &[]);
    receiver.script("shop", &json!({ "always": { "status": 500 } }));
    for n in 0..4 {
        world.pay(&portolan_tests::card_number(n), 1_000).unwrap();
    }
    await_endpoint(&world, &made, |it| it.text_at("/status") == "failing");
    receiver.script("shop", &json!({ "always": { "status": 204 } }));
    let all = events(&world).len();
    let back = await_endpoint(&world, &made, |it| it.body["delivered"] == all);
    let how = (back.text_at("/status"), &back.body["waiting"], &back.body["given_up"]);
    assert_eq!(how, ("enabled", &json!(0), &json!(0)), "{}", back.text);
    // And by a test message, at once.
    receiver.script("shop", &json!({ "always": { "status": 500 } }));
    for n in 4..8 {
        world.pay(&portolan_tests::card_number(n), 1_000).unwrap();
    }
    await_endpoint(&world, &made, |it| it.text_at("/status") == "failing");
    receiver.script("shop", &json!({ "always": { "status": 204 } }));
    assert_eq!(does(&world, &made, "test").body["delivered"], true);
    let all = events(&world).len();
    await_endpoint(&world, &made, |it| it.body["delivered"] == all);
}

/// A merchant's receivers hang, and others are told all the same.
#[test]
fn who_answers_slowly_holds_up_nobody_else() {
    let (mut world, receiver) = (world(), Receiver::start());
    let slow: Vec<Reply> = (0..6)
        .map(|n| endpoint(&world, &receiver, &format!("slow-{n}"), &[]))
        .collect();
    for n in 0..6 {
        receiver.script(
            &format!("slow-{n}"),
            &json!({ "always": { "status": 200, "delay": 12 } }),
        );
    }
    world.pay(CARD, 1_000).unwrap();
    receiver.await_seen("slow-0", |seen| !seen.is_empty());
    // Another merchant's.
    let first = world.key.clone();
    world.key = world.new_key("other").unwrap();
    let tried = json!({ "url": receiver.url("quick"), "events": ["payment.created"] });
    let made = world.post("/v1/webhook_endpoints", &tried).unwrap();
    assert_eq!(made.status, 200, "{}", made.text);
    let begun = Instant::now();
    let body = json!({ "amount": 1_000, "currency": "EUR" });
    assert_eq!(world.post("/v1/payments", &body).unwrap().status, 200);
    receiver.await_seen("quick", |seen| seen.len() == 1);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    world.key = first;
    // An operator ends what a merchant's stolen key made.
    let path = format!("/admin/webhooks/{}/remove", slow[0].text_at("/id"));
    let word = json!({ "by": "ann", "reason": "the key was stolen" });
    assert_eq!(world.admin_call("POST", &path, Some(&word)).unwrap().status, 200);
    assert_eq!(world.admin_call("POST", &path, Some(&word)).unwrap().status, 404);
    // It stops although they hang.
    let begun = Instant::now();
    assert!(world.stop_host().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
