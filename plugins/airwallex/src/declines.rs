//! Airwallex' refusals, as a table with a row for the code that nobody knows yet.

use crate::Problem;
use portolan_adapter::types::{Decline, Retry};
use portolan_adapter::{Declines, declined};

/// Code, the router's reason, what it allows next.
const TABLE: Declines = &[
    ("amount_above_limit", "limit-exceeded", Retry::OtherChannel),
    ("amount_below_limit", "amount-too-small", Retry::OtherChannel),
    ("unsupported_currency", "currency-not-supported", Retry::OtherChannel),
    ("invalid_conversion_date", "invalid-date", Retry::OtherChannel),
    ("insufficient_funds", "insufficient-prefund", Retry::OtherChannel),
    ("insufficient_fund", "insufficient-prefund", Retry::OtherChannel),
    ("balance_insufficient", "insufficient-prefund", Retry::OtherChannel),
    ("account_not_authorized", "channel-not-permitted", Retry::OtherChannel),
    ("validation_failed", "invalid-beneficiary", Retry::AfterCorrection),
    ("invalid_argument", "invalid-beneficiary", Retry::AfterCorrection),
    ("field_required", "invalid-beneficiary", Retry::AfterCorrection),
    ("90101", "invalid-account", Retry::AfterCorrection),
    ("90201", "invalid-bank", Retry::AfterCorrection),
    ("90701", "account-closed", Retry::Never),
    ("90802", "returned-by-bank", Retry::Never),
    ("ACCOUNT_CLOSED", "account-closed", Retry::Never),
    (
        "INVALID_ACCOUNT_NAME_OR_NUMBER",
        "invalid-account",
        Retry::AfterCorrection,
    ),
    ("INVALID_BANK_INFORMATION", "invalid-bank", Retry::AfterCorrection),
    ("BENEFICIARY_NAME_MISMATCH", "name-mismatch", Retry::AfterCorrection),
    ("BENEFICIARY_BANK_RETURNED", "returned-by-bank", Retry::Never),
    ("INSUFFICIENT_FUNDS", "insufficient-prefund", Retry::OtherChannel),
    ("TM_SUSPENDED", "screening-hit", Retry::Never),
];

/// A refusal by its code.
pub fn by_code(code: &str, message: &str) -> Decline {
    declined(TABLE, code, message)
}

/// The refusal in an error's body.
pub fn of(problem: &Problem) -> Decline {
    let at = problem
        .source
        .as_deref()
        .map(|source| format!("{source}: "))
        .unwrap_or_default();
    by_code(&problem.code, &format!("{at}{}", problem.message))
}
