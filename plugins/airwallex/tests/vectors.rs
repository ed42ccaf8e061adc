//! The adapter against its vectors, natively.

use portolan_adapter::testkit::check_folder;
use portolan_adapter::{Exchange, Payouts};
use portolan_airwallex_adapter::Airwallex;
use std::path::Path;

#[test]
fn vectors() {
    check_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), |v| {
        match v.function.as_str() {
            "quote" => v.steps(|ctx| async move { Airwallex::quote(&ctx, v.argument(0)).await }),
            "convert" => v.steps(|ctx| async move { Airwallex::convert(&ctx, v.argument(0)).await }),
            "exchange-status" => {
                v.steps(|ctx| async move { <Airwallex as Exchange>::status(&ctx, v.argument(0)).await })
            }
            "pay" => v.steps(|ctx| async move { Airwallex::pay(&ctx, v.argument(0)).await }),
            "payouts-status" => v.steps(|ctx| async move { <Airwallex as Payouts>::status(&ctx, v.argument(0)).await }),
            other => panic!("{other} is not a function of this adapter"),
        }
    });
}
