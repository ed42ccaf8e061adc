//! pain.001.001.09 as it comes in. What the bank does not know it refuses, as it refuses a message whose count, sum or
//! references do not fit.

use rust_decimal::Decimal;
use serde::Deserialize;

const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "@xmlns")]
    xmlns: String,
    #[serde(rename = "CstmrCdtTrfInitn")]
    initiation: Initiation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Initiation {
    #[serde(rename = "GrpHdr")]
    header: Header,
    #[serde(rename = "PmtInf")]
    instruction: Instruction,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "MsgId")]
    message: String,
    #[serde(rename = "CreDtTm")]
    created: String,
    #[serde(rename = "NbOfTxs")]
    count: u32,
    #[serde(rename = "CtrlSum")]
    sum: Decimal,
    #[serde(rename = "InitgPty")]
    initiator: Party,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instruction {
    #[serde(rename = "PmtInfId")]
    id: String,
    #[serde(rename = "PmtMtd")]
    method: String,
    #[serde(rename = "NbOfTxs")]
    count: u32,
    #[serde(rename = "CtrlSum")]
    sum: Decimal,
    #[serde(rename = "PmtTpInf")]
    kind: Option<PaymentType>,
    #[serde(rename = "ReqdExctnDt")]
    day: Day,
    #[serde(rename = "Dbtr")]
    debtor: Party,
    #[serde(rename = "DbtrAcct")]
    debtor_account: Account,
    #[serde(rename = "DbtrAgt")]
    debtor_bank: Agent,
    #[serde(rename = "ChrgBr")]
    bearer: String,
    #[serde(rename = "CdtTrfTxInf")]
    transaction: Transaction,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentType {
    #[serde(rename = "SvcLvl")]
    level: Code,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    #[serde(rename = "Cd")]
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Day {
    #[serde(rename = "Dt")]
    date: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Party {
    #[serde(rename = "Nm")]
    name: String,
    #[serde(rename = "PstlAdr")]
    address: Option<Address>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    #[serde(rename = "StrtNm")]
    street: Option<String>,
    #[serde(rename = "PstCd")]
    postcode: Option<String>,
    #[serde(rename = "TwnNm")]
    town: Option<String>,
    #[serde(rename = "Ctry")]
    country: String,
    #[serde(rename = "AdrLine", default)]
    lines: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    #[serde(rename = "Id")]
    id: AccountId,
    #[serde(rename = "Tp")]
    kind: Option<Code>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountId {
    #[serde(rename = "IBAN")]
    iban: Option<String>,
    #[serde(rename = "Othr")]
    other: Option<Other>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Other {
    #[serde(rename = "Id")]
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    #[serde(rename = "FinInstnId")]
    institution: Institution,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Institution {
    #[serde(rename = "BICFI")]
    bic: Option<String>,
    #[serde(rename = "ClrSysMmbId")]
    clearing: Option<Clearing>,
    #[serde(rename = "PstlAdr")]
    place: Option<Address>,
    #[serde(rename = "Othr")]
    other: Option<Other>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clearing {
    #[serde(rename = "ClrSysId")]
    system: Code,
    #[serde(rename = "MmbId")]
    member: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transaction {
    #[serde(rename = "PmtId")]
    id: PaymentId,
    #[serde(rename = "Amt")]
    amount: Amount,
    #[serde(rename = "CdtrAgt")]
    creditor_bank: Option<Agent>,
    #[serde(rename = "Cdtr")]
    creditor: Party,
    #[serde(rename = "CdtrAcct")]
    creditor_account: Account,
    #[serde(rename = "Purp")]
    purpose: Option<Code>,
    #[serde(rename = "RmtInf")]
    remittance: Remittance,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentId {
    #[serde(rename = "InstrId")]
    instruction: String,
    #[serde(rename = "EndToEndId")]
    end_to_end: String,
    #[serde(rename = "UETR")]
    uetr: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Amount {
    #[serde(rename = "InstdAmt")]
    instructed: Instructed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instructed {
    #[serde(rename = "@Ccy")]
    currency: String,
    #[serde(rename = "$text")]
    amount: Decimal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remittance {
    #[serde(rename = "Ustrd")]
    text: String,
}

/// What the bank is asked to do.
pub struct Order {
    /// Each message counts once.
    pub message: String,
    pub end_to_end: String,
    pub uetr: String,
    pub currency: String,
    pub amount: Decimal,
}

/// Reads a message for a product from the holder of that account; the text names the element that is wrong.
pub fn read(body: &[u8], product: &str, iban: &str) -> Result<Order, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let document: Document = quick_xml::de::from_str(text).map_err(|error| error.to_string())?;
    let Initiation { header, instruction } = document.initiation;
    let transaction = &instruction.transaction;
    let amount = transaction.amount.instructed.amount;
    let is_sepa = product == "pain.001-sepa-credit-transfers";
    let level = instruction.kind.as_ref().map(|kind| kind.level.code.as_str());
    let checks = [
        (document.xmlns == NAMESPACE, "Document: the namespace"),
        (is_text(&header.message, 35), "MsgId: 1 to 35 characters"),
        (header.created.contains('T'), "CreDtTm"),
        (is_text(&header.initiator.name, 140), "InitgPty/Nm"),
        (
            header.count == 1 && instruction.count == 1,
            "NbOfTxs: one transfer a message",
        ),
        (
            header.sum == amount && instruction.sum == amount,
            "CtrlSum: not the sum",
        ),
        (is_text(&instruction.id, 35), "PmtInfId"),
        (instruction.method == "TRF", "PmtMtd: TRF"),
        (instruction.day.date.len() == 10, "ReqdExctnDt/Dt"),
        (
            instruction.debtor_account.id.iban.as_deref() == Some(iban),
            "DbtrAcct: not this client's",
        ),
        (is_agent(&instruction.debtor_bank), "DbtrAgt"),
        (is_party(&instruction.debtor, false), "Dbtr"),
        (
            is_party(&transaction.creditor, !is_sepa),
            "Cdtr: name, and outside SEPA town and country",
        ),
        (is_account(&transaction.creditor_account, is_sepa), "CdtrAcct"),
        (transaction.creditor_bank.as_ref().is_none_or(is_agent), "CdtrAgt"),
        (is_text(&transaction.id.instruction, 35), "InstrId"),
        (is_text(&transaction.id.end_to_end, 35), "EndToEndId"),
        (is_uetr(&transaction.id.uetr), "UETR: a version 4 UUID in lower case"),
        (amount > Decimal::ZERO && amount.scale() <= 5, "InstdAmt"),
        (transaction.amount.instructed.currency.len() == 3, "InstdAmt/@Ccy"),
        (
            transaction.purpose.as_ref().is_none_or(|it| is_text(&it.code, 4)),
            "Purp/Cd",
        ),
        (is_text(&transaction.remittance.text, 140), "Ustrd: 1 to 140 characters"),
        (!is_sepa || level == Some("SEPA"), "SvcLvl: SEPA"),
        (
            !is_sepa || transaction.amount.instructed.currency == "EUR",
            "InstdAmt: SEPA moves EUR",
        ),
        (is_bearer(&instruction.bearer, is_sepa), "ChrgBr"),
    ];
    if let Some((_, wrong)) = checks.into_iter().find(|(is_right, _)| !is_right) {
        return Err(wrong.to_owned());
    }
    Ok(Order {
        message: header.message,
        end_to_end: transaction.id.end_to_end.clone(),
        uetr: transaction.id.uetr.clone(),
        currency: transaction.amount.instructed.currency.clone(),
        amount,
    })
}

fn is_text(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.chars().count())
}

fn is_party(party: &Party, wants_address: bool) -> bool {
    let is_address = |address: &Address| {
        let lines = address.street.iter().chain(&address.lines).chain(&address.postcode);
        let is_short = lines.into_iter().all(|it| is_text(it, 70));
        is_short
            && address.lines.len() <= 2
            && address.country.len() == 2
            && address.town.as_deref().is_some_and(|it| is_text(it, 35))
    };
    is_text(&party.name, 140) && party.address.as_ref().map_or(!wants_address, is_address)
}

fn is_agent(agent: &Agent) -> bool {
    let institution = &agent.institution;
    let is_clearing = |it: &Clearing| is_text(&it.system.code, 5) && is_text(&it.member, 35);
    let is_place = institution.place.as_ref().is_none_or(|it| it.country.len() == 2);
    let is_named = institution.bic.as_ref().is_some_and(|it| matches!(it.len(), 8 | 11))
        || institution.clearing.as_ref().is_some_and(is_clearing)
        || institution.other.as_ref().is_some_and(|it| is_text(&it.id, 35));
    is_named && is_place
}

fn is_account(account: &Account, is_sepa: bool) -> bool {
    let is_kind = account
        .kind
        .as_ref()
        .is_none_or(|it| matches!(it.code.as_str(), "SVGS" | "CACC"));
    let is_iban = account.id.iban.as_ref().is_some_and(|it| (15..=34).contains(&it.len()));
    let is_other = account.id.other.as_ref().is_some_and(|it| is_text(&it.id, 34));
    is_kind && if is_sepa { is_iban } else { is_iban != is_other }
}

fn is_uetr(text: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        14 => byte == b'4',
        19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

fn is_bearer(bearer: &str, is_sepa: bool) -> bool {
    if is_sepa {
        bearer == "SLEV"
    } else {
        matches!(bearer, "DEBT" | "SHAR" | "CRED")
    }
}
