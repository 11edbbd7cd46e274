//! Memory of the CPU device: blocks of four-byte elements on 64-byte boundaries, kept by buffer id.

use crate::buffer::{Buffer, Role};
use crate::error::HostError;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u32; 16]);

/// A block that recordings hold by pointer while the device's lock is held.
pub(crate) struct Block {
    lines: std::cell::UnsafeCell<Box<[Line]>>,
    len: usize,
}
// SAFETY: the contents are only touched through `CpuMemory`, behind the device's lock.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn zeros(len: usize) -> Self {
        Self { lines: std::cell::UnsafeCell::new(vec![Line([0; 16]); len.div_ceil(16)].into_boxed_slice()), len }
    }
    pub(crate) fn len(&self) -> usize {
        self.len
    }
    pub(crate) fn pointer(&self) -> *mut u32 {
        // SAFETY: forms no reference to the elements, only their address.
        unsafe { (*self.lines.get()).as_mut_ptr().cast() }
    }
}

struct Entry {
    block: Arc<Block>,
    owner: Weak<dyn Any + Send + Sync>,
    written: bool,
}

/// Blocks by buffer id.
#[derive(Default)]
pub(crate) struct CpuMemory {
    blocks: HashMap<u64, Entry>,
    sweep_at: usize,
}

impl CpuMemory {
    /// The block behind a buffer, made of zeros when it is new.
    pub(crate) fn block(&mut self, buffer: &Buffer) -> Arc<Block> {
        if self.blocks.len() > self.sweep_at {
            self.sweep();
        }
        let make = || Entry {
            block: Arc::new(Block::zeros(buffer.len())),
            owner: buffer.alive(),
            written: buffer.role() != Role::Weight,
        };
        self.blocks.entry(buffer.id()).or_insert_with(make).block.clone()
    }
    /// Lets go of blocks whose buffers are gone.
    pub(crate) fn sweep(&mut self) {
        self.blocks.retain(|_, e| e.owner.strong_count() > 0);
        self.sweep_at = self.blocks.len() * 2 + 64;
    }
    /// The block behind a buffer that a recording will read: a weight must have been written.
    pub(crate) fn readable(&mut self, buffer: &Buffer) -> Result<Arc<Block>, HostError> {
        let block = self.block(buffer);
        match self.blocks.get(&buffer.id()) {
            Some(entry) if entry.written => Ok(block),
            _ => Err(HostError::Unwritten { label: buffer.label().to_string(), device: "cpu".into() }),
        }
    }
    pub(crate) fn mark_written(&mut self, buffer: &Buffer) {
        if let Some(entry) = self.blocks.get_mut(&buffer.id()) {
            entry.written = true;
        }
    }
}
