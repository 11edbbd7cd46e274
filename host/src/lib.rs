//! Runs a recording somewhere. A [`Recording`] is a checked list of operations over [`Buffer`]s; a [`Device`]
//! owns the memory behind the buffers and runs it: [`Cpu`] with threads and SIMD (and backward, for learning),
//! [`Gpu`] through wgpu.

mod buffer;
pub mod cpu;
mod device;
mod error;
#[cfg(feature = "gpu")]
pub mod gpu;
mod pool;
mod recording;
pub mod selftest;
mod store;

pub use buffer::{Buffer, Role, View};
pub use cpu::{AdamW, Cpu, Gradients, Moments, Tape};
pub use device::{Choice, Device};
pub use error::HostError;
#[cfg(feature = "gpu")]
pub use gpu::{AdapterKind, AdapterReport, Gpu, adapters};
pub use pool::Pool;
pub use recording::{Op, Recording};
pub use store::{Change, Made, Snapshot, Store, StoreError};
