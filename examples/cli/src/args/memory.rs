//! The command line of learning and of what was learned.

use super::JsonArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct RecallArgs {
    /// Memory of what was learned: a file, or a folder with one for each model [default: LICHEN_MEMORY, else the
    /// user's data folder]
    #[arg(long, value_name = "PATH", conflicts_with = "no_memory")]
    pub(crate) memory: Option<PathBuf>,
    /// Use nothing that was learned on this device
    #[arg(long)]
    pub(crate) no_memory: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  lichen learn \"I take my coffee without sugar.\"
  lichen learn --ask \"What is the code of the gate?\" --answer \"It is 4711.\"
  lichen learn --check \"My sister is called Ada.\"")]
pub(crate) struct LearnArgs {
    /// A fact, a taste, a new command, in plain words
    #[arg(value_name = "STATEMENT", required_unless_present = "ask", conflicts_with_all = ["ask", "answer"])]
    pub(crate) statement: Vec<String>,
    /// What will be asked
    #[arg(long, value_name = "TEXT", requires = "answer")]
    pub(crate) ask: Option<String>,
    /// What is to be said then
    #[arg(long, value_name = "TEXT", requires = "ask")]
    pub(crate) answer: Option<String>,
    /// A picture (PNG, JPEG) that the statement names: "this is Biscuit"
    #[arg(long, value_name = "FILE", requires = "statement", conflicts_with = "audio")]
    pub(crate) image: Option<PathBuf>,
    /// A sound (WAV) that the statement names
    #[arg(long, value_name = "FILE", requires = "statement")]
    pub(crate) audio: Option<PathBuf>,
    /// Only try, and show what it would do
    #[arg(long)]
    pub(crate) check: bool,
    /// Keep nothing of what was said, only what was learned
    #[arg(long)]
    pub(crate) no_texts: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Memory: a file, or a folder with one for each model [default: LICHEN_MEMORY, else the user's data folder]
    #[arg(long, value_name = "PATH")]
    pub(crate) memory: Option<PathBuf>,
    /// File of the model that learns [default: the built-in model]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// CPU threads [default: one a core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Sections are merged by twos, and only where every answer stays as it is. It takes about twice \
the time of a lesson for every two. Lessons keep their numbers and can be undone as before; --undo drops what was merged."
)]
pub(crate) struct ConsolidateArgs {
    /// Only try, and show what it would do
    #[arg(long, conflicts_with = "undo")]
    pub(crate) check: bool,
    /// Give every lesson its own section again
    #[arg(long)]
    pub(crate) undo: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Memory: a file, or a folder with one for each model [default: LICHEN_MEMORY, else the user's data folder]
    #[arg(long, value_name = "PATH")]
    pub(crate) memory: Option<PathBuf>,
    /// File of the model that learned [default: the built-in model]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// CPU threads [default: one a core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Args, Debug)]
pub(crate) struct MemoryArgs {
    #[command(subcommand)]
    pub(crate) command: MemoryCommand,
    /// Memory: a file, or a folder with one for each model [default: LICHEN_MEMORY, else the user's data folder]
    // Names of their own: values of global flags are also told to the command above, which has a --model as well.
    #[arg(id = "memory_path", long = "memory", global = true, value_name = "PATH")]
    pub(crate) memory: Option<PathBuf>,
    /// File of the model that learned [default: the built-in model]
    #[arg(id = "memory_model", short, long = "model", global = true, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum MemoryCommand {
    /// List the lessons, the oldest first
    List(JsonArgs),
    /// Show all that is known of a lesson
    Show {
        /// Number of the lesson
        id: u64,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Take a lesson back; one that it had replaced counts again
    Undo {
        /// Number of the lesson [default: the last]
        id: Option<u64>,
    },
    /// Write all lessons to one file: for another device, or as a backup
    Export {
        /// File to write
        file: PathBuf,
        /// Leave out what was said
        #[arg(long)]
        no_texts: bool,
        /// Overwrite an existing file
        #[arg(short, long)]
        yes: bool,
    },
    /// Add the lessons of an exported file
    Import {
        /// File to read
        file: PathBuf,
    },
    /// Check every lesson against its SHA-256 and its model, and ask again what it taught
    Verify {
        /// Look at the sections alone, and ask nothing
        #[arg(long)]
        hashes: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Take all lessons back
    Clear {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Erase what was said in the lessons; what was learned stays
    EraseTexts,
}
