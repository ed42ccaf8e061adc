//! Passkeys (W3C Web Authentication, level 3): what a browser is asked, and whether what it answers is so; the checks are
//! webauthn-rs's. A challenge is not drawn here but given: it is the digest of what somebody approves, so that is what is signed.
//! Who may approve what is decided elsewhere.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use public_suffix::EffectiveTLDProvider as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use url::{Host, Url};
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::error::WebauthnError;
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, COSEAlgorithm, COSEKeyType, Credential, PublicKeyCredential,
    RegisterPublicKeyCredential, UserVerificationPolicy,
};

/// How long a browser waits for its user.
const WAITS: Duration = Duration::from_secs(5 * 60);
/// The public key of a registration, in bytes: RSA with 2,048 bits has 294.
const PUBLIC_KEY_MAX: usize = 2_048;

/// A page's domain, with the pages on it whose answers count.
pub struct RelyingParty {
    core: WebauthnCore,
}

/// Why an answer does not count, in words for whoever sent it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PasskeyError(String);

fn wrong(why: impl std::fmt::Display) -> PasskeyError {
    PasskeyError(why.to_string())
}

fn no_credential(error: serde_json::Error) -> PasskeyError {
    wrong(format!("this is not what credential.toJSON() gives: {error}"))
}

/// A passkey as it is kept: opaque outside.
#[derive(Serialize, Deserialize)]
struct Kept {
    credential: Credential,
    /// SubjectPublicKeyInfo, in base64 for URLs.
    public_key: String,
}

/// A new passkey.
pub struct NewPasskey {
    /// As it is to be kept.
    pub passkey: String,
    /// The SHA-256 of its public key, in hexadecimal digits: for people to compare.
    pub key: String,
}

/// An answer that is good.
pub struct Used {
    /// Which of the passkeys.
    pub which: usize,
    /// Its public key, in PEM.
    pub public_key: String,
    /// What was signed is this, and the digest of the next.
    pub authenticator_data: Vec<u8>,
    /// What the browser said about it: JSON with the challenge and the page.
    pub client_data: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// The same state with another challenge.
fn with_challenge<T: Serialize + DeserializeOwned>(state: &T, challenge: &[u8; 32]) -> Result<T, PasskeyError> {
    let mut state = serde_json::to_value(state).map_err(wrong)?;
    let place = state.get_mut("challenge").ok_or_else(|| wrong("no challenge"))?;
    *place = json!(URL_SAFE_NO_PAD.encode(challenge));
    serde_json::from_value(state).map_err(wrong)
}

fn origin(text: &str, rp_id: &str) -> Result<Url, PasskeyError> {
    let url = Url::parse(text).map_err(|error| wrong(format!("{text:?} is no address: {error}")))?;
    let is_bare = url.origin().ascii_serialization() == text;
    let is_local = url.host() == Some(Host::Domain("localhost"));
    if !is_bare || !(url.scheme() == "https" || url.scheme() == "http" && is_local) {
        let why =
            format!("{text:?} is no origin: https://office.shop.example, with a port where it has one, without a path");
        return Err(wrong(why));
    }
    match url.host() {
        Some(Host::Domain(host)) if host == rp_id || host.ends_with(&format!(".{rp_id}")) => Ok(url),
        Some(_) | None => Err(wrong(format!("{text:?} is not on {rp_id}"))),
    }
}

impl RelyingParty {
    /// Of pages on `rp_id`, a domain; `origins` as a browser names them: `https://office.shop.example`.
    pub fn new(rp_id: &str, name: &str, origins: &[String]) -> Result<Self, PasskeyError> {
        let is_local = rp_id == "localhost";
        if !is_local && public_suffix::DEFAULT_PROVIDER.effective_tld_plus_one(rp_id).is_err() {
            return Err(wrong(format!(
                "{rp_id:?} is nobody's own domain: browsers make no passkeys for it"
            )));
        }
        if rp_id.parse::<std::net::IpAddr>().is_ok()
            || Host::parse(rp_id).map(|it| it.to_string()).as_deref() != Ok(rp_id)
        {
            return Err(wrong(format!("{rp_id:?} is no domain in small letters")));
        }
        let origins: Vec<Url> = origins
            .iter()
            .map(|text| origin(text, rp_id))
            .collect::<Result<_, _>>()?;
        if origins.is_empty() {
            return Err(wrong("there must be an origin"));
        }
        let core = WebauthnCore::new_unsafe_experts_only(name, rp_id, origins, WAITS, None, None);
        Ok(Self { core })
    }

    /// In words, where the library's say little.
    fn told(&self, error: &WebauthnError) -> PasskeyError {
        match error {
            WebauthnError::InvalidRPOrigin => {
                let pages = self.core.get_allowed_origins().iter();
                let pages: Vec<String> = pages.map(|it| it.origin().ascii_serialization()).collect();
                wrong(format!(
                    "it was signed on another page than the operator named: {}",
                    pages.join(", ")
                ))
            }
            WebauthnError::MismatchedChallenge => wrong("it was signed for something else than this"),
            WebauthnError::UserNotVerified => wrong("the device did not verify its user"),
            WebauthnError::CredentialNotFound => wrong("this passkey is none of those that may approve"),
            other => wrong(other),
        }
    }

    /// What a browser needs to make a passkey for somebody who has those already:
    /// `PublicKeyCredential.parseCreationOptionsFromJSON` takes it.
    pub fn creation(
        &self,
        challenge: &[u8; 32],
        (user, name): (&[u8], &str),
        others: &[&str],
    ) -> Result<Value, PasskeyError> {
        let (mut options, _) = self.registration((user, name), others)?;
        options.public_key.challenge = challenge.to_vec();
        serde_json::to_value(options.public_key).map_err(wrong)
    }

    fn registration(
        &self,
        (user, name): (&[u8], &str),
        others: &[&str],
    ) -> Result<
        (
            webauthn_rs_core::proto::CreationChallengeResponse,
            webauthn_rs_core::proto::RegistrationState,
        ),
        PasskeyError,
    > {
        let others = others.iter().map(|it| Ok(kept(it)?.credential.cred_id));
        let others = others.collect::<Result<Vec<_>, PasskeyError>>()?;
        let asked = self
            .core
            .new_challenge_register_builder(user, name, name)
            .map_err(wrong)?;
        let asked = asked
            .attestation(AttestationConveyancePreference::None)
            .user_verification_policy(UserVerificationPolicy::Required)
            .credential_algorithms(vec![COSEAlgorithm::ES256, COSEAlgorithm::RS256])
            .exclude_credentials(Some(others));
        self.core.generate_challenge_register(asked).map_err(wrong)
    }

    /// The new passkey, if the answer (`credential.toJSON()`) is one to that challenge, its user was verified, and it is none of the
    /// others.
    pub fn register(&self, challenge: &[u8; 32], answer: &str, others: &[&str]) -> Result<NewPasskey, PasskeyError> {
        let (_, state) = self.registration((b"somebody", "somebody"), &[])?;
        let state = with_challenge(&state, challenge)?;
        let read: RegisterPublicKeyCredential = serde_json::from_str(answer).map_err(no_credential)?;
        let registered = self.core.register_credential(&read, &state, None);
        let mut credential = registered.map_err(|error| self.told(&error))?;
        for other in others {
            if kept(other)?.credential.cred_id == credential.cred_id {
                return Err(wrong(
                    "this passkey is registered already: each person has a device of their own",
                ));
            }
        }
        // A challenge is signed once for one order, and passkeys that are on several devices count nothing: how often a device has
        // signed says nothing here, and would refuse orders that come in another order than they were approved in.
        credential.counter = 0;
        let answer: Value = serde_json::from_str(answer).map_err(wrong)?;
        let public_key = answer.pointer("/response/publicKey").and_then(Value::as_str);
        let public_key = public_key.ok_or_else(|| wrong("response.publicKey is missing: send credential.toJSON()"))?;
        let made = Kept {
            credential,
            public_key: public_key.trim_end_matches('=').to_owned(),
        };
        let public_key = spki(&made)?;
        if !is_of(&public_key, &made.credential.cred.key) {
            return Err(wrong("response.publicKey is not the key of this passkey"));
        }
        Ok(NewPasskey {
            passkey: serde_json::to_string(&made).map_err(wrong)?,
            key: hex::encode(crate::sha256(&public_key)),
        })
    }

    /// What a browser needs to ask for one of the passkeys: `PublicKeyCredential.parseRequestOptionsFromJSON` takes it.
    pub fn request(&self, challenge: &[u8; 32], passkeys: &[&str]) -> Result<Value, PasskeyError> {
        let (mut options, _) = self.authentication(passkeys)?;
        options.public_key.challenge = challenge.to_vec();
        serde_json::to_value(options.public_key).map_err(wrong)
    }

    fn authentication(
        &self,
        passkeys: &[&str],
    ) -> Result<
        (
            webauthn_rs_core::proto::RequestChallengeResponse,
            webauthn_rs_core::proto::AuthenticationState,
        ),
        PasskeyError,
    > {
        let known = passkeys.iter().map(|it| Ok(kept(it)?.credential));
        let known = known.collect::<Result<Vec<_>, PasskeyError>>()?;
        let must_be_verified = Some(UserVerificationPolicy::Required);
        let asked = self.core.new_challenge_authenticate_builder(known, must_be_verified);
        self.core
            .generate_challenge_authenticate(asked.map_err(wrong)?)
            .map_err(wrong)
    }

    /// Whether the answer (`credential.toJSON()`) is one of the passkeys' to that challenge, with its user verified.
    pub fn check(&self, challenge: &[u8; 32], passkeys: &[&str], answer: &str) -> Result<Used, PasskeyError> {
        let (_, state) = self.authentication(passkeys)?;
        let state = with_challenge(&state, challenge)?;
        let answer: PublicKeyCredential = serde_json::from_str(answer).map_err(no_credential)?;
        let result = self.core.authenticate_credential(&answer, &state);
        let result = result.map_err(|error| self.told(&error))?;
        let is_it = |it: &Kept| it.credential.cred_id == *result.cred_id();
        let all = passkeys.iter().map(|it| kept(it)).collect::<Result<Vec<_>, _>>()?;
        let found = all.into_iter().enumerate().find(|(_, it)| is_it(it));
        let (which, used) = found.ok_or_else(|| wrong("no such passkey"))?;
        let public_key = spki(&used)?;
        let response = answer.response;
        // As browsers write it (section 5.8.1.2), so that whoever checks the proof need not read JSON to know what was signed.
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        let begins = format!("{{\"type\":\"webauthn.get\",\"challenge\":\"{challenge}\",\"origin\":\"");
        if !response.client_data_json.starts_with(begins.as_bytes()) {
            return Err(wrong("clientDataJSON is not as browsers write it"));
        }
        let digest = crate::sha256(&response.client_data_json);
        let signed = [response.authenticator_data.as_slice(), &digest].concat();
        if !is_by(&public_key, &signed, &response.signature) {
            return Err(wrong("the signature is not this passkey's"));
        }
        Ok(Used {
            which,
            public_key: crate::signer::pem("PUBLIC KEY", &public_key),
            authenticator_data: response.authenticator_data,
            client_data: response.client_data_json,
            signature: response.signature,
        })
    }
}

fn kept(passkey: &str) -> Result<Kept, PasskeyError> {
    serde_json::from_str(passkey).map_err(wrong)
}

fn spki(passkey: &Kept) -> Result<Vec<u8>, PasskeyError> {
    let der = URL_SAFE_NO_PAD.decode(&passkey.public_key);
    let der = der.ok().filter(|der| !der.is_empty() && der.len() <= PUBLIC_KEY_MAX);
    der.ok_or_else(|| wrong("response.publicKey is no public key in base64url"))
}

/// Whether the key that was told is the one that was made: it has the same numbers in it.
fn is_of(spki: &[u8], key: &COSEKeyType) -> bool {
    let has = |number: &[u8]| memchr::memmem::find(spki, number).is_some();
    match key {
        COSEKeyType::EC_EC2(key) => spki.ends_with(&[key.x.as_slice(), &key.y].concat()),
        COSEKeyType::RSA(key) => has(&key.n) && spki.ends_with(&key.e),
        COSEKeyType::EC_OKP(_) => false,
    }
}

/// Whether a signature is that key's, whatever its kind.
fn is_by(public_key: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    let kinds: [&dyn VerificationAlgorithm; 2] = [&ECDSA_P256_SHA256_ASN1, &RSA_PKCS1_2048_8192_SHA256];
    let is_one = |kind: &&dyn VerificationAlgorithm| kind.verify_sig(public_key, signed, signature).is_ok();
    kinds.iter().any(is_one)
}
