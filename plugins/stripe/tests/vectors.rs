//! The adapter against its vectors, natively.

use portolan_adapter::testkit::check_folder;
use portolan_adapter::{Actions, Captures, Payments, Refunds};
use portolan_stripe_adapter::Stripe;
use std::path::Path;

#[test]
fn vectors() {
    check_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), |v| {
        match v.function.as_str() {
            "authorize" => v.steps(|ctx| async move { Stripe::authorize(&ctx, v.argument(0)).await }),
            "status" => v.steps(|ctx| async move { <Stripe as Payments>::status(&ctx, v.argument(0)).await }),
            "resume" => {
                v.steps(|ctx| async move { Stripe::resume(&ctx, v.argument(0), v.argument(1), v.argument(2)).await })
            }
            "capture" => {
                v.steps(|ctx| async move { Stripe::capture(&ctx, v.argument(0), v.argument(1), v.argument(2)).await })
            }
            "cancel" => v.steps(|ctx| async move { Stripe::cancel(&ctx, v.argument(0)).await }),
            "refund" => {
                v.steps(|ctx| async move { Stripe::refund(&ctx, v.argument(0), v.argument(1), v.argument(2)).await })
            }
            other => panic!("no function {other}"),
        }
    });
}
