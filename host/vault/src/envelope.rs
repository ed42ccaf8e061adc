//! Sealing for the journal: a data key per payment, wrapped by the newest key of the key file. Without the wrapped key
//! nothing of the payment can be read again: erasing it erases them.

use crate::keyfile::{aead_key, open_with, seal_with};
use crate::secrets::LocalVault;
use aws_lc_rs::rand;
use portolan_domain::ports::Sealer;
use zeroize::Zeroizing;

const DATA_KEY: &[u8] = b"data key";

impl Sealer for LocalVault {
    fn new_data_key(&self) -> Result<Vec<u8>, String> {
        let mut secret = Zeroizing::new([0_u8; 32]);
        rand::fill(secret.as_mut()).map_err(|_| "no randomness")?;
        self.keys.seal(DATA_KEY, secret.as_ref())
    }

    fn seal(&self, data_key: &[u8], place: &[u8], plain: Vec<u8>) -> Result<Vec<u8>, String> {
        let secret = self.keys.open_sealed(DATA_KEY, data_key)?;
        let key = aead_key(&secret).map_err(|error| error.to_string())?;
        seal_with(&key, None, place, plain)
    }

    fn open(&self, data_key: &[u8], place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String> {
        let secret = self.keys.open_sealed(DATA_KEY, data_key)?;
        let key = aead_key(&secret).map_err(|error| error.to_string())?;
        open_with(&key, place, sealed).map(|plain| plain.to_vec())
    }
}
