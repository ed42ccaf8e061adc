//! The adapter against its vectors, natively.

use portolan_adapter::testkit::check_folder;
use portolan_adapter::{Feeds, Payouts};
use portolan_iso20022_bank_adapter::Bank;
use std::path::Path;

const SETTINGS: &str = r#"{
    "account": "acc-1", "debtor_name": "Portolan Ltd", "debtor_iban": "DE89370400440532013000", "debtor_bic": "COBADEFFXXX",
    "debtor_town": "Berlin", "debtor_country": "DE", "certificate": "MIIB", "key_id": "SN=1,CA=CN=Test", "psu_ip": "192.0.2.1"
}"#;

#[test]
fn vectors() {
    check_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), |v| {
        let v = &v.with_settings(SETTINGS);
        match v.function.as_str() {
            "pay" => v.steps(|ctx| async move { Bank::pay(&ctx, v.argument(0)).await }),
            "payouts-status" => v.steps(|ctx| async move { <Bank as Payouts>::status(&ctx, v.argument(0)).await }),
            "poll" => v.steps(|ctx| async move { Bank::poll(&ctx, v.argument(0)).await }),
            other => panic!("{other} is not a function of this adapter"),
        }
    });
}
