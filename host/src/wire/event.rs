//! A fact for merchants. It holds no personal data, so it shows what changed, not the whole payment.

use super::authentication::asking;
use super::{Minor, seconds, text, text_or_null};
use portolan_domain::ids::{AttemptId, DisputeId, EventId, Mode, OperationId, PaymentId, PayoutId};
use portolan_domain::operation::{Kind, Retry};
use portolan_domain::payment::fact::{Event, Fact};
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

/// An event.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Event")]
pub struct EventView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    id: EventId,
    object: &'static str,
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    created: u64,
    /// Counts the payment's events from 1.
    sequence: u32,
    livemode: bool,
    data: EventData<'a>,
}

/// What it is about.
#[derive(Serialize, JsonSchema)]
struct EventData<'a> {
    #[serde(serialize_with = "text_or_null")]
    #[schemars(with = "Option<String>")]
    payment: Option<PaymentId>,
    /// In the place of `payment`, where the money goes out.
    #[serde(serialize_with = "text_or_null", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    payout: Option<PayoutId>,
    #[serde(serialize_with = "text_or_null")]
    #[schemars(with = "Option<String>")]
    attempt: Option<AttemptId>,
    #[serde(serialize_with = "text_or_null")]
    #[schemars(with = "Option<String>")]
    operation: Option<OperationId>,
    #[serde(serialize_with = "text_or_null", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    dispute: Option<DisputeId>,
    amount: Option<Minor>,
    currency: Option<&'a str>,
    detail: EventDetail<'a>,
}

/// What else changed; absent where it says nothing.
#[derive(Serialize, JsonSchema, Default)]
struct EventDetail<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decline_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_code: Option<&'a str>,
    /// Who asks that the payer be authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_asked_by: Option<&'static str>,
    /// What a decline allows next.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// The merchant's rule that brought it about.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    /// What it brought about: `refuse`, `authenticate` or `warn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
}

impl<'a> EventView<'a> {
    /// The event as its merchant sees it.
    pub fn of(event: &'a Event) -> Self {
        let money = match &event.fact {
            Fact::Created { amount, .. }
            | Fact::Authorized { amount, .. }
            | Fact::Captured { amount, .. }
            | Fact::Refunded { amount, .. }
            | Fact::Returned { amount, .. }
            | Fact::Settled { gross: amount, .. }
            | Fact::DeliveryMoved { amount, .. }
            | Fact::DisputeOpened { amount, .. }
            | Fact::DisputeSettled { gross: amount, .. }
            | Fact::Banked { net: amount, .. }
            | Fact::Booked { amount, .. }
            | Fact::RateLocked { owed: amount, .. }
            | Fact::Requoted { owed: amount, .. }
            | Fact::Converted { owed: amount, .. }
            | Fact::LateSuccess { amount, .. }
            | Fact::LateSettled { amount, .. } => Some(amount),
            // What lies at the address is swept, whatever that is.
            Fact::FollowUpStarted { kind, amount, .. } if *kind != Kind::Sweep => Some(amount),
            _ => None,
        };
        Self {
            id: event.id,
            object: "event",
            kind: event.name(),
            created: seconds(event.at_ms),
            sequence: event.number,
            livemode: event.mode == Mode::Live,
            data: EventData {
                payment: Some(event.payment).filter(|_| !event.is_payout),
                payout: Some(PayoutId(event.payment.0)).filter(|_| event.is_payout),
                attempt: event.fact.attempt(),
                operation: event.fact.follow_up(),
                dispute: event.fact.dispute(),
                amount: money.map(|money| Minor(money.minor())),
                currency: money.map(|money| money.asset().code()),
                detail: EventDetail::of(&event.fact),
            },
        }
    }
}

impl<'a> EventDetail<'a> {
    fn of(fact: &'a Fact) -> Self {
        let nothing = Self::default();
        match fact {
            Fact::AttemptStarted {
                channel,
                adapter,
                authenticate,
                ..
            } => Self {
                channel: Some(channel.as_str()),
                adapter: Some(adapter),
                authentication_asked_by: authenticate.as_ref().map(asking),
                ..nothing
            },
            Fact::AttemptDeclined {
                reason,
                provider_code,
                network_code,
                retry,
                ..
            } => Self {
                decline_reason: Some(reason),
                provider_code: Some(provider_code),
                network_code: network_code.as_deref(),
                advice: retry.map(Retry::as_str),
                ..nothing
            },
            Fact::AttemptNoEffect { why: code, .. } | Fact::Failed { code } => Self {
                code: Some(code),
                ..nothing
            },
            Fact::Flagged { flag } => Self {
                rule: Some(&flag.rule),
                effect: Some(flag.effect.as_str()),
                reason: Some(&flag.why),
                ..nothing
            },
            Fact::AttemptReleased { by, .. } => Self {
                by: Some(by),
                ..nothing
            },
            Fact::Settled { channel, .. }
            | Fact::DisputeSettled { channel, .. }
            | Fact::Banked { bank: channel, .. }
            | Fact::Booked { bank: channel, .. }
            | Fact::RateLocked { channel, .. }
            | Fact::Requoted { channel, .. }
            | Fact::Converted { channel, .. } => Self {
                channel: Some(channel.as_str()),
                ..nothing
            },
            Fact::DeliveryMoved { why: Some(reason), .. } => Self {
                reason: Some(reason),
                ..nothing
            },
            Fact::DisputeOpened { channel, reason, .. } => Self {
                channel: Some(channel.as_str()),
                reason: Some(reason),
                ..nothing
            },
            Fact::ConversionHeld { why: reason }
            | Fact::Returned { reason, .. }
            | Fact::Canceled { reason }
            | Fact::FollowUpFailed { reason, .. } => Self {
                reason: Some(reason),
                ..nothing
            },
            _ => nothing,
        }
    }
}
