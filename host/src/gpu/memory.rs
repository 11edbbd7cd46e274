//! Memory of a GPU: one storage buffer behind each buffer handle, made of zeros when it is first met.

use super::context::{Context, Flow};
use crate::buffer::{Buffer, Role};
use crate::error::HostError;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Weak;

/// Bytes made since the last sweep that bring the next one: GPU memory is too dear to wait for a count.
const SWEEP_BYTES: u64 = 16 << 20;
/// Staging buffers of up to this size are kept for the next read.
const SPARE_BYTES: u64 = 4 << 20;

struct Entry {
    buffer: wgpu::Buffer,
    owner: Weak<dyn Any + Send + Sync>,
    written: bool,
}

/// Storage by buffer id, and staging for reads.
#[derive(Default)]
pub(super) struct GpuMemory {
    entries: HashMap<u64, Entry>,
    sweep_at: usize,
    fresh_bytes: u64,
    spare: Vec<wgpu::Buffer>,
}

impl GpuMemory {
    /// The storage behind a buffer.
    pub(super) fn storage(
        &mut self,
        context: &Context,
        flow: &mut Flow,
        buffer: &Buffer,
    ) -> Result<wgpu::Buffer, HostError> {
        if let Some(entry) = self.entries.get(&buffer.id()) {
            return Ok(entry.buffer.clone());
        }
        let bytes = buffer.len().max(1) as u64 * 4;
        self.fresh_bytes += bytes;
        if self.entries.len() >= self.sweep_at || self.fresh_bytes >= SWEEP_BYTES {
            self.sweep(context, flow);
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let made = context.allocate(buffer.label(), bytes, usage)?;
        let entry = Entry { buffer: made.clone(), owner: buffer.alive(), written: buffer.role() != Role::Weight };
        self.entries.insert(buffer.id(), entry);
        Ok(made)
    }

    /// The storage behind a buffer that will be read: a weight must have been written.
    pub(super) fn readable(
        &mut self,
        context: &Context,
        flow: &mut Flow,
        buffer: &Buffer,
    ) -> Result<wgpu::Buffer, HostError> {
        let written = self.entries.get(&buffer.id()).map_or(buffer.role() != Role::Weight, |entry| entry.written);
        if !written {
            return Err(HostError::Unwritten { label: buffer.label().to_string(), device: context.name() });
        }
        self.storage(context, flow, buffer)
    }

    pub(super) fn mark_written(&mut self, buffer: &Buffer) {
        if let Some(entry) = self.entries.get_mut(&buffer.id()) {
            entry.written = true;
        }
    }

    /// Gives back the storage of buffers whose last handle is gone.
    pub(super) fn sweep(&mut self, context: &Context, flow: &mut Flow) {
        self.fresh_bytes = 0;
        let dead = |entry: &Entry| entry.owner.strong_count() == 0;
        if self.entries.values().any(dead) {
            // Writes that still wait for a submission must not find their buffer destroyed.
            flow.submit(context, None);
            // Destroyed rather than dropped: in a browser dropping waits for a garbage collector that sees a few bytes.
            self.entries.values().filter(|entry| dead(entry)).for_each(|entry| entry.buffer.destroy());
            self.entries.retain(|_, entry| !dead(entry));
        }
        self.sweep_at = self.entries.len() * 2 + 64;
    }

    /// A mappable buffer of at least `bytes`.
    pub(super) fn staging(&mut self, context: &Context, bytes: u64) -> Result<wgpu::Buffer, HostError> {
        if let Some(place) = self.spare.iter().position(|b| b.size() >= bytes && b.size() / 4 <= bytes.max(1024)) {
            return Ok(self.spare.swap_remove(place));
        }
        let size = if bytes <= SPARE_BYTES { bytes.next_power_of_two().max(256) } else { bytes };
        context.allocate("staging", size, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
    }

    /// Takes an unmapped staging buffer back.
    pub(super) fn recycle(&mut self, staging: wgpu::Buffer) {
        if staging.size() <= SPARE_BYTES && self.spare.len() < 4 {
            self.spare.push(staging);
        } else {
            staging.destroy();
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }
}
