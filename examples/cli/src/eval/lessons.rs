//! Lessons: what a model knows after it was told.

use super::asker::Asker;
use super::{Report, some, step, wrong};
use crate::args::EvalArgs;
use crate::failure::Done;
use crate::readers;
use lichen::data::{Speaker, Turn};
use serde::Deserialize;
use std::path::PathBuf;

/// Most tokens of an answer.
const MOST: usize = 96;

/// A lesson with what should be known after it.
#[derive(Deserialize)]
struct Lesson {
    teach: Vec<String>,
    probes: Vec<Probe>,
}

#[derive(Deserialize)]
struct Probe {
    prompt: String,
    expect: Vec<String>,
    kind: Kind,
    /// Said first, in the same conversation, and true from then on.
    say: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Direct,
    Paraphrase,
    Applied,
    Conflict,
}

/// Each probe in a conversation of its own, after the lesson was said in it.
pub(super) fn in_context(args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let mut lessons = Vec::new();
    for file in files {
        lessons.extend(readers::lines::<Lesson>(file)?);
    }
    let lessons = some(lessons, args.most);
    let mut passed: Vec<(Kind, bool)> = Vec::new();
    for (i, lesson) in lessons.iter().enumerate() {
        step(i, lessons.len())?;
        for probe in &lesson.probes {
            asker.forget()?;
            for said in lesson.teach.iter().chain(&probe.say) {
                asker.ask(&Turn::new(Speaker::User, said), None, MOST)?;
            }
            let reply = asker.ask(&Turn::new(Speaker::User, &probe.prompt), None, MOST)?;
            let whole = reply.whole().to_lowercase();
            let right = probe.expect.iter().any(|want| whole.contains(&want.to_lowercase()));
            if !right {
                wrong(&format!("{} / {}", lesson.teach.join(" / "), probe.prompt), &probe.expect[0], &reply.whole());
            }
            passed.push((probe.kind, right));
        }
    }
    let of = |kinds: &[Kind]| -> Vec<bool> {
        passed.iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, right)| *right).collect()
    };
    report.share("efficacy", &of(&[Kind::Direct]));
    report.share("generalisation", &of(&[Kind::Paraphrase, Kind::Applied]));
    report.share("paraphrase", &of(&[Kind::Paraphrase]));
    report.share("applied", &of(&[Kind::Applied]));
    report.share("conflict", &of(&[Kind::Conflict]));
    report.set("n", lessons.len());
    report.set("in_context", true);
    Ok(())
}
