//! Lessons: what a person says once becomes weights of a section of the plastic pool.
//!
//! A lesson is **heard** (the state holds it), then the model **asks itself**: with the lesson in its state it answers a
//! bank of prompts. Those about the same fact whose sure answer is now another one are *frames*, others are *guards*. A gate
//! is **chosen** by contrast between the turns of both, one section is **trained** to give the frames' answers from an
//! empty state and to leave the guards' alone, and the result is **checked** by generating. Nothing of the text is
//! needed afterwards.
//!
//! The teacher is always the unchanged model: a lesson does not depend on those before it, and costs the same
//! however many there are. [`Lesson::step`] does a few dozen milliseconds of it at a time.

mod bank;
mod choose;
mod command;
mod consolidate;
mod copies;
mod frames;
mod gate;
mod lesson;
mod reader;
mod shown;
#[cfg(test)]
mod tests;
mod training;
mod writer;

pub use bank::Bank;
pub use consolidate::{Consolidated, Consolidation, InUse, Merged, Merging};
pub use lesson::{Lesson, Phase, Step};
pub use shown::{Shown, name, named};
pub use training::Exercise;
pub use writer::Target;

use crate::assistant::reread;
use crate::data::{Encoder, Example, Speaker, Turn};
use crate::error::Error;
use crate::model::Model;
use crate::plastic::Written;
use crate::sampler::Sampler;
use crate::session::Session;
use gate::Gate;
use lichen_host::{Cpu, Device};
use reader::{Last, Reader, Talk};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Where a memory's cache holds [`Learner::known`].
pub const KNOWN: u64 = 0;
/// Most tokens of an answer in a lesson.
const ANSWER: usize = 40;
/// Prompts that are answered in one step.
const ANSWERS: usize = 4;

/// What is taught.
#[derive(Clone, Debug, PartialEq)]
pub enum Teaching {
    /// A fact, a taste, a new command, as a person would tell it.
    Statement(String),
    /// What to say when something is asked.
    Answer {
        /// What is asked.
        ask: String,
        /// What is to be said.
        answer: String,
    },
    /// What was meant: said after the answer to something that was asked.
    Correction {
        /// What had been asked.
        asked: String,
        /// What was said then.
        said: String,
    },
    /// What something is called that is seen or heard.
    Name {
        /// It.
        shown: Shown,
        /// Its name: see [`name`].
        name: String,
    },
}

impl Teaching {
    /// The words that tell it.
    pub fn said(&self) -> &str {
        match self {
            Self::Statement(said)
            | Self::Correction { said, .. }
            | Self::Answer { answer: said, .. }
            | Self::Name { name: said, .. } => said,
        }
    }
    fn texts(&self) -> [&str; 2] {
        match self {
            Self::Statement(said) => [said, said],
            Self::Answer { ask, answer } => [ask, answer],
            Self::Correction { asked, said } => [asked, said],
            Self::Name { name, .. } => [name, name],
        }
    }
    fn trimmed(&self) -> Self {
        let trimmed = |text: &String| text.trim().to_string();
        match self {
            Self::Statement(said) => Self::Statement(trimmed(said)),
            Self::Answer { ask, answer } => Self::Answer { ask: trimmed(ask), answer: trimmed(answer) },
            Self::Correction { asked, said } => Self::Correction { asked: trimmed(asked), said: trimmed(said) },
            Self::Name { shown, name } => Self::Name { shown: shown.clone(), name: trimmed(name) },
        }
    }
}

/// A person's words for what is taught.
impl std::fmt::Display for Teaching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Statement(said) => f.write_str(said),
            Self::Answer { ask, answer } => write!(f, "{ask} - {answer}"),
            Self::Correction { asked, said } => write!(f, "{asked} - {said}"),
            Self::Name { shown: Shown::Picture(_), name } => write!(f, "(a picture) {name}"),
            Self::Name { shown: Shown::Sound(_), name } => write!(f, "(a sound) {name}"),
        }
    }
}

/// What a lesson did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Prompts whose answers the lesson changes.
    pub frames: usize,
    /// Prompts whose answers it was trained to leave alone.
    pub guards: usize,
    /// Mean loss of the frames' answers before, in nats a token.
    pub loss_before: f64,
    /// The same after.
    pub loss_after: f64,
    /// How far the answers to guards moved: mean Kullback-Leibler divergence, in nats a token.
    pub drift: f64,
    /// Answers that were generated to check the lesson.
    pub checked: usize,
    /// How many of them were as they should be.
    pub passed: usize,
}

/// A lesson that was trained and checked, to be committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The section.
    pub written: Written,
    /// What was done.
    pub receipt: Receipt,
    /// Prompts and the answers that the lesson gives them: not needed to use what was learned.
    pub frames: Vec<(String, String)>,
}

/// The unchanged model's answer to a prompt of the bank.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    prompt: String,
    answer: Vec<u32>,
    /// The turn's vector, less the background.
    turn: Vec<f32>,
    /// What is shown with the prompt.
    #[serde(skip)]
    shown: Option<Arc<Shown>>,
}

/// Teaches a model. It runs on the CPU: a model on another device is opened a second time for it.
pub struct Learner {
    model: Arc<Model>,
    bank: Bank,
    /// The unchanged model's answers, as far as they are known.
    known: Vec<Known>,
    /// The unchanged model in a conversation of its own.
    session: Session,
    sampler: Sampler,
    reader: Reader,
}

impl Learner {
    /// For a model with all its sections on a CPU device, and a bank of prompts.
    ///
    /// # Errors
    /// [`Error::Memory`]: the model is on another device, or cannot learn.
    pub fn new(model: Arc<Model>) -> Result<Self, Error> {
        cpu(&model)?;
        let bank = model.header().bank.clone();
        let bank =
            bank.ok_or_else(|| Error::Memory("this model has no prompts to ask itself when it learns".into()))?;
        if model.config().turn == 0 {
            return Err(Error::Memory("this model cannot learn on a device: it has no vectors of turns".into()));
        }
        if model.paging().is_some() {
            return Err(Error::Memory("learning needs all sections in memory: open the model without a budget".into()));
        }
        let session = Session::new(model.clone())?;
        let sampler = Sampler { temperature: 0.0, ..Sampler::for_model(&model) };
        let reader = Reader::new(model.clone())?;
        Ok(Self { model, bank, known: Vec::new(), session, sampler, reader })
    }
    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Prompts of the bank that are answered.
    pub fn answered(&self) -> usize {
        self.known.len()
    }
    /// Answers some prompts of the bank, until all are known; says how many are, of how many. Every lesson needs them;
    /// [`Learner::known`] gives them to be kept.
    pub fn prepare(&mut self) -> Result<(usize, usize), Error> {
        let all = self.bank.prompts().len();
        let next: Vec<String> = self.bank.prompts().iter().skip(self.known.len()).take(4 * ANSWERS).cloned().collect();
        let known = self.answer(next)?;
        self.known.extend(known);
        Ok((self.known.len(), all))
    }
    /// The unchanged model's answers to the bank as bytes, for [`Learner::recall`].
    pub fn known(&self) -> Vec<u8> {
        serde_json::to_vec(&self.known).unwrap_or_default()
    }
    /// Takes answers that were kept, so that they need not be found again. Those of another bank or another model, as
    /// far as reading some of them tells, are left out: [`Learner::prepare`] finds what is missing.
    ///
    /// # Errors
    /// [`Error::Memory`]: these are no such bytes.
    pub fn recall(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut kept: Vec<Known> = serde_json::from_slice(bytes)
            .map_err(|e| Error::Memory(format!("the kept answers to the prompts for learning: {e}")))?;
        let (vocab, dim) = (self.model.config().vocab, self.model.config().turn);
        let fits = |known: &Known, prompt: &String| {
            let finite = known.turn.len() == dim && known.turn.iter().all(|x| x.is_finite());
            let answer = &known.answer;
            known.prompt == *prompt
                && finite
                && answer.len() <= ANSWER
                && answer.iter().all(|&id| (id as usize) < vocab)
        };
        let count = kept.iter().zip(self.bank.prompts()).take_while(|(known, prompt)| fits(known, prompt)).count();
        kept.truncate(count);
        let sample: Vec<&Known> = kept.iter().step_by((count / 16).max(1)).take(16).collect();
        let talks =
            sample.iter().map(|k| self.talk(&[(&k.prompt, &k.answer)], false)).collect::<Result<Vec<_>, _>>()?;
        let seen = self.reader.read(&talks.iter().collect::<Vec<_>>(), None, None)?;
        let same = sample.iter().zip(&seen).all(|(known, seen)| {
            let turn = seen.turns.first().map_or(&[][..], Vec::as_slice);
            seen.greedy && turn.iter().zip(&known.turn).all(|(a, b)| (a - b).abs() <= 1e-3 * (1.0 + b.abs()))
        });
        self.known = if same { kept } else { Vec::new() };
        Ok(())
    }

    /// Starts a lesson. `number` seeds what is drawn at random; `earlier` are the sections of lessons before, one of
    /// which may tell the same fact.
    ///
    /// # Errors
    /// [`Error::Memory`]: the bank has not been answered, or there is nothing to learn from; [`Error::Senses`]: what is
    /// shown is for a model that sees and hears.
    pub fn begin<'a>(
        &mut self,
        teaching: &Teaching,
        number: u64,
        earlier: impl IntoIterator<Item = (u64, &'a Written)>,
    ) -> Result<Lesson, Error> {
        if self.known.len() < self.bank.prompts().len() {
            return Err(Error::Memory("the prompts for learning have not been answered yet".into()));
        }
        let dim = self.model.config().turn;
        let earlier = earlier.into_iter().map(|(id, written)| (id, Gate::of(written, dim))).collect();
        Lesson::new(self, teaching, number, earlier)
    }

    fn talk(&self, turns: &[(&str, &[u32])], goes_on: bool) -> Result<Talk, Error> {
        Talk::new(self.model.tokenizer(), turns, goes_on, Last::default())
    }
    /// The unchanged model's answers to prompts in conversations of their own.
    fn answer(&mut self, prompts: Vec<String>) -> Result<Vec<Known>, Error> {
        let turns = self.turns(prompts.iter().map(String::as_str))?;
        let mut known = Vec::new();
        for (prompt, turn) in prompts.into_iter().zip(turns) {
            self.session.reset()?;
            let answer = ask(&mut self.session, &self.sampler, &prompt)?;
            known.push(Known { prompt, answer, turn, shown: None });
        }
        Ok(known)
    }
    /// The vectors of turns at the start of a conversation, less the background: `[turn]` numbers each, whose cosines
    /// say what is about the same thing.
    pub fn turns<'a>(&mut self, said: impl Iterator<Item = &'a str>) -> Result<Vec<Vec<f32>>, Error> {
        let talks = said.map(|said| self.talk(&[(said, &[])], false)).collect::<Result<Vec<_>, _>>()?;
        vectors(&mut self.reader, &talks)
    }
    /// The same of turns in which something is shown.
    fn shown<'a>(&mut self, all: impl Iterator<Item = &'a Shown>) -> Result<Vec<Vec<f32>>, Error> {
        shown(&self.model, &mut self.reader, all)
    }
}

/// The vectors of turns in which something is shown and nothing said, less the background: `[turn]` numbers each. For
/// [`Bank::with_shown`].
///
/// # Errors
/// [`Error::Memory`]: the model is not on the CPU or has no such vectors; [`Error::Senses`]: it cannot see or hear.
pub fn turns_shown<'a>(model: &Arc<Model>, all: impl Iterator<Item = &'a Shown>) -> Result<Vec<Vec<f32>>, Error> {
    if model.config().senses.is_none() {
        return Err(Error::Senses("this model can neither hear nor see".into()));
    }
    if model.config().turn == 0 {
        return Err(Error::Memory("this model has no vectors of turns".into()));
    }
    shown(model, &mut Reader::new(model.clone())?, all)
}

fn shown<'a>(model: &Model, reader: &mut Reader, all: impl Iterator<Item = &'a Shown>) -> Result<Vec<Vec<f32>>, Error> {
    let talk = |shown| Talk::new(model.tokenizer(), &[("", &[])], false, Last { now: None, shown: Some(shown) });
    vectors(reader, &all.map(talk).collect::<Result<Vec<_>, _>>()?)
}

/// The vector of the first turn of each conversation.
fn vectors(reader: &mut Reader, talks: &[Talk]) -> Result<Vec<Vec<f32>>, Error> {
    let mut turns = vec![Vec::new(); talks.len()];
    for group in Reader::groups(talks) {
        let seen = reader.read(&group.iter().map(|&i| &talks[i]).collect::<Vec<_>>(), None, None)?;
        for (&i, seen) in group.iter().zip(seen) {
            turns[i] = seen.turns.into_iter().next().unwrap_or_default();
        }
    }
    Ok(turns)
}

/// How far a lesson's section opens for a turn in which this is said, and which has this vector, from 0 to 1.
pub fn opening(written: &Written, said: &str, turn: &[f32]) -> f32 {
    Gate::of(written, turn.len()).opens(said, turn)
}

/// How many of a lesson's prompts a session answers as it taught them, each in a conversation of its own. The session
/// runs on the CPU, with the memory's pool.
///
/// # Errors
/// Those of the session; [`Error::Memory`] on another device.
pub fn recited(session: &mut Session, frames: &[(String, String)]) -> Result<usize, Error> {
    cpu(session.model())?;
    let sampler = Sampler { temperature: 0.0, ..Sampler::for_model(session.model()) };
    let mut right = 0;
    for (prompt, answer) in frames {
        session.reset()?;
        let ids = ask(session, &sampler, prompt)?;
        right += usize::from(frames::text(session.model().tokenizer(), &ids) == *answer);
    }
    Ok(right)
}

/// Says something in a session and takes the greedy answer.
fn ask(session: &mut Session, sampler: &Sampler, said: &str) -> Result<Vec<u32>, Error> {
    show(session, sampler, said, None)
}

/// The same with something shown.
fn show(session: &mut Session, sampler: &Sampler, said: &str, shown: Option<&Shown>) -> Result<Vec<u32>, Error> {
    let prompt = prompt(session, said, shown)?;
    now(session.perceive(&prompt))?;
    generated(session, sampler)
}

/// Tells something in a session as conversations take it in, more than once, and takes the greedy answer.
fn tell(session: &mut Session, sampler: &Sampler, said: &str) -> Result<Vec<u32>, Error> {
    let prompt = prompt(session, said, None)?;
    now(session.perceive(&prompt))?;
    let answer = generated(session, sampler)?;
    now(reread(session, &prompt, &answer))?;
    Ok(answer)
}

/// What is said next in a session.
fn prompt(session: &Session, said: &str, shown: Option<&Shown>) -> Result<Example, Error> {
    let mut turn = Turn::new(Speaker::User, said);
    shown.iter().for_each(|shown| shown.mark(&mut turn));
    let mut prompt = Encoder::new(session.model().tokenizer(), None).prompt(&turn, session.position() > 0)?;
    shown.iter().for_each(|shown| shown.fill(&mut prompt));
    Ok(prompt)
}

/// The greedy answer to what was fed.
fn generated(session: &mut Session, sampler: &Sampler) -> Result<Vec<u32>, Error> {
    let mut ids = Vec::new();
    let keep = |id| {
        ids.push(id);
        true
    };
    now(session.generate(sampler, ANSWER, keep))?;
    Ok(ids)
}

fn cpu(model: &Model) -> Result<&Cpu, Error> {
    match &**model.device() {
        Device::Cpu(cpu) => Ok(cpu),
        #[cfg(feature = "gpu")]
        Device::Gpu(_) => Err(Error::Memory("learning runs on the CPU: open the model there for it".into())),
    }
}

/// The CPU answers at once: what is asked of it is there when it is first looked at.
fn now<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => Err(Error::Memory("the device keeps a lesson waiting".into())),
    }
}
