//! The one place where an error becomes an HTTP answer (RFC 9457). For each status, what its reader will do: 400 and 422
//! mend the request, 404 look for the right id, 409 wait or look at the payment, 503 come back later.

use crate::webhooks::WebhookError;
use crate::wire::QuoteView;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portolan_domain::payment::decide::Refusal;
use portolan_domain::payment::request::FieldError;
use portolan_domain::ports::{CommitError, ReadError};
use portolan_domain::quote::QuoteRefusal;
use portolan_engine::EngineError;
use serde_json::{Value, json};

/// A problem, on its way out.
#[derive(Debug)]
pub struct Problem {
    status: u16,
    code: String,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_s: Option<u32>,
    /// What helps to go on: a fresh quote in the place of the expired one, what has to be approved.
    more: Option<Box<(&'static str, Value)>>,
}

impl Problem {
    /// A problem with its code and what to do about it.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            detail: detail.into(),
            errors: vec![],
            retry_after_s: None,
            more: None,
        }
    }

    /// The same, with what helps to go on.
    pub fn with(self, name: &'static str, value: Value) -> Self {
        Self {
            more: Some(Box::new((name, value))),
            ..self
        }
    }

    /// No such thing, or somebody else's: nobody can tell the difference.
    pub fn not_found(what: &str) -> Self {
        Self::new(404, "not_found", format!("there is no such {what}"))
    }

    /// Come back later; nothing was done.
    pub fn busy(detail: &str) -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::new(503, "unavailable", detail)
        }
    }

    /// The key called too often; nothing was done.
    pub fn too_often(wait_s: u32) -> Self {
        Self {
            retry_after_s: Some(wait_s),
            ..Self::new(429, "too_many_requests", "this key calls too often; nothing was done")
        }
    }

    /// Fields that cannot be accepted, all of them.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = errors
            .first()
            .map_or_else(String::new, |first| format!("{}: {}", first.pointer, first.message));
        Self {
            errors,
            ..Self::new(422, "invalid_request", detail)
        }
    }

    /// Not JSON, or not an object.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed_json", detail)
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NotFound(what) => Self::not_found(what),
            EngineError::KeyReused => Self::new(422, "idempotency_key_reused", error.to_string()),
            EngineError::KeyInFlight => Self {
                retry_after_s: Some(1),
                ..Self::new(409, "idempotency_key_in_flight", error.to_string())
            },
            EngineError::Invalid(errors) => Self::fields(errors),
            EngineError::Refused(refusal) => refusal.into(),
            EngineError::Quote(QuoteRefusal::Used, _) => Self::new(409, "quote_used", error.to_string()),
            EngineError::Quote(_, fresh) => {
                let problem = Self::new(409, "quote_expired", "the quote has expired; a fresh one is in `quote`");
                match fresh.and_then(|quote| serde_json::to_value(QuoteView::of(&quote)).ok()) {
                    Some(quote) => problem.with("quote", quote),
                    None => problem,
                }
            }
            EngineError::NoPrice(why) => {
                let who = why.iter().map(|it| format!("{}: {}", it.channel, it.why));
                let who = who.collect::<Vec<_>>().join("; ");
                let none = if who.is_empty() {
                    "no exchange is configured".into()
                } else {
                    who
                };
                Self::new(409, "no_price", format!("no exchange has a price for this now: {none}"))
            }
            EngineError::Store(commit) => commit.into(),
            EngineError::Read(read) => read.into(),
            EngineError::Channel(fault) => {
                tracing::warn!(%fault, "the channel could not be asked");
                Self::busy("the channel cannot be reached now; nothing was done")
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::WrongStatus(_) => Self::new(409, "wrong_status", text),
            Refusal::OutcomeUnknown => Self::new(409, "outcome_unknown", text),
            Refusal::InFlight(_) => Self {
                retry_after_s: Some(1),
                ..Self::new(409, "in_flight", text)
            },
            Refusal::TooMuch { .. } => Self::fields(vec![FieldError::new("/amount", "amount_too_large", text)]),
            Refusal::BadAmount(_) => Self::fields(vec![FieldError::new("/amount", "out_of_range", text)]),
            Refusal::Illegal(illegal) => {
                tracing::error!(%illegal, "a fact did not fit");
                Self::new(409, "wrong_status", "the payment changed meanwhile")
            }
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Read(error) => error.into(),
            WebhookError::Commit(error) => error.into(),
            WebhookError::TooMany => Self::new(409, "too_many_endpoints", error.to_string()),
            WebhookError::Busy => Self {
                retry_after_s: Some(5),
                ..Self::new(429, "too_many_tests", error.to_string())
            },
        }
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::ClaimTaken => Self {
                retry_after_s: Some(1),
                ..Self::new(409, "idempotency_key_in_flight", error.to_string())
            },
            CommitError::VersionConflict | CommitError::SeenBefore => Self::new(409, "conflict", error.to_string()),
            CommitError::ExposureFull => Self {
                retry_after_s: Some(10),
                ..Self::new(409, "exposure_full", error.to_string())
            },
            // A payment that meets this fails with it; no other write is guarded so.
            CommitError::CardRefused(refusal) => Self::new(409, refusal.code(), refusal.to_string()),
            CommitError::LimitPassed(passed) => Self::new(409, "refused_by_rule", passed.to_string()),
            CommitError::QuoteUsed => Self::new(409, "quote_used", error.to_string()),
            CommitError::Uncovered => Self::new(
                409,
                "insufficient_balance",
                "the available balance does not cover it; nothing was done",
            ),
            CommitError::DiskFloor => {
                Self::busy("the disk is nearly full: no new payments are taken; nothing was done")
            }
            CommitError::Unavailable(_) => {
                tracing::error!(%error, "the store did not write");
                Self::busy("the store cannot write now; ask again with the same Idempotency-Key")
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        tracing::error!(%error, "the store could not be read");
        Self::busy("the store cannot be read now")
    }
}

/// A problem's fields, kept with the response until the request's id is put in.
#[derive(Clone)]
struct Told(Value);

/// Says in a problem which request it was about.
pub fn name_request(response: Response, id: &str, path: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let Some(Told(mut told)) = parts.extensions.remove::<Told>() else {
        return Response::from_parts(parts, body);
    };
    if let Some(fields) = told.as_object_mut() {
        fields.insert("instance".into(), path.into());
        fields.insert("request_id".into(), id.into());
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, told.to_string().into())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let errors: Vec<_> = self
            .errors
            .iter()
            .map(|error| json!({ "pointer": error.pointer, "code": error.code, "message": error.message }))
            .collect();
        let body = json!({
            "type": format!("https://portolan.dev/problems/{}", self.code),
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "param": self.errors.first().map(|error| error.pointer.clone()),
            "retryable": self.retry_after_s.is_some(),
            "errors": errors,
        });
        let mut body = body;
        if let (Some(more), Some(fields)) = (self.more, body.as_object_mut()) {
            let (name, value) = *more;
            fields.insert(name.into(), value);
        }
        let mut response = (status, body.to_string()).into_response();
        response.extensions_mut().insert(Told(body));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
