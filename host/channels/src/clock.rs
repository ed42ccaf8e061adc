//! The clock by which calls are ended: one thread that ticks while there are calls, and rests when there are none.

use crate::limits::TICK_MS;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;
use wasmtime::{Engine, EngineWeak};

/// Ticks without a new call before the clock rests: far more than any call may take.
const QUIET_TICKS: u32 = 400;
/// How often a resting clock looks whether its engine is still there.
const LOOKS_UP: Duration = Duration::from_secs(10);

/// The clock of one engine.
pub(crate) struct Clock {
    /// Calls that have begun.
    calls: AtomicU64,
    rests: AtomicBool,
    thread: Thread,
}

impl Clock {
    /// Starts it; it is running when this returns. Its thread ends soon after the engine is gone, or with the process.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Arc<Self>> {
        let (hand_over, taken_over) = std::sync::mpsc::sync_channel::<Arc<Self>>(1);
        let (say, said) = std::sync::mpsc::sync_channel(1);
        let engine = engine.weak();
        let spawned = std::thread::Builder::new().name("epoch-clock".into()).spawn(move || {
            // Whoever waits for this knows that the thread is all set up.
            let is_heard = say.try_send(()).is_ok();
            if let (true, Ok(clock)) = (is_heard, taken_over.recv()) {
                clock.tick(&engine);
            }
        })?;
        let clock = Arc::new(Self {
            calls: AtomicU64::new(0),
            rests: AtomicBool::new(false),
            thread: spawned.thread().clone(),
        });
        said.recv().map_err(std::io::Error::other)?;
        hand_over
            .try_send(clock.clone())
            .map_err(|_| std::io::Error::other("no clock"))?;
        Ok(clock)
    }

    /// A call begins: from now on there are ticks.
    pub(crate) fn begin(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.rests.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    fn tick(&self, engine: &EngineWeak) {
        let (mut seen, mut quiet) = (0, 0_u32);
        while let Some(there) = engine.upgrade() {
            there.increment_epoch();
            drop(there);
            std::thread::sleep(Duration::from_millis(TICK_MS));
            let now = self.calls.load(Ordering::SeqCst);
            quiet = if now == seen { quiet.saturating_add(1) } else { 0 };
            seen = now;
            if quiet >= QUIET_TICKS {
                self.rest(seen, engine);
                quiet = 0;
            }
        }
    }

    fn rest(&self, seen: u64, engine: &EngineWeak) {
        self.rests.store(true, Ordering::SeqCst);
        // One that began meanwhile either sees that it rests, or is seen here.
        while self.calls.load(Ordering::SeqCst) == seen && engine.upgrade().is_some() {
            std::thread::park_timeout(LOOKS_UP);
        }
        self.rests.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Config, Instance, Module, Store};

    /// After a rest too, a loop is ended.
    #[test]
    fn it_ticks_again_after_a_rest() {
        let mut config = Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config).unwrap();
        let clock = Clock::start(&engine).unwrap();
        let wat = wat::parse_str(r#"(module (func (export "spin") (loop br 0)))"#).unwrap();
        let module = Module::new(&engine, wat).unwrap();
        for is_rested in [false, true] {
            while is_rested && !clock.rests.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            clock.begin();
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(2);
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let spin = instance.get_typed_func::<(), ()>(&mut store, "spin").unwrap();
            assert!(spin.call(&mut store, ()).is_err());
        }
    }
}
