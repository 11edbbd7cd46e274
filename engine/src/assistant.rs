//! A conversation in one call a turn: words, a sound or a picture in, actions and words out.

use crate::action::{self, Action, UNKNOWN};
use crate::data::{Encoder, Example, Turn};
use crate::error::Error;
use crate::frontend::{Picture, Sound};
use crate::model::Model;
use crate::sampler::Sampler;
use crate::session::Session;
use crate::state::State;
use crate::tokenizer::Tokenizer;
use std::sync::Arc;

/// Times that a turn is read in which something was told.
const READINGS: usize = 3;
/// Tokens of an answer that tell whether it takes note.
const BEGINNING: usize = 8;
/// Least probability of the first of them: of statements it is 0.92 and more, and a question that was misread may begin
/// as a note too.
const SURE: f32 = 0.9;

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
    /// Whether it takes note of something that was told, as models of `examples/assistant` are taught to.
    pub fn takes_note(&self) -> bool {
        self.actions.is_empty() && ["Got it, ", "Nice to meet you, "].iter().any(|start| self.text.starts_with(start))
    }
    /// Whether it refuses.
    pub fn refuses(&self) -> bool {
        self.actions.iter().any(|a| a.name == UNKNOWN)
    }
}

/// After a turn was taken in: where it opened sections that a device wrote, but the unchanged model would take note of it,
/// something is told and not asked for. Then the sections are muted, and the session stands as if they had been shut. Says
/// whether. `before` is its state before the turn.
///
/// # Errors
/// Those of the session.
pub async fn was_told(session: &mut Session, before: &State, prompt: &Example) -> Result<bool, Error> {
    if !session.opened().await? {
        return Ok(false);
    }
    session.restore(before)?;
    shut(session, prompt).await?;
    let logits = session.logits().await?;
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sure = 1.0 >= SURE * logits.iter().map(|x| (x - top).exp()).sum::<f32>();
    let mut ids = Vec::new();
    let sampler = Sampler { temperature: 0.0, ..Sampler::for_model(session.model()) };
    let keep = |id| {
        ids.push(id);
        true
    };
    session.generate(&sampler, BEGINNING, keep).await?;
    let told = sure && Reply::read(session.model().tokenizer(), &ids).takes_note();
    session.restore(before)?;
    match told {
        true => shut(session, prompt).await?,
        false => session.perceive(prompt).await?,
    }
    Ok(told)
}

/// Feeds a turn and mutes what it opens.
async fn shut(session: &mut Session, prompt: &Example) -> Result<(), Error> {
    session.mute(true);
    let fed = session.perceive(prompt).await;
    session.mute(false);
    fed
}

/// Reads a turn and the answer that took note of it again, so that the state holds what was told more firmly: "Just read
/// twice" (arXiv 2407.05483). The answer stands at the end of the session, and does so again. What a device learned about
/// the same is muted from then on: what the conversation was told wins.
///
/// # Errors
/// Those of the session; [`Error::Tokenizer`]: the vocabulary has no end of turns.
pub async fn reread(session: &mut Session, prompt: &Example, answer: &[u32]) -> Result<(), Error> {
    let end = session.model().tokenizer().special("<end>");
    let end = end.ok_or_else(|| Error::Tokenizer("it has no <end> token".into()))?;
    for _ in 1..READINGS {
        // The first turn of a conversation has no answer before it to end.
        if prompt.ids.first() != Some(&end) {
            session.prefill(&[end]).await?;
        }
        shut(session, prompt).await?;
        session.prefill(answer).await?;
    }
    Ok(())
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
        let before = match self.session.learned() {
            true => Some(self.session.state().await?),
            false => None,
        };
        self.session.perceive(prompt).await?;
        if let Some(before) = &before {
            was_told(&mut self.session, before, prompt).await?;
        }
        let mut ids = Vec::new();
        let sampler = self.sampler.suited(self.session.model(), prompt);
        self.session
            .generate(&sampler, most, |id| {
                ids.push(id);
                true
            })
            .await?;
        let reply = Reply::read(self.session.model().tokenizer(), &ids);
        if reply.takes_note() {
            reread(&mut self.session, prompt, &ids).await?;
        }
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mixer};
    use crate::data::Speaker;
    use crate::testing::{checkpoint, config, now};
    use lichen_host::{Cpu, Device};

    fn session() -> Session {
        let config = Config { layers: 3, ..config(Mixer::SlopeDelta) };
        let checkpoint = checkpoint(&config, Tokenizer::bytes(), 5);
        let model = Model::new(checkpoint, Arc::new(Device::Cpu(Cpu::new(1)))).expect("model");
        Session::new(Arc::new(model)).expect("session")
    }

    #[test]
    fn notes_are_taken_in_words_alone() {
        let reply = |text: &str, actions: Vec<Action>| Reply { actions, text: text.into() };
        let action = || vec![Action { name: "call.start".into(), arguments: Vec::new() }];
        assert!(reply("Got it, your cat is called Mo.", Vec::new()).takes_note());
        assert!(reply("Nice to meet you, Ada.", Vec::new()).takes_note());
        assert!(!reply("Got it, calling.", action()).takes_note());
        assert!(!reply("I have got it, I think.", Vec::new()).takes_note());
    }

    #[test]
    fn a_turn_read_again_is_a_turn_said_again() {
        let turn = Turn::new(Speaker::User, "my cat is called Mo");
        let answer = [70, 71, 72];
        for earlier in [false, true] {
            let (mut again, mut said) = (session(), session());
            for session in [&mut again, &mut said] {
                if earlier {
                    now(session.prefill(&[80, 81])).expect("feeds");
                }
            }
            let tokenizer = again.model().tokenizer().clone();
            let encoder = Encoder::new(&tokenizer, None);
            let prompt = encoder.prompt(&turn, earlier).expect("a turn");
            now(again.perceive(&prompt)).expect("reads");
            now(again.prefill(&answer)).expect("reads");
            now(reread(&mut again, &prompt, &answer)).expect("reads again");
            for _ in 0..READINGS {
                let prompt = encoder.prompt(&turn, said.position() > 0).expect("a turn");
                now(said.prefill(&prompt.ids)).expect("reads");
                now(said.prefill(&answer)).expect("reads");
            }
            assert_eq!(again.position(), said.position());
            let [a, b] = [&mut again, &mut said].map(|session| now(session.logits()).expect("logits"));
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4), "{earlier}");
        }
    }
}
