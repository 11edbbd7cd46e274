//! The memory in a file: whole through `kill -9`, whatever is done to it in whatever order, and beside readers.
//!
//! `LICHEN_KILLS` says how often the writer is killed: 20 times unless it is set; 500 make the long form.

use lichen::learn::{Learned, Merged, Receipt};
use lichen::memory::{Imported, Memory, MemoryError};
use lichen::plastic::{KEYS, NEURONS, Written, layers};
use lichen::{Checkpoint, Config, Device, Error, Mixer, Model, Random, Storage, Store, StoreError, Tokenizer};
use lichen_host::Cpu;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

fn config() -> Config {
    Config {
        mixer: Mixer::Delta,
        vocab: Tokenizer::bytes().vocab(),
        width: 64,
        layers: 3,
        heads: 2,
        key: 8,
        value: 16,
        rank: 4,
        sections: 8,
        picks: 2,
        neurons: 16,
        shared: 16,
        route: 8,
        rho: 1.0,
        turn: 12,
        senses: None,
    }
}

/// A model that was written, and so has an id: the same in every process.
fn model() -> Arc<Model> {
    let mut file = Vec::new();
    Checkpoint::random(&config(), Tokenizer::bytes(), 9).write(Storage::F32, &mut file).expect("writes");
    let device = Arc::new(Device::Cpu(Cpu::new(1)));
    Arc::new(Model::open(Arc::new(file), device, None).expect("the model opens"))
}

/// What a lesson writes: all of it follows from a seed.
fn learned(seed: u64) -> Learned {
    let mut random = Random::new(seed);
    let mut normal = |len: usize| (0..len).map(|_| random.normal() as f32).collect::<Vec<_>>();
    let config = config();
    let keys = normal(KEYS * config.turn);
    let slabs = layers(&config).map(|_| normal(2 * NEURONS * config.width)).collect();
    let receipt = Receipt { frames: seed as usize, ..Receipt::default() };
    Learned {
        written: Written { phrase: None, fact: None, theta: 0.5, keys, slabs },
        receipt,
        frames: vec![(said(seed), "yes".into())],
    }
}

fn merged(lessons: [u64; 2], seed: u64) -> Merged {
    let Learned { written, receipt, .. } = learned(seed);
    Merged { lessons: lessons.to_vec(), written, receipt }
}

fn said(seed: u64) -> String {
    format!("this is {seed}")
}

/// What should be there: seeds and what they replaced, by number.
#[derive(Clone, Debug, Default, PartialEq)]
struct Plain {
    lessons: BTreeMap<u64, (u64, Option<u64>)>,
    /// Lessons that were merged, and the seed of their section.
    merged: Vec<([u64; 2], u64)>,
    last: u64,
    erased_up_to: u64,
}

impl Plain {
    fn commit(&mut self, seed: u64, replaces: Option<u64>) -> u64 {
        self.last += 1;
        self.lessons.insert(self.last, (seed, replaces));
        self.last
    }
    fn undo(&mut self, id: u64) {
        let (_, older) = self.lessons.remove(&id).expect("it is there");
        self.merged.retain(|(lessons, _)| !lessons.contains(&id));
        for (_, replaces) in self.lessons.values_mut().filter(|(_, replaces)| *replaces == Some(id)) {
            *replaces = older;
        }
    }
    fn merge(&mut self, lessons: [u64; 2], seed: u64) {
        self.merged.retain(|(before, _)| !before.iter().any(|id| lessons.contains(id)));
        self.merged.push((lessons, seed));
    }
    fn open(&self) -> Vec<u64> {
        self.lessons.keys().copied().filter(|&id| !self.is_replaced(id)).collect()
    }
    /// The seeds of the sections that serve, in order.
    fn serving(&self) -> Vec<(Vec<u64>, u64)> {
        let open = self.open();
        let merged = self.merged.iter().filter(|(lessons, _)| lessons.iter().all(|id| open.contains(id)));
        let merged: Vec<_> = merged.map(|(lessons, seed)| (lessons.to_vec(), *seed)).collect();
        let alone = open.iter().filter(|id| !merged.iter().any(|(lessons, _)| lessons.contains(id)));
        let alone = alone.map(|&id| (vec![id], self.lessons[&id].0)).collect::<Vec<_>>();
        let mut all = [merged, alone].concat();
        all.sort();
        all
    }
    fn is_replaced(&self, id: u64) -> bool {
        self.lessons.values().any(|&(_, replaces)| replaces == Some(id))
    }

    /// Whether a memory has these lessons, and these sections serve: a merge changes no more.
    #[cfg(unix)]
    fn may_be(&self, memory: &Memory) -> bool {
        let links: Vec<_> = memory.list().expect("lists").iter().map(|lesson| (lesson.id, lesson.replaces)).collect();
        let want: Vec<_> = self.lessons.iter().map(|(&id, &(_, replaces))| (id, replaces)).collect();
        let serving = memory.in_use().expect("reads").into_iter().map(|section| (section.lessons, section.written));
        let serve = self.serving().into_iter().map(|(lessons, seed)| (lessons, learned(seed).written));
        links == want && serving.eq(serve)
    }
    /// Whether a memory is this, to the last bit.
    #[track_caller]
    fn is(&self, memory: &Memory) {
        assert_eq!(memory.verify().expect("reads"), []);
        let got = memory.list().expect("lists");
        let links: Vec<_> = got.iter().map(|lesson| (lesson.id, lesson.replaces)).collect();
        assert_eq!(links, self.lessons.iter().map(|(&id, &(_, replaces))| (id, replaces)).collect::<Vec<_>>());
        for lesson in got {
            let (seed, _) = self.lessons[&lesson.id];
            let want = learned(seed);
            assert_eq!(memory.section(lesson.id).expect("reads"), want.written);
            assert_eq!((lesson.created, &lesson.receipt), (seed, &want.receipt));
            let texts = lesson.texts.map(|texts| (texts.said, texts.frames));
            let kept = lesson.id > self.erased_up_to;
            assert_eq!(texts, kept.then(|| (Some(said(seed)), want.frames)), "lesson {}", lesson.id);
        }
        assert_eq!(memory.open_lessons().expect("reads"), self.open());
        let serving = memory.in_use().expect("reads").into_iter().map(|section| (section.lessons, section.written));
        let want = self.serving().into_iter().map(|(lessons, seed)| (lessons, learned(seed).written));
        assert_eq!(serving.collect::<Vec<_>>(), want.collect::<Vec<_>>());
        assert_eq!(memory.last().expect("reads"), self.lessons.last_key_value().map(|(&id, _)| id));
    }
}

fn open(path: &Path, model: &Model) -> Memory {
    Memory::open(Store::open(path, "a test").expect("the store opens"), model).expect("the memory opens")
}

#[derive(Clone, Debug)]
enum Step {
    /// Commits, in place of one of the open lessons if it says so.
    Commit(Option<prop::sample::Index>),
    Undo(prop::sample::Index),
    /// Merges an open lesson with the next one.
    Merge(prop::sample::Index),
    Split,
    Clear,
    EraseTexts,
    Reopen,
    /// Goes on in a new memory that this one was imported into.
    Move,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::option::of(any::<prop::sample::Index>()).prop_map(Step::Commit),
        4 => any::<prop::sample::Index>().prop_map(Step::Undo),
        3 => any::<prop::sample::Index>().prop_map(Step::Merge),
        1 => Just(Step::Split),
        1 => Just(Step::Clear),
        1 => Just(Step::EraseTexts),
        2 => Just(Step::Reopen),
        1 => Just(Step::Move),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_memory_is_what_was_done_to_it(steps in prop::collection::vec(step(), 1..24)) {
        let model = model();
        let folder = tempfile::tempdir().expect("a folder");
        let mut path = folder.path().join("0");
        let mut memory = open(&path, &model);
        let mut plain = Plain::default();
        for (seed, step) in (1..).zip(&steps) {
            match step {
                Step::Commit(older) => {
                    let open = plain.open();
                    let older = older.filter(|_| !open.is_empty()).map(|older| *older.get(&open));
                    let id = memory.commit(&learned(seed), Some(&said(seed)), seed, older).expect("commits");
                    prop_assert_eq!(id, plain.commit(seed, older));
                }
                Step::Undo(which) => {
                    let Some(&id) = (!plain.lessons.is_empty()).then(|| {
                        let ids: Vec<&u64> = plain.lessons.keys().collect();
                        *which.get(&ids)
                    }) else { continue };
                    let opened = plain.lessons[&id].1.filter(|_| !plain.is_replaced(id));
                    prop_assert_eq!(memory.undo(id).expect("undoes"), opened);
                    plain.undo(id);
                }
                Step::Merge(which) => {
                    let open = plain.open();
                    let pairs: Vec<[u64; 2]> = open.windows(2).map(|pair| [pair[0], pair[1]]).collect();
                    if pairs.is_empty() {
                        continue;
                    }
                    let lessons = *which.get(&pairs);
                    memory.merge(&[merged(lessons, seed)], seed).expect("merges");
                    plain.merge(lessons, seed);
                }
                Step::Split => {
                    prop_assert_eq!(memory.split().expect("splits"), plain.merged.len());
                    plain.merged.clear();
                }
                Step::Clear => {
                    prop_assert_eq!(memory.clear().expect("clears"), plain.lessons.len());
                    plain.lessons.clear();
                    plain.merged.clear();
                }
                Step::EraseTexts => {
                    memory.erase_texts().expect("erases");
                    plain.erased_up_to = plain.last;
                }
                Step::Reopen => {
                    drop(memory);
                    memory = open(&path, &model);
                }
                Step::Move => {
                    let file = memory.export(true).expect("exports");
                    path = folder.path().join(seed.to_string());
                    memory = open(&path, &model);
                    // Numbers are given out anew, in the same order.
                    let ids: BTreeMap<u64, u64> = plain.lessons.keys().copied().zip(1..).collect();
                    let erased = plain.lessons.keys().filter(|&&id| id <= plain.erased_up_to).count() as u64;
                    let lessons = plain.lessons.iter();
                    let lessons = lessons.map(|(id, (seed, older))| (ids[id], (*seed, older.map(|older| ids[&older]))));
                    let merged = plain.merged.iter().map(|(lessons, seed)| (lessons.map(|id| ids[&id]), *seed)).collect();
                    plain = Plain { lessons: lessons.collect(), merged, last: ids.len() as u64, erased_up_to: erased };
                    let added = ids.values().copied().collect();
                    let want = Imported::Lessons { added, known: Vec::new() };
                    prop_assert_eq!(memory.import(&file).expect("imports"), want);
                }
            }
            plain.is(&memory);
        }
    }
}

#[test]
fn readers_see_the_last_commit_and_change_nothing() {
    let model = model();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("some/folder/memory");
    assert!(Store::open_to_read(&path).expect("no store is no error").is_none());
    let mut writer = open(&path, &model);
    let store = Store::open_to_read(&path).expect("opens").expect("is there");
    let mut reader = Memory::open(store, &model).expect("opens");
    let mut plain = Plain::default();
    plain.is(&reader);
    for seed in 1..4 {
        writer.commit(&learned(seed), Some(&said(seed)), seed, None).expect("commits");
        plain.commit(seed, None);
        plain.is(&reader);
    }
    writer.undo(2).expect("undoes");
    plain.undo(2);
    writer.merge(&[merged([1, 3], 8)], 8).expect("merges");
    plain.merge([1, 3], 8);
    plain.is(&reader);
    let read_only = |result: Result<(), Error>| {
        let error = result.expect_err("a reader changed something");
        assert!(matches!(error, Error::Store(StoreError::ReadOnly { .. })), "{error:?}");
    };
    read_only(reader.commit(&learned(4), None, 4, None).map(drop));
    read_only(reader.undo(1).map(drop));
    read_only(reader.merge(&[merged([1, 3], 9)], 4));
    read_only(reader.split().map(drop));
    read_only(reader.clear().map(drop));
    read_only(reader.erase_texts().map(drop));
    read_only(reader.put_cached(1, b"x"));
    let file = writer.export(true).expect("exports");
    // Nothing new in it, and nothing to write.
    assert!(reader.import(&file).is_ok());
    plain.is(&writer);
    match Store::open(&path, "another") {
        Err(StoreError::Held { by, .. }) => assert_eq!(by, "a test"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_model_without_an_id_keeps_nothing_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = Arc::new(Device::Cpu(Cpu::new(1)));
    let model = Model::new(Checkpoint::random(&config(), Tokenizer::bytes(), 9), device).expect("the model opens");
    let store = Store::open(&folder.path().join("memory"), "a test").expect("opens");
    let error = Memory::open(store, &model).expect_err("it has no id");
    assert!(matches!(error, Error::Lessons(MemoryError::Unwritten)), "{error:?}");
}

#[cfg(unix)]
mod kill {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    /// The store that the child writes to; the first seed of its lessons.
    const STORE: &str = "LICHEN_TEST_STORE";
    const SEED: &str = "LICHEN_TEST_SEED";
    /// The test below, which is its own child.
    const NAME: &str = "kill::what_was_committed_is_there_after_a_kill_and_nothing_half";

    /// One line, whole or not at all, whatever the test harness prints around it.
    fn say(line: &str) {
        let mut out = std::io::stdout().lock();
        out.write_all(format!("\n> {line}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
    }

    /// What the test does when it is started by itself, until it is killed.
    fn child(path: &Path) {
        let seed: u64 = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).expect("a seed");
        let model = model();
        say("begin nothing");
        let mut memory = open(path, &model);
        for seed in seed.. {
            let open = memory.open_lessons().expect("reads");
            match seed % 4 {
                1 if open.len() > 1 => {
                    let id = open[seed as usize / 4 % open.len()];
                    say(&format!("begin undo {id}"));
                    memory.undo(id).expect("undoes");
                }
                3 if open.len() > 2 => {
                    let lessons = [open[0], open[open.len() - 1]];
                    say(&format!("begin merge {} {} {seed}", lessons[0], lessons[1]));
                    memory.merge(&[merged(lessons, seed)], seed).expect("merges");
                }
                by => {
                    let older = open.first().copied().filter(|_| by == 2);
                    say(&format!("begin commit {seed} {}", older.unwrap_or(0)));
                    memory.commit(&learned(seed), Some(&said(seed)), seed, older).expect("commits");
                }
            }
            say("done");
            if seed % 8 == 1 {
                memory.scrub().expect("scrubs");
            }
        }
    }

    /// Does to the plain model what the child said it would do.
    fn apply(plain: &mut Plain, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        match words[1] {
            "commit" => _ = plain.commit(number(2), Some(number(3)).filter(|&older| older > 0)),
            "undo" => plain.undo(number(2)),
            "merge" => plain.merge([number(2), number(3)], number(4)),
            _ => {}
        }
    }

    #[test]
    fn what_was_committed_is_there_after_a_kill_and_nothing_half() {
        if let Some(path) = std::env::var_os(STORE) {
            return child(Path::new(&path));
        }
        let kills: u64 = std::env::var("LICHEN_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64);
        println!("seed of the moments: {clock}");
        let mut random = Random::new(clock);
        let model = model();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("memory");
        let mut plain = Plain::default();
        let (mut done, mut cut) = (0, 0);
        for round in 0..kills {
            let mut child = Command::new(std::env::current_exe().expect("this test"))
                .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
                .env(STORE, &path)
                .env(SEED, (round * 1_000_000).to_string())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit())
                .spawn()
                .expect("the child starts");
            let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
            // Now and then while it opens the store, mostly while it commits.
            let wait = 1 + (random.uniform() * if round % 5 == 4 { 8.0 } else { 120.0 }) as u64;
            let mut said = Vec::new();
            let hear = |line: std::io::Result<String>, said: &mut Vec<String>| {
                said.extend(line.expect("is text").strip_prefix("> ").map(str::to_string));
            };
            while said.is_empty() {
                hear(lines.next().expect("the child begins"), &mut said);
            }
            std::thread::sleep(Duration::from_millis(wait));
            child.kill().expect("is killed");
            lines.for_each(|line| hear(line, &mut said));
            let status = child.wait().expect("ends");
            assert_eq!(status.signal(), Some(9), "the child ended by itself: {status}");
            let mut begun: Option<String> = None;
            for line in said {
                match line.as_str() {
                    "done" => {
                        done += 1;
                        apply(&mut plain, &begun.take().expect("what is done was begun"));
                    }
                    _ => begun = Some(line),
                }
            }
            // What was begun is there or not, and everything else is as it was left: for who reads and who writes.
            let mut with = plain.clone();
            begun.iter().for_each(|line| apply(&mut with, line));
            let reader = Store::open_to_read(&path).expect("a reader opens it");
            let reader = reader.map(|store| Memory::open(store, &model).expect("a reader opens it"));
            if let Some(reader) = &reader {
                if with != plain && with.may_be(reader) {
                    cut += 1;
                    plain = with;
                }
                plain.is(reader);
            }
            drop(reader);
            plain.is(&open(&path, &model));
            // The store does not grow without end.
            if round % 10 == 9 {
                open(&path, &model).clear().expect("clears");
                plain.lessons.clear();
                plain.merged.clear();
            }
        }
        println!("{kills} kills, {done} changes whole before one, {cut} on the disk when it came");
        assert!(kills < 20 || done > 0, "nothing was ever committed");
    }
}
