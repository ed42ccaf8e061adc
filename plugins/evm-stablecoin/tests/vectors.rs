//! The adapter against its vectors, natively; the seed is the one of BIP 32's first test vector.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use portolan_adapter::testkit::check_folder;
use portolan_adapter::types::Target;
use portolan_adapter::{Captures, Feeds, Payments, Payouts, Value};
use portolan_evm_stablecoin_adapter::Token;
use std::path::Path;

/// The channel's settings in every vector.
const SETTINGS: &str = r#"{"chain_id":1,"token":"0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48","asset":"USDC:eip155:1","exponent":6,"confirmations":12,"sweep_from":"25000000"}"#;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

#[test]
fn vectors() {
    check_folder(&folder(), |v| {
        let v = &v.with_settings(SETTINGS);
        match v.function.as_str() {
            "authorize" => v.steps(|ctx| async move { Token::authorize(&ctx, v.argument(0)).await }),
            "status" => v.steps(|ctx| async move { <Token as Payments>::status(&ctx, v.argument(0)).await }),
            "cancel" => v.steps(|ctx| async move { Token::cancel(&ctx, v.argument(0)).await }),
            "pay" => v.steps(|ctx| async move { Token::pay(&ctx, v.argument(0)).await }),
            "payouts-status" => v.steps(|ctx| async move { <Token as Payouts>::status(&ctx, v.argument(0)).await }),
            "poll" => v.steps(|ctx| async move { Token::poll(&ctx, v.argument(0)).await }),
            other => panic!("{other} is not a function of this adapter"),
        }
    });
}

/// What was sent is found again by its hash, whatever became of the answer.
#[test]
fn a_transaction_is_found_by_what_was_sent() {
    let text = std::fs::read_to_string(folder().join("pay.json")).unwrap();
    let vector: portolan_adapter::testkit::Vector = serde_json_of(&text);
    let sent = vector.expect[5]["send"]["body"].as_str().unwrap().to_owned();
    let hash = vector.expect[6]["done"]["Sent"]["reference"].clone();
    let target = serde_json_of::<Target>(
        &portolan_adapter::json!({
            "kind": "pay", "operation": "op_1", "keys": ["key-1"], "reference": null, "parent_reference": null,
            "amount": null, "started_ms": 1000, "memo": null, "extra": [["sent", sent]],
        })
        .to_string(),
    );
    let found = vector.with_settings(SETTINGS).steps(|ctx| {
        let target = target.clone();
        async move { <Token as Payouts>::status(&ctx, target).await }
    });
    let asked: Value = serde_json_of(found[2]["send"]["body"].as_str().unwrap());
    assert_eq!(asked["method"], "eth_getTransactionByHash");
    assert_eq!(asked["params"][0], hash);
}

fn serde_json_of<T: serde::de::DeserializeOwned>(text: &str) -> T {
    portolan_adapter::from_slice(text.as_bytes()).unwrap()
}
