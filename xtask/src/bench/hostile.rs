//! The same load with and without a neighbour whose adapter does whatever an adapter must not, in one run: what becomes of the
//! others' latency while its calls loop, hoard and trap behind the second wall, and while its components are compiled.

use super::{Subject, Table, card_of, prepare, upload};
use anyhow::Context;
use portolan_tests::{World, guest};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Connections of the load, and of the hostile merchant.
const CONNECTIONS: usize = 16;
const HOSTILE: usize = 4;
/// The last three digits of an amount choose what the adapter does.
const WAYS: [u64; 13] = [801, 802, 803, 804, 805, 806, 809, 810, 813, 814, 815, 816, 831];

/// Measures. `seconds` for each row.
pub fn run(as_json: bool, seconds: u64) -> anyhow::Result<()> {
    let temporary = prepare()?;
    let table = Table { as_json };
    table.head()?;
    let host = Subject::start_beside_hostile("host-workers", &temporary)?;
    let key = host.world.new_key("hostile")?;
    let method = card_of(&host.world, &key)?;
    host.load(CONNECTIONS, seconds.min(5))?;
    let without = host.load(CONNECTIONS, seconds)?;
    table.row(&without)?;
    let (is_over, faults, refused, staged) = (
        AtomicBool::new(false),
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
    );
    let with = std::thread::scope(|scope| -> anyhow::Result<Value> {
        for n in 0..HOSTILE {
            let (world, key, method) = (&host.world, &key, &method);
            let (is_over, faults, refused) = (&is_over, &faults, &refused);
            scope.spawn(move || {
                for way in WAYS.iter().cycle().skip(n) {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let told = pay(world, (key, method), 10_000 + way);
                    let is_fault = told.is_ok_and(|it| it.contains("plugin_fault"));
                    let counter = if is_fault { faults } else { refused };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (world, over, count) = (&host.world, &is_over, &staged);
        scope.spawn(move || {
            for n in 0_u64.. {
                if over.load(Ordering::Relaxed) || stage(world, n).is_err() {
                    break;
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let with = host.load(CONNECTIONS, seconds);
        is_over.store(true, Ordering::Relaxed);
        with
    })?;
    table.row(&with)?;
    let number = |row: &Value, name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    let line = json!({
        "hostile_faults": faults.into_inner(), "hostile_others": refused.into_inner(), "components_compiled": staged.into_inner(),
        "p50_in_percent_of_without": number(&with, "p50_us") * 100 / number(&without, "p50_us").max(1),
        "p99_in_percent_of_without": number(&with, "p99_us") * 100 / number(&without, "p99_us").max(1),
    });
    table.say(&line.to_string())?;
    host.world.assert_books()
}

fn pay(world: &World, (key, method): (&str, &str), amount: u64) -> anyhow::Result<String> {
    let body = json!({ "amount": amount, "currency": "EUR", "payment_method": method, "confirm": true });
    Ok(world.post_as(key, "/v1/payments", &body, &world.fresh_key())?.text)
}

/// One more component that has to be compiled: the same code under another digest.
fn stage(world: &World, n: u64) -> anyhow::Result<()> {
    let mut bytes = std::fs::read(guest("portolan_misbehaving_adapter"))?;
    bytes.extend_from_slice(&[0, 10, 1, b'm']);
    bytes.extend_from_slice(&n.to_le_bytes());
    upload(world, "hostile", &bytes).map(drop)
}

impl Subject {
    /// A host whose load is the merchant `shop`'s, beside a channel of the merchant `hostile` with a hostile adapter.
    fn start_beside_hostile(name: &'static str, folder: &std::path::Path) -> anyhow::Result<Self> {
        let more = |options: &mut portolan_tests::Options| {
            options.channel = "merchant = \"shop\"".into();
            options.acquirers = vec!["merchant = \"hostile\"".into()];
        };
        let mut subject = Self::start_with(name, ("portolan", false), folder, more)?;
        let config = std::fs::read_to_string(subject.world.config())?;
        let (before, channel) = config.split_once("id = \"acquirer-b\"").context("no second channel")?;
        let channel = channel.replacen("adapter = \"sandbox\"", "adapter = \"hostile\"", 1);
        let file = guest("portolan_misbehaving_adapter").display().to_string();
        let adapter = format!("\n[[adapter]]\nname = \"hostile\"\nfile = \"{file}\"\n");
        std::fs::write(
            subject.world.config(),
            format!("{before}id = \"acquirer-b\"{channel}{adapter}"),
        )?;
        subject.world.stop_host()?;
        subject.world.start_host()?;
        Ok(subject)
    }
}
