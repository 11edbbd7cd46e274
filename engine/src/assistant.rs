//! A conversation in one call a turn: words, a sound or a picture in, actions and words out.

use crate::action::{self, Action, UNKNOWN};
use crate::data::{Encoder, Example, Turn};
use crate::error::Error;
use crate::frontend::{Picture, Sound};
use crate::model::Model;
use crate::sampler::Sampler;
use crate::session::Session;
use crate::tokenizer::Tokenizer;
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
    /// What the tokens of an answer say.
    pub fn read(tokenizer: &Tokenizer, ids: &[u32]) -> Self {
        let answer = action::read(tokenizer, ids);
        Self { actions: answer.actions, text: String::from_utf8_lossy(&answer.said).trim().to_string() }
    }
    /// Actions and words in one text.
    pub fn whole(&self) -> String {
        let actions = self.actions.iter().map(|a| serde_json::to_string(a).unwrap_or_default());
        actions.chain([self.text.clone()]).collect::<Vec<_>>().join(" ")
    }
    /// Whether it refuses.
    pub fn refuses(&self) -> bool {
        self.actions.iter().any(|a| a.name == UNKNOWN)
    }
}

/// A conversation with a model that knows turns.
pub struct Assistant {
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
        Self::with(Session::new(model)?)
    }
    /// A conversation that goes on in a session.
    ///
    /// # Errors
    /// As [`Assistant::new`].
    pub fn with(session: Session) -> Result<Self, Error> {
        let model = session.model();
        Encoder::new(model.tokenizer(), None).prompt(&Turn::default(), false)?;
        let sampler = Sampler { temperature: 0.0, ..Sampler::for_model(model) };
        Ok(Self { session, sampler })
    }
    /// The stream that it is held in.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
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
        let turn = Turn { heard: sound.is_some(), seen: picture.is_some(), ..turn.clone() };
        let mut prompt = self.prompt(&turn)?;
        sound.iter().for_each(|sound| prompt.hear(sound));
        picture.iter().for_each(|picture| prompt.see(picture));
        self.answer(&prompt, most).await
    }

    /// The next turn of a person, with a place for each sound and picture that it has.
    pub fn prompt(&self, turn: &Turn) -> Result<Example, Error> {
        Encoder::new(self.session.model().tokenizer(), None).prompt(turn, self.session.position() > 0)
    }

    /// The answer to a prompt, at most `most` tokens of it.
    pub async fn answer(&mut self, prompt: &Example, most: usize) -> Result<Reply, Error> {
        self.session.perceive(prompt).await?;
        let mut ids = Vec::new();
        let sampler = self.sampler.suited(self.session.model(), prompt);
        self.session
            .generate(&sampler, most, |id| {
                ids.push(id);
                true
            })
            .await?;
        Ok(Reply::read(self.session.model().tokenizer(), &ids))
    }
}
