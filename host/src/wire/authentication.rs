//! The payer's authentication, as a merchant sees it: who asked for it, and what came of it.

use portolan_domain::operation::{AskedBy, AuthenticationResult};
use portolan_domain::payment::Attempt;
use schemars::JsonSchema;
use serde::Serialize;

/// The payer's authentication in one attempt.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Authentication")]
pub struct AuthenticationView<'a> {
    /// `merchant`, `rule` or `issuer`; null: nobody, it was the provider's own choice.
    asked_by: Option<&'static str>,
    /// The rule that asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    /// `authenticated`, `attempted`, `exempted` or `not_authenticated`; null: the provider has not said.
    result: Option<&'static str>,
    /// Whether the payer had to do something for it.
    challenge: Option<bool>,
    /// The protocol's version.
    version: Option<&'a str>,
    /// The electronic commerce indicator.
    eci: Option<&'a str>,
}

impl<'a> AuthenticationView<'a> {
    /// `None`: nobody asked for it, and nobody said anything of it.
    pub fn of(attempt: &'a Attempt) -> Option<Self> {
        let (asked_by, told) = (attempt.authenticate.as_ref(), attempt.authentication.as_ref());
        if asked_by.is_none() && told.is_none() {
            return None;
        }
        Some(Self {
            asked_by: asked_by.map(asking),
            rule: asked_by.and_then(|by| match by {
                AskedBy::Rule(name) => Some(name.as_str()),
                AskedBy::Merchant | AskedBy::Issuer => None,
            }),
            result: told.map(|it| it.result).map(AuthenticationResult::as_str),
            challenge: told.and_then(|it| it.is_challenge),
            version: told.and_then(|it| it.version.as_deref()),
            eci: told.and_then(|it| it.eci.as_deref()),
        })
    }
}

/// The word for whoever asks.
pub fn asking(by: &AskedBy) -> &'static str {
    match by {
        AskedBy::Merchant => "merchant",
        AskedBy::Rule(_) => "rule",
        AskedBy::Issuer => "issuer",
    }
}
