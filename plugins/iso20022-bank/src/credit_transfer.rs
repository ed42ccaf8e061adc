//! A payout as pain.001.001.09 (ISO 20022, customer credit transfer initiation): one message, one instruction, one
//! transaction. Message, instruction and end-to-end reference are the operation's key; the UETR goes along.

use crate::call::{at, setting};
use portolan_adapter::payouts::{Account, Bearer, Payout};
use portolan_adapter::types::{Address, Fault, Party};
use portolan_adapter::{Ctx, major};
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09";
/// The products of NextGenPSD2 that take pain.001.
pub const SEPA: &str = "pain.001-sepa-credit-transfers";
pub const CROSS_BORDER: &str = "pain.001-cross-border-credit-transfers";

/// The product that a payout goes by: SEPA for euro to an IBAN, each bearing their own charges.
pub fn product(request: &Payout) -> &'static str {
    let is_sepa = request.amount.asset == "EUR"
        && matches!(request.account, Account::Iban(_))
        && request.bearer == Bearer::Shared;
    if is_sepa { SEPA } else { CROSS_BORDER }
}

#[derive(Serialize)]
#[serde(rename = "Document")]
struct Document<'a> {
    #[serde(rename = "@xmlns")]
    xmlns: &'a str,
    #[serde(rename = "CstmrCdtTrfInitn")]
    initiation: Initiation,
}

#[derive(Serialize)]
struct Initiation {
    #[serde(rename = "GrpHdr")]
    header: Header,
    #[serde(rename = "PmtInf")]
    instruction: Instruction,
}

#[derive(Serialize)]
struct Header {
    #[serde(rename = "MsgId")]
    message: String,
    #[serde(rename = "CreDtTm")]
    created: String,
    #[serde(rename = "NbOfTxs")]
    count: u8,
    #[serde(rename = "CtrlSum")]
    sum: String,
    #[serde(rename = "InitgPty")]
    initiator: PartyElement,
}

#[derive(Serialize)]
struct Instruction {
    #[serde(rename = "PmtInfId")]
    id: String,
    #[serde(rename = "PmtMtd")]
    method: &'static str,
    #[serde(rename = "NbOfTxs")]
    count: u8,
    #[serde(rename = "CtrlSum")]
    sum: String,
    #[serde(rename = "PmtTpInf", skip_serializing_if = "Option::is_none")]
    kind: Option<PaymentType>,
    #[serde(rename = "ReqdExctnDt")]
    day: Day,
    #[serde(rename = "Dbtr")]
    debtor: PartyElement,
    #[serde(rename = "DbtrAcct")]
    debtor_account: AccountElement,
    #[serde(rename = "DbtrAgt")]
    debtor_bank: Agent,
    #[serde(rename = "ChrgBr")]
    bearer: &'static str,
    #[serde(rename = "CdtTrfTxInf")]
    transaction: Transaction,
}

#[derive(Serialize)]
struct PaymentType {
    #[serde(rename = "SvcLvl")]
    level: Code,
}

#[derive(Serialize)]
struct Code {
    #[serde(rename = "Cd")]
    code: String,
}

#[derive(Serialize)]
struct Day {
    #[serde(rename = "Dt")]
    date: String,
}

#[derive(Serialize)]
struct PartyElement {
    #[serde(rename = "Nm")]
    name: String,
    #[serde(rename = "PstlAdr", skip_serializing_if = "Option::is_none")]
    address: Option<AddressElement>,
}

#[derive(Serialize)]
struct AddressElement {
    #[serde(rename = "StrtNm", skip_serializing_if = "Option::is_none")]
    street: Option<String>,
    #[serde(rename = "PstCd", skip_serializing_if = "Option::is_none")]
    postcode: Option<String>,
    #[serde(rename = "TwnNm")]
    town: String,
    #[serde(rename = "Ctry")]
    country: String,
    #[serde(rename = "AdrLine", skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
}

#[derive(Serialize)]
struct AccountElement {
    #[serde(rename = "Id")]
    id: AccountId,
    #[serde(rename = "Tp", skip_serializing_if = "Option::is_none")]
    kind: Option<Code>,
}

/// One of the two.
#[derive(Serialize)]
struct AccountId {
    #[serde(rename = "IBAN", skip_serializing_if = "Option::is_none")]
    iban: Option<String>,
    #[serde(rename = "Othr", skip_serializing_if = "Option::is_none")]
    other: Option<Other>,
}

impl AccountId {
    fn iban(iban: String) -> Self {
        Self {
            iban: Some(iban),
            other: None,
        }
    }

    fn other(id: String) -> Self {
        Self {
            iban: None,
            other: Some(Other { id }),
        }
    }
}

#[derive(Serialize)]
struct Agent {
    #[serde(rename = "FinInstnId")]
    institution: Institution,
}

#[derive(Serialize, Default)]
struct Institution {
    #[serde(rename = "BICFI", skip_serializing_if = "Option::is_none")]
    bic: Option<String>,
    #[serde(rename = "ClrSysMmbId", skip_serializing_if = "Option::is_none")]
    clearing: Option<Clearing>,
    #[serde(rename = "PstlAdr", skip_serializing_if = "Option::is_none")]
    place: Option<Country>,
    #[serde(rename = "Othr", skip_serializing_if = "Option::is_none")]
    other: Option<Other>,
}

#[derive(Serialize)]
struct Clearing {
    #[serde(rename = "ClrSysId")]
    system: Code,
    #[serde(rename = "MmbId")]
    member: String,
}

#[derive(Serialize)]
struct Country {
    #[serde(rename = "Ctry")]
    country: String,
}

#[derive(Serialize)]
struct Other {
    #[serde(rename = "Id")]
    id: String,
}

#[derive(Serialize)]
struct Transaction {
    #[serde(rename = "PmtId")]
    id: PaymentId,
    #[serde(rename = "Amt")]
    amount: Amount,
    #[serde(rename = "CdtrAgt", skip_serializing_if = "Option::is_none")]
    creditor_bank: Option<Agent>,
    #[serde(rename = "Cdtr")]
    creditor: PartyElement,
    #[serde(rename = "CdtrAcct")]
    creditor_account: AccountElement,
    #[serde(rename = "Purp", skip_serializing_if = "Option::is_none")]
    purpose: Option<Code>,
    #[serde(rename = "RmtInf")]
    remittance: Remittance,
}

#[derive(Serialize)]
struct PaymentId {
    #[serde(rename = "InstrId")]
    instruction: String,
    #[serde(rename = "EndToEndId")]
    end_to_end: String,
    #[serde(rename = "UETR")]
    uetr: String,
}

#[derive(Serialize)]
struct Amount {
    #[serde(rename = "InstdAmt")]
    instructed: Instructed,
}

#[derive(Serialize)]
struct Instructed {
    #[serde(rename = "@Ccy")]
    currency: String,
    #[serde(rename = "$text")]
    amount: String,
}

#[derive(Serialize)]
struct Remittance {
    #[serde(rename = "Ustrd")]
    text: String,
}

/// The message.
pub fn write(ctx: &Ctx, request: &Payout, key: &str) -> Result<Vec<u8>, Fault> {
    let is_sepa = product(request) == SEPA;
    let sum = major(&request.amount);
    let now = at(ctx.now_ms())?;
    let created = now.format(&Rfc3339).map_err(|error| Fault::Other(error.to_string()))?;
    let debtor_name = setting(ctx, "debtor_name")?;
    let (creditor_account, creditor_bank) = creditor_account(request)?;
    let document = Document {
        xmlns: NAMESPACE,
        initiation: Initiation {
            header: Header {
                message: key.into(),
                created,
                count: 1,
                sum: sum.clone(),
                initiator: PartyElement {
                    name: debtor_name.clone(),
                    address: None,
                },
            },
            instruction: Instruction {
                id: key.into(),
                method: "TRF",
                count: 1,
                sum: sum.clone(),
                kind: is_sepa.then(|| PaymentType {
                    level: Code { code: "SEPA".into() },
                }),
                day: Day {
                    date: now.date().to_string(),
                },
                debtor: PartyElement {
                    name: debtor_name,
                    address: debtor_address(ctx),
                },
                debtor_account: AccountElement {
                    id: AccountId::iban(setting(ctx, "debtor_iban")?),
                    kind: None,
                },
                debtor_bank: debtor_bank(ctx),
                bearer: bearer(request.bearer, is_sepa),
                transaction: Transaction {
                    id: PaymentId {
                        instruction: key.into(),
                        end_to_end: key.into(),
                        uetr: request.uetr.clone(),
                    },
                    amount: Amount {
                        instructed: Instructed {
                            currency: request.amount.asset.clone(),
                            amount: sum,
                        },
                    },
                    creditor_bank,
                    creditor: creditor(&request.beneficiary, is_sepa)?,
                    creditor_account,
                    purpose: request.purpose.clone().map(|code| Code { code }),
                    remittance: remittance(request),
                },
            },
        },
    };
    let xml =
        quick_xml::se::to_string(&document).map_err(|error| Fault::Other(format!("writing pain.001: {error}")))?;
    Ok(format!(r#"<?xml version="1.0" encoding="UTF-8"?>{xml}"#).into_bytes())
}

/// SEPA knows one sharing of charges; elsewhere the three of ISO 20022.
fn bearer(bearer: Bearer, is_sepa: bool) -> &'static str {
    match bearer {
        _ if is_sepa => "SLEV",
        Bearer::Originator => "DEBT",
        Bearer::Shared => "SHAR",
        Bearer::Beneficiary => "CRED",
    }
}

fn remittance(request: &Payout) -> Remittance {
    let text = match request.remittance.is_empty() {
        true => request.payout.clone(),
        false => request.remittance.clone(),
    };
    Remittance { text }
}

fn debtor_address(ctx: &Ctx) -> Option<AddressElement> {
    Some(AddressElement {
        street: None,
        postcode: None,
        town: setting(ctx, "debtor_town").ok()?,
        country: setting(ctx, "debtor_country").ok()?,
        lines: vec![],
    })
}

/// Inside SEPA the IBAN names the bank.
fn debtor_bank(ctx: &Ctx) -> Agent {
    let bic = setting(ctx, "debtor_bic").ok();
    let other = bic.is_none().then(|| Other {
        id: "NOTPROVIDED".into(),
    });
    Agent {
        institution: Institution {
            bic,
            other,
            ..Institution::default()
        },
    }
}

fn creditor(beneficiary: &Party, is_sepa: bool) -> Result<PartyElement, Fault> {
    let name = beneficiary.name.clone();
    let name = name.ok_or_else(|| Fault::Invalid(("beneficiary.name".into(), "a bank needs the name".into())))?;
    let address = beneficiary.address.as_ref();
    let address = match address.map(structured) {
        Some(Some(address)) => Some(address),
        // SEPA asks for no address; elsewhere one without a town is sent back since November 2026.
        _ if is_sepa => None,
        _ => {
            let why = "a transfer across borders needs at least the beneficiary's town and country";
            return Err(Fault::Invalid(("beneficiary.address.city".into(), why.into())));
        }
    };
    Ok(PartyElement { name, address })
}

/// The first line is the street; what is more stands beside it as it was given, two lines at most (the hybrid form).
fn structured(address: &Address) -> Option<AddressElement> {
    let mut lines = address.lines.iter().cloned();
    Some(AddressElement {
        street: lines.next(),
        postcode: address.postcode.clone(),
        town: address.city.clone()?,
        country: address.country.clone(),
        lines: lines.take(2).collect(),
    })
}

/// Which clearing's member number a field of a local account is (ISO 20022, ExternalClearingSystemIdentification1Code).
const CLEARINGS: [(&str, &str, &str); 4] = [
    ("routing_number", "USABA", "US"),
    ("sort_code", "GBDSC", "GB"),
    ("bank_code", "HKNCC", "HK"),
    ("cnaps", "CNAPS", "CN"),
];

fn creditor_account(request: &Payout) -> Result<(AccountElement, Option<Agent>), Fault> {
    match &request.account {
        Account::Iban(iban) => {
            let account = AccountElement {
                id: AccountId::iban(iban.clone()),
                kind: None,
            };
            Ok((account, None))
        }
        Account::Local(fields) => local(fields),
        Account::Address(_) | Account::Wallet(_) | Account::Other(_) => {
            Err(Fault::Unsupported("only bank accounts".into()))
        }
    }
}

fn local(fields: &[(String, String)]) -> Result<(AccountElement, Option<Agent>), Fault> {
    let (mut number, mut kind) = (None, None);
    let mut bank = Institution::default();
    for (field, value) in fields {
        match field.as_str() {
            "account_number" => number = Some(value.clone()),
            "account_type" => kind = Some(if value == "savings" { "SVGS" } else { "CACC" }),
            "bic" => bank.bic = Some(value.clone()),
            other => {
                let (_, system, country) = CLEARINGS.iter().find(|(known, ..)| known == &other).ok_or_else(|| {
                    Fault::Invalid((
                        format!("account.{other}"),
                        "this bank's message has no place for it".into(),
                    ))
                })?;
                bank.clearing = Some(Clearing {
                    system: Code { code: (*system).into() },
                    member: value.clone(),
                });
                bank.place = Some(Country {
                    country: (*country).into(),
                });
            }
        }
    }
    let number = number.ok_or_else(|| Fault::Invalid(("account.account_number".into(), "is missing".into())))?;
    let account = AccountElement {
        id: AccountId::other(number),
        kind: kind.map(|code| Code { code: code.into() }),
    };
    Ok((account, Some(Agent { institution: bank })))
}
