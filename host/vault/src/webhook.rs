//! Signatures on what merchants are told (Standard Webhooks 1.0.0, `v1`: HMAC-SHA256), and the secrets for them.

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

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

/// The signature over a message's id, the time of its sending (seconds) and its body.
pub fn sign_webhook(secret: &[u8], (id, timestamp): (&str, u64), body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
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
