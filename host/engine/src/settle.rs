//! Reconciliation with a provider's report: the adapter parses it, every line is matched with what the books know, what fits
//! is posted once, and what does not is a break. A line about an operation of unknown outcome makes the router ask first.

use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Seen};
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::operation::{Fault, FaultKind, Subject};
use portolan_domain::payment::Payment;
use portolan_domain::payment::decide::Refusal;
use portolan_domain::payment::fact::Fact;
use portolan_domain::ports::CommitError;
use portolan_domain::settlement::{Break, BreakKind, OpenBreak, ReportLine, fits};

/// A report goes to its adapter in pieces of this size.
const PIECE: usize = 256 * 1024;
/// The most lines of one report.
const LINES_MAX: usize = 200_000;

/// What came of a report.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Lines that were posted.
    pub matched: usize,
    /// Lines that an earlier run had posted.
    pub repeated: usize,
    /// Lines that do not fit.
    pub breaks: Vec<(ReportLine, Break)>,
}

impl Engine {
    /// Takes a channel's report. Taken again, it changes nothing.
    pub async fn reconcile(&self, channel: &ChannelId, report: &[u8]) -> Result<Reconciled, EngineError> {
        let mut reconciled = Reconciled::default();
        for line in self.lines_of(channel, report)? {
            match self.settle_line(channel, &line).await? {
                Ok(true) => reconciled.matched += 1,
                Ok(false) => reconciled.repeated += 1,
                Err(broken) => {
                    let found = OpenBreak {
                        channel: channel.clone(),
                        line: line.clone(),
                        found: broken.clone(),
                        opened_ms: self.ports.ambient.now_ms(),
                        owner: None,
                    };
                    self.ports.store.put_break(found).await?;
                    reconciled.breaks.push((line, broken));
                }
            }
        }
        Ok(reconciled)
    }

    fn lines_of(&self, channel: &ChannelId, report: &[u8]) -> Result<Vec<ReportLine>, EngineError> {
        let (mut lines, mut carry) = (vec![], vec![]);
        let mut pieces = report.chunks(PIECE).peekable();
        while let Some(piece) = pieces.next() {
            let is_last = pieces.peek().is_none();
            let parsed = self.ports.channels.parse_report(channel, piece, &carry, is_last);
            let (more, kept) = parsed.map_err(EngineError::Channel)?;
            lines.extend(more);
            carry = kept;
            if lines.len() > LINES_MAX {
                return Err(EngineError::Channel(Fault {
                    kind: FaultKind::TooLarge,
                    text: format!("a report may have at most {LINES_MAX} lines: take it in parts"),
                }));
            }
        }
        Ok(lines)
    }

    /// Posts a line; `false`: it was posted before.
    async fn settle_line(&self, channel: &ChannelId, line: &ReportLine) -> Result<Result<bool, Break>, EngineError> {
        let subject = Subject {
            key: line.key.clone(),
            reference: line.reference.clone(),
            event: line.event(),
        };
        let seen = Seen {
            channel: channel.clone(),
            event: subject.event.clone(),
        };
        if self.ports.store.was_seen(&seen)? {
            return Ok(Ok(false));
        }
        let Some(operation) = self.find_subject(channel, &subject)? else {
            let why = "the books have no operation with this reference or key".to_owned();
            let kind = BreakKind::MissingInternal;
            return Ok(Err(Break { kind, why }));
        };
        let base = self.load(operation.payment())?;
        if let Err(first) = fits(&base.payment, channel, operation, line) {
            if base.payment.unknown.is_none() {
                return Ok(Err(first));
            }
            // The report knows more than the books: ask, and look again.
            self.check_hinted(operation).await?;
        }
        self.post_line(operation, line, (channel, seen)).await
    }

    async fn post_line(
        &self,
        operation: OperationId,
        line: &ReportLine,
        (channel, seen): (&ChannelId, Seen),
    ) -> Result<Result<bool, Break>, EngineError> {
        let base = self.load(operation.payment())?;
        let mut broken = None;
        let post = |payment: &mut Payment, change: &mut Change| {
            if let Err(found) = fits(payment, channel, operation, line) {
                broken = Some(found);
                return Err(Refusal::WrongStatus(payment.status.as_str()).into());
            }
            let fact = Fact::Settled {
                operation,
                channel: channel.clone(),
                gross: line.gross.clone(),
                fee: line.fee.clone(),
                is_refund: !line.is_credit,
                batch: line.batch.clone(),
            };
            Ok(payment.record(change, fact)?)
        };
        let complete = |commit: &mut Commit, _: &Payment, (): &()| commit.seen = Some(seen.clone());
        let posted = self.update(&base, post, complete).await;
        match (posted, broken) {
            // Another run was quicker with the same line.
            (_, Some(broken)) if broken.kind == BreakKind::Duplicate && self.ports.store.was_seen(&seen)? => {
                Ok(Ok(false))
            }
            (_, Some(broken)) => Ok(Err(broken)),
            (Ok(_), None) => Ok(Ok(true)),
            (Err(EngineError::Store(CommitError::SeenBefore)), None) => Ok(Ok(false)),
            (Err(error), None) => Err(error),
        }
    }
}
