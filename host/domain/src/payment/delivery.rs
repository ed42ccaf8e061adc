//! The deliver leg: what a payment's exchange brought goes on to a beneficiary, as a payout of its own. It owns the leg's record;
//! the payout is a payment like any other, with its own attempts, and says what became of it.

use super::Payment;
use super::conversion::LegState;
use super::status::PaymentStatus;
use crate::beneficiary::PayoutTerms;
use crate::ids::PaymentId;
use crate::money::Money;
use serde::{Deserialize, Serialize};

/// To whom what was got goes on, and how far that is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// To whom, and what for.
    pub terms: PayoutTerms,
    /// The payout, once it is meant to be.
    pub payout: Option<PaymentId>,
    /// How much goes on.
    pub amount: Option<Money>,
    /// `Planned`, `Submitted`, `Succeeded` or `Failed`.
    pub state: LegState,
    /// Why it failed: then the merchant has the money, and may pay it out by hand.
    pub why: Option<String>,
}

impl Delivery {
    /// A leg to come.
    pub fn planned(terms: PayoutTerms) -> Self {
        Self {
            terms,
            payout: None,
            amount: None,
            state: LegState::Planned,
            why: None,
        }
    }

    /// Whether nothing more will become of it by itself.
    pub fn is_over(&self) -> bool {
        matches!(self.state, LegState::Succeeded | LegState::Failed)
    }
}

/// What goes on now: what was got, less what was given back meanwhile. `None`: nothing is to be delivered now.
pub fn deliverable(payment: &Payment) -> Option<Money> {
    let is_planned = payment.delivery.as_ref()?.state == LegState::Planned;
    let conversion = payment.conversion.as_ref()?;
    let is_got = is_planned && conversion.state == LegState::Succeeded;
    let given = conversion.given.as_ref().filter(|_| is_got)?;
    given.minus(&conversion.taken_back).ok()
}

/// What became of a payout, as the leg of the payment that it belongs to; `None`: it is on its way.
pub fn outcome_of(payout: &Payment) -> Option<(LegState, Option<String>)> {
    let returned = payout.payout.as_ref().and_then(|it| it.returned.as_ref());
    match (payout.status, returned) {
        (PaymentStatus::Succeeded, None) => Some((LegState::Succeeded, None)),
        (PaymentStatus::Succeeded, Some(_)) => Some((LegState::Failed, Some("returned".into()))),
        (PaymentStatus::Failed | PaymentStatus::Canceled, _) => {
            let code = payout.last_error.as_ref().map(|error| error.code.clone());
            Some((LegState::Failed, Some(code.unwrap_or_else(|| "failed".into()))))
        }
        (
            PaymentStatus::RequiresPaymentMethod
            | PaymentStatus::RequiresConfirmation
            | PaymentStatus::RequiresAction
            | PaymentStatus::Processing
            | PaymentStatus::RequiresCapture,
            _,
        ) => None,
    }
}
