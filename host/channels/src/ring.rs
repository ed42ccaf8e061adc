//! What a guest may have done with its channel's keys, asked over one narrow place: so a guest may run in this process or
//! behind a pipe, and what was allowed is written down on this side of it.

use portolan_domain::exchange::{Body, Word};
use portolan_domain::ids::ChannelId;
use portolan_domain::ports::Keys;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Signatures and digests in one call. Each is computed at the wire.
pub(crate) const WORDS_MAX: usize = 64;

/// One use of a key. The channel and the operation are the caller's, never the guest's to say.
#[derive(Serialize, Deserialize)]
pub(crate) enum KeyAsk {
    /// Whether the router can sign so with that key, or digest so without one: no bytes.
    CanSign { key: Option<String>, algorithm: String },
    /// Whether a signature is the key's: one byte, 1 or 0.
    Verify {
        key: String,
        algorithm: String,
        data: Vec<u8>,
        signature: Vec<u8>,
    },
    /// The plain text.
    Decrypt {
        key: String,
        nonce: Vec<u8>,
        associated: Vec<u8>,
        sealed: Vec<u8>,
    },
    /// A recoverable signature over a hash.
    SignHash { key: String, path: String, hash: Vec<u8> },
    /// A public key.
    PublicKey { key: String, path: String },
}

impl KeyAsk {
    /// The key, and the algorithm that it is used for, without what only says how things are written.
    fn use_of(&self) -> Option<(&str, &str)> {
        let plain = |algorithm: &'_ str| algorithm.find(':').unwrap_or(algorithm.len());
        Some(match self {
            Self::CanSign { key, algorithm } => (key.as_deref()?, algorithm.get(..plain(algorithm))?),
            Self::Verify { key, algorithm, .. } => (key, algorithm.get(..plain(algorithm))?),
            Self::Decrypt { key, .. } => (key, "aes-256-gcm"),
            Self::SignHash { key, .. } | Self::PublicKey { key, .. } => (key, "secp256k1"),
        })
    }
}

/// Why a key was not used.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Refused {
    NotGranted(String),
    Unsuitable(String),
}

/// Whoever uses keys for a guest.
pub(crate) trait Keyring: Send {
    /// Does it, or says why not.
    fn apply(&mut self, ask: KeyAsk) -> Result<Vec<u8>, Refused>;
    /// Whether the origin of something was proven by what was applied.
    fn has_verified(&self) -> bool;
}

/// The keys that the operator granted to a channel, for one call.
pub(crate) struct Granted {
    pub vault: Arc<dyn Keys>,
    pub channel: ChannelId,
    pub keys: Arc<[KeyGrant]>,
    pub verified: bool,
}

/// A key that the operator granted, and what for.
#[derive(Clone, Debug)]
pub(crate) struct KeyGrant {
    pub name: String,
    pub algorithm: String,
}

/// How words are named: each call of one operation gives the n-th the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Naming {
    /// Nobody else can guess them.
    Secret,
    /// `signature-<key>-<algorithm>`, as vectors write them.
    Plain,
}

/// The name of the word at `place`.
pub(crate) fn name_of(naming: Naming, entropy: &[u8; 32], place: usize, word: &Word) -> String {
    let (key, algorithm) = (word.key.as_deref().unwrap_or_default(), &word.algorithm);
    match naming {
        Naming::Plain => format!("signature-{key}-{algorithm}"),
        Naming::Secret => {
            let of = Sha256::new()
                .chain_update(entropy)
                .chain_update(format!("word {place} {key} {algorithm} {}", word.encoding));
            format!("hdl{}", hex::encode(of.finalize().get(..14).unwrap_or_default()))
        }
    }
}

impl Keyring for Granted {
    fn apply(&mut self, ask: KeyAsk) -> Result<Vec<u8>, Refused> {
        self.refuse_ungranted(&ask)?;
        let done = match ask {
            KeyAsk::CanSign { key, algorithm } => self.can_sign(key, algorithm),
            KeyAsk::Verify {
                key,
                algorithm,
                data,
                signature,
            } => {
                let verified = self.vault.verify(&self.channel, &key, &algorithm, &data, &signature);
                verified.map(|verified| {
                    self.verified |= verified;
                    vec![u8::from(verified)]
                })
            }
            KeyAsk::Decrypt {
                key,
                nonce,
                associated,
                sealed,
            } => {
                let opened = self.vault.decrypt(&self.channel, &key, &nonce, &associated, &sealed);
                // Only who has the key can have sealed it.
                opened.inspect(|_| self.verified = true)
            }
            KeyAsk::SignHash { key, path, hash } => self.vault.sign_hash(&self.channel, &key, &path, &hash),
            KeyAsk::PublicKey { key, path } => self.vault.public_key(&self.channel, &key, &path),
        };
        done.map_err(Refused::Unsuitable)
    }

    fn has_verified(&self) -> bool {
        self.verified
    }
}

impl Granted {
    /// A key is for what its ask said: a public key that is taken for a shared secret would prove anything.
    fn refuse_ungranted(&self, ask: &KeyAsk) -> Result<(), Refused> {
        let Some((key, algorithm)) = ask.use_of() else {
            return Ok(());
        };
        let granted = self.keys.iter().find(|granted| granted.name == key);
        let problem = match granted {
            Some(granted) if granted.algorithm == algorithm => return Ok(()),
            Some(granted) => format!(
                "the key {key:?} was asked for as {}, not as {algorithm}",
                granted.algorithm
            ),
            None => format!("the key {key:?} is not configured for this channel"),
        };
        Err(Refused::NotGranted(problem))
    }

    fn can_sign(&self, key: Option<String>, algorithm: String) -> Result<Vec<u8>, String> {
        let word = Word {
            word: String::new(),
            key,
            algorithm,
            content_type: String::new(),
            data: Body::from(vec![]),
            encoding: String::new(),
        };
        self.vault.can_sign(&self.channel, &word).map(|()| vec![])
    }
}
