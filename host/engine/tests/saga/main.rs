//! The saga, simulated: every leg fails in every way, under every policy, with what is got going on to a beneficiary and
//! without, and the router is killed after every commit. It ends done, wholly taken back, or waiting for a human; what the providers did is what the books say; nothing is left
//! held. Time is simulated, the store is the one in memory, the providers are a second implementation of the ports.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod providers;
mod world;

use portolan_domain::commit::Seen;
use portolan_domain::ids::{ChannelId, MerchantId, Mode, Name};
use portolan_domain::ledger::Account;
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::{Fixed, Inquiry, Instrument, Kind};
use portolan_domain::payment::Payment;
use portolan_domain::payment::conversion::{IfLost, LegState};
use portolan_domain::payment::delivery::Delivery;
use portolan_domain::payment::request::{QuoteUse, ValidPayment};
use portolan_domain::payment::status::PaymentStatus;
use portolan_domain::ports::{Library, Notification, Store};
use portolan_engine::{ClaimRequest, CreatePayment, CreateQuote, Engine, Notified};
use providers::{Fault, Providers, Script};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use world::{CrashStore, engine, plain, supplier};

fn shop() -> MerchantId {
    Name::parse("shop").unwrap()
}

fn euro(minor: i128) -> Money {
    Money::new(minor, Asset::currency("EUR").unwrap()).unwrap()
}

const CENTS: i128 = 10_000;

async fn command(engine: &Engine, if_lost: IfLost, delivers: bool) -> CreatePayment {
    let inquiry = Inquiry {
        sell: euro(0).asset().clone(),
        buy: Asset::currency("HKD").unwrap(),
        fixed: Fixed::Sell(euro(CENTS)),
        lock_s: 600,
    };
    let ask = CreateQuote {
        merchant: shop(),
        mode: Mode::Test,
        inquiry,
    };
    let quote = engine.create_quote(ask).await.unwrap();
    CreatePayment {
        merchant: shop(),
        mode: Mode::Test,
        claim: ClaimRequest {
            name: portolan_domain::commit::ClaimName {
                merchant: shop(),
                mode: Mode::Test,
                key: "key".into(),
            },
            fingerprint: vec![1],
            order: None,
            approved: None,
            must_be_known: false,
        },
        valid: ValidPayment {
            instrument: Some(Instrument::Wallet("simulated:x".into())),
            quote: Some(QuoteUse {
                id: quote.id,
                if_lost,
                slippage_bps: 50,
            }),
            delivery: delivers.then(|| Box::new(Delivery::planned(supplier()))),
            ..plain(euro(CENTS))
        },
    }
}

/// Whether nothing moves any more: over, or a human was asked.
fn rests(store: &CrashStore, payment: &Payment) -> bool {
    let asked = store.inner.tasks(false).unwrap().iter().any(|task| task.for_human);
    payment.is_over() || asked
}

fn the_payment(store: &CrashStore) -> Option<Payment> {
    payments(store).into_iter().find(|it| it.payout.is_none())
}

fn payments(store: &CrashStore) -> Vec<Payment> {
    let mut found = vec![];
    store
        .inner
        .each_payment(&mut |versioned| found.push(versioned.payment))
        .unwrap();
    found
}

/// Serves until nothing moves; `false`: killed.
async fn serve(engine: Arc<Engine>, store: Arc<CrashStore>) -> bool {
    let (stop, stopped) = watch::channel(false);
    let timers = tokio::spawn(engine.run_timers(stopped));
    for _ in 0..4_000 {
        if store.is_dead() {
            timers.abort();
            return false;
        }
        if the_payment(&store).is_none_or(|payment| rests(&store, &payment)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stop.send(true).unwrap();
    timers.await.unwrap();
    true
}

/// One run: with that script and policy, killed after the n-th commit (0: never). Returns how many commits there were.
async fn run(script: Script, if_lost: IfLost, kill_after: usize) -> usize {
    store_after(script, if_lost, kill_after).await.commits()
}

/// The same; returns what is on disk then.
async fn store_after(script: Script, if_lost: IfLost, kill_after: usize) -> Arc<CrashStore> {
    let providers = Arc::new(Providers::new(script));
    let store = Arc::new(CrashStore::new(kill_after));
    let first = Arc::new(engine(store.clone(), providers.clone()));
    let command = command(&first, if_lost, script.delivers).await;
    let asked = first.clone();
    let call = tokio::spawn(async move { asked.create_payment(command).await });
    let died = store.died();
    tokio::select! {
        answered = call => drop(answered.unwrap()),
        () = died => {}
    }
    let label = format!("{script:?} {if_lost:?} killed after {kill_after}");
    let survived = serve(first, store.clone()).await;
    if !survived || store.is_dead() {
        store.revive();
        let second = Arc::new(engine(store.clone(), providers.clone()));
        second.recover().await.unwrap();
        assert!(serve(second, store.clone()).await, "{label}: killed twice");
    }
    check(&store, &providers, &label);
    store
}

fn check(store: &CrashStore, providers: &Providers, label: &str) {
    let Some(payment) = the_payment(store) else {
        assert!(providers.did_nothing(), "{label}: somebody acted on what is on no disk");
        return;
    };
    let conversion = payment.conversion.clone().unwrap();
    let state = conversion.state;
    let story = || {
        format!(
            "{label}: {} {state:?} {:?}\n{:#?}",
            payment.status.as_str(),
            payment.last_error,
            payment.follow_ups
        )
    };
    assert!(rests(store, &payment), "{} never came to rest", story());
    let balances = store.inner.balances(Mode::Test, None).unwrap();
    for id in payments(store).iter().map(|it| it.id) {
        for entry in store.inner.entries(id).unwrap() {
            entry.check_balanced().unwrap();
        }
    }
    let is_known = store.inner.tasks(false).unwrap().is_empty() || state == LegState::Manual;
    if !is_known {
        return;
    }
    // What the providers did is what the books say.
    assert_eq!(payment.captured, euro(providers.captured()), "{}", story());
    assert_eq!(payment.refunded, euro(providers.refunded()), "{}", story());
    let exchanged = providers.exchanged();
    match (payment.status, state) {
        (PaymentStatus::Succeeded, LegState::Succeeded) => assert_eq!(exchanged, 1, "{}", story()),
        (PaymentStatus::Succeeded, LegState::Compensated) => {
            assert_eq!((exchanged, providers.refunded()), (0, CENTS), "{}", story());
        }
        (PaymentStatus::Succeeded, LegState::Manual) => assert_eq!(exchanged, 0, "{}", story()),
        (PaymentStatus::Failed | PaymentStatus::Canceled, LegState::Compensated) => {
            assert_eq!(
                (exchanged, providers.captured(), providers.held()),
                (0, 0, 0),
                "{}",
                story()
            );
        }
        other => panic!("{other:?}: {}", story()),
    }
    check_delivery(store, providers, (&payment, &story()));
    for ((account, asset), balance) in &balances {
        assert_eq!(
            (balance.pending_debit, balance.pending_credit),
            (0, 0),
            "{account} {asset:?}: {}",
            story()
        );
        if *account == Account::FxPosition {
            assert_eq!(balance.debit, balance.credit, "{asset:?}: {}", story());
        }
    }
}

/// What was got went on once, or is the merchant's.
fn check_delivery(store: &CrashStore, providers: &Providers, (payment, story): (&Payment, &str)) {
    let given = payment.conversion.as_ref().and_then(|it| it.given.clone());
    let given = given.map_or(0, |it| it.minor());
    let delivery = payment.delivery.as_ref().map(|it| it.state);
    let goes_on = delivery == Some(LegState::Succeeded);
    assert_eq!(
        providers.paid(),
        if goes_on { given } else { 0 },
        "{delivery:?}: {story}"
    );
    let is_planned = delivery == Some(LegState::Planned);
    assert!(!is_planned || given == 0, "what is got stays where it is: {story}");
    let balances = store.inner.balances(Mode::Test, None).unwrap();
    let hkd = Asset::currency("HKD").unwrap();
    let available = balances.get(&(Account::MerchantAvailable(shop()), hkd));
    let available = available.map_or(0, |it| it.credit - it.debit);
    assert_eq!(available, given - providers.paid(), "{story}");
    assert!(payments(store).len() <= 2, "one payout at most: {story}");
}

fn simulate(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}

const POLICIES: [IfLost; 3] = [IfLost::Requote, IfLost::Hold, IfLost::Refund];

#[test]
fn every_failure_of_every_leg_ends_well_wherever_the_router_is_killed() {
    let mut runs = 0;
    for kind in [
        Kind::Authorize,
        Kind::Capture,
        Kind::Convert,
        Kind::Quote,
        Kind::Refund,
        Kind::Cancel,
    ] {
        for (fault, delivers) in Fault::OF_ALL.into_iter().flat_map(|it| [(it, false), (it, true)]) {
            runs += everywhere((kind, fault), delivers);
        }
    }
    for fault in Fault::OF_ALL.into_iter().chain([Fault::Returned]) {
        runs += everywhere((Kind::Pay, fault), true);
    }
    assert!(runs > 2_500, "{runs} runs");
}

/// One failure, with and without its price lost, under every policy, killed after every commit. Returns how many runs.
fn everywhere((kind, fault): (Kind, Fault), delivers: bool) -> usize {
    let mut runs = 0;
    for (policy, is_lost) in POLICIES.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let script = Script {
            kind,
            fault,
            is_lost,
            delivers,
        };
        simulate(async {
            let commits = run(script, policy, 0).await;
            for kill_after in 1..=commits {
                run(script, policy, kill_after).await;
            }
            runs += commits + 1;
        });
    }
    runs
}

/// How each way of the payout leaves the leg; what went wrong with it does nothing to the payment.
#[test]
fn what_becomes_of_the_payout_is_what_becomes_of_the_leg() {
    for (fault, ends) in [
        (Fault::None, LegState::Succeeded),
        (Fault::LostAfter, LegState::Succeeded),
        (Fault::LostBefore, LegState::Succeeded),
        (Fault::ErrorAfter, LegState::Succeeded),
        (Fault::Declined, LegState::Failed),
        (Fault::NotSent, LegState::Failed),
        (Fault::Returned, LegState::Failed),
    ] {
        simulate(async {
            let script = Script {
                kind: Kind::Pay,
                fault,
                is_lost: false,
                delivers: true,
            };
            let store = store_after(script, IfLost::Requote, 0).await;
            let payment = the_payment(&store).unwrap();
            assert_eq!(payment.delivery.as_ref().unwrap().state, ends, "{fault:?}");
            assert_eq!(payment.status, PaymentStatus::Succeeded);
        });
    }
}

/// A request that did not get to its channel says nothing of the price or of the money: the leg goes on by itself a little later,
/// whatever the payment wants where a price is lost.
#[test]
fn a_leg_whose_channel_was_out_of_reach_is_begun_again() {
    let fault = Fault::NotSent;
    let exchanges = POLICIES.map(|policy| (Kind::Convert, false, policy, LegState::Succeeded));
    // The exchange is refused, and then giving back does not get there.
    let gives_back = (Kind::Refund, true, IfLost::Refund, LegState::Compensated);
    for (kind, is_lost, policy, ends) in exchanges.into_iter().chain([gives_back]) {
        simulate(async {
            let script = Script {
                kind,
                fault,
                is_lost,
                delivers: false,
            };
            let store = store_after(script, policy, 0).await;
            let payment = the_payment(&store).unwrap();
            let conversion = payment.conversion.clone().unwrap();
            assert_eq!(conversion.state, ends, "{kind:?} {policy:?}");
            assert_eq!((conversion.requotes, conversion.vain), (0, 0), "{kind:?} {policy:?}");
            assert!(store.inner.tasks(true).unwrap().is_empty(), "nobody was asked");
            let failed = payment
                .follow_ups
                .iter()
                .filter(|it| it.kind == kind && it.failure.is_some());
            assert_eq!(failed.count(), 1, "{kind:?} was begun twice");
        });
    }
}

/// The plain case, counted: five commits with the price looked at in between, and one of the quote.
#[test]
fn a_payment_that_is_exchanged_costs_two_commits_a_leg() {
    simulate(async {
        let script = Script {
            kind: Kind::Authorize,
            fault: Fault::None,
            is_lost: false,
            delivers: false,
        };
        assert_eq!(run(script, IfLost::Requote, 0).await, 6);
    });
}

/// A provider may be quicker than its own answer: what it tells of a reference that is on no disk yet is kept, and dealt
/// with once the reference is there.
#[test]
fn news_that_match_nothing_yet_are_kept_until_they_do() {
    let script = Script {
        kind: Kind::Authorize,
        fault: Fault::None,
        is_lost: false,
        delivers: false,
    };
    let tell = |reference: &str| Notification {
        method: "POST".into(),
        path: format!("event of {reference}"),
        query: String::new(),
        headers: vec![],
        body: reference.as_bytes().to_vec(),
    };
    simulate(async {
        let channel: ChannelId = Name::parse("wallet").unwrap();
        let providers = Arc::new(Providers::new(script));
        // A router that has the payment, and one over a store that does not have it yet.
        let (later, sooner) = (Arc::new(CrashStore::new(0)), Arc::new(CrashStore::new(0)));
        let (knows, waits) = (
            engine(later.clone(), providers.clone()),
            engine(sooner.clone(), providers),
        );
        let command = command(&knows, IfLost::Requote, false).await;
        knows.create_payment(command).await.unwrap();
        let payment = the_payment(&later).unwrap();
        let reference = payment.attempts.first().unwrap().reference.clone().unwrap();
        let endless = "x".repeat(300);
        for reference in [reference.as_str(), "ref-nobody", "ref-nobody", &endless] {
            let told = waits.notified(&channel, &tell(reference)).await.unwrap();
            assert!(matches!(told, Notified::Taken(_)));
        }
        waits.look_through_inbox().await.unwrap();
        let kept = sooner.news(0, 10).unwrap();
        assert_eq!(
            kept.len(),
            2,
            "nothing matches, told twice is told once, and texts have an end"
        );
        // Now the payment is there.
        for (_, news) in kept {
            assert!(later.put_news(news).await.unwrap());
        }
        knows.look_through_inbox().await.unwrap();
        let left = later.news(0, 10).unwrap();
        let left: Vec<_> = left.into_iter().filter_map(|(_, it)| it.subject.reference).collect();
        assert_eq!(left, ["ref-nobody"]);
        let event = tell(&reference).path;
        assert!(later.was_seen(&Seen { channel, event }).unwrap());
    });
}
