//! Files: written whole or not at all, never overwritten unasked.

use crate::failure::{Done, Failure, plain};
use crate::output::note;
use lichen::Source;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// `path` with `suffix` after its whole name: `m.safetensors.train`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A file's bytes, mapped.
pub(crate) struct Mapped(memmap2::Mmap);
impl Deref for Mapped {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Opens a file that must have contents, and its length.
fn regular(path: &Path) -> Done<(File, u64)> {
    let cannot = |e: io::Error| Failure::file("read", path, &e);
    let file = File::open(path).map_err(cannot)?;
    let about = file.metadata().map_err(cannot)?;
    if about.is_dir() {
        return Err(Failure::Failed(format!("cannot read {}: it is a folder; name a file in it", path.display())));
    }
    if !about.is_file() || about.len() == 0 {
        let what = if about.is_file() { "is empty" } else { "is not a regular file" };
        return Err(Failure::Failed(format!("cannot read {}: it {what}", path.display())));
    }
    Ok((file, about.len()))
}

/// Maps a file.
pub(crate) fn map(path: &Path) -> Done<Mapped> {
    let (file, _) = regular(path)?;
    // SAFETY: the map is read-only and private to this process. Its one demand, that nobody shortens the file
    // while it is read, is what every program that maps its models asks of its user; we ourselves replace model
    // files by renaming, which leaves the mapped bytes alone.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Failure::file("read", path, &e))?;
    Ok(Mapped(map))
}

/// A file that is read in places: what was read counts as memory of this process only where it is kept.
pub(crate) struct InPlaces {
    file: File,
    size: u64,
}

/// Opens a file to read in places.
pub(crate) fn in_places(path: &Path) -> Done<InPlaces> {
    regular(path).map(|(file, size)| InPlaces { file, size })
}

impl Source for InPlaces {
    fn size(&self) -> u64 {
        self.size
    }
    #[cfg(unix)]
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, into, offset)
    }
    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.file, into, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => (into, offset) = (&mut into[n..], offset + n as u64),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Text of a file or of standard input (`-`), with a warning when bytes had to be replaced.
pub(crate) fn text(path: &Path) -> Done<String> {
    let (name, bytes) = match path == Path::new("-") {
        true => {
            let mut bytes = Vec::new();
            let read = io::Read::read_to_end(&mut io::stdin().lock(), &mut bytes);
            read.map_err(|e| Failure::Failed(format!("cannot read standard input: {}", plain(&e))))?;
            ("standard input".to_string(), bytes)
        }
        false => (path.display().to_string(), fs::read(path).map_err(|e| Failure::file("read", path, &e))?),
    };
    Ok(utf8(bytes, &name))
}

/// Text of bytes; what is not UTF-8 is replaced, and that is said.
pub(crate) fn utf8(bytes: Vec<u8>, name: &str) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            crate::output::warn(&format!(
                "{name} is not UTF-8 (first at byte {at}): what is not was replaced by U+FFFD"
            ));
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        }
    }
}

/// Where writing to `path` really goes: through symbolic links, which are kept.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir())
}

/// Writes a file so that at any moment, power loss included, it is the old one or the whole new one.
pub(crate) fn write<T>(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Done<T>) -> Done<T> {
    let path = target(path);
    let cannot = |e: io::Error| Failure::file("write", &path, &e);
    // A device or pipe is no file to be replaced by another one.
    if is_special(&path) {
        let mut out = BufWriter::new(File::options().write(true).open(&path).map_err(cannot)?);
        let value = fill(&mut out)?;
        out.flush().map_err(cannot)?;
        return Ok(value);
    }
    let temporary = beside(&path, ".tmp");
    let result = (|| {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&temporary).map_err(cannot)?);
        let value = fill(&mut out)?;
        let file = out.into_inner().map_err(|e| cannot(e.into_error()))?;
        file.sync_all().map_err(cannot)?;
        drop(file);
        fs::rename(&temporary, &path).map_err(cannot)?;
        sync_folder(&path);
        Ok(value)
    })();
    if result.is_err() {
        // Half a file helps nobody; when it cannot be removed either, the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Makes a rename last. Systems that cannot sync a folder need not.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Finds out, before any work is done, that `path` cannot be written.
pub(crate) fn check_writable(path: &Path) -> Done {
    let path = target(path);
    let cannot = |e: io::Error| Failure::file("write", &path, &e);
    if path.is_dir() {
        return Err(Failure::Failed(format!("cannot write {}: it is a folder; name a file in it", path.display())));
    }
    if is_special(&path) {
        return File::options().write(true).open(&path).map(drop).map_err(cannot);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Failure::Failed(format!(
            "cannot write {}: the folder {} does not exist; create it first",
            path.display(),
            folder.display()
        )));
    }
    let temporary = beside(&path, ".tmp");
    File::create(&temporary).and_then(|mut f| f.write_all(b"lichen")).map_err(cannot)?;
    fs::remove_file(&temporary).map_err(cannot)
}

/// Makes sure that an existing file may go: by `--yes`, or by asking a person.
pub(crate) fn may_overwrite(path: &Path, yes: bool) -> Done {
    if yes || !path.is_file() {
        return Ok(());
    }
    if io::stdin().is_terminal() && io::stderr().is_terminal() && confirm(&format!("overwrite {}?", path.display())) {
        return Ok(());
    }
    Err(Failure::Failed(format!("{} exists and was left alone; add --yes to overwrite it", path.display())))
}

/// Asks on the terminal; anything but yes is no.
pub(crate) fn confirm(question: &str) -> bool {
    eprint!("{question} [y/N] ");
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    if read.is_err() {
        note("");
    }
    matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("file");
        write(&path, |out| out.write_all(b"old").map_err(|e| Failure::file("write", &path, &e))).expect("writes");
        let failed: Done = write(&path, |out| {
            out.write_all(b"ne").map_err(|e| Failure::file("write", &path, &e))?;
            Err(Failure::Failed("half way".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).expect("is there"), b"old");
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = check_writable(&dir.path().join("no/model")).expect_err("cannot be written");
        assert!(error.to_string().contains("does not exist"), "{error}");
        assert!(check_writable(dir.path()).is_err());
        check_writable(&dir.path().join("model")).expect("can be written");
    }
}
