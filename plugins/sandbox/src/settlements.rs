//! The acquirer's settlement report: CSV, a line per charge or refund, amounts in minor units with a sign.

use crate::Sandbox;
use portolan_adapter::settlements::{Direction, Line, Parsed, Signed};
use portolan_adapter::types::{Fault, Money};
use portolan_adapter::{Ctx, Settlements, currency_exponent};

const HEAD: &str = "batch,kind,reference,key,currency,gross,fee,net,value_date";

impl Settlements for Sandbox {
    /// Lines end with a line feed; what comes after the last one is carried to the next piece.
    fn parse(_: &Ctx, piece: Vec<u8>, carry: Vec<u8>, last: bool) -> Result<Parsed, Fault> {
        let bytes = [carry, piece].concat();
        let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
            _ if last => bytes.len(),
            Some(at) => at + 1,
            None => 0,
        };
        let (lines, carry) = bytes.split_at(whole);
        let text = std::str::from_utf8(lines).map_err(|_| Fault::Protocol("the report is not UTF-8".into()))?;
        let rows = text.lines().filter(|line| !line.is_empty() && *line != HEAD);
        Ok(Parsed {
            lines: rows.map(line).collect::<Result<_, _>>()?,
            carry: carry.to_vec(),
        })
    }
}

fn line(row: &str) -> Result<Line, Fault> {
    let bad = || Fault::Protocol(format!("the line {row:?} is not {HEAD}"));
    let columns: Vec<&str> = row.split(',').collect();
    let &[batch, kind, reference, key, currency, gross, fee, net, date] = columns.as_slice() else {
        return Err(bad());
    };
    let exponent = currency_exponent(currency).ok_or_else(bad)?;
    let signed = |text: &str| -> Result<Signed, Fault> {
        let (direction, digits) = match text.strip_prefix('-') {
            Some(digits) => (Direction::Debit, digits),
            None => (Direction::Credit, text),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let amount = Money {
            units: digits.into(),
            exponent,
            asset: currency.into(),
        };
        Ok(Signed { direction, amount })
    };
    Ok(Line {
        kind: kind.into(),
        reference: Some(reference.to_owned()).filter(|text| !text.is_empty()),
        key: Some(key.to_owned()).filter(|text| !text.is_empty()),
        batch: Some(batch.into()),
        gross: signed(gross)?,
        fee: signed(fee)?,
        net: signed(net)?,
        value_date: date.into(),
        extra: vec![],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_in_pieces_is_the_report() {
        let row = "b1,charge,ch_1,key-1,EUR,1099,25,1074,2026-11-25\n";
        let report = format!("{HEAD}\n{row}b1,refund,op_2,key-2,EUR,-500,0,-500,2026-11-25");
        for cut in 1..report.len() {
            let (first, second) = report.split_at(cut);
            let parse = |piece: &str, carry, last| {
                let run = |ctx: std::rc::Rc<Ctx>| async move {
                    <Sandbox as Settlements>::parse(&ctx, piece.as_bytes().to_vec(), carry, last)
                };
                match portolan_adapter::replay(portolan_adapter::testkit::context(), vec![], run) {
                    Ok(portolan_adapter::Progress::Done(parsed)) => Some(parsed),
                    _ => None,
                }
            };
            let one = parse(first, vec![], false);
            let two = one.as_ref().and_then(|one| parse(second, one.carry.clone(), true));
            let kinds: Vec<String> = one
                .into_iter()
                .chain(two)
                .flat_map(|it| it.lines)
                .map(|it| it.kind)
                .collect();
            assert_eq!(kinds, ["charge", "refund"], "cut at {cut}");
        }
    }
}
