//! The router's side: the workers of one version, each lent to one channel, one call at a time. A worker that dies is
//! replaced and the call made again, for a call has no effects; one that falls silent or talks nonsense is a fault of the adapter.

use super::pipe::{self, Budget, Down, NotReady, SOON, Up, aside, clipped};
use crate::abi::{Ask, Exports, Told};
use crate::artifact::Artifacts;
use crate::bench::{Proof, ProofError};
use crate::guest::Traces;
use crate::home::CallScope;
use crate::limits::{Limits, TICK_MS};
use crate::ring::{Granted, KeyAsk, Keyring, WORDS_MAX, name_of};
use crate::sandbox::SandboxError;
use portolan_domain::exchange::Word;
use portolan_domain::ids::ChannelId;
use portolan_domain::operation::{Fault, FaultKind};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Workers of one version. A call is all computing, so more than there are cores gain nothing but other channels' readiness.
const WORKERS_MAX: usize = 16;
/// How long a worker may take to start; a component of 18 MB takes a tenth of it on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(20);
/// What a call may take besides its own limit: its worker has to get a core.
const GRACE: Duration = Duration::from_millis(1_000);
/// How long a call waits for a worker: a payment that is late is better than one that fails.
const LEND_WITHIN: Duration = Duration::from_secs(5);
/// Uses of keys in one call.
const KEYS_MAX: usize = 256;
/// Calls of one worker: what may have got hold of one is gone after these.
const CALLS_MAX: u32 = 1_000;
/// How long a worker may have nothing to do; the last one of a version stays.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long running a component's vectors may take.
const BENCH_WITHIN: Duration = Duration::from_secs(180);
/// What is said about that.
const BENCH_MAX: usize = 4 << 20;
/// After so many calls that used up what they were granted a worker stands behind the router and the other workers.
const SPENT_MAX: u32 = 3;
/// Its priority then, as `nice` counts it: about a ninth of a core that others want.
const BEHIND: i32 = 10;
/// How often one call is begun: a worker may have died while it had nothing to do.
const BEGUN_MAX: usize = 2;

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
    /// The channel that it works for: it never sees another's payments. `None`: it has not seen any.
    of: Option<ChannelId>,
    calls: u32,
    /// Calls that used up what they were granted.
    spent: u32,
    rests_since: Instant,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::debug!(%error, "a worker was gone already");
        }
    }
}

/// A worker while it is lent; it is lost unless it is given back.
struct Lent<'a> {
    workers: &'a Workers,
    worker: Option<Worker>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if self.worker.take().is_some() {
            self.workers.one_less();
        }
    }
}

impl Workers {
    /// Starts the first worker of a component, which tells what the component exports.
    pub(crate) fn start(artifacts: &Artifacts, file: PathBuf, digest: String) -> Result<Self, SandboxError> {
        let (worker, exports) = start(artifacts, &file, &digest)?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            artifacts: artifacts.clone(),
            file,
            digest,
            exports,
            most: cores.saturating_mul(4).clamp(8, WORKERS_MAX),
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

    /// One call, in some worker of the channel.
    pub(crate) fn call(&self, scope: &CallScope, ask: &Ask) -> (Result<Told, Fault>, Traces) {
        let lost = |fault: Fault| (Err(fault), Traces::default());
        let names = scope.keys.iter().map(|key| key.name.clone()).collect();
        let framed = pipe::frame(&Down::Call(scope.bounds(), names, ask));
        let framed = match framed {
            Ok(framed) => framed,
            Err(error) => return lost(fault(FaultKind::TooLarge, error.to_string())),
        };
        let within = Duration::from_millis(scope.limits.ticks.saturating_mul(TICK_MS)).saturating_add(GRACE);
        let mut why = fault(FaultKind::Trap, "no worker was tried".into());
        for _ in 0..BEGUN_MAX {
            // Who says who it is has seen no payment, and may still work for anybody.
            let channel = (!matches!(ask, Ask::Describe)).then_some(&scope.channel);
            let mut lent = match self.lend(channel, Instant::now() + LEND_WITHIN) {
                Ok(lent) => lent,
                Err(fault) => return lost(fault),
            };
            let Some(worker) = lent.worker.as_mut() else { break };
            match worker.call(scope, &framed, Instant::now() + within) {
                Ok(done) => {
                    if !scope.was_starved(&done.1) {
                        worker.count_spent(&done.0);
                    }
                    lent.give_back();
                    return done;
                }
                Err(error) => {
                    why = worker.why_lost(&error);
                    let (channel, operation) = (&scope.channel, scope.operation);
                    tracing::warn!(%channel, %operation, fault = %why, "a worker is lost");
                    if why.kind == FaultKind::Timeout || error.kind() == ErrorKind::InvalidData {
                        break;
                    }
                }
            }
        }
        lost(why)
    }

    /// Runs the vectors of a section in a worker that has seen no payment, and is used for nothing else.
    pub(crate) fn prove(&self, section: &[u8]) -> Result<Proof, ProofError> {
        match self.on_the_bench(&Down::Prove(section.to_vec()))? {
            Up::Proved(Ok(proof)) => Ok(proof.held()),
            Up::Proved(Err(error)) => Err(error.held()),
            Up::Ready(_) | Up::Key(_) | Up::Done(..) | Up::Ran(_) => Err(ProofError::Fault(out_of_turn())),
        }
    }

    /// The steps of a vector, likewise; both are JSON.
    pub(crate) fn run(&self, vector: &[u8]) -> Result<Vec<u8>, String> {
        match self.on_the_bench(&Down::Run(vector.to_vec())).map_err(String::from)? {
            Up::Ran(steps) => steps.map_err(|it| clipped(&it)),
            Up::Ready(_) | Up::Key(_) | Up::Done(..) | Up::Proved(_) => Err(out_of_turn().text),
        }
    }

    /// A worker that is lost may have been taken by somebody else: it is tried once more.
    fn on_the_bench(&self, told: &Down<()>) -> Result<Up, ProofError> {
        let framed = pipe::frame(told).map_err(|error| ProofError::Unreadable(error.to_string()))?;
        let mut why = ProofError::Machine("no worker was lent".into());
        for _ in 0..BEGUN_MAX {
            let lent = self.lend(None, Instant::now() + LEND_WITHIN);
            let mut lent = lent.map_err(|fault| ProofError::Machine(fault.text))?;
            let Some(worker) = lent.worker.as_mut() else { break };
            let mut budget = Budget {
                bytes: BENCH_MAX,
                until: Some(Instant::now() + BENCH_WITHIN),
            };
            let said = pipe::write(&worker.pipe, &framed, &budget)
                .and_then(|()| aside(|| pipe::read::<Up>(&worker.pipe, &mut budget)));
            let error = match said {
                Ok(said) => return Ok(said),
                Err(error) => error,
            };
            let lost = worker.why_lost(&error);
            let is_over = lost.kind == FaultKind::Timeout || error.kind() == ErrorKind::InvalidData;
            why = ProofError::Fault(lost);
            if is_over {
                break;
            }
        }
        Err(why)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(&self, channel: Option<&ChannelId>, until: Instant) -> Result<Lent<'_>, Fault> {
        let lent = |worker| Lent {
            workers: self,
            worker: Some(worker),
        };
        let soon = Instant::now() + SOON;
        let mut state = self.state();
        loop {
            if let Some(worker) = state.take_of(channel) {
                let tired = state.take_tired();
                drop(state);
                self.end(tired);
                return Ok(lent(worker));
            }
            let is_room = state.alive < self.most;
            let other = if is_room { None } else { state.take_oldest() };
            if is_room || other.is_some() {
                state.alive = state.alive.saturating_add(1);
                drop(state);
                self.end(other.into_iter().collect());
                return aside(|| self.one_more(channel)).map(lent);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(fault(FaultKind::Timeout, "every worker of the adapter is busy".into()));
            }
            let waited = if Instant::now() < soon {
                self.freed.wait_timeout(state, left.min(SOON))
            } else {
                aside(|| self.freed.wait_timeout(state, left))
            };
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn one_more(&self, channel: Option<&ChannelId>) -> Result<Worker, Fault> {
        let started = start(&self.artifacts, &self.file, &self.digest);
        started
            .map(|(mut worker, _)| {
                worker.of = channel.cloned();
                worker
            })
            .map_err(|problem| {
                self.one_less();
                tracing::error!(digest = self.digest, %problem, "no worker starts");
                fault(FaultKind::Other, "no worker of the adapter starts".into())
            })
    }

    fn end(&self, workers: Vec<Worker>) {
        for worker in workers {
            drop(worker);
            self.one_less();
        }
    }

    fn one_less(&self) {
        let mut state = self.state();
        state.alive = state.alive.saturating_sub(1);
        drop(state);
        self.freed.notify_one();
    }
}

impl State {
    /// One that works for the channel, or for none yet.
    fn take_of(&mut self, channel: Option<&ChannelId>) -> Option<Worker> {
        let own = self.idle.iter().rposition(|it| it.of.as_ref() == channel);
        let at = own.or_else(|| self.idle.iter().position(|it| it.of.is_none()))?;
        let mut worker = self.idle.remove(at);
        worker.of = channel.cloned();
        Some(worker)
    }

    /// One of another channel, to make room.
    fn take_oldest(&mut self) -> Option<Worker> {
        let oldest = self.idle.iter().enumerate().min_by_key(|(_, it)| it.rests_since);
        let at = oldest.map(|(at, _)| at)?;
        Some(self.idle.remove(at))
    }

    fn take_tired(&mut self) -> Vec<Worker> {
        let tired = |it: &mut Worker| it.rests_since.elapsed() > IDLE_MAX;
        self.idle.extract_if(.., tired).collect()
    }
}

impl Lent<'_> {
    fn give_back(mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        worker.calls = worker.calls.saturating_add(1);
        if worker.calls >= CALLS_MAX {
            return self.workers.end(vec![worker]);
        }
        worker.rests_since = Instant::now();
        self.workers.state().idle.push(worker);
        self.workers.freed.notify_one();
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
            .map_err(|refused| clipped(&format!("a signature that was refused: {refused:?}")))?;
    }
    Ok(())
}

fn fault(kind: FaultKind, text: String) -> Fault {
    Fault { kind, text }
}

fn out_of_turn() -> Fault {
    fault(FaultKind::Trap, "its worker speaks out of turn".into())
}

fn nonsense(text: String) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, text)
}

/// What a worker says of a call, held to what a call may leave behind.
fn held(traces: Traces, limits: &Limits, took: Duration) -> Traces {
    let most = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let line = |text: String| text.chars().take(limits.log_line_bytes).collect::<String>();
    let lines = traces.lines.into_iter().take(limits.log_lines);
    Traces {
        lines: lines.map(|(level, text)| (level, line(text))).collect(),
        took_us: traces.took_us.min(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        memory: traces.memory.min(most(limits.memory_bytes)),
        ..traces
    }
}

impl Worker {
    /// Gives the call to the worker and serves its uses of keys until it is over.
    fn call(
        &mut self,
        scope: &CallScope,
        framed: &[u8],
        until: Instant,
    ) -> std::io::Result<(Result<Told, Fault>, Traces)> {
        let (mut ring, started) = (scope.ring(), Instant::now());
        // A guest's own limit, and as much again for what it asked to be signed.
        let mut budget = Budget {
            bytes: scope.limits.copied_bytes.saturating_mul(2).saturating_add(256 << 10),
            until: Some(until),
        };
        pipe::write(&self.pipe, framed, &budget)?;
        for _ in 0..=KEYS_MAX {
            match pipe::read::<Up>(&self.pipe, &mut budget)? {
                Up::Key(used) => {
                    let answer = pipe::frame(&Down::<()>::Key(ring.apply(used)))?;
                    pipe::write(&self.pipe, &answer, &budget)?;
                }
                Up::Done(told, traces) => {
                    // What was proven is known on this side, and what may be signed is looked at on this side.
                    are_granted(scope, &mut ring, &traces.words).map_err(nonsense)?;
                    let traces = Traces {
                        verified: ring.has_verified(),
                        ..held(*traces, &scope.limits, started.elapsed())
                    };
                    let told = told.map_err(|it| fault(it.kind, clipped(&it.text)));
                    return Ok((told, traces));
                }
                Up::Ready(_) | Up::Proved(_) | Up::Ran(_) => return Err(nonsense("it speaks out of turn".into())),
            }
        }
        Err(nonsense(format!("more than {KEYS_MAX} uses of keys")))
    }

    /// Code that uses up its time or its memory again and again stands behind everybody else's: on a busy machine it would take
    /// from their payments what it wastes.
    fn count_spent(&mut self, told: &Result<Told, Fault>) {
        let is_spent = |fault: &Fault| matches!(fault.kind, FaultKind::Timeout | FaultKind::Memory);
        if !told.as_ref().is_err_and(is_spent) {
            return;
        }
        self.spent = self.spent.saturating_add(1);
        if self.spent == SPENT_MAX
            && let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed())
            && let Err(error) = rustix::process::setpriority_process(Some(pid), BEHIND)
        {
            tracing::debug!(%error, "a worker keeps its place");
        }
    }

    /// The fault that losing a worker is: how it ended, where it did.
    fn why_lost(&mut self, error: &std::io::Error) -> Fault {
        if error.kind() == ErrorKind::TimedOut {
            return fault(FaultKind::Timeout, "its worker fell silent and was stopped".into());
        }
        let mut ended = None;
        // Whose end of the pipe is shut is about to end.
        let looks = if error.kind() == ErrorKind::InvalidData {
            1
        } else {
            LOOKS
        };
        for _ in 0..looks {
            ended = self.child.try_wait().ok().flatten();
            if ended.is_some() {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let how = match ended.map(|status| (status.signal(), status)) {
            Some((Some(SIGSYS), _)) => "was killed for a system call that it may not make".into(),
            Some((Some(signal), _)) => format!("was killed by signal {signal}"),
            Some((None, status)) => format!("ended ({status})"),
            None => format!("cannot be understood: {error}"),
        };
        fault(FaultKind::Trap, format!("its worker {how}"))
    }
}

/// What the kernel sends for a system call that is not allowed.
const SIGSYS: i32 = 31;
/// How often a worker that is about to end is looked at, each after a millisecond.
const LOOKS: usize = 50;

/// A worker of the component. What was compiled by another engine is compiled again, once.
fn start(artifacts: &Artifacts, file: &Path, digest: &str) -> Result<(Worker, Exports), SandboxError> {
    match start_with(artifacts, &artifacts.compiled(file, digest)?) {
        Err(SandboxError::Component(problem)) => {
            tracing::info!(digest, problem, "compiling again");
            artifacts.forget(digest);
            start_with(artifacts, &artifacts.compiled(file, digest)?)
        }
        started => started,
    }
}

fn start_with(artifacts: &Artifacts, compiled: &[u8]) -> Result<(Worker, Exports), SandboxError> {
    let failed = |error: std::io::Error| SandboxError::Worker(clipped(&error.to_string()));
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_read_timeout(Some(SOON)).map_err(failed)?;
    ours.set_write_timeout(Some(SOON)).map_err(failed)?;
    let child = Command::new(artifacts.program())
        .arg0("portolan")
        .arg("worker")
        .env_clear()
        .current_dir("/")
        // What stops the router by its terminal does not stop its workers before it.
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut worker = Worker {
        child,
        pipe: ours,
        of: None,
        calls: 0,
        spent: 0,
        rests_since: Instant::now(),
    };
    let mut budget = Budget {
        bytes: 64 << 10,
        until: Some(Instant::now() + START_WITHIN),
    };
    let ready = pipe::write_compiled(&worker.pipe, compiled, &budget)
        .and_then(|()| pipe::read::<Up>(&worker.pipe, &mut budget));
    match ready {
        Ok(Up::Ready(Ok(exports))) => Ok((worker, exports)),
        Ok(Up::Ready(Err(NotReady::Component(problem)))) => Err(SandboxError::Component(clipped(&problem))),
        Ok(Up::Ready(Err(NotReady::Wall(problem)))) => Err(SandboxError::Worker(clipped(&problem))),
        Ok(Up::Key(_) | Up::Done(..) | Up::Proved(_) | Up::Ran(_)) => {
            Err(SandboxError::Worker("it speaks out of turn".into()))
        }
        Err(error) => Err(SandboxError::Worker(worker.why_lost(&error).text)),
    }
}
