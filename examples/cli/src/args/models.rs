//! The command line of what writes model files.

use super::SIZES;
use clap::{Args, ValueEnum};
use lichen::{Precision, Storage};
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct NewArgs {
    /// A size of the family
    #[arg(long, value_name = "SIZE", value_parser = SIZES, required_unless_present = "config")]
    pub(crate) size: Option<String>,
    /// Recipe (as for `train`) with the model's sizes
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    pub(crate) config: Option<PathBuf>,
    /// Seed of the weights
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Model file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// How weights are stored
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f16")]
    pub(crate) storage: StorageArg,
    #[command(flatten)]
    pub(crate) parts: PartsArgs,
    /// Overwrite an existing file
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct QuantizeArgs {
    /// Model file [default: the built-in model]
    #[arg(value_name = "FILE", conflicts_with = "model")]
    pub(crate) file: Option<PathBuf>,
    /// Model file, as elsewhere
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// How weights are stored
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(crate) to: StorageArg,
    #[command(flatten)]
    pub(crate) parts: PartsArgs,
    /// Bias on refusing that the file keeps, as `eval --fit-refusals` finds it [default: the model's]
    #[arg(long, value_name = "LOGITS", allow_negative_numbers = true)]
    pub(crate) refusal_bias: Option<f32>,
    /// Prompts that the model asks itself when it learns, as JSON lines [default: the model's]
    #[arg(long, value_name = "FILE")]
    pub(crate) bank: Option<PathBuf>,
    /// Lists of pictures and sounds (`..-images-idx3..`, JSON lines with a `file`) that are none of what it will be
    /// taught to name: a sample's vectors are kept beside the prompts [default: the model's]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) shown: Vec<PathBuf>,
    /// What those who chat with it should know about it [default: the model's]
    #[arg(long, value_name = "TEXT")]
    pub(crate) about: Option<String>,
    /// Model file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Overwrite an existing file
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct AverageArgs {
    /// Model file; what is no weight comes from it
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Model file of the same sizes and tokenizer
    #[arg(value_name = "OTHER")]
    pub(crate) other: PathBuf,
    /// The other's share, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub(crate) share: f32,
    /// Model file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// How weights are stored
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f16")]
    pub(crate) storage: StorageArg,
    #[command(flatten)]
    pub(crate) parts: PartsArgs,
    /// Overwrite an existing file
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct GrowArgs {
    /// Model file [default: the built-in model]
    #[arg(value_name = "FILE", conflicts_with = "model")]
    pub(crate) file: Option<PathBuf>,
    /// Model file, as elsewhere
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Sections of a layer afterwards
    #[arg(long, value_name = "N")]
    pub(crate) sections: usize,
    /// Seed of the new sections' weights
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Model file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Overwrite an existing file
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Parts that are stored otherwise than the rest: the sections and their router.
#[derive(Args, Debug)]
pub(crate) struct PartsArgs {
    /// How the token table is stored, which is the head as well [default: as the rest]
    #[arg(long, value_enum, value_name = "TYPE", hide_possible_values = true)]
    pub(crate) embed: Option<StorageArg>,
    /// How the recurrent blocks are stored [default: as the rest]
    #[arg(long, value_enum, value_name = "TYPE", hide_possible_values = true)]
    pub(crate) mixer: Option<StorageArg>,
}
impl PartsArgs {
    /// All parts together.
    pub(crate) fn storage(&self, rest: StorageArg) -> Storage {
        let or_rest = |part: Option<StorageArg>| part.unwrap_or(rest).into();
        Storage { sections: rest.into(), embed: or_rest(self.embed), mixer: or_rest(self.mixer) }
    }
}

/// How weights are stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StorageArg {
    /// 16 bits a weight
    F16,
    /// 32 bits a weight
    F32,
    /// 8 bits a weight, and a scale for every 32
    Q8,
    /// 4 bits a weight, and a scale for every 32
    Q4,
}
impl From<StorageArg> for Precision {
    fn from(storage: StorageArg) -> Self {
        match storage {
            StorageArg::F16 => Precision::F16,
            StorageArg::F32 => Precision::F32,
            StorageArg::Q8 => Precision::Q8,
            StorageArg::Q4 => Precision::Q4,
        }
    }
}
