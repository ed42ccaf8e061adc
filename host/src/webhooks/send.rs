//! One message to one endpoint: signed by each secret that is valid, sent once, and what came of it.

use portolan_domain::webhook::{Answer, Message, WebhookEndpoint};
use portolan_domain::wire::{WireBytes, WireRequest};
use portolan_egress::{Egress, Endpoint, Sent};
use portolan_vault::sign_webhook;
use std::time::Duration;

/// How long a receiver may take.
const WITHIN: Duration = Duration::from_secs(15);
/// The longest address.
const URL_MAX: usize = 2_048;

/// Where messages go.
pub struct Target {
    endpoint: Endpoint,
    path: String,
}

impl Target {
    /// Takes an address apart. `allow_private`: plain http too, and addresses that are not public.
    pub fn parse(url: &str, allow_private: bool) -> Result<Self, &'static str> {
        let is_text = url.len() <= URL_MAX && url.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_text || url.contains(['#', '@']) {
            return Err("an absolute https URL of at most 2048 characters, without user and fragment");
        }
        let (scheme, rest) = url.split_once("://").ok_or("an absolute URL: https://…")?;
        if scheme != "https" && !(scheme == "http" && allow_private) {
            return Err("https: what merchants are told is nobody else's business");
        }
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let endpoint = Endpoint::parse(&format!("{scheme}://{authority}"), allow_private);
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        Ok(Self {
            endpoint: endpoint.map_err(|_| "a host, and a port if need be")?,
            path,
        })
    }
}

/// Sends a message once.
pub async fn send(
    egress: &Egress,
    (to, allow_private): (&WebhookEndpoint, bool),
    message: &Message,
    now_ms: u64,
) -> Answer {
    let not_taken = |status, why: String, wait_s| Answer::NotTaken { status, why, wait_s };
    let target = match Target::parse(&to.url, allow_private) {
        Ok(target) => target,
        // What the operator allowed once, and no more.
        Err(why) => return not_taken(None, why.to_owned(), None),
    };
    let request = signed(to, (target.path, message), now_ms);
    match egress.send(&target.endpoint, request, WITHIN).await {
        Sent::Response { status, .. } if (200..300).contains(&status) => Answer::Taken(status),
        Sent::Response { status: 410, .. } => Answer::Gone,
        Sent::Response { status, headers, .. } => {
            let asked = headers.iter().find(|(name, _)| name == "retry-after");
            let wait_s = asked.and_then(|(_, value)| std::str::from_utf8(value).ok()?.trim().parse().ok());
            not_taken(Some(status), format!("status {status}"), wait_s)
        }
        Sent::NotSent(why) | Sent::Unknown(why) => not_taken(None, why, None),
    }
}

fn signed(to: &WebhookEndpoint, (path, message): (String, &Message), now_ms: u64) -> WireRequest {
    let (id, timestamp) = (message.event.to_string(), now_ms / 1_000);
    let signatures = to.signing(now_ms);
    let signatures: Vec<String> = signatures
        .map(|secret| sign_webhook(&secret.bytes, (&id, timestamp), &message.body))
        .collect();
    let header = |name: &str, value: String| (name.to_owned(), WireBytes::new(value.into_bytes()));
    WireRequest {
        method: "POST".into(),
        path,
        headers: vec![
            header("content-type", "application/json".into()),
            header("user-agent", concat!("Portolan/", env!("CARGO_PKG_VERSION")).into()),
            header("webhook-id", id),
            header("webhook-timestamp", timestamp.to_string()),
            header("webhook-signature", signatures.join(" ")),
        ],
        body: WireBytes::new(message.body.clone().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_public_and_encrypted_unless_the_operator_says_otherwise() {
        let target = Target::parse("https://shop.example:8443/hooks?a=b", false).unwrap();
        assert_eq!(target.path, "/hooks?a=b");
        assert_eq!(Target::parse("https://shop.example?a=b", false).unwrap().path, "/?a=b");
        assert!(Target::parse("http://127.0.0.1:9000/", true).is_ok());
        for url in [
            "http://shop.example/",
            "https://",
            "https:///hooks",
            "https://user:secret@shop.example/",
            "https://shop.example/#here",
            "https://shop.example/a b",
            "ftp://shop.example/",
            "shop.example",
            "https://[::1]/",
        ] {
            assert!(Target::parse(url, false).is_err(), "{url}");
        }
    }
}
