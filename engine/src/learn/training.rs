//! Training one section on conversations: they are read, then the section is written.

use super::Learner;
use super::gate::Gate;
use super::now;
use super::reader::{Reader, Seen, Talk};
use super::writer::{Losses, Sequence, Target, UPDATES, Writer};
use crate::error::Error;
use crate::plastic::Written;
use lichen_shaders::cases::Random;

/// A conversation to train on.
pub(super) struct Planned {
    pub(super) talk: Talk,
    /// Whether the last answer is to change.
    pub(super) frame: bool,
    /// How far the section is open in each answer.
    pub(super) opens: Vec<f32>,
}

/// A conversation to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct Exercise {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// What should follow after which of them.
    pub targets: Vec<(usize, Target)>,
}

/// A section that is trained.
pub(super) struct Training {
    planned: Vec<Planned>,
    groups: Vec<Vec<usize>>,
    seen: Vec<Option<Seen>>,
    /// Groups that were read.
    at: usize,
    /// What the section starts with; a fresh one without.
    from: Option<Vec<Vec<f32>>>,
    writer: Option<Box<Writer>>,
}

impl Training {
    pub(super) fn new(planned: Vec<Planned>, from: Option<Vec<Vec<f32>>>) -> Self {
        let talks: Vec<&Talk> = planned.iter().map(|p| &p.talk).collect();
        let (groups, seen) = (Reader::groups(&talks), vec![None; planned.len()]);
        Self { planned, groups, seen, at: 0, from, writer: None }
    }
    /// Conversations whose answers are to change.
    pub(super) fn frames(&self) -> usize {
        self.planned.iter().filter(|p| p.frame).count()
    }
    /// Those whose answers are to stay.
    pub(super) fn guards(&self) -> usize {
        self.planned.len() - self.frames()
    }

    /// One group of conversations is read, or trained on; how much is done, from 0 to 1, none where all is.
    pub(super) fn step(&mut self, learner: &mut Learner, random: &mut Random) -> Result<Option<f32>, Error> {
        let steps = self.groups.len() + UPDATES as usize;
        if let Some(group) = self.groups.get(self.at) {
            let seen = read(learner, &self.planned, group)?;
            group.iter().zip(seen).for_each(|(&i, seen)| self.seen[i] = Some(seen));
            self.at += 1;
            return Ok(Some(self.at as f32 / steps as f32));
        }
        let Some(writer) = &mut self.writer else {
            let all = self.planned.iter().zip(&mut self.seen);
            let sequences = all.map(|(planned, seen)| sequence(planned, seen.take().unwrap_or_default()));
            // Nothing is read while a section is written.
            learner.reader.rest()?;
            let writer = now(Writer::new(&learner.model, sequences.collect(), self.from.take(), random))?;
            self.writer = Some(Box::new(writer));
            return Ok(Some(self.groups.len() as f32 / steps as f32));
        };
        if writer.step(&learner.model)? {
            return Ok(None);
        }
        let done = self.groups.len() + writer.position() as usize;
        Ok(Some(done as f32 / steps as f32))
    }

    /// The losses of the fresh section and of the trained one.
    pub(super) fn losses(&self) -> Result<(Losses, Losses), Error> {
        let losses = self.writer.as_ref().map_or(&[][..], |writer| &writer.losses);
        match (losses.first(), losses.last()) {
            (Some(first), Some(last)) => Ok((*first, *last)),
            _ => Err(Error::Memory("a section was trained without a loss".into())),
        }
    }
    /// The section, behind a gate.
    pub(super) fn written(&self, learner: &Learner, gate: &Gate) -> Result<Written, Error> {
        let writer = self.writer.as_ref();
        let writer = writer.ok_or_else(|| Error::Memory("a section is asked for before it was trained".into()))?;
        writer.written(&learner.model, gate)
    }

    /// What it trains on, for other ways to keep it.
    pub(super) fn exercises(&self, learner: &mut Learner) -> Result<Vec<Exercise>, Error> {
        let mut all = Vec::new();
        for group in &self.groups {
            for (&i, seen) in group.iter().zip(read(learner, &self.planned, group)?) {
                let Sequence { rows, targets, .. } = sequence(&self.planned[i], seen);
                all.push(Exercise { ids: self.planned[i].talk.ids[..rows].to_vec(), targets });
            }
        }
        Ok(all)
    }
}

fn read(learner: &mut Learner, planned: &[Planned], group: &[usize]) -> Result<Vec<Seen>, Error> {
    let stays = |n: usize| !planned[group[n]].frame;
    learner.reader.read(&group.iter().map(|&i| &planned[i].talk).collect::<Vec<_>>(), None, Some(&stays))
}

/// A conversation as the writer takes it.
fn sequence(planned: &Planned, seen: Seen) -> Sequence {
    let talk = &planned.talk;
    let mut open = Vec::new();
    for (answer, &by) in talk.answers.iter().zip(&planned.opens) {
        // From the row of the answer's tag to that before its end.
        open.extend((answer.start - 1..answer.end - 1).map(|row| (row, by)));
    }
    let targets = match planned.frame {
        true => talk.answer().map(|at| (at - 1, Target::Token(talk.ids[at]))).collect(),
        false => talk.answer().zip(seen.chances).map(|(at, chances)| (at - 1, Target::Same(chances))).collect(),
    };
    Sequence { entering: seen.entering, rows: talk.ids.len() - 1, open, targets }
}
