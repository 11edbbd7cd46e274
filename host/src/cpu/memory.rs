//! Memory of the CPU device: blocks of four-byte elements on 64-byte boundaries, kept by buffer id.

use crate::buffer::{Buffer, Role};
use crate::error::HostError;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u32; 16]);

/// Bytes from which a block gets pages of its own. A token reads a few sections from all over a large block: with
/// small pages it would spend its time on the page table.
#[cfg(target_os = "linux")]
const HUGE: usize = 4 << 20;

/// Zeros that nobody moves.
enum Memory {
    Heap(Box<[Line]>),
    #[cfg(target_os = "linux")]
    Pages(memmap2::MmapMut),
}
impl Memory {
    fn zeros(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        if len >= HUGE / 4
            && let Ok(pages) = memmap2::MmapMut::map_anon(len * 4)
        {
            // Advice only: a kernel that knows no huge pages gives small ones.
            let _ = pages.advise(memmap2::Advice::HugePage);
            return Memory::Pages(pages);
        }
        Memory::Heap(vec![Line([0; 16]); len.div_ceil(16)].into_boxed_slice())
    }
    fn pointer(&mut self) -> *mut u32 {
        match self {
            Memory::Heap(lines) => lines.as_mut_ptr().cast(),
            #[cfg(target_os = "linux")]
            Memory::Pages(pages) => pages.as_mut_ptr().cast(),
        }
    }
}

/// A block that recordings hold by pointer while the device's lock is held.
pub(crate) struct Block {
    /// Owns the elements behind `at`; never touched again.
    _memory: Memory,
    at: *mut u32,
    len: usize,
}
// SAFETY: the contents are only touched through `CpuMemory`, behind the device's lock.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn zeros(len: usize) -> Self {
        let mut memory = Memory::zeros(len);
        Self { at: memory.pointer(), _memory: memory, len }
    }
    pub(crate) fn len(&self) -> usize {
        self.len
    }
    pub(crate) fn pointer(&self) -> *mut u32 {
        self.at
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
            self.blocks.retain(|_, e| e.owner.strong_count() > 0);
            self.sweep_at = self.blocks.len() * 2 + 64;
        }
        let make = || Entry {
            block: Arc::new(Block::zeros(buffer.len())),
            owner: buffer.alive(),
            written: buffer.role() != Role::Weight,
        };
        self.blocks.entry(buffer.id()).or_insert_with(make).block.clone()
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
