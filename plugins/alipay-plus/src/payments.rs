//! Payments: the payer scans or is sent to the wallet; what became of it says the inquiry, never the way back.

use crate::signed::{Amount, CallResult, Called, call};
use crate::{AlipayPlus, LOOK_AGAIN_MS, declines};
use portolan_adapter::payments::{
    Accepted, Authorization, Doubt, Finding, Instrument, Outcome, Standing, State, Waiting,
};
use portolan_adapter::types::{Action, Fault, Money, Target};
use portolan_adapter::{Actions, Ctx, Payments, Value, json};

impl Payments for AlipayPlus {
    async fn authorize(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
        let Instrument::Wallet(name) = &request.instrument else {
            return Err(Fault::Unsupported("only wallets".into()));
        };
        let wallet = name.split_once(':').map_or("ALIPAY_CN", |(_, wallet)| wallet);
        let amount = Amount::of(&request.amount);
        let description = if request.description.is_empty() {
            &request.payment
        } else {
            &request.description
        };
        let mut body = json!({
            "productCode": "CASHIER_PAYMENT",
            "paymentRequestId": ctx.next_key()?,
            "order": {
                "referenceOrderId": request.payment, "orderDescription": shortened(description), "orderAmount": amount,
            },
            "paymentAmount": amount,
            "paymentMethod": { "paymentMethodType": wallet },
            "paymentNotifyUrl": ctx.context.notify_url,
            "paymentRedirectUrl": ctx.context.return_url,
            "env": { "terminalType": "WEB" },
        });
        if let (Some(currency), Some(fields)) = (ctx.setting("/settlement_currency"), body.as_object_mut()) {
            fields.insert("settlementStrategy".into(), json!({ "settlementCurrency": currency }));
        }
        match call(ctx, "pay", &body).await? {
            Called::Nothing(why) => Ok(Outcome::unknown(why)),
            Called::Answer(answer, result) => paid(&answer, &result, &request.amount),
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Finding, Fault> {
        let asked = of
            .amount
            .clone()
            .ok_or_else(|| Fault::Other("the target has no amount".into()))?;
        match call(ctx, "inquiryPayment", &by_either(&of)?).await? {
            Called::Nothing(why) => Ok(Finding::Unknown(why)),
            Called::Answer(answer, result) => match result.result_status.as_str() {
                "S" => standing(&answer, &asked).map(Finding::Standing),
                "F" if is_missing(&result) => Ok(Finding::NotFound),
                _ => Ok(Finding::Unknown(format!(
                    "{}: {}",
                    result.result_code, result.result_message
                ))),
            },
        }
    }
}

impl Actions for AlipayPlus {
    /// The way back proves nothing: the inquiry does.
    async fn resume(
        ctx: &Ctx,
        original: Authorization,
        of: Target,
        _returned: Vec<(String, String)>,
    ) -> Result<Outcome, Fault> {
        match call(ctx, "inquiryPayment", &by_either(&of)?).await? {
            Called::Nothing(why) => Ok(Outcome::unknown(why)),
            Called::Answer(answer, result) if result.result_status == "S" => {
                outcome(&standing(&answer, &original.amount)?, &original.amount)
            }
            Called::Answer(_, result) => Ok(Outcome::unknown(result.result_code)),
        }
    }
}

/// At most 256 characters of ASCII: the documents ask for no others.
fn shortened(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(256).map(plain).collect()
}

/// The provider's own id where it is known, else ours.
pub fn by_either(of: &Target) -> Result<Value, Fault> {
    match (of.reference.as_ref().or(of.parent_reference.as_ref()), of.keys.first()) {
        (Some(reference), _) => Ok(json!({ "paymentId": reference })),
        (None, Some(key)) => Ok(json!({ "paymentRequestId": key })),
        (None, None) => Err(Fault::Unsupported("a payment is found by its id or by its key".into())),
    }
}

/// Whether the provider says that there is no such payment.
pub fn is_missing(result: &CallResult) -> bool {
    result.result_code == "ORDER_NOT_EXIST"
}

pub fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn paid(answer: &Value, result: &CallResult, asked: &Money) -> Result<Outcome, Fault> {
    let reference = text(answer, "/paymentId");
    match (result.result_status.as_str(), reference) {
        ("S", Some(reference)) => Ok(Outcome::Accepted(accepted(reference, amount(answer, asked)?))),
        ("F", _) => Ok(Outcome::Declined(declines::of(result)?)),
        ("U", Some(reference)) if result.result_code == "PAYMENT_IN_PROCESS" => Ok(Outcome::Waiting(Waiting {
            reference: Some(reference),
            action: action(answer),
            check_after_ms: LOOK_AGAIN_MS,
            progress: Some(result.result_code.clone()),
            memo: None,
            extra: vec![],
        })),
        (_, reference) => Ok(Outcome::Unknown(Doubt {
            why: format!("{}: {}", result.result_code, result.result_message),
            reference,
            extra: vec![],
        })),
    }
}

/// A code to scan, if the wallet has one as text; else where to go.
fn action(answer: &Value) -> Option<Action> {
    let codes = answer.pointer("/orderCodeForm/codeDetails").and_then(Value::as_array);
    let is_text = |code: &&Value| code.get("displayType").and_then(Value::as_str) == Some("TEXT");
    let code = codes
        .into_iter()
        .flatten()
        .find(is_text)
        .and_then(|code| text(code, "/codeValue"));
    let url = ["/normalUrl", "/applinkUrl", "/schemeUrl"]
        .iter()
        .find_map(|at| text(answer, at));
    code.map(Action::Qr).or_else(|| url.map(Action::Redirect))
}

fn accepted(reference: String, authorized: Money) -> Accepted {
    Accepted {
        reference,
        authorized,
        captured: true,
        network_reference: None,
        memo: None,
        extra: vec![],
    }
}

fn amount(answer: &Value, asked: &Money) -> Result<Money, Fault> {
    let found = answer
        .get("paymentAmount")
        .cloned()
        .map(portolan_adapter::from_value::<Amount>);
    match found {
        Some(Ok(amount)) => Ok(amount.money(asked)),
        Some(Err(_)) | None => Err(Fault::Protocol("the answer has no paymentAmount".into())),
    }
}

fn standing(answer: &Value, asked: &Money) -> Result<Standing, Fault> {
    let status = text(answer, "/paymentStatus").unwrap_or_default();
    let state = match status.as_str() {
        "SUCCESS" => State::Captured,
        "FAIL" => State::Failed,
        "CANCELLED" => State::Canceled,
        "PROCESSING" | "PENDING" => State::Waiting,
        other => return Err(Fault::Protocol(format!("paymentStatus {other:?}"))),
    };
    let reference = text(answer, "/paymentId").ok_or_else(|| Fault::Protocol("the answer has no paymentId".into()))?;
    let code = text(answer, "/paymentResultCode").unwrap_or_else(|| "PROCESS_FAIL".into());
    let message = text(answer, "/paymentResultMessage").unwrap_or_default();
    Ok(Standing {
        reference,
        state,
        authorized: None,
        captured: match state {
            State::Captured => Some(amount(answer, asked)?),
            _ => None,
        },
        refunded: None,
        received: None,
        fee: None,
        declined: (state == State::Failed).then(|| declines::by_code(&code, &message)),
        progress: Some(status),
        check_after_ms: LOOK_AGAIN_MS,
        memo: None,
        extra: vec![],
    })
}

fn outcome(standing: &Standing, asked: &Money) -> Result<Outcome, Fault> {
    let reference = standing.reference.clone();
    match standing.state {
        State::Captured => {
            let taken = standing.captured.clone().unwrap_or_else(|| asked.clone());
            Ok(Outcome::Accepted(accepted(reference, taken)))
        }
        State::Waiting => Ok(Outcome::Waiting(Waiting {
            reference: Some(reference),
            action: None,
            check_after_ms: LOOK_AGAIN_MS,
            progress: standing.progress.clone(),
            memo: None,
            extra: vec![],
        })),
        _ => {
            let declined = standing.declined.clone();
            Ok(Outcome::Declined(
                declined.unwrap_or_else(|| declines::by_code("ORDER_IS_CANCELED", "")),
            ))
        }
    }
}
