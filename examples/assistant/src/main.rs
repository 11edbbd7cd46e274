//! The `lichen-assistant` command: training and test data for a small assistant.

use clap::{Args, Parser, Subcommand};
use lichen_assistant::data::Data;
use lichen_assistant::error::Result;
use lichen_assistant::split::Split;
use lichen_assistant::{dialogues, lessons, spoken, write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Makes training and test data for a small assistant.
#[derive(Parser, Debug)]
#[command(name = "lichen-assistant", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Write dialogues, lessons and single requests
    Dialogues(DialoguesArgs),
    /// Write what a model asks itself when it learns a fact
    Bank(BankArgs),
    /// Write spoken commands and words, read out by espeak-ng
    Commands(CommandsArgs),
}

#[derive(Args, Debug)]
struct DialoguesArgs {
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Training dialogues
    #[arg(long, default_value_t = 200_000)]
    train: u64,
    /// Validation dialogues
    #[arg(long, default_value_t = 2_000)]
    validation: u64,
    /// Test dialogues
    #[arg(long, default_value_t = 2_000)]
    test: u64,
    /// Lessons of each of the two held-out sets
    #[arg(long, default_value_t = 300)]
    lessons: u64,
    /// Single requests of each of the two held-out sets
    #[arg(long, default_value_t = 1_500)]
    actions: u64,
    /// Seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args, Debug)]
struct BankArgs {
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args, Debug)]
struct CommandsArgs {
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Training commands
    #[arg(long, default_value_t = 10_000)]
    train: u64,
    /// Validation commands
    #[arg(long, default_value_t = 500)]
    validation: u64,
    /// Test commands
    #[arg(long, default_value_t = 500)]
    test: u64,
    /// Single words to record, one a line (by default, the digits and common nouns)
    #[arg(long, value_name = "FILE")]
    words: Option<PathBuf>,
    /// Recordings of single words for training; a tenth as many are made for validation and for test
    #[arg(long, default_value_t = 4_000, value_name = "N")]
    word_clips: u64,
    /// Seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Dialogues(args) => write_dialogues(&args),
        Command::Bank(args) => write_bank(&args),
        Command::Commands(args) => write_commands(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_dialogues(args: &DialoguesArgs) -> Result<()> {
    let data = Data::read()?;
    let (out, seed) = (args.out.as_path(), args.seed);
    for (split, count) in [(Split::Train, args.train), (Split::Validation, args.validation), (Split::Test, args.test)] {
        let name = split.name();
        write::write(out, &format!("{name}.jsonl"), count, |i| dialogues::dialogue(&data, split, seed, i))?;
        if split != Split::Train {
            write::write(out, &format!("lessons.{name}.jsonl"), args.lessons, |i| {
                lessons::lesson(&data, split, seed, i)
            })?;
            write::write(out, &format!("actions.{name}.jsonl"), args.actions, |i| {
                lessons::request(&data, split, seed, i)
            })?;
        }
    }
    Ok(())
}

fn write_bank(args: &BankArgs) -> Result<()> {
    let bank = lessons::bank(&Data::read()?, args.seed)?;
    let mut lines = write::Lines::create(&args.out, "bank.jsonl")?;
    bank.iter().try_for_each(|prompt| lines.line(prompt))?;
    lines.finish()
}

fn write_commands(args: &CommandsArgs) -> Result<()> {
    let data = Data::read()?;
    let commands = spoken::Commands::read(&data)?;
    let words = spoken::words(args.words.as_deref())?;
    let (out, seed) = (args.out.as_path(), args.seed);
    for (split, count) in [(Split::Train, args.train), (Split::Validation, args.validation), (Split::Test, args.test)] {
        let name = split.name();
        spoken::write(out, &format!("{name}.jsonl"), count, |i| commands.command(split, seed, i))?;
        let count = if split == Split::Train { args.word_clips } else { args.word_clips.div_ceil(10) };
        spoken::write(out, &format!("words.{name}.jsonl"), count, |i| spoken::word(&words, split, seed, i))?;
    }
    Ok(())
}
