//! What is heard and seen: words, sounds, spoken commands, digits and pictures.

use super::asker::Asker;
use super::{Report, some, step, wrong};
use crate::args::EvalArgs;
use crate::failure::Done;
use crate::readers;
use crate::sets::senses::{Files, Sense, digits, is_digits};
use crate::sets::{Clip, DIGITS, Named, heard, seen};
use lichen::data::Turn;
use std::path::PathBuf;

/// Most tokens of an answer.
const MOST: usize = 64;

/// Clips: right is the exact action where there is one, else the exact words.
pub(super) fn clips(args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let mut all = Vec::new();
    for file in files {
        let from = Files::beside(file)?;
        let lines = some(readers::lines::<Clip>(file)?, args.most);
        let lines = lines.into_iter().filter(|clip| args.speaker.is_none() || clip.speaker == args.speaker);
        for clip in lines {
            all.push((Sense::sound(&from.sound(&clip.file)?), clip.answer()?, clip.file));
        }
    }
    score(&all, &heard(), asker, report)
}

/// Pictures: right is the exact word or name.
pub(super) fn pictures(args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let mut all = Vec::new();
    for file in files {
        if is_digits(file) {
            for (picture, label) in some(digits(file)?, args.most) {
                let word = DIGITS.get(usize::from(label)).copied().unwrap_or_default();
                all.push((Sense::picture(&picture), Turn { text: word.into(), ..Turn::default() }, word.to_string()));
            }
            continue;
        }
        let from = Files::beside(file)?;
        for line in some(readers::lines::<Named>(file)?, args.most) {
            let picture = Sense::picture(&from.picture(&line.file)?);
            all.push((picture, Turn { text: line.name, ..Turn::default() }, line.file));
        }
    }
    score(&all, &seen(), asker, report)
}

fn score(all: &[(Sense, Turn, String)], asked: &Turn, asker: &mut Asker, report: &mut Report) -> Done {
    let (mut words, mut actions) = (Vec::new(), Vec::new());
    for (i, (sense, want, name)) in all.iter().enumerate() {
        step(i, all.len())?;
        let reply = asker.alone(asked, Some(sense), MOST)?;
        let right = match want.actions.is_empty() {
            true => reply.actions.is_empty() && reply.text == want.text,
            false => reply.actions == want.actions,
        };
        if !right {
            wrong(name, &want.text, &reply.whole());
        }
        if want.actions.is_empty() { words.push(right) } else { actions.push(right) }
    }
    report.share("accuracy", &words);
    report.share("exact", &actions);
    report.set("n", all.len());
    Ok(())
}
