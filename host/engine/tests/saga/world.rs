//! The router's side: an engine over the store in memory, which dies after the n-th commit, and a simulated clock.

use async_trait::async_trait;
use portolan_domain::beneficiary::{Bearer, Beneficiary, PartyKind, PayoutAccount, PayoutTerms, StoredBeneficiary};
use portolan_domain::commit::{Act, Claim, ClaimName, Commit, Journaled, News, Seen, StoredAnswer, Timer, Versioned};
use portolan_domain::exchange::{Request, Word};
use portolan_domain::ids::{BeneficiaryId, ChannelId, MethodId, Mode, OperationId, PaymentId, QuoteId, TaskId};
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::{Context, Fault};
use portolan_domain::payment::Payment;
use portolan_domain::payment::decide::Policy;
use portolan_domain::payment::request::ValidPayment;
use portolan_domain::ports::{
    Ambient, Channels, CommitError, Fill, Keys, Method, Older, ReadError, Render, Rules, Steps, Store, Vault,
};
use portolan_domain::quote::Quote;
use portolan_domain::risk::{Use, UseKey};
use portolan_domain::routing::RouteFacts;
use portolan_domain::routing::rule::Rulings;
use portolan_domain::routing::tries::CardKey;
use portolan_domain::settlement::{BatchLine, OpenBreak};
use portolan_domain::task::Task;
use portolan_domain::wire::{WireBytes, WireRequest};
use portolan_engine::{Engine, Ports, QuotePolicy, RoutingPolicy};
use portolan_storage::MemoryStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// The store in memory, and how many commits it still takes before the process dies.
pub struct CrashStore {
    pub inner: MemoryStore,
    kill_after: AtomicUsize,
    commits: AtomicUsize,
    is_dead: AtomicBool,
    died: Arc<Notify>,
    /// After which commit the process is not run for how long.
    pub sleep: Option<(usize, Duration)>,
}

impl CrashStore {
    pub fn new(kill_after: usize) -> Self {
        Self {
            inner: MemoryStore::default(),
            kill_after: AtomicUsize::new(kill_after),
            commits: AtomicUsize::new(0),
            is_dead: AtomicBool::new(false),
            died: Arc::new(Notify::new()),
            sleep: None,
        }
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    /// The next process finds the store as it was left.
    pub fn revive(&self) {
        self.is_dead.store(false, Ordering::SeqCst);
        self.kill_after.store(0, Ordering::SeqCst);
    }

    /// Returns once the process has died.
    pub fn died(&self) -> impl Future<Output = ()> + use<> {
        let died = self.died.clone();
        async move { died.notified().await }
    }

    /// What a dead process still wants to do never happens.
    async fn only_while_alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Store for CrashStore {
    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        self.only_while_alive().await;
        self.inner.commit(commit).await?;
        let count = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        if count == self.kill_after.load(Ordering::SeqCst) {
            self.is_dead.store(true, Ordering::SeqCst);
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        if let Some((after, time)) = self.sleep
            && after == count
        {
            tokio::time::sleep(time).await;
        }
        Ok(())
    }
    fn payment(&self, id: PaymentId) -> Result<Option<Versioned>, ReadError> {
        self.inner.payment(id)
    }
    fn claim(&self, name: &ClaimName) -> Result<Option<Claim>, ReadError> {
        self.inner.claim(name)
    }
    fn operation(&self, id: OperationId) -> Result<Option<Journaled>, ReadError> {
        self.inner.operation(id)
    }
    fn open_operations(&self) -> Result<Vec<OperationId>, ReadError> {
        self.inner.open_operations()
    }
    fn was_restored(&self) -> Result<bool, ReadError> {
        self.inner.was_restored()
    }
    fn unsettled_operations(&self) -> Result<Vec<OperationId>, ReadError> {
        self.inner.unsettled_operations()
    }
    async fn set_asked_after_restore(&self) -> Result<(), CommitError> {
        self.inner.set_asked_after_restore().await
    }
    fn due_timers(&self, now_ms: u64, limit: usize) -> Result<Vec<Timer>, ReadError> {
        if self.is_dead() {
            Ok(vec![])
        } else {
            self.inner.due_timers(now_ms, limit)
        }
    }
    fn task(&self, id: TaskId) -> Result<Option<Task>, ReadError> {
        self.inner.task(id)
    }
    fn method(&self, id: MethodId) -> Result<Option<Method>, ReadError> {
        self.inner.method(id)
    }
    async fn put_method(&self, method: Method) -> Result<(), CommitError> {
        self.inner.put_method(method).await
    }
    fn beneficiary(&self, id: BeneficiaryId) -> Result<Option<StoredBeneficiary>, ReadError> {
        self.inner.beneficiary(id)
    }
    async fn put_beneficiary(&self, beneficiary: StoredBeneficiary) -> Result<(), CommitError> {
        self.inner.put_beneficiary(beneficiary).await
    }
    async fn remove_beneficiary(&self, id: BeneficiaryId) -> Result<bool, CommitError> {
        self.inner.remove_beneficiary(id).await
    }
    fn quote(&self, id: QuoteId) -> Result<Option<Quote>, ReadError> {
        self.inner.quote(id)
    }
    async fn put_quote(&self, quote: Quote) -> Result<(), CommitError> {
        self.only_while_alive().await;
        self.inner.put_quote(quote).await
    }
    async fn next_index(&self, channel: &ChannelId) -> Result<u64, CommitError> {
        self.inner.next_index(channel).await
    }
    fn cursor(&self, channel: &ChannelId) -> Result<Vec<u8>, ReadError> {
        self.inner.cursor(channel)
    }
    async fn put_cursor(&self, channel: &ChannelId, cursor: Vec<u8>) -> Result<(), CommitError> {
        self.inner.put_cursor(channel, cursor).await
    }
    async fn forget_tries(&self, card: &CardKey, act: Act) -> Result<usize, CommitError> {
        self.inner.forget_tries(card, act).await
    }
    fn uses(&self, key: &UseKey, since_ms: u64, limit: usize) -> Result<Vec<Use>, ReadError> {
        self.inner.uses(key, since_ms, limit)
    }
    fn was_seen(&self, seen: &Seen) -> Result<bool, ReadError> {
        self.inner.was_seen(seen)
    }
    fn exposure(&self, mode: Mode, sold: &Asset, bought: &Asset) -> Result<i128, ReadError> {
        self.inner.exposure(mode, sold, bought)
    }
    fn batch(&self, name: &str, limit: usize) -> Result<Vec<BatchLine>, ReadError> {
        self.inner.batch(name, limit)
    }
    async fn put_news(&self, news: News) -> Result<bool, CommitError> {
        self.inner.put_news(news).await
    }
    fn news(&self, after: u64, limit: usize) -> Result<Vec<(u64, News)>, ReadError> {
        self.inner.news(after, limit)
    }
    async fn put_break(&self, found: OpenBreak) -> Result<(), CommitError> {
        self.inner.put_break(found).await
    }
    async fn give_break(&self, number: u64, owner: &str, act: Act) -> Result<bool, CommitError> {
        self.inner.give_break(number, owner, act).await
    }
    async fn close_break(&self, number: u64, act: Act) -> Result<bool, CommitError> {
        self.inner.close_break(number, act).await
    }
    fn find_operation(&self, channel: &ChannelId, reference: &str) -> Result<Option<OperationId>, ReadError> {
        self.inner.find_operation(channel, reference)
    }
    async fn record(&self, act: Act) -> Result<(), CommitError> {
        self.inner.record(act).await
    }
    async fn prune(&self, older: Older, limit: usize) -> Result<usize, CommitError> {
        self.inner.prune(older, limit).await
    }
}

/// Who has the simulated time.
pub trait Clock: Send + Sync {
    fn now_ms(&self) -> u64;
}

/// The simulated clock, and ids from a counter.
struct Simulated<P> {
    providers: Arc<P>,
    counter: AtomicU64,
}

impl<P: Clock> Ambient for Simulated<P> {
    fn now_ms(&self) -> u64 {
        self.providers.now_ms()
    }
    fn uuid_v7(&self) -> Uuid {
        let n = self.counter.fetch_add(1, Ordering::SeqCst);
        Uuid::from_u128((u128::from(self.now_ms()) << 80) | (7 << 76) | (2 << 62) | (u128::from(n) << 32))
    }
    fn uuid_v4(&self) -> Uuid {
        let n = self.counter.fetch_add(1, Ordering::SeqCst);
        Uuid::from_u128((u128::from(self.now_ms()) << 64) | u128::from(n))
    }
}

/// No cards, so no secrets.
struct NoCards;

impl Keys for NoCards {
    fn handle(&self, operation: OperationId, name: &str) -> String {
        format!("{operation}-{name}")
    }
    fn verify(&self, _: &ChannelId, _: &str, _: &str, _: &[u8], _: &[u8]) -> Result<bool, String> {
        Ok(false)
    }
    fn sign_hash(&self, _: &ChannelId, _: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, String> {
        Err("no keys".into())
    }
    fn public_key(&self, _: &ChannelId, _: &str, _: &str) -> Result<Vec<u8>, String> {
        Err("no keys".into())
    }
    fn can_sign(&self, _: &ChannelId, _: &Word) -> Result<(), String> {
        Err("no keys".into())
    }
    fn decrypt(&self, _: &ChannelId, _: &str, _: &[u8], _: &[u8], _: &[u8]) -> Result<Vec<u8>, String> {
        Err("no keys".into())
    }
}

impl Vault for NoCards {
    fn provider_key(&self, operation: OperationId, n: u8) -> String {
        format!("{operation}-{n}")
    }
    fn operation_of_key(&self, key: &str) -> Option<OperationId> {
        key.parse().ok()
    }
    fn pseudonym(&self, of: &str) -> String {
        of.to_owned()
    }
    fn entropy(&self, _: OperationId) -> [u8; 32] {
        [0; 32]
    }
    fn fill(&self, _: &ChannelId, request: &Request, _: &[Fill], _: Option<&Method>) -> Result<WireRequest, Fault> {
        Ok(WireRequest {
            method: request.method.clone(),
            path: request.path.clone(),
            headers: vec![],
            body: WireBytes::new(vec![]),
        })
    }
    fn scrub(&self, _: &ChannelId, texts: Vec<Vec<u8>>, _: &[Fill], _: Option<&Method>) -> Vec<Vec<u8>> {
        texts
    }
    fn keep_session(&self, _: &ChannelId, _: &str, _: Vec<u8>, _: u64) {}
    fn has_session(&self, _: &ChannelId, _: &str, _: u64) -> bool {
        true
    }
    fn forget_session(&self, _: &ChannelId, _: &str) {}
    fn has_code(&self, _: MethodId, _: u64) -> bool {
        false
    }
    fn forget_code(&self, _: MethodId) {}
}

struct Blank;

impl Render for Blank {
    fn payment(&self, payment: &Payment) -> StoredAnswer {
        StoredAnswer {
            status: 200,
            body: payment.status.as_str().into(),
        }
    }
    fn refund(&self, payment: &Payment, _: OperationId) -> StoredAnswer {
        self.payment(payment)
    }
}

impl Rules for Blank {
    fn rulings(&self, _: &RouteFacts<'_>) -> Rulings {
        Rulings::default()
    }
}

impl Steps for Blank {
    fn reached(&self, _: &'static str) {}
}

/// What an operation is given where nothing is special.
pub fn context(operation: OperationId, now_ms: u64) -> Context {
    Context {
        operation,
        keys: vec![operation.to_string()],
        now_ms,
        entropy: [0; 32],
        settings: "{}".into(),
        secrets: vec![],
        card_number: "handle".into(),
        card_code: None,
        notify_url: String::new(),
        return_url: String::new(),
    }
}

/// An engine over that store and those providers.
pub fn engine<P: Channels + Clock + 'static>(store: Arc<CrashStore>, providers: Arc<P>) -> Engine {
    // Each process has its own randomness.
    static SEED: AtomicU64 = AtomicU64::new(1);
    let ambient = Simulated {
        providers: providers.clone(),
        counter: AtomicU64::new(SEED.fetch_add(1 << 20, Ordering::SeqCst)),
    };
    let ports = Ports {
        store,
        channels: providers,
        vault: Arc::new(NoCards),
        rules: Arc::new(Blank),
        ambient: Arc::new(ambient),
        render: Arc::new(Blank),
        steps: Arc::new(Blank),
    };
    let policy = Policy {
        check_first_ms: 200,
        check_max_ms: 1_000,
        leaves_within_ms: 10_000,
        overlap_ms: 0,
        checks_before_reversal: 2,
        checks_before_human: 4,
        action_ms: 60_000,
        authorization_ms: 3_600_000,
        attempts_max: 3,
        two_people_above: std::collections::BTreeMap::new(),
    };
    Engine::new(ports, policy, QuotePolicy::default(), RoutingPolicy::default())
}

/// A payment of that amount, confirmed at once, with nothing else said.
pub fn plain(amount: Money) -> ValidPayment {
    ValidPayment {
        must_authenticate: false,
        amount,
        manual_capture: false,
        method: None,
        instrument: None,
        quote: None,
        delivery: None,
        payout: None,
        confirm: true,
        description: None,
        statement_descriptor: None,
        return_url: None,
        metadata: vec![],
        payer_name: None,
        payer_email: None,
        payer_country: None,
        payer_id: None,
        payer_ip: None,
        ip_country: None,
        shipping_country: None,
    }
}

/// Somebody to be paid, at a bank.
pub fn supplier() -> PayoutTerms {
    PayoutTerms {
        beneficiary: Beneficiary {
            kind: PartyKind::Company,
            name: "Supplier".into(),
            country: "FR".into(),
            lines: vec![],
            city: None,
            postcode: None,
            account: PayoutAccount::Iban("FR1420041010050500013M02606".into()),
        },
        bearer: Bearer::Shared,
        purpose: None,
        remittance: String::new(),
    }
}
