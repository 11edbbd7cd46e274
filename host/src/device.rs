//! Where work runs: a device owns the memory behind buffers and runs recordings over it.

use crate::buffer::View;
use crate::cpu::Cpu;
use crate::error::HostError;
#[cfg(feature = "gpu")]
use crate::gpu::Gpu;
use crate::recording::Recording;
use lichen_shaders::kernel::Traits;
use std::fmt;

/// Which device a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The best one: a hardware GPU, else the CPU; never a software adapter.
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU: the hardware one, else a software adapter, which is said.
    Gpu,
    /// The adapter with this index or whose name contains this text.
    Named(String),
}

impl From<&str> for Choice {
    fn from(text: &str) -> Self {
        match text.trim().to_lowercase().as_str() {
            "auto" | "" => Choice::Auto,
            "cpu" => Choice::Cpu,
            "gpu" => Choice::Gpu,
            _ => Choice::Named(text.trim().to_string()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Choice::Auto => "auto",
            Choice::Cpu => "cpu",
            Choice::Gpu => "gpu",
            Choice::Named(text) => text,
        })
    }
}

/// A place to run recordings.
pub enum Device {
    /// This machine's CPU.
    Cpu(Cpu),
    /// A GPU through wgpu.
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
}

impl Device {
    /// Opens the device of a person's choice; `threads` workers for the CPU, 0 for all. The text, when there is
    /// one, says what a person should know about the choice: that and why the CPU was taken instead of a GPU, or
    /// that the GPU is a software adapter.
    pub async fn open(choice: &Choice, threads: usize) -> Result<(Self, Option<String>), HostError> {
        Self::open_with(choice, threads, |_| None).await
    }
    /// The same with compiled pipelines of an earlier [`Device::pipeline_cache`]: `kept` gives the bytes under a
    /// key, or nothing. Bytes that are of no use are passed over.
    pub async fn open_with(
        choice: &Choice,
        threads: usize,
        kept: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<(Self, Option<String>), HostError> {
        let cpu = || Device::Cpu(Cpu::new(threads));
        if *choice == Choice::Cpu {
            return Ok((cpu(), None));
        }
        #[cfg(feature = "gpu")]
        let opened = Gpu::open_with(choice, kept).await.map(|gpu| {
            let note =
                gpu.report().software.then(|| format!("{} is a software adapter: it computes on the CPU", gpu.name()));
            (Device::Gpu(gpu), note)
        });
        #[cfg(not(feature = "gpu"))]
        drop(kept);
        #[cfg(not(feature = "gpu"))]
        let opened =
            Err(HostError::NoAdapter { wanted: choice.to_string(), found: "this build has no GPU support".into() });
        match opened {
            Err(error) if *choice == Choice::Auto => Ok((cpu(), Some(format!("running on the CPU: {error}")))),
            other => other,
        }
    }
    /// The CPU device with `threads` workers; 0 takes what the machine offers.
    pub fn cpu(threads: usize) -> Self {
        Device::Cpu(Cpu::new(threads))
    }
    /// Name for people: `cpu (2 threads, avx512)`, `NVIDIA H100 (Vulkan)`.
    pub fn name(&self) -> String {
        match self {
            Device::Cpu(cpu) => cpu.name(),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.name(),
        }
    }
    /// Whether this is the CPU device.
    pub fn is_cpu(&self) -> bool {
        matches!(self, Device::Cpu(_))
    }
    /// What kernels choose their variants by; `None` on the CPU device, which has forms of its own.
    pub fn traits(&self) -> Option<Traits> {
        match self {
            Device::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => Some(gpu.traits()),
        }
    }
    /// Copies `data` into the view. Allocates the buffer when it is new.
    pub fn write<E: bytemuck::Pod>(&self, view: &View, data: &[E]) -> Result<(), HostError> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        range(view, bytes.len())?;
        match self {
            Device::Cpu(cpu) => cpu.write(view, bytes),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.write(view, bytes),
        }
    }
    /// Copies the view out, after everything that was submitted before.
    pub async fn read<E: bytemuck::Pod>(&self, view: &View) -> Result<Vec<E>, HostError> {
        range(view, view.len.saturating_mul(4))?;
        let mut out = vec![E::zeroed(); view.len * 4 / size_of::<E>().max(1)];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut out);
        match self {
            Device::Cpu(cpu) => cpu.read(view, bytes)?,
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.read(view, bytes).await?,
        }
        Ok(out)
    }
    /// Does now what the first [`Device::run`] of the recording would do first: memory, and on a GPU its pipelines,
    /// which may take seconds. Weights must have been written.
    pub fn prepare(&self, recording: &Recording) -> Result<(), HostError> {
        match self {
            Device::Cpu(cpu) => cpu.prepare(recording),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.prepare(recording),
        }
    }
    /// The pipelines compiled so far, for [`Device::open_with`] in a later process: a key that names the adapter,
    /// and bytes. `None` on the CPU and where the adapter does not give them out.
    pub fn pipeline_cache(&self) -> Option<(String, Vec<u8>)> {
        match self {
            Device::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.pipeline_cache(),
        }
    }
    /// Runs the recording `times` times in order. On a GPU this submits and returns; errors of the run
    /// surface at the next [`Device::read`].
    pub fn run(&self, recording: &Recording, times: usize) -> Result<(), HostError> {
        match self {
            Device::Cpu(cpu) => cpu.run(recording, times),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.run(recording, times),
        }
    }
}

pub(crate) fn range(view: &View, bytes: usize) -> Result<(), HostError> {
    let end = view.offset.saturating_add(bytes / 4).max(view.offset.saturating_add(view.len));
    if end > view.buffer.len() || bytes != view.len.saturating_mul(4) {
        return Err(HostError::Range {
            label: view.buffer.label().to_string(),
            offset: view.offset,
            end,
            len: view.buffer.len(),
        });
    }
    Ok(())
}
