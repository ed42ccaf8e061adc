//! The adapter against its vectors, natively.

use portolan_adapter::testkit::check_folder;
use portolan_adapter::{Captures, Payments, Refunds};
use portolan_alipay_plus_adapter::AlipayPlus;
use std::path::Path;

#[test]
fn vectors() {
    check_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), |v| {
        match v.function.as_str() {
            "authorize" => v.steps(|ctx| async move { AlipayPlus::authorize(&ctx, v.argument(0)).await }),
            "status" => v.steps(|ctx| async move { <AlipayPlus as Payments>::status(&ctx, v.argument(0)).await }),
            "cancel" => v.steps(|ctx| async move { AlipayPlus::cancel(&ctx, v.argument(0)).await }),
            "cancel-status" => {
                v.steps(|ctx| async move { <AlipayPlus as Captures>::status(&ctx, v.argument(0)).await })
            }
            "refund" => {
                v.steps(
                    |ctx| async move { AlipayPlus::refund(&ctx, v.argument(0), v.argument(1), v.argument(2)).await },
                )
            }
            "refund-status" => v.steps(|ctx| async move { <AlipayPlus as Refunds>::status(&ctx, v.argument(0)).await }),
            other => panic!("{other} is not a function of this adapter"),
        }
    });
}
