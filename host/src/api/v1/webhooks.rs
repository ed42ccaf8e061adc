//! Webhook endpoints: where a merchant is told of events.

use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::strict::Fields;
use crate::api::{Api, open_body};
use crate::webhooks::Target;
use crate::wire::{ListView, WebhookEndpointView, WebhookTestView};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::ids::{EventId, WebhookId};
use portolan_domain::payment::fact::{EVENT_FAMILIES, is_event_name};
use portolan_domain::payment::request::FieldError;
use portolan_domain::webhook::{ENDPOINTS_MAX, SECRETS_MAX, WebhookEndpoint};
use portolan_vault::{new_webhook_secret, webhook_secret_text};
use std::sync::Arc;

/// Names of events that an endpoint may choose.
const EVENTS_MAX: usize = 64;
/// The longest description.
const DESCRIPTION_MAX: usize = 200;

/// `POST /v1/webhook_endpoints`. The secret is shown once.
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = open_body(&headers, body).await?;
    let checked = read(&api, &caller, &mut fields).and_then(|asked| {
        let missing = || vec![FieldError::new("/url", "missing", "where messages go: https://…")];
        Ok((asked.url.clone().ok_or_else(missing)?, asked))
    });
    let (
        url,
        Asked {
            events, description, ..
        },
    ) = fields.finish(checked)?;
    let secret = new_secret()?;
    let now_ms = api.app.ambient.now_ms();
    let id = WebhookId(api.app.ambient.uuid_v7());
    let new = WebhookEndpoint::new(id, (caller.merchant, caller.mode), url, now_ms);
    let mut endpoint = WebhookEndpoint {
        events: events.unwrap_or_default(),
        description,
        ..new
    };
    endpoint.rotate(secret.clone(), now_ms);
    let kept = api.app.webhooks.add(endpoint).await?;
    Ok(shown(&api, &kept, Some(&secret)))
}

/// As its merchant sees it; the secret only when it is new.
fn shown(api: &Api, endpoint: &WebhookEndpoint, secret: Option<&[u8]>) -> Response {
    let key = api.app.webhooks.public_key(endpoint.id);
    Json(WebhookEndpointView::of(endpoint, key, secret.map(webhook_secret_text))).into_response()
}

/// What of an endpoint a merchant says; `None`: nothing.
struct Asked {
    url: Option<String>,
    events: Option<Vec<String>>,
    description: Option<String>,
}

fn read(api: &Api, caller: &Caller, fields: &mut Fields) -> Result<Asked, Vec<FieldError>> {
    let (url, description) = (fields.text("url"), fields.text("description"));
    let events = fields.json("events");
    let mut errors = vec![];
    let how = (api.app.webhooks.allows_private(), caller.mode);
    let target = url.as_deref().map(|url| Target::parse(url, how));
    if let Some(Err(how)) = target {
        errors.push(FieldError::new("/url", "invalid_url", how));
    }
    let is_long = |text: &String| text.chars().count() > DESCRIPTION_MAX || text.chars().any(char::is_control);
    if description.as_ref().is_some_and(is_long) {
        let how = format!("at most {DESCRIPTION_MAX} characters, no control characters");
        errors.push(FieldError::new("/description", "too_long", how));
    }
    let events = events.and_then(|text| read_events(&text, &mut errors));
    match errors.is_empty() {
        true => Ok(Asked {
            url,
            events,
            description,
        }),
        false => Err(errors),
    }
}

fn read_events(text: &str, errors: &mut Vec<FieldError>) -> Option<Vec<String>> {
    let Ok(events) = serde_json::from_str::<Vec<String>>(text) else {
        errors.push(FieldError::new("/events", "wrong_type", "a list of names of events"));
        return None;
    };
    for (at, name) in events.iter().enumerate().take(EVENTS_MAX) {
        let is_family = name.strip_suffix(".*").is_some_and(|it| EVENT_FAMILIES.contains(&it));
        if !is_family && !is_event_name(name) {
            let how = format!(
                "no event is called so; a name as payment.captured, or a family: {}, each with .*",
                EVENT_FAMILIES.join(", ")
            );
            errors.push(FieldError::new(format!("/events/{at}"), "unknown_event", how));
        }
    }
    if events.len() > EVENTS_MAX {
        errors.push(FieldError::new("/events", "too_many", format!("at most {EVENTS_MAX}")));
    }
    Some(events)
}

/// `POST /v1/webhook_endpoints/{id}/update`: what is not named stays.
pub async fn update(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = open_body(&headers, body).await?;
    let checked = read(&api, &caller, &mut fields);
    let asked = fields.finish(checked)?;
    let found = find(&api, &caller, &id)?;
    let updated = changed(&api, found.id, |it| {
        it.url = asked.url.unwrap_or_else(|| it.url.clone());
        it.events = asked.events.unwrap_or_else(|| it.events.clone());
        it.description = asked.description.or_else(|| it.description.take());
    });
    let updated = updated.await?;
    Ok(shown(&api, &updated, None))
}

fn new_secret() -> Result<Vec<u8>, Problem> {
    new_webhook_secret().map_err(|error| {
        tracing::error!(%error, "no secret could be made");
        Problem::new(500, "internal", "the router failed; ask again")
    })
}

fn find(api: &Api, caller: &Caller, id: &str) -> Result<Arc<WebhookEndpoint>, Problem> {
    let none = || Problem::not_found("webhook endpoint");
    let id: WebhookId = id.parse().map_err(|_| none())?;
    let theirs = api.app.webhooks.of(&caller.merchant, caller.mode);
    theirs.into_iter().find(|it| it.id == id).ok_or_else(none)
}

async fn changed(
    api: &Api,
    id: WebhookId,
    change: impl FnOnce(&mut WebhookEndpoint),
) -> Result<Arc<WebhookEndpoint>, Problem> {
    let changed = api.app.webhooks.change(id, change).await?;
    changed.ok_or_else(|| Problem::not_found("webhook endpoint"))
}

/// `GET /v1/webhook_endpoints`: all of them, the newest first.
pub async fn list(State(api): State<Api>, caller: Caller) -> Response {
    let mut all = api.app.webhooks.of(&caller.merchant, caller.mode);
    all.reverse();
    let key = |it: &WebhookEndpoint| api.app.webhooks.public_key(it.id);
    let views = all
        .iter()
        .map(|it| WebhookEndpointView::of(it, key(it), None))
        .collect();
    Json(ListView::of(ENDPOINTS_MAX + 1, false, views)).into_response()
}

/// `GET /v1/webhook_endpoints/{id}`.
pub async fn show(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = find(&api, &caller, &id)?;
    Ok(shown(&api, &found, None))
}

/// `POST /v1/webhook_endpoints/{id}/rotate_secret`: those before sign beside the new one for a day.
pub async fn rotate(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = find(&api, &caller, &id)?;
    let now_ms = api.app.ambient.now_ms();
    if found.signing(now_ms).count() >= SECRETS_MAX {
        let how = format!("{SECRETS_MAX} secrets sign already: the oldest ends a day after it was followed");
        return Err(Problem::new(409, "too_many_secrets", how));
    }
    let secret = new_secret()?;
    let rotated = changed(&api, found.id, |it| it.rotate(secret.clone(), now_ms)).await?;
    Ok(shown(&api, &rotated, Some(&secret)))
}

/// `POST /v1/webhook_endpoints/{id}/enable`: what waits goes out, and what came meanwhile.
pub async fn enable(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = find(&api, &caller, &id)?;
    let enabled = api.app.webhooks.enable(found.id).await?;
    let enabled = enabled.ok_or_else(|| Problem::not_found("webhook endpoint"))?;
    Ok(shown(&api, &enabled, None))
}

/// `POST /v1/webhook_endpoints/{id}/replay`: told again from an event on, each message with the id that it had.
pub async fn replay(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = open_body(&headers, body).await?;
    let how = || {
        vec![FieldError::new(
            "/from",
            "invalid_id",
            "the first event to be told again: evt_…",
        )]
    };
    let from = fields.text("from").and_then(|text| text.parse::<EventId>().ok());
    let from = fields.finish(from.ok_or_else(how))?;
    let found = find(&api, &caller, &id)?;
    let replayed = api.app.webhooks.replay(&found, from).await?;
    let replayed = replayed.ok_or_else(|| Problem::not_found("event"))?;
    Ok(shown(&api, &replayed, None))
}

/// `POST /v1/webhook_endpoints/{id}/test`: a message that tells nothing, now.
pub async fn test(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = find(&api, &caller, &id)?;
    let answer = api.app.webhooks.try_out(&found).await?;
    Ok(Json(WebhookTestView::of(answer)).into_response())
}

/// `POST /v1/webhook_endpoints/{id}/remove`.
pub async fn remove(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = find(&api, &caller, &id)?;
    let key = api.app.webhooks.public_key(found.id);
    api.app.webhooks.remove(found.id).await?;
    Ok(Json(WebhookEndpointView::removed(&found, key)).into_response())
}
