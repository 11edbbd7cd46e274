//! Sequences of like length that run together, and the recordings that they run in.
//!
//! A recording has a form: the length of its sequences, how many predictions it makes, how many windows of sound,
//! pictures and turns it holds. All of these go in steps, so that few recordings serve every group; what a group leaves
//! over of one asks for nothing.

use super::{TrainOptions, Trainer};
use crate::data::{Example, HEARD, PIXELS, SEEN, WINDOW};
use crate::error::Error;
use crate::graph::{self, Graph, Logits, PICTURE, Shape, StateBuffers};
use lichen_host::{Buffer, Device, Role};
use lichen_shaders::kernel::Kind;
use lichen_shaders::{NONE, cross_entropy};

impl Trainer {
    /// Sequences that run together, longest first; each group is as long as its first.
    pub(super) fn groups<'a>(&self, examples: &'a [Example]) -> Result<Vec<Group<'a>>, Error> {
        let o = &self.options;
        let mut order: Vec<&Example> = examples.iter().collect();
        order.sort_by_key(|e| std::cmp::Reverse(e.rows()));
        let mut groups = Vec::new();
        let mut rest = order.as_slice();
        while let Some(first) = rest.first() {
            let rows = first.rows();
            if rows == 0 || rows > o.context || first.weights.len() != first.ids.len() {
                return Err(Error::Train(format!("a sequence asks for {rows} predictions, of 1 to {}", o.context)));
            }
            let steps = lengthen(rows, o.context);
            let count = (o.micro * o.context / steps).min(rest.len());
            let (examples, left) = rest.split_at(count);
            examples.iter().try_for_each(|e| e.check(&self.config))?;
            groups.push(Group { steps, examples: examples.to_vec() });
            rest = left;
        }
        Ok(groups)
    }
}

/// Sequences that run together.
pub(super) struct Group<'a> {
    pub(super) steps: usize,
    pub(super) examples: Vec<&'a Example>,
}

impl Group<'_> {
    /// The form that they need, in steps, so that there are few.
    pub(super) fn form(&self, o: &TrainOptions) -> Form {
        let rows = o.micro * o.context / self.steps * self.steps;
        let asked = self.examples.iter().flat_map(|e| e.weights.iter().skip(1)).filter(|&&w| w > 0.0).count();
        let sum = |of: fn(&Example) -> usize| self.examples.iter().map(|e| of(e)).sum::<usize>();
        let step = |n: usize, least: usize| if n == 0 { 0 } else { n.next_power_of_two().max(least) };
        Form {
            steps: self.steps,
            asked: asked.max(1).next_multiple_of(rows.div_ceil(8)).min(rows),
            sounds: step(sum(Example::heard), 64),
            pictures: step(sum(Example::seen), 4),
            turns: if o.contrast > 0.0 { self.labels().len().next_multiple_of(16) } else { 0 },
        }
    }

    /// The fact of each turn, if any, in the order of the sequences.
    pub(super) fn labels(&self) -> Vec<Option<&str>> {
        self.examples.iter().flat_map(|e| &e.about).map(|(_, fact)| fact.as_deref()).collect()
    }

    /// Writes the sequences to where a recording reads them.
    pub(super) fn fill(&self, device: &Device, run: &Run) -> Result<(), Error> {
        let mut ids = vec![0; run.graph.ids.len()];
        let (mut picked, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (i, example) in self.examples.iter().enumerate() {
            let (from, n) = (i * self.steps, example.rows());
            ids[from..from + n].copy_from_slice(&example.ids[..n]);
            for t in (0..n).filter(|&t| example.weights[t + 1] > 0.0) {
                picked.push((from + t) as u32);
                targets.push(example.ids[t + 1]);
                weights.push(example.weights[t + 1]);
            }
        }
        if let Some(turns) = &run.graph.turns {
            let mut numbers = vec![NONE; ids.len()];
            let ranges = self.examples.iter().enumerate().flat_map(|(i, e)| e.about.iter().map(move |(r, _)| (i, r)));
            for (number, (i, range)) in ranges.enumerate() {
                let end = range.end.min(self.steps);
                numbers[i * self.steps + range.start.min(end)..i * self.steps + end].fill(number as u32);
            }
            device.write(&turns.rows.view(), &numbers)?;
        }
        let (mut sounds, mut pictures) = (Vec::new(), Vec::new());
        let (mut heard, mut seen) = (vec![NONE; ids.len()], vec![NONE; ids.len()]);
        for (i, example) in self.examples.iter().enumerate().filter(|(_, e)| e.heard() + e.seen() > 0) {
            let (mut window, mut patch) = (sounds.len() / WINDOW, pictures.len() / PIXELS * PICTURE);
            let at = i * self.steps;
            for (t, &id) in example.ids.iter().take(example.rows()).enumerate() {
                let (to, next) = match id {
                    HEARD => (&mut heard, &mut window),
                    SEEN => (&mut seen, &mut patch),
                    _ => continue,
                };
                to[at + t] = *next as u32;
                *next += 1;
            }
            sounds.extend_from_slice(&example.sounds);
            pictures.extend_from_slice(&example.pictures);
        }
        for (buffers, rows, mut data) in [(&run.graph.sounds, heard, sounds), (&run.graph.pictures, seen, pictures)] {
            if let Some(buffers) = buffers {
                data.resize(buffers.input.len(), 0.0);
                device.write(&buffers.input.view(), &data)?;
                device.write(&buffers.rows.view(), &rows)?;
            }
        }
        // What is left over asks for nothing: its weight is zero.
        picked.resize(run.form.asked, 0);
        targets.resize(run.form.asked, 0);
        weights.resize(run.form.asked, 0.0);
        device.write(&run.graph.ids.view(), &ids)?;
        if let Some(rows) = &run.graph.picked {
            device.write(&rows.view(), &picked)?;
        }
        device.write(&run.targets.view(), &targets)?;
        device.write(&run.row_weights.view(), &weights)?;
        run.state.reset(device)
    }
}

/// What a recording in training is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    /// Tokens of a sequence.
    pub(super) steps: usize,
    /// Predictions.
    pub(super) asked: usize,
    /// Windows of sound.
    pub(super) sounds: usize,
    /// Pictures.
    pub(super) pictures: usize,
    /// Turns.
    pub(super) turns: usize,
}

/// A recording of one form with its ends.
pub(super) struct Run {
    pub(super) graph: Graph,
    state: StateBuffers,
    targets: Buffer,
    row_weights: Buffer,
    pub(super) losses: Buffer,
    pub(super) form: Form,
}

impl Run {
    pub(super) fn new(trainer: &mut Trainer, form: Form) -> Result<Self, Error> {
        let Form { steps, asked, sounds, pictures, turns } = form;
        let (config, o) = (&trainer.config, &trainer.options);
        let batch = o.micro * o.context / steps;
        let state = StateBuffers::declare(config, batch);
        let shape = Shape { sounds, pictures, turns, ..Shape::new(batch, steps, Logits::Picked(asked)) };
        let mut graph =
            graph::build_in(&mut trainer.pool, config, &trainer.weights, &state, &trainer.device, &shape, None)?;
        let targets = Buffer::new("targets", Kind::Index, Role::Scratch, asked);
        let row_weights = Buffer::new("row weights", Kind::Real, Role::Weight, asked);
        let losses = Buffer::new("losses", Kind::Real, Role::Scratch, asked);
        let call = cross_entropy::call(cross_entropy::Params { rows: asked as u32, classes: config.vocab as u32 });
        let logits = graph.logits.slice(0, asked * config.vocab);
        graph.recording.push(call, &[logits, targets.view(), row_weights.view(), losses.view()])?;
        Ok(Self { graph, state, targets, row_weights, losses, form })
    }
}

/// The next length for which a recording is kept: less than a quarter longer, or at most three tokens.
fn lengthen(rows: usize, most: usize) -> usize {
    let step = (rows.next_power_of_two() / 8).max(4);
    rows.next_multiple_of(step).min(most)
}
