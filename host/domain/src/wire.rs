//! Bytes with secrets in them. They can be made anywhere, but nothing prints, clones or serialises them, they are
//! zeroed on drop, and a repository test holds that only `egress` reads them.

use zeroize::Zeroizing;

/// A text with a secret in it.
pub struct WireBytes(Zeroizing<Vec<u8>>);

impl WireBytes {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the socket.
    pub fn expose_for_wire(&self) -> &[u8] {
        &self.0
    }
}

/// A request as it goes onto the wire.
pub struct WireRequest {
    /// `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names and values.
    pub headers: Vec<(String, WireBytes)>,
    /// The body.
    pub body: WireBytes,
}
