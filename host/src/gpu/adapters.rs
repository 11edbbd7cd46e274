//! Adapters: what this machine has, and which of them a choice takes.

use crate::device::Choice;
use crate::error::HostError;
use lichen_shaders::kernel::Traits;
use std::fmt;

/// Class of an adapter, in the order in which they are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// Hardware of a class that the platform does not tell: what browsers report.
    Other,
    /// A GPU lent to a virtual machine.
    Virtual,
    /// A CPU in disguise.
    Software,
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Other => "other",
            Self::Virtual => "virtual",
            Self::Software => "software",
        })
    }
}

/// What an adapter says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterReport {
    /// Its number for [`Choice::Named`].
    pub index: usize,
    /// Name as the driver gives it.
    pub name: String,
    /// `Vulkan`, `Metal`, `Dx12` or `WebGPU`.
    pub backend: String,
    /// Class.
    pub kind: AdapterKind,
    /// Driver and its version; empty in browsers.
    pub driver: String,
    /// Whether it runs on the CPU.
    pub software: bool,
    /// Largest storage binding.
    pub max_binding_bytes: u64,
    /// Largest buffer.
    pub max_buffer_bytes: u64,
    /// Storage buffers that one shader may bind.
    pub storage_buffers: u32,
    /// Has 16-bit floats in shaders.
    pub f16: bool,
    /// Can write timestamps.
    pub timestamps: bool,
    /// Least invocations of a subgroup, where there are subgroups.
    pub subgroup: u32,
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}, {})", self.index, self.name, self.backend, self.kind)
    }
}

/// Names under which software rasterisers appear even where the platform calls them a GPU.
const SOFTWARE: &[&str] = &["llvmpipe", "lavapipe", "swiftshader", "basic render driver", "softpipe"];

impl AdapterReport {
    fn of(index: usize, adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let lower = info.name.to_lowercase();
        let kind = match info.device_type {
            _ if SOFTWARE.iter().any(|name| lower.contains(name)) => AdapterKind::Software,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Other => AdapterKind::Other,
        };
        let backend = match info.backend {
            wgpu::Backend::BrowserWebGpu => "WebGPU".to_string(),
            native => format!("{native:?}"),
        };
        Self {
            index,
            // Browsers keep the name to themselves.
            name: if info.name.is_empty() { "unnamed adapter".into() } else { info.name },
            backend,
            kind,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            software: kind == AdapterKind::Software,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            f16: features.contains(wgpu::Features::SHADER_F16),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            subgroup: if features.contains(wgpu::Features::SUBGROUP) { info.subgroup_min_size } else { 0 },
        }
    }
    /// What kernels may assume of it.
    pub fn traits(&self) -> Traits {
        Traits { software: self.software, subgroup: self.subgroup, browser: self.backend == "WebGPU" }
    }
}

/// Every adapter of this machine, in the platform's order.
pub async fn adapters() -> Vec<AdapterReport> {
    enumerate().await.into_iter().map(|(report, _)| report).collect()
}

async fn enumerate() -> Vec<(AdapterReport, wgpu::Adapter)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let found = instance.enumerate_adapters(wgpu::Backends::all()).await;
    found.into_iter().enumerate().map(|(index, adapter)| (AdapterReport::of(index, &adapter), adapter)).collect()
}

/// The adapters that a choice may take, best first; at least one.
pub(super) async fn candidates(choice: &Choice) -> Result<Vec<(AdapterReport, wgpu::Adapter)>, HostError> {
    let all = enumerate().await;
    let wanted = order(choice, all.iter().map(|(report, _)| report));
    if wanted.is_empty() {
        let found: Vec<String> = all.iter().map(|(report, _)| report.to_string()).collect();
        return Err(HostError::NoAdapter {
            wanted: choice.to_string(),
            found: if found.is_empty() { "none".into() } else { found.join("; ") },
        });
    }
    Ok(wanted.into_iter().filter_map(|i| all.get(i).cloned()).collect())
}

/// Places of the adapters that a choice may take, best first.
fn order<'a>(choice: &Choice, all: impl Iterator<Item = &'a AdapterReport>) -> Vec<usize> {
    let all: Vec<&AdapterReport> = all.collect();
    let mut places: Vec<usize> = match choice {
        Choice::Cpu => Vec::new(),
        Choice::Auto => (0..all.len()).filter(|&i| !all[i].software).collect(),
        Choice::Gpu => (0..all.len()).collect(),
        Choice::Named(text) => {
            // A number is an index first; one that is out of range may still be part of a name.
            if let Some(i) = text.trim().parse().ok().filter(|i| *i < all.len()) {
                return vec![i];
            }
            let text = text.trim().to_lowercase();
            (0..all.len()).filter(|&i| !text.is_empty() && all[i].name.to_lowercase().contains(&text)).collect()
        }
    };
    places.sort_by_key(|&i| all[i].kind);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(index: usize, name: &str, kind: AdapterKind) -> AdapterReport {
        AdapterReport {
            index,
            name: name.into(),
            backend: "Vulkan".into(),
            kind,
            driver: String::new(),
            software: kind == AdapterKind::Software,
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            storage_buffers: 8,
            f16: false,
            timestamps: false,
            subgroup: 0,
        }
    }

    #[test]
    fn choices_take_the_right_adapters() {
        let all = [
            report(0, "llvmpipe (LLVM 15)", AdapterKind::Software),
            report(1, "Intel UHD", AdapterKind::Integrated),
            report(2, "NVIDIA RTX 3090", AdapterKind::Discrete),
        ];
        let order = |choice: Choice| super::order(&choice, all.iter());
        assert_eq!(order(Choice::Auto), [2, 1]);
        assert_eq!(order(Choice::Gpu), [2, 1, 0]);
        assert_eq!(order(Choice::Cpu), [0usize; 0]);
        assert_eq!(order(Choice::Named("1".into())), [1]);
        assert_eq!(order(Choice::Named("3090".into())), [2]);
        assert_eq!(order(Choice::Named("LLVM".into())), [0]);
        assert_eq!(order(Choice::Named("radeon".into())), [0usize; 0]);
        assert_eq!(order(Choice::Named(" ".into())), [0usize; 0]);
        assert_eq!(super::order(&Choice::Auto, all[..1].iter()), [0usize; 0]);
    }
}
