//! Writing a payment: apply a pure change to its last version, commit, and start over if somebody else was first.

use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Versioned, in_flight};
use portolan_domain::ids::PaymentId;
use portolan_domain::payment::Payment;
use portolan_domain::payment::conversion::exposure_of;
use portolan_domain::payment::fact::Fact;
use portolan_domain::ports::CommitError;
use std::sync::Arc;
use std::time::Duration;

/// How often a change is tried again on a newer version: more than requests can be in flight on one payment.
const TRIES: usize = 256;
/// How often an outcome is offered to a store that cannot write, each time after [`WAIT`] or longer.
const OUTCOME_TRIES: u32 = 60;
const WAIT: Duration = Duration::from_millis(500);

impl Engine {
    /// The payment, as last committed.
    pub(crate) fn load(&self, id: PaymentId) -> Result<Versioned, EngineError> {
        self.ports.store.payment(id)?.ok_or(EngineError::NotFound("payment"))
    }

    /// Applies `change` to `base`, or to what came after it. `complete` adds what else belongs into the commit.
    pub(crate) async fn update<T>(
        &self,
        base: &Versioned,
        mut change: impl FnMut(&mut Payment, &mut Change) -> Result<T, EngineError> + Send,
        mut complete: impl FnMut(&mut Commit, &Payment, &T) + Send,
    ) -> Result<(Versioned, T), EngineError>
    where
        T: Send,
    {
        let id = base.payment.id;
        let lock = self.locks.entry(id).or_default().clone();
        let _one_at_a_time = lock.lock().await;
        let mut newer: Option<Versioned> = None;
        for _ in 0..TRIES {
            let base = newer.as_ref().unwrap_or(base);
            let mut payment = base.payment.clone();
            let mut collected = Change::new(&*self.ports.ambient);
            let value = change(&mut payment, &mut collected)?;
            let mut commit = collected.into_commit(payment, base.version);
            commit.in_flight.clone_from(&base.in_flight);
            if let Some((payment, expect)) = commit.payment.take() {
                complete(&mut commit, &payment, &value);
                // The commit that begins with a quote's price promises it.
                let was_promised = base.version > 0 && exposure_of(&base.payment).is_some();
                commit.exposure_max = (!was_promised).then(|| self.exposure_max(&payment)).flatten();
                commit.payment = Some((payment, expect));
            }
            match self.commit_patiently(&commit).await {
                Ok(()) => {
                    self.forget_lock(id, &lock);
                    self.tell_of_flags(&commit);
                    return written(commit).map(|written| (written, value));
                }
                Err(CommitError::VersionConflict) if base.version > 0 => newer = Some(self.load(id)?),
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::VersionConflict.into())
    }

    /// New money is refused at once when the store cannot write; an outcome is offered again and again, because the
    /// provider has acted already.
    async fn commit_patiently(&self, commit: &Commit) -> Result<(), CommitError> {
        let is_new = commit.is_new_money || commit.claim.is_some();
        for attempt in 1.. {
            match self.ports.store.commit(commit).await {
                Err(CommitError::Unavailable(error)) if !is_new && attempt < OUTCOME_TRIES => {
                    tracing::warn!(error, attempt, "an outcome is not on disk yet");
                    tokio::time::sleep(WAIT).await;
                }
                result => return result,
            }
        }
        Ok(())
    }

    /// What rules brought about is told once it is on disk.
    fn tell_of_flags(&self, commit: &Commit) {
        for event in &commit.events {
            if let (Fact::Flagged { flag }, Some((payment, _))) = (&event.fact, &commit.payment) {
                self.tell_of(payment, flag);
            }
        }
    }

    fn forget_lock(&self, id: PaymentId, lock: &Arc<tokio::sync::Mutex<()>>) {
        // Two handles are this function's and the map's: nobody waits.
        self.locks
            .remove_if(&id, |_, kept| Arc::ptr_eq(kept, lock) && Arc::strong_count(kept) <= 2);
    }
}

/// The payment as the commit left it.
fn written(commit: Commit) -> Result<Versioned, EngineError> {
    let in_flight = in_flight(&commit.in_flight, &commit.operations);
    let (payment, expect) = commit.payment.ok_or(EngineError::NotFound("payment"))?;
    Ok(Versioned {
        payment,
        version: expect.saturating_add(1),
        in_flight,
    })
}
