//! A model on a device: its sizes, its tokenizer and the buffers that hold its weights.

use crate::checkpoint::{Checkpoint, Stored, read};
use crate::config::Config;
use crate::error::Error;
use crate::header::Header;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use lichen_host::Device;
use std::fmt;
use std::sync::Arc;

/// A model whose weights are resident on one device.
pub struct Model {
    header: Header,
    weights: Weights,
    device: Arc<Device>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({} on {})", self.header.id, self.device.name())
    }
}

impl Model {
    /// Copies a checkpoint to a device, giving back the host's memory as it goes.
    pub fn new(mut checkpoint: Checkpoint, device: Arc<Device>) -> Result<Self, Error> {
        let header = checkpoint.header.clone();
        Self::upload(header, device, |name| checkpoint.take(name).map(Stored::Numbers))
    }

    /// Loads a model file straight to a device: only one tensor at a time is held beside the file.
    pub fn load(file: &[u8], device: Arc<Device>) -> Result<Self, Error> {
        let header = Header::parse(file, file.len() as u64)?;
        let whole = header.clone();
        Self::upload(header, device, |name| {
            let entry = whole.entries.iter().find(|e| e.spec.name == name);
            let entry = entry.ok_or_else(|| Error::File(format!("the header has no {name}")))?;
            read(&whole, file, entry)
        })
    }

    fn upload(
        header: Header,
        device: Arc<Device>,
        mut tensor: impl FnMut(&str) -> Result<Stored, Error>,
    ) -> Result<Self, Error> {
        header.config.validate()?;
        if header.tokenizer.vocab() != header.config.vocab {
            let (have, want) = (header.tokenizer.vocab(), header.config.vocab);
            return Err(Error::File(format!("the tokenizer has {have} tokens, the config {want}")));
        }
        let weights = Weights::declare(&header.config, Some(header.storage), &device);
        for parts in weights.iter() {
            let name = &parts.spec.name;
            match tensor(name)? {
                Stored::Numbers(data) => weights.upload(&device, name, &data)?,
                Stored::Words(words) => weights.upload_words(&device, name, &words)?,
            }
        }
        Ok(Self { header, weights, device })
    }

    /// Sizes.
    pub fn config(&self) -> &Config {
        &self.header.config
    }
    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.header.tokenizer
    }
    /// Where the weights are.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }
    /// SHA-256 of the file's header, in hex; empty for a model that was never written.
    pub fn id(&self) -> &str {
        &self.header.id
    }
    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }
    /// The buffers of the weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
    /// What a person should know about the model.
    pub fn about(&self) -> &str {
        &self.header.about
    }

    /// Reads the weights back as the device holds them. Their parent is this model.
    pub async fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let h = &self.header;
        let parent = Some(h.id.clone()).filter(|id| !id.is_empty()).or_else(|| h.parent.clone());
        let mut checkpoint = Checkpoint::new(h.config.clone(), h.tokenizer.clone(), parent, h.about.clone());
        for parts in self.weights.iter() {
            let data = self.weights.download(&self.device, &parts.spec.name).await?;
            checkpoint.set(&parts.spec.name, data)?;
        }
        Ok(checkpoint)
    }
}
