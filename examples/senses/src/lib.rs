//! What the small programs of this folder share: the built-in model, and inputs from files or from the command line.

use lichen::data::Turn;
use lichen::frontend::{Picture, Sound, hear, see};
use lichen::{Assistant, Device, Model};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The model that is part of the program `lichen`.
static MODEL: &[u8] = include_bytes!("../../cli/model/lichen.safetensors");
/// Most tokens of an answer.
pub const MOST: usize = 96;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("cannot read {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// The engine, about a file.
    #[error("{0}: {1}")]
    Input(PathBuf, lichen::Error),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] lichen::Error),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// The built-in model on the CPU, which is the quickest to start.
pub fn model() -> Result<Arc<Model>, Error> {
    let model = Model::open(Arc::new(MODEL), Arc::new(Device::cpu(0)), None)?;
    match model.config().senses {
        Some(_) => Ok(Arc::new(model)),
        None => Err(Error::Other("the built-in model of this build can neither hear nor see".into())),
    }
}

/// A conversation with it.
pub fn assistant() -> Result<Assistant, Error> {
    Ok(Assistant::new(model()?)?)
}

/// A file of this folder's inputs.
pub fn input(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("input").join(name)
}

fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|e| Error::File(path.to_path_buf(), e))
}

/// The sound of a WAV file.
pub fn sound(path: &Path) -> Result<Sound, Error> {
    hear(&bytes(path)?).map_err(|e| Error::Input(path.to_path_buf(), e))
}

/// The picture of a PNG or JPEG file.
pub fn picture(path: &Path) -> Result<Picture, Error> {
    see(&bytes(path)?).map_err(|e| Error::Input(path.to_path_buf(), e))
}

/// A turn of words.
pub fn words(text: &str) -> Turn {
    Turn { text: text.to_string(), ..Turn::default() }
}

/// Runs a program: its error goes to stderr in one line, as exit status 1.
pub fn run(program: impl FnOnce(&[String]) -> Result<(), Error>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match program(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
