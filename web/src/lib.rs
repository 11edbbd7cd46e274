//! Lichen in a browser tab: what the page's worker calls. Bytes and text in, JSON and text out.

use lichen_host::selftest::{Report, selftest as run};
use lichen_host::{Choice, Cpu, Device, Gpu};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn error(text: &str);
}

/// Runs once when the module is loaded: panics say on the console what happened before the trap.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| error(&info.to_string())));
}

/// Every kernel, every case, against the reference, on this browser's CPU and on its GPU, as JSON:
/// `{devices: [{device, gpu, kernels: [{kernel, variant, cases, worst_error, ok, failure}]}], gpu_refused}`.
/// `gpu_refused` says why there is no GPU among the devices. `filter` keeps the kernels whose name contains it.
#[wasm_bindgen]
pub async fn selftest(filter: Option<String>) -> String {
    let mut devices = vec![Device::Cpu(Cpu::new(1))];
    let mut refused = None;
    match Gpu::open(&Choice::Gpu).await {
        Ok(gpu) => devices.push(Device::Gpu(gpu)),
        Err(why) => refused = Some(why.to_string()),
    }
    let mut all = Vec::new();
    for device in &devices {
        let reports = run(device, filter.as_deref(), |_| {}).await;
        let kernels: Vec<Value> = reports.iter().map(kernel).collect();
        all.push(json!({ "device": device.name(), "gpu": !device.is_cpu(), "kernels": kernels }));
    }
    json!({ "devices": all, "gpu_refused": refused }).to_string()
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
