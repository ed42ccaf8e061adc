//! The worker's side: gives up what it does not need, loads the component, puts up the wall, and calls the guest as it is
//! told. No code of the guest runs before the wall is up.

use super::pipe::{self, Down, NotReady, Up};
use super::seccomp;
use crate::abi::call;
use crate::artifact;
use crate::bench::{self, Proof, ProofError, Subject};
use crate::guest;
use crate::limits::at_most;
use crate::ring::{KeyAsk, Keyring, Refused};
use crate::sandbox::{Prepared, Sandbox, SandboxError};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Resource, Uid, set_dumpable_behavior};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::collections::HashSet;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

/// `nobody`, who owns nothing.
const NOBODY: u32 = 65_534;
/// A worker's own memory: four linear memories of the largest grant, and the compiled component.
const DATA_MAX: u64 = 2 << 30;
/// Images of memories are files in memory; no other file can be opened.
const FILE_MAX: u64 = 512 << 20;
const FILES_MAX: u64 = 256;
/// Algorithms that are remembered: there are a dozen.
const KNOWN_MAX: usize = 64;

/// The whole work of a worker's process. Its standard input is the pipe to the router; it ends with it.
pub fn serve() -> Result<(), String> {
    let pipe = std::io::stdin().as_fd().try_clone_to_owned();
    let pipe = UnixStream::from(pipe.map_err(|error| error.to_string())?);
    let prepared = give_up_rights()
        .map_err(|error| NotReady::Wall(format!("giving up rights: {error}")))
        .and_then(|()| load(&pipe));
    let ready = prepared.as_ref().map(|(_, prepared)| prepared.indices.exports());
    say(&pipe, &Up::Ready(ready.map_err(Clone::clone)))?;
    let Ok((_sandbox, prepared)) = prepared else {
        return Ok(());
    };
    // Some of WASI's calls look for a runtime. This one has no threads, and nothing ever waits in it (`wasi.rs`).
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let _entered = runtime.enter();
    answer_all(&Arc::new(pipe), &prepared)
}

fn answer_all(pipe: &Arc<UnixStream>, prepared: &Prepared) -> Result<(), String> {
    let known: Arc<Mutex<HashSet<KeyUse>>> = Arc::default();
    loop {
        let (bounds, names, ask) = match pipe::read_down(pipe) {
            Ok(Down::Call(bounds, names, ask)) => (bounds, names, ask),
            Ok(Down::Prove(section)) => {
                say(pipe, &Up::Proved(prove(prepared, &section)))?;
                continue;
            }
            Ok(Down::Run(vector)) => {
                say(pipe, &Up::Ran(run(prepared, &vector)))?;
                continue;
            }
            Ok(Down::Key(_)) => return Err("a key that nobody asked for".into()),
            // The router is gone. Nothing is tidied up behind the wall: that takes system calls which are not allowed.
            Err(_) => std::process::exit(0),
        };
        let ring = Box::new(Piped {
            pipe: pipe.clone(),
            names,
            known: known.clone(),
        });
        let (told, traces) = call::call(prepared, bounds, ring, &ask);
        say(pipe, &Up::Done(Box::new(told), Box::new(traces)))?;
    }
}

fn say(pipe: &UnixStream, said: &Up) -> Result<(), String> {
    pipe::write_up(pipe, said).map_err(|error| error.to_string())
}

/// The vectors of a section over the component, which says first who it is. No key of the router is used.
fn prove(prepared: &Prepared, section: &[u8]) -> Result<Proof, ProofError> {
    let manifest = bench::described(prepared).map_err(ProofError::Fault)?;
    bench::prove(&Subject::new(prepared, &manifest, &Arc::default()), section)
}

/// The steps of a vector, likewise.
fn run(prepared: &Prepared, vector: &[u8]) -> Result<Vec<u8>, String> {
    let vector = serde_json::from_slice(vector).map_err(|error| error.to_string())?;
    let manifest = bench::described(prepared).map_err(|fault| fault.to_string())?;
    let steps = Subject::new(prepared, &manifest, &Arc::default()).run(&vector)?;
    serde_json::to_vec(&steps).map_err(|error| error.to_string())
}

/// Of root becomes nobody; nobody gets no more than it has. There is one thread yet, so it is the whole process.
fn give_up_rights() -> rustix::io::Result<()> {
    if rustix::process::geteuid().is_root() {
        become_nobody()?;
    }
    set_no_new_privs(true)?;
    at_most(Resource::Core, 0)?;
    at_most(Resource::Data, DATA_MAX)?;
    at_most(Resource::Fsize, FILE_MAX)?;
    at_most(Resource::Nofile, FILES_MAX)
}

/// A root without the right to become anybody else (a container with no capabilities) stays what it is: behind the wall it
/// can do no more than nobody.
fn become_nobody() -> rustix::io::Result<()> {
    let (group, user) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
    let became = set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(group, group, group))
        .and_then(|()| set_thread_res_uid(user, user, user));
    match became {
        Err(error) if error == Errno::PERM || error == Errno::INVAL => {}
        became => became?,
    }
    // Its own page map is how memories are reset: it must be able to open it.
    set_dumpable_behavior(DumpableBehavior::Dumpable)
}

fn load(pipe: &UnixStream) -> Result<(Sandbox, Prepared), NotReady> {
    let wall = |error: &dyn std::fmt::Display| NotReady::Wall(error.to_string());
    let component = |error: &wasmtime::Error| NotReady::Component(artifact::one_line(error));
    // Whoever is short of memory takes a worker before a router.
    let _ = std::fs::write("/proc/self/oom_score_adj", "800");
    let sandbox = Sandbox::start(1).map_err(|error| wall(&error))?;
    let loaded = pipe::with_compiled(pipe, |compiled| artifact::deserialize(&sandbox, compiled));
    let loaded = loaded.map_err(|error| wall(&error))?;
    let loaded = loaded.map_err(|error| component(&error))?;
    // Images of memories are files, and from here on there is no making one.
    let imaged = loaded.initialize_copy_on_write_image();
    imaged.map_err(|error| component(&error))?;
    // The first look at the clock asks the kernel where it is.
    guest::spent_us();
    let prepared = sandbox.prepare(&loaded);
    let prepared = prepared.map_err(|error| match error {
        SandboxError::Component(text) => NotReady::Component(text),
        other => NotReady::Wall(other.to_string()),
    })?;
    let images = images().map_err(|error| wall(&error))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| wall(&error))?;
    seccomp::shut(pipe, &images).map_err(NotReady::Wall)?;
    Ok((sandbox, prepared))
}

/// The open files that are images of memories. What else the router was started with may be open here too.
fn images() -> std::io::Result<Vec<u64>> {
    let mut found = vec![];
    for file in std::fs::read_dir("/proc/self/fd")? {
        let file = file?;
        let to = std::fs::read_link(file.path()).unwrap_or_default();
        let number = file.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|_| to.to_string_lossy().starts_with("/memfd:")) {
            found.push(number);
        }
    }
    Ok(found)
}

/// A key, or none for a digest, and an algorithm.
type KeyUse = (Option<String>, String);

/// Keys by way of the router, which decides and writes down what it allowed.
struct Piped {
    pipe: Arc<UnixStream>,
    /// Names of the keys that are granted in this call.
    names: Vec<String>,
    /// Keys and algorithms that the router can do: it does not unlearn them.
    known: Arc<Mutex<HashSet<KeyUse>>>,
}

impl Piped {
    /// Whether the answer is known without asking; the router looks at it again when the call is over.
    fn is_known(&self, ask: &KeyAsk) -> bool {
        let KeyAsk::CanSign { key, algorithm } = ask else {
            return false;
        };
        let is_granted = key.as_ref().is_none_or(|key| self.names.contains(key));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        is_granted && known.contains(&(key.clone(), algorithm.clone()))
    }

    fn learn(&self, ask: KeyUse) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < KNOWN_MAX {
            known.insert(ask);
        }
    }
}

impl Keyring for Piped {
    fn apply(&mut self, ask: KeyAsk) -> Result<Vec<u8>, Refused> {
        if self.is_known(&ask) {
            return Ok(vec![]);
        }
        let to_learn = match &ask {
            KeyAsk::CanSign { key, algorithm } => Some((key.clone(), algorithm.clone())),
            _ => None,
        };
        let answer = self.ask(ask)?;
        if let Some(asked) = to_learn {
            self.learn(asked);
        }
        Ok(answer)
    }

    fn has_verified(&self) -> bool {
        false
    }
}

impl Piped {
    fn ask(&self, ask: KeyAsk) -> Result<Vec<u8>, Refused> {
        let answered = pipe::write_up(&self.pipe, &Up::Key(ask)).and_then(|()| pipe::read_down(&self.pipe));
        match answered {
            Ok(Down::Key(answer)) => answer,
            Ok(Down::Call(..) | Down::Prove(_) | Down::Run(_)) => {
                Err(Refused::Unsuitable("the router answers something else".into()))
            }
            Err(error) => Err(Refused::Unsuitable(error.to_string())),
        }
    }
}
