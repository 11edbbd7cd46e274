//! `train` and `eval`: to the end, through crashes, into trouble.

use crate::{Ran, file, has, lichen, spawn, text, tiny};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const TEXT: &str = "the cat sat on the mat and the dog sat on the log; ";

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("text.txt"), TEXT.repeat(40)).expect("writes");
        fs::write(folder.path().join("held.txt"), TEXT.repeat(4)).expect("writes");
        Self { folder }
    }
    fn path(&self, name: &str) -> String {
        text(&self.folder.path().join(name))
    }
    /// Arguments that train into `name`.
    fn args(&self, name: &str, more: &[&str]) -> Vec<String> {
        let mut args: Vec<String> =
            ["train", "--config", "", "--data", "", "--out", "", "-t", "1"].map(String::from).into();
        (args[2], args[4], args[6]) = (text(&tiny().join("tiny.json")), self.path("text.txt"), self.path(name));
        args.extend(more.iter().map(|s| s.to_string()));
        args
    }
    fn train(&self, name: &str, more: &[&str]) -> Ran {
        lichen(&self.args(name, more).iter().map(String::as_str).collect::<Vec<_>>())
    }
    /// Updates in the log of a run that may have been cut short.
    fn losses_so_far(&self, name: &str) -> usize {
        fs::read_to_string(self.path(name) + ".log.jsonl").map_or(0, |log| log.matches("\"loss\"").count())
    }
    /// The losses of all updates by the log.
    fn losses(&self, name: &str) -> Vec<(u64, f64)> {
        let log = fs::read_to_string(self.path(name) + ".log.jsonl").expect("the log is there");
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
        lines.filter_map(|l| Some((l["step"].as_u64()?, l["loss"].as_f64()?))).collect()
    }
}

#[test]
fn training_lowers_the_loss_and_leaves_a_model() {
    let place = Place::new();
    let held = place.path("held.txt");
    let json = place.train("m", &["--validation", &held, "--json", "--seed", "5"]).json();
    assert_eq!(json["step"], 24);
    assert!(json["loss"].as_f64() < Some(4.5) && json["nats_per_byte"].as_f64() < Some(4.5), "{json}");
    assert!(json["tokens_s"].as_f64() > Some(0.0) && json["out"].is_string(), "{json}");
    let losses = place.losses("m");
    assert_eq!(losses.len(), 24);
    assert!(losses[23].1 < losses[0].1 - 0.5, "{losses:?}");
    let model = place.path("m");
    assert_eq!(lichen(&["inspect", &model, "--json"]).json()["about"], "a tiny model for tests");
    let eval = lichen(&["eval", "--suite", "lm", "--data", &held, "-m", &model, "--device", "cpu", "--json"]).json();
    has(&eval, &["nats_per_byte", "nats_per_byte_ci95", "n"]);
    let (loss, ci) = (eval["nats_per_byte"].as_f64(), &eval["nats_per_byte_ci95"]);
    assert!(
        (loss.expect("a number") - json["nats_per_byte"].as_f64().expect("a number")).abs() < 1e-3,
        "{eval} {json}"
    );
    assert!(ci[0].as_f64() <= loss && loss <= ci[1].as_f64() && eval["n"].as_u64() > Some(0), "{eval}");
    // Neither the model nor the run is lost to the same command given twice.
    place.train("m", &[]).fails(1, &["--resume", "--yes"]);
    // From these weights on.
    place.train("m2", &["--init", &model]).ok();
    assert!(place.losses("m2")[0].1 < losses[0].1 - 0.5);
    // A finished run that is resumed is finished.
    lichen(&["train", "--resume", "--out", &model]).ok();
    assert_eq!(place.losses("m"), losses);
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_like_one_that_is_not() {
    let place = Place::new();
    // Far more updates than the kills below let pass on any machine.
    let recipe = fs::read_to_string(tiny().join("tiny.json")).expect("the recipe is there");
    let mut recipe: Value = serde_json::from_str(&recipe).expect("the recipe is JSON");
    recipe["train"]["steps"] = 400.into();
    fs::write(place.path("long.json"), recipe.to_string()).expect("writes");
    let args = |name: &str, more: &[&str]| {
        let mut args = place.args(name, more);
        args[2] = place.path("long.json");
        args
    };
    let whole = args("whole", &[]);
    lichen(&whole.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    let args = args("killed", &["--resume", "--save-every", "0"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let saved = || fs::metadata(place.path("killed.train")).and_then(|m| m.modified()).ok();
    for (saves, more) in [(1, 0), (3, 1), (2, 3), (5, 0), (1, 7), (4, 2)] {
        let mut child = spawn(&args, Stdio::null());
        let (mut last, mut seen) = (saved(), 0);
        // Killed after some saves were seen and a moment more: while computing, writing or renaming.
        while seen < saves && child.try_wait().expect("can be asked").is_none() {
            std::thread::sleep(Duration::from_millis(1));
            let now = saved();
            seen += u32::from(now != last);
            last = now;
        }
        std::thread::sleep(Duration::from_millis(more));
        assert!(child.try_wait().expect("can be asked").is_none(), "it ended before it could be killed");
        child.kill().expect("is killed");
        child.wait().expect("ends");
    }
    let before = place.losses_so_far("killed");
    assert!((1..400).contains(&before), "the kills left a run of {before} updates");
    lichen(&args).ok();
    assert_eq!(place.losses("killed"), place.losses("whole"));
    let read = |name: &str| fs::read(place.path(name)).expect("is there");
    assert!(read("killed") == read("whole"), "the models differ");
    let left = fs::read_dir(place.folder.path()).expect("lists").map(|e| e.expect("reads").file_name());
    let left: Vec<_> = left.filter(|name| Path::new(name).extension().is_some_and(|e| e == "tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let place = Place::new();
    place.train("whole", &["--minutes", "0.02"]).ok();
    let child =
        spawn(&place.args("m", &["--minutes", "0.1"]).iter().map(String::as_str).collect::<Vec<_>>(), Stdio::null());
    while !Path::new(&place.path("m.train")).exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("is sent");
    let ran = Ran::of(child.wait_with_output().expect("ends"));
    assert_eq!(ran.status, Some(130), "{}", ran.err);
    assert!(ran.err.contains("lichen train --resume --out"), "{}", ran.err);
    let before = place.losses("m").len();
    let json = lichen(&["train", "--resume", "--out", &place.path("m"), "--json"]).json();
    let losses = place.losses("m");
    assert!(before >= 1 && losses.len() > before, "{before} then {}", losses.len());
    assert_eq!(json["step"].as_u64(), Some(losses.len() as u64));
    assert!(losses.iter().enumerate().all(|(i, (step, _))| *step == i as u64 + 1));
}

#[test]
fn trouble_is_found_before_training() {
    let place = Place::new();
    let folder = text(place.folder.path());
    place.train("no/such/folder/m", &[]).fails(1, &["does not exist"]);
    place.train("", &[]).fails(1, &["not a regular file"]);
    place.train("m", &["--minutes", "0"]).fails(2, &["--minutes"]);
    lichen(&["train", "--out", &place.path("m")]).fails(2, &["--data"]);
    lichen(&["train", "--out", &place.path("m"), "--data", &folder]).fails(2, &["--config"]);
    lichen(&["train", "--resume", "--out", &place.path("m")]).fails(2, &["--data"]);
    let config = text(&tiny().join("tiny.json"));
    lichen(&["train", "--config", &config, "--data", "/no/such", "--out", &place.path("m")]).fails(1, &["/no/such"]);
    let (_folder, short) = file("short.txt", b"too short");
    lichen(&["train", "--config", &config, "--data", &short, "--out", &place.path("m")]).fails(1, &["tokens"]);
    assert!(!Path::new(&place.path("m")).exists());
}

#[test]
fn a_run_goes_on_with_its_own_text_only() {
    let place = Place::new();
    place.train("m", &[]).ok();
    fs::write(place.path("text.txt"), "something else entirely ".repeat(40)).expect("writes");
    lichen(&["train", "--resume", "--out", &place.path("m")]).fails(1, &["not the text"]);
    let state = place.path("m.train");
    let mut bytes = fs::read(&state).expect("reads");
    bytes.truncate(bytes.len() / 2);
    fs::write(&state, bytes).expect("writes");
    lichen(&["train", "--resume", "--out", &place.path("m")]).fails(1, &["m.train"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_fills_up_keeps_what_was_saved() {
    let place = Place::new();
    // No file may grow beyond 16 blocks; the signal is ignored so that writing fails as on a full disk.
    let script = r#"trap "" XFSZ; ulimit -f 16; exec "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_lichen")]).args(place.args("m", &[]));
    let ran = Ran::of(command.output().expect("runs"));
    ran.fails(1, &["m.train", "cannot"]);
    assert!(!Path::new(&place.path("m")).exists() && !Path::new(&place.path("m.train")).exists());
}
