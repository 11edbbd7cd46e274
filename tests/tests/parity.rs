//! Every kernel in every variant on every adapter of this machine, and on the CPU device, against the
//! double-precision reference: one trial each, all cases inside.
//!
//! Without an adapter the GPU trials are absent, which is said; `REQUIRE_GPU=1` makes that a failure.

use libtest_mimic::{Arguments, Failed, Trial};
use lichen_host::selftest::run_case;
use lichen_host::{Cpu, Device};
use lichen_shaders::ALL;
use lichen_shaders::kernel::Kernel;
use std::sync::Arc;

fn main() {
    let mut arguments = Arguments::from_args();
    // Software adapters use every core for one dispatch.
    arguments.test_threads.get_or_insert(1);
    let (gpus, mut problems) = lichen_tests::gpus();
    let mut trials = Vec::new();
    for (place, device) in &gpus {
        for kernel in ALL {
            for (i, variant) in kernel.variants.iter().enumerate() {
                trials.push(trial(format!("{}::{} [{place}]", kernel.name, variant.name), kernel, device, Some(i)));
            }
        }
    }
    let cpus = [("CPU", Cpu::new(2)), ("CPU/one thread", Cpu::new(1)), ("CPU/plain", Cpu::plain())];
    for (place, cpu) in cpus {
        let device = Arc::new(Device::Cpu(cpu));
        trials.extend(ALL.iter().map(|kernel| trial(format!("{} [{place}]", kernel.name), kernel, &device, None)));
    }
    if gpus.is_empty() {
        println!("skipped: no adapter, so nothing ran on a GPU");
        if std::env::var("REQUIRE_GPU").is_ok_and(|v| v == "1") {
            problems.push("REQUIRE_GPU=1 and there is no adapter".into());
        }
    }
    trials.extend(
        problems
            .into_iter()
            .enumerate()
            .map(|(i, problem)| Trial::test(format!("adapters::{i}"), move || Err(Failed::from(problem)))),
    );
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: String, kernel: &'static Kernel, device: &Arc<Device>, variant: Option<usize>) -> Trial {
    let device = device.clone();
    Trial::test(name, move || {
        let cases = (kernel.cases)(kernel);
        let run = |case| match pollster::block_on(run_case(&device, kernel, case, variant)) {
            Ok(_) => None,
            Err(message) => Some(format!("case {}: {message}", case.name)),
        };
        let failures: Vec<String> = cases.iter().filter_map(run).collect();
        match failures.is_empty() {
            true => Ok(()),
            false => Err(Failed::from(format!("{} of {} cases\n{}", failures.len(), cases.len(), failures.join("\n")))),
        }
    })
}
