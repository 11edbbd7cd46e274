//! Short translations: chrF, and the share that equals one of the references.

use super::asker::Asker;
use super::{Report, some, stats, step, wrong};
use crate::args::EvalArgs;
use crate::failure::{Done, Failure};
use crate::sets::{language, pairs, translate as asked};
use std::path::PathBuf;

/// Most tokens of a translation.
const MOST: usize = 64;

/// A sentence, its language and all its references.
struct Sentence {
    language: String,
    text: String,
    references: Vec<String>,
}

pub(super) fn translate(args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let mut all: Vec<Sentence> = Vec::new();
    for file in files {
        let language = args.set.clone().or_else(|| language(file)).ok_or_else(|| {
            Failure::Usage(format!("{}: its name does not say the language; give it with --set", file.display()))
        })?;
        let from = all.len();
        for (text, reference) in pairs(file)? {
            match all[from..].iter_mut().find(|s| s.text == text) {
                Some(sentence) => sentence.references.push(reference),
                None => all.push(Sentence { language: language.clone(), text, references: vec![reference] }),
            }
        }
    }
    let short = |s: &Sentence| args.words.is_none_or(|most| s.text.split_whitespace().count() <= most);
    all.retain(short);
    let all = some(all, args.most);
    if all.is_empty() {
        return Err(Failure::Failed("there is nothing to translate in --data".into()));
    }
    let (mut counts, mut exact) = (Vec::new(), Vec::new());
    for (i, sentence) in all.iter().enumerate() {
        step(i, all.len())?;
        let reply = asker.alone(&asked(&sentence.language, &sentence.text), None, MOST)?;
        // Of several references the one that the answer is nearest to.
        let of = |reference: &String| stats::grams(&reply.text, reference);
        let best = sentence
            .references
            .iter()
            .map(of)
            .max_by(|a, b| stats::chrf([*a].iter()).total_cmp(&stats::chrf([*b].iter())));
        counts.extend(best);
        let same = sentence.references.contains(&reply.text);
        if !same {
            wrong(&sentence.text, &sentence.references[0], &reply.text);
        }
        exact.push(same);
    }
    let figure = |rows: &[usize]| stats::chrf(rows.iter().map(|&i| &counts[i]));
    let (value, ci) = stats::interval(counts.len(), stats::RESAMPLES, figure);
    report.figure("chrf", value, ci);
    report.share("exact", &exact);
    report.set("n", all.len());
    Ok(())
}
