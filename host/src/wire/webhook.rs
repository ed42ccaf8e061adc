//! Webhook endpoints for merchants, and the body of what they are told: the event as `GET /v1/events` shows it, with the time
//! as Standard Webhooks wants it.

use super::{EventView, seconds, text};
use portolan_domain::ids::{EventId, Mode, WebhookId};
use portolan_domain::payment::fact::Event;
use portolan_domain::webhook::{Answer, Delivery, WebhookEndpoint};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a merchant is told.
#[derive(Serialize)]
pub struct WebhookBody<T> {
    /// RFC 3339.
    timestamp: String,
    #[serde(flatten)]
    told: T,
}

#[derive(Serialize)]
struct Test {
    #[serde(serialize_with = "text")]
    id: EventId,
    object: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    created: u64,
    livemode: bool,
    data: Nothing,
}

#[derive(Serialize)]
struct Nothing {}

fn timestamp(at_ms: u64) -> String {
    let nanos = i128::from(at_ms).saturating_mul(1_000_000);
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

impl WebhookBody<()> {
    /// Of an event.
    pub fn of(event: &Event) -> String {
        let body = WebhookBody {
            timestamp: timestamp(event.at_ms),
            told: EventView::of(event),
        };
        serde_json::to_string(&body).unwrap_or_default()
    }

    /// Of nothing: to see whether an endpoint hears.
    pub fn test(id: EventId, mode: Mode, now_ms: u64) -> String {
        let body = WebhookBody {
            timestamp: timestamp(now_ms),
            told: Test {
                id,
                object: "event",
                kind: "webhook.test",
                created: seconds(now_ms),
                livemode: mode == Mode::Live,
                data: Nothing {},
            },
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// Where a merchant is told of events.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "WebhookEndpoint")]
pub struct WebhookEndpointView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String", regex(pattern = "^we_[0-9a-f]{32}$"))]
    id: WebhookId,
    object: &'static str,
    url: &'a str,
    /// Names, or families as `refund.*`; all, if empty.
    events: &'a [String],
    description: Option<&'a str>,
    /// `enabled`; `failing`: it took none of several, and is probed until it does; `disabled`: nothing is sent.
    status: &'static str,
    /// Why it is disabled: `gone`, `failing`.
    reason: Option<&'static str>,
    /// The router's key to what it signs for this merchant besides (`v1a`, Ed25519): who has a message can show it to others.
    public_key: Option<String>,
    /// What messages are signed with: shown when it is made, and when it is rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Messages that were not taken and are sent again.
    waiting: usize,
    delivered: u64,
    /// Messages that were sent for three days while others were taken.
    given_up: u64,
    /// The last of these: `GET /v1/events` still has them.
    #[schemars(with = "Vec<String>")]
    given_up_events: Vec<String>,
    failing_since: Option<u64>,
    /// When something is sent again.
    next_try_at: Option<u64>,
    last_delivery: Option<DeliveryReport<'a>>,
    livemode: bool,
    created: u64,
    /// Whether it was removed by this call.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

/// The last message, and what came of it.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "WebhookDelivery")]
struct DeliveryReport<'a> {
    at: u64,
    status: Option<u16>,
    error: Option<&'a str>,
}

impl<'a> DeliveryReport<'a> {
    fn of(last: &'a Delivery) -> Self {
        Self {
            at: seconds(last.at_ms),
            status: last.status,
            error: last.why.as_deref(),
        }
    }
}

impl<'a> WebhookEndpointView<'a> {
    /// The endpoint as its merchant sees it, with the router's key; `secret` only when it is new.
    pub fn of(endpoint: &'a WebhookEndpoint, public_key: Option<String>, secret: Option<String>) -> Self {
        Self {
            id: endpoint.id,
            object: "webhook_endpoint",
            url: &endpoint.url,
            events: &endpoint.events,
            description: endpoint.description.as_deref(),
            status: status_of(endpoint),
            reason: endpoint.disabled.map(|why| why.as_str()),
            public_key,
            secret,
            waiting: endpoint.parked.len(),
            delivered: endpoint.delivered,
            given_up: endpoint.given_up,
            given_up_events: endpoint.lost.iter().map(ToString::to_string).collect(),
            failing_since: endpoint.failing.map(|it| seconds(it.since_ms)),
            next_try_at: endpoint.next_ms().map(seconds),
            last_delivery: endpoint.last.as_ref().map(DeliveryReport::of),
            livemode: endpoint.mode == Mode::Live,
            created: seconds(endpoint.created_ms),
            removed: false,
        }
    }

    /// The same, gone.
    pub fn removed(endpoint: &'a WebhookEndpoint, public_key: Option<String>) -> Self {
        Self {
            removed: true,
            ..Self::of(endpoint, public_key, None)
        }
    }
}

/// The word for how an endpoint is.
pub fn status_of(endpoint: &WebhookEndpoint) -> &'static str {
    match endpoint.disabled {
        Some(_) => "disabled",
        None if endpoint.failing.is_some() => "failing",
        None => "enabled",
    }
}

/// What came of a test message.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "WebhookTest")]
pub struct WebhookTestView {
    object: &'static str,
    delivered: bool,
    status: Option<u16>,
    error: Option<String>,
}

impl WebhookTestView {
    /// As its merchant sees it.
    pub fn of(answer: Answer) -> Self {
        let (delivered, status, error) = match answer {
            Answer::Taken(status) => (true, Some(status), None),
            Answer::Gone => (
                false,
                Some(410),
                Some("gone: with an event it would be disabled".to_owned()),
            ),
            Answer::NotTaken { status, why, .. } => (false, status, Some(why)),
        };
        Self {
            object: "webhook_test",
            delivered,
            status,
            error,
        }
    }
}
