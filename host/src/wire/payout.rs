//! A payout for merchants. The account is masked: whoever may read payouts need not know where the money went.

use super::quote::AmountView;
use super::{AttemptView, ErrorView, FlagView, Minor, seconds, text, text_or_null};
use portolan_domain::beneficiary::{Beneficiary, PartyKind, StoredBeneficiary};
use portolan_domain::ids::{BeneficiaryId, Mode, PaymentId, PayoutId};
use portolan_domain::payment::status::PaymentStatus;
use portolan_domain::payment::{Payment, Payout};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// A payout: money to a beneficiary.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Payout")]
pub struct PayoutView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String", regex(pattern = "^po_[0-9a-f]{32}$"))]
    id: PayoutId,
    object: &'static str,
    /// `processing`, `paid`, `returned` or `failed`.
    status: &'static str,
    amount: Minor,
    currency: &'a str,
    beneficiary: BeneficiaryView<'a>,
    purpose: Option<&'a str>,
    reference: &'a str,
    charge_bearer: &'static str,
    /// The unique end-to-end transaction reference, the same on every hop.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    uetr: uuid::Uuid,
    /// ISO 20022's external payment transaction status, `PDNG`, `ACSP`, `ACSC`, `RJCT`.
    iso_status: &'a str,
    /// What came back, and why.
    returned: Option<AmountView<'a>>,
    return_reason: Option<&'a str>,
    /// What the channel took for it.
    fee: Option<AmountView<'a>>,
    last_error: Option<ErrorView<'a>>,
    /// What the merchant's rules about risk brought about.
    flags: Vec<FlagView<'a>>,
    attempts: Vec<AttemptView<'a>>,
    /// The payment whose deliver leg it is.
    #[serde(serialize_with = "text_or_null", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    payment: Option<PaymentId>,
    description: Option<&'a str>,
    metadata: BTreeMap<&'a str, &'a str>,
    livemode: bool,
    created: u64,
    /// `unknown` while nobody knows what became of it: do not pay again.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_check_at: Option<u64>,
}

/// Who is paid.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Beneficiary")]
struct BeneficiaryView<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    country: &'a str,
    /// The rail, and the end of the account.
    rail: String,
    account: String,
}

/// The deliver leg of a payment.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Delivery")]
pub struct DeliveryView<'a> {
    /// The payout that it is, once it is begun.
    #[serde(serialize_with = "text_or_null")]
    #[schemars(with = "Option<String>")]
    payout: Option<PayoutId>,
    /// `planned`, `submitted`, `succeeded` or `failed`: then the merchant has the money.
    status: &'static str,
    /// Why it failed: `returned`, `uncovered`, or the payout's own code.
    reason: Option<&'a str>,
    amount: Option<AmountView<'a>>,
    beneficiary: BeneficiaryView<'a>,
}

impl<'a> DeliveryView<'a> {
    /// The leg as its merchant sees it.
    pub fn of(payment: &'a Payment) -> Option<Self> {
        let delivery = payment.delivery.as_ref()?;
        let owed = payment.conversion.as_ref().map(|conversion| &conversion.terms.owed);
        let currency = owed.map_or("", |owed| owed.asset().code());
        Some(Self {
            payout: delivery.payout.map(|id| PayoutId(id.0)),
            status: delivery.state.as_str(),
            reason: delivery.why.as_deref(),
            amount: delivery.amount.as_ref().map(AmountView::of),
            beneficiary: BeneficiaryView::of(&delivery.terms.beneficiary, currency),
        })
    }
}

/// A stored beneficiary. Its account is masked.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "StoredBeneficiary")]
pub struct StoredBeneficiaryView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String", regex(pattern = "^ben_[0-9a-f]{32}$"))]
    id: BeneficiaryId,
    object: &'static str,
    currency: &'a str,
    #[serde(flatten)]
    who: BeneficiaryView<'a>,
    livemode: bool,
    created: u64,
    /// Whether it was removed by this call.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

impl<'a> StoredBeneficiaryView<'a> {
    /// The beneficiary as its merchant sees it.
    pub fn of(stored: &'a StoredBeneficiary) -> Self {
        Self {
            id: stored.id,
            object: "beneficiary",
            currency: &stored.currency,
            who: BeneficiaryView::of(&stored.beneficiary, &stored.currency),
            livemode: stored.mode == Mode::Live,
            created: seconds(stored.created_ms),
            removed: false,
        }
    }

    /// The same, gone.
    pub fn removed(stored: &'a StoredBeneficiary) -> Self {
        Self {
            removed: true,
            ..Self::of(stored)
        }
    }
}

impl<'a> BeneficiaryView<'a> {
    fn of(beneficiary: &'a Beneficiary, currency: &str) -> Self {
        Self {
            kind: match beneficiary.kind {
                PartyKind::Person => "person",
                PartyKind::Company => "company",
            },
            name: &beneficiary.name,
            country: &beneficiary.country,
            rail: beneficiary.account.word(currency),
            account: beneficiary.account.masked(),
        }
    }
}

impl<'a> PayoutView<'a> {
    /// The payout as its merchant sees it; `None` for a payment that comes in.
    pub fn of(payment: &'a Payment) -> Option<Self> {
        let payout = payment.payout.as_ref()?;
        let terms = &payout.terms;
        let pair = |(key, value): &'a (String, String)| (key.as_str(), value.as_str());
        Some(Self {
            id: PayoutId(payment.id.0),
            object: "payout",
            status: status(payment, payout),
            amount: Minor(payment.amount.minor()),
            currency: payment.amount.asset().code(),
            beneficiary: BeneficiaryView::of(&terms.beneficiary, payment.amount.asset().code()),
            purpose: terms.purpose.as_deref(),
            reference: &terms.remittance,
            charge_bearer: terms.bearer.as_str(),
            uetr: payment.uetr,
            iso_status: iso_status(payment, payout),
            returned: payout.returned.as_ref().map(|(amount, _)| AmountView::of(amount)),
            return_reason: payout.returned.as_ref().map(|(_, reason)| reason.as_str()),
            fee: payout.fee.as_ref().map(AmountView::of),
            last_error: payment.last_error.as_ref().map(ErrorView::of),
            flags: payment.flags.iter().map(FlagView::of).collect(),
            attempts: payment.attempts.iter().map(AttemptView::of).collect(),
            payment: payout.leg_of,
            description: payment.description.as_deref(),
            metadata: payment.metadata.iter().map(pair).collect(),
            livemode: payment.mode == Mode::Live,
            created: seconds(payment.created_ms),
            outcome: payment.unknown.map(|_| "unknown"),
            next_check_at: payment.unknown.map(|unknown| seconds(unknown.next_check_ms)),
        })
    }
}

fn status(payment: &Payment, payout: &Payout) -> &'static str {
    match payment.status {
        PaymentStatus::Succeeded if payout.returned.is_some() => "returned",
        PaymentStatus::Succeeded => "paid",
        PaymentStatus::Failed | PaymentStatus::Canceled => "failed",
        PaymentStatus::RequiresPaymentMethod
        | PaymentStatus::RequiresConfirmation
        | PaymentStatus::RequiresAction
        | PaymentStatus::RequiresCapture
        | PaymentStatus::Processing => "processing",
    }
}

/// The channel's word, or what the payout's own status comes to.
fn iso_status<'a>(payment: &Payment, payout: &'a Payout) -> &'a str {
    match (payment.status, payout.iso_status.as_deref()) {
        (PaymentStatus::Succeeded, _) => "ACSC",
        (PaymentStatus::Failed | PaymentStatus::Canceled, _) => "RJCT",
        (_, Some(said)) => said,
        (_, None) => "PDNG",
    }
}
