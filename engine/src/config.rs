//! The sizes of a model, validated once; every other file trusts them.
//!
//! Letters: D width, L layers, H heads, dk key, dv value, S sections, K picks, E neurons, E_0 shared, r route,
//! V vocab. [`Config::tensors`] is the one list of a model's weights.

use crate::error::Error;
use crate::frontend;
use serde::{Deserialize, Serialize};

/// The token mixer of a recurrent block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mixer {
    /// Slope and decay branches as published (arXiv 2406.12230); `heads` are its channels.
    Mcsd,
    /// The slope branch alone: a gated, exponentially weighted recent history.
    Slope,
    /// The delta branch alone: an associative matrix state (the slope's gain stays zero).
    Delta,
    /// Both: the slope branch feeds the values of the delta branch.
    SlopeDelta,
}

/// The sizes of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Token mixer.
    pub mixer: Mixer,
    /// V: tokens of the vocabulary.
    pub vocab: usize,
    /// D: width of the residual stream, a multiple of 64.
    pub width: usize,
    /// L: layers.
    pub layers: usize,
    /// H: heads of the mixer.
    pub heads: usize,
    /// dk: key elements of a head, at most 64.
    pub key: usize,
    /// dv: value elements of a head.
    pub value: usize,
    /// Rank of the decay and gate projections, a multiple of 4.
    pub rank: usize,
    /// S: routed sections of a layer.
    pub sections: usize,
    /// K: sections that a token wakes.
    pub picks: usize,
    /// E: neurons of a section.
    pub neurons: usize,
    /// E_0: neurons that every token uses, a multiple of E.
    pub shared: usize,
    /// r: width of the routing space.
    pub route: usize,
    /// Scale of the routed sections' sum.
    pub rho: f32,
    /// Width of the vectors of turns that gates of what is learned compare; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turn: usize,
    /// The stems of a model that hears and sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub senses: Option<Senses>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Channels of the stems that turn sound and pictures into vectors of the model's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Senses {
    /// Of the two convolutions over a window of sound.
    pub sound: [usize; 2],
    /// Of the two convolutions over a picture.
    pub picture: [usize; 2],
}

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with this deviation.
    Normal(f32),
    /// One value.
    Constant(f32),
    /// The convolution: the present passes, the past starts small.
    Conv,
    /// MCSD's slopes, spread over the channels, as logarithms of rates.
    Slopes,
    /// Decay biases spread from fast to slow over each head's key channels.
    Decays,
    /// Sections: up rows with the first deviation, down rows with the second.
    Sections(f32, f32),
}

/// One weight tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Name in files and messages.
    pub name: String,
    /// Shape, slowest axis first.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// Whether weight decay pulls it to zero (matrices, not norms, biases and rates).
    pub decays: bool,
    /// Whether gradients train it (the router's bias is stepped by load instead; a branch may be left out).
    pub trained: bool,
}
impl TensorSpec {
    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether this is a layer's sections, stored as slabs.
    pub fn is_sections(&self) -> bool {
        matches!(self.init, Init::Sections(..))
    }
}

/// Largest number of weights that a config may ask for: beyond it a header is hostile or a typing error.
const MOST_WEIGHTS: u128 = 1 << 36;

impl Config {
    /// The design's `nano`: 10M weights, 1.7M active.
    pub fn nano() -> Self {
        Self {
            mixer: Mixer::Delta,
            vocab: 2048,
            width: 192,
            layers: 6,
            heads: 3,
            key: 16,
            value: 32,
            rank: 16,
            sections: 64,
            picks: 5,
            neurons: 64,
            shared: 64,
            route: 32,
            rho: 1.0,
            turn: 0,
            senses: None,
        }
    }
    /// The design's `small`: 36M weights, 4.8M active.
    pub fn small() -> Self {
        Self {
            vocab: 4096,
            width: 256,
            layers: 8,
            heads: 2,
            key: 32,
            value: 64,
            rank: 32,
            sections: 128,
            picks: 8,
            shared: 128,
            ..Self::nano()
        }
    }
    /// The design's `bench160`: 156M weights, 33M active, the size of common small Transformers.
    pub fn bench160() -> Self {
        Self {
            vocab: 32000,
            width: 512,
            layers: 8,
            heads: 4,
            key: 32,
            value: 64,
            rank: 32,
            sections: 128,
            picks: 11,
            neurons: 128,
            shared: 128,
            route: 32,
            ..Self::nano()
        }
    }
    /// The design's `3B`: 3.0B weights, 0.35B active.
    pub fn b3() -> Self {
        Self {
            vocab: 32000,
            width: 1536,
            layers: 36,
            heads: 12,
            key: 32,
            value: 64,
            rank: 32,
            sections: 100,
            picks: 5,
            neurons: 256,
            shared: 256,
            route: 64,
            ..Self::nano()
        }
    }
    /// The design's `10B`: 9.5B weights, 0.36B active.
    pub fn b10() -> Self {
        Self { sections: 330, ..Self::b3() }
    }
    /// A size by its name in the design.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "nano" => Some(Self::nano()),
            "small" => Some(Self::small()),
            "bench160" => Some(Self::bench160()),
            "3b" => Some(Self::b3()),
            "10b" => Some(Self::b10()),
            _ => None,
        }
    }

    /// Checks every size; all later arithmetic on them stays far from overflow.
    pub fn validate(&self) -> Result<(), Error> {
        let bad = |field: &'static str, got: usize, rule: &str| {
            Err(Error::Config { field, got: got.to_string(), rule: rule.to_string() })
        };
        let within = |field: &'static str, got: usize, low: usize, high: usize| match (low..=high).contains(&got) {
            true => Ok(()),
            false => bad(field, got, &format!("must be from {low} to {high}")),
        };
        within("vocab", self.vocab, 2, 1 << 20)?;
        within("width", self.width, 64, 1 << 14)?;
        within("layers", self.layers, 1, 256)?;
        within("heads", self.heads, 1, 256)?;
        within("key", self.key, 1, 64)?;
        within("value", self.value, 1, 256)?;
        within("rank", self.rank, 4, 1024)?;
        within("sections", self.sections, 0, 1 << 20)?;
        within("picks", self.picks, 0, 64)?;
        within("neurons", self.neurons, 4, 1 << 14)?;
        within("shared", self.shared, self.neurons, 1 << 16)?;
        within("route", self.route, 4, 1024)?;
        within("turn", self.turn, 0, 1024)?;
        if !self.width.is_multiple_of(64) {
            return bad("width", self.width, "must be a multiple of 64");
        }
        if !self.shared.is_multiple_of(self.neurons) {
            return bad("shared", self.shared, &format!("must be a multiple of neurons ({})", self.neurons));
        }
        if self.picks > self.sections || (self.sections > 0) != (self.picks > 0) {
            return bad(
                "picks",
                self.picks,
                &format!("must be from 1 to sections ({}), or both 0 for a dense model", self.sections),
            );
        }
        if !self.rank.is_multiple_of(4) || !self.route.is_multiple_of(4) {
            return bad("rank", self.rank, "rank and route must be multiples of 4");
        }
        if self.mixer == Mixer::Mcsd && !self.width.is_multiple_of(self.heads) {
            return bad("heads", self.heads, "must divide width: they are MCSD's channels");
        }
        if !(self.rho.is_finite() && self.rho > 0.0) {
            return Err(Error::Config { field: "rho", got: self.rho.to_string(), rule: "must be positive".into() });
        }
        for &channels in self.senses.iter().flat_map(|s| s.sound.iter().chain(&s.picture)) {
            within("senses", channels, 1, 1024)?;
        }
        let layer = (self.sections + self.shared / self.neurons) as u128 * self.stride() as u128;
        let total = layer * self.layers as u128 + (self.vocab * self.width) as u128;
        if total > MOST_WEIGHTS {
            return bad("sections", self.sections, "asks for more than 2^36 weights");
        }
        Ok(())
    }

    /// Shared sections of a layer: they come first, with ids from 0.
    pub fn shared_sections(&self) -> usize {
        self.shared / self.neurons
    }
    /// Sections of a layer with the shared ones.
    pub fn all_sections(&self) -> usize {
        self.shared_sections() + self.sections
    }
    /// Slots of a token: shared sections and picks.
    pub fn slots(&self) -> usize {
        self.shared_sections() + self.picks
    }
    /// The layer whose input the vectors of turns are made of: about a third of the way.
    pub fn turn_layer(&self) -> usize {
        self.layers / 3
    }
    /// Elements from one slab to the next: `[up | down^T]`, padded to 256 bytes.
    pub fn stride(&self) -> usize {
        (2 * self.neurons * self.width).next_multiple_of(64)
    }
    /// Channels of the mixer's convolution: q, k and v side by side.
    pub fn conv_channels(&self) -> usize {
        match self.mixer {
            Mixer::Mcsd => 0,
            Mixer::Slope => self.heads * self.value,
            Mixer::Delta | Mixer::SlopeDelta => self.heads * (2 * self.key + self.value),
        }
    }
    /// First column of the values among the convolution's channels.
    pub fn value_offset(&self) -> usize {
        self.conv_channels() - self.heads * self.value
    }
    /// Columns of the mixer's input projection: convolution channels, decay rank, gate rank, one beta a head.
    pub fn projection(&self) -> usize {
        match self.mixer {
            Mixer::Mcsd => 0,
            Mixer::Slope => self.conv_channels() + self.rank,
            Mixer::Delta | Mixer::SlopeDelta => self.conv_channels() + 2 * self.rank + self.heads,
        }
    }

    /// Every weight tensor in file order.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let c = self;
        let (d, hv, hk) = (c.width, c.heads * c.value, c.heads * c.key);
        let depth = (2.0 * c.layers as f32).sqrt();
        let fan = |n: usize| 1.0 / (n as f32).sqrt();
        let mut all = Vec::new();
        let mut add = |name: String, shape: &[usize], init: Init| {
            let decays = matches!(init, Init::Normal(_) | Init::Sections(..));
            let fixed = name.ends_with("route.bias")
                || name == "turn.background"
                || (c.mixer == Mixer::Delta && name.contains("mix.slope_"));
            all.push(TensorSpec { trained: !fixed, name, shape: shape.to_vec(), init, decays });
        };
        add("embed".into(), &[c.vocab, d], Init::Normal(0.02));
        for i in 0..c.layers {
            let mix = |part: &str| format!("layers.{i}.mix.{part}");
            add(mix("norm"), &[d], Init::Constant(1.0));
            match c.mixer {
                Mixer::Mcsd => {
                    for part in ["u", "v", "e", "f"] {
                        add(mix(part), &[d, d / c.heads], Init::Normal(fan(d / c.heads)));
                    }
                    add(mix("decay_norm"), &[c.heads, d / c.heads], Init::Constant(1.0));
                    add(mix("out_slope"), &[d, d], Init::Normal(fan(2 * d) / depth));
                    add(mix("out_decay"), &[d, d], Init::Normal(fan(2 * d) / depth));
                }
                Mixer::Slope | Mixer::Delta | Mixer::SlopeDelta => {
                    add(mix("in"), &[c.projection(), d], Init::Normal(fan(d)));
                    add(mix("conv"), &[4, c.conv_channels()], Init::Conv);
                    add(mix("slope_rate"), &[hv], Init::Slopes);
                    let gain = if c.mixer == Mixer::Delta { 0.0 } else { 0.5 };
                    add(mix("slope_gain"), &[hv], Init::Constant(gain));
                    if c.mixer != Mixer::Slope {
                        add(mix("decay"), &[hk, c.rank], Init::Normal(0.1 * fan(c.rank)));
                        add(mix("decay_bias"), &[c.heads, c.key], Init::Decays);
                    }
                    add(mix("gate"), &[hv, c.rank], Init::Normal(fan(c.rank)));
                    add(mix("head_norm"), &[c.heads, c.value], Init::Constant(1.0));
                    add(mix("out"), &[d, hv], Init::Normal(fan(hv) / depth));
                }
            }
            add(format!("layers.{i}.ffn.norm"), &[d], Init::Constant(1.0));
            if c.sections > 0 {
                add(format!("layers.{i}.route.project"), &[c.route, d], Init::Normal(fan(d)));
                add(format!("layers.{i}.route.rows"), &[c.sections, c.route], Init::Normal(fan(c.route)));
                add(format!("layers.{i}.route.bias"), &[c.sections], Init::Constant(0.0));
            }
            // relu(.)^2 of a unit normal has mean 1/2 and mean square 3/2.
            add(
                format!("layers.{i}.sections"),
                &[c.all_sections(), c.stride()],
                Init::Sections(fan(d), 0.5 * fan(c.neurons) / depth),
            );
        }
        add("norm".into(), &[d], Init::Constant(1.0));
        if c.turn > 0 {
            add("turn.project".into(), &[c.turn, d], Init::Normal(fan(d)));
            add("turn.background".into(), &[c.turn], Init::Constant(0.0));
        }
        if let Some(senses) = &c.senses {
            for (stem, [first, second], [rows, columns], inputs) in [
                ("hear", senses.sound, [1, frontend::BANDS / 4], 1),
                ("see", senses.picture, [frontend::SIDE / 2 / frontend::GRID; 2], 3),
            ] {
                // SiLU keeps about half of the power.
                let rise = |taps: usize| Init::Normal(1.5 * fan(taps));
                add(format!("{stem}.first"), &[first, 3, 3, inputs], rise(9 * inputs));
                add(format!("{stem}.first_bias"), &[first], Init::Constant(0.0));
                add(format!("{stem}.second"), &[second, 3, 3, first], rise(9 * first));
                add(format!("{stem}.second_bias"), &[second], Init::Constant(0.0));
                let taps = rows * columns * second;
                add(format!("{stem}.out"), &[d, rows, columns, second], Init::Normal(fan(taps)));
                add(format!("{stem}.out_bias"), &[d], Init::Constant(0.0));
                if stem == "see" {
                    add("see.place".into(), &[frontend::GRID * frontend::GRID, d], Init::Normal(0.3));
                }
                add(format!("{stem}.norm"), &[d], Init::Constant(1.0));
            }
        }
        all
    }

    /// All weights, without the slabs' padding.
    pub fn total_params(&self) -> u64 {
        let padding = (self.stride() - 2 * self.neurons * self.width) * self.all_sections() * self.layers;
        self.tensors().iter().map(|t| t.len() as u64).sum::<u64>() - padding as u64
    }
    /// Weights that one token reads: mixers, router, shared and picked sections, head (the tied embedding once).
    pub fn active_params(&self) -> u64 {
        let asleep = (self.sections - self.picks) * 2 * self.neurons * self.width * self.layers;
        self.total_params() - asleep as u64
    }
    /// `(K E + E_0) / (S E + E_0)`.
    pub fn active_section_share(&self) -> f64 {
        (self.picks * self.neurons + self.shared) as f64 / (self.sections * self.neurons + self.shared) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_of_the_design_hold() {
        for (config, total, active, share) in [
            (Config::nano(), 10.0e6, 1.7e6, 0.092),
            (Config::small(), 36.0e6, 4.8e6, 0.077),
            (Config::bench160(), 156.0e6, 33.0e6, 0.093),
            (Config::b3(), 3.0e9, 0.35e9, 0.059),
            (Config::b10(), 9.5e9, 0.36e9, 0.018),
        ] {
            config.validate().expect("a size of the design is valid");
            let near = |got: f64, want: f64, by: f64| (got / want - 1.0).abs() < by;
            assert!(near(config.total_params() as f64, total, 0.05), "{} total", config.total_params());
            assert!(near(config.active_params() as f64, active, 0.06), "{} active", config.active_params());
            assert!(near(config.active_section_share(), share, 0.02), "{} share", config.active_section_share());
        }
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let nano = Config::nano();
        for config in [
            Config { width: 100, ..nano.clone() },
            Config { picks: 65, ..nano.clone() },
            Config { picks: 0, ..nano.clone() },
            Config { shared: 65, ..nano.clone() },
            Config { vocab: usize::MAX, ..nano.clone() },
            Config { rho: f32::NAN, ..nano.clone() },
            Config { sections: 1 << 20, width: 1 << 14, ..nano.clone() },
        ] {
            assert!(config.validate().is_err(), "{config:?}");
        }
    }
}
