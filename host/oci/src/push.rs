//! Pushing: the component with its configuration, then the envelope that refers to it.

use crate::client::Registry;
use crate::{COMPONENT, CONFIG, EMPTY, ENVELOPE, INDEX, MANIFEST, OciError, Place};
use http::HeaderValue;
use oci_client::Reference;
use oci_client::client::{Config, ImageLayer};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{ImageIndexEntry, OciDescriptor, OciImageManifest};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a component needs and gives, for those who look before they load.
#[derive(Clone, Debug, Serialize)]
pub struct Interfaces {
    /// What it exports.
    pub exports: Vec<String>,
    /// What it imports.
    pub imports: Vec<String>,
}

/// What registries show of it.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Its reverse-domain name.
    pub title: String,
    /// Its version.
    pub version: String,
    /// In one line.
    pub description: String,
}

/// What was pushed.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The component's manifest: what to pull to get this and nothing else.
    pub digest: String,
    /// The envelope's manifest.
    pub envelope: Option<String>,
}

/// The component's configuration. The same component always makes the same one, so that pushing it again changes nothing:
/// its time of creation says nothing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WasmConfig<'a> {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: Vec<String>,
    component: &'a Interfaces,
}

/// Pushes a component under a tag, and what was signed about it as its referrer. A tag that names another component stays with
/// it, unless `moves_tag`: whoever stages it would get something else than yesterday.
pub async fn push(
    place: &Place,
    component: Vec<u8>,
    about: (&Interfaces, &Labels),
    envelope: Option<Vec<u8>>,
    moves_tag: bool,
) -> Result<Pushed, OciError> {
    if place.0.tag().is_none() || place.0.digest().is_some() {
        let problem = "a component is pushed under a tag".to_owned();
        return Err(OciError::Place(place.to_string(), problem));
    }
    let registry = Registry::of(place).await?;
    let component = Artifact::component(component, about)?;
    if !moves_tag
        && let Some(there) = registry.step(lies_at(&registry, &place.0)).await?
        && there != component.descriptor.digest
    {
        return Err(OciError::Taken(place.to_string(), there));
    }
    component.send(&registry, &place.0).await?;
    let subject = component.descriptor;
    let envelope = match envelope {
        Some(envelope) => Some(refer(&registry, place, &subject, envelope).await?),
        None => None,
    };
    Ok(Pushed {
        digest: subject.digest,
        envelope,
    })
}

/// The digest of what lies under a tag; `None`: nothing does.
async fn lies_at(registry: &Registry, at: &Reference) -> Result<Option<String>, OciDistributionError> {
    let found = registry.client.fetch_manifest_digest(at, &registry.auth).await;
    match found {
        Ok(digest) => Ok(Some(digest)),
        Err(
            OciDistributionError::ImageManifestNotFoundError(_) | OciDistributionError::ServerError { code: 404, .. },
        ) => Ok(None),
        Err(OciDistributionError::RegistryError { envelope, url }) => {
            use OciErrorCode::{ManifestUnknown, NameUnknown, NotFound};
            let is_absent =
                |it: &oci_client::errors::OciError| matches!(it.code, ManifestUnknown | NameUnknown | NotFound);
            match envelope.errors.iter().any(is_absent) {
                true => Ok(None),
                false => Err(OciDistributionError::RegistryError { envelope, url }),
            }
        }
        Err(error) => Err(error),
    }
}

/// A manifest with what it is about.
struct Artifact {
    config: Config,
    layer: ImageLayer,
    manifest: Vec<u8>,
    descriptor: OciDescriptor,
}

impl Artifact {
    fn component(bytes: Vec<u8>, (interfaces, labels): (&Interfaces, &Labels)) -> Result<Self, OciError> {
        let layer = ImageLayer::new(bytes, COMPONENT.into(), None);
        let config = WasmConfig {
            created: "1970-01-01T00:00:00Z",
            architecture: "wasm",
            os: "wasip2",
            layer_digests: vec![layer.sha256_digest()],
            component: interfaces,
        };
        let config = Config::new(serde_json::to_vec(&config)?, CONFIG.into(), None);
        let shown = [
            ("org.opencontainers.image.title", &labels.title),
            ("org.opencontainers.image.version", &labels.version),
            ("org.opencontainers.image.description", &labels.description),
        ];
        let shown: BTreeMap<String, String> = shown.map(|(name, value)| (name.into(), value.clone())).into();
        let manifest = OciImageManifest::build(std::slice::from_ref(&layer), &config, Some(shown));
        Self::of(config, layer, manifest)
    }

    fn envelope(bytes: Vec<u8>, subject: &OciDescriptor) -> Result<Self, OciError> {
        let layer = ImageLayer::new(bytes, ENVELOPE.into(), None);
        let config = Config::new("{}", EMPTY.into(), None);
        let mut manifest = OciImageManifest::build(std::slice::from_ref(&layer), &config, None);
        manifest.subject = Some(subject.clone());
        manifest.artifact_type = Some(ENVELOPE.into());
        Self::of(config, layer, manifest)
    }

    fn of(config: Config, layer: ImageLayer, mut manifest: OciImageManifest) -> Result<Self, OciError> {
        manifest.media_type = Some(MANIFEST.into());
        let manifest = serde_json::to_vec(&manifest)?;
        let written = Config::new(manifest.clone(), MANIFEST.into(), None);
        let descriptor = OciDescriptor {
            media_type: MANIFEST.into(),
            digest: written.sha256_digest(),
            size: i64::try_from(manifest.len()).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        Ok(Self {
            config,
            layer,
            manifest,
            descriptor,
        })
    }

    /// What the manifest names comes first: a registry takes no manifest of what it has not.
    async fn send(&self, registry: &Registry, at: &Reference) -> Result<(), OciError> {
        let (layer, config) = (self.layer.sha256_digest(), self.config.sha256_digest());
        let client = &registry.client;
        registry
            .step(client.push_blob(at, self.layer.data.clone(), &layer))
            .await?;
        registry
            .step(client.push_blob(at, self.config.data.clone(), &config))
            .await?;
        let sent = client.push_manifest_raw(at, self.manifest.clone(), HeaderValue::from_static(MANIFEST));
        registry.step(sent).await.map(drop)
    }
}

/// Pushes an envelope that refers to a component. A registry that does not know referrers leaves it to its clients to keep the
/// list of them under a tag (distribution spec 1.1, "referrers tag schema").
async fn refer(
    registry: &Registry,
    place: &Place,
    subject: &OciDescriptor,
    envelope: Vec<u8>,
) -> Result<String, OciError> {
    let at = |digest: &str| {
        Reference::with_digest(
            place.0.registry().to_owned(),
            place.0.repository().to_owned(),
            digest.to_owned(),
        )
    };
    let envelope = Artifact::envelope(envelope, subject)?;
    let digest = envelope.descriptor.digest.clone();
    envelope.send(registry, &at(&digest)).await?;
    let referred = at(&subject.digest);
    let known = registry.client.pull_referrers(&referred, None);
    let mut known = registry.step(known).await?;
    if known.manifests.iter().any(|it| it.digest == digest) {
        return Ok(digest);
    }
    known.media_type = Some(INDEX.into());
    known.manifests.push(ImageIndexEntry {
        media_type: envelope.descriptor.media_type,
        digest: envelope.descriptor.digest,
        size: envelope.descriptor.size,
        platform: None,
        annotations: None,
        artifact_type: Some(ENVELOPE.into()),
    });
    let tag = subject.digest.replace(':', "-");
    let list = Reference::with_tag(place.0.registry().to_owned(), place.0.repository().to_owned(), tag);
    let kept = registry.client.push_manifest_list(&list, &registry.auth, known);
    registry.step(kept).await?;
    Ok(digest)
}
