//! What the adapter says of itself: its capabilities and everything that it asks the operator for.

use crate::Sandbox;
use portolan_adapter::Adapter;
use portolan_adapter::types::{Capability, EndpointAsk, HarmlessAsk, KeyAsk, Manifest, Place, PlaceAsk, SecretAsk};

fn at(place: Place) -> Vec<PlaceAsk> {
    vec![PlaceAsk {
        endpoint: crate::ACQUIRER.into(),
        places: vec![place],
    }]
}

fn capability(of: &str) -> Capability {
    Capability {
        of: of.into(),
        idempotent_for_s: Some(86_400),
        found_by_key: true,
        not_found_final_after_s: Some(5),
        partial: true,
        multiple: true,
        assets: vec![],
    }
}

impl Adapter for Sandbox {
    fn describe() -> Manifest {
        Manifest {
            name: "dev.portolan.sandbox".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "A plain card acquirer".into(),
            methods: vec!["card".into()],
            countries: vec![],
            capabilities: ["payments", "captures", "refunds", "reversals"].map(capability).into(),
            endpoints: vec![EndpointAsk {
                name: crate::ACQUIRER.into(),
                purpose: "charges and everything about them".into(),
                live_url: "https://api.acquirer.example".into(),
                test_url: "http://127.0.0.1:4100".into(),
            }],
            harmless: vec![HarmlessAsk {
                endpoint: crate::ACQUIRER.into(),
                method: "POST".into(),
                path: "/v1/sessions".into(),
                without: vec![],
                prepare: true,
            }],
            secrets: vec![
                SecretAsk {
                    name: "client_secret".into(),
                    purpose: "opens a session".into(),
                    at: at(Place::JsonPointer("/client_secret".into())),
                },
                SecretAsk {
                    name: "session:acquirer".into(),
                    purpose: "the session's token".into(),
                    at: at(Place::Header(("authorization".into(), "Bearer ".into()))),
                },
            ],
            card_number: at(Place::JsonPointer("/card/number".into())),
            card_security_code: at(Place::JsonPointer("/card/security_code".into())),
            keys: ["signing", "notify"].map(key).into(),
            sessions: vec!["acquirer".into()],
            key_format: "uuid".into(),
            reads_memo: vec![],
            settings_schema:
                r#"{"type":"object","properties":{"timeout_ms":{"type":"integer"}},"additionalProperties":false}"#
                    .into(),
            extra: vec![portolan_adapter::authenticates_on_demand()],
        }
    }
}

fn key(name: &str) -> KeyAsk {
    KeyAsk {
        name: name.into(),
        algorithm: "hmac-sha256".into(),
        purpose: format!("{name}, whole bodies"),
        lane: false,
    }
}
