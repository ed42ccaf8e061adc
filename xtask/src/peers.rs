//! Real peers for the tests: servers that nobody here wrote, pinned, in a folder of their own under target/.

use anyhow::{Context, ensure};
use portolan_tests::peers;
use std::process::Command;

/// A stateful Stripe server, from PyPI.
const LOCALSTRIPE: &str = "localstripe==1.15.10";

/// Installs what is missing.
pub fn install() -> anyhow::Result<()> {
    let python = peers::python();
    if !python.exists() {
        let folder = python
            .parent()
            .and_then(|bin| bin.parent())
            .context("a folder for the peers")?;
        run(
            Command::new("python3").args(["-m", "venv"]).arg(folder),
            "python3 -m venv (Debian: apt-get install python3-venv)",
        )?;
    }
    let has = Command::new(&python).args(["-c", "import localstripe"]).output()?;
    if !has.status.success() {
        run(
            Command::new(&python).args(["-m", "pip", "install", "--quiet", LOCALSTRIPE]),
            "pip install",
        )?;
    }
    Ok(())
}

fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| what.to_owned())?;
    ensure!(status.success(), "{what} failed");
    Ok(())
}
