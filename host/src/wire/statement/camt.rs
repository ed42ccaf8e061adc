//! The statement as ISO 20022 camt.053.001.08, one `Stmt` for each account. Written by a library; amounts without sign, the
//! direction beside them, as the standard wants it.

use super::{Holder, major};
use portolan_domain::ids::{Mode, PayoutId};
use portolan_domain::money::Asset;
use portolan_domain::statement::{Posting, Purse, Statement};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use std::io;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

type Xml = Writer<Vec<u8>>;
type Written = io::Result<()>;

const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08";
/// An identification of the standard's type Max35Text.
const MAX_35: usize = 35;

/// The document.
pub fn camt_053(statement: &Statement, holder: &Holder<'_>) -> io::Result<Vec<u8>> {
    let mut xml = Writer::new(vec![]);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let document = xml.create_element("Document").with_attribute(("xmlns", NAMESPACE));
    document.write_inner_content(|xml| {
        within(xml, "BkToCstmrStmt", |xml| {
            within(xml, "GrpHdr", |xml| {
                leaf(xml, "MsgId", &format!("{}-{}", statement.asset.code(), holder.now_ms))?;
                leaf(xml, "CreDtTm", &time_text(holder.now_ms))
            })?;
            Purse::ALL
                .into_iter()
                .try_for_each(|purse| account(xml, statement, holder, purse))
        })
    })?;
    Ok(xml.into_inner())
}

fn account(xml: &mut Xml, statement: &Statement, holder: &Holder<'_>, purse: Purse) -> Written {
    let asset = &statement.asset;
    within(xml, "Stmt", |xml| {
        let name = format!("{}-{}-{}", asset.code(), purse.as_str(), holder.now_ms);
        leaf(xml, "Id", &cut(&name))?;
        leaf(xml, "CreDtTm", &time_text(holder.now_ms))?;
        within(xml, "FrToDt", |xml| {
            leaf(xml, "FrDtTm", &time_text(statement.from_ms))?;
            leaf(xml, "ToDtTm", &time_text(statement.until_ms))
        })?;
        within(xml, "Acct", |xml| {
            within(xml, "Id", |xml| {
                within(xml, "Othr", |xml| leaf(xml, "Id", purse.as_str()))
            })?;
            leaf(xml, "Ccy", asset.code())?;
            let mode = if holder.mode == Mode::Live { "live" } else { "test" };
            leaf(xml, "Nm", &format!("{} ({mode})", holder.merchant))
        })?;
        balance(xml, "OPBD", (statement.opening.of(purse), asset), statement.from_ms)?;
        balance(xml, "CLBD", (statement.closing.of(purse), asset), statement.until_ms)?;
        let theirs = statement
            .postings
            .iter()
            .map(|(posting, _)| posting)
            .filter(|it| it.purse == purse);
        theirs.clone().try_for_each(|posting| entry(xml, posting))
    })
}

fn balance(xml: &mut Xml, code: &str, (minor, asset): (i128, &Asset), at_ms: u64) -> Written {
    within(xml, "Bal", |xml| {
        within(xml, "Tp", |xml| within(xml, "CdOrPrtry", |xml| leaf(xml, "Cd", code)))?;
        amount(xml, minor, asset)?;
        within(xml, "Dt", |xml| leaf(xml, "DtTm", &time_text(at_ms)))
    })
}

fn entry(xml: &mut Xml, posting: &Posting) -> Written {
    within(xml, "Ntry", |xml| {
        amount(xml, posting.minor, &posting.asset)?;
        within(xml, "Sts", |xml| leaf(xml, "Cd", "BOOK"))?;
        within(xml, "BookgDt", |xml| leaf(xml, "DtTm", &time_text(posting.at_ms)))?;
        within(xml, "ValDt", |xml| leaf(xml, "DtTm", &time_text(posting.at_ms)))?;
        leaf(xml, "AcctSvcrRef", &bare(&posting.event.to_string()))?;
        within(xml, "BkTxCd", |xml| {
            within(xml, "Prtry", |xml| leaf(xml, "Cd", &cut(&posting.name)))
        })?;
        let named = match posting.is_payout {
            true => PayoutId(posting.payment.0).to_string(),
            false => posting.payment.to_string(),
        };
        within(xml, "NtryDtls", |xml| {
            within(xml, "TxDtls", |xml| {
                within(xml, "Refs", |xml| leaf(xml, "TxId", &bare(&named)))?;
                leaf(xml, "AddtlTxInf", &named)
            })
        })
    })
}

/// Amount and direction.
fn amount(xml: &mut Xml, minor: i128, asset: &Asset) -> Written {
    let text = major(minor, asset);
    xml.create_element("Amt")
        .with_attribute(("Ccy", asset.code()))
        .write_text_content(BytesText::new(text.trim_start_matches('-')))?;
    leaf(xml, "CdtDbtInd", if minor < 0 { "DBIT" } else { "CRDT" })
}

fn within(xml: &mut Xml, name: &str, inner: impl FnOnce(&mut Xml) -> Written) -> Written {
    xml.create_element(name).write_inner_content(inner)?;
    Ok(())
}

fn leaf(xml: &mut Xml, name: &str, value: &str) -> Written {
    xml.create_element(name).write_text_content(BytesText::new(value))?;
    Ok(())
}

/// An id without its prefix: with it, it is longer than Max35Text.
fn bare(id: &str) -> String {
    cut(id.split_once('_').map_or(id, |(_, digits)| digits))
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_35).collect()
}

/// ISO 8601, UTC, to the millisecond.
pub fn time_text(ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms).saturating_mul(1_000_000));
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_default()
}
