//! The command line. Names follow llama.cpp's where it has one.

mod memory;
mod models;

pub(crate) use memory::{ConsolidateArgs, LearnArgs, MemoryArgs, MemoryCommand, RecallArgs};
pub(crate) use models::{AverageArgs, GrowArgs, NewArgs, QuantizeArgs, StorageArg};

use crate::output::Color;
use crate::serve::ServeArgs;
use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A small language model that runs, and learns, on this machine alone.
///
/// Without a command, `lichen` chats with its built-in model. Nothing is ever sent over a network.
#[derive(Parser, Debug)]
#[command(name = "lichen", bin_name = "lichen", version, args_override_self = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) chat: ChatArgs,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

/// The sizes of the family.
pub(crate) const SIZES: [&str; 5] = ["nano", "small", "bench160", "3b", "10b"];

const AFTER_HELP: &str = "Exit status: 0 fine, 1 what was asked for failed, 2 wrong usage, 130 ended by Ctrl-C.
Answers and JSON go to standard output, everything else to standard error. NO_COLOR and RUST_LOG are respected.";

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Chat with a model (the default)
    Chat(ChatArgs),
    /// Answer one prompt, or continue a text
    Run(RunArgs),
    /// Learn something for good: train the few sections concerned, and keep them
    Learn(LearnArgs),
    /// Show what was learned on this device, take it back, move it
    Memory(MemoryArgs),
    /// Let fewer sections serve for what was learned, where every answer stays as it is
    Consolidate(ConsolidateArgs),
    /// Train a model on text
    Train(TrainArgs),
    /// Measure a model on held-out data
    Eval(EvalArgs),
    /// Show what inputs share on their way through the sections
    Compare(CompareArgs),
    /// Measure how fast models are on this machine, and what they cost
    Bench(BenchArgs),
    /// Show what is in a model file
    Inspect(InspectArgs),
    /// List the devices that a model can run on
    Devices(JsonArgs),
    /// Check every kernel on a device against the reference
    Selftest(SelftestArgs),
    /// Serve the browser app on this machine
    Serve(ServeArgs),
    /// Store a model's weights in fewer bits
    Quantize(QuantizeArgs),
    /// Average the weights of two models
    Average(AverageArgs),
    /// Add sections to a model; it answers as before until they are trained
    Grow(GrowArgs),
    /// Make a model with random weights
    New(NewArgs),
    /// Print a completion script for a shell
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct GlobalArgs {
    /// Say more about what happens (-vv: much more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Colour messages
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

#[derive(Args, Debug)]
pub(crate) struct JsonArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DeviceArgs {
    /// Device: auto (a hardware GPU, else the CPU), cpu, gpu, a number of `lichen devices`, or part of a name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: String,
    /// CPU threads [default: one a core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// Model file [default: the built-in model]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Memory that the model may take, such as 1GiB: sections that do not fit are read from the file as they are
    /// asked for [default: no limit]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_budget: Option<ByteSize>,
    /// List the devices and end
    #[arg(long)]
    pub(crate) list_devices: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SampleArgs {
    /// Temperature: 0 takes the likeliest token, 1 samples the model's own distribution
    #[arg(long, value_name = "T")]
    pub(crate) temp: Option<f32>,
    /// Sample among the K likeliest tokens, at most 256
    #[arg(long, value_name = "K", default_value_t = 40)]
    pub(crate) top_k: u32,
    /// Sample among the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = 0.95)]
    pub(crate) top_p: f32,
    /// Seed of the sampling [default: another one every time; -v shows it]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Penalty of tokens that came lately; 1 is none
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) repeat_penalty: f32,
    /// How many tokens back the penalty looks
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) repeat_last_n: u32,
    /// Text that ends an answer and is not printed; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) recall: RecallArgs,
    #[command(flatten)]
    pub(crate) sample: SampleArgs,
    /// Most tokens of an answer; -1 for no limit
    #[arg(short = 'n', long, value_name = "N", default_value_t = 512, allow_negative_numbers = true)]
    pub(crate) n_predict: i64,
    /// What happens when the model took note of something that was told: it asks whether to learn it for good, learns
    /// it, or leaves it to /learn [default: ask, where somebody can answer]
    #[arg(long, value_name = "WHEN")]
    pub(crate) learn: Option<Learns>,
}

/// When a chat learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Learns {
    /// When it is told to.
    Off,
    /// When a person says yes.
    Ask,
    /// Whatever it took note of.
    Auto,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Prompt: one turn of a user
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// Read the prompt from a file; `-` or nothing for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Show the model a picture (PNG or JPEG); words are then optional
    #[arg(long, value_name = "FILE", conflicts_with = "raw")]
    pub(crate) image: Option<PathBuf>,
    /// Let the model hear a sound (WAV); words are then optional
    #[arg(long, value_name = "FILE", conflicts_with = "raw")]
    pub(crate) audio: Option<PathBuf>,
    /// Task that the answer is for, as in training: a label set, or a language (es, de, fr)
    #[arg(long, value_name = "NAME", conflicts_with = "raw")]
    pub(crate) task: Option<String>,
    /// Time of the turn, such as 2026-11-23T14:05, or none [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) now: Option<String>,
    /// Show which sections the prompt wakes, a row of shades for each layer
    #[arg(long)]
    pub(crate) route: bool,
    /// Write the same as a picture, token by token
    #[arg(long, value_name = "FILE.png")]
    pub(crate) route_png: Option<PathBuf>,
    /// Most tokens of the answer; -1 for no limit
    #[arg(short = 'n', long, value_name = "N", default_value_t = 256, allow_negative_numbers = true)]
    pub(crate) n_predict: i64,
    /// Continue the prompt as plain text instead of answering it
    #[arg(long)]
    pub(crate) raw: bool,
    /// Print one JSON object: text, tokens (ids), stop (end, stop, length), route (of the prompt's last token), action
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) recall: RecallArgs,
    #[command(flatten)]
    pub(crate) sample: SampleArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The run's state is kept in OUT.train and its log in OUT.log.jsonl. Ctrl-C finishes the update, \
saves, and exits with 130; after it, or after a crash at any moment, `lichen train --resume --out OUT` goes on as if \
nothing had happened."
)]
pub(crate) struct TrainArgs {
    /// Training text: files or folders of .txt, .jsonl (lines with \"text\" or \"turns\"), also with .gz
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,
    /// Held-out text; its loss is shown at every save
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) validation: Vec<PathBuf>,
    /// Recipe: JSON with \"model\", \"tokenizer\" and \"train\"
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Model file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Go on with the run of OUT.train; starts it if there is none yet
    #[arg(long)]
    pub(crate) resume: bool,
    /// Train for about this many minutes: the speed is measured once, which fixes the number of updates
    #[arg(long, value_name = "N")]
    pub(crate) minutes: Option<f64>,
    /// Start from the weights and the tokenizer of this model
    #[arg(long, value_name = "FILE")]
    pub(crate) init: Option<PathBuf>,
    /// Seed of the weights and of the order of the data [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// CPU threads [default: one a core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Seconds between two saves
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(crate) save_every: f64,
    /// Overwrite an existing model or run
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Print one JSON object at the end: step, loss, tokens, seconds, tokens_s, nats_per_byte, out
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `eval` can measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Loss on held-out text, in nats a byte
    Lm,
    /// Labels and slots of requests (.jsonl with text, intent, slots)
    Intents,
    /// Actions of requests (.jsonl with text, action)
    Actions,
    /// Short translations (.tsv, the language in its name: en-es.test.tsv)
    Translate,
    /// Spoken words and commands (.jsonl with file and word, or reply and actions)
    Speech,
    /// Digits and things that are seen (idx images, or .jsonl with file and name)
    Images,
    /// Sounds (.jsonl with file and label)
    Sounds,
    /// What a model knows after it was told (.jsonl with teach and probes)
    Lessons,
    /// What a model calls pictures and sounds that lessons gave a name (lists as for images, sounds and speech)
    Names,
    /// How much more the senses share sections for the same thing than for others (an index of concepts, its sets
    /// in the folders beside its own)
    Sharing,
    /// How well vectors of turns tell personal facts apart (dialogues with about)
    Turns,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// Words, sounds (.wav) and pictures (.png, .jpg)
    #[arg(value_name = "INPUT", num_args = 1.., required = true)]
    pub(crate) inputs: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct EvalArgs {
    /// What to measure
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) suite: Suite,
    /// Held-out data: files, or folders with a test.jsonl or the like
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// Name of the label set, or the language of translations [default: the folder's, the file's]
    #[arg(long, value_name = "NAME")]
    pub(crate) set: Option<String>,
    /// Find the bias on refusing at which this share of what is in scope is refused (intents, on validation data)
    #[arg(long, value_name = "SHARE")]
    pub(crate) fit_refusals: Option<f64>,
    /// Ask at most so many of each file, spread evenly
    #[arg(long, value_name = "N")]
    pub(crate) most: Option<usize>,
    /// Translate only sentences of at most so many words
    #[arg(long, value_name = "N")]
    pub(crate) words: Option<usize>,
    /// Only the clips of this speaker
    #[arg(long, value_name = "NAME")]
    pub(crate) speaker: Option<String>,
    /// Say a lesson in the same session as its probes
    #[arg(long)]
    pub(crate) in_context: bool,
    /// Learn nothing: before each prompt, say the lesson again that is nearest to it (lessons, for comparison)
    #[arg(long, conflicts_with = "in_context")]
    pub(crate) retrieval: bool,
    /// Learn nothing: ask this model, into whose weights the lessons were put in another way (lessons, for comparison)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["in_context", "retrieval"])]
    pub(crate) kept_by: Option<PathBuf>,
    /// Lists of other suites, whole: how much worse the model is at them when all lessons are taught (lessons)
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["in_context", "retrieval", "kept_by"])]
    pub(crate) forgetting: Vec<PathBuf>,
    /// Keep what is taught in this file, and go on from what an earlier run taught (lessons)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["in_context", "retrieval", "kept_by"])]
    pub(crate) memory: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// How `bench` writes its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table with units for people
    Markdown,
    /// One line a result, names with units in the first one
    Csv,
    /// One object: machine, results
    Json,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Random weights (--size) live in memory only: what needs a file, a run's memory and its time to the \
first token, is n/a for them. Joules are those of the processor and its memory (RAPL, often for root alone) or of a \
discharging battery. What decoding reads counts all weights of the woken sections, although suppressed neurons are \
read by half. Close other programs first."
)]
pub(crate) struct BenchArgs {
    /// Model files [default: the built-in model]
    #[arg(value_name = "MODEL")]
    pub(crate) models: Vec<PathBuf>,
    /// Model file, as elsewhere; may be given several times
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: Vec<PathBuf>,
    /// A size of the family with random weights, held as f16 or otherwise (small:q8, small:q4+embed=q8); may be given several times
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    pub(crate) size: Vec<String>,
    /// Device, as elsewhere; may be given several times [default: auto]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Vec<String>,
    /// CPU threads [default: one a core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Memory that a model file may take, as elsewhere
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_budget: Option<ByteSize>,
    /// Tokens that one repeat decodes [default: 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) tokens: Option<u32>,
    /// Repeats after a warm-up; of pairs, rounds [default: 9, of pairs 21]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) repeats: Option<u32>,
    /// How figures are written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "markdown")]
    pub(crate) format: Format,
    /// Print one JSON object: --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Write the figures to a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Measure decoding alone
    #[arg(long)]
    pub(crate) decode_only: bool,
    /// Measure lessons too; the first one prepares, which takes a moment
    #[arg(long)]
    pub(crate) lessons: bool,
    /// Compare two models (files, sizes or built-in) by turns: the time of a token of B over that of A
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["models", "model", "size"])]
    pub(crate) paired: Vec<String>,
    /// Compare another lichen with this one by turns, on the same models: its time of a token over ours
    #[arg(long, value_name = "OTHER", conflicts_with = "paired")]
    pub(crate) paired_binary: Option<PathBuf>,
    /// Draw decoding speed against all weights: a size (--size, else small) with up to ten times its sections, by turns
    #[arg(long, value_name = "FILE.svg", conflicts_with_all = ["models", "model", "paired", "paired_binary"])]
    pub(crate) plot: Option<PathBuf>,
    /// A few tokens, for a first look
    #[arg(long)]
    pub(crate) quick: bool,
    /// Overwrite existing files
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Model file [default: the built-in model]
    #[arg(value_name = "FILE", conflicts_with = "model")]
    pub(crate) file: Option<PathBuf>,
    /// Model file, as elsewhere
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Read all weights and check their hashes
    #[arg(long)]
    pub(crate) verify: bool,
    /// Write the weights as plain named float32 tensors for other tools (.safetensors)
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SelftestArgs {
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Only kernels whose name contains this
    #[arg(long, value_name = "NAME")]
    pub(crate) kernel: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
