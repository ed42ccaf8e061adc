//! Every way in which three acquirers can answer one card, one after the other, and the router killed after every commit: money
//! is taken once at most, or a human is told; nothing is tried elsewhere unless it was certainly not taken; a card that was
//! declined for good is not tried again; the same key again, and notifications in any number, change nothing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod acquirers;
mod prices;
#[path = "../saga/world.rs"]
mod world;

use acquirers::{Acquirers, NAMES, Way, Ways};
use portolan_domain::commit::{ClaimName, Commit};
use portolan_domain::ids::{EventId, MerchantId, MethodId, Mode, Name, PaymentId};
use portolan_domain::ledger::Entry;
use portolan_domain::ledger::rules::Movement;
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::{AskedBy, CardFacts};
use portolan_domain::payment::request::ValidPayment;
use portolan_domain::payment::status::{AttemptStatus, PaymentStatus};
use portolan_domain::payment::{Attempt, Payment, Payout};
use portolan_domain::ports::{Library, Method, Notification, Sealed, Store};
use portolan_domain::task::TaskKind;
use portolan_engine::{ClaimRequest, CreatePayment, Engine};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;
use world::{CrashStore, engine, plain, supplier};

fn shop() -> MerchantId {
    Name::parse("shop").unwrap()
}

fn euro(minor: i128) -> Money {
    Money::new(minor, Asset::currency("EUR").unwrap()).unwrap()
}

/// The n-th card.
fn card(n: u128) -> Method {
    Method {
        id: MethodId(Uuid::from_u128(n)),
        merchant: shop(),
        mode: Mode::Live,
        created_ms: 0,
        card: CardFacts {
            brand: "visa".into(),
            bin: "424242".into(),
            last4: "4242".into(),
            expiry_month: 12,
            expiry_year: 2031,
            fingerprint: format!("card {n}"),
            has_code: false,
            holder: None,
        },
        sealed: Sealed(vec![]),
    }
}

fn command(key: &str, card: u128) -> CreatePayment {
    CreatePayment {
        merchant: shop(),
        mode: Mode::Live,
        claim: ClaimRequest {
            name: ClaimName {
                merchant: shop(),
                mode: Mode::Live,
                key: key.into(),
            },
            fingerprint: vec![1],
            order: None,
            approved: None,
            must_be_known: false,
        },
        valid: ValidPayment {
            method: Some(MethodId(Uuid::from_u128(card))),
            return_url: Some("https://shop.example".into()),
            ..plain(euro(1_000))
        },
    }
}

fn payments(store: &CrashStore) -> Vec<Payment> {
    let mut found = vec![];
    store.inner.each_payment(&mut |it| found.push(it.payment)).unwrap();
    found
}

fn rests(store: &CrashStore) -> bool {
    let asked = store.inner.tasks(false).unwrap().iter().any(|task| task.for_human);
    asked || payments(store).iter().all(Payment::is_over)
}

/// Serves until nothing moves; `false`: killed.
async fn serve(engine: Arc<Engine>, store: &CrashStore) -> bool {
    let (stop, stopped) = watch::channel(false);
    let timers = tokio::spawn(engine.run_timers(stopped));
    for _ in 0..4_000 {
        if store.is_dead() {
            timers.abort();
            return false;
        }
        if rests(store) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stop.send(true).unwrap();
    timers.await.unwrap();
    true
}

/// One run, killed after the n-th commit (0: never). Returns how many commits there were.
async fn run(ways: [Way; 3], kill_after: usize) -> usize {
    let label = format!("{ways:?} killed after {kill_after}");
    let acquirers = Arc::new(Acquirers::new(Ways::Fixed(ways)));
    let store = Arc::new(CrashStore::new(kill_after));
    store.inner.put_method(card(7)).await.unwrap();
    let mut router = Arc::new(engine(store.clone(), acquirers.clone()));
    let asked = router.clone();
    let call = tokio::spawn(async move { asked.create_payment(command("key", 7)).await });
    let died = store.died();
    tokio::select! {
        answered = call => drop(answered.unwrap()),
        () = died => {}
    }
    let survived = serve(router.clone(), &store).await;
    if !survived || store.is_dead() {
        store.revive();
        router = Arc::new(engine(store.clone(), acquirers.clone()));
        router.recover().await.unwrap();
        assert!(serve(router.clone(), &store).await, "{label}: killed twice");
    }
    let commits = store.commits();
    // The same key again: the same payment, whatever became of it.
    let again = router.create_payment(command("key", 7)).await;
    assert!(
        again.is_ok_and(|it| it.is_replay || kill_after > 0),
        "{label}: the key made something new"
    );
    assert!(serve(router.clone(), &store).await);
    check(&store, &acquirers, &label);
    tell_twice(&router, &store).await;
    check(&store, &acquirers, &format!("{label}, told twice"));
    late(&router, &store, &acquirers, &label).await;
    never_again(&router, &store, &acquirers, &label).await;
    commits
}

/// Every acquirer tells of every operation, twice.
async fn tell_twice(router: &Engine, store: &CrashStore) {
    for payment in payments(store) {
        for attempt in &payment.attempts {
            for n in [0, 0, 1] {
                let told = Notification {
                    method: "POST".into(),
                    path: format!("event {n} of {}", attempt.operation),
                    query: String::new(),
                    headers: vec![],
                    body: attempt.operation.to_string().into_bytes(),
                };
                router.notified(&attempt.channel, &told).await.unwrap();
            }
        }
    }
    router.look_through_inbox().await.unwrap();
}

fn check(store: &CrashStore, acquirers: &Acquirers, label: &str) {
    let found = payments(store);
    let story = || format!("{label}: {found:#?}");
    assert!(found.len() <= 1, "{}", story());
    assert!(rests(store), "never came to rest: {}", story());
    assert!(acquirers.taken() <= 1, "charged twice: {}", story());
    let Some(payment) = found.first() else {
        assert!(NAMES.iter().all(|name| acquirers.asked(name) == 0), "{}", story());
        return;
    };
    for entry in store.inner.entries(payment.id).unwrap() {
        entry.check_balanced().unwrap();
    }
    let is_known = store.inner.tasks(false).unwrap().is_empty();
    let succeeded = payment.status == PaymentStatus::Succeeded;
    assert!(!is_known || succeeded == (acquirers.taken() == 1), "{}", story());
    // Only what was certainly not taken was tried elsewhere.
    let Some((_, before)) = payment.attempts.split_last() else {
        return;
    };
    let allows = |attempt: &Attempt| match acquirers.way(&attempt.channel, payment.id) {
        Way::Soft | Way::Wants | Way::WantsAndLost | Way::WantsAlways | Way::WantsThenSoft => {
            attempt.status == AttemptStatus::Declined
        }
        Way::NotSent => attempt.status == AttemptStatus::NoEffect,
        _ => false,
    };
    assert!(before.iter().all(allows), "{}", story());
    let mut since = payment.attempts.iter().skip_while(|it| it.authenticate.is_none());
    assert!(
        since.all(|it| it.authenticate == Some(AskedBy::Issuer)),
        "gone around the issuer: {}",
        story()
    );
    let reached: Vec<&str> = NAMES.into_iter().filter(|name| acquirers.asked(name) > 0).collect();
    assert!(
        reached
            .iter()
            .all(|it| payment.attempts.iter().any(|attempt| attempt.channel.as_str() == *it)),
        "{}",
        story()
    );
}

/// What was on its way all the time arrives, and is told: somebody has to look at it, and nothing is taken beside it.
async fn late(router: &Engine, store: &CrashStore, acquirers: &Acquirers, label: &str) {
    for (channel, operation) in acquirers.arrive() {
        let told = Notification {
            method: "POST".into(),
            path: format!("late {operation}"),
            query: String::new(),
            headers: vec![],
            body: operation.to_string().into_bytes(),
        };
        router.notified(&channel, &told).await.unwrap();
        router.look_through_inbox().await.unwrap();
        let tasks = store.inner.tasks(false).unwrap();
        let is_told = tasks.iter().any(|task| task.kind == TaskKind::LateSuccess);
        let is_taken_up = payments(store).iter().any(|it| it.status == PaymentStatus::Succeeded);
        assert!(
            is_told || is_taken_up,
            "{label}: money came and nobody knows: {:#?}",
            payments(store)
        );
    }
    assert!(acquirers.taken() <= 1, "{label}: charged twice, one of them late");
}

/// A card that was declined for good is not tried by another payment.
async fn never_again(router: &Engine, store: &CrashStore, acquirers: &Acquirers, label: &str) {
    let was_never = payments(store).iter().any(|it| {
        it.last_error
            .as_ref()
            .is_some_and(|error| error.advice.as_deref() == Some("never"))
    });
    if !was_never {
        return;
    }
    let before: usize = NAMES.iter().map(|name| acquirers.asked(name)).sum();
    router.create_payment(command("another", 7)).await.unwrap();
    let after: usize = NAMES.iter().map(|name| acquirers.asked(name)).sum();
    assert_eq!(before, after, "{label}: tried again");
    let blocked = payments(store)
        .iter()
        .any(|it| it.last_error.as_ref().is_some_and(|error| error.code == "card_blocked"));
    assert!(blocked, "{label}");
}

fn simulate<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

#[test]
fn every_way_of_three_acquirers_wherever_the_router_is_killed() {
    let mut runs = 0;
    for a in Way::ALL {
        for b in Way::ALL {
            for c in Way::ALL {
                let commits = simulate(run([a, b, c], 0));
                runs += 1;
                for kill_after in 1..=commits {
                    simulate(run([a, b, c], kill_after));
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 2_000, "{runs} runs");
    println!("{runs} runs");
}

/// Payments that are under way side by side.
const AT_ONCE: u128 = 50;

/// Many payments side by side, every acquirer answering each in a way of its own.
async fn crowd(seed: u64) {
    let acquirers = Arc::new(Acquirers::new(Ways::Drawn(seed)));
    let store = Arc::new(CrashStore::new(0));
    let router = Arc::new(engine(store.clone(), acquirers.clone()));
    let mut calls = vec![];
    for n in 1..=AT_ONCE {
        store.inner.put_method(card(n)).await.unwrap();
        let router = router.clone();
        calls.push(tokio::spawn(async move {
            router.create_payment(command(&n.to_string(), n)).await
        }));
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(serve(router.clone(), &store).await);
    let all = payments(&store);
    assert_eq!(all.len() as u128, AT_ONCE);
    let has_task = |payment: &Payment| {
        store
            .inner
            .tasks(false)
            .unwrap()
            .iter()
            .any(|it| it.payment == payment.id)
    };
    for payment in &all {
        let taken = acquirers.taken_for(payment.id);
        assert!(taken <= 1, "seed {seed}: charged {taken} times: {payment:#?}");
        let succeeded = payment.status == PaymentStatus::Succeeded;
        assert!(
            has_task(payment) || succeeded == (taken == 1),
            "seed {seed}: {payment:#?}"
        );
        for entry in store.inner.entries(payment.id).unwrap() {
            entry.check_balanced().unwrap();
        }
    }
}

/// 20,000 payments; `PORTOLAN_PAYMENTS` says how many, for whoever has the time.
#[test]
fn a_crowd_of_payments_with_every_fault_is_charged_once_each() {
    let wanted = std::env::var("PORTOLAN_PAYMENTS")
        .ok()
        .and_then(|it| it.parse::<u64>().ok());
    let crowds = wanted.unwrap_or(20_000).div_ceil(50);
    for seed in 0..crowds {
        simulate(crowd(seed));
    }
    println!("{} payments", crowds * 50);
}

/// What was written down and has not left in time does not leave any more: another router may have begun to ask what became of it.
#[test]
fn a_request_that_is_late_does_not_leave() {
    simulate(async {
        for (late, asked) in [(Duration::from_secs(9), (1, 0)), (Duration::from_secs(11), (0, 1))] {
            let acquirers = Arc::new(Acquirers::new(Ways::Fixed([Way::Approves; 3])));
            let mut store = CrashStore::new(0);
            store.sleep = Some((1, late));
            let store = Arc::new(store);
            store.inner.put_method(card(7)).await.unwrap();
            let router = Arc::new(engine(store.clone(), acquirers.clone()));
            router.create_payment(command("key", 7)).await.unwrap();
            assert_eq!((acquirers.asked("a"), acquirers.asked("b")), asked, "{late:?}");
            assert_eq!(
                (payments(&store)[0].status, acquirers.taken()),
                (PaymentStatus::Succeeded, 1)
            );
        }
    });
}

/// A payout of 10.00 EUR to a chain, from 100.00 that lie there.
async fn payout(has_lane: bool) -> (Arc<Acquirers>, Payment) {
    let ways = Ways::Fixed([Way::Soft, Way::Approves, Way::Approves]);
    let acquirers = Arc::new(Acquirers::new(ways).with_lane(has_lane));
    let store = Arc::new(CrashStore::new(0));
    pay_out(&engine(store.clone(), acquirers.clone()), &store).await;
    let made = payments(&store).remove(0);
    (acquirers, made)
}

/// Begins it.
async fn pay_out(router: &Engine, store: &CrashStore) {
    let funds = Entry {
        payment: PaymentId(Uuid::from_u128(1)),
        number: 1,
        event: EventId(Uuid::nil()),
        mode: Mode::Live,
        at_ms: 1,
        resolves: None,
        lines: Movement::returned(&shop(), &shop()).post(&euro(10_000)),
    };
    let funded = Commit {
        entries: vec![funds],
        ..Commit::default()
    };
    store.inner.commit(&funded).await.unwrap();
    let mut ask = command("payout", 7);
    ask.valid = ValidPayment {
        payout: Some(Box::new(Payout {
            terms: supplier(),
            iso_status: None,
            returned: None,
            fee: None,
            booked: None,
            return_booked: None,
            leg_of: None,
        })),
        ..plain(euro(1_000))
    };
    router.create_payment(ask).await.unwrap();
}

/// What was signed in a lane can still be executed, whoever refused it: nothing is paid beside it. Elsewhere a refusal goes on.
#[test]
fn nothing_is_paid_beside_what_left_in_a_lane() {
    simulate(async {
        let (acquirers, made) = payout(true).await;
        assert_eq!((acquirers.asked("a"), acquirers.asked("b")), (1, 0), "{made:#?}");
        assert_eq!(made.status, PaymentStatus::Failed);
        let (acquirers, made) = payout(false).await;
        assert_eq!((acquirers.asked("a"), acquirers.asked("b")), (1, 1), "{made:#?}");
        assert_eq!((made.status, acquirers.taken()), (PaymentStatus::Succeeded, 1));
    });
}

/// The payment of one card, where the first acquirer's issuer wants to know the payer; `is_there`: the payer can be sent somewhere.
async fn wanting(
    way: Way,
    is_there: bool,
    authenticates: &'static [&'static str],
) -> (Arc<Acquirers>, Engine, Payment) {
    let ways = Ways::Fixed([way, Way::Approves, Way::Approves]);
    let acquirers = Arc::new(Acquirers::new(ways).with_authentication(authenticates));
    let store = Arc::new(CrashStore::new(0));
    store.inner.put_method(card(7)).await.unwrap();
    let mut ask = command("key", 7);
    ask.valid.return_url = ask.valid.return_url.filter(|_| is_there);
    let router = engine(store.clone(), acquirers.clone());
    router.create_payment(ask).await.unwrap();
    (acquirers, router, payments(&store).remove(0))
}

fn asked_by(payment: &Payment) -> Vec<(&str, Option<&AskedBy>)> {
    let attempts = payment.attempts.iter();
    attempts
        .map(|it| (it.channel.as_str(), it.authenticate.as_ref()))
        .collect()
}

/// An issuer that wants to know the payer gets what it wants, on the same channel and once.
#[test]
fn a_payer_whose_issuer_asks_is_authenticated_and_the_card_tried_again() {
    simulate(async {
        let (acquirers, router, made) = wanting(Way::Wants, true, &NAMES).await;
        assert_eq!(
            (made.status, acquirers.taken()),
            (PaymentStatus::Succeeded, 1),
            "{made:#?}"
        );
        assert_eq!(asked_by(&made), [("a", None), ("a", Some(&AskedBy::Issuer))]);
        assert_eq!(made.last_error, None);
        // What is learnt of the channel is how it ended, live and after a restart.
        let word = portolan_engine::word_of(&made);
        let known = |router: &Engine| {
            let plan = router
                .evaluate(&portolan_engine::facts_of(&made, &word, None), None)
                .unwrap()
                .plan;
            let of_a = plan.into_iter().find(|it| it.channel.as_str() == "a").unwrap();
            (of_a.score.estimate.attempts, of_a.score.estimate.ppm)
        };
        let live = known(&router);
        let again = engine(Arc::new(CrashStore::new(0)), acquirers.clone());
        let before = known(&again);
        again.relearn(std::slice::from_ref(&made));
        assert_eq!((live.0, known(&again)), (1, live));
        assert!(live.1 > before.1, "{live:?} {before:?}");
        let (acquirers, _, made) = wanting(Way::WantsAlways, true, &NAMES).await;
        let asked = (acquirers.asked("a"), acquirers.asked("b"));
        assert_eq!((made.status, asked), (PaymentStatus::Failed, (2, 0)));
    });
}

/// Nobody is asked where nobody is there, or nothing can ask; and once an issuer has asked, no channel is tried without.
#[test]
fn what_an_issuer_asks_for_is_not_gone_around() {
    simulate(async {
        for (is_there, authenticates) in [(false, &NAMES[..]), (true, &[][..])] {
            let (acquirers, _, made) = wanting(Way::Wants, is_there, authenticates).await;
            assert_eq!(
                (made.status, acquirers.taken()),
                (PaymentStatus::Failed, 0),
                "{made:#?}"
            );
            assert_eq!(asked_by(&made), [("a", None)]);
            let advice = made.last_error.unwrap().advice;
            assert_eq!(advice.as_deref(), Some("after_authentication"));
        }
        let (acquirers, _, made) = wanting(Way::WantsThenSoft, true, &["a", "c"]).await;
        let issuer = Some(&AskedBy::Issuer);
        assert_eq!(asked_by(&made), [("a", None), ("a", issuer), ("c", issuer)]);
        assert_eq!((made.status, acquirers.asked("b")), (PaymentStatus::Succeeded, 0));
    });
}
