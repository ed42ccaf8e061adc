//! The table of the merchant API: for each route how it is served, which scope it needs, what it takes and what it gives.
//! The router and the OpenAPI document are both made from it, so they cannot differ.

use super::Api;
use super::v1::{beneficiaries, books, lists, methods, payments, payouts, quotes, recommend, refunds, routes};
use crate::wire::{
    BalancesView, DisputeView, EventView, ListView, MethodView, OffersView, PaymentView, PayoutView, PostingView,
    QuoteView, RefundView, RoutingView, RuleSetView, StatementView, StoredBeneficiaryView,
};
use axum::routing::{MethodRouter, get, post};
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
                        "payer": object(json!({ "country": { "type": "string", "pattern": "^[A-Z]{2}$" } })),
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

fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn required(names: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
}

fn minor(description: &str) -> Value {
    json!({ "description": description, "oneOf": [{ "type": "integer" }, { "type": "string", "pattern": "^[0-9]{1,38}$" }] })
}

fn reason() -> Value {
    json!({ "type": "string", "maxLength": 500 })
}

fn create_payment() -> Value {
    required(
        &["amount", "currency"],
        json!({
            "amount": minor("Minor units: 1099 is 10.99 EUR"),
            "currency": { "type": "string", "description": "ISO 4217" },
            "capture_method": { "enum": ["automatic", "manual"], "default": "automatic" },
            "payment_method": { "type": "string", "pattern": "^pm_[0-9a-f]{32}$" },
            "payment_method_type": { "type": "string", "description": "wallet:NAME or token:CODE, where it is no stored card" },
            "quote": { "type": "string", "pattern": "^qt_[0-9a-f]{32}$", "description": "What the merchant gets for it" },
            "if_rate_lost": { "enum": ["requote", "hold", "refund"], "default": "requote" },
            "deliver": deliver(),
            "max_slippage_bps": { "type": "integer", "minimum": 0, "maximum": 1000, "default": 0 },
            "confirm": { "type": "boolean", "default": false },
            "description": { "type": "string", "maxLength": 1000 },
            "statement_descriptor": { "type": "string", "maxLength": 22 },
            "return_url": { "type": "string", "format": "uri" },
            "payer": object(json!({
                "name": { "type": "string" }, "email": { "type": "string" },
                "country": { "type": "string", "pattern": "^[A-Z]{2}$", "description": "ISO 3166-1; a fact for routing" },
            })),
            "metadata": { "type": "object", "maxProperties": 50, "additionalProperties": { "type": "string", "maxLength": 500 } },
        }),
    )
}

fn evaluate_route() -> Value {
    required(
        &["amount", "currency"],
        json!({
            "amount": minor("Minor units"),
            "currency": { "type": "string", "description": "ISO 4217" },
            "capture_method": { "enum": ["automatic", "manual"], "default": "automatic" },
            "payment_method": { "type": "string", "pattern": "^pm_[0-9a-f]{32}$" },
            "payment_method_type": { "type": "string", "description": "wallet:NAME or token:CODE" },
            "card": object(json!({
                "network": { "type": "string", "description": "Where no card is stored: visa, mastercard, …" },
                "bin": { "type": "string", "description": "Its first six digits" },
            })),
            "payer": object(json!({ "country": { "type": "string", "pattern": "^[A-Z]{2}$" } })),
            "rules": { "type": "object", "description": "A set to try instead of the one in force" },
        }),
    )
}

fn rule_set() -> Value {
    let channels = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
    let rule = required(
        &["name"],
        json!({
            "name": { "type": "string", "maxLength": 80 },
            "when": { "type": "string", "maxLength": 1000, "description": "CEL over payment.*, card.* and payer.*; always, if absent" },
            "prefer": channels, "exclude": channels,
            "split": { "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 } },
            "sticky": { "type": "boolean", "description": "The same channel for the same card" },
            "attempts": { "type": "integer", "minimum": 1 },
        }),
    );
    let test = required(
        &["name", "payment", "applies"],
        json!({
            "name": { "type": "string" },
            "payment": required(&["amount", "currency"], json!({
                "amount": { "type": "integer" }, "currency": { "type": "string" }, "method": { "type": "string", "default": "card" },
                "kind": { "enum": ["payment", "payout"], "default": "payment" }, "manual_capture": { "type": "boolean" },
            })),
            "card": object(json!({ "network": { "type": "string" }, "bin": { "type": "string" } })),
            "payer": object(json!({ "country": { "type": "string" } })),
            "applies": { "type": "array", "items": { "type": "string" }, "description": "The rules that apply, in order" },
        }),
    );
    required(
        &["rules"],
        json!({
            "rules": { "type": "array", "items": rule, "maxItems": 100 },
            "tests": { "type": "array", "items": test, "maxItems": 200 },
        }),
    )
}

fn create_quote() -> Value {
    let side = |what: &str| {
        required(
            &["currency"],
            json!({ "amount": minor(what), "currency": { "type": "string", "description": "ISO 4217, or a token's code" } }),
        )
    };
    required(
        &["source", "destination"],
        json!({
            "source": side("What the payer pays: fix this side or the other, never both"),
            "destination": side("What the merchant gets"),
            "lock_seconds": { "type": "integer", "minimum": 1, "maximum": 86400, "default": 900 },
        }),
    )
}

fn create_beneficiary() -> Value {
    let mut body = beneficiary();
    if let Some(fields) = body.pointer_mut("/properties").and_then(Value::as_object_mut) {
        fields.insert("currency".into(), json!({ "type": "string" }));
    }
    if let Some(required) = body.pointer_mut("/required").and_then(Value::as_array_mut) {
        required.push("currency".into());
    }
    body
}

fn beneficiary() -> Value {
    let text = json!({ "type": "string", "maxLength": 70 });
    required(
        &["type", "name", "country", "account"],
        json!({
            "type": { "enum": ["person", "company"] },
            "name": { "type": "string", "maxLength": 140 },
            "country": { "type": "string", "pattern": "^[A-Z]{2}$" },
            "address": object(json!({ "line1": text, "line2": text, "city": text, "postcode": text })),
            "account": {
                "type": "object", "additionalProperties": { "type": "string" },
                "description": "iban; or network and address; or what the corridor's requirements name",
            },
        }),
    )
}

/// Who is paid: said here, or stored before.
fn beneficiary_or_id() -> Value {
    let stored = json!({ "type": "string", "pattern": "^ben_[0-9a-f]{32}$", "description": "A stored one" });
    json!({ "anyOf": [beneficiary(), stored] })
}

fn deliver() -> Value {
    let mut body = required(
        &["beneficiary"],
        json!({
            "beneficiary": beneficiary_or_id(),
            "purpose": { "type": "string", "maxLength": 35, "description": "Where the corridor wants one" },
            "reference": { "type": "string", "maxLength": 140, "description": "What the beneficiary reads" },
            "charge_bearer": { "enum": ["originator", "shared", "beneficiary"], "default": "shared" },
        }),
    );
    if let Some(fields) = body.as_object_mut() {
        let what = "What the quote brings goes on to this beneficiary, as a payout; the key needs payouts:write";
        fields.insert("description".into(), what.into());
    }
    body
}

fn create_payout() -> Value {
    let beneficiary = beneficiary_or_id();
    required(
        &["amount", "currency", "beneficiary"],
        json!({
            "amount": minor("Minor units"), "currency": { "type": "string" }, "beneficiary": beneficiary,
            "purpose": { "type": "string", "maxLength": 35, "description": "Where the corridor wants one" },
            "reference": { "type": "string", "maxLength": 140, "description": "What the beneficiary reads" },
            "charge_bearer": { "enum": ["originator", "shared", "beneficiary"], "default": "shared" },
            "description": { "type": "string", "maxLength": 1000 },
            "metadata": { "type": "object", "maxProperties": 50, "additionalProperties": { "type": "string", "maxLength": 500 } },
        }),
    )
}

fn store_card() -> Value {
    let card = required(
        &["number", "expiry_month", "expiry_year"],
        json!({
            "number": { "type": "string" }, "expiry_month": { "type": "integer" }, "expiry_year": { "type": "integer" },
            "security_code": { "type": "string", "description": "Never written down: 15 minutes in memory" },
            "holder": { "type": "string" },
        }),
    );
    required(&["type", "card"], json!({ "type": { "const": "card" }, "card": card }))
}
