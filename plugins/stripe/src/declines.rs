//! Stripe's decline codes (docs.stripe.com/declines/codes, read 2026-11) as a table, with a row for the code that nobody
//! knows yet.

use portolan_adapter::types::{Decline, Retry};
use portolan_adapter::{Declines, Value, declined};

/// Code, the router's reason, what it allows next.
const TABLE: Declines = &[
    ("approve_with_id", "issuer-unavailable", Retry::Later),
    (
        "authentication_required",
        "authentication-required",
        Retry::AfterAuthentication,
    ),
    ("call_issuer", "do-not-honor", Retry::Never),
    ("card_not_supported", "card-not-supported", Retry::OtherChannel),
    ("card_velocity_exceeded", "limit-exceeded", Retry::Later),
    ("currency_not_supported", "currency-not-supported", Retry::OtherChannel),
    ("do_not_honor", "do-not-honor", Retry::OtherChannel),
    ("duplicate_transaction", "duplicate", Retry::Never),
    ("expired_card", "expired-card", Retry::AfterCorrection),
    ("fraudulent", "suspected-fraud", Retry::Never),
    ("generic_decline", "generic-decline", Retry::OtherChannel),
    ("incorrect_cvc", "incorrect-security-code", Retry::AfterCorrection),
    ("incorrect_number", "invalid-card-number", Retry::AfterCorrection),
    ("insufficient_funds", "insufficient-funds", Retry::Later),
    ("invalid_account", "invalid-card-number", Retry::Never),
    ("invalid_amount", "invalid-amount", Retry::AfterCorrection),
    ("invalid_cvc", "incorrect-security-code", Retry::AfterCorrection),
    ("invalid_expiry_month", "expired-card", Retry::AfterCorrection),
    ("invalid_expiry_year", "expired-card", Retry::AfterCorrection),
    ("issuer_not_available", "issuer-unavailable", Retry::OtherChannel),
    ("lost_card", "lost-card", Retry::Never),
    ("not_permitted", "not-permitted", Retry::Never),
    (
        "payment_intent_authentication_failure",
        "authentication-failed",
        Retry::AfterAuthentication,
    ),
    ("pickup_card", "stolen-card", Retry::Never),
    ("processing_error", "processing-error", Retry::OtherChannel),
    ("restricted_card", "not-permitted", Retry::Never),
    ("stolen_card", "stolen-card", Retry::Never),
    ("transaction_not_allowed", "not-permitted", Retry::Never),
    ("try_again_later", "issuer-unavailable", Retry::Later),
    ("withdrawal_count_limit_exceeded", "limit-exceeded", Retry::Later),
];

/// The decline in a reply's `error` object.
pub fn decline(reply: &Value) -> Decline {
    let field = |name: &str| {
        reply
            .pointer(&format!("/error/{name}"))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let code = field("decline_code").or_else(|| field("code")).unwrap_or_default();
    let plain = declined(TABLE, &code, &field("message").unwrap_or_else(|| "declined".into()));
    Decline {
        network_code: field("network_decline_code"),
        advice: field("advice_code").or_else(|| field("network_advice_code")),
        ..plain
    }
}
