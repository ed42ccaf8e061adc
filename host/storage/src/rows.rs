//! Row shapes: what a commit becomes before it reaches the writer. Serialising and sealing happen here, on the caller's
//! thread, so that the one writer only writes.

use portolan_domain::commit::{Claim, Commit, StoredAnswer};
use portolan_domain::exchange::Exchange;
use portolan_domain::ids::{Mode, OperationId, PaymentId};
use portolan_domain::ledger::{Balances, Entry};
use portolan_domain::operation::{CardFacts, Kind, Operation};
use portolan_domain::payment::Payment;
use portolan_domain::payment::fact::{Event, Fact};
use portolan_domain::ports::{CommitError, Method, ReadError, Sealed, Sealer};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why rows cannot be made or read: always a defect or a damaged store.
#[derive(Debug)]
pub(crate) struct RowError(pub String);

impl From<RowError> for CommitError {
    fn from(error: RowError) -> Self {
        Self::Unavailable(error.0)
    }
}

impl From<RowError> for ReadError {
    fn from(error: RowError) -> Self {
        Self(error.0)
    }
}

impl From<String> for RowError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<serde_json::Error> for RowError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

pub(crate) struct PaymentRow {
    pub id: PaymentId,
    pub merchant: String,
    pub mode: Mode,
    pub expect: u64,
    pub created_ms: u64,
    pub status: &'static str,
    pub data_key: Vec<u8>,
    pub sealed: Vec<u8>,
}

pub(crate) struct OperationRow {
    pub id: OperationId,
    pub payment: PaymentId,
    pub channel: String,
    pub progress: &'static str,
    pub key: String,
    pub reference: Option<String>,
    pub sealed: Vec<u8>,
}

/// A commit as rows.
pub(crate) struct Rows {
    pub is_new_money: bool,
    pub claim: Option<Claim>,
    pub payment: Option<PaymentRow>,
    pub operations: Vec<OperationRow>,
    pub events: Vec<(Event, String)>,
    pub entries: Vec<(Entry, String)>,
    pub balances: Balances,
    pub timers_clear: Vec<(&'static str, OperationId)>,
    pub timers_set: Vec<(portolan_domain::commit::Timer, String)>,
    pub tasks: Vec<(uuid::Uuid, bool, String)>,
    pub answer: Option<(portolan_domain::commit::ClaimName, u16, Vec<u8>)>,
    pub refunds: Vec<(OperationId, PaymentId)>,
    pub seen: Option<portolan_domain::commit::Seen>,
}

pub(crate) fn payment_place(id: PaymentId) -> Vec<u8> {
    [b"payment".as_slice(), id.0.as_bytes()].concat()
}

pub(crate) fn operation_place(id: OperationId) -> Vec<u8> {
    [b"operation".as_slice(), id.0.as_bytes()].concat()
}

pub(crate) fn answer_place(key: &str) -> Vec<u8> {
    [b"answer".as_slice(), key.as_bytes()].concat()
}

pub(crate) fn method_place(id: portolan_domain::ids::MethodId) -> Vec<u8> {
    [b"method".as_slice(), id.0.as_bytes()].concat()
}

/// Seals the JSON of a value.
pub(crate) fn seal<T: Serialize>(
    sealer: &dyn Sealer,
    key: &[u8],
    place: &[u8],
    value: &T,
) -> Result<Vec<u8>, RowError> {
    Ok(sealer.seal(key, place, &serde_json::to_vec(value)?)?)
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
pub(crate) fn make(commit: Commit, data_key: Option<Vec<u8>>, sealer: &dyn Sealer) -> Result<Rows, RowError> {
    let key = data_key.unwrap_or_default();
    let payment = commit.payment.as_ref();
    let mut operations = vec![];
    for (operation, exchanges) in &commit.operations {
        operations.push(operation_row(
            operation,
            exchanges,
            payment.map(|(payment, _)| payment),
            &key,
            sealer,
        )?);
    }
    let mut balances = Balances::new();
    for entry in &commit.entries {
        entry
            .add_to(&mut balances)
            .map_err(|error| RowError(error.to_string()))?;
    }
    let refunds = commit.events.iter().filter_map(|event| match &event.fact {
        Fact::FollowUpStarted {
            kind: Kind::Refund,
            operation,
            ..
        } => Some((*operation, event.payment)),
        _ => None,
    });
    let answer = match commit.answer {
        Some((name, StoredAnswer { status, body })) => {
            let sealed = sealer.seal(&key, &answer_place(&name.key), &body)?;
            Some((name, status, sealed))
        }
        None => None,
    };
    Ok(Rows {
        is_new_money: commit.is_new_money,
        refunds: refunds.collect(),
        payment: payment
            .map(|(payment, expect)| payment_row(payment, *expect, key.clone(), sealer))
            .transpose()?,
        operations,
        events: texts(commit.events)?,
        entries: texts(commit.entries)?,
        balances,
        timers_clear: commit
            .timers_clear
            .iter()
            .map(|(kind, operation)| (kind.as_str(), *operation))
            .collect(),
        timers_set: texts(commit.timers_set)?,
        tasks: texts(commit.tasks)?
            .into_iter()
            .map(|(task, body)| (task.id.0, task.closed.is_some(), body))
            .collect(),
        claim: commit.claim,
        answer,
        seen: commit.seen,
    })
}

fn texts<T: Serialize>(values: Vec<T>) -> Result<Vec<(T, String)>, RowError> {
    values
        .into_iter()
        .map(|value| {
            serde_json::to_string(&value)
                .map(|text| (value, text))
                .map_err(RowError::from)
        })
        .collect()
}

fn payment_row(payment: &Payment, expect: u64, data_key: Vec<u8>, sealer: &dyn Sealer) -> Result<PaymentRow, RowError> {
    Ok(PaymentRow {
        id: payment.id,
        merchant: payment.merchant.to_string(),
        mode: payment.mode,
        expect,
        created_ms: payment.created_ms,
        status: payment.status.as_str(),
        sealed: seal(sealer, &data_key, &payment_place(payment.id), payment)?,
        data_key,
    })
}

fn operation_row(
    operation: &Operation,
    exchanges: &[Exchange],
    payment: Option<&Payment>,
    data_key: &[u8],
    sealer: &dyn Sealer,
) -> Result<OperationRow, RowError> {
    let attempt = payment.and_then(|payment| payment.attempt(operation.attempt));
    let reference = match operation.kind {
        Kind::Authorize | Kind::Resume => attempt.and_then(|attempt| attempt.reference.clone()),
        Kind::Capture | Kind::Cancel | Kind::Refund | Kind::Reverse => payment
            .and_then(|payment| payment.follow_up(operation.id))
            .and_then(|follow_up| follow_up.reference.clone()),
    };
    Ok(OperationRow {
        id: operation.id,
        payment: operation.payment,
        channel: operation.channel.to_string(),
        progress: operation.progress.as_str(),
        key: operation.context.keys.first().cloned().unwrap_or_default(),
        reference,
        sealed: seal(
            sealer,
            data_key,
            &operation_place(operation.id),
            &(operation, exchanges),
        )?,
    })
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
    id: portolan_domain::ids::MethodId,
    (key, sealed, number): (&[u8], &[u8], Vec<u8>),
) -> Result<(CardFacts, Sealed), RowError> {
    Ok((open(sealer, key, &method_place(id), sealed)?, Sealed(number)))
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
