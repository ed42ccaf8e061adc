//! Idempotency keys for providers: the operation's id and the key's number under one block of AES-256, so that a key
//! names its operation to this vault and to nobody else, and no table of keys has to be kept.

use crate::keyfile::KeyFile;
use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey};
use portolan_domain::ids::OperationId;
use uuid::{Uuid, Variant};

/// The block cipher, keyed for this one purpose. A block is an id: never longer, never twice with another meaning.
pub(crate) struct ProviderKeys {
    encrypt: EncryptingKey,
    decrypt: DecryptingKey,
}

impl ProviderKeys {
    pub fn new(keys: &KeyFile) -> Result<Self, &'static str> {
        let secret = keys.derived("provider keys")?;
        let key = || UnboundCipherKey::new(&AES_256, &secret).map_err(|_| "a key of the wrong length");
        Ok(Self {
            encrypt: EncryptingKey::ecb(key()?).map_err(|_| "no block cipher")?,
            decrypt: DecryptingKey::ecb(key()?).map_err(|_| "no block cipher")?,
        })
    }

    /// The `n`-th key. The number stands where the id has its UUID version, which is always 7.
    pub fn key(&self, operation: OperationId, n: u8) -> Option<String> {
        let mut block = operation.0.into_bytes();
        let [_, _, _, _, _, _, version, ..] = &mut block;
        *version = (*version & 0x0f) | (n << 4);
        self.encrypt.encrypt(&mut block).ok()?;
        Some(Uuid::from_bytes(block).to_string())
    }

    /// The operation of a key, if it can be one: whatever else decrypts to something that is no id.
    pub fn operation(&self, key: &str) -> Option<OperationId> {
        let mut block = Uuid::try_parse(key).ok()?.into_bytes();
        self.decrypt.decrypt(&mut block, DecryptionContext::None).ok()?;
        let [_, _, _, _, _, _, version, ..] = &mut block;
        let n = *version >> 4;
        *version = (*version & 0x0f) | 0x70;
        let id = Uuid::from_bytes(block);
        let is_id = n < portolan_domain::operation::KEYS && id.get_variant() == Variant::RFC4122;
        is_id.then_some(OperationId(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_domain::ids::PaymentId;
    use std::collections::HashSet;

    fn keys() -> ProviderKeys {
        let folder = tempfile::tempdir().unwrap();
        ProviderKeys::new(&KeyFile::open_or_create(&folder.path().join("keys")).unwrap()).unwrap()
    }

    #[test]
    fn a_key_names_its_operation_and_no_two_are_the_same() {
        let keys = keys();
        let payment = PaymentId::new(Uuid::try_parse("019ab3c4-d5e6-7788-99aa-bbccddeeff00").unwrap());
        let mut seen = HashSet::new();
        for part in 1..200 {
            let operation = OperationId::of(payment, part);
            assert_eq!(operation.payment(), payment);
            for n in 0..8 {
                let key = keys.key(operation, n).unwrap();
                assert_eq!(keys.operation(&key), Some(operation));
                assert!(seen.insert(key));
            }
        }
    }

    #[test]
    fn keys_of_another_vault_and_other_texts_name_nothing_of_ours() {
        let (ours, theirs) = (keys(), keys());
        let operation = OperationId::of(PaymentId::new(Uuid::from_u128(7 << 76 | 2 << 62)), 5);
        let key = theirs.key(operation, 0).unwrap();
        assert_ne!(ours.operation(&key), Some(operation));
        assert_eq!(ours.operation("pi_123"), None);
    }
}
