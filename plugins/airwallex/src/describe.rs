//! What the adapter says of itself: its capabilities and everything that it asks the operator for.

use crate::{API, Airwallex, SESSION};
use portolan_adapter::Adapter;
use portolan_adapter::types::{Capability, EndpointAsk, HarmlessAsk, KeyAsk, Manifest, Place, PlaceAsk, SecretAsk};

fn at(name: &str, prefix: &str) -> Vec<PlaceAsk> {
    vec![PlaceAsk {
        endpoint: API.into(),
        places: vec![Place::Header((name.into(), prefix.into()))],
    }]
}

fn prepares(path: &str) -> HarmlessAsk {
    HarmlessAsk {
        endpoint: API.into(),
        method: "POST".into(),
        path: path.into(),
        without: vec![],
        prepare: true,
    }
}

fn capability(of: &str) -> Capability {
    Capability {
        of: of.into(),
        idempotent_for_s: Some(86_400),
        found_by_key: true,
        not_found_final_after_s: Some(60),
        partial: false,
        multiple: false,
        assets: vec![],
    }
}

fn secret(name: &str, purpose: &str, at: Vec<PlaceAsk>) -> SecretAsk {
    SecretAsk {
        name: name.into(),
        purpose: purpose.into(),
        at,
    }
}

impl Adapter for Airwallex {
    fn describe() -> Manifest {
        Manifest {
            name: "dev.portolan.airwallex".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Airwallex: FX and transfers".into(),
            methods: vec!["bank:iban".into(), "bank:local".into()],
            countries: vec![],
            capabilities: ["exchange", "payouts"].map(capability).into(),
            endpoints: vec![EndpointAsk {
                name: API.into(),
                purpose: "quotes, conversions, transfers".into(),
                live_url: "https://api.airwallex.com".into(),
                test_url: "https://api.sandbox.airwallex.com".into(),
            }],
            harmless: vec![
                prepares("/api/v1/authentication/login"),
                prepares("/api/v1/fx/quotes/create"),
            ],
            secrets: vec![
                secret("client_id", "opens a session", at("x-client-id", "")),
                secret("api_key", "opens a session", at("x-api-key", "")),
                secret(
                    "session:airwallex",
                    "the session's token",
                    at("authorization", "Bearer "),
                ),
            ],
            card_number: vec![],
            card_security_code: vec![],
            keys: vec![KeyAsk {
                name: "webhook".into(),
                algorithm: "hmac-sha256".into(),
                purpose: "notifications: time and body".into(),
                lane: false,
            }],
            sessions: vec![SESSION.into()],
            key_format: "uuid".into(),
            reads_memo: vec![1],
            settings_schema:
                r#"{"type":"object","properties":{"timeout_ms":{"type":"integer"}},"additionalProperties":false}"#
                    .into(),
            extra: vec![],
        }
    }
}
