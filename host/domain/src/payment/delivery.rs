//! The deliver leg: what a payment's exchange brought goes on to a beneficiary, as a payout of its own. It owns the leg's record;
//! the payout is a payment like any other, with its own attempts, and says what became of it.

use super::Payment;
use super::conversion::LegState;
use super::decide::Refusal;
use super::fact::Fact;
use super::status::PaymentStatus;
use crate::beneficiary::PayoutTerms;
use crate::commit::Change;
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

/// What was got begins to go on to its beneficiary, as that payout. With nothing left of it, it does not.
pub fn begin(payment: &mut Payment, change: &mut Change, payout: PaymentId) -> Result<(), Refusal> {
    let amount = deliverable(payment).ok_or(Refusal::WrongStatus(payment.status.as_str()))?;
    let (payout, state, why) = match amount.is_zero() {
        true => (None, LegState::Failed, Some("nothing_left".to_owned())),
        false => (Some(payout), LegState::Submitted, None),
    };
    let fact = Fact::DeliveryMoved {
        payout,
        amount,
        state,
        why,
    };
    Ok(payment.record(change, fact)?)
}

/// Nothing goes on to the beneficiary by itself any more: the merchant has what is got, and may pay it out.
pub fn give_up(payment: &mut Payment, why: &str) {
    if let Some(delivery) = payment.delivery.as_mut().filter(|it| !it.is_over()) {
        (delivery.state, delivery.why) = (LegState::Failed, Some(why.to_owned()));
    }
}

/// What became of the payout is what became of the leg; `false`: it says nothing new.
pub fn conclude(
    payment: &mut Payment,
    change: &mut Change,
    (state, why): (LegState, Option<String>),
) -> Result<bool, Refusal> {
    let Some(delivery) = &payment.delivery else {
        return Err(Refusal::WrongStatus(payment.status.as_str()));
    };
    let is_begun = matches!(delivery.state, LegState::Submitted | LegState::Succeeded);
    let (Some(amount), true) = (delivery.amount.clone(), is_begun && delivery.state != state) else {
        return Ok(false);
    };
    let fact = Fact::DeliveryMoved {
        payout: delivery.payout,
        amount,
        state,
        why,
    };
    payment.record(change, fact)?;
    Ok(true)
}
