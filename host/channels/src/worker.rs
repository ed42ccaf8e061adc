//! The second wall: an adapter that the operator has not marked as trusted runs in processes of its own. Such a worker has
//! no files, no network, no keys and no card data, may make few system calls, and is given nothing that is worth stealing: an
//! escape from the sandbox leads into an empty room. What it says is checked like what a guest says.
//!
//! `pool.rs` is the router's side, `process.rs` the worker's, `seccomp.rs` its wall, `pipe.rs` the words between them.

mod pipe;
mod pool;
mod process;
mod seccomp;

pub(crate) use pool::Workers;
pub use process::serve;
