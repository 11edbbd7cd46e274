//! How a command ends when it does not end well.

use std::io;
use std::path::Path;

/// Why a command stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line makes no sense: status 2.
    #[error("{0}")]
    Usage(String),
    /// What was asked for failed: status 1.
    #[error("{0}")]
    Failed(String),
    /// Ctrl-C: status 130, as shells have it, so that `train && eval` stops. The text, if any, says how to go on.
    #[error("{0}")]
    Interrupted(String),
    /// The reader of our output went away (`| head`), which is no failure.
    #[error("the reader of the output went away")]
    ClosedPipe,
}

/// What a command returns.
pub(crate) type Done<T = ()> = Result<T, Failure>;

impl Failure {
    /// Exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Failed(_) => 1,
            Failure::Interrupted(_) => 130,
            Failure::ClosedPipe => 0,
        }
    }
    /// A file that could not be used: `what` is "read" or "write".
    pub(crate) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        Failure::Failed(format!("cannot {what} {}: {}", path.display(), plain(error)))
    }
    /// Standard output that could not be written.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Failed(format!("cannot write to standard output: {}", plain(error))),
        }
    }
    /// An engine error on the way to `what`.
    pub(crate) fn with(what: impl std::fmt::Display) -> impl FnOnce(lichen::Error) -> Self {
        move |error| Failure::Failed(format!("{what}: {error}"))
    }
    /// The message on one line.
    pub(crate) fn line(&self) -> String {
        let text = self.to_string();
        text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

impl From<lichen::Error> for Failure {
    fn from(error: lichen::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

/// The system's words without the error number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
