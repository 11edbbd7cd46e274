//! A model's weights as a value, and the `.safetensors` file they come from and go to. Bytes in, bytes out.
//!
//! Sections of a layer are one U8 tensor of slabs `[up | down^T]`, padded to a multiple of 256 bytes. Weights are
//! checked against their hashes and for finiteness as they are decoded.

use crate::config::{Config, TensorSpec};
use crate::error::Error;
use crate::header::{Dtype, Entry, Hash, Header, Storage};
use crate::init;
use crate::tokenizer::Tokenizer;
use half::f16;
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
        let (mut data, mut bytes) = (Vec::new(), Vec::new());
        for first in (0..count).step_by(step) {
            data.resize(step.min(count - first) * row_len, 0.0);
            rows(spec, first, &mut data)?;
            bytes.clear();
            encode(entry.dtype, header.storage, &data, &mut bytes);
            if spec.is_sections() {
                bytes.resize(slab, 0);
            }
            // Half precision ends at 65504: what is finite here may not be finite there.
            let bad = data
                .iter()
                .position(|&x| !x.is_finite() || (entry.halved(header.storage) && !f16::from_f32(x).is_finite()));
            if let Some(i) = bad {
                return Err(Error::NotFinite { name: spec.name.clone(), value: data[i], at: first * row_len + i });
            }
            to(&bytes)?;
        }
        Ok(())
    };
    let mut all: Vec<Vec<Hash>> = Vec::with_capacity(header.entries.len());
    for entry in &header.entries {
        let mut hashes = Vec::new();
        let mut whole = Sha256::new();
        each(entry, &mut |bytes| {
            match entry.spec.is_sections() {
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

fn encode(dtype: Dtype, storage: Storage, data: &[f32], out: &mut Vec<u8>) {
    match dtype == Dtype::F16 || (dtype == Dtype::U8 && storage == Storage::F16) {
        true => out.extend(data.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
        false => out.extend(data.iter().flat_map(|x| x.to_le_bytes())),
    }
}

/// One tensor of a file whose header was checked.
pub(crate) fn decode(header: &Header, file: &[u8], entry: &Entry) -> Result<Vec<f32>, Error> {
    let spec = &entry.spec;
    let from = (header.data_start + entry.offset) as usize;
    let bytes = file
        .get(from..from + entry.len as usize)
        .ok_or_else(|| Error::File(format!("the file ends before {}", spec.name)))?;
    let sections = spec.is_sections();
    let part_bytes = if sections { header.storage.slab_bytes(&header.config) as usize } else { bytes.len() };
    let part_len = if sections { spec.shape[1] } else { spec.len() };
    let mut data = Vec::with_capacity(spec.len());
    for (i, (part, hash)) in bytes.chunks(part_bytes).zip(&entry.hashes).enumerate() {
        if Hash::from(Sha256::digest(part)) != *hash {
            let what = if sections { format!("section {i} of {}", spec.name) } else { format!("tensor {}", spec.name) };
            return Err(Error::Hash { what });
        }
        let end = data.len() + part_len;
        // A slab's padding may be longer in elements of the file than here.
        match entry.halved(header.storage) {
            true => data.extend(part.as_chunks::<2>().0.iter().take(part_len).map(|&b| f16::from_le_bytes(b).to_f32())),
            false => data.extend(part.as_chunks::<4>().0.iter().take(part_len).map(|&b| f32::from_le_bytes(b))),
        }
        data.resize(end, 0.0);
    }
    match data.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(Error::NotFinite { name: spec.name.clone(), value: data[at], at }),
        None => Ok(data),
    }
}
