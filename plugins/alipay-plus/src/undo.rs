//! What undoes a payment: cancel (also of one whose outcome nobody knows), and refunds.

use crate::payments::{by_either, is_missing, text};
use crate::signed::{Amount, Called, call};
use crate::{AlipayPlus, LOOK_AGAIN_MS, declines};
use portolan_adapter::captures::{Done, Outcome};
use portolan_adapter::types::{Fault, Money, Target};
use portolan_adapter::{Captures, Ctx, Refunds, Reversals, json};

impl Captures for AlipayPlus {
    async fn capture(_: &Ctx, _: Target, _: Money, _: bool) -> Result<Outcome, Fault> {
        Err(Fault::Unsupported("a wallet's money is taken at once".into()))
    }

    async fn cancel(ctx: &Ctx, of: Target) -> Result<Outcome, Fault> {
        cancel(ctx, &of).await
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Outcome, Fault> {
        canceled(ctx, &of).await
    }
}

impl Reversals for AlipayPlus {
    async fn reverse(ctx: &Ctx, of: Target) -> Result<Outcome, Fault> {
        cancel(ctx, &of).await
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Outcome, Fault> {
        canceled(ctx, &of).await
    }
}

fn whole(of: &Target) -> Result<Money, Fault> {
    of.amount
        .clone()
        .ok_or_else(|| Fault::Other("the target has no amount".into()))
}

/// The payment is found by its own id: a cancel has none. Sending it again does no harm.
async fn cancel(ctx: &Ctx, of: &Target) -> Result<Outcome, Fault> {
    match call(ctx, "cancel", &by_either(of)?).await? {
        Called::Nothing(why) => Ok(Outcome::Unknown(why)),
        Called::Answer(answer, result) => match result.result_status.as_str() {
            "S" => Ok(Outcome::Done(done(
                text(&answer, "/paymentId").unwrap_or_default(),
                whole(of)?,
            ))),
            "F" if is_missing(&result) => Ok(Outcome::NotFound),
            "F" => Ok(Outcome::Declined(declines::of(&result)?)),
            _ => Ok(Outcome::Unknown(result.result_code)),
        },
    }
}

/// Whether the payment is canceled now.
async fn canceled(ctx: &Ctx, of: &Target) -> Result<Outcome, Fault> {
    if of.reference.is_none() && of.parent_reference.is_none() {
        // The keys are the cancel's own: the provider knows none of them.
        return Ok(Outcome::Unknown("the payment has no id yet".into()));
    }
    match call(ctx, "inquiryPayment", &by_either(of)?).await? {
        Called::Nothing(why) => Ok(Outcome::Unknown(why)),
        Called::Answer(answer, result) if result.result_status == "S" => {
            match text(&answer, "/paymentStatus").unwrap_or_default().as_str() {
                "CANCELLED" | "FAIL" => Ok(Outcome::Done(done(
                    text(&answer, "/paymentId").unwrap_or_default(),
                    whole(of)?,
                ))),
                "SUCCESS" => Ok(Outcome::NotFound),
                other => Ok(Outcome::Unknown(format!("the payment is {other}"))),
            }
        }
        Called::Answer(_, result) if is_missing(&result) => Ok(Outcome::NotFound),
        Called::Answer(_, result) => Ok(Outcome::Unknown(result.result_code)),
    }
}

impl Refunds for AlipayPlus {
    async fn refund(ctx: &Ctx, of: Target, amount: Money, reason: Option<String>) -> Result<Outcome, Fault> {
        let payment = of.parent_reference.as_ref().or(of.reference.as_ref());
        let payment = payment.ok_or_else(|| Fault::Unsupported("the payment has no id yet".into()))?;
        let mut body = json!({
            "refundRequestId": ctx.next_key()?, "paymentId": payment, "refundAmount": Amount::of(&amount),
            "refundNotifyUrl": ctx.context.notify_url,
        });
        if let (Some(reason), Some(fields)) = (reason, body.as_object_mut()) {
            fields.insert(
                "refundReason".into(),
                reason.chars().take(256).collect::<String>().into(),
            );
        }
        match call(ctx, "refund", &body).await? {
            Called::Nothing(why) => Ok(Outcome::Unknown(why)),
            Called::Answer(answer, result) => match result.result_status.as_str() {
                "S" => Ok(Outcome::Done(done(
                    text(&answer, "/refundId").unwrap_or_default(),
                    amount,
                ))),
                "F" => Ok(Outcome::Declined(declines::of(&result)?)),
                _ if result.result_code == "REFUND_IN_PROCESS" => Ok(Outcome::Waiting(LOOK_AGAIN_MS)),
                _ => Ok(Outcome::Unknown(result.result_code)),
            },
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Outcome, Fault> {
        let key = of
            .keys
            .first()
            .ok_or_else(|| Fault::Unsupported("a refund is found by its key".into()))?;
        match call(ctx, "inquiryRefund", &json!({ "refundRequestId": key })).await? {
            Called::Nothing(why) => Ok(Outcome::Unknown(why)),
            Called::Answer(answer, result) if result.result_status == "S" => {
                match text(&answer, "/refundStatus").unwrap_or_default().as_str() {
                    "SUCCESS" => Ok(Outcome::Done(done(
                        text(&answer, "/refundId").unwrap_or_default(),
                        whole(&of)?,
                    ))),
                    "PROCESSING" => Ok(Outcome::Waiting(LOOK_AGAIN_MS)),
                    "FAIL" => Ok(Outcome::Declined(declines::by_code(
                        "PROCESS_FAIL",
                        "the refund failed",
                    ))),
                    other => Ok(Outcome::Unknown(format!("refundStatus {other:?}"))),
                }
            }
            Called::Answer(_, result) if is_missing(&result) => Ok(Outcome::NotFound),
            Called::Answer(_, result) => Ok(Outcome::Unknown(result.result_code)),
        }
    }
}

fn done(reference: String, amount: Money) -> Done {
    Done {
        reference,
        amount,
        fee: None,
        memo: None,
        extra: vec![],
    }
}
