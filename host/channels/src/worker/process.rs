//! The worker's side: gives up what it does not need, loads the component, puts up the wall, and calls the guest as it is
//! told. No code of the guest runs before the wall is up.

use super::pipe::{self, Down, ReadAsk, Up};
use super::seccomp;
use crate::abi::{Exports, call};
use crate::artifact;
use crate::guest;
use crate::ring::{KeyAsk, Keyring, Refused};
use crate::sandbox::{Prepared, Sandbox};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
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
    give_up_rights().map_err(|error| format!("giving up rights: {error}"))?;
    let pipe = std::io::stdin().as_fd().try_clone_to_owned();
    let mut pipe = UnixStream::from(pipe.map_err(|error| error.to_string())?);
    let prepared = load(&mut pipe);
    let ready = prepared.as_ref().map(|(_, prepared)| prepared.indices.exports());
    let ready: Result<Exports, String> = ready.map_err(Clone::clone);
    pipe::write(&mut pipe, &Up::Ready(ready)).map_err(|error| error.to_string())?;
    let (_sandbox, prepared) = prepared?;
    // WASI's calls look for a runtime. This one has no threads, and nothing ever waits in it.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let _entered = runtime.enter();
    let pipe = Arc::new(Mutex::new(pipe));
    let known: Arc<Mutex<HashSet<(bool, String)>>> = Arc::default();
    loop {
        let asked = pipe::read::<ReadAsk>(&mut lock(&pipe));
        let (bounds, names, ask) = match asked {
            Ok(Down::Call(bounds, names, ask)) => (bounds, names, ask),
            Ok(Down::Key(_)) => return Err("a key that nobody asked for".into()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let ring = Box::new(Piped {
            pipe: pipe.clone(),
            names,
            known: known.clone(),
        });
        let (told, traces) = call::call(&prepared, bounds, ring, &ask);
        let done = Up::Done(Box::new(told), Box::new(traces));
        pipe::write(&mut lock(&pipe), &done).map_err(|error| error.to_string())?;
    }
}

fn lock(pipe: &Mutex<UnixStream>) -> std::sync::MutexGuard<'_, UnixStream> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of root becomes nobody; nobody gets no more than it has. There is one thread yet, so it is the whole process.
fn give_up_rights() -> rustix::io::Result<()> {
    if rustix::process::geteuid().is_root() {
        set_thread_groups(&[])?;
        let group = rustix::process::Gid::from_raw(NOBODY);
        set_thread_res_gid(group, group, group)?;
        let user = rustix::process::Uid::from_raw(NOBODY);
        set_thread_res_uid(user, user, user)?;
        // Its own page map is how memories are reset; there is nothing in here that is not the adapter's.
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    }
    set_no_new_privs(true)?;
    let at_most = |most: u64| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Core, at_most(0))?;
    setrlimit(Resource::Data, at_most(DATA_MAX))?;
    setrlimit(Resource::Fsize, at_most(FILE_MAX))?;
    setrlimit(Resource::Nofile, at_most(FILES_MAX))
}

fn load(pipe: &mut UnixStream) -> Result<(Sandbox, Prepared), String> {
    let sandbox = Sandbox::start(1).map_err(|error| error.to_string())?;
    let compiled = pipe::read_compiled(pipe).map_err(|error| error.to_string())?;
    let component = artifact::deserialize(&sandbox, &compiled).map_err(|error| artifact::one_line(&error))?;
    drop(compiled);
    // Images of memories are files, and from here on there is no making one.
    let imaged = component.initialize_copy_on_write_image();
    imaged.map_err(|error| artifact::one_line(&error))?;
    // The first look at the clock asks the kernel where it is.
    guest::spent_us();
    let prepared = sandbox.prepare(&component).map_err(|error| error.to_string())?;
    seccomp::shut(pipe)?;
    Ok((sandbox, prepared))
}

/// Keys by way of the router, which decides and writes down what it allowed.
struct Piped {
    pipe: Arc<Mutex<UnixStream>>,
    /// Names of the keys that are granted in this call.
    names: Vec<String>,
    /// Algorithms that the router can do, with a key and without: it does not unlearn them.
    known: Arc<Mutex<HashSet<(bool, String)>>>,
}

impl Piped {
    /// Whether the answer is known without asking; the router looks at it again when the call is over.
    fn is_known(&self, ask: &KeyAsk) -> bool {
        let KeyAsk::CanSign { key, algorithm } = ask else {
            return false;
        };
        let is_granted = key.as_ref().is_none_or(|key| self.names.contains(key));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        is_granted && known.contains(&(key.is_some(), algorithm.clone()))
    }

    fn learn(&self, ask: (bool, String)) {
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
            KeyAsk::CanSign { key, algorithm } => Some((key.is_some(), algorithm.clone())),
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
        let mut pipe = lock(&self.pipe);
        let answered = pipe::write(&mut pipe, &Up::Key(ask)).and_then(|()| pipe::read::<ReadAsk>(&mut pipe));
        match answered {
            Ok(Down::Key(answer)) => answer,
            Ok(Down::Call(..)) => Err(Refused::Unsuitable("the router answers something else".into())),
            Err(error) => Err(Refused::Unsuitable(error.to_string())),
        }
    }
}
