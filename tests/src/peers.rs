//! Real peers: servers that nobody here wrote, installed by `cargo xtask test` under target/peers.

use crate::http::call;
use crate::world::workspace;
use anyhow::{Context, bail};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The peers' own Python.
pub fn python() -> PathBuf {
    workspace().join("target/peers/bin/python")
}

/// The peers from npm.
pub fn node_modules() -> PathBuf {
    workspace().join("target/peers/npm/node_modules")
}

/// Where programs are looked for, the peers' own first.
pub fn path() -> String {
    let own = workspace().join("target/peers/bin");
    format!("{}:{}", own.display(), std::env::var("PATH").unwrap_or_default())
}

/// The module that Go's bindings import, from the sources of their generator: what Go would fetch from its proxy.
pub fn go_module() -> anyhow::Result<String> {
    // What other platforms need has not been fetched.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let out = Command::new("cargo")
        .args([
            "metadata",
            "--offline",
            "--format-version",
            "1",
            "--filter-platform",
            &platform,
        ])
        .current_dir(workspace())
        .output()?;
    let all: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    let packages = all
        .get("packages")
        .and_then(serde_json::Value::as_array)
        .context("packages")?;
    let generator = packages.iter().find(|it| it["name"] == "wit-bindgen-go");
    let manifest = generator
        .and_then(|it| it["manifest_path"].as_str())
        .context("wit-bindgen-go")?;
    let module = PathBuf::from(manifest).with_file_name("src").join("pkg");
    anyhow::ensure!(module.join("go.mod").exists(), "{} has no module", module.display());
    Ok(module.display().to_string())
}

/// localstripe: a stateful Stripe server. It knows no idempotency keys.
pub struct LocalStripe {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl LocalStripe {
    /// Starts it, empty.
    pub fn start() -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let port = address.port().to_string();
        let child = Command::new(python())
            .args(["-m", "localstripe", "--from-scratch", "--port", &port])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("localstripe: run cargo xtask test once")?;
        let peer = Self { child, address };
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            if call(
                address,
                "GET",
                "/v1/customers",
                &[("authorization", "Bearer sk_test_x")],
                None,
            )
            .is_ok()
            {
                return Ok(peer);
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        bail!("localstripe does not answer")
    }

    /// Sends webhooks there, signed with that secret.
    pub fn notify(&self, url: &str, secret: &str) -> anyhow::Result<()> {
        let body = format!("url={url}&secret={secret}");
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let reply = call(
            self.address,
            "POST",
            "/_config/webhooks/portolan",
            &headers,
            Some(&body),
        )?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text);
        Ok(())
    }

    /// Reads from it, as a merchant with a key would.
    pub fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        Ok(call(
            self.address,
            "GET",
            path,
            &[("authorization", "Bearer sk_test_x")],
            None,
        )?
        .body)
    }
}

impl Drop for LocalStripe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
