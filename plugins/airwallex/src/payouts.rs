//! Transfers to bank accounts: local by the country's own rules, or to an IBAN.

use crate::{API, Airwallex, Items, Problem, SESSION, authorized, declines};
use portolan_adapter::payouts::{Account, Bearer, CameBack, OnItsWay, Outcome, Payout};
use portolan_adapter::types::{Fault, Money, Party, PartyKind, Target};
use portolan_adapter::{Ctx, Exact, Payouts, ReplyExt, RequestExt, Value, get, json, major, post};
use serde::Deserialize;

/// When a transfer on its way is looked at again.
const LOOK_AGAIN_MS: u32 = 2_000;

#[derive(Deserialize)]
struct Transfer {
    id: String,
    #[serde(default)]
    request_id: Option<String>,
    status: String,
    transfer_currency: String,
    transfer_amount: Exact,
    #[serde(default)]
    fee_amount: Option<Exact>,
    #[serde(default)]
    fee_currency: Option<String>,
    #[serde(default)]
    failure_reason: Option<String>,
    #[serde(default)]
    failure_type: Option<String>,
    #[serde(default)]
    failure: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The first one was taken, says the provider: a list without it is a list that is late.
const TAKEN_BEFORE: &str = "it was taken before, and is not in the list yet";

impl Payouts for Airwallex {
    async fn pay(ctx: &Ctx, request: Payout) -> Result<Outcome, Fault> {
        let key = ctx.next_key()?;
        let body = body(&request, &key)?;
        let write = authorized(ctx, post(API, "/api/v1/transfers/create").json(&body))?;
        match ctx.send(write).await {
            Err(no) => Ok(Outcome::Unknown(portolan_adapter::why(&no))),
            Ok(response) => match response.status {
                200 | 201 => outcome(&response.read()?, request.amount.exponent),
                401 => Err(Fault::StaleSession(SESSION.into())),
                400 | 404 | 422 => {
                    let problem = Problem::of(&response);
                    if problem.is_duplicate() {
                        match look_up(ctx, &key, request.amount.exponent).await? {
                            Outcome::NotFound => Ok(Outcome::Unknown(TAKEN_BEFORE.into())),
                            found => Ok(found),
                        }
                    } else {
                        Ok(Outcome::Declined(declines::of(&problem)))
                    }
                }
                status => Ok(Outcome::Unknown(format!("status {status}"))),
            },
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Outcome, Fault> {
        let exponent = of.amount.as_ref().map_or(2, |amount| amount.exponent);
        let Some(reference) = &of.reference else {
            let key = of
                .keys
                .first()
                .ok_or_else(|| Fault::Unsupported("a transfer is found by its id or by its key".into()))?;
            return look_up(ctx, key, exponent).await;
        };
        let path = format!("/api/v1/transfers/{reference}");
        match ctx.send(authorized(ctx, get(API, path))?).await {
            Err(no) => Ok(Outcome::Unknown(portolan_adapter::why(&no))),
            Ok(response) => match response.status {
                200 => outcome(&response.read()?, exponent),
                401 => Err(Fault::StaleSession(SESSION.into())),
                404 => Ok(Outcome::NotFound),
                status => Ok(Outcome::Unknown(format!("status {status}"))),
            },
        }
    }
}

async fn look_up(ctx: &Ctx, key: &str, exponent: u8) -> Result<Outcome, Fault> {
    let path = format!("/api/v1/transfers?request_id={key}");
    match ctx.send(authorized(ctx, get(API, path))?).await {
        Err(no) => Ok(Outcome::Unknown(portolan_adapter::why(&no))),
        Ok(response) => match response.status {
            200 => {
                let found: Items<Transfer> = response.read()?;
                // A list that was not filtered tells of others: that says nothing about this one.
                let own = found.items.iter().find(|it| it.request_id.as_deref() == Some(key));
                match own {
                    Some(transfer) => outcome(transfer, exponent),
                    None if found.items.is_empty() => Ok(Outcome::NotFound),
                    None => Ok(Outcome::Unknown("the list tells of other transfers".into())),
                }
            }
            401 => Err(Fault::StaleSession(SESSION.into())),
            status => Ok(Outcome::Unknown(format!("status {status}"))),
        },
    }
}

fn body(request: &Payout, key: &str) -> Result<Value, Fault> {
    let (bank_details, method) = bank(request)?;
    let reference = if request.remittance.is_empty() {
        &request.payout
    } else {
        &request.remittance
    };
    let mut beneficiary = named(&request.beneficiary);
    let address = request
        .beneficiary
        .address
        .as_ref()
        .filter(|address| !address.lines.is_empty());
    if let Some(fields) = beneficiary.as_object_mut() {
        fields.insert("type".into(), "BANK_ACCOUNT".into());
        fields.insert("bank_details".into(), bank_details);
        if let Some(address) = address {
            let mut told = json!({ "country_code": address.country, "street_address": address.lines.join(", ") });
            if let Some(told) = told.as_object_mut() {
                let parts = [("city", &address.city), ("postcode", &address.postcode)];
                told.extend(
                    parts
                        .into_iter()
                        .filter_map(|(name, it)| Some((name.to_owned(), it.clone()?.into()))),
                );
            }
            fields.insert("address".into(), told);
        }
    }
    let mut body = json!({
        "request_id": key,
        "source_currency": request.amount.asset,
        "transfer_currency": request.amount.asset,
        "transfer_amount": major(&request.amount),
        "transfer_method": method,
        "reason": reason(request.purpose.as_deref()),
        "reference": reference,
        "fee_paid_by": match request.bearer {
            Bearer::Beneficiary => "BENEFICIARY",
            Bearer::Originator | Bearer::Shared => "PAYER",
        },
        "beneficiary": beneficiary,
        "metadata": { "uetr": request.uetr },
    });
    if let (true, Some(fields)) = (method == "SWIFT", body.as_object_mut()) {
        let option = if request.bearer == Bearer::Originator {
            "PAYER"
        } else {
            "SHARED"
        };
        fields.insert("swift_charge_option".into(), option.into());
    }
    Ok(body)
}

/// The provider's word for a purpose of ISO 20022; what it has no word for is a payment for goods.
fn reason(purpose: Option<&str>) -> &'static str {
    match purpose {
        Some("SCVE") => "professional_business_services",
        Some("CHAR") => "donation_charitable_contribution",
        Some("SALA") => "wages_salary",
        _ => "goods_purchased",
    }
}

fn named(party: &Party) -> Value {
    let name = party.name.as_deref().unwrap_or_default();
    match party.kind {
        PartyKind::Legal => json!({ "entity_type": "COMPANY", "company_name": name }),
        PartyKind::Natural => {
            let (first, last) = name.rsplit_once(' ').unwrap_or(("", name));
            json!({ "entity_type": "PERSONAL", "first_name": first, "last_name": last })
        }
    }
}

/// The account, and whether it is paid by the country's own rail or by SWIFT.
fn bank(request: &Payout) -> Result<(Value, &'static str), Fault> {
    let currency = &request.amount.asset;
    let name = request.beneficiary.name.as_deref().unwrap_or_default();
    let country = request
        .beneficiary
        .address
        .as_ref()
        .map_or("", |address| address.country.as_str());
    match &request.account {
        Account::Iban(iban) => {
            let country = iban.get(..2).unwrap_or(country);
            let details = json!({
                "account_currency": currency, "account_name": name, "bank_country_code": country, "iban": iban,
            });
            Ok((details, if currency == "EUR" { "LOCAL" } else { "SWIFT" }))
        }
        Account::Local(fields) => {
            let mut details = json!({
                "account_currency": currency, "account_name": name, "bank_country_code": country,
            });
            if let Some(object) = details.as_object_mut() {
                for (field, value) in fields {
                    insert_local(object, field, value)?;
                }
            }
            Ok((details, "LOCAL"))
        }
        Account::Address(_) | Account::Wallet(_) | Account::Other(_) => {
            Err(Fault::Unsupported("only bank accounts".into()))
        }
    }
}

fn insert_local(details: &mut portolan_adapter::Map<String, Value>, field: &str, value: &str) -> Result<(), Fault> {
    let mut routing = |kind: &str| {
        details.insert("account_routing_type1".into(), kind.into());
        details.insert("account_routing_value1".into(), value.into());
    };
    match field {
        "account_number" => {
            details.insert("account_number".into(), value.into());
        }
        "routing_number" => routing("aba"),
        "sort_code" => routing("sort_code"),
        "bank_code" => routing("bank_code"),
        "cnaps" => routing("cnaps"),
        "account_type" => {
            let category = if value == "savings" { "Savings" } else { "Checking" };
            details.insert("bank_account_category".into(), category.into());
        }
        other => {
            return Err(Fault::Invalid((
                format!("account.{other}"),
                "this provider has no such field".into(),
            )));
        }
    }
    Ok(())
}

fn outcome(transfer: &Transfer, exponent: u8) -> Result<Outcome, Fault> {
    let on_its_way = |is_final: bool, iso: &str| {
        Ok(Outcome::Sent(OnItsWay {
            reference: transfer.id.clone(),
            final_: is_final,
            check_after_ms: LOOK_AGAIN_MS,
            iso_status: Some(iso.into()),
            fee: fee(transfer)?,
            memo: None,
            extra: vec![],
        }))
    };
    match transfer.status.as_str() {
        "IN_APPROVAL" | "SCHEDULED" | "OVERDUE" => on_its_way(false, "PDNG"),
        // FAILED becomes CANCELLED within seconds: then it is told.
        "PROCESSING" | "SENT" | "CANCELLATION_REQUESTED" | "FAILED" => on_its_way(false, "ACSP"),
        "PAID" => on_its_way(true, "ACSC"),
        "CANCELLED" if is_return(transfer) => Ok(Outcome::Returned(CameBack {
            reference: transfer.id.clone(),
            amount: amount(transfer, exponent)?,
            reason: failure(transfer).0,
            extra: vec![],
        })),
        "CANCELLED" | "APPROVAL_REJECTED" | "APPROVAL_RECALLED" | "APPROVAL_BLOCKED" => {
            let (code, message) = failure(transfer);
            let code = if code.is_empty() { transfer.status.clone() } else { code };
            Ok(Outcome::Declined(declines::by_code(&code, &message)))
        }
        other => Ok(Outcome::Unknown(format!(
            "status {other:?} is not in the provider's documents"
        ))),
    }
}

fn amount(transfer: &Transfer, exponent: u8) -> Result<Money, Fault> {
    transfer.transfer_amount.money(&transfer.transfer_currency, exponent)
}

fn fee(transfer: &Transfer) -> Result<Option<Money>, Fault> {
    match (&transfer.fee_amount, &transfer.fee_currency) {
        (Some(fee), Some(currency)) => {
            let decimals = fee.0.split_once('.').map_or(0, |(_, part)| part.len());
            let fee = fee.money(currency, u8::try_from(decimals).unwrap_or(u8::MAX))?;
            Ok(Some(fee).filter(|fee| fee.units != "0"))
        }
        _ => Ok(None),
    }
}

/// Code and text of a failure, in the form of either version.
fn failure(transfer: &Transfer) -> (String, String) {
    match &transfer.failure {
        Some(failure) => (failure.code.clone(), failure.message.clone()),
        None => (
            transfer.failure_type.clone().unwrap_or_default(),
            transfer.failure_reason.clone().unwrap_or_default(),
        ),
    }
}

/// Whether the money was there and the bank sent it back.
fn is_return(transfer: &Transfer) -> bool {
    matches!(failure(transfer).0.as_str(), "90802" | "BENEFICIARY_BANK_RETURNED")
}
