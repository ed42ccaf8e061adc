//! Stored beneficiaries, and how one is read where a payout names it or says who it is.

use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::strict::Fields;
use crate::api::v1::lists;
use crate::api::{Api, open_body};
use crate::wire::StoredBeneficiaryView;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::beneficiary::{self, Beneficiary, PartyKind, PayoutAccount, StoredBeneficiary};
use portolan_domain::ids::BeneficiaryId;
use portolan_domain::payment::request::{FieldError, check_chain};
use serde_json::{Map, Value, json};

/// `POST /v1/beneficiaries`.
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = open_body(&headers, body).await?;
    let currency = fields.text("currency");
    let mut errors = vec![];
    let read = read_fields(&mut fields, "", &mut errors);
    let currency = checked(&api, currency, &read, errors);
    let stored = StoredBeneficiary {
        id: BeneficiaryId(api.app.ambient.uuid_v7()),
        merchant: caller.merchant,
        mode: caller.mode,
        created_ms: api.app.ambient.now_ms(),
        currency: fields.finish(currency)?,
        beneficiary: read,
    };
    api.app.store.put_beneficiary(stored.clone()).await?;
    Ok(axum::Json(StoredBeneficiaryView::of(&stored)).into_response())
}

/// The currency, if everything fits: what holds everywhere, and what the corridor wants.
fn checked(
    api: &Api,
    currency: Option<String>,
    read: &Beneficiary,
    mut errors: Vec<FieldError>,
) -> Result<String, Vec<FieldError>> {
    beneficiary::check(read, "", &mut errors);
    let code = currency.unwrap_or_default();
    match api.app.config.asset(&code) {
        None => errors.push(FieldError::new(
            "/currency",
            "invalid_currency",
            "the currency or token that the account is paid in",
        )),
        Some(asset) => {
            check_chain(&read.account, &asset, "", &mut errors);
            let rail = read.account.word(asset.code());
            match api.app.corridors.find(&read.country, &asset, &rail) {
                Ok(corridor) => {
                    let named: Vec<String> = errors.iter().map(|error| error.pointer.clone()).collect();
                    let more = corridor.check_beneficiary(&shown_of(read));
                    errors.extend(more.into_iter().filter(|error| !named.contains(&error.pointer)));
                }
                Err(error) => errors.push(FieldError {
                    pointer: error.pointer.replace("/beneficiary", ""),
                    ..error
                }),
            }
        }
    }
    if errors.is_empty() { Ok(code) } else { Err(errors) }
}

/// Who is paid, in a payout: an object, or the id of one that is stored. `None`: there is none of that id.
pub fn of_payout(
    api: &Api,
    caller: &Caller,
    fields: &mut Fields,
    errors: &mut Vec<FieldError>,
) -> Result<Option<Beneficiary>, Problem> {
    if !fields.is_text("beneficiary") {
        let mut inner = fields.inside("beneficiary");
        let read = read_fields(&mut inner, "/beneficiary", errors);
        fields.close(inner);
        return Ok(Some(read));
    }
    let id = fields.text("beneficiary").and_then(|text| text.parse().ok());
    let found = id.map(|id| api.app.store.beneficiary(id)).transpose()?.flatten();
    let theirs = found.filter(|it| it.merchant == caller.merchant && it.mode == caller.mode);
    if theirs.is_none() {
        let how = "no stored beneficiary of that id: ben_…, or an object that says who is paid";
        errors.push(FieldError::new("/beneficiary", "not_found", how));
    }
    Ok(theirs.map(|stored| stored.beneficiary))
}

fn read_fields(fields: &mut Fields, at: &str, errors: &mut Vec<FieldError>) -> Beneficiary {
    let kind = fields.text("type");
    let (name, country) = (fields.text("name"), fields.text("country"));
    let mut address = fields.inside("address");
    let [line1, line2, city, postcode] = ["line1", "line2", "city", "postcode"].map(|name| address.text(name));
    fields.close(address);
    let account = fields.texts("account");
    let kind = match kind.as_deref() {
        Some("company") => PartyKind::Company,
        Some("person") => PartyKind::Person,
        _ => {
            let how = "person or company";
            errors.push(FieldError::new(format!("{at}/type"), "invalid_value", how));
            PartyKind::Person
        }
    };
    Beneficiary {
        kind,
        name: name.unwrap_or_default(),
        country: country.unwrap_or_default(),
        lines: line1.into_iter().chain(line2).collect(),
        city,
        postcode,
        account: account_of(account),
    }
}

fn account_of(fields: Vec<(String, String)>) -> PayoutAccount {
    let value = |wanted: &str| {
        let found = fields.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    match (value("iban"), value("network"), value("address")) {
        (Some(iban), None, None) if fields.len() == 1 => PayoutAccount::Iban(iban),
        (None, Some(network), Some(address)) if fields.len() == 2 => PayoutAccount::Chain(network, address),
        _ => PayoutAccount::Local(fields),
    }
}

/// A beneficiary as the corridors' schemas know it.
pub fn shown_of(beneficiary: &Beneficiary) -> Value {
    let account: Map<String, Value> = match &beneficiary.account {
        PayoutAccount::Iban(iban) => [("iban".to_owned(), iban.clone().into())].into_iter().collect(),
        PayoutAccount::Local(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect(),
        PayoutAccount::Chain(network, address) => {
            let fields = [("network", network), ("address", address)];
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.clone().into()))
                .collect()
        }
    };
    let mut lines = beneficiary.lines.iter();
    let parts = [
        ("line1", lines.next()),
        ("line2", lines.next()),
        ("city", beneficiary.city.as_ref()),
        ("postcode", beneficiary.postcode.as_ref()),
    ];
    let address: Map<String, Value> = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.clone().into())))
        .collect();
    let kind = match beneficiary.kind {
        PartyKind::Person => "person",
        PartyKind::Company => "company",
    };
    let mut shown = json!({ "type": kind, "account": account });
    if let Some(fields) = shown.as_object_mut() {
        let texts = [("name", &beneficiary.name), ("country", &beneficiary.country)];
        let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
        fields.extend(texts.map(|(name, text)| (name.to_owned(), text.clone().into())));
        if !address.is_empty() {
            fields.insert("address".into(), address.into());
        }
    }
    shown
}

fn find(api: &Api, caller: &Caller, id: &str) -> Result<StoredBeneficiary, Problem> {
    let none = || Problem::not_found("beneficiary");
    let id: BeneficiaryId = id.parse().map_err(|_| none())?;
    let found = api.app.store.beneficiary(id)?;
    found
        .filter(|it| it.merchant == caller.merchant && it.mode == caller.mode)
        .ok_or_else(none)
}

/// `GET /v1/beneficiaries/{id}`.
pub async fn show(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let stored = find(&api, &caller, &id)?;
    Ok(axum::Json(StoredBeneficiaryView::of(&stored)).into_response())
}

/// `POST /v1/beneficiaries/{id}/remove`: payouts that named it keep what it was.
pub async fn remove(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let stored = find(&api, &caller, &id)?;
    api.app.store.remove_beneficiary(stored.id).await?;
    Ok(axum::Json(StoredBeneficiaryView::removed(&stored)).into_response())
}

/// `GET /v1/beneficiaries`.
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let (page, _) = lists::read_page::<BeneficiaryId>(caller, pairs, &[])?;
    let found = api.app.library.beneficiaries(&page)?;
    Ok(lists::list(
        &page,
        found.iter().map(StoredBeneficiaryView::of).collect(),
    ))
}
