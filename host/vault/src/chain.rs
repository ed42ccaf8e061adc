//! Keys of chains: secp256k1 children of a seed (BIP 32), which sign hashes and show their public halves. The seed is a
//! secret of the channel, in hexadecimal, 16 to 64 bytes; it and its private children never leave.

use bip32::{DerivationPath, XPrv};
use k256::ecdsa::SigningKey;
use zeroize::Zeroizing;

fn child(seed: &[u8], path: &str) -> Result<SigningKey, String> {
    let text = std::str::from_utf8(seed).unwrap_or_default().trim();
    let seed = Zeroizing::new(hex::decode(text).unwrap_or_default());
    if !(16..=64).contains(&seed.len()) {
        return Err("the key is no seed: 16 to 64 bytes in hexadecimal".into());
    }
    let path: DerivationPath = path.parse().map_err(|_| format!("{path:?} is no path of BIP 32"))?;
    let derived = XPrv::derive_from_path(seed.as_slice(), &path);
    derived
        .map(|key| key.private_key().clone())
        .map_err(|error| format!("no key at {path}: {error}"))
}

/// A recoverable signature (r, s, recovery id) over 32 bytes, deterministic by RFC 6979.
pub(crate) fn sign_hash(seed: &[u8], path: &str, hash: &[u8]) -> Result<Vec<u8>, String> {
    if hash.len() != 32 {
        return Err("a hash has 32 bytes".into());
    }
    let (signature, recovery) = child(seed, path)?.sign_prehash_recoverable(hash);
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(recovery.to_byte());
    Ok(bytes)
}

/// The public key, uncompressed: 65 bytes.
pub(crate) fn public_key(seed: &[u8], path: &str) -> Result<Vec<u8>, String> {
    let key = child(seed, path)?;
    Ok(key.verifying_key().to_sec1_point(false).as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vector 1 of BIP 32, chain m/0H/1.
    #[test]
    fn children_are_those_of_the_standard() {
        let seed = b"000102030405060708090a0b0c0d0e0f";
        let public = public_key(seed, "m/0'/1").unwrap();
        assert_eq!(public.len(), 65);
        // The published compressed key is 03 501e454b…: its x is the first half of the uncompressed one.
        let x = public.get(1..33).map(hex::encode).unwrap();
        assert_eq!(x, "501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c");
        assert!(public_key(seed, "zero").is_err());
        assert!(public_key(b"00", "m/0").is_err());
        assert!(sign_hash(seed, "m/0", &[0; 31]).is_err());
        assert_eq!(sign_hash(seed, "m/0", &[7; 32]), sign_hash(seed, "m/0", &[7; 32]));
    }
}
