//! `lichen devices`: what a model can run on here.

use crate::failure::Done;
use crate::output::{print, print_json};
use lichen::{Choice, Device};
use serde_json::{Value, json};

pub(crate) fn devices(as_json: bool) -> Done {
    let cpu = match pollster::block_on(Device::open(&Choice::Cpu, 0)) {
        Ok((device, _)) => device.name(),
        Err(error) => format!("cpu ({error})"),
    };
    let found = adapters();
    let auto = found.iter().find(|a| a.best).map_or("cpu".to_string(), |a| a.index.to_string());
    if as_json {
        let adapters: Vec<&Value> = found.iter().map(|a| &a.json).collect();
        return print_json(&json!({ "auto": auto, "cpu": { "name": cpu }, "adapters": adapters }));
    }
    let mut text = format!("cpu  {cpu}{}\n", if auto == "cpu" { "  <- auto" } else { "" });
    for adapter in &found {
        text.push_str(&format!(
            "{:<4} {}{}\n",
            adapter.index,
            adapter.line,
            if adapter.best { "  <- auto" } else { "" }
        ));
    }
    if found.is_empty() {
        text.push_str("no GPU adapter was found\n");
    }
    print(&text)
}

struct Found {
    index: usize,
    best: bool,
    line: String,
    json: Value,
}

#[cfg(feature = "gpu")]
fn adapters() -> Vec<Found> {
    let reports = pollster::block_on(lichen_host::adapters());
    let best = reports.iter().filter(|r| !r.software).min_by_key(|r| r.kind).map(|r| r.index);
    let found = |r: &lichen_host::AdapterReport| {
        let driver = if r.driver.is_empty() { String::new() } else { format!(", {}", r.driver) };
        let software = if r.software { ", computes on the CPU: taken only when asked for" } else { "" };
        let limit = crate::output::bytes(r.max_binding_bytes);
        Found {
            index: r.index,
            best: best == Some(r.index),
            line: format!("{} ({}, {}{driver}, bindings up to {limit}{software})", r.name, r.backend, r.kind),
            json: json!({
                "index": r.index, "name": r.name, "backend": r.backend, "kind": r.kind.to_string(),
                "driver": r.driver, "software": r.software, "max_binding_bytes": r.max_binding_bytes,
                "max_buffer_bytes": r.max_buffer_bytes, "storage_buffers": r.storage_buffers,
                "f16": r.f16, "subgroups": r.subgroup > 0, "subgroup_min": r.subgroup, "timestamps": r.timestamps,
            }),
        }
    };
    reports.iter().map(found).collect()
}

#[cfg(not(feature = "gpu"))]
fn adapters() -> Vec<Found> {
    Vec::new()
}
