//! The `lichen` command as people and scripts meet it: the built binary, real files, exit statuses.

mod answers;
mod assistant;
mod bench;
mod cache;
mod files;
mod lessons;
mod memory;
mod senses;
mod serve;
mod training;
mod usage;

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// What a command did.
struct Ran {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is UTF-8");
        Self { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "{}", self.err);
        self
    }
    /// It failed with this status and one line that says all of this.
    #[track_caller]
    fn fails(self, status: i32, says: &[&str]) {
        let Self { status: got, out, err } = self;
        assert_eq!(got, Some(status), "{out}{err}");
        assert!(err.starts_with("lichen: ") && err.trim_end().lines().count() == 1, "not one line: {err}");
        assert!(!err.contains("panicked") && says.iter().all(|s| err.contains(s)), "{err} should say {says:?}");
    }
    #[track_caller]
    fn json(self) -> Value {
        let ran = self.ok();
        serde_json::from_str(&ran.out).expect("standard output is one JSON value")
    }
}

/// The object has all of these keys, be their values null.
#[track_caller]
fn has(object: &Value, keys: &[&str]) {
    let missing: Vec<_> = keys.iter().filter(|key| object.get(key).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {object}");
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lichen"));
    command.args(args).env_remove("RUST_LOG").env_remove("NO_COLOR").stdin(Stdio::null());
    // Graphics drivers complain about its absence on our standard error.
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    // Tests leave nothing in the caches of whoever runs them.
    command.env("XDG_CACHE_HOME", caches());
    // Nor do they find or leave anything in their memory.
    command.env("LICHEN_MEMORY", caches());
    command
}

fn caches() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path()
}

fn lichen(args: &[&str]) -> Ran {
    Ran::of(command(args).output().expect("runs"))
}

fn fed(args: &[&str], input: &[u8]) -> Ran {
    let mut child = spawn(args, Stdio::piped());
    child.stdin.take().expect("is piped").write_all(input).expect("is read");
    Ran::of(child.wait_with_output().expect("ends"))
}

fn spawn(args: &[&str], stdin: Stdio) -> Child {
    command(args).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs")
}

/// A recipe of a model that is made and trained in a moment.
const RECIPE: &str = r#"{
  "about": "a tiny model for tests",
  "model": {"mixer": "slope-delta", "width": 64, "layers": 2, "heads": 2, "key": 8, "value": 16, "rank": 4,
            "sections": 8, "picks": 2, "neurons": 8, "shared": 8, "route": 4, "rho": 1.0},
  "tokenizer": "bytes", "storage": "f32",
  "train": {"batch": 2, "micro": 2, "context": 32, "steps": 24, "lr": 0.01, "warmup": 4}
}"#;

/// A folder with `tiny.json` (the recipe) and `tiny.safetensors` (random weights), made once.
fn tiny() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("tiny.json"), RECIPE).expect("writes");
        let path = |name: &str| folder.path().join(name).display().to_string();
        lichen(&["new", "--config", &path("tiny.json"), "--seed", "3", "--out", &path("tiny.safetensors")]).ok();
        folder
    });
    folder.path()
}

/// A model that was trained for a moment: it writes plain letters.
fn trained() -> String {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| text(&folder.path().join(name));
        std::fs::write(path("text.txt"), "the cat sat on the mat; ".repeat(80)).expect("writes");
        let recipe = text(&tiny().join("tiny.json"));
        lichen(&["train", "--config", &recipe, "--data", &path("text.txt"), "--out", &path("m")]).ok();
        folder
    });
    text(&folder.path().join("m"))
}

fn model() -> String {
    text(&tiny().join("tiny.safetensors"))
}

fn text(path: &Path) -> String {
    path.to_str().expect("the path is text").to_string()
}

/// A fresh folder and the path of a file in it.
fn file(name: &str, bytes: &[u8]) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, bytes).expect("writes");
    (folder, text(&path))
}
