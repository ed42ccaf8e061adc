//! Signatures, MACs and digests with the channels' keys. What is computed here goes onto the wire or is compared here;
//! it is never handed out.

use crate::asymmetric::{self, Algorithm};
use crate::secrets::LocalVault;
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portolan_domain::exchange::Word;
use portolan_domain::ids::ChannelId;

/// Written after an algorithm's name: the text is percent-encoded besides, as some providers want it in a header.
const PERCENT: &str = ":percent";

/// Whether `compute` could do it; the text says why not.
pub(crate) fn can_sign(vault: &LocalVault, channel: &ChannelId, word: &Word) -> Result<(), String> {
    let name = word.algorithm.strip_suffix(PERCENT).unwrap_or(&word.algorithm);
    match &word.key {
        Some(key) => {
            if Algorithm::parse(name).is_none() {
                hmac_algorithm(name)?;
            }
            vault
                .secret(channel, key)
                .map(drop)
                .ok_or_else(|| format!("the channel has no key {key:?}"))
        }
        None => digest_algorithm(name).map(drop),
    }
}

/// The text that goes onto the wire.
pub(crate) fn compute(vault: &LocalVault, channel: &ChannelId, word: &Word, data: &[u8]) -> Result<String, String> {
    let (name, is_percent) = match word.algorithm.strip_suffix(PERCENT) {
        Some(name) => (name, true),
        None => (word.algorithm.as_str(), false),
    };
    let bytes = match &word.key {
        Some(key) => {
            let secret = vault
                .secret(channel, key)
                .ok_or_else(|| format!("the channel has no key {key:?}"))?;
            match Algorithm::parse(name) {
                Some(algorithm) => asymmetric::sign(algorithm, &secret, data)?,
                None => hmac::sign(&hmac::Key::new(hmac_algorithm(name)?, &secret), data)
                    .as_ref()
                    .to_vec(),
            }
        }
        None => digest::digest(digest_algorithm(name)?, data).as_ref().to_vec(),
    };
    let text = match word.encoding.as_str() {
        "hex" => hex::encode(bytes),
        "hex-upper" => hex::encode_upper(bytes),
        "base64" => STANDARD.encode(bytes),
        "base64url" => base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes),
        other => return Err(format!("the encoding {other:?} is unknown")),
    };
    Ok(if is_percent {
        text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
    } else {
        text
    })
}

/// Whether the signature is the key's over the data; the signature is raw, or a text where the algorithm ends in `:hex` or
/// `:base64`. A key that is missing or empty verifies nothing.
pub(crate) fn verify(
    vault: &LocalVault,
    channel: &ChannelId,
    key: &str,
    algorithm: &str,
    data: &[u8],
    signature: &[u8],
) -> Result<bool, String> {
    let secret = vault.secret(channel, key).filter(|secret| !secret.is_empty());
    let secret = secret.ok_or_else(|| format!("the channel has no key {key:?}"))?;
    let (name, raw) = match algorithm.split_once(':') {
        Some((name, "hex")) => (name, hex::decode(signature).unwrap_or_default()),
        Some((name, "base64")) => (name, STANDARD.decode(signature).unwrap_or_default()),
        _ => (algorithm, signature.to_vec()),
    };
    match Algorithm::parse(name) {
        Some(algorithm) => asymmetric::verify(algorithm, &secret, data, &raw),
        None => {
            let key = hmac::Key::new(hmac_algorithm(name)?, &secret);
            Ok(hmac::verify(&key, data, &raw).is_ok())
        }
    }
}

fn hmac_algorithm(name: &str) -> Result<hmac::Algorithm, String> {
    match name {
        "hmac-sha256" => Ok(hmac::HMAC_SHA256),
        "hmac-sha512" => Ok(hmac::HMAC_SHA512),
        other => Err(format!(
            "the algorithm {other:?} is not supported; hmac-sha256, hmac-sha512, rsa-pkcs1-sha256, rsa-pss-sha256, \
             ecdsa-p256-sha256 and ed25519 are"
        )),
    }
}

fn digest_algorithm(name: &str) -> Result<&'static digest::Algorithm, String> {
    match name {
        "sha-256" => Ok(&digest::SHA256),
        "sha-512" => Ok(&digest::SHA512),
        other => Err(format!(
            "the digest {other:?} is not supported; sha-256 and sha-512 are"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Signed here, verified by openssl, and the other way round, for every kind of key.
    #[test]
    fn openssl_agrees() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let openssl = |words: &[&str]| {
            let out = Command::new("openssl").args(words).output().expect("openssl");
            assert!(
                out.status.success(),
                "{words:?}: {}",
                String::from_utf8_lossy(&out.stderr)
            );
        };
        std::fs::write(at("data"), b"POST /pay\nclient.1.{}").unwrap();
        let data = std::fs::read(at("data")).unwrap();
        let kinds: [(&str, &[&str], &[&str], Algorithm); 2] = [
            (
                "rsa",
                &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
                &["-sha256"],
                Algorithm::RsaPkcs1,
            ),
            (
                "ec",
                &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
                &["-sha256"],
                Algorithm::EcdsaP256,
            ),
        ];
        for (name, generate, digest, algorithm) in kinds {
            let (key, public) = (at(&format!("{name}.key")), at(&format!("{name}.pub")));
            openssl(&[generate, &["-out", &key]].concat());
            openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]);
            let (private_pem, public_pem) = (std::fs::read(&key).unwrap(), std::fs::read(&public).unwrap());
            let signature = asymmetric::sign(algorithm, &private_pem, &data).unwrap();
            std::fs::write(at("signature"), &signature).unwrap();
            openssl(
                &[
                    &["dgst"],
                    digest,
                    &["-verify", &public, "-signature", &at("signature"), &at("data")],
                ]
                .concat(),
            );
            openssl(&[&["dgst"], digest, &["-sign", &key, "-out", &at("theirs"), &at("data")]].concat());
            let theirs = std::fs::read(at("theirs")).unwrap();
            assert_eq!(
                asymmetric::verify(algorithm, &public_pem, &data, &theirs),
                Ok(true),
                "{name}"
            );
            assert_eq!(
                asymmetric::verify(algorithm, &public_pem, b"other", &theirs),
                Ok(false),
                "{name}"
            );
        }
        let (key, public) = (at("ed.key"), at("ed.pub"));
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", &key]);
        openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]);
        let signature = asymmetric::sign(Algorithm::Ed25519, &std::fs::read(&key).unwrap(), &data).unwrap();
        std::fs::write(at("signature"), &signature).unwrap();
        openssl(&[
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            &public,
            "-rawin",
            "-in",
            &at("data"),
            "-sigfile",
            &at("signature"),
        ]);
        let public_pem = std::fs::read(&public).unwrap();
        assert_eq!(
            asymmetric::verify(Algorithm::Ed25519, &public_pem, &data, &signature),
            Ok(true)
        );
    }

    #[test]
    fn what_is_no_key_signs_nothing() {
        for pem in [
            b"".as_slice(),
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            b"\xff",
        ] {
            assert!(asymmetric::sign(Algorithm::RsaPkcs1, pem, b"x").is_err());
        }
    }
}
