//! The one error of this crate: a line that says what was wrong and what to do.

use std::fmt;
use std::path::Path;

/// What went wrong, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Error(message.into())
    }
    /// A file or folder that could not be used: `what` is "read" or "write".
    pub fn file(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Error(format!("cannot {what} {}: {error}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// What most functions here return.
pub type Result<T> = std::result::Result<T, Error>;
