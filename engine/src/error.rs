//! What can go wrong in the engine.

use crate::frontend::{PictureError, SoundError};
use crate::memory::MemoryError;
use lichen_host::{HostError, StoreError};

/// Bytes for people, rounded up.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A size that no model can have.
    #[error("config: {field} is {got}, it {rule}")]
    Config {
        /// Which size.
        field: &'static str,
        /// Its value.
        got: String,
        /// What it must be.
        rule: String,
    },
    /// A model file that cannot be used; nothing of it was loaded.
    #[error("model file: {0}")]
    File(String),
    /// A model file of another format version.
    #[error("model file: format version {got}, this program reads {reads}")]
    Version {
        /// In the file.
        got: String,
        /// Understood here.
        reads: &'static str,
    },
    /// A tensor is missing or of another shape or type.
    #[error("model file: tensor {name} is {got}, should be {want}")]
    Tensor {
        /// Tensor.
        name: String,
        /// In the file.
        got: String,
        /// By the config.
        want: String,
    },
    /// A tensor's bytes are damaged.
    #[error("model file: {what} is damaged: its SHA-256 does not match the header")]
    Hash {
        /// Tensor or section.
        what: String,
    },
    /// A weight that is not a finite number.
    #[error("model file: tensor {name} holds {value} at element {at}")]
    NotFinite {
        /// Tensor.
        name: String,
        /// Its value.
        value: f32,
        /// Element.
        at: usize,
    },
    /// A memory budget below what a token needs.
    #[error("a memory budget of {} is too small: this model needs at least {}", mib(*got), mib(*least))]
    Budget {
        /// Bytes.
        got: u64,
        /// Bytes.
        least: u64,
    },
    /// The tokenizer cannot be used.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// An action or a catalogue of actions that cannot be.
    #[error("actions: {0}")]
    Action(String),
    /// Something to hear or see that a model cannot take.
    #[error("senses: {0}")]
    Senses(String),
    /// There is nothing to continue from.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// A token id outside the vocabulary.
    #[error("token {id} is outside the vocabulary of {vocab}")]
    Token {
        /// The id.
        id: u32,
        /// V.
        vocab: usize,
    },
    /// A saved state of another model or a damaged one.
    #[error("state: {0}")]
    State(String),
    /// What a device learned, or is to learn.
    #[error("memory: {0}")]
    Memory(String),
    /// A store of committed lessons, or a file of one.
    #[error(transparent)]
    Lessons(#[from] MemoryError),
    /// The file that they lie in.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Training cannot go on.
    #[error("training: {0}")]
    Train(String),
    /// Sound that cannot be heard.
    #[error("sound: {0}")]
    Sound(#[from] SoundError),
    /// A picture that cannot be seen.
    #[error("picture: {0}")]
    Picture(#[from] PictureError),
    /// The device.
    #[error(transparent)]
    Host(#[from] HostError),
}
