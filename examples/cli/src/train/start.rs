//! How a run begins: anew, or from its saved state.

use super::log::{Log, Record};
use super::{Files, Run, ignored};
use crate::args::TrainArgs;
use crate::failure::{Done, Failure};
use crate::output::note;
use crate::recipe::Recipe;
use crate::{files, interrupt, load, readers};
use lichen::data::{Dataset, Document};
use lichen::train::{TrainOptions, Trainer};
use lichen::{Checkpoint, Device, Tokenizer};
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
    let documents = readers::with_openings(readers::documents(&args.data)?, openings);
    let mut options = recipe.as_ref().map_or_else(TrainOptions::default, |r| r.train.clone());
    options.seed = args.seed.unwrap_or(options.seed);
    let about = recipe.as_ref().map(|r| r.about.as_str());
    let origin = Origin::new(args, recipe.as_ref(), &documents)?;
    let tokenizer = origin.tokenizer();
    let data = Dataset::new(tokenizer, documents)?;
    let (have, least) = (data.tokens().len(), options.context + 1);
    if have < least {
        return Err(Failure::Failed(format!("the text has {have} tokens, one sequence of the recipe needs {least}")));
    }
    let validation = validation(&args.validation, tokenizer)?;
    if let Some(minutes) = args.minutes {
        options = paced(&origin, about, options, &data, device.clone(), minutes * 60.0)?;
    }
    let trainer = Trainer::new(origin.checkpoint(&options, about)?, options, device)?;
    let storage = recipe.as_ref().map_or(crate::args::StorageArg::F16, |r| r.storage);
    let record = Record { data: absolute(&args.data), validation: absolute(&args.validation), storage, openings };
    let told = serde_json::to_value(trainer.options()).unwrap_or_default();
    let log = Log::start(&files.log, &record, &told)?;
    let fingerprint = data.fingerprint();
    let mut run = Run { files, trainer, data, fingerprint, validation, storage, log, smooth: None };
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
    let data = Dataset::new(trainer.tokenizer(), readers::with_openings(readers::documents(paths)?, openings))?;
    let fingerprint = data.fingerprint();
    if fingerprint != resumed.data {
        let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        return Err(Failure::Failed(format!(
            "{} is not the text that this run was trained on; give the same --data, or start anew with --yes",
            names.join(", ")
        )));
    }
    let validation = validation(held_out, trainer.tokenizer())?;
    let storage = record.as_ref().map_or(crate::args::StorageArg::F16, |r| r.storage);
    note(&format!("going on after update {} of {}", trainer.position(), trainer.options().steps));
    Ok(Run { files, trainer, data, fingerprint, validation, storage, log, smooth })
}

/// Where the weights come from.
enum Origin<'a> {
    Model(PathBuf, Tokenizer),
    Random(&'a Recipe, Tokenizer),
}

impl<'a> Origin<'a> {
    fn new(args: &TrainArgs, recipe: Option<&'a Recipe>, documents: &[Document]) -> Done<Self> {
        match (&args.init, recipe) {
            (Some(path), _) => Ok(Self::Model(path.clone(), load::checkpoint(Some(path))?.tokenizer().clone())),
            (None, Some(recipe)) => Ok(Self::Random(recipe, recipe.tokenizer(documents)?)),
            (None, None) => Err(Failure::Usage("train needs --config or --init".into())),
        }
    }
    fn tokenizer(&self) -> &Tokenizer {
        match self {
            Self::Model(_, tokenizer) | Self::Random(_, tokenizer) => tokenizer,
        }
    }
    fn checkpoint(&self, options: &TrainOptions, about: Option<&str>) -> Done<Checkpoint> {
        let mut checkpoint = match self {
            Self::Model(path, _) => load::checkpoint(Some(path))?,
            Self::Random(recipe, tokenizer) => {
                let config = recipe.config(tokenizer.vocab())?;
                Checkpoint::random(&config, tokenizer.clone(), options.seed)
            }
        };
        if let Some(about) = about {
            checkpoint.header.about = about.to_string();
        }
        Ok(checkpoint)
    }
}

/// Fixes the number of updates by the speed of a few that are thrown away.
fn paced(
    origin: &Origin,
    about: Option<&str>,
    options: TrainOptions,
    data: &Dataset,
    device: Arc<Device>,
    seconds: f64,
) -> Done<TrainOptions> {
    let mut trainer = Trainer::new(origin.checkpoint(&options, about)?, options.clone(), device)?;
    // The first update also makes room for everything; it is not typical.
    trainer.step(data)?;
    let (start, mut n) = (Instant::now(), 0u32);
    while n < 2 || start.elapsed().as_secs_f64() < PACE_SECONDS.min(PACE_SHARE * seconds) {
        trainer.step(data)?;
        n += 1;
        if interrupt::pressed() {
            return Err(Failure::Interrupted("stopped before the run began; nothing was written".into()));
        }
    }
    let pace = start.elapsed().as_secs_f64() / f64::from(n);
    let steps = ((1.0 - SAVING) * seconds / pace).max(1.0) as u64;
    note(&format!("{pace:.3} s an update: {steps} updates in {:.1} minutes", seconds / 60.0));
    Ok(TrainOptions { steps, warmup: options.warmup.min(steps / 10), ..options })
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
