//! The ports: what the engine needs of the world, each shaped by the caller's sentence, each with a real second
//! implementation in the tree.

use crate::approval::{Approvals, Approved};
use crate::beneficiary::StoredBeneficiary;
use crate::channel::{Capability, ChannelFacts, Stop};
use crate::commit::{Act, Claim, ClaimName, Commit, Journaled, News, Seen, StoredAnswer, Timer, Versioned};
use crate::exchange::{Answer, Request, Word};
use crate::ids::{
    BeneficiaryId, ChannelId, DisputeId, MerchantId, MethodId, Mode, OperationId, PaymentId, QuoteId, WebhookId,
};
use crate::ledger::{Balances, Entry};
use crate::lifecycle::Version;
use crate::money::Asset;
use crate::operation::{CardFacts, Context, Fault, Input, Operation, Outcome, Subject, Verdict};
use crate::order::SignedOrder;
use crate::payment::fact::Event;
use crate::quote::Quote;
use crate::risk::{LimitPassed, Use, UseKey};
use crate::routing::RouteFacts;
use crate::routing::decision::Decision;
use crate::routing::rule::{RuleSet, Rulings};
use crate::routing::tries::{CardKey, TryRefusal};
use crate::settlement::{BatchLine, OpenBreak, ReportLine};
use crate::task::Task;
use crate::webhook::WebhookEndpoint;
use crate::wire::WireRequest;
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;

/// Time, ids and randomness.
pub trait Ambient: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> u64;
    /// A new UUID, version 7.
    fn uuid_v7(&self) -> Uuid;
    /// A new UUID, version 4.
    fn uuid_v4(&self) -> Uuid;
}

/// Why a commit was not written.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum CommitError {
    /// Somebody else wrote the payment first: load it again.
    #[error("the payment was changed meanwhile")]
    VersionConflict,
    /// The idempotency key is taken.
    #[error("the idempotency key is taken")]
    ClaimTaken,
    /// The notification is dealt with already.
    #[error("seen before")]
    SeenBefore,
    /// The quote was used by another payment.
    #[error("the quote was used")]
    QuoteUsed,
    /// Too much is promised for the pair and not exchanged.
    #[error("too much is promised for this pair of currencies and not exchanged yet")]
    ExposureFull,
    /// The account does not hold what the commit needs.
    #[error("the balance does not cover it")]
    Uncovered,
    /// The card may not be tried now.
    #[error("{0}")]
    CardRefused(#[from] TryRefusal),
    /// A limit of the merchant's rules.
    #[error("{0}")]
    LimitPassed(#[from] Box<LimitPassed>),
    /// The disk is nearly full: no new money.
    #[error("the disk is nearly full")]
    DiskFloor,
    /// The store cannot write now; nothing was written.
    #[error("the store cannot write: {0}")]
    Unavailable(String),
}

/// Why the store could not answer.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("reading the store: {0}")]
pub struct ReadError(pub String);

/// A stored payment method.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Method {
    /// The token.
    pub id: MethodId,
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// When it was stored.
    pub created_ms: u64,
    /// What it stands for.
    pub card: CardFacts,
    /// The sealed number: only the vault opens it.
    pub sealed: Sealed,
}

/// Bytes that only the vault opens. Printing shows their length.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// A page of a list: newest first.
#[derive(Clone, Debug)]
pub struct Page<I> {
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// At most so many.
    pub limit: usize,
    /// Older than this one.
    pub after: Option<I>,
    /// Newer than this one.
    pub before: Option<I>,
    /// Made at this time or later.
    pub created_gte_ms: Option<u64>,
}

impl<I> Page<I> {
    /// The same page of a list with other ids.
    pub fn map<J>(self, id: impl Fn(I) -> J) -> Page<J> {
        Page {
            merchant: self.merchant,
            mode: self.mode,
            limit: self.limit,
            after: self.after.map(&id),
            before: self.before.map(&id),
            created_gte_ms: self.created_gte_ms,
        }
    }
}

/// The durable record, as the engine uses it.
#[async_trait]
pub trait Store: Send + Sync {
    /// Writes all of it or nothing. Once it returns `Ok`, it is on disk.
    async fn commit(&self, commit: &Commit) -> Result<(), CommitError>;
    /// The payment, as last committed.
    fn payment(&self, id: PaymentId) -> Result<Option<Versioned>, ReadError>;
    /// The claim of that name.
    fn claim(&self, name: &ClaimName) -> Result<Option<Claim>, ReadError>;
    /// One operation with its exchanges; `None` too once the journal was pruned.
    fn operation(&self, id: OperationId) -> Result<Option<Journaled>, ReadError>;
    /// Operations whose intent is written and whose outcome is not, oldest first; not those that wait for somebody else.
    fn open_operations(&self) -> Result<Vec<OperationId>, ReadError>;
    /// Whether this is a restored backup whose lost outcomes were not asked for yet.
    fn was_restored(&self) -> Result<bool, ReadError>;
    /// Authorizations of payments that are not final, oldest first: what may have moved on since a backup.
    fn unsettled_operations(&self) -> Result<Vec<OperationId>, ReadError>;
    /// They were.
    async fn set_asked_after_restore(&self) -> Result<(), CommitError>;
    /// Timers that are due, the earliest first, at most `limit`.
    fn due_timers(&self, now_ms: u64, limit: usize) -> Result<Vec<Timer>, ReadError>;
    /// The task of that id.
    fn task(&self, id: crate::ids::TaskId) -> Result<Option<Task>, ReadError>;
    /// The payment method.
    fn method(&self, id: MethodId) -> Result<Option<Method>, ReadError>;
    /// Stores a payment method.
    async fn put_method(&self, method: Method) -> Result<(), CommitError>;
    /// The stored beneficiary.
    fn beneficiary(&self, id: BeneficiaryId) -> Result<Option<StoredBeneficiary>, ReadError>;
    /// Stores a beneficiary.
    async fn put_beneficiary(&self, beneficiary: StoredBeneficiary) -> Result<(), CommitError>;
    /// Forgets a beneficiary; `false`: there is none.
    async fn remove_beneficiary(&self, id: BeneficiaryId) -> Result<bool, CommitError>;
    /// The quote of that id.
    fn quote(&self, id: QuoteId) -> Result<Option<Quote>, ReadError>;
    /// Stores a quote.
    async fn put_quote(&self, quote: Quote) -> Result<(), CommitError>;
    /// A number that this channel was never given before.
    async fn next_index(&self, channel: &ChannelId) -> Result<u64, CommitError>;
    /// How far the channel's feed was read.
    fn cursor(&self, channel: &ChannelId) -> Result<Vec<u8>, ReadError>;
    /// Notes how far it was.
    async fn put_cursor(&self, channel: &ChannelId, cursor: Vec<u8>) -> Result<(), CommitError>;
    /// Forgets what counts against a card, and writes down who wanted it so; how many attempts that were.
    async fn forget_tries(&self, card: &CardKey, act: Act) -> Result<usize, CommitError>;
    /// What a limit counts, since that time: the newest, at most `limit`.
    fn uses(&self, key: &UseKey, since_ms: u64, limit: usize) -> Result<Vec<Use>, ReadError>;
    /// Whether a notification was dealt with already.
    fn was_seen(&self, seen: &Seen) -> Result<bool, ReadError>;
    /// Keeps news until they are dealt with; told again, they are the same. `false`: their channel has [`NEWS_MAX`] already,
    /// or the disk is nearly full.
    async fn put_news(&self, news: News) -> Result<bool, CommitError>;
    /// News with a number above `after`, in order of coming, at most `limit`.
    fn news(&self, after: u64, limit: usize) -> Result<Vec<(u64, News)>, ReadError>;
    /// Keeps a break until its line is dealt with or it is closed; found again, its age and owner stay.
    async fn put_break(&self, found: OpenBreak) -> Result<(), CommitError>;
    /// Gives the break of that number to somebody, and writes down that it was done; `false`: there is none.
    async fn give_break(&self, number: u64, owner: &str, act: Act) -> Result<bool, CommitError>;
    /// Closes the break of that number, and writes down that it was done; `false`: there is none.
    async fn close_break(&self, number: u64, act: Act) -> Result<bool, CommitError>;
    /// What channels settled in batches of that name, at most `limit` lines.
    fn batch(&self, name: &str, limit: usize) -> Result<Vec<BatchLine>, ReadError>;
    /// What is promised for a pair and not exchanged, in minor units of what is sold.
    fn exposure(&self, mode: Mode, sold: &Asset, bought: &Asset) -> Result<i128, ReadError>;
    /// Finds the operation behind a provider's reference on a channel.
    fn find_operation(&self, channel: &ChannelId, reference: &str) -> Result<Option<OperationId>, ReadError>;
    /// Writes down what an operator did.
    async fn record(&self, act: Act) -> Result<(), CommitError>;
    /// Forgets answers of idempotency keys, journals and news that are older than told; returns how many rows it touched, at
    /// most `limit`.
    async fn prune(&self, older: Older, limit: usize) -> Result<usize, CommitError>;
}

/// What is old enough to be forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Older {
    /// Answers of idempotency keys from before this time.
    pub answers_ms: u64,
    /// Operations with their exchanges from before this time.
    pub journals_ms: u64,
    /// News that nothing matched, from before this time.
    pub news_ms: u64,
    /// Attempts that count against a card, from before this time.
    pub tries_ms: u64,
    /// What limits count, from before this time.
    pub uses_ms: u64,
}

/// The most news that a store keeps of one channel: an account that others use too tells of much that is not ours.
pub const NEWS_MAX: usize = 10_000;

/// A merchant's books since some time.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct History {
    /// Entries on the merchant's accounts, in order of writing, each with the event that caused it. Some may be a little older
    /// than asked: commits wait for their turn.
    pub entries: Vec<(Entry, Event)>,
    /// The merchant's balances after all of them, at the same moment.
    pub balances: Balances,
    /// Whether there were more entries than the limit; then those that are here are of no use.
    pub is_cut: bool,
}

/// What the books are proved by.
#[derive(Debug)]
pub enum BookPart {
    /// An entry.
    Entry(Entry),
    /// What the store keeps as the sum of all entries of a mode.
    Balances(Mode, Balances),
    /// A payment with what is in flight of it.
    Payment(Box<Versioned>),
}

/// The durable record, as lists, operators and auditors read it.
pub trait Library: Send + Sync {
    /// A merchant's payments.
    fn payments(&self, page: &Page<PaymentId>) -> Result<Vec<Versioned>, ReadError>;
    /// A merchant's payouts.
    fn payouts(&self, page: &Page<PaymentId>) -> Result<Vec<Versioned>, ReadError>;
    /// A merchant's events; `payment` narrows them to one payment.
    fn events(&self, page: &Page<crate::ids::EventId>, payment: Option<PaymentId>) -> Result<Vec<Event>, ReadError>;
    /// A merchant's refunds, newest first, as the payments that hold them.
    fn refunds(&self, page: &Page<crate::ids::RefundId>) -> Result<Vec<(Versioned, OperationId)>, ReadError>;
    /// A merchant's disputes, newest first, as the payments that hold them.
    fn disputes(&self, page: &Page<DisputeId>) -> Result<Vec<(Versioned, DisputeId)>, ReadError>;
    /// A merchant's stored beneficiaries, newest first.
    fn beneficiaries(&self, page: &Page<BeneficiaryId>) -> Result<Vec<StoredBeneficiary>, ReadError>;
    /// The payment of a refund.
    fn refund(&self, id: crate::ids::RefundId) -> Result<Option<Versioned>, ReadError>;
    /// A payment's operations with their exchanges.
    fn operations(&self, payment: PaymentId) -> Result<Vec<Journaled>, ReadError>;
    /// The operations of those channels that were concluded last, since that time, with their exchanges, the newest first, at
    /// most `limit`.
    fn recent_operations(
        &self,
        channels: &[ChannelId],
        since_ms: u64,
        limit: usize,
    ) -> Result<Vec<Journaled>, ReadError>;
    /// How a payment's routes came about, in order: one for each confirmation.
    fn decisions(&self, payment: PaymentId) -> Result<Vec<Decision>, ReadError>;
    /// What was ordered about a payment with a signature, in order.
    fn orders(&self, payment: PaymentId) -> Result<Vec<SignedOrder>, ReadError>;
    /// What a merchant's people approved of it, in order.
    fn approved(&self, payment: PaymentId) -> Result<Vec<Approved>, ReadError>;
    /// A payment's ledger entries.
    fn entries(&self, payment: PaymentId) -> Result<Vec<Entry>, ReadError>;
    /// A merchant's entries since that time and the balances after them, at one moment; at most `limit` entries.
    fn history(&self, mode: Mode, merchant: &MerchantId, since_ms: u64, limit: usize) -> Result<History, ReadError>;
    /// Open breaks with their numbers, from that number on, oldest first, at most `limit`.
    fn breaks(&self, from: u64, limit: usize) -> Result<Vec<(u64, OpenBreak)>, ReadError>;
    /// What channels settled and no bank's statement has shown, oldest first, at most `limit` lines.
    fn in_transit(&self, limit: usize) -> Result<Vec<BatchLine>, ReadError>;
    /// Open tasks, oldest first; `closed` too if asked.
    fn tasks(&self, also_closed: bool) -> Result<Vec<Task>, ReadError>;
    /// Balances as the books keep them.
    fn balances(&self, mode: Mode, merchant: Option<&MerchantId>) -> Result<Balances, ReadError>;
    /// Calls `visit` for all that the books are proved by, as of one moment: every entry in order of writing, then the balances
    /// of each mode, then every payment.
    fn books(&self, visit: &mut dyn FnMut(BookPart)) -> Result<(), ReadError>;
    /// Calls `visit` for every payment.
    fn each_payment(&self, visit: &mut dyn FnMut(Versioned)) -> Result<(), ReadError>;
    /// What operators did, the newest first, at most `limit`.
    fn acts(&self, limit: usize) -> Result<Vec<Act>, ReadError>;
    /// Verifies the hash chain over all events and acts; returns how many there are and the last hash.
    fn verify_chain(&self) -> Result<(u64, String), ReadError>;
}

/// What an adapter wants next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send this; the effect is the host's decision.
    Send(Request),
    /// The operation's outcome.
    Done(Outcome),
}

/// A notification as it came.
#[derive(Clone, Debug)]
pub struct Notification {
    /// `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query.
    pub query: String,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What to tell the provider about its notification, and what it was about.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// What it is about.
    pub subjects: Vec<Subject>,
    /// The status to answer.
    pub status: u16,
    /// The body to answer.
    pub body: Vec<u8>,
}

/// Why a notification was refused: the word for metrics, the text for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}: {1}")]
pub struct Rejection(pub &'static str, pub String);

/// The channels: adapters in their sandbox, and the wire behind them.
#[async_trait]
pub trait Channels: Send + Sync {
    /// All channels, in configured order.
    fn facts(&self) -> Arc<[ChannelFacts]>;
    /// The adapter version that an operation of the channel runs in; `None`: no version of its adapter may run.
    fn version(&self, channel: &ChannelId, need: Need<'_>) -> Option<String>;
    /// An operation came to its verdict: for whoever compares versions.
    fn concluded(&self, operation: &Operation, verdict: &Verdict);
    /// What the channel says of the interface that does `kind`.
    fn capability(&self, channel: &ChannelId, kind: crate::operation::Kind) -> Option<Capability>;
    /// Whether that version of the channel's adapter can be told to authenticate a card's payer.
    fn authenticates(&self, channel: &ChannelId, adapter: &str) -> bool;
    /// Makes an operation's context: keys, handles, sessions. Opens a session where none is open.
    async fn context(&self, request: ContextRequest<'_>) -> Result<Context, Fault>;
    /// Runs the adapter's function once. Pure: no effect but log lines.
    fn step(&self, operation: &Operation, input: &Input, answers: &[Answer]) -> Result<Step, Fault>;
    /// Sends a request of the operation. What it returns is scrubbed. An error is a request that the grant refuses;
    /// nothing was sent.
    async fn send(&self, operation: &Operation, request: &Request, card: Option<&Method>) -> Result<Answer, Fault>;
    /// Forgets a session that the provider no longer accepts.
    fn forget_session(&self, channel: &ChannelId, name: &str);
    /// Lets the adapter read a piece of a report; what it carries from piece to piece comes back.
    fn parse_report(
        &self,
        channel: &ChannelId,
        piece: &[u8],
        carry: &[u8],
        is_last: bool,
    ) -> Result<(Vec<ReportLine>, Vec<u8>), Fault>;
    /// Lets the adapter read a notification.
    fn receive(&self, channel: &ChannelId, notification: &Notification) -> Result<Receipt, Rejection>;
}

/// What a version is wanted for.
#[derive(Clone, Copy, Debug)]
pub enum Need<'a> {
    /// A new attempt of that payment: the canary's, if the payment is in its share.
    New(PaymentId),
    /// A later operation: the active version, if it reads the memo's format; else the one that began.
    Later {
        /// The format of the memo that is there.
        memo: Option<u16>,
        /// The version that left it.
        begun: &'a str,
    },
}

/// What a context is made for.
#[derive(Clone, Copy, Debug)]
pub struct ContextRequest<'a> {
    /// The channel.
    pub channel: &'a ChannelId,
    /// The adapter version.
    pub adapter: &'a str,
    /// The operation's id.
    pub operation: OperationId,
    /// The card, where there is one.
    pub card: Option<&'a CardFacts>,
    /// Whether the security code is at hand.
    pub has_code: bool,
}

/// Where a handle may stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a header, after a prefix.
    Header(String, String),
    /// In a JSON body.
    JsonPointer(String),
    /// In a form body.
    FormField(String),
    /// As user or password of HTTP Basic.
    Basic,
}

/// What a handle stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// A secret or session of the channel, by name.
    Secret(String),
    /// The card's number.
    CardNumber,
    /// The card's security code.
    CardCode,
}

/// A handle with the places that are granted to it at one endpoint.
#[derive(Clone, Debug)]
pub struct Fill {
    /// The word.
    pub handle: String,
    /// What it stands for.
    pub meaning: Meaning,
    /// Where it may stand.
    pub places: Vec<Place>,
}

/// What a guest may have done with its channel's keys. No key is ever handed out.
pub trait Keys: Send + Sync {
    /// The handle for a name of an operation: an opaque word, the same each time.
    fn handle(&self, operation: OperationId, name: &str) -> String;
    /// Whether the signature is the named key's over the data.
    fn verify(
        &self,
        channel: &ChannelId,
        key: &str,
        algorithm: &str,
        data: &[u8],
        signature: &[u8],
    ) -> Result<bool, String>;
    /// A recoverable secp256k1 signature (65 bytes: r, s, recovery) over a hash, by the child key at `path` (BIP 32).
    fn sign_hash(&self, channel: &ChannelId, key: &str, path: &str, hash: &[u8]) -> Result<Vec<u8>, String>;
    /// The uncompressed secp256k1 public key (65 bytes) at `path`.
    fn public_key(&self, channel: &ChannelId, key: &str, path: &str) -> Result<Vec<u8>, String>;
    /// Whether the channel has the key, for that algorithm. The text says why not.
    fn can_sign(&self, channel: &ChannelId, word: &Word) -> Result<(), String>;
    /// Opens what a provider sealed with AES-256-GCM (NIST SP 800-38D; a nonce of 12 bytes, the tag at the end) for the
    /// channel. The text says why not; it does not tell a wrong key from a changed message.
    fn decrypt(
        &self,
        channel: &ChannelId,
        key: &str,
        nonce: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, String>;
}

/// The vault, as channels use it: it alone opens tokens, handles and keys.
pub trait Vault: Keys {
    /// The `n`-th idempotency key of an operation for its provider, in the form of a UUID: the same each time, never
    /// another's, and nobody else can tell which operation it belongs to.
    fn provider_key(&self, operation: OperationId, n: u8) -> String;
    /// The operation that a provider's key belongs to, if it can be one of ours.
    fn operation_of_key(&self, key: &str) -> Option<OperationId>;
    /// A name for somebody that says nothing about who it is: the same each time, and for nobody else to compute.
    fn pseudonym(&self, of: &str) -> String;
    /// 32 bytes that are the same each time for one operation.
    fn entropy(&self, operation: OperationId) -> [u8; 32];
    /// Puts the values in place. Refuses a handle anywhere but at its granted places.
    fn fill(
        &self,
        channel: &ChannelId,
        request: &Request,
        fills: &[Fill],
        card: Option<&Method>,
    ) -> Result<WireRequest, Fault>;
    /// Puts handles back wherever the texts of a reply repeat what was filled in, and removes security codes.
    fn scrub(&self, channel: &ChannelId, texts: Vec<Vec<u8>>, fills: &[Fill], card: Option<&Method>) -> Vec<Vec<u8>>;
    /// Keeps a session's token for `lives_ms`.
    fn keep_session(&self, channel: &ChannelId, name: &str, token: Vec<u8>, until_ms: u64);
    /// Whether a session is open at `now_ms`.
    fn has_session(&self, channel: &ChannelId, name: &str, now_ms: u64) -> bool;
    /// Forgets a session.
    fn forget_session(&self, channel: &ChannelId, name: &str);
    /// Whether the security code of a token is still at hand.
    fn has_code(&self, method: MethodId, now_ms: u64) -> bool;
    /// Forgets the security code of a token: its last authorization is over.
    fn forget_code(&self, method: MethodId);
}

/// Sealing for the journal: a data key per payment, wrapped by the vault.
pub trait Sealer: Send + Sync {
    /// A new data key, wrapped.
    fn new_data_key(&self) -> Result<Vec<u8>, String>;
    /// Seals `plain` under a wrapped data key, bound to `place` (what the ciphertext belongs to).
    fn seal(&self, data_key: &[u8], place: &[u8], plain: Vec<u8>) -> Result<Vec<u8>, String>;
    /// Opens what `seal` made.
    fn open(&self, data_key: &[u8], place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String>;
}

/// How an answer is written for the merchant; the API's business.
pub trait Render: Send + Sync {
    /// The answer that shows a payment.
    fn payment(&self, payment: &crate::payment::Payment) -> StoredAnswer;
    /// The answer that shows a refund of a payment.
    fn refund(&self, payment: &crate::payment::Payment, refund: OperationId) -> StoredAnswer;
}

/// Named moments at which a crash test may stop the process. In production nothing happens there.
pub trait Steps: Send + Sync {
    /// The walk has come to `step`.
    fn reached(&self, step: &'static str);
}

/// Keyed hashes for the host's own purposes: fingerprints of requests, hashes of API keys, the component cache.
pub trait Mac: Send + Sync {
    /// HMAC-SHA-256 over the data, under a key of its own for each purpose.
    fn mac(&self, purpose: &str, data: &[u8]) -> [u8; 32];
    /// Compares in constant time.
    fn verify_mac(&self, purpose: &str, data: &[u8], tag: &[u8]) -> bool;
}

/// A merchant's API key, by the keyed hash of its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// The first characters, for people to tell keys apart.
    pub id: String,
    /// The keyed hash.
    pub hash: [u8; 32],
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// What it opens.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_ms: u64,
    /// When it stopped working.
    pub revoked_ms: Option<u64>,
    /// The Ed25519 key whose owner signs all that comes with it and changes something; `None`: nobody has to.
    pub public_key: Option<[u8; 32]>,
}

/// The versions of adapters, and how far each is.
#[async_trait]
pub trait Versions: Send + Sync {
    /// Every version of every adapter.
    fn versions(&self) -> Result<Vec<Version>, ReadError>;
    /// Writes `after` together with who did it, if the versions in it are still as in `before`; those that are not in
    /// `before` must be new. Refused with [`CommitError::VersionConflict`] otherwise.
    async fn put_versions(&self, before: &[Version], after: &[Version], act: Act) -> Result<(), CommitError>;
}

/// What adapters are made of, where several machines have one store: each keeps files of its own, and finds here what it lacks.
/// Where the store is one machine's, nothing is kept twice.
pub trait Files: Send + Sync {
    /// Keeps a file, or takes it away.
    fn put_file(&self, name: &str, bytes: Option<&[u8]>) -> Result<(), ReadError>;
    /// The names of all that are kept; `None`: the store is one machine's.
    fn file_names(&self) -> Result<Option<Vec<String>>, ReadError>;
    /// The file of that name.
    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError>;
}

/// The merchants' rules about routes.
pub trait Rules: Send + Sync {
    /// What they say of a payment.
    fn rulings(&self, facts: &RouteFacts<'_>) -> Rulings;
}

/// The merchants' rules as they are kept.
#[async_trait]
pub trait RuleSets: Send + Sync {
    /// The last version of every merchant's.
    fn rule_sets_in_force(&self) -> Result<Vec<RuleSet>, ReadError>;
    /// A merchant's, the newest first, at most `limit`.
    fn rule_sets(&self, mode: Mode, merchant: &MerchantId, limit: usize) -> Result<Vec<RuleSet>, ReadError>;
    /// Writes the next version, together with who did it. Refused with [`CommitError::VersionConflict`] if it is not the next.
    async fn put_rule_set(&self, set: RuleSet, act: Act) -> Result<(), CommitError>;
}

/// What has to be approved, and by whom, as it is kept.
#[async_trait]
pub trait ApprovalBook: Send + Sync {
    /// Every merchant's.
    fn approvals(&self) -> Result<Vec<Approvals>, ReadError>;
    /// Writes a merchant's, together with who did it. Refused with [`CommitError::VersionConflict`] if they are not the next version.
    async fn put_approvals(&self, approvals: Approvals, act: Act) -> Result<(), CommitError>;
}

/// What operators stopped.
#[async_trait]
pub trait Stops: Send + Sync {
    /// All of it.
    fn stops(&self) -> Result<Vec<Stop>, ReadError>;
    /// Writes one down, or takes it away, together with who did it.
    async fn put_stop(&self, stop: Stop, is_on: bool, act: Act) -> Result<(), CommitError>;
}

/// Where merchants are told of events.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Every endpoint.
    fn webhook_endpoints(&self) -> Result<Vec<WebhookEndpoint>, ReadError>;
    /// Adds an endpoint, or writes it again.
    async fn put_webhook_endpoint(&self, endpoint: WebhookEndpoint) -> Result<(), CommitError>;
    /// Takes it away; whether it was there.
    async fn remove_webhook_endpoint(&self, id: WebhookId) -> Result<bool, CommitError>;
    /// How far the journal is, and of whom it has something new since that place; without one, nobody's.
    fn wrote_since(&self, place: Option<u64>) -> Result<(u64, Vec<(Mode, MerchantId)>), ReadError>;
}

/// The API keys.
#[async_trait]
pub trait KeyRing: Send + Sync {
    /// The key of that hash, revoked or not.
    fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, ReadError>;
    /// Every key.
    fn api_keys(&self) -> Result<Vec<ApiKey>, ReadError>;
    /// Adds a key, or writes it again.
    async fn put_api_key(&self, key: ApiKey) -> Result<(), CommitError>;
}
