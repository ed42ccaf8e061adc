//! Signatures with key pairs: RSA, ECDSA on P-256, Ed25519, from PEM. A channel's private key signs here and nowhere else;
//! a provider's public key, stored as a key like any other, verifies.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

/// What a key pair can do, by the contract's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Algorithm {
    RsaPkcs1,
    RsaPss,
    EcdsaP256,
    Ed25519,
}

impl Algorithm {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "rsa-pkcs1-sha256" => Some(Self::RsaPkcs1),
            "rsa-pss-sha256" => Some(Self::RsaPss),
            "ecdsa-p256-sha256" => Some(Self::EcdsaP256),
            "ed25519" => Some(Self::Ed25519),
            _ => None,
        }
    }

    fn verifier(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::RsaPkcs1 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RsaPss => &RSA_PSS_2048_8192_SHA256,
            Self::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            Self::Ed25519 => &ED25519,
        }
    }
}

/// Signs with a private key in PEM (PKCS#8, or PKCS#1 for RSA).
pub(crate) fn sign(algorithm: Algorithm, pem: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
    let der = Zeroizing::new(der_of(pem)?);
    let refused = |what: &str| format!("the key is no private {what} key in PEM");
    let random = SystemRandom::new();
    match algorithm {
        Algorithm::RsaPkcs1 | Algorithm::RsaPss => {
            let pair = RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der));
            let pair = pair.map_err(|_| refused("RSA"))?;
            let mut signature = vec![0; pair.public_modulus_len()];
            let signed = if algorithm == Algorithm::RsaPkcs1 {
                pair.sign(&RSA_PKCS1_SHA256, &random, data, &mut signature)
            } else {
                pair.sign(&RSA_PSS_SHA256, &random, data, &mut signature)
            };
            signed.map_err(|_| "the key cannot sign".to_owned())?;
            Ok(signature)
        }
        Algorithm::EcdsaP256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).map_err(|_| refused("P-256"))?;
            let signature = pair.sign(&random, data).map_err(|_| "the key cannot sign".to_owned())?;
            Ok(signature.as_ref().to_vec())
        }
        Algorithm::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| refused("Ed25519"))?;
            Ok(pair.sign(data).as_ref().to_vec())
        }
    }
}

/// Whether the signature is the public key's (PEM, SubjectPublicKeyInfo) over the data.
pub(crate) fn verify(algorithm: Algorithm, pem: &[u8], data: &[u8], signature: &[u8]) -> Result<bool, String> {
    let der = der_of(pem)?;
    // An Ed25519 key is wanted bare: the last 32 bytes of its SubjectPublicKeyInfo.
    let key = match algorithm {
        Algorithm::Ed25519 => der.last_chunk::<32>().map_or(der.as_slice(), |bare| bare.as_slice()),
        Algorithm::RsaPkcs1 | Algorithm::RsaPss | Algorithm::EcdsaP256 => &der,
    };
    Ok(UnparsedPublicKey::new(algorithm.verifier(), key)
        .verify(data, signature)
        .is_ok())
}

/// The key in PEM; a text without PEM's marks is taken as bare base64, as some providers show their keys.
fn der_of(pem: &[u8]) -> Result<Vec<u8>, String> {
    if pem.starts_with(b"-----BEGIN PUBLIC KEY") {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem);
        return key
            .map(|key| key.to_vec())
            .map_err(|error| format!("the key is not PEM: {error}"));
    }
    if pem.starts_with(b"-----BEGIN") {
        let key = PrivateKeyDer::from_pem_slice(pem);
        return key
            .map(|key| key.secret_der().to_vec())
            .map_err(|error| format!("the key is not PEM: {error}"));
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(pem.trim_ascii());
    decoded
        .ok()
        .filter(|der| !der.is_empty())
        .ok_or_else(|| "the key is neither PEM nor base64".to_owned())
}
