//! Trains the slabs of one section: cross-entropy where the answer is to change, Kullback-Leibler divergence to the
//! unchanged model where it is to stay, with nothing but the section's own weights moving.
//!
//! Up to where the section first opens a conversation is the unchanged model's: those rows run once, and every update
//! goes on from the states that they leave.

use super::cpu;
use super::gate::Gate;
use super::reader::Rows;
use crate::error::Error;
use crate::graph::{self, Graph, Logits, Pool, Shape, StateBuffers};
use crate::model::Model;
use crate::plastic::{self, NEURONS, OPEN, Plastic, Written};
use crate::weights::Weights;
use lichen_host::{AdamW, Buffer, Gradients, Moments};
use lichen_shaders::NONE;
use lichen_shaders::cases::Random;

/// Updates of the section.
pub(super) const UPDATES: u64 = 20;
/// Highest learning rate: reached in [`WARMUP`] updates, then falling to zero.
const RATE: f32 = 2e-2;
const WARMUP: f32 = 4.0;
/// Largest norm of the gradient.
const CLIP: f64 = 1.0;
/// Rows that run at once: their activations and gradients are most of what a lesson needs of memory.
const ROWS: usize = 128;

/// One conversation to train on, of which everything below the section has been computed.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    /// What enters behind the own sections of the pool's first layer.
    pub(super) entering: Rows,
    /// Rows.
    pub(super) rows: usize,
    /// How far the section is open at rows; at all others it is shut.
    pub(super) open: Vec<(usize, f32)>,
    /// Rows whose next token counts, and what it should be.
    pub(super) targets: Vec<(usize, Target)>,
}

/// What should follow after a token.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// This token.
    Token(u32),
    /// Each token as likely as in the unchanged model.
    Same(Vec<f32>),
}

impl Target {
    /// The loss in nats at a row of logits, times a weight, and its gradient: cross-entropy, or the Kullback-Leibler
    /// divergence from the unchanged model.
    pub fn loss(&self, logits: &[f32], weight: f32, gradient: &mut [f32]) -> f64 {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|x| (x - top).exp()).sum();
        let chance = |x: f32| (x - top).exp() / sum;
        let mut loss = 0.0;
        match self {
            Self::Token(token) => {
                gradient.iter_mut().zip(logits).for_each(|(g, &x)| *g = weight * chance(x));
                gradient[*token as usize] -= weight;
                loss -= f64::from(chance(logits[*token as usize]).max(1e-30).ln() * weight);
            }
            Self::Same(chances) => {
                for ((g, &x), &before) in gradient.iter_mut().zip(logits).zip(chances) {
                    let now = chance(x);
                    *g = weight * (now - before);
                    if before > 1e-9 {
                        loss += f64::from(weight * before * (before / now.max(1e-30)).ln());
                    }
                }
            }
        }
        loss
    }
}

/// Mean losses of an update, in nats a token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Losses {
    /// Of what is to change.
    pub(super) frames: f64,
    /// Of what is to stay.
    pub(super) guards: f64,
}

impl Sequence {
    /// The first row that the section may change.
    fn start(&self) -> usize {
        let opens = self.open.iter().filter(|(_, by)| *by > 0.0).map(|(row, _)| *row);
        opens.chain(self.targets.iter().map(|(row, _)| *row)).min().unwrap_or(0)
    }
}

/// Sequences that run together.
struct Group {
    members: Vec<usize>,
    graph: Graph,
    state: StateBuffers,
}

impl Group {
    /// Rows of a sequence.
    fn steps(&self) -> usize {
        self.graph.ids.len() / self.members.len()
    }
}

pub(super) struct Writer {
    sequences: Vec<Sequence>,
    /// Of each sequence, the states of the layers above where the section first opens, part by part.
    states: Vec<Vec<Vec<f32>>>,
    /// What comes before that, until it has run.
    before: Vec<Group>,
    groups: Vec<Group>,
    #[cfg(test)]
    pool: Plastic,
    slabs: Vec<Buffer>,
    moments: Vec<Moments>,
    gradients: Gradients,
    /// Predictions that are to change, and to stay.
    counts: [f32; 2],
    update: u64,
    next: usize,
    sums: Losses,
    /// Of the updates so far, the one that is going on excluded.
    pub(super) losses: Vec<Losses>,
}

impl Writer {
    /// Going on from slabs, or with a fresh section: rows up at random, rows down zero, so that it starts silent.
    pub(super) async fn new(
        model: &Model,
        sequences: Vec<Sequence>,
        from: Option<Vec<Vec<f32>>>,
        random: &mut Random,
    ) -> Result<Self, Error> {
        let (config, device) = (model.config(), model.device());
        let layers = plastic::layers(config);
        let pool = Plastic::new(model, 1).await?;
        let half = NEURONS * config.width;
        let fan = 1.0 / (config.width as f64).sqrt();
        let fresh = layers.clone().map(|_| {
            let mut slab: Vec<f32> = (0..half).map(|_| (fan * random.normal()) as f32).collect();
            slab.resize(2 * half, 0.0);
            slab
        });
        let mut shut = pool.shut_section();
        shut.slabs = from.unwrap_or_else(|| fresh.collect());
        pool.write(device, 0, &shut)?;
        let slabs: Vec<Buffer> = layers.clone().filter_map(|layer| pool.slabs(layer).cloned()).collect();

        let upper = upper(model).await?;
        let starts: Vec<usize> = sequences.iter().map(Sequence::start).collect();
        let build = |length: &dyn Fn(usize) -> usize, shape: &dyn Fn(&[usize], usize) -> Shape| {
            let mut order: Vec<usize> = (0..sequences.len()).filter(|&i| length(i) > 0).collect();
            order.sort_by_key(|&i| std::cmp::Reverse(length(i)));
            // The longest of a group comes first.
            let steps = |members: &[usize]| length(members[0]).next_multiple_of(4);
            let mut groups: Vec<Vec<usize>> = Vec::new();
            while let Some(&longest) = order.first() {
                let count = (ROWS / length(longest)).clamp(1, order.len());
                groups.push(order.drain(..count).collect());
            }
            // All of them share their activations.
            groups.sort_by_key(|members| std::cmp::Reverse(members.len() * steps(members)));
            let mut activations = Pool::default();
            let group = |members: Vec<usize>| -> Result<Group, Error> {
                let state = StateBuffers::declare(config, members.len());
                let shape = Shape { from: Some(layers.start), ..shape(&members, steps(&members)) };
                let graph = graph::build_in(&mut activations, config, &upper, &state, device, &shape, None)?;
                Ok(Group { members, graph, state })
            };
            groups.into_iter().map(group).collect::<Result<Vec<_>, Error>>()
        };
        let before = build(&|i| starts[i], &|members, steps| Shape::new(members.len(), steps, Logits::Last).reused())?;
        let groups = build(&|i| sequences[i].rows - starts[i], &|members, steps| {
            let asked = members.iter().map(|&i| sequences[i].targets.len()).sum::<usize>().max(1);
            Shape { plastic: Some(pool.clone()), ..Shape::new(members.len(), steps, Logits::Picked(asked)) }
        })?;
        // Where nothing comes before, the states are those of an empty stream.
        let empty = StateBuffers::declare(config, 1);
        let empty: Vec<Vec<f32>> =
            empty.layers[layers.start + 1..].iter().flatten().map(|(_, buffer)| vec![0.0; buffer.len()]).collect();
        let mut counts = [0f32; 2];
        for (_, target) in sequences.iter().flat_map(|s| &s.targets) {
            counts[usize::from(matches!(target, Target::Same(_)))] += 1.0;
        }
        Ok(Self {
            moments: slabs.iter().map(|b| Moments::zeros(b.len())).collect(),
            gradients: Gradients::new(&slabs),
            states: vec![empty; sequences.len()],
            sequences,
            before,
            groups,
            #[cfg(test)]
            pool,
            slabs,
            counts: counts.map(|n| n.max(1.0)),
            update: 0,
            next: 0,
            sums: Losses::default(),
            losses: Vec::new(),
        })
    }

    /// Updates that are done.
    pub(super) fn position(&self) -> u64 {
        self.update
    }

    /// One group of sequences, forward and backward; after the last group of an update the section is changed. The
    /// answer is whether all updates are done and the losses of the result are known.
    pub(super) fn step(&mut self, model: &Model) -> Result<bool, Error> {
        if let Some(group) = self.before.pop() {
            self.lead_up(model, &group)?;
            return Ok(false);
        }
        let last = self.update == UPDATES;
        if self.next < self.groups.len() {
            self.run(model, last)?;
            self.next += 1;
        }
        if self.next < self.groups.len() {
            return Ok(false);
        }
        self.losses.push(std::mem::take(&mut self.sums));
        self.next = 0;
        if last {
            return Ok(true);
        }
        self.apply(model)?;
        self.update += 1;
        Ok(false)
    }

    /// Runs what comes before the section opens, and keeps the states. The rows end where the group's end: empty rows in
    /// front of them leave empty states empty.
    fn lead_up(&mut self, model: &Model, group: &Group) -> Result<(), Error> {
        let (config, device, cpu) = (model.config(), model.device(), cpu(model)?);
        let (steps, width) = (group.steps(), config.width);
        let mut rows = vec![0f32; group.members.len() * steps * width];
        for (rows, &i) in rows.chunks_mut(steps * width).zip(&group.members) {
            let sequence = &self.sequences[i];
            let start = sequence.start() * width;
            rows[steps * width - start..].copy_from_slice(&sequence.entering.rows[..start]);
        }
        let Some(entering) = &group.graph.entering else {
            return Err(Error::Memory("a graph for writing lacks an end".into()));
        };
        // The section is shut, so that nothing reads what is normed.
        device.write(&entering.rows, &rows)?;
        group.state.reset(device)?;
        device.run(&group.graph.recording, 1)?;
        let parts = group.state.layers[plastic::layers(config).start + 1..].iter().flatten();
        for (part, (_, buffer)) in parts.enumerate() {
            let all: Vec<f32> = cpu.values(&buffer.view())?;
            for (state, &i) in all.chunks(buffer.len() / group.members.len()).zip(&group.members) {
                self.states[i][part].copy_from_slice(state);
            }
        }
        Ok(())
    }

    fn run(&mut self, model: &Model, last: bool) -> Result<(), Error> {
        let (config, device, cpu) = (model.config(), model.device(), cpu(model)?);
        let group = &self.groups[self.next];
        let (width, vocab, steps, count) = (config.width, config.vocab, group.steps(), group.members.len());
        let mut entering = Rows { rows: vec![0.0; count * steps * width], normed: vec![0.0; count * steps * width] };
        let (mut ids, mut open) = (vec![NONE; count * steps * OPEN], vec![0f32; count * steps * OPEN]);
        let mut picked = Vec::new();
        for (b, &i) in group.members.iter().enumerate() {
            let s = &self.sequences[i];
            let start = s.start();
            let (from, to) = (start * width..s.rows * width, b * steps * width);
            entering.rows[to..][..from.len()].copy_from_slice(&s.entering.rows[from.clone()]);
            entering.normed[to..][..from.len()].copy_from_slice(&s.entering.normed[from]);
            for &(row, by) in s.open.iter().filter(|(_, by)| *by > 0.0) {
                let at = (b * steps + row - start) * OPEN;
                (ids[at], open[at]) = (0, by);
            }
            picked.extend(s.targets.iter().map(|(row, _)| (b * steps + row - start) as u32));
        }
        let ends = (&group.graph.entering, &group.graph.opened, &group.graph.picked);
        let (Some(to_entering), Some((to_ids, to_open)), Some(to_picked)) = ends else {
            return Err(Error::Memory("a graph for writing lacks an end".into()));
        };
        picked.resize(to_picked.len(), 0);
        device.write(&to_entering.rows, &entering.rows)?;
        device.write(&to_entering.normed, &entering.normed)?;
        device.write(to_ids, &ids)?;
        device.write(to_open, &open)?;
        device.write(&to_picked.view(), &picked)?;
        group.state.reset(device)?;
        let parts = group.state.layers[plastic::layers(config).start + 1..].iter().flatten();
        for (part, (_, buffer)) in parts.enumerate() {
            let states: Vec<f32> = group.members.iter().flat_map(|&i| self.states[i][part].iter().copied()).collect();
            device.write(&buffer.view(), &states)?;
        }
        let tape = cpu.run_taped(&group.graph.recording)?;
        let logits: Vec<f32> = cpu.values(&group.graph.logits.slice(0, picked.len() * vocab))?;
        let mut seed = vec![0f32; group.graph.logits.len()];
        let targets = group.members.iter().flat_map(|&i| &self.sequences[i].targets);
        let mut sums = self.sums;
        for (((_, target), row), seed) in targets.zip(logits.chunks(vocab)).zip(seed.chunks_mut(vocab)) {
            match target {
                Target::Token(_) => sums.frames += target.loss(row, 1.0 / self.counts[0], seed),
                Target::Same(_) => sums.guards += target.loss(row, 1.0 / self.counts[1], seed),
            }
        }
        if !(sums.frames.is_finite() && sums.guards.is_finite()) {
            return Err(Error::Memory("the lesson's loss is not a finite number".into()));
        }
        if !last {
            cpu.backward(&group.graph.recording, &tape, &[(&group.graph.logits, &seed)], &mut self.gradients)?;
        }
        self.sums = sums;
        Ok(())
    }

    /// The gradient of the section as it is, slab by slab.
    #[cfg(test)]
    pub(super) fn gradient(&mut self, model: &Model) -> Result<Vec<f32>, Error> {
        while let Some(group) = self.before.pop() {
            self.lead_up(model, &group)?;
        }
        for next in 0..self.groups.len() {
            self.next = next;
            self.run(model, false)?;
        }
        let all = self.slabs.iter().filter_map(|slab| self.gradients.get(slab)).flatten().copied().collect();
        self.gradients.clear();
        (self.next, self.sums) = (0, Losses::default());
        Ok(all)
    }

    fn apply(&mut self, model: &Model) -> Result<(), Error> {
        let cpu = cpu(model)?;
        let norm = cpu.squared_norm(&self.gradients, &self.slabs).sqrt();
        if !norm.is_finite() {
            return Err(Error::Memory("the lesson's gradient is not a finite number".into()));
        }
        let scale = (CLIP / norm.max(1e-12)).min(1.0) as f32;
        let step = self.update + 1;
        let lr = RATE * (step as f32 / WARMUP).min(1.0) * (1.0 - self.update as f32 / UPDATES as f32);
        let rule = AdamW { lr, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, scale, step };
        for (slab, moments) in self.slabs.iter().zip(&mut self.moments) {
            cpu.adamw(slab, &self.gradients, moments, &rule)?;
        }
        self.gradients.clear();
        Ok(())
    }

    /// The section, behind a gate.
    pub(super) fn written(&self, model: &Model, gate: &Gate) -> Result<Written, Error> {
        let cpu = cpu(model)?;
        let slabs = self.slabs.iter().map(|slab| Ok(cpu.values(&slab.view())?)).collect::<Result<_, Error>>()?;
        let Gate { phrase, fact, theta, keys } = gate;
        Ok(Written { phrase: *phrase, fact: *fact, theta: *theta, keys: keys.concat(), slabs })
    }
    /// The pool that holds the section alone, shut.
    #[cfg(test)]
    pub(super) fn pool(&self) -> &Plastic {
        &self.pool
    }
}

/// What stands above the section's first layer, for gradients to go through: sections as the model holds them, and the
/// rest as floats.
async fn upper(model: &Model) -> Result<Weights, Error> {
    let (config, device) = (model.config(), model.device());
    let first = plastic::layers(config).start;
    let mut upper = Weights::declare(config, None, device, None);
    for parts in model.weights().iter() {
        let name = &parts.spec.name;
        let layer = name.strip_prefix("layers.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        if layer.map_or(name == "embed" || name == "norm", |layer| layer > first) {
            match parts.spec.is_sections() || parts.format.is_none() {
                true => upper.share(name, model.weights())?,
                false => upper.upload(device, name, &model.weights().download(device, name).await?)?,
            }
        }
    }
    Ok(upper)
}
