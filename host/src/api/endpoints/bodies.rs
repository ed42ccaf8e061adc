//! What the routes take: a JSON Schema for each body, as the OpenAPI document shows it.

use serde_json::{Value, json};

pub(super) fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

pub(super) fn required(names: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
}

pub(super) fn minor(description: &str) -> Value {
    json!({ "description": description, "oneOf": [{ "type": "integer" }, { "type": "string", "pattern": "^[0-9]{1,38}$" }] })
}

pub(super) fn reason() -> Value {
    json!({ "type": "string", "maxLength": 500 })
}

fn authentication() -> Value {
    json!({ "enum": ["automatic", "required"], "default": "automatic", "description": "Cards: required has the payer authenticated, whatever the issuer would let pass" })
}

pub(super) fn create_payment() -> Value {
    required(
        &["amount", "currency"],
        json!({
            "amount": minor("Minor units: 1099 is 10.99 EUR"),
            "currency": { "type": "string", "description": "ISO 4217" },
            "capture_method": { "enum": ["automatic", "manual"], "default": "automatic" },
            "payment_method": { "type": "string", "pattern": "^pm_[0-9a-f]{32}$" },
            "payment_method_type": { "type": "string", "description": "wallet:NAME or token:CODE, where it is no stored card" },
            "authentication": authentication(),
            "quote": { "type": "string", "pattern": "^qt_[0-9a-f]{32}$", "description": "What the merchant gets for it" },
            "if_rate_lost": { "enum": ["requote", "hold", "refund"], "default": "requote" },
            "deliver": deliver("What the quote brings goes on to this beneficiary, as a payout"),
            "approval": approval(),
            "max_slippage_bps": { "type": "integer", "minimum": 0, "maximum": 1000, "default": 0 },
            "confirm": { "type": "boolean", "default": false },
            "description": { "type": "string", "maxLength": 1000 },
            "statement_descriptor": { "type": "string", "maxLength": 22 },
            "return_url": { "type": "string", "format": "uri" },
            "payer": payer(),
            "shipping": shipping(),
            "metadata": { "type": "object", "maxProperties": 50, "additionalProperties": { "type": "string", "maxLength": 500 } },
        }),
    )
}

/// What comes with an order that was refused with `approval_required`, when it comes again.
pub(super) fn approval() -> Value {
    let mut approval = required(
        &["asked_at", "credentials"],
        json!({
            "asked_at": { "type": "integer", "description": "As it was asked" },
            "credentials": { "type": "array", "minItems": 1, "maxItems": 3, "items": { "type": "object", "description": "credential.toJSON() of one who approves" } },
        }),
    );
    if let Some(fields) = approval.as_object_mut() {
        let how = "Where your people approve what goes out: the answer to 403 approval_required, in the same order under the same Idempotency-Key";
        fields.insert("description".into(), how.into());
    }
    approval
}

fn payer() -> Value {
    let country = |what: &str| json!({ "type": "string", "pattern": "^[A-Z]{2}$", "description": what });
    object(json!({
        "name": { "type": "string" }, "email": { "type": "string" },
        "country": country("ISO 3166-1; a fact for rules"),
        "id": { "type": "string", "maxLength": 64, "description": "Your own id of the payer, visible ASCII (a long number with a letter in front: it may look like a card's); limits count by it, or by the e-mail" },
        "ip": { "type": "string", "description": "Where the payer comes from; limits count by it" },
        "ip_country": country("Where that address is, as far as you know; a fact for rules"),
    }))
}

pub(super) fn shipping() -> Value {
    object(
        json!({ "country": { "type": "string", "pattern": "^[A-Z]{2}$", "description": "Where goods go; a fact for rules" } }),
    )
}

pub(super) fn evaluate_route() -> Value {
    required(
        &["amount", "currency"],
        json!({
            "amount": minor("Minor units"),
            "currency": { "type": "string", "description": "ISO 4217" },
            "capture_method": { "enum": ["automatic", "manual"], "default": "automatic" },
            "payment_method": { "type": "string", "pattern": "^pm_[0-9a-f]{32}$" },
            "payment_method_type": { "type": "string", "description": "wallet:NAME or token:CODE" },
            "authentication": authentication(),
            "card": object(json!({
                "network": { "type": "string", "description": "Where no card is stored: visa, mastercard, …" },
                "bin": { "type": "string", "description": "Its first six digits" },
            })),
            "payer": payer(),
            "shipping": shipping(),
            "rules": { "type": "object", "description": "A set to try instead of the one in force" },
        }),
    )
}

pub(super) fn rule_set() -> Value {
    let channels = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
    let rule = required(
        &["name"],
        json!({
            "name": { "type": "string", "maxLength": 80 },
            "when": { "type": "string", "maxLength": 1000, "description": "CEL over payment, card, payer, shipping and beneficiary; always, if absent" },
            "prefer": channels, "exclude": channels,
            "split": { "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 } },
            "sticky": { "type": "boolean", "description": "The same channel for the same card" },
            "attempts": { "type": "integer", "minimum": 1 },
            "authenticate": { "type": "boolean", "description": "Only with the payer authenticated, where it is a card" },
            "refuse": { "type": "boolean", "description": "Not at all" },
            "warn": { "type": "boolean", "description": "payment.flagged, and it goes its way" },
            "limit": required(&["per", "within"], json!({
                "per": { "enum": ["card", "payer", "ip", "beneficiary"] },
                "within": { "type": "string", "pattern": "^[0-9]{1,5}[smhd]$", "description": "1s to 30d" },
                "payments": { "type": "integer", "minimum": 1, "maximum": 500 },
                "cards": { "type": "integer", "minimum": 1, "maximum": 500 },
                "countries": { "type": "integer", "minimum": 1, "maximum": 500 },
                "total": { "type": "object", "additionalProperties": { "type": "integer", "minimum": 1 }, "description": "By currency, minor units" },
                "then": { "enum": ["refuse", "authenticate", "warn"], "default": "refuse" },
            })),
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
            "payer": object(json!({ "country": { "type": "string" }, "ip_country": { "type": "string" } })),
            "shipping": object(json!({ "country": { "type": "string" } })),
            "beneficiary": object(json!({ "country": { "type": "string" } })),
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

pub(super) fn create_quote() -> Value {
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

pub(super) fn create_beneficiary() -> Value {
    let mut body = beneficiary();
    if let Some(fields) = body.pointer_mut("/properties").and_then(Value::as_object_mut) {
        fields.insert("currency".into(), json!({ "type": "string" }));
    }
    if let Some(required) = body.pointer_mut("/required").and_then(Value::as_array_mut) {
        required.push("currency".into());
    }
    body
}

pub(super) fn beneficiary() -> Value {
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
pub(super) fn beneficiary_or_id() -> Value {
    let stored = json!({ "type": "string", "pattern": "^ben_[0-9a-f]{32}$", "description": "A stored one" });
    json!({ "anyOf": [beneficiary(), stored] })
}

/// To whom what a payment or a refund brings goes.
pub(super) fn deliver(what: &str) -> Value {
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
        let what = format!("{what}; the key needs payouts:write");
        fields.insert("description".into(), what.into());
    }
    body
}

pub(super) fn create_webhook() -> Value {
    required(&["url"], webhook())
}

pub(super) fn update_webhook() -> Value {
    object(webhook())
}

pub(super) fn replay_webhook() -> Value {
    let first = json!({ "type": "string", "pattern": "^evt_", "description": "The first event to be told again" });
    required(&["from"], json!({ "from": first }))
}

fn webhook() -> Value {
    json!({
        "url": { "type": "string", "format": "uri", "maxLength": 2048, "description": "https, on a public address" },
        "events": {
            "type": "array", "maxItems": 64, "items": { "type": "string", "pattern": "^[a-z]+\\.([a-z_]+|\\*)$" },
            "description": "Names, or families as refund.*; all, if absent or empty",
        },
        "description": { "type": "string", "maxLength": 200 },
    })
}

pub(super) fn create_payout() -> Value {
    let beneficiary = beneficiary_or_id();
    required(
        &["amount", "currency", "beneficiary"],
        json!({
            "amount": minor("Minor units"), "currency": { "type": "string" }, "beneficiary": beneficiary,
            "purpose": { "type": "string", "maxLength": 35, "description": "Where the corridor wants one" },
            "reference": { "type": "string", "maxLength": 140, "description": "What the beneficiary reads" },
            "charge_bearer": { "enum": ["originator", "shared", "beneficiary"], "default": "shared" },
            "approval": approval(),
            "description": { "type": "string", "maxLength": 1000 },
            "metadata": { "type": "object", "maxProperties": 50, "additionalProperties": { "type": "string", "maxLength": 500 } },
        }),
    )
}

pub(super) fn store_card() -> Value {
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
