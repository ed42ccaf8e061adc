//! Payouts: money to a beneficiary, out of what the merchant has available.

use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::strict::Fields;
use crate::api::v1::{lists, payments};
use crate::wire::PayoutView;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::beneficiary::{Bearer, Beneficiary, PartyKind, PayoutAccount, PayoutTerms};
use portolan_domain::ids::{PaymentId, PayoutId};
use portolan_domain::payment::request::{FieldError, ValidPayment, validate_payout};
use portolan_engine::CreatePayment;
use serde_json::{Map, Value, json};

/// `POST /v1/payouts`.
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (claim, mut fields) = payments::open(&api, &caller, &headers, body, "POST /v1/payouts").await?;
    let checked = read(&api, &mut fields);
    let valid = fields.finish(checked)?;
    let command = CreatePayment {
        merchant: caller.merchant,
        mode: caller.mode,
        claim: claim.clone(),
        valid,
    };
    payments::run(
        &api,
        claim,
        |engine| async move { engine.create_payment(command).await },
    )
    .await
}

fn read(api: &Api, fields: &mut Fields) -> Result<ValidPayment, Vec<FieldError>> {
    let (amount, currency) = (fields.integer("amount"), fields.text("currency"));
    let mut errors = vec![];
    let (beneficiary, shown) = read_beneficiary(fields, &mut errors);
    let bearer = fields.text("charge_bearer");
    let parsed = bearer.as_deref().map_or(Some(Bearer::Shared), Bearer::parse);
    if parsed.is_none() {
        let how = "originator, shared or beneficiary";
        errors.push(FieldError::new("/charge_bearer", "invalid_value", how));
    }
    let purpose = fields.text("purpose");
    let terms = PayoutTerms {
        bearer: parsed.unwrap_or(Bearer::Shared),
        purpose: purpose.clone(),
        remittance: fields.text("reference").unwrap_or_default(),
        beneficiary,
    };
    let words = (fields.text("description"), fields.texts("metadata"));
    let asset = |code: &str| api.app.config.asset(code);
    let (country, account) = (terms.beneficiary.country.clone(), terms.beneficiary.account.clone());
    match validate_payout((amount, currency.as_deref()), terms, words, asset) {
        Ok(valid) => {
            let rail = account.word(valid.amount.asset().code());
            match api.app.corridors.find(&country, valid.amount.asset(), &rail) {
                Ok(corridor) => {
                    // What is wrong anyway need not be told twice.
                    let named: Vec<String> = errors.iter().map(|error| error.pointer.clone()).collect();
                    let more = corridor.check(&shown, purpose.as_deref(), &valid.amount);
                    errors.extend(more.into_iter().filter(|error| !named.contains(&error.pointer)));
                }
                Err(error) => errors.push(error),
            }
            if errors.is_empty() { Ok(valid) } else { Err(errors) }
        }
        Err(more) => {
            errors.extend(more);
            Err(errors)
        }
    }
}

/// The beneficiary, and the same as it was written, for the corridor's schema.
fn read_beneficiary(fields: &mut Fields, errors: &mut Vec<FieldError>) -> (Beneficiary, Value) {
    let mut inner = fields.inside("beneficiary");
    let kind = inner.text("type");
    let (name, country) = (inner.text("name"), inner.text("country"));
    let mut address = inner.inside("address");
    let [line1, line2, city, postcode] = ["line1", "line2", "city", "postcode"].map(|name| address.text(name));
    inner.close(address);
    let account = inner.texts("account");
    fields.close(inner);
    let mut shown = json!({ "account": account.iter().cloned().collect::<std::collections::BTreeMap<_, _>>() });
    let parts = [
        ("line1", &line1),
        ("line2", &line2),
        ("city", &city),
        ("postcode", &postcode),
    ];
    let written: Map<String, Value> = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())))
        .collect();
    let texts = [("type", &kind), ("name", &name), ("country", &country)];
    if let Some(object) = shown.as_object_mut() {
        object.extend(
            texts
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into()))),
        );
        if !written.is_empty() {
            object.insert("address".into(), written.into());
        }
    }
    let parsed = match kind.as_deref() {
        Some("company") => PartyKind::Company,
        Some("person") => PartyKind::Person,
        _ => {
            errors.push(FieldError::new(
                "/beneficiary/type",
                "invalid_value",
                "person or company",
            ));
            PartyKind::Person
        }
    };
    let beneficiary = Beneficiary {
        kind: parsed,
        name: name.unwrap_or_default(),
        country: country.unwrap_or_default(),
        lines: line1.into_iter().chain(line2).collect(),
        city,
        postcode,
        account: account_of(account),
    };
    (beneficiary, shown)
}

fn account_of(fields: Vec<(String, String)>) -> PayoutAccount {
    let value = |wanted: &str| {
        let found = fields.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    match (value("iban"), value("network"), value("address")) {
        (Some(iban), _, _) => PayoutAccount::Iban(iban),
        (None, Some(network), Some(address)) => PayoutAccount::Chain(network, address),
        _ => PayoutAccount::Local(fields),
    }
}

/// `GET /v1/payouts/{id}`.
pub async fn show(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let id: PayoutId = id.parse().map_err(|_| Problem::not_found("payout"))?;
    let found = api.app.store.payment(id.payment())?.map(|found| found.payment);
    let theirs = found.filter(|it| it.merchant == caller.merchant && it.mode == caller.mode);
    let view = theirs.as_ref().and_then(PayoutView::of);
    let view = view.ok_or_else(|| Problem::not_found("payout"))?;
    Ok(axum::Json(view).into_response())
}

/// `GET /v1/payouts`.
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let (page, _) = lists::read_page::<PayoutId>(caller, pairs, &[])?;
    let page = page.map(|id: PayoutId| -> PaymentId { id.payment() });
    let found = api.app.library.payouts(&page)?;
    let views = found
        .iter()
        .filter_map(|found| PayoutView::of(&found.payment))
        .collect();
    Ok(lists::list(&page, views))
}
