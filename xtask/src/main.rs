//! The commands of the README and of CI: build, demo, test, bench. It starts cargo and the built binaries; the rules
//! are in the tests.

mod build;
mod demo;
mod peers;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Portolan's commands")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build guests, host and simulators.
    Build,
    /// Carry real payments through a real host and show what happened.
    Demo {
        /// End after the story instead of serving on.
        #[arg(long)]
        once: bool,
    },
    /// Every test.
    Test,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().verb {
        Verb::Build => build::all("dev"),
        Verb::Demo { once } => {
            build::all("dev")?;
            demo::run(once)
        }
        Verb::Test => {
            build::all("dev")?;
            peers::install()?;
            build::cargo(&["test", "--workspace", "--quiet"])
        }
    }
}
