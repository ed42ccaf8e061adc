//! pain.002 (ISO 20022, customer payment status report): where a credit transfer stands. Of the three places for a status the
//! one nearest to the transaction counts.

use portolan_adapter::types::{Fault, Response};
use serde::Deserialize;

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "CstmrPmtStsRpt")]
    report: Report,
}

#[derive(Deserialize)]
struct Report {
    #[serde(rename = "OrgnlGrpInfAndSts")]
    group: Group,
    #[serde(rename = "OrgnlPmtInfAndSts", default)]
    instructions: Vec<Instruction>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "GrpSts")]
    status: Option<String>,
    #[serde(rename = "StsRsnInf", default)]
    reasons: Vec<ReasonInfo>,
}

#[derive(Deserialize)]
struct Instruction {
    #[serde(rename = "PmtInfSts")]
    status: Option<String>,
    #[serde(rename = "StsRsnInf", default)]
    reasons: Vec<ReasonInfo>,
    #[serde(rename = "TxInfAndSts", default)]
    transactions: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Transaction {
    #[serde(rename = "OrgnlEndToEndId")]
    end_to_end: Option<String>,
    #[serde(rename = "TxSts")]
    status: Option<String>,
    #[serde(rename = "StsRsnInf", default)]
    reasons: Vec<ReasonInfo>,
}

#[derive(Deserialize)]
struct ReasonInfo {
    #[serde(rename = "Rsn")]
    reason: Option<Reason>,
    #[serde(rename = "AddtlInf", default)]
    texts: Vec<String>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "Cd", alias = "Prtry")]
    code: String,
}

/// Where it stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing {
    /// ISO 20022's code: `ACSC`, `RJCT`, …
    pub status: String,
    /// Why, where it says so.
    pub code: String,
    /// The same for humans.
    pub text: String,
}

/// Reads the report about the transfer with that end-to-end reference.
pub fn read(response: &Response, end_to_end: &str) -> Result<Standing, Fault> {
    let bad = |why: String| Fault::Protocol(format!("a status report that cannot be read: {why}"));
    let text = std::str::from_utf8(&response.body).map_err(|error| bad(error.to_string()))?;
    let document: Document = quick_xml::de::from_str(text).map_err(|error| bad(error.to_string()))?;
    let report = document.report;
    let mut transactions = report.instructions.iter().flat_map(|it| &it.transactions);
    let strangers = report.instructions.iter().any(|it| !it.transactions.is_empty());
    let own = transactions.find(|it| it.end_to_end.as_deref() == Some(end_to_end));
    if strangers && own.is_none() {
        return Err(bad("it is about another transfer".into()));
    }
    let own = own.map(|it| (&it.status, &it.reasons));
    let instruction = report.instructions.first().map(|it| (&it.status, &it.reasons));
    let levels = [own, instruction, Some((&report.group.status, &report.group.reasons))];
    let told = levels
        .into_iter()
        .flatten()
        .find_map(|(status, reasons)| Some((status.clone()?, reasons)));
    let (status, reasons) = told.ok_or_else(|| bad("it names no status".into()))?;
    let reason = reasons.first();
    Ok(Standing {
        status,
        code: reason
            .and_then(|it| it.reason.as_ref())
            .map(|it| code_of(&it.code))
            .unwrap_or_default(),
        text: reason.map(|it| it.texts.join(" ")).unwrap_or_default(),
    })
}

/// A bank's own reason may be free text, and name people: then it is only said that there is one.
fn code_of(text: &str) -> String {
    let is_code = text.len() <= 35
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if is_code { text.to_owned() } else { "NARR".to_owned() }
}
