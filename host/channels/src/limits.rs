//! What one call of a guest may use, and how a process of ours limits itself. Every limit has a name, a default and a reason.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Limits of one call.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Linear memory of all the guest's instances. A Rust adapter uses one or two MiB; JavaScript and Python need more.
    pub memory_bytes: usize,
    /// Elements over all tables: function pointers, a few thousand in a large guest.
    pub table_elements: usize,
    /// Time, in ticks of [`TICK_MS`]. A call takes some 30 µs; 20 ticks are 100 ms, for a busy machine.
    pub ticks: u64,
    /// Bytes that may pass from guest to host in one call: requests, results, log lines.
    pub copied_bytes: usize,
    /// Lines of log in one call.
    pub log_lines: usize,
    /// Bytes of one log line.
    pub log_line_bytes: usize,
    /// Requests in one operation.
    pub rounds: usize,
    /// A memo's bytes: it is kept as long as the payment.
    pub memo_bytes: usize,
}

/// The length of a tick of the epoch clock, in milliseconds.
pub const TICK_MS: u64 = 5;

/// A component's size: Python's take 18 MB.
pub const COMPONENT_BYTES_MAX: u64 = 24 * 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * 1024 * 1024,
            table_elements: 100_000,
            ticks: 20,
            copied_bytes: 1024 * 1024,
            log_lines: 32,
            log_line_bytes: 512,
            rounds: 8,
            memo_bytes: 16 * 1024,
        }
    }
}

/// Takes a limit upon this process, for good: that one, or the harder one that it has already.
pub(crate) fn at_most(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit)
}
