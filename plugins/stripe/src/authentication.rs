//! What Stripe says of a payer's 3-D Secure, on the charge of an intent
//! (docs.stripe.com/api/charges/object, `payment_method_details.card.three_d_secure`).

use portolan_adapter::{Authentication, AuthenticationResult, Value};

/// The pair for an outcome's `extra`; `None`: there is no charge yet, or it had none.
pub fn of(intent: &Value) -> Option<(String, String)> {
    let told = intent.pointer("/latest_charge/payment_method_details/card/three_d_secure")?;
    let text = |name: &str| told.get(name).and_then(Value::as_str);
    let result = match text("result")? {
        "authenticated" => AuthenticationResult::Authenticated,
        "attempt_acknowledged" => AuthenticationResult::Attempted,
        "exempted" => AuthenticationResult::Exempted,
        // failed, not_supported, processing_error, and words that may come.
        _ => AuthenticationResult::NotAuthenticated,
    };
    let it = Authentication {
        result,
        challenge: text("authentication_flow").map(|flow| flow == "challenge"),
        version: text("version").map(str::to_owned),
        eci: text("electronic_commerce_indicator").map(str::to_owned),
    };
    Some(it.extra())
}
