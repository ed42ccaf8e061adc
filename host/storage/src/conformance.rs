//! One suite for every store: what a commit promises, what each guard refuses, what each list shows. A new store joins
//! by one more line in `each_store`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use crate::{Lease, MemoryStore, PostgresConfig, SqlStore, SqliteConfig, StoreLock, restore};
use portolan_domain::approval::{Approval, Approvals, Approved};
use portolan_domain::beneficiary::{Beneficiary, PartyKind, PayoutAccount, StoredBeneficiary};
use portolan_domain::channel::Stop;
use portolan_domain::commit::{
    Act, Change, Claim, ClaimName, Commit, Journaled, News, Seen, StoredAnswer, Timer, TimerKind,
};
use portolan_domain::ids::WebhookId;
use portolan_domain::ids::{
    ApproverId, AttemptId, BeneficiaryId, EventId, MerchantId, MethodId, Mode, Name, OperationId, PaymentId, QuoteId,
    RefundId,
};
use portolan_domain::ledger::rules::Movement;
use portolan_domain::ledger::{Account, Entry};
use portolan_domain::lifecycle::{self, Stage, Step, Version};
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::{
    CardFacts, Context, Fixed, Input, Inquiry, Instrument, Kind, Operation, Progress, Quotation, Subject, Target,
};
use portolan_domain::order::SignedOrder;
use portolan_domain::payment::Payment;
use portolan_domain::payment::conversion::{Conversion, IfLost};
use portolan_domain::payment::decide;
use portolan_domain::payment::fact::{Event, Fact};
use portolan_domain::payment::request::{PaymentRequest, validate};
use portolan_domain::ports::{
    Ambient, ApiKey, ApprovalBook, BookPart, CommitError, Files, KeyRing, Library, Older, Page, RuleSets, Sealer,
    Stops, Store, Versions, Webhooks,
};
use portolan_domain::quote::{self, Quote};
use portolan_domain::risk::{Counted, Effect, Limit, LimitGuard, Most, Per, Use, UseKey};
use portolan_domain::routing::rule::RuleSet;
use portolan_domain::routing::tries::{CardKey, RetryLimit, TryGuard, TryRefusal};
use portolan_domain::settlement::{Banked, BatchLine, Break, BreakKind, OpenBreak, ReportLine};
use portolan_domain::webhook::{Delivery, Disabled, Failing, Message, Parked, WebhookEndpoint, WebhookSecret};
use portolan_tests::postgres::shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// A clock that moves by one each time it is read, and ids from it.
struct Manual(AtomicU64);

impl Ambient for Manual {
    fn now_ms(&self) -> u64 {
        1_800_000_000_000 + self.0.load(Ordering::SeqCst)
    }
    fn uuid_v7(&self) -> Uuid {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        Uuid::from_u128((u128::from(1_800_000_000_000 + n) << 80) | (7 << 76) | (2 << 62) | u128::from(n))
    }
    fn uuid_v4(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::SeqCst)))
    }
}

/// A sealer for tests: reversible, bound to its place, and visibly not the clear text.
struct Xor;

impl Sealer for Xor {
    fn new_data_key(&self) -> Result<Vec<u8>, String> {
        Ok(vec![0x5a])
    }
    fn seal(&self, key: &[u8], place: &[u8], plain: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok([place, &plain.iter().map(|byte| byte ^ key[0]).collect::<Vec<_>>()].concat())
    }
    fn open(&self, key: &[u8], place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String> {
        let body = sealed.strip_prefix(place).ok_or("it belongs elsewhere")?;
        Ok(body.iter().map(|byte| byte ^ key[0]).collect())
    }
}

trait Whole: Store + Library + KeyRing + Versions + Stops + RuleSets + ApprovalBook + Webhooks {}
impl<T: Store + Library + KeyRing + Versions + Stops + RuleSets + ApprovalBook + Webhooks> Whole for T {}

fn sqlite(folder: &std::path::Path, disk_floor_bytes: u64) -> SqlStore {
    let config = SqliteConfig {
        file: folder.join("store.db"),
        disk_floor_bytes,
        is_durable: true,
    };
    let lock = StoreLock::take(&config.file).unwrap();
    SqlStore::open_file(&config, lock, Arc::new(Xor), Box::new(|why| panic!("{why}"))).unwrap()
}

fn at(connection: &str) -> PostgresConfig {
    let name: String = connection.chars().filter(char::is_ascii_alphanumeric).collect();
    PostgresConfig {
        mark: std::env::temp_dir().join(format!("portolan-{}-{name}.mark", std::process::id())),
        connection: connection.into(),
        authorities: None,
        is_durable: false,
    }
}

fn postgres(connection: &str) -> SqlStore {
    let lease = Lease::take(&at(connection)).unwrap();
    SqlStore::open_postgres(lease, Arc::new(Xor), Arc::new(|why: &str| panic!("{why}"))).unwrap()
}

/// Whoever lost the store to another router writes nothing more, though its connections live.
#[test]
fn a_router_whose_time_is_over_writes_nothing_more() {
    let cluster = shared().unwrap();
    let connection = cluster.database().unwrap();
    let name = connection.rsplit("dbname=").next().unwrap().to_owned();
    let (told, why) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let lease = Lease::take(&at(&connection)).unwrap();
    let end = Arc::new(move |why: &str| told.lock().unwrap().send(why.to_owned()).unwrap());
    let store = SqlStore::open_postgres(lease, Arc::new(Xor), end).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ambient = Manual(AtomicU64::new(1));
    let (_, first) = new_payment(&ambient, 100);
    runtime.block_on(store.commit(&first)).unwrap();
    store.put_file("mine", Some(b"1")).unwrap();
    cluster.run(&name, "UPDATE portolan SET epoch = epoch + 1").unwrap();
    let (_, second) = new_payment(&ambient, 100);
    assert!(runtime.block_on(store.commit(&second)).is_err());
    assert!(why.recv().unwrap().contains("another router has taken over"));
    assert!(store.put_file("mine", None).is_err());
    assert!(store.put_file("other", Some(b"1")).is_err());
    let count = |table: &str| cluster.run(&name, &format!("SELECT count(*) FROM {table}")).unwrap();
    assert_eq!(
        (count("payment"), count("journal"), count("adapter_file")),
        ("1".into(), "1".into(), "1".into())
    );
}

/// A replica that takes the database's place may lack what it was told last.
#[test]
fn a_replica_that_was_promoted_is_noticed() {
    let cluster = shared().unwrap();
    let connection = cluster.database().unwrap();
    let name = connection.rsplit("dbname=").next().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ambient = Manual(AtomicU64::new(1));
    let store = postgres(&connection);
    let (payment, commit) = new_payment(&ambient, 100);
    runtime.block_on(store.commit(&commit)).unwrap();
    drop(store);
    let promoted = cluster.promoted_copy().unwrap();
    let store = postgres(&promoted.connection(name));
    assert!(store.payment(payment.id).unwrap().is_some(), "it has what was copied");
    assert!(store.was_restored().unwrap());
    assert!(!postgres(&connection).was_restored().unwrap(), "the first is as it was");
}

/// A text of a provider's that no text of the database can be is taken all the same, and found again.
#[test]
fn news_with_a_character_that_a_database_does_not_take_are_dealt_with() {
    each_store(|store| async move {
        let seen = || Seen {
            channel: shop(),
            event: "evt\0 1".into(),
        };
        let news = News {
            channel: shop(),
            subject: Subject {
                key: None,
                reference: Some("ref\0".into()),
                event: seen().event,
            },
            at_ms: 1,
        };
        assert!(store.put_news(news).await.unwrap());
        assert_eq!(store.news(0, 9).unwrap().len(), 1);
        assert!(!store.was_seen(&seen()).unwrap());
        let dealt_with = Commit {
            seen: Some(seen()),
            ..Commit::default()
        };
        store.commit(&dealt_with).await.unwrap();
        assert!(store.was_seen(&seen()).unwrap());
        assert_eq!(store.news(0, 9).unwrap().len(), 0);
    });
}

/// A database that was put back in time is noticed by the machine that saw it further, and by another table's number.
#[test]
fn a_database_that_was_put_back_is_noticed() {
    let cluster = shared().unwrap();
    let connection = cluster.database().unwrap();
    let name = connection.rsplit("dbname=").next().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ambient = Manual(AtomicU64::new(1));
    let store = postgres(&connection);
    let (_, commit) = new_payment(&ambient, 100);
    runtime.block_on(store.commit(&commit)).unwrap();
    drop(store);
    let store = postgres(&connection);
    assert!(!store.was_restored().unwrap(), "it is as it was");
    drop(store);
    cluster.run(&name, "DELETE FROM journal").unwrap();
    let store = postgres(&connection);
    assert!(store.was_restored().unwrap());
    runtime.block_on(store.set_asked_after_restore()).unwrap();
    assert!(!store.was_restored().unwrap());
    drop(store);
    Lease::take(&at(&connection)).unwrap().note_restored().unwrap();
    assert!(postgres(&connection).was_restored().unwrap(), "an operator says so");
}

/// Runs a check on every store.
fn each_store<F: Future<Output = ()>>(check: impl Fn(Arc<dyn Whole>) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let database = shared().unwrap().database().unwrap();
    let stores: [Arc<dyn Whole>; 3] = [
        Arc::new(MemoryStore::default()),
        Arc::new(sqlite(folder.path(), 0)),
        Arc::new(postgres(&database)),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for store in stores {
        runtime.block_on(check(store));
    }
}

fn shop() -> MerchantId {
    Name::parse("shop").unwrap()
}

fn eur(minor: i128) -> Money {
    Money::new(minor, Asset::currency("EUR").unwrap()).unwrap()
}

/// A new payment with its first commit.
fn new_payment(ambient: &Manual, amount: i128) -> (Payment, Commit) {
    let request = PaymentRequest {
        amount: Some(amount),
        currency: Some("EUR".into()),
        ..PaymentRequest::default()
    };
    let mut change = Change::new(ambient);
    let names = (PaymentId::new(ambient.uuid_v7()), ambient.uuid_v4(), shop(), Mode::Test);
    let payment = decide::create(&mut change, names, validate(request, Asset::currency).unwrap()).unwrap();
    let commit = change.into_commit(payment.clone(), 0);
    (payment, commit)
}

fn claim(payment: PaymentId, key: &str) -> Claim {
    let name = ClaimName {
        merchant: shop(),
        mode: Mode::Test,
        key: key.into(),
    };
    Claim {
        name,
        fingerprint: vec![1],
        payment,
        operation: None,
        at_ms: 5,
        answer: None,
    }
}

fn page<I>() -> Page<I> {
    Page {
        merchant: shop(),
        mode: Mode::Test,
        limit: 3,
        after: None,
        before: None,
        created_gte_ms: None,
    }
}

#[test]
fn a_commit_is_there_whole_and_versions_are_guarded() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let (payment, commit) = new_payment(&ambient, 100);
        store.commit(&commit).await.unwrap();
        let found = store.payment(payment.id).unwrap().unwrap();
        assert_eq!((found.payment.clone(), found.version), (payment.clone(), 1));
        assert_eq!(
            store.commit(&commit).await,
            Err(CommitError::VersionConflict),
            "it exists"
        );
        let stale = Commit {
            payment: Some((payment.clone(), 7)),
            ..Commit::default()
        };
        assert_eq!(store.commit(&stale).await, Err(CommitError::VersionConflict));
        let next = Commit {
            payment: Some((payment.clone(), 1)),
            ..Commit::default()
        };
        store.commit(&next).await.unwrap();
        assert_eq!(store.payment(payment.id).unwrap().unwrap().version, 2);
        assert_eq!(store.payment(PaymentId(Uuid::nil())).unwrap(), None);
        assert_eq!(store.verify_chain().unwrap().0, 1);
    });
}

#[test]
fn a_refused_commit_leaves_nothing_behind() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let (first, mut commit) = new_payment(&ambient, 100);
        commit.claim = Some(claim(first.id, "k"));
        store.commit(&commit).await.unwrap();
        let (second, mut commit) = new_payment(&ambient, 200);
        commit.claim = Some(claim(second.id, "k"));
        assert_eq!(store.commit(&commit).await, Err(CommitError::ClaimTaken));
        assert_eq!(store.payment(second.id).unwrap(), None);
        assert_eq!(store.events(&page(), None).unwrap().len(), 1);
        assert_eq!(store.verify_chain().unwrap().0, 1, "the chain has no hole");
        let found = store.claim(&claim(first.id, "k").name).unwrap().unwrap();
        assert_eq!((found.payment, found.answer), (first.id, None));
        let answer = StoredAnswer {
            status: 200,
            body: b"{}".to_vec(),
        };
        let commit = Commit {
            row: ambient.uuid_v7(),
            payment: Some((first.clone(), 1)),
            answer: Some((found.name.clone(), answer.clone())),
            ..Commit::default()
        };
        store.commit(&commit).await.unwrap();
        assert_eq!(store.claim(&found.name).unwrap().unwrap().answer, Some(answer));
        let seen = Seen {
            channel: shop(),
            event: "evt".into(),
        };
        let dealt_with = Commit {
            seen: Some(seen),
            ..Commit::default()
        };
        store.commit(&dealt_with).await.unwrap();
        assert_eq!(store.commit(&dealt_with).await, Err(CommitError::SeenBefore));
    });
}

/// News wait in order, are the same when told again, and go with the commit that deals with them, or with time.
#[test]
fn news_wait_until_they_are_dealt_with() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let news = |event: &str, at_ms| News {
            channel: shop(),
            subject: Subject {
                key: None,
                reference: Some(format!("ref-{event}")),
                event: event.into(),
            },
            at_ms,
        };
        for (event, at_ms) in [("a", 10), ("b", 20), ("a", 30), ("c", 40)] {
            assert!(store.put_news(news(event, at_ms)).await.unwrap());
        }
        let waiting = |after, limit| store.news(after, limit).unwrap();
        let all = waiting(0, 10);
        let events: Vec<_> = all.iter().map(|(_, it)| it.clone()).collect();
        assert_eq!(events, [news("a", 10), news("b", 20), news("c", 40)]);
        assert_eq!(waiting(all[0].0, 1), all[1..2]);
        let dealt_with = Commit {
            row: ambient.uuid_v7(),
            seen: Some(Seen {
                channel: shop(),
                event: "b".into(),
            }),
            ..Commit::default()
        };
        store.commit(&dealt_with).await.unwrap();
        let older = Older {
            answers_ms: 0,
            journals_ms: 0,
            news_ms: 40,
            tries_ms: 40,
            uses_ms: 40,
        };
        store.prune(older, 100).await.unwrap();
        let left: Vec<_> = waiting(0, 10).into_iter().map(|(_, it)| it).collect();
        assert_eq!(left, [news("c", 40)]);
    });
}

/// A break keeps its age and owner when it is found again, and goes with the commit that settles its line, or by hand.
#[test]
fn breaks_stay_until_their_line_is_settled_or_somebody_closes_them() {
    each_store(|store| async move {
        let found = |reference: &str, kind, opened_ms| OpenBreak {
            channel: shop(),
            line: ReportLine {
                kind: "charge".into(),
                reference: Some(reference.into()),
                key: None,
                batch: "b1".into(),
                is_credit: true,
                gross: eur(100),
                fee: eur(3),
                net: eur(97),
                text: String::new(),
            },
            found: Break { kind, why: "x".into() },
            opened_ms,
            owner: None,
        };
        let ambient = Manual(AtomicU64::new(1));
        let act = |n: u8| Act {
            id: EventId(ambient.uuid_v7()),
            at_ms: 1,
            by: "bob".into(),
            verb: "break".into(),
            about: "a".into(),
            note: n.to_string(),
        };
        store.put_break(found("a", BreakKind::TooEarly, 5)).await.unwrap();
        store.put_break(found("b", BreakKind::FeeDiff, 6)).await.unwrap();
        let first = store.breaks(0, 10).unwrap()[0].0;
        assert!(store.give_break(first, "ada", act(1)).await.unwrap());
        store.put_break(found("a", BreakKind::AmountDiff, 7)).await.unwrap();
        let of_ada = OpenBreak {
            owner: Some("ada".into()),
            ..found("a", BreakKind::AmountDiff, 5)
        };
        let open = || -> Vec<_> { store.breaks(0, 10).unwrap().into_iter().map(|(_, it)| it).collect() };
        assert_eq!(open(), [of_ada.clone(), found("b", BreakKind::FeeDiff, 6)]);
        let settled = Commit {
            seen: Some(Seen {
                channel: shop(),
                event: of_ada.line.event(),
            }),
            ..Commit::default()
        };
        store.commit(&settled).await.unwrap();
        assert_eq!(open(), [found("b", BreakKind::FeeDiff, 6)]);
        let second = store.breaks(first + 1, 1).unwrap()[0].0;
        assert!(store.close_break(second, act(2)).await.unwrap());
        assert!(!store.close_break(second, act(3)).await.unwrap());
        assert!(!store.give_break(second, "ada", act(4)).await.unwrap());
        assert_eq!(open(), []);
        let told: Vec<_> = store.acts(10).unwrap().into_iter().map(|act| act.note).collect();
        assert_eq!(told, ["2", "1"], "what was done stands in the chain, and nothing else");
    });
}

#[test]
fn no_more_is_promised_than_may_be() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let hkd = Asset::currency("HKD").unwrap();
        let open = || store.exposure(Mode::Test, eur(1).asset(), &hkd).unwrap();
        let promise = |most| {
            let (mut payment, _) = new_payment(&ambient, 100);
            let mut change = Change::new(&ambient);
            let quote = a_quote();
            let terms = quote.terms[0].clone();
            let planned = Conversion::planned(quote.id, terms, (IfLost::Hold, 0));
            decide::lock_rate(&mut payment, &mut change, planned).unwrap();
            payment.record(&mut change, Fact::MethodSet).unwrap();
            let attempt = AttemptId(ambient.uuid_v7());
            let operation = OperationId::of(payment.id, 1);
            decide::begin_attempt(
                &mut payment,
                &mut change,
                attempt,
                operation,
                ((shop(), "a".into()), None),
            )
            .unwrap();
            Commit {
                exposure_max: Some(most),
                ..change.into_commit(payment, 0)
            }
        };
        let first = promise(250);
        store.commit(&first).await.unwrap();
        store.commit(&promise(250)).await.unwrap();
        assert_eq!(open(), 200);
        assert_eq!(store.commit(&promise(250)).await, Err(CommitError::ExposureFull));
        assert_eq!(
            (open(), store.exposure(Mode::Live, eur(1).asset(), &hkd).unwrap()),
            (200, 0)
        );
        // One is over: there is room again.
        let (mut payment, _) = first.payment.unwrap();
        let mut change = Change::new(&ambient);
        let attempt = payment.attempts[0].id;
        let why = "not_found".to_owned();
        payment
            .record(&mut change, Fact::AttemptNoEffect { attempt, why })
            .unwrap();
        let code = "no_route".to_owned();
        payment.record(&mut change, Fact::Failed { code }).unwrap();
        store.commit(&change.into_commit(payment, 1)).await.unwrap();
        assert_eq!(open(), 100);
        store.commit(&promise(250)).await.unwrap();
    });
}

#[test]
fn a_batch_lies_at_the_bank_once() {
    each_store(|store| async move {
        let line = |event: &str, batch: &str, at_ms| BatchLine {
            channel: shop(),
            event: event.into(),
            batch: batch.into(),
            operation: OperationId(Uuid::from_u128(9)),
            net: eur(97),
            is_credit: event != "refund",
            at_ms,
            banked: None,
        };
        let write = |line: BatchLine| {
            let commit = Commit {
                batch_line: Some(line),
                ..Commit::default()
            };
            let store = &store;
            async move { store.commit(&commit).await }
        };
        for line in [line("b", "b1", 3), line("refund", "b1", 1), line("c", "b2", 2)] {
            write(line).await.unwrap();
        }
        assert_eq!(
            store.batch("b1", 10).unwrap(),
            [line("b", "b1", 3), line("refund", "b1", 1)]
        );
        assert_eq!(store.batch("b1", 1).unwrap().len(), 1);
        assert_eq!(store.batch("b", 10).unwrap(), []);
        assert_eq!(
            store.in_transit(2).unwrap(),
            [line("refund", "b1", 1), line("c", "b2", 2)]
        );
        let banked = BatchLine {
            banked: Some(Banked {
                bank: Name::parse("bank").unwrap(),
                entry: "credit 1".into(),
            }),
            ..line("c", "b2", 2)
        };
        write(banked.clone()).await.unwrap();
        assert_eq!(write(banked.clone()).await, Err(CommitError::SeenBefore));
        assert_eq!(store.batch("b2", 10).unwrap(), [banked]);
        assert_eq!(store.in_transit(10).unwrap().len(), 2);
    });
}

#[test]
fn webhook_endpoints_are_written_again_and_again_until_they_are_removed() {
    each_store(|store| async move {
        let endpoint = |n: u128, delivered| WebhookEndpoint {
            id: WebhookId(Uuid::from_u128(n)),
            merchant: shop(),
            mode: Mode::Test,
            created_ms: 10,
            url: "https://shop.example/hooks?a=b".into(),
            events: vec!["refund.*".into()],
            description: Some("the shop".into()),
            secrets: vec![WebhookSecret {
                bytes: vec![7; 32],
                until_ms: Some(9),
            }],
            cursor: Some(EventId(Uuid::from_u128(5))),
            parked: vec![Parked {
                message: Message {
                    event: EventId(Uuid::from_u128(4)),
                    body: "{}".into(),
                },
                tries: 2,
                next_ms: 77,
            }],
            failed_in_a_row: 1,
            failing: Some(Failing {
                since_ms: 1,
                next_ms: 2,
                wait_ms: 3,
            }),
            disabled: Some(Disabled::Gone),
            last: Some(Delivery {
                at_ms: 8,
                status: Some(410),
                why: Some("gone".into()),
            }),
            delivered,
            given_up: 3,
            lost: vec![EventId(Uuid::from_u128(3))],
        };
        for (n, delivered) in [(1, 0), (2, 0), (1, 9)] {
            store.put_webhook_endpoint(endpoint(n, delivered)).await.unwrap();
        }
        let mut all = store.webhook_endpoints().unwrap();
        all.sort_by_key(|it| it.id);
        assert_eq!(all, [endpoint(1, 9), endpoint(2, 0)]);
        let second = WebhookId(Uuid::from_u128(2));
        assert!(store.remove_webhook_endpoint(second).await.unwrap());
        assert!(!store.remove_webhook_endpoint(second).await.unwrap());
        assert_eq!(store.webhook_endpoints().unwrap(), [endpoint(1, 9)]);
    });
}

#[test]
fn who_wrote_something_new_is_known() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        assert_eq!(store.wrote_since(None).unwrap(), (0, vec![]));
        for amount in [1, 2] {
            store.commit(&new_payment(&ambient, amount).1).await.unwrap();
        }
        let (place, owners) = store.wrote_since(Some(0)).unwrap();
        assert_eq!(owners, [(Mode::Test, shop())]);
        assert_eq!(store.wrote_since(None).unwrap(), (place, vec![]));
        assert_eq!(store.wrote_since(Some(place)).unwrap(), (place, vec![]));
        store.commit(&new_payment(&ambient, 3).1).await.unwrap();
        assert_eq!(store.wrote_since(Some(place)).unwrap().1, [(Mode::Test, shop())]);
    });
}

#[test]
fn beneficiaries_are_kept_until_they_are_removed() {
    each_store(|store| async move {
        let stored = |n: u128, merchant: &str| StoredBeneficiary {
            id: BeneficiaryId(Uuid::from_u128(n)),
            merchant: Name::parse(merchant).unwrap(),
            mode: Mode::Test,
            created_ms: 10,
            currency: "EUR".into(),
            beneficiary: Beneficiary {
                kind: PartyKind::Person,
                name: "Ada Lovelace".into(),
                country: "DE".into(),
                lines: vec![],
                city: None,
                postcode: None,
                account: PayoutAccount::Iban("DE89370400440532013000".into()),
            },
        };
        for (n, merchant) in [(1, "shop"), (2, "other"), (3, "shop")] {
            store.put_beneficiary(stored(n, merchant)).await.unwrap();
        }
        let page = Page {
            merchant: shop(),
            mode: Mode::Test,
            limit: 10,
            after: None,
            before: None,
            created_gte_ms: None,
        };
        assert_eq!(
            store.beneficiaries(&page).unwrap(),
            [stored(3, "shop"), stored(1, "shop")]
        );
        assert_eq!(
            store.beneficiary(BeneficiaryId(Uuid::from_u128(2))).unwrap(),
            Some(stored(2, "other"))
        );
        let third = BeneficiaryId(Uuid::from_u128(3));
        assert!(store.remove_beneficiary(third).await.unwrap());
        assert!(!store.remove_beneficiary(third).await.unwrap());
        assert_eq!(store.beneficiary(third).unwrap(), None);
        assert_eq!(store.beneficiaries(&page).unwrap(), [stored(1, "shop")]);
    });
}

fn a_quote() -> Quote {
    let hkd = |minor| Money::new(minor, Asset::currency("HKD").unwrap()).unwrap();
    let quotation = Quotation {
        reference: "q".into(),
        sell: eur(100),
        buy: hkd(843),
        rate: "8.43".parse().unwrap(),
        mid: None,
        fee: None,
        expires_ms: 1_900_000_000_000,
        memo: None,
    };
    let inquiry = Inquiry {
        sell: eur(0).asset().clone(),
        buy: hkd(0).asset().clone(),
        fixed: Fixed::Sell(eur(100)),
        lock_s: 60,
    };
    let terms = quote::price(&inquiry, &shop(), quotation, (0, 0)).unwrap();
    Quote {
        id: QuoteId(Uuid::from_u128(7)),
        merchant: shop(),
        mode: Mode::Test,
        created_ms: 1,
        inquiry,
        terms: vec![terms],
        unavailable: vec![],
        used_by: None,
    }
}

#[test]
fn a_quote_is_used_once() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let quote = a_quote();
        assert_eq!(store.quote(quote.id).unwrap(), None);
        store.put_quote(quote.clone()).await.unwrap();
        assert_eq!(store.quote(quote.id).unwrap().as_ref(), Some(&quote));
        let (first, mut commit) = new_payment(&ambient, 100);
        commit.quote = Some(quote.id);
        store.commit(&commit).await.unwrap();
        let (second, mut commit) = new_payment(&ambient, 100);
        commit.quote = Some(quote.id);
        assert_eq!(store.commit(&commit).await, Err(CommitError::QuoteUsed));
        assert_eq!(store.payment(second.id).unwrap(), None);
        assert_eq!(store.quote(quote.id).unwrap().unwrap().used_by, Some(first.id));
        let (_, mut commit) = new_payment(&ambient, 100);
        commit.quote = Some(QuoteId(Uuid::from_u128(8)));
        assert_eq!(
            store.commit(&commit).await,
            Err(CommitError::QuoteUsed),
            "there is none"
        );
    });
}

#[test]
fn a_balance_covers_what_is_held_and_no_more() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let account = Account::MerchantAvailable(shop());
        let (payment, mut commit) = new_payment(&ambient, 100);
        let entry = |number, lines| Entry {
            payment: payment.id,
            number,
            event: EventId(Uuid::nil()),
            mode: Mode::Test,
            at_ms: 1,
            resolves: None,
            lines,
        };
        commit.covers = Some((account.clone(), eur(1)));
        assert_eq!(
            store.commit(&commit).await,
            Err(CommitError::Uncovered),
            "nothing is there"
        );
        commit.covers = None;
        commit.entries = vec![entry(1, Movement::returned(&shop(), &shop()).post(&eur(100)))];
        store.commit(&commit).await.unwrap();
        let hold = |number, amount: i128, version| Commit {
            row: ambient.uuid_v7(),
            payment: Some((payment.clone(), version)),
            covers: Some((account.clone(), eur(amount))),
            entries: vec![entry(number, Movement::pay(&shop(), &shop()).hold(&eur(amount)))],
            ..Commit::default()
        };
        store.commit(&hold(2, 60, 1)).await.unwrap();
        assert_eq!(
            store.commit(&hold(3, 41, 2)).await,
            Err(CommitError::Uncovered),
            "40 are left"
        );
        store.commit(&hold(3, 40, 2)).await.unwrap();
    });
}

#[test]
fn an_index_is_given_once_and_a_feed_is_read_on() {
    each_store(|store| async move {
        let other: MerchantId = Name::parse("other").unwrap();
        assert_eq!(store.next_index(&shop()).await, Ok(1));
        assert_eq!(store.next_index(&shop()).await, Ok(2));
        assert_eq!(store.next_index(&other).await, Ok(1));
        assert_eq!(store.cursor(&shop()).unwrap(), b"");
        store.put_cursor(&shop(), vec![7]).await.unwrap();
        store.put_cursor(&shop(), vec![8, 0]).await.unwrap();
        assert_eq!(store.cursor(&shop()).unwrap(), [8, 0]);
        assert_eq!(store.cursor(&other).unwrap(), b"");
    });
}

#[test]
fn timers_come_due_in_order_and_are_cleared_before_they_are_set() {
    each_store(|store| async move {
        let timer = |n: u128, due_ms| Timer {
            kind: TimerKind::Check,
            operation: OperationId(Uuid::from_u128(n)),
            due_ms,
        };
        let set = vec![timer(1, 30), timer(2, 10), timer(3, 20)];
        let commit = Commit {
            timers_set: set,
            ..Commit::default()
        };
        store.commit(&commit).await.unwrap();
        assert_eq!(store.due_timers(25, 10).unwrap(), [timer(2, 10), timer(3, 20)]);
        assert_eq!(store.due_timers(25, 1).unwrap(), [timer(2, 10)]);
        let commit = Commit {
            timers_clear: vec![timer(2, 10)],
            timers_set: vec![timer(2, 40)],
            ..Commit::default()
        };
        store.commit(&commit).await.unwrap();
        assert_eq!(
            store.due_timers(100, 10).unwrap(),
            [timer(3, 20), timer(1, 30), timer(2, 40)]
        );
    });
}

#[test]
fn lists_page_both_ways_and_stay_with_their_merchant() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let mut ids = vec![];
        for amount in 1..=5 {
            let (payment, commit) = new_payment(&ambient, amount);
            store.commit(&commit).await.unwrap();
            ids.insert(0, payment.id);
        }
        let list = |page: &Page<PaymentId>| -> Vec<PaymentId> {
            store
                .payments(page)
                .unwrap()
                .into_iter()
                .map(|found| found.payment.id)
                .collect()
        };
        assert_eq!(list(&page()), ids[..3]);
        assert_eq!(
            list(&Page {
                after: Some(ids[2]),
                ..page()
            }),
            ids[3..]
        );
        assert_eq!(
            list(&Page {
                before: Some(ids[4]),
                limit: 2,
                ..page()
            }),
            ids[2..4]
        );
        assert_eq!(
            list(&Page {
                created_gte_ms: Some(u64::MAX >> 16),
                ..page()
            }),
            []
        );
        assert_eq!(
            list(&Page {
                mode: Mode::Live,
                ..page()
            }),
            []
        );
        assert_eq!(
            list(&Page {
                merchant: Name::parse("other").unwrap(),
                ..page()
            }),
            []
        );
        assert_eq!(store.events(&page(), Some(ids[0])).unwrap().len(), 1);
    });
}

#[test]
fn events_come_in_the_order_of_their_writing_and_a_poller_misses_none() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        // Decided first, written last: its ids are older than what was written meanwhile.
        let (slow, slow_commit) = new_payment(&ambient, 1);
        let (quick, quick_commit) = new_payment(&ambient, 2);
        store.commit(&quick_commit).await.unwrap();
        let seen = store.events(&page(), None).unwrap();
        assert_eq!(seen.iter().map(|event| event.payment).collect::<Vec<_>>(), [quick.id]);
        store.commit(&slow_commit).await.unwrap();
        let since = |cursor: &Event| {
            let newer = Page {
                before: Some(cursor.id),
                ..page()
            };
            store.events(&newer, None).unwrap()
        };
        let new = since(&seen[0]);
        assert_eq!(new.iter().map(|event| event.payment).collect::<Vec<_>>(), [slow.id]);
        assert_eq!(since(&new[0]), []);
        let older = Page {
            after: Some(new[0].id),
            ..page()
        };
        assert_eq!(store.events(&older, None).unwrap(), seen);
        // Several events of one commit are told apart.
        let (mut third, commit) = new_payment(&ambient, 3);
        store.commit(&commit).await.unwrap();
        let mut change = Change::new(&ambient);
        for _ in 0..3 {
            third.record(&mut change, Fact::MethodSet).unwrap();
        }
        store.commit(&change.into_commit(third, 1)).await.unwrap();
        let all = store.events(&Page { limit: 9, ..page() }, None).unwrap();
        assert_eq!(all.len(), 6);
        for (at, event) in all.iter().enumerate() {
            let after = Page {
                after: Some(event.id),
                limit: 9,
                ..page()
            };
            assert_eq!(store.events(&after, None).unwrap(), all[at + 1..], "after {at}");
            let before = Page {
                before: Some(event.id),
                limit: 9,
                ..page()
            };
            assert_eq!(store.events(&before, None).unwrap(), all[..at], "before {at}");
            let last = store.events(&Page { limit: 1, ..before }, None).unwrap();
            assert_eq!(last, all[at.saturating_sub(1)..at], "the one next to {at}");
        }
        // Whoever has seen none yet begins with the oldest.
        let from_none = Page {
            before: Some(EventId(Uuid::nil())),
            limit: 2,
            ..page()
        };
        assert_eq!(store.events(&from_none, None).unwrap(), all[4..]);
    });
}

/// Whoever proves the books while money moves sees one moment.
#[test]
fn books_are_of_one_moment() {
    each_store(|store| async move {
        let ambient = Arc::new(Manual(AtomicU64::new(1)));
        let writer = {
            let (store, ambient) = (store.clone(), ambient.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            std::thread::spawn(move || {
                for _ in 0..60 {
                    let (mut payment, commit) = new_payment(&ambient, 100);
                    let mut change = Change::new(&*ambient);
                    let (attempt, operation) = (AttemptId(ambient.uuid_v7()), OperationId::of(payment.id, 1));
                    let names = ((shop(), "digest".into()), None);
                    decide::begin_attempt(&mut payment, &mut change, attempt, operation, names).unwrap();
                    runtime.block_on(store.commit(&commit)).unwrap();
                    runtime.block_on(store.commit(&change.into_commit(payment, 1))).unwrap();
                }
            })
        };
        let mut seen = 0;
        loop {
            let is_over = writer.is_finished();
            let (mut sum, mut kept, mut begun) = (portolan_domain::ledger::Balances::new(), None, 0);
            let mut take = |part| match part {
                BookPart::Entry(entry) => entry.add_to(&mut sum).unwrap(),
                BookPart::Balances(Mode::Test, balances) => kept = Some(balances),
                BookPart::Balances(Mode::Live, _) => {}
                BookPart::Payment(found) => begun += usize::from(!found.payment.attempts.is_empty()),
            };
            store.books(&mut take).unwrap();
            assert_eq!(Some(&sum), kept.as_ref());
            let pending = sum.values().map(|it| it.pending_credit).sum::<i128>();
            assert_eq!(
                pending,
                100 * i128::try_from(begun).unwrap(),
                "entries and payments are of one moment"
            );
            seen += 1;
            if is_over {
                break;
            }
        }
        writer.join().unwrap();
        assert!(seen > 1);
    });
}

#[test]
fn books_add_up_whoever_keeps_them() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        for amount in [100, 250] {
            let (mut payment, commit) = new_payment(&ambient, amount);
            store.commit(&commit).await.unwrap();
            let mut change = Change::new(&ambient);
            let (attempt, operation) = (AttemptId(ambient.uuid_v7()), OperationId::of(payment.id, 1));
            decide::begin_attempt(
                &mut payment,
                &mut change,
                attempt,
                operation,
                ((shop(), "digest".into()), None),
            )
            .unwrap();
            if amount == 250 {
                accept(&mut payment, &mut change, attempt);
            }
            store.commit(&change.into_commit(payment, 1)).await.unwrap();
        }
        let balances = store.balances(Mode::Test, Some(&shop())).unwrap();
        let balance = balances.values().next().unwrap();
        assert_eq!((balance.credit, balance.pending_credit, balance.debit), (250, 100, 0));
        assert_eq!(store.balances(Mode::Test, None).unwrap().len(), 2);
        assert_eq!(store.balances(Mode::Live, None).unwrap().len(), 0);
        let mut sum = portolan_domain::ledger::Balances::new();
        let (mut kept, mut payments) = (vec![], 0);
        let mut take = |part| match part {
            BookPart::Entry(entry) => entry.add_to(&mut sum).unwrap(),
            BookPart::Balances(mode, balances) => kept.push((mode, balances)),
            BookPart::Payment(_) => payments += 1,
        };
        store.books(&mut take).unwrap();
        let (test, live) = (
            store.balances(Mode::Test, None).unwrap(),
            store.balances(Mode::Live, None).unwrap(),
        );
        assert_eq!(sum, test);
        assert_eq!(kept, [(Mode::Test, test), (Mode::Live, live)]);
        assert!(payments > 0);

        let history = |merchant: &MerchantId, limit| store.history(Mode::Test, merchant, 0, limit).unwrap();
        let whole = history(&shop(), 9);
        assert_eq!(whole.balances, balances);
        let mut theirs = portolan_domain::ledger::Balances::new();
        for (entry, event) in &whole.entries {
            assert_eq!((entry.event, entry.payment), (event.id, event.payment));
            entry.add_to(&mut theirs).unwrap();
        }
        theirs.retain(|(account, _), _| account.merchant() == Some(&shop()));
        assert_eq!(theirs, balances);
        assert!(history(&shop(), whole.entries.len() - 1).is_cut);
        assert_eq!(history(&MerchantId::parse("other").unwrap(), 9).entries, []);
        let live = store.history(Mode::Live, &shop(), 0, 9).unwrap();
        assert_eq!(live, portolan_domain::ports::History::default());
    });
}

/// An operation of that payment, as far along as told.
fn operation(payment: &Payment, attempt: AttemptId, part: u32, progress: Progress) -> Journaled {
    let context = Context {
        operation: OperationId::of(payment.id, part),
        keys: vec![],
        now_ms: 1_800_000_000_000,
        entropy: [0; 32],
        settings: String::new(),
        secrets: vec![],
        card_number: String::new(),
        card_code: None,
        notify_url: String::new(),
        return_url: String::new(),
    };
    let target = Target {
        kind: Kind::Authorize,
        operation: context.operation,
        keys: vec![],
        reference: None,
        parent_reference: None,
        amount: payment.amount.clone(),
        started_ms: context.now_ms,
        memo: None,
        sent: vec![],
        captured: None,
        captured_ms: None,
        disputed: vec![],
    };
    let operation = Operation {
        id: context.operation,
        payment: payment.id,
        merchant: payment.merchant.clone(),
        mode: payment.mode,
        channel: shop(),
        adapter: "digest".into(),
        kind: Kind::Authorize,
        attempt,
        amount: payment.amount.clone(),
        input: Input::Status(target),
        started_ms: context.now_ms,
        context,
        progress,
        checks: 0,
        is_restored: false,
    };
    Arc::new((operation, vec![]))
}

#[test]
fn operations_are_in_flight_until_they_are_concluded_and_found_by_reference() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let (mut payment, commit) = new_payment(&ambient, 100);
        store.commit(&commit).await.unwrap();
        let (id, attempt) = (OperationId::of(payment.id, 1), AttemptId(ambient.uuid_v7()));
        let mut change = Change::new(&ambient);
        decide::begin_attempt(
            &mut payment,
            &mut change,
            attempt,
            id,
            ((shop(), "digest".into()), None),
        )
        .unwrap();
        change.timers_set.push(payment.timer(TimerKind::Check, id, 7));
        let mut commit = change.into_commit(payment, 1);
        commit.operations = vec![operation(
            &commit.payment.as_ref().unwrap().0,
            attempt,
            1,
            Progress::Open,
        )];
        store.commit(&commit).await.unwrap();
        let found = store.payment(id.payment()).unwrap().unwrap();
        assert_eq!(found.in_flight, commit.operations);
        assert_eq!(store.open_operations().unwrap(), [id]);
        assert_eq!(store.operation(id).unwrap().as_ref(), commit.operations.first());

        let mut payment = found.payment.clone();
        payment.attempts[0].reference = Some("ch_1".into());
        let mut change = Change::new(&ambient);
        change.timers_clear.push((TimerKind::Check, id));
        accept(&mut payment, &mut change, attempt);
        let mut commit = change.into_commit(payment, 2);
        commit.in_flight = found.in_flight;
        commit.operations = vec![operation(
            &commit.payment.as_ref().unwrap().0,
            attempt,
            1,
            Progress::Concluded,
        )];
        store.commit(&commit).await.unwrap();
        assert_eq!(store.payment(id.payment()).unwrap().unwrap().in_flight, []);
        assert_eq!(store.open_operations().unwrap(), []);
        assert_eq!(store.due_timers(u64::MAX >> 1, 9).unwrap(), []);
        assert_eq!(store.operation(id).unwrap().as_ref(), commit.operations.first());
        assert_eq!(store.operations(id.payment()).unwrap(), commit.operations);
        assert_eq!(store.recent_operations(&[shop()], 0, 9).unwrap(), commit.operations);
        assert_eq!(store.recent_operations(&[], 0, 9).unwrap(), []);
        assert_eq!(store.recent_operations(&[shop()], u64::MAX >> 1, 9).unwrap(), []);
        assert_eq!(store.find_operation(&shop(), "ch_1").unwrap(), Some(id));
        assert_eq!(
            store.find_operation(&Name::parse("other").unwrap(), "ch_1").unwrap(),
            None
        );
        assert_eq!(store.find_operation(&shop(), "ch_2").unwrap(), None);
    });
}

#[test]
fn what_operators_did_stands_in_the_chain() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        store.commit(&new_payment(&ambient, 100).1).await.unwrap();
        for about in ["sk_test_1", "sk_test_2"] {
            let act = Act {
                id: EventId(ambient.uuid_v7()),
                at_ms: ambient.now_ms(),
                by: "operator".into(),
                verb: "key.create".into(),
                about: about.into(),
                note: String::new(),
            };
            store.record(act).await.unwrap();
        }
        let about: Vec<String> = store.acts(5).unwrap().into_iter().map(|act| act.about).collect();
        assert_eq!(about, ["sk_test_2", "sk_test_1"]);
        assert_eq!(store.acts(1).unwrap().len(), 1);
        assert_eq!(store.verify_chain().unwrap().0, 3);
        assert_eq!(store.events(&page(), None).unwrap().len(), 1, "no merchant sees them");
    });
}

fn act(ambient: &Manual, verb: &str) -> Act {
    Act {
        id: EventId(ambient.uuid_v7()),
        at_ms: ambient.now_ms(),
        by: "operator".into(),
        verb: verb.into(),
        about: "acme".into(),
        note: String::new(),
    }
}

/// A payment with a card that has that fingerprint, its attempt begun under the guard.
fn with_card(ambient: &Manual, number: u128, guard_at_ms: u64) -> (Payment, Commit) {
    let (mut payment, _) = new_payment(ambient, 100);
    let card = CardFacts {
        brand: "visa".into(),
        bin: "424242".into(),
        last4: "4242".into(),
        expiry_month: 1,
        expiry_year: 2031,
        fingerprint: "f".into(),
        has_code: false,
        holder: None,
    };
    payment.instrument = Some(Instrument::Card(MethodId(Uuid::from_u128(1)), card));
    let limit = RetryLimit {
        network: "visa".into(),
        most: 2,
        within_ms: 1_000,
        is_same_amount: false,
        from_ms: 0,
    };
    let guard = TryGuard {
        card: CardKey::of(&payment).unwrap(),
        attempt: AttemptId(Uuid::from_u128(number)),
        amount: eur(100),
        now_ms: guard_at_ms,
        limits: vec![limit],
        blocked_ms: 5_000,
        under_way: 0,
    };
    let change = Change::new(ambient);
    let commit = Commit {
        tries: Some(guard),
        ..change.into_commit(payment.clone(), 0)
    };
    (payment, commit)
}

/// The outcome of that attempt, on the payment's next version.
fn outcome(ambient: &Manual, payment: &Payment, fact: Fact) -> Commit {
    let mut commit = Change::new(ambient).into_commit(payment.clone(), 1);
    commit.events.push(Event {
        id: EventId(commit.row),
        payment: payment.id,
        number: 1,
        merchant: shop(),
        mode: Mode::Test,
        at_ms: 1,
        is_payout: false,
        fact,
    });
    commit
}

#[test]
fn attempts_with_a_card_count_once_it_was_declined() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(0));
        let decline = |number: u128, blocks_card| Fact::AttemptDeclined {
            attempt: AttemptId(Uuid::from_u128(number)),
            reason: "x".into(),
            provider_code: String::new(),
            network_code: None,
            retry: None,
            blocks_card,
        };
        let begin = async |number: u128, at_ms| {
            let (payment, commit) = with_card(&ambient, number, at_ms);
            store.commit(&commit).await.map(|()| payment)
        };
        let refused = |refusal| Err(CommitError::CardRefused(refusal));
        // Nothing was declined yet: as many as come may begin, and none of them is kept.
        let mut payments = vec![];
        for number in 1..=3 {
            payments.push(begin(number, 1).await.unwrap());
        }
        store
            .commit(&outcome(&ambient, &payments[0], decline(1, false)))
            .await
            .unwrap();
        // One was declined, at the time of its event; the next one counts while it is open, and so the one after is too many.
        let open = begin(4, 2).await.unwrap();
        let too_often = TryRefusal::TooOften { most: 2, minutes: 0 };
        assert_eq!(begin(5, 3).await, refused(too_often));
        // What ends without a decline does not count any more.
        let released = Fact::AttemptNoEffect {
            attempt: AttemptId(Uuid::from_u128(4)),
            why: "x".into(),
        };
        store.commit(&outcome(&ambient, &open, released)).await.unwrap();
        let sixth = begin(6, 3).await.unwrap();
        // Declined for good: refused for longer than any limit lasts, until somebody lets it go.
        store
            .commit(&outcome(&ambient, &sixth, decline(6, true)))
            .await
            .unwrap();
        assert_eq!(begin(7, 4_000).await, refused(TryRefusal::Blocked));
        let card = CardKey::of(&sixth).unwrap();
        assert_eq!(
            store.forget_tries(&card, act(&ambient, "card.unblock")).await.unwrap(),
            2
        );
        begin(8, 4_000).await.unwrap();
        assert_eq!(store.acts(1).unwrap()[0].verb, "card.unblock");
    });
}

#[test]
fn rule_sets_have_versions_without_gaps() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(0));
        let set = |merchant: &str, version| RuleSet {
            merchant: Name::parse(merchant).unwrap(),
            mode: Mode::Test,
            version,
            engine: "cel".into(),
            source: format!("set {version}"),
            created_ms: 1,
            by: "alice".into(),
        };
        for (merchant, version) in [("shop", 1), ("shop", 2), ("other", 1)] {
            let act = act(&ambient, "routes.put");
            store.put_rule_set(set(merchant, version), act).await.unwrap();
        }
        for version in [2, 4] {
            let again = store
                .put_rule_set(set("shop", version), act(&ambient, "routes.put"))
                .await;
            assert_eq!(again, Err(CommitError::VersionConflict));
        }
        let versions = store.rule_sets(Mode::Test, &shop(), 10).unwrap();
        assert_eq!(versions, [set("shop", 2), set("shop", 1)]);
        assert_eq!(store.rule_sets(Mode::Live, &shop(), 10).unwrap(), []);
        let mut in_force = store.rule_sets_in_force().unwrap();
        in_force.sort_by(|a, b| a.merchant.as_str().cmp(b.merchant.as_str()));
        assert_eq!(in_force, [set("other", 1), set("shop", 2)]);
    });
}

#[test]
fn approvals_have_one_version_and_payments_what_was_approved() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(0));
        let approvals = |merchant: &str, version| Approvals {
            version,
            ..Approvals::none(Name::parse(merchant).unwrap(), Mode::Test)
        };
        for (merchant, version) in [("shop", 1), ("other", 1), ("shop", 2)] {
            let act = act(&ambient, "approvals.set");
            store.put_approvals(approvals(merchant, version), act).await.unwrap();
        }
        for version in [2, 4] {
            let act = act(&ambient, "approvals.set");
            let again = store.put_approvals(approvals("shop", version), act).await;
            assert_eq!(again, Err(CommitError::VersionConflict));
        }
        let mut all = store.approvals().unwrap();
        all.sort_by(|a, b| a.merchant.as_str().cmp(b.merchant.as_str()));
        assert_eq!(all, [approvals("other", 1), approvals("shop", 2)]);
        let (payment, mut commit) = new_payment(&ambient, 100);
        let approved = Approved {
            at_ms: 7,
            text: "Pays: 1.00 EUR".into(),
            by: vec![Approval {
                approver: ApproverId(ambient.uuid_v7()),
                name: "Mei".into(),
                public_key: "PEM".into(),
                authenticator_data: vec![0, 255],
                client_data: vec![1],
                signature: vec![2],
            }],
            operation: None,
        };
        commit.claim = Some(claim(payment.id, "k-1"));
        commit.approved = Some(Box::new(approved.clone()));
        store.commit(&commit).await.unwrap();
        assert_eq!(store.approved(payment.id).unwrap(), [approved]);
        store.verify_chain().unwrap();
    });
}

#[test]
fn versions_change_together_with_who_did_it_or_not_at_all() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let version = |digest: &str, stage| Version {
            adapter: "acme".into(),
            digest: digest.into(),
            name: "com.acme".into(),
            version: "1.0.0".into(),
            reads_memo: vec![1],
            stage,
            share: None,
            signers: vec![],
            reason: String::new(),
            staged_ms: 1,
            changed_ms: 1,
            activated_ms: None,
            was_left: false,
        };
        let first = [version("aa", Stage::Active), version("bb", Stage::Ready)];
        store.put_versions(&[], &first, act(&ambient, "stage")).await.unwrap();
        assert_eq!(store.versions().unwrap(), first);
        let again = store.put_versions(&[], &first, act(&ambient, "stage")).await;
        assert_eq!(again, Err(CommitError::VersionConflict), "they are there already");
        let swap = |digest| lifecycle::plan(&first, ("acme", digest), (Step::Activate, None), ("", 9)).unwrap();
        let after = swap("bb");
        store
            .put_versions(&first, &after, act(&ambient, "activate"))
            .await
            .unwrap();
        let late = store.put_versions(&first, &after, act(&ambient, "activate")).await;
        assert_eq!(late, Err(CommitError::VersionConflict), "somebody was faster");
        let stages: Vec<Stage> = store.versions().unwrap().iter().map(|it| it.stage).collect();
        assert_eq!(stages, [Stage::Draining, Stage::Active]);
        let verbs: Vec<String> = store.acts(9).unwrap().into_iter().map(|act| act.verb).collect();
        assert_eq!(verbs, ["activate", "stage"], "what was refused is not in the chain");
    });
}

#[test]
fn a_stop_holds_until_it_is_lifted() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let stop = |endpoint: Option<&str>, reason: &str| Stop {
            channel: shop(),
            endpoint: endpoint.map(str::to_owned),
            by: "alice".into(),
            reason: reason.into(),
            at_ms: 1,
        };
        let all = [stop(None, "leak"), stop(Some("api"), "down")];
        for it in &all {
            store.put_stop(it.clone(), true, act(&ambient, "stop")).await.unwrap();
        }
        assert_eq!(store.stops().unwrap(), all);
        store
            .put_stop(stop(None, ""), false, act(&ambient, "start"))
            .await
            .unwrap();
        assert_eq!(store.stops().unwrap(), all[1..]);
        assert_eq!(store.acts(9).unwrap().len(), 3);
    });
}

#[test]
fn refunds_are_listed_in_the_order_of_their_making() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let (mut payment, commit) = new_payment(&ambient, 250);
        store.commit(&commit).await.unwrap();
        let attempt = AttemptId(ambient.uuid_v7());
        let mut change = Change::new(&ambient);
        let first = OperationId::of(payment.id, 1);
        decide::begin_attempt(
            &mut payment,
            &mut change,
            attempt,
            first,
            ((shop(), "digest".into()), None),
        )
        .unwrap();
        accept(&mut payment, &mut change, attempt);
        let commit = change.into_commit(payment, 1);
        store.commit(&commit).await.unwrap();
        let mut payment = commit.payment.unwrap().0;
        let mut made = vec![];
        // The parts of the ids fall while the refunds are made.
        for (version, part) in [(2, 9), (3, 5), (4, 2)] {
            let mut change = Change::new(&ambient);
            let mut refund = operation(&payment, attempt, part, Progress::Open).0.clone();
            (refund.kind, refund.amount) = (Kind::Refund, eur(10));
            decide::begin_follow_up(&mut payment, &mut change, &refund, decide::Begun::default()).unwrap();
            let commit = change.into_commit(payment, version);
            store.commit(&commit).await.unwrap();
            payment = commit.payment.unwrap().0;
            made.insert(0, refund.id);
        }
        let list = |page: &Page<RefundId>| -> Vec<OperationId> {
            store
                .refunds(page)
                .unwrap()
                .into_iter()
                .map(|(_, refund)| refund)
                .collect()
        };
        let at = |n: usize| Some(RefundId(made[n].0));
        assert_eq!(list(&page()), made);
        assert_eq!(list(&Page { after: at(0), ..page() }), made[1..]);
        assert_eq!(
            list(&Page {
                before: at(2),
                ..page()
            }),
            made[..2]
        );
        assert_eq!(
            list(&Page {
                before: at(2),
                limit: 1,
                ..page()
            }),
            made[1..2]
        );
        assert_eq!(store.refund(at(1).unwrap()).unwrap().unwrap().payment.id, payment.id);
        assert_eq!(store.refund(RefundId(payment.id.0)).unwrap(), None);
    });
}

#[test]
fn what_is_pruned_is_gone_and_the_rest_stays() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(1));
        let (payment, mut commit) = new_payment(&ambient, 100);
        let name = claim(payment.id, "k").name;
        commit.claim = Some(claim(payment.id, "k"));
        let attempt = AttemptId(ambient.uuid_v7());
        commit.operations = vec![operation(&payment, attempt, 1, Progress::Concluded)];
        let answer = StoredAnswer {
            status: 200,
            body: b"{}".to_vec(),
        };
        commit.answer = Some((name.clone(), answer));
        store.commit(&commit).await.unwrap();
        let long_ago = Older {
            answers_ms: 1,
            journals_ms: 1,
            news_ms: 1,
            tries_ms: 1,
            uses_ms: 1,
        };
        assert_eq!(store.prune(long_ago, 10).await.unwrap(), 0);
        assert!(store.claim(&name).unwrap().unwrap().answer.is_some());
        let today = Older {
            answers_ms: 1_800_000_100_000,
            journals_ms: 1,
            news_ms: 1,
            tries_ms: 1,
            uses_ms: 1,
        };
        assert!(store.prune(today, 10).await.unwrap() > 0);
        assert_eq!(store.claim(&name).unwrap().unwrap().answer, None);
        assert_eq!(store.operations(payment.id).unwrap().len(), 1);
        let journals_too = Older {
            journals_ms: 1_800_000_100_000,
            ..today
        };
        assert!(store.prune(journals_too, 10).await.unwrap() > 0);
        assert_eq!(store.operations(payment.id).unwrap(), []);
        assert_eq!(store.events(&page(), Some(payment.id)).unwrap().len(), 1);
        assert_eq!(store.verify_chain().unwrap().0, 1);
        assert_eq!(
            store.prune(journals_too, 10).await.unwrap(),
            0,
            "nothing is left to prune"
        );
    });
}

fn accept(payment: &mut Payment, change: &mut Change, attempt: AttemptId) {
    payment
        .record(
            change,
            Fact::Captured {
                attempt,
                operation: None,
                amount: eur(250),
                is_final: true,
            },
        )
        .unwrap();
}

#[test]
fn a_full_disk_refuses_new_money_and_takes_outcomes() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path(), u64::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ambient = Manual(AtomicU64::new(1));
        let (_, mut commit) = new_payment(&ambient, 1);
        commit.is_new_money = true;
        assert_eq!(store.commit(&commit).await, Err(CommitError::DiskFloor));
        assert_eq!(store.put_quote(a_quote()).await, Err(CommitError::DiskFloor));
        commit.is_new_money = false;
        store.commit(&commit).await.unwrap();
    });
}

#[test]
fn a_newer_or_damaged_database_is_refused_and_two_routers_do_not_share_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let open = || {
        let config = SqliteConfig {
            file: file.clone(),
            disk_floor_bytes: 0,
            is_durable: true,
        };
        StoreLock::take(&config.file)
            .and_then(|lock| SqlStore::open_file(&config, lock, Arc::new(Xor), Box::new(|_| {})))
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let held = sqlite(folder.path(), 0);
    assert!(open().unwrap_err().contains("in use"));
    // Somebody takes the lock's file for a stale one.
    std::fs::remove_file(file.with_extension("lock")).unwrap();
    assert!(open().unwrap_err().contains("in use"));
    drop(held);
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    assert!(open().unwrap_err().contains("newer version"));
    let mut bytes = std::fs::read(&file).unwrap();
    for byte in bytes.iter_mut().skip(4_096).take(4_096) {
        *byte ^= 0xff;
    }
    std::fs::write(&file, bytes).unwrap();
    let refused = open().unwrap_err();
    assert!(refused.contains("damaged") || refused.contains("newer"), "{refused}");
}

#[test]
fn a_tampered_journal_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path(), 0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ambient = Manual(AtomicU64::new(1));
        for amount in 1..=3 {
            store.commit(&new_payment(&ambient, amount).1).await.unwrap();
        }
    });
    assert_eq!(store.verify_chain().unwrap().0, 3);
    let raw = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    raw.execute(
        "UPDATE journal SET body = replace(body, '\"minor\":2', '\"minor\":9') WHERE seq = 2",
        [],
    )
    .unwrap();
    assert!(store.verify_chain().unwrap_err().0.contains("number 2"));
    raw.execute("DELETE FROM journal WHERE seq = 2", []).unwrap();
    assert!(store.verify_chain().is_err());
}

#[test]
fn who_stands_by_looks_through_the_store_and_gets_it_when_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let held = sqlite(folder.path(), 0);
    let (told, waits) = std::sync::mpsc::channel();
    let (place, got) = (file.clone(), std::sync::mpsc::channel());
    let waiting = std::thread::spawn(move || {
        let lock = StoreLock::wait(&place, || told.send(()).unwrap());
        got.0.send(()).unwrap();
        lock.map(drop).map_err(|error| error.to_string())
    });
    waits.recv().unwrap();
    let early = got.1.recv_timeout(std::time::Duration::from_millis(300));
    assert!(early.is_err(), "two have the store");
    drop(held);
    got.1.recv().unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(()));
    // What was damaged after it was looked through, or may have been, is looked through again.
    let damage = || {
        let mut bytes = std::fs::read(&file).unwrap();
        for byte in bytes.iter_mut().skip(4_096).take(4_096) {
            *byte ^= 0xff;
        }
        std::fs::write(&file, bytes).unwrap();
    };
    let open = |lock| {
        let config = SqliteConfig {
            file: file.clone(),
            disk_floor_bytes: 0,
            is_durable: true,
        };
        SqlStore::open_file(&config, lock, Arc::new(Xor), Box::new(|_| {})).map(drop)
    };
    let held = StoreLock::take(&file).unwrap();
    let (told, waits) = std::sync::mpsc::channel();
    let place = file.clone();
    let waiting = std::thread::spawn(move || StoreLock::wait(&place, || told.send(()).unwrap()));
    waits.recv().unwrap();
    StoreLock::leave_in_doubt(&file);
    damage();
    drop(held);
    let refused = open(waiting.join().unwrap().unwrap()).unwrap_err().to_string();
    assert!(refused.contains("damaged"), "{refused}");
    // A store that is damaged is not waited for.
    let held = StoreLock::take(&file).unwrap();
    let refused = StoreLock::wait(&file, || {}).map(drop).unwrap_err().to_string();
    assert!(refused.contains("damaged"), "{refused}");
    drop(held);
}

#[test]
fn a_store_that_is_gone_is_not_begun_anew_by_who_stands_by() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    drop(sqlite(folder.path(), 0));
    let held = StoreLock::take(&file).unwrap();
    let (told, waits) = std::sync::mpsc::channel();
    let place = file.clone();
    let waiting = std::thread::spawn(move || StoreLock::wait(&place, || told.send(()).unwrap()));
    waits.recv().unwrap();
    std::fs::rename(&file, folder.path().join("moved.db")).unwrap();
    drop(held);
    let refused = waiting.join().unwrap().map(drop).unwrap_err().to_string();
    assert!(refused.contains("is gone"), "{refused}");
    assert!(!file.exists());
}

/// What a killed router leaves beside its store is not read into the one that takes its place.
#[test]
fn a_backup_is_not_put_beside_what_another_store_left() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, file) = (folder.path().join("copy.db"), folder.path().join("store.db"));
    let store = sqlite(folder.path(), 0);
    store.backup(&copy).unwrap();
    let refused = |what: &str| {
        let error = restore(&copy, &file).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    refused("in use");
    drop(store);
    refused("store.db exists: move the store away first");
    std::fs::remove_file(&file).unwrap();
    let log = folder.path().join("store.db-wal");
    std::fs::write(&log, b"what was not in the backup").unwrap();
    refused("store.db-wal exists: move the store away first");
    assert!(!file.exists());
    std::fs::remove_file(&log).unwrap();
    refused("store.db-shm exists: move the store away first");
    std::fs::remove_file(folder.path().join("store.db-shm")).unwrap();
    restore(&copy, &file).unwrap();
    assert!(sqlite(folder.path(), 0).was_restored().unwrap());
}

/// A payment that a limit counts for `subject`, with the guard of its intent.
fn limited(ambient: &Manual, subject: &str, (minor, at_ms): (i128, u64), most: Most) -> (Payment, Commit) {
    let (payment, _) = new_payment(ambient, minor);
    let limit = Limit {
        per: Per::Payer,
        most,
        within_ms: 1_000,
        then: Effect::Refuse,
    };
    let guard = LimitGuard {
        this: Use {
            payment: payment.id,
            at_ms,
            minor,
            asset: "EUR".into(),
            card: "f".into(),
            country: "DE".into(),
            is_over: false,
        },
        can_authenticate: false,
        counted: vec![Counted {
            rule: "r".into(),
            limit,
            key: Some(UseKey(subject.into())),
        }],
    };
    let commit = Commit {
        limits: Some(Box::new(guard)),
        ..Change::new(ambient).into_commit(payment.clone(), 0)
    };
    (payment, commit)
}

#[test]
fn limits_count_what_was_let_through_and_for_totals_what_did_not_fail() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(0));
        let total = || Most::Total(vec![("EUR".into(), 250)]);
        let begin = async |subject: &str, (minor, at_ms), most| {
            let (payment, commit) = limited(&ambient, subject, (minor, at_ms), most);
            store.commit(&commit).await.map(|()| payment)
        };
        let first = begin("a", (100, 1), total()).await.unwrap();
        begin("a", (100, 2), total()).await.unwrap();
        let refused = begin("a", (100, 3), total()).await.unwrap_err();
        let CommitError::LimitPassed(passed) = &refused else {
            panic!("{refused}")
        };
        assert_eq!((passed.flag.rule.as_str(), passed.flag.effect), ("r", Effect::Refuse));
        assert!(
            passed.flag.why.starts_with("300 minor units of EUR"),
            "{}",
            passed.flag.why
        );
        // A refused one is not written, nor counted; another subject has its own count.
        assert_eq!(store.uses(&UseKey("a".into()), 0, 9).unwrap().len(), 2);
        begin("b", (100, 3), total()).await.unwrap();
        // What failed is no part of the total any more, and still a payment.
        let failed = Fact::Failed { code: "x".into() };
        store.commit(&outcome(&ambient, &first, failed)).await.unwrap();
        begin("a", (100, 4), total()).await.unwrap();
        assert!(begin("a", (1, 5), Most::Payments(3)).await.is_err());
        assert!(begin("a", (51, 5), total()).await.is_err());
        // What was taken late is part of it again.
        let late = Fact::LateSuccess {
            attempt: AttemptId(Uuid::nil()),
            amount: eur(100),
        };
        let mut late = outcome(&ambient, &first, late);
        late.payment.as_mut().unwrap().1 = 2;
        store.commit(&late).await.unwrap();
        assert!(
            !store
                .uses(&UseKey("a".into()), 0, 9)
                .unwrap()
                .iter()
                .any(|it| it.is_over)
        );
        // What is older than the limit looks back does not count.
        begin("a", (100, 1_003), Most::Payments(3)).await.unwrap();
        let uses = store.uses(&UseKey("a".into()), 2, 9).unwrap();
        let shown: Vec<(u64, i128, bool)> = uses.iter().map(|it| (it.at_ms, it.minor, it.is_over)).collect();
        assert_eq!(shown, [(1_003, 100, false), (4, 100, false), (2, 100, false)]);
        // One that is confirmed again counts once, from then on.
        let (payment, again) = limited(&ambient, "a", (100, 1_500), Most::Payments(9));
        store.commit(&again).await.unwrap();
        let more = Commit {
            limits: again.limits.clone(),
            ..Change::new(&ambient).into_commit(payment, 1)
        };
        store.commit(&more).await.unwrap();
        assert_eq!(store.uses(&UseKey("a".into()), 0, 9).unwrap().len(), 5);
        let older = Older {
            answers_ms: 0,
            journals_ms: 0,
            news_ms: 0,
            tries_ms: 0,
            uses_ms: 1_500,
        };
        store.prune(older, 100).await.unwrap();
        assert_eq!(store.uses(&UseKey("a".into()), 0, 9).unwrap().len(), 1);
    });
}

#[test]
fn keys_keep_who_signs_and_payments_what_was_signed() {
    each_store(|store| async move {
        let ambient = Manual(AtomicU64::new(0));
        let key = |n: u8, public_key| ApiKey {
            id: format!("sk_test_{n}"),
            hash: [n; 32],
            merchant: shop(),
            mode: Mode::Test,
            scopes: vec!["payments:write".into()],
            created_ms: u64::from(n),
            revoked_ms: None,
            public_key,
        };
        for it in [key(1, None), key(2, Some([7; 32]))] {
            store.put_api_key(it.clone()).await.unwrap();
            assert_eq!(store.api_key(&it.hash).unwrap(), Some(it));
        }
        assert_eq!(store.api_keys().unwrap(), [key(1, None), key(2, Some([7; 32]))]);
        let order = |body: &str| SignedOrder {
            at_ms: 5,
            operation: None,
            key: "sk_test_2".into(),
            public_key: [7; 32],
            base: "\"@method\": POST".into(),
            signature: vec![1, 2, 255],
            body: body.to_owned(),
        };
        let (payment, mut commit) = new_payment(&ambient, 100);
        commit.claim = Some(claim(payment.id, "k-1"));
        commit.order = Some(Box::new(order("Zebedee")));
        store.commit(&commit).await.unwrap();
        // One that changes nothing else is kept too.
        let mut second = Change::new(&ambient).into_commit(payment.clone(), 1);
        second.order = Some(Box::new(order("{}")));
        store.commit(&second).await.unwrap();
        assert_eq!(store.orders(payment.id).unwrap(), [order("Zebedee"), order("{}")]);
        store.verify_chain().unwrap();
    });
}
