//! `lichen consolidate`: fewer sections for what was learned, every answer as it is.

use crate::args::ConsolidateArgs;
use crate::failure::{Done, Failure};
use crate::memory::{count, numbers, scrub};
use crate::output::{bytes, note, print, print_json};
use crate::{files, interrupt, learn, load, recall};
use lichen::learn::{Consolidated, Merging};
use serde_json::{Value, json};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Instant;

pub(crate) fn consolidate(args: &ConsolidateArgs) -> Done {
    let model = load::to_learn(args.model.as_deref(), args.threads)?;
    let path = recall::path(args.memory.as_deref(), model.header().lineage()).ok_or_else(recall::nowhere)?;
    if !recall::exists(&path) {
        return Err(Failure::Failed("nothing was learned yet".into()));
    }
    if !args.check && !args.yes {
        confirm(&path)?;
    }
    interrupt::listen();
    let memory = match args.check {
        true => recall::to_read(&path, model.header())?,
        false => Some(recall::to_write(&path, model.header(), "consolidate")?),
    };
    let mut memory = memory.ok_or_else(|| Failure::Failed("nothing was learned yet".into()))?;
    if args.undo {
        let dropped = memory.split()?;
        scrub(&mut memory);
        note(&format!("{} dropped; every lesson has its own again", count(dropped, "merged section")));
        return Ok(());
    }
    let before = memory.in_use()?;
    let (sections, size) = (before.len(), before.iter().map(|section| section.written.bytes()).sum::<usize>());
    let mut learner = learn::prepared(&model, Some(&mut memory), args.check)?;
    let began = Instant::now();
    let mut merging = learner.consolidate(before)?;
    let done = loop {
        match merging.step(&mut learner) {
            Ok(Merging::Going { lessons, phase, share }) => {
                learn::progress(&format!("{} {}", numbers(&lessons), learn::doing(phase)), share)?;
            }
            Ok(Merging::Done(done)) => break done,
            Err(error) => {
                learn::clear();
                return Err(error.into());
            }
        }
    };
    learn::clear();
    let seconds = began.elapsed().as_secs_f64();
    if !args.check && !done.merged.is_empty() {
        memory.merge(&done.merged, learn::seconds_since_1970())?;
    }
    Receipt { path: &path, kept: !args.check, sections, size, done: &done, seconds }.show(args.json)
}

fn confirm(path: &Path) -> Done {
    let asked = io::stdin().is_terminal() && io::stderr().is_terminal();
    match asked && files::confirm(&format!("merge sections of {} where every answer stays?", path.display())) {
        true => Ok(()),
        false => Err(Failure::Failed(format!(
            "{} was left alone; add --yes to merge sections, --check to only try",
            path.display()
        ))),
    }
}

/// What was done.
struct Receipt<'a> {
    path: &'a Path,
    kept: bool,
    sections: usize,
    size: usize,
    done: &'a Consolidated,
    seconds: f64,
}

impl Receipt<'_> {
    fn show(&self, as_json: bool) -> Done {
        let Consolidated { merged, refused } = self.done;
        let gone = |all: &mut dyn Iterator<Item = usize>| all.sum::<usize>();
        let after = self.sections - gone(&mut merged.iter().map(|merged| merged.lessons.len() - 1));
        let size = self.size - gone(&mut merged.iter().map(|m| (m.lessons.len() - 1) * m.written.bytes()));
        let checked = gone(&mut merged.iter().map(|merged| merged.receipt.checked));
        let passed = gone(&mut merged.iter().map(|merged| merged.receipt.passed));
        if as_json {
            let all = |lessons: &[u64], key: &str, value: Value| json!({ "lessons": lessons, key: value });
            return print_json(&json!({
                "memory": self.path.display().to_string(), "kept": self.kept,
                "sections_before": self.sections, "sections_after": after,
                "bytes_before": self.size, "bytes_after": size,
                "merged": merged.iter().map(|m| all(&m.lessons, "receipt", json!(m.receipt))).collect::<Vec<_>>(),
                "refused": refused.iter().map(|(lessons, why)| all(lessons, "why", json!(why))).collect::<Vec<_>>(),
                "checked": checked, "passed": passed, "seconds": self.seconds,
            }));
        }
        for merged in merged {
            let receipt = &merged.receipt;
            let (passed, checked) = (receipt.passed, receipt.checked);
            print(&format!("merged    {}: {passed} of {checked} answers as before\n", numbers(&merged.lessons)))?;
        }
        for (lessons, why) in refused {
            print(&format!("left      {}: {why}\n", numbers(lessons)))?;
        }
        let (old, new) = (bytes(self.size as u64), bytes(size as u64));
        let would = if self.kept { "" } else { " (nothing was changed)" };
        print(&format!("sections  {} before, {after} after{would}\n", self.sections))?;
        print(&format!("pool      {old} before, {new} after\n"))?;
        print(&format!("answers   {passed} of {checked} as before, in {:.1} s\n", self.seconds))
    }
}
