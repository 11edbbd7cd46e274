//! Pre-training: the backward pass with every weight selected, AdamW, a cosine schedule, gradient clipping, and
//! the router's bias stepped by load.
//!
//! Everything a step does follows from (options, data, step number), so a run that was killed and resumed ends
//! with the same weights as one that was not.

mod contrast;
mod group;

use crate::action::Catalogue;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::data::{Dataset, Example};
use crate::error::Error;
use crate::eval::{Loss, token_losses};
use crate::grammar::Grammar;
use crate::graph::{Pool, TurnBuffers};
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use group::{Form, Group, Run};
use lichen_host::{AdamW, Buffer, Cpu, Device, Gradients, Moments};
use lichen_shaders::cases::Random;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainOptions {
    /// Sequences of full length in one update, or as many tokens in shorter ones.
    pub batch: usize,
    /// Sequences of full length that run at once; divides `batch`. Smaller is lighter on memory.
    pub micro: usize,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Updates in all.
    pub steps: u64,
    /// Updates after which the run ends although its schedule goes on: for weights that another run goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<u64>,
    /// Highest learning rate.
    pub lr: f32,
    /// Updates until the learning rate is highest.
    pub warmup: u64,
    /// Learning rate at the end, as a share of the highest.
    pub lr_floor: f32,
    /// AdamW's pull of matrices to zero.
    pub weight_decay: f32,
    /// AdamW's decay of the mean gradient.
    pub beta1: f32,
    /// AdamW's decay of the mean square.
    pub beta2: f32,
    /// Largest norm of the gradient; a larger one is scaled down.
    pub clip: f32,
    /// Step of the router's bias towards even load.
    pub bias_rate: f32,
    /// Weight of the contrast between turns about different facts; 0 for none.
    pub contrast: f32,
    /// Seed of the data order.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            batch: 16,
            micro: 16,
            context: 128,
            steps: 1000,
            stop: None,
            lr: 3e-3,
            warmup: 100,
            lr_floor: 0.05,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.98,
            clip: 1.0,
            bias_rate: 1e-3,
            contrast: 0.0,
            seed: 1,
        }
    }
}

impl TrainOptions {
    /// Checks every number.
    pub fn validate(&self) -> Result<(), Error> {
        let rules = [
            ((1..=4096).contains(&self.batch), "batch must be from 1 to 4096"),
            (self.micro > 0 && self.batch.is_multiple_of(self.micro), "micro must divide batch"),
            ((2..=8192).contains(&self.context), "context must be from 2 to 8192"),
            (self.lr > 0.0 && self.lr < 1.0, "lr must be between 0 and 1"),
            ((0.0..=1.0).contains(&self.lr_floor), "lr_floor must be from 0 to 1"),
            ((0.0..=10.0).contains(&self.weight_decay), "weight_decay must be from 0 to 10"),
            ((0.0..1.0).contains(&self.beta1) && (0.0..1.0).contains(&self.beta2), "betas must be from 0 to below 1"),
            (self.clip > 0.0, "clip must be positive"),
            ((0.0..=10.0).contains(&self.contrast), "contrast must be from 0 to 10"),
            ((0.0..1.0).contains(&self.bias_rate), "bias_rate must be from 0 to below 1"),
        ];
        match rules.iter().find(|(ok, _)| !ok) {
            Some((_, rule)) => Err(Error::Train((*rule).into())),
            None => Ok(()),
        }
    }
    /// Updates that are done in the end.
    pub fn last(&self) -> u64 {
        self.stop.unwrap_or(self.steps).min(self.steps)
    }
    /// Learning rate of an update: linear warm-up, then a cosine to the floor.
    pub fn lr_at(&self, step: u64) -> f32 {
        if step < self.warmup {
            return self.lr * (step + 1) as f32 / self.warmup as f32;
        }
        let share = (step - self.warmup) as f64 / (self.steps.saturating_sub(self.warmup)).max(1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos());
        self.lr * (self.lr_floor + (1.0 - self.lr_floor) * cosine as f32)
    }
}

/// What one update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Updates done.
    pub step: u64,
    /// Updates in all.
    pub steps: u64,
    /// Weighted mean loss of this update's tokens, in nats.
    pub loss: f64,
    /// Mean contrast loss of the turns that have a fellow.
    pub contrast: Option<f64>,
    /// Learning rate used.
    pub lr: f32,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens of this update.
    pub tokens: u64,
}

/// A model in training, on a CPU device.
pub struct Trainer {
    pub(crate) config: Config,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) about: String,
    pub(crate) actions: Option<Catalogue>,
    pub(crate) options: TrainOptions,
    pub(crate) device: Arc<Device>,
    pub(crate) weights: Weights,
    pool: Pool,
    runs: HashMap<Form, Arc<Run>>,
    gradients: Gradients,
    pub(crate) moments: Vec<(Buffer, Moments, bool)>,
    pub(crate) step: u64,
}

impl Trainer {
    /// Starts from a checkpoint with a fresh optimiser.
    pub fn new(checkpoint: Checkpoint, options: TrainOptions, device: Arc<Device>) -> Result<Self, Error> {
        options.validate()?;
        cpu(&device)?;
        let config = checkpoint.config().clone();
        if options.contrast > 0.0 && config.turn == 0 {
            return Err(Error::Train("contrast needs vectors of turns: give the model's sizes a \"turn\"".into()));
        }
        // What the catalogue needs of the vocabulary, so that no run ends in a file that cannot be opened.
        if let Some(actions) = &checkpoint.header.actions {
            Grammar::new(actions, checkpoint.tokenizer())?;
        }
        let weights = Weights::declare(&config, None, &device, None);
        for parts in weights.iter() {
            let name = &parts.spec.name;
            let data = checkpoint.tensor(name).ok_or_else(|| Error::Train(format!("the checkpoint has no {name}")))?;
            weights.upload(&device, name, data)?;
        }
        let trained = || weights.iter().filter(|p| p.spec.trained);
        let gradients = Gradients::new(trained().flat_map(|p| &p.buffers));
        let moments = trained()
            .flat_map(|p| p.buffers.iter().map(|b| (b.clone(), Moments::zeros(b.len()), p.spec.decays)))
            .collect();
        let mut trainer = Self {
            tokenizer: checkpoint.tokenizer().clone(),
            about: checkpoint.about().to_string(),
            actions: checkpoint.header.actions.clone(),
            config,
            options,
            device,
            weights,
            pool: Pool::default(),
            runs: HashMap::new(),
            gradients,
            moments,
            step: 0,
        };
        // The longest comes first: all others find room in its activations.
        let (steps, asked) = (trainer.options.context, trainer.options.micro * trainer.options.context);
        trainer.run(Form { steps, asked, sounds: 0, pictures: 0, turns: 0 })?;
        Ok(trainer)
    }

    /// The recording for a group.
    fn run(&mut self, form: Form) -> Result<Arc<Run>, Error> {
        if let Some(run) = self.runs.get(&form) {
            return Ok(run.clone());
        }
        let run = Arc::new(Run::new(self, form)?);
        self.runs.insert(form, run.clone());
        Ok(run)
    }

    /// Updates done.
    pub fn position(&self) -> u64 {
        self.step
    }
    /// Whether all updates are done.
    pub fn done(&self) -> bool {
        self.step >= self.options.last()
    }
    /// How this run trains.
    pub fn options(&self) -> &TrainOptions {
        &self.options
    }
    /// The sizes of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// The actions that it learns to write.
    pub fn actions(&self) -> Option<&Catalogue> {
        self.actions.as_ref()
    }
    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// One update on windows drawn at random from a stream of text.
    pub fn step(&mut self, data: &Dataset) -> Result<Progress, Error> {
        let context = self.options.context;
        let tokens = data.tokens();
        if tokens.len() < context + 1 {
            return Err(Error::Train(format!(
                "the data has {} tokens, one sequence needs {}",
                tokens.len(),
                context + 1
            )));
        }
        self.update(|random| {
            let at = random.below(tokens.len() - context);
            let ids = tokens[at..=at + context].to_vec();
            Ok(Example { weights: vec![1.0; ids.len()], ids, ..Example::default() })
        })
    }

    /// One update on sequences from `draw`, one a call, from a random stream of this update's own: as many as fill
    /// the update. Sequences of like length run together.
    pub fn update(&mut self, mut draw: impl FnMut(&mut Random) -> Result<Example, Error>) -> Result<Progress, Error> {
        let o = self.options.clone();
        let mut random = Random::new(o.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.step);
        let (mut examples, mut tokens) = (Vec::new(), 0);
        while tokens < o.batch * o.context {
            let example = draw(&mut random)?;
            tokens += example.rows();
            examples.push(example);
        }
        let weight: f64 = examples.iter().flat_map(|e| e.weights.iter().skip(1)).map(|&w| f64::from(w)).sum();
        if !(weight > 0.0) {
            return Err(Error::Train("a batch has no token to learn from".into()));
        }
        let share = (1.0 / weight) as f32;
        let mut load = vec![vec![0u64; self.config.all_sections()]; self.config.layers];
        let (mut loss, mut apart) = (0.0, (0.0, 0));
        self.gradients.clear();
        for group in self.groups(&examples)? {
            let run = self.run(group.form(&self.options))?;
            group.fill(&self.device, &run)?;
            let cpu = cpu(&self.device)?;
            let tape = cpu.run_taped(&run.graph.recording)?;
            let losses: Vec<f32> = cpu.values(&run.losses.view())?;
            loss += losses.iter().map(|&l| f64::from(l)).sum::<f64>() * f64::from(share);
            let seed = vec![share; losses.len()];
            let mut seeds = vec![(&run.losses, seed.as_slice())];
            let contrast = run.graph.turns.as_ref().map(|turns| self.contrast(turns, &group)).transpose()?;
            if let (Some(turns), Some((loss, pull))) = (&run.graph.turns, &contrast) {
                (apart.0, apart.1) = (apart.0 + loss.0, apart.1 + loss.1);
                seeds.push((&turns.means, pull));
            }
            cpu.backward(&run.graph.recording, &tape, &seeds, &mut self.gradients)?;
            for (route, load) in run.graph.routes.iter().zip(&mut load) {
                let ids: Vec<u32> = cpu.values(&route.ids.view())?;
                for (example, ids) in group.examples.iter().zip(ids.chunks(group.steps * self.config.slots())) {
                    let real = &ids[..example.rows() * self.config.slots()];
                    real.iter().for_each(|&id| load[id as usize] += 1);
                }
            }
        }
        let cpu = cpu(&self.device)?;
        let grad_norm = cpu.squared_norm(&self.gradients, self.moments.iter().map(|(b, ..)| b)).sqrt();
        if !(loss.is_finite() && grad_norm.is_finite()) {
            let at = self.step + 1;
            return Err(Error::Train(format!(
                "the loss is {loss} and the gradient's norm {grad_norm} at update {at}: lower lr ({})",
                o.lr
            )));
        }
        let lr = o.lr_at(self.step);
        let scale = (f64::from(o.clip) / grad_norm).min(1.0) as f32;
        for (buffer, moments, decays) in &mut self.moments {
            let weight_decay = if *decays { o.weight_decay } else { 0.0 };
            let rule =
                AdamW { lr, beta1: o.beta1, beta2: o.beta2, eps: 1e-8, weight_decay, scale, step: self.step + 1 };
            cpu.adamw(buffer, &self.gradients, moments, &rule)?;
        }
        self.balance(&load)?;
        self.step += 1;
        let contrast = (apart.1 > 0).then(|| apart.0 / apart.1 as f64);
        Ok(Progress { step: self.step, steps: o.last(), loss, contrast, lr, grad_norm, tokens: tokens as u64 })
    }

    /// The contrast loss of a group's turns, how many have a fellow, and the gradient of all; the background follows
    /// their mean.
    fn contrast(&self, turns: &TurnBuffers, group: &Group<'_>) -> Result<((f64, usize), Vec<f32>), Error> {
        let cpu = cpu(&self.device)?;
        let means: Vec<f32> = cpu.values(&turns.means.view())?;
        let background = self.weights.buffer("turn.background")?.view();
        let mut middle: Vec<f32> = cpu.values(&background)?;
        let labels = group.labels();
        let dim = middle.len();
        let mut gradient = vec![0.0; means.len()];
        let used = labels.len() * dim;
        let (loss, anchors) = contrast::contrast(&means[..used], &middle, &labels, &mut gradient[..used]);
        let scale = self.options.contrast / (anchors.max(1) * (self.options.batch / self.options.micro).max(1)) as f32;
        gradient.iter_mut().for_each(|g| *g *= scale);
        for (i, m) in middle.iter_mut().enumerate() {
            let mean = means[..used].iter().skip(i).step_by(dim).sum::<f32>() / labels.len().max(1) as f32;
            *m += 0.01 * (mean - *m);
        }
        self.device.write(&background, &middle)?;
        Ok(((loss, anchors), gradient))
    }

    /// The vectors of the turns of each sequence, less the background; the options must ask for contrast.
    pub fn turn_vectors(&mut self, examples: &[Example]) -> Result<Vec<Vec<Vec<f32>>>, Error> {
        let mut vectors = vec![Vec::new(); examples.len()];
        for (example, vectors) in examples.iter().zip(&mut vectors) {
            for group in self.groups(std::slice::from_ref(example))? {
                let run = self.run(group.form(&self.options))?;
                let Some(turns) = &run.graph.turns else { continue };
                group.fill(&self.device, &run)?;
                let cpu = cpu(&self.device)?;
                cpu.run_taped(&run.graph.recording)?;
                let means: Vec<f32> = cpu.values(&turns.means.view())?;
                let background: Vec<f32> = cpu.values(&self.weights.buffer("turn.background")?.view())?;
                let less = |mean: &[f32]| mean.iter().zip(&background).map(|(m, b)| m - b).collect();
                vectors.extend(means.chunks(background.len()).take(example.about.len()).map(less));
            }
        }
        Ok(vectors)
    }

    /// How well sequences are predicted, without learning from them: for each its summed loss in nats, the number of
    /// predictions that count, and whether the most likely token was right at all of those.
    pub fn score(&mut self, examples: &[Example]) -> Result<Vec<Score>, Error> {
        let mut scores = vec![Score::default(); examples.len()];
        let place: HashMap<*const Example, usize> =
            examples.iter().enumerate().map(|(i, e)| (std::ptr::from_ref(e), i)).collect();
        for group in self.groups(examples)? {
            let run = self.run(group.form(&self.options))?;
            group.fill(&self.device, &run)?;
            let cpu = cpu(&self.device)?;
            cpu.run_taped(&run.graph.recording)?;
            let classes = self.config.vocab;
            let logits: Vec<f32> = cpu.values(&run.graph.logits.slice(0, run.form.asked * classes))?;
            let mut rows = logits.chunks(classes);
            for example in &group.examples {
                let Some(score) = place.get(&std::ptr::from_ref(*example)).map(|&at| &mut scores[at]) else { continue };
                score.exact = true;
                for t in (0..example.rows()).filter(|&t| example.weights[t + 1] > 0.0) {
                    let Some(row) = rows.next() else { break };
                    let target = row[example.ids[t + 1] as usize];
                    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let sum: f64 = row.iter().map(|&l| f64::from(l - top).exp()).sum();
                    score.loss += f64::from(top - target) + sum.ln();
                    score.predictions += 1;
                    score.exact &= target >= top;
                }
            }
        }
        Ok(scores)
    }

    /// Steps the selection bias of each section towards even load (no gradient; arXiv 2408.15664). The last
    /// twentieth of the run leaves it alone, so that the weights settle under the routing they will have.
    fn balance(&self, load: &[Vec<u64>]) -> Result<(), Error> {
        let o = &self.options;
        if self.config.sections == 0 || o.bias_rate == 0.0 || self.step * 20 > o.steps * 19 {
            return Ok(());
        }
        for (layer, load) in load.iter().enumerate() {
            let bias = self.weights.buffer(&format!("layers.{layer}.route.bias"))?;
            let routed = &load[self.config.shared_sections()..];
            let mean = routed.iter().sum::<u64>() as f64 / routed.len() as f64;
            let mut values: Vec<f32> = cpu(&self.device)?.values(&bias.view())?;
            for (b, &n) in values.iter_mut().zip(routed) {
                *b += o.bias_rate * (mean - n as f64).signum() as f32;
            }
            self.device.write(&bias.view(), &values)?;
        }
        Ok(())
    }

    /// Loss on held-out text, at most `most_tokens` of it.
    pub async fn evaluate(&self, data: &Dataset, most_tokens: usize) -> Result<Loss, Error> {
        let tokens = &data.tokens()[..data.tokens().len().min(most_tokens.max(2))];
        let losses = token_losses(&self.config, &self.weights, &self.device, tokens).await?;
        Ok(Loss::of(&losses, &self.tokenizer.decode(&tokens[1..])))
    }

    /// The weights as they are now.
    pub async fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let mut checkpoint = Checkpoint::new(self.config.clone(), self.tokenizer.clone(), None, self.about.clone());
        checkpoint.header.actions = self.actions.clone();
        for parts in self.weights.iter() {
            let name = parts.spec.name.clone();
            let data = self.weights.download(&self.device, &name).await?;
            checkpoint.set(&name, data)?;
        }
        Ok(checkpoint)
    }
}

/// How well one sequence is predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Summed loss of the predictions that count, in nats.
    pub loss: f64,
    /// Predictions that count.
    pub predictions: usize,
    /// Whether the most likely token was the right one at all of them: then drawing greedily gives just these.
    pub exact: bool,
}

pub(crate) fn cpu(device: &Device) -> Result<&Cpu, Error> {
    match device {
        Device::Cpu(cpu) => Ok(cpu),
        #[cfg(feature = "gpu")]
        Device::Gpu(_) => Err(Error::Train("training runs on the CPU device".into())),
    }
}
