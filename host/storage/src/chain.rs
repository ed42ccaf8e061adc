//! The hash chain over events: each hash covers the one before and the event's bytes, so that a changed, missing or
//! moved event shows.

use sha2::{Digest, Sha256};

/// The hash before the first event.
pub(crate) const START: [u8; 32] = [0; 32];

/// The hash of an event after `before`.
pub(crate) fn link(before: &[u8; 32], event: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(event);
    hasher.finalize().into()
}
