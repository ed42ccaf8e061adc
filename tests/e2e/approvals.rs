//! Orders that a merchant's people approve, with passkeys made and used by a library of others, as a browser does: bound to the order,
//! once, by enough people; and what proves it afterwards, checked by openssl.

use crate::cross_border::{eur_to_hkd, pay};
use crate::payouts::{to_hong_kong, with_money};
use portolan_tests::http::raw;
use portolan_tests::passkeys::Person;
use portolan_tests::{Reply, World, binary};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::process::Command;
use url::Url;

const OFFICE: &str = "https://office.shop.example";

pub fn approve(person: &mut Person, asked: &Reply) -> Value {
    person.get(OFFICE, &asked.body["approval"]["options"]).unwrap()
}

pub fn set(world: &World, people: u8, free: Value) {
    let terms = json!({ "rp_id": "shop.example", "origins": [OFFICE], "people": people, "free": free });
    let ask = json!({ "by": "olga", "terms": terms });
    let set = world
        .admin_call("POST", "/admin/approvals/shop/test", Some(&ask))
        .unwrap();
    assert_eq!(set.status, 200, "{}", set.text);
}

fn invite(world: &World, name: &str) -> Reply {
    let ask = json!({ "by": "olga", "name": name });
    let made = world
        .admin_call("POST", "/admin/approvals/shop/test/invite", Some(&ask))
        .unwrap();
    assert_eq!(made.status, 200, "{}", made.text);
    made
}

fn options(world: &World, code: &str) -> Reply {
    world.post("/v1/approvers/options", &json!({ "invite": code })).unwrap()
}

fn register(world: &World, code: &str, credential: &Value) -> Reply {
    let body = json!({ "invite": code, "credential": credential });
    world.post("/v1/approvers", &body).unwrap()
}

/// A payout that somebody approves, and the code by which they were invited.
pub fn pay_out_approved(world: &World, change: impl FnOnce(&mut Value)) -> (Reply, String) {
    set(world, 1, json!({}));
    let invited = invite(world, "Mei Wong");
    let (mut mei, _) = join(world, &invited, false);
    let mut order = to_hong_kong(20_000);
    change(&mut order);
    let asked = pay_out(world, &order, "k-approved");
    let paid = pay_out(
        world,
        &approved(&order, &asked, &[approve(&mut mei, &asked)]),
        "k-approved",
    );
    (paid, invited.text_at("/invite").to_owned())
}

/// Somebody of that name, with a passkey that the router knows.
pub fn approver(world: &World, name: &str, counts: bool) -> (Person, String) {
    join(world, &invite(world, name), counts)
}

fn join(world: &World, invited: &Reply, counts: bool) -> (Person, String) {
    let mut person = Person::new(counts);
    let code = invited.text_at("/invite");
    let made = person.create(OFFICE, &options(world, code).body["options"]).unwrap();
    let registered = register(world, code, &made);
    assert_eq!(registered.text_at("/status"), "registered", "{}", registered.text);
    assert_eq!(registered.text_at("/id"), invited.text_at("/approver"));
    let id = registered.text_at("/id").to_owned();
    let confirmed = confirm(world, &id, registered.text_at("/key"));
    assert_eq!(confirmed.status, 200, "{}", confirmed.text);
    (person, id)
}

/// The person has told the operator which key it is.
fn confirm(world: &World, id: &str, key: &str) -> Reply {
    let ask = json!({ "by": "olga", "approver": id, "key": key });
    world
        .admin_call("POST", "/admin/approvals/shop/test/confirm", Some(&ask))
        .unwrap()
}

/// The order with what the people answered.
pub fn approved(order: &Value, asked: &Reply, credentials: &[Value]) -> Value {
    let mut order = order.clone();
    order["approval"] = json!({ "asked_at": asked.body["approval"]["asked_at"], "credentials": credentials });
    order
}

fn pay_out(world: &World, order: &Value, key: &str) -> Reply {
    world.post_with_key("/v1/payouts", order, key).unwrap()
}

fn told(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.text_at("/code"))
}

#[test]
fn what_goes_out_waits_for_a_person_and_their_approval_is_of_that_order_alone() {
    let mut world = with_money(10_000);
    let order = to_hong_kong(20_000);
    set(&world, 1, json!({ "HKD": 500 }));
    let nobody = pay_out(&world, &order, "k-0");
    assert_eq!(told(&nobody), (403, "no_approvers"), "{}", nobody.text);
    let small = pay_out(&world, &to_hong_kong(300), "k-small");
    assert_eq!(small.status, 200, "{}", small.text);
    let more = pay_out(&world, &to_hong_kong(201), "k-small-2");
    assert_eq!(told(&more), (403, "no_approvers"), "enough for a day: {}", more.text);
    let (mut mei, id) = approver(&world, "Mei Wong", false);
    let asked = pay_out(&world, &order, "k-1");
    assert_eq!(told(&asked), (403, "approval_required"), "{}", asked.text);
    let text = asked.text_at("/approval/text");
    for part in [
        "shop (test)",
        "200.00 HKD",
        "Kowloon Lamps Ltd",
        "123456789001",
        "k-1",
        "invoice 4711",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let challenge = base64_url(&Sha256::digest(text));
    assert_eq!(asked.text_at("/approval/options/challenge"), challenge);
    assert_eq!(asked.text_at("/approval/options/userVerification"), "required");
    let answer = approve(&mut mei, &asked);
    // Another key, another amount, another account, another text: nobody approved that.
    for (order, key) in [
        (order.clone(), "k-2"),
        (to_hong_kong(20_001), "k-1"),
        (with_account(&order, "123456789002"), "k-1"),
        (with_reference(&order, "invoice 4712"), "k-1"),
    ] {
        let other = pay_out(&world, &approved(&order, &asked, std::slice::from_ref(&answer)), key);
        assert_eq!(told(&other), (403, "approval_invalid"), "{}", other.text);
    }
    let good = approved(&order, &asked, &[answer]);
    let paid = pay_out(&world, &good, "k-1");
    assert_eq!(paid.status, 200, "{}", paid.text);
    // Again, with it or without, after a restart too: the same payout, and nothing else.
    world.kill_host().unwrap();
    world.start_host().unwrap();
    for again in [&good, &order] {
        let again = pay_out(&world, again, "k-1");
        assert_eq!(
            (again.status, again.text_at("/id")),
            (200, paid.text_at("/id")),
            "{}",
            again.text
        );
    }
    let reused = pay_out(&world, &to_hong_kong(20_001), "k-1");
    assert_eq!(told(&reused), (422, "idempotency_key_reused"), "{}", reused.text);
    let shown = world.get("/v1/approvals").unwrap();
    assert_eq!(shown.text_at("/approvers/0/name"), "Mei Wong", "{}", shown.text);
    // Whoever left approves nothing more, whenever they signed.
    let asked = pay_out(&world, &order, "k-3");
    let answer = approve(&mut mei, &asked);
    let ask = json!({ "by": "olga", "approver": id });
    let removed = world
        .admin_call("POST", "/admin/approvals/shop/test/remove", Some(&ask))
        .unwrap();
    assert_eq!(removed.status, 200, "{}", removed.text);
    let late = pay_out(&world, &approved(&order, &asked, &[answer]), "k-3");
    assert_eq!(told(&late), (403, "approval_invalid"), "{}", late.text);
    assert_eq!(
        world.get("/v1/payouts").unwrap().body["data"].as_array().unwrap().len(),
        2
    );
    world.assert_books().unwrap();
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn with_account(order: &Value, number: &str) -> Value {
    let mut order = order.clone();
    order["beneficiary"]["account"]["account_number"] = number.into();
    order
}

fn with_reference(order: &Value, text: &str) -> Value {
    let mut order = order.clone();
    order["reference"] = text.into();
    order
}

#[test]
fn a_finger_counts_on_the_merchants_page_and_in_time() {
    let world = with_money(10_000);
    set(&world, 1, json!({}));
    let invited = invite(&world, "Mei Wong");
    let code = invited.text_at("/invite");
    assert_eq!(told(&options(&world, "inv_00")), (403, "not_invited"));
    let mut mei = Person::new(false);
    let asked = options(&world, code);
    let made = mei.create(OFFICE, &asked.body["options"]).unwrap();
    let unknown = register(&world, "inv_00", &made);
    assert_eq!(told(&unknown), (403, "not_invited"), "{}", unknown.text);
    // A passkey for another invitation, or of nobody whose finger lay there.
    let other = invite(&world, "Ruth");
    let wrong = register(&world, other.text_at("/invite"), &made);
    assert_eq!(told(&wrong), (422, "invalid_request"), "{}", wrong.text);
    let mut nobody = Person::new(false);
    nobody.lay_finger(false);
    if let Ok(made) = nobody.create(OFFICE, &asked.body["options"]) {
        let unverified = register(&world, code, &made);
        assert_eq!(
            unverified.text_at("/errors/0/code"),
            "invalid_passkey",
            "{}",
            unverified.text
        );
    }
    let registered = register(&world, code, &made);
    let confirmed = confirm(&world, registered.text_at("/id"), registered.text_at("/key"));
    assert_eq!(confirmed.status, 200, "{}", confirmed.text);
    assert_eq!(told(&register(&world, code, &made)), (403, "not_invited"), "taken once");

    let order = to_hong_kong(20_000);
    let asked = pay_out(&world, &order, "k-1");
    let page = "https://other.shop.example";
    let elsewhere = mei.get(page, &asked.body["approval"]["options"]).unwrap();
    let refused = pay_out(&world, &approved(&order, &asked, &[elsewhere]), "k-1");
    assert_eq!(told(&refused), (403, "approval_invalid"), "{}", refused.text);
    mei.lay_finger(false);
    if let Ok(unverified) = mei.get(OFFICE, &asked.body["approval"]["options"]) {
        let refused = pay_out(&world, &approved(&order, &asked, &[unverified]), "k-1");
        assert_eq!(told(&refused), (403, "approval_invalid"), "{}", refused.text);
    }
    mei.lay_finger(true);
    let answer = approve(&mut mei, &asked);
    let mut late = approved(&order, &asked, std::slice::from_ref(&answer));
    for (shift, code) in [(-1_000_i64, "approval_expired"), (60, "approval_ahead")] {
        late["approval"]["asked_at"] = json!(asked.body["approval"]["asked_at"].as_i64().unwrap() + shift);
        let refused = pay_out(&world, &late, "k-1");
        assert_eq!(told(&refused), (403, code), "{}", refused.text);
        assert_ne!(refused.text_at("/approval/text"), "", "asked anew: {}", refused.text);
    }
    for (approval, pointer) in [
        (json!({}), "/approval/asked_at"),
        (json!({ "asked_at": 1, "credentials": [] }), "/approval/credentials"),
        (json!({ "asked_at": 1, "credentials": "x" }), "/approval/credentials"),
        (
            json!({ "asked_at": 1, "credentials": [{}], "by": "me" }),
            "/approval/by",
        ),
        (json!([]), "/approval"),
    ] {
        let mut order = order.clone();
        order["approval"] = approval;
        let refused = pay_out(&world, &order, "k-1");
        assert_eq!(
            (refused.status, refused.text_at("/errors/0/pointer")),
            (422, pointer),
            "{}",
            refused.text
        );
    }
    for rubbish in [
        json!({}),
        json!({ "id": "x", "rawId": "eA", "type": "public-key", "response": {} }),
    ] {
        let refused = pay_out(&world, &approved(&order, &asked, &[rubbish]), "k-1");
        assert_eq!(told(&refused), (403, "approval_invalid"), "{}", refused.text);
    }
    assert_eq!(pay_out(&world, &approved(&order, &asked, &[answer]), "k-1").status, 200);
    world.assert_books().unwrap();
}

#[test]
fn two_people_are_two_people_and_orders_come_as_they_like() {
    let world = with_money(10_000);
    set(&world, 2, json!({}));
    // One has a device that counts how often it signs.
    let (mut mei, _) = approver(&world, "Mei Wong", true);
    let order = to_hong_kong(20_000);
    let early = pay_out(&world, &order, "k-1");
    assert_eq!(told(&early), (403, "no_approvers"), "one is too few");
    let (mut ruth, _) = approver(&world, "Ruth Klein", false);
    let asked = pay_out(&world, &order, "k-1");
    assert_eq!(asked.body["approval"]["people"], 2, "{}", asked.text);
    let (first, second) = (approve(&mut mei, &asked), approve(&mut ruth, &asked));
    for answers in [vec![first.clone()], vec![second.clone(), second.clone()]] {
        let refused = pay_out(&world, &approved(&order, &asked, &answers), "k-1");
        assert_eq!(told(&refused), (403, "approval_invalid"), "{}", refused.text);
    }
    // What is approved later may come first.
    let later = pay_out(&world, &order, "k-2");
    let answers = [approve(&mut mei, &later), approve(&mut ruth, &later)];
    let paid = pay_out(&world, &approved(&order, &later, &answers), "k-2");
    assert_eq!(paid.status, 200, "{}", paid.text);
    let good = approved(&order, &asked, &[first, second]);
    let all: Vec<Reply> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..4).map(|_| scope.spawn(|| pay_out(&world, &good, "k-1"))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let in_flight = |it: &&Reply| it.text_at("/code") == "idempotency_key_in_flight";
    let taken: Vec<&Reply> = all.iter().filter(|it| it.status == 200).collect();
    assert_eq!(taken.len() + all.iter().filter(in_flight).count(), 4, "{all:?}");
    assert!(taken.iter().all(|it| it.text_at("/id") == taken[0].text_at("/id")));
    // Nobody is asked for what cannot be done; what was refused for another reason may be tried again as it is.
    let refused = pay_out(&world, &to_hong_kong(8_000_000), "k-3");
    assert_eq!(told(&refused), (409, "insufficient_balance"), "{}", refused.text);
    let (rest, more) = (to_hong_kong(44_000), to_hong_kong(40_000));
    let asked = [pay_out(&world, &rest, "k-4"), pay_out(&world, &more, "k-5")];
    let answers = asked
        .each_ref()
        .map(|it| [approve(&mut mei, it), approve(&mut ruth, it)]);
    assert_eq!(
        pay_out(&world, &approved(&more, &asked[1], &answers[1]), "k-5").status,
        200
    );
    for _ in 0..2 {
        let refused = pay_out(&world, &approved(&rest, &asked[0], &answers[0]), "k-4");
        assert_eq!(told(&refused), (409, "insufficient_balance"), "{}", refused.text);
    }
    assert_eq!(
        world.get("/v1/payouts").unwrap().body["data"].as_array().unwrap().len(),
        3
    );
    world.assert_books().unwrap();
}

/// Someone else may have come by the invitation: a passkey counts once an operator was told its fingerprint.
#[test]
fn a_passkey_counts_once_its_owner_has_told_the_operator_which_it_is() {
    let world = with_money(10_000);
    set(&world, 1, json!({}));
    let (mut thief, invited) = (Person::new(false), invite(&world, "Mei Wong"));
    let (code, id) = (invited.text_at("/invite"), invited.text_at("/approver"));
    let made = thief.create(OFFICE, &options(&world, code).body["options"]).unwrap();
    let mut foreign = made.clone();
    let other = Person::new(false)
        .create(OFFICE, &options(&world, code).body["options"])
        .unwrap();
    foreign["response"]["publicKey"] = other["response"]["publicKey"].clone();
    let refused = register(&world, code, &foreign);
    assert_eq!(refused.text_at("/errors/0/code"), "invalid_passkey", "{}", refused.text);
    let registered = register(&world, code, &made);
    assert_eq!(registered.text_at("/status"), "registered", "{}", registered.text);
    let order = to_hong_kong(20_000);
    assert_eq!(told(&pay_out(&world, &order, "k-1")), (403, "no_approvers"));
    let key = registered.text_at("/key");
    for wrong in ["", &key[..15], &"0".repeat(16)] {
        assert_eq!(confirm(&world, id, wrong).status, 422);
    }
    // The same device for somebody else's invitation too.
    let second = invite(&world, "Ruth Klein");
    let again = register(&world, second.text_at("/invite"), &made);
    assert_eq!(again.status, 422, "{}", again.text);
    assert_eq!(
        confirm(&world, second.text_at("/approver"), key).status,
        422,
        "no passkey yet"
    );
    let spaced = format!("{} {}", &key[..8].to_uppercase(), &key[8..16]);
    assert_eq!(confirm(&world, id, &spaced).status, 200);
    assert_eq!(told(&pay_out(&world, &order, "k-1")), (403, "approval_required"));
    let shown = world.get("/v1/approvals").unwrap();
    assert_eq!(shown.text_at("/approvers/0/status"), "confirmed", "{}", shown.text);
}

/// What was made before people had to approve, or is approved by somebody who left, is asked for when it is confirmed.
#[test]
fn what_was_made_before_is_approved_when_it_is_confirmed() {
    let world = with_money(10_000);
    let deliver = json!({ "beneficiary": to_hong_kong(1)["beneficiary"], "reference": "invoice 9" });
    let quote = eur_to_hkd(&world, 5_000);
    let order = json!({ "amount": 5_000, "currency": "EUR", "deliver": deliver, "quote": quote.text_at("/id"),
        "payment_method": world.store_card("4242424242424242").unwrap() });
    let made = world.post("/v1/payments", &order).unwrap();
    assert_eq!(made.text_at("/status"), "requires_confirmation", "{}", made.text);
    set(&world, 1, json!({}));
    let (mut mei, _) = approver(&world, "Mei Wong", false);
    let path = format!("/v1/payments/{}/confirm", made.text_at("/id"));
    let post = |body: &Value| world.post_with_key(&path, body, "k-1").unwrap();
    let with_code = post(&json!({ "security_code": "123" }));
    assert_eq!(
        with_code.text_at("/errors/0/code"),
        "not_approved",
        "{}",
        with_code.text
    );
    let asked = post(&json!({}));
    assert_eq!(told(&asked), (403, "approval_required"), "{}", asked.text);
    let paid = post(&approved(&json!({}), &asked, &[approve(&mut mei, &asked)]));
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    let payout = paid.text_at("/delivery/payout");
    let told = world
        .admin_call("GET", &format!("/admin/payments/{payout}/orders"), None)
        .unwrap();
    assert_eq!(
        told.text_at("/approvals/0/by/0/name"),
        "Mei Wong",
        "asked by the payout's id: {}",
        told.text
    );
}

/// What was free when it was made is not counted again when it is confirmed.
#[test]
fn what_is_free_is_counted_once() {
    let world = with_money(10_000);
    set(&world, 1, json!({ "HKD": 5_000 }));
    let deliver = json!({ "beneficiary": to_hong_kong(1)["beneficiary"], "reference": "invoice 9" });
    let make = || {
        let quote = eur_to_hkd(&world, 500);
        let order = json!({ "amount": 500, "currency": "EUR", "deliver": deliver, "quote": quote.text_at("/id"),
            "payment_method": world.store_card("4242424242424242").unwrap() });
        world.post("/v1/payments", &order).unwrap()
    };
    let made = make();
    assert_eq!(made.text_at("/status"), "requires_confirmation", "{}", made.text);
    let paid = world.post(&format!("/v1/payments/{}/confirm", made.text_at("/id")), &json!({}));
    assert_eq!(paid.unwrap().text_at("/status"), "succeeded");
    let second = make();
    assert_eq!(
        told(&second),
        (403, "no_approvers"),
        "42.00 of 50.00 HKD are used: {}",
        second.text
    );
}

/// A router that took over knows who approves; what was asked before it began is asked anew.
#[test]
fn who_takes_over_asks_the_same_people() {
    let mut world = with_money(10_000);
    world.stand_by().unwrap();
    set(&world, 1, json!({}));
    let (mut mei, _) = approver(&world, "Mei Wong", false);
    let order = to_hong_kong(20_000);
    let before = pay_out(&world, &order, "k-1");
    let early = approve(&mut mei, &before);
    world.kill_host().unwrap();
    world.await_takeover().unwrap();
    let mut asked = pay_out(&world, &approved(&order, &before, &[early]), "k-1");
    // Within the second in which it took over it cannot tell.
    if asked.status != 200 {
        assert_eq!(told(&asked), (403, "approval_expired"), "{}", asked.text);
        asked = pay_out(&world, &approved(&order, &asked, &[approve(&mut mei, &asked)]), "k-1");
    }
    assert_eq!(asked.status, 200, "{}", asked.text);
    assert_eq!(told(&pay_out(&world, &order, "k-2")), (403, "approval_required"));
    world.assert_books().unwrap();
}

/// A client that goes away in the middle leaves nothing half changed: what is on disk is what counts.
#[test]
fn who_hangs_up_changes_all_or_nothing() {
    let world = with_money(10_000);
    set(&world, 1, json!({}));
    let (_, first) = approver(&world, "Mei Wong", false);
    let token = std::fs::read_to_string(world.data().join("admin.token")).unwrap();
    let body = json!({ "by": "olga", "approver": first }).to_string();
    let request = format!(
        "POST /admin/approvals/shop/test/remove HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        token.trim(),
        body.len()
    );
    let mut stream = std::net::TcpStream::connect(world.admin).unwrap();
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    drop(stream);
    let gone = |reply: &Reply| reply.body["approvers"].as_array().unwrap().is_empty();
    let is_heard = portolan_tests::await_until(|| gone(&world.get("/v1/approvals").unwrap()));
    // It may have been cut before it was read: then nothing happened.
    let all = world.admin_call("GET", "/admin/approvals", None).unwrap();
    let version = all.body["merchants"][0]["version"].as_u64().unwrap();
    let (mut ruth, _) = approver(&world, "Ruth Klein", false);
    let after = world.admin_call("GET", "/admin/approvals", None).unwrap();
    assert_eq!(
        after.body["merchants"][0]["version"].as_u64().unwrap(),
        version + 3,
        "{is_heard:?}: {}",
        after.text
    );
    let asked = pay_out(&world, &to_hong_kong(20_000), "k-1");
    let paid = pay_out(
        &world,
        &approved(&to_hong_kong(20_000), &asked, &[approve(&mut ruth, &asked)]),
        "k-1",
    );
    assert_eq!(paid.status, 200, "{}", paid.text);
}

#[test]
fn money_that_goes_on_is_approved_too_and_what_was_approved_proves_itself() {
    let world = with_money(10_000);
    set(&world, 1, json!({}));
    let (mut mei, id) = approver(&world, "Mei Wong", false);
    let deliver = json!({ "beneficiary": to_hong_kong(1)["beneficiary"], "reference": "invoice 9" });
    let quote = eur_to_hkd(&world, 5_000);
    let method = world.store_card("4242424242424242").unwrap();
    let order = json!({ "amount": 5_000, "currency": "EUR", "payment_method": method, "confirm": true, "deliver": deliver,
        "quote": quote.text_at("/id") });
    let post = |order: &Value| world.post_with_key("/v1/payments", order, "k-1").unwrap();
    let asked = post(&order);
    assert_eq!(told(&asked), (403, "approval_required"), "{}", asked.text);
    assert!(asked.text_at("/approval/text").contains("420.06 HKD"), "{}", asked.text);
    let paid = post(&approved(&order, &asked, &[approve(&mut mei, &asked)]));
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    // A payment that stays is nobody's to approve.
    let stays = pay(&world, &eur_to_hkd(&world, 1_000), &json!({}));
    assert_eq!(stays.status, 200, "{}", stays.text);

    let told = world.admin_call("GET", &format!("/admin/payments/{}/orders", paid.text_at("/id")), None);
    let told = told.unwrap();
    assert_eq!(told.text_at("/approvals/0/by/0/approver"), id, "{}", told.text);
    assert_eq!(told.text_at("/approvals/0/text"), asked.text_at("/approval/text"));
    let proof = world.folder.join("proof");
    let shown = Command::new(binary("portolan"))
        .arg("--config")
        .arg(world.config())
        .args(["orders", paid.text_at("/id"), "--into"])
        .arg(&proof)
        .output()
        .unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let verify = || Command::new("sh").arg(proof.join("verify.sh")).output().unwrap();
    let good = verify();
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(good.status.success() && said.contains("Mei Wong"), "{said}");
    let text = proof.join("approved-1.text");
    let forged = std::fs::read_to_string(&text).unwrap().replace("420.06", "920.06");
    std::fs::write(&text, forged).unwrap();
    assert!(!verify().status.success());
    world.assert_books().unwrap();
}

#[test]
fn operators_say_what_is_approved_and_are_told_what_is_wrong() {
    let world = with_money(10_000);
    let post = |path: &str, body: &Value| world.admin_call("POST", path, Some(body)).unwrap();
    let path = "/admin/approvals/shop/test";
    let early = post(&format!("{path}/invite"), &json!({ "by": "olga", "name": "Mei" }));
    assert_eq!(early.status, 404, "{}", early.text);
    for (field, value) in [
        ("rp_id", json!("Shop.example")),
        ("rp_id", json!("127.0.0.1")),
        ("rp_id", json!("example")),
        ("rp_id", json!("co.uk")),
        ("origins", json!([])),
        ("origins", json!(["http://office.shop.example"])),
        ("origins", json!(["https://office.shop.example/pay"])),
        ("origins", json!(["https://shop.example.evil.example"])),
        ("origins", json!(["https://evilshop.example"])),
        ("people", json!(0)),
        ("people", json!(4)),
        ("free", json!({ "XXQ": 1 })),
        ("free", json!({ "EUR": -1 })),
        ("color", json!(1)),
    ] {
        let mut terms = json!({ "rp_id": "shop.example", "origins": [OFFICE], "people": 1 });
        terms[field] = value.clone();
        let refused = post(path, &json!({ "by": "olga", "terms": terms }));
        assert_eq!(refused.status, 422, "{field} {value}: {}", refused.text);
        assert_ne!(refused.text_at("/detail"), "", "{field} {value}: {}", refused.text);
    }
    set(&world, 1, json!({}));
    approver(&world, "Mei", false);
    let moved = json!({ "rp_id": "other.example", "origins": ["https://other.example"], "people": 1 });
    let refused = post(path, &json!({ "by": "olga", "terms": moved }));
    assert_eq!(refused.status, 422, "{}", refused.text);
    for name in ["", " ", "a\nb", &"x".repeat(101)] {
        let refused = post(&format!("{path}/invite"), &json!({ "by": "olga", "name": name }));
        assert_eq!(refused.status, 422, "{name:?}: {}", refused.text);
    }
    assert_eq!(
        told(&pay_out(&world, &to_hong_kong(20_000), "k-1")),
        (403, "approval_required")
    );
    let lifted = post(&format!("{path}/lift"), &json!({ "by": "olga" }));
    assert_eq!(lifted.status, 200, "{}", lifted.text);
    assert_eq!(pay_out(&world, &to_hong_kong(20_000), "k-1").status, 200);
    let acts = world.admin_call("GET", "/admin/audit/acts", None).unwrap();
    for verb in [
        "approvals.set",
        "approver.invite",
        "approver.register",
        "approvals.lift",
    ] {
        assert!(acts.text.contains(verb), "{verb}: {}", acts.text);
    }
    let chain = world.admin_call("GET", "/admin/audit/verify", None).unwrap();
    assert_eq!(chain.body["intact"], true, "{}", chain.text);
}

#[test]
fn the_example_of_an_office_serves_its_page_and_nobody_elses() {
    let mut world = with_money(1_000);
    let office = world.start_office().unwrap();
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], Url::parse(&office).unwrap().port().unwrap()));
    let host = office.strip_prefix("http://").unwrap();
    let ask = |path: &str, host: &str, origin: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nconnection: close\r\n\r\n");
        raw(at, &request).unwrap()
    };
    let page = ask("/", host, &office);
    assert!(
        page.status == 200 && page.text.contains("parseRequestOptionsFromJSON"),
        "{}",
        page.text
    );
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'none'")
    );
    let ask = |path: &str, host: &str, origin: &str| ask(path, host, origin).status;
    assert_eq!(ask("/v1/balances", host, &office), 200);
    assert_eq!(ask("/v1/balances", "evil.example", &office), 403);
    assert_eq!(ask("/v1/balances", host, "http://evil.example"), 403);
    assert_eq!(ask("/v1/payments", host, &office), 404);
}
