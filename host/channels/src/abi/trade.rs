//! Exchanges and payouts between the contract's types and the domain's, in both directions. What an adapter says of rates
//! and amounts becomes exact decimals and money here, or a fault.

use super::convert::{decline, memo, money, protocol, read_memo, read_money, request};
use super::exported::{exchange, payouts};
use super::extra;
use super::portolan::channel::types as wit;
use portolan_domain::beneficiary::{Bearer, Beneficiary, PartyKind, PayoutAccount};
use portolan_domain::operation::{Fault, Fixed, Inquiry, Kind, Operation, Outcome, PayOrder, Quotation, Target};
use portolan_domain::ports::Step;
use rust_decimal::Decimal;

// === to the guest ===

pub(super) fn inquiry(inquiry: &Inquiry) -> exchange::Inquiry {
    exchange::Inquiry {
        sell_asset: inquiry.sell.code().to_owned(),
        buy_asset: inquiry.buy.code().to_owned(),
        fixed: match &inquiry.fixed {
            Fixed::Sell(amount) => exchange::Fixed::Sell(money(amount)),
            Fixed::Buy(amount) => exchange::Fixed::Buy(money(amount)),
        },
        lock_s: inquiry.lock_s,
    }
}

pub(super) fn conversion(operation: &Operation, quotation: &Quotation) -> exchange::Conversion {
    exchange::Conversion {
        conversion: operation.id.to_string(),
        quotation: exchange::Quotation {
            reference: quotation.reference.clone(),
            sell: money(&quotation.sell),
            buy: money(&quotation.buy),
            rate: quotation.rate.to_string(),
            mid: quotation.mid.map(|mid| mid.to_string()),
            fee: quotation.fee.as_ref().map(money),
            expires_ms: quotation.expires_ms,
            memo: quotation.memo.as_ref().map(memo),
            extra: vec![],
        },
    }
}

pub(super) fn payout(operation: &Operation, order: &PayOrder) -> payouts::Payout {
    let terms = &order.terms;
    payouts::Payout {
        // A payment may have many refunds.
        payout: match operation.kind {
            Kind::Refund => operation.id.to_string(),
            _ => operation.payment.to_string(),
        },
        uetr: order.uetr.to_string(),
        amount: money(&operation.amount),
        debtor: None,
        account: account(&terms.beneficiary.account),
        beneficiary: party(&terms.beneficiary),
        originator: company(Some(order.originator.clone())),
        bearer: match terms.bearer {
            Bearer::Originator => payouts::Bearer::Originator,
            Bearer::Shared => payouts::Bearer::Shared,
            Bearer::Beneficiary => payouts::Bearer::Beneficiary,
        },
        purpose: terms.purpose.clone(),
        remittance: terms.remittance.clone(),
        extra: extra::of_sent(&order.replaces).collect(),
    }
}

/// What the contract's README says of sweeping: a payout to a deposit, for whoever does not know it an account that is none.
pub(super) fn sweep(operation: &Operation, of: &Target) -> payouts::Payout {
    let deposit = of.reference.clone().unwrap_or_default();
    payouts::Payout {
        payout: operation.id.to_string(),
        uetr: operation.id.0.to_string(),
        amount: money(&operation.amount),
        debtor: None,
        account: payouts::Account::Other(("deposit".into(), deposit)),
        beneficiary: company(None),
        originator: company(None),
        bearer: payouts::Bearer::Originator,
        purpose: None,
        remittance: String::new(),
        extra: extra::of_memo(of.memo.as_ref())
            .chain(extra::of_sent(&of.sent))
            .collect(),
    }
}

fn company(name: Option<String>) -> wit::Party {
    wit::Party {
        kind: wit::PartyKind::Legal,
        name,
        address: None,
        email: None,
        phone: None,
        birth_date: None,
        identifiers: vec![],
    }
}

fn account(account: &PayoutAccount) -> payouts::Account {
    match account {
        PayoutAccount::Iban(iban) => payouts::Account::Iban(iban.clone()),
        PayoutAccount::Local(fields) => payouts::Account::Local(fields.clone()),
        PayoutAccount::Chain(_, address) => payouts::Account::Address(address.clone()),
    }
}

fn party(beneficiary: &Beneficiary) -> wit::Party {
    wit::Party {
        kind: match beneficiary.kind {
            PartyKind::Person => wit::PartyKind::Natural,
            PartyKind::Company => wit::PartyKind::Legal,
        },
        name: Some(beneficiary.name.clone()),
        address: Some(wit::Address {
            lines: beneficiary.lines.clone(),
            city: beneficiary.city.clone(),
            region: None,
            postcode: beneficiary.postcode.clone(),
            country: beneficiary.country.clone(),
        }),
        email: None,
        phone: None,
        birth_date: None,
        identifiers: vec![],
    }
}

// === from the guest ===

/// A decimal that is exact: no exponent, no sign, at most 28 digits.
fn decimal(text: &str) -> Result<Decimal, Fault> {
    let bad = || protocol(format!("{text:?} is no rate: digits with a point"));
    let fits = (1..=30).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !fits {
        return Err(bad());
    }
    Decimal::from_str_exact(text).map_err(|_| bad())
}

pub(super) fn quote_step(step: exchange::QuoteStep) -> Result<Step, Fault> {
    let outcome = match step {
        exchange::QuoteStep::Send(it) => return Ok(Step::Send(request(it))),
        exchange::QuoteStep::Done(outcome) => outcome,
    };
    Ok(Step::Done(match outcome {
        exchange::QuoteOutcome::Quoted(quoted) => Outcome::Quoted(Quotation {
            reference: quoted.reference,
            sell: read_money(quoted.sell)?,
            buy: read_money(quoted.buy)?,
            rate: decimal(&quoted.rate)?,
            mid: quoted.mid.as_deref().map(decimal).transpose()?,
            fee: quoted.fee.map(read_money).transpose()?,
            expires_ms: quoted.expires_ms,
            memo: quoted.memo.map(read_memo),
        }),
        exchange::QuoteOutcome::Refused(it) => Outcome::Declined(decline(it)),
    }))
}

pub(super) fn convert_step(step: exchange::Step) -> Result<Step, Fault> {
    let outcome = match step {
        exchange::Step::Send(it) => return Ok(Step::Send(request(it))),
        exchange::Step::Done(outcome) => outcome,
    };
    Ok(Step::Done(match outcome {
        exchange::Outcome::Converted(done) => Outcome::Converted {
            reference: done.reference,
            sold: read_money(done.sold)?,
            bought: read_money(done.bought)?,
            memo: done.memo.map(read_memo),
        },
        exchange::Outcome::Refused(it) => Outcome::Declined(decline(it)),
        exchange::Outcome::Expired => Outcome::Expired,
        exchange::Outcome::NotFound => Outcome::NotFound,
        exchange::Outcome::Unknown(why) => Outcome::Unknown(why.into()),
    }))
}

pub(super) fn payout_step(step: payouts::Step) -> Result<Step, Fault> {
    let outcome = match step {
        payouts::Step::Send(it) => return Ok(Step::Send(request(it))),
        payouts::Step::Done(outcome) => outcome,
    };
    Ok(Step::Done(match outcome {
        payouts::Outcome::Sent(sent) => Outcome::Sent {
            reference: sent.reference,
            is_final: sent.final_,
            check_after_ms: sent.check_after_ms,
            iso_status: sent.iso_status,
            fee: sent.fee.map(read_money).transpose()?,
            memo: sent.memo.map(read_memo),
            may_replace: sent.extra.iter().any(|(name, _)| name == "replace"),
        },
        payouts::Outcome::Declined(it) => Outcome::Declined(decline(it)),
        payouts::Outcome::Returned(back) => Outcome::Returned {
            reference: back.reference,
            amount: read_money(back.amount)?,
            reason: code(back.reason),
        },
        payouts::Outcome::NotFound => Outcome::NotFound,
        payouts::Outcome::Unknown(why) => Outcome::Unknown(why.into()),
    }))
}

/// A provider's code for why money came back: a code, or nothing of it. Free text may name people.
pub(super) fn code(text: String) -> String {
    const LONGEST: usize = 35;
    let is_code = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if !text.is_empty() && text.len() <= LONGEST && text.bytes().all(is_code) {
        text
    } else {
        "unspecified".into()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_reason_is_a_code() {
        assert_eq!(super::code("AC04".into()), "AC04");
        for text in ["", "the account of Jo Doe is closed", &"A".repeat(36)] {
            assert_eq!(super::code(text.into()), "unspecified");
        }
    }

    use super::*;

    #[test]
    fn rates_are_exact_or_refused() {
        assert_eq!(decimal("8.4321").ok(), "8.4321".parse().ok());
        for text in [
            "",
            "1e3",
            "-1",
            "1,5",
            "0x1",
            "1.2.3",
            " 1",
            "0.1234567890123456789012345678901",
        ] {
            assert!(decimal(text).is_err(), "{text:?}");
        }
    }
}
