//! The router's side: the workers of one version, lent one call at a time. A worker that dies, falls silent or talks nonsense
//! is one fault of the adapter, and the next call has a new one.

use super::pipe::{self, Down, Up};
use crate::abi::{Ask, Exports, Told};
use crate::artifact::Artifacts;
use crate::guest::Traces;
use crate::home::CallScope;
use crate::limits::TICK_MS;
use crate::ring::{Granted, KeyAsk, Keyring, WORDS_MAX, name_of};
use crate::sandbox::SandboxError;
use portolan_domain::exchange::Word;
use portolan_domain::operation::{Fault, FaultKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Calls at once in one version: a call is all computing, so more than there are cores gain nothing.
const WORKERS_MAX: usize = 16;
/// How long a worker may take to start; a component of 18 MB takes a tenth of it on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(20);
/// What a call may take besides its own limit, and how long a worker may say nothing: it has to get a core.
const CALL_WITHIN: Duration = Duration::from_millis(1_000);
/// Uses of keys in one call.
const KEYS_MAX: usize = 256;
/// How often starting is tried again before it counts as the component's fault: the cache may be of another build.
const STARTS: usize = 2;

/// The workers of one version.
pub(crate) struct Workers {
    artifacts: Artifacts,
    file: PathBuf,
    digest: String,
    exports: Exports,
    most: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Worker>,
    /// Idle, lent and starting.
    alive: usize,
}

struct Worker {
    child: Child,
    pipe: UnixStream,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::debug!(%error, "a worker was gone already");
        }
    }
}

impl Workers {
    /// Starts the first worker of a component, which tells what the component exports.
    pub(crate) fn start(artifacts: &Artifacts, file: PathBuf, digest: String) -> Result<Self, SandboxError> {
        let (worker, exports) = start(artifacts, &file, &digest).map_err(SandboxError::Component)?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            artifacts: artifacts.clone(),
            file,
            digest,
            exports,
            most: cores.clamp(2, WORKERS_MAX),
            state: Mutex::new(State {
                idle: vec![worker],
                alive: 1,
            }),
            freed: Condvar::new(),
        })
    }

    pub(crate) fn exports(&self) -> Exports {
        self.exports
    }

    /// One call, in some worker.
    pub(crate) fn call(&self, scope: &CallScope, ask: &Ask) -> (Result<Told, Fault>, Traces) {
        let within = Duration::from_millis(scope.limits.ticks.saturating_mul(TICK_MS)).saturating_add(CALL_WITHIN);
        let mut worker = match self.lend(Instant::now() + within) {
            Ok(worker) => worker,
            Err(fault) => return (Err(fault), Traces::default()),
        };
        match worker.call(scope, ask, Instant::now() + within) {
            Ok(done) => {
                self.give_back(worker);
                done
            }
            Err(error) => {
                let fault = worker.why_lost(&error);
                tracing::warn!(channel = %scope.channel, operation = %scope.operation, %fault, "a worker is lost");
                self.lose(worker);
                (Err(fault), Traces::default())
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(&self, until: Instant) -> Result<Worker, Fault> {
        let mut state = self.state();
        loop {
            if let Some(worker) = state.idle.pop() {
                return Ok(worker);
            }
            if state.alive < self.most {
                state.alive = state.alive.saturating_add(1);
                drop(state);
                return self.one_more();
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(fault(FaultKind::Timeout, "every worker of the adapter is busy".into()));
            }
            let waited = self.freed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn one_more(&self) -> Result<Worker, Fault> {
        let started = start(&self.artifacts, &self.file, &self.digest);
        started.map(|(worker, _)| worker).map_err(|problem| {
            self.one_less();
            fault(FaultKind::Other, format!("no worker starts: {problem}"))
        })
    }

    fn give_back(&self, worker: Worker) {
        self.state().idle.push(worker);
        self.freed.notify_one();
    }

    fn lose(&self, worker: Worker) {
        drop(worker);
        self.one_less();
    }

    fn one_less(&self) {
        let mut state = self.state();
        state.alive = state.alive.saturating_sub(1);
        drop(state);
        self.freed.notify_one();
    }
}

/// Whether the words are such as a guest of that call could have been given.
fn are_granted(scope: &CallScope, ring: &mut Granted, words: &[Word]) -> Result<(), String> {
    if words.len() > WORDS_MAX {
        return Err(format!("more than {WORDS_MAX} signatures in one call"));
    }
    for (place, word) in words.iter().enumerate() {
        if word.word != name_of(scope.naming, &scope.entropy, place, word) {
            return Err("a signature has a name of its own".into());
        }
        let (key, algorithm) = (word.key.clone(), word.algorithm.clone());
        ring.apply(KeyAsk::CanSign { key, algorithm })
            .map_err(|refused| format!("a signature that was refused: {refused:?}"))?;
    }
    Ok(())
}

fn fault(kind: FaultKind, text: String) -> Fault {
    Fault { kind, text }
}

impl Worker {
    /// Gives the call to the worker and serves its uses of keys until it is over.
    fn call(&mut self, scope: &CallScope, ask: &Ask, until: Instant) -> std::io::Result<(Result<Told, Fault>, Traces)> {
        let mut ring = scope.ring();
        pipe::write(&mut self.pipe, &Down::Call(scope.bounds(), scope.keys.to_vec(), ask))?;
        for _ in 0..=KEYS_MAX {
            if Instant::now() >= until {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            match pipe::read::<Up>(&mut self.pipe)? {
                Up::Key(used) => pipe::write(&mut self.pipe, &Down::<()>::Key(ring.apply(used)))?,
                Up::Done(told, traces) => {
                    // What was proven is known on this side, and what may be signed is looked at on this side.
                    are_granted(scope, &mut ring, &traces.words).map_err(std::io::Error::other)?;
                    let traces = Traces {
                        verified: ring.has_verified(),
                        ..*traces
                    };
                    return Ok((*told, traces));
                }
                Up::Ready(_) => return Err(std::io::ErrorKind::InvalidData.into()),
            }
        }
        Err(std::io::Error::other(format!("more than {KEYS_MAX} uses of keys")))
    }

    /// How long each reading and each writing may take, from now on.
    fn patience(&self, within: Duration) -> std::io::Result<()> {
        self.pipe.set_read_timeout(Some(within))?;
        self.pipe.set_write_timeout(Some(within))
    }

    /// The fault that losing a worker is: how it ended, where it did.
    fn why_lost(&mut self, error: &std::io::Error) -> Fault {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        if matches!(error.kind(), TimedOut | WouldBlock) {
            return fault(FaultKind::Timeout, "its worker fell silent and was stopped".into());
        }
        // One that is ending keeps the status that it ends with; one that lives ends by this.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        let how = match ended.map(|status| (status.signal(), status)) {
            Ok((Some(SIGSYS), _)) => "was killed for a system call that it may not make".into(),
            Ok((Some(SIGKILL), _)) | Err(_) => format!("cannot be understood: {error}"),
            Ok((Some(signal), _)) => format!("was killed by signal {signal}"),
            Ok((None, status)) => format!("ended ({status})"),
        };
        fault(FaultKind::Trap, format!("its worker {how}"))
    }
}

/// What the kernel sends for a system call that is not allowed.
const SIGSYS: i32 = 31;
const SIGKILL: i32 = 9;

fn start(artifacts: &Artifacts, file: &Path, digest: &str) -> Result<(Worker, Exports), String> {
    let mut problem = String::new();
    for _ in 0..STARTS {
        let (found, compiled) = artifacts.compiled(file).map_err(|error| error.to_string())?;
        if found != digest {
            return Err(format!(
                "{} is {found}, not {digest}: it was changed on disk",
                file.display()
            ));
        }
        match start_with(artifacts, &compiled) {
            Ok(started) => return Ok(started),
            Err(error) => problem = error,
        }
        artifacts.forget(digest);
    }
    Err(problem)
}

fn start_with(artifacts: &Artifacts, compiled: &[u8]) -> Result<(Worker, Exports), String> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let child = Command::new(artifacts.program())
        .arg("worker")
        .env_clear()
        .current_dir("/")
        // What stops the router by its terminal does not stop its workers before it.
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", artifacts.program().display()))?;
    let mut worker = Worker { child, pipe: ours };
    let ready = worker
        .patience(START_WITHIN)
        .and_then(|()| pipe::write_compiled(&mut worker.pipe, compiled))
        .and_then(|()| pipe::read::<Up>(&mut worker.pipe));
    match ready {
        Ok(Up::Ready(Ok(exports))) => match worker.patience(CALL_WITHIN) {
            Ok(()) => Ok((worker, exports)),
            Err(error) => Err(error.to_string()),
        },
        Ok(Up::Ready(Err(problem))) => Err(problem),
        Ok(Up::Key(_) | Up::Done(..)) => Err("the worker speaks out of turn".into()),
        Err(error) => Err(worker.why_lost(&error).text),
    }
}
