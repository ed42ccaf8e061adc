//! Money that came to a bank: which of the batches that channels settled it is, and that they are no longer on their way. Each
//! payment has its own part of a batch, posted once, whatever is killed or taken twice.

use crate::settle::LINES_MAX;
use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Seen};
use portolan_domain::ids::ChannelId;
use portolan_domain::payment::Payment;
use portolan_domain::payment::fact::Fact;
use portolan_domain::ports::CommitError;
use portolan_domain::settlement::{Banked, BatchLine, Break, ReportLine, batches_of};
use std::collections::{BTreeMap, BTreeSet};

/// The most words of a bank's entry that are looked at as names of batches.
const WORDS_MAX: usize = 64;

impl Engine {
    /// Money at the bank that is no payout of ours: the batches that its text names, one entry for one or for several.
    pub(crate) async fn bank_batches(
        &self,
        bank: &ChannelId,
        line: &ReportLine,
        seen: Seen,
    ) -> Result<Result<bool, Break>, EngineError> {
        let named = self.batches_named(bank, &line.text)?;
        let entry = Banked {
            bank: bank.clone(),
            entry: line.event(),
        };
        let shown = match batches_of(line, &entry, &named) {
            Ok(shown) => shown,
            // Another run was quicker with the same line.
            Err(_) if self.ports.store.was_seen(&seen)? => return Ok(Ok(false)),
            Err(broken) => return Ok(Err(broken)),
        };
        // Killed in the middle, it goes on with those that are left when the statement is taken again.
        let open: Vec<BatchLine> = shown.into_iter().filter(|it| it.banked.is_none()).collect();
        let last = open.len().saturating_sub(1);
        for (at, settled) in open.iter().enumerate() {
            let seen = (at == last).then(|| seen.clone());
            self.bank_one(&entry, settled, seen).await?;
            self.ports.steps.reached("after_batch_line");
        }
        Ok(Ok(true))
    }

    /// The batches of each name and channel that the text has as a word: of the bank's own mode, for test and live never meet.
    fn batches_named(&self, bank: &ChannelId, text: &str) -> Result<Vec<Vec<BatchLine>>, EngineError> {
        let facts = self.ports.channels.facts();
        let mode_of = |channel: &ChannelId| facts.iter().find(|it| it.id == *channel).map(|it| it.mode);
        let is_of_mode = |line: &BatchLine| mode_of(&line.channel) == mode_of(bank);
        let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let words = text.split(|c| !is_of_name(c)).filter(|word| !word.is_empty());
        let words: BTreeSet<&str> = words.take(WORDS_MAX).collect();
        let mut named = vec![];
        for word in words {
            let mut by_channel: BTreeMap<ChannelId, Vec<BatchLine>> = BTreeMap::new();
            let lines = self.ports.store.batch(word, LINES_MAX)?;
            for line in lines.into_iter().filter(is_of_mode) {
                by_channel.entry(line.channel.clone()).or_default().push(line);
            }
            named.extend(by_channel.into_values());
        }
        Ok(named)
    }

    /// One payment's part of a batch lies at the bank.
    async fn bank_one(&self, entry: &Banked, settled: &BatchLine, last: Option<Seen>) -> Result<(), EngineError> {
        let base = self.load(settled.operation.payment())?;
        let post = |payment: &mut Payment, change: &mut Change| {
            let fact = Fact::Banked {
                operation: settled.operation,
                channel: settled.channel.clone(),
                bank: entry.bank.clone(),
                net: settled.net.clone(),
                is_credit: settled.is_credit,
                batch: settled.batch.clone(),
            };
            Ok(payment.record(change, fact)?)
        };
        let complete = |commit: &mut Commit, _: &Payment, (): &()| {
            commit.seen.clone_from(&last);
            commit.batch_line = Some(BatchLine {
                banked: Some(entry.clone()),
                ..settled.clone()
            });
        };
        match self.update(&base, post, complete).await {
            // Another run was quicker with the same line.
            Ok(_) | Err(EngineError::Store(CommitError::SeenBefore)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
