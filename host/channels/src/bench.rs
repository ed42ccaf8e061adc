//! One component by itself, without router, network or secrets: what `portolan plugin check`, `test`, `conform` and
//! `bench` work on. It is loaded and limited exactly as in a router.

mod conform;
mod dynamic;
mod places;
mod vectors;

pub use conform::Finding;
pub use vectors::{Answered, Gave, Vector};

use crate::abi::exported::adapter::KeyAsk;
use crate::artifact::one_line;
use crate::asks::Described;
use crate::counts::Counts;
use crate::home::{CallScope, Home};
use crate::limits::{COMPONENT_BYTES_MAX, Limits};
use crate::ring::{KeyGrant, Naming};
use crate::sandbox::{Prepared, Sandbox};
use crate::table::Adapter;
use portolan_domain::exchange::{Request, Word};
use portolan_domain::ids::{ChannelId, MethodId, OperationId};
use portolan_domain::operation::{Fault, FaultKind};
use portolan_domain::ports::{Fill, Keys, Method, Vault};
use portolan_domain::wire::WireRequest;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

/// Calls at once.
const SLOTS: u32 = 4;

/// A component on the bench.
pub struct Bench {
    adapter: Adapter,
    imports: Vec<String>,
    exports: Vec<String>,
    vault: Arc<dyn Vault>,
    _sandbox: Sandbox,
}

impl Bench {
    /// Compiles a component here, instantiates it once, asks it who it is.
    pub fn load(file: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let refused = |problem: String| format!("{}: {problem}", file.display());
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > COMPONENT_BYTES_MAX {
            return Err(refused(format!(
                "more than the {COMPONENT_BYTES_MAX} bytes that a router takes"
            )));
        }
        crate::artifact::check_header(&bytes).map_err(refused)?;
        let sandbox = Sandbox::start(SLOTS).map_err(|error| error.to_string())?;
        let component = wasmtime::component::Component::new(&sandbox.engine, &bytes);
        let component = component.map_err(|error| refused(one_line(&error)))?;
        let world = component.component_type();
        let imports = world
            .imports(&sandbox.engine)
            .map(|(name, _)| name.to_owned())
            .collect();
        let exports = world
            .exports(&sandbox.engine)
            .map(|(name, _)| name.to_owned())
            .collect();
        let prepared = sandbox
            .prepare(&component)
            .map_err(|error| refused(error.to_string()))?;
        let vault: Arc<dyn Vault> = Arc::new(NoVault);
        let counts = Arc::new(Counts::default());
        let scope = scope(&vault, &counts, Arc::from([]))?;
        let home = Home::Here(Box::new(prepared));
        let manifest = home
            .describe(&scope)
            .map_err(|fault| refused(format!("describe: {fault}")))?;
        Ok(Self {
            adapter: Adapter {
                digest: hex::encode(Sha256::digest(&bytes)),
                manifest,
                home,
                counts,
            },
            imports,
            exports,
            vault,
            _sandbox: sandbox,
        })
    }

    /// The interfaces that it imports, and those that it exports.
    pub fn interfaces(&self) -> (&[String], &[String]) {
        (&self.imports, &self.exports)
    }

    /// What it says of itself.
    pub fn described(&self) -> Described {
        Described::new(&self.adapter)
    }

    fn scope(&self) -> Result<CallScope, String> {
        // Every key that it asks for is there.
        let grant = |ask: &KeyAsk| KeyGrant {
            name: ask.name.clone(),
            algorithm: ask.algorithm.clone(),
        };
        let keys = self.adapter.manifest.keys.iter().map(grant).collect();
        scope(&self.vault, &self.adapter.counts, keys)
    }

    fn prepared(&self) -> Result<&Prepared, String> {
        match &self.adapter.home {
            Home::Here(prepared) => Ok(prepared),
            Home::Apart(_) => Err("the bench calls what it loaded itself".into()),
        }
    }

    /// Calls so far, what they took, and the most memory that one had.
    pub fn usage(&self) -> crate::Usage {
        self.adapter.counts.usage()
    }
}

fn scope(vault: &Arc<dyn Vault>, counts: &Arc<Counts>, keys: Arc<[KeyGrant]>) -> Result<CallScope, String> {
    Ok(CallScope {
        vault: vault.clone(),
        channel: ChannelId::parse("bench").ok_or("a name")?,
        operation: OperationId(uuid::Uuid::nil()),
        limits: Limits::default(),
        now_ms: 1_000,
        entropy: [7; 32],
        naming: Naming::Plain,
        keys,
        counts: counts.clone(),
    })
}

/// A vault that has nothing: handles are names, signatures are words, only the signature `good` verifies.
struct NoVault;

impl Keys for NoVault {
    fn handle(&self, _: OperationId, name: &str) -> String {
        format!("handle-{name}")
    }
    fn verify(&self, _: &ChannelId, _: &str, _: &str, _: &[u8], signature: &[u8]) -> Result<bool, String> {
        Ok(signature == b"good")
    }
    fn sign_hash(&self, _: &ChannelId, _: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, String> {
        Ok(vec![1; 65])
    }
    fn public_key(&self, _: &ChannelId, _: &str, _: &str) -> Result<Vec<u8>, String> {
        Ok(vec![4; 65])
    }
    fn can_sign(&self, _: &ChannelId, _: &Word) -> Result<(), String> {
        Ok(())
    }
    fn decrypt(&self, _: &ChannelId, _: &str, _: &[u8], _: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String> {
        let open = sealed.strip_prefix(b"sealed:").map(<[u8]>::to_vec);
        open.ok_or_else(|| "it was not sealed with this key".into())
    }
}

impl Vault for NoVault {
    fn provider_key(&self, _: OperationId, n: u8) -> String {
        format!("key-{n}")
    }
    fn operation_of_key(&self, _: &str) -> Option<OperationId> {
        None
    }
    fn entropy(&self, _: OperationId) -> [u8; 32] {
        [7; 32]
    }
    fn fill(&self, _: &ChannelId, _: &Request, _: &[Fill], _: Option<&Method>) -> Result<WireRequest, Fault> {
        Err(Fault {
            kind: FaultKind::NotGranted,
            text: "nothing leaves the bench".into(),
        })
    }
    fn scrub(&self, _: &ChannelId, texts: Vec<Vec<u8>>, _: &[Fill], _: Option<&Method>) -> Vec<Vec<u8>> {
        texts
    }
    fn keep_session(&self, _: &ChannelId, _: &str, _: Vec<u8>, _: u64) {}
    fn has_session(&self, _: &ChannelId, _: &str, _: u64) -> bool {
        true
    }
    fn forget_session(&self, _: &ChannelId, _: &str) {}
    fn has_code(&self, _: MethodId, _: u64) -> bool {
        true
    }
    fn forget_code(&self, _: MethodId) {}
}
