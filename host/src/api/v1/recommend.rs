//! What to offer a payer. It moves no money; a quote may be made, so the key needs `quotes:write`.

use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::v1::routes::{and_errors, check_network};
use crate::api::{Api, open_body};
use crate::wire::OffersView;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::payment::request::{PaymentRequest, validate};
use portolan_engine::Wish;

/// `POST /v1/payment_methods/recommend`.
pub async fn recommend(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = open_body(&headers, body).await?;
    let mut payer = fields.inside("payer");
    let (payer_country, ip_country) = (payer.text("country"), payer.text("ip_country"));
    fields.close(payer);
    let mut shipping = fields.inside("shipping");
    let shipping_country = shipping.text("country");
    fields.close(shipping);
    let mut card = fields.inside("card");
    let network = card.text("network");
    let mut card_errors = vec![];
    check_network(network.as_deref(), &mut card_errors);
    fields.close(card);
    let request = PaymentRequest {
        amount: fields.integer("amount"),
        currency: fields.text("currency"),
        payer_country,
        ip_country,
        shipping_country,
        ..PaymentRequest::default()
    };
    let valid = validate(request, |code| api.app.config.asset(code));
    let valid = fields.finish(and_errors(valid, card_errors))?;
    let wish = Wish {
        merchant: caller.merchant,
        mode: caller.mode,
        amount: valid.amount,
        country: valid.payer_country,
        ip_country: valid.ip_country,
        shipping_country: valid.shipping_country,
        network,
    };
    let offers = api.app.engine.recommend(&wish).await;
    Ok(axum::Json(OffersView::of(&offers)).into_response())
}
