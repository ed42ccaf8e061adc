//! The key file: numbered key-encrypting keys, the newest first to be used, made on first start with mode 0600. From
//! each, keys for single purposes are derived (HKDF-SHA-256, RFC 5869).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac, rand};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

/// Why the key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Reading or writing it.
    #[error("the key file {0}: {1}")]
    File(String, std::io::Error),
    /// Others can read it.
    #[error("the key file {0} can be read by others (mode {1:o}): chmod 600 it")]
    TooOpen(String, u32),
    /// It is not one.
    #[error("the key file {0} is damaged: {1}")]
    Damaged(String, String),
    /// Randomness or cryptography failed.
    #[error("cryptography: {0}")]
    Crypto(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    id: u32,
    secret: String,
}

struct Kek {
    id: u32,
    key: LessSafeKey,
}

/// The keys, in memory.
pub struct KeyFile {
    newest_first: Vec<Kek>,
    /// From the oldest key: keyed hashes must stay the same across rotations.
    root: hkdf::Prk,
}

impl KeyFile {
    /// Reads the key file, or makes it if there is none.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyFileError> {
        if !path.exists() {
            let first = Stored {
                keys: vec![new_key(1)?],
            };
            write(path, &first, true)?;
        }
        Self::open(path)
    }

    /// Reads the key file.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let stored = read(path)?;
        let damaged = |why: &str| KeyFileError::Damaged(path.display().to_string(), why.to_owned());
        let mut keks = vec![];
        let mut root = None;
        for stored_key in &stored.keys {
            let secret = hex::decode(&stored_key.secret)
                .map(Zeroizing::new)
                .map_err(|_| damaged("a key is not hexadecimal"))?;
            if secret.len() != 32 {
                return Err(damaged("a key has not 32 bytes"));
            }
            let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"portolan key file 1").extract(&secret);
            keks.push(Kek {
                id: stored_key.id,
                key: aead_key(derive(&prk, "envelope")?.as_slice())?,
            });
            root.get_or_insert(prk);
        }
        keks.reverse();
        Ok(Self {
            newest_first: keks,
            root: root.ok_or_else(|| damaged("it has no key"))?,
        })
    }

    /// Adds a new key, which seals from now on; the old ones still open. Existing ciphertexts stay valid.
    pub fn rotate(path: &Path) -> Result<u32, KeyFileError> {
        let mut stored = read(path)?;
        let id = stored
            .keys
            .iter()
            .map(|key| key.id)
            .max()
            .unwrap_or(0)
            .saturating_add(1);
        stored.keys.push(new_key(id)?);
        write(path, &stored, false)?;
        Ok(id)
    }

    /// A key for keyed hashes of one purpose.
    pub(crate) fn hash_key(&self, purpose: &str) -> hmac::Key {
        let secret = derive(&self.root, purpose).unwrap_or_default();
        hmac::Key::new(hmac::HMAC_SHA256, &secret)
    }

    /// 32 secret bytes for one purpose, the same across rotations.
    pub(crate) fn derived(&self, purpose: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        derive(&self.root, purpose).map_err(|_| "deriving a key")
    }

    /// Seals under the newest key: its id, a nonce, the ciphertext.
    pub(crate) fn seal(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, String> {
        let newest = self.newest_first.first().ok_or("no key")?;
        seal_with(&newest.key, Some(newest.id), aad, plain.to_vec())
    }

    /// Opens what `seal` made, with whichever key sealed it.
    pub(crate) fn open_sealed(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let (id, rest) = sealed.split_first_chunk::<4>().ok_or("too short to be sealed")?;
        let id = u32::from_be_bytes(*id);
        let kek = self
            .newest_first
            .iter()
            .find(|kek| kek.id == id)
            .ok_or_else(|| format!("no key {id} in the key file"))?;
        open_with(&kek.key, aad, rest)
    }
}

pub(crate) fn aead_key(secret: &[u8]) -> Result<LessSafeKey, KeyFileError> {
    let key = UnboundKey::new(&AES_256_GCM, secret).map_err(|_| KeyFileError::Crypto("a key of the wrong length"))?;
    Ok(LessSafeKey::new(key))
}

pub(crate) fn seal_with(key: &LessSafeKey, id: Option<u32>, aad: &[u8], mut body: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut nonce = [0_u8; 12];
    rand::fill(&mut nonce).map_err(|_| "no randomness")?;
    let mut sealed = Vec::with_capacity(body.len() + 32);
    sealed.extend(id.map(u32::to_be_bytes).into_iter().flatten());
    sealed.extend_from_slice(&nonce);
    let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body);
    let tag = tag.map_err(|_| "sealing failed")?;
    sealed.extend_from_slice(&body);
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

pub(crate) fn open_with(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let (nonce, body) = sealed.split_first_chunk::<12>().ok_or("too short to be sealed")?;
    let mut body = Zeroizing::new(body.to_vec());
    let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut body);
    let length = opened
        .map_err(|_| "the ciphertext was changed, or belongs elsewhere")?
        .len();
    body.truncate(length);
    Ok(body)
}

struct Bytes32;

impl hkdf::KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

fn derive(prk: &hkdf::Prk, purpose: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let mut secret = Zeroizing::new(vec![0_u8; 32]);
    let info = [purpose.as_bytes()];
    let expanded = prk.expand(&info, Bytes32).and_then(|okm| okm.fill(&mut secret));
    expanded.map_err(|_| KeyFileError::Crypto("deriving a key"))?;
    Ok(secret)
}

fn new_key(id: u32) -> Result<StoredKey, KeyFileError> {
    let mut secret = Zeroizing::new([0_u8; 32]);
    rand::fill(secret.as_mut()).map_err(|_| KeyFileError::Crypto("no randomness"))?;
    Ok(StoredKey {
        id,
        secret: hex::encode(secret.as_ref()),
    })
}

fn read(path: &Path) -> Result<Stored, KeyFileError> {
    let name = path.display().to_string();
    let metadata = std::fs::metadata(path).map_err(|error| KeyFileError::File(name.clone(), error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::TooOpen(name, mode));
    }
    let text = std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| KeyFileError::File(name.clone(), error))?;
    serde_json::from_slice(&text).map_err(|error| KeyFileError::Damaged(name, error.to_string()))
}

/// Writes to a new file beside it, syncs, and puts it in place: a crash leaves the old file or the new one.
fn write(path: &Path, stored: &Stored, is_first: bool) -> Result<(), KeyFileError> {
    let failed = |error| KeyFileError::File(path.display().to_string(), error);
    let text = serde_json::to_vec_pretty(stored).map(Zeroizing::new);
    let text = text.map_err(|error| KeyFileError::Damaged(path.display().to_string(), error.to_string()))?;
    let beside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside).map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    if is_first {
        // Another process may have made it meanwhile: the first one stays.
        match std::fs::hard_link(&beside, path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => std::fs::remove_file(&beside).map_err(failed)?,
        }
    } else {
        std::fs::rename(&beside, path).map_err(failed)?;
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}
