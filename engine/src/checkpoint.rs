//! A model's weights as a value, and the `.safetensors` file they come from and go to. Bytes in, bytes out.
//!
//! Sections of a layer are one U8 tensor of slabs `[up | down^T]`, padded to a multiple of 256 bytes; matrices of 8 or 4
//! bits are U8 tensors of packed words (`lichen_shaders::packed`). Weights are checked against their hashes and for
//! finiteness as they are decoded.

use crate::config::{Config, TensorSpec};
use crate::error::Error;
use crate::header::{Dtype, Entry, Hash, Header, Storage};
use crate::init;
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
            tensors.insert(entry.spec.name.clone(), decode(&header, bytes, entry)?);
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
    /// Takes a tensor out, so that it need not be held twice.
    pub(crate) fn take(&mut self, name: &str) -> Result<Vec<f32>, Error> {
        self.tensors.remove(name).ok_or_else(|| absent(name))
    }

    /// The same weights, to be held by devices in another way.
    pub fn stored(mut self, storage: Storage) -> Self {
        let h = &self.header;
        let id = h.id.clone();
        self.header = Header::plan(&h.config, storage, h.tokenizer.clone(), h.parent.clone(), h.about.clone());
        self.header.id = id;
        self
    }

    /// Writes a model file.
    pub fn write(&self, storage: Storage, out: &mut impl Write) -> Result<(), Error> {
        let h = &self.header;
        let header = Header::plan(&h.config, storage, h.tokenizer.clone(), h.parent.clone(), h.about.clone());
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
        let count = spec.len() / row_len;
        let step = if spec.is_sections() { 1 } else { (PIECE / row_len).max(1) };
        let (mut data, mut bytes, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        for first in (0..count).step_by(step) {
            data.resize(step.min(count - first) * row_len, 0.0);
            rows(spec, first, &mut data)?;
            // Half precision ends at 65504: what is finite here may not be finite there.
            let bad = data.iter().position(|&x| {
                !x.is_finite()
                    || (entry.dtype != Dtype::F32 && header.storage != Storage::F32 && !f16::from_f32(x).is_finite())
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
                None => encode(entry.halved(header.storage), &data, &mut bytes),
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

impl Entry {
    /// Whether the weights lie in half precision.
    fn halved(&self, storage: Storage) -> bool {
        self.dtype == Dtype::F16 || (self.dtype == Dtype::U8 && storage == Storage::F16)
    }
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
        self.storage.packing_in_file(&self.config, &entry.spec).filter(|&f| f != Format::F16)
    }
}

/// A tensor as a file holds it.
pub(crate) enum Stored {
    /// Numbers, sections as [sections, stride].
    Numbers(Vec<f32>),
    /// Words of 8 or 4 bits a weight: a packed matrix, or slabs one after the other.
    Words(Vec<u32>),
}

/// One tensor of a file whose header was checked.
pub(crate) fn read(header: &Header, file: &[u8], entry: &Entry) -> Result<Stored, Error> {
    let spec = &entry.spec;
    let from = (header.data_start + entry.offset) as usize;
    let bytes = file
        .get(from..from + entry.len as usize)
        .ok_or_else(|| Error::File(format!("the file ends before {}", spec.name)))?;
    let sections = spec.is_sections();
    let part_bytes = if sections { header.storage.slab_bytes(&header.config) as usize } else { bytes.len() };
    let part_len = if sections { spec.shape[1] } else { spec.len() };
    let packed = header.packed(entry);
    let (mut data, mut words) = (Vec::new(), Vec::new());
    match packed {
        Some(_) => words.reserve_exact(bytes.len() / 4),
        None => data.reserve_exact(spec.len()),
    }
    for (i, (part, hash)) in bytes.chunks(part_bytes).zip(&entry.hashes).enumerate() {
        if Hash::from(Sha256::digest(part)) != *hash {
            let what = if sections { format!("section {i} of {}", spec.name) } else { format!("tensor {}", spec.name) };
            return Err(Error::Hash { what });
        }
        if packed.is_some() {
            words.extend(part.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)));
            continue;
        }
        let end = data.len() + part_len;
        // A slab's padding may be longer in elements of the file than here.
        match entry.halved(header.storage) {
            true => data.extend(part.as_chunks::<2>().0.iter().take(part_len).map(|&b| f16::from_le_bytes(b).to_f32())),
            false => data.extend(part.as_chunks::<4>().0.iter().take(part_len).map(|&b| f32::from_le_bytes(b))),
        }
        data.resize(end, 0.0);
    }
    let Some(format) = packed else {
        return match data.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(Error::NotFinite { name: spec.name.clone(), value: data[at], at }),
            None => Ok(Stored::Numbers(data)),
        };
    };
    // Integers are always finite; their scales may not be.
    let (matrix, weights) = match sections {
        true => (part_bytes / 8, header.config.neurons * header.config.width),
        false => (words.len(), spec.len()),
    };
    for (i, matrix) in words.chunks(matrix).enumerate() {
        let scales = &matrix[format.quant_words(weights)..format.words(weights)];
        if let Some(at) = (0..weights / BLOCK).find(|&at| !half_at(scales, at).is_finite()) {
            let value = half_at(scales, at).to_f32();
            return Err(Error::NotFinite { name: spec.name.clone(), value, at: i * weights + at * BLOCK });
        }
    }
    Ok(Stored::Words(words))
}

/// The same as float32.
pub(crate) fn decode(header: &Header, file: &[u8], entry: &Entry) -> Result<Vec<f32>, Error> {
    Ok(match (read(header, file, entry)?, header.packed(entry)) {
        (Stored::Words(words), Some(format)) => unpack(&header.config, &entry.spec, format, &words),
        (Stored::Numbers(data), _) => data,
        (Stored::Words(_), None) => Vec::new(),
    })
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
