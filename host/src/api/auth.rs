//! Who is calling: API keys by their keyed hash, with scopes. A key without the scope is told which one it lacks.

use super::limit::Left;
use super::problem::Problem;
use super::{Api, read_bytes, signed, strict};
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use portolan_domain::commit::ClaimName;
use portolan_domain::ids::{MerchantId, Mode};
use portolan_domain::order::SignedOrder;
use portolan_domain::payment::request::FieldError;
use portolan_domain::ports::{ApiKey, Mac};
use portolan_engine::ClaimRequest;
use portolan_vault::LocalVault;
use std::sync::Arc;

/// Every scope.
pub const SCOPES: [&str; 12] = [
    "payments:read",
    "payments:write",
    "refunds:write",
    "payment_methods:write",
    "events:read",
    "balances:read",
    "quotes:write",
    "payouts:read",
    "payouts:write",
    "routes:read",
    "routes:write",
    "webhooks:write",
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
    /// The key's first characters.
    pub key: String,
    /// Whether the key opens `payouts:write`, for a payment whose money goes on.
    pub may_pay_out: bool,
    /// The request as it was signed, where the key asks for that.
    pub order: Option<Arc<SignedOrder>>,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(unauthorized)
    }
}

/// Goes around every route that takes a key: who calls, whether the key opens the scope, whether it calls too often.
pub async fn authenticate(
    State((api, scope)): State<(Api, &'static str)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut caller, key, left) = api.caller(request.headers(), scope)?;
    if let Some(public_key) = key.public_key.filter(|_| signed::must_be(request.method())) {
        let (parts, body) = request.into_parts();
        let body = read_bytes(body).await?;
        let at_ms = api.app.ambient.now_ms();
        let proof = signed::check((&parts, &body), (&key.id, &public_key), at_ms)?;
        api.signatures.take(&proof, at_ms)?;
        // Cards are the vault's: of what brings one nothing is kept.
        if scope != "payment_methods:write" {
            caller.order = Some(Arc::new(proof.order(&key.id, (public_key, at_ms), &body)?));
        }
        request = Request::from_parts(parts, Body::from(body));
    }
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    left.tell(response.headers_mut());
    Ok(response)
}

fn unauthorized() -> Problem {
    let detail = "send authorization: Bearer sk_test_… or sk_live_…";
    Problem::new(401, "invalid_api_key", detail)
}

/// Makes a key: the secret, shown once, and what is stored of it.
pub fn new_key(vault: &LocalVault, entropy: [u8; 32], key: ApiKey) -> (String, ApiKey) {
    let secret = format!("sk_{}_{}", key.mode.as_str(), hex::encode(entropy));
    let id = secret.get(..16).unwrap_or_default().to_owned();
    let hash = vault.mac("api key", secret.as_bytes());
    (secret, ApiKey { id, hash, ..key })
}

impl Api {
    /// The caller, if its key is good for `scope`, and what is left of its requests.
    fn caller(&self, headers: &HeaderMap, scope: &'static str) -> Result<(Caller, ApiKey, Left), Problem> {
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
        if key.revoked_ms.is_some() {
            return Err(Problem::new(401, "revoked_api_key", "this key was revoked"));
        }
        let left = self.limiter.take(&hash).map_err(Problem::too_often)?;
        if !key.scopes.iter().any(|granted| granted == scope) {
            return Err(Problem::new(
                403,
                "missing_scope",
                format!("this key lacks the scope {scope}"),
            ));
        }
        let caller = Caller {
            key: key.id.clone(),
            may_pay_out: key.scopes.iter().any(|granted| granted == "payouts:write"),
            merchant: key.merchant.clone(),
            mode: key.mode,
            order: None,
        };
        Ok((caller, key, left))
    }

    /// The merchant's Idempotency-Key with the fingerprint of the request.
    pub fn claim(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        (method_path, body): (&str, &strict::Value),
    ) -> Result<ClaimRequest, Problem> {
        let mut all = headers.get_all("idempotency-key").iter();
        let key = all.next().map(|value| value.to_str().unwrap_or_default());
        let is_one = all.next().is_none();
        let is_plain = |key: &str| is_one && key.bytes().all(|byte| byte.is_ascii_graphic());
        let key = match key {
            None => {
                let detail = "send an Idempotency-Key header: a new UUID for each payment, the same one for each retry";
                return Err(Problem::new(400, "idempotency_key_missing", detail));
            }
            Some(key) if key.is_empty() || key.len() > KEY_MAX || !is_plain(key) => {
                return Err(Problem::new(
                    400,
                    "idempotency_key_invalid",
                    "one Idempotency-Key header with 1 to 255 visible characters of ASCII, no spaces",
                ));
            }
            Some(key) => key.to_owned(),
        };
        // What is signed is kept with its digest, which gives three or four digits away.
        if caller.order.is_some() && body.has("security_code") {
            let how = "a signed order is kept, and no code may be: send it with the card, POST /v1/payment_methods";
            return Err(Problem::fields(vec![FieldError::new(
                "/security_code",
                "not_signed",
                how,
            )]));
        }
        let mut text = format!("{method_path}\n");
        strict::canonical(body, &mut text);
        let fingerprint = self.app.vault.mac("idempotency", text.as_bytes()).to_vec();
        let name = ClaimName {
            merchant: caller.merchant.clone(),
            mode: caller.mode,
            key,
        };
        Ok(ClaimRequest {
            name,
            fingerprint,
            order: caller.order.clone(),
            approved: None,
            must_be_known: false,
        })
    }
}
