//! Signatures, MACs and digests with the channels' keys. What is computed here goes onto the wire or is compared here;
//! it is never handed out.

use crate::secrets::LocalVault;
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use portolan_domain::exchange::Word;
use portolan_domain::ids::ChannelId;

/// Whether `compute` could do it; the text says why not.
pub(crate) fn can_sign(vault: &LocalVault, channel: &ChannelId, word: &Word) -> Result<(), String> {
    match &word.key {
        Some(key) => {
            hmac_algorithm(&word.algorithm)?;
            vault
                .secret(channel, key)
                .map(drop)
                .ok_or_else(|| format!("the channel has no key {key:?}"))
        }
        None => digest_algorithm(&word.algorithm).map(drop),
    }
}

/// The text that goes onto the wire.
pub(crate) fn compute(vault: &LocalVault, channel: &ChannelId, word: &Word, data: &[u8]) -> Result<String, String> {
    let bytes = match &word.key {
        Some(key) => {
            let secret = vault
                .secret(channel, key)
                .ok_or_else(|| format!("the channel has no key {key:?}"))?;
            hmac::sign(&hmac::Key::new(hmac_algorithm(&word.algorithm)?, &secret), data)
                .as_ref()
                .to_vec()
        }
        None => digest::digest(digest_algorithm(&word.algorithm)?, data)
            .as_ref()
            .to_vec(),
    };
    match word.encoding.as_str() {
        "hex" => Ok(hex::encode(bytes)),
        "hex-upper" => Ok(hex::encode_upper(bytes)),
        "base64" => Ok(base64::engine::general_purpose::STANDARD.encode(bytes)),
        "base64url" => Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)),
        other => Err(format!("the encoding {other:?} is unknown")),
    }
}

/// Whether the signature is the key's over the data; the signature is raw, or hexadecimal where the algorithm ends in
/// `:hex`. A key that is missing or empty verifies nothing.
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
    let (algorithm, is_hex) = algorithm
        .strip_suffix(":hex")
        .map_or((algorithm, false), |algorithm| (algorithm, true));
    let key = hmac::Key::new(hmac_algorithm(algorithm)?, &secret);
    let raw = if is_hex {
        hex::decode(signature).unwrap_or_default()
    } else {
        signature.to_vec()
    };
    Ok(hmac::verify(&key, data, &raw).is_ok())
}

fn hmac_algorithm(name: &str) -> Result<hmac::Algorithm, String> {
    match name {
        "hmac-sha256" => Ok(hmac::HMAC_SHA256),
        "hmac-sha512" => Ok(hmac::HMAC_SHA512),
        other => Err(format!(
            "the algorithm {other:?} is not supported; hmac-sha256 and hmac-sha512 are"
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
