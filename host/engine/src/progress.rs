//! How far an operation is, as the payment shows it, and how it goes into the journal.

use portolan_domain::commit::Journaled;
use portolan_domain::exchange::Exchange;
use portolan_domain::operation::{Operation, Progress};
use portolan_domain::payment::Payment;
use portolan_domain::payment::status::{AttemptStatus, FollowUpStatus};
use std::sync::Arc;

/// After this time an operation without an outcome is looked at, should its task be lost: longer than any call takes.
pub(crate) const LOOK_AFTER_MS: u64 = 180_000;

/// An operation as it goes into the journal.
pub(crate) fn journaled(operation: &Operation, progress: Progress, exchanges: &[Exchange]) -> Journaled {
    let operation = Operation {
        progress,
        ..operation.clone()
    };
    Arc::new((operation, exchanges.to_vec()))
}

/// How far an operation is, as the payment shows it after its verdict.
pub(crate) fn progress_of(payment: &Payment, operation: &Operation) -> Progress {
    use AttemptStatus as A;
    use FollowUpStatus as F;
    match operation.kind.is_attempt() {
        true => match payment.attempt(operation.attempt).map(|attempt| attempt.status) {
            Some(A::Unknown) => Progress::Unknown,
            Some(A::Started | A::ActionRequired) => Progress::Waiting,
            Some(A::Authorized | A::Captured | A::Declined | A::NoEffect | A::Released) | None => Progress::Concluded,
        },
        false => match payment.follow_up(operation.id).map(|follow_up| follow_up.status) {
            Some(F::Unknown) => Progress::Unknown,
            Some(F::Pending) => Progress::Waiting,
            Some(F::Succeeded | F::Failed) | None => Progress::Concluded,
        },
    }
}
