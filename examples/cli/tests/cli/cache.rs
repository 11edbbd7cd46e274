//! Compiled pipelines in the user's cache folder. macOS and Windows have theirs elsewhere.
#![cfg(all(feature = "gpu", not(any(windows, target_vendor = "apple"))))]

use crate::{Ran, command, file, model, text};
use lichen_host::{Choice, Gpu, HostError};
use std::fs;
use std::path::Path;

/// Whether there is a GPU whose pipelines can be kept.
fn kept_here() -> bool {
    match pollster::block_on(Gpu::open(&Choice::Gpu)) {
        Ok(gpu) if gpu.pipeline_cache().is_some() => true,
        Ok(gpu) => {
            println!("{} does not give out its pipelines", gpu.name());
            false
        }
        Err(HostError::NoAdapter { found, .. }) => {
            println!("no adapter, found {found}");
            false
        }
        Err(other) => panic!("{other}"),
    }
}

/// An answer from the GPU, where there is one, with this cache folder.
fn answer(caches: &Path, more: &[&str]) -> Ran {
    let model = model();
    let args = ["run", "-m", &model, "-p", "hi", "-n", "3", "--device"];
    let found = pollster::block_on(lichen_host::adapters());
    let device = if found.is_empty() { "cpu" } else { "gpu" };
    let mut command = command(&[&args[..], &[device], more].concat());
    Ran::of(command.env("XDG_CACHE_HOME", caches).output().expect("runs"))
}

#[test]
fn pipelines_are_kept_and_damage_is_tolerated() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = answer(folder.path(), &[]).ok();
    if !kept_here() {
        assert!(!folder.path().join("lichen").exists());
        return;
    }
    let files = || -> Vec<_> {
        let entries = fs::read_dir(folder.path().join("lichen")).expect("the folder is there");
        entries.map(|entry| entry.expect("lists").path()).collect()
    };
    let [path] = &files()[..] else { panic!("one file was expected: {:?}", files()) };
    let name = text(path);
    assert!(name.contains("vulkan") && name.contains(env!("CARGO_PKG_VERSION")), "{name}");
    let whole = fs::read(path).expect("reads");
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("is not empty") ^= 1;
    for damaged in [&whole[..whole.len() / 2], &flipped, b"", b"garbage"] {
        fs::write(path, damaged).expect("writes");
        let again = answer(folder.path(), &[]).ok();
        assert_eq!((&again.out, &again.err), (&first.out, &first.err));
        assert_ne!(fs::read(path).expect("reads"), damaged, "the damaged file was replaced");
        assert_eq!(files().len(), 1);
    }
    // Nor does a folder in the place of the file harm.
    fs::remove_file(path).expect("removes");
    fs::create_dir_all(path.join("inside")).expect("creates");
    assert_eq!(answer(folder.path(), &[]).ok().err, first.err);
}

#[test]
fn a_cache_that_cannot_be_written_is_only_spoken_of_when_asked() {
    let (_folder, path) = file("file", b"");
    let caches = Path::new(&path);
    let quiet = answer(caches, &[]).ok();
    assert!(!quiet.err.contains("pipelines"), "{}", quiet.err);
    let loud = answer(caches, &["-v"]).ok();
    assert_eq!(loud.out, quiet.out);
    assert_eq!(loud.err.contains("pipelines were not kept"), kept_here(), "{}", loud.err);
}
