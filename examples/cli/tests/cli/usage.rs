//! Help, wrong usage, devices.

use crate::{lichen, model};

#[test]
fn help_names_every_command_and_flag_with_words() {
    let help = lichen(&["--help"]).ok().out;
    for word in [
        "chat",
        "run",
        "memory",
        "train",
        "eval",
        "bench",
        "inspect",
        "devices",
        "selftest",
        "new",
        "--temp",
        "-m",
        "Exit status",
    ] {
        assert!(help.contains(word), "{word} is missing:\n{help}");
    }
    for name in [
        "chat",
        "run",
        "learn",
        "memory",
        "train",
        "eval",
        "bench",
        "inspect",
        "devices",
        "selftest",
        "serve",
        "new",
        "completions",
    ] {
        let help = lichen(&[name, "--help"]).ok().out;
        let described = |line: &&str| line.trim_start().starts_with("--") && !line.contains("  ");
        assert!(help.contains("Usage: lichen"), "{help}");
        assert!(help.lines().filter(described).count() < 12, "{help}");
    }
    assert!(lichen(&["--version"]).ok().out.starts_with("lichen 0."));
    assert!(lichen(&["completions", "bash"]).ok().out.contains("lichen"));
}

#[test]
fn wrong_usage_is_one_line_and_status_2() {
    lichen(&["--tmep", "0"]).fails(2, &["--tmep", "--temp"]);
    lichen(&["--temp", "1", "run", "-p", "a"]).fails(2, &["--temp", "after the command"]);
    lichen(&["frobnicate"]).fails(2, &["frobnicate"]);
    lichen(&["new", "--size", "huge", "--out", "x"]).fails(2, &["huge", "nano"]);
    lichen(&["new", "--size", "nano"]).fails(2, &["--out"]);
    lichen(&["run", "-p", "a", "-f", "b"]).fails(2, &["cannot be used with"]);
    lichen(&["run", "-m", &model(), "-p", "a", "-n", "-2", "--device", "cpu"]).fails(2, &["-n"]);
    lichen(&["run", "-m", &model(), "-p", "a", "-t", "0"]).fails(2, &["0"]);
    lichen(&["eval", "--suite", "everything", "--data", "x"]).fails(2, &["everything", "lm"]);
    lichen(&["selftest", "--device", "cpu", "--kernel", "no such kernel"]).fails(2, &["no such kernel"]);
    for (flag, value) in
        [("--temp", "-1"), ("--temp", "nan"), ("--top-p", "0"), ("--repeat-penalty", "0"), ("--top-k", "x")]
    {
        let flag = format!("{flag}={value}");
        lichen(&["run", "-m", &model(), "-p", "a", "--device", "cpu", &flag]).fails(2, &[]);
    }
}

#[test]
fn devices_are_listed_and_unknown_ones_refused() {
    let json = lichen(&["devices", "--json"]).json();
    assert!(json["cpu"]["name"].is_string() && json["adapters"].is_array() && json["auto"].is_string(), "{json}");
    assert!(lichen(&["devices"]).ok().out.starts_with("cpu"));
    assert!(lichen(&["run", "--list-devices"]).ok().out.starts_with("cpu"));
    lichen(&["run", "-m", &model(), "-p", "a", "--device", "no such device"])
        .fails(1, &["no such device", "lichen devices"]);
}

#[test]
fn selftest_has_the_keys_that_scripts_rely_on() {
    let json = lichen(&["selftest", "--device", "cpu", "--kernel", "add", "--json"]).json();
    let kernels = json["kernels"].as_array().expect("a list");
    assert!(json["device"].is_string() && !kernels.is_empty(), "{json}");
    for kernel in kernels {
        assert!(kernel["kernel"].is_string() && kernel["cases"].as_u64() > Some(0), "{kernel}");
        assert!(kernel["worst_error"].is_number() && kernel["ok"] == true, "{kernel}");
    }
}
