//! Lichen: an attention-free recurrent language model whose feed-forward layers are cut into sections, of which
//! a router wakes a few for each token.
//!
//! The engine is deaf and blind: no files, clock, threads or printing. Bytes, seeds and time come in, values
//! go out.

pub mod config;
mod error;
pub mod graph;
pub mod weights;
pub mod tokenizer;

pub use config::{Config, Mixer};
pub use error::Error;
pub use tokenizer::{SPECIALS, Tokenizer, Utf8Stream};
pub use lichen_host::{Choice, Device, HostError};
