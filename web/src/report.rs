//! What this browser has to compute with, and whether it computes right.

use crate::failure::{thrown, with_code};
use js_sys::Function;
use lichen_host::selftest::{Report, selftest as run};
use lichen_host::{Choice, Cpu, Device, Gpu};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

/// Every kernel, every case, against the reference on `cpu` or `gpu`; `on` hears of each kernel as it comes, as JSON.
/// Gives the device's name.
#[wasm_bindgen]
pub async fn selftest_on(device: String, on: Function) -> Result<String, JsValue> {
    let device = match device.as_str() {
        "cpu" => Device::Cpu(Cpu::new(1)),
        _ => Device::Gpu(Gpu::open(&Choice::Gpu).await.map_err(thrown)?),
    };
    let mut deaf = None;
    run(&device, None, |report| {
        let heard = on.call1(&JsValue::NULL, &kernel(report).to_string().into());
        deaf = heard.err().or(deaf.take());
    })
    .await;
    deaf.map_or(Ok(device.name()), Err)
}

/// The adapter that `choice` (`auto` or `gpu`) takes in this browser, as JSON; an error says why there is none.
#[wasm_bindgen]
pub async fn adapter(choice: &str) -> Result<String, JsValue> {
    match Choice::from(choice) {
        Choice::Cpu => Err(with_code("the CPU was asked for", "device")),
        choice => Ok(of_gpu(&Gpu::open(&choice).await.map_err(thrown)?).to_string()),
    }
}

/// A device for people and programs.
pub(crate) fn of_device(device: &Device) -> Value {
    match device {
        Device::Gpu(gpu) => of_gpu(gpu),
        Device::Cpu(cpu) => json!({ "name": cpu.name(), "gpu": false, "software": true }),
    }
}

fn of_gpu(gpu: &Gpu) -> Value {
    let (report, limits) = (gpu.report(), gpu.limits());
    json!({
        "name": gpu.name(),
        "gpu": true,
        "adapter": report.name,
        "kind": report.kind.to_string(),
        "software": report.software,
        "limits": {
            "max_binding_bytes": limits.max_storage_buffer_binding_size,
            "max_buffer_bytes": limits.max_buffer_size,
            "storage_buffers": limits.max_storage_buffers_per_shader_stage,
            "invocations": limits.max_compute_invocations_per_workgroup,
            "workgroup_bytes": limits.max_compute_workgroup_storage_size,
        },
        "f16": report.f16,
        "timestamps": report.timestamps,
        "subgroup": report.subgroup,
    })
}

fn kernel(report: &Report) -> Value {
    json!({
        "kernel": report.kernel,
        "variant": report.variant,
        "cases": report.cases,
        "worst_error": report.worst_error,
        "ok": report.ok,
        "failure": report.failure,
    })
}
