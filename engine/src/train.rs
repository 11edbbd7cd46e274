//! Pre-training: the backward pass with every weight selected, AdamW, a cosine schedule, gradient clipping, and
//! the router's bias stepped by load.
//!
//! Everything a step does follows from (options, data, step number), so a run that was killed and resumed ends
//! with the same weights as one that was not.

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::data::Dataset;
use crate::error::Error;
use crate::eval::{Loss, token_losses};
use crate::graph::{self, Graph, Logits, Shape, StateBuffers};
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use lichen_host::{AdamW, Buffer, Cpu, Device, Gradients, Moments, Role};
use lichen_shaders::cases::Random;
use lichen_shaders::cross_entropy;
use lichen_shaders::kernel::Kind;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainOptions {
    /// Sequences of one update.
    pub batch: usize,
    /// Sequences that run at once; divides `batch`. Smaller is lighter on memory.
    pub micro: usize,
    /// Tokens of a sequence.
    pub context: usize,
    /// Updates in all.
    pub steps: u64,
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
            lr: 3e-3,
            warmup: 100,
            lr_floor: 0.05,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.98,
            clip: 1.0,
            bias_rate: 1e-3,
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
            ((0.0..1.0).contains(&self.bias_rate), "bias_rate must be from 0 to below 1"),
        ];
        match rules.iter().find(|(ok, _)| !ok) {
            Some((_, rule)) => Err(Error::Train((*rule).into())),
            None => Ok(()),
        }
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
    /// Mean loss of this update's tokens, in nats.
    pub loss: f64,
    /// Learning rate used.
    pub lr: f32,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens of this update.
    pub tokens: u64,
}

/// One sequence of an update, to be filled.
pub struct Sequence<'a> {
    /// Tokens that go in.
    pub ids: &'a mut [u32],
    /// The token that should follow each.
    pub targets: &'a mut [u32],
    /// How much each prediction counts; 1 to start with.
    pub weights: &'a mut [f32],
}

/// A model in training, on a CPU device.
pub struct Trainer {
    pub(crate) config: Config,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) about: String,
    pub(crate) options: TrainOptions,
    pub(crate) device: Arc<Device>,
    pub(crate) weights: Weights,
    state: StateBuffers,
    graph: Graph,
    targets: Buffer,
    row_weights: Buffer,
    losses: Buffer,
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
        let weights = Weights::declare(&config, None, &device, None);
        for parts in weights.iter() {
            let name = &parts.spec.name;
            let data = checkpoint.tensor(name).ok_or_else(|| Error::Train(format!("the checkpoint has no {name}")))?;
            weights.upload(&device, name, data)?;
        }
        let state = StateBuffers::declare(&config, options.micro);
        let shape =
            Shape { batch: options.micro, steps: options.context, logits: Logits::All, forced: false, reuse: false };
        let mut graph = graph::build(&config, &weights, &state, &device, &shape, None)?;
        let rows = options.micro * options.context;
        let targets = Buffer::new("targets", Kind::Index, Role::Scratch, rows);
        let row_weights = Buffer::new("row weights", Kind::Real, Role::Weight, rows);
        let losses = Buffer::new("losses", Kind::Real, Role::Scratch, rows);
        let call = cross_entropy::call(cross_entropy::Params { rows: rows as u32, classes: config.vocab as u32 });
        graph.recording.push(call, &[graph.logits.view(), targets.view(), row_weights.view(), losses.view()])?;
        let trained = || weights.iter().filter(|p| p.spec.trained);
        let gradients = Gradients::new(trained().flat_map(|p| &p.buffers));
        let moments = trained()
            .flat_map(|p| p.buffers.iter().map(|b| (b.clone(), Moments::zeros(b.len()), p.spec.decays)))
            .collect();
        Ok(Self {
            tokenizer: checkpoint.tokenizer().clone(),
            about: checkpoint.about().to_string(),
            config,
            options,
            device,
            weights,
            state,
            graph,
            targets,
            row_weights,
            losses,
            gradients,
            moments,
            step: 0,
        })
    }

    /// Updates done.
    pub fn position(&self) -> u64 {
        self.step
    }
    /// Whether all updates are done.
    pub fn done(&self) -> bool {
        self.step >= self.options.steps
    }
    /// How this run trains.
    pub fn options(&self) -> &TrainOptions {
        &self.options
    }
    /// The sizes of the model.
    pub fn config(&self) -> &Config {
        &self.config
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
        self.update(|random, sequence| {
            let at = random.below(tokens.len() - context);
            sequence.ids.copy_from_slice(&tokens[at..at + context]);
            sequence.targets.copy_from_slice(&tokens[at + 1..=at + context]);
        })
    }

    /// One update on sequences that `draw` fills, one call each, from a random stream of this update's own.
    pub fn update(&mut self, mut draw: impl FnMut(&mut Random, Sequence<'_>)) -> Result<Progress, Error> {
        let o = self.options.clone();
        let cpu = cpu(&self.device)?;
        let (rows, runs) = (o.micro * o.context, o.batch / o.micro);
        let mut random = Random::new(o.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.step);
        let mut load = vec![vec![0u64; self.config.all_sections()]; self.config.layers];
        let mut loss = 0.0;
        self.gradients.clear();
        for _ in 0..runs {
            let (mut ids, mut targets, mut weights) = (vec![0; rows], vec![0; rows], vec![1f32; rows]);
            let all = ids.chunks_mut(o.context).zip(targets.chunks_mut(o.context)).zip(weights.chunks_mut(o.context));
            for ((ids, targets), weights) in all {
                draw(&mut random, Sequence { ids, targets, weights });
            }
            let weight: f32 = weights.iter().sum();
            if let Some(&id) = ids.iter().chain(&targets).find(|&&id| id as usize >= self.config.vocab) {
                return Err(Error::Token { id, vocab: self.config.vocab });
            }
            if !(weight > 0.0) {
                return Err(Error::Train("a batch has no token to learn from".into()));
            }
            self.device.write(&self.graph.ids.view(), &ids)?;
            self.device.write(&self.targets.view(), &targets)?;
            self.device.write(&self.row_weights.view(), &weights)?;
            self.state.reset(&self.device)?;
            let tape = cpu.run_taped(&self.graph.recording)?;
            let losses: Vec<f32> = cpu.values(&self.losses.view())?;
            let share = 1.0 / (weight * runs as f32);
            loss += losses.iter().map(|&l| f64::from(l)).sum::<f64>() * f64::from(share);
            cpu.backward(&self.graph.recording, &tape, &[(&self.losses, &vec![share; rows])], &mut self.gradients)?;
            for (route, load) in self.graph.routes.iter().zip(&mut load) {
                let ids: Vec<u32> = cpu.values(&route.ids.view())?;
                ids.iter().for_each(|&id| load[id as usize] += 1);
            }
        }
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
        Ok(Progress { step: self.step, steps: o.steps, loss, lr, grad_norm, tokens: (o.batch * o.context) as u64 })
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
        for parts in self.weights.iter() {
            let name = parts.spec.name.clone();
            let data = self.weights.download(&self.device, &name).await?;
            checkpoint.set(&name, data)?;
        }
        Ok(checkpoint)
    }
}

pub(crate) fn cpu(device: &Device) -> Result<&Cpu, Error> {
    match device {
        Device::Cpu(cpu) => Ok(cpu),
        #[cfg(feature = "gpu")]
        Device::Gpu(_) => Err(Error::Train("training runs on the CPU device".into())),
    }
}
