//! What is looked up with every request and written by this process alone, kept in memory: API keys, payment methods, and
//! the wrapped data keys of payments in flight. A reader's page cache is empty after each commit, so these look-ups would cost the most.

use portolan_domain::ids::{MethodId, PaymentId};
use portolan_domain::ports::{ApiKey, Method};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Entries of each kind; when full it starts over.
const MOST: usize = 16_384;

#[derive(Default)]
pub(super) struct Kept {
    pub api_keys: Few<[u8; 32], ApiKey>,
    pub methods: Few<MethodId, Method>,
    pub data_keys: Few<PaymentId, Vec<u8>>,
}

/// A bounded map.
pub(super) struct Few<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash, V: Clone> Few<K, V> {
    /// The value, if it is kept.
    pub fn get(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Keeps a value.
    pub fn put(&self, key: K, value: V) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MOST {
            map.clear();
        }
        map.insert(key, value);
    }

    /// Keeps a value that was read, unless a newer one was written meanwhile.
    pub fn put_read(&self, key: K, value: V) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() < MOST {
            map.entry(key).or_insert(value);
        }
    }

    /// Forgets a value.
    pub fn forget(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
