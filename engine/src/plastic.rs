//! The plastic pool: sections that a device writes, beside those of the model file, behind gates that compare what was
//! just said with the keys of what was learned.
//!
//! A section of the pool has a slab in each of the pool's layers, and one gate for all of them: a threshold and some
//! keys in the space of turn vectors ([`Config::turn`]). With no gate open the model computes what it would without a
//! pool, bit for bit. See the kernel `latch` for when gates open.

use crate::config::Config;
use crate::error::Error;
use crate::model::Model;
use crate::phrase::{MOST, Phrase, words};
use lichen_host::{Buffer, Device, Role};
use lichen_shaders::kernel::Kind;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// K': sections of the pool that a turn can open.
pub const OPEN: usize = 4;
/// Sections that a stream can mute.
pub const MUTED: usize = 8;
/// Keys of a section.
pub const KEYS: usize = 2;
/// E': neurons of a section of the pool.
pub const NEURONS: usize = 32;
/// Layers that a section of the pool has a slab in: the last ones of the model.
const LAYERS: usize = 3;
/// A threshold that no cosine passes.
const SHUT: f32 = 2.0;

/// One section: what a lesson writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Words of its own, whose saying opens it; then nothing else does.
    pub phrase: Option<Phrase>,
    /// Which fact it holds, if that is known: a hash of what the unchanged model answers when it is asked for it.
    pub fact: Option<u64>,
    /// How near a turn's vector must be to a key for the gate to open, as a cosine.
    pub theta: f32,
    /// Keys [[`KEYS`], turn], in the space of turn vectors less their background.
    pub keys: Vec<f32>,
    /// For each of the pool's layers the slab [2, [`NEURONS`], width]: rows up, then rows down.
    pub slabs: Vec<Vec<f32>>,
}

impl Written {
    /// Bytes that it takes as float32.
    pub fn bytes(&self) -> usize {
        4 * (1 + self.keys.len() + self.slabs.iter().map(Vec::len).sum::<usize>())
    }
}

/// The sections on a device.
#[derive(Clone, Debug)]
pub struct Plastic {
    dim: usize,
    half: usize,
    first: usize,
    capacity: usize,
    /// `<user>`, `<lichen>`, `<end>`.
    marks: [u32; 3],
    gate: Buffer,
    slabs: Vec<Buffer>,
    /// Sections that have words of their own.
    phrases: Arc<Mutex<HashMap<usize, Phrase>>>,
}

/// The layers of a model that sections of the pool have a slab in: never the first one, which has hardly read anything.
pub fn layers(config: &Config) -> std::ops::Range<usize> {
    let start = config.layers.saturating_sub(LAYERS).max(config.turn_layer()).max(1);
    start.min(config.layers - 1)..config.layers
}

impl Plastic {
    /// A pool with room for so many sections, all of them shut.
    pub async fn new(model: &Model, capacity: usize) -> Result<Self, Error> {
        let (config, device) = (model.config(), model.device());
        if config.turn == 0 {
            return Err(Error::Memory("this model cannot learn on a device: it has no vectors of turns".into()));
        }
        if config.layers < 2 {
            return Err(Error::Memory("this model cannot learn on a device: it has a single layer".into()));
        }
        let mark = |name: &str| {
            model.tokenizer().special(name).ok_or_else(|| Error::Memory(format!("the model's tokenizer has no {name}")))
        };
        let layers = layers(config);
        let (dim, half) = (config.turn, NEURONS * config.width);
        let buffer = |label: String, len| Buffer::new(label, Kind::Real, Role::State, len);
        let pool = Self {
            dim,
            half,
            first: layers.start,
            capacity,
            marks: [mark("<user>")?, mark("<lichen>")?, mark("<end>")?],
            gate: buffer("plastic gate".into(), dim + capacity * (1 + KEYS * dim)),
            phrases: Arc::default(),
            slabs: layers.map(|layer| buffer(format!("{layer}.plastic"), capacity * 2 * half)).collect(),
        };
        let background = model.weights().download(device, "turn.background").await?;
        device.write(&pool.gate.slice(0, dim), &background)?;
        for section in 0..capacity {
            pool.shut(device, section)?;
        }
        Ok(pool)
    }

    /// Sections that there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
    /// Writes a section.
    pub fn write(&self, device: &Device, section: usize, written: &Written) -> Result<(), Error> {
        let fits = section < self.capacity
            && written.keys.len() == KEYS * self.dim
            && written.slabs.len() == self.slabs.len()
            && written.slabs.iter().all(|slab| slab.len() == 2 * self.half);
        if !fits {
            return Err(Error::Memory(format!("section {section} does not fit the pool")));
        }
        for (buffer, slab) in self.slabs.iter().zip(&written.slabs) {
            device.write(&buffer.slice(section * 2 * self.half, 2 * self.half), slab)?;
        }
        let theta = if written.phrase.is_some() { SHUT } else { written.theta };
        device.write(&self.keys(section), &[&[theta], &written.keys[..]].concat())?;
        self.name(section, written.phrase);
        Ok(())
    }
    /// Shuts a section for good; its place is free.
    pub fn shut(&self, device: &Device, section: usize) -> Result<(), Error> {
        let shut = self.shut_section();
        self.name(section, None);
        Ok(device.write(&self.keys(section), &[&[shut.theta], &shut.keys[..]].concat())?)
    }
    fn name(&self, section: usize, phrase: Option<Phrase>) {
        let mut phrases = self.phrases.lock().unwrap_or_else(PoisonError::into_inner);
        match phrase {
            Some(phrase) => drop(phrases.insert(section, phrase)),
            None => drop(phrases.remove(&section)),
        }
    }
    /// The section whose own words were said: that with the most, of equals the first.
    pub fn named(&self, said: &str) -> Option<usize> {
        let phrases = self.phrases.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = phrases.values().map(|phrase| phrase.count).max()?.min(MOST as u32);
        let said: Vec<String> = words(said).collect();
        (1..=longest).rev().find_map(|count| {
            let found: Vec<Phrase> = Phrase::within(&said, count).collect();
            phrases.iter().filter(|(_, phrase)| found.contains(phrase)).map(|(&section, _)| section).min()
        })
    }

    /// A section that never opens, without slabs.
    pub(crate) fn shut_section(&self) -> Written {
        Written { phrase: None, fact: None, theta: SHUT, keys: vec![0.0; KEYS * self.dim], slabs: Vec::new() }
    }
    /// The threshold and the keys of a section.
    fn keys(&self, section: usize) -> lichen_host::View {
        let len = 1 + KEYS * self.dim;
        self.gate.slice(self.dim + section * len, len)
    }
    pub(crate) fn gate(&self) -> &Buffer {
        &self.gate
    }
    pub(crate) fn marks(&self) -> [u32; 3] {
        self.marks
    }
    /// The slabs of a layer, if the pool has any there.
    pub fn slabs(&self, layer: usize) -> Option<&Buffer> {
        self.slabs.get(layer.checked_sub(self.first)?)
    }
}
