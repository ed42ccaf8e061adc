//! The words between the router and a worker: frames of a length and MessagePack, each side with its own kinds.

use crate::abi::{Ask, Exports, Told};
use crate::guest::{Bounds, Traces};
use crate::ring::{KeyAsk, Refused};
use portolan_domain::operation::Fault;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// The longest frame: a piece of a report, or what a guest may pass in one call, and more. A compiled component comes apart.
const FRAME_MAX: usize = 8 << 20;
/// The longest compiled component: Python's take some 60 MB.
const COMPILED_MAX: usize = 512 << 20;

/// What is reserved before any of a frame has come.
const AT_FIRST: usize = 64 << 10;

/// From the router.
#[derive(Serialize, Deserialize)]
pub(super) enum Down<A> {
    /// Call the guest: `Down<&Ask>` is written, `Down<Ask>` read.
    /// With the names of the granted keys.
    Call(Bounds, Vec<String>, A),
    /// What came of using a key.
    Key(Result<Vec<u8>, Refused>),
}

/// From the worker.
#[derive(Serialize, Deserialize)]
pub(super) enum Up {
    /// The component is loaded and the wall is up; or why not.
    Ready(Result<Exports, String>),
    /// The guest wants to use a key.
    Key(KeyAsk),
    /// The call is over.
    Done(Box<Result<Told, Fault>>, Box<Traces>),
}

pub(super) type ReadAsk = Down<Ask>;

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

fn write_bytes(pipe: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(invalid)?;
    pipe.write_all(&length.to_le_bytes())?;
    pipe.write_all(bytes)
}

fn read_bytes(pipe: &mut UnixStream, most: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    pipe.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(invalid)?;
    if length > most {
        return Err(invalid(format!("a frame of {length} bytes is more than {most}")));
    }
    // Grows with what comes, not with what was announced.
    let mut bytes = Vec::with_capacity(length.min(AT_FIRST));
    let wanted = u64::try_from(length).map_err(invalid)?;
    if pipe.take(wanted).read_to_end(&mut bytes)? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Writes one frame.
pub(super) fn write<T: Serialize>(pipe: &mut UnixStream, said: &T) -> io::Result<()> {
    // One write for length and content: one wake of the other side.
    let mut frame = vec![0; 4];
    rmp_serde::encode::write(&mut frame, said).map_err(invalid)?;
    let length = frame.len().saturating_sub(4);
    if length > FRAME_MAX {
        return Err(invalid(format!("a frame of {length} bytes is more than {FRAME_MAX}")));
    }
    let prefix = u32::try_from(length).map_err(invalid)?.to_le_bytes();
    for (place, byte) in frame.iter_mut().zip(prefix) {
        *place = byte;
    }
    pipe.write_all(&frame)
}

/// Reads one frame.
pub(super) fn read<T: DeserializeOwned>(pipe: &mut UnixStream) -> io::Result<T> {
    rmp_serde::from_slice(&read_bytes(pipe, FRAME_MAX)?).map_err(invalid)
}

/// Hands over the compiled component.
pub(super) fn write_compiled(pipe: &mut UnixStream, compiled: &[u8]) -> io::Result<()> {
    write_bytes(pipe, compiled)
}

/// Takes the compiled component.
pub(super) fn read_compiled(pipe: &mut UnixStream) -> io::Result<Vec<u8>> {
    read_bytes(pipe, COMPILED_MAX)
}
