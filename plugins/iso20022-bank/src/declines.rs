//! The bank's refusals, as a table with a row for the code that nobody knows yet: ISO 20022's external status reasons, and
//! the codes of NextGenPSD2's own messages.

use portolan_adapter::types::{Decline, Retry};
use portolan_adapter::{Declines, declined};

/// Code, the router's reason, what it allows next.
const TABLE: Declines = &[
    // ExternalStatusReason1Code
    ("AC01", "invalid-account", Retry::AfterCorrection),
    ("AC03", "invalid-account", Retry::AfterCorrection),
    ("AC04", "account-closed", Retry::Never),
    ("AC06", "account-blocked", Retry::Never),
    ("AG01", "channel-not-permitted", Retry::OtherChannel),
    ("AG02", "channel-not-permitted", Retry::OtherChannel),
    ("AM02", "limit-exceeded", Retry::OtherChannel),
    ("AM03", "currency-not-supported", Retry::OtherChannel),
    ("AM04", "insufficient-prefund", Retry::OtherChannel),
    ("AM14", "limit-exceeded", Retry::OtherChannel),
    ("BE01", "name-mismatch", Retry::AfterCorrection),
    ("BE04", "invalid-beneficiary", Retry::AfterCorrection),
    ("BE07", "invalid-beneficiary", Retry::AfterCorrection),
    ("BE22", "invalid-beneficiary", Retry::AfterCorrection),
    ("CURR", "currency-not-supported", Retry::OtherChannel),
    ("CUST", "canceled-at-the-bank", Retry::Never),
    ("DS0H", "channel-not-permitted", Retry::OtherChannel),
    ("FF01", "invalid-beneficiary", Retry::AfterCorrection),
    ("FRAD", "screening-hit", Retry::Never),
    ("MD07", "invalid-beneficiary", Retry::Never),
    ("MS02", "generic-decline", Retry::Never),
    ("MS03", "generic-decline", Retry::Never),
    ("NARR", "generic-decline", Retry::Never),
    ("RC01", "invalid-bank", Retry::AfterCorrection),
    ("RC04", "invalid-bank", Retry::AfterCorrection),
    ("RR01", "invalid-beneficiary", Retry::AfterCorrection),
    ("RR02", "invalid-beneficiary", Retry::AfterCorrection),
    ("RR03", "invalid-beneficiary", Retry::AfterCorrection),
    ("RR04", "screening-hit", Retry::Never),
    ("TM01", "invalid-date", Retry::OtherChannel),
    // NextGenPSD2
    ("EXECUTION_DATE_INVALID", "invalid-date", Retry::OtherChannel),
    ("FORMAT_ERROR", "invalid-beneficiary", Retry::AfterCorrection),
    ("PAYMENT_FAILED", "generic-decline", Retry::Never),
    ("PRODUCT_INVALID", "channel-not-permitted", Retry::OtherChannel),
    ("PRODUCT_UNKNOWN", "channel-not-permitted", Retry::OtherChannel),
    ("SERVICE_BLOCKED", "channel-not-permitted", Retry::OtherChannel),
];

/// A refusal by its code.
pub fn of(code: &str, text: &str) -> Decline {
    declined(TABLE, code, text)
}

/// The bank has a message of that number already: the first one counts, and has to be found.
pub fn is_duplicate(code: &str) -> bool {
    matches!(code, "AM05" | "DU01" | "DU02" | "DU03" | "DU04" | "DU05" | "DUPL")
}
