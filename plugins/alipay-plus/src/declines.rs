//! The provider's result codes, as a table with a row for the code that nobody knows yet.

use crate::signed::CallResult;
use portolan_adapter::types::{Decline, Fault, Retry};
use portolan_adapter::{Declines, declined};

/// Code, the router's reason, what it allows next.
const TABLE: Declines = &[
    ("USER_BALANCE_NOT_ENOUGH", "insufficient-funds", Retry::Later),
    ("USER_AMOUNT_EXCEED_LIMIT", "limit-exceeded", Retry::Later),
    ("USER_KYC_NOT_QUALIFIED", "payer-not-qualified", Retry::AfterCorrection),
    ("USER_NOT_EXIST", "payer-unknown", Retry::AfterCorrection),
    ("USER_STATUS_ABNORMAL", "payer-blocked", Retry::Never),
    (
        "USER_PAYMENT_VERIFICATION_FAILED",
        "authentication-failed",
        Retry::AfterAuthentication,
    ),
    ("RISK_REJECT", "suspected-fraud", Retry::Never),
    ("FRAUD_REJECT", "suspected-fraud", Retry::Never),
    ("PAYMENT_AMOUNT_EXCEED_LIMIT", "limit-exceeded", Retry::OtherChannel),
    ("PAYMENT_COUNT_EXCEED_LIMIT", "limit-exceeded", Retry::Later),
    ("CURRENCY_NOT_SUPPORT", "currency-not-supported", Retry::OtherChannel),
    ("NO_PAY_OPTIONS", "channel-not-permitted", Retry::OtherChannel),
    ("PAYMENT_NOT_QUALIFIED", "channel-not-permitted", Retry::OtherChannel),
    (
        "SETTLE_CONTRACT_NOT_MATCH",
        "channel-not-permitted",
        Retry::OtherChannel,
    ),
    ("ORDER_IS_CLOSED", "order-closed", Retry::AfterCorrection),
    ("ORDER_IS_CANCELED", "order-closed", Retry::AfterCorrection),
    ("PROCESS_FAIL", "do-not-honor", Retry::Never),
    ("SYSTEM_ERROR", "issuer-unavailable", Retry::OtherChannel),
    ("REFUND_AMOUNT_EXCEED", "exceeds-captured", Retry::Never),
    ("REFUND_WINDOW_EXCEED", "too-late", Retry::Never),
    ("MULTIPLE_REFUNDS_NOT_SUPPORTED", "one-refund-only", Retry::Never),
    ("MERCHANT_BALANCE_NOT_ENOUGH", "insufficient-prefund", Retry::Later),
    ("CANCEL_WINDOW_EXCEED", "too-late", Retry::Never),
    ("ORDER_STATUS_INVALID", "wrong-state", Retry::Never),
];

/// Codes that speak of the router's own set-up.
const SETUP: &[&str] = &[
    "ACCESS_DENIED",
    "CLIENT_INVALID",
    "INVALID_SIGNATURE",
    "SIGNATURE_INVALID",
    "SIGN_VERIFY_FAILURE",
    "KEY_NOT_FOUND",
    "MERCHANT_NOT_REGISTERED",
    "MERCHANT_KYB_NOT_QUALIFIED",
    "INVALID_CONTRACT",
    "INVALID_MERCHANT_STATUS",
    "NO_INTERFACE_DEF",
];

/// A refusal by its result; codes about the set-up or the request itself are faults.
pub fn of(result: &CallResult) -> Result<Decline, Fault> {
    let code = result.result_code.as_str();
    if SETUP.contains(&code) {
        return Err(Fault::Misconfigured(format!("{code}: {}", result.result_message)));
    }
    if matches!(code, "PARAM_ILLEGAL" | "REPEAT_REQ_INCONSISTENT") {
        return Err(Fault::Invalid((
            "payment".into(),
            format!("{code}: {}", result.result_message),
        )));
    }
    Ok(by_code(code, &result.result_message))
}

/// A refusal by its code alone.
pub fn by_code(code: &str, message: &str) -> Decline {
    declined(TABLE, code, message)
}
