//! End to end: the real host, the real guest, a real acquirer over HTTP. One binary; one file per subject.

mod payments;
