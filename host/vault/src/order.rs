//! What proves a merchant's order: the digest of its body and an Ed25519 signature, by the merchant's public key.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

/// How a public Ed25519 key begins as a SubjectPublicKeyInfo (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The bare public key of one in PEM.
pub fn order_key(pem: &str) -> Result<[u8; 32], String> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes());
    let der = der.map_err(|error| format!("is no public key in PEM: {error}"))?;
    let bare = der.strip_prefix(SPKI.as_slice()).and_then(|bare| bare.try_into().ok());
    bare.ok_or_else(|| "is no Ed25519 key: openssl genpkey -algorithm ed25519 makes one".into())
}

/// The key in PEM, as openssl reads it.
pub fn order_key_pem(key: &[u8; 32]) -> String {
    crate::signer::pem("PUBLIC KEY", &[SPKI.as_slice(), key].concat())
}

/// Whether the signature is the key's over what was signed.
pub fn is_ordered(key: &[u8; 32], base: &str, signature: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(base.as_bytes(), signature).is_ok()
}

/// The digest of a body, by its name in Content-Digest (RFC 9530); `None`: an algorithm that proves nothing, or that nobody knows.
pub fn content_digest(algorithm: &str, body: &[u8]) -> Option<Vec<u8>> {
    let algorithm = match algorithm {
        "sha-256" => &SHA256,
        "sha-512" => &SHA512,
        _ => return None,
    };
    Some(digest(algorithm, body).as_ref().to_vec())
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    let made = digest(&SHA256, data);
    hash.iter_mut().zip(made.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9421, appendix B.1.4 and B.2.6: its key, its signature base, its signature.
    #[test]
    fn checks_the_signature_of_the_standard() {
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----\n";
        let key = order_key(pem).unwrap();
        assert_eq!(order_key_pem(&key), pem);
        let base = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\"@authority\": example.com\n\
                    \"content-type\": application/json\n\"content-length\": 18\n\"@signature-params\": (\"date\" \"@method\" \"@path\" \
                    \"@authority\" \"content-type\" \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"";
        use base64::Engine;
        let signature = base64::engine::general_purpose::STANDARD
            .decode("wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==")
            .unwrap();
        assert!(is_ordered(&key, base, &signature));
        assert!(!is_ordered(&key, &base.replace("/foo", "/fop"), &signature));
        assert!(order_key("x").is_err());
    }

    /// RFC 9530, appendix D: `{"hello": "world"}` and a newline.
    #[test]
    fn digests_as_the_standard_does() {
        let sha256 = content_digest("sha-256", b"{\"hello\": \"world\"}\n").unwrap();
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(sha256);
        assert_eq!(text, "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=");
        assert_eq!(content_digest("md5", b""), None);
    }
}
