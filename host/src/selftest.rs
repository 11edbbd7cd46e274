//! Every kernel, every case, against the double-precision reference, on whatever device there is: a driver that
//! computes wrong numbers is found before a person is answered with them.

use crate::buffer::{Buffer, Role};
use crate::device::Device;
use crate::recording::Recording;
use lichen_shaders::cases::{Case, Data, check};
use lichen_shaders::kernel::{Call, Kernel};

/// What the cases of one kernel gave on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Kernel.
    pub kernel: &'static str,
    /// Variant that ran; on the CPU device `cpu`.
    pub variant: &'static str,
    /// Cases that ran.
    pub cases: usize,
    /// Worst error of the cases that passed.
    pub worst_error: f64,
    /// Whether all cases passed.
    pub ok: bool,
    /// The first case that failed, and how.
    pub failure: Option<String>,
}

/// Runs one case in fresh buffers and compares every binding with the truth; `Ok` is the worst error.
/// `variant` forces one of the kernel's variants on a GPU; otherwise the kernel chooses.
pub async fn run_case(
    device: &Device,
    kernel: &'static Kernel,
    case: &Case,
    variant: Option<usize>,
) -> Result<f64, String> {
    let mut buffers = Vec::with_capacity(case.before.len());
    for (binding, data) in kernel.bindings.iter().zip(&case.before) {
        let buffer = Buffer::new(format!("{}.{}", kernel.name, binding.name), binding.kind, Role::State, data.len());
        let written = match data {
            Data::Real(x) => device.write(&buffer.view(), x),
            Data::Index(x) => device.write(&buffer.view(), x),
        };
        written.map_err(|e| e.to_string())?;
        buffers.push(buffer);
    }
    let mut recording = Recording::new(format!("{} {}", kernel.name, case.name));
    let views: Vec<_> = buffers.iter().map(Buffer::view).collect();
    recording.push(Call { kernel, params: case.params.clone() }, &views).map_err(|e| e.to_string())?;
    if let Some(variant) = variant {
        recording.force_variant(variant);
    }
    device.run(&recording, 1).map_err(|e| e.to_string())?;
    let mut got = Vec::with_capacity(buffers.len());
    for (view, data) in views.iter().zip(&case.before) {
        got.push(match data {
            Data::Real(_) => Data::Real(device.read::<f32>(view).await.map_err(|e| e.to_string())?),
            Data::Index(_) => Data::Index(device.read::<u32>(view).await.map_err(|e| e.to_string())?),
        });
    }
    check(kernel, kernel.tolerance, &got, &case.truth(kernel))
}

/// Runs the kernels whose name contains `filter`, in all variants on a GPU; `each` hears of every report as it comes.
pub async fn selftest(device: &Device, filter: Option<&str>, mut each: impl FnMut(&Report)) -> Vec<Report> {
    let mut reports = Vec::new();
    for kernel in lichen_shaders::ALL.iter().filter(|k| filter.is_none_or(|text| k.name.contains(text))) {
        let cases = (kernel.cases)(kernel);
        let variants: Vec<(&'static str, Option<usize>)> = match device.is_cpu() {
            true => vec![("cpu", None)],
            false => kernel.variants.iter().enumerate().map(|(i, v)| (v.name, Some(i))).collect(),
        };
        for (name, variant) in variants {
            let mut report =
                Report { kernel: kernel.name, variant: name, cases: 0, worst_error: 0.0, ok: true, failure: None };
            for case in &cases {
                report.cases += 1;
                match run_case(device, kernel, case, variant).await {
                    Ok(error) => report.worst_error = report.worst_error.max(error),
                    Err(message) => {
                        report.ok = false;
                        report.failure.get_or_insert_with(|| format!("case {}: {message}", case.name));
                    }
                }
            }
            each(&report);
            reports.push(report);
        }
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;

    #[test]
    fn the_cpu_passes() {
        let mut heard = 0;
        let reports = pollster::block_on(selftest(&Device::Cpu(Cpu::new(2)), None, |_| heard += 1));
        assert_eq!((reports.len(), heard), (lichen_shaders::ALL.len(), lichen_shaders::ALL.len()));
        let failures: Vec<_> = reports.iter().filter_map(|r| r.failure.as_deref()).collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        assert!(pollster::block_on(selftest(&Device::Cpu(Cpu::plain()), Some("no such kernel"), |_| {})).is_empty());
    }
}
