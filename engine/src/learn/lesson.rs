//! One lesson, step by step.

use super::command::Command;
use super::frames::{Candidate, text};
use super::gate::Gate;
use super::reader::Talk;
use super::training::{Exercise, Planned, Training};
use super::{ANSWER, Known, Learned, Learner, Receipt, Teaching, now, show};
use crate::error::Error;
use crate::phrase::Phrase;
use crate::plastic::{Plastic, Written};
use crate::session::Session;
use crate::state::State;
use lichen_shaders::cases::Random;

/// Longest statement, in bytes.
const LONGEST: usize = 2000;
/// Least opening of the section in training: so that it also holds where the gate opens a little less.
pub(super) const FRAME_OPEN: f32 = 0.9;
/// Share of the checked answers that must be as they should.
const PASSING: f64 = 0.75;

/// Where a lesson stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What is taught is heard.
    Hearing,
    /// The model asks itself.
    Asking,
    /// It answers what the statement changes.
    Answering,
    /// The gate is learned.
    Choosing,
    /// The section is trained.
    Training,
    /// The result is checked.
    Checking,
}

/// What a step led to.
#[derive(Debug)]
pub enum Step {
    /// There is more to do: where the lesson stands, and how much of that is done, from 0 to 1.
    Going(Phase, f32),
    /// It is learned, if committed.
    Done(Box<Learned>),
    /// Nothing was learned, for this reason.
    Refused(String),
}

/// A prompt whose answer the statement changes.
pub(super) struct Frame {
    /// Number among the prompts of the lesson.
    pub(super) prompt: usize,
    pub(super) answer: Vec<u32>,
}

/// One lesson.
pub struct Lesson {
    pub(super) teaching: Teaching,
    pub(super) random: Random,
    phase: Phase,
    /// Steps of this phase that are done.
    pub(super) at: usize,
    /// Of the conversation in which the statement was said, with the answer to it.
    pub(super) state: Option<State>,
    /// The bank's prompts, then patterns filled for this statement.
    pub(super) prompts: Vec<Known>,
    /// The answer to the statement.
    pub(super) note: Vec<u32>,
    /// The command that the statement tells.
    pub(super) command: Option<Command>,
    /// Turn vectors in other places of a conversation, of those about the fact and of others.
    pub(super) placed: [Vec<Vec<f32>>; 2],
    /// How many of the conversations that are read for it are about the fact; they come first.
    pub(super) split: usize,
    pub(super) groups: Vec<Vec<usize>>,
    pub(super) talks: Vec<Talk>,
    /// Prompts about the same fact.
    pub(super) about: Vec<usize>,
    /// Those of them to which the unchanged answer is no longer the most likely one.
    pub(super) changed: Vec<usize>,
    /// Answers that may be frames.
    pub(super) found: Vec<Candidate>,
    pub(super) frames: Vec<Frame>,
    /// A command's own words.
    pub(super) phrase: Option<Phrase>,
    pub(super) gate: Option<Gate>,
    /// Gates of the lessons before.
    pub(super) earlier: Vec<(u64, Gate)>,
    pub(super) replaces: Option<u64>,
    pub(super) planned: Vec<Planned>,
    pub(super) training: Option<Training>,
    trial: Option<(Written, Session)>,
    pub(super) checks: Vec<(usize, Vec<u32>)>,
    receipt: Receipt,
}

impl Lesson {
    pub(super) fn new(
        learner: &Learner,
        teaching: &Teaching,
        number: u64,
        earlier: Vec<(u64, Gate)>,
    ) -> Result<Self, Error> {
        let teaching = teaching.trimmed();
        for text in teaching.texts() {
            if text.is_empty() {
                return Err(Error::Memory("there is nothing to learn: it is empty".into()));
            }
            if text.len() > LONGEST {
                let len = text.len();
                return Err(Error::Memory(format!("{len} bytes are too much for one lesson: at most {LONGEST}")));
            }
        }
        if let Teaching::Name { shown, .. } = &teaching {
            shown.check()?;
            if learner.model.config().senses.is_none() {
                return Err(Error::Senses("this model can neither hear nor see".into()));
            }
            if learner.bank.shown().is_empty() {
                let what = "this model keeps no pictures and sounds to tell a new one from (lichen quantize --shown)";
                return Err(Error::Memory(what.into()));
            }
        }
        if let Teaching::Answer { answer, .. } | Teaching::Name { name: answer, .. } = &teaching
            && learner.model.tokenizer().encode(answer).len() >= ANSWER
        {
            return Err(Error::Memory(format!("an answer of {ANSWER} tokens or more is too long to be taught")));
        }
        Ok(Self {
            teaching,
            random: Random::new(number ^ 0x6c65_7373_6f6e),
            phase: Phase::Hearing,
            at: 0,
            state: None,
            prompts: learner.known.clone(),
            note: Vec::new(),
            command: None,
            placed: [Vec::new(), Vec::new()],
            split: 0,
            groups: Vec::new(),
            talks: Vec::new(),
            about: Vec::new(),
            changed: Vec::new(),
            found: Vec::new(),
            frames: Vec::new(),
            phrase: None,
            gate: None,
            earlier,
            replaces: None,
            planned: Vec::new(),
            training: None,
            trial: None,
            checks: Vec::new(),
            receipt: Receipt::default(),
        })
    }
    /// The lesson before that told another version of the same fact: the one whose gate opens for most of what this one
    /// changes. Known once it is learned.
    pub fn replaces(&self) -> Option<u64> {
        self.replaces
    }

    /// The next few dozen milliseconds of work. After [`Step::Done`] and [`Step::Refused`] a lesson is over; one that
    /// is dropped before leaves nothing behind.
    pub fn step(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        match self.phase {
            Phase::Hearing => self.hear(learner),
            Phase::Asking => self.ask(learner),
            Phase::Answering => self.answer(learner),
            Phase::Choosing => self.learn_gate(learner),
            Phase::Training => self.train(learner),
            Phase::Checking => self.check(learner),
        }
    }

    pub(super) fn go(&mut self, phase: Phase) -> Step {
        (self.phase, self.at) = (phase, 0);
        Step::Going(phase, 0.0)
    }
    pub(super) fn going(&mut self, of: usize) -> Step {
        self.at += 1;
        self.still(of)
    }
    /// A step that does not count.
    pub(super) fn still(&self, of: usize) -> Step {
        Step::Going(self.phase, (self.at as f32 / of.max(1) as f32).min(1.0))
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What a lesson that has come to [`Phase::Training`] trains on, for other ways to keep it.
    pub fn exercises(&self, learner: &mut Learner) -> Result<Vec<Exercise>, Error> {
        self.training.as_ref().map_or_else(|| Ok(Vec::new()), |training| training.exercises(learner))
    }

    fn train(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        let (Some(training), Some(gate)) = (&mut self.training, &self.gate) else {
            return Err(Error::Memory("a lesson has nothing to train on".into()));
        };
        if let Some(share) = training.step(learner, &mut self.random)? {
            return Ok(Step::Going(self.phase, share));
        }
        let (first, last) = training.losses()?;
        (self.receipt.loss_before, self.receipt.loss_after, self.receipt.drift) =
            (first.frames, last.frames, last.guards);
        (self.receipt.frames, self.receipt.guards) = (training.frames(), training.guards());
        let written = training.written(learner, gate)?;
        self.training = None;
        let pool = now(Plastic::new(&learner.model, 1))?;
        pool.write(learner.model.device(), 0, &written)?;
        self.trial = Some((written, Session::with_plastic(learner.model.clone(), Some(pool))?));
        Ok(self.go(Phase::Checking))
    }

    fn check(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        let Some((written, session)) = &mut self.trial else {
            return Err(Error::Memory("a lesson has nothing to check".into()));
        };
        if let Some((prompt, want)) = self.checks.get(self.at) {
            session.reset()?;
            let known = &self.prompts[*prompt];
            let got = show(session, &learner.sampler, &known.prompt, known.shown.as_deref())?;
            self.receipt.checked += 1;
            self.receipt.passed += usize::from(got == *want);
            return Ok(self.going(self.checks.len()));
        }
        let Receipt { checked, passed, .. } = self.receipt;
        if (passed as f64) < PASSING * checked as f64 {
            return Ok(Step::Refused(format!("only {passed} of {checked} answers were as they should be afterwards")));
        }
        let tokenizer = learner.model.tokenizer();
        // What is shown is not kept, and cannot be asked again.
        let asked = self.frames.iter().filter(|f| self.prompts[f.prompt].shown.is_none());
        let frames = asked.map(|f| (self.prompts[f.prompt].prompt.clone(), text(tokenizer, &f.answer)));
        Ok(Step::Done(Box::new(Learned {
            written: written.clone(),
            receipt: self.receipt.clone(),
            frames: frames.collect(),
        })))
    }
}
