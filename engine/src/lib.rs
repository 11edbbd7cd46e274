//! Lichen: an attention-free recurrent language model whose feed-forward layers are cut into sections, of which
//! a router wakes a few for each token.
//!
//! The engine is deaf and blind: no files, clock, threads or printing. Bytes, seeds and time come in, values
//! go out.

pub mod action;
pub mod assistant;
pub mod checkpoint;
pub mod config;
pub mod data;
mod error;
pub mod eval;
pub mod frontend;
pub mod grammar;
pub mod graph;
mod header;
mod init;
pub mod learn;
pub mod memory;
pub mod model;
pub mod phrase;
pub mod plastic;
mod residency;
pub mod sampler;
pub mod session;
mod source;
pub mod state;
mod storage;
#[cfg(test)]
mod testing;
pub mod tokenizer;
pub mod train;
mod train_state;
pub mod weights;
pub mod when;

pub use action::{Action, Catalogue};
pub use assistant::{Assistant, Reply, reread, was_told};
pub use checkpoint::{Checkpoint, write_random};
pub use config::{Config, Mixer};
pub use error::Error;
pub use grammar::Grammar;
pub use header::{FORMAT, Header};
pub use lichen_host::{Choice, Device, HostError, Made, Store, StoreError};
pub use lichen_shaders::cases::Random;
pub use memory::{Memory, MemoryError};
pub use model::Model;
pub use plastic::Plastic;
pub use residency::Paging;
pub use sampler::Sampler;
pub use session::{Route, Session, Stop};
pub use source::Source;
pub use state::State;
pub use storage::{Precision, Storage};
pub use tokenizer::{SPECIALS, Tokenizer, Utf8Stream};
pub use train_state::Resumed;
