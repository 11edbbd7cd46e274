//! The CPU device: verification, learning, and machines with no GPU.
//!
//! An operation runs its fast form when there is one (`fast`), else the kernel's plain reference in single
//! precision. Both see the same slots; both are tested against the double-precision reference.

mod fast;
mod memory;
mod optimizer;
mod tape;

pub use optimizer::{AdamW, Moments};
pub use tape::{Gradients, Tape};

use crate::buffer::View;
use crate::error::HostError;
use crate::pool::Pool;
use crate::recording::{Op, Recording, buffers};
use lichen_shaders::kernel::{Access, Kind, Slot};
use memory::{Block, CpuMemory};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// This machine's CPU.
pub struct Cpu {
    pool: Pool,
    plain: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    memory: CpuMemory,
    prepared: HashMap<u64, (Weak<u64>, Arc<Vec<Prepared>>)>,
    times: Option<Times>,
}

/// Seconds spent in each kernel, forward and backward.
pub type Times = std::collections::BTreeMap<&'static str, [f64; 2]>;

impl Inner {
    fn sweep(&mut self) {
        self.prepared.retain(|_, (alive, _)| alive.strong_count() > 0);
        self.memory.sweep();
    }
    /// Runs work on behalf of a kernel, timed when somebody asked for it.
    fn timed(&mut self, kernel: &'static str, direction: usize, work: impl FnOnce()) {
        let Some(times) = &mut self.times else { return work() };
        let start = std::time::Instant::now();
        work();
        times.entry(kernel).or_default()[direction] += start.elapsed().as_secs_f64();
    }
}

/// An operation with its memory found.
struct Prepared {
    op: Op,
    forward: fast::Forward,
    blocks: Vec<Arc<Block>>,
}

impl Cpu {
    /// A device with `threads` workers; 0 takes what the machine offers.
    pub fn new(threads: usize) -> Self {
        Self { pool: Pool::new(threads), plain: false, inner: Mutex::default() }
    }
    /// A device that runs only the plain references, on one thread: the yardstick of tests.
    pub fn plain() -> Self {
        Self { pool: Pool::new(1), plain: true, inner: Mutex::default() }
    }
    /// Name for people.
    pub fn name(&self) -> String {
        match self.plain {
            true => "cpu (plain references)".into(),
            false => {
                let threads = self.pool.threads();
                format!("cpu ({threads} thread{}, {})", if threads == 1 { "" } else { "s" }, fast::instructions())
            }
        }
    }
    /// The worker pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Copies a view out at once: what learning uses between passes.
    pub fn values<E: bytemuck::Pod>(&self, view: &View) -> Result<Vec<E>, HostError> {
        crate::device::range(view, view.len.saturating_mul(4))?;
        let mut out = vec![E::zeroed(); view.len * 4 / size_of::<E>().max(1)];
        self.read(view, bytemuck::cast_slice_mut(&mut out))?;
        Ok(out)
    }

    pub(crate) fn write(&self, view: &View, bytes: &[u8]) -> Result<(), HostError> {
        let mut inner = self.lock();
        let block = inner.memory.block(&view.buffer);
        // SAFETY: the lock is held and the range was checked against the buffer's length.
        let to = unsafe { std::slice::from_raw_parts_mut(block.pointer().add(view.offset).cast::<u8>(), bytes.len()) };
        to.copy_from_slice(bytes);
        inner.memory.mark_written(&view.buffer);
        Ok(())
    }

    pub(crate) fn read(&self, view: &View, bytes: &mut [u8]) -> Result<(), HostError> {
        let mut inner = self.lock();
        let block = inner.memory.readable(&view.buffer)?;
        // SAFETY: the lock is held and the range was checked against the buffer's length.
        bytes.copy_from_slice(unsafe {
            std::slice::from_raw_parts(block.pointer().add(view.offset).cast::<u8>(), bytes.len())
        });
        Ok(())
    }

    pub(crate) fn run(&self, recording: &Recording, times: usize) -> Result<(), HostError> {
        let mut inner = self.lock();
        let ops = self.prepared(&mut inner, recording)?;
        let inner = &mut *inner;
        for op in (0..times).flat_map(|_| ops.iter()) {
            // SAFETY: the lock is held, so nobody else touches the blocks.
            let slots = unsafe { op.slots() };
            inner.timed(op.op.kernel.name, 0, || op.forward.run(&self.pool, &op.op.params, slots));
        }
        Ok(())
    }

    /// Starts to time each kernel, or stops; returns what was measured since the last call.
    pub fn time_kernels(&self, on: bool) -> Times {
        std::mem::replace(&mut self.lock().times, on.then(Times::default)).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in an earlier run leaves only numbers half written, which the next run overwrites.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn prepare(&self, recording: &Recording) -> Result<(), HostError> {
        self.prepared(&mut self.lock(), recording).map(drop)
    }

    /// Gives back the memory of recordings and buffers that are gone, which else waits until another recording is
    /// prepared.
    pub fn sweep(&self) {
        self.lock().sweep();
    }

    fn prepared(&self, inner: &mut Inner, recording: &Recording) -> Result<Arc<Vec<Prepared>>, HostError> {
        if let Some((_, ops)) = inner.prepared.get(&recording.id()) {
            return Ok(ops.clone());
        }
        // What is gone gives its memory back before more is taken.
        inner.sweep();
        for buffer in buffers(recording) {
            inner.memory.readable(&buffer)?;
        }
        let find = |op: &Op| Prepared {
            forward: fast::forward(op.kernel, self.plain),
            blocks: op.args.iter().map(|view| inner.memory.block(&view.buffer)).collect(),
            op: op.clone(),
        };
        let ops = Arc::new(recording.ops().iter().map(find).collect::<Vec<_>>());
        inner.prepared.insert(recording.id(), (recording.alive(), ops.clone()));
        Ok(ops)
    }
}

impl Prepared {
    /// The arguments of the operation.
    ///
    /// # Safety
    /// The device's lock must be held while the slots live.
    unsafe fn slots(&self) -> Vec<Slot<'_, f32>> {
        let all = self.op.kernel.bindings.iter().zip(&self.op.args).zip(&self.blocks);
        all.map(|((binding, view), block)| {
            debug_assert!(view.offset + view.len <= block.len());
            // SAFETY: `Recording::push` checked the range, and that no buffer is written through one view and
            // touched through another in the same operation; every bit pattern is a valid f32 and u32.
            unsafe {
                let at = block.pointer().add(view.offset);
                match (binding.kind, binding.access) {
                    (Kind::Real, Access::Read) => Slot::Real(std::slice::from_raw_parts(at.cast(), view.len)),
                    (Kind::Real, _) => Slot::RealMut(std::slice::from_raw_parts_mut(at.cast(), view.len)),
                    (Kind::Index, Access::Read) => Slot::Index(std::slice::from_raw_parts(at, view.len)),
                    (Kind::Index, _) => Slot::IndexMut(std::slice::from_raw_parts_mut(at, view.len)),
                }
            }
        })
        .collect()
    }
}
