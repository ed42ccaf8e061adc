//! What providers seal for a channel: AES-256-GCM with a key that both have (WeChat Pay's notifications, for one). It owns
//! the opening; the router's own envelopes are `envelope.rs`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const KEY_BYTES: usize = 32;

/// The plain text. A wrong key and a changed message give the same answer.
pub(crate) fn open(key: &[u8], nonce: &[u8], associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String> {
    let nonce: [u8; NONCE_LEN] = nonce
        .try_into()
        .map_err(|_| format!("the nonce has {} bytes, not {NONCE_LEN}", nonce.len()))?;
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| {
        format!(
            "the key has {} bytes, not {KEY_BYTES}: AES-256-GCM wants those",
            key.len()
        )
    })?;
    let mut text = sealed.to_vec();
    let plain = LessSafeKey::new(key)
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut text)
        .map_err(|_| "it was not sealed with this key, or was changed on its way".to_owned())?;
    Ok(plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 16 of McGrew and Viega's GCM specification (256 bits, with associated data).
    #[test]
    fn opens_what_the_specification_sealed() {
        let hex = |text: &str| hex::decode(text).unwrap();
        let key = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let nonce = hex("cafebabefacedbaddecaf888");
        let associated = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain = hex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let mut sealed = hex(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        );
        sealed.extend(hex("76fc6ece0f4e1768cddf8853bb2d551b"));
        assert_eq!(open(&key, &nonce, &associated, &sealed), Ok(plain));
        assert!(open(&key, &nonce, b"other", &sealed).is_err());
        sealed[0] ^= 1;
        assert!(open(&key, &nonce, &associated, &sealed).is_err());
    }

    #[test]
    fn says_what_does_not_fit() {
        assert!(
            open(&[0; 16], &[0; 12], b"", &[0; 16])
                .unwrap_err()
                .contains("16 bytes, not 32")
        );
        assert!(
            open(&[0; 32], &[0; 8], b"", &[0; 16])
                .unwrap_err()
                .contains("8 bytes, not 12")
        );
        assert!(open(&[0; 32], &[0; 12], b"", b"").is_err());
    }
}
