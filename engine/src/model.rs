//! A model on a device: its sizes, its tokenizer and the buffers that hold its weights.

use crate::checkpoint::{Checkpoint, Stored, read};
use crate::config::Config;
use crate::error::Error;
use crate::grammar::Grammar;
use crate::header::Header;
use crate::residency::{self, Pager, Paging, RESERVE};
use crate::source::Source;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use lichen_host::Device;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A model on one device: all of its weights, or all but the sections that nobody asked for lately.
pub struct Model {
    header: Header,
    /// Of a model that was taught actions.
    grammar: Option<Grammar>,
    weights: Weights,
    device: Arc<Device>,
    /// Of a model whose sections come and go.
    pager: Option<Mutex<Pager>>,
}

/// Checks a header; gives the grammar of what its model may write.
fn check(header: &Header) -> Result<Option<Grammar>, Error> {
    header.config.validate()?;
    if header.tokenizer.vocab() != header.config.vocab {
        let (have, want) = (header.tokenizer.vocab(), header.config.vocab);
        return Err(Error::File(format!("the tokenizer has {have} tokens, the config {want}")));
    }
    header.actions.as_ref().map(|actions| Grammar::new(actions, &header.tokenizer)).transpose()
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
        let grammar = check(&header)?;
        let weights = Weights::declare(&header.config, Some(header.storage), &device, None);
        for parts in weights.iter() {
            weights.upload(&device, &parts.spec.name, &checkpoint.take(&parts.spec.name)?)?;
        }
        Ok(Self { header, grammar, weights, device, pager: None })
    }

    /// Loads a model file straight to a device: beside it only one section or tensor is held.
    ///
    /// With a budget, which bounds the memory of all weights and 64 MiB of everything else, sections are
    /// read when the router first asks for them, and the ones asked for longest ago make room; on a GPU this takes a
    /// readback in each layer. Their hashes are checked as they are read. Without one, everything is loaded now.
    pub fn open(source: Arc<dyn Source>, device: Arc<Device>, budget: Option<u64>) -> Result<Self, Error> {
        let header = Header::read(&*source)?;
        let grammar = check(&header)?;
        let config = &header.config;
        let places = match budget {
            Some(budget) if config.sections > 0 => Some(residency::places(config, header.storage, budget)?),
            Some(budget) if budget < header.storage.resident_bytes(config) + RESERVE => {
                return Err(Error::Budget { got: budget, least: header.storage.resident_bytes(config) + RESERVE });
            }
            _ => None,
        };
        let weights = Weights::declare(config, Some(header.storage), &device, places);
        for entry in &header.entries {
            let name = &entry.spec.name;
            match entry.spec.is_sections() {
                true if places.is_some() => {}
                true => {
                    for section in 0..entry.hashes.len() {
                        match read(&header, &*source, entry, section)? {
                            Stored::Numbers(slab) => weights.upload_slab(&device, name, section, &slab)?,
                            Stored::Words(slab) => weights.upload_slab(&device, name, section, &slab)?,
                        }
                    }
                }
                false => match read(&header, &*source, entry, 0)? {
                    Stored::Numbers(data) => weights.upload(&device, name, &data)?,
                    Stored::Words(words) => weights.upload_words(&device, name, &words)?,
                },
            }
        }
        let pager = places.map(|places| Mutex::new(Pager::new(source, &header, places)));
        Ok(Self { header, grammar, weights, device, pager })
    }

    /// How sections came and went; none where all of them are resident.
    pub fn paging(&self) -> Option<Paging> {
        Some(self.pager()?.counts())
    }
    /// Who lies where in the arena, if there is one. Whoever runs section kernels on it holds this until they are on
    /// the device's way: other streams of the model would exchange the sections.
    pub(crate) fn pager(&self) -> Option<MutexGuard<'_, Pager>> {
        // A panic leaves at most a place without owner.
        Some(self.pager.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
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
    /// What it may write; none where it was not taught any actions.
    pub fn grammar(&self) -> Option<&Grammar> {
        self.grammar.as_ref()
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
        checkpoint.header.actions = h.actions.clone();
        checkpoint.header.refusal_bias = h.refusal_bias;
        checkpoint.header.bank = h.bank.clone();
        for parts in self.weights.iter() {
            let data = self.weights.download(&self.device, &parts.spec.name).await?;
            checkpoint.set(&parts.spec.name, data)?;
        }
        Ok(checkpoint)
    }
}
