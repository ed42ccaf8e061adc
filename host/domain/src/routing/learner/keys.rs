//! Where a weight is found: hashes of what of a payment it belongs to, the same on every machine.

use super::{KINDS, Segment};
use crate::ids::{ChannelId, Mode};
use std::hash::Hasher;

/// What of a segment its weights are found by, hashed once for all channels.
pub(super) struct Parts([u64; 9]);

impl Parts {
    /// In the order of [`KINDS`].
    pub fn of(segment: &Segment<'_>) -> Self {
        let of = |kind: u8, parts: &[&str]| {
            let start = hash_bytes(FNV_OFFSET, &[kind, u8::from(segment.mode == Mode::Live)]);
            parts.iter().fold(start, |so_far, part| hash(so_far, part))
        };
        let network = segment.network.unwrap_or_default();
        let issuer = segment.issuer.unwrap_or_default();
        let band = [segment.band];
        Self([
            of(0, &[]),
            of(1, &[segment.method, network]),
            of(2, &[segment.currency]),
            of(3, &[segment.method, network, segment.currency]),
            of(4, &[issuer]),
            hash_bytes(of(5, &[]), &band),
            of(8, &[segment.country.unwrap_or_default()]),
            of(6, &[segment.method, issuer]),
            hash_bytes(of(7, &[segment.currency]), &band),
        ])
    }

    /// The keys of a channel's weights: its own, and those that all channels share.
    pub fn keys(&self, channel: &ChannelId) -> [u64; 9] {
        let name = hash(FNV_OFFSET, channel.as_str());
        let mut keys = self.0;
        for (key, kind) in keys.iter_mut().zip(KINDS) {
            if kind.is_own {
                *key = mix(*key ^ name.rotate_left(32));
            }
        }
        keys
    }
}

/// Spreads a number over all bits (the finalizer of MurmurHash3).
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// The keys are hashes already.
#[derive(Clone, Copy, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_bytes(self.0, bytes);
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, the same on every machine; a byte between two texts keeps them apart.
pub fn hash(start: u64, text: &str) -> u64 {
    hash_bytes(hash_bytes(start, text.as_bytes()), &[0xff])
}

fn hash_bytes(start: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(start, step)
}
