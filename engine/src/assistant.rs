//! A conversation in one call a turn: words, a sound or a picture in, actions and words out.

use crate::action::{self, Action, UNKNOWN};
use crate::data::{Encoder, Turn};
use crate::error::Error;
use crate::frontend::{Picture, Sound};
use crate::model::Model;
use crate::sampler::Sampler;
use crate::session::Session;
use std::sync::Arc;

/// What a model answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// What it would do, in order.
    pub actions: Vec<Action>,
    /// What it says.
    pub text: String,
}

impl Reply {
    /// Whether it refuses.
    pub fn refuses(&self) -> bool {
        self.actions.iter().any(|a| a.name == UNKNOWN)
    }
}

/// A conversation with a model that knows turns.
pub struct Assistant {
    model: Arc<Model>,
    session: Session,
    /// How answers are drawn; greedily to start with.
    pub sampler: Sampler,
}

impl Assistant {
    /// An empty conversation.
    ///
    /// # Errors
    /// [`Error::Tokenizer`]: the model's vocabulary has no turns.
    pub fn new(model: Arc<Model>) -> Result<Self, Error> {
        Encoder::new(model.tokenizer(), None).prompt(&Turn::default())?;
        let session = Session::new(model.clone())?;
        let sampler = Sampler { temperature: 0.0, ..Sampler::for_model(&model) };
        Ok(Self { model, session, sampler })
    }

    /// Forgets the conversation.
    pub fn forget(&mut self) -> Result<(), Error> {
        self.session.reset()
    }

    /// One turn of a person and the answer, at most `most` tokens of it.
    pub async fn ask(
        &mut self,
        turn: &Turn,
        sound: Option<&Sound>,
        picture: Option<&Picture>,
        most: usize,
    ) -> Result<Reply, Error> {
        let tokenizer = self.model.tokenizer();
        if self.session.position() > 0 {
            // As in training: an answer has an end before the next turn begins.
            let end: Vec<u32> = tokenizer.special("<end>").into_iter().collect();
            self.session.prefill(&end).await?;
        }
        let turn = Turn { heard: sound.is_some(), seen: picture.is_some(), ..turn.clone() };
        let mut prompt = Encoder::new(tokenizer, None).prompt(&turn)?;
        sound.iter().for_each(|sound| prompt.hear(sound));
        picture.iter().for_each(|picture| prompt.see(picture));
        self.session.perceive(&prompt).await?;
        let mut ids = Vec::new();
        self.session
            .generate(&self.sampler, most, |id| {
                ids.push(id);
                true
            })
            .await?;
        let answer = action::read(tokenizer, &ids);
        Ok(Reply { actions: answer.actions, text: String::from_utf8_lossy(&answer.said).trim().to_string() })
    }
}
