//! Limits and stopping: large, slow and many; a full disk; a graceful stop.

use crate::cross_border::{eur_to_hkd, pay, until_settled, with_desks};
use crate::flows::browse;
use crate::payments::silent;
use crate::payouts::to_hong_kong;
use portolan_tests::{Options, Reply, World, call};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn oversized_and_slow_bodies() {
    let world = World::start(silent()).unwrap();
    let large = world
        .post("/v1/payments", &json!({ "description": "x".repeat(70_000) }))
        .unwrap();
    assert_eq!((large.status, large.text_at("/code")), (413, "body_too_large"));
    let mut slow = TcpStream::connect(world.api).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST /v1/payments HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         idempotency-key: slow\r\ncontent-length: 100\r\n\r\n{{",
        world.key
    );
    slow.write_all(head.as_bytes()).unwrap();
    // Others are served meanwhile, and the slow one is told.
    assert_eq!(world.get("/v1/payments").unwrap().status, 200);
    let mut reply = [0; 64];
    let read = slow.read(&mut reply).unwrap();
    assert!(
        String::from_utf8_lossy(&reply[..read]).starts_with("HTTP/1.1 408"),
        "{reply:?}"
    );
}

#[test]
fn a_disk_that_is_nearly_full_takes_no_new_money() {
    // More than any disk has: the floor is reached from the start.
    let world = World::start(Options {
        store: "disk_floor_mb = 1000000000".into(),
        ..silent()
    })
    .unwrap();
    let refused = world
        .post("/v1/payments", &json!({ "amount": 1, "currency": "EUR" }))
        .unwrap();
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1")),
        "{}",
        refused.text
    );
    let paid = world.pay("4242424242424242", 1099).unwrap();
    assert_eq!(paid.status, 503);
    assert_eq!(world.records().unwrap()["charges"], json!([]), "nothing was sent");
    assert_eq!(world.get("/v1/payments").unwrap().status, 200, "reading goes on");
}

#[test]
fn a_stop_drains_and_a_second_signal_is_safe() {
    let mut world = World::start(silent()).unwrap();
    let method = world.store_card("4242424242424242").unwrap();
    let body = json!({ "amount": 10_901, "currency": "EUR", "payment_method": method, "confirm": true });
    // A payment that takes the adapter's whole timeout is in flight while the host is told to stop.
    let told = std::thread::scope(|scope| {
        let paying = scope.spawn(|| world.post_with_key("/v1/payments", &body, "in-flight").unwrap());
        while world.records().unwrap()["charges"].as_array().is_none_or(Vec::is_empty) {
            std::thread::yield_now();
        }
        world.signal_host(rustix::process::Signal::TERM).unwrap();
        paying.join().unwrap()
    });
    assert_eq!(
        (told.status, told.text_at("/outcome")),
        (200, "unknown"),
        "{}",
        told.text
    );
    assert!(world.await_host_end().unwrap().success());
    world.start_host().unwrap();
    let known = world
        .await_payment(told.text_at("/id"), |reply| reply.text_at("/status") == "succeeded")
        .unwrap();
    assert_eq!(world.charges_of(known.text_at("/id")).unwrap().len(), 1);
    world.assert_books().unwrap();
}

#[test]
fn health_readiness_and_metrics() {
    let world = World::start(silent()).unwrap();
    world.pay("4242424242424242", 1099).unwrap();
    assert_eq!(call(world.admin, "GET", "/healthz", &[], None).unwrap().status, 200);
    let metrics = call(world.admin, "GET", "/metrics", &[], None).unwrap().text;
    assert!(
        metrics.contains("portolan_requests_total{class=\"2xx\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("portolan_operations_open 0"), "{metrics}");
}

pub(crate) fn back_up(world: &World) -> std::path::PathBuf {
    if let Some(database) = world.database() {
        return crate::postgres::dump(world, database);
    }
    let copy = world.folder.join("copy.db");
    let backup = world
        .admin_call("POST", "/admin/backup", Some(&json!({ "to": copy })))
        .unwrap();
    assert_eq!(backup.status, 200, "{}", backup.text);
    copy
}

/// The disk is gone, and the backup takes its place.
pub(crate) fn lose_the_disk(world: &mut World, copy: &std::path::Path) {
    world.stop_host().unwrap();
    if let Some(database) = world.database() {
        crate::postgres::restore(database, copy);
        return world.start_host().unwrap();
    }
    for name in ["portolan.db", "portolan.db-wal", "portolan.db-shm"] {
        let _ = std::fs::remove_file(world.folder.join("data").join(name));
    }
    let restore = std::process::Command::new(portolan_tests::binary("portolan"))
        .arg("--config")
        .arg(world.config())
        .arg("restore")
        .arg(copy)
        .output()
        .unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    world.start_host().unwrap();
}

/// What was exchanged after the backup is not exchanged again: a human is asked first.
#[test]
fn a_restored_backup_exchanges_nothing_by_itself() {
    let mut world = World::start(with_desks(&[&[]])).unwrap();
    let card = world.store_card("4000000000003220").unwrap();
    let more = json!({ "payment_method": card, "return_url": "https://shop.example/done" });
    let waiting = pay(&world, &eur_to_hkd(&world, 10_000), &more);
    assert_eq!(waiting.text_at("/status"), "requires_action", "{}", waiting.text);
    let copy = back_up(&world);
    browse(waiting.text_at("/next_action/url"));
    until_settled(&world, &waiting, "succeeded");
    lose_the_disk(&mut world, &copy);
    let held = until_settled(&world, &waiting, "manual");
    let id = waiting.text_at("/id");
    let held = match held.text_at("/status") {
        "succeeded" => held,
        _ => world
            .await_payment(id, |reply| reply.text_at("/status") == "succeeded")
            .unwrap(),
    };
    assert_eq!(held.text_at("/settlement/status"), "manual", "{}", held.text);
    let conversions = world.desk_records(0).unwrap()["conversions"].clone();
    assert_eq!(
        conversions.as_array().unwrap().len(),
        1,
        "the one before the disk was lost"
    );
    let tasks = world.admin_call("GET", "/admin/tasks", None).unwrap();
    assert_eq!(tasks.text_at("/tasks/0/kind"), "conversion_held", "{}", tasks.text);
    world.assert_books().unwrap();
}

/// What was delivered after the backup does not go out again: the shop has it in its books, and a human looks.
#[test]
fn a_restored_backup_delivers_nothing_by_itself() {
    let mut world = World::start(with_desks(&[&[]])).unwrap();
    let card = world.store_card("4000000000003220").unwrap();
    let deliver = json!({ "beneficiary": to_hong_kong(1)["beneficiary"] });
    let more = json!({ "payment_method": card, "return_url": "https://shop.example/done", "deliver": deliver });
    let waiting = pay(&world, &eur_to_hkd(&world, 10_000), &more);
    assert_eq!(waiting.text_at("/status"), "requires_action", "{}", waiting.text);
    let copy = back_up(&world);
    browse(waiting.text_at("/next_action/url"));
    let id = waiting.text_at("/id");
    let is = |status: &'static str| move |reply: &Reply| reply.text_at("/delivery/status") == status;
    world.await_payment(id, is("succeeded")).unwrap();
    lose_the_disk(&mut world, &copy);
    until_settled(&world, &waiting, "manual");
    let given_up = world.await_payment(id, is("failed")).unwrap();
    assert_eq!(given_up.text_at("/delivery/reason"), "restored", "{}", given_up.text);
    let transfers = world.desk_records(0).unwrap()["transfers"].clone();
    assert_eq!(
        transfers.as_array().unwrap().len(),
        1,
        "the one before the disk was lost"
    );
    world.assert_books().unwrap();
}

/// A payment that is captured after the backup that then takes the store's place.
pub(crate) fn lose_a_capture(world: &mut World) -> String {
    let method = world.store_card("4242424242424242").unwrap();
    let body = json!({
        "amount": 5000, "currency": "EUR", "payment_method": method, "confirm": true, "capture_method": "manual",
    });
    let held = world.post("/v1/payments", &body).unwrap();
    let id = held.text_at("/id").to_owned();
    let copy = back_up(world);
    let captured = world.post(&format!("/v1/payments/{id}/capture"), &json!({})).unwrap();
    assert_eq!(captured.text_at("/status"), "succeeded");
    // The backup knows nothing of the capture.
    lose_the_disk(world, &copy);
    id
}

#[test]
fn a_restored_backup_asks_before_it_writes() {
    let mut world = World::start(silent()).unwrap();
    let id = lose_a_capture(&mut world);
    let shown = world.get(&format!("/v1/payments/{id}")).unwrap();
    assert_eq!(
        (shown.text_at("/status"), &shown.body["amount_captured"]),
        ("succeeded", &json!(5000)),
        "{}",
        shown.text
    );
    assert_eq!(world.charges_of(&id).unwrap().len(), 1);
    world.assert_books().unwrap();
}
