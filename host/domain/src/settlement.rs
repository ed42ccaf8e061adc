//! Settlement: what a provider's report says of money that was taken or given back. It owns a report's line and the match
//! of a line with a payment: what fits is posted, what does not is a break, told with its kind.

use crate::ids::{ChannelId, OperationId};
use crate::money::Money;
use crate::operation::Kind;
use crate::payment::status::{AttemptStatus, FollowUpStatus};
use crate::payment::{Attempt, Payment};
use serde::{Deserialize, Serialize};

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

/// What of a payment a report may speak of: how much was taken, or given back, through that channel by that operation, and
/// what of it is settled.
fn taken_by(payment: &Payment, channel: &ChannelId, operation: OperationId) -> Result<(Money, Option<Money>), Break> {
    let unknown = |why: &str| Err(broken(BreakKind::MissingInternal, why));
    if payment.payout.is_some() || payment.is_settled_at_once() {
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
