//! One message to one endpoint: signed by each secret that is valid and by the router's own key, sent once, and what came of it.

use axum::http::Uri;
use portolan_domain::ids::Mode;
use portolan_domain::webhook::{Answer, Message, WebhookEndpoint};
use portolan_domain::wire::{WireBytes, WireRequest};
use portolan_egress::{Egress, Endpoint, Sent};
use portolan_vault::{WebhookSigner, sign_webhook};
use std::time::{Duration, UNIX_EPOCH};

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
    /// Takes an address apart. `may_be_private`: addresses that are not public, and in test mode plain http.
    pub fn parse(url: &str, (may_be_private, mode): (bool, Mode)) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "an absolute URL: https://…")?;
        if url.len() > URL_MAX || url.contains('#') {
            return Err("at most 2048 characters, without fragment");
        }
        let is_plain = uri.scheme_str() == Some("http") && may_be_private && mode == Mode::Test;
        if uri.scheme_str() != Some("https") && !is_plain {
            return Err("https: what merchants are told is nobody else's business");
        }
        let authority = uri.authority().map_or("", |it| it.as_str());
        let scheme = uri.scheme_str().unwrap_or_default();
        let endpoint = Endpoint::parse(&format!("{scheme}://{authority}"), may_be_private);
        let path = uri.path_and_query().map_or("/", |it| it.as_str());
        Ok(Self {
            endpoint: endpoint.map_err(|_| "a host, and a port if need be; no user")?,
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
        })
    }
}

/// Sends a message once.
pub async fn send(
    egress: &Egress,
    (signer, may_be_private): (Option<&WebhookSigner>, bool),
    (to, message): (&WebhookEndpoint, &Message),
    now_ms: u64,
) -> Answer {
    let not_taken = |status, why: String, wait_s| Answer::NotTaken { status, why, wait_s };
    let target = match Target::parse(&to.url, (may_be_private, to.mode)) {
        Ok(target) => target,
        // What the operator allowed once, and no more.
        Err(why) => return not_taken(None, why.to_owned(), None),
    };
    let request = signed(to, (target.path, message), signer, now_ms);
    match egress.send_for_status(&target.endpoint, request, WITHIN).await {
        Sent::Response { status, .. } if (200..300).contains(&status) => Answer::Taken(status),
        Sent::Response { status: 410, .. } => Answer::Gone,
        Sent::Response { status, headers, .. } => {
            let asked = headers.iter().find(|(name, _)| name == "retry-after");
            let wait_s = asked.and_then(|(_, value)| wait_s(std::str::from_utf8(value).ok()?.trim(), now_ms));
            not_taken(Some(status), format!("status {status}"), wait_s)
        }
        Sent::NotSent(why) | Sent::Unknown(why) => {
            tracing::info!(endpoint = %to.id, why, "a message did not get there");
            not_taken(None, told(&why).to_owned(), None)
        }
    }
}

/// What a merchant hears of what went wrong: nothing of names and addresses that only the router can see.
fn told(why: &str) -> &'static str {
    let known = [
        ("look-up", "the host was not found"),
        ("not a public address", "the host has no public address"),
        ("TLS", "no TLS connection: is the certificate good?"),
        ("connect", "no connection"),
        ("took too long", "no connection in time"),
        ("in time", "no answer in time"),
    ];
    let found = known.iter().find(|(part, _)| why.contains(part));
    found.map_or("no whole answer", |(_, told)| told)
}

/// How long `Retry-After` asks to wait: seconds, or a date (RFC 9110, 10.2.3).
fn wait_s(asked: &str, now_ms: u64) -> Option<u64> {
    let until = || httpdate::parse_http_date(asked).ok()?.duration_since(UNIX_EPOCH).ok();
    let seconds = asked.parse().ok();
    seconds.or_else(|| until().map(|until| until.as_secs().saturating_sub(now_ms / 1_000)))
}

fn signed(
    to: &WebhookEndpoint,
    (path, message): (String, &Message),
    signer: Option<&WebhookSigner>,
    now_ms: u64,
) -> WireRequest {
    let (id, timestamp) = (message.event.to_string(), now_ms / 1_000);
    let signatures = to.signing(now_ms);
    let signatures: Vec<String> = signatures
        .map(|secret| sign_webhook(&secret.bytes, (&id, timestamp), &message.body))
        .chain(signer.map(|signer| signer.sign((&id, timestamp), &message.body)))
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
    fn a_receiver_may_ask_to_wait_in_seconds_or_until_a_date() {
        let at = |text| wait_s(text, 1_445_412_480_000);
        assert_eq!(at("120"), Some(120));
        assert_eq!(at("Wed, 21 Oct 2015 07:29:40 GMT"), Some(100));
        assert_eq!(at("Wed, 21 Oct 2015 07:00:00 GMT"), Some(0), "it is over");
        assert_eq!(at("soon"), None);
    }

    #[test]
    fn an_address_is_public_and_encrypted_unless_the_operator_says_otherwise() {
        let parse = |url: &str| Target::parse(url, (false, Mode::Test));
        assert_eq!(
            parse("https://shop.example:8443/hooks/@a?a=b").unwrap().path,
            "/hooks/@a?a=b"
        );
        assert_eq!(parse("https://shop.example?a=b").unwrap().path, "/?a=b");
        let plain = "http://127.0.0.1:9000/";
        assert!(Target::parse(plain, (true, Mode::Test)).is_ok());
        assert!(Target::parse(plain, (true, Mode::Live)).is_err(), "never in live mode");
        for url in [
            "http://shop.example/",
            "https://",
            "https:///hooks",
            "https://user:secret@shop.example/",
            "https://shop.example/#here",
            "https://shop.example/a b",
            "https://shop.example/<a>",
            "ftp://shop.example/",
            "shop.example",
            "/hooks",
            "https://[::1]/",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
