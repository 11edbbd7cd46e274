//! How a run begins: anew, or from its saved state.

use super::log::{Log, Record};
use super::{Data, Files, Run, ignored};
use crate::args::TrainArgs;
use crate::failure::{Done, Failure};
use crate::mixture::{self, Mixture, SourceSpec};
use crate::output::note;
use crate::recipe::Recipe;
use crate::{files, interrupt, load, readers};
use lichen::data::{Dataset, Document};
use lichen::train::{TrainOptions, Trainer};
use lichen::{Catalogue, Checkpoint, Device, Tokenizer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Measuring the speed takes this long, or this share of the run if that is less.
const PACE_SECONDS: f64 = 3.0;
const PACE_SHARE: f64 = 0.1;
/// Share of the time that saving and measuring may take.
const SAVING: f64 = 0.03;

/// What a new run needs on the command line.
pub(super) fn needs(args: &TrainArgs) -> Done {
    if args.data.is_empty() {
        return Err(Failure::Usage("train needs text: give files or folders with --data".into()));
    }
    if args.config.is_none() && args.init.is_none() {
        return Err(Failure::Usage("train needs a recipe (--config) or a model to start from (--init)".into()));
    }
    Ok(())
}

/// A new run.
pub(super) fn start(args: &TrainArgs, files: Files, device: Arc<Device>) -> Done<Run> {
    if files.state.exists() && !args.yes {
        let name = files.state.display();
        return Err(Failure::Failed(format!(
            "{name} holds an earlier run; go on with it by --resume, or start anew with --yes"
        )));
    }
    files::may_overwrite(&files.model, args.yes)?;
    let recipe = args.config.as_deref().map(Recipe::read).transpose()?;
    let openings = recipe.as_ref().map_or(0.0, |r| r.openings);
    let sources = recipe.as_ref().map_or_else(Vec::new, |r| r.sources.clone());
    let raw = Raw::read(&sources, &args.data, openings)?;
    let mut options = recipe.as_ref().map_or_else(TrainOptions::default, |r| r.train.clone());
    options.seed = args.seed.unwrap_or(options.seed);
    let checkpoint = origin(args, recipe.as_ref(), &raw, options.seed)?;
    let tokenizer = checkpoint.tokenizer().clone();
    let data = raw.encode(&tokenizer, checkpoint.header.actions.as_ref(), options.context)?;
    let validation = validation(&args.validation, &tokenizer)?;
    if let Some(minutes) = args.minutes {
        options = paced(checkpoint.clone(), options, &data, device.clone(), minutes * 60.0)?;
    }
    let trainer = Trainer::new(checkpoint, options, device)?;
    let storage = recipe.as_ref().map_or(crate::args::StorageArg::F16, |r| r.storage);
    let record =
        Record { data: absolute(&args.data), validation: absolute(&args.validation), storage, openings, sources };
    let told = serde_json::to_value(trainer.options()).unwrap_or_default();
    let log = Log::start(&files.log, &record, &told)?;
    let mut run = Run { files, trainer, data, validation, storage, log, smooth: None };
    // From here on a crash finds a run to go on with, and `--minutes` is a fixed number of updates.
    run.save()?;
    Ok(run)
}

/// A run that goes on.
pub(super) fn resume(args: &TrainArgs, files: Files, device: Arc<Device>) -> Done<Run> {
    let bytes = files::map(&files.state)?;
    let resumed = Trainer::resume(&bytes, device)
        .map_err(Failure::with(format!("cannot go on from {}", files.state.display())))?;
    drop(bytes);
    let trainer = resumed.trainer;
    let (log, record, smooth) = Log::resume(&files.log, trainer.position())?;
    let lost = || {
        Failure::Usage(format!("{} does not say what the run was trained on; give --data again", files.log.display()))
    };
    let paths = match (&args.data, &record) {
        (given, _) if !given.is_empty() => given,
        (_, Some(record)) => &record.data,
        _ => return Err(lost()),
    };
    if args.seed.is_some_and(|seed| seed != trainer.options().seed) {
        ignored("--seed");
    }
    let held_out = match (&args.validation, &record) {
        (given, Some(record)) if given.is_empty() => &record.validation,
        (given, _) => given,
    };
    let openings = record.as_ref().map_or(0.0, |r| r.openings);
    let sources = record.as_ref().map_or_else(Vec::new, |r| r.sources.clone());
    let raw = Raw::read(&sources, paths, openings)?;
    let data = raw.encode(trainer.tokenizer(), trainer.actions(), trainer.options().context)?;
    if data.fingerprint() != resumed.data {
        let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        return Err(Failure::Failed(format!(
            "{} is not the text that this run was trained on; give the same --data, or start anew with --yes",
            names.join(", ")
        )));
    }
    let validation = validation(held_out, trainer.tokenizer())?;
    let storage = record.as_ref().map_or(crate::args::StorageArg::F16, |r| r.storage);
    note(&format!("going on after update {} of {}", trainer.position(), trainer.options().last()));
    Ok(Run { files, trainer, data, validation, storage, log, smooth })
}

/// What is trained on, read and not yet encoded.
enum Raw {
    Stream(Vec<Document>),
    Mixture(Vec<mixture::Raw>),
}

impl Raw {
    fn read(sources: &[SourceSpec], paths: &[PathBuf], openings: f64) -> Done<Self> {
        match sources {
            [] => Ok(Self::Stream(readers::with_openings(readers::documents(paths)?, openings))),
            _ => Ok(Self::Mixture(mixture::read(sources, paths)?)),
        }
    }
    /// What a vocabulary is learned from.
    fn texts(&self) -> Vec<String> {
        match self {
            Self::Mixture(raw) => mixture::texts(raw),
            Self::Stream(documents) => documents.iter().flat_map(mixture::parts).map(str::to_string).collect(),
        }
    }
    fn encode(self, tokenizer: &Tokenizer, actions: Option<&Catalogue>, context: usize) -> Done<Data> {
        match self {
            Self::Mixture(raw) => Ok(Data::Mixture(Mixture::new(raw, tokenizer, actions, context)?)),
            Self::Stream(documents) => {
                let data = Dataset::new(tokenizer, documents)?;
                let (have, least) = (data.tokens().len(), context + 1);
                match have < least {
                    true => Err(Failure::Failed(format!(
                        "the text has {have} tokens, one sequence of the recipe needs {least}"
                    ))),
                    false => Ok(Data::Stream(data)),
                }
            }
        }
    }
}

/// The weights to start from: a model's, random ones, or those of a model where they fit the recipe's sizes.
fn origin(args: &TrainArgs, recipe: Option<&Recipe>, raw: &Raw, seed: u64) -> Done<Checkpoint> {
    let mut checkpoint = match (&args.init, recipe) {
        (None, None) => return Err(Failure::Usage("train needs --config or --init".into())),
        (Some(path), None) => load::checkpoint(Some(path))?,
        (None, Some(recipe)) => {
            let tokenizer = recipe.tokenizer(raw.texts())?;
            Checkpoint::random(&recipe.config(tokenizer.vocab())?, tokenizer, seed)
        }
        (Some(path), Some(recipe)) => {
            let first = load::checkpoint(Some(path))?;
            let tokenizer = first.tokenizer().clone();
            let mut checkpoint = Checkpoint::random(&recipe.config(tokenizer.vocab())?, tokenizer, seed);
            let fresh = checkpoint.adopt(&first);
            if !fresh.is_empty() {
                note(&format!("not in {}, so they start anew: {}", path.display(), fresh.join(", ")));
            }
            checkpoint.header.actions = first.header.actions;
            checkpoint.header.about = first.header.about;
            checkpoint
        }
    };
    if let Some(recipe) = recipe {
        checkpoint.header.about.clone_from(&recipe.about);
        checkpoint.header.actions = recipe.catalogue.clone().or(checkpoint.header.actions);
    }
    Ok(checkpoint)
}

/// Fixes the number of updates by the speed of a few that are thrown away.
fn paced(
    checkpoint: Checkpoint,
    options: TrainOptions,
    data: &Data,
    device: Arc<Device>,
    seconds: f64,
) -> Done<TrainOptions> {
    let mut trainer = Trainer::new(checkpoint, options.clone(), device)?;
    // The first update also makes room for everything; it is not typical.
    data.step(&mut trainer)?;
    let (start, mut n) = (Instant::now(), 0u32);
    while n < 2 || start.elapsed().as_secs_f64() < PACE_SECONDS.min(PACE_SHARE * seconds) {
        data.step(&mut trainer)?;
        n += 1;
        if interrupt::pressed() {
            return Err(Failure::Interrupted("stopped before the run began; nothing was written".into()));
        }
    }
    let pace = start.elapsed().as_secs_f64() / f64::from(n);
    let steps = ((1.0 - SAVING) * seconds / pace).max(1.0) as u64;
    note(&format!("{pace:.3} s an update: {steps} updates in {:.1} minutes", seconds / 60.0));
    Ok(TrainOptions { steps, stop: None, warmup: options.warmup.min(steps / 10), ..options })
}

fn validation(paths: &[PathBuf], tokenizer: &Tokenizer) -> Done<Option<Dataset>> {
    if paths.is_empty() {
        return Ok(None);
    }
    Ok(Some(Dataset::new(tokenizer, readers::documents(paths)?)?))
}

/// Paths that still hold when the run goes on from another folder.
fn absolute(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|p| std::fs::canonicalize(p).unwrap_or_else(|_| p.clone())).collect()
}
