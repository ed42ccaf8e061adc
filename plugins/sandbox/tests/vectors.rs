//! The adapter against its vectors, natively.

use portolan_adapter::testkit::check_folder;
use portolan_adapter::{Actions, Captures, Payments, Refunds, Reversals, Sessions};
use portolan_sandbox_adapter::Sandbox;
use std::path::Path;

#[test]
fn vectors() {
    check_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), |v| {
        match v.function.as_str() {
            "authorize" => v.steps(|ctx| async move { Sandbox::authorize(&ctx, v.argument(0)).await }),
            "status" => v.steps(|ctx| async move { <Sandbox as Payments>::status(&ctx, v.argument(0)).await }),
            "resume" => {
                v.steps(|ctx| async move { Sandbox::resume(&ctx, v.argument(0), v.argument(1), v.argument(2)).await })
            }
            "capture" => {
                v.steps(|ctx| async move { Sandbox::capture(&ctx, v.argument(0), v.argument(1), v.argument(2)).await })
            }
            "cancel" => v.steps(|ctx| async move { Sandbox::cancel(&ctx, v.argument(0)).await }),
            "refund" => {
                v.steps(|ctx| async move { Sandbox::refund(&ctx, v.argument(0), v.argument(1), v.argument(2)).await })
            }
            "start" => v.steps(|ctx| async move { Sandbox::start(&ctx, v.argument(0)).await }),
            "reverse" => v.steps(|ctx| async move { Sandbox::reverse(&ctx, v.argument(0)).await }),
            other => panic!("no function {other}"),
        }
    });
}
