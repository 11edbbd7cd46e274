//! Files of lines of JSON.

use crate::error::{Error, Result};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file that gets one JSON object a line.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    /// Starts a file in a folder, and the folder where there is none.
    pub fn create(folder: &Path, name: &str) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::file("write", folder, &e))?;
        let path = folder.join(name);
        let file = BufWriter::new(File::create(&path).map_err(|e| Error::file("write", &path, &e))?);
        Ok(Lines { path, file })
    }
    /// Adds a line.
    pub fn line(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.file, value)
            .map_err(|e| Error::new(format!("cannot write {}: {e}", self.path.display())))?;
        self.file.write_all(b"\n").map_err(|e| Error::file("write", &self.path, &e))
    }
    /// Ends the file.
    pub fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(|e| Error::file("write", &self.path, &e))
    }
}

/// Writes `count` things that `make` makes from their number.
pub fn write<T: Serialize>(folder: &Path, name: &str, count: u64, make: impl Fn(u64) -> Result<T>) -> Result<()> {
    let mut lines = Lines::create(folder, name)?;
    for index in 0..count {
        lines.line(&make(index)?)?;
    }
    lines.finish()
}
