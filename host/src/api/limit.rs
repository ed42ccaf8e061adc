//! How often a key may call: a bucket per key, refilled evenly (GCRA), told with every answer to a request that
//! was let in (the IETF's RateLimit headers).

use axum::http::{HeaderMap, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;

type KeyHash = [u8; 32];

/// The limiter of one node.
pub struct Limiter {
    keys: RateLimiter<KeyHash, DashMapStateStore<KeyHash>, DefaultClock, StateInformationMiddleware>,
    per_second: NonZeroU32,
}

/// What is left for a key.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    per_second: NonZeroU32,
    requests: u32,
}

impl Limiter {
    /// So many requests a second for each key; as many may come at once.
    pub fn new(per_second: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second);
        Self {
            keys: RateLimiter::dashmap(quota).with_middleware(),
            per_second,
        }
    }

    /// Takes one request from the key's bucket; the error is how many seconds to wait.
    pub fn take(&self, key: &KeyHash) -> Result<Left, u32> {
        match self.keys.check_key(key) {
            Ok(state) => Ok(Left {
                per_second: self.per_second,
                requests: state.remaining_burst_capacity(),
            }),
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
            }
        }
    }
}

impl Left {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
    pub fn tell(self, headers: &mut HeaderMap) {
        let policy = format!("\"key\";q={};w=1", self.per_second);
        let left = format!("\"key\";r={};t=1", self.requests);
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}
