//! Reads many short conversations at once: how likely each token of an answer is, the vectors of turns, and what the
//! layers of the plastic pool get. The conversations go on from one state, or start empty.

use super::shown::Shown;
use super::{ANSWER, cpu};
use crate::data::{Encoder, HEARD, PIXELS, SEEN, Speaker, Turn, WINDOW};
use crate::error::Error;
use crate::graph::{self, Graph, Logits, Pool, Shape, StateBuffers};
use crate::model::Model;
use crate::plastic;
use crate::state::State;
use crate::tokenizer::Tokenizer;
use lichen_shaders::NONE;
use std::borrow::Borrow;
use std::ops::Range;
use std::sync::Arc;

/// Conversations that are read at once.
pub(super) const BATCH: usize = 16;
/// Graphs that are kept.
const KEPT: usize = 6;

/// Turns of a person with the answers to them, as tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Talk {
    pub(super) ids: Vec<u32>,
    /// Where each turn of the person stands.
    pub(super) turns: Vec<Range<usize>>,
    /// Where each answer stands, with its end unless it was cut short.
    pub(super) answers: Vec<Range<usize>>,
    /// Windows that are heard.
    pub(super) sounds: Vec<f32>,
    /// Pictures that are seen.
    pub(super) pictures: Vec<f32>,
}

/// What the last turn of a conversation has beside words.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last<'a> {
    /// The moment.
    pub(super) now: Option<&'a str>,
    /// What is shown.
    pub(super) shown: Option<&'a Shown>,
}

impl Talk {
    /// With one turn after the other. `goes_on`: an answer stands before them, whose end was not fed.
    pub(super) fn new(
        tokenizer: &Tokenizer,
        turns: &[(&str, &[u32])],
        goes_on: bool,
        last: Last<'_>,
    ) -> Result<Self, Error> {
        let end = tokenizer.special("<end>").ok_or_else(|| Error::Tokenizer("it has no <end> token".into()))?;
        let mut talk = Self::default();
        for (i, (said, answer)) in turns.iter().enumerate() {
            let last = if i + 1 == turns.len() { last } else { Last::default() };
            let mut turn = Turn { now: last.now.map(str::to_string), ..Turn::new(Speaker::User, *said) };
            last.shown.iter().for_each(|shown| shown.mark(&mut turn));
            let mut prompt = Encoder::new(tokenizer, None).prompt(&turn, goes_on && i == 0)?;
            last.shown.iter().for_each(|shown| shown.fill(&mut prompt));
            let at = talk.ids.len();
            talk.sounds.append(&mut prompt.sounds);
            talk.pictures.append(&mut prompt.pictures);
            talk.ids.extend(&prompt.ids);
            talk.turns.extend(prompt.about.iter().map(|(range, _)| at + range.start..at + range.end));
            let from = talk.ids.len();
            talk.ids.extend_from_slice(answer);
            talk.ids.push(end);
            // An answer that was cut short did not end there.
            let cut = answer.len() >= ANSWER;
            talk.answers.push(from..talk.ids.len() - usize::from(cut));
        }
        Ok(talk)
    }
    /// The last answer.
    pub(super) fn answer(&self) -> Range<usize> {
        self.answers.last().cloned().unwrap_or(0..0)
    }
}

/// What enters behind the own sections of the plastic pool's first layer: see [`graph::Entering`].
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// [tokens, D].
    pub(super) rows: Vec<f32>,
    /// [tokens, D].
    pub(super) normed: Vec<f32>,
}

/// What was seen of a conversation.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The lowest probability of a token of the last answer.
    pub(super) least: f32,
    /// The logarithm of the probability of the last answer.
    pub(super) log_chance: f32,
    /// Whether drawing greedily gives just this answer.
    pub(super) greedy: bool,
    /// Vectors of the turns, less the background.
    pub(super) turns: Vec<Vec<f32>>,
    /// Probabilities of all tokens at each token of the last answer, where they are kept.
    pub(super) chances: Vec<Vec<f32>>,
    /// What the plastic pool's first layer gets, if it is kept.
    pub(super) entering: Rows,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Form {
    steps: usize,
    asked: usize,
    turns: usize,
    sounds: usize,
    pictures: usize,
}

/// Nothing, or rows, and of some conversations of a group probabilities.
pub(super) type Keep<'a> = Option<&'a dyn Fn(usize) -> bool>;

pub(super) struct Reader {
    model: Arc<Model>,
    /// Graphs with their forms, the last used at the end.
    graphs: Vec<(Form, Graph)>,
    /// The most of each kind that a graph was built for.
    largest: Form,
    pool: Pool,
    state: StateBuffers,
    background: Vec<f32>,
}

impl Form {
    /// Room for either.
    fn and(self, other: Self) -> Self {
        Self {
            steps: self.steps.max(other.steps),
            asked: self.asked.max(other.asked),
            turns: self.turns.max(other.turns),
            sounds: self.sounds.max(other.sounds),
            pictures: self.pictures.max(other.pictures),
        }
    }
}

impl Reader {
    pub(super) fn new(model: Arc<Model>) -> Result<Self, Error> {
        let background = cpu(&model)?.values(&model.weights().buffer("turn.background")?.view())?;
        let state = StateBuffers::declare(model.config(), BATCH);
        Ok(Self { graphs: Vec::new(), largest: Form::default(), pool: Pool::default(), state, background, model })
    }

    /// Groups of conversations that are read together: numbers of those of like length.
    pub(super) fn groups(talks: &[impl Borrow<Talk>]) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..talks.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(talks[i].borrow().ids.len()));
        order.chunks(BATCH).map(<[usize]>::to_vec).collect()
    }

    /// Lets go of the memory that graphs hold, until something is read again.
    pub(super) fn rest(&mut self) -> Result<(), Error> {
        self.graphs.clear();
        (self.pool, self.largest) = (Pool::default(), Form::default());
        cpu(&self.model)?.sweep();
        Ok(())
    }

    /// Reads one group of conversations, all of them from a state or from the start. `keep`: what enters the pool
    /// is wanted, and for which conversations the probabilities too, of which there are many.
    pub(super) fn read(&mut self, talks: &[&Talk], from: Option<&State>, keep: Keep<'_>) -> Result<Vec<Seen>, Error> {
        let most =
            |of: fn(&Talk) -> usize, step: usize| talks.iter().map(|t| of(t)).sum::<usize>().next_multiple_of(step);
        let steps = talks.iter().map(|t| t.ids.len()).max().unwrap_or(1).next_multiple_of(8);
        let form = Form {
            steps,
            asked: most(|t| t.answer().len(), 64).max(64),
            turns: most(|t| t.turns.len(), 16).max(16),
            sounds: most(|t| t.sounds.len() / WINDOW, 64),
            pictures: most(|t| t.pictures.len() / PIXELS, BATCH),
        };
        let graph = match self.graphs.iter().position(|(f, _)| *f == form) {
            Some(at) => self.graphs.remove(at).1,
            None => self.build(form)?,
        };
        let seen = self.run(&graph, talks, from, keep);
        if self.graphs.len() >= KEPT {
            self.graphs.remove(0);
        }
        self.graphs.push((form, graph));
        seen
    }

    fn build(&mut self, form: Form) -> Result<Graph, Error> {
        let model = &self.model;
        let keep = Some(plastic::layers(model.config()).start);
        let Form { steps, asked, turns, sounds, pictures } = form;
        // Graphs share what the largest needs. When that grows, those that hold what it was before are built again.
        let largest = self.largest.and(form);
        if largest != self.largest {
            self.graphs.clear();
            self.largest = largest;
        }
        let shape = Shape { turns, keep, sounds, pictures, ..Shape::new(BATCH, steps, Logits::Picked(asked)).reused() };
        let (config, device) = (model.config(), model.device());
        graph::build_in(&mut self.pool, config, model.weights(), &self.state, device, &shape, None)
    }

    fn run(&self, graph: &Graph, talks: &[&Talk], from: Option<&State>, keep: Keep<'_>) -> Result<Vec<Seen>, Error> {
        let (config, device, cpu) = (self.model.config(), self.model.device(), cpu(&self.model)?);
        let steps = graph.ids.len() / BATCH;
        let (mut ids, mut numbers) = (vec![0; graph.ids.len()], vec![NONE; graph.ids.len()]);
        let (mut picked, mut number) = (Vec::new(), 0);
        for (b, talk) in talks.iter().enumerate() {
            ids[b * steps..][..talk.ids.len()].copy_from_slice(&talk.ids);
            for turn in &talk.turns {
                numbers[b * steps + turn.start..b * steps + turn.end].fill(number);
                number += 1;
            }
            picked.extend(talk.answer().map(|at| (b * steps + at - 1) as u32));
        }
        self.state.reset(device)?;
        if let Some(state) = from {
            for ((_, buffer), data) in self.state.layers.iter().flatten().zip(&state.tensors) {
                device.write(&buffer.view(), &data.repeat(BATCH))?;
            }
        }
        device.write(&graph.ids.view(), &ids)?;
        let all = |of: fn(&Talk) -> &Vec<f32>| talks.iter().flat_map(|t| of(t).iter().copied()).collect::<Vec<_>>();
        let senses = [(&graph.sounds, HEARD, all(|t| &t.sounds)), (&graph.pictures, SEEN, all(|t| &t.pictures))];
        for (buffers, place, mut input) in senses {
            let Some(buffers) = buffers else { continue };
            input.resize(buffers.input.len(), 0.0);
            device.write(&buffers.input.view(), &input)?;
            let mut next = 0u32..;
            let vectors = ids.iter().map(|&id| if id == place { next.next().unwrap_or(NONE) } else { NONE });
            device.write(&buffers.rows.view(), &vectors.collect::<Vec<_>>())?;
        }
        let (Some(rows), Some(turns), Some(entering)) = (&graph.picked, &graph.turns, &graph.entering) else {
            return Err(Error::Memory("a graph for reading lacks an end".into()));
        };
        let asked = picked.len();
        picked.resize(rows.len(), 0);
        device.write(&rows.view(), &picked)?;
        device.write(&turns.rows.view(), &numbers)?;
        device.run(&graph.recording, 1)?;

        let (vocab, width, dim) = (config.vocab, config.width, config.turn);
        let logits: Vec<f32> = cpu.values(&graph.logits.slice(0, asked * vocab))?;
        let means: Vec<f32> = cpu.values(&turns.means.view())?;
        let kept =
            keep.map(|_| Ok::<_, Error>([cpu.values(&entering.rows)?, cpu.values(&entering.normed)?])).transpose()?;
        let (mut rows, mut means) = (logits.chunks(vocab), means.chunks(dim));
        let mut all = Vec::with_capacity(talks.len());
        for (b, talk) in talks.iter().enumerate() {
            let mut seen = Seen { least: 1.0, greedy: true, ..Seen::default() };
            for (at, row) in talk.answer().zip(&mut rows) {
                let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = row.iter().map(|x| (x - top).exp()).sum();
                let target = row[talk.ids[at] as usize];
                seen.least = seen.least.min((target - top).exp() / sum);
                seen.log_chance += target - top - sum.ln();
                seen.greedy &= target >= top;
                if keep.is_some_and(|chances| chances(b)) {
                    seen.chances.push(row.iter().map(|x| (x - top).exp() / sum).collect());
                }
            }
            for (_, mean) in talk.turns.iter().zip(&mut means) {
                seen.turns.push(mean.iter().zip(&self.background).map(|(m, b)| m - b).collect());
            }
            if let Some([rows, normed]) = &kept {
                let own = b * steps * width..(b * steps + talk.ids.len()) * width;
                seen.entering = Rows { rows: rows[own.clone()].to_vec(), normed: normed[own].to_vec() };
            }
            all.push(seen);
        }
        Ok(all)
    }
}
