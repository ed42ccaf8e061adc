//! The provider's signatures: RSA-SHA256 over method, path, client, time and body, both ways.

use anyhow::{Context, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use std::path::Path;

/// The provider's private key and the client's public one.
pub struct Keys {
    own: KeyPair,
    client: Vec<u8>,
}

fn signed_text(path: &str, client: &str, time: &str, body: &[u8]) -> Vec<u8> {
    [format!("POST {path}\n{client}.{time}.").as_bytes(), body].concat()
}

impl Keys {
    /// Reads both.
    pub fn read(own: &Path, client: &Path) -> anyhow::Result<Self> {
        let pem = PrivatePkcs8KeyDer::from_pem_file(own).with_context(|| own.display().to_string())?;
        let spki = SubjectPublicKeyInfoDer::from_pem_file(client).with_context(|| client.display().to_string())?;
        Ok(Self {
            own: KeyPair::from_pkcs8(pem.secret_pkcs8_der()).map_err(|error| anyhow!("{error}"))?,
            client: spki.to_vec(),
        })
    }

    /// The header for what the provider says.
    pub fn sign(&self, path: &str, client: &str, time: &str, body: &[u8]) -> String {
        let mut signature = vec![0; self.own.public_modulus_len()];
        let text = signed_text(path, client, time, body);
        let signed = self
            .own
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &text, &mut signature);
        let text = signed.map(|()| STANDARD.encode(signature)).unwrap_or_default();
        let encoded = text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("algorithm=RSA256,keyVersion=1,signature={encoded}")
    }

    /// Whether the client signed.
    pub fn is_clients(&self, path: &str, (client, time): (&str, &str), body: &[u8], header: &str) -> bool {
        let found = header
            .split(',')
            .find_map(|part| part.trim().strip_prefix("signature="));
        let text = found
            .unwrap_or_default()
            .replace("%2B", "+")
            .replace("%2F", "/")
            .replace("%3D", "=");
        let raw = STANDARD.decode(text).unwrap_or_default();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.client)
            .verify(&signed_text(path, client, time, body), &raw)
            .is_ok()
    }
}
