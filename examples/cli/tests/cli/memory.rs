//! `--memory-budget`: models larger than the memory that they may take.

use crate::{lichen, model, text};

#[test]
fn a_budget_holds_as_peak_memory_and_changes_no_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let large = text(&folder.path().join("small.safetensors"));
    // 134 MiB of weights.
    lichen(&["new", "--size", "small", "--storage", "f32", "--out", &large]).ok();
    let run =
        ["run", "-m", &large, "--raw", "-p", "Once upon a time", "-n", "8", "--temp", "0", "--device", "cpu", "-v"];
    let whole = lichen(&run).ok();
    let budget = lichen(&[&run[..], &["--memory-budget", "110MiB"]].concat()).ok();
    assert_eq!(budget.out, whole.out);
    assert!(budget.err.contains("sections: places for") && !whole.err.contains("sections: places for"));
    // Where the system tells what a process takes, both say it.
    let peak = |err: &str| {
        let (_, after) = err.split_once("peak memory: ")?;
        after.split(' ').next()?.parse::<u64>().ok()
    };
    let peaks = (peak(&budget.err), peak(&whole.err));
    let told = |(budget, whole): (u64, u64)| budget <= 110 && whole > 134;
    assert!(peaks.0.zip(peaks.1).map_or(cfg!(not(target_os = "linux")), told), "{peaks:?}: {}", budget.err);
}

#[test]
fn impossible_budgets_say_what_is_needed() {
    let model = model();
    let run = |size: &str| lichen(&["run", "-m", &model, "-p", "a", "--device", "cpu", "--memory-budget", size]);
    run("1MiB").fails(1, &["1 MiB is too small", "at least"]);
    run("much").fails(2, &["much", "--memory-budget"]);
    run("1GiB").ok();
}
