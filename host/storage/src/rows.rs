//! Row shapes: what a commit becomes before it reaches the writer. Serialising and sealing happen here, on the caller's
//! thread, so that the one writer only writes.

use portolan_domain::beneficiary::StoredBeneficiary;
use portolan_domain::commit::{Act, ClaimName, Commit, Journaled, Seen, StoredAnswer, Timer, in_flight};
use portolan_domain::ids::{
    BeneficiaryId, ChannelId, DisputeId, MerchantId, MethodId, Mode, Name, OperationId, PaymentId, QuoteId, WebhookId,
};
use portolan_domain::ledger::{Account, Balances, Entry};
use portolan_domain::money::Money;
use portolan_domain::operation::{CardFacts, Kind, Operation, Progress};
use portolan_domain::payment::Payment;
use portolan_domain::payment::conversion::{Exposure, exposure_of};
use portolan_domain::payment::fact::{Event, Fact};
use portolan_domain::ports::{CommitError, Method, ReadError, Sealed, Sealer};
use portolan_domain::quote::Quote;
use portolan_domain::risk::{self, LimitGuard};
use portolan_domain::routing::decision::Decision;
use portolan_domain::routing::tries::{self, TryChange, TryGuard};
use portolan_domain::settlement::{Banked, BatchLine, Break, BreakKind, OpenBreak};
use portolan_domain::webhook::WebhookEndpoint;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Why rows cannot be made or read: always a defect or a damaged store.
#[derive(Debug)]
pub(crate) struct RowError {
    pub text: String,
    /// Nothing is known any more of what was written.
    pub is_fatal: bool,
}

impl RowError {
    pub const fn new(text: String) -> Self {
        Self { text, is_fatal: false }
    }
}

impl From<RowError> for CommitError {
    fn from(error: RowError) -> Self {
        Self::Unavailable(error.text)
    }
}

impl From<RowError> for ReadError {
    fn from(error: RowError) -> Self {
        Self(error.text)
    }
}

impl From<String> for RowError {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<serde_json::Error> for RowError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Bytes of a claim's name.
pub(crate) type ClaimHash = [u8; 16];

pub(crate) struct PaymentRow {
    pub id: PaymentId,
    pub owner: String,
    pub expect: u64,
    pub status: &'static str,
    pub data_key: Vec<u8>,
    pub sealed: Vec<u8>,
}

pub(crate) struct JournalRow {
    pub id: Uuid,
    pub owner: String,
    pub body: String,
    pub answer: Option<Vec<u8>>,
    pub operations: Option<Vec<u8>>,
}

pub(crate) struct ClaimRow {
    pub name: ClaimHash,
    pub payment: PaymentId,
    pub operation: Option<OperationId>,
    pub fingerprint: Vec<u8>,
    pub at_ms: u64,
}

/// A commit as rows.
pub(crate) struct Rows {
    pub is_new_money: bool,
    pub mode: Option<Mode>,
    pub claim: Option<ClaimRow>,
    pub payment: Option<PaymentRow>,
    pub journal: Option<JournalRow>,
    pub balances: Balances,
    pub timers_clear: Vec<Timer>,
    pub timers_set: Vec<Timer>,
    pub tasks: Vec<(Uuid, bool, String)>,
    pub references: Vec<i64>,
    pub refunds: Vec<(OperationId, u64)>,
    pub disputes: Vec<(DisputeId, u64)>,
    pub quote: Option<QuoteId>,
    pub covers: Option<(Account, Money)>,
    pub tries: Option<TryGuard>,
    pub limits: Option<Box<LimitGuard>>,
    /// Whether the payment is a part of totals after this commit, where that changes.
    pub is_over: Option<(PaymentId, bool)>,
    pub try_changes: Vec<TryChange>,
    pub seen: Option<Seen>,
    pub batch_line: Option<BatchLineRow>,
    /// Of a payment that is exchanged: what is promised for it now, or nothing any more.
    pub exposure: Option<Option<Exposure>>,
    pub exposure_max: Option<i128>,
}

/// What a commit added, in clear.
#[derive(Serialize)]
struct BodyOut<'a> {
    events: &'a [Event],
    entries: &'a [Entry],
    #[serde(skip_serializing_if = "<[Act]>::is_empty")]
    acts: &'a [Act],
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a Decision>,
    /// What was ordered, as it was signed: sealed, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<String>,
    /// What was approved, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    approved: Option<String>,
}

/// The same, read back.
#[derive(Deserialize)]
pub(crate) struct Body {
    pub events: Vec<Event>,
    pub entries: Vec<Entry>,
    #[serde(default)]
    pub acts: Vec<Act>,
    #[serde(default)]
    pub decision: Option<Decision>,
    #[serde(default)]
    pub order: Option<String>,
    #[serde(default)]
    pub approved: Option<String>,
}

/// Whose the rows of acts are: no merchant has a colon in its name.
pub(crate) const OPERATORS: &str = "operators:";

pub(crate) fn act_row(act: &Act) -> Result<JournalRow, RowError> {
    let body = BodyOut {
        events: &[],
        entries: &[],
        acts: std::slice::from_ref(act),
        decision: None,
        order: None,
        approved: None,
    };
    Ok(JournalRow {
        id: act.id.0,
        owner: OPERATORS.into(),
        body: serde_json::to_string(&body)?,
        answer: None,
        operations: None,
    })
}

pub(crate) fn owner(mode: Mode, merchant: &MerchantId) -> String {
    format!("{}:{merchant}", mode.as_str())
}

/// Whose such a row is; `None`: nobody's who could be told.
pub(crate) fn owner_from(text: &str) -> Option<(Mode, MerchantId)> {
    let (mode, merchant) = text.split_once(':')?;
    let mode = [Mode::Test, Mode::Live].into_iter().find(|it| it.as_str() == mode)?;
    Some((mode, Name::parse(merchant)?))
}

/// The list that a payment stands in: payouts have one of their own.
fn list_of(payment: &Payment) -> String {
    let owner = owner(payment.mode, &payment.merchant);
    match payment.payout {
        Some(_) => payouts_of(&owner),
        None => owner,
    }
}

/// An owner's list of payouts: no merchant has a slash in its name.
pub(crate) fn payouts_of(owner: &str) -> String {
    format!("{owner}/payouts")
}

pub(crate) fn claim_hash(name: &ClaimName) -> ClaimHash {
    let mut hasher = Sha256::new();
    hasher.update(owner(name.mode, &name.merchant));
    hasher.update([0]);
    hasher.update(&name.key);
    let hash = hasher.finalize();
    hash.first_chunk().copied().unwrap_or_default()
}

pub(crate) fn reference_hash(channel: &ChannelId, reference: &str) -> i64 {
    let mut hasher = Sha256::new();
    hasher.update(channel.as_str());
    hasher.update([0]);
    hasher.update(reference);
    let hash = hasher.finalize();
    hash.first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
}

pub(crate) fn payment_place(id: PaymentId) -> Vec<u8> {
    [b"payment".as_slice(), id.0.as_bytes()].concat()
}

pub(crate) fn operations_place(row: Uuid) -> Vec<u8> {
    [b"operations".as_slice(), row.as_bytes()].concat()
}

pub(crate) fn answer_place(row: Uuid) -> Vec<u8> {
    [b"answer".as_slice(), row.as_bytes()].concat()
}

pub(crate) fn order_place(row: Uuid) -> Vec<u8> {
    [b"order".as_slice(), row.as_bytes()].concat()
}

pub(crate) fn approved_place(row: Uuid) -> Vec<u8> {
    [b"approved".as_slice(), row.as_bytes()].concat()
}

fn method_place(id: MethodId) -> Vec<u8> {
    [b"method".as_slice(), id.0.as_bytes()].concat()
}

/// Seals the JSON of a value.
fn seal<T: Serialize>(sealer: &dyn Sealer, key: &[u8], place: &[u8], value: &T) -> Result<Vec<u8>, RowError> {
    Ok(sealer.seal(key, place, serde_json::to_vec(value)?)?)
}

/// Opens what `seal` made.
pub(crate) fn open<T: DeserializeOwned>(
    sealer: &dyn Sealer,
    key: &[u8],
    place: &[u8],
    sealed: &[u8],
) -> Result<T, RowError> {
    Ok(serde_json::from_slice(&sealer.open(key, place, sealed)?)?)
}

/// Makes the rows. `data_key`: the payment's, new or as stored.
pub(crate) fn make(commit: &Commit, data_key: Option<Vec<u8>>, sealer: &dyn Sealer) -> Result<Rows, RowError> {
    let key = data_key.unwrap_or_default();
    let mut balances = Balances::new();
    for entry in &commit.entries {
        entry
            .add_to(&mut balances)
            .map_err(|error| RowError::new(error.to_string()))?;
    }
    let payment = commit.payment.as_ref();
    let closed = commit.tasks.iter().map(|task| {
        let body = serde_json::to_string(task)?;
        Ok((task.id.0, task.closed.is_some(), body))
    });
    let claim = commit.claim.as_ref().map(|claim| ClaimRow {
        name: claim_hash(&claim.name),
        payment: claim.payment,
        operation: claim.operation,
        fingerprint: claim.fingerprint.clone(),
        at_ms: claim.at_ms,
    });
    Ok(Rows {
        is_new_money: commit.is_new_money,
        mode: payment.map(|(payment, _)| payment.mode),
        references: payment.map_or_else(Vec::new, |(payment, _)| references(payment, &commit.operations)),
        refunds: refunds(&commit.events),
        disputes: disputes(&commit.events),
        quote: commit.quote,
        covers: commit.covers.clone(),
        tries: commit.tries.clone(),
        limits: commit.limits.clone(),
        is_over: payment
            .map(|(payment, _)| payment.id)
            .zip(risk::is_over(&commit.events)),
        try_changes: payment.map_or_else(Vec::new, |(payment, _)| tries::changes(payment, &commit.events)),
        journal: journal_row(commit, &key, sealer)?,
        payment: payment_row(commit, key, sealer)?,
        balances,
        timers_clear: commit.timers_clear.clone(),
        timers_set: commit.timers_set.clone(),
        tasks: closed.collect::<Result<_, RowError>>()?,
        claim,
        seen: commit.seen.clone(),
        exposure: payment
            .filter(|(payment, _)| payment.conversion.is_some())
            .map(|(payment, _)| exposure_of(payment)),
        exposure_max: commit.exposure_max,
        batch_line: commit.batch_line.as_ref().map(batch_line_row).transpose()?,
    })
}

fn payment_row(commit: &Commit, data_key: Vec<u8>, sealer: &dyn Sealer) -> Result<Option<PaymentRow>, RowError> {
    let Some((payment, expect)) = &commit.payment else {
        return Ok(None);
    };
    let in_flight = in_flight(&commit.in_flight, &commit.operations);
    let sealed = seal(sealer, &data_key, &payment_place(payment.id), &(payment, in_flight))?;
    Ok(Some(PaymentRow {
        id: payment.id,
        owner: list_of(payment),
        expect: *expect,
        status: payment.status.as_str(),
        sealed,
        data_key,
    }))
}

/// What the commit adds for good; nothing, if it only changes what is in flight.
fn journal_row(commit: &Commit, key: &[u8], sealer: &dyn Sealer) -> Result<Option<JournalRow>, RowError> {
    let Some((payment, _)) = &commit.payment else {
        return Ok(None);
    };
    let concluded: Vec<&Journaled> = commit
        .operations
        .iter()
        .filter(|it| it.0.progress == Progress::Concluded)
        .collect();
    let (order, approved) = (commit.order.as_deref(), commit.approved.as_deref());
    let is_nothing = commit.events.is_empty() && commit.entries.is_empty() && concluded.is_empty();
    if is_nothing && commit.answer.is_none() && order.is_none() && approved.is_none() {
        return Ok(None);
    }
    let order = order.map(|order| seal(sealer, key, &order_place(commit.row), order));
    let approved = approved.map(|approved| seal(sealer, key, &approved_place(commit.row), approved));
    let answer = match &commit.answer {
        Some((name, answer)) => Some(sealer.seal(key, &answer_place(commit.row), pack_answer(name, answer))?),
        None => None,
    };
    let operations = match concluded.is_empty() {
        false => Some(seal(sealer, key, &operations_place(commit.row), &concluded)?),
        true => None,
    };
    let body = BodyOut {
        events: &commit.events,
        entries: &commit.entries,
        acts: &[],
        decision: commit.decision.as_deref(),
        order: order.transpose()?.map(hex::encode),
        approved: approved.transpose()?.map(hex::encode),
    };
    Ok(Some(JournalRow {
        id: commit.row,
        owner: owner(payment.mode, &payment.merchant),
        body: serde_json::to_string(&body)?,
        answer,
        operations,
    }))
}

fn pack_answer(name: &ClaimName, answer: &StoredAnswer) -> Vec<u8> {
    let hash = claim_hash(name);
    [hash.as_slice(), &answer.status.to_be_bytes(), &answer.body].concat()
}

/// The answer, if it is the one of that claim.
pub(crate) fn unpack_answer(name: &ClaimHash, packed: &[u8]) -> Option<StoredAnswer> {
    let (status, body) = packed.strip_prefix(name)?.split_first_chunk::<2>()?;
    Some(StoredAnswer {
        status: u16::from_be_bytes(*status),
        body: body.to_vec(),
    })
}

fn references(payment: &Payment, operations: &[Journaled]) -> Vec<i64> {
    let of = |operation: &Operation| match operation.kind.is_attempt() {
        true => payment.attempt(operation.attempt)?.reference.clone(),
        false => payment.follow_up(operation.id)?.reference.clone(),
    };
    let disputes = payment.disputes.iter();
    operations
        .iter()
        .filter_map(|it| Some(reference_hash(&it.0.channel, &of(&it.0)?)))
        .chain(disputes.map(|it| reference_hash(&it.channel, &it.reference)))
        .collect()
}

fn refunds(events: &[Event]) -> Vec<(OperationId, u64)> {
    let started = events.iter().filter_map(|event| match &event.fact {
        Fact::FollowUpStarted {
            kind: Kind::Refund,
            operation,
            ..
        } => Some((*operation, event.at_ms)),
        _ => None,
    });
    started.collect()
}

pub(crate) fn disputes(events: &[Event]) -> Vec<(DisputeId, u64)> {
    let opened = events.iter().filter_map(|event| match &event.fact {
        Fact::DisputeOpened { dispute, .. } => Some((*dispute, event.at_ms)),
        _ => None,
    });
    opened.collect()
}

/// A method's row: the facts sealed under a data key of its own, the number as the vault sealed it.
pub(crate) fn method_row(method: &Method, sealer: &dyn Sealer) -> Result<(Vec<u8>, Vec<u8>), RowError> {
    let key = sealer.new_data_key()?;
    let sealed = seal(sealer, &key, &method_place(method.id), &method.card)?;
    Ok((key, sealed))
}

/// The facts and the number of a method's row.
pub(crate) fn read_method(
    sealer: &dyn Sealer,
    id: MethodId,
    (key, sealed, number): (&[u8], &[u8], Vec<u8>),
) -> Result<(CardFacts, Sealed), RowError> {
    Ok((open(sealer, key, &method_place(id), sealed)?, Sealed(number)))
}

fn quote_place(id: QuoteId) -> Vec<u8> {
    [b"quote".as_slice(), id.0.as_bytes()].concat()
}

/// A quote as it is stored.
pub(crate) struct QuoteRow {
    pub id: QuoteId,
    pub owner: String,
    pub expires_ms: u64,
    pub data_key: Vec<u8>,
    pub sealed: Vec<u8>,
}

pub(crate) fn quote_row(quote: &Quote, sealer: &dyn Sealer) -> Result<QuoteRow, RowError> {
    let data_key = sealer.new_data_key()?;
    Ok(QuoteRow {
        id: quote.id,
        owner: owner(quote.mode, &quote.merchant),
        expires_ms: quote.best().map_or(0, |terms| terms.quotation.expires_ms),
        sealed: seal(sealer, &data_key, &quote_place(quote.id), quote)?,
        data_key,
    })
}

/// A quote's row, read back, with who used it.
pub(crate) fn read_quote(
    sealer: &dyn Sealer,
    id: QuoteId,
    (key, sealed): (&[u8], &[u8]),
    used_by: Option<PaymentId>,
) -> Result<Quote, RowError> {
    let quote: Quote = open(sealer, key, &quote_place(id), sealed)?;
    Ok(Quote { used_by, ..quote })
}

pub(crate) fn mode_number(mode: Mode) -> i64 {
    match mode {
        Mode::Test => 0,
        Mode::Live => 1,
    }
}

pub(crate) fn mode_from(number: i64) -> Mode {
    if number == 1 { Mode::Live } else { Mode::Test }
}

/// A break as it is stored.
pub(crate) struct BreakRow {
    pub channel: String,
    pub event: String,
    pub kind: &'static str,
    pub why: String,
    pub line: String,
    pub opened_ms: u64,
    pub owner: Option<String>,
}

pub(crate) fn break_row(found: OpenBreak) -> Result<BreakRow, RowError> {
    Ok(BreakRow {
        channel: found.channel.to_string(),
        event: found.line.event(),
        kind: found.found.kind.as_str(),
        line: serde_json::to_string(&found.line).map_err(|error| RowError::new(error.to_string()))?,
        why: found.found.why,
        opened_ms: found.opened_ms,
        owner: found.owner,
    })
}

pub(crate) fn read_break(channel: &str, (kind, why): (&str, String), line: &str) -> Result<OpenBreak, RowError> {
    let bad = |what: &str| RowError::new(format!("{what:?} of a break is none"));
    Ok(OpenBreak {
        channel: Name::parse(channel).ok_or_else(|| bad(channel))?,
        line: serde_json::from_str(line).map_err(|error| RowError::new(error.to_string()))?,
        found: Break {
            kind: BreakKind::parse(kind).ok_or_else(|| bad(kind))?,
            why,
        },
        opened_ms: 0,
        owner: None,
    })
}

/// A batch's line as it is stored.
pub(crate) struct BatchLineRow {
    pub line: BatchLine,
    pub net: String,
}

fn batch_line_row(line: &BatchLine) -> Result<BatchLineRow, RowError> {
    Ok(BatchLineRow {
        line: line.clone(),
        net: serde_json::to_string(&line.net)?,
    })
}

/// A batch's line as it was stored: names, operation, amount.
pub(crate) fn read_batch_line(
    (channel, banked): (&str, Option<(&str, String)>),
    operation: &[u8],
    net: &str,
) -> Result<BatchLine, RowError> {
    let bad = |what: &str| RowError::new(format!("{what:?} of a batch's line is none"));
    let named = |name: &str| Name::parse(name).ok_or_else(|| bad(name));
    Ok(BatchLine {
        channel: named(channel)?,
        event: String::new(),
        batch: String::new(),
        operation: OperationId(Uuid::from_slice(operation).map_err(|_| bad("the operation"))?),
        net: serde_json::from_str(net).map_err(|error| RowError::new(error.to_string()))?,
        is_credit: false,
        at_ms: 0,
        banked: match banked {
            Some((bank, entry)) => Some(Banked {
                bank: named(bank)?,
                entry,
            }),
            None => None,
        },
    })
}

fn beneficiary_place(id: BeneficiaryId) -> Vec<u8> {
    [b"beneficiary".as_slice(), id.0.as_bytes()].concat()
}

/// A stored beneficiary as it is stored.
pub(crate) struct BeneficiaryRow {
    pub id: BeneficiaryId,
    pub owner: String,
    pub at_ms: u64,
    pub data_key: Vec<u8>,
    pub sealed: Vec<u8>,
}

pub(crate) fn beneficiary_row(it: &StoredBeneficiary, sealer: &dyn Sealer) -> Result<BeneficiaryRow, RowError> {
    let data_key = sealer.new_data_key()?;
    Ok(BeneficiaryRow {
        id: it.id,
        owner: owner(it.mode, &it.merchant),
        at_ms: it.created_ms,
        sealed: seal(sealer, &data_key, &beneficiary_place(it.id), it)?,
        data_key,
    })
}

pub(crate) fn read_beneficiary(
    sealer: &dyn Sealer,
    id: BeneficiaryId,
    (key, sealed): (&[u8], &[u8]),
) -> Result<StoredBeneficiary, RowError> {
    open(sealer, key, &beneficiary_place(id), sealed)
}

fn webhook_place(id: WebhookId) -> Vec<u8> {
    [b"webhook".as_slice(), id.0.as_bytes()].concat()
}

/// A webhook endpoint as it is stored.
pub(crate) struct WebhookRow {
    pub id: WebhookId,
    pub data_key: Vec<u8>,
    pub sealed: Vec<u8>,
}

pub(crate) fn webhook_row(it: &WebhookEndpoint, sealer: &dyn Sealer) -> Result<WebhookRow, RowError> {
    let data_key = sealer.new_data_key()?;
    Ok(WebhookRow {
        id: it.id,
        sealed: seal(sealer, &data_key, &webhook_place(it.id), it)?,
        data_key,
    })
}

pub(crate) fn read_webhook(
    sealer: &dyn Sealer,
    id: WebhookId,
    (key, sealed): (&[u8], &[u8]),
) -> Result<WebhookEndpoint, RowError> {
    open(sealer, key, &webhook_place(id), sealed)
}
