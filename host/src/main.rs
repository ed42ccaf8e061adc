//! The binary: what was typed, handed to whoever does it.

use clap::Parser;
use portolan::{cli, config};
use std::process::ExitCode;

/// Payments are many small allocations on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a bad configuration (`EX_USAGE` of sysexits).
const BAD_CONFIG: u8 = 64;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.downcast_ref::<config::ConfigError>().is_some() => {
            cli::say_error(&error);
            ExitCode::from(BAD_CONFIG)
        }
        Err(error) => {
            cli::say_error(&error);
            ExitCode::FAILURE
        }
    }
}
