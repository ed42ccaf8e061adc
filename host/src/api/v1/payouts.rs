//! Payouts: money to a beneficiary, out of what the merchant has available.

use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::strict::Fields;
use crate::api::v1::{beneficiaries, lists, payments};
use crate::wire::PayoutView;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::beneficiary::{Bearer, PayoutTerms};
use portolan_domain::ids::{PaymentId, PayoutId};
use portolan_domain::payment::request::{FieldError, ValidPayment, validate_payout};
use portolan_engine::CreatePayment;

/// `POST /v1/payouts`.
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (claim, mut fields) = payments::open(&api, &caller, &headers, body, "POST /v1/payouts").await?;
    let checked = read(&api, &caller, &mut fields)?;
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

/// The payout, or everything that is wrong with it; a stored beneficiary that is not there is wrong by itself.
fn read(api: &Api, caller: &Caller, fields: &mut Fields) -> Result<Result<ValidPayment, Vec<FieldError>>, Problem> {
    let (amount, currency) = (fields.integer("amount"), fields.text("currency"));
    let mut errors = vec![];
    let beneficiary = beneficiaries::of_payout(api, caller, fields, &mut errors)?;
    let shown = beneficiaries::shown_of(&beneficiary);
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
    Ok(
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
        },
    )
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
