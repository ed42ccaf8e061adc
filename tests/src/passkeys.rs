//! People with passkeys, as a browser and a device have them: by 1Password's library, which knows nothing of the router.

use passkey::authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey::client::{Client, DefaultClientData, WebauthnError};
use passkey::crypto::rust_crypto::RustCryptoBackend;
use passkey::types::Passkey;
use passkey::types::ctap2::{Aaguid, Ctap2Error};
use passkey::types::webauthn::{
    CredentialCreationOptions, CredentialRequestOptions, PublicKeyCredentialCreationOptions,
    PublicKeyCredentialRequestOptions,
};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use url::Url;

/// Whether a finger lies on the sensor.
struct Finger(Arc<AtomicBool>);

#[async_trait::async_trait]
impl UserValidationMethod for Finger {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(&self, _: UiHint<'a, Passkey>, _: bool, _: bool) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck {
            presence: true,
            verification: self.0.load(Ordering::SeqCst),
        })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

/// Somebody with a device, in a browser.
pub struct Person {
    client: Client<Option<Passkey>, Finger, RustCryptoBackend, public_suffix::PublicSuffixList, ()>,
    finger: Arc<AtomicBool>,
}

impl Person {
    /// `counts`: the device counts how often it signs.
    pub fn new(counts: bool) -> Self {
        let finger = Arc::new(AtomicBool::new(true));
        let mut device = Authenticator::new(Aaguid::new_empty(), None, Finger(finger.clone()), RustCryptoBackend);
        device.set_make_credentials_with_signature_counter(counts);
        Self {
            client: Client::new(device).allows_insecure_localhost(true),
            finger,
        }
    }

    /// Lays it on the sensor, or takes it away.
    pub fn lay_finger(&self, is_there: bool) {
        self.finger.store(is_there, Ordering::SeqCst);
    }

    /// `navigator.credentials.create` on that page.
    pub fn create(&mut self, page: &str, options: &Value) -> anyhow::Result<Value> {
        let public_key: PublicKeyCredentialCreationOptions = serde_json::from_value(options.clone())?;
        let (page, asked) = (Url::parse(page)?, CredentialCreationOptions { public_key });
        let made = pollster::block_on(self.client.register(&page, asked, DefaultClientData));
        Ok(serde_json::to_value(made.map_err(refused)?)?)
    }

    /// `navigator.credentials.get` on that page.
    pub fn get(&mut self, page: &str, options: &Value) -> anyhow::Result<Value> {
        let public_key: PublicKeyCredentialRequestOptions = serde_json::from_value(options.clone())?;
        let (page, asked) = (Url::parse(page)?, CredentialRequestOptions { public_key });
        let made = pollster::block_on(self.client.authenticate(&page, asked, DefaultClientData));
        Ok(serde_json::to_value(made.map_err(refused)?)?)
    }
}

fn refused(error: WebauthnError) -> anyhow::Error {
    anyhow::anyhow!("{error:?}")
}
