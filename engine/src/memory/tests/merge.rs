//! Merged sections serve for their lessons, and everything else stays as it would be without them.

use super::record::{MERGED, MERGES};
use super::*;
use crate::learn::Merged;

fn merged(lessons: &[u64], seed: u64) -> Merged {
    let Learned { written, receipt, .. } = learned(seed);
    Merged { lessons: lessons.to_vec(), written, receipt }
}

/// Sections of these seeds serve for these lessons, and nothing else does.
#[track_caller]
fn serve(memory: &Memory, model: &Arc<Model>, want: &[(&[u64], u64)]) {
    assert_eq!(memory.verify().expect("reads"), []);
    let in_use = memory.in_use().expect("reads");
    let got: Vec<_> = in_use.iter().map(|section| (&section.lessons[..], &section.written)).collect();
    let sections: Vec<Written> = want.iter().map(|&(_, seed)| learned(seed).written).collect();
    assert_eq!(got, want.iter().map(|&(lessons, _)| lessons).zip(&sections).collect::<Vec<_>>());
    // The pool is that of a memory in which these are the lessons.
    let mut other = self::memory(model);
    for &(_, seed) in want {
        teach(&mut other, seed, None);
    }
    let pool = pool(memory, model);
    assert_eq!(bits(&pool, model), bits(&self::pool(&other, model), model));
    assert_eq!(pool.sections(), want.len());
    for (place, (lessons, _)) in want.iter().enumerate() {
        assert!(lessons.iter().all(|&id| pool.place(id) == Some(place)));
    }
}

fn shares(memory: &Memory) -> Vec<Vec<u64>> {
    memory.list().expect("lists").into_iter().map(|lesson| lesson.shares_with).collect()
}

/// Four lessons, the first and the third merged into a section of seed 13.
fn taught(model: &Model) -> Memory {
    let mut memory = memory(model);
    for seed in 1..=4 {
        teach(&mut memory, seed, None);
    }
    memory.merge(&[merged(&[1, 3], 13)], 2000).expect("merges");
    memory
}

#[test]
fn one_section_serves_until_a_lesson_is_taken_back() {
    let model = model();
    let mut memory = taught(&model);
    serve(&memory, &model, &[(&[1, 3], 13), (&[2], 2), (&[4], 4)]);
    assert_eq!(shares(&memory), [vec![3], vec![], vec![1], vec![]]);
    assert_eq!(memory.show(3).expect("shown").shares_with, [1]);
    // The lessons' own are still there, and so is all that belongs to them.
    assert_eq!(memory.section(3).expect("reads"), learned(3).written);
    assert_eq!(memory.open_lessons().expect("reads"), [1, 2, 3, 4]);
    assert_eq!(memory.erase_texts().expect("erases"), 4);
    serve(&memory, &model, &[(&[1, 3], 13), (&[2], 2), (&[4], 4)]);
    // Either of the two: the other's own serves again, to the last bit, and nothing of the merged one is left.
    for (gone, left) in [(1, 3), (3, 1)] {
        let mut memory = taught(&model);
        assert_eq!(memory.undo(gone).expect("undoes"), None);
        let rest = |id: u64| if id < 2 { [(1, 1), (2, 2), (4, 4)] } else { [(2, 2), (3, 3), (4, 4)] };
        is(&memory, &model, &rest(left));
        assert!(shares(&memory).iter().all(Vec::is_empty));
        for table in [MERGES, MERGED] {
            assert_eq!(memory.store().get(table, 1).expect("reads"), None);
        }
    }
    memory.merge(&[merged(&[2, 4], 24)], 2000).expect("merges");
    serve(&memory, &model, &[(&[1, 3], 13), (&[2, 4], 24)]);
    let mut memory = Memory::open(memory.into_store(), &model).expect("opens");
    assert_eq!(memory.split().expect("splits"), 2);
    is(&memory, &model, &[(1, 1), (2, 2), (3, 3), (4, 4)]);
    memory.merge(&[merged(&[1, 2], 12), merged(&[3, 4], 34)], 2000).expect("merges");
    serve(&memory, &model, &[(&[1, 2], 12), (&[3, 4], 34)]);
    assert_eq!(memory.clear().expect("clears"), 4);
    is(&memory, &model, &[]);
    assert_eq!(memory.split().expect("splits"), 0);
}

#[test]
fn a_replaced_lesson_leaves_its_merge_until_it_is_open_again() {
    let model = model();
    let mut memory = taught(&model);
    assert_eq!(teach(&mut memory, 5, Some(1)), 5);
    serve(&memory, &model, &[(&[2], 2), (&[3], 3), (&[4], 4), (&[5], 5)]);
    assert!(shares(&memory).iter().all(Vec::is_empty));
    memory.undo(5).expect("undoes");
    serve(&memory, &model, &[(&[1, 3], 13), (&[2], 2), (&[4], 4)]);
    // Merged with another meanwhile: what was merged before is gone for good.
    assert_eq!(teach(&mut memory, 6, Some(1)), 6);
    memory.merge(&[merged(&[3, 6], 36)], 2000).expect("merges");
    serve(&memory, &model, &[(&[2], 2), (&[3, 6], 36), (&[4], 4)]);
    memory.undo(6).expect("undoes");
    is(&memory, &model, &[(1, 1), (2, 2), (3, 3), (4, 4)]);
    // A lesson that was replaced and is then taken back takes its merge along.
    let mut memory = taught(&model);
    teach(&mut memory, 5, Some(3));
    memory.undo(3).expect("undoes");
    memory.undo(5).expect("undoes");
    is(&memory, &model, &[(1, 1), (2, 2), (4, 4)]);
}

#[test]
fn a_live_pool_follows_what_is_merged() {
    let model = model();
    let mut memory = taught(&model);
    let mut live = pool(&memory, &model);
    let mut follow = |memory: &Memory| {
        assert!(live.update(memory, &model).expect("updates"));
        let fresh = pool(memory, &model);
        assert_eq!((bits(&live, &model), live.lessons()), (bits(&fresh, &model), fresh.lessons()));
    };
    follow(&memory);
    memory.split().expect("splits");
    follow(&memory);
    // The same lessons in the same places, in other sections.
    memory.merge(&[merged(&[1, 3], 7)], 2000).expect("merges");
    follow(&memory);
    memory.merge(&[merged(&[1, 3], 8)], 2000).expect("merges");
    follow(&memory);
    teach(&mut memory, 5, Some(3));
    follow(&memory);
    memory.undo(5).expect("undoes");
    follow(&memory);
}

#[test]
fn what_cannot_be_merged_changes_nothing() {
    let model = model();
    let mut memory = taught(&model);
    teach(&mut memory, 5, Some(4));
    teach(&mut memory, 6, None);
    memory.undo(6).expect("undoes");
    let nan = |change: fn(&mut Merged)| {
        let mut merged = merged(&[2, 3], 23);
        change(&mut merged);
        merged
    };
    for bad in [
        vec![merged(&[], 1)],
        vec![merged(&[2], 1)],
        vec![merged(&[3, 2], 1)],
        vec![merged(&[2, 2], 1)],
        vec![merged(&[1, 2], 1), merged(&[2, 3], 2)],
        vec![nan(|m| m.written.theta = f32::NAN)],
        vec![nan(|m| m.receipt.drift = f64::NAN)],
        vec![nan(|m| m.written.slabs.truncate(1))],
        // The first of the two would do.
        vec![merged(&[2, 3], 1), merged(&[5], 2)],
    ] {
        let result = memory.merge(&bad, 2000);
        assert!(matches!(result, Err(Error::Lessons(MemoryError::Misfit(_)))), "{result:?}");
    }
    let result = memory.merge(&[merged(&[3, 4], 1)], 2000);
    assert!(matches!(result, Err(Error::Lessons(MemoryError::Replaced { id: 4, by: 5 }))), "{result:?}");
    let result = memory.merge(&[merged(&[3, 6], 1)], 2000);
    assert!(matches!(result, Err(Error::Lessons(MemoryError::Gone { id: 6 }))), "{result:?}");
    let result = memory.merge(&[merged(&[3, 9], 1)], 2000);
    assert!(matches!(result, Err(Error::Lessons(MemoryError::NoLesson { id: 9 }))), "{result:?}");
    serve(&memory, &model, &[(&[1, 3], 13), (&[2], 2), (&[5], 5)]);
}

#[test]
fn merged_sections_move_in_a_file() {
    let model = model();
    let mut here = taught(&model);
    here.merge(&[merged(&[2, 4], 24)], 2000).expect("merges");
    let file = here.export(false).expect("exports");
    let mut there = memory(&model);
    teach(&mut there, 9, None);
    there.import(&file).expect("imports");
    serve(&there, &model, &[(&[1], 9), (&[2, 4], 13), (&[3, 5], 24)]);
    // What is here already is left as it is.
    there.import(&file).expect("imports");
    serve(&there, &model, &[(&[1], 9), (&[2, 4], 13), (&[3, 5], 24)]);
    let mut there = memory(&model);
    teach(&mut there, 3, None);
    there.import(&file).expect("imports");
    serve(&there, &model, &[(&[1], 3), (&[2], 1), (&[3, 4], 24)]);
    // Every byte counts, also of what was merged.
    let mut fresh = memory(&model);
    for at in (file.len() - 3000..file.len()).step_by(101) {
        let mut changed = file.clone();
        changed[at] ^= 0x40;
        assert!(matches!(fresh.import(&changed), Err(Error::Lessons(MemoryError::File(_)))));
    }
    is(&fresh, &model, &[]);
}

#[test]
fn damaged_merges_are_found_and_can_be_dropped() {
    let model = model();
    let put = |memory: &Memory, table: &'static str, key: u64, value: &[u8]| {
        memory.store().commit(&[Change::Put(table, key, value)]).expect("commits");
    };
    let good = taught(&model);
    let record = good.store().get(MERGES, 1).expect("reads").expect("is there");
    let section = good.store().get(MERGED, 1).expect("reads").expect("is there");
    let with = |key: &str, value: serde_json::Value| {
        let mut record: serde_json::Value = serde_json::from_slice(&record).expect("is JSON");
        record[key] = value;
        to_json(&record)
    };
    let mut bit = section.clone();
    bit[200] ^= 1;
    for (table, key, value, says, pool) in [
        (MERGED, 1, &bit[..], "SHA-256", false),
        (MERGED, 1, &section[4..], "bytes", false),
        (MERGED, 2, &section[..], "no record", true),
        (MERGES, 1, &b"[1]"[..], "merge", false),
        (MERGES, 1, &b""[..], "merge", false),
        (MERGES, 1, &with("lessons", serde_json::json!([1]))[..], "later lessons", false),
        (MERGES, 1, &with("lessons", serde_json::json!([3, 1]))[..], "later lessons", false),
        (MERGES, 1, &with("lessons", serde_json::json!([1, 7]))[..], "lesson 7, which is not there", false),
        (MERGES, 1, &with("record", serde_json::json!(4))[..], "merge", false),
        (MERGES, 2, &with("lessons", serde_json::json!([2, 3]))[..], "another one", false),
    ] {
        let mut memory = taught(&model);
        put(&memory, table, key, value);
        let problems = memory.verify().expect("reads");
        assert!(problems.iter().any(|p| p.what.contains(says)), "{says}: {problems:?}");
        assert_eq!(now(memory.pool(&model)).is_ok(), pool, "{says}");
        memory.split().expect("splits");
        is(&memory, &model, &[(1, 1), (2, 2), (3, 3), (4, 4)]);
    }
}
