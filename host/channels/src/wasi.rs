//! What of WASI would wait, without waiting. Whoever links languages' own libraries links these functions; a guest that calls
//! them has nothing to wait for: what it writes goes nowhere, nothing can be read, and everything is ready at once. Upstream's
//! would enter an async runtime, which is not there in a worker and must not be entered in the router.

use crate::guest::Guest;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sync::io::streams::StreamError;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};

/// What upstream links these interfaces as.
const POLL: &str = "wasi:io/poll@0.2.12";
const STREAMS: &str = "wasi:io/streams@0.2.12";

type Out = Resource<DynOutputStream>;
type In = Resource<DynInputStream>;
type Wrote<T> = wasmtime::Result<(Result<T, StreamError>,)>;

/// Puts them in the place of upstream's.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut poll = linker.instance(POLL)?;
    poll.func_wrap("[method]pollable.block", |_, (_,): (Resource<DynPollable>,)| Ok(()))?;
    poll.func_wrap("[method]pollable.ready", |_, (_,): (Resource<DynPollable>,)| {
        Ok((true,))
    })?;
    poll.func_wrap("poll", |_, (all,): (Vec<Resource<DynPollable>>,)| {
        let ready: Vec<u32> = (0..).zip(&all).map(|(n, _)| n).collect();
        Ok((ready,))
    })?;
    let mut streams = linker.instance(STREAMS)?;
    let out = |name: &str| format!("[method]output-stream.{name}");
    streams.func_wrap(
        &out("blocking-write-and-flush"),
        |_, (_, _): (Out, Vec<u8>)| -> Wrote<()> { Ok((Ok(()),)) },
    )?;
    streams.func_wrap(
        &out("blocking-write-zeroes-and-flush"),
        |_, (_, _): (Out, u64)| -> Wrote<()> { Ok((Ok(()),)) },
    )?;
    streams.func_wrap(&out("blocking-flush"), |_, (_,): (Out,)| -> Wrote<()> { Ok((Ok(()),)) })?;
    streams.func_wrap(&out("blocking-splice"), |_, (_, _, _): (Out, In, u64)| -> Wrote<u64> {
        Ok((Err(StreamError::Closed),))
    })?;
    let input = |name: &str| format!("[method]input-stream.{name}");
    streams.func_wrap(&input("blocking-read"), |_, (_, _): (In, u64)| -> Wrote<Vec<u8>> {
        Ok((Err(StreamError::Closed),))
    })?;
    streams.func_wrap(&input("blocking-skip"), |_, (_, _): (In, u64)| -> Wrote<u64> {
        Ok((Err(StreamError::Closed),))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}
