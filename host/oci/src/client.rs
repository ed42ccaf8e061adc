//! A registry's client: who asks, how long it may take.

use crate::{OciError, Place};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::Client;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use std::future::Future;
use std::time::Duration;

/// To connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Without a byte.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// One step: a manifest, a blob of the largest size.
const STEP_WITHIN: Duration = Duration::from_secs(300);
/// What a step may add to this process's memory: the client reads manifests and errors whole, however long they are.
const GROWTH_MAX: u64 = 256 << 20;
/// How often that is looked at.
const LOOK_EACH: Duration = Duration::from_millis(50);

/// Bytes of a page, on every platform that a router runs on, at least.
const PAGE: u64 = 4 << 10;

/// A client of one registry.
pub(crate) struct Registry {
    pub(crate) client: Client,
    pub(crate) auth: RegistryAuth,
    at: String,
}

impl Registry {
    /// For a place: with the login that `docker login` left, with none where it left none.
    pub(crate) async fn of(place: &Place) -> Result<Self, OciError> {
        // Another part of the process may have named the same one before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let protocol = if place.is_here() {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT_WITHIN),
            read_timeout: Some(SILENT_MAX),
            user_agent: concat!("portolan/", env!("CARGO_PKG_VERSION")),
            // One component is one layer.
            max_concurrent_upload: 1,
            max_concurrent_download: 1,
            // An index is for machines of several kinds; a component runs on all.
            platform_resolver: None,
            ..ClientConfig::default()
        };
        let at = place.to_string();
        let client = Client::try_from(config).map_err(|error| OciError::Registry(at.clone(), told(&error)))?;
        let auth = login(place.registry())?;
        client.store_auth_if_needed(place.0.resolve_registry(), &auth).await;
        Ok(Self { client, auth, at })
    }

    /// One step with the registry, which ends.
    pub(crate) async fn step<T>(
        &self,
        step: impl Future<Output = Result<T, OciDistributionError>>,
    ) -> Result<T, OciError> {
        tokio::select! {
            done = step => done.map_err(|error| OciError::Registry(self.at.clone(), told(&error))),
            () = tokio::time::sleep(STEP_WITHIN) => Err(OciError::Late(self.at.clone(), STEP_WITHIN.as_secs())),
            () = grown() => {
                let problem = format!("it sends more than {} MiB where it should say a few words", GROWTH_MAX >> 20);
                Err(OciError::Registry(self.at.clone(), problem))
            }
        }
    }
}

/// Ends when this process has taken too much memory since it began.
async fn grown() {
    let before = resident();
    while resident().saturating_sub(before) <= GROWTH_MAX {
        tokio::time::sleep(LOOK_EACH).await;
    }
}

/// The memory of this process, as Linux tells it; where it does not, nothing grows.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = statm.split(' ').nth(1).and_then(|it| it.parse().ok());
    pages.unwrap_or(0).saturating_mul(PAGE)
}

/// An error with what it came from.
fn told(error: &OciDistributionError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// What Docker's configuration (`~/.docker/config.json`, or under `DOCKER_CONFIG`) says of a registry.
fn login(registry: &str) -> Result<RegistryAuth, OciError> {
    match docker_credential::get_credential(registry) {
        Ok(DockerCredential::UsernamePassword(name, password)) => Ok(RegistryAuth::Basic(name, password)),
        Ok(DockerCredential::IdentityToken(_)) => Err(OciError::Login(
            registry.to_owned(),
            "it is an identity token, which this client does not know".into(),
        )),
        Err(
            CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError
            | CredentialRetrievalError::NoCredentialConfigured,
        ) => Ok(RegistryAuth::Anonymous),
        // What helpers say who have none, for a registry that may want none.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            Ok(RegistryAuth::Anonymous)
        }
        Err(error) => Err(OciError::Login(registry.to_owned(), error.to_string())),
    }
}
