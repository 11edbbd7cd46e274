//! A person's turn from flags: words, a picture, a sound, the time.

use crate::failure::{Done, Failure};
use crate::files;
use crate::sets::senses::Sense;
use lichen::data::{Encoder, Example, Turn};
use lichen::frontend::{hear_from, see};
use lichen::when::Moment;
use lichen::{Model, Tokenizer};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// What a turn is made of.
#[derive(Default)]
pub(crate) struct Input {
    /// The words; maybe none beside a picture or a sound.
    pub(crate) text: String,
    /// Name of the task, as in training.
    pub(crate) task: Option<String>,
    /// When it is said.
    pub(crate) now: Option<Moment>,
    pub(crate) heard: Option<Sense>,
    pub(crate) seen: Option<Sense>,
}

impl Input {
    pub(crate) fn words(text: &str) -> Self {
        Self { text: text.trim().to_string(), ..Self::default() }
    }
    /// With the sound of a WAV file.
    pub(crate) fn hearing(mut self, path: &Path) -> Done<Self> {
        let file = File::open(path).map_err(|e| Failure::file("read", path, &e))?;
        let sound = hear_from(BufReader::new(file)).map_err(Failure::with(path.display()))?;
        self.heard = Some(Sense::whole(&sound));
        Ok(self)
    }
    /// With the picture of a PNG or JPEG file.
    pub(crate) fn seeing(mut self, path: &Path) -> Done<Self> {
        let bytes = files::map(path)?;
        self.seen = Some(Sense::picture(&see(&bytes).map_err(Failure::with(path.display()))?));
        Ok(self)
    }
    /// What is seen, or else heard.
    pub(crate) fn shown(self) -> Option<Sense> {
        self.seen.or(self.heard)
    }
    /// Whether there is something else than words.
    pub(crate) fn perceives(&self) -> bool {
        self.heard.is_some() || self.seen.is_some()
    }

    /// The turn as the model takes it, up to where the answer starts; in a conversation that goes on, after an end of the
    /// answer before.
    pub(crate) fn prompt(&self, model: &Model, goes_on: bool) -> Done<Example> {
        let tokenizer = model.tokenizer();
        if self.perceives() && model.config().senses.is_none() {
            return Err(Failure::Failed("this model can neither hear nor see; the built-in model can".into()));
        }
        if !knows_turns(tokenizer) {
            let ids = tokenizer.encode(&self.text);
            return Ok(Example { weights: vec![0.0; ids.len()], ids, ..Example::default() });
        }
        let turn = Turn {
            task: self.task.clone().filter(|_| tokenizer.special("<task>").is_some()),
            // A model that was taught actions was told the time with its turns.
            now: self.now.filter(|_| model.header().actions.is_some()).map(Moment::told),
            heard: self.heard.is_some(),
            seen: self.seen.is_some(),
            text: self.text.clone(),
            ..Turn::default()
        };
        let mut example = Encoder::new(tokenizer, None).prompt(&turn, goes_on)?;
        for sense in [&self.heard, &self.seen].into_iter().flatten() {
            sense.fill(&mut example, None);
        }
        Ok(example)
    }
}

fn knows_turns(tokenizer: &Tokenizer) -> bool {
    ["<user>", "<lichen>"].iter().all(|name| tokenizer.special(name).is_some())
}

/// The time of this machine's clock and zone, or the one that was given.
pub(crate) fn now(given: Option<&str>) -> Done<Option<Moment>> {
    let Some(text) = given else {
        let now = jiff::Zoned::now();
        let part = |n: i8| i64::from(n);
        return Ok(Moment::new(
            now.year().into(),
            part(now.month()),
            part(now.day()),
            part(now.hour()),
            part(now.minute()),
        ));
    };
    match text.parse() {
        Ok(moment) => Ok(Some(moment)),
        Err(()) if text == "none" => Ok(None),
        Err(()) => Err(Failure::Usage(format!("--now is {text:?}; it must be like 2026-11-23T14:05, or none"))),
    }
}
