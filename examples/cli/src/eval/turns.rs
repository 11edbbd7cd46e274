//! How well the vectors of turns tell facts apart: whether a gate whose key was made of some turns about a fact opens for
//! other turns about it, at a threshold where it opens for one in a hundred turns about anything else.

use super::{Report, some};
use crate::args::EvalArgs;
use crate::failure::{Done, Failure};
use crate::{load, readers};
use lichen::data::{Document, Emphasis, Encoder, Example};
use lichen::train::{TrainOptions, Trainer};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Turns that a key is made of.
const KEYED: usize = 5;
/// Fewest turns about a fact, those of its key included.
const LEAST: usize = 8;
/// Share of other turns for which a gate may open.
const FALSE: f64 = 0.01;

pub(super) fn turns(args: &EvalArgs, files: &[PathBuf], report: &mut Report) -> Done {
    let checkpoint = load::checkpoint(args.model.model.as_deref())?;
    if checkpoint.config().turn == 0 {
        return Err(Failure::Failed("this model has no vectors of turns".into()));
    }
    let documents: Vec<Document> = some(readers::documents(files)?, args.most);
    let options = TrainOptions { batch: 4, micro: 4, context: 256, contrast: 1.0, ..TrainOptions::default() };
    let context = options.context;
    let encoder = Encoder::new(checkpoint.tokenizer(), checkpoint.header.actions.as_ref());
    let encode = |document: &Document| -> Result<Example, lichen::Error> {
        let mut example = encoder.encode(document, Emphasis::default())?;
        example.truncate(context);
        Ok(example)
    };
    let examples = documents.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    let examples: Vec<Example> = examples.into_iter().filter(|e| !e.about.is_empty()).collect();
    let device = load::cpu(args.model.device.threads)?;
    let mut trainer = Trainer::new(checkpoint.clone(), options, device)?;
    let mut all: Vec<(Option<String>, Vec<f32>)> = Vec::new();
    for (example, vectors) in examples.iter().zip(trainer.turn_vectors(&examples)?) {
        all.extend(example.about.iter().zip(vectors).map(|((_, fact), vector)| (fact.clone(), vector)));
    }
    let mut facts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, (fact, _)) in all.iter().enumerate() {
        if let Some(fact) = fact {
            facts.entry(fact).or_default().push(i);
        }
    }
    let (mut opened, mut kinds) = (Vec::new(), 0);
    for (fact, turns) in facts.iter().filter(|(_, turns)| turns.len() >= LEAST) {
        let (keyed, asked) = turns.split_at(KEYED);
        let closest = |i: usize| keyed.iter().map(|&k| cosine(&all[i].1, &all[k].1)).fold(f32::NEG_INFINITY, f32::max);
        let others = all.iter().enumerate().filter(|(_, (other, _))| other.as_deref() != Some(*fact));
        let mut others: Vec<f32> = others.map(|(i, _)| closest(i)).collect();
        others.sort_by(f32::total_cmp);
        let Some(&threshold) = others.get(((1.0 - FALSE) * others.len() as f64) as usize) else { continue };
        let found: Vec<bool> = asked.iter().map(|&i| closest(i) > threshold).collect();
        log::info!("{fact}: {} of {} turns", found.iter().filter(|f| **f).count(), found.len());
        opened.extend(found);
        kinds += 1;
    }
    if opened.is_empty() {
        return Err(Failure::Failed(format!("no fact has {LEAST} turns in --data")));
    }
    report.share("gate_recall", &opened);
    report.set("facts", kinds);
    report.set("false_fire", FALSE);
    report.set("n", opened.len());
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-12)
}
