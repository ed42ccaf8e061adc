//! Keys that the adapter uses and never sees. Natively, in vector tests, signatures are fixed words and only the
//! signature `good` verifies, because no key is there; whoever runs an adapter natively can take what was to be signed.

pub use crate::bindings::base::portolan::channel::keys::{Encoding, Refusal};
use crate::types::Fault;

/// Signs `data` as it will stand on the wire; returns the word that the host replaces there.
pub fn sign(key: &str, algorithm: &str, content_type: &str, data: &[u8], encoding: Encoding) -> Result<String, Fault> {
    #[cfg(target_family = "wasm")]
    let signed = crate::bindings::base::portolan::channel::keys::sign(key, algorithm, content_type, data, encoding);
    #[cfg(not(target_family = "wasm"))]
    let signed: Result<String, Refusal> = {
        let word = format!("signature-{key}-{algorithm}");
        native::note(native::Signed {
            word: word.clone(),
            key: key.to_owned(),
            algorithm: algorithm.to_owned(),
            content_type: content_type.to_owned(),
            data: data.to_vec(),
            encoding,
        });
        Ok(word)
    };
    signed.map_err(refused)
}

/// Whether `signature` is the key's over `data`. The host computes and compares.
pub fn verify(key: &str, algorithm: &str, data: &[u8], signature: &[u8]) -> Result<bool, Fault> {
    #[cfg(target_family = "wasm")]
    let verified = crate::bindings::base::portolan::channel::keys::verify(key, algorithm, data, signature);
    #[cfg(not(target_family = "wasm"))]
    let verified: Result<bool, Refusal> = {
        let _ = (key, algorithm, data);
        Ok(signature == b"good")
    };
    verified.map_err(refused)
}

/// Opens what the provider sealed with AES-256-GCM, as some seal their notifications: the tag stands at the end of
/// `sealed`. Natively nothing is sealed: what follows the word `sealed:` is the plain text, and anything else is forged.
pub fn decrypt(key: &str, nonce: &[u8], associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Fault> {
    #[cfg(target_family = "wasm")]
    let opened = crate::bindings::base::portolan::channel::keys::decrypt(key, nonce, associated, sealed);
    #[cfg(not(target_family = "wasm"))]
    let opened = {
        let _ = (key, nonce, associated);
        let plain = sealed.strip_prefix(b"sealed:").map(<[u8]>::to_vec);
        plain.ok_or_else(|| Refusal::Unsuitable("it was not sealed with this key".into()))
    };
    opened.map_err(refused)
}

/// A recoverable secp256k1 signature over a 32-byte hash (r, s, recovery id), by the child of `key` at `path` (BIP 32).
/// Natively the seed is the one of BIP 32's first test vector.
pub fn sign_hash(key: &str, path: &str, hash: &[u8]) -> Result<Vec<u8>, Fault> {
    #[cfg(target_family = "wasm")]
    let signed = crate::bindings::base::portolan::channel::keys::sign_hash(key, path, hash);
    #[cfg(not(target_family = "wasm"))]
    let signed = {
        let _ = key;
        native::sign_hash(path, hash).ok_or(Refusal::Unsuitable("no such path".into()))
    };
    signed.map_err(refused)
}

/// The uncompressed public key (65 bytes) of the child of `key` at `path`.
pub fn public_key(key: &str, path: &str) -> Result<Vec<u8>, Fault> {
    #[cfg(target_family = "wasm")]
    let found = crate::bindings::base::portolan::channel::keys::public_key(key, path);
    #[cfg(not(target_family = "wasm"))]
    let found = {
        let _ = key;
        native::public_key(path).ok_or(Refusal::Unsuitable("no such path".into()))
    };
    found.map_err(refused)
}

/// What was to be signed, where no host is.
#[cfg(not(target_family = "wasm"))]
pub mod native {
    use super::Encoding;
    use std::cell::RefCell;

    /// One signature that an adapter asked for.
    #[derive(Clone, Debug)]
    pub struct Signed {
        /// The word that stands for it.
        pub word: String,
        /// The key's name.
        pub key: String,
        /// `hmac-sha256`, …
        pub algorithm: String,
        /// How handles inside `data` are encoded.
        pub content_type: String,
        /// What is signed.
        pub data: Vec<u8>,
        /// How the signature is written.
        pub encoding: Encoding,
    }

    /// The most that is kept: vector tests never take any.
    const KEPT: usize = 16;

    thread_local! {
        static SIGNED: RefCell<Vec<Signed>> = const { RefCell::new(vec![]) };
    }

    pub(super) fn note(signed: Signed) {
        SIGNED.with_borrow_mut(|kept| {
            if kept.len() < KEPT {
                kept.push(signed);
            }
        });
    }

    /// The seed of BIP 32's first test vector.
    const SEED: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn child(path: &str) -> Option<k256::ecdsa::SigningKey> {
        let derived = bip32::XPrv::derive_from_path(&SEED, &path.parse().ok()?).ok()?;
        Some(derived.private_key().clone())
    }

    pub(super) fn sign_hash(path: &str, hash: &[u8]) -> Option<Vec<u8>> {
        let (signature, recovery) = child(path)?.sign_prehash_recoverable(hash);
        Some([signature.to_bytes().as_slice(), &[recovery.to_byte()]].concat())
    }

    pub(super) fn public_key(path: &str) -> Option<Vec<u8>> {
        Some(child(path)?.verifying_key().to_sec1_point(false).as_bytes().to_vec())
    }

    /// What was asked for on this thread since the last call.
    pub fn take() -> Vec<Signed> {
        SIGNED.take()
    }
}

fn refused(refusal: Refusal) -> Fault {
    Fault::Misconfigured(match refusal {
        Refusal::NotGranted(key) => format!("the key {key:?} is not granted"),
        Refusal::Unsuitable(why) => why,
        Refusal::HoldsHandles => "the data holds handles".into(),
    })
}
