//! Sending notifications: signed, on loopback, without waiting for them to be understood.

use crate::charge::Charge;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// HMAC-SHA-256 in hexadecimal.
pub fn hmac_hex(key: &str, data: &[u8]) -> String {
    match Hmac::<Sha256>::new_from_slice(key.as_bytes()) {
        Ok(mut mac) => {
            mac.update(data);
            hex::encode(mac.finalize().into_bytes())
        }
        Err(_) => String::new(),
    }
}

/// Tells the router that something happened to the charge; tries a few times.
pub async fn send(charge: Charge, event_id: String, status: String, key: String) {
    let body = serde_json::json!({
        "event_id": event_id, "charge": charge.id, "key": charge.key, "status": status,
    });
    let body = body.to_string();
    let signature = hmac_hex(&key, body.as_bytes());
    for attempt in 0..5_u32 {
        if let Ok(200) = post(&charge.notify_url, &body, &signature).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200 * u64::from(attempt + 1))).await;
    }
}

async fn post(url: &str, body: &str, signature: &str) -> anyhow::Result<u16> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = tokio::net::TcpStream::connect(authority).await?;
    let request = format!(
        "POST /{path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\nx-signature: {signature}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0))
}
