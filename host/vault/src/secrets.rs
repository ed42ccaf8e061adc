//! The vault itself: channels' secrets and keys, sessions and security codes in memory, and the ports that it
//! implements.

use crate::keyfile::{KeyFile, KeyFileError};
use crate::provider_key::ProviderKeys;
use aws_lc_rs::hmac;
use dashmap::DashMap;
use portolan_domain::exchange::{Request, Word};
use portolan_domain::ids::{ChannelId, MethodId, OperationId};
use portolan_domain::operation::Fault;
use portolan_domain::ports::{Fill, Keys, Mac, Meaning, Method, Vault};
use portolan_domain::wire::WireRequest;
use zeroize::Zeroizing;

/// How long a security code lives, from when it came: until the payment's last authorization, and never longer.
const CODE_LIVES_MS: u64 = 15 * 60 * 1_000;

type Secret = Zeroizing<Vec<u8>>;

struct Expiring {
    value: Secret,
    until_ms: u64,
}

/// The vault of one host.
pub struct LocalVault {
    pub(crate) keys: KeyFile,
    handle_key: hmac::Key,
    provider_keys: ProviderKeys,
    /// Derived once per purpose: a handful.
    hash_keys: DashMap<String, hmac::Key>,
    secrets: DashMap<(ChannelId, String), Secret>,
    sessions: DashMap<(ChannelId, String), Expiring>,
    codes: DashMap<MethodId, Expiring>,
}

impl LocalVault {
    /// A vault over a key file.
    pub fn new(keys: KeyFile) -> Result<Self, KeyFileError> {
        Ok(Self {
            handle_key: keys.hash_key("handles"),
            provider_keys: ProviderKeys::new(&keys).map_err(KeyFileError::Crypto)?,
            hash_keys: DashMap::new(),
            keys,
            secrets: DashMap::new(),
            sessions: DashMap::new(),
            codes: DashMap::new(),
        })
    }

    fn hash_key(&self, purpose: &str) -> hmac::Key {
        if let Some(key) = self.hash_keys.get(purpose) {
            return key.clone();
        }
        let key = self.keys.hash_key(purpose);
        self.hash_keys.insert(purpose.to_owned(), key.clone());
        key
    }

    /// Gives a channel a secret or a key.
    pub fn put_secret(&self, channel: ChannelId, name: String, value: Vec<u8>) {
        self.secrets.insert((channel, name), Zeroizing::new(value));
    }

    pub(crate) fn secret(&self, channel: &ChannelId, name: &str) -> Option<Secret> {
        self.secrets
            .get(&(channel.clone(), name.to_owned()))
            .map(|secret| secret.clone())
    }

    pub(crate) fn keep_code(&self, method: MethodId, code: String, now_ms: u64) {
        self.codes.retain(|_, kept| kept.until_ms > now_ms);
        let value = Zeroizing::new(code.into_bytes());
        self.codes.insert(
            method,
            Expiring {
                value,
                until_ms: now_ms.saturating_add(CODE_LIVES_MS),
            },
        );
    }

    /// The value behind a meaning, if it is at hand.
    pub(crate) fn value(&self, channel: &ChannelId, meaning: &Meaning, card: Option<&Method>) -> Option<Secret> {
        match meaning {
            Meaning::Secret(name) => match name.strip_prefix("session:") {
                Some(session) => self
                    .sessions
                    .get(&(channel.clone(), session.to_owned()))
                    .map(|session| session.value.clone()),
                None => self.secret(channel, name),
            },
            Meaning::CardNumber => self.card_number(card?).ok(),
            Meaning::CardCode => self.codes.get(&card?.id).map(|code| code.value.clone()),
        }
    }
}

impl Mac for LocalVault {
    fn mac(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&self.hash_key(purpose), data);
        tag.as_ref().try_into().unwrap_or_default()
    }

    fn verify_mac(&self, purpose: &str, data: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.hash_key(purpose), data, tag).is_ok()
    }
}

impl Keys for LocalVault {
    fn handle(&self, operation: OperationId, name: &str) -> String {
        let tag = hmac::sign(&self.handle_key, format!("{operation} {name}").as_bytes());
        format!("hdl{}", hex::encode(tag.as_ref().get(..14).unwrap_or_default()))
    }

    fn verify(
        &self,
        channel: &ChannelId,
        key: &str,
        algorithm: &str,
        data: &[u8],
        signature: &[u8],
    ) -> Result<bool, String> {
        crate::sign::verify(self, channel, key, algorithm, data, signature)
    }

    fn sign_hash(&self, channel: &ChannelId, key: &str, path: &str, hash: &[u8]) -> Result<Vec<u8>, String> {
        let seed = self.secret(channel, key).ok_or_else(|| no_key(key))?;
        crate::chain::sign_hash(&seed, path, hash)
    }

    fn public_key(&self, channel: &ChannelId, key: &str, path: &str) -> Result<Vec<u8>, String> {
        let seed = self.secret(channel, key).ok_or_else(|| no_key(key))?;
        crate::chain::public_key(&seed, path)
    }

    fn can_sign(&self, channel: &ChannelId, word: &Word) -> Result<(), String> {
        crate::sign::can_sign(self, channel, word)
    }

    fn decrypt(
        &self,
        channel: &ChannelId,
        key: &str,
        nonce: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, String> {
        let secret = self.secret(channel, key).ok_or_else(|| no_key(key))?;
        crate::sealed::open(&secret, nonce, associated, sealed)
    }
}

impl Vault for LocalVault {
    fn provider_key(&self, operation: OperationId, n: u8) -> String {
        let key = self.provider_keys.key(operation, n);
        key.unwrap_or_else(|| self.handle(operation, &format!("provider key {n}")))
    }

    fn operation_of_key(&self, key: &str) -> Option<OperationId> {
        self.provider_keys.operation(key)
    }

    fn pseudonym(&self, of: &str) -> String {
        hex::encode(self.mac("pseudonym", of.as_bytes()))
    }

    fn entropy(&self, operation: OperationId) -> [u8; 32] {
        self.mac("entropy", operation.to_string().as_bytes())
    }

    fn fill(
        &self,
        channel: &ChannelId,
        request: &Request,
        fills: &[Fill],
        card: Option<&Method>,
    ) -> Result<WireRequest, Fault> {
        crate::fill::fill(self, channel, request, fills, card)
    }

    fn scrub(&self, channel: &ChannelId, texts: Vec<Vec<u8>>, fills: &[Fill], card: Option<&Method>) -> Vec<Vec<u8>> {
        crate::scrub::scrub(self, channel, texts, fills, card)
    }

    fn keep_session(&self, channel: &ChannelId, name: &str, token: Vec<u8>, until_ms: u64) {
        let kept = Expiring {
            value: Zeroizing::new(token),
            until_ms,
        };
        self.sessions.insert((channel.clone(), name.to_owned()), kept);
    }

    fn has_session(&self, channel: &ChannelId, name: &str, now_ms: u64) -> bool {
        let session = self.sessions.get(&(channel.clone(), name.to_owned()));
        session.is_some_and(|session| session.until_ms > now_ms)
    }

    fn forget_session(&self, channel: &ChannelId, name: &str) {
        self.sessions.remove(&(channel.clone(), name.to_owned()));
    }

    fn has_code(&self, method: MethodId, now_ms: u64) -> bool {
        self.codes.get(&method).is_some_and(|code| code.until_ms > now_ms)
    }

    fn forget_code(&self, method: MethodId) {
        self.codes.remove(&method);
    }
}

fn no_key(key: &str) -> String {
    format!("the channel has no key {key:?}")
}
