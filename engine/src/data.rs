//! What a model learns from and is measured on: texts and dialogues, as tokens with the weight of each.

use crate::action::{Action, Catalogue};
use crate::config::Config;
use crate::error::Error;
use crate::frontend::{BANDS, Picture, SIDE, SPAN, Sound};
use crate::graph::PICTURE;
use crate::tokenizer::Tokenizer;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// Stands in a sequence where a vector of what is heard goes.
pub const HEARD: u32 = u32::MAX - 1;
/// Stands in a sequence where a vector of what is seen goes.
pub const SEEN: u32 = u32::MAX - 2;

/// Numbers of a window of sound.
pub const WINDOW: usize = SPAN * BANDS;
/// Numbers of a picture.
pub const PIXELS: usize = SIDE * SIDE * 3;

/// Who says a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speaker {
    /// The person.
    #[default]
    User,
    /// The model.
    Lichen,
}

/// One piece of training or test data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// Plain text: `<text> .. <end>`.
    Text(String),
    /// A dialogue: `<user> .. <lichen> .. <end>`, the end after each answer.
    Turns(Vec<Turn>),
}

/// What one side says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub speaker: Speaker,
    /// The words.
    pub text: String,
    /// Name of the task that the answer is for, such as a set of labels: `<task> ..` before a person's turn.
    pub task: Option<String>,
    /// When a person says it, such as `Mon 2026-11-23 14:05`: `<now> ..` before the words.
    pub now: Option<String>,
    /// Something heard before the words: `<audio>` and a place for it.
    pub heard: bool,
    /// Something seen before the words: `<image>` and a place for it.
    pub seen: bool,
    /// What the model does; stands before its words.
    pub actions: Vec<Action>,
    /// The personal fact on which the answer to this turn depends.
    pub about: Option<String>,
}

impl Turn {
    /// A turn of words alone.
    pub fn new(speaker: Speaker, text: impl Into<String>) -> Self {
        Self { speaker, text: text.into(), ..Self::default() }
    }
}

/// Weights of what a sequence teaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Emphasis {
    /// Of the tokens of an answer and its end.
    pub answer: f32,
    /// Of the tokens of a person's turn.
    pub said: f32,
}
impl Default for Emphasis {
    fn default() -> Self {
        Self { answer: 1.0, said: 0.1 }
    }
}

/// One sequence from an empty state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Example {
    /// Tokens, and [`HEARD`] or [`SEEN`] where a vector goes; before it is filled, one such place for each.
    pub ids: Vec<u32>,
    /// How much predicting each token counts; that of the first is never asked.
    pub weights: Vec<f32>,
    /// What goes to the places of [`HEARD`], in order: windows [n, 7, 40].
    pub sounds: Vec<f32>,
    /// What goes to the places of [`SEEN`], in order: pictures [n, 32, 32, 3].
    pub pictures: Vec<f32>,
    /// The turns of a person in a dialogue about facts: their tokens, and the fact if they are about one.
    pub about: Vec<(Range<usize>, Option<String>)>,
}

impl Example {
    fn put(&mut self, ids: &[u32], weight: f32) {
        self.ids.extend(ids);
        self.weights.resize(self.ids.len(), weight);
    }
    /// Predictions that it asks for.
    pub fn rows(&self) -> usize {
        self.ids.len().saturating_sub(1)
    }
    /// Windows that it hears.
    pub fn heard(&self) -> usize {
        self.sounds.len() / WINDOW
    }
    /// Pictures that it sees.
    pub fn seen(&self) -> usize {
        self.pictures.len() / PIXELS
    }
    /// Whether a model of these sizes can take it: known tokens, and a vector for each place that asks for one.
    pub(crate) fn check(&self, config: &Config) -> Result<(), Error> {
        let count = |place: u32| self.ids.iter().filter(|&&id| id == place).count();
        let (heard, seen) = (count(HEARD), count(SEEN));
        if heard + seen > 0 && config.senses.is_none() {
            return Err(Error::Senses("this model can neither hear nor see".into()));
        }
        if heard * WINDOW != self.sounds.len() || seen * PIXELS != self.pictures.len() * PICTURE {
            return Err(Error::Senses(format!(
                "{heard} places for {} windows of sound, {seen} places for {} pictures of {PICTURE} vectors",
                self.heard(),
                self.seen()
            )));
        }
        let wanted = |(&id, &w): (&u32, &f32)| w > 0.0 && (id == HEARD || id == SEEN);
        if self.ids.iter().zip(&self.weights).any(wanted) {
            return Err(Error::Senses("a place for a sound or a picture cannot be predicted".into()));
        }
        let vocab = config.vocab;
        match self.ids.iter().find(|&&id| id as usize >= vocab && id != HEARD && id != SEEN) {
            Some(&id) => Err(Error::Token { id, vocab }),
            None => Ok(()),
        }
    }
    /// Cuts it to so many predictions.
    pub fn truncate(&mut self, rows: usize) {
        self.ids.truncate(rows + 1);
        self.weights.truncate(rows + 1);
        let end = self.ids.len();
        self.about.retain(|(range, _)| range.end <= end);
    }
    /// Goes on with another one, as the same conversation; what stands at their places must be there already.
    pub fn append(&mut self, next: Self) {
        let at = self.ids.len();
        self.ids.extend(next.ids);
        self.weights.extend(next.weights);
        self.sounds.extend(next.sounds);
        self.pictures.extend(next.pictures);
        self.about.extend(next.about.into_iter().map(|(range, fact)| (at + range.start..at + range.end, fact)));
    }
    /// Puts a sound to its place.
    pub fn hear(&mut self, sound: &Sound) {
        self.widen(HEARD, sound.vectors());
        self.sounds.extend(sound.windows());
    }
    /// Puts a picture to its place.
    pub fn see(&mut self, picture: &Picture) {
        self.widen(SEEN, PICTURE);
        self.pictures.extend_from_slice(&picture.pixels);
    }
    /// Makes room for `n` vectors at each place that stands for one.
    pub fn widen(&mut self, place: u32, n: usize) {
        let at = |ids: &[u32]| ids.iter().position(|&id| id == place);
        let Some(first) = at(&self.ids) else { return };
        let (mut ids, mut weights, mut moved) = (Vec::new(), Vec::new(), vec![0; self.ids.len() + 1]);
        for (i, (&id, &weight)) in self.ids.iter().zip(&self.weights).enumerate() {
            moved[i] = ids.len();
            let count = if i >= first && id == place { n } else { 1 };
            ids.extend(std::iter::repeat_n(id, count));
            weights.extend(std::iter::repeat_n(weight, count));
        }
        moved[self.ids.len()] = ids.len();
        self.about.iter_mut().for_each(|(range, _)| *range = moved[range.start]..moved[range.end]);
        (self.ids, self.weights) = (ids, weights);
    }
}

/// Turns documents into sequences.
#[derive(Clone, Debug)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    catalogue: Option<&'a Catalogue>,
}

impl<'a> Encoder<'a> {
    /// With the actions that answers may hold.
    pub fn new(tokenizer: &'a Tokenizer, catalogue: Option<&'a Catalogue>) -> Self {
        Self { tokenizer, catalogue }
    }
    fn mark(&self, name: &str) -> Result<u32, Error> {
        let absent = || Error::Tokenizer(format!("it has no {name} token, which documents need"));
        self.tokenizer.special(name).ok_or_else(absent)
    }

    /// A document as one sequence.
    pub fn encode(&self, document: &Document, emphasis: Emphasis) -> Result<Example, Error> {
        let mut all = Example::default();
        match document {
            Document::Text(text) => {
                all.put(&[self.mark("<text>")?], 0.0);
                all.put(&self.tokenizer.encode(text), emphasis.answer);
                all.put(&[self.mark("<end>")?], emphasis.answer);
            }
            Document::Turns(turns) => {
                turns.iter().try_for_each(|turn| self.turn(turn, emphasis, &mut all))?;
                if all.about.iter().all(|(_, fact)| fact.is_none()) {
                    all.about.clear();
                }
            }
        }
        Ok(all)
    }

    /// A person's turn up to where the answer starts. In a conversation that goes on the answer before it is ended
    /// first, as in training: whoever drew it did not feed its end.
    pub fn prompt(&self, turn: &Turn, goes_on: bool) -> Result<Example, Error> {
        let mut all = Example::default();
        if goes_on {
            all.put(&[self.mark("<end>")?], 0.0);
        }
        self.turn(turn, Emphasis::default(), &mut all)?;
        all.put(&[self.mark("<lichen>")?], 0.0);
        Ok(all)
    }

    fn turn(&self, turn: &Turn, emphasis: Emphasis, all: &mut Example) -> Result<(), Error> {
        let from = all.ids.len();
        if turn.speaker == Speaker::Lichen {
            all.put(&[self.mark("<lichen>")?], emphasis.said);
            for action in &turn.actions {
                let catalogue = self.catalogue.ok_or_else(|| Error::Action("there is no catalogue".into()))?;
                all.put(&catalogue.encode(self.tokenizer, action)?, emphasis.answer);
            }
            all.put(&self.tokenizer.encode(&turn.text), emphasis.answer);
            all.put(&[self.mark("<end>")?], emphasis.answer);
            return Ok(());
        }
        for (name, text) in [("<task>", &turn.task), ("<now>", &turn.now)] {
            if let Some(text) = text {
                all.put(&[self.mark(name)?], 0.0);
                all.put(&self.tokenizer.encode(text), 0.0);
            }
        }
        let words = all.ids.len();
        all.put(&[self.mark("<user>")?], 0.0);
        for (there, name, place) in [(turn.heard, "<audio>", HEARD), (turn.seen, "<image>", SEEN)] {
            if there {
                all.put(&[self.mark(name)?, place], 0.0);
            }
        }
        all.put(&self.tokenizer.encode(&turn.text), emphasis.said);
        all.weights[from] = 0.0;
        all.about.push((words..all.ids.len(), turn.about.clone()));
        Ok(())
    }
}

/// A stream of tokens with the bytes they stand for.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    tokens: Vec<u32>,
    bytes: u64,
    documents: Vec<usize>,
}

impl Dataset {
    /// Encodes documents one after the other.
    pub fn new(tokenizer: &Tokenizer, documents: impl IntoIterator<Item = Document>) -> Result<Self, Error> {
        let encoder = Encoder::new(tokenizer, None);
        let mut all = Self::default();
        for document in documents {
            all.documents.push(all.tokens.len());
            all.tokens.extend(encoder.encode(&document, Emphasis::default())?.ids);
            all.bytes += match &document {
                Document::Text(text) => text.len() as u64,
                Document::Turns(turns) => turns.iter().map(|turn| turn.text.len() as u64).sum(),
            };
        }
        Ok(all)
    }

    /// The stream.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
    /// Bytes of text behind it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Tokens of each document.
    pub fn documents(&self) -> impl Iterator<Item = &[u32]> {
        let ends = self.documents.iter().skip(1).copied().chain([self.tokens.len()]);
        self.documents.iter().zip(ends).map(|(&from, to)| &self.tokens[from..to])
    }
    /// SHA-256 of the stream, hex: a resumed run must see the same data.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(bytemuck::cast_slice::<u32, u8>(&self.tokens));
        digest.iter().map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::{catalogue, tokenizer};

    #[test]
    fn dialogues_teach_answers() {
        let (catalogue, tokenizer) = (catalogue(), tokenizer());
        let mark = |name: &str| tokenizer.special(name).expect("special");
        let asked = Turn {
            now: Some("Mon".into()),
            heard: true,
            about: Some("light".into()),
            ..Turn::new(Speaker::User, "light")
        };
        let end = Action { name: "call.end".into(), arguments: Vec::new() };
        let answered = Turn { actions: vec![end], ..Turn::new(Speaker::Lichen, "on") };
        let encoder = Encoder::new(&tokenizer, Some(&catalogue));
        let turns = vec![asked.clone(), answered];
        let mut example =
            encoder.encode(&Document::Turns(turns), Emphasis { answer: 2.0, said: 0.5 }).expect("encodes");
        let prompt = encoder.prompt(&asked, false).expect("encodes").ids;
        let goes_on = encoder.prompt(&asked, true).expect("encodes").ids;
        assert_eq!((goes_on[0], &goes_on[1..]), (mark("<end>"), &prompt[..]));
        assert_eq!(example.ids[..prompt.len()], prompt);
        assert_eq!(prompt.last(), Some(&mark("<lichen>")));
        let answer: Vec<f32> = example.weights[prompt.len()..].to_vec();
        assert!(answer.len() >= 5 && answer.iter().all(|&w| w == 2.0), "{answer:?}");
        let place = example.ids.iter().position(|&id| id == HEARD).expect("is there");
        assert_eq!(example.ids[place - 2..place], [mark("<user>"), mark("<audio>")]);
        let (before, words) = (example.ids.clone(), example.about[0].0.clone());
        assert_eq!((words.start, words.end), (place - 2, prompt.len() - 1));
        example.widen(HEARD, 5);
        assert_eq!(example.ids.len(), before.len() + 4);
        assert_eq!(example.weights.len(), example.ids.len());
        assert_eq!(example.about[0].0, place - 2..prompt.len() + 3);
        assert_eq!(example.ids[place + 5..], before[place + 1..]);
        let (one, turn) = (example.clone(), example.about[0].0.clone());
        example.append(one.clone());
        assert_eq!([&example.ids[..one.ids.len()], &example.ids[one.ids.len()..]], [&one.ids[..]; 2]);
        assert_eq!(example.about[1].0, turn.start + one.ids.len()..turn.end + one.ids.len());
    }
}
