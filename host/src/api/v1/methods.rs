//! Payment methods: the one route that takes a card number. Its body goes to the vault unparsed.

use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::{Api, read_body};
use crate::wire::MethodView;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::ids::MethodId;
use portolan_vault::{CardError, NewCard};
use time::{Date, OffsetDateTime};

/// `POST /v1/payment_methods`.
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = read_body(&headers, body).await?;
    let now_ms = api.app.ambient.now_ms();
    let new = NewCard {
        id: MethodId(api.app.ambient.uuid_v7()),
        merchant: caller.merchant,
        mode: caller.mode,
        now_ms,
        today: year_and_month(now_ms),
    };
    let method = api.app.vault.take_card(&bytes, new).map_err(|error| match error {
        CardError::Malformed(detail) => Problem::malformed(detail),
        CardError::Fields(errors) => Problem::fields(errors),
        CardError::Vault(detail) => {
            tracing::error!(detail, "the vault could not seal a card");
            Problem::busy("the vault cannot seal now; nothing was stored")
        }
    })?;
    api.app.store.put_method(method.clone()).await?;
    Ok(axum::Json(MethodView::of(&method)).into_response())
}

/// `GET /v1/payment_methods/{id}`.
pub async fn show(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let id: MethodId = id.parse().map_err(|_| Problem::not_found("payment method"))?;
    let found = api.app.store.method(id)?;
    let theirs = found.filter(|method| method.merchant == caller.merchant && method.mode == caller.mode);
    let method = theirs.ok_or_else(|| Problem::not_found("payment method"))?;
    Ok(axum::Json(MethodView::of(&method)).into_response())
}

/// Year and month of a time, in UTC.
fn year_and_month(now_ms: u64) -> (u16, u8) {
    let seconds = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds);
    let date = time.map_or(Date::MAX, OffsetDateTime::date);
    (u16::try_from(date.year()).unwrap_or(u16::MAX), u8::from(date.month()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn months_turn_at_midnight_utc() {
        assert_eq!(super::year_and_month(0), (1970, 1));
        assert_eq!(super::year_and_month(1_709_251_199_999), (2024, 2));
        assert_eq!(super::year_and_month(1_709_251_200_000), (2024, 3));
        assert_eq!(super::year_and_month(1_795_392_000_000), (2026, 11));
    }
}
