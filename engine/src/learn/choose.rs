//! Choosing a lesson's gate: what opens it and what does not, alone, at a moment, and after something else was said.

use super::frames::text;
use super::gate::{Gate, dot, unit};
use super::lesson::{FRAME_OPEN, Lesson, Phase, Step};
use super::reader::{Last, Reader, Talk};
use super::training::{Planned, Training};
use super::{Learner, Teaching};
use crate::action;
use crate::error::Error;
use crate::phrase::hash;
use crate::tokenizer::Tokenizer;
use crate::when::Moment;
use lichen_shaders::cases::Random;
use std::collections::HashSet;

/// Most frames that are trained on.
const FRAMES: usize = 24;
/// Most tokens of their answers.
const FRAME_TOKENS: usize = 320;
/// Guards that are trained on: the nearest ones.
const GUARDS: usize = 16;
/// Those of them that are about the fact themselves.
const OWN_GUARDS: usize = 8;
/// Least opening of the section for guards in training.
pub(super) const GUARD_OPEN: f32 = 0.7;
/// Prompts of each side whose turns are also looked at elsewhere in a conversation.
const PLACED: usize = 48;
/// Share of the frames for which the gate of a lesson before must open to be of the same fact.
const REPLACED: f64 = 0.6;
/// The same where both are known to be of the same fact.
const SAME: f64 = 0.3;
/// Frames and guards whose answers are generated in the end.
const CHECKED: usize = 8;

/// Where a turn stands in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It begins one.
    First,
    /// It begins one, at a moment.
    Moment,
    /// Another turn came before.
    Later,
}

impl Lesson {
    /// Sorts the frames, and goes on to the gate.
    pub(super) fn choose(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        if !matches!(self.teaching, Teaching::Answer { .. } | Teaching::Name { .. }) && self.command.is_none() {
            self.agree(learner.model.tokenizer());
            self.leave_others(learner.model.tokenizer());
            self.thin_out(learner.known.len());
        }
        if self.frames.is_empty() {
            return Ok(Step::Refused(
                "nothing that I can be asked depends on it, as far as I can tell: it stays in this conversation".into(),
            ));
        }
        // In random order the first ones are a fair sample.
        shuffle(&mut self.frames, &mut self.random);
        // Those of the bank come first: they use what was told, and patterns only ask.
        self.frames.sort_by_key(|frame| frame.prompt >= learner.known.len());
        let mut about = self.about.clone();
        shuffle(&mut about, &mut self.random);
        about.truncate(PLACED);
        let mut middle = vec![0f32; self.prompts.first().map_or(0, |p| p.turn.len())];
        for &i in &about {
            middle.iter_mut().zip(unit(&self.prompts[i].turn)).for_each(|(sum, x)| *sum += x);
        }
        let middle = unit(&middle);
        let rest = (0..learner.known.len()).filter(|i| !self.about.contains(i));
        let mut near: Vec<(f32, usize)> = rest.map(|i| (dot(&unit(&self.prompts[i].turn), &middle), i)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.talks.clear();
        let all = about.iter().copied().chain(near.iter().take(PLACED).map(|(_, i)| *i));
        for (n, i) in all.enumerate() {
            let place = if n % 2 == 0 { Place::Moment } else { Place::Later };
            let talk = self.talk(learner, i, &[], place)?;
            self.talks.push(talk);
        }
        self.placed = [Vec::with_capacity(about.len()), Vec::new()];
        self.split = about.len();
        self.groups = Reader::groups(&self.talks);
        Ok(self.go(Phase::Choosing))
    }

    pub(super) fn learn_gate(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        if let Some(group) = self.groups.get(self.at) {
            let talks: Vec<&Talk> = group.iter().map(|&i| &self.talks[i]).collect();
            for (&i, seen) in group.iter().zip(learner.reader.read(&talks, None, None)?) {
                self.placed[usize::from(i >= self.split)].extend(seen.turns.into_iter().next_back());
            }
            return Ok(self.going(self.groups.len()));
        }
        // The gate opens for all that is about the fact, also where the model did not notice that the answer changes.
        let turn = |i: usize| self.prompts[i].turn.as_slice();
        let [here, elsewhere] = &self.placed;
        let opens: Vec<&[f32]> = self.about.iter().map(|&i| turn(i)).collect();
        let rest: Vec<usize> = (0..self.prompts.len()).filter(|i| !self.about.contains(i)).collect();
        let others = rest.iter().map(|&i| turn(i)).chain(elsewhere.iter().map(Vec::as_slice)).collect::<Vec<_>>();
        let all: Vec<&[f32]> = opens.iter().copied().chain(here.iter().map(Vec::as_slice)).collect();
        let shown = learner.bank.shown().iter().chain(elsewhere).map(Vec::as_slice).collect::<Vec<_>>();
        let gate = match self.teaching {
            Teaching::Name { .. } => Gate::learn_shown(&all, &shown, &mut self.random),
            _ => {
                let fact = self.fact(learner.model.tokenizer());
                Gate { phrase: self.phrase, fact, ..Gate::learn(&all, &others, &mut self.random) }
            }
        };
        let opened = |old: &Gate| {
            let about = self.about.iter().map(|&i| &self.prompts[i]);
            about.filter(|known| old.opens(&known.prompt, &known.turn) > 0.5).count()
        };
        let share = |old: &Gate| opened(old) as f64 / self.about.len() as f64;
        // A command is another version of a command, and a fact of a fact.
        let earlier = self.earlier.iter().filter(|(_, old)| old.phrase.is_some() == self.phrase.is_some());
        let least = |old: &Gate| match (old.fact, gate.fact) {
            (Some(old), Some(new)) if old == new => SAME,
            (Some(_), Some(_)) => f64::INFINITY,
            _ => REPLACED,
        };
        let shares = earlier.map(|(id, old)| (*id, share(old), least(old))).filter(|(_, share, least)| share >= least);
        self.replaces = shares.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(id, ..)| id);
        // A pattern may have been filled with half a name: what it asks then is anybody's guess.
        let bank = rest.iter().filter(|&&i| i < learner.known.len());
        // What the unchanged model answers as it does a frame is about the fact too, though it lies farther off.
        let same: HashSet<&[u32]> = self.frames.iter().map(|frame| &self.prompts[frame.prompt].answer[..]).collect();
        let refusal = action::refusal(learner.model.tokenizer());
        let refused = |i: usize| refusal.is_some_and(|refusal| self.prompts[i].answer.contains(&refusal));
        let bank = bank.filter(|&&i| refused(i) || !same.contains(&self.prompts[i].answer[..]));
        let mut near: Vec<(f32, usize)> = bank.map(|&i| (gate.nearness(turn(i)), i)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        // What names something of its own stays, though it is about the fact: "read me the news about tennis".
        let names = |i: &usize| {
            let actions = action::read(learner.model.tokenizer(), &self.prompts[*i].answer).actions;
            !actions.is_empty() && actions.iter().all(|action| !action.arguments.is_empty())
        };
        let mut own: Vec<usize> =
            self.about.iter().copied().filter(|i| !self.changed.contains(i) && names(i)).collect();
        own.sort_by(|a, b| gate.nearness(turn(*b)).total_cmp(&gate.nearness(turn(*a))));
        own.truncate(OWN_GUARDS);
        let near: Vec<usize> = own.into_iter().chain(near.into_iter().map(|(_, i)| i)).collect();
        self.plan(learner, &gate, &near)?;
        self.checks = near.iter().take(CHECKED / 2).map(|&i| (i, self.prompts[i].answer.clone())).collect();
        let frames = self.frames.iter().take(CHECKED / 2);
        self.checks.extend(frames.map(|f| (f.prompt, f.answer.clone())));
        self.gate = Some(gate);
        self.training = Some(Training::new(std::mem::take(&mut self.planned), None));
        Ok(self.go(Phase::Training))
    }

    /// Which fact the frames ask for: what the unchanged model most often answers to those that ask.
    fn fact(&self, tokenizer: &Tokenizer) -> Option<u64> {
        let acts = |ids: &[u32]| !action::read(tokenizer, ids).actions.is_empty();
        let asks = self.frames.iter().map(|frame| (&self.prompts[frame.prompt].answer, &frame.answer));
        let before: Vec<&Vec<u32>> = asks.filter(|(old, new)| !acts(old) && !acts(new)).map(|(old, _)| old).collect();
        let count = |answer: &Vec<u32>| before.iter().filter(|other| **other == answer).count();
        let most = before.iter().max_by_key(|answer| (count(answer), answer.len()))?;
        (2 * count(most) >= before.len()).then(|| hash(&text(tokenizer, most)))
    }

    /// What is trained: the frames, and the guards that lie nearest to the gate; each alone and in one other place.
    fn plan(&mut self, learner: &Learner, gate: &Gate, near: &[usize]) -> Result<(), Error> {
        // Long answers cost what many short ones do.
        let mut tokens = 0;
        let frames = self.frames.iter().take(FRAMES).take_while(|frame| {
            tokens += frame.answer.len();
            tokens <= FRAME_TOKENS.max(frame.answer.len())
        });
        let frames = frames.map(|f| (f.prompt, f.answer.clone(), true)).collect::<Vec<_>>();
        let guards = near.iter().take(GUARDS).map(|&i| (i, self.prompts[i].answer.clone(), false));
        for (n, (i, answer, frame)) in frames.into_iter().chain(guards.collect::<Vec<_>>()).enumerate() {
            let other = if n % 2 == 0 { Place::Moment } else { Place::Later };
            let least = if frame { FRAME_OPEN } else { GUARD_OPEN };
            let open = gate.opens(&self.prompts[i].prompt, &self.prompts[i].turn).max(least);
            for place in [Place::First, other] {
                let talk = self.talk(learner, i, &answer, place)?;
                // Shut in what came before.
                let mut opens = vec![0.0; talk.answers.len().saturating_sub(1)];
                opens.push(open);
                self.planned.push(Planned { talk, frame, opens });
            }
        }
        Ok(())
    }

    /// A prompt with an answer, somewhere in a conversation.
    fn talk(&mut self, learner: &Learner, prompt: usize, answer: &[u32], place: Place) -> Result<Talk, Error> {
        let tokenizer = learner.model.tokenizer();
        // Only models that were taught actions know of moments.
        let now =
            (place == Place::Moment && learner.model.header().actions.is_some()).then(|| moment(&mut self.random));
        let before = &learner.known[self.random.below(learner.known.len())];
        let mut turns: Vec<(&str, &[u32])> = Vec::new();
        if place == Place::Later {
            turns.push((&before.prompt, &before.answer));
        }
        let known = &self.prompts[prompt];
        turns.push((&known.prompt, answer));
        Talk::new(tokenizer, &turns, false, Last { now: now.as_deref(), shown: known.shown.as_deref() })
    }
}

/// Some moment, as a turn says it.
pub(super) fn moment(random: &mut Random) -> String {
    let mut below = |n: usize| random.below(n) as i64;
    let moment = Moment::new(2025 + below(10), 1 + below(12), 1 + below(28), below(24), below(60));
    moment.map_or_else(String::new, Moment::told)
}

pub(super) fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for i in (1..all.len()).rev() {
        all.swap(i, random.below(i + 1));
    }
}
