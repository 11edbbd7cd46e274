//! The open device with its queue, and what went wrong on it. The driver reports errors when it likes, from
//! whatever thread; they are kept here and surface at the next call.

use super::adapters::AdapterReport;
use super::cache::PipelineCache;
use crate::error::HostError;
use crate::recording::{MAX_BINDING_BYTES, MAX_WORKGROUPS};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Submissions that may be under way before the next one waits for the oldest: keeps the memory of queued work
/// and staged writes bounded.
const IN_FLIGHT: usize = 8;

/// Least limits that the kernels are written for.
const WORKGROUP_BYTES: u32 = 16 << 10;
const INVOCATIONS: u32 = 256;
const STORAGE_BUFFERS: u32 = 7;

/// A device and its queue.
pub(super) struct Context {
    pub(super) report: AdapterReport,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// Where the adapter has one.
    pub(super) cache: Option<PipelineCache>,
    faults: Arc<Faults>,
}

impl Context {
    /// Opens an adapter with WebGPU's default limits, and the sizes of bindings and buffers that it offers. Where it
    /// can give its compiled pipelines out, `kept` is asked for those of earlier times by their key.
    pub(super) async fn open(
        report: AdapterReport,
        adapter: &wgpu::Adapter,
        kept: &impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, HostError> {
        let name = format!("{} ({})", report.name, report.backend);
        let offered = adapter.limits();
        // Small GPUs miss defaults that only drawing needs: ask for no more than there is.
        let mut limits = wgpu::Limits::defaults().or_worse_values_from(&offered);
        limits.max_storage_buffer_binding_size = offered.max_storage_buffer_binding_size;
        limits.max_buffer_size = offered.max_buffer_size;
        let needs = [
            ("bytes of a storage binding", limits.max_storage_buffer_binding_size, MAX_BINDING_BYTES),
            ("storage buffers of a shader", limits.max_storage_buffers_per_shader_stage.into(), STORAGE_BUFFERS.into()),
            ("invocations of a workgroup", limits.max_compute_invocations_per_workgroup.into(), INVOCATIONS.into()),
            ("bytes of workgroup memory", limits.max_compute_workgroup_storage_size.into(), WORKGROUP_BYTES.into()),
            ("workgroups in one dimension", limits.max_compute_workgroups_per_dimension.into(), MAX_WORKGROUPS.into()),
        ];
        if let Some((what, has, needed)) = needs.into_iter().find(|(_, has, needed)| has < needed) {
            return Err(HostError::Driver {
                device: name,
                message: format!("{what}: it has {has}, {needed} are needed"),
            });
        }
        let key = PipelineCache::key(adapter);
        let mut features = key.as_ref().map_or(wgpu::Features::empty(), |_| wgpu::Features::PIPELINE_CACHE);
        features.set(wgpu::Features::SUBGROUP, report.subgroup > 0);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("lichen"),
            required_features: features,
            required_limits: limits,
            // Blocks in small steps: the memory may be the machine's only one.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|e| HostError::Driver { device: name, message: e.to_string() })?;
        let faults = Arc::new(Faults::default());
        let heard = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| heard.note(&error)));
        let heard = faults.clone();
        device.set_device_lost_callback(move |reason, message| heard.lose(format!("{message} ({reason:?})")));
        let mut context = Self { report, device, queue, cache: None, faults };
        if let Some(key) = key {
            let kept = kept(&key);
            context.cache = PipelineCache::open(&context, key, kept.as_deref());
        }
        Ok(context)
    }

    pub(super) fn name(&self) -> String {
        format!("{} ({})", self.report.name, self.report.backend)
    }

    /// The first error since the last check; a lost device stays lost.
    pub(super) fn check(&self) -> Result<(), HostError> {
        let mut state = self.faults.lock();
        if let Some(reason) = &state.lost {
            return Err(HostError::DeviceLost { device: self.name(), reason: reason.clone() });
        }
        match state.first.take() {
            None => Ok(()),
            Some(Fault::OutOfMemory) => {
                let (label, bytes) = state.allocating.clone();
                Err(HostError::OutOfMemory { device: self.name(), label, bytes })
            }
            Some(Fault::Driver(message)) => Err(self.refused(message)),
        }
    }

    pub(super) fn refused(&self, message: impl Into<String>) -> HostError {
        HostError::Driver { device: self.name(), message: message.into() }
    }

    /// Makes a buffer. Where errors come late, as in browsers, a failure surfaces at a later check.
    pub(super) fn allocate(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, HostError> {
        if bytes > self.report.max_buffer_bytes {
            return Err(HostError::OutOfMemory { device: self.name(), label: label.to_string(), bytes });
        }
        self.check()?;
        self.faults.lock().allocating = (label.to_string(), bytes);
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        self.check()?;
        Ok(buffer)
    }

    /// Waits until a submission is done, where waiting is possible; browsers call back on their own.
    pub(super) fn wait(&self, submission: wgpu::SubmissionIndex) {
        let poll = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        // The library panics when the driver loses the device while it waits; by then the loss has been noted.
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.device.poll(poll)));
        match waited {
            Ok(Ok(_)) => {}
            // The submission never reached the queue: whatever refused it was noted.
            Ok(Err(error)) => log::debug!("{}: {error}", self.name()),
            Err(_) => self.faults.lose("the driver failed while it was waited for".into()),
        }
    }

    /// Destroys the device, as a driver reset would.
    pub(super) fn lose(&self) {
        self.device.destroy();
        // The callback comes with a poll here and later in browsers, where this note comes first.
        self.faults.lose("it was destroyed".into());
    }
}

/// Submissions under way.
#[derive(Default)]
pub(super) struct Flow {
    under_way: VecDeque<wgpu::SubmissionIndex>,
}

impl Flow {
    /// Submits commands after all writes before them.
    pub(super) fn submit(&mut self, context: &Context, commands: Option<wgpu::CommandBuffer>) -> wgpu::SubmissionIndex {
        let submission = context.queue.submit(commands);
        self.under_way.push_back(submission.clone());
        if self.under_way.len() > IN_FLIGHT
            && let Some(oldest) = self.under_way.pop_front()
        {
            context.wait(oldest);
        }
        submission
    }
}

#[derive(Default)]
struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    lost: Option<String>,
    first: Option<Fault>,
    /// The latest allocation, which an out-of-memory error is about.
    allocating: (String, u64),
}

enum Fault {
    OutOfMemory,
    Driver(String),
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn note(&self, error: &wgpu::Error) {
        let fault = match error {
            wgpu::Error::OutOfMemory { .. } => Fault::OutOfMemory,
            other => Fault::Driver(other.to_string().trim().to_string()),
        };
        // Later errors are mostly consequences of the first.
        self.lock().first.get_or_insert(fault);
    }
    fn lose(&self, reason: String) {
        self.lock().lost.get_or_insert(reason);
    }
}
