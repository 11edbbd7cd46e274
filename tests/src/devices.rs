//! The adapters of this machine, opened for tests.

use lichen_host::Device;
use std::sync::Arc;

/// Every adapter, opened, with the name that trials show; and what could not be opened.
#[cfg(feature = "gpu")]
pub fn gpus() -> (Vec<(String, Arc<Device>)>, Vec<String>) {
    let (mut devices, mut problems) = (Vec::new(), Vec::new());
    for report in pollster::block_on(lichen_host::adapters()) {
        let short = report.name.split(" (").next().unwrap_or_default();
        let mut place = format!("{}/{short}", report.backend);
        if devices.iter().any(|(other, _)| *other == place) {
            place = format!("{place} #{}", report.index);
        }
        let choice = lichen_host::Choice::Named(report.index.to_string());
        match pollster::block_on(lichen_host::Gpu::open(&choice)) {
            Ok(gpu) => devices.push((place, Arc::new(Device::Gpu(gpu)))),
            Err(error) => problems.push(format!("{place}: {error}")),
        }
    }
    (devices, problems)
}
#[cfg(not(feature = "gpu"))]
pub fn gpus() -> (Vec<(String, Arc<Device>)>, Vec<String>) {
    (Vec::new(), Vec::new())
}
