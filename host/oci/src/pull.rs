//! Pulling: the component, and every envelope that refers to it. Each byte is checked against the digest that named it.

use crate::client::Registry;
use crate::{COMPONENT, CONFIG, ENVELOPE, ENVELOPE_MAX, ENVELOPES_MAX, OciError, Place};
use oci_client::Reference;
use oci_client::manifest::{OciDescriptor, OciImageManifest, OciManifest};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;

/// What lay there.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The component.
    pub component: Vec<u8>,
    /// Its manifest's digest.
    pub digest: String,
    /// What was signed about it, as it came: whoever can write to the registry can have put it there.
    pub envelopes: Vec<Vec<u8>>,
}

/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(600);

/// Pulls a component of at most so many bytes, and its envelopes.
pub async fn pull(place: &Place, most: u64) -> Result<Pulled, OciError> {
    let late = |_| OciError::Late(place.to_string(), WITHIN.as_secs());
    tokio::time::timeout(WITHIN, pull_all(place, most))
        .await
        .map_err(late)?
}

async fn pull_all(place: &Place, most: u64) -> Result<Pulled, OciError> {
    let registry = Registry::of(place).await?;
    let at = &place.0;
    let (manifest, digest) = registry.step(registry.client.pull_manifest(at, &registry.auth)).await?;
    let layer = component_of(manifest).map_err(|problem| OciError::NoComponent(place.to_string(), problem))?;
    let component = blob(&registry, at, &layer, most).await?;
    let envelopes = envelopes(&registry, place, &digest).await?;
    Ok(Pulled {
        component,
        digest,
        envelopes,
    })
}

fn component_of(manifest: OciManifest) -> Result<OciDescriptor, String> {
    let OciManifest::Image(mut manifest) = manifest else {
        return Err("it is a list of images".into());
    };
    if manifest.config.media_type != CONFIG {
        return Err(format!(
            "its configuration is {}, not {CONFIG}",
            manifest.config.media_type
        ));
    }
    match (manifest.layers.pop(), manifest.layers.len()) {
        (Some(layer), 0) if layer.media_type == COMPONENT => Ok(layer),
        (Some(layer), 0) => Err(format!("its layer is {}, not {COMPONENT}", layer.media_type)),
        (_, others) => Err(format!("it has {} layers, not one", others.saturating_add(1))),
    }
}

async fn envelopes(registry: &Registry, place: &Place, digest: &str) -> Result<Vec<Vec<u8>>, OciError> {
    let (host, repository) = (place.0.registry(), place.0.repository());
    let at = |digest: &str| Reference::with_digest(host.to_owned(), repository.to_owned(), digest.to_owned());
    let subject = at(digest);
    let found = registry.client.pull_referrers(&subject, Some(ENVELOPE));
    let found = registry.step(found).await?;
    let mut envelopes = vec![];
    let of_ours = found
        .manifests
        .iter()
        .filter(|it| it.artifact_type.as_deref() == Some(ENVELOPE));
    // The last first: whoever sent many before does not hide them.
    let of_ours: Vec<_> = of_ours.filter(|it| is_digest(&it.digest)).collect();
    for entry in of_ours.into_iter().rev().take(ENVELOPES_MAX) {
        // One that cannot be read says nothing; the others may.
        envelopes.extend(envelope(registry, &at(&entry.digest)).await.ok().flatten());
    }
    Ok(envelopes)
}

async fn envelope(registry: &Registry, referrer: &Reference) -> Result<Option<Vec<u8>>, OciError> {
    let (manifest, _) = registry
        .step(registry.client.pull_manifest(referrer, &registry.auth))
        .await?;
    if let OciManifest::Image(OciImageManifest { layers, .. }) = manifest
        && let [layer] = layers.as_slice()
        && layer.media_type == ENVELOPE
    {
        return blob(registry, referrer, layer, ENVELOPE_MAX).await.map(Some);
    }
    Ok(None)
}

/// It becomes part of a path.
fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|it| it.is_ascii_hexdigit())
}

async fn blob(registry: &Registry, at: &Reference, layer: &OciDescriptor, most: u64) -> Result<Vec<u8>, OciError> {
    if !is_digest(&layer.digest) {
        let problem = "its layer has no SHA-256".to_owned();
        return Err(OciError::NoComponent(at.whole(), problem));
    }
    let size = u64::try_from(layer.size).unwrap_or(u64::MAX);
    if size > most {
        return Err(OciError::Size(at.whole(), size, most));
    }
    let mut into = Room {
        bytes: vec![],
        most: usize::try_from(size).unwrap_or(usize::MAX),
    };
    let came = registry.step(registry.client.pull_blob(at, layer, &mut into)).await;
    came.map(|()| into.bytes)
}

/// Takes as many bytes as were announced and no more, whatever comes.
struct Room {
    bytes: Vec<u8>,
    most: usize,
}

impl AsyncWrite for Room {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.bytes.len().saturating_add(bytes.len()) > self.most {
            let most = self.most;
            return Poll::Ready(Err(io::Error::other(format!(
                "more came than the {most} bytes announced"
            ))));
        }
        self.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
