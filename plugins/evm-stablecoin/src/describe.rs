//! What the adapter says of itself: its capabilities and everything that it asks the operator for.

use crate::{NODE, Token, WALLET};
use portolan_adapter::Adapter;
use portolan_adapter::types::{Capability, EndpointAsk, HarmlessAsk, KeyAsk, Manifest};

/// What only looks. Everything else, above all `eth_sendRawTransaction`, is a write.
const READS: &str = "method in eth_blockNumber,eth_getLogs,eth_call,eth_getBalance,eth_getTransactionCount,\
eth_getBlockByNumber,eth_maxPriorityFeePerGas,eth_getTransactionReceipt,eth_getTransactionByHash";

fn capability(of: &str, idempotent_for_s: Option<u32>) -> Capability {
    Capability {
        of: of.into(),
        idempotent_for_s,
        found_by_key: true,
        not_found_final_after_s: Some(2),
        partial: false,
        multiple: false,
        assets: vec![],
    }
}

impl Adapter for Token {
    fn describe() -> Manifest {
        Manifest {
            name: "dev.portolan.evm-stablecoin".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "An ERC-20 token on an EVM chain".into(),
            methods: ["USDC", "USDT", "EURC"].map(|symbol| format!("token:{symbol}")).into(),
            countries: vec![],
            // The same signed transaction may be sent for ever: it is mined once.
            capabilities: vec![capability("payments", None), capability("payouts", Some(7 * 86_400))],
            endpoints: vec![EndpointAsk {
                name: NODE.into(),
                purpose: "JSON-RPC of the chain".into(),
                live_url: "https://rpc.example".into(),
                test_url: "http://127.0.0.1:8545".into(),
            }],
            harmless: vec![HarmlessAsk {
                endpoint: NODE.into(),
                method: "POST".into(),
                path: "/".into(),
                without: vec![READS.into()],
                prepare: false,
            }],
            secrets: vec![],
            card_number: vec![],
            card_security_code: vec![],
            keys: vec![KeyAsk {
                name: WALLET.into(),
                algorithm: "secp256k1".into(),
                purpose: "the seed of deposit addresses and of the payout address".into(),
                lane: true,
            }],
            sessions: vec![],
            key_format: "uuid".into(),
            reads_memo: vec![1],
            settings_schema: r#"{"type":"object","properties":{"chain_id":{"type":"integer"},"token":{"type":"string"},"asset":{"type":"string"},"exponent":{"type":"integer"},"confirmations":{"type":"integer"},"large_amount":{"type":"string"},"large_confirmations":{"type":"integer"},"watch_s":{"type":"integer"},"max_fee_gwei":{"type":"integer"},"gas_reserve_wei":{"type":"string"},"sweep_from":{"type":"string"},"sweep_after_s":{"type":"integer"},"sweep_gas":{"type":"integer"},"timeout_ms":{"type":"integer"}},"required":["chain_id","token","asset","exponent"],"additionalProperties":false}"#.into(),
            extra: vec![],
        }
    }
}
