//! The log of a run, `OUT.log.jsonl`: a first line with what the run is, then one line an update and one a
//! measurement. A resumed run drops the lines of updates that it does again.

use crate::args::StorageArg;
use crate::failure::{Done, Failure};
use crate::files;
use crate::mixture::SourceSpec;
use lichen::eval::Loss;
use lichen::train::Progress;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What a run needs beside its state to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Training text.
    pub(crate) data: Vec<PathBuf>,
    /// Held-out text.
    pub(crate) validation: Vec<PathBuf>,
    /// How the model is stored.
    pub(crate) storage: StorageArg,
    /// The recipe's share of paragraphs that became dialogues.
    #[serde(default)]
    pub(crate) openings: f64,
    /// The recipe's sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sources: Vec<SourceSpec>,
}

/// An open log.
pub(crate) struct Log {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Log {
    /// A new log.
    pub(crate) fn start(path: &Path, record: &Record, options: &Value) -> Done<Self> {
        let line = json!({ "run": record, "options": options, "lichen": env!("CARGO_PKG_VERSION") });
        rewrite(path, &[line])?;
        Self::append(path)
    }
    /// The log of a run that is at `position`, its record and its smoothed loss.
    pub(crate) fn resume(path: &Path, position: u64) -> Done<(Self, Option<Record>, Option<f64>)> {
        let text = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // A crash may have cut the last line short.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let kept: Vec<Value> = lines.filter(|l| l["step"].as_u64().is_none_or(|step| step <= position)).collect();
        let record = kept.iter().find_map(|l| serde_json::from_value(l["run"].clone()).ok());
        let smooth = kept.iter().rev().find_map(|l| l["smooth"].as_f64());
        rewrite(path, &kept)?;
        Ok((Self::append(path)?, record, smooth))
    }
    fn append(path: &Path) -> Done<Self> {
        let file = File::options().append(true).open(path).map_err(|e| Failure::file("write", path, &e))?;
        Ok(Self { path: path.to_path_buf(), out: BufWriter::new(file) })
    }
    fn line(&mut self, line: &Value) -> Done {
        writeln!(self.out, "{line}").map_err(|e| Failure::file("write", &self.path, &e))
    }
    /// An update.
    pub(crate) fn update(&mut self, p: &Progress, smooth: f64, seconds: f64) -> Done {
        let speed = (p.tokens as f64 / seconds.max(1e-9)).round();
        self.line(&json!({
            "step": p.step, "loss": p.loss, "smooth": smooth, "lr": p.lr, "grad_norm": p.grad_norm, "contrast": p.contrast, "tokens_s": speed,
        }))
    }
    /// A measurement on held-out text.
    pub(crate) fn validation(&mut self, step: u64, loss: &Loss) -> Done {
        let validation = json!({
            "nats_per_token": loss.nats_per_token, "nats_per_byte": loss.nats_per_byte, "tokens": loss.tokens,
        });
        self.line(&json!({ "step": step, "validation": validation }))
    }
    /// A measurement on held-out sequences of each source.
    pub(crate) fn sources(&mut self, step: u64, sources: &serde_json::Map<String, Value>) -> Done {
        self.line(&json!({ "step": step, "sources": sources }))
    }
    /// Writes what is buffered.
    pub(crate) fn flush(&mut self) -> Done {
        self.out.flush().map_err(|e| Failure::file("write", &self.path, &e))
    }
}

fn rewrite(path: &Path, lines: &[Value]) -> Done {
    files::write(path, |out| {
        lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(|e| Failure::file("write", path, &e))
    })
}
