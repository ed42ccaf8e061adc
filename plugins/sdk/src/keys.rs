//! Keys that the adapter uses and never sees. Natively, in vector tests, signatures are fixed words and only the
//! signature `good` verifies, because no key is there.

pub use crate::bindings::base::portolan::channel::keys::{Encoding, Refusal};
use crate::types::Fault;

/// Signs `data` as it will stand on the wire; returns the word that the host replaces there.
pub fn sign(key: &str, algorithm: &str, content_type: &str, data: &[u8], encoding: Encoding) -> Result<String, Fault> {
    #[cfg(target_family = "wasm")]
    let signed = crate::bindings::base::portolan::channel::keys::sign(key, algorithm, content_type, data, encoding);
    #[cfg(not(target_family = "wasm"))]
    let signed: Result<String, Refusal> = {
        let _ = (content_type, data, encoding);
        Ok(format!("signature-{key}-{algorithm}"))
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

fn refused(refusal: Refusal) -> Fault {
    Fault::Misconfigured(match refusal {
        Refusal::NotGranted(key) => format!("the key {key:?} is not granted"),
        Refusal::Unsuitable(why) => why,
        Refusal::HoldsHandles => "the data holds handles".into(),
    })
}
