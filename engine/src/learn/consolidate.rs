//! Consolidation: one section is trained to do what those of two lessons do. A section has two keys, so that one can
//! serve for two lessons and tell them apart from everything else.
//!
//! Nothing of what was said is needed. The model with the lessons' own sections in place is asked everything that opens
//! them, of the bank and of what is kept; its answers are what the merged section is trained to give, and where nothing
//! opened the unchanged model's are to stay. Then the same is asked with the merged section in place: it serves only if
//! every answer is the same, token by token. Elsewhere no gate opens and nothing can have changed.

mod pair;
#[cfg(test)]
mod tests;

use super::gate::{Gate, dot, mean, unit};
use super::{ANSWERS, Known, Learner, Phase, Receipt, now};
use crate::error::Error;
use crate::plastic::{KEYS, Plastic, Written};
use crate::session::Session;
use pair::{Outcome, Pair};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// Prompts that must open a lesson's section for it to be merged: fewer do not say what it does.
const LEAST: usize = 3;

/// A section that serves, and what is kept of its lessons.
#[derive(Clone, Debug, PartialEq)]
pub struct InUse {
    /// The lessons' numbers, ascending; two where it was merged before.
    pub lessons: Vec<u64>,
    /// The section.
    pub written: Written,
    /// What they may be asked, as far as that is kept. Nothing of it is needed.
    pub prompts: Vec<String>,
}

/// A section that serves for several lessons.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// Their numbers, ascending.
    pub lessons: Vec<u64>,
    /// The section.
    pub written: Written,
    /// What was done.
    pub receipt: Receipt,
}

/// What a consolidation came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Consolidated {
    /// Sections that give every answer as it is now.
    pub merged: Vec<Merged>,
    /// Lessons that are left as they are, and why.
    pub refused: Vec<(Vec<u64>, String)>,
}

/// What a step of a consolidation led to.
#[derive(Debug)]
pub enum Merging {
    /// There is more to do.
    Going {
        /// With which lessons; none before the first.
        lessons: Vec<u64>,
        /// What.
        phase: Phase,
        /// How much of everything is done, from 0 to 1.
        share: f32,
    },
    /// Every pair was tried.
    Done(Consolidated),
}

/// Merges sections by twos, step by step. One that is dropped before its end leaves nothing behind.
pub struct Consolidation {
    all: Vec<InUse>,
    gates: Vec<Gate>,
    /// The bank, then what else is kept, until it has a turn's vector.
    prompts: Arc<Vec<Known>>,
    kept: Vec<String>,
    /// The model with the sections as they are, and with those merged that were so far.
    before: Session,
    after: (Plastic, Session),
    /// Pairs that are still to be tried, the next one last.
    pairs: Option<Vec<[usize; KEYS]>>,
    of: usize,
    pair: Option<Box<Pair>>,
    /// How much of everything is done.
    share: f32,
    done: Consolidated,
}

impl Learner {
    /// Starts to merge the sections of a memory ([`Memory::in_use`](crate::memory::Memory::in_use)), those that were
    /// not merged yet.
    ///
    /// # Errors
    /// [`Error::Memory`]: the bank has not been answered, or a section is not this model's.
    pub fn consolidate(&mut self, all: Vec<InUse>) -> Result<Consolidation, Error> {
        if self.known.len() < self.bank.prompts().len() {
            return Err(Error::Memory("the prompts for learning have not been answered yet".into()));
        }
        let dim = self.model.config().turn;
        let session = || -> Result<(Plastic, Session), Error> {
            let plastic = now(Plastic::new(&self.model, all.len().max(1)))?;
            for (place, section) in all.iter().enumerate() {
                plastic.write(self.model.device(), place, &section.written)?;
            }
            let session = Session::with_plastic(self.model.clone(), Some(plastic.clone()))?;
            Ok((plastic, session))
        };
        let ((_, before), after) = (session()?, session()?);
        let known: HashSet<&str> = self.known.iter().map(|known| known.prompt.as_str()).collect();
        let mut kept: Vec<String> = all.iter().flat_map(|section| section.prompts.clone()).collect();
        kept.retain(|prompt| !known.contains(prompt.as_str()));
        kept.sort();
        kept.dedup();
        let gates = all.iter().map(|section| Gate::of(&section.written, dim)).collect();
        let (prompts, pairs, pair, done) = (Arc::new(self.known.clone()), None, None, Consolidated::default());
        Ok(Consolidation { all, gates, prompts, kept, before, after, pairs, of: 0, pair, share: 0.0, done })
    }
}

impl Consolidation {
    /// The next few dozen milliseconds of work.
    pub fn step(&mut self, learner: &mut Learner) -> Result<Merging, Error> {
        if !self.kept.is_empty() {
            let next: Vec<String> = self.kept.drain(..self.kept.len().min(4 * ANSWERS)).collect();
            let turns = learner.turns(next.iter().map(String::as_str))?;
            let next = next.into_iter().zip(turns);
            Arc::make_mut(&mut self.prompts).extend(next.map(|(prompt, turn)| Known {
                prompt,
                turn,
                ..Known::default()
            }));
            return Ok(Merging::Going { lessons: Vec::new(), phase: Phase::Asking, share: 0.0 });
        }
        if self.pairs.is_none() {
            let pairs = self.choose();
            self.of = pairs.len();
            self.pairs = Some(pairs);
        }
        let Some(pair) = &mut self.pair else {
            let Some(next) = self.pairs.as_mut().and_then(Vec::pop) else {
                return Ok(Merging::Done(std::mem::take(&mut self.done)));
            };
            self.pair = Some(Box::new(Pair::new(next, self, learner)?));
            return Ok(self.going(Phase::Asking, 0.0));
        };
        let (at, outcome) = (pair.at, pair.step(&mut self.before, &mut self.after.1, learner)?);
        let (device, lessons) = (learner.model.device(), self.lessons(at));
        match outcome {
            Outcome::Going(phase, share) => return Ok(self.going(phase, share)),
            Outcome::Trained(written) => {
                self.after.0.write(device, at[0], &written)?;
                self.after.0.shut(device, at[1])?;
            }
            Outcome::Passed(written, receipt) => {
                self.done.merged.push(Merged { lessons, written, receipt });
                self.pair = None;
            }
            Outcome::Refused(why) => {
                for place in at {
                    self.after.0.write(device, place, &self.all[place].written)?;
                }
                self.done.refused.push((lessons, why));
                self.pair = None;
            }
        }
        Ok(self.going(Phase::Checking, 0.0))
    }

    fn lessons(&self, at: [usize; KEYS]) -> Vec<u64> {
        at.iter().flat_map(|&place| self.all[place].lessons.iter().copied()).collect()
    }

    fn going(&mut self, phase: Phase, share: f32) -> Merging {
        // Most of the time of a pair goes into training it.
        let (from, part) = match phase {
            Phase::Training => (0.3, 0.5),
            Phase::Checking => (0.8, 0.2),
            Phase::Asking => (0.0, 0.1),
            _ => (0.1, 0.2),
        };
        let of = self.of.max(1) as f32;
        let (lessons, within) = match &self.pair {
            Some(pair) => (self.lessons(pair.at), from + part * share),
            None => (Vec::new(), 0.0),
        };
        let tried = self.done.merged.len() + self.done.refused.iter().filter(|(all, _)| all.len() > 1).count();
        // A pair that is trained again does not go back.
        self.share = self.share.max(((tried as f32 + within) / of).min(1.0));
        Merging::Going { lessons, phase, share: self.share }
    }

    /// Pairs of sections to merge, the last to be tried first. Two lessons have one threshold between them: each goes
    /// with the one whose prompts lie as close together as its own, among those that nothing opens together with it if
    /// there are any.
    fn choose(&mut self) -> Vec<[usize; KEYS]> {
        let mut free = Vec::new();
        for (place, section) in self.all.iter().enumerate().filter(|(_, section)| section.lessons.len() == 1) {
            let gate = &self.gates[place];
            if gate.phrase.is_some() {
                let why = "words of its own open it, and nothing else: it goes with no other".into();
                self.done.refused.push((section.lessons.clone(), why));
                continue;
            }
            let opens = |i: &usize| gate.open(&self.prompts[*i].turn) > 0.5;
            let opened: BTreeSet<usize> = (0..self.prompts.len()).filter(opens).collect();
            if opened.len() < LEAST {
                let why = format!("{} of the prompts that I know open it: too few to ask what it does", opened.len());
                self.done.refused.push((section.lessons.clone(), why));
                continue;
            }
            let turns: Vec<Vec<f32>> = opened.iter().map(|&i| unit(&self.prompts[i].turn)).collect();
            let middle = unit(&mean(&turns));
            let closeness = turns.iter().map(|turn| dot(turn, &middle)).fold(1.0, f32::min);
            free.push((place, opened, closeness));
        }
        free.sort_by(|a, b| b.2.total_cmp(&a.2));
        let mut pairs = Vec::new();
        while free.len() > 1 {
            let (first, opened, _) = free.remove(0);
            let together = |at: &usize| free[*at].1.intersection(&opened).count();
            let Some(best) = (0..free.len()).min_by_key(together) else { break };
            let second = free.remove(best).0;
            pairs.push([first.min(second), first.max(second)]);
        }
        if let Some((alone, ..)) = free.pop() {
            self.done.refused.push((self.all[alone].lessons.clone(), "there is no other to merge it with".into()));
        }
        pairs.reverse();
        pairs
    }
}
