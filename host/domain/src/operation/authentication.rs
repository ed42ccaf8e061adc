//! The payer's authentication at the issuer (3-D Secure): who asks for it, and what a channel says of it. How it is done is
//! the adapter's and the provider's business.

use serde::{Deserialize, Serialize};

/// Who asks that a payer be authenticated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedBy {
    /// The merchant, for this payment.
    Merchant,
    /// A rule about routes, by its name.
    Rule(String),
    /// The issuer: it declined until the payer is authenticated.
    Issuer,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthenticationResult {
    /// The issuer knows the payer (`Y` of EMV 3-D Secure).
    Authenticated,
    /// It was tried; the issuer does not take part (`A`).
    Attempted,
    /// An exemption was accepted (`I`).
    Exempted,
    /// It was not done, or not to its end (`N`, `U`, `R`).
    NotAuthenticated,
}

impl AuthenticationResult {
    const ALL: [Self; 4] = [
        Self::Authenticated,
        Self::Attempted,
        Self::Exempted,
        Self::NotAuthenticated,
    ];

    /// The word in the contract and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authenticated => "authenticated",
            Self::Attempted => "attempted",
            Self::Exempted => "exempted",
            Self::NotAuthenticated => "not_authenticated",
        }
    }

    /// What that word means.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// What a channel says of a payer's authentication.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authentication {
    /// What came of it.
    pub result: AuthenticationResult,
    /// Whether the payer had to do something for it; `None`: nobody says.
    pub is_challenge: Option<bool>,
    /// The protocol's version, `2.2.0`.
    pub version: Option<String>,
    /// The electronic commerce indicator, two digits.
    pub eci: Option<String>,
}

impl Authentication {
    /// With the two texts in the form that they have, or why they do not have it.
    pub fn new(
        (result, is_challenge): (AuthenticationResult, Option<bool>),
        (version, eci): (Option<String>, Option<String>),
    ) -> Result<Self, &'static str> {
        let is_version = |text: &String| text.len() <= 8 && text.bytes().all(|it| it.is_ascii_digit() || it == b'.');
        let is_eci = |text: &String| text.len() == 2 && text.bytes().all(|it| it.is_ascii_digit());
        if !version.as_ref().is_none_or(is_version) {
            Err("a version is digits and dots, at most 8")
        } else if !eci.as_ref().is_none_or(is_eci) {
            Err("an eci is two digits")
        } else {
            Ok(Self {
                result,
                is_challenge,
                version,
                eci,
            })
        }
    }
}
