//! Asks a model and reads its answers, one conversation at a time.

use crate::failure::{Done, Failure};
use crate::load;
use crate::sets::senses::Sense;
use lichen::action::{self, Action};
use lichen::data::{Encoder, Turn};
use lichen::session::{RouteMap, Session};
use lichen::{Model, Sampler};
use std::sync::Arc;

/// What a model answered.
pub(super) struct Reply {
    pub(super) actions: Vec<Action>,
    pub(super) text: String,
}
impl Reply {
    /// Whether it is a refusal.
    pub(super) fn refuses(&self) -> bool {
        self.actions.iter().any(|a| a.name == action::UNKNOWN)
    }
    /// Actions and words in one text.
    pub(super) fn whole(&self) -> String {
        let actions = self.actions.iter().map(|a| serde_json::to_string(a).unwrap_or_default());
        actions.chain([self.text.clone()]).collect::<Vec<_>>().join(" ")
    }
}

/// A session that is asked.
pub(super) struct Asker {
    model: Arc<Model>,
    session: Session,
    sampler: Sampler,
}

impl Asker {
    pub(super) fn new(model: &Arc<Model>) -> Done<Self> {
        let session = load::session(model)?;
        Ok(Self { model: model.clone(), session, sampler: Sampler { temperature: 0.0, ..Sampler::for_model(model) } })
    }

    /// Begins a new conversation.
    pub(super) fn forget(&mut self) -> Done {
        Ok(self.session.reset()?)
    }

    /// One turn and its answer of at most `most` tokens.
    pub(super) fn ask(&mut self, turn: &Turn, sense: Option<&Sense>, most: usize) -> Done<Reply> {
        let tokenizer = self.model.tokenizer();
        if self.session.position() > 0 {
            // As in training: an answer has an end before the next turn begins.
            let end: Vec<u32> = tokenizer.special("<end>").into_iter().collect();
            pollster::block_on(self.session.prefill(&end))?;
        }
        let mut prompt = Encoder::new(tokenizer, self.model.header().actions.as_ref()).prompt(turn)?;
        if let Some(sense) = sense {
            sense.fill(&mut prompt, None);
        }
        pollster::block_on(self.session.perceive(&prompt))?;
        let mut ids = Vec::new();
        pollster::block_on(self.session.generate(&self.sampler, most, |id| {
            ids.push(id);
            true
        }))?;
        let answer = action::read(tokenizer, &ids);
        let text = String::from_utf8_lossy(&answer.said).trim().to_string();
        Ok(Reply { actions: answer.actions, text })
    }

    /// How far the token that refuses is ahead of all others where the answer to a lone turn begins, in logits, before any
    /// bias; negative where it is behind.
    pub(super) fn refusal_margin(&mut self, turn: &Turn) -> Done<f32> {
        self.forget()?;
        let tokenizer = self.model.tokenizer();
        let refusal =
            action::refusal(tokenizer).ok_or_else(|| Failure::Failed("this model has no token that refuses".into()))?;
        let prompt = Encoder::new(tokenizer, None).prompt(turn)?;
        pollster::block_on(self.session.perceive(&prompt))?;
        let logits = pollster::block_on(self.session.logits())?;
        let others = logits.iter().enumerate().filter(|(id, _)| *id != refusal as usize);
        let best = others.map(|(_, l)| *l).fold(f32::NEG_INFINITY, f32::max);
        Ok(logits[refusal as usize] - best)
    }

    /// The route of a lone turn.
    pub(super) fn route(&mut self, turn: &Turn, sense: Option<&Sense>) -> Done<RouteMap> {
        self.forget()?;
        let mut prompt = Encoder::new(self.model.tokenizer(), None).prompt(turn)?;
        if let Some(sense) = sense {
            sense.fill(&mut prompt, None);
        }
        Ok(pollster::block_on(self.session.perceive_routed(&prompt))?)
    }

    /// The only turn of a conversation.
    pub(super) fn alone(&mut self, turn: &Turn, sense: Option<&Sense>, most: usize) -> Done<Reply> {
        self.forget()?;
        self.ask(turn, sense, most)
    }
}
