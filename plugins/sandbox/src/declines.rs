//! The acquirer's decline codes, as a table with a row for the code that nobody knows yet.

use portolan_adapter::types::{Decline, Retry};
use portolan_adapter::{Declines, Value, declined};

/// Code, the router's reason, what it allows next.
const TABLE: Declines = &[
    ("05", "do-not-honor", Retry::OtherChannel),
    ("14", "invalid-card-number", Retry::Never),
    ("41", "lost-card", Retry::Never),
    ("43", "stolen-card", Retry::Never),
    ("51", "insufficient-funds", Retry::Later),
    ("54", "expired-card", Retry::AfterCorrection),
    ("61", "limit-exceeded", Retry::Later),
    ("82", "incorrect-security-code", Retry::AfterCorrection),
    ("91", "issuer-unavailable", Retry::OtherChannel),
    ("1A", "authentication-required", Retry::AfterAuthentication),
    ("3D", "authentication-failed", Retry::AfterAuthentication),
    ("R1", "exceeds-captured", Retry::Never),
    ("R2", "wrong-state", Retry::Never),
];

/// The decline in a reply's `decline` object.
pub fn decline(reply: &Value) -> Decline {
    let field = |name: &str| {
        reply
            .pointer(&format!("/decline/{name}"))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let code = field("code").unwrap_or_default();
    let plain = declined(TABLE, &code, &field("message").unwrap_or_else(|| "declined".into()));
    Decline {
        network_code: field("network_code"),
        advice: field("advice"),
        ..plain
    }
}
