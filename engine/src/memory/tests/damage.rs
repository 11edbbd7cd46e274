//! What was committed and is no longer so is found, and never a panic.

use super::*;

/// Two lessons, the second in place of the first, and a third.
fn taught(model: &Model) -> Memory {
    let mut memory = memory(model);
    teach(&mut memory, 1, None);
    teach(&mut memory, 2, Some(1));
    teach(&mut memory, 3, None);
    memory
}

fn put(memory: &Memory, table: &'static str, key: u64, value: &[u8]) {
    memory.store().commit(&[Change::Put(table, key, value)]).expect("commits");
}

fn section(memory: &Memory, id: u64) -> Vec<u8> {
    memory.store().get(SECTIONS, id).expect("reads").expect("is there")
}

/// The record of a lesson, one of its values changed.
fn with(memory: &Memory, id: u64, key: &str, value: serde_json::Value) -> Vec<u8> {
    let record = memory.store().get(LESSONS, id).expect("reads").expect("is there");
    let mut record: serde_json::Value = serde_json::from_slice(&record).expect("is JSON");
    record[key] = value;
    to_json(&record)
}

/// Verify names the lesson and says this; a pool is made only if what it needs is whole.
#[track_caller]
fn found(memory: &Memory, model: &Model, lesson: u64, says: &str, pool: bool) {
    let problems = memory.verify().expect("reads");
    assert!(problems.iter().any(|p| p.lesson == lesson && p.what.contains(says)), "{says}: {problems:?}");
    match now(memory.pool(model)) {
        Ok(_) => assert!(pool, "{says}: a pool was made"),
        Err(Error::Lessons(MemoryError::Damaged { what, .. })) => assert!(!pool && what.contains("lesson"), "{what}"),
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn damaged_sections_never_reach_a_device() {
    let model = model();
    let memory = taught(&model);
    assert_eq!(memory.verify().expect("reads"), []);
    let good = section(&memory, 3);
    for at in [0, 5, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        put(&memory, SECTIONS, 3, &bad);
        found(&memory, &model, 3, "SHA-256", false);
        assert!(memory.section(3).is_err() && memory.export(true).is_err());
    }
    for length in [0, 1, good.len() - 4] {
        put(&memory, SECTIONS, 3, &good[..length]);
        found(&memory, &model, 3, "bytes", false);
    }
    memory.store().commit(&[Change::Delete(SECTIONS, 3)]).expect("commits");
    found(&memory, &model, 3, "missing", false);
    // A wrong section whose SHA-256 is right: of another length, or with a number that is none.
    let mut nan = good.clone();
    nan[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    for (bad, says) in [(&good[..good.len() - 4], "the model's have"), (&nan, "NaN")] {
        put(&memory, SECTIONS, 3, bad);
        put(&memory, LESSONS, 3, &with(&memory, 3, "sha256", record::hash(bad).into()));
        put(&memory, LESSONS, 3, &with(&memory, 3, "bytes", bad.len().into()));
        found(&memory, &model, 3, says, false);
    }
    // That of a replaced lesson is found too, and does not matter for the pool.
    let memory = taught(&model);
    put(&memory, SECTIONS, 1, &good);
    found(&memory, &model, 1, "SHA-256", true);
    put(&memory, SECTIONS, 8, &good);
    found(&memory, &model, 8, "no record", true);
}

#[test]
fn damaged_records_are_found() {
    let model = model();
    for garbage in [&b""[..], b"{", b"[]", b"null", b"{\"created\":-1}", &[0xff; 40]] {
        let mut memory = taught(&model);
        put(&memory, LESSONS, 2, garbage);
        found(&memory, &model, 2, "record", false);
        assert!(
            memory.list().is_err() && memory.last().is_err() && memory.undo(1).is_err() && memory.section(2).is_err()
        );
        assert!(memory.commit(&learned(7), None, 0, None).is_err());
        // Which can be got rid of.
        assert_eq!(memory.clear().expect("clears"), 3);
        is(&memory, &model, &[]);
        assert_eq!(teach(&mut memory, 4, None), 4);
    }
    for (id, key, value, says) in [
        (2, "replaces", 2.into(), "replaces lesson 2"),
        (2, "replaces", 3.into(), "replaces lesson 3"),
        (3, "replaces", 0.into(), "replaces lesson 0"),
        (3, "replaces", 1.into(), "so does lesson 2"),
        (3, "bytes", 12.into(), "12 were committed"),
        (3, "sha256", "".into(), "SHA-256"),
        (3, "more", "than there is".into(), "record"),
    ] {
        let memory = taught(&model);
        let record = with(&memory, id, key, value);
        put(&memory, LESSONS, id, &record);
        found(&memory, &model, id, says, false);
    }
    let memory = taught(&model);
    let record = with(&memory, 3, "replaces", serde_json::Value::Null);
    put(&memory, LESSONS, 4, &record);
    found(&memory, &model, 4, "number", false);
    put(&memory, LESSONS, 0, &record);
    found(&memory, &model, 0, "number", false);
    // A receipt of a program that wrote another one is none of that.
    let memory = taught(&model);
    let record = with(&memory, 3, "receipt", serde_json::json!({ "frames": 4, "seconds": 1.5 }));
    put(&memory, LESSONS, 3, &record);
    assert_eq!(memory.show(3).expect("shown").receipt, Receipt { frames: 4, ..Receipt::default() });
    assert_eq!(memory.verify().expect("reads"), []);
}

#[test]
fn damaged_texts_are_found_and_matter_to_no_pool() {
    let model = model();
    for garbage in [&b""[..], b"{\"said\":3,\"frames\":[]}", b"{\"frames\":[[\"a\"]]}"] {
        let mut memory = taught(&model);
        put(&memory, TEXTS, 3, garbage);
        found(&memory, &model, 3, "texts", true);
        assert!(memory.list().is_err() && memory.show(3).is_err() && memory.show(1).is_ok());
        assert_eq!(memory.erase_texts().expect("erases"), 3);
        is(&memory, &model, &[(2, 2), (3, 3)]);
    }
    let memory = taught(&model);
    put(&memory, TEXTS, 9, b"{\"frames\":[]}");
    found(&memory, &model, 9, "no record", true);
}

#[test]
fn a_memory_that_does_not_know_itself_does_not_open() {
    let model = model();
    let about = |about: &[u8]| {
        let memory = taught(&model);
        put(&memory, ABOUT, 0, about);
        assert!(memory.list().is_err() && memory.verify().is_err() && now(memory.pool(&model)).is_err());
        Memory::open(memory.into_store(), &model).expect_err("does not open")
    };
    for garbage in [&b""[..], b"{}", b"{\"format\":1}", b"{\"format\":\"1\",\"model\":\"\",\"next\":4}"] {
        let error = about(garbage);
        assert!(matches!(error, Error::Lessons(MemoryError::Damaged { .. })), "{error:?}");
    }
    let zero = format!("{{\"format\":1,\"model\":\"{}\",\"next\":0}}", model.id());
    assert!(matches!(about(zero.as_bytes()), Error::Lessons(MemoryError::Damaged { .. })));
    let newer = about(b"{\"format\":2,\"anything\":[]}");
    assert!(matches!(&newer, Error::Lessons(MemoryError::Version { got, reads: 1, .. }) if got == "2"), "{newer:?}");
    let memory = taught(&model);
    memory.store().commit(&[Change::Clear(ABOUT)]).expect("commits");
    let error = Memory::open(memory.into_store(), &model).expect_err("does not open");
    assert!(matches!(error, Error::Lessons(MemoryError::Damaged { .. })), "{error:?}");
    // The number after the last number is none.
    let memory = super::memory(&model);
    put(&memory, ABOUT, 0, format!("{{\"format\":1,\"model\":\"{}\",\"next\":{}}}", model.id(), u64::MAX).as_bytes());
    let mut memory = Memory::open(memory.into_store(), &model).expect("opens");
    assert!(memory.commit(&learned(1), None, 0, None).is_err());
}
