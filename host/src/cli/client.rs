//! The CLI's side of the router's APIs: plain HTTP over loopback, one request a call.

use crate::config::Config;
use anyhow::Context;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take: checking a large ledger takes a while.
const WITHIN: Duration = Duration::from_secs(600);
/// The status of what was done.
const GOOD: &str = "200";

pub struct Client {
    address: SocketAddr,
    token: String,
}

impl Client {
    /// For the host of that configuration.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let path = config.folder.join("admin.token");
        let token = std::fs::read_to_string(&path);
        let token = token.with_context(|| format!("{}: start the router once, on this machine", path.display()))?;
        Ok(Self {
            address: config.admin,
            token: token.trim().to_owned(),
        })
    }

    /// For a router there: as a merchant, with a key.
    pub fn at(address: SocketAddr, key: String) -> Self {
        Self { address, token: key }
    }

    /// Whether it takes requests.
    pub fn is_ready(&self) -> bool {
        self.exchange("GET", "/readyz", &[])
            .is_ok_and(|(status, _)| status == GOOD)
    }

    /// Reads.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send("GET", path, "")
    }

    /// Writes.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send("POST", path, &body.to_string())
    }

    /// Writes a file as it is.
    pub fn post_bytes(&self, path: &str, body: &[u8]) -> anyhow::Result<Value> {
        self.send_bytes("POST", path, body)
    }

    fn send(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        self.send_bytes(method, path, body.as_bytes())
    }

    fn send_bytes(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Value> {
        let (status, text) = self.exchange(method, path, body)?;
        let value: Value = serde_json::from_str(&text).with_context(|| format!("status {status} without JSON"))?;
        anyhow::ensure!(
            status == GOOD,
            "{}",
            value.get("detail").and_then(Value::as_str).unwrap_or(&status)
        );
        Ok(value)
    }

    /// Status and body.
    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<(String, String)> {
        let mut stream =
            TcpStream::connect(self.address).with_context(|| format!("no router answers on {}", self.address))?;
        stream.set_read_timeout(Some(WITHIN))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             idempotency-key: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            self.token,
            uuid::Uuid::new_v4(),
            body.len()
        )?;
        stream.write_all(body)?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let (head, body) = reply.split_once("\r\n\r\n").context("the answer is cut short")?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        Ok((status.to_owned(), body.to_owned()))
    }
}
