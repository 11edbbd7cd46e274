//! `run` and `chat`.

use crate::{Ran, command, fed, file, has, lichen, model, spawn};
use std::io::Read;
use std::process::Stdio;

fn run(more: &[&str]) -> Ran {
    lichen(&[&["run", "-m", &model(), "--device", "cpu", "-t", "1", "-n", "24"], more].concat())
}

#[test]
fn an_answer_is_the_same_twice_and_has_the_keys_that_scripts_rely_on() {
    let json = run(&["-p", "Once upon a time", "--json"]).json();
    let again = run(&["-p", "Once upon a time", "--json"]).json();
    assert_eq!(json, again);
    has(&json, &["text", "action", "tokens", "stop", "route"]);
    let tokens = json["tokens"].as_array().expect("a list").len();
    assert!(json["text"].is_string() && json["action"].is_null() && tokens <= 24, "{json}");
    assert!(json["stop"] == "end" || json["stop"] == "length" && tokens == 24, "{json}");
    let route = json["route"].as_array().expect("a list");
    assert_eq!((route.len(), route[1]["layer"].as_u64()), (2, Some(1)));
    let picks = route[0]["sections"].as_array().expect("a list");
    assert!(picks.len() == 2 && picks[0]["id"].is_u64() && picks[0]["gate"].is_f64(), "{json}");
    let plain = run(&["-p", "Once upon a time"]).ok();
    assert_eq!(plain.out.trim_end_matches('\n'), json["text"].as_str().expect("text").trim_end_matches('\n'));
    assert_eq!(plain.err, "");
}

#[test]
fn seeds_make_draws_repeatable() {
    let draw = |seed| run(&["-p", "Tell me", "--temp", "1", "--seed", seed, "--json"]).json()["tokens"].clone();
    assert_eq!(draw("7"), draw("7"));
    assert_ne!(draw("7"), draw("8"));
}

#[test]
fn no_part_of_a_stop_string_is_printed() {
    let model = crate::trained();
    let run = |more: &[&str]| {
        lichen(&[&["run", "-m", &model, "--device", "cpu", "-n", "24", "-p", "the cat"], more].concat())
    };
    let whole = run(&["--raw", "--json"]).json();
    let text = whole["text"].as_str().expect("text").to_string();
    let stop: String = text.chars().skip(3).take(2).collect();
    let at = text.find(&stop).expect("is in the text");
    let cut = run(&["--raw", "--json", "--stop", "never", "--stop", &stop]).json();
    assert_eq!((cut["text"].as_str(), cut["stop"].as_str()), (Some(&text[..at]), Some("stop")));
}

#[test]
fn prompts_come_from_files_and_standard_input() {
    let (_folder, path) = file("prompt.txt", b"Once upon a time");
    let want = run(&["-p", "Once upon a time"]).ok().out;
    assert_eq!(run(&["-f", &path]).ok().out, want);
    let model = model();
    let args = ["run", "-m", &model, "--device", "cpu", "-t", "1", "-n", "24"];
    assert_eq!(fed(&args, b"Once upon a time").ok().out, want);
    assert_eq!(fed(&[&args[..], &["-f", "-"]].concat(), b"Once upon a time").ok().out, want);
}

#[test]
fn empty_prompts_are_wrong_usage() {
    run(&["-p", ""]).fails(2, &["prompt is empty"]);
    run(&["-p", " \n", "--raw"]).fails(2, &["prompt is empty"]);
    run(&[]).fails(2, &["prompt is empty"]);
    run(&["-f", "/no/such/file"]).fails(1, &["/no/such/file"]);
}

#[test]
fn what_is_not_utf_8_is_replaced_with_a_warning() {
    let (_folder, path) = file("prompt.txt", b"caf\xE9 au lait");
    let ran = run(&["-f", &path]).ok();
    assert!(ran.err.contains("not UTF-8") && ran.err.contains("byte 3"), "{}", ran.err);
}

#[test]
fn a_megabyte_is_read() {
    let (_folder, path) = file("long.txt", "Many words make a long prompt. ".repeat(33_000).as_bytes());
    let ran = run(&["-f", &path, "-n", "2"]).ok();
    assert_eq!(ran.err, "");
}

#[test]
fn zero_tokens_are_no_tokens() {
    let json = run(&["-p", "a", "-n", "0", "--json"]).json();
    assert_eq!((json["text"].as_str(), json["stop"].as_str()), (Some(""), Some("length")));
}

#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child =
        spawn(&["run", "-m", &model(), "--device", "cpu", "-p", "a", "-n", "4000", "--stop", "~~"], Stdio::null());
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().expect("is piped").read_to_string(&mut err).expect("reads");
    assert_eq!((child.wait().expect("ends").code(), err.as_str()), (Some(0), ""));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("opens");
    let model = model();
    let output = command(&["run", "-m", &model, "--device", "cpu", "-p", "a"]).stdout(full).output().expect("runs");
    Ran::of(output).fails(1, &["standard output", "no space"]);
}

#[test]
fn a_chat_answers_lines_and_outlives_mistakes() {
    let model = model();
    let args = ["chat", "-m", &model, "--device", "cpu", "-t", "1", "-n", "8", "--temp", "0"];
    let ran = fed(&args, b"hello\n\n/nonsense\n/save\n/route\nagain\n/quit\nnot answered\n").ok();
    assert!(ran.out.lines().count() >= 2, "{}", ran.out);
    assert!(ran.err.contains("/nonsense") && ran.err.contains("/save needs a file"), "{}", ran.err);
    assert!(ran.err.contains("layer 1"), "{}", ran.err);
    assert!(!ran.err.contains('\x1b') && !ran.err.contains("> "), "{}", ran.err);
}

#[test]
fn a_saved_chat_goes_on_as_if_never_ended() {
    let model = model();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let state = folder.path().join("talk").display().to_string();
    // Short answers of a random model may hold anything but rarely a slash; only the second answers are compared.
    let args = ["-m", &model, "--device", "cpu", "-t", "1", "-n", "8", "--temp", "0"];
    let first = fed(&args, format!("hello\n/save {state}\n").as_bytes()).ok().out;
    let whole = fed(&args, b"hello\nand then?\n").ok().out;
    let rest = fed(&args, format!("/load {state}\nand then?\n").as_bytes()).ok().out;
    assert_eq!(whole, first.clone() + &rest);
    let forgot = fed(&args, format!("/load {state}\n/reset\nhello\n").as_bytes()).ok().out;
    assert_eq!(forgot, first);
    // Of another model, damaged, absent, in the way.
    std::fs::write(&state, b"nonsense").expect("writes");
    let ran = fed(&args, format!("/load {state}\n/load {state}.no\nhello\n/save {state}\n").as_bytes()).ok();
    assert_eq!(ran.out, first);
    assert!(ran.err.lines().count() == 3 && ran.err.contains("was left alone"), "{}", ran.err);
    assert_eq!(std::fs::read(&state).expect("is there"), b"nonsense");
}
