//! The words between the router and a worker: frames of a length and MessagePack, each side with its own kinds. The other
//! side is not trusted to be quick, short or honest: what is read has a time and a budget.

use crate::abi::{Ask, Exports, Told};
use crate::bench::{Proof, ProofError};
use crate::guest::{Bounds, Traces};
use crate::ring::{KeyAsk, Refused};
use portolan_domain::operation::Fault;
use rmp_serde::config::BytesMode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The longest frame to a worker: eight answers of 1 MiB, and what is around them.
const DOWN_MAX: usize = 16 << 20;
/// The longest compiled component: Python's take some 60 MB.
pub(super) const COMPILED_MAX: usize = 512 << 20;
/// What is reserved before any of a frame has come.
const AT_FIRST: usize = 8 << 10;
/// A frame begins with its length.
const LENGTH: usize = 4;
/// How long the router waits at a stretch before it makes room for other work on its thread: on a busy machine a healthy worker
/// may need some of it, and every thread more is one more that wants a core.
pub(super) const SOON: Duration = Duration::from_millis(40);

/// From the router.
#[derive(Serialize, Deserialize)]
pub(super) enum Down<A> {
    /// Call the guest: `Down<&Ask>` is written, `Down<Ask>` read.
    /// With the names of the granted keys.
    Call(Bounds, Vec<String>, A),
    /// What came of using a key.
    Key(Result<Vec<u8>, Refused>),
    /// Run the vectors of this section.
    Prove(Vec<u8>),
    /// Run this vector, JSON.
    Run(Vec<u8>),
}

/// From the worker.
#[derive(Serialize, Deserialize)]
pub(super) enum Up {
    /// The component is loaded and the wall is up; or why not.
    Ready(Result<Exports, NotReady>),
    /// The guest wants to use a key.
    Key(KeyAsk),
    /// The call is over.
    Done(Box<Result<Told, Fault>>, Box<Traces>),
    /// The vectors are run; or why they could not be.
    Proved(Result<Proof, ProofError>),
    /// The vector's steps, JSON; or why there are none.
    Ran(Result<Vec<u8>, String>),
}

/// Why a worker cannot work.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum NotReady {
    /// The process could not give up its rights, or put up its wall.
    Wall(String),
    /// The compiled component is not taken.
    Component(String),
}

/// What may be read, and until when.
pub(super) struct Budget {
    pub bytes: usize,
    pub until: Option<Instant>,
}

impl Budget {
    /// The worker's own: it waits for its router.
    pub(super) const fn of_a_worker(bytes: usize) -> Self {
        Self { bytes, until: None }
    }

    fn check(&self) -> io::Result<()> {
        match self.until {
            Some(until) if Instant::now() >= until => Err(ErrorKind::TimedOut.into()),
            Some(_) | None => Ok(()),
        }
    }

    fn take(&mut self, length: usize) -> io::Result<()> {
        let left = self.bytes.checked_sub(length);
        self.bytes = left.ok_or_else(|| invalid(format!("{length} bytes are more than may come")))?;
        Ok(())
    }
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    // It may repeat what the other side wrote.
    io::Error::new(ErrorKind::InvalidData, clipped(&error.to_string()))
}

/// As much of a text as a log or a payment keeps.
pub(super) fn clipped(text: &str) -> String {
    text.chars().take(500).collect()
}

/// Work that may take a while does not keep the runtime's thread from its other tasks.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        Ok(_) | Err(_) => work(),
    }
}

/// A transfer of bytes, piece by piece.
trait Transfer {
    /// One system call's worth; `true`: it is over.
    fn more(&mut self, pipe: &UnixStream) -> io::Result<bool>;
}

/// Goes on until it is over or its time is, aside when it takes long.
fn carry(transfer: &mut impl Transfer, pipe: &UnixStream, budget: &Budget) -> io::Result<()> {
    let mut until_whole = |soon: Option<Instant>| loop {
        match transfer.more(pipe) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        budget.check()?;
        if soon.is_some_and(|soon| Instant::now() >= soon) {
            return Ok(false);
        }
    };
    let soon = budget.until.map(|_| Instant::now() + SOON);
    if !until_whole(soon)? {
        aside(|| until_whole(None))?;
    }
    Ok(())
}

struct Writing<'a>(&'a [u8]);

impl Transfer for Writing<'_> {
    fn more(&mut self, mut pipe: &UnixStream) -> io::Result<bool> {
        let wrote = pipe.write(self.0)?;
        self.0 = self.0.get(wrote..).unwrap_or_default();
        Ok(self.0.is_empty())
    }
}

/// A frame as it comes, with its length. The two sides speak in turn, so nothing comes behind it, and most frames are read by
/// one system call.
struct Reading {
    bytes: Vec<u8>,
    /// What the length may be.
    most: usize,
    /// With the length's own bytes, once that is there.
    wanted: Option<usize>,
}

impl Reading {
    fn length(&self) -> io::Result<Option<usize>> {
        let Some(prefix) = self.bytes.first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*prefix)).map_err(invalid)?;
        if length > self.most {
            return Err(invalid(format!("{length} bytes are more than may come")));
        }
        Ok(Some(length.saturating_add(LENGTH)))
    }
}

impl Transfer for Reading {
    fn more(&mut self, mut pipe: &UnixStream) -> io::Result<bool> {
        let mut piece = [0; 16 << 10];
        match pipe.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            came => self.bytes.extend_from_slice(piece.get(..came).unwrap_or_default()),
        }
        if self.wanted.is_none() {
            self.wanted = self.length()?;
        }
        match self.wanted {
            Some(wanted) if self.bytes.len() > wanted => Err(invalid("it speaks out of turn")),
            Some(wanted) => Ok(self.bytes.len() == wanted),
            None => Ok(false),
        }
    }
}

fn read_bytes(pipe: &UnixStream, budget: &mut Budget) -> io::Result<Vec<u8>> {
    let mut frame = Reading {
        bytes: Vec::with_capacity(AT_FIRST),
        most: budget.bytes,
        wanted: None,
    };
    carry(&mut frame, pipe, budget)?;
    budget.take(frame.bytes.len().saturating_sub(LENGTH))?;
    Ok(frame.bytes)
}

fn body(frame: &[u8]) -> &[u8] {
    frame.get(LENGTH..).unwrap_or_default()
}

/// A frame, ready to be written: its encoding is the writer's own business, and no fault of the other side.
pub(super) fn frame<T: Serialize>(said: &T) -> io::Result<Vec<u8>> {
    // One write for length and content: one wake of the other side.
    let mut frame = vec![0; LENGTH];
    let mut into = rmp_serde::Serializer::new(&mut frame).with_bytes(BytesMode::ForceAll);
    said.serialize(&mut into).map_err(invalid)?;
    let length = frame.len().saturating_sub(LENGTH);
    if length > DOWN_MAX {
        return Err(invalid(format!("a frame of {length} bytes is more than {DOWN_MAX}")));
    }
    let prefix = u32::try_from(length).map_err(invalid)?.to_le_bytes();
    for (place, byte) in frame.iter_mut().zip(prefix) {
        *place = byte;
    }
    Ok(frame)
}

/// Writes a frame.
pub(super) fn write(pipe: &UnixStream, frame: &[u8], budget: &Budget) -> io::Result<()> {
    carry(&mut Writing(frame), pipe, budget)
}

/// Reads one frame.
pub(super) fn read<T: DeserializeOwned>(pipe: &UnixStream, budget: &mut Budget) -> io::Result<T> {
    rmp_serde::from_slice(body(&read_bytes(pipe, budget)?)).map_err(invalid)
}

/// Reads what the router says: as long as it is.
pub(super) fn read_down(pipe: &UnixStream) -> io::Result<Down<Ask>> {
    read(pipe, &mut Budget::of_a_worker(DOWN_MAX))
}

/// Says something to the router.
pub(super) fn write_up(pipe: &UnixStream, said: &Up) -> io::Result<()> {
    write(pipe, &frame(said)?, &Budget::of_a_worker(0))
}

/// Hands over the compiled component.
pub(super) fn write_compiled(pipe: &UnixStream, compiled: &[u8], budget: &Budget) -> io::Result<()> {
    let length = u32::try_from(compiled.len()).map_err(invalid)?;
    write(pipe, &length.to_le_bytes(), budget)?;
    write(pipe, compiled, budget)
}

/// Takes the compiled component.
pub(super) fn with_compiled<T>(pipe: &UnixStream, load: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    let frame = read_bytes(pipe, &mut Budget::of_a_worker(COMPILED_MAX))?;
    Ok(load(body(&frame)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(ms: u64) -> Budget {
        Budget {
            bytes: 1 << 20,
            until: Some(Instant::now() + Duration::from_millis(ms)),
        }
    }

    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(SOON)).unwrap();
        ours.set_write_timeout(Some(SOON)).unwrap();
        (ours, theirs)
    }

    /// What one byte at a time announces would take for ever; the deadline is of the call, not of the byte.
    #[test]
    fn who_drips_is_not_waited_for() {
        let (ours, mut theirs) = pair();
        let dripping = std::thread::spawn(move || {
            theirs.write_all(&1_000_u32.to_le_bytes()).unwrap();
            while theirs.write_all(&[0]).is_ok() {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        let started = Instant::now();
        let heard = read::<Up>(&ours, &mut budget(300)).map(drop).unwrap_err();
        assert_eq!(heard.kind(), ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(3));
        drop(ours);
        dripping.join().unwrap();
    }

    #[test]
    fn who_does_not_read_is_not_waited_for() {
        let (ours, _theirs) = pair();
        let refused = write(&ours, &vec![0; 8 << 20], &budget(300)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn more_than_may_come_is_not_read() {
        let (ours, mut theirs) = pair();
        theirs.write_all(&u32::MAX.to_le_bytes()).unwrap();
        let refused = read::<Up>(&ours, &mut budget(300)).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
        // The budget is of all frames of a call together.
        let mut left = budget(300);
        let part = vec![0; 700 << 10];
        assert!(left.take(part.len()).is_ok() && left.take(part.len()).is_err());
    }

    #[test]
    fn bytes_go_as_bytes() {
        let framed = frame(&Down::<()>::Key(Ok(vec![200; 1_000]))).unwrap();
        assert!(framed.len() < 1_050, "{}", framed.len());
        let (ours, theirs) = pair();
        write(&ours, &framed, &budget(300)).unwrap();
        match read_down(&theirs).unwrap() {
            Down::Key(Ok(bytes)) => assert_eq!(bytes, vec![200; 1_000]),
            Down::Key(Err(_)) | Down::Call(..) | Down::Prove(_) | Down::Run(_) => panic!("something else came"),
        }
    }
}
