//! What partners and operators sign: a small statement about a component, in a DSSE envelope
//! (<https://github.com/secure-systems-lab/dsse>, version 1). Registries and folders are transport; this is the trust.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portolan_channels::Described;
use serde::{Deserialize, Serialize};

/// The payload's type.
pub const PAYLOAD_TYPE: &str = "application/vnd.portolan.adapter+json";
/// The contract's version that this router speaks.
pub const CONTRACT: &str = "0.1.0";

/// What is signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// SHA-256 of the component, in hexadecimal.
    pub component: String,
    /// The adapter's reverse-domain name.
    pub name: String,
    /// Its semantic version.
    pub version: String,
    /// The contract's version.
    pub contract: String,
    /// What it asks for, sorted, in the router's words.
    pub asks: Vec<String>,
    /// Seconds since 1970: not before.
    pub not_before: u64,
    /// Seconds since 1970: not after.
    pub not_after: u64,
}

impl Statement {
    /// The statement about a component that says this of itself.
    pub fn about(described: &Described, not_before: u64, not_after: u64) -> Self {
        Self {
            component: described.digest.clone(),
            name: described.name.clone(),
            version: described.version.clone(),
            contract: CONTRACT.into(),
            asks: described.asks.clone(),
            not_before,
            not_after,
        }
    }
}

/// The envelope, as DSSE writes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// [`PAYLOAD_TYPE`].
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The statement's bytes, base64.
    pub payload: String,
    /// Who signed them.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The key's name in the router's configuration: a hint, never trusted.
    pub keyid: String,
    /// Ed25519, base64.
    pub sig: String,
}

impl Envelope {
    /// An envelope that nobody has signed.
    pub fn of(statement: &Statement) -> anyhow::Result<Self> {
        Ok(Self {
            payload_type: PAYLOAD_TYPE.into(),
            payload: STANDARD.encode(serde_json::to_vec(statement)?),
            signatures: vec![],
        })
    }

    /// One envelope of several about a component: partner and operator may each have sent theirs. Of different statements the
    /// one that most of the keys signed counts which somebody knows, then the one that most signed at all, then the one that
    /// holds longest.
    pub fn merged(envelopes: impl IntoIterator<Item = Self>, component: &str, keys: &[&[u8]]) -> Option<Self> {
        let mut merged: Vec<(u64, Self)> = vec![];
        for envelope in envelopes {
            let Ok(statement) = envelope.statement() else { continue };
            if statement.component != component {
                continue;
            }
            match merged.iter_mut().find(|(_, it)| it.payload == envelope.payload) {
                Some((_, known)) => {
                    let new = envelope.signatures.into_iter();
                    let new: Vec<Signature> = new.filter(|it| !known.signatures.contains(it)).collect();
                    known.signatures.extend(new);
                }
                None => merged.push((statement.not_after, envelope)),
            }
        }
        let known = |it: &Self| keys.iter().filter(|key| it.is_signed_by(key).unwrap_or(false)).count();
        let best = merged
            .into_iter()
            .max_by_key(|(until, it)| (known(it), it.signatures.len(), *until));
        best.map(|(_, envelope)| envelope)
    }

    /// The statement in it, whoever signed it.
    pub fn statement(&self) -> Result<Statement, String> {
        if self.payload_type != PAYLOAD_TYPE {
            return Err(format!("the payload is {:?}, not {PAYLOAD_TYPE}", self.payload_type));
        }
        let payload = self.bytes()?;
        serde_json::from_slice(&payload).map_err(|error| format!("the statement: {error}"))
    }

    /// The bytes that a signature is over: DSSE's pre-authentication encoding.
    pub fn signed_bytes(&self) -> Result<Vec<u8>, String> {
        let payload = self.bytes()?;
        let kind = &self.payload_type;
        let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        bytes.extend_from_slice(&payload);
        Ok(bytes)
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        STANDARD
            .decode(&self.payload)
            .map_err(|error| format!("the payload is no base64: {error}"))
    }

    /// Adds a signature; one of the same key is replaced.
    pub fn sign(&mut self, keyid: &str, pem: &[u8]) -> Result<(), String> {
        let signature = portolan_vault::sign_with(pem, &self.signed_bytes()?)?;
        self.signatures.retain(|it| it.keyid != keyid);
        self.signatures.push(Signature {
            keyid: keyid.to_owned(),
            sig: STANDARD.encode(signature),
        });
        Ok(())
    }

    /// Whether one of the signatures is this public key's.
    pub fn is_signed_by(&self, pem: &[u8]) -> Result<bool, String> {
        let bytes = self.signed_bytes()?;
        for signature in &self.signatures {
            let signature = STANDARD.decode(&signature.sig).unwrap_or_default();
            if portolan_vault::is_signed(pem, &bytes, &signature)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_over_type_and_payload() {
        // DSSE's own example: protocol.md, "DSSEv1 29 http://example.com/HelloWorld 11 hello world".
        let mut envelope = Envelope {
            payload_type: "http://example.com/HelloWorld".into(),
            payload: STANDARD.encode("hello world"),
            signatures: vec![],
        };
        let bytes = envelope.signed_bytes().unwrap();
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        let (private, public) = portolan_vault::new_signer().unwrap();
        envelope.sign("acme", private.as_bytes()).unwrap();
        assert!(envelope.is_signed_by(public.as_bytes()).unwrap());
        envelope.payload = STANDARD.encode("hello World");
        assert!(!envelope.is_signed_by(public.as_bytes()).unwrap());
    }

    fn signed(component: &str, not_after: u64, keys: &[&str]) -> Envelope {
        let statement = Statement {
            component: component.into(),
            name: "com.acme.cards".into(),
            version: "1.0.0".into(),
            contract: CONTRACT.into(),
            asks: vec![],
            not_before: 0,
            not_after,
        };
        let mut envelope = Envelope::of(&statement).unwrap();
        for key in keys {
            let (private, _) = portolan_vault::new_signer().unwrap();
            envelope.sign(key, private.as_bytes()).unwrap();
        }
        envelope
    }

    #[test]
    fn what_partner_and_operator_sent_apart_is_one() {
        let (partner, operator) = (signed("ab", 9, &["partner"]), signed("ab", 9, &["operator"]));
        let other = signed("cd", 99, &["partner", "operator", "third"]);
        let newer = signed("ab", 10, &["partner"]);
        let torn = Envelope {
            payload: "?".into(),
            ..partner.clone()
        };
        let all = [
            torn,
            other.clone(),
            newer.clone(),
            partner.clone(),
            operator,
            partner.clone(),
        ];
        let merged = Envelope::merged(all, "ab", &[]).unwrap();
        let keys: Vec<&str> = merged.signatures.iter().map(|it| it.keyid.as_str()).collect();
        assert_eq!(
            (merged.statement().unwrap().not_after, keys),
            (9, vec!["partner", "operator"])
        );
        let merged = Envelope::merged([partner.clone(), newer], "ab", &[]).unwrap();
        assert_eq!(
            merged.statement().unwrap().not_after,
            10,
            "as many signed it, and it holds longer"
        );
        assert_eq!(Envelope::merged([other], "ab", &[]), None);
        // Whoever signs with many keys of nobody's does not hide the one that is known.
        let (private, public) = portolan_vault::new_signer().unwrap();
        let mut ours = signed("ab", 5, &[]);
        ours.sign("ops", private.as_bytes()).unwrap();
        let junk = signed("ab", 99, &["partner", "ops", "third"]);
        let merged = Envelope::merged([junk, ours], "ab", &[public.as_bytes()]).unwrap();
        assert_eq!(merged.statement().unwrap().not_after, 5);
    }
}
