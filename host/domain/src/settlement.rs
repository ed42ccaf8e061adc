//! Settlement: what a provider's report says of money that was taken or given back. It owns a report's line and the match
//! of a line with a payment: what fits is posted, what does not is a break, told with its kind.

use crate::ids::{ChannelId, OperationId};
use crate::money::Money;
use crate::operation::Kind;
use crate::payment::dispute::{DisputeNews, DisputeState, Funds};
use crate::payment::status::{AttemptStatus, FollowUpStatus};
use crate::payment::{Attempt, Payment};
use serde::{Deserialize, Serialize};

/// What a report calls money that a channel took for a dispute, and what it gave back.
const CHARGEBACK: &str = "chargeback";
const CHARGEBACK_REVERSAL: &str = "chargeback_reversal";

/// One line of a provider's report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReportLine {
    /// The provider's word: `charge`, `refund`, …
    pub kind: String,
    /// The provider's reference.
    pub reference: Option<String>,
    /// Our key.
    pub key: Option<String>,
    /// The payout of the provider that it is part of.
    pub batch: String,
    /// Whether the gross amount is the merchant's: otherwise it is taken back.
    pub is_credit: bool,
    /// The gross amount.
    pub gross: Money,
    /// What the provider takes of it.
    pub fee: Money,
    /// What is left: gross less fee for a credit.
    pub net: Money,
    /// What the other side wrote, where the line is of a bank's statement. It may name people: it is compared, never kept.
    #[serde(skip)]
    pub text: String,
}

/// What a channel settled of one payment, as part of one of its payouts to the bank: a batch is one entry there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchLine {
    /// The channel that settled it.
    pub channel: ChannelId,
    /// The name under which the report's line was dealt with.
    pub event: String,
    /// The channel's payout.
    pub batch: String,
    /// What the line was about.
    pub operation: OperationId,
    /// How much of the payout it is.
    pub net: Money,
    /// Whether it comes: otherwise the channel takes it.
    pub is_credit: bool,
    /// When it was settled.
    pub at_ms: u64,
    /// Where a statement shows it; `None`: on its way.
    pub banked: Option<Banked>,
}

/// A bank's entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Banked {
    /// The bank.
    pub bank: ChannelId,
    /// The name under which the statement's entry is dealt with.
    pub entry: String,
}

/// What of a batch, or of several, a bank's entry should be: one asset, and which way it goes.
pub fn sum_of(lines: &[BatchLine]) -> Option<(Money, bool)> {
    let asset = lines.first()?.net.asset().clone();
    let (mut comes, mut goes) = (Money::zero(asset.clone()), Money::zero(asset));
    for line in lines {
        let sum = if line.is_credit { &mut comes } else { &mut goes };
        *sum = sum.plus(&line.net).ok()?;
    }
    match comes.minus(&goes) {
        Ok(rest) => Some((rest, true)),
        Err(_) => goes.minus(&comes).ok().map(|rest| (rest, false)),
    }
}

/// Which batches a bank's entry is, of those that it names: all of them together, or the only one that has its amount. One
/// that another entry was is not shown again; what this entry was found to be before a kill counts, and is not left.
pub fn batches_of(line: &ReportLine, entry: &Banked, named: &[Vec<BatchLine>]) -> Result<Vec<BatchLine>, Break> {
    let is_left = |it: &BatchLine| it.banked.as_ref().is_none_or(|banked| banked == entry);
    let is_open = |batch: &&Vec<BatchLine>| batch.iter().all(is_left);
    let open: Vec<&Vec<BatchLine>> = named.iter().filter(is_open).collect();
    let fits = |sum: Option<(Money, bool)>| sum == Some((line.net.clone(), line.is_credit));
    let all: Vec<BatchLine> = open.iter().flat_map(|batch| batch.iter().cloned()).collect();
    if open.is_empty() {
        let (kind, why) = match named {
            [] => (
                BreakKind::MissingInternal,
                "it names no batch that a channel's report told of",
            ),
            _ => (BreakKind::Duplicate, "the batch that it names lies at the bank already"),
        };
        return Err(broken(kind, why));
    }
    if fits(sum_of(&all)) {
        return Ok(all);
    }
    let mut single = open.iter().filter(|batch| fits(sum_of(batch)));
    if let (Some(only), None) = (single.next(), single.next()) {
        return Ok((*only).clone());
    }
    let told = sum_of(&all).map_or_else(
        || "amounts that cannot be added".to_owned(),
        |(sum, is_credit)| format!("{sum} {}", if is_credit { "in" } else { "out" }),
    );
    let says = format!("{} {}", line.net, if line.is_credit { "in" } else { "out" });
    let names: std::collections::BTreeSet<&str> = all.iter().map(|it| it.batch.as_str()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    let why = format!("the bank says {says}, the reports of {names} {told}");
    Err(broken(BreakKind::AmountDiff, why))
}

/// Why a line does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BreakKind {
    /// The books know nothing of it.
    MissingInternal,
    /// It says another amount than the books.
    AmountDiff,
    /// Gross, fee and net do not add up.
    FeeDiff,
    /// It was settled already.
    Duplicate,
    /// What it is about is not concluded.
    TooEarly,
}

impl BreakKind {
    /// The word for operators.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingInternal => "missing_internal",
            Self::AmountDiff => "amount_diff",
            Self::FeeDiff => "fee_diff",
            Self::Duplicate => "duplicate",
            Self::TooEarly => "too_early",
        }
    }

    /// The kind of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::MissingInternal,
            Self::AmountDiff,
            Self::FeeDiff,
            Self::Duplicate,
            Self::TooEarly,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == word)
    }
}

/// A break that nobody has closed: the same line again is the same break.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenBreak {
    /// Whose report.
    pub channel: ChannelId,
    /// The line.
    pub line: ReportLine,
    /// What does not fit, as last seen.
    pub found: Break,
    /// Since when.
    pub opened_ms: u64,
    /// Who looks after it.
    pub owner: Option<String>,
}

/// A line that does not fit, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Break {
    /// Its kind.
    pub kind: BreakKind,
    /// In one line.
    pub why: String,
}

fn broken(kind: BreakKind, why: impl Into<String>) -> Break {
    Break { kind, why: why.into() }
}

impl ReportLine {
    /// The name under which it is dealt with once.
    pub fn event(&self) -> String {
        let reference = self.reference.as_deref().or(self.key.as_deref()).unwrap_or_default();
        format!("settled {} {} {reference}", self.batch, self.kind)
    }

    /// Whether it is about a dispute, by the words that adapters use.
    pub fn is_about_dispute(&self) -> bool {
        self.kind == CHARGEBACK || self.is_return_of_dispute()
    }

    fn is_return_of_dispute(&self) -> bool {
        self.kind == CHARGEBACK_REVERSAL
    }

    /// What the line itself says of the dispute, where the provider tells of it no other way.
    pub fn dispute_news(&self) -> Option<DisputeNews> {
        Some(DisputeNews {
            reference: self.reference.clone().filter(|_| self.is_about_dispute())?,
            state: match self.is_return_of_dispute() {
                true => DisputeState::Won,
                false => DisputeState::NeedsResponse,
            },
            amount: self.gross.clone(),
            reason: "unspecified".into(),
            network_code: None,
            due_ms: None,
        })
    }

    /// Gross is fee and net.
    fn adds_up(&self) -> bool {
        let sum = if self.is_credit {
            self.net.plus(&self.fee).map(|sum| sum == self.gross)
        } else {
            self.gross.plus(&self.fee).map(|sum| sum == self.net)
        };
        sum.unwrap_or(false)
    }
}

/// Whether a line of that channel about that operation fits the payment.
pub fn fits(payment: &Payment, channel: &ChannelId, operation: OperationId, line: &ReportLine) -> Result<(), Break> {
    if !line.adds_up() {
        let why = format!("{} less {} is not {}", line.gross, line.fee, line.net);
        return Err(broken(BreakKind::FeeDiff, why));
    }
    if line.is_about_dispute() {
        return fits_dispute(payment, channel, line);
    }
    if payment.payout.is_some() {
        return fits_payout(payment, channel, operation, line);
    }
    let (done, settled) = taken_by(payment, channel, operation)?;
    let is_refund = payment.follow_up(operation).is_some_and(|it| it.kind == Kind::Refund);
    if is_refund == line.is_credit {
        let why = "it goes the other way than the books say";
        return Err(broken(BreakKind::AmountDiff, why));
    }
    if payment.in_flight(Kind::Convert).next().is_some() {
        let why = "it is being exchanged: take the report again once that is known";
        return Err(broken(BreakKind::TooEarly, why));
    }
    let left = left_of(&done, settled.as_ref());
    if left.is_zero() && !done.is_zero() {
        Err(broken(BreakKind::Duplicate, format!("{done} are settled already")))
    } else if line.gross != left {
        let why = format!("the report says {}, the books {left}", line.gross);
        Err(broken(BreakKind::AmountDiff, why))
    } else {
        Ok(())
    }
}

/// A line about a dispute: the channel took the money, or gave it back.
fn fits_dispute(payment: &Payment, channel: &ChannelId, line: &ReportLine) -> Result<(), Break> {
    let reference = line.reference.as_deref().unwrap_or_default();
    let found = payment.disputes.iter().find(|it| it.is_of(channel, reference));
    let unknown = |why: &str| Err(broken(BreakKind::MissingInternal, why));
    let Some(dispute) = found else {
        return unknown("the books know no such dispute");
    };
    if line.is_credit != line.is_return_of_dispute() {
        let why = "it goes the other way than its kind says";
        return Err(broken(BreakKind::AmountDiff, why));
    }
    let is_settled = match line.is_credit {
        true => dispute.settled_back,
        false => dispute.settled_out,
    };
    if is_settled {
        Err(broken(
            BreakKind::Duplicate,
            format!("{} are settled already", dispute.amount),
        ))
    } else if line.gross != dispute.amount {
        let why = format!("the report says {}, the books {}", line.gross, dispute.amount);
        Err(broken(BreakKind::AmountDiff, why))
    } else if line.is_credit && !matches!(dispute.funds, Funds::Back { .. }) {
        unknown("the books do not know that it was won")
    } else if !line.is_credit && dispute.funds == Funds::Untouched {
        unknown("the books do not know that the money was taken")
    } else {
        Ok(())
    }
}

/// A bank's entry about a payout: it went out, or it came back.
fn fits_payout(payment: &Payment, bank: &ChannelId, operation: OperationId, line: &ReportLine) -> Result<(), Break> {
    let attempt = payment.attempts.iter().find(|it| it.operation == operation);
    let (Some(payout), Some(attempt)) = (&payment.payout, attempt.filter(|it| it.channel == *bank)) else {
        return Err(broken(BreakKind::MissingInternal, "it went through another channel"));
    };
    let returned = payout.returned.as_ref().map(|(amount, _)| amount);
    let (known, shown) = match line.is_credit {
        true => (returned, &payout.return_booked),
        false => (
            Some(&payment.captured).filter(|_| attempt.status == AttemptStatus::Captured),
            &payout.booked,
        ),
    };
    match (known, shown) {
        (Some(_), Some(shown)) => Err(broken(BreakKind::Duplicate, format!("{shown} are shown already"))),
        (Some(known), None) if *known == line.gross => Ok(()),
        (Some(known), None) => {
            let why = format!("the statement says {}, the books {known}", line.gross);
            Err(broken(BreakKind::AmountDiff, why))
        }
        (None, _) if line.is_credit => Err(broken(
            BreakKind::MissingInternal,
            "the books do not know that it came back",
        )),
        (None, _) => Err(broken(BreakKind::MissingInternal, "the books do not know it as paid")),
    }
}

/// What of a payment a report may speak of: how much was taken, or given back, through that channel by that operation, and
/// what of it is settled.
fn taken_by(payment: &Payment, channel: &ChannelId, operation: OperationId) -> Result<(Money, Option<Money>), Break> {
    let unknown = |why: &str| Err(broken(BreakKind::MissingInternal, why));
    if payment.is_settled_at_once() {
        return unknown("the books wait for no settlement of it");
    }
    if let Some(refund) = payment.follow_up(operation).filter(|it| it.kind == Kind::Refund) {
        return match refund.status {
            _ if refund.channel != *channel => unknown("it went through another channel"),
            FollowUpStatus::Succeeded => Ok((refund.amount.clone(), refund.settled.clone())),
            _ => unknown("the books do not know the refund as done"),
        };
    }
    let attempt = match payment.follow_up(operation) {
        Some(capture) if capture.kind == Kind::Capture => payment.attempt(capture.attempt),
        Some(_) => return unknown("the books wait for no settlement of it"),
        None => payment.attempts.iter().find(|attempt| attempt.operation == operation),
    };
    match attempt {
        Some(attempt) if attempt.channel == *channel && has_taken(attempt) => {
            Ok((payment.captured.clone(), payment.settled.clone()))
        }
        Some(_) | None => unknown("the books do not know it as taken through this channel"),
    }
}

fn has_taken(attempt: &Attempt) -> bool {
    matches!(
        attempt.status,
        AttemptStatus::Captured | AttemptStatus::Authorized | AttemptStatus::Released
    )
}

fn left_of(done: &Money, settled: Option<&Money>) -> Money {
    let left = settled.map(|settled| done.minus(settled));
    let nothing = || Money::zero(done.asset().clone());
    left.map_or_else(|| done.clone(), |left| left.unwrap_or_else(|_| nothing()))
}

/// What was taken and no report has named yet, and through which attempt.
pub fn unsettled(payment: &Payment) -> Option<(&Attempt, Money)> {
    if payment.payout.is_some() || payment.is_settled_at_once() {
        return None;
    }
    let left = left_of(&payment.captured, payment.settled.as_ref());
    let attempt = payment.attempts.iter().rev().find(|attempt| has_taken(attempt))?;
    (!left.is_zero()).then_some((attempt, left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use crate::money::Asset;
    use uuid::Uuid;

    fn euro(minor: i128) -> Money {
        Money::new(minor, Asset::currency("EUR").unwrap()).unwrap()
    }

    fn entry(name: &str) -> Banked {
        Banked {
            bank: Name::parse("bank").unwrap(),
            entry: name.into(),
        }
    }

    fn batch(name: &str, nets: &[i128], banked: Option<Banked>) -> Vec<BatchLine> {
        let line = |net: &i128| BatchLine {
            channel: Name::parse("acquirer").unwrap(),
            event: format!("{name} {net}"),
            batch: name.into(),
            operation: OperationId(Uuid::nil()),
            net: euro(net.abs()),
            is_credit: *net > 0,
            at_ms: 1,
            banked: banked.clone(),
        };
        nets.iter().map(line).collect()
    }

    fn found(net: i128, named: &[Vec<BatchLine>]) -> Result<Vec<String>, BreakKind> {
        let line = ReportLine {
            kind: "credit".into(),
            reference: None,
            key: None,
            batch: "statement".into(),
            is_credit: net > 0,
            gross: euro(net.abs()),
            fee: euro(0),
            net: euro(net.abs()),
            text: String::new(),
        };
        let lines = batches_of(&line, &entry("now"), named).map_err(|broken| broken.kind)?;
        let left = lines.into_iter().filter(|it| it.banked.is_none());
        Ok(left.map(|it| it.event).collect())
    }

    #[test]
    fn an_entry_is_the_batches_that_come_to_its_amount() {
        let (a, b) = (batch("a", &[100, -30], None), batch("b", &[5], None));
        assert_eq!(found(70, std::slice::from_ref(&a)).unwrap(), ["a 100", "a -30"]);
        assert_eq!(found(75, &[a.clone(), b.clone()]).unwrap().len(), 3);
        assert_eq!(found(5, &[a.clone(), b.clone()]).unwrap(), ["b 5"]);
        assert_eq!(found(71, std::slice::from_ref(&a)), Err(BreakKind::AmountDiff));
        assert_eq!(found(-30, &[batch("c", &[-30], None)]).unwrap(), ["c -30"]);
        assert_eq!(found(30, &[batch("c", &[-30], None)]), Err(BreakKind::AmountDiff));
        assert_eq!(found(70, &[]), Err(BreakKind::MissingInternal));
    }

    #[test]
    fn one_that_was_begun_is_gone_on_with_and_one_that_is_done_is_not() {
        // Killed after the first of two batches.
        let (a, b) = (batch("a", &[100], Some(entry("now"))), batch("b", &[5], None));
        assert_eq!(found(105, &[a.clone(), b.clone()]).unwrap(), ["b 5"]);
        let other = batch("a", &[100], Some(entry("before")));
        assert_eq!(found(105, &[other.clone(), b]), Err(BreakKind::AmountDiff));
        assert_eq!(found(100, &[other]), Err(BreakKind::Duplicate));
    }
}
