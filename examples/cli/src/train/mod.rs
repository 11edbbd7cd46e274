//! `lichen train`: from text to a model file.
//!
//! A run is `OUT` (the model), `OUT.train` (all that going on needs) and `OUT.log.jsonl`. Each is replaced as a
//! whole, the state before the model, so that a crash at any moment loses at most the time since the last save.

mod log;
mod meter;
mod start;

use crate::args::{StorageArg, TrainArgs};
use crate::failure::{Done, Failure};
use crate::mixture::Mixture;
use crate::output::{bytes, note, print_json, short, warn};
use crate::{files, interrupt, load};
use lichen::Storage;
use lichen::data::Dataset;
use lichen::eval::Loss;
use lichen::train::{Progress, Trainer};
use log::Log;
use meter::{Meter, duration};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Held-out sequences of a source measured at a save.
const GLANCES: usize = 64;
/// Held-out tokens measured at a save; the end measures all.
const GLANCE: usize = 16_384;

/// A run in progress.
struct Run {
    files: Files,
    trainer: Trainer,
    data: Data,
    validation: Option<Dataset>,
    storage: StorageArg,
    log: Log,
    /// Smoothed loss so far.
    smooth: Option<f64>,
}

/// What a run learns from.
enum Data {
    /// Windows of one stream of text.
    Stream(Dataset),
    /// Sequences of several sources.
    Mixture(Mixture),
}

impl Data {
    /// One update.
    fn step(&self, trainer: &mut Trainer) -> Result<Progress, lichen::Error> {
        match self {
            Self::Stream(data) => trainer.step(data),
            Self::Mixture(mixture) => trainer.update(|random| Ok(mixture.draw(random))),
        }
    }
    /// SHA-256 of the tokens, hex.
    fn fingerprint(&self) -> String {
        match self {
            Self::Stream(data) => data.fingerprint(),
            Self::Mixture(mixture) => mixture.fingerprint().to_string(),
        }
    }
    fn tokens(&self) -> usize {
        match self {
            Self::Stream(data) => data.tokens().len(),
            Self::Mixture(mixture) => mixture.tokens(),
        }
    }
}

/// The files of a run.
struct Files {
    model: PathBuf,
    state: PathBuf,
    log: PathBuf,
}

impl Files {
    fn of(model: &Path) -> Self {
        let (state, log) = (files::beside(model, ".train"), files::beside(model, ".log.jsonl"));
        Self { model: model.to_path_buf(), state, log }
    }
    /// Finds out before any work that one of them cannot be written.
    fn check(&self) -> Done {
        if self.model.exists() && !self.model.is_file() {
            let name = self.model.display();
            return Err(Failure::Failed(format!("cannot train into {name}: it is not a regular file; name a new one")));
        }
        [&self.model, &self.state, &self.log].into_iter().try_for_each(|path| files::check_writable(path))
    }
}

pub(crate) fn train(args: &TrainArgs) -> Done {
    if args.minutes.is_some_and(|m| !(m > 0.0 && m <= 1e6)) {
        return Err(Failure::Usage("--minutes must be above 0 and at most a million".into()));
    }
    if !(args.save_every >= 0.0 && args.save_every <= 1e9) {
        return Err(Failure::Usage("--save-every must be a number of seconds".into()));
    }
    let files = Files::of(&args.out);
    let resumes = args.resume && files.state.is_file();
    if !resumes {
        start::needs(args)?;
    }
    files.check()?;
    let device = load::cpu(args.threads)?;
    interrupt::listen();
    let mut run = match resumes {
        true => start::resume(args, files, device)?,
        false => start::start(args, files, device)?,
    };
    run.go(Duration::from_secs_f64(args.save_every), args.json)
}

impl Run {
    fn go(&mut self, save_every: Duration, as_json: bool) -> Done {
        let options = self.trainer.options();
        let (steps, first) = (options.last(), self.trainer.position());
        note(&self.head());
        let mut meter = Meter::new(first, steps, self.smooth);
        let started = Instant::now();
        let mut saved = Instant::now();
        let mut last = None;
        while !self.trainer.done() {
            let before = Instant::now();
            let progress = match self.data.step(&mut self.trainer) {
                Ok(progress) => progress,
                Err(error) => {
                    meter.finish();
                    let state = self.files.state.display();
                    return Err(Failure::Failed(format!("{error}; the last good state is kept in {state}")));
                }
            };
            let seconds = before.elapsed().as_secs_f64();
            let smooth = meter.update(&progress, seconds);
            self.log.update(&progress, smooth, seconds)?;
            (self.smooth, last) = (Some(smooth), Some(progress.loss));
            if interrupt::pressed() && !self.trainer.done() {
                meter.finish();
                self.save()?;
                let (model, at) = (self.files.model.display(), progress.step);
                return Err(Failure::Interrupted(format!(
                    "stopped and saved after update {at} of {steps}; go on with: lichen train --resume --out {model}"
                )));
            }
            if saved.elapsed() >= save_every && !self.trainer.done() {
                if let Some(report) = self.score(GLANCES)? {
                    meter.say(&format!("step {}/{steps}  loss {smooth:.3}  {report}", progress.step));
                }
                if let Some(loss) = self.measure(GLANCE)? {
                    meter.say(&format!("step {}/{steps}  loss {smooth:.3}  held-out {}", progress.step, shown(&loss)));
                }
                self.save()?;
                saved = Instant::now();
            }
        }
        // The state is safe before the last measurement, which may take a while.
        self.save()?;
        let held_out = self.measure(usize::MAX)?;
        self.log.flush()?;
        meter.finish();
        let (spent, smooth) = (started.elapsed(), self.smooth.unwrap_or(f64::NAN));
        let size = std::fs::metadata(&self.files.model).map_or(0, |m| m.len());
        let held = held_out.map_or(String::new(), |loss| format!(", held-out {}", shown(&loss)));
        let speed = meter.speed();
        note(&format!(
            "done: {} updates in {} ({} tokens/s), loss {smooth:.3}{held}\n{}: {}",
            steps - first,
            duration(spent),
            short(speed as u64),
            self.files.model.display(),
            bytes(size)
        ));
        if as_json {
            print_json(&json!({
                "out": self.files.model, "step": steps, "loss": last, "smooth": self.smooth, "seconds": spent.as_secs_f64(),
                "tokens_s": speed, "nats_per_token": held_out.map(|l| l.nats_per_token),
                "nats_per_byte": held_out.map(|l| l.nats_per_byte),
            }))?;
        }
        Ok(())
    }

    /// What is trained on what, in a line.
    fn head(&self) -> String {
        let (config, options) = (self.trainer.config(), self.trainer.options());
        let tokens = options.last() * (options.batch * options.context) as u64;
        let have = self.data.tokens();
        format!(
            "{} weights, {} active; {} tokens of text, {} updates of {} sequences of {} ({:.1} times the text)",
            short(config.total_params()),
            short(config.active_params()),
            short(have as u64),
            options.last(),
            options.batch,
            options.context,
            tokens as f64 / have.max(1) as f64
        )
    }

    /// Loss on the held-out text.
    fn measure(&mut self, most_tokens: usize) -> Done<Option<Loss>> {
        let Some(validation) = &self.validation else { return Ok(None) };
        let loss = pollster::block_on(self.trainer.evaluate(validation, most_tokens))?;
        self.log.validation(self.trainer.position(), &loss)?;
        Ok(Some(loss))
    }

    /// How well the held-out sequences of each source are answered: the share that greedy drawing would get right as
    /// a whole, and the loss of a token of the answer.
    fn score(&mut self, most: usize) -> Done<Option<String>> {
        let Data::Mixture(mixture) = &self.data else { return Ok(None) };
        let mut told = Vec::new();
        let mut rows = Vec::new();
        for (name, examples) in mixture.held_out(most) {
            let scores = self.trainer.score(&examples)?;
            let exact = scores.iter().filter(|s| s.exact).count() as f64 / scores.len().max(1) as f64;
            let (loss, n) = scores.iter().fold((0.0, 0), |(l, n), s| (l + s.loss, n + s.predictions));
            let loss = loss / n.max(1) as f64;
            told.push(format!("{name} {:.0}% {loss:.2}", 100.0 * exact));
            rows.push((name.to_string(), json!({ "exact": exact, "nats_per_token": loss, "n": scores.len() })));
        }
        if rows.is_empty() {
            return Ok(None);
        }
        self.log.sources(self.trainer.position(), &rows.into_iter().collect())?;
        Ok(Some(told.join(", ")))
    }

    /// Makes all that was done last: the log, the state, then the model, which can be made again from the state.
    fn save(&mut self) -> Done {
        self.log.flush()?;
        files::write(&self.files.state, |out| {
            let cannot = Failure::with(self.files.state.display());
            self.trainer.save(&self.data.fingerprint(), out).map_err(cannot)
        })?;
        let checkpoint = pollster::block_on(self.trainer.checkpoint())?;
        let storage = Storage::all(self.storage.into());
        files::write(&self.files.model, |out| {
            checkpoint.write(storage, out).map_err(Failure::with(self.files.model.display()))
        })
    }
}

fn shown(loss: &Loss) -> String {
    format!("{:.4} nats a byte", loss.nats_per_byte)
}

/// Says that a flag has no effect on a run that goes on.
fn ignored(flag: &str) {
    warn(&format!("{flag} is ignored: a run goes on as it was started"));
}
