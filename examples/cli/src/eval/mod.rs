//! `lichen eval`: how good a model is on held-out data. Answers are drawn greedily from an empty state; 95% intervals
//! are those of resampling what was asked.

mod asker;
mod intents;
mod lessons;
mod lm;
mod names;
mod senses;
mod sharing;
mod stats;
mod translate;
mod turns;

use crate::args::{EvalArgs, Suite};
use crate::failure::{Done, Failure};
use crate::output::{note, print, print_json};
use crate::sets::senses::is_digits;
use crate::{cache, devices, interrupt, load, readers};
use asker::Asker;
use lichen::Model;
use serde_json::{Map, Value, json};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn eval(args: &EvalArgs) -> Done {
    if args.model.list_devices {
        return devices::devices(false);
    }
    if args.suite == Suite::Lm {
        return lm::lm(args);
    }
    let files = files(&args.data)?;
    let model = Arc::new(load::model(&args.model)?);
    interrupt::listen();
    let mut asker = Asker::new(&model)?;
    let mut report = Report::new(args.suite, &model);
    if let Some(share) = args.fit_refusals {
        if args.suite != Suite::Intents || !(0.0..1.0).contains(&share) {
            return Err(Failure::Usage("--fit-refusals is for --suite intents and takes a share below 1".into()));
        }
        let (bias, caught) = intents::fit_refusals(args, share, &files, &mut asker)?;
        report.set("refusal_bias", bias);
        report.set("oos_recall", caught);
        report.lines.push(format!("a refusal bias of {bias:.3} refuses {:.1}% of what is in scope", 100.0 * share));
        report
            .lines
            .push(format!("and {:.1}% of what is not; store it by: lichen quantize --refusal-bias", 100.0 * caught));
        return report.print(args.json);
    }
    match args.suite {
        Suite::Lm => {}
        Suite::Sharing => sharing::sharing(args, &files, &mut asker, &mut report)?,
        Suite::Turns => turns::turns(args, &files, &mut report)?,
        Suite::Names => names::names(args, &files, &mut asker, &mut report)?,
        Suite::Lessons => match (&args.kept_by, args.retrieval, args.in_context) {
            (Some(by), ..) => lessons::kept(by, args, &files, &mut asker, &mut report)?,
            (None, true, _) => lessons::retrieved(args, &files, &mut asker, &mut report)?,
            (None, false, true) => lessons::in_context(args, &files, &mut asker, &mut report)?,
            (None, false, false) => lessons::taught(args, &files, &mut asker, &mut report)?,
        },
        suite => answers(suite, args, &files, &mut asker, &mut report)?,
    }
    cache::keep(model.device());
    report.print(args.json)
}

/// The suites that ask and look at the answers, whatever the asker knows beside its model.
fn answers(suite: Suite, args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    match suite {
        Suite::Intents => intents::intents(args, files, asker, report),
        Suite::Actions => intents::actions(args, files, asker, report),
        Suite::Translate => translate::translate(args, files, asker, report),
        Suite::Speech | Suite::Sounds => senses::clips(args, files, asker, report),
        Suite::Images => senses::pictures(args, files, asker, report),
        Suite::Lm | Suite::Sharing | Suite::Turns | Suite::Names | Suite::Lessons => {
            Err(Failure::Usage(format!("the suite {suite:?} asks for nothing")))
        }
    }
}

/// Which of those suites a list is for, as far as its name and its first line tell.
fn suite_of(list: &Path) -> Done<Suite> {
    let name = list.to_string_lossy();
    if name.ends_with(".tsv") {
        return Ok(Suite::Translate);
    }
    if is_digits(list) {
        return Ok(Suite::Images);
    }
    let lines = readers::lines::<Map<String, Value>>(list)?;
    let has = |key: &str| lines.first().is_some_and(|line| line.contains_key(key));
    let keys = [
        ("intent", Suite::Intents),
        ("action", Suite::Actions),
        ("reply", Suite::Speech),
        ("word", Suite::Speech),
        ("label", Suite::Sounds),
        ("name", Suite::Images),
    ];
    let found = keys.into_iter().find(|(key, _)| has(key)).map(|(_, suite)| suite);
    found.ok_or_else(|| Failure::Failed(format!("{name} is a list of no suite that asks")))
}

/// What a suite measured, in order.
struct Report {
    values: Map<String, Value>,
    lines: Vec<String>,
}

impl Report {
    fn new(suite: Suite, model: &Model) -> Self {
        let mut values = Map::new();
        let name = format!("{suite:?}").to_lowercase();
        values.insert("suite".into(), name.into());
        values.insert("model".into(), model.id().into());
        values.insert("device".into(), model.device().name().into());
        values.insert("refusal_bias".into(), model.header().refusal_bias.into());
        Self { values, lines: Vec::new() }
    }
    fn empty() -> Self {
        Self { values: Map::new(), lines: Vec::new() }
    }
    /// A share of what was asked: each counted as right or wrong.
    fn share(&mut self, key: &str, right: &[bool]) {
        if right.is_empty() {
            return;
        }
        let mean = |rows: &[usize]| rows.iter().filter(|&&i| right[i]).count() as f64 / rows.len() as f64;
        let (value, ci) = stats::interval(right.len(), stats::RESAMPLES, mean);
        self.lines.push(format!(
            "{key:<16}{:6.2}%  (95% interval {:.2} to {:.2}, n {})",
            100.0 * value,
            100.0 * ci[0],
            100.0 * ci[1],
            right.len()
        ));
        self.number(key, value, ci);
    }
    /// A figure with its interval, shown as it is.
    fn figure(&mut self, key: &str, value: f64, ci: [f64; 2]) {
        self.lines.push(format!("{key:<16}{value:6.2}   (95% interval {:.2} to {:.2})", ci[0], ci[1]));
        self.number(key, value, ci);
    }
    fn number(&mut self, key: &str, value: f64, ci: [f64; 2]) {
        self.values.insert(key.into(), value.into());
        self.values.insert(format!("{key}_ci95"), json!(ci));
    }
    /// What a suite is about, of its figures: exact actions, chrF, right answers.
    fn main(&self) -> Option<f64> {
        ["exact", "chrf", "accuracy"].iter().find_map(|key| self.values.get(*key)?.as_f64())
    }
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.into(), value.into());
    }
    fn print(self, as_json: bool) -> Done {
        if self.lines.is_empty() {
            return Err(Failure::Failed("there is nothing to measure in --data".into()));
        }
        if as_json {
            return print_json(&Value::Object(self.values));
        }
        self.lines.iter().try_for_each(|line| print(&format!("{line}\n")))
    }
}

/// The files to measure on: those given, and of a folder its `test.*` lists.
fn files(paths: &[PathBuf]) -> Done<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(|e| Failure::file("read", path, &e))?;
        if !metadata.is_dir() {
            all.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|e| Failure::file("read", path, &e))?;
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect();
        found.retain(|file| is_test(file));
        found.sort();
        if found.is_empty() {
            let name = path.display();
            return Err(Failure::Failed(format!("{name} holds no test.jsonl, .test.tsv or test-images-idx3 file")));
        }
        all.extend(found);
    }
    Ok(all)
}

fn is_test(path: &Path) -> bool {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name == "test.jsonl" || name.ends_with(".test.tsv") || name.starts_with("test-images-idx3")
}

/// At most `most` of them, spread evenly.
fn some<T>(mut all: Vec<T>, most: Option<usize>) -> Vec<T> {
    let Some(most) = most.filter(|&most| most < all.len()) else { return all };
    let n = all.len();
    let mut i = 0;
    all.retain(|_| {
        i += 1;
        i * most / n > (i - 1) * most / n
    });
    all
}

/// Shows how far a suite is, and ends it on Ctrl-C.
fn step(i: usize, n: usize) -> Done {
    if interrupt::pressed() {
        return Err(Failure::Interrupted("stopped; nothing was measured".into()));
    }
    if io::stderr().is_terminal() {
        eprint!("\r{:3}%{}", 100 * i / n.max(1), if i + 1 >= n { "\r    \r" } else { "" });
    }
    Ok(())
}

/// With -v, one wrong answer.
fn wrong(asked: &str, want: &str, got: &str) {
    if log::log_enabled!(log::Level::Info) {
        note(&format!("{asked:?}: wanted {want:?}, got {got:?}"));
    }
}
