//! The table of the merchant API: for each route how it is served, which scope it needs, what it takes and what it gives.
//! The router and the OpenAPI document are both made from it, so they cannot differ.

mod bodies;

use super::Api;
use super::v1::{
    approvers, beneficiaries, books, lists, methods, payments, payouts, quotes, recommend, refunds, routes, webhooks,
};
use crate::wire::{
    ApprovalsView, ApproverView, BalancesView, CreationView, DisputeView, EventView, ListView, MethodView, OffersView,
    PaymentView, PayoutView, PostingView, QuoteView, RefundView, RoutingView, RuleSetView, StatementView,
    StoredBeneficiaryView, WebhookEndpointView, WebhookTestView,
};
use axum::routing::{MethodRouter, get, post};
use bodies::{
    create_beneficiary, create_payment, create_payout, create_quote, evaluate_route, minor, object, reason, required,
    rule_set, store_card,
};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

/// One route.
pub struct Endpoint {
    /// `get` or `post`.
    pub method: &'static str,
    /// With its parameters in braces.
    pub path: &'static str,
    /// What a key must open.
    pub scope: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The body's schema; `None`: it takes none.
    pub body: Option<Value>,
    /// Whether an Idempotency-Key is required.
    pub is_idempotent: bool,
    /// Parameters of a list, besides the path's.
    pub query: &'static [&'static str],
    /// The answer's schema.
    pub gives: fn(&mut SchemaGenerator) -> Schema,
    /// How it is served.
    pub handler: MethodRouter<Api>,
}

/// What every list takes.
const LIST: &[&str] = &["limit", "starting_after", "ending_before", "created[gte]"];
const EVENTS: &[&str] = &[
    "limit",
    "starting_after",
    "ending_before",
    "created[gte]",
    "payment",
    "payout",
];

fn shows<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A route that only reads.
fn reads(
    (path, scope, summary): (&'static str, &'static str, &'static str),
    query: &'static [&'static str],
    gives: fn(&mut SchemaGenerator) -> Schema,
    handler: MethodRouter<Api>,
) -> Endpoint {
    Endpoint {
        method: "get",
        path,
        scope,
        summary,
        body: None,
        is_idempotent: false,
        query,
        gives,
        handler,
    }
}

/// A route that may move money.
fn writes(
    (path, scope, summary): (&'static str, &'static str, &'static str),
    body: Value,
    gives: fn(&mut SchemaGenerator) -> Schema,
    handler: MethodRouter<Api>,
) -> Endpoint {
    Endpoint {
        method: "post",
        path,
        scope,
        summary,
        body: Some(body),
        is_idempotent: true,
        query: &[],
        gives,
        handler,
    }
}

/// Every route that takes a key.
pub fn endpoints() -> Vec<Endpoint> {
    let mut all = on_payments();
    all.extend(across_borders());
    all.extend(on_routes());
    all.extend(on_the_rest());
    all.extend(on_webhooks());
    all.extend(on_approvals());
    all
}

fn on_payments() -> Vec<Endpoint> {
    vec![
        writes(
            (
                "/v1/payments",
                "payments:write",
                "Create a payment; with confirm, carry it out in the same call",
            ),
            create_payment(),
            shows::<PaymentView<'_>>,
            post(payments::create),
        ),
        reads(
            ("/v1/payments", "payments:read", "List payments, the newest first"),
            LIST,
            shows::<ListView<PaymentView<'_>>>,
            get(lists::payments),
        ),
        reads(
            ("/v1/payments/{id}", "payments:read", "Show a payment"),
            &["expand[]"],
            shows::<PaymentView<'_>>,
            get(lists::payment),
        ),
        writes(
            (
                "/v1/payments/{id}/confirm",
                "payments:write",
                "Carry out a payment that was created before",
            ),
            object(json!({
                "payment_method": { "type": "string", "pattern": "^pm_[0-9a-f]{32}$" },
                "security_code": { "type": "string", "description": "Lives in memory, for this attempt" },
                "approval": bodies::approval(),
            })),
            shows::<PaymentView<'_>>,
            post(payments::confirm),
        ),
        writes(
            (
                "/v1/payments/{id}/capture",
                "payments:write",
                "Take what was authorized, or part of it",
            ),
            object(json!({
                "amount": minor("All that is left if absent"),
                "final": { "type": "boolean", "default": true, "description": "Nothing more will be captured" },
            })),
            shows::<PaymentView<'_>>,
            post(payments::capture),
        ),
        writes(
            (
                "/v1/payments/{id}/cancel",
                "payments:write",
                "Give a payment up before its money is taken",
            ),
            object(json!({ "reason": reason() })),
            shows::<PaymentView<'_>>,
            post(payments::cancel),
        ),
    ]
}

fn across_borders() -> Vec<Endpoint> {
    vec![
        Endpoint {
            is_idempotent: false,
            ..writes(
                (
                    "/v1/quotes",
                    "quotes:write",
                    "Ask every exchange what one currency costs in another, all in",
                ),
                create_quote(),
                shows::<QuoteView<'_>>,
                post(quotes::create),
            )
        },
        reads(
            ("/v1/quotes/{id}", "quotes:write", "Show a quote"),
            &[],
            shows::<QuoteView<'_>>,
            get(quotes::show),
        ),
        reads(
            (
                "/v1/corridors",
                "payouts:read",
                "List where payouts may go, and what each needs",
            ),
            &[],
            shows::<ListView<serde_json::Value>>,
            get(quotes::corridors),
        ),
        writes(
            (
                "/v1/payouts",
                "payouts:write",
                "Pay a beneficiary out of what is available",
            ),
            create_payout(),
            shows::<PayoutView<'_>>,
            post(payouts::create),
        ),
        Endpoint {
            is_idempotent: false,
            ..writes(
                (
                    "/v1/beneficiaries",
                    "payouts:write",
                    "Store whom payouts go to, checked by the corridor's rules",
                ),
                create_beneficiary(),
                shows::<StoredBeneficiaryView<'_>>,
                post(beneficiaries::create),
            )
        },
        reads(
            (
                "/v1/beneficiaries",
                "payouts:read",
                "List stored beneficiaries, the newest first",
            ),
            LIST,
            shows::<ListView<StoredBeneficiaryView<'_>>>,
            get(beneficiaries::list),
        ),
        reads(
            ("/v1/beneficiaries/{id}", "payouts:read", "Show a stored beneficiary"),
            &[],
            shows::<StoredBeneficiaryView<'_>>,
            get(beneficiaries::show),
        ),
        Endpoint {
            method: "post",
            ..reads(
                (
                    "/v1/beneficiaries/{id}/remove",
                    "payouts:write",
                    "Forget a stored beneficiary",
                ),
                &[],
                shows::<StoredBeneficiaryView<'_>>,
                post(beneficiaries::remove),
            )
        },
        reads(
            ("/v1/payouts", "payouts:read", "List payouts, the newest first"),
            LIST,
            shows::<ListView<PayoutView<'_>>>,
            get(payouts::list),
        ),
        reads(
            ("/v1/payouts/{id}", "payouts:read", "Show a payout"),
            &[],
            shows::<PayoutView<'_>>,
            get(payouts::show),
        ),
    ]
}

fn on_routes() -> Vec<Endpoint> {
    vec![
        Endpoint {
            is_idempotent: false,
            ..writes(
                (
                    "/v1/routes/evaluate",
                    "routes:read",
                    "Say where such a payment would go now, and why; nothing is done",
                ),
                evaluate_route(),
                shows::<RoutingView<'_>>,
                post(routes::evaluate),
            )
        },
        Endpoint {
            is_idempotent: false,
            ..writes(
                (
                    "/v1/routes/rules",
                    "routes:write",
                    "Put a set of rules in force, as the next version; its tests must pass",
                ),
                rule_set(),
                shows::<RuleSetView<'_>>,
                post(routes::put),
            )
        },
        Endpoint {
            is_idempotent: false,
            ..writes(
                (
                    "/v1/payment_methods/recommend",
                    "quotes:write",
                    "Rank the ways to pay for this payer, with prices that hold and the reasons",
                ),
                required(
                    &["amount", "currency"],
                    json!({
                        "amount": minor("What the merchant is to get, in minor units"),
                        "currency": { "type": "string" },
                        "payer": object(json!({
                            "country": { "type": "string", "pattern": "^[A-Z]{2}$" },
                            "ip_country": { "type": "string", "pattern": "^[A-Z]{2}$" },
                        })),
                        "shipping": bodies::shipping(),
                        "card": object(json!({ "network": { "type": "string" } })),
                    }),
                ),
                shows::<OffersView<'_>>,
                post(recommend::recommend),
            )
        },
        reads(
            (
                "/v1/routes/rules",
                "routes:read",
                "List the sets of rules, the newest first: it is in force",
            ),
            &["limit"],
            shows::<ListView<RuleSetView<'_>>>,
            get(routes::list),
        ),
    ]
}

fn on_approvals() -> Vec<Endpoint> {
    let invite = json!({ "type": "string", "description": "The code that the router's operator gave" });
    let takes = |(path, summary): (&'static str, &'static str), body, gives, handler| Endpoint {
        is_idempotent: false,
        ..writes((path, "payouts:write", summary), body, gives, handler)
    };
    vec![
        reads(
            (
                "/v1/approvals",
                "payouts:read",
                "Show what has to be approved before it goes out, and by whom",
            ),
            &[],
            shows::<ApprovalsView<'_>>,
            get(approvers::show),
        ),
        takes(
            (
                "/v1/approvers/options",
                "What a browser needs to make a passkey for one of your people that was invited; else 403 not_invited",
            ),
            required(&["invite"], json!({ "invite": invite })),
            shows::<CreationView>,
            post(approvers::options),
        ),
        takes(
            ("/v1/approvers", "Take the passkey of one that was invited"),
            required(
                &["invite", "credential"],
                json!({ "invite": invite, "credential": { "type": "object", "description": "credential.toJSON() of the new passkey" } }),
            ),
            shows::<ApproverView<'_>>,
            post(approvers::register),
        ),
    ]
}

fn on_webhooks() -> Vec<Endpoint> {
    let does = |(path, summary): (&'static str, &'static str), handler| Endpoint {
        method: "post",
        ..reads(
            (path, "webhooks:write", summary),
            &[],
            shows::<WebhookEndpointView<'_>>,
            handler,
        )
    };
    vec![
        Endpoint {
            is_idempotent: false,
            ..writes(
                (
                    "/v1/webhook_endpoints",
                    "webhooks:write",
                    "Say where to be told of events; the secret is shown once",
                ),
                bodies::create_webhook(),
                shows::<WebhookEndpointView<'_>>,
                post(webhooks::create),
            )
        },
        reads(
            (
                "/v1/webhook_endpoints",
                "events:read",
                "List webhook endpoints, the newest first",
            ),
            &[],
            shows::<ListView<WebhookEndpointView<'_>>>,
            get(webhooks::list),
        ),
        reads(
            (
                "/v1/webhook_endpoints/{id}",
                "events:read",
                "Show a webhook endpoint, and what came of its last message",
            ),
            &[],
            shows::<WebhookEndpointView<'_>>,
            get(webhooks::show),
        ),
        Endpoint {
            body: Some(bodies::update_webhook()),
            ..does(
                (
                    "/v1/webhook_endpoints/{id}/update",
                    "Change where, of what, or the description; what is not named stays",
                ),
                post(webhooks::update),
            )
        },
        does(
            (
                "/v1/webhook_endpoints/{id}/rotate_secret",
                "Make a new secret; the one before signs beside it for a day",
            ),
            post(webhooks::rotate),
        ),
        does(
            (
                "/v1/webhook_endpoints/{id}/enable",
                "Send again what waits, and then what came meanwhile",
            ),
            post(webhooks::enable),
        ),
        Endpoint {
            body: Some(bodies::replay_webhook()),
            ..does(
                (
                    "/v1/webhook_endpoints/{id}/replay",
                    "Tell this endpoint again, from an event on; messages keep their ids",
                ),
                post(webhooks::replay),
            )
        },
        Endpoint {
            gives: shows::<WebhookTestView>,
            ..does(
                (
                    "/v1/webhook_endpoints/{id}/test",
                    "Send a message that tells nothing, and say what came of it",
                ),
                post(webhooks::test),
            )
        },
        does(
            ("/v1/webhook_endpoints/{id}/remove", "Tell this endpoint no more"),
            post(webhooks::remove),
        ),
    ]
}

fn on_the_rest() -> Vec<Endpoint> {
    vec![
        writes(
            (
                "/v1/refunds",
                "refunds:write",
                "Give back what was captured, or part of it",
            ),
            required(
                &["payment"],
                json!({
                    "payment": { "type": "string", "pattern": "^pay_[0-9a-f]{32}$" },
                    "amount": minor("All that is left if absent"), "reason": reason(),
                    "approval": bodies::approval(),
                    "deliver": bodies::deliver("To whom a token that came on a chain is paid: a chain gives nothing back by itself"),
                    "rate": {
                        "enum": ["original", "current"], "default": "original",
                        "description": "Of what was exchanged; at the current rate the merchant bears the difference, at the original one the router",
                    },
                }),
            ),
            shows::<RefundView<'_>>,
            post(refunds::create),
        ),
        reads(
            ("/v1/refunds", "payments:read", "List refunds, the newest first"),
            LIST,
            shows::<ListView<RefundView<'_>>>,
            get(lists::refunds),
        ),
        reads(
            ("/v1/refunds/{id}", "payments:read", "Show a refund"),
            &[],
            shows::<RefundView<'_>>,
            get(lists::refund),
        ),
        reads(
            ("/v1/disputes", "payments:read", "List disputes, the newest first"),
            LIST,
            shows::<ListView<DisputeView<'_>>>,
            get(lists::disputes),
        ),
        reads(
            (
                "/v1/disputes/{id}",
                "payments:read",
                "Show a dispute, with what the router can say for the merchant",
            ),
            &[],
            shows::<DisputeView<'_>>,
            get(lists::dispute),
        ),
        Endpoint {
            is_idempotent: false,
            ..writes(
                (
                    "/v1/payment_methods",
                    "payment_methods:write",
                    "Store a card: the one route that takes a card number",
                ),
                store_card(),
                shows::<MethodView<'_>>,
                post(methods::create),
            )
        },
        reads(
            (
                "/v1/payment_methods/{id}",
                "payments:read",
                "Show a stored payment method",
            ),
            &[],
            shows::<MethodView<'_>>,
            get(methods::show),
        ),
        reads(
            ("/v1/events", "events:read", "List what happened, the newest first"),
            EVENTS,
            shows::<ListView<EventView<'_>>>,
            get(lists::events),
        ),
        reads(
            (
                "/v1/balances",
                "balances:read",
                "Show what the merchant is owed, by currency",
            ),
            &[],
            shows::<BalancesView<'_>>,
            get(books::balances),
        ),
        reads(
            (
                "/v1/postings",
                "balances:read",
                "Show what one payment or payout moved on the merchant's accounts",
            ),
            &["payment", "payout"],
            shows::<ListView<PostingView<'_>>>,
            get(books::list_postings),
        ),
        reads(
            (
                "/v1/statements",
                "balances:read",
                "Show what was booked in one currency in a time, as json, csv or camt.053",
            ),
            &["currency", "created[gte]", "created[lt]", "format"],
            shows::<StatementView<'_>>,
            get(books::show_statement),
        ),
    ]
}
