//! The engine that all adapters share: pooled memories, copy-on-write images, an epoch clock. It owns how a component
//! is prepared; one call is `guest.rs`.

use crate::abi::{self, Everything};
use crate::clock::Clock;
use crate::guest::Guest;
use std::sync::Arc;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// What went wrong while preparing the sandbox or a component.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine does not start.
    #[error("starting the sandbox: {0}")]
    Engine(String),
    /// The component is refused.
    #[error("refused component: {0}")]
    Component(String),
    /// No worker can be started now: that says nothing about the component.
    #[error("no worker process starts: {0}")]
    Worker(String),
}

/// One engine for the process.
pub struct Sandbox {
    pub(crate) engine: Engine,
    linker: Linker<Guest>,
    clock: Arc<Clock>,
}

impl Sandbox {
    /// Starts the engine and its clock. `slots`: how many calls may run at once.
    pub fn start(slots: u32) -> Result<Self, SandboxError> {
        let engine_error = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let engine = Engine::new(&config(slots)).map_err(engine_error)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).map_err(engine_error)?;
        crate::wasi::link(&mut linker).map_err(engine_error)?;
        Everything::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest).map_err(engine_error)?;
        let clock = Clock::start(&engine).map_err(|error| SandboxError::Engine(error.to_string()))?;
        Ok(Self { engine, linker, clock })
    }

    /// Links a component and finds what it exports.
    pub(crate) fn prepare(&self, component: &Component) -> Result<Prepared, SandboxError> {
        abi::check_exports(component, &self.engine)?;
        let refused = |error: wasmtime::Error| SandboxError::Component(format!("{error:#}"));
        let pre = self.linker.instantiate_pre(component).map_err(refused)?;
        Ok(Prepared {
            indices: abi::Indices::find(&pre),
            pre,
            clock: self.clock.clone(),
        })
    }
}

/// A component ready to be instantiated in microseconds.
pub(crate) struct Prepared {
    pub pre: InstancePre<Guest>,
    pub indices: abi::Indices,
    /// What ends calls that take too long.
    pub clock: Arc<Clock>,
}

fn config(slots: u32) -> Config {
    let mut config = compiling();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)));
    config
}

fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(64))
        .total_memories(slots.saturating_mul(4))
        .total_tables(slots.saturating_mul(8))
        .max_core_instances_per_component(64)
        .max_memories_per_component(4)
        .max_tables_per_component(8)
        .max_tables_per_module(4)
        .max_core_instance_size(10 * 1024 * 1024)
        .max_memory_size(256 * 1024 * 1024)
        // No call is ever suspended.
        .total_stacks(0)
        .table_keep_resident(8 * 1024);
    if has_no_swap() {
        // A dirty page that was swapped out is not reset by the scan, and the next guest could read it.
        pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(256 * 1024);
    }
    pool
}

/// What shapes the code: the same where it is compiled and where it runs.
pub(crate) fn compiling() -> Config {
    let mut config = Config::new();
    config
        .memory_init_cow(true)
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_component_model(true)
        .wasm_threads(false)
        .max_wasm_stack(512 * 1024)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .wasm_backtrace_max_frames(None);
    config
}

fn has_no_swap() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() <= 1)
}
