//! Kills at random moments under load, of the router and of its database. `PORTOLAN_KILLS` says how many (200), `PORTOLAN_SEED` repeats a run.

use portolan_tests::postgres::Postgres;
use portolan_tests::{Options, Reply, World};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a router ends that lost its database.
const GIVEN_UP: i32 = 74;
/// Clients at once.
const CLIENTS: usize = 4;
/// Amounts: mostly plain, some with a scripted fault of the acquirer.
const AMOUNTS: [u64; 8] = [1_000, 2_000, 3_000, 4_000, 10_904, 10_905, 10_908, 5_000];

/// A small generator (xorshift64): the run can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// What one client asked and was told.
#[derive(Default)]
struct Told {
    body: Value,
    acknowledged: Option<Reply>,
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn kills_at_random_moments_lose_and_double_nothing() {
    kill_under_load(from_env("PORTOLAN_KILLS").unwrap_or(200), None);
}

/// The router, or the database that it writes: who lost that one ends by itself.
#[test]
fn kills_of_router_and_database_lose_and_double_nothing() {
    let kills = from_env("PORTOLAN_KILLS").unwrap_or(200) / 5;
    kill_under_load(kills, Some(Postgres::start(true).unwrap()));
}

fn kill_under_load(kills: u64, mut cluster: Option<Postgres>) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    let seed = from_env("PORTOLAN_SEED").unwrap_or_else(now);
    println!("PORTOLAN_SEED={seed} PORTOLAN_KILLS={kills}");
    let policy = "check_first_ms = 50\ncheck_max_ms = 200\nleaves_within_ms = 1000".to_owned();
    let options = Options {
        acquirer: vec!["--silent".into(), "--no-sync".into()],
        postgres: cluster.as_ref().map(|cluster| cluster.database().unwrap()),
        policy,
        timeout_ms: 300,
        ..Options::default()
    };
    let mut world = World::start(options).unwrap();
    // The security code lives in memory only, so these cards have none: every lost request can go out again.
    let card = json!({ "number": "4242424242424242", "expiry_month": 12, "expiry_year": 2031 });
    let method = world
        .post("/v1/payment_methods", &json!({ "type": "card", "card": card }))
        .unwrap();
    let method = method.text_at("/id").to_owned();

    let told: Mutex<HashMap<String, Told>> = Mutex::new(HashMap::new());
    let (stop, counter) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut dice = Dice(seed);
    let alive = RwLock::new(&mut world);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (told, stop, counter, alive, method) = (&told, &stop, &counter, &alive, &method);
            let mut dice = Dice(seed ^ (client as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let key = format!("crash-{}", counter.fetch_add(1, Ordering::SeqCst));
                    let amount = AMOUNTS[dice.roll(AMOUNTS.len() as u64) as usize];
                    let body =
                        json!({ "amount": amount, "currency": "EUR", "payment_method": method, "confirm": true });
                    told.lock().unwrap().insert(
                        key.clone(),
                        Told {
                            body: body.clone(),
                            acknowledged: None,
                        },
                    );
                    let reply = alive.read().unwrap().post_with_key("/v1/payments", &body, &key);
                    if let Some(reply) = reply.ok().filter(|reply| reply.status == 200) {
                        told.lock().unwrap().get_mut(&key).unwrap().acknowledged = Some(reply);
                    }
                }
            });
        }
        for _ in 0..kills {
            let pid = alive.read().unwrap().host_pid().unwrap();
            std::thread::park_timeout(Duration::from_millis(20 + dice.roll(130)));
            let database = cluster.as_mut().filter(|_| dice.roll(2) == 0);
            if let Some(database) = database {
                database.cut();
                let mut world = alive.write().unwrap();
                database.down().unwrap();
                let ended = world.await_host_end().unwrap();
                assert_eq!(ended.code(), Some(GIVEN_UP), "{ended}: {}", world.log_tail());
                database.up().unwrap();
                world.start_host().unwrap();
                continue;
            }
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            let mut world = alive.write().unwrap();
            world.await_host_end().unwrap();
            world.start_host().unwrap();
        }
        stop.store(true, Ordering::SeqCst);
    });
    compare(&world, told.into_inner().unwrap(), kills);
}

/// The three records: what the client was told, what the books say, what the acquirer did.
fn compare(world: &World, told: HashMap<String, Told>, kills: u64) {
    let mut acknowledged = 0;
    for (key, told) in &told {
        if let Some(reply) = &told.acknowledged {
            acknowledged += 1;
            let now = world.get(&format!("/v1/payments/{}", reply.text_at("/id"))).unwrap();
            assert_eq!(now.status, 200, "{key}: an acknowledged payment is gone");
            if reply.text_at("/status") == "succeeded" {
                assert_eq!(now.text_at("/status"), "succeeded", "{key}: {}", now.text);
            }
        }
        // The client that was told nothing asks again with its key.
        let again = world.post_with_key("/v1/payments", &told.body, key).unwrap();
        assert_eq!(again.status, 200, "{key}: {}", again.text);
        let id = again.text_at("/id").to_owned();
        let last = world
            .await_payment(&id, |reply| reply.text_at("/status") != "processing")
            .unwrap();
        assert_eq!(last.text_at("/status"), "succeeded", "{key}: {}", last.text);
    }
    let charges = world.records().unwrap()["charges"].as_array().cloned().unwrap();
    let mut of_payment: HashMap<String, usize> = HashMap::new();
    for charge in &charges {
        *of_payment
            .entry(charge["reference"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert!(
        of_payment.values().all(|count| *count == 1),
        "a payment was charged twice"
    );
    assert_eq!(charges.len(), told.len(), "payments and charges differ");
    let unknowns = world.admin_call("GET", "/admin/unknowns", None).unwrap();
    assert_eq!(unknowns.body["unknowns"], json!([]), "an operation was forgotten");
    world.assert_books().unwrap();
    println!(
        "{kills} kills, {} payments, {acknowledged} acknowledged before a kill, 0 lost, 0 double",
        told.len()
    );
}
