//! A merchant's people who approve what goes out: who they are, and how one that was invited brings a passkey.

use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::{Api, open_body};
use crate::wire::{ApprovalsView, ApproverView, CreationView};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::approval::Approvals;
use portolan_domain::payment::request::FieldError;

/// `GET /v1/approvals`.
pub async fn show(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let found = api.app.approving.of((caller.mode, &caller.merchant));
    let none = || Approvals::none(caller.merchant.clone(), caller.mode);
    let approvals = found.map_or_else(none, |it| (*it).clone());
    Ok(Json(ApprovalsView::of(&approvals)).into_response())
}

fn missing(pointer: &str, how: &str) -> Vec<FieldError> {
    vec![FieldError::new(pointer, "missing", how)]
}

const INVITE: &str = "the code that the router's operator gave, inv_…";

/// `POST /v1/approvers/options`: for `navigator.credentials.create`.
pub async fn options(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = open_body(&headers, body).await?;
    let invite = fields.text("invite").ok_or_else(|| missing("/invite", INVITE));
    let invite = fields.finish(invite)?;
    let options = api.app.approving.creation((caller.mode, &caller.merchant), &invite)?;
    Ok(Json(CreationView { options }).into_response())
}

/// `POST /v1/approvers`: takes the passkey of one that was invited.
pub async fn register(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = open_body(&headers, body).await?;
    let (invite, credential) = (fields.text("invite"), fields.json("credential"));
    let checked = match (invite, credential) {
        (Some(invite), Some(credential)) => Ok((invite, credential)),
        (None, _) => Err(missing("/invite", INVITE)),
        (_, None) => Err(missing("/credential", "credential.toJSON() of the new passkey")),
    };
    let (invite, credential) = fields.finish(checked)?;
    let owner = (caller.mode, &caller.merchant);
    let approver = api.app.approving.register(owner, &invite, &credential).await?;
    Ok(Json(ApproverView::of(&approver)).into_response())
}
