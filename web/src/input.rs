//! A person's turn: words, a sound, a picture, the time.

use crate::failure::{thrown, with_code};
use half::f16;
use lichen::data::{Encoder, Example, Turn};
use lichen::frontend::{Picture, Sound, hear, see};
use lichen::learn::Shown;
use lichen::when::Moment;
use lichen::{Error, Model};
use wasm_bindgen::prelude::*;

/// What a person says, plays and shows in one turn.
#[wasm_bindgen]
#[derive(Clone, Default)]
pub struct Input {
    text: String,
    task: Option<String>,
    now: Option<Moment>,
    sound: Option<Sound>,
    picture: Option<Picture>,
}

#[wasm_bindgen]
impl Input {
    /// Of words, maybe none.
    #[wasm_bindgen(constructor)]
    pub fn new(text: &str) -> Self {
        Self { text: text.trim().to_string(), ..Self::default() }
    }
    /// When it is said, in local time: `2026-11-23T14:05`.
    pub fn say_at(&mut self, now: &str) -> Result<(), JsValue> {
        let moment = now.parse().map_err(|()| with_code(&format!("{now:?} is no time like 2026-11-23T14:05"), "input"));
        self.now = Some(moment?);
        Ok(())
    }
    /// Name of the task that the answer is for, as in training.
    pub fn ask_for(&mut self, task: &str) {
        self.task = Some(task.to_string());
    }
    /// The sound of a WAV file.
    pub fn hear_wav(&mut self, wav: &[u8]) -> Result<(), JsValue> {
        self.sound = Some(as_heard(hear(wav).map_err(thrown)?));
        Ok(())
    }
    /// Samples of one channel, full scale 1.
    pub fn hear_samples(&mut self, samples: &[f32], rate: u32) -> Result<(), JsValue> {
        self.sound = Some(as_heard(Sound::from_samples(samples, rate).map_err(thrown)?));
        Ok(())
    }
    /// The picture of a PNG or JPEG file.
    pub fn see_file(&mut self, file: &[u8]) -> Result<(), JsValue> {
        self.picture = Some(as_seen(see(file).map_err(thrown)?));
        Ok(())
    }
    /// Pixels of red, green, blue and opacity, as a canvas gives them; what shines through is white.
    pub fn see_pixels(&mut self, pixels: &[u8], width: usize, height: usize) -> Result<(), JsValue> {
        let on_white = |pixel: &[u8; 4]| {
            let [r, g, b, a] = pixel.map(u32::from);
            [r, g, b].map(|c| ((c * a + 255 * (255 - a) + 127) / 255) as u8)
        };
        let colours: Vec<u8> = pixels.as_chunks::<4>().0.iter().flat_map(on_white).collect();
        self.picture = Some(as_seen(Picture::from_rgb(&colours, width, height).map_err(thrown)?));
        Ok(())
    }
}

/// Frames of 16 bits, as training and the command hold them: the same file is then the same numbers here and there.
fn as_heard(mut sound: Sound) -> Sound {
    sound.frames.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32());
    sound
}

/// Pixels of 8 bits, for the same reason.
fn as_seen(mut picture: Picture) -> Picture {
    picture.pixels.iter_mut().for_each(|x| *x = f32::from((127.5 * (*x + 1.0)).round() as u8) / 127.5 - 1.0);
    picture
}

impl Input {
    /// What is seen, or else heard.
    pub(crate) fn shown(self) -> Option<Shown> {
        self.picture.map(Shown::Picture).or(self.sound.map(Shown::Sound))
    }
    /// The moment at which it is said.
    pub(crate) fn moment(&self) -> Option<Moment> {
        self.now
    }

    /// The turn as a model takes it, up to where the answer starts; in a conversation that goes on, after the end of
    /// the answer before.
    pub(crate) fn prompt(&self, model: &Model, goes_on: bool) -> Result<Example, Error> {
        let tokenizer = model.tokenizer();
        if (self.sound.is_some() || self.picture.is_some()) && model.config().senses.is_none() {
            return Err(Error::Senses("this model can neither hear nor see".into()));
        }
        if self.text.is_empty() && self.sound.is_none() && self.picture.is_none() {
            return Err(Error::EmptyPrompt);
        }
        if ["<user>", "<lichen>"].iter().any(|name| tokenizer.special(name).is_none()) {
            let ids = tokenizer.encode(&self.text);
            return Ok(Example { weights: vec![0.0; ids.len()], ids, ..Example::default() });
        }
        let turn = Turn {
            task: self.task.clone().filter(|_| tokenizer.special("<task>").is_some()),
            // A model that was taught actions was told the time with its turns.
            now: self.now.filter(|_| model.header().actions.is_some()).map(Moment::told),
            heard: self.sound.is_some(),
            seen: self.picture.is_some(),
            text: self.text.clone(),
            ..Turn::default()
        };
        let mut prompt = Encoder::new(tokenizer, None).prompt(&turn, goes_on)?;
        self.sound.iter().for_each(|sound| prompt.hear(sound));
        self.picture.iter().for_each(|picture| prompt.see(picture));
        Ok(prompt)
    }
}
