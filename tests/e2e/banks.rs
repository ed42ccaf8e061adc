//! A bank by ISO 20022: payouts as pain.001, what became of them, money that comes back, and the account's statement against
//! the books. What is sent is held against the standard's own schema, what the bank says against its own definition.

use crate::cross_border::{account, balance};
use crate::plugins;
use crate::reports::{breaks, report, take_at, try_take_at};
use portolan_tests::peers;
use portolan_tests::world::{Options, workspace};
use portolan_tests::{Reply, World, guest};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

fn with_bank(arguments: &[&str]) -> Options {
    Options {
        acquirer: vec!["--silent".into()],
        bank: Some(arguments.iter().map(|word| (*word).to_owned()).collect()),
        ..Options::default()
    }
}

/// A world whose shop has EUR available: paid by card, and settled.
fn with_money(arguments: &[&str], cents: u64) -> World {
    let world = World::start(with_bank(arguments)).unwrap();
    let paid = world.pay("4242424242424242", cents).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    let taken = take_at(&world, "acquirer-a", &report(&world));
    assert_eq!(breaks(&taken), [""; 0], "{}", taken.text);
    world
}

fn to_france(amount: u64) -> Value {
    json!({
        "amount": amount, "currency": "EUR", "reference": "invoice 4711",
        "beneficiary": {
            "type": "company", "name": "Lampes & Fils SARL", "country": "FR",
            "account": { "iban": "FR1420041010050500013M02606" },
            "address": { "line1": "3 rue de la Paix", "city": "Paris", "postcode": "75002" },
        },
    })
}

fn pay_out(world: &World, amount: u64) -> Reply {
    let reply = world.post("/v1/payouts", &to_france(amount)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

fn await_payout(world: &World, payout: &Reply, is_there: impl Fn(&Reply) -> bool) -> Reply {
    let path = format!("/v1/payouts/{}", payout.text_at("/id"));
    world.await_at(&path, is_there).unwrap()
}

fn transfers(world: &World) -> Vec<Value> {
    world.bank_records().unwrap()["transfers"].as_array().cloned().unwrap()
}

/// Holds a message against the standard; fails with what is wrong.
fn hold_against_standard(message: &str, xml: &str) -> String {
    let mut check = Command::new(peers::python())
        .arg(workspace().join("tests/e2e/iso20022_check.py"))
        .arg(message)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(xml.as_bytes()).unwrap();
    let out = check.wait_with_output().unwrap();
    assert!(
        out.status.success(),
        "{message}: {}\n{xml}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn a_payout_goes_out_as_pain_001_and_is_paid() {
    let world = with_money(&[], 100_000);
    let before = balance(&world, "EUR").0;
    let sent = pay_out(&world, 20_000);
    let paid = await_payout(&world, &sent, |reply| reply.text_at("/status") == "paid");
    assert_eq!(paid.text_at("/iso_status"), "ACSC");
    assert_eq!(balance(&world, "EUR"), (before - 20_000, 0, 0));
    let [at_the_bank] = transfers(&world).try_into().unwrap();
    assert_eq!(at_the_bank["uetr"], paid.body["uetr"]);
    assert_eq!(at_the_bank["amount"], "200.00");
    let xml = at_the_bank["xml"].as_str().unwrap();
    assert!(xml.contains("<Nm>Lampes &amp; Fils SARL</Nm>"), "{xml}");
    hold_against_standard("pain.001.001.09", xml);
    // What the simulator says is held against it too.
    hold_against_standard("camt.053.001.08", &world.bank_statement().unwrap());
    hold_against_standard("pain.002.001.10", at_the_bank["pain_002"].as_str().unwrap());
    let records = world.bank_records().unwrap();
    hold_against_standard("camt.054.001.08", records["camt_054"].as_str().unwrap());
    world.assert_books().unwrap();
}

#[test]
fn across_borders_a_bank_wants_a_town() {
    let world = with_money(&[], 100_000);
    let mut payout = to_france(10_000);
    payout["charge_bearer"] = json!("originator");
    payout["beneficiary"]["address"] = json!({ "line1": "3 rue de la Paix" });
    let refused = world.post("/v1/payouts", &payout).unwrap();
    let refused = await_payout(&world, &refused, |reply| reply.text_at("/status") == "failed");
    assert!(refused.text.contains("beneficiary.address.city"), "{}", refused.text);
    payout["beneficiary"]["address"] = json!({ "line1": "3 rue de la Paix", "city": "Paris", "postcode": "75002" });
    let sent = world.post("/v1/payouts", &payout).unwrap();
    await_payout(&world, &sent, |reply| reply.text_at("/status") == "paid");
    let [at_the_bank] = transfers(&world).try_into().unwrap();
    assert_eq!(at_the_bank["product"], "pain.001-cross-border-credit-transfers");
    hold_against_standard("pain.001.001.09", at_the_bank["xml"].as_str().unwrap());
    world.assert_books().unwrap();
}

#[test]
fn what_a_bank_does_when_things_go_wrong() {
    let world = with_money(&[], 1_000_000);
    // Taken, and no answer; taken, and a 500: found on the account, paid once.
    for amount in [10_922, 10_923] {
        let sent = pay_out(&world, amount);
        let paid = await_payout(&world, &sent, |reply| reply.text_at("/status") == "paid");
        assert_eq!(paid.text_at("/iso_status"), "ACSC", "{}", paid.text);
    }
    for (amount, reason) in [(10_925, "insufficient-prefund"), (10_931, "account-closed")] {
        let sent = pay_out(&world, amount);
        let failed = await_payout(&world, &sent, |reply| reply.text_at("/status") == "failed");
        assert!(failed.text.contains(reason), "{}", failed.text);
    }
    assert_eq!(transfers(&world).len(), 4);
    world.assert_books().unwrap();
}

#[test]
fn a_return_is_heard_from_the_account_alone() {
    let world = with_money(&[], 100_000);
    let before = balance(&world, "EUR").0;
    let sent = pay_out(&world, 10_932);
    await_payout(&world, &sent, |reply| reply.text_at("/status") == "paid");
    let back = await_payout(&world, &sent, |reply| reply.text_at("/status") == "returned");
    assert!(back.text.contains("AC04"), "{}", back.text);
    assert_eq!(balance(&world, "EUR"), (before, 0, 0));
    world.assert_books().unwrap();
}

#[test]
fn a_router_that_the_bank_does_not_know_moves_nothing() {
    let world = with_money(&["--access-token", "another"], 100_000);
    let before = balance(&world, "EUR").0;
    let refused = world.post("/v1/payouts", &to_france(10_000)).unwrap();
    let refused = await_payout(&world, &refused, |reply| reply.text_at("/status") == "failed");
    assert!(!refused.text.contains("bank-access-token"), "{}", refused.text);
    assert_eq!(balance(&world, "EUR"), (before, 0, 0));
    assert!(transfers(&world).is_empty());
    world.assert_books().unwrap();
}

/// The acquirer's report with each charge in a batch of its own: `batch-1`, `batch-2`, …
fn report_in_batches(world: &World) -> (String, Vec<i64>) {
    let whole = report(world);
    let mut lines = whole.lines();
    let mut text = format!("{}\n", lines.next().unwrap());
    let mut nets = vec![];
    for (at, line) in lines.enumerate() {
        let (_, rest) = line.split_once(',').unwrap();
        nets.push(line.split(',').nth(7).unwrap().parse().unwrap());
        text.push_str(&format!("batch-{},{rest}\n", at + 1));
    }
    (text, nets)
}

fn euros(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Batches on their way: name and amount.
fn in_transit(world: &World) -> Vec<(String, String)> {
    let listed = world.admin_call("GET", "/admin/transit", None).unwrap();
    let all = listed.body["batches"].as_array().cloned().unwrap();
    let text = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
    all.iter().map(|it| (text(it, "batch"), text(it, "amount"))).collect()
}

#[test]
fn one_entry_at_the_bank_is_one_batch() {
    let world = World::start(with_bank(&[])).unwrap();
    for amount in [10_000, 5_000, 7_000, 3_000] {
        world.pay("4242424242424242", amount).unwrap();
    }
    let (text, nets) = report_in_batches(&world);
    let [first, second, third, fourth] = nets.as_slice() else {
        panic!("{text}")
    };
    assert_eq!(breaks(&take_at(&world, "acquirer-a", &text)), [""; 0]);
    assert_eq!(in_transit(&world).len(), 4);
    let transit = || account(&world, "channel:acquirer-a:in_transit", "EUR");
    let at_the_bank = || account(&world, "channel:bank-a:prefund", "EUR");
    assert_eq!(-transit(), nets.iter().sum::<i64>());
    // One as it should be, two in one entry, one short, one that nobody told of; the last one is missing at first.
    world.bank_receives(&euros(*first), "ACQUIRER PAYOUT batch-1").unwrap();
    world
        .bank_receives(&euros(second + third), "batch-2/batch-3 by Ada Lovelace")
        .unwrap();
    world.bank_receives(&euros(fourth - 100), "batch-4").unwrap();
    world.bank_receives("12.00", "refund from a supplier").unwrap();
    let statement = world.bank_statement().unwrap();
    hold_against_standard("camt.053.001.08", &statement);
    let taken = take_at(&world, "bank-a", &statement);
    assert_eq!(
        (taken.body["matched"].as_u64(), breaks(&taken)),
        (Some(2), vec!["amount_diff".into(), "missing_internal".into()]),
        "{}",
        taken.text
    );
    assert!(!taken.text.contains("Lovelace"), "{}", taken.text);
    assert_eq!(
        in_transit(&world),
        [("batch-4".to_owned(), format!("{} EUR", euros(*fourth)))]
    );
    assert_eq!((-transit(), -at_the_bank()), (*fourth, first + second + third));
    // The missing one comes, and the first one twice.
    world.bank_receives(&euros(*fourth), "batch-4").unwrap();
    world.bank_receives(&euros(*first), "batch-1").unwrap();
    let taken = take_at(&world, "bank-a", &world.bank_statement().unwrap());
    assert_eq!(
        (taken.body["matched"].as_u64(), taken.body["repeated"].as_u64()),
        (Some(1), Some(2)),
        "{}",
        taken.text
    );
    assert_eq!(
        breaks(&taken),
        ["amount_diff", "missing_internal", "duplicate"],
        "{}",
        taken.text
    );
    assert_eq!((transit(), -at_the_bank()), (0, nets.iter().sum::<i64>()));
    let listed = world.admin_call("GET", "/admin/breaks", None).unwrap();
    assert!(!listed.text.contains("Lovelace"), "{}", listed.text);
    world.assert_books().unwrap();
}

#[test]
fn a_kill_in_the_middle_of_an_entry_books_each_part_once() {
    let mut options = with_bank(&[]);
    options.env = vec![("PORTOLAN_STOP_AT".into(), "after_batch_line:1".into())];
    let mut world = World::start(options).unwrap();
    for amount in [10_000, 5_000, 7_000] {
        world.pay("4242424242424242", amount).unwrap();
    }
    let (text, nets) = report_in_batches(&world);
    assert_eq!(breaks(&take_at(&world, "acquirer-a", &text)), [""; 0]);
    world
        .bank_receives(&euros(nets.iter().sum()), "batch-1 batch-2 batch-3")
        .unwrap();
    let statement = world.bank_statement().unwrap();
    assert!(try_take_at(&world, "bank-a", &statement).is_err(), "it was not killed");
    world.await_host_end().unwrap();
    world.set_env(vec![]);
    world.start_host().unwrap();
    assert_eq!(in_transit(&world).len(), 2);
    let taken = take_at(&world, "bank-a", &statement);
    assert_eq!(
        (taken.body["matched"].as_u64(), breaks(&taken)),
        (Some(1), vec![]),
        "{}",
        taken.text
    );
    assert_eq!(in_transit(&world), []);
    assert_eq!(account(&world, "channel:acquirer-a:in_transit", "EUR"), 0);
    assert_eq!(
        -account(&world, "channel:bank-a:prefund", "EUR"),
        nets.iter().sum::<i64>()
    );
    world.assert_books().unwrap();
}

#[test]
fn the_statement_shows_payouts_their_fees_and_returns() {
    let world = with_money(&[], 200_000);
    let before = balance(&world, "EUR").0;
    let paid = pay_out(&world, 20_000);
    let charged = pay_out(&world, 20_934);
    let back = pay_out(&world, 20_932);
    await_payout(&world, &paid, |reply| reply.text_at("/status") == "paid");
    await_payout(&world, &charged, |reply| reply.text_at("/status") == "paid");
    await_payout(&world, &back, |reply| reply.text_at("/status") == "returned");
    let fees = || account(&world, "fees:channel", "EUR");
    let before_fees = fees();
    let statement = world.bank_statement().unwrap();
    let taken = take_at(&world, "bank-a", &statement);
    assert_eq!(
        (taken.body["matched"].as_u64(), breaks(&taken)),
        (Some(4), vec![]),
        "{}",
        taken.text
    );
    let again = take_at(&world, "bank-a", &statement);
    assert_eq!(again.body["repeated"].as_u64(), Some(4), "{}", again.text);
    // The bank kept 1.50 that it had not told of: the router's cost, not the shop's.
    assert_eq!(fees() - before_fees, -150);
    assert_eq!(balance(&world, "EUR").0, before - 20_000 - 20_934);
    let shown = world.get(&format!("/v1/payouts/{}", charged.text_at("/id"))).unwrap();
    assert_eq!(shown.body["fee"]["amount"], 150, "{}", shown.text);
    // Another bank's entry about a transfer of ours, and one of another amount.
    let wrong = statement.replace("200.00", "199.00").replace(">D-", ">X-");
    let taken = take_at(&world, "bank-a", &wrong);
    assert_eq!(
        breaks(&taken),
        ["duplicate", "duplicate", "duplicate"],
        "{}",
        taken.text
    );
    world.assert_books().unwrap();
}

#[test]
fn a_statement_settles_what_nobody_knew() {
    let mut options = with_bank(&[]);
    // The router asks so late that the statement is first.
    options.policy = "check_first_ms = 600000\ncheck_max_ms = 600000".into();
    let world = World::start(options).unwrap();
    world.pay("4242424242424242", 100_000).unwrap();
    take_at(&world, "acquirer-a", &report(&world));
    let sent = pay_out(&world, 10_923);
    let unknown = await_payout(&world, &sent, |reply| reply.text_at("/outcome") == "unknown");
    assert_eq!(unknown.text_at("/status"), "processing");
    let started = std::time::Instant::now();
    loop {
        let taken = take_at(&world, "bank-a", &world.bank_statement().unwrap());
        if taken.body["matched"] == 1 {
            break;
        }
        assert!(started.elapsed().as_secs() < 60, "{}", taken.text);
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    let paid = world.get(&format!("/v1/payouts/{}", sent.text_at("/id"))).unwrap();
    assert_eq!(paid.text_at("/status"), "paid", "{}", paid.text);
    world.assert_books().unwrap();
}

#[test]
fn a_statement_that_is_none_changes_nothing() {
    let world = with_money(&[], 100_000);
    let statement = world.bank_statement().unwrap();
    let half = &statement[..statement.len() / 2];
    for wrong in [
        "",
        "not,a,statement",
        half,
        "<Document><BkToCstmrDbtCdtNtfctn/></Document>",
    ] {
        let refused = take_at(&world, "bank-a", wrong);
        assert!(
            refused.status == 422 || refused.status == 400,
            "{wrong}: {}",
            refused.text
        );
    }
}

#[test]
fn two_hands_with_one_statement_book_it_once() {
    let world = World::start(with_bank(&[])).unwrap();
    for amount in [10_000, 5_000, 7_000] {
        world.pay("4242424242424242", amount).unwrap();
    }
    let (text, nets) = report_in_batches(&world);
    assert_eq!(breaks(&take_at(&world, "acquirer-a", &text)), [""; 0]);
    for (at, net) in nets.iter().enumerate() {
        world.bank_receives(&euros(*net), &format!("batch-{}", at + 1)).unwrap();
    }
    let statement = world.bank_statement().unwrap();
    let taken: Vec<Reply> = std::thread::scope(|scope| {
        let take = || take_at(&world, "bank-a", &statement);
        let hands: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
        hands.into_iter().map(|hand| hand.join().unwrap()).collect()
    });
    for reply in &taken {
        assert_eq!((reply.status, breaks(reply)), (200, vec![]), "{}", reply.text);
    }
    assert_eq!(in_transit(&world), []);
    assert_eq!(
        -account(&world, "channel:bank-a:prefund", "EUR"),
        nets.iter().sum::<i64>()
    );
    world.assert_books().unwrap();
}

#[test]
fn what_went_wrong_becomes_vectors_for_the_partner_without_the_payer() {
    let world = with_money(&[], 50_000);
    let folder = world.folder.join("recorded");
    let at = folder.display().to_string();
    let record = |id: &str, adapter: &str, how_many: usize| {
        let said = plugins::good(&world, &["record", id, "--to", &at]);
        assert!(said.contains("read them before you hand them on"), "{said}");
        let component = guest(&format!("portolan_{adapter}_adapter")).display().to_string();
        let said = plugins::good(&world, &["test", &component, "--vectors", &at]);
        assert!(said.contains(&format!("{how_many} vectors good, 0 not")), "{said}");
        plugins::good(&world, &["conform", &component, "--vectors", &at]);
        let files = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
        let text: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
        std::fs::remove_dir_all(&folder).unwrap();
        text
    };
    let unread = |text: &str, words: &[&str]| {
        for word in words {
            assert!(!text.contains(word), "{word} is in {text}");
        }
    };
    // A card, with a refund: what came of each is what the payment says.
    let method = world.store_card("4242424242424242").unwrap();
    let payer = json!({ "name": "Zebedee Quixwortham", "email": "zq@example.org" });
    let body = json!({ "amount": 1_099, "currency": "EUR", "payment_method": method, "confirm": true, "payer": payer });
    let paid = world.post("/v1/payments", &body).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    let id = paid.text_at("/id");
    let refunded = world
        .post("/v1/refunds", &json!({ "payment": id, "amount": 99 }))
        .unwrap();
    assert_eq!(refunded.text_at("/status"), "succeeded", "{}", refunded.text);
    let text = record(id, "sandbox", 2);
    assert!(text.contains("\"Accepted\"") && text.contains("\"Done\""), "{text}");
    unread(
        &text,
        &["4242424242424242", "Quixwortham", "zq@", "acquirer-client-secret"],
    );
    // A provider that is not heard, and says later what it did.
    let late = world.pay("4242424242424242", 10_901).unwrap();
    let late = world.await_payment(late.text_at("/id"), |it| it.text_at("/status") == "succeeded");
    let text = record(late.unwrap().text_at("/id"), "sandbox", 1);
    assert!(text.contains("\"unknown\":") && text.contains("\"Unknown\""), "{text}");
    // One whose payer came back from the issuer.
    let shown = world.pay("4000000000003220", 1_500).unwrap();
    assert_eq!(shown.text_at("/status"), "requires_action", "{}", shown.text);
    record(shown.text_at("/id"), "sandbox", 1);
    // A bank's XML.
    let payout = pay_out(&world, 12_345);
    await_payout(&world, &payout, |it| it.text_at("/status") == "paid");
    let text = record(payout.text_at("/id"), "iso20022_bank", 1);
    assert!(
        text.contains("<Document") && text.contains(&format!("XX{}X00000", "0".repeat(19))),
        "{text}"
    );
    unread(
        &text,
        &[
            "Lampes",
            "Portolan Ltd",
            "DE8937",
            "FR1420041010050500013M02606",
            "rue de la Paix",
            "invoice 4711",
        ],
    );
    let line = plugins::refusal(&world, &["record", "pay_1"]);
    assert!(line.contains("pay_1"), "{line}");
}
