//! Consolidation: one section is trained to do what those of two lessons do. A section has two keys, so that one can
//! serve for two lessons and tell them apart from everything else.
//!
//! Nothing of what was said is needed. The model with the lessons' own sections in place is asked everything that opens
//! them, of the bank and of what is kept; its answers are what the merged section is trained to give, and where nothing
//! opened the unchanged model's are to stay. Then the same is asked with the merged section in place: it serves only if
//! every answer is the same, token by token. Elsewhere no gate opens and nothing can have changed.

mod pair;

use super::gate::{Gate, dot};
use super::{ANSWERS, Known, Learner, Phase, Receipt, now};
use crate::error::Error;
use crate::plastic::{KEYS, Plastic, Written};
use crate::session::Session;
use pair::{Outcome, Pair};
use std::collections::HashSet;
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
    /// What was said in them, as far as that is kept. Nothing of it is needed.
    pub said: Vec<String>,
    /// What they may be asked, as far as that is kept.
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
        Ok(Consolidation { all, gates, prompts, kept, before, after, pairs, of: 0, pair, done })
    }
}

impl Consolidation {
    /// The next few dozen milliseconds of work.
    pub fn step(&mut self, learner: &mut Learner) -> Result<Merging, Error> {
        if !self.kept.is_empty() {
            let next: Vec<String> = self.kept.drain(..self.kept.len().min(4 * ANSWERS)).collect();
            let turns = learner.turns(next.iter().map(String::as_str))?;
            let next = next.into_iter().zip(turns);
            Arc::make_mut(&mut self.prompts).extend(next.map(|(prompt, turn)| Known { prompt, turn, ..Known::default() }));
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

    fn going(&self, phase: Phase, share: f32) -> Merging {
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
        Merging::Going { lessons, phase, share: ((tried as f32 + within) / of).min(1.0) }
    }

    /// Pairs of sections to merge, the last to be tried first: each with the one whose keys lie farthest from its own,
    /// among those that nothing opens together with it if there are any.
    fn choose(&mut self) -> Vec<[usize; KEYS]> {
        let single = (0..self.all.len()).filter(|&place| self.all[place].lessons.len() == 1);
        let opened = |gate: &Gate| -> HashSet<usize> {
            (0..self.prompts.len()).filter(|&i| gate.open(&self.prompts[i].turn) > 0.5).collect()
        };
        let mut free: Vec<(usize, HashSet<usize>)> = single.map(|place| (place, opened(&self.gates[place]))).collect();
        let (few, rest) = free.drain(..).partition(|(_, opened)| opened.len() < LEAST);
        free = rest;
        let few: Vec<(usize, HashSet<usize>)> = few;
        for (place, opened) in few {
            let why = format!("{} of the prompts that I know open it: too few to ask what it does", opened.len());
            self.done.refused.push((self.all[place].lessons.clone(), why));
        }
        let mut pairs = Vec::new();
        while free.len() > 1 {
            let (first, opened) = free.remove(0);
            let near = |other: usize| -> f32 {
                let keys = &self.gates[other].keys;
                self.gates[first].keys.iter().flat_map(|a| keys.iter().map(|b| dot(a, b))).fold(-1.0, f32::max)
            };
            let rank = |(other, theirs): &(usize, HashSet<usize>)| (theirs.intersection(&opened).count(), near(*other));
            let ranks: Vec<(usize, f32)> = free.iter().map(rank).collect();
            let best = (0..free.len()).min_by(|&a, &b| {
                let (a, b) = (ranks[a], ranks[b]);
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
            });
            let Some(best) = best else { break };
            pairs.push([first, free.remove(best).0]);
        }
        if let Some((alone, _)) = free.pop() {
            self.done.refused.push((self.all[alone].lessons.clone(), "there is no other to merge it with".into()));
        }
        pairs.reverse();
        pairs
    }
}
