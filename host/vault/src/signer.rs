//! Ed25519 keys of partners and operators, who sign adapters: made, used and checked here, in the PEM that openssl reads.

use crate::asymmetric::{Algorithm, sign, verify};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use zeroize::Zeroizing;

/// A new pair: the private key (PKCS #8) and the public key (SubjectPublicKeyInfo), both in PEM.
pub fn new_signer() -> Result<(Zeroizing<String>, String), String> {
    let failed = |_| "no key could be made".to_owned();
    let pair = Ed25519KeyPair::generate().map_err(|_| "no key could be made".to_owned())?;
    let private = pair.to_pkcs8v1().map_err(failed)?;
    let public: PublicKeyX509Der<'_> = pair
        .public_key()
        .as_der()
        .map_err(|_| "the key has no public form".to_owned())?;
    Ok((
        Zeroizing::new(pem("PRIVATE KEY", private.as_ref())),
        pem("PUBLIC KEY", public.as_ref()),
    ))
}

pub(crate) fn pem(what: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
}

/// Signs with a private key in PEM.
pub fn sign_with(pem: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
    sign(Algorithm::Ed25519, pem, data)
}

/// Whether the signature is the public key's over the data.
pub fn is_signed(pem: &[u8], data: &[u8], signature: &[u8]) -> Result<bool, String> {
    verify(Algorithm::Ed25519, pem, data, signature)
}
