//! Finding a lesson's frames: what is said is heard, then the model asks itself what follows from it.

use super::bank::{called, phrases, words};
use super::copies::mended;
use super::gate::{dot, unit};
use super::lesson::{Frame, Lesson, Phase, Step, made_up};
use super::reader::{BATCH, Reader, Talk};
use super::shown::Shown;
use super::{ANSWERS, Known, Learner, Teaching, ask, now, tell};
use crate::action;
use crate::assistant::Reply;
use crate::error::Error;
use crate::tokenizer::Tokenizer;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Least probability of the least likely token of a frame's answer.
const SURE: f32 = 0.5;
/// How much likelier a frame's answer must have become, in nats: what follows from a statement would hardly have been
/// said without it (10 to 50 nats), other than what is only unclear ("I do not know your lunch box yet": 1 to 4).
const FOLLOWS: f32 = 6.0;
/// What is about the same fact as the statement: turns at least so near to its turn, as a cosine, and at most so much
/// farther than the nearest one. Where an answer beyond changes, the model took one thing for the other.
const NEAR: f32 = 0.6;
const FARTHER: f32 = 0.12;
/// Pictures or sounds of a lesson that names one: itself, and changed copies.
const SHOWN: usize = 24;
/// Made-up words from which a command's own are told apart.
const OTHERS: usize = 8;
/// Parts of a statement that are said in more than one way, where they may be a command's own words.
const WORDS: usize = 3;
/// Frames from the bank that are enough without patterns.
const ENOUGH: usize = 6;

/// A prompt with an answer that may follow from what was said.
pub(super) struct Candidate {
    frame: Frame,
    /// They, going on from the statement.
    heard: Talk,
    /// They alone.
    alone: Talk,
}

impl Candidate {
    fn new(learner: &Learner, number: usize, prompt: &str, answer: Vec<u32>) -> Result<Self, Error> {
        let [heard, alone] = [true, false].map(|goes_on| learner.talk(&[(prompt, &answer)], goes_on));
        Ok(Self { heard: heard?, alone: alone?, frame: Frame { prompt: number, answer } })
    }
}

impl Lesson {
    pub(super) fn hear(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        if self.state.is_none() {
            return self.listen(learner);
        }
        // Filled patterns about the fact have no answer of the unchanged model yet.
        let next: Vec<usize> = self.about.iter().filter(|&&i| i >= learner.known.len()).copied().collect();
        let part: Vec<usize> = next.iter().skip((self.at - 1) * ANSWERS).take(ANSWERS).copied().collect();
        for &i in &part {
            learner.session.reset()?;
            self.prompts[i].answer = ask(&mut learner.session, &learner.sampler, &self.prompts[i].prompt)?;
        }
        if !part.is_empty() {
            return Ok(self.going(1 + next.len().div_ceil(ANSWERS)));
        }
        let about = self.about.iter().map(|&i| &self.prompts[i]);
        let talks = about.map(|known| learner.talk(&[(&known.prompt, &known.answer)], true));
        self.talks = talks.collect::<Result<_, _>>()?;
        self.groups = Reader::groups(&self.talks);
        Ok(self.go(Phase::Asking))
    }

    /// Says what is taught to the unchanged model, and finds the prompts about the same fact.
    fn listen(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        if let Teaching::Answer { ask, answer } = &self.teaching {
            let (ask, answer) = (ask.clone(), learner.model.tokenizer().encode(answer));
            self.about = vec![self.prompts.len()];
            self.frames = vec![Frame { prompt: self.prompts.len(), answer }];
            self.prompts.extend(learner.answer(vec![ask])?);
            return self.choose(learner);
        }
        if let Teaching::Name { shown, name } = &self.teaching {
            let (shown, name) = (shown.clone(), name.clone());
            return self.name(learner, &shown, &name);
        }
        learner.session.reset()?;
        let mut new = learner.bank.about(self.teaching.said());
        if let Teaching::Correction { asked, .. } = &self.teaching {
            ask(&mut learner.session, &learner.sampler, asked)?;
            new.push(asked.clone());
        }
        match self.teaching {
            Teaching::Statement(_) => tell(&mut learner.session, &learner.sampler, self.teaching.said())?,
            _ => ask(&mut learner.session, &learner.sampler, self.teaching.said())?,
        };
        self.state = Some(now(learner.session.state())?);
        let anchor = match &self.teaching {
            Teaching::Correction { asked, .. } => asked.clone(),
            other => other.said().to_string(),
        };
        let mut turns = learner.turns(new.iter().chain([&anchor]).map(String::as_str))?;
        let anchor = unit(&turns.pop().unwrap_or_default());
        let new = new.into_iter().zip(turns).map(|(prompt, turn)| Known { prompt, turn, ..Known::default() });
        self.prompts.extend(new);
        self.filled = self.prompts.len();
        if let Teaching::Statement(said) = &self.teaching {
            self.phrases = phrases(said);
            self.own = self.phrases.len();
        }
        let nearness: Vec<f32> = self.prompts.iter().map(|p| dot(&unit(&p.turn), &anchor)).collect();
        let least = NEAR.max(nearness.iter().copied().fold(-1.0, f32::max) - FARTHER);
        self.about = (0..nearness.len()).filter(|&i| nearness[i] >= least).collect();
        Ok(self.going(2))
    }

    /// A few more changed copies of what is shown, each to be answered with the name.
    fn name(&mut self, learner: &mut Learner, shown: &Shown, name: &str) -> Result<Step, Error> {
        let mut all = Vec::new();
        while all.len() < ANSWERS && self.about.len() + all.len() < SHOWN {
            let first = self.about.is_empty() && all.is_empty();
            all.push(Arc::new(if first { shown.clone() } else { shown.varied(&mut self.random) }));
        }
        if all.is_empty() {
            return self.choose(learner);
        }
        let answer = learner.model.tokenizer().encode(name);
        let turns = learner.shown(all.iter().map(Arc::as_ref))?;
        for (shown, turn) in all.into_iter().zip(turns) {
            self.about.push(self.prompts.len());
            self.frames.push(Frame { prompt: self.prompts.len(), answer: answer.clone() });
            self.prompts.push(Known { turn, shown: Some(shown), ..Known::default() });
        }
        Ok(self.going(SHOWN.div_ceil(ANSWERS)))
    }

    pub(super) fn ask(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        let Some(group) = self.groups.get(self.at) else {
            self.changed.sort_unstable();
            return Ok(self.go(Phase::Answering));
        };
        let talks: Vec<&Talk> = group.iter().map(|&i| &self.talks[i]).collect();
        let seen = learner.reader.read(&talks, self.state.as_ref(), None)?;
        self.changed.extend(group.iter().zip(seen).filter(|(_, seen)| !seen.greedy).map(|(&i, _)| self.about[i]));
        Ok(self.going(self.groups.len()))
    }

    /// A frame's answer has words that neither the old answer nor the question has, and follows from what was said.
    pub(super) fn answer(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        let steps = self.changed.len().div_ceil(ANSWERS);
        let next: Vec<usize> = self.changed.iter().skip(self.at * ANSWERS).take(ANSWERS).copied().collect();
        if self.found.len() >= BATCH || next.is_empty() && !self.found.is_empty() {
            let found: Vec<Candidate> = self.found.drain(..self.found.len().min(BATCH)).collect();
            let follows = self.follow(learner, &found)?;
            let frames = found.into_iter().zip(follows).filter(|(_, follows)| *follows);
            self.frames.extend(frames.map(|(candidate, _)| candidate.frame));
            return Ok(self.still(steps + self.phrases.len().div_ceil(ANSWERS)));
        }
        if next.is_empty() {
            return self.phrases(learner);
        }
        for i in next {
            let Some(state) = &self.state else { break };
            learner.session.restore(state)?;
            let known = &self.prompts[i];
            let answer = ask(&mut learner.session, &learner.sampler, &known.prompt)?;
            let tokenizer = learner.model.tokenizer();
            let old: HashSet<String> = words(&text(tokenizer, &known.answer)).chain(words(&known.prompt)).collect();
            if words(&text(tokenizer, &answer)).any(|word| !old.contains(&word)) {
                let mut candidate = Candidate::new(learner, i, &known.prompt, answer)?;
                let answer = &mut candidate.frame.answer;
                *answer = mended(tokenizer, self.teaching.said(), &old, answer);
                self.found.push(candidate);
            }
        }
        Ok(self.going(steps + self.phrases.len().div_ceil(ANSWERS)))
    }

    /// Which answers follow from what was said: they are sure after it, and would hardly have been given without it. The
    /// same conversations go on from the statement, and stand alone.
    fn follow(&self, learner: &mut Learner, found: &[Candidate]) -> Result<Vec<bool>, Error> {
        let heard = found.iter().map(|candidate| &candidate.heard).collect::<Vec<_>>();
        let heard = learner.reader.read(&heard, self.state.as_ref(), None)?;
        let alone = found.iter().map(|candidate| &candidate.alone).collect::<Vec<_>>();
        let alone = learner.reader.read(&alone, None, None)?;
        let both = heard.iter().zip(&alone);
        Ok(both.map(|(h, a)| h.least >= SURE && h.log_chance - a.log_chance >= FOLLOWS).collect())
    }

    /// Parts of the statement to which the model now does something else than before: a command's own words, and other
    /// ways to say them.
    fn phrases(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        let next = self.said..self.phrases.len().min(self.said + ANSWERS);
        self.said = next.end;
        if next.is_empty() && self.phrases.len() == self.own && self.commands() {
            // Its own words may be said, or asked about, in more than one way; they are the shortest that do it.
            let own = self.frames.iter().map(|frame| frame.prompt).filter(|&i| i >= self.filled);
            let mut own: Vec<&str> = own.map(|i| &self.prompts[i].prompt[..]).collect();
            own.sort_by_key(|words| words.len());
            let ways: Vec<String> = own.into_iter().take(WORDS).flat_map(called).collect();
            self.phrases.extend(ways);
            return Ok(self.still(1));
        }
        if next.is_empty() {
            return self.choose(learner);
        }
        let tokenizer = learner.model.tokenizer().clone();
        let does = |ids: &[u32]| action::read(&tokenizer, ids).actions;
        for i in next {
            let (Some(state), phrase) = (&self.state, self.phrases[i].clone()) else { break };
            learner.session.restore(state)?;
            let answer = ask(&mut learner.session, &learner.sampler, &phrase)?;
            let doing = does(&answer);
            // Its own words do something; where they are asked about, that is said.
            if i < self.own && doing.is_empty() || doing.iter().any(|action| action.name == action::UNKNOWN) {
                continue;
            }
            let candidate = Candidate::new(learner, self.prompts.len(), &phrase, answer)?;
            let follows = self.follow(learner, std::slice::from_ref(&candidate))? == [true];
            let known = learner.answer(vec![phrase.clone()])?;
            if follows && (i >= self.own || known.iter().all(|known| does(&known.answer) != doing)) {
                self.about.push(self.prompts.len());
                self.frames.push(candidate.frame);
                self.prompts.extend(known);
            }
        }
        let steps = (self.changed.len().div_ceil(ANSWERS), self.phrases.len().div_ceil(ANSWERS));
        Ok(self.going(steps.0 + steps.1))
    }

    /// Leaves only frames that copy what most of them copy from the statement: the others copied wrongly. Where none
    /// copies, as where a time is said in words, all stay.
    pub(super) fn agree(&mut self, tokenizer: &Tokenizer) {
        let value = self.value(tokenizer);
        if let Some(longest) = value.into_iter().max_by_key(|word| (word.len(), word.clone())) {
            self.frames.retain(|frame| words(&text(tokenizer, &frame.answer)).any(|word| word == longest));
        }
    }

    /// Whether most frames are the statement's own words: then it names a command.
    fn commands(&self) -> bool {
        2 * self.frames.iter().filter(|frame| frame.prompt >= self.filled).count() > self.frames.len()
    }

    /// A statement that names a command is about nothing else. Other words, said and asked about in the same ways, are
    /// what its gate has to be told apart from.
    pub(super) fn command(&mut self, learner: &mut Learner) -> Result<(), Error> {
        if self.commands() {
            let filled = self.filled;
            self.frames.retain(|frame| frame.prompt >= filled);
            // One way alone is a chance hit: the statement was not understood.
            if self.frames.len() < 2 {
                self.frames.clear();
                return Ok(());
            }
            self.about.retain(|&i| i >= filled);
            let others: Vec<String> = (0..OTHERS).map(|_| made_up(&mut self.random)).collect();
            let said = others.iter().flat_map(|words| called(words).chain([words.clone()])).collect::<Vec<_>>();
            self.others = learner.turns(said.iter().map(String::as_str))?;
        }
        Ok(())
    }

    /// Leaves out patterns where the bank itself has enough: they all ask, and nothing is asked for.
    pub(super) fn thin_out(&mut self, bank: usize) {
        if self.frames.iter().filter(|frame| frame.prompt < bank).count() >= ENOUGH {
            self.frames.retain(|frame| frame.prompt < bank || frame.prompt >= self.filled);
        }
    }

    /// What the statement tells: its words that the frames' answers copy most.
    pub(super) fn value(&self, tokenizer: &Tokenizer) -> Vec<String> {
        let all = self.frames.iter().map(|frame| {
            let known = &self.prompts[frame.prompt];
            (&known.prompt[..], &known.answer[..], &frame.answer[..])
        });
        copied(self.teaching.said(), tokenizer, all)
    }
}

/// The words of what was said that most answers copy which it changed: prompts, with the answers before and after.
pub(super) fn copied<'a>(
    said: &str,
    tokenizer: &Tokenizer,
    changed: impl Iterator<Item = (&'a str, &'a [u32], &'a [u32])>,
) -> Vec<String> {
    let said: HashSet<String> = words(said).collect();
    let mut copied: HashMap<String, usize> = HashMap::new();
    for (prompt, before, after) in changed {
        let old: HashSet<String> = words(&text(tokenizer, before)).chain(words(prompt)).collect();
        let new: HashSet<String> = words(&text(tokenizer, after)).collect();
        for word in new.into_iter().filter(|w| said.contains(w) && !old.contains(w)) {
            *copied.entry(word).or_default() += 1;
        }
    }
    let most = copied.values().copied().max().unwrap_or(0);
    copied.into_iter().filter(|&(_, n)| 2 * n > most).map(|(word, _)| word).collect()
}

/// An answer as a text: actions, then words.
pub(super) fn text(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    Reply::read(tokenizer, ids).whole().trim().to_string()
}
