//! `lichen selftest`: does this machine's own driver compute the right numbers?

use crate::args::SelftestArgs;
use crate::failure::{Done, Failure};
use crate::load;
use crate::output::{print, print_json};
use lichen_host::selftest::{Report, selftest as run};
use serde_json::{Value, json};

pub(crate) fn selftest(args: &SelftestArgs) -> Done {
    let device = load::device(&args.device)?;
    let mut shown: Done = Ok(());
    if !args.json {
        print(&format!("{}\n", device.name()))?;
    }
    let reports = pollster::block_on(run(&device, args.kernel.as_deref(), |report| {
        if !args.json && shown.is_ok() {
            shown = print(&line(report));
        }
    }));
    shown?;
    if reports.is_empty() {
        let wanted = args.kernel.as_deref().unwrap_or_default();
        return Err(Failure::Usage(format!("no kernel's name contains \"{wanted}\"; leave --kernel out to test all")));
    }
    let failed: Vec<&str> = reports.iter().filter(|r| !r.ok).map(|r| r.kernel).collect();
    let cases: usize = reports.iter().map(|r| r.cases).sum();
    if args.json {
        let kernels: Vec<Value> = reports.iter().map(as_json).collect();
        print_json(&json!({ "device": device.name(), "ok": failed.is_empty(), "kernels": kernels }))?;
    } else if failed.is_empty() {
        print(&format!("all {cases} cases agree with the reference\n"))?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    let (n, name) = (failed.len(), device.name());
    Err(Failure::Failed(format!(
        "{n} of {} tests failed on {name} ({}); use another --device",
        reports.len(),
        failed.join(", ")
    )))
}

fn line(r: &Report) -> String {
    let result = match &r.failure {
        None => "ok".to_string(),
        Some(failure) => format!("FAILED: {failure}"),
    };
    format!("{:<16} {:<12} {:>3} cases  worst error {:.1e}  {result}\n", r.kernel, r.variant, r.cases, r.worst_error)
}

fn as_json(r: &Report) -> Value {
    json!({
        "kernel": r.kernel, "variant": r.variant, "cases": r.cases, "worst_error": r.worst_error, "ok": r.ok,
        "failure": r.failure,
    })
}
