//! Asks a model and reads its answers, one conversation at a time.

use crate::failure::{Done, Failure};
use crate::load;
use crate::sets::senses::Sense;
use lichen::action;
use lichen::data::{Example, Turn};
use lichen::session::RouteMap;
use lichen::{Assistant, Model, Plastic, Reply, Session};
use std::sync::Arc;

/// A conversation whose sounds and pictures come from data sets.
pub(super) struct Asker(Assistant);

impl Asker {
    pub(super) fn new(model: &Arc<Model>) -> Done<Self> {
        Ok(Self(Assistant::with(load::session(model)?)?))
    }

    /// With sections that are written meanwhile.
    pub(super) fn with_plastic(model: &Arc<Model>, pool: Plastic) -> Done<Self> {
        Ok(Self(Assistant::with(Session::with_plastic(model.clone(), Some(pool))?)?))
    }

    /// Begins a new conversation.
    pub(super) fn forget(&mut self) -> Done {
        Ok(self.0.forget()?)
    }

    fn prompt(&self, turn: &Turn, sense: Option<&Sense>) -> Done<Example> {
        let mut prompt = self.0.prompt(turn)?;
        if let Some(sense) = sense {
            sense.fill(&mut prompt, None);
        }
        Ok(prompt)
    }

    /// One turn and its answer of at most `most` tokens.
    pub(super) fn ask(&mut self, turn: &Turn, sense: Option<&Sense>, most: usize) -> Done<Reply> {
        let prompt = self.prompt(turn, sense)?;
        Ok(pollster::block_on(self.0.answer(&prompt, most))?)
    }

    /// The only turn of a conversation.
    pub(super) fn alone(&mut self, turn: &Turn, sense: Option<&Sense>, most: usize) -> Done<Reply> {
        self.forget()?;
        self.ask(turn, sense, most)
    }

    /// How far the token that refuses is ahead of all others where the answer to a lone turn begins, in logits, before any
    /// bias; negative where it is behind.
    pub(super) fn refusal_margin(&mut self, turn: &Turn) -> Done<f32> {
        self.forget()?;
        let prompt = self.prompt(turn, None)?;
        let session = self.0.session();
        let refusal = action::refusal(session.model().tokenizer())
            .ok_or_else(|| Failure::Failed("this model has no token that refuses".into()))?;
        pollster::block_on(session.perceive(&prompt))?;
        let logits = pollster::block_on(session.logits())?;
        let others = logits.iter().enumerate().filter(|(id, _)| *id != refusal as usize);
        let best = others.map(|(_, l)| *l).fold(f32::NEG_INFINITY, f32::max);
        Ok(logits[refusal as usize] - best)
    }

    /// The route of a lone turn.
    pub(super) fn route(&mut self, turn: &Turn, sense: Option<&Sense>) -> Done<RouteMap> {
        self.forget()?;
        let prompt = self.prompt(turn, sense)?;
        Ok(pollster::block_on(self.0.session().perceive_routed(&prompt))?)
    }
}
