//! Payouts: money to a beneficiary, out of what the merchant has available.

use crate::api::Api;
use crate::api::approval::{self, Outgoing};
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
use portolan_domain::ids::{PaymentId, PayoutId, QuoteId};
use portolan_domain::money::Money;
use portolan_domain::payment::delivery::Delivery;
use portolan_domain::payment::request::{FieldError, ValidPayment, validate_payout};
use portolan_engine::CreatePayment;

/// `POST /v1/payouts`.
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (claim, mut fields, order) = approval::open(&api, (&caller, "POST /v1/payouts"), &headers, body).await?;
    let checked = read(&api, &caller, &mut fields)?;
    let order = order.read(&mut fields);
    let (valid, order) = fields.finish(payments::both(checked, order))?;
    // One without terms would go to nobody: nothing passes here that was not looked at.
    let payout = valid.payout.as_ref().ok_or_else(|| Problem::not_found("beneficiary"))?;
    let outgoing = Outgoing {
        amount: &valid.amount,
        pays: &valid.amount.to_string(),
        to: &payout.terms.beneficiary,
        is_owned: true,
    };
    let claim = order.approve((&api, &caller), claim, outgoing).await?;
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

/// The payout, or everything that is wrong with it.
fn read(api: &Api, caller: &Caller, fields: &mut Fields) -> Result<Result<ValidPayment, Vec<FieldError>>, Problem> {
    let (amount, currency) = (fields.integer("amount"), fields.text("currency"));
    let mut errors = vec![];
    let terms = read_terms(api, caller, fields, &mut errors)?;
    let words = (fields.text("description"), fields.texts("metadata"));
    Ok(match terms {
        Some(terms) => check(api, (amount, currency.as_deref()), terms, words, errors),
        None => Err(errors),
    })
}

/// To whom, and what for; `None`: it names a stored beneficiary that is not there.
fn read_terms(
    api: &Api,
    caller: &Caller,
    fields: &mut Fields,
    errors: &mut Vec<FieldError>,
) -> Result<Option<PayoutTerms>, Problem> {
    let beneficiary = beneficiaries::of_payout(api, caller, fields, errors)?;
    let bearer = fields.text("charge_bearer");
    let parsed = bearer.as_deref().map_or(Some(Bearer::Shared), Bearer::parse);
    if parsed.is_none() {
        let how = "originator, shared or beneficiary";
        errors.push(FieldError::new("/charge_bearer", "invalid_value", how));
    }
    let (purpose, remittance) = (fields.text("purpose"), fields.text("reference").unwrap_or_default());
    Ok(beneficiary.map(|beneficiary| PayoutTerms {
        bearer: parsed.unwrap_or(Bearer::Shared),
        purpose,
        remittance,
        beneficiary,
    }))
}

/// What holds everywhere, and what the corridor wants; every error at once.
fn check(
    api: &Api,
    (amount, currency): (Option<i128>, Option<&str>),
    terms: PayoutTerms,
    words: (Option<String>, Vec<(String, String)>),
    mut errors: Vec<FieldError>,
) -> Result<ValidPayment, Vec<FieldError>> {
    let asset = |code: &str| api.app.config.asset(code);
    let (country, account) = (terms.beneficiary.country.clone(), terms.beneficiary.account.clone());
    let (shown, purpose) = (beneficiaries::shown_of(&terms.beneficiary), terms.purpose.clone());
    match validate_payout((amount, currency), terms, words, asset) {
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

/// What a quote brings the merchant, where it is theirs.
fn owed(api: &Api, caller: &Caller, quote: Option<&str>) -> Option<Money> {
    let id: QuoteId = quote?.parse().ok()?;
    let found = api.app.engine.quote(&caller.merchant, caller.mode, id).ok()?;
    Some(found.best()?.owed.clone())
}

/// Where a payment says so: to whom what its quote brings goes on, and how much that is.
pub fn read_delivery(
    api: &Api,
    caller: &Caller,
    fields: &mut Fields,
    quote: Option<&str>,
) -> Result<Checked<(Money, Box<Delivery>)>, Problem> {
    let owed = || {
        let how =
            "what is got by a quote can go on at once: name the quote, or make a payout once the money is available";
        owed(api, caller, quote).ok_or_else(|| FieldError::new("/deliver", "without_quote", how))
    };
    let terms = read_deliver(api, caller, fields, owed)?;
    let planned = |(owed, terms)| (owed, Box::new(Delivery::planned(terms)));
    Ok(terms.map(|terms| terms.map(planned)))
}

/// What is read where it is given, or all that is wrong with it.
type Checked<T> = Result<Option<T>, Vec<FieldError>>;

/// `deliver`, where it is given: the amount and to whom it goes, checked as a payout of it would be.
pub fn read_deliver(
    api: &Api,
    caller: &Caller,
    fields: &mut Fields,
    amount: impl FnOnce() -> Result<Money, FieldError>,
) -> Result<Checked<(Money, PayoutTerms)>, Problem> {
    if !fields.is_given("deliver") {
        fields.inside("deliver");
        return Ok(Ok(None));
    }
    let mut inner = fields.inside("deliver");
    let mut errors = vec![];
    let terms = read_terms(api, caller, &mut inner, &mut errors)?;
    fields.close(inner);
    let checked = match terms {
        None => Err(errors),
        Some(_) if !caller.may_pay_out => {
            let how = "what goes out needs a key with the scope payouts:write";
            Err(vec![FieldError::new("", "missing_scope", how)])
        }
        Some(terms) => match amount() {
            Err(error) => return Ok(Err(vec![error])),
            Ok(amount) => {
                let asked = (Some(amount.minor()), Some(amount.asset().code()));
                check(api, asked, terms.clone(), (None, vec![]), errors).map(|_| Some((amount, terms)))
            }
        },
    };
    let within = |error: FieldError| FieldError {
        pointer: format!("/deliver{}", error.pointer),
        ..error
    };
    Ok(checked.map_err(|errors| errors.into_iter().map(within).collect()))
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
