//! What the adapter says of itself: its capabilities and everything that it asks the operator for.

use crate::{API, Bank};
use portolan_adapter::Adapter;
use portolan_adapter::types::{Capability, EndpointAsk, KeyAsk, Manifest, Place, PlaceAsk, SecretAsk};

fn secret(name: &str, purpose: &str, (header, prefix): (&str, &str)) -> SecretAsk {
    SecretAsk {
        name: name.into(),
        purpose: purpose.into(),
        at: vec![PlaceAsk {
            endpoint: API.into(),
            places: vec![Place::Header((header.into(), prefix.into()))],
        }],
    }
}

impl Adapter for Bank {
    fn describe() -> Manifest {
        Manifest {
            name: "dev.portolan.iso20022-bank".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "A bank by ISO 20022: credit transfers and account reports".into(),
            methods: vec!["bank:iban".into(), "bank:local".into()],
            countries: vec![],
            capabilities: vec![Capability {
                of: "payouts".into(),
                // No bank promises to take a message twice as once; it is found in the account's report, and what is not
                // there may still come.
                idempotent_for_s: None,
                found_by_key: true,
                not_found_final_after_s: None,
                partial: false,
                multiple: false,
                assets: vec![],
            }],
            endpoints: vec![EndpointAsk {
                name: API.into(),
                purpose: "credit transfers, their status, the account's transactions".into(),
                live_url: "https://xs2a.bank.example".into(),
                test_url: "https://xs2a-sandbox.bank.example".into(),
            }],
            harmless: vec![],
            secrets: vec![
                secret("access_token", "who calls", ("authorization", "Bearer ")),
                secret("consent", "the right to read the account", ("consent-id", "")),
            ],
            card_number: vec![],
            card_security_code: vec![],
            keys: vec![KeyAsk {
                name: "signing".into(),
                algorithm: "rsa-pkcs1-sha256".into(),
                purpose: "signs every request, by the seal certificate".into(),
                lane: false,
            }],
            sessions: vec![],
            key_format: "uuid".into(),
            reads_memo: vec![1],
            settings_schema: r#"{"type":"object","properties":{"account":{"type":"string"},"debtor_name":{"type":"string"},"debtor_iban":{"type":"string"},"debtor_bic":{"type":"string"},"debtor_country":{"type":"string"},"debtor_town":{"type":"string"},"certificate":{"type":"string"},"key_id":{"type":"string"},"psu_ip":{"type":"string"},"timeout_ms":{"type":"integer"},"poll_ms":{"type":"integer"}},"required":["account","debtor_name","debtor_iban","certificate","key_id","psu_ip"],"additionalProperties":false}"#.into(),
            extra: vec![],
        }
    }
}
