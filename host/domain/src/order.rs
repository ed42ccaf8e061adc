//! An order as its merchant signed it (RFC 9421): kept with what it brought about, so that its merchant cannot deny it. How a
//! request's signature is read and checked is the API's business.

use crate::ids::OperationId;
use serde::{Deserialize, Serialize};

/// A request about money, with its proof.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOrder {
    /// When it came.
    pub at_ms: u64,
    /// The API key that it came with, by its first characters.
    pub key: String,
    /// The merchant's public key, Ed25519.
    pub public_key: [u8; 32],
    /// What was signed, byte for byte: RFC 9421's signature base. It names the method, the path and the digest of the body.
    pub base: String,
    /// The signature over it.
    pub signature: Vec<u8>,
    /// The body.
    pub body: String,
    /// The operation that it began, where it began one.
    pub operation: Option<OperationId>,
}

/// It may hold personal data: printing shows whose it is, not what it says.
impl std::fmt::Debug for SignedOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedOrder({})", self.key)
    }
}
