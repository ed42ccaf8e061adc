//! What a guest may have done with its channel's keys, asked over one narrow place: so a guest may run in this process or
//! behind a pipe, and what was allowed is written down on this side of it.

use portolan_domain::exchange::Word;
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::ports::Keys;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Words in one request. Each is computed at the wire.
const WORDS_MAX: usize = 64;

/// One use of a key. The channel and the operation are the caller's, never the guest's to say.
#[derive(Serialize, Deserialize)]
pub(crate) enum KeyAsk {
    /// A word that stands for a signature or a digest (`word` is still empty).
    StandIn(Word),
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
    fn key(&self) -> Option<&str> {
        match self {
            Self::StandIn(word) => word.key.as_deref(),
            Self::Verify { key, .. }
            | Self::Decrypt { key, .. }
            | Self::SignHash { key, .. }
            | Self::PublicKey { key, .. } => Some(key),
        }
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
    /// The words that were given out, and whether the origin of something was proven.
    fn taken(&mut self) -> (Vec<Word>, bool);
}

/// The keys that the operator granted to a channel, for one call.
pub(crate) struct Granted {
    pub vault: Arc<dyn Keys>,
    pub channel: ChannelId,
    pub operation: OperationId,
    /// Names of the granted keys.
    pub names: Arc<[String]>,
    pub words: Vec<Word>,
    pub verified: bool,
}

impl Keyring for Granted {
    fn apply(&mut self, ask: KeyAsk) -> Result<Vec<u8>, Refused> {
        if let Some(key) = ask.key()
            && !self.names.iter().any(|granted| granted == key)
        {
            return Err(Refused::NotGranted(format!(
                "the key {key:?} is not configured for this channel"
            )));
        }
        let done = match ask {
            KeyAsk::StandIn(word) => self.stand_in(word),
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

    fn taken(&mut self) -> (Vec<Word>, bool) {
        (std::mem::take(&mut self.words), self.verified)
    }
}

impl Granted {
    /// The word is the same each time the guest asks for the same signature at the same place.
    fn stand_in(&mut self, word: Word) -> Result<Vec<u8>, String> {
        self.vault.can_sign(&self.channel, &word)?;
        let (place, key) = (self.words.len(), word.key.as_deref().unwrap_or_default());
        if place >= WORDS_MAX {
            return Err(format!("more than {WORDS_MAX} signatures in one call"));
        }
        let of = format!("word {place} {key} {} {}", word.algorithm, word.encoding);
        let name = self.vault.handle(self.operation, &of);
        self.words.push(Word {
            word: name.clone(),
            ..word
        });
        Ok(name.into_bytes())
    }
}
