//! Settlement: what a provider's report says of money that was taken or given back. It owns a report's line and the match
//! of a line with a payment: what fits is posted, what does not is a break, told with its kind.

use crate::ids::OperationId;
use crate::money::Money;
use crate::operation::Kind;
use crate::payment::Payment;
use crate::payment::status::FollowUpStatus;
use serde::{Deserialize, Serialize};

/// One line of a provider's report.
#[derive(Clone, PartialEq, Eq, Debug)]
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
}

impl BreakKind {
    /// The word for operators.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingInternal => "missing_internal",
            Self::AmountDiff => "amount_diff",
            Self::FeeDiff => "fee_diff",
            Self::Duplicate => "duplicate",
        }
    }
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

/// Whether a line about that operation fits the payment.
pub fn fits(payment: &Payment, operation: OperationId, line: &ReportLine) -> Result<(), Break> {
    if !line.adds_up() {
        let why = format!("{} less {} is not {}", line.gross, line.fee, line.net);
        return Err(broken(BreakKind::FeeDiff, why));
    }
    let follow_up = payment.follow_up(operation);
    let is_refund = follow_up.is_some_and(|it| it.kind == Kind::Refund);
    if is_refund == line.is_credit {
        return Err(broken(
            BreakKind::AmountDiff,
            "it goes the other way than the books say",
        ));
    }
    let (done, settled) = match follow_up.filter(|_| is_refund) {
        Some(refund) if refund.status == FollowUpStatus::Succeeded => (refund.amount.clone(), refund.settled.clone()),
        Some(_) => {
            return Err(broken(
                BreakKind::MissingInternal,
                "the books do not know the refund as done",
            ));
        }
        None => (payment.captured.clone(), payment.settled.clone()),
    };
    let left = match settled {
        Some(settled) => done
            .minus(&settled)
            .unwrap_or_else(|_| Money::zero(done.asset().clone())),
        None => done.clone(),
    };
    if left.is_zero() && !done.is_zero() {
        Err(broken(BreakKind::Duplicate, format!("{done} are settled already")))
    } else if line.gross != left {
        Err(broken(
            BreakKind::AmountDiff,
            format!("the report says {}, the books {left}", line.gross),
        ))
    } else {
        Ok(())
    }
}
