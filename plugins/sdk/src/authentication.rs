//! The payer's authentication as the contract's conventions write it: the demand in an authorization's `extra`, and what came
//! of it in an outcome's.

use crate::payments::Authorization;
use serde::Serialize;

/// What came of a payer's authentication.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthenticationResult {
    /// The issuer knows the payer.
    Authenticated,
    /// It was tried; the issuer does not take part.
    Attempted,
    /// An exemption was accepted.
    Exempted,
    /// It was not done, or not to its end.
    NotAuthenticated,
}

/// What the provider says of a payer's authentication.
#[derive(Clone, Serialize)]
pub struct Authentication {
    /// What came of it.
    pub result: AuthenticationResult,
    /// Whether the payer had to do something for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<bool>,
    /// The protocol's version, digits and dots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The electronic commerce indicator, two digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eci: Option<String>,
}

impl Authentication {
    /// The pair for an outcome's, or a standing's, `extra`.
    pub fn extra(&self) -> (String, String) {
        let text = serde_json::to_string(self).unwrap_or_default();
        ("authentication".to_owned(), text)
    }
}

/// The pair for a manifest's `extra`: the adapter heeds [`must_authenticate`].
pub fn authenticates_on_demand() -> (String, String) {
    ("authenticates".to_owned(), "on-demand".to_owned())
}

/// Whether the payer must be authenticated, whatever the issuer would let pass. Only adapters that say
/// [`authenticates_on_demand`] are asked for it.
pub fn must_authenticate(request: &Authorization) -> bool {
    request
        .extra
        .iter()
        .any(|(name, what)| name == "authenticate" && what == "required")
}
