//! A model's weights as a value, and the `.safetensors` file they come from and go to. Bytes in, bytes out.
//!
//! Sections of a layer are one U8 tensor of slabs `[up | down^T]`, padded to a multiple of 256 bytes; matrices of 8 or 4
//! bits are U8 tensors of packed words (`lichen_shaders::packed`). Weights are checked against their hashes and for
//! finiteness as they are decoded.

use crate::config::{Config, TensorSpec};
use crate::error::Error;
use crate::header::{Dtype, Entry, Hash, Header};
use crate::init;
use crate::source::{Source, fetch};
use crate::storage::{Precision, Storage};
use crate::tokenizer::Tokenizer;
use half::f16;
use lichen_shaders::packed::{self, BLOCK, Format, half_at};
use lichen_shaders::section_up_packed::{pack_slab, slab_words};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write;

#[cfg(test)]
mod tests;

/// Elements that are encoded at once when a tensor without sections is written.
const PIECE: usize = 1 << 16;

/// A model's weights in host memory, as float32.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What the model is.
    pub header: Header,
    tensors: HashMap<String, Vec<f32>>,
}

impl Checkpoint {
    /// A checkpoint without weights: [`Checkpoint::set`] gives them.
    pub fn new(config: Config, tokenizer: Tokenizer, parent: Option<String>, about: String) -> Self {
        let header = Header::plan(&config, Storage::F32, tokenizer, parent, about);
        Self { header, tensors: HashMap::new() }
    }

    /// Random weights of a valid config; the same seed gives the same weights everywhere.
    pub fn random(config: &Config, tokenizer: Tokenizer, seed: u64) -> Self {
        let mut checkpoint = Self::new(config.clone(), tokenizer, None, about_random(seed));
        for spec in config.tensors() {
            let mut data = vec![0.0; spec.len()];
            let row_len = row_len(&spec);
            data.chunks_mut(row_len).enumerate().for_each(|(row, out)| init::fill_row(config, &spec, seed, row, out));
            checkpoint.tensors.insert(spec.name.clone(), data);
        }
        checkpoint
    }

    /// Reads a model file, checking hashes and that every weight is finite.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let header = Header::parse(bytes, bytes.len() as u64)?;
        let mut tensors = HashMap::new();
        for entry in &header.entries {
            tensors.insert(entry.spec.name.clone(), decode(&header, &bytes, entry)?);
        }
        Ok(Self { header, tensors })
    }

    /// Sizes.
    pub fn config(&self) -> &Config {
        &self.header.config
    }
    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.header.tokenizer
    }
    /// What a person should know about the model.
    pub fn about(&self) -> &str {
        &self.header.about
    }
    /// A tensor's weights; sections are [sections, stride] as in [`Config::tensors`].
    pub fn tensor(&self, name: &str) -> Option<&[f32]> {
        self.tensors.get(name).map(Vec::as_slice)
    }
    /// Gives a tensor its weights.
    pub fn set(&mut self, name: &str, data: Vec<f32>) -> Result<(), Error> {
        let spec = self.header.entries.iter().map(|e| &e.spec).find(|s| s.name == name);
        match spec {
            Some(spec) if spec.len() == data.len() => {
                self.tensors.insert(name.to_string(), data);
                Ok(())
            }
            Some(spec) => Err(Error::Tensor {
                name: name.into(),
                got: format!("{} elements", data.len()),
                want: format!("{:?}", spec.shape),
            }),
            None => Err(Error::Tensor { name: name.into(), got: "given".into(), want: "absent by the config".into() }),
        }
    }
    /// The weights of another model for every tensor that both have in the same shape; names of the others, which keep
    /// what they had.
    pub fn adopt(&mut self, other: &Self) -> Vec<String> {
        let mut fresh = Vec::new();
        for spec in self.header.config.tensors() {
            let same = other.header.config.tensors().into_iter().any(|o| o.name == spec.name && o.shape == spec.shape);
            match other.tensors.get(&spec.name).filter(|_| same) {
                Some(data) => drop(self.tensors.insert(spec.name, data.clone())),
                None => fresh.push(spec.name),
            }
        }
        fresh
    }
    /// The mean of this model's weights and another's, which has a share of `share`, 0 to 1; everything else is this
    /// model's. Of two models of which one was trained further from the other, the mean often keeps what each is good
    /// at (WiSE-FT, Wortsman et al. 2021, arXiv 2109.01903).
    ///
    /// # Errors
    /// [`Error::Config`] where `share` is outside of 0 to 1, [`Error::File`] where sizes or tokenizers differ.
    pub fn averaged(mut self, other: &Self, share: f32) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&share) {
            let rule = "must be from 0 to 1".into();
            return Err(Error::Config { field: "share", got: share.to_string(), rule });
        }
        if self.config() != other.config() {
            return Err(Error::File("the sizes of the two differ".into()));
        }
        if self.tokenizer() != other.tokenizer() {
            return Err(Error::File("the tokenizers of the two differ".into()));
        }
        for (name, data) in &mut self.tensors {
            let theirs = other.tensors.get(name).ok_or_else(|| absent(name))?;
            let mean = |mine: f32, theirs: f32| mine + share * (theirs - mine);
            data.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine = mean(*mine, *theirs));
        }
        self.header.parent = Some(self.header.id.clone()).filter(|id| !id.is_empty());
        self.header.grown_from = None;
        Ok(self)
    }
    /// The same model with more sections in each layer, up to `sections`. The new ones are random but silent: their down
    /// halves are zero, and no score of theirs reaches the least of the others', so that every answer stays what it
    /// was, bit for bit, until training lets them in (its steps towards even load raise their bias first).
    ///
    /// # Errors
    /// [`Error::Config`] where the model is dense or has as many, or that many cannot be.
    pub fn grown(&self, sections: usize, seed: u64) -> Result<Self, Error> {
        let before = self.config();
        if before.sections == 0 || sections <= before.sections {
            let rule = match before.sections {
                0 => "can only grow in a model that has sections".into(),
                some => format!("must be more than the model's {some} to grow"),
            };
            return Err(Error::Config { field: "sections", got: sections.to_string(), rule });
        }
        let config = Config { sections, ..before.clone() };
        config.validate()?;
        let mut grown =
            Self::new(config.clone(), self.tokenizer().clone(), None, self.about().into()).stored(self.header.storage);
        for spec in config.tensors() {
            let name = &spec.name;
            let mut data = self.tensors.get(name).ok_or_else(|| absent(name))?.clone();
            let (row_len, known) = (row_len(&spec), data.len());
            data.resize(spec.len(), 0.0);
            let fresh = data[known..].chunks_mut(row_len).enumerate();
            fresh.for_each(|(row, out)| init::fill_row(&config, &spec, seed, known / row_len + row, out));
            if spec.is_sections() {
                let half = config.neurons * config.width;
                data[known..].chunks_mut(row_len).for_each(|slab| slab[half..].fill(0.0));
            } else if name.ends_with(".route.bias") {
                // Scores are a bias and a number between 0 and 1.
                let least = data[..known].iter().copied().fold(f32::INFINITY, f32::min);
                data[known..].fill(least - 1.0 - 1e-3);
            }
            grown.tensors.insert(name.clone(), data);
        }
        let header = &self.header;
        grown.header.parent = Some(header.id.clone()).filter(|id| !id.is_empty());
        grown.header.grown_from = Some(header.lineage().to_string()).filter(|id| !id.is_empty());
        grown.header.actions = header.actions.clone();
        (grown.header.refusal_bias, grown.header.bank) = (header.refusal_bias, header.bank.clone());
        Ok(grown)
    }

    /// Takes a tensor out, so that it need not be held twice.
    pub(crate) fn take(&mut self, name: &str) -> Result<Vec<f32>, Error> {
        self.tensors.remove(name).ok_or_else(|| absent(name))
    }

    /// The same weights, to be held by devices in another way.
    pub fn stored(mut self, storage: Storage) -> Self {
        let id = self.header.id.clone();
        self.header = Header { id, ..self.header.stored(storage) };
        self
    }

    /// Writes a model file.
    pub fn write(&self, storage: Storage, out: &mut impl Write) -> Result<(), Error> {
        let header = self.header.stored(storage);
        let rows = |spec: &TensorSpec, first: usize, out: &mut [f32]| {
            let data = self.tensors.get(&spec.name).ok_or_else(|| absent(&spec.name))?;
            let from = first * row_len(spec);
            out.copy_from_slice(&data[from..from + out.len()]);
            Ok(())
        };
        write(header, rows, out).map(|_| ())
    }
}

/// Writes a model file with the weights of [`Checkpoint::random`], holding only one row at a time; gives the
/// header as written.
pub fn write_random(
    config: &Config,
    tokenizer: Tokenizer,
    seed: u64,
    storage: Storage,
    out: &mut impl Write,
) -> Result<Header, Error> {
    let header = Header::plan(config, storage, tokenizer, None, about_random(seed));
    let rows = |spec: &TensorSpec, first: usize, out: &mut [f32]| {
        out.chunks_mut(row_len(spec))
            .enumerate()
            .for_each(|(i, row)| init::fill_row(config, spec, seed, first + i, row));
        Ok(())
    };
    write(header, rows, out)
}

fn about_random(seed: u64) -> String {
    format!("random weights, seed {seed}")
}

fn absent(name: &str) -> Error {
    Error::Tensor { name: name.into(), got: "absent".into(), want: "given before the model is used".into() }
}

fn row_len(spec: &TensorSpec) -> usize {
    (spec.len() / spec.shape.first().copied().unwrap_or(1).max(1)).max(1)
}

/// Hashes stand before the weights, so every row is made twice: once to hash it and once to write it.
fn write(
    header: Header,
    mut rows: impl FnMut(&TensorSpec, usize, &mut [f32]) -> Result<(), Error>,
    out: &mut impl Write,
) -> Result<Header, Error> {
    header.config.validate()?;
    if header.tokenizer.vocab() != header.config.vocab {
        let (have, want) = (header.tokenizer.vocab(), header.config.vocab);
        return Err(Error::File(format!("the tokenizer has {have} tokens, the config {want}")));
    }
    let slab = header.storage.slab_bytes(&header.config) as usize;
    let mut each = |entry: &Entry, to: &mut dyn FnMut(&[u8]) -> Result<(), Error>| {
        let (spec, row_len) = (&entry.spec, row_len(&entry.spec));
        let precision = header.storage.of(spec);
        let count = spec.len() / row_len;
        let step = if spec.is_sections() { 1 } else { (PIECE / row_len).max(1) };
        let (mut data, mut bytes, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        for first in (0..count).step_by(step) {
            data.resize(step.min(count - first) * row_len, 0.0);
            rows(spec, first, &mut data)?;
            // Half precision ends at 65504: what is finite here may not be finite there.
            let bad = data.iter().position(|&x| {
                !x.is_finite()
                    || (entry.dtype != Dtype::F32 && precision != Precision::F32 && !f16::from_f32(x).is_finite())
            });
            if let Some(i) = bad {
                return Err(Error::NotFinite { name: spec.name.clone(), value: data[i], at: first * row_len + i });
            }
            bytes.clear();
            match header.packed(entry) {
                Some(format) if spec.is_sections() => {
                    let (neurons, width) = (header.config.neurons, header.config.width);
                    little(&pack_slab(format, neurons, width, &data[..2 * neurons * width]), &mut bytes);
                }
                Some(format) => {
                    // Quants of all rows come before the scales of all rows.
                    let words = packed::encode(format, &data);
                    let (quants, halves) = words.split_at(format.quant_words(data.len()));
                    little(quants, &mut bytes);
                    let end = scales.len() + data.len() / BLOCK * 2;
                    little(halves, &mut scales);
                    scales.truncate(end);
                }
                None => encode(entry.dtype == Dtype::F16, &data, &mut bytes),
            }
            if spec.is_sections() {
                bytes.resize(slab, 0);
            }
            to(&bytes)?;
        }
        scales.resize(scales.len().next_multiple_of(4), 0);
        to(&scales)
    };
    let mut all: Vec<Vec<Hash>> = Vec::with_capacity(header.entries.len());
    for entry in &header.entries {
        let mut hashes = Vec::new();
        let mut whole = Sha256::new();
        each(entry, &mut |bytes| {
            match entry.spec.is_sections() {
                true if bytes.is_empty() => {}
                true => hashes.push(Sha256::digest(bytes).into()),
                false => whole.update(bytes),
            }
            Ok(())
        })?;
        if !entry.spec.is_sections() {
            hashes.push(whole.finalize().into());
        }
        all.push(hashes);
    }
    let mut sealed = header.clone();
    sealed.entries.iter_mut().zip(all).for_each(|(entry, hashes)| entry.hashes = hashes);
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(|e| Error::File(format!("writing failed: {e}")));
    put(&sealed.seal()?)?;
    for entry in &header.entries {
        each(entry, &mut put)?;
    }
    Ok(sealed)
}

fn encode(halved: bool, data: &[f32], out: &mut Vec<u8>) {
    match halved {
        true => out.extend(data.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
        false => out.extend(data.iter().flat_map(|x| x.to_le_bytes())),
    }
}

fn little(words: &[u32], out: &mut Vec<u8>) {
    out.extend(words.iter().flat_map(|w| w.to_le_bytes()));
}

impl Header {
    /// The format of a tensor that lies in the file as packed words.
    fn packed(&self, entry: &Entry) -> Option<Format> {
        self.storage.packing_in_file(&self.config, &entry.spec)
    }
}

/// A part of a file with a hash of its own, a section or a whole tensor, as the file holds it.
pub(crate) enum Stored {
    /// Numbers; those of a section are a stride.
    Numbers(Vec<f32>),
    /// Packed words: a matrix or a slab.
    Words(Vec<u32>),
}

/// Reads a part of a tensor; its hash and that its numbers are finite are checked.
pub(crate) fn read(header: &Header, source: &dyn Source, entry: &Entry, part: usize) -> Result<Stored, Error> {
    let spec = &entry.spec;
    let sections = spec.is_sections();
    let len = if sections { header.storage.slab_bytes(&header.config) } else { entry.len };
    let mut bytes = Vec::new();
    fetch(source, header.data_start + entry.offset + part as u64 * len, len as usize, &mut bytes)?;
    if entry.hashes.get(part) != Some(&Hash::from(Sha256::digest(&bytes))) {
        let what = if sections { format!("section {part} of {}", spec.name) } else { format!("tensor {}", spec.name) };
        return Err(Error::Hash { what });
    }
    let at_fault = |value: f32, at: usize| Err(Error::NotFinite { name: spec.name.clone(), value, at });
    let Some(format) = header.packed(entry) else {
        let data: Vec<f32> = match entry.dtype {
            Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::F32 | Dtype::U8 => bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        };
        return match data.iter().position(|x| !x.is_finite()) {
            Some(at) => at_fault(data[at], part * data.len() + at),
            None => Ok(Stored::Numbers(data)),
        };
    };
    let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect();
    let (matrix, weights) = match sections {
        true => (words.len() / 2, header.config.neurons * header.config.width),
        false => (words.len(), spec.len()),
    };
    for (i, matrix) in words.chunks(matrix).enumerate() {
        // Integers are always finite; their scales may not be.
        let (halves, each) = match format {
            Format::F16 => (&matrix[..format.words(weights)], 1),
            Format::Q8 | Format::Q4 => (&matrix[format.quant_words(weights)..format.words(weights)], BLOCK),
        };
        if let Some(at) = (0..weights / each).find(|&at| !half_at(halves, at).is_finite()) {
            return at_fault(half_at(halves, at).to_f32(), (2 * part + i) * weights + at * each);
        }
    }
    Ok(Stored::Words(words))
}

/// A whole tensor as float32.
fn decode(header: &Header, source: &dyn Source, entry: &Entry) -> Result<Vec<f32>, Error> {
    let mut data = Vec::with_capacity(entry.spec.len());
    let mut spec = entry.spec.clone();
    if spec.is_sections() {
        spec.shape[0] = 1;
    }
    for part in 0..entry.hashes.len() {
        match (read(header, source, entry, part)?, header.packed(entry)) {
            (Stored::Words(words), Some(format)) => data.extend(unpack(&header.config, &spec, format, &words)),
            (Stored::Numbers(numbers), _) => data.extend(numbers),
            (Stored::Words(_), None) => {}
        }
    }
    Ok(data)
}

/// Packed words of a whole tensor as float32.
pub(crate) fn unpack(config: &Config, spec: &TensorSpec, format: Format, words: &[u32]) -> Vec<f32> {
    let mut data = vec![0.0; spec.len()];
    if !spec.is_sections() {
        packed::decode(format, spec.len(), words, 0, &mut data);
        return data;
    }
    let half = config.neurons * config.width;
    let slabs = words.chunks(slab_words(format, config.neurons, config.width));
    for (words, slab) in slabs.zip(data.chunks_mut(spec.shape[1])) {
        for (words, matrix) in words.chunks(words.len() / 2).zip(slab.chunks_mut(half)) {
            packed::decode(format, half, words, 0, &mut matrix[..half]);
        }
    }
    data
}
