//! How the next token is drawn. The drawing itself is an operation on the device.

use crate::action;
use crate::data::Example;
use crate::error::Error;
use crate::model::Model;
use lichen_shaders::NONE;
use lichen_shaders::sample::{LIMIT, setting};

/// Most stop tokens.
pub const MOST_STOPS: usize = 8;

/// How the next token is drawn. The same settings after the same tokens draw the same token everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampler {
    /// 0 takes the most likely token; higher is more varied.
    pub temperature: f32,
    /// Candidates, at most 256; 0 for as many as there may be.
    pub top_k: u32,
    /// Share of probability that the candidates must hold; 1 keeps all.
    pub top_p: f32,
    /// Above 1, tokens that stand in the recent past get less likely.
    pub repeat_penalty: f32,
    /// How far back the penalty looks, at most 256 tokens.
    pub repeat_last_n: u32,
    /// Seed of the draws.
    pub seed: u64,
    /// Tokens that end an answer, at most 8.
    pub stops: Vec<u32>,
    /// A token and what is added to its logit before everything else.
    pub bias: Option<(u32, f32)>,
    /// Whether a model that was taught actions may only write those of its catalogue. Others write what they like.
    pub constrained: bool,
}

impl Default for Sampler {
    /// Varied, for conversation.
    fn default() -> Self {
        Self { temperature: 0.7, top_k: 40, top_p: 0.95, ..Self::greedy() }
    }
}

impl Sampler {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            seed: 0,
            stops: Vec::new(),
            bias: None,
            constrained: true,
        }
    }

    /// Varied, ending where the model ends.
    pub fn for_model(model: &Model) -> Self {
        Self { stops: model.tokenizer().special("<end>").into_iter().collect(), ..Self::default() }
    }

    /// The same settings for the answer to a prompt: where that names a task, refusing as often as was found right for
    /// the model. Labels of tasks were taught with few examples of what has none; as an assistant a model knows what it
    /// cannot do from as many examples as of what it can.
    pub fn suited(&self, model: &Model, prompt: &Example) -> Self {
        let (tokenizer, bias) = (model.tokenizer(), model.header().refusal_bias);
        let task = tokenizer.special("<task>").is_some_and(|task| prompt.ids.contains(&task));
        let refusal = action::refusal(tokenizer).filter(|_| task && bias != 0.0);
        Self { bias: refusal.map(|id| (id, bias)).or(self.bias), ..self.clone() }
    }

    /// Checks every setting; `vocab` is the model's.
    pub fn validate(&self, vocab: usize) -> Result<(), Error> {
        let bad = |field: &'static str, got: String, rule: &str| Err(Error::Config { field, got, rule: rule.into() });
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return bad("temperature", self.temperature.to_string(), "must be 0 or more");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad("top_p", self.top_p.to_string(), "must be above 0 and at most 1");
        }
        if !(self.repeat_penalty.is_finite() && self.repeat_penalty > 0.0) {
            return bad("repeat_penalty", self.repeat_penalty.to_string(), "must be above 0");
        }
        if self.stops.len() > MOST_STOPS {
            return bad("stops", self.stops.len().to_string(), &format!("must be at most {MOST_STOPS}"));
        }
        if let Some((_, bias)) = self.bias.filter(|(_, bias)| !bias.is_finite()) {
            return bad("bias", bias.to_string(), "must be a number");
        }
        let ids = self.stops.iter().copied().chain(self.bias.map(|(id, _)| id));
        match ids.into_iter().find(|&id| id as usize >= vocab) {
            Some(id) => Err(Error::Token { id, vocab }),
            None => Ok(()),
        }
    }

    /// The settings as the `sample` kernel reads them.
    pub fn settings(&self) -> [u32; setting::LEN] {
        let mut words = [0; setting::LEN];
        words[setting::TEMPERATURE] = self.temperature.to_bits();
        words[setting::TOP_K] = self.top_k;
        words[setting::TOP_P] = self.top_p.to_bits();
        words[setting::REPEAT_PENALTY] = self.repeat_penalty.to_bits();
        words[setting::SEED_LOW] = self.seed as u32;
        words[setting::SEED_HIGH] = (self.seed >> 32) as u32;
        words[setting::REPEAT_LAST_N] = self.repeat_last_n.min(LIMIT as u32);
        let (id, bias) = self.bias.unwrap_or((NONE, 0.0));
        words[setting::BIAS_ID] = id;
        words[setting::BIAS] = bias.to_bits();
        let stops = &self.stops[..self.stops.len().min(MOST_STOPS)];
        words[setting::STOP_COUNT] = stops.len() as u32;
        words[setting::STOPS..setting::STOPS + stops.len()].copy_from_slice(stops);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stand_where_the_kernel_reads_them() {
        let sampler = Sampler { seed: 5 << 32 | 7, stops: vec![3, 9], repeat_last_n: 4000, ..Sampler::default() };
        let words = sampler.settings();
        assert_eq!(words[..8], [0.7f32.to_bits(), 40, 0.95f32.to_bits(), 1f32.to_bits(), 7, 5, 256, 2]);
        assert_eq!(words[8..], [NONE, 0, 3, 9, 0, 0, 0, 0, 0, 0]);
        let words = Sampler { bias: Some((6, -1.5)), ..sampler }.settings();
        assert_eq!(words[8..11], [6, (-1.5f32).to_bits(), 3]);
    }

    #[test]
    fn impossible_settings_are_errors() {
        assert!(Sampler::default().validate(10).is_ok());
        for sampler in [
            Sampler { temperature: f32::NAN, ..Sampler::greedy() },
            Sampler { temperature: -1.0, ..Sampler::greedy() },
            Sampler { top_p: 0.0, ..Sampler::greedy() },
            Sampler { repeat_penalty: 0.0, ..Sampler::greedy() },
            Sampler { stops: vec![10], ..Sampler::greedy() },
            Sampler { stops: vec![1; 9], ..Sampler::greedy() },
            Sampler { bias: Some((10, 1.0)), ..Sampler::greedy() },
            Sampler { bias: Some((1, f32::INFINITY)), ..Sampler::greedy() },
        ] {
            assert!(sampler.validate(10).is_err(), "{sampler:?}");
        }
    }
}
