//! Reconciliation with a provider's report: the adapter parses it, every line is matched with what the books know, what fits
//! is posted once, and what does not is a break. A line about an operation of unknown outcome makes the router ask first.

use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Seen};
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::operation::{Fault, FaultKind, Subject};
use portolan_domain::payment::Payment;
use portolan_domain::payment::decide::Refusal;
use portolan_domain::payment::dispute::{self, DisputeNews};
use portolan_domain::payment::fact::Fact;
use portolan_domain::ports::CommitError;
use portolan_domain::settlement::{BatchLine, Break, BreakKind, OpenBreak, ReportLine, fits};

/// A report goes to its adapter in pieces of this size.
const PIECE: usize = 256 * 1024;
/// The most lines of one report.
pub(crate) const LINES_MAX: usize = 200_000;

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
                        line: ReportLine {
                            text: String::new(),
                            ..line.clone()
                        },
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
        if report.is_empty() {
            return Err(EngineError::Channel(Fault {
                kind: FaultKind::Protocol,
                text: "it is empty".into(),
            }));
        }
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
            if !line.text.is_empty() {
                return self.bank_batches(channel, line, seen).await;
            }
            let why = "the books have no operation with this reference or key".to_owned();
            let kind = BreakKind::MissingInternal;
            return Ok(Err(Break { kind, why }));
        };
        let base = self.load(operation.payment())?;
        if let Err(first) = fits(&base.payment, channel, operation, line) {
            let may_be_told = base.payment.payout.is_some() || line.is_about_dispute();
            let is_news = may_be_told && first.kind == BreakKind::MissingInternal;
            if base.payment.unknown.is_none() && !is_news {
                return Ok(Err(first));
            }
            // The report knows more than the books: ask, and look again.
            self.check_hinted(operation, line.is_about_dispute()).await?;
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
            if let Some(news) = unheard(payment, channel, operation, line) {
                let attempt = payment.attempts.iter().find(|it| it.operation == operation);
                if let Some(attempt) = attempt.map(|attempt| attempt.id) {
                    dispute::hear(payment, change, (attempt, channel), &news)?;
                }
            }
            if let Err(found) = fits(payment, channel, operation, line) {
                broken = Some(found);
                return Err(Refusal::WrongStatus(payment.status.as_str()).into());
            }
            Ok(payment.record(change, fact_of(payment, channel, operation, line))?)
        };
        let complete = |commit: &mut Commit, payment: &Payment, (): &()| {
            commit.seen = Some(seen.clone());
            commit.batch_line = payment.payout.is_none().then(|| BatchLine {
                channel: channel.clone(),
                event: line.event(),
                batch: line.batch.clone(),
                operation,
                net: line.net.clone(),
                is_credit: line.is_credit,
                at_ms: self.ports.ambient.now_ms(),
                banked: None,
            });
        };
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

/// What a line says of a dispute that the provider, asked, did not tell of.
fn unheard(payment: &Payment, channel: &ChannelId, operation: OperationId, line: &ReportLine) -> Option<DisputeNews> {
    let news = line.dispute_news()?;
    let is_missing =
        matches!(fits(payment, channel, operation, line), Err(broken) if broken.kind == BreakKind::MissingInternal);
    (is_missing && news.amount.fits_in(&payment.captured)).then_some(news)
}

/// What a line that fits means for the payment.
fn fact_of(payment: &Payment, channel: &ChannelId, operation: OperationId, line: &ReportLine) -> Fact {
    let reference = line.reference.as_deref().unwrap_or_default();
    let disputed = payment.disputes.iter().find(|it| it.is_of(channel, reference));
    match (disputed.filter(|_| line.is_about_dispute()), &payment.payout) {
        (Some(dispute), _) => Fact::DisputeSettled {
            dispute: dispute.id,
            channel: channel.clone(),
            gross: line.gross.clone(),
            fee: line.fee.clone(),
            is_return: line.is_credit,
            batch: line.batch.clone(),
        },
        (None, Some(_)) => Fact::Booked {
            operation,
            bank: channel.clone(),
            amount: line.gross.clone(),
            fee: line.fee.clone(),
            is_return: line.is_credit,
        },
        (None, None) => Fact::Settled {
            operation,
            channel: channel.clone(),
            gross: line.gross.clone(),
            fee: line.fee.clone(),
            is_refund: !line.is_credit,
            batch: line.batch.clone(),
        },
    }
}
