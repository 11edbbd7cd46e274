//! Compiled GPU pipelines of earlier runs, in the user's cache folder: a run with them starts sooner and is otherwise
//! the same. Nothing about them can make a run fail, and only `-v` speaks of them.

use crate::failure::Failure;
use crate::files;
use lichen::Device;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A larger file is not read, and more than this is not written.
const MOST_BYTES: u64 = 64 << 20;

/// The pipelines under this key, if there are any.
pub(crate) fn kept(key: &str) -> Option<Vec<u8>> {
    let path = path(key)?;
    let read = read(&path);
    match &read {
        Ok(bytes) => log::debug!("{}: {} bytes of compiled pipelines", path.display(), bytes.len()),
        Err(error) => log::info!("no compiled pipelines from {}: {error}", path.display()),
    }
    read.ok()
}

/// Keeps the device's pipelines for the next run, when they are others than before.
pub(crate) fn keep(device: &Device) {
    let Some((key, bytes)) = device.pipeline_cache() else { return };
    let Some(path) = path(&key) else { return log::info!("no folder for compiled pipelines is known") };
    if bytes.len() as u64 > MOST_BYTES {
        return log::info!("{} bytes of compiled pipelines are too many to keep", bytes.len());
    }
    if read(&path).is_ok_and(|old| old == bytes) {
        return;
    }
    match write(&path, &bytes) {
        Ok(()) => log::info!("{}: {} bytes of compiled pipelines kept", path.display(), bytes.len()),
        Err(failure) => log::info!("compiled pipelines were not kept: {failure}"),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: a pipe would be waited for.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(io::Error::other("it is too large")),
        false => Ok(bytes),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let cannot = |e: io::Error| Failure::file("write", path, &e);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(cannot)?;
    // Of its own for each process: two that start together must not write into one file.
    let temporary = files::beside(path, &format!(".{}.tmp", std::process::id()));
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(cannot);
    if written.is_err() {
        // Half a file helps nobody; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// The file of a key. Other versions of the program have other kernels, and files of their own.
fn path(key: &str) -> Option<PathBuf> {
    Some(folder(|name| std::env::var_os(name))?.join(format!("{key}-{}.bin", env!("CARGO_PKG_VERSION"))))
}

/// Where this system keeps what can be made again.
fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // A relative path is invalid by the XDG specification, and nothing that a cache should follow anywhere.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(windows) {
        return Some(absolute("LOCALAPPDATA")?.join("lichen").join("cache"));
    }
    if cfg!(target_vendor = "apple") {
        return Some(absolute("HOME")?.join("Library/Caches/lichen"));
    }
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("lichen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(any(windows, target_vendor = "apple")))]
    fn the_folder_is_where_the_system_wants_it() {
        let folder = |xdg: Option<&str>, home: Option<&str>| {
            super::folder(|name| match name {
                "XDG_CACHE_HOME" => xdg.map(OsString::from),
                "HOME" => home.map(OsString::from),
                _ => None,
            })
        };
        assert_eq!(folder(Some("/c"), Some("/h")), Some("/c/lichen".into()));
        assert_eq!(folder(None, Some("/h")), Some("/h/.cache/lichen".into()));
        assert_eq!(folder(Some("c"), Some("/h")), Some("/h/.cache/lichen".into()));
        assert_eq!(folder(Some(""), None), None);
    }

    #[test]
    fn files_are_whole_or_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("new/folder/file");
        write(&path, b"first").expect("writes");
        write(&path, b"second").expect("writes");
        assert_eq!(read(&path).expect("reads"), b"second");
        assert_eq!(fs::read_dir(dir.path().join("new/folder")).expect("lists").count(), 1);
        assert!(read(dir.path()).is_err() && read(&dir.path().join("none")).is_err());
        assert!(write(&path.join("below a file"), b"x").is_err());
        File::options().write(true).open(&path).expect("opens").set_len(MOST_BYTES + 1).expect("grows");
        assert!(read(&path).is_err());
        write(&path, b"third").expect("an oversize file is replaced");
        assert_eq!(read(&path).expect("reads"), b"third");
    }
}
