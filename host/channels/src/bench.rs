//! One component by itself, without router, network or secrets: what `portolan plugin check`, `test`, `conform` and
//! `bench` work on. It is loaded and limited exactly as in a router.

mod conform;
mod dynamic;
mod mask;
mod pack;
mod places;
mod proof;
mod record;
mod vectors;

pub use conform::Finding;
pub use pack::{Packed, pack, packed, parse as parse_packed};
pub use proof::{Proof, ProofError, difference};
pub use vectors::{Answered, Gave, Vector};

pub(crate) use proof::prove;
pub(crate) use record::recorded;

use crate::abi::exported::adapter::{KeyAsk, Manifest};
use crate::abi::{Ask, Told, call};
use crate::artifact::one_line;
use crate::asks::{Asked, Described};
use crate::counts::Counts;
use crate::home::{CallScope, Home};
use crate::limits::{COMPONENT_BYTES_MAX, Limits};
use crate::ring::{KeyGrant, Naming};
use crate::sandbox::{Prepared, Sandbox};
use crate::table::Adapter;
use portolan_domain::exchange::Word;
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::operation::{Fault, FaultKind};
use portolan_domain::ports::Keys;
use serde_json::Value;
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
        let counts = Arc::new(Counts::default());
        let scope = scope(&counts, Arc::from([]))?;
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

    /// What it asks for.
    pub fn asked(&self) -> Asked {
        Asked::new(&self.adapter.manifest)
    }

    /// Runs a vector over every prefix of its answers, each twice, until there is an outcome. The text says what is wrong with
    /// the vector, or with the adapter: a trap, another step for the same arguments, a write without its key.
    pub fn run(&self, vector: &Vector) -> Result<Vec<Value>, String> {
        Ok(self.subject()?.run(vector)?)
    }

    /// One call of the vector's function with these answers.
    pub fn call(&self, vector: &Vector, answers: &[Answered]) -> Result<Gave, String> {
        Ok(self.subject()?.call(vector, answers)?)
    }

    /// Every attack at every answer of a vector; how many there were, and what was found.
    pub fn attack(&self, vector: &Vector) -> Result<(usize, Vec<Finding>), String> {
        Ok(self.subject()?.attack(vector)?)
    }

    fn subject(&self) -> Result<Subject<'_>, String> {
        match &self.adapter.home {
            Home::Here(prepared) => Ok(Subject::new(prepared, &self.adapter.manifest, &self.adapter.counts)),
            Home::Apart(_) => Err("the bench calls what it loaded itself".into()),
        }
    }

    /// Calls so far, what they took, and the most memory that one had.
    pub fn usage(&self) -> crate::Usage {
        self.adapter.counts.usage()
    }
}

/// What is called: a component and what it says of itself, on the bench or in a worker.
pub(crate) struct Subject<'a> {
    prepared: &'a Prepared,
    manifest: &'a Manifest,
    counts: &'a Arc<Counts>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(prepared: &'a Prepared, manifest: &'a Manifest, counts: &'a Arc<Counts>) -> Self {
        Self {
            prepared,
            manifest,
            counts,
        }
    }

    fn scope(&self) -> Result<CallScope, String> {
        // Every key that it asks for is there.
        let grant = |ask: &KeyAsk| KeyGrant {
            name: ask.name.clone(),
            algorithm: ask.algorithm.clone(),
        };
        let keys = self.manifest.keys.iter().map(grant).collect();
        scope(self.counts, keys)
    }
}

/// What a component says of itself.
pub(crate) fn described(prepared: &Prepared) -> Result<Manifest, Fault> {
    let scope = scope(&Arc::default(), Arc::from([])).map_err(nobody)?;
    let (told, _) = call::call(prepared, scope.bounds(), Box::new(scope.ring()), &Ask::Describe);
    match told? {
        Told::Manifest(manifest) => Ok(*manifest),
        _ => Err(nobody("it does not say who it is".into())),
    }
}

fn nobody(text: String) -> Fault {
    let kind = FaultKind::Trap;
    Fault { kind, text }
}

fn scope(counts: &Arc<Counts>, keys: Arc<[KeyGrant]>) -> Result<CallScope, String> {
    Ok(CallScope {
        vault: Arc::new(NoVault),
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
