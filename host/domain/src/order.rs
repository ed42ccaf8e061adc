//! An order as its merchant signed it (RFC 9421): kept with what it brought about, so that neither the merchant can deny it nor the
//! router make one up. How a request's signature is read and checked is the API's business.

use serde::{Deserialize, Serialize};

/// A request that changes something, with its proof.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOrder {
    /// The API key that it came with, by its first characters.
    pub key: String,
    /// The merchant's public key, Ed25519.
    pub public_key: [u8; 32],
    /// What was signed, byte for byte: RFC 9421's signature base. It names the method, the path and the digest of the body.
    pub base: String,
    /// The signature over it.
    pub signature: Vec<u8>,
    /// The body; `None` where it held a security code, which nothing may keep: then its digest alone stands in `base`.
    pub body: Option<String>,
}

/// It may hold personal data: printing shows whose it is, not what it says.
impl std::fmt::Debug for SignedOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedOrder({})", self.key)
    }
}
