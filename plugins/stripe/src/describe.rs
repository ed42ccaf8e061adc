//! What the adapter says of itself: its capabilities and everything that it asks the operator for.

use crate::{API, Stripe};
use portolan_adapter::Adapter;
use portolan_adapter::types::{
    AssetRule, Capability, EndpointAsk, HarmlessAsk, KeyAsk, Manifest, Place, PlaceAsk, SecretAsk,
};

fn at(place: Place) -> Vec<PlaceAsk> {
    vec![PlaceAsk {
        endpoint: API.into(),
        places: vec![place],
    }]
}

/// Where Stripe's smallest step is not the currency's own (docs.stripe.com/currencies).
fn asset_rules() -> Vec<AssetRule> {
    let rule = |asset: &str, exponent, step: &str| AssetRule {
        asset: asset.into(),
        exponent,
        step: step.into(),
        min: "1".into(),
        max: "99999999".into(),
    };
    vec![
        rule("BHD", 3, "10"),
        rule("JOD", 3, "10"),
        rule("KWD", 3, "10"),
        rule("OMR", 3, "10"),
        rule("TND", 3, "10"),
    ]
}

fn capability(of: &str, multiple: bool, assets: Vec<AssetRule>) -> Capability {
    Capability {
        of: of.into(),
        idempotent_for_s: Some(86_400),
        found_by_key: false,
        not_found_final_after_s: Some(60),
        partial: true,
        multiple,
        assets,
    }
}

fn prepares(path: &str, without: &[&str]) -> HarmlessAsk {
    HarmlessAsk {
        endpoint: API.into(),
        method: "POST".into(),
        path: path.into(),
        without: without.iter().map(|field| (*field).to_owned()).collect(),
        prepare: true,
    }
}

impl Adapter for Stripe {
    fn describe() -> Manifest {
        Manifest {
            name: "dev.portolan.stripe".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Stripe PaymentIntents".into(),
            methods: vec!["card".into()],
            countries: vec![],
            capabilities: vec![
                // An intent is made without a key, so sending again would make a second one.
                Capability {
                    idempotent_for_s: None,
                    ..capability("payments", false, asset_rules())
                },
                capability("captures", false, vec![]),
                capability("refunds", true, vec![]),
            ],
            endpoints: vec![EndpointAsk {
                name: API.into(),
                purpose: "Stripe's API".into(),
                live_url: "https://api.stripe.com".into(),
                test_url: "https://api.stripe.com".into(),
            }],
            harmless: vec![
                prepares("/v1/payment_methods", &["customer"]),
                prepares("/v1/payment_intents", &["confirm", "off_session"]),
            ],
            secrets: vec![SecretAsk {
                name: "api_key".into(),
                purpose: "authenticates every request".into(),
                at: at(Place::Header(("authorization".into(), "Bearer ".into()))),
            }],
            card_number: at(Place::FormField("card[number]".into())),
            card_security_code: at(Place::FormField("card[cvc]".into())),
            keys: vec![KeyAsk {
                name: "webhook".into(),
                algorithm: "hmac-sha256".into(),
                purpose: "verifies Stripe-Signature".into(),
                lane: false,
            }],
            sessions: vec![],
            key_format: "uuid".into(),
            reads_memo: vec![],
            settings_schema:
                r#"{"type":"object","properties":{"send_return_url":{"type":"boolean"}},"additionalProperties":false}"#
                    .into(),
            extra: vec![portolan_adapter::authenticates_on_demand()],
        }
    }
}
