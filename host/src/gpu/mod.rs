//! A GPU through wgpu: Vulkan, Metal, DX12, or WebGPU in a browser.
//!
//! Calls take `&self` and return at once, except `Device::read`, which waits for the work before it. Errors that
//! the driver reports late surface at the next call. Nothing here needs an optional feature of the adapter; the one
//! that is used where it is there keeps compiled pipelines for later processes.

mod adapters;
mod cache;
mod context;
mod memory;
mod pipelines;
mod prepared;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests;

pub use adapters::{AdapterKind, AdapterReport, adapters};

use crate::buffer::View;
use crate::device::Choice;
use crate::error::HostError;
use crate::recording::Recording;
use cache::PipelineCache;
use context::{Context, Flow};
use futures_intrusive::channel::shared::oneshot_channel;
use lichen_shaders::kernel::Traits;
use memory::GpuMemory;
use pipelines::Pipelines;
use prepared::Prepared;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Writes are staged by the driver until the next submission: one follows each this many bytes.
const STAGED_BYTES: usize = 32 << 20;

/// An open GPU.
pub struct Gpu {
    context: Box<Context>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    memory: GpuMemory,
    pipelines: Pipelines,
    prepared: HashMap<u64, (Weak<u64>, Arc<Prepared>)>,
    flow: Flow,
    staged: usize,
}

impl Gpu {
    /// Opens the best adapter that the choice allows. [`Choice::Auto`] takes no software adapter.
    pub async fn open(choice: &Choice) -> Result<Self, HostError> {
        Self::open_with(choice, |_| None).await
    }

    /// The same with compiled pipelines of an earlier [`Gpu::pipeline_cache`]: `kept` gives the bytes under a key,
    /// which is only known once there is an adapter. It is not asked where the adapter has no use for them; bytes
    /// that are damaged, or of another driver or version, are passed over.
    pub async fn open_with(choice: &Choice, kept: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Self, HostError> {
        Self::open_as(choice, kept, |_| {}).await
    }

    /// The same, believing of an adapter what is left of its report.
    async fn open_as(
        choice: &Choice,
        kept: impl Fn(&str) -> Option<Vec<u8>>,
        less: impl Fn(&mut AdapterReport),
    ) -> Result<Self, HostError> {
        let mut failure = None;
        for (mut report, adapter) in adapters::candidates(choice).await? {
            less(&mut report);
            match Context::open(report, &adapter, &kept).await {
                Ok(context) => return Ok(Self { context: Box::new(context), inner: Mutex::default() }),
                Err(error) => {
                    log::warn!("{error}");
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| HostError::NoAdapter { wanted: choice.to_string(), found: "none".into() }))
    }

    /// Name for people: `NVIDIA H100 (Vulkan)`.
    pub fn name(&self) -> String {
        self.context.name()
    }
    /// What the adapter says of itself.
    pub fn report(&self) -> &AdapterReport {
        &self.context.report
    }
    /// What kernels choose their variants by.
    pub fn traits(&self) -> Traits {
        self.context.report.traits()
    }
    /// Limits that the device was opened with.
    pub fn limits(&self) -> wgpu::Limits {
        self.context.device.limits()
    }
    /// The pipelines compiled so far, for [`Gpu::open_with`] in a later process: a key that names the adapter, and
    /// bytes. `None` where the adapter does not give them out, or was lost.
    pub fn pipeline_cache(&self) -> Option<(String, Vec<u8>)> {
        self.context.cache.as_ref().and_then(PipelineCache::contents)
    }
    /// Loses the device on purpose, as a driver reset would: every later call returns [`HostError::DeviceLost`].
    pub fn lose(&self) {
        self.context.lose();
    }

    pub(crate) fn write(&self, view: &View, bytes: &[u8]) -> Result<(), HostError> {
        let Inner { memory, flow, staged, .. } = &mut *self.lock();
        self.context.check()?;
        let storage = memory.storage(&self.context, flow, &view.buffer)?;
        for (i, piece) in bytes.chunks(STAGED_BYTES).enumerate() {
            self.context.queue.write_buffer(&storage, (view.offset * 4 + i * STAGED_BYTES) as u64, piece);
            *staged += piece.len();
            if *staged >= STAGED_BYTES {
                *staged = 0;
                flow.submit(&self.context, None);
            }
        }
        memory.mark_written(&view.buffer);
        self.context.check()
    }

    pub(crate) async fn read(&self, view: &View, bytes: &mut [u8]) -> Result<(), HostError> {
        if bytes.is_empty() {
            return self.context.check();
        }
        let length = bytes.len() as u64;
        // The lock goes before the wait: other threads may submit meanwhile.
        let (staging, submission) = {
            let Inner { memory, flow, .. } = &mut *self.lock();
            self.context.check()?;
            let storage = memory.readable(&self.context, flow, &view.buffer)?;
            let staging = memory.staging(&self.context, length)?;
            let mut encoder =
                self.context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("read") });
            encoder.copy_buffer_to_buffer(&storage, view.offset as u64 * 4, &staging, 0, length);
            (staging, flow.submit(&self.context, Some(encoder.finish())))
        };
        let (sender, receiver) = oneshot_channel();
        staging.map_async(wgpu::MapMode::Read, ..length, move |result| {
            // The receiver is gone when the reader gave up.
            let _ = sender.send(result);
        });
        self.context.wait(submission);
        let mapped = receiver.receive().await;
        self.context.check()?;
        match mapped {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(self.context.refused(format!("reading {view}: {error}"))),
            None => return Err(self.context.refused(format!("reading {view} was never answered"))),
        }
        let range =
            staging.get_mapped_range(..length).map_err(|e| self.context.refused(format!("reading {view}: {e}")))?;
        bytes.copy_from_slice(&range);
        drop(range);
        staging.unmap();
        self.lock().memory.recycle(staging);
        Ok(())
    }

    pub(crate) fn run(&self, recording: &Recording, times: usize) -> Result<(), HostError> {
        let inner = &mut *self.lock();
        self.context.check()?;
        let prepared = self.prepared(inner, recording)?;
        prepared.submit(&self.context, &mut inner.flow, times);
        self.context.check()
    }

    pub(crate) fn prepare(&self, recording: &Recording) -> Result<(), HostError> {
        let inner = &mut *self.lock();
        self.context.check()?;
        self.prepared(inner, recording).map(drop)
    }

    fn prepared(&self, inner: &mut Inner, recording: &Recording) -> Result<Arc<Prepared>, HostError> {
        if let Some((_, prepared)) = inner.prepared.get(&recording.id()) {
            return Ok(prepared.clone());
        }
        // Bind groups of recordings that are gone hold memory.
        inner.prepared.retain(|_, (alive, _)| alive.strong_count() > 0);
        let Inner { memory, pipelines, flow, .. } = inner;
        let prepared = Arc::new(Prepared::new(&self.context, flow, memory, pipelines, recording)?);
        inner.prepared.insert(recording.id(), (recording.alive(), prepared.clone()));
        Ok(prepared)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
