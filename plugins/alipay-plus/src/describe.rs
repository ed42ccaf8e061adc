//! What the adapter says of itself: its capabilities and everything that it asks the operator for.

use crate::{API, AlipayPlus};
use portolan_adapter::Adapter;
use portolan_adapter::types::{AssetRule, Capability, EndpointAsk, HarmlessAsk, KeyAsk, Manifest};

fn reads(path: &str) -> HarmlessAsk {
    HarmlessAsk {
        endpoint: API.into(),
        method: "POST".into(),
        path: path.into(),
        without: vec![],
        prepare: false,
    }
}

/// `captures` is not among them: the adapter exports it for its cancel alone, a wallet's money is taken at once.
fn capability(of: &str) -> Capability {
    Capability {
        of: of.into(),
        idempotent_for_s: Some(86_400),
        found_by_key: true,
        not_found_final_after_s: Some(60),
        partial: true,
        multiple: true,
        // Whole rupiah, in hundredths (docs.antom.com, currencies).
        assets: vec![AssetRule {
            asset: "IDR".into(),
            exponent: 2,
            step: "100".into(),
            min: "100".into(),
            max: "9999999999999999".into(),
        }],
    }
}

fn key(name: &str, purpose: &str) -> KeyAsk {
    KeyAsk {
        name: name.into(),
        algorithm: "rsa-pkcs1-sha256".into(),
        purpose: purpose.into(),
        lane: false,
    }
}

impl Adapter for AlipayPlus {
    fn describe() -> Manifest {
        Manifest {
            name: "dev.portolan.alipay-plus".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Antom (Alipay+): wallets by QR code and redirect".into(),
            methods: vec!["wallet:alipay-plus".into()],
            countries: vec![],
            capabilities: ["payments", "refunds", "reversals"].map(capability).into(),
            endpoints: vec![EndpointAsk {
                name: API.into(),
                purpose: "payments and everything about them".into(),
                live_url: "https://open-sea-global.alipay.com".into(),
                test_url: "https://open-sea-global.alipay.com".into(),
            }],
            harmless: vec![
                reads("/ams/api/v1/payments/inquiryPayment"),
                reads("/ams/api/v1/payments/inquiryRefund"),
                reads("/ams/sandbox/api/v1/payments/inquiryPayment"),
                reads("/ams/sandbox/api/v1/payments/inquiryRefund"),
            ],
            secrets: vec![],
            card_number: vec![],
            card_security_code: vec![],
            keys: vec![
                key("signing", "the merchant's private key: signs every request"),
                key("provider", "the provider's public key: proves its answers and notifications"),
            ],
            sessions: vec![],
            key_format: "uuid".into(),
            reads_memo: vec![],
            settings_schema: r#"{"type":"object","properties":{"client_id":{"type":"string"},"sandbox":{"type":"boolean"},"settlement_currency":{"type":"string"},"timeout_ms":{"type":"integer"}},"required":["client_id"],"additionalProperties":false}"#.into(),
            extra: vec![],
        }
    }
}
