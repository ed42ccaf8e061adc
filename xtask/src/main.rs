//! The commands of the README and of CI: build, demo, test, bench. It starts cargo and the built binaries; the rules
//! are in the tests.

mod bench;
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
    /// Install what the tests talk to and build with.
    Peers,
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
    /// Speed, beside the floor: the least that any router would have to do.
    Bench {
        /// One JSON line per row.
        #[arg(long)]
        json: bool,
        /// Seconds per row.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Compare a store of 10^4 payments with one of 10^6 (some 10 GB of disk) instead.
        #[arg(long)]
        stored: bool,
        /// Swap versions of the adapter under load 100 times instead.
        #[arg(long)]
        swaps: bool,
        /// Let a hostile adapter run beside the load instead.
        #[arg(long)]
        hostile: bool,
        /// Measure what a decision about a route costs instead.
        #[arg(long)]
        routes: bool,
    },
}

fn main() -> anyhow::Result<()> {
    let verb = Cli::parse().verb;
    portolan_tests::use_profile(if matches!(verb, Verb::Bench { .. }) {
        "release"
    } else {
        "debug"
    });
    match verb {
        Verb::Build => build::all("dev"),
        Verb::Peers => peers::install(),
        Verb::Demo { once } => {
            build::all("dev")?;
            demo::run(once)
        }
        Verb::Bench {
            json,
            seconds,
            stored: true,
            ..
        } => bench::stored(json, seconds),
        Verb::Bench {
            json,
            seconds,
            swaps: true,
            ..
        } => bench::swaps(json, seconds),
        Verb::Bench {
            json,
            seconds,
            hostile: true,
            ..
        } => bench::hostile(json, seconds),
        Verb::Bench { routes: true, .. } => build::cargo(&[
            "run",
            "--release",
            "--quiet",
            "-p",
            "portolan-rules",
            "--example",
            "decide",
        ]),
        Verb::Bench { json, seconds, .. } => bench::run(json, seconds),
        Verb::Test => {
            build::guests()?;
            // The binaries that the tests start and the tests themselves, in one resolution of features: built apart, every
            // second dependency would be built twice. Documentation has no examples to run; `tidy` sees to that.
            build::cargo(&["build", "--workspace", "--all-targets"])?;
            peers::install()?;
            build::cargo(&["test", "--workspace", "--quiet", "--lib", "--bins", "--tests"])
        }
    }
}
