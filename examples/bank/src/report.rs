//! What the bank says, in ISO 20022's words: pain.002 of one transfer, camt.054 and camt.053 of the account. Written by a
//! library, element by element.

use crate::books::{Books, Transfer};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use rust_decimal::Decimal;
use std::io;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

type Xml = Writer<Vec<u8>>;
type Written = io::Result<()>;

/// pain.002.001.10 of a transfer as it stands.
pub fn pain_002(transfer: &Transfer, now_ms: u64) -> io::Result<Vec<u8>> {
    let status = transfer.status_at(now_ms);
    document("pain.002.001.10", "CstmrPmtStsRpt", |xml| {
        within(xml, "GrpHdr", |xml| {
            leaf(xml, "MsgId", &format!("STS-{}", transfer.id))?;
            leaf(xml, "CreDtTm", &time_text(now_ms))
        })?;
        within(xml, "OrgnlGrpInfAndSts", |xml| {
            leaf(xml, "OrgnlMsgId", &transfer.message)?;
            leaf(xml, "OrgnlMsgNmId", "pain.001.001.09")
        })?;
        within(xml, "OrgnlPmtInfAndSts", |xml| {
            leaf(xml, "OrgnlPmtInfId", &transfer.message)?;
            within(xml, "TxInfAndSts", |xml| {
                leaf(xml, "OrgnlEndToEndId", &transfer.end_to_end)?;
                leaf(xml, "OrgnlUETR", &transfer.uetr)?;
                leaf(xml, "TxSts", status)?;
                match transfer.reason.as_deref().filter(|_| status == "RJCT") {
                    Some(reason) => within(xml, "StsRsnInf", |xml| {
                        within(xml, "Rsn", |xml| leaf(xml, "Cd", reason))?;
                        leaf(xml, "AddtlInf", "scripted")
                    }),
                    None => Ok(()),
                }
            })
        })
    })
}

/// One entry of the account.
pub struct Booking<'a> {
    reference: String,
    currency: &'a str,
    amount: Decimal,
    charges: Decimal,
    is_credit: bool,
    at_ms: u64,
    end_to_end: &'a str,
    uetr: Option<&'a str>,
    text: &'a str,
    returned: Option<&'a str>,
}

impl Booking<'_> {
    /// Whether it was booked on one of those days.
    pub fn is_within(&self, from: &str, until: &str) -> bool {
        let day = day_text(self.at_ms);
        from <= day.as_str() && day.as_str() <= until
    }
}

/// Everything that is booked by then, in order.
pub fn bookings(books: &Books, now_ms: u64) -> Vec<Booking<'_>> {
    let mut all = vec![];
    for transfer in books.transfers.values() {
        let booking = |at_ms: u64, is_credit: bool, reference: String| Booking {
            reference,
            currency: &transfer.currency,
            amount: transfer.amount,
            charges: if is_credit { Decimal::ZERO } else { transfer.charges },
            is_credit,
            at_ms,
            end_to_end: &transfer.end_to_end,
            uetr: Some(&transfer.uetr),
            text: "",
            returned: transfer.reason.as_deref().filter(|_| is_credit),
        };
        let debit = transfer
            .booked_ms
            .map(|at| booking(at, false, format!("D-{}", transfer.id)));
        let credit = transfer
            .returned_ms
            .map(|at| booking(at, true, format!("R-{}", transfer.id)));
        all.extend(debit.into_iter().chain(credit));
    }
    all.extend(books.incoming.iter().map(|it| Booking {
        reference: it.id.clone(),
        currency: &it.currency,
        amount: it.amount,
        charges: Decimal::ZERO,
        is_credit: true,
        at_ms: it.at_ms,
        end_to_end: "NOTPROVIDED",
        uetr: None,
        text: &it.text,
        returned: None,
    }));
    all.retain(|it| it.at_ms <= now_ms);
    all.sort_by_key(|it| it.at_ms);
    all
}

/// camt.054.001.08: debits and credits as they are booked.
pub fn camt_054(bookings: &[Booking<'_>], iban: &str, now_ms: u64) -> io::Result<Vec<u8>> {
    document("camt.054.001.08", "BkToCstmrDbtCdtNtfctn", |xml| {
        head(xml, "NTF", now_ms)?;
        within(xml, "Ntfctn", |xml| {
            leaf(xml, "Id", &format!("NTF-{now_ms}"))?;
            leaf(xml, "CreDtTm", &time_text(now_ms))?;
            account(xml, iban)?;
            bookings.iter().try_for_each(|it| entry(xml, it))
        })
    })
}

/// camt.053.001.08: the account's statement, one for each currency.
pub fn camt_053(bookings: &[Booking<'_>], iban: &str, now_ms: u64) -> io::Result<Vec<u8>> {
    let mut currencies: Vec<&str> = bookings.iter().map(|it| it.currency).collect();
    currencies.sort_unstable();
    currencies.dedup();
    document("camt.053.001.08", "BkToCstmrStmt", |xml| {
        head(xml, "STM", now_ms)?;
        currencies.iter().try_for_each(|currency| {
            let own: Vec<&Booking<'_>> = bookings.iter().filter(|it| it.currency == *currency).collect();
            let moved: Decimal = own
                .iter()
                .map(|it| if it.is_credit { moved_by(it) } else { -moved_by(it) })
                .sum();
            within(xml, "Stmt", |xml| {
                leaf(xml, "Id", &format!("STM-{currency}-{now_ms}"))?;
                leaf(xml, "CreDtTm", &time_text(now_ms))?;
                account(xml, iban)?;
                balance(xml, "OPBD", (Decimal::ZERO, currency), now_ms)?;
                balance(xml, "CLBD", (moved, currency), now_ms)?;
                own.iter().try_for_each(|it| entry(xml, it))
            })
        })
    })
}

fn moved_by(booking: &Booking<'_>) -> Decimal {
    booking.amount + booking.charges
}

fn head(xml: &mut Xml, kind: &str, now_ms: u64) -> Written {
    within(xml, "GrpHdr", |xml| {
        leaf(xml, "MsgId", &format!("{kind}-{now_ms}"))?;
        leaf(xml, "CreDtTm", &time_text(now_ms))
    })
}

fn account(xml: &mut Xml, iban: &str) -> Written {
    within(xml, "Acct", |xml| within(xml, "Id", |xml| leaf(xml, "IBAN", iban)))
}

fn balance(xml: &mut Xml, code: &str, (amount, currency): (Decimal, &str), at_ms: u64) -> Written {
    within(xml, "Bal", |xml| {
        within(xml, "Tp", |xml| within(xml, "CdOrPrtry", |xml| leaf(xml, "Cd", code)))?;
        money(xml, "Amt", amount.abs(), currency)?;
        leaf(xml, "CdtDbtInd", direction(amount >= Decimal::ZERO))?;
        within(xml, "Dt", |xml| leaf(xml, "DtTm", &time_text(at_ms)))
    })
}

fn entry(xml: &mut Xml, booking: &Booking<'_>) -> Written {
    within(xml, "Ntry", |xml| {
        money(xml, "Amt", moved_by(booking), booking.currency)?;
        leaf(xml, "CdtDbtInd", direction(booking.is_credit))?;
        within(xml, "Sts", |xml| leaf(xml, "Cd", "BOOK"))?;
        within(xml, "BookgDt", |xml| leaf(xml, "Dt", day_text(booking.at_ms).as_str()))?;
        within(xml, "ValDt", |xml| leaf(xml, "Dt", day_text(booking.at_ms).as_str()))?;
        leaf(xml, "AcctSvcrRef", &booking.reference)?;
        within(xml, "BkTxCd", |xml| code(xml, booking))?;
        within(xml, "NtryDtls", |xml| {
            within(xml, "TxDtls", |xml| details(xml, booking))
        })
    })
}

/// ISO 20022's bank transaction code: what family of payments it is, and which way it went.
fn code(xml: &mut Xml, booking: &Booking<'_>) -> Written {
    let (family, sub) = match (booking.is_credit, booking.returned) {
        (false, _) => ("ICDT", "ESCT"),
        (true, Some(_)) => ("ICDT", "RRTN"),
        (true, None) => ("RCDT", "ESCT"),
    };
    within(xml, "Domn", |xml| {
        leaf(xml, "Cd", "PMNT")?;
        within(xml, "Fmly", |xml| {
            leaf(xml, "Cd", family)?;
            leaf(xml, "SubFmlyCd", sub)
        })
    })
}

fn details(xml: &mut Xml, booking: &Booking<'_>) -> Written {
    within(xml, "Refs", |xml| {
        leaf(xml, "AcctSvcrRef", &booking.reference)?;
        leaf(xml, "EndToEndId", booking.end_to_end)?;
        booking.uetr.map_or(Ok(()), |uetr| leaf(xml, "UETR", uetr))
    })?;
    if !booking.charges.is_zero() {
        within(xml, "Chrgs", |xml| {
            money(xml, "TtlChrgsAndTaxAmt", booking.charges, booking.currency)
        })?;
    }
    if !booking.text.is_empty() {
        within(xml, "RmtInf", |xml| leaf(xml, "Ustrd", booking.text))?;
    }
    match booking.returned {
        Some(reason) => within(xml, "RtrInf", |xml| within(xml, "Rsn", |xml| leaf(xml, "Cd", reason))),
        None => Ok(()),
    }
}

fn direction(is_credit: bool) -> &'static str {
    if is_credit { "CRDT" } else { "DBIT" }
}

fn document(name: &str, root: &str, inner: impl FnOnce(&mut Xml) -> Written) -> io::Result<Vec<u8>> {
    let mut xml = Writer::new(vec![]);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let namespace = format!("urn:iso:std:iso:20022:tech:xsd:{name}");
    let element = xml
        .create_element("Document")
        .with_attribute(("xmlns", namespace.as_str()));
    element.write_inner_content(|xml| within(xml, root, inner))?;
    Ok(xml.into_inner())
}

fn money(xml: &mut Xml, name: &str, amount: Decimal, currency: &str) -> Written {
    let text = amount.to_string();
    let element = xml.create_element(name).with_attribute(("Ccy", currency));
    element.write_text_content(BytesText::new(&text))?;
    Ok(())
}

fn within(xml: &mut Xml, name: &str, inner: impl FnOnce(&mut Xml) -> Written) -> Written {
    xml.create_element(name).write_inner_content(inner)?;
    Ok(())
}

fn leaf(xml: &mut Xml, name: &str, value: &str) -> Written {
    xml.create_element(name).write_text_content(BytesText::new(value))?;
    Ok(())
}

fn at(ms: u64) -> OffsetDateTime {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(0);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn time_text(ms: u64) -> String {
    at(ms).format(&Rfc3339).unwrap_or_default()
}

fn day_text(ms: u64) -> String {
    at(ms).date().to_string()
}
