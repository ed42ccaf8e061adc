//! Merchants' rules about routes as use cases: read and check a set, put the next version in force, say what would be decided,
//! and what a set would change of payments that were made. Shared by the merchants' API and the operators'.

use portolan_domain::commit::{Act, Journaled};
use portolan_domain::ids::{ChannelId, EventId, MerchantId, Mode, PaymentId};
use portolan_domain::payment::Payment;
use portolan_domain::ports::{Ambient, Channels, CommitError, Library, Page, ReadError, RuleSets, Store};
use portolan_domain::risk::Flag;
use portolan_domain::routing::RouteFacts;
use portolan_domain::routing::decision::Decision;
use portolan_domain::routing::rule::RuleSet;
use portolan_engine::{Engine, Past, facts_of, word_of};
use portolan_rules::{Compiled, ENGINE, Problem, RuleBook};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The most payments that a set is tried on.
pub const REPLAY_MAX: usize = 1_000;
/// A start learns again of so many operations …
const RELEARN_MAX: usize = 10_000;
/// … of so many days.
const RELEARN_MS: u64 = 14 * 24 * 60 * 60 * 1_000;
/// The most versions that are listed.
const VERSIONS_MAX: usize = 100;

/// Why a set was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// What is wrong with it, all of it.
    #[error("the rules cannot be accepted")]
    Problems(Vec<Problem>),
    /// The store says no, or somebody else was first.
    #[error("{0}")]
    Store(#[from] CommitError),
    /// The store cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
}

/// A payment that a set would route otherwise.
#[derive(Debug)]
pub struct Changed {
    /// Which.
    pub payment: PaymentId,
    /// Where it went first when it was made.
    pub was: Option<ChannelId>,
    /// Where it would go first now with the set in force, and with the new one.
    pub from: Option<ChannelId>,
    /// See `from`.
    pub to: Option<ChannelId>,
    /// What the new set's rules about risk bring about.
    pub flags: Vec<Flag>,
    /// The rules of the new set that apply to it.
    pub applied: Vec<String>,
}

/// What a set would change.
#[derive(Debug)]
pub struct Replayed {
    /// Payments that were looked at.
    pub payments: usize,
    /// Those that would go elsewhere first, may have more or fewer attempts, would have their payers authenticated or not, or be
    /// refused or warned of.
    pub changed: Vec<Changed>,
}

/// The use cases.
pub struct Routes {
    parts: RouteParts,
    /// Reading a set takes some tenths of a second of one processor: one at a time.
    reading: tokio::sync::Mutex<()>,
}

/// What the use cases are made of.
pub struct RouteParts {
    /// The sets in force.
    pub book: Arc<RuleBook>,
    /// The sets as they are kept.
    pub sets: Arc<dyn RuleSets>,
    /// The engine.
    pub engine: Arc<Engine>,
    /// The channels.
    pub channels: Arc<dyn Channels>,
    /// Stored payments.
    pub library: Arc<dyn Library>,
    /// The same store, for single look-ups.
    pub store: Arc<dyn Store>,
    /// Time and ids.
    pub ambient: Arc<dyn Ambient>,
}

impl Routes {
    /// The use cases over their parts.
    pub fn new(parts: RouteParts) -> Self {
        Self {
            parts,
            reading: tokio::sync::Mutex::new(()),
        }
    }

    /// Puts every merchant's last set in force.
    pub fn start(&self) -> Result<(), ReadError> {
        self.parts
            .sets
            .rule_sets_in_force()?
            .iter()
            .for_each(|set| self.parts.book.put(set));
        Ok(())
    }

    /// Learns again of the last attempts how likely each channel approves. Returns how many payments it looked at.
    pub fn relearn(&self) -> Result<usize, ReadError> {
        let channels: Vec<ChannelId> = self.parts.channels.facts().iter().map(|it| it.id.clone()).collect();
        let now_ms = self.parts.ambient.now_ms();
        let since_ms = now_ms.saturating_sub(RELEARN_MS);
        let operations = self.parts.library.recent_operations(&channels, since_ms, RELEARN_MAX)?;
        // What began since is learnt as it ends.
        let is_earlier = |it: &&Journaled| it.0.kind.is_attempt() && it.0.started_ms < now_ms;
        let attempts = operations.iter().filter(is_earlier);
        let mut ids: Vec<PaymentId> = attempts.map(|it| it.0.payment).collect();
        ids.sort_unstable();
        ids.dedup();
        let found: Result<Vec<_>, ReadError> = ids.into_iter().map(|id| self.parts.store.payment(id)).collect();
        let payments: Vec<Payment> = found?.into_iter().flatten().map(|it| it.payment).collect();
        self.parts.engine.relearn(&payments);
        Ok(payments.len())
    }

    /// Reads a set for that merchant, whose channels it may name.
    pub async fn check(&self, (mode, merchant): (Mode, &MerchantId), source: String) -> Result<Compiled, RouteError> {
        let facts = self.parts.channels.facts();
        let theirs = facts.iter().filter(|it| it.mode == mode);
        let theirs = theirs.filter(|it| it.merchant.as_ref().is_none_or(|owner| owner == merchant));
        let known: Vec<ChannelId> = theirs.map(|it| it.id.clone()).collect();
        let _one_at_a_time = self.reading.lock().await;
        let read = tokio::task::spawn_blocking(move || Compiled::read(&source, Some(&known)));
        read.await
            .map_err(|error| ReadError(error.to_string()))?
            .map_err(RouteError::Problems)
    }

    /// Makes it the next version, in force at once.
    pub async fn put(
        &self,
        (mode, merchant): (Mode, &MerchantId),
        source: String,
        by: &str,
    ) -> Result<RuleSet, RouteError> {
        let compiled = self.check((mode, merchant), source.clone()).await?;
        let last = self.parts.sets.rule_sets(mode, merchant, 1)?;
        let set = RuleSet {
            merchant: merchant.clone(),
            mode,
            version: last.first().map_or(0, |set| set.version).saturating_add(1),
            engine: ENGINE.to_owned(),
            source,
            created_ms: self.parts.ambient.now_ms(),
            by: by.to_owned(),
        };
        let act = Act {
            id: EventId(self.parts.ambient.uuid_v7()),
            at_ms: set.created_ms,
            by: by.to_owned(),
            verb: "routes.put".into(),
            about: format!("{merchant} {}", mode.as_str()),
            note: format!(
                "version {}, {} tests passed, SHA-256 {}",
                set.version,
                compiled.tests,
                hex::encode(Sha256::digest(set.source.as_bytes()))
            ),
        };
        self.parts.sets.put_rule_set(set.clone(), act).await?;
        self.parts.book.put(&set);
        Ok(set)
    }

    /// How many merchants' sets could not be read since the start.
    pub fn unread(&self) -> u64 {
        self.parts.book.unread()
    }

    /// The last versions, the newest first: it is in force.
    pub fn versions(&self, (mode, merchant): (Mode, &MerchantId), limit: usize) -> Result<Vec<RuleSet>, ReadError> {
        self.parts.sets.rule_sets(mode, merchant, limit.min(VERSIONS_MAX))
    }

    /// What would be decided about such a payment now; with the given rules instead of those in force, if there are any.
    pub fn evaluate(&self, facts: &RouteFacts<'_>, rules: Option<&Compiled>) -> Result<Decision, ReadError> {
        let rulings = rules.map(|rules| rules.judge(facts));
        self.parts.engine.evaluate(facts, rulings)
    }

    /// What a set would change of the merchant's last payments, at what is known of the channels now. Limits count what of these
    /// payments came before each, so those of the first ones see less than they saw.
    pub fn replay(
        &self,
        (mode, merchant): (Mode, &MerchantId),
        rules: &Compiled,
        last: usize,
    ) -> Result<Replayed, RouteError> {
        let page = Page {
            merchant: merchant.clone(),
            mode,
            limit: last.min(REPLAY_MAX),
            after: None,
            before: None,
            created_gte_ms: None,
        };
        let mut payments = self.parts.library.payments(&page)?;
        payments.extend(self.parts.library.payouts(&page)?);
        payments.sort_by_key(|it| std::cmp::Reverse((it.payment.created_ms, it.payment.id)));
        payments.truncate(page.limit);
        let (mut past, mut new_past) = (Past::default(), Past::default());
        // Oldest first: what was let through counts for what came after it.
        let changed = payments.iter().rev().filter_map(|found| {
            let payment = &found.payment;
            let word = word_of(payment);
            let facts = facts_of(payment, &word, None);
            let engine = &self.parts.engine;
            let it = (&facts, payment);
            let before = engine.evaluate_as(it, None, &mut past);
            let after = engine.evaluate_as(it, Some(rules.judge(&facts)), &mut new_past);
            let first = |decision: &Decision| {
                let planned = decision.plan.first().filter(|_| decision.refused().is_none());
                planned.map(|it| it.channel.clone())
            };
            let asks = |decision: &Decision| decision.authenticate.is_some();
            let is_same = first(&before) == first(&after)
                && before.attempts_max == after.attempts_max
                && asks(&before) == asks(&after)
                && before.flags == after.flags;
            (!is_same).then(|| Changed {
                flags: after.flags.clone(),
                payment: payment.id,
                was: payment.attempts.first().map(|it| it.channel.clone()),
                from: first(&before),
                to: first(&after),
                applied: after.applied.iter().map(|it| it.rule.clone()).collect(),
            })
        });
        let mut changed: Vec<Changed> = changed.collect();
        changed.reverse();
        Ok(Replayed {
            changed,
            payments: payments.len(),
        })
    }
}
