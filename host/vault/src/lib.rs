//! The vault: the only crate that opens a token, a handle or a key. It seals cards, fills templates at the wire, scrubs
//! replies, keeps sessions and security codes in memory, and owns the key file.

mod asymmetric;
mod card;
mod chain;
mod envelope;
mod fill;
mod keyfile;
mod order;
mod passkey;
mod provider_key;
mod scrub;
mod sealed;
mod secrets;
mod sign;
mod signer;
mod webhook;

pub use card::{CardError, NewCard, brand};
pub use keyfile::{KeyFile, KeyFileError};
pub use order::{content_digest, is_ordered, order_key, order_key_pem, sha256};
pub use passkey::{NewPasskey, PasskeyError, RelyingParty, Used};
pub use secrets::LocalVault;
pub use signer::{is_signed, new_signer, sign_with};
pub use webhook::{WebhookSigner, new_webhook_secret, sign_webhook, webhook_secret_text};
