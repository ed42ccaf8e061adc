//! What merchants see: payments, refunds, methods, events and balances as JSON. The one place where a domain type becomes
//! the API's: each view names its fields once, for the answer and for the OpenAPI document.

mod approval;
mod authentication;
mod balance;
mod dispute;
mod event;
mod offer;
mod payout;
mod quote;
mod refund;
mod routing;
mod statement;
mod webhook;

pub use approval::{ApprovalsView, ApproverView, CreationView};
use authentication::AuthenticationView;
pub use balance::BalancesView;
pub use dispute::DisputeView;
pub use event::EventView;
pub use offer::OffersView;
pub use payout::{DeliveryView, PayoutView, StoredBeneficiaryView};
pub use quote::QuoteView;
pub use refund::RefundView;
pub use routing::{RoutingView, RuleSetView};
pub use statement::{Holder, PostingView, StatementView, camt_053, csv, time_text};
pub use webhook::{WebhookBody, WebhookEndpointView, WebhookTestView, status_of};

use portolan_domain::commit::StoredAnswer;
use portolan_domain::ids::{Mode, OperationId, QuoteId};
use portolan_domain::money::Money;
use portolan_domain::operation::{Action, CardFacts, Instrument, Kind, reason};
use portolan_domain::payment::conversion::{Conversion, Leg, legs};
use portolan_domain::payment::{Attempt, LastError, Payment};
use portolan_domain::ports::{Method, Render};
use portolan_domain::risk::Flag;
use portolan_domain::routing::decision::Decision;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;

/// Renders answers as JSON.
pub struct Json;

impl Render for Json {
    fn payment(&self, payment: &Payment) -> StoredAnswer {
        match PayoutView::of(payment) {
            Some(payout) => answer(&payout),
            None => answer(&PaymentView::of(payment)),
        }
    }

    fn refund(&self, payment: &Payment, refund: OperationId) -> StoredAnswer {
        let view = payment.follow_up(refund).map(|refund| RefundView::of(payment, refund));
        answer(&view)
    }
}

fn answer<T: Serialize>(view: &T) -> StoredAnswer {
    match serde_json::to_vec(view) {
        Ok(body) => StoredAnswer { status: 200, body },
        Err(error) => {
            // A view is texts and numbers; nothing in it can fail.
            tracing::error!(%error, "an answer could not be written");
            StoredAnswer {
                status: 500,
                body: vec![],
            }
        }
    }
}

pub(crate) fn seconds(ms: u64) -> u64 {
    ms / 1_000
}

/// Writes what shows itself: ids, above all.
pub(crate) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(crate) fn text_or_null<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// Minor units: a number up to 2^53, where JSON readers that use floats begin to lose digits, then a text of digits.
#[derive(Clone, Copy)]
pub struct Minor(pub i128);

impl Serialize for Minor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(small) if small.unsigned_abs() < (1 << 53) => serializer.serialize_i64(small),
            _ => serializer.collect_str(&self.0),
        }
    }
}

impl JsonSchema for Minor {
    fn schema_name() -> Cow<'static, str> {
        "MinorUnits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Minor units of the currency; a text of digits from 2^53 on",
            "oneOf": [{ "type": "integer" }, { "type": "string", "pattern": "^-?[0-9]+$" }]
        })
    }
}

/// A payment: the merchant's instruction to move money, with all that became of it.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Payment")]
pub struct PaymentView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String", regex(pattern = "^pay_[0-9a-f]{32}$"))]
    id: portolan_domain::ids::PaymentId,
    object: &'static str,
    /// `requires_payment_method`, `requires_confirmation`, `requires_action`, `processing`, `requires_capture`,
    /// `succeeded`, `canceled` or `failed`.
    status: &'static str,
    amount: Minor,
    currency: &'a str,
    amount_authorized: Minor,
    amount_captured: Minor,
    amount_refunded: Minor,
    /// What of the captured the channel has settled.
    amount_settled: Minor,
    /// What of the captured channels keep for disputes.
    amount_disputed: Minor,
    capture_method: &'static str,
    #[serde(serialize_with = "text_or_null")]
    #[schemars(with = "Option<String>")]
    payment_method: Option<portolan_domain::ids::MethodId>,
    /// `card`, `wallet:…` or `token:…`.
    payment_method_type: Option<Cow<'a, str>>,
    card: Option<CardView<'a>>,
    /// What the merchant gets for it in another currency.
    settlement: Option<SettlementView<'a>>,
    /// To whom what is got goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryView<'a>>,
    /// What is done one after the other: collect, convert, deliver.
    legs: Vec<LegView>,
    next_action: Option<ActionView<'a>>,
    last_error: Option<ErrorView<'a>>,
    /// What the merchant's rules about risk brought about.
    flags: Vec<FlagView<'a>>,
    description: Option<&'a str>,
    statement_descriptor: Option<&'a str>,
    return_url: Option<&'a str>,
    /// `automatic` or `required`.
    authentication: &'static str,
    payer: PayerView<'a>,
    /// Where goods are sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    shipping: Option<ShippingView<'a>>,
    metadata: BTreeMap<&'a str, &'a str>,
    cancellation_reason: Option<&'a str>,
    attempts: Vec<AttemptView<'a>>,
    captures: Vec<RefundView<'a>>,
    refunds: Vec<RefundView<'a>>,
    /// The unique end-to-end transaction reference.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    uetr: uuid::Uuid,
    livemode: bool,
    created: u64,
    /// `unknown` while nobody knows what became of it: do not ask the payer to pay again.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_since: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_check_at: Option<u64>,
    /// With `expand[]=routing`: how its routes came about, one for each confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<Vec<RoutingView<'a>>>,
}

impl<'a> PaymentView<'a> {
    /// The payment as its merchant sees it.
    pub fn of(payment: &'a Payment) -> Self {
        let of_kind = |kind| {
            let of_kind = payment.follow_ups.iter().filter(|it| it.kind == kind);
            of_kind.map(|it| RefundView::of(payment, it)).collect()
        };
        let pair = |(key, value): &'a (String, String)| (key.as_str(), value.as_str());
        Self {
            id: payment.id,
            object: "payment",
            status: payment.status.as_str(),
            amount: Minor(payment.amount.minor()),
            currency: payment.amount.asset().code(),
            amount_authorized: Minor(payment.authorized.minor()),
            amount_captured: Minor(payment.captured.minor()),
            amount_refunded: Minor(payment.refunded.minor()),
            amount_settled: Minor(payment.settled.as_ref().map_or(0, Money::minor)),
            amount_disputed: Minor(payment.disputed().minor()),
            capture_method: if payment.manual_capture { "manual" } else { "automatic" },
            payment_method: payment.method(),
            payment_method_type: payment.instrument.as_ref().map(method_type),
            card: match &payment.instrument {
                Some(Instrument::Card(_, card)) => Some(CardView::of(card)),
                Some(Instrument::Wallet(_) | Instrument::Token(_)) | None => None,
            },
            settlement: payment.conversion.as_deref().map(SettlementView::of),
            delivery: DeliveryView::of(payment),
            legs: legs(payment).into_iter().map(LegView::of).collect(),
            next_action: payment.action.as_ref().map(ActionView::of),
            last_error: payment.last_error.as_ref().map(ErrorView::of),
            flags: payment.flags.iter().map(FlagView::of).collect(),
            description: payment.description.as_deref(),
            statement_descriptor: payment.statement_descriptor.as_deref(),
            return_url: payment.return_url.as_deref(),
            authentication: if payment.must_authenticate {
                "required"
            } else {
                "automatic"
            },
            payer: PayerView::of(payment),
            shipping: payment
                .shipping_country
                .as_deref()
                .map(|country| ShippingView { country }),
            metadata: payment.metadata.iter().map(pair).collect(),
            cancellation_reason: payment.cancel_reason.as_deref(),
            attempts: payment.attempts.iter().map(AttemptView::of).collect(),
            captures: of_kind(Kind::Capture),
            refunds: of_kind(Kind::Refund),
            uetr: payment.uetr,
            livemode: payment.mode == Mode::Live,
            created: seconds(payment.created_ms),
            outcome: payment.unknown.map(|_| "unknown"),
            unknown_since: payment.unknown.map(|unknown| seconds(unknown.since_ms)),
            next_check_at: payment.unknown.map(|unknown| seconds(unknown.next_check_ms)),
            routing: None,
        }
    }

    /// The same with its routes.
    pub fn with_routing(self, payment: &'a Payment, decisions: &'a [Decision]) -> Self {
        let next = decisions.iter().skip(1).map(|it| Some(it.at_ms)).chain([None]);
        let views = decisions
            .iter()
            .zip(next)
            .map(|(it, until)| RoutingView::of(it, Some(payment), until));
        Self {
            routing: Some(views.collect()),
            ..self
        }
    }
}

fn method_type(instrument: &Instrument) -> Cow<'_, str> {
    match instrument {
        Instrument::Card(..) => "card".into(),
        Instrument::Wallet(name) => format!("wallet:{name}").into(),
        Instrument::Token(code) => format!("token:{code}").into(),
    }
}

/// What the merchant gets in another currency, by the quote that the payment used.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Settlement")]
struct SettlementView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    quote: QuoteId,
    /// What is owed: promised first, given once it is exchanged.
    amount: Minor,
    currency: &'a str,
    /// Units of it for one of the payer's, all costs in.
    rate: String,
    channel: &'a str,
    /// The leg's state: `planned`, `submitted`, `unknown`, `succeeded`, `compensated`, `manual`, …
    status: &'static str,
    /// `requote`, `hold` or `refund`.
    if_rate_lost: &'static str,
    max_slippage_bps: u32,
    /// How often a fresh price was asked for.
    requotes: u32,
    expires_at: u64,
}

impl<'a> SettlementView<'a> {
    fn of(conversion: &'a Conversion) -> Self {
        let amount = conversion.given.as_ref().unwrap_or(&conversion.terms.owed);
        Self {
            quote: conversion.quote,
            amount: Minor(amount.minor()),
            currency: amount.asset().code(),
            rate: conversion.terms.rate.value().to_string(),
            channel: conversion.terms.channel.as_str(),
            status: conversion.state.as_str(),
            if_rate_lost: conversion.if_lost.as_str(),
            max_slippage_bps: conversion.slippage_bps,
            requotes: conversion.requotes,
            expires_at: seconds(conversion.terms.quotation.expires_ms),
        }
    }
}

/// One leg.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Leg")]
struct LegView {
    /// `collect` or `convert`.
    name: &'static str,
    status: &'static str,
    /// Before it giving up is free.
    pivot: bool,
    channel: Option<String>,
    amount: Minor,
    currency: String,
}

impl LegView {
    fn of(leg: Leg) -> Self {
        Self {
            name: leg.name,
            status: leg.state.as_str(),
            pivot: leg.is_pivot,
            channel: leg.channel.map(|channel| channel.to_string()),
            amount: Minor(leg.amount.minor()),
            currency: leg.amount.asset().code().to_owned(),
        }
    }
}

/// Who pays.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Payer")]
struct PayerView<'a> {
    name: Option<&'a str>,
    email: Option<&'a str>,
    /// ISO 3166-1 alpha-2.
    country: Option<&'a str>,
    /// The merchant's own id of the payer.
    id: Option<&'a str>,
    /// The address that the payer comes from.
    ip: Option<String>,
    /// Where that is, ISO 3166-1 alpha-2.
    ip_country: Option<&'a str>,
}

impl<'a> PayerView<'a> {
    fn of(payment: &'a Payment) -> Self {
        Self {
            name: payment.payer_name.as_deref(),
            email: payment.payer_email.as_deref(),
            country: payment.payer_country.as_deref(),
            id: payment.payer_id.as_deref(),
            ip: payment.payer_ip.map(|ip| ip.to_string()),
            ip_country: payment.ip_country.as_deref(),
        }
    }
}

/// Where goods are sent to.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Shipping")]
struct ShippingView<'a> {
    /// ISO 3166-1 alpha-2.
    country: &'a str,
}

/// What a rule about risk brought about.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Flag")]
pub struct FlagView<'a> {
    rule: &'a str,
    /// `refuse`, `authenticate` or `warn`.
    effect: &'static str,
    /// In words.
    why: &'a str,
}

impl<'a> FlagView<'a> {
    /// The flag as it is shown.
    pub fn of(flag: &'a Flag) -> Self {
        Self {
            rule: &flag.rule,
            effect: flag.effect.as_str(),
            why: &flag.why,
        }
    }
}

/// A card, as far as a merchant may see it.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Card")]
struct CardView<'a> {
    brand: &'a str,
    bin: &'a str,
    last4: &'a str,
    expiry_month: u8,
    expiry_year: u16,
    /// The same for the same number, and for nobody else to compute.
    fingerprint: &'a str,
    holder: Option<&'a str>,
}

impl<'a> CardView<'a> {
    fn of(card: &'a CardFacts) -> Self {
        Self {
            brand: &card.brand,
            bin: &card.bin,
            last4: &card.last4,
            expiry_month: card.expiry_month,
            expiry_year: card.expiry_year,
            fingerprint: &card.fingerprint,
            holder: card.holder.as_deref(),
        }
    }
}

/// What the payer has to do.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "NextAction")]
struct ActionView<'a> {
    /// `redirect`, `form`, `qr`, `transfer_to`, or the provider's own word.
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a [(String, String)]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    /// Exactly this much.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Minor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
}

impl<'a> ActionView<'a> {
    fn of(action: &'a Action) -> Self {
        let empty = Self {
            kind: "",
            url: None,
            fields: None,
            text: None,
            value: None,
            amount: None,
            currency: None,
        };
        match action {
            Action::Redirect(url) => Self {
                kind: "redirect",
                url: Some(url),
                ..empty
            },
            Action::Form(url, fields) => Self {
                kind: "form",
                url: Some(url),
                fields: Some(fields),
                ..empty
            },
            Action::Qr(text) => Self {
                kind: "qr",
                text: Some(text),
                ..empty
            },
            Action::TransferTo(address, money) => Self {
                kind: "transfer_to",
                value: Some(address),
                amount: Some(Minor(money.minor())),
                currency: Some(money.asset().code()),
                ..empty
            },
            Action::Other(kind, value) => Self {
                kind,
                value: Some(value),
                ..empty
            },
        }
    }
}

/// Why a payment failed.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "LastError")]
struct ErrorView<'a> {
    /// `card_declined`, `refused_by_rule` (a rule of the merchant's: `flags` says which), `card_blocked`, `too_many_attempts`,
    /// `no_route`, …
    code: &'a str,
    /// Why the provider said no: one of the examples, which are all that there are.
    #[schemars(extend("examples" = decline_reasons()))]
    decline_reason: Option<&'a str>,
    network_code: Option<&'a str>,
    /// `never`, `other_channel`, `later`, `after_authentication` or `after_correction`.
    advice: Option<&'a str>,
    /// Before this time another attempt is of no use.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<u64>,
    message: &'a str,
}

/// Every reason that a decline may have; earlier versions of the router told others too.
fn decline_reasons() -> Vec<&'static str> {
    reason::REASONS.iter().map(|(reason, _)| *reason).collect()
}

impl<'a> ErrorView<'a> {
    fn of(error: &'a LastError) -> Self {
        Self {
            code: &error.code,
            decline_reason: error.decline_reason.as_deref(),
            network_code: error.network_code.as_deref(),
            advice: error.advice.as_deref(),
            not_before: error.not_before_ms.map(seconds),
            message: &error.message,
        }
    }
}

/// One try through one channel.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Attempt")]
struct AttemptView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    id: portolan_domain::ids::AttemptId,
    channel: &'a str,
    status: &'static str,
    reference: Option<&'a str>,
    network_reference: Option<&'a str>,
    /// Where somebody asked for it, or the provider said something of it.
    authentication: Option<AuthenticationView<'a>>,
}

impl<'a> AttemptView<'a> {
    fn of(attempt: &'a Attempt) -> Self {
        Self {
            id: attempt.id,
            channel: attempt.channel.as_str(),
            status: attempt.status.as_str(),
            reference: attempt.reference.as_deref(),
            network_reference: attempt.network_reference.as_deref(),
            authentication: AuthenticationView::of(attempt),
        }
    }
}

/// A stored payment method.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "PaymentMethod")]
pub struct MethodView<'a> {
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    id: portolan_domain::ids::MethodId,
    object: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    card: CardView<'a>,
    livemode: bool,
    created: u64,
}

impl<'a> MethodView<'a> {
    /// The method as its merchant sees it.
    pub fn of(method: &'a Method) -> Self {
        Self {
            id: method.id,
            object: "payment_method",
            kind: "card",
            card: CardView::of(&method.card),
            livemode: method.mode == Mode::Live,
            created: seconds(method.created_ms),
        }
    }
}

/// A page of a list, the newest first.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "List{T}")]
pub struct ListView<T> {
    object: &'static str,
    data: Vec<T>,
    has_more: bool,
}

impl<T> ListView<T> {
    /// A page, of which one more than asked was read, to know whether there is more. The surplus is the one farthest from
    /// the cursor: the newest, where the list is read towards newer ones.
    pub fn of(limit: usize, is_backwards: bool, mut data: Vec<T>) -> Self {
        let has_more = data.len() >= limit;
        if has_more && is_backwards {
            data.drain(..data.len().saturating_sub(limit.saturating_sub(1)));
        }
        data.truncate(limit.saturating_sub(1));
        Self {
            object: "list",
            data,
            has_more,
        }
    }
}
