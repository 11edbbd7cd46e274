//! Tests of the store.

use super::*;

fn all(store: &Store, name: &'static str) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    store.each(name, |key, value| all.push((key, value.to_vec()))).expect("reads");
    all
}

#[test]
fn what_was_committed_is_there_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("some/memory");
    {
        let store = Store::open(&path, "a test").expect("opens");
        store
            .commit(&[Change::Put("a", 2, b"two"), Change::Put("a", 1, b"one"), Change::Put("b", 7, b"")])
            .expect("commits");
        store
            .commit(&[Change::Delete("a", 1), Change::Put("a", 3, b"three"), Change::Delete("c", 9)])
            .expect("commits");
        // Nothing is left of how it was made.
        let files: Vec<_> = fs::read_dir(folder.path().join("some")).expect("lists").flatten().collect();
        assert_eq!(files.len(), 2, "{files:?}");
        // Entries of one commit become visible together or not at all.
        assert_eq!(all(&store, "a"), [(2, b"two".to_vec()), (3, b"three".to_vec())]);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
    }
    let store = Store::open_to_read(&path).expect("opens").expect("is there");
    assert_eq!(store.get("a", 3).expect("reads"), Some(b"three".to_vec()));
    assert_eq!(store.get("a", 1).expect("reads"), None);
    assert_eq!(store.get("nothing", 1).expect("reads"), None);
    assert!(matches!(store.commit(&[]), Err(StoreError::ReadOnly { .. })));
    drop(store);
    let store = Store::open(&path, "a test").expect("opens");
    store.commit(&[Change::Clear("a"), Change::Clear("nothing")]).expect("commits");
    assert!(all(&store, "a").is_empty());
    assert_eq!(all(&store, "b").len(), 1);
}

#[test]
fn a_second_writer_is_told_who_writes_and_readers_follow() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memory");
    assert!(Store::open_to_read(&path).expect("no store is no error").is_none());
    let first = Store::open(&path, "lichen chat, process 7").expect("opens");
    first.commit(&[Change::Put("a", 1, b"one")]).expect("commits");
    match Store::open(&path, "another") {
        Err(StoreError::Held { by, .. }) => assert_eq!(by, "lichen chat, process 7"),
        other => panic!("{other:?}"),
    }
    let reader = Store::open_to_read(&path).expect("opens").expect("is there");
    assert_eq!(all(&reader, "a").len(), 1);
    let before = reader.snapshot().expect("reads");
    first.commit(&[Change::Put("a", 2, b"two")]).expect("commits");
    assert_eq!(all(&reader, "a").len(), 2);
    // What was looked at earlier stays as it was.
    assert_eq!(before.get("a", 2).expect("reads"), None);
    drop(before);
    drop(first);
    Store::open(&path, "another").expect("is free again");
}

#[test]
fn readers_too_find_what_a_killed_writer_had_committed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, left) = (folder.path().join("memory"), folder.path().join("left"));
    let store = Store::open(&path, "a test").expect("opens");
    for n in 1..5 {
        store.commit(&[Change::Put("a", n, &[7; 5000])]).expect("commits");
        // The file as it lies there while its writer is at it.
        fs::copy(&path, &left).expect("copies");
        let reader = Store::open_to_read(&left).expect("opens").expect("is there");
        assert_eq!(all(&reader, "a").len(), n as usize);
    }
}

#[test]
fn what_was_removed_is_not_in_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memory");
    let mut store = Store::open(&path, "a test").expect("opens");
    let secret = |n: u64| format!("secret {n} of a person").into_bytes();
    let section = vec![0xa5; 50_000];
    let there = |kept: &[u64]| {
        let bytes = fs::read(&path).expect("reads");
        for n in 0..40 {
            let found = bytes.windows(secret(n).len()).any(|window| window == secret(n));
            assert_eq!(found, kept.contains(&n), "secret {n}");
        }
    };
    for n in 0..40 {
        store.commit(&[Change::Put("a", n, &secret(n)), Change::Put("b", n, &section)]).expect("commits");
    }
    there(&(0..40).collect::<Vec<_>>());
    for n in (0..40).filter(|n| n % 10 != 7) {
        store.commit(&[Change::Delete("a", n), Change::Delete("b", n)]).expect("commits");
    }
    let before = fs::metadata(&path).expect("is there").len();
    assert!(store.scrub().expect("scrubs"));
    there(&[7, 17, 27, 37]);
    assert!(fs::metadata(&path).expect("is there").len() < before / 2);
    assert_eq!(all(&store, "b").len(), 4);
    // Somebody who is reading goes on reading.
    let reader = Store::open_to_read(&path).expect("opens").expect("is there");
    let reading = reader.snapshot().expect("reads");
    store.commit(&[Change::Clear("a")]).expect("commits");
    assert!(!store.scrub().expect("scrubs"));
    assert_eq!(reading.get("a", 7).expect("reads"), Some(secret(7)));
    drop(reading);
    assert!(store.scrub().expect("scrubs"));
    there(&[]);
    assert!(matches!(reader.snapshot().and_then(|s| s.get("a", 7)), Ok(None)));
    drop(reader);
    drop(store);
    there(&[]);
    assert_eq!(all(&Store::open(&path, "a test").expect("opens"), "b").len(), 4);
}

#[test]
fn other_files_and_damage_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memory");
    fs::write(&path, b"this is a letter, not a store, and it is long enough to be one".repeat(100)).expect("writes");
    assert!(matches!(Store::open(&path, "a test"), Err(StoreError::Foreign { .. })));
    assert!(Store::open_to_read(&path).is_err());
    assert!(fs::read(&path).expect("reads").starts_with(b"this is a letter"), "a foreign file was written to");
    fs::remove_file(&path).expect("removes");
    let value: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
    {
        let store = Store::open(&path, "a test").expect("opens");
        store.commit(&[Change::Put("a", 1, &value), Change::Put("a", 2, b"two")]).expect("commits");
    }
    let good = fs::read(&path).expect("reads");
    let mut found = 0;
    for at in (0..good.len()).step_by(good.len() / 97) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).expect("writes");
        // An error, or what was committed: a flipped byte that nothing uses may go unnoticed.
        match Store::open(&path, "a test") {
            Err(_) => found += 1,
            Ok(store) => match store.get("a", 1) {
                Err(_) => found += 1,
                Ok(got) => assert!(got.is_none_or(|got| got == value), "byte {at} changed what is read"),
            },
        }
    }
    assert!(found > 0);
    for len in [1, 63, 64, 4096, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..len]).expect("writes");
        match Store::open(&path, "a test") {
            Err(_) => {}
            Ok(store) => {
                assert!(store.get("a", 1).map_or(true, |got| got.is_none_or(|got| got == value)), "{len} bytes")
            }
        }
    }
}

#[test]
fn what_a_mirrored_store_changes_makes_it_again() {
    let store = Store::mirrored([("a", 1, &b"one"[..]), ("a", 2, b"two")]).expect("makes");
    assert!(store.take_made().is_empty(), "what it began with is no change");
    store.commit(&[Change::Put("b", 7, b"seven"), Change::Delete("a", 1)]).expect("commits");
    store.commit(&[Change::Clear("b"), Change::Put("b", 8, b"")]).expect("commits");
    let mut kept = std::collections::BTreeMap::from([(("a", 1), b"one".to_vec()), (("a", 2), b"two".to_vec())]);
    let made = store.take_made();
    for Made { table, key, value } in &made {
        match (key, value) {
            (Some(key), Some(value)) => drop(kept.insert((table, *key), value.clone())),
            (Some(key), None) => drop(kept.remove(&(table.as_str(), *key))),
            (None, _) => kept.retain(|(of, _), _| of != table),
        }
    }
    assert!(store.take_made().is_empty());
    let again = Store::mirrored(kept.iter().map(|((table, key), value)| (*table, *key, &value[..]))).expect("makes");
    for name in ["a", "b"] {
        assert_eq!(all(&again, name), all(&store, name));
    }
    assert!(store.lasts() && !Store::in_memory().expect("makes").lasts());
}
