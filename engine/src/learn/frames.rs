//! Finding a lesson's frames: what is said is heard, then the model asks itself what follows from it.

use super::copies::mended;
use super::gate::{dot, unit};
use super::lesson::{Frame, Lesson, Phase, Step};
use super::reader::{BATCH, Reader, Talk};
use super::shown::Shown;
use super::{ANSWERS, Known, Learner, Teaching, ask, now, tell};
use crate::assistant::Reply;
use crate::error::Error;
use crate::phrase::words;
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
/// What is told to be remembered, where the model does not take note of it as it stands.
const REMEMBER: [&str; 2] = ["{}. remember that.", "remember that {}"];
/// Pictures or sounds of a lesson that names one: itself, and changed copies.
const SHOWN: usize = 24;
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
        let mut told = self.teaching.said().to_string();
        self.note = match self.teaching {
            Teaching::Statement(_) => tell(&mut learner.session, &learner.sampler, &told)?,
            _ => ask(&mut learner.session, &learner.sampler, &told)?,
        };
        if matches!(self.teaching, Teaching::Statement(_)) {
            let said = told.trim_end_matches(|c: char| c.is_ascii_punctuation()).to_string();
            for way in REMEMBER {
                if Reply::read(learner.model.tokenizer(), &self.note).takes_note() {
                    break;
                }
                told = way.replace("{}", &said);
                learner.session.reset()?;
                self.note = tell(&mut learner.session, &learner.sampler, &told)?;
            }
        }
        self.state = Some(now(learner.session.state())?);
        let anchor = match &self.teaching {
            Teaching::Correction { asked, .. } => asked.clone(),
            _ => told,
        };
        let mut turns = learner.turns(new.iter().chain([&anchor]).map(String::as_str))?;
        let anchor = unit(&turns.pop().unwrap_or_default());
        let new = new.into_iter().zip(turns).map(|(prompt, turn)| Known { prompt, turn, ..Known::default() });
        self.prompts.extend(new);
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
            let frames = self.follow(learner, found)?;
            self.frames.extend(frames);
            return Ok(self.still(steps + 1));
        }
        if next.is_empty() {
            return self.call(learner);
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
        Ok(self.going(steps + 1))
    }

    /// Which answers follow from what was said: they are sure after it, and would hardly have been given without it. The
    /// same conversations go on from the statement, and stand alone.
    fn follow(&self, learner: &mut Learner, found: Vec<Candidate>) -> Result<Vec<Frame>, Error> {
        let heard = found.iter().map(|candidate| &candidate.heard).collect::<Vec<_>>();
        let heard = learner.reader.read(&heard, self.state.as_ref(), None)?;
        let alone = found.iter().map(|candidate| &candidate.alone).collect::<Vec<_>>();
        let alone = learner.reader.read(&alone, None, None)?;
        let all = found.into_iter().zip(heard.iter().zip(&alone));
        let follow = all.filter(|(_, (h, a))| h.least >= SURE && h.log_chance - a.log_chance >= FOLLOWS);
        Ok(follow.map(|(candidate, _)| candidate.frame).collect())
    }

    /// Leaves only frames that copy what most of them copy from the statement: the others copied wrongly. Where none
    /// copies, as where a time is said in words, all stay.
    pub(super) fn agree(&mut self, tokenizer: &Tokenizer) {
        let said: HashSet<String> = words(self.teaching.said()).collect();
        let mut copied: HashMap<String, usize> = HashMap::new();
        for frame in &self.frames {
            let known = &self.prompts[frame.prompt];
            let old: HashSet<String> = words(&text(tokenizer, &known.answer)).chain(words(&known.prompt)).collect();
            let new: HashSet<String> = words(&text(tokenizer, &frame.answer)).collect();
            for word in new.into_iter().filter(|word| said.contains(word) && !old.contains(word)) {
                *copied.entry(word).or_default() += 1;
            }
        }
        let most = copied.values().copied().max().unwrap_or(0);
        let value = copied.into_iter().filter(|(_, n)| 2 * n > most).map(|(word, _)| word);
        if let Some(longest) = value.max_by_key(|word| (word.len(), word.clone())) {
            self.frames.retain(|frame| words(&text(tokenizer, &frame.answer)).any(|word| word == longest));
        }
    }

    /// Leaves out frames that ask for another thing by its name: a word of the prompt that both answers have, but neither
    /// the statement nor most other frames that ask. The model took one thing for the other, and so that is what to tell
    /// it from.
    pub(super) fn leave_others(&mut self, tokenizer: &Tokenizer) {
        let said: HashSet<String> = words(self.teaching.said()).collect();
        let asks = self.frames.iter().map(|frame| (frame.prompt, Reply::read(tokenizer, &frame.answer)));
        let asks = asks.filter(|(_, answer)| answer.actions.is_empty());
        let asks: Vec<(usize, HashSet<String>)> = asks.map(|(i, answer)| (i, words(&answer.text).collect())).collect();
        let most = |word: &String| 2 * asks.iter().filter(|(_, answer)| answer.contains(word)).count() >= asks.len();
        let other = |(i, answer): &&(usize, HashSet<String>)| {
            let known = &self.prompts[*i];
            let before: HashSet<String> = words(&text(tokenizer, &known.answer)).collect();
            let mut named = words(&known.prompt).filter(|word| before.contains(word) && answer.contains(word));
            named.any(|word| !said.contains(&word) && !most(&word))
        };
        let others: HashSet<usize> = asks.iter().filter(other).map(|(i, _)| *i).collect();
        self.frames.retain(|frame| !others.contains(&frame.prompt));
        self.about.retain(|prompt| !others.contains(prompt));
    }

    /// Where the bank itself has enough, patterns only add ways to ask for what it found: some ask for something else.
    pub(super) fn thin_out(&mut self, bank: usize) {
        if self.frames.iter().filter(|frame| frame.prompt < bank).count() >= ENOUGH {
            let known: HashSet<Vec<u32>> =
                self.frames.iter().filter(|frame| frame.prompt < bank).map(|frame| frame.answer.clone()).collect();
            self.frames.retain(|frame| frame.prompt < bank || known.contains(&frame.answer));
        }
    }
}

/// An answer as a text: actions, then words.
pub(super) fn text(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    Reply::read(tokenizer, ids).whole().trim().to_string()
}
