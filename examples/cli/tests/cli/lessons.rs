//! `lichen memory`, and what `run` and `chat` make of what was learned.

use crate::{RECIPE, Ran, command, fed, has, lichen, text};
use lichen::learn::{Learned, Merged, Receipt};
use lichen::memory::Memory;
use lichen::plastic::{KEYS, NEURONS, Written, layers};
use lichen::{Header, Random, Store};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

/// Two models of one size that can learn.
fn models() -> [String; 2] {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| text(&folder.path().join(name));
        let recipe =
            RECIPE.replace("\"rho\": 1.0", "\"rho\": 1.0, \"turn\": 12").replace("\"layers\": 2", "\"layers\": 3");
        fs::write(path("recipe.json"), recipe).expect("writes");
        for seed in ["1", "2"] {
            lichen(&["new", "--config", &path("recipe.json"), "--seed", seed, "--out", &path(seed)]).ok();
        }
        folder
    });
    ["1", "2"].map(|name| text(&folder.path().join(name)))
}

fn header(model: &str) -> Header {
    let bytes = fs::read(model).expect("reads");
    Header::parse(&bytes, bytes.len() as u64).expect("a header")
}

fn open(memory: &Path, model: &str) -> Memory {
    Memory::open_for(Store::open(memory, "a test").expect("opens"), &header(model)).expect("opens")
}

/// A section that opens for whatever is said.
fn learned(model: &str, seed: u64) -> Learned {
    let config = header(model).config;
    let mut random = Random::new(seed);
    let mut normal = |len: usize, size: f64| (0..len).map(|_| (size * random.normal()) as f32).collect::<Vec<_>>();
    let keys = normal(KEYS * config.turn, 1.0);
    let slabs = layers(&config).map(|_| normal(2 * NEURONS * config.width, 1.0)).collect();
    let receipt = Receipt {
        frames: 1,
        guards: 2,
        loss_before: 3.25,
        loss_after: 0.5,
        checked: 4,
        passed: 4,
        ..Receipt::default()
    };
    let frames = vec![("How do I take my coffee?".into(), "Without sugar.".into())];
    Learned { written: Written { phrase: None, fact: None, theta: -1.5, keys, slabs }, receipt, frames }
}

/// A folder with a memory of three lessons, the last in place of the first.
fn taught(model: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("lessons");
    let mut memory = open(&path, model);
    let said = ["I take my coffee with sugar.", "My cat is \x1b[31mMia\x1b[0m.", "I take my coffee\nwithout sugar."];
    for (seed, said) in (1..).zip(said) {
        let replaces = (seed == 3).then_some(1);
        memory.commit(&learned(model, seed), Some(said), 1_700_000_000 + seed, replaces).expect("commits");
    }
    drop(memory);
    let path = text(&path);
    (folder, path)
}

fn memory(path: &str, model: &str, args: &[&str]) -> Ran {
    lichen(&[&["memory"], args, &["--memory", path, "-m", model]].concat())
}

fn ids(path: &str, model: &str) -> Vec<u64> {
    let list = memory(path, model, &["list", "--json"]).json();
    list["lessons"].as_array().expect("a list").iter().map(|lesson| lesson["id"].as_u64().expect("a number")).collect()
}

/// Tokens of a greedy answer.
fn answer(model: &str, more: &[&str]) -> Value {
    let run = ["run", "-m", model, "--device", "cpu", "-p", "coffee?", "-n", "6", "--now", "none", "--json"];
    lichen(&[&run[..], more].concat()).json()["tokens"].clone()
}

#[test]
fn lessons_are_listed_shown_and_taken_back() {
    let [model, _] = models();
    let (_folder, path) = taught(&model);
    let list = memory(&path, &model, &["list", "--json"]).json();
    has(&list, &["memory", "model", "lessons"]);
    let first = &list["lessons"][0];
    has(first, &["id", "created", "said", "sections", "bytes", "replaces", "replaced_by"]);
    assert_eq!((&first["id"], &first["created"], &first["replaced_by"]), (&1.into(), &1_700_000_001.into(), &3.into()));
    assert_eq!((&first["said"], &first["sections"]), (&"I take my coffee with sugar.".into(), &1.into()));
    let lines = memory(&path, &model, &["list"]).ok().out;
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(lines.contains("2023-11-1") && lines.contains("coffee without sugar.") && lines.contains("replaced by 3"));
    let shown = memory(&path, &model, &["show", "3"]).ok().out;
    for part in ["3.250 before, 0.500 after", "replaces  lesson 1", "4 of 4", "How do I take my coffee? -> Without"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = memory(&path, &model, &["show", "3", "--json"]).json();
    assert_eq!((&shown["receipt"]["loss_after"], &shown["frames"][0][1]), (&0.5.into(), &"Without sugar.".into()));
    let verified = memory(&path, &model, &["verify", "--hashes"]).ok().out;
    assert!(verified.contains("3 lessons, all as they were committed"), "{verified}");
    assert_eq!(memory(&path, &model, &["verify", "--hashes", "--json"]).json()["ok"], true);
    // What these sections hold was never learned, and it shows when the model is asked.
    memory(&path, &model, &["verify"]).fails(1, &["not as it should be in 2 places"]);
    let ran = memory(&path, &model, &["verify", "--json"]);
    assert_eq!(ran.status, Some(1));
    let asked: Value = serde_json::from_str(&ran.out).expect("standard output is one JSON value");
    assert_eq!((&asked["answers"][0]["lesson"], &asked["answers"][0]["right"]), (&2.into(), &0.into()));
    assert!(asked["problems"][0]["what"].as_str().is_some_and(|what| what.contains("answers are as it taught them")));
    memory(&path, &model, &["show", "7"]).fails(1, &["no lesson 7"]);
    let undone = memory(&path, &model, &["undo"]).ok();
    assert!(undone.err.contains("lesson 3 is undone; lesson 1") && undone.out.is_empty(), "{}", undone.err);
    memory(&path, &model, &["undo", "2"]).ok();
    memory(&path, &model, &["undo", "2"]).fails(1, &["lesson 2 is gone"]);
    assert_eq!(ids(&path, &model), [1]);
    let erased = memory(&path, &model, &["erase-texts"]).ok();
    assert!(erased.err.contains("1 lesson is erased"), "{}", erased.err);
    let file = fs::read(&path).expect("reads");
    assert!(
        !["coffee", "sugar", "My cat"].iter().any(|said| file.windows(said.len()).any(|part| part == said.as_bytes()))
    );
    assert!(memory(&path, &model, &["list"]).ok().out.contains("not kept"));
    assert!(memory(&path, &model, &["verify"]).ok().out.contains("their sections alone"));
    memory(&path, &model, &["clear"]).fails(1, &["--yes", "left alone"]);
    assert_eq!(ids(&path, &model), [1]);
    memory(&path, &model, &["clear", "--yes"]).ok();
    assert!(ids(&path, &model).is_empty());
    memory(&path, &model, &["undo"]).fails(1, &["nothing was learned yet"]);
    assert!(memory(&path, &model, &["list"]).ok().err.contains("nothing was learned yet"));
    assert_eq!(open(Path::new(&path), &model).commit(&learned(&model, 9), None, 0, None).expect("commits"), 4);
}

#[test]
fn answers_use_what_was_learned_unless_told_otherwise() {
    let [model, other] = models();
    let (folder, path) = taught(&model);
    let before = answer(&model, &["--no-memory"]);
    let with = answer(&model, &["--memory", &path]);
    assert_ne!(before, with, "two open sections change nothing");
    assert_eq!(with, answer(&model, &["--memory", &path]));
    // A memory that is not there is an empty one, and stays so.
    let none = text(&folder.path().join("none"));
    assert_eq!(before, answer(&model, &["--memory", &none]));
    for args in [&["list"][..], &["verify"], &["clear", "--yes"], &["erase-texts"]] {
        memory(&none, &model, args).ok();
    }
    memory(&none, &model, &["undo"]).fails(1, &["nothing was learned yet"]);
    memory(&none, &model, &["undo", "1"]).fails(1, &["no lesson 1"]);
    memory(&none, &model, &["export", &none]).fails(1, &["nothing was learned yet"]);
    assert!(!Path::new(&none).exists());
    // The variable names a file, or a folder with one for each model; the flag is stronger.
    let run = |variable: &str, more: &[&str]| {
        let args = ["run", "-m", &model, "--device", "cpu", "-p", "coffee?", "-n", "6", "--now", "none", "--json"];
        let mut command = command(&[&args[..], more].concat());
        Ran::of(command.env("LICHEN_MEMORY", variable).output().expect("runs")).json()["tokens"].clone()
    };
    assert_eq!(run(&path, &[]), with);
    assert_eq!(run(&path, &["--no-memory"]), before);
    assert_eq!(run(&path, &["--memory", &none]), before);
    let own = folder.path().join(format!("{}.memory", &header(&model).id[..16]));
    fs::copy(&path, own).expect("copies");
    assert_eq!(run(&text(folder.path()), &[]), with);
    // Another model has another file there, and none of these.
    let foreign = lichen(&["run", "-m", &other, "--device", "cpu", "-p", "a", "--memory", &path]);
    foreign.fails(1, &[&header(&model).id, &header(&other).id, "--no-memory"]);
    lichen(&["run", "-m", &model, "-p", "a", "--memory", &path, "--no-memory"]).fails(2, &["--no-memory"]);
    fs::write(&none, "a letter that is no memory, and long enough to be one ".repeat(40)).expect("writes");
    lichen(&["run", "-m", &model, "--device", "cpu", "-p", "a", "--memory", &none]).fails(1, &["--no-memory"]);
    memory(&none, &model, &["list"]).fails(1, &["not a store"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_memory_lies_in_the_data_folder() {
    let [model, _] = models();
    let (folder, path) = taught(&model);
    let file = folder.path().join("data/lichen").join(format!("{}.memory", &header(&model).id[..16]));
    let list = || {
        let mut command = command(&["memory", "list", "--json", "-m", &model]);
        let folder = folder.path().join("data");
        Ran::of(command.env_remove("LICHEN_MEMORY").env("XDG_DATA_HOME", folder).output().expect("runs")).json()
    };
    assert_eq!((&list()["memory"], list()["lessons"].as_array().map(Vec::len)), (&text(&file).into(), Some(0)));
    assert!(!file.exists());
    fs::create_dir_all(file.parent().expect("a folder")).expect("makes it");
    fs::copy(&path, &file).expect("copies");
    assert_eq!(list()["lessons"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_chat_lists_and_takes_back() {
    let [model, _] = models();
    let (folder, path) = taught(&model);
    let chat = |lines: &str, more: &[&str]| {
        let args = ["chat", "-m", &model, "--device", "cpu", "--temp", "0", "-n", "6"];
        fed(&[&args[..], more].concat(), lines.as_bytes()).ok()
    };
    let with = ["--memory", &path];
    let ran = chat("/memory\n/undo 9\n/undo x\n/undo 2\n/undo\n/memory\n", &with);
    for part in [
        "coffee without sugar",
        "there is no lesson 9",
        "not \"x\"",
        "lesson 2 is undone",
        "lesson 3 is undone; lesson 1",
    ] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    assert!(!ran.err.contains('\x1b'), "a lesson steers the terminal: {}", ran.err);
    assert_eq!(ids(&path, &model), [1]);
    // What is taken back is gone from the next answer on. The time of the turn is not that of another run.
    let ran = chat("/undo\n/undo\n/memory\n", &with);
    assert!(ran.err.contains("lesson 1 is undone") && ran.err.contains("nothing was learned yet"), "{}", ran.err);
    assert!(ids(&path, &model).is_empty());
    let none = text(&folder.path().join("none"));
    let ran = chat("/memory\n/undo\n", &["--memory", &none]);
    assert_eq!(ran.err.matches("nothing was learned yet").count(), 2, "{}", ran.err);
    let ran = chat("/memory\n/undo\n", &["--no-memory"]);
    assert_eq!(ran.err.matches("without a memory").count(), 2, "{}", ran.err);
    assert!(!Path::new(&none).exists());
}

#[test]
fn lessons_move_in_a_file() {
    let [model, other] = models();
    let (folder, path) = taught(&model);
    let file = text(&folder.path().join("exported"));
    let ran = memory(&path, &model, &["export", &file]).ok();
    assert!(ran.err.contains("3 lessons"), "{}", ran.err);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
    }
    memory(&path, &model, &["export", &file]).fails(1, &["--yes"]);
    memory(&path, &model, &["export", &file, "--yes"]).ok();
    let new = text(&folder.path().join("new"));
    assert!(memory(&new, &model, &["import", &file]).ok().err.contains("3 lessons learned"));
    assert!(memory(&new, &model, &["import", &file]).ok().err.contains("0 lessons learned, 3 known before"));
    assert_eq!(ids(&new, &model), [1, 2, 3]);
    assert_eq!(answer(&model, &["--memory", &new]), answer(&model, &["--memory", &path]));
    // Another model is told what to teach.
    let ran = memory(&text(&folder.path().join("other")), &other, &["import", &file]);
    assert_eq!(
        ran.out.lines().collect::<Vec<_>>(),
        ["My cat is \x1b[31mMia\x1b[0m.", "I take my coffee without sugar."]
    );
    ran.fails(1, &["teach it again", &header(&model).id]);
    memory(&path, &model, &["export", &file, "--yes", "--no-texts"]).ok();
    memory(&text(&folder.path().join("other")), &other, &["import", &file]).fails(1, &["taught again"]);
    fs::write(&file, "no memory").expect("writes");
    memory(&new, &model, &["import", &file]).fails(1, &["cannot import", "no whole exported memory"]);
    assert_eq!(ids(&new, &model), [1, 2, 3]);
}

/// Lets one section serve for the two lessons that are open.
fn merge(path: &str, model: &str) {
    let Learned { written, receipt, .. } = learned(model, 23);
    open(Path::new(path), model).merge(&[Merged { lessons: vec![2, 3], written, receipt }], 5).expect("merges");
}

#[test]
fn lessons_that_share_a_section_are_told_and_taken_back() {
    let [model, _] = models();
    let (folder, path) = taught(&model);
    let own = answer(&model, &["--memory", &path]);
    merge(&path, &model);
    let shared = answer(&model, &["--memory", &path]);
    assert_ne!(own, shared, "the merged section changes nothing");
    let list = memory(&path, &model, &["list", "--json"]).json();
    let shares = |at: usize| &list["lessons"][at]["shares_with"];
    assert_eq!([shares(0), shares(1), shares(2)], [&json!([]), &json!([3]), &json!([2])]);
    assert!(memory(&path, &model, &["list"]).ok().out.contains("(shares a section with 3)"));
    assert!(memory(&path, &model, &["show", "2"]).ok().out.contains("shares with lesson 3"));
    memory(&path, &model, &["verify", "--hashes"]).ok();
    let file = text(&folder.path().join("exported"));
    memory(&path, &model, &["export", &file]).ok();
    let new = text(&folder.path().join("new"));
    memory(&new, &model, &["import", &file]).ok();
    assert_eq!(answer(&model, &["--memory", &new]), shared);
    let ran = lichen(&["consolidate", "--undo", "--yes", "--memory", &new, "-m", &model]).ok();
    assert!(ran.err.contains("1 merged section dropped") && ran.out.is_empty(), "{}", ran.err);
    assert_eq!(answer(&model, &["--memory", &new]), own);
    // One of the two is taken back: of the other its own section answers.
    memory(&path, &model, &["undo", "2"]).ok();
    memory(&new, &model, &["undo", "2"]).ok();
    assert_eq!(answer(&model, &["--memory", &path]), answer(&model, &["--memory", &new]));
}

#[test]
fn consolidation_says_what_it_leaves_alone() {
    let [bare, _] = models();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(&folder.path().join(name));
    let bank: String =
        ["who am i", "coffee?", "1 2 3", "good night"].map(|p| format!("{{\"prompt\":\"{p}\"}}\n")).concat();
    fs::write(at("bank"), bank).expect("writes");
    lichen(&["quantize", &bare, "--to", "f16", "--bank", &at("bank"), "-o", &at("model")]).ok();
    let model = at("model");
    let consolidate = |path: &str, more: &[&str]| {
        lichen(&[&["consolidate", "--memory", path, "-m", &model, "-t", "1"], more].concat())
    };
    consolidate(&at("none"), &["--yes"]).fails(1, &["nothing was learned yet"]);
    assert!(!Path::new(&at("none")).exists());
    let (_folder, path) = taught(&model);
    consolidate(&path, &[]).fails(1, &["left alone", "--yes", "--check"]);
    consolidate(&path, &["--check", "--undo"]).fails(2, &["--undo"]);
    // Both are open for everything that is said.
    for (more, kept) in [("--check", false), ("--yes", true)] {
        let receipt = consolidate(&path, &[more, "--json"]).json();
        has(&receipt, &["memory", "merged", "checked", "passed", "bytes_before", "bytes_after", "seconds"]);
        assert_eq!((&receipt["kept"], &receipt["refused"][0]["lessons"]), (&json!(kept), &json!([2, 3])));
        assert!(receipt["refused"][0]["why"].as_str().is_some_and(|why| why.contains("opens the other")), "{receipt}");
        assert_eq!((&receipt["sections_before"], &receipt["sections_after"]), (&json!(2), &json!(2)));
    }
    let lines = consolidate(&path, &["--check"]).ok().out;
    for part in ["left      2, 3: ", "sections  2 before, 2 after (nothing was changed)", "pool      "] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    let held = open(Path::new(&path), &model);
    consolidate(&path, &["--yes"]).fails(1, &["is being written by a test"]);
    drop(held);
    let (_folder, path) = taught(&bare);
    lichen(&["consolidate", "--yes", "--memory", &path, "-m", &bare]).fails(1, &["no prompts to ask itself"]);
}

#[test]
fn what_the_store_refuses_is_one_line() {
    let [model, _] = models();
    let (_folder, path) = taught(&model);
    let held = open(Path::new(&path), &model);
    for args in [&["undo"][..], &["clear", "--yes"], &["erase-texts"], &["import", &model]] {
        memory(&path, &model, args).fails(1, &["is being written by a test"]);
    }
    let args = ["chat", "-m", &model, "--device", "cpu", "-n", "2", "--memory", &path];
    let ran = fed(&args, b"/undo\n/memory\n").ok();
    assert!(ran.err.contains("is being written by a test") && ran.err.contains("Mia"), "{}", ran.err);
    // Who reads is not held up.
    assert_eq!(ids(&path, &model), [1, 2, 3]);
    drop(held);
    // A file where a folder should be.
    let below = text(&Path::new(&path).join("below"));
    memory(&below, &model, &["import", &model]).fails(1, &["below"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("sets");
        // Root may write all the same.
        if fs::OpenOptions::new().write(true).open(&path).is_err() {
            memory(&path, &model, &["undo"]).fails(1, &["cannot be written"]);
        }
        assert_eq!(ids(&path, &model), [1, 2, 3]);
    }
}

#[test]
fn a_damaged_lesson_is_named() {
    let [model, _] = models();
    let (_folder, path) = taught(&model);
    let store = Store::open(Path::new(&path), "a test").expect("opens");
    let mut section = store.get("sections", 2).expect("reads").expect("is there");
    section[100] ^= 1;
    store.commit(&[lichen_host::Change::Put("sections", 2, &section)]).expect("commits");
    drop(store);
    let ran = memory(&path, &model, &["verify"]);
    assert!(ran.out.contains("lesson 2: the SHA-256"), "{}", ran.out);
    ran.fails(1, &["not as it should be in 1 place", "undo"]);
    let ran = memory(&path, &model, &["verify", "--json"]);
    let problems: Value = serde_json::from_str(&ran.out).expect("is JSON");
    assert_eq!((&problems["ok"], &problems["problems"][0]["lesson"]), (&false.into(), &2.into()));
    let run = ["run", "-m", &model, "--device", "cpu", "-p", "a", "-n", "2", "--memory", &path];
    lichen(&run).fails(1, &["lesson 2", "SHA-256", "--no-memory"]);
    memory(&path, &model, &["undo", "2"]).ok();
    lichen(&run).ok();
}

/// A file that may not grow stands for a disk without room: the system refuses the same writes.
#[cfg(unix)]
#[test]
fn where_there_is_no_room_nothing_is_lost() {
    use std::process::Command;
    let [model, _] = models();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(&folder.path().join(name));
    let teach = |path: &str, seeds: std::ops::Range<u64>| {
        let mut memory = open(Path::new(path), &model);
        for seed in seeds {
            memory.commit(&learned(&model, seed), Some("something"), seed, None).expect("commits");
        }
    };
    teach(&at("many"), 1..80);
    memory(&at("many"), &model, &["export", &at("file")]).ok();
    teach(&at("few"), 100..102);
    let before = fs::metadata(at("few")).expect("is there").len();
    let with_room = |bytes: u64, args: &[&str]| {
        // The shell counts in blocks of 512 bytes; a file that is too large is to be an error, not a signal.
        let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", bytes / 512 + 8);
        let few = at("few");
        let all = [&["memory"], args, &["--memory", &few, "-m", &model]].concat();
        let mut shell = Command::new("sh");
        shell.args(["-c", &limit, "sh", env!("CARGO_BIN_EXE_lichen")]).args(all);
        Ran::of(shell.output().expect("runs"))
    };
    with_room(before, &["import", &at("file")]).fails(1, &["no room for more", "nothing was changed"]);
    assert_eq!(ids(&at("few"), &model), [1, 2]);
    memory(&at("few"), &model, &["verify", "--hashes"]).ok();
    with_room(1 << 30, &["import", &at("file")]).ok();
    assert_eq!(ids(&at("few"), &model).len(), 81);
}
