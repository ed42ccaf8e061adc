//! Signatures on what merchants are told (Standard Webhooks 1.0.0), and the secrets for them: `v1`, HMAC-SHA256, by which a
//! receiver knows the router; `v1a`, Ed25519, by which others believe the receiver, who cannot make one.

use crate::secrets::LocalVault;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portolan_domain::ids::{MerchantId, Mode};

/// The bytes of a secret; the standard wants 24 to 64.
const SECRET_BYTES: usize = 32;

/// A new secret.
pub fn new_webhook_secret() -> Result<Vec<u8>, String> {
    let mut secret = vec![0; SECRET_BYTES];
    rand::fill(&mut secret).map_err(|_| "no randomness")?;
    Ok(secret)
}

/// A secret as its merchant gets it.
pub fn webhook_secret_text(secret: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

/// What is signed of a message: its id, the time of its sending (seconds) and its body.
fn signed((id, timestamp): (&str, u64), body: &str) -> Vec<u8> {
    format!("{id}.{timestamp}.{body}").into_bytes()
}

/// A receiver's signature, `v1,…`.
pub fn sign_webhook(secret: &[u8], message: (&str, u64), body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed(message, body))))
}

/// The router's own key pair for what one merchant is told in one mode: the same as long as the key file has its first key. No other
/// merchant's messages are signed with it: what one was told is not taken for what another was.
pub struct WebhookSigner(Ed25519KeyPair);

impl WebhookSigner {
    /// From the key file.
    pub fn new(vault: &LocalVault, (mode, merchant): (Mode, &MerchantId)) -> Result<Self, &'static str> {
        let purpose = format!("webhook signatures, {}, {}", mode.as_str(), merchant.as_str());
        let seed = vault.keys.derived(&purpose)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        pair.map(Self).map_err(|_| "a key of the wrong length")
    }

    /// The public key, `whpk_…`.
    pub fn public(&self) -> String {
        format!("whpk_{}", STANDARD.encode(self.0.public_key()))
    }

    /// The router's signature, `v1a,…`.
    pub fn sign(&self, message: (&str, u64), body: &str) -> String {
        format!("v1a,{}", STANDARD.encode(self.0.sign(&signed(message, body))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the standard's own libraries.
    #[test]
    fn signs_as_the_standard_shows() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = sign_webhook(
            &secret,
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330),
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
