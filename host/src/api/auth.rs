//! Who is calling: API keys by their keyed hash, with scopes. A key without the scope is told which one it lacks.

use super::problem::Problem;
use super::{Api, strict};
use axum::http::{HeaderMap, header};
use portolan_domain::commit::ClaimName;
use portolan_domain::ids::{MerchantId, Mode};
use portolan_domain::ports::{ApiKey, Mac};
use portolan_engine::ClaimRequest;
use portolan_vault::LocalVault;

/// Every scope.
pub const SCOPES: [&str; 6] = [
    "payments:read",
    "payments:write",
    "refunds:write",
    "payment_methods:write",
    "events:read",
    "balances:read",
];

/// The longest Idempotency-Key.
const KEY_MAX: usize = 255;

/// A merchant's caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whose key.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
}

/// Makes a key: the secret, shown once, and what is stored of it.
pub fn new_key(vault: &LocalVault, entropy: [u8; 32], key: ApiKey) -> (String, ApiKey) {
    let secret = format!("sk_{}_{}", key.mode.as_str(), hex::encode(entropy));
    let id = secret.get(..16).unwrap_or_default().to_owned();
    let hash = vault.mac("api key", secret.as_bytes());
    (secret, ApiKey { id, hash, ..key })
}

impl Api {
    /// The caller, if its key is good for `scope`.
    pub fn caller(&self, headers: &HeaderMap, scope: &'static str) -> Result<Caller, Problem> {
        let unauthorized = || {
            Problem::new(
                401,
                "invalid_api_key",
                "send authorization: Bearer sk_test_… or sk_live_…",
            )
        };
        let value = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let secret = value
            .strip_prefix("Bearer ")
            .filter(|secret| secret.starts_with("sk_"))
            .ok_or_else(unauthorized)?;
        let hash = self.app.vault.mac("api key", secret.as_bytes());
        let key = self.app.key_ring.api_key(&hash)?.ok_or_else(unauthorized)?;
        let is_revoked = key.revoked_ms.is_some_and(|at| at <= self.app.ambient.now_ms());
        if is_revoked {
            return Err(Problem::new(401, "revoked_api_key", "this key was revoked"));
        }
        if !key.scopes.iter().any(|granted| granted == scope) {
            return Err(Problem::new(
                403,
                "missing_scope",
                format!("this key lacks the scope {scope}"),
            ));
        }
        Ok(Caller {
            merchant: key.merchant,
            mode: key.mode,
        })
    }

    /// The merchant's Idempotency-Key with the fingerprint of the request.
    pub fn claim(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        (method_path, body): (&str, &strict::Value),
    ) -> Result<ClaimRequest, Problem> {
        let key = headers
            .get("idempotency-key")
            .map(|value| value.to_str().unwrap_or_default());
        let key = match key {
            None => {
                let detail = "send an Idempotency-Key header: a new UUID for each payment, the same one for each retry";
                return Err(Problem::new(400, "idempotency_key_missing", detail));
            }
            Some(key) if key.is_empty() || key.len() > KEY_MAX => {
                return Err(Problem::new(
                    400,
                    "idempotency_key_invalid",
                    "an Idempotency-Key has 1 to 255 visible characters",
                ));
            }
            Some(key) => key.to_owned(),
        };
        let mut text = format!("{method_path}\n");
        strict::canonical(body, &mut text);
        let fingerprint = self.app.vault.mac("idempotency", text.as_bytes()).to_vec();
        let name = ClaimName {
            merchant: caller.merchant.clone(),
            mode: caller.mode,
            key,
        };
        Ok(ClaimRequest { name, fingerprint })
    }
}
