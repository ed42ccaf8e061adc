//! Operators and API keys: made, listed without their secrets, revoked.

use super::{App, OPERATOR, Refusal, failed, note, refuse};
use crate::api::new_key;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use portolan_domain::ids::{Mode, Name};
use portolan_domain::ports::ApiKey;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    merchant: String,
    mode: String,
    scopes: Vec<String>,
    /// The public key, in PEM, whose owner signs what comes with the key.
    #[serde(default)]
    signed_by: Option<String>,
}

pub(super) async fn create(State(shared): App, body: Bytes) -> Result<Json<Value>, Refusal> {
    let bad = |error: &dyn std::fmt::Display| refuse(StatusCode::UNPROCESSABLE_ENTITY, error);
    let ask: NewKey = serde_json::from_slice(&body).map_err(|error| bad(&error))?;
    let merchant = Name::parse(&ask.merchant).ok_or_else(|| bad(&"merchant: 1 to 40 of a-z 0-9 - _"))?;
    let mode = match ask.mode.as_str() {
        "test" => Mode::Test,
        "live" => Mode::Live,
        _ => return Err(bad(&"mode: test or live")),
    };
    let known = crate::api::SCOPES;
    if let Some(unknown) = ask.scopes.iter().find(|scope| !known.contains(&scope.as_str())) {
        return Err(bad(&format!("no scope {unknown:?}; there are {}", known.join(", "))));
    }
    let public_key = ask.signed_by.as_deref().map(portolan_vault::order_key).transpose();
    let public_key = public_key.map_err(|why| bad(&format!("signed_by: {why}")))?;
    let app = &shared.app;
    let mut entropy = [0; 32];
    let (first, second) = entropy.split_at_mut(16);
    first.copy_from_slice(app.ambient.uuid_v4().as_bytes());
    second.copy_from_slice(app.ambient.uuid_v4().as_bytes());
    let scopes = if ask.scopes.is_empty() {
        known.map(str::to_owned).to_vec()
    } else {
        ask.scopes
    };
    let created_ms = app.ambient.now_ms();
    let key = ApiKey {
        id: String::new(),
        hash: [0; 32],
        merchant,
        mode,
        scopes,
        created_ms,
        revoked_ms: None,
        public_key,
    };
    let (secret, key) = new_key(&app.vault, entropy, key);
    app.key_ring.put_api_key(key.clone()).await.map_err(failed)?;
    let mut to = format!("{} of {} in {}", key.scopes.join(" "), key.merchant, key.mode.as_str());
    if let Some(public_key) = &key.public_key {
        to.push_str(&format!(", signed by {}", hex::encode(public_key)));
    }
    note(app, OPERATOR, ("key.create", &key.id), &to).await?;
    let all = app.key_ring.api_keys().map_err(failed)?;
    let is_open = |it: &&ApiKey| it.revoked_ms.is_none() && it.public_key.is_none();
    let theirs = all
        .iter()
        .filter(|it| (it.mode, &it.merchant) == (key.mode, &key.merchant));
    let unsigned: Vec<&str> = match key.public_key {
        Some(_) => theirs.filter(is_open).map(|it| it.id.as_str()).collect(),
        None => vec![],
    };
    Ok(Json(
        json!({ "key": secret, "id": key.id, "note": "shown once", "keys_that_need_no_signature": unsigned }),
    ))
}

pub(super) async fn list(State(shared): App) -> Result<Json<Value>, Refusal> {
    let keys = shared.app.key_ring.api_keys().map_err(failed)?;
    let shown = keys.iter().map(|key| {
        json!({
            "id": key.id, "merchant": key.merchant.as_str(), "mode": key.mode.as_str(), "scopes": key.scopes,
            "created_ms": key.created_ms, "revoked_ms": key.revoked_ms,
            "signed_by": key.public_key.as_ref().map(portolan_vault::order_key_pem),
        })
    });
    Ok(Json(json!({ "keys": shown.collect::<Vec<_>>() })))
}

pub(super) async fn revoke(State(shared): App, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let ring = &shared.app.key_ring;
    let found = ring.api_keys().map_err(failed)?.into_iter().find(|key| key.id == id);
    let key = found.ok_or_else(|| refuse(StatusCode::NOT_FOUND, "no such key"))?;
    let revoked = ApiKey {
        revoked_ms: Some(shared.app.ambient.now_ms()),
        ..key
    };
    ring.put_api_key(revoked).await.map_err(failed)?;
    note(&shared.app, OPERATOR, ("key.revoke", &id), "").await?;
    Ok(Json(json!({ "revoked": id })))
}
