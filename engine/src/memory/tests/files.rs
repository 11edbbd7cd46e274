//! Export and import.

use super::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn added(imported: Result<Imported, Error>) -> (Vec<u64>, Vec<u64>) {
    match imported.expect("imports") {
        Imported::Lessons { added, known } => (added, known),
        other => panic!("{other:?}"),
    }
}

fn links(memory: &Memory) -> Vec<(u64, Option<u64>)> {
    memory.list().expect("list").iter().map(|lesson| (lesson.id, lesson.replaces)).collect()
}

#[test]
fn a_memory_moves_to_another_device() {
    let model = model();
    let mut here = memory(&model);
    teach(&mut here, 1, None);
    teach(&mut here, 2, None);
    teach(&mut here, 3, Some(1));
    here.undo(2).expect("undoes");
    let file = here.export(true).expect("exports");
    assert_eq!(file, here.export(true).expect("exports"));
    let mut there = memory(&model);
    teach(&mut there, 8, None);
    assert_eq!(added(there.import(&file)), (vec![2, 3], vec![]));
    assert_eq!(links(&there), [(1, None), (2, None), (3, Some(2))]);
    is(&there, &model, &[(1, 8), (3, 3)]);
    let (a, b) = (here.show(3).expect("shown"), there.show(3).expect("shown"));
    assert_eq!((a.created, a.receipt, a.texts), (b.created, b.receipt, b.texts));
    // What is here already is not there twice, and what was undone comes again.
    assert_eq!(added(there.import(&file)), (vec![], vec![2, 3]));
    assert_eq!(added(here.import(&file)), (vec![], vec![1, 3]));
    there.undo(3).expect("undoes");
    assert_eq!(added(there.import(&file)), (vec![4], vec![2]));
    is(&there, &model, &[(1, 8), (4, 3)]);
    // Without texts, by the one side or the other.
    for (texts, keep) in [(false, true), (true, false)] {
        let mut there = memory(&model);
        there.keep_texts = keep;
        added(there.import(&here.export(texts).expect("exports")));
        assert!(there.list().expect("list").iter().all(|lesson| lesson.texts.is_none()));
        is(&there, &model, &[(2, 3)]);
    }
    let empty = memory(&model).export(true).expect("exports");
    assert_eq!(added(there.import(&empty)), (vec![], vec![]));
}

#[test]
fn two_replacements_of_one_lesson_become_a_chain() {
    let model = model();
    let mut here = memory(&model);
    teach(&mut here, 1, None);
    let mut there = memory(&model);
    added(there.import(&here.export(true).expect("exports")));
    teach(&mut here, 2, Some(1));
    teach(&mut here, 3, Some(2));
    teach(&mut there, 4, Some(1));
    teach(&mut there, 5, Some(2));
    assert_eq!(added(here.import(&there.export(true).expect("exports"))), (vec![4, 5], vec![1]));
    assert_eq!(links(&here), [(1, None), (2, Some(1)), (3, Some(2)), (4, Some(3)), (5, Some(4))]);
    is(&here, &model, &[(5, 5)]);
}

#[test]
fn another_model_is_taught_again() {
    let (model, other) = (model(), model_of(10));
    let mut old = memory(&model);
    teach(&mut old, 1, None);
    teach(&mut old, 2, Some(1));
    old.keep_texts = false;
    teach(&mut old, 3, None);
    let mut new = memory(&other);
    teach(&mut new, 7, None);
    let texts = vec![Texts { said: Some("it is 2".into()), frames: learned(2).frames }];
    let want = Imported::Texts { model: model.id().into(), texts, untold: 1 };
    assert_eq!(new.import(&old.export(true).expect("exports")).expect("reads"), want);
    match new.import(&old.export(false).expect("exports")) {
        Err(Error::Lessons(error @ MemoryError::NothingToTeach { .. })) => {
            let says = error.to_string();
            assert!(says.contains(model.id()) && says.contains(other.id()) && says.contains("taught again"), "{says}");
        }
        result => panic!("{result:?}"),
    }
    is(&new, &other, &[(1, 7)]);
}

/// The parts of a file: manifest and sections.
fn parts(file: &[u8]) -> (Value, Vec<u8>) {
    let length = u64::from_le_bytes(file[16..24].try_into().expect("eight bytes")) as usize;
    let manifest = serde_json::from_slice(&file[24..24 + length]).expect("is JSON");
    (manifest, file[24 + length..file.len() - 32].to_vec())
}

/// Makes the hash right, so that what lies behind it is tested.
fn seal(mut body: Vec<u8>) -> Vec<u8> {
    let hash = Sha256::digest(&body);
    body.extend(hash);
    body
}

fn whole(manifest: &Value, sections: &[u8]) -> Vec<u8> {
    let text = manifest.to_string();
    seal([b"lichen-memory-1\n", &(text.len() as u64).to_le_bytes()[..], text.as_bytes(), sections].concat())
}

#[test]
fn damaged_and_hostile_files_are_errors() {
    let model = model();
    let mut memory = memory(&model);
    teach(&mut memory, 1, None);
    teach(&mut memory, 2, Some(1));
    let good = memory.export(true).expect("exports");
    let (manifest, sections) = parts(&good);
    assert_eq!(whole(&manifest, &sections), good);
    let mut fresh = self::memory(&model);
    let mut refuse = |file: &[u8], what: &str| match fresh.import(file) {
        Err(Error::Lessons(MemoryError::File(_) | MemoryError::Version { .. })) => {}
        other => panic!("{what}: {other:?}"),
    };
    for at in (0..good.len()).step_by(401).chain([15, 16, good.len() - 1]) {
        refuse(&good[..at], "a part");
        let mut changed = good.clone();
        changed[at] ^= 0x40;
        refuse(&changed, "a changed byte");
    }
    for length in [0, 1, 1 << 32, u64::MAX / 2, u64::MAX] {
        let mut body = good[..good.len() - 32].to_vec();
        body[16..24].copy_from_slice(&length.to_le_bytes());
        refuse(&seal(body), "a length");
    }
    refuse(&seal(b"lichen-memory-2\n{}".to_vec()), "a version");
    refuse(&whole(&manifest, &[&sections[..], &[0]].concat()), "more sections");
    refuse(&whole(&manifest, &sections[..sections.len() - 4]), "less sections");
    refuse(&whole(&json!({ "model": model.id() }), &[]), "no lessons");
    let changed = |path: &str, value: Value| {
        let mut changed = manifest.clone();
        *changed.pointer_mut(path).expect("is there") = value;
        whole(&changed, &sections)
    };
    for (path, value) in [
        ("/model", json!("x")),
        ("/lessons/0/id", json!(0)),
        ("/lessons/0/id", json!(2)),
        ("/lessons/0/id", json!(3)),
        ("/lessons/1/id", json!(-1)),
        ("/lessons/0/record/replaces", json!(1)),
        ("/lessons/0/record/replaces", json!(2)),
        ("/lessons/1/record/replaces", json!(7)),
        ("/lessons/0/record/bytes", json!(u64::MAX)),
        ("/lessons/0/record/bytes", json!(0)),
        ("/lessons/0/record/sha256", json!("00")),
        ("/lessons/1/record/receipt", json!(null)),
        ("/lessons/1/texts", json!({ "said": 4 })),
    ] {
        refuse(&changed(path, value), path);
    }
    refuse(&whole(&json!({ "model": model.id(), "lessons": [[[[[]]]]] }), &[]), "no record");
    let deep = format!("{{\"model\":{}", "[".repeat(100_000));
    let body = [b"lichen-memory-1\n", &(deep.len() as u64).to_le_bytes()[..], deep.as_bytes()].concat();
    refuse(&seal(body), "deep nesting");
    // A section whose hash is right and which holds what is no number.
    let mut nan = sections.clone();
    nan[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut changed = manifest.clone();
    changed["lessons"][0]["record"]["sha256"] = record::hash(&nan[..nan.len() / 2]).into();
    refuse(&whole(&changed, &nan), "not a number");
    is(&fresh, &model, &[]);
    assert_eq!(added(fresh.import(&good)), (vec![1, 2], vec![]));
}
