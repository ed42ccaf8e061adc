//! camt.053 as a report: the account's statement, entry by entry, however large it is. An entry is cut out of the text by a
//! reader of events, and read as in every other message.

use crate::Bank;
use crate::account_report::{self, Entry};
use portolan_adapter::settlements::{Direction, Line, Parsed, Signed};
use portolan_adapter::types::{Fault, Money};
use portolan_adapter::{Ctx, Settlements};
use quick_xml::Reader;
use quick_xml::events::Event;

/// The first byte of what is carried on, once the statement has begun: what comes then are entries.
const BEGUN: u8 = 1;

impl Settlements for Bank {
    /// What comes after the last whole entry is carried to the next piece.
    fn parse(_: &Ctx, piece: Vec<u8>, carry: Vec<u8>, last: bool) -> Result<Parsed, Fault> {
        let (is_begun, carry) = match carry.split_first() {
            Some((&BEGUN, rest)) => (true, rest),
            _ => (false, carry.as_slice()),
        };
        let bytes = [carry, &piece].concat();
        let mut cut = Cut::of(text_of(&bytes, last)?, is_begun)?;
        if last && !(cut.is_begun && cut.is_whole) {
            return Err(Fault::Protocol("it is no whole camt.053".into()));
        }
        cut.entries.retain(Entry::is_booked);
        let rest = bytes.get(cut.read..).unwrap_or_default();
        let mark: &[u8] = if cut.is_begun { &[BEGUN] } else { &[] };
        Ok(Parsed {
            lines: cut.entries.iter().map(line).collect::<Result<_, _>>()?,
            carry: [mark, rest].concat(),
        })
    }
}

/// A piece may end inside a character: what is whole up to there is read now.
fn text_of(bytes: &[u8], last: bool) -> Result<&str, Fault> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if error.error_len().is_none() && !last => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            Ok(std::str::from_utf8(whole).unwrap_or_default())
        }
        Err(_) => Err(Fault::Protocol("the statement is not UTF-8".into())),
    }
}

/// What a piece holds.
struct Cut {
    entries: Vec<Entry>,
    /// How far it is read.
    read: usize,
    is_begun: bool,
    /// Whether it ends with the document.
    is_whole: bool,
}

impl Cut {
    fn of(text: &str, is_begun: bool) -> Result<Self, Fault> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_end_names = false;
        reader.config_mut().allow_unmatched_ends = true;
        let at = |reader: &Reader<&[u8]>| usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let (mut entries, mut read, mut entry_at, mut is_whole) = (vec![], 0, None, false);
        let mut is_begun = is_begun;
        loop {
            let before = at(&reader);
            match reader.read_event() {
                Ok(Event::Start(it)) => match it.local_name().as_ref() {
                    b"BkToCstmrStmt" => is_begun = true,
                    b"Ntry" if is_begun => entry_at = Some(before),
                    b"Ntry" => return Err(Fault::Protocol("entries of another document than camt.053".into())),
                    _ => {}
                },
                Ok(Event::End(it)) => match it.local_name().as_ref() {
                    b"Ntry" => {
                        read = at(&reader);
                        let entry = entry_at.take().and_then(|start: usize| text.get(start..read));
                        entries.extend(entry.map(account_report::read_entry).transpose()?);
                    }
                    b"Document" => is_whole = true,
                    _ => {}
                },
                Ok(Event::DocType(_)) => return Err(Fault::Protocol("a statement with a document type".into())),
                // The piece ends here, perhaps inside an element.
                Ok(Event::Eof) | Err(_) => {
                    return Ok(Self {
                        entries,
                        read,
                        is_begun,
                        is_whole,
                    });
                }
                Ok(_) => {}
            }
        }
    }
}

/// A transfer of ours, one that came back, or money that came from somebody: a provider's batch, perhaps.
fn line(entry: &Entry) -> Result<Line, Fault> {
    let is_credit = entry.is_credit()?;
    let key = entry.key();
    let kind = match (is_credit, &key) {
        (false, Some(_)) => "payout",
        (true, Some(_)) => "return",
        (true, None) => "credit",
        (false, None) => "debit",
    };
    let net = entry.amount()?;
    let fee = match entry.charges()?.filter(|fee| fee.asset == net.asset) {
        Some(fee) => fee,
        None => Money {
            units: "0".into(),
            ..net.clone()
        },
    };
    let direction = if is_credit { Direction::Credit } else { Direction::Debit };
    let gross = entry.gross()?;
    let signed = |amount: Money| Signed { direction, amount };
    Ok(Line {
        kind: kind.into(),
        // With its day and amount: banks number anew, and this name is dealt with once.
        reference: Some(entry.identity()),
        key,
        batch: Some("statement".into()),
        gross: signed(gross),
        fee: signed(fee),
        net: signed(net),
        value_date: entry.value_date(),
        extra: vec![(
            "text".into(),
            format!("{} {}", entry.end_to_end().unwrap_or_default(), entry.remittance()),
        )],
    })
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const KEY: &str = "6e5f4d3c2b1a4f5e8d7c6b5a49382716";

    fn statement() -> String {
        let entry = |reference: &str, direction: &str, amount: &str, details: &str| {
            format!(
                "<Ntry><Amt Ccy=\"EUR\">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>\
                 <ValDt><Dt>2026-11-25</Dt></ValDt><AcctSvcrRef>{reference}</AcctSvcrRef><NtryDtls><TxDtls>{details}\
                 </TxDtls></NtryDtls></Ntry>"
            )
        };
        let payout = format!(
            "<Refs><EndToEndId>{KEY}</EndToEndId></Refs><Chrgs><TtlChrgsAndTaxAmt Ccy=\"EUR\">1.50</TtlChrgsAndTaxAmt></Chrgs>"
        );
        let batch =
            "<Refs><EndToEndId>NOTPROVIDED</EndToEndId></Refs><RmtInf><Ustrd>Auszahlung für batch-1 €</Ustrd></RmtInf>";
        format!(
            "<?xml version=\"1.0\"?><Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.08\"><BkToCstmrStmt>\
             <Stmt><Id>1</Id>{}{}</Stmt></BkToCstmrStmt></Document>\n",
            entry("D1", "DBIT", "201.50", &payout),
            entry("C1", "CRDT", "97.55", batch)
        )
    }

    fn parse(piece: &[u8], carry: Vec<u8>, last: bool) -> Option<Parsed> {
        let run =
            |ctx: std::rc::Rc<Ctx>| async move { <Bank as Settlements>::parse(&ctx, piece.to_vec(), carry, last) };
        match portolan_adapter::replay(portolan_adapter::testkit::context(), vec![], run) {
            Ok(portolan_adapter::Progress::Done(parsed)) => Some(parsed),
            _ => None,
        }
    }

    #[test]
    fn a_statement_in_pieces_is_the_statement() {
        let text = statement().into_bytes();
        for cut in 1..text.len() {
            let (first, second) = text.split_at(cut);
            let one = parse(first, vec![], false).expect("a piece");
            let two = parse(second, one.carry.clone(), true).expect("the rest");
            let lines: Vec<_> = one.lines.into_iter().chain(two.lines).collect();
            let told: Vec<_> = lines
                .iter()
                .map(|it| {
                    (
                        it.kind.as_str(),
                        it.gross.amount.units.as_str(),
                        it.net.amount.units.as_str(),
                    )
                })
                .collect();
            assert_eq!(
                told,
                [("payout", "20000", "20150"), ("credit", "9755", "9755")],
                "cut at {cut}"
            );
            assert!(lines[1].extra[0].1.contains("batch-1"));
        }
    }

    #[test]
    fn half_a_statement_or_another_document_is_refused() {
        let text = statement();
        let half = text.get(..text.len() / 2).unwrap_or_default();
        assert!(parse(half.as_bytes(), vec![], true).is_none());
        for other in [
            "not,a,statement",
            "<html></html>",
            "<Document><BkToCstmrAcctRpt></BkToCstmrAcctRpt></Document>",
            "<!DOCTYPE d [<!ENTITY x \"y\">]><Document><BkToCstmrStmt></BkToCstmrStmt></Document>",
        ] {
            assert!(parse(other.as_bytes(), vec![], true).is_none(), "{other}");
        }
    }
}
