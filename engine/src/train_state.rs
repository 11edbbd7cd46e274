//! A training run as bytes: weights, moments, position and options, so that a killed run goes on as if nothing
//! had happened.
//!
//! Layout: `LICHENT1`, header length (u64 LE), JSON header, float32 blocks (for each tensor in file order its
//! weights; for each trained part its two moments), SHA-256 of everything before.

use crate::action::Catalogue;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::Error;
use crate::tokenizer::Tokenizer;
use crate::train::{TrainOptions, Trainer, cpu};
use lichen_host::Device;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"LICHENT1";
const HASH_LEN: usize = 32;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    config: Config,
    options: TrainOptions,
    tokenizer: String,
    about: String,
    #[serde(default)]
    actions: Option<Catalogue>,
    step: u64,
    data: String,
}

/// A run that was read back, with the fingerprint of the data it was trained on.
pub struct Resumed {
    /// The run.
    pub trainer: Trainer,
    /// SHA-256 of its token stream, hex.
    pub data: String,
}

struct Hashing<'a, W: Write>(&'a mut W, Sha256);
impl<W: Write> Hashing<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.1.update(bytes);
        self.0.write_all(bytes).map_err(|e| Error::Train(format!("the training state cannot be written: {e}")))
    }
}

impl Trainer {
    /// Writes everything that [`Trainer::resume`] needs; `data` is the fingerprint of the token stream.
    pub fn save(&self, data: &str, out: &mut impl Write) -> Result<(), Error> {
        let header = Header {
            config: self.config.clone(),
            options: self.options.clone(),
            tokenizer: self.tokenizer.to_json(),
            about: self.about.clone(),
            actions: self.actions.clone(),
            step: self.step,
            data: data.to_string(),
        };
        let header = serde_json::to_vec(&header).map_err(|e| Error::Train(e.to_string()))?;
        let mut out = Hashing(out, Sha256::new());
        out.put(MAGIC)?;
        out.put(&(header.len() as u64).to_le_bytes())?;
        out.put(&header)?;
        for buffer in self.weights.iter().flat_map(|p| &p.buffers) {
            out.put(bytemuck::cast_slice(&cpu(&self.device)?.values::<f32>(&buffer.view())?))?;
        }
        for (_, moments, _) in &self.moments {
            out.put(bytemuck::cast_slice(&moments.first))?;
            out.put(bytemuck::cast_slice(&moments.second))?;
        }
        let digest = out.1.clone().finalize();
        out.put(&digest)
    }

    /// Reads a run back.
    pub fn resume(bytes: &[u8], device: Arc<Device>) -> Result<Resumed, Error> {
        let bad = |what: &str| Error::Train(format!("the training state {what}"));
        let body_len = bytes.len().checked_sub(HASH_LEN).ok_or_else(|| bad("is truncated"))?;
        let (body, hash) = bytes.split_at(body_len);
        if !body.starts_with(MAGIC) || body.len() < 16 {
            return Err(bad("is not one of this program's"));
        }
        if Sha256::digest(body).as_slice() != hash {
            return Err(bad("is damaged: its SHA-256 does not match"));
        }
        let len = u64::from_le_bytes(body[8..16].try_into().map_err(|_| bad("is truncated"))?);
        let end = usize::try_from(len).ok().and_then(|n| n.checked_add(16)).filter(|&n| n <= body.len());
        let end = end.ok_or_else(|| bad("is truncated"))?;
        let header: Header =
            serde_json::from_slice(&body[16..end]).map_err(|e| bad(&format!("has a bad header: {e}")))?;
        header.config.validate()?;
        let mut blocks = Blocks(&body[end..]);
        let tokenizer = Tokenizer::from_json(&header.tokenizer)?;
        let mut checkpoint = Checkpoint::new(header.config.clone(), tokenizer, None, header.about);
        checkpoint.header.actions = header.actions;
        for spec in header.config.tensors() {
            checkpoint.set(&spec.name, blocks.take(spec.len())?)?;
        }
        let mut trainer = Trainer::new(checkpoint, header.options, device)?;
        for (_, moments, _) in &mut trainer.moments {
            moments.first = blocks.take(moments.first.len())?;
            moments.second = blocks.take(moments.second.len())?;
        }
        if !blocks.0.is_empty() {
            return Err(bad("is longer than its header says"));
        }
        trainer.step = header.step;
        Ok(Resumed { trainer, data: header.data })
    }
}

struct Blocks<'a>(&'a [u8]);
impl Blocks<'_> {
    fn take(&mut self, len: usize) -> Result<Vec<f32>, Error> {
        let bytes = len.checked_mul(4).filter(|&n| n <= self.0.len());
        let bytes = bytes.ok_or_else(|| Error::Train("the training state is shorter than its header says".into()))?;
        let (head, rest) = self.0.split_at(bytes);
        self.0 = rest;
        let mut values = vec![0f32; len];
        bytemuck::cast_slice_mut::<f32, u8>(&mut values).copy_from_slice(head);
        Ok(values)
    }
}
