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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{self, Bounds};
    use crate::limits::Limits;
    use crate::ring::{KeyAsk, Keyring, Naming, Refused};
    use std::time::{Duration, Instant};
    use wasmtime::Engine;
    use wasmtime::component::Component;

    struct NoKeys;

    impl Keyring for NoKeys {
        fn apply(&mut self, _: KeyAsk) -> Result<Vec<u8>, Refused> {
            Err(Refused::Unsuitable("there are none".into()))
        }
        fn has_verified(&self) -> bool {
            false
        }
    }

    /// Asks for a clock's signal in ten minutes, and waits for it.
    const SLEEPER: &str = r#"(component
        (import "wasi:io/poll@0.2.6" (instance $poll
            (export "pollable" (type $own (sub resource)))
            (export "[method]pollable.block" (func (param "self" (borrow $own))))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
            (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
        (core func $block (canon lower (func $poll "[method]pollable.block")))
        (core func $subscribe (canon lower (func $clock "subscribe-duration")))
        (core module $sleeper
            (import "" "block" (func $block (param i32)))
            (import "" "subscribe" (func $subscribe (param i64) (result i32)))
            (func (export "sleep") (call $block (call $subscribe (i64.const 600_000_000_000)))))
        (core instance $running (instantiate $sleeper (with "" (instance
            (export "block" (func $block)) (export "subscribe" (func $subscribe))))))
        (func (export "sleep") (canon lift (core func $running "sleep"))))"#;

    fn sleeps() -> wasmtime::Result<()> {
        let engine = Engine::new(&crate::sandbox::compiling())?;
        let component = Component::new(&engine, wat::parse_str(SLEEPER)?)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        link(&mut linker)?;
        let bounds = Bounds {
            limits: Limits::default(),
            now_ms: 1_000,
            entropy: [0; 32],
            naming: Naming::Plain,
        };
        let mut store = guest::store(&engine, bounds, Box::new(NoKeys));
        let instance = linker.instantiate(&mut store, &component)?;
        instance
            .get_typed_func::<(), ()>(&mut store, "sleep")?
            .call(&mut store, ())
    }

    /// In the router a call runs on one of the runtime's own threads, in a worker there is no runtime that could wait.
    #[test]
    fn who_sleeps_is_awake_at_once() {
        let started = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let in_router = runtime.block_on(runtime.spawn(async { sleeps() }));
        in_router.unwrap().unwrap();
        sleeps().unwrap();
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
