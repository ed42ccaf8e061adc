//! What payers' browsers and providers call: unguessable, without a key.

use crate::api::problem::Problem;
use crate::api::{Api, read_bytes};
use axum::body::Body;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use portolan_domain::ids::Name;
use portolan_domain::ids::OperationId;
use portolan_domain::ports::{Keys, Notification};
use portolan_engine::Notified;
use std::sync::atomic::Ordering;

/// `GET /return/{operation}-{word}`: the payer is back.
pub async fn returned(
    State(api): State<Api>,
    Path(place): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("return address");
    let (operation, word) = place.split_once('-').ok_or_else(unknown)?;
    let operation: OperationId = operation.parse().map_err(|_| unknown())?;
    if api.app.vault.handle(operation, "return") != word {
        return Err(unknown());
    }
    let engine = api.app.engine.clone();
    // The work goes on even if the browser leaves.
    let work = tokio::spawn(async move { engine.resume(operation, pairs).await });
    let done = tokio::time::timeout(api.app.config.answer_within, work).await;
    let payment = match done {
        Ok(Ok(found)) => Some(found?.payment),
        Ok(Err(_)) | Err(_) => None,
    };
    Ok(
        match payment.and_then(|payment| Some((payment.return_url.clone()?, payment))) {
            Some((url, payment)) => {
                let joint = if url.contains('?') { '&' } else { '?' };
                Redirect::to(&format!(
                    "{url}{joint}payment={}&status={}",
                    payment.id,
                    payment.status.as_str()
                ))
                .into_response()
            }
            None => Html("<!doctype html><title>Payment</title><p>Thank you. You can close this page.").into_response(),
        },
    )
}

/// `POST /notify/{channel}`: a provider tells something.
pub async fn notified(
    State(api): State<Api>,
    Path(channel): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let channel = Name::parse(&channel).ok_or_else(|| Problem::not_found("channel"))?;
    let notification = Notification {
        method: "POST".into(),
        path: format!("/notify/{channel}"),
        query: query.unwrap_or_default(),
        headers: headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect(),
        body: read_bytes(body).await?.to_vec(),
    };
    let [taken, refused] = &api.counters.notifications;
    let (engine, of) = (api.app.engine.clone(), channel.clone());
    // The work goes on even if the provider hangs up.
    let work = tokio::spawn(async move { engine.notified(&of, &notification).await });
    let notified = work
        .await
        .map_err(|_| Problem::busy("the notification could not be dealt with; send it again"))?;
    match notified? {
        Notified::Taken(receipt) => {
            taken.fetch_add(1, Ordering::Relaxed);
            let status = StatusCode::from_u16(receipt.status).unwrap_or(StatusCode::OK);
            let mut response = (status, receipt.body).into_response();
            let json = axum::http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(axum::http::header::CONTENT_TYPE, json);
            Ok(response)
        }
        Notified::Rejected(rejection) => {
            refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%channel, %rejection, "a notification was refused");
            Err(match rejection.0 {
                "forged" | "misconfigured" => Problem::new(401, "notification_refused", "the origin is not proven"),
                "unknown_channel" => Problem::not_found("channel"),
                _ => Problem::new(
                    400,
                    "notification_refused",
                    "this is not a notification of this channel",
                ),
            })
        }
    }
}
