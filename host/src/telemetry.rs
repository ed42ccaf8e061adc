//! Structured logs: JSON lines on standard error, filtered by `PORTOLAN_LOG`.

use tracing_subscriber::EnvFilter;

/// Starts logging.
pub fn start() {
    let filter =
        EnvFilter::try_from_env("PORTOLAN_LOG").unwrap_or_else(|_| EnvFilter::new("info,wasmtime=warn,cranelift=warn"));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .finish();
    // A second start, in a test, keeps the first.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
