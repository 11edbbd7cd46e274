//! Other ways to keep lessons than sections of their own, to compare with: all weights are tuned, or adapters of low rank,
//! or the model's own sections that a lesson wakes most. Each lesson asks itself, guards and counts its updates as
//! `lichen learn` does; only what moves is another. The result is a model file, to be measured by
//! `lichen eval --suite lessons --kept-by FILE`.

use clap::{Parser, ValueEnum};
use lichen::graph::{self, Graph, Logits, Pool, Shape, StateBuffers};
use lichen::learn::{Exercise, Learner, Phase, Step, Target, Teaching};
use lichen::weights::Weights;
use lichen::{Checkpoint, Config, Device, Error, Model, Random, Storage};
use lichen_host::{AdamW, Buffer, Cpu, Gradients, Moments};
use std::error::Error as Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keep lessons in another way than in sections of their own.
#[derive(Parser)]
struct Args {
    /// Model file with prompts for learning
    #[arg(short, long)]
    model: PathBuf,
    /// Lessons, as for `lichen eval --suite lessons`
    #[arg(long)]
    lessons: PathBuf,
    /// At most so many of them, spread evenly
    #[arg(long)]
    most: Option<usize>,
    /// What moves
    #[arg(long, value_enum)]
    way: Way,
    /// Highest learning rate
    #[arg(long)]
    rate: f32,
    /// Updates of a lesson
    #[arg(long, default_value_t = 20)]
    updates: u64,
    /// Rank of the adapters
    #[arg(long, default_value_t = 8)]
    rank: usize,
    /// Sections of each layer that a lesson may change
    #[arg(long, default_value_t = 2)]
    sections: usize,
    /// Threads
    #[arg(short, long, default_value_t = 0)]
    threads: usize,
    /// Model file to write
    #[arg(short, long)]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// All weights
    Full,
    /// Adapters of low rank beside the matrices of the recurrent blocks
    Lora,
    /// The model's own sections that the changed answers wake most
    Sections,
}

/// Sequences that run at once.
const BATCH: usize = 8;
/// Updates in which the rate rises.
const WARMUP: f32 = 4.0;
/// Largest norm of the gradient.
const CLIP: f64 = 1.0;

/// A matrix with an adapter: it holds `base + b a`.
struct Adapter {
    buffer: Buffer,
    base: Vec<f32>,
    /// [rank, inputs] and [outputs, rank], with their moments.
    a: Vec<f32>,
    b: Vec<f32>,
    moments: [[Vec<f32>; 2]; 2],
    inputs: usize,
}

struct Tuner {
    config: Config,
    device: Arc<Device>,
    weights: Weights,
    way: Way,
    /// What moves.
    buffers: Vec<Buffer>,
    adapters: Vec<Adapter>,
    /// Of each layer its sections.
    arenas: Vec<Buffer>,
    gradients: Gradients,
}

fn cpu(device: &Device) -> &Cpu {
    match device {
        Device::Cpu(cpu) => cpu,
        Device::Gpu(_) => unreachable!("the device was made as a CPU"),
    }
}

impl Tuner {
    fn new(checkpoint: &Checkpoint, device: Arc<Device>, args: &Args) -> Result<Self, Error> {
        let config = checkpoint.config().clone();
        let weights = Weights::declare(&config, None, &device, None);
        for parts in weights.iter() {
            let name = &parts.spec.name;
            weights.upload(&device, name, checkpoint.tensor(name).unwrap_or_default())?;
        }
        let arenas: Vec<Buffer> =
            weights.iter().filter(|p| p.spec.is_sections()).flat_map(|p| p.buffers.clone()).collect();
        let mut random = Random::new(7);
        let mut adapters = Vec::new();
        for parts in weights.iter().filter(|p| p.spec.name.ends_with("mix.in") || p.spec.name.ends_with("mix.out")) {
            let (outputs, inputs) = (parts.spec.shape[0], parts.spec.len() / parts.spec.shape[0]);
            let a: Vec<f32> =
                (0..args.rank * inputs).map(|_| (random.normal() / (inputs as f64).sqrt()) as f32).collect();
            let b = vec![0.0; outputs * args.rank];
            let zeros = |v: &[f32]| [vec![0.0; v.len()], vec![0.0; v.len()]];
            adapters.push(Adapter {
                buffer: parts.buffers[0].clone(),
                base: checkpoint.tensor(&parts.spec.name).unwrap_or_default().to_vec(),
                moments: [zeros(&a), zeros(&b)],
                a,
                b,
                inputs,
            });
        }
        let buffers: Vec<Buffer> = match args.way {
            Way::Full => weights.iter().filter(|p| p.spec.trained).flat_map(|p| p.buffers.clone()).collect(),
            Way::Lora => adapters.iter().map(|adapter| adapter.buffer.clone()).collect(),
            Way::Sections => arenas.clone(),
        };
        let gradients = Gradients::new(&buffers);
        Ok(Self { config, device, weights, way: args.way, buffers, adapters, arenas, gradients })
    }

    /// One lesson.
    fn tune(&mut self, exercises: &[Exercise], args: &Args) -> Result<(f64, f64), Error> {
        let mut order: Vec<usize> = (0..exercises.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(exercises[i].ids.len()));
        let mut pool = Pool::default();
        let mut groups: Vec<(Vec<usize>, Graph, StateBuffers)> = Vec::new();
        for members in order.chunks(BATCH) {
            let steps = exercises[members[0]].ids.len().next_multiple_of(4);
            let asked = members.iter().map(|&i| exercises[i].targets.len()).sum::<usize>().max(1);
            let state = StateBuffers::declare(&self.config, members.len());
            let shape = Shape::new(members.len(), steps, Logits::Picked(asked));
            let graph = graph::build_in(&mut pool, &self.config, &self.weights, &state, &self.device, &shape, None)?;
            groups.push((members.to_vec(), graph, state));
        }
        let mut counts = [0f32; 2];
        for (_, target) in exercises.iter().flat_map(|e| &e.targets) {
            counts[usize::from(matches!(target, Target::Same(_)))] += 1.0;
        }
        let mut moments: Vec<Moments> = match self.way {
            Way::Lora => Vec::new(),
            _ => self.buffers.iter().map(|b| Moments::zeros(b.len())).collect(),
        };
        for adapter in &mut self.adapters {
            adapter.moments.iter_mut().flatten().for_each(|m| m.fill(0.0));
        }
        // Sections that rows of changed answers wake: how often, by layer.
        let mut woken = vec![vec![0usize; self.config.all_sections()]; self.config.layers];
        let (mut first, mut last) = (0.0, 0.0);
        for update in 0..args.updates {
            let mut loss = 0.0;
            for (members, graph, state) in &groups {
                loss += self.run(exercises, members, graph, state, counts, (update == 0).then_some(&mut woken))?;
            }
            if update == 0 {
                first = loss;
            }
            last = loss;
            if self.way == Way::Sections {
                self.keep_only(&woken, args.sections);
            }
            let cpu = cpu(&self.device);
            let norm = cpu.squared_norm(&self.gradients, &self.buffers).sqrt();
            let scale = (CLIP / norm.max(1e-12)).min(1.0) as f32;
            let step = update + 1;
            let lr = args.rate * (step as f32 / WARMUP).min(1.0) * (1.0 - update as f32 / args.updates as f32);
            let rule = AdamW { lr, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, scale, step };
            match self.way {
                Way::Lora => {
                    for adapter in &mut self.adapters {
                        let gradient = self.gradients.get(&adapter.buffer).unwrap_or_default();
                        adapter.apply(gradient, args.rank, &rule);
                        self.device.write(&adapter.buffer.view(), &adapter.whole(args.rank))?;
                    }
                }
                Way::Full | Way::Sections => {
                    for (buffer, moments) in self.buffers.iter().zip(&mut moments) {
                        cpu.adamw(buffer, &self.gradients, moments, &rule)?;
                    }
                }
            }
            self.gradients.clear();
        }
        Ok((first, last))
    }

    fn run(
        &mut self,
        exercises: &[Exercise],
        members: &[usize],
        graph: &Graph,
        state: &StateBuffers,
        counts: [f32; 2],
        woken: Option<&mut Vec<Vec<usize>>>,
    ) -> Result<f64, Error> {
        let (device, vocab) = (&self.device, self.config.vocab);
        let cpu = cpu(device);
        let steps = graph.ids.len() / members.len();
        let (mut ids, mut picked, mut changed) = (vec![0; graph.ids.len()], Vec::new(), Vec::new());
        for (b, &i) in members.iter().enumerate() {
            ids[b * steps..][..exercises[i].ids.len()].copy_from_slice(&exercises[i].ids);
            for (row, target) in &exercises[i].targets {
                picked.push((b * steps + row) as u32);
                changed.push(matches!(target, Target::Token(_)));
            }
        }
        let rows: Vec<usize> = picked.iter().map(|&row| row as usize).collect();
        device.write(&graph.ids.view(), &ids)?;
        if let Some(to) = &graph.picked {
            picked.resize(to.len(), 0);
            device.write(&to.view(), &picked)?;
        }
        state.reset(device)?;
        let tape = cpu.run_taped(&graph.recording)?;
        if let Some(woken) = woken {
            for (route, woken) in graph.routes.iter().zip(woken) {
                let picks: Vec<u32> = cpu.values(&route.ids.slice(0, graph.ids.len() * self.config.slots()))?;
                for (&row, _) in rows.iter().zip(&changed).filter(|(_, changed)| **changed) {
                    for &id in &picks[row * self.config.slots()..][..self.config.slots()] {
                        woken[id as usize] += 1;
                    }
                }
            }
        }
        let logits: Vec<f32> = cpu.values(&graph.logits.slice(0, picked.len() * vocab))?;
        let mut seed = vec![0f32; graph.logits.len()];
        let targets = members.iter().flat_map(|&i| &exercises[i].targets);
        let mut loss = 0.0;
        for (((_, target), row), seed) in targets.zip(logits.chunks(vocab)).zip(seed.chunks_mut(vocab)) {
            let count = counts[usize::from(matches!(target, Target::Same(_)))].max(1.0);
            loss += target.loss(row, 1.0 / count, seed);
        }
        cpu.backward(&graph.recording, &tape, &[(&graph.logits, &seed)], &mut self.gradients)?;
        Ok(loss)
    }

    /// Leaves the gradients of those sections alone that were woken most, but for the shared ones.
    fn keep_only(&mut self, woken: &[Vec<usize>], most: usize) {
        let shared = self.config.shared_sections();
        for (arena, woken) in self.arenas.iter().zip(woken) {
            let mut order: Vec<usize> = (shared..woken.len()).collect();
            order.sort_by_key(|&s| std::cmp::Reverse(woken[s]));
            let Some(gradient) = self.gradients.get_mut(arena) else { continue };
            let stride = gradient.len() / woken.len();
            for (s, gradient) in gradient.chunks_mut(stride).enumerate() {
                if !order[..most.min(order.len())].contains(&s) {
                    gradient.fill(0.0);
                }
            }
        }
    }

    /// The weights as they are now, in a model file.
    fn write(&self, base: &Checkpoint, out: &Path) -> Result<(), Box<dyn Any>> {
        let mut tuned = base.clone();
        for parts in self.weights.iter() {
            let name = &parts.spec.name;
            tuned.set(name, pollster::block_on(self.weights.download(&self.device, name))?)?;
        }
        tuned.header.parent = Some(base.header.id.clone());
        tuned.write(Storage::F32, &mut std::io::BufWriter::new(std::fs::File::create(out)?))?;
        Ok(())
    }
}

impl Adapter {
    /// Adam on both factors, from the gradient of the whole matrix.
    fn apply(&mut self, gradient: &[f32], rank: usize, rule: &AdamW) {
        let (inputs, outputs) = (self.inputs, self.b.len() / rank);
        let (mut to_a, mut to_b) = (vec![0f32; self.a.len()], vec![0f32; self.b.len()]);
        for o in 0..outputs {
            let row = &gradient[o * inputs..][..inputs];
            for k in 0..rank {
                let a = &self.a[k * inputs..][..inputs];
                to_b[o * rank + k] = row.iter().zip(a).map(|(g, a)| g * a).sum();
                let b = self.b[o * rank + k];
                to_a[k * inputs..][..inputs].iter_mut().zip(row).for_each(|(to, g)| *to += b * g);
            }
        }
        let parts = [(&mut self.a, to_a), (&mut self.b, to_b)];
        for ((values, gradient), [first, second]) in parts.into_iter().zip(&mut self.moments) {
            for (i, g) in gradient.into_iter().enumerate() {
                let g = g * rule.scale;
                first[i] += (1.0 - rule.beta1) * (g - first[i]);
                second[i] += (1.0 - rule.beta2) * (g * g - second[i]);
                let (mean, square) = (
                    first[i] / (1.0 - rule.beta1.powi(rule.step as i32)),
                    second[i] / (1.0 - rule.beta2.powi(rule.step as i32)),
                );
                values[i] -= rule.lr * mean / (square.sqrt() + rule.eps);
            }
        }
    }

    fn whole(&self, rank: usize) -> Vec<f32> {
        let mut whole = self.base.clone();
        for (row, b) in whole.chunks_mut(self.inputs).zip(self.b.chunks(rank)) {
            for (&b, a) in b.iter().zip(self.a.chunks(self.inputs)) {
                row.iter_mut().zip(a).for_each(|(w, a)| *w += b * a);
            }
        }
        whole
    }
}

/// The statements of a file of lessons.
fn statements(path: &Path, most: Option<usize>) -> Result<Vec<String>, Box<dyn Any>> {
    let text = std::fs::read_to_string(path)?;
    let mut all = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let said: Vec<&str> =
            line["teach"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
        all.push(said.join(" "));
    }
    let n = all.len();
    if let Some(most) = most.filter(|&most| most < n) {
        // Those that `lichen eval --most` takes.
        let mut i = 0;
        all.retain(|_| {
            i += 1;
            i * most / n > (i - 1) * most / n
        });
    }
    Ok(all)
}

fn main() -> Result<(), Box<dyn Any>> {
    let args = Args::parse();
    let statements = statements(&args.lessons, args.most)?;
    let checkpoint = Checkpoint::parse(&std::fs::read(&args.model)?)?;
    let device = Arc::new(Device::cpu(args.threads));
    let model = Arc::new(Model::open(Arc::new(std::fs::read(&args.model)?), device.clone(), None)?);
    let mut learner = Learner::new(model)?;
    while learner.prepare().map(|(known, all)| known < all)? {}
    let mut tuner = Tuner::new(&checkpoint, device, &args)?;
    for (i, said) in statements.iter().enumerate() {
        let mut lesson = learner.begin(&Teaching::Statement(said.clone()), i as u64, [])?;
        let refused = loop {
            match lesson.step(&mut learner)? {
                Step::Refused(why) => break Some(why),
                _ if lesson.phase() == Phase::Training => break None,
                _ => {}
            }
        };
        match refused {
            Some(why) => println!("{said:?}: {why}"),
            None => {
                let (first, last) = tuner.tune(&lesson.exercises(&mut learner)?, &args)?;
                println!("{said:?}: loss {first:.3} to {last:.3}");
            }
        }
    }
    tuner.write(&checkpoint, &args.out)
}
