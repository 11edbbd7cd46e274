//! The `lichen` command: a language model that runs, and learns, on this machine alone.
//!
//! One file a command, a folder for `bench`. Answers and JSON go to standard output, everything else to standard error. Errors are one
//! line that says what was wrong, where, and what to do.

mod answer;
mod args;
mod average;
mod bench;
mod cache;
mod chat;
mod compare;
mod consolidate;
mod devices;
mod eval;
mod export;
mod failure;
mod files;
mod grow;
mod heat;
mod input;
mod inspect;
mod interrupt;
mod learn;
mod load;
mod memory;
mod mixture;
mod new;
mod output;
mod quantize;
mod readers;
mod recall;
mod recipe;
mod run;
mod selftest;
mod serve;
mod sets;
mod stops;
mod train;

use args::{ChatArgs, Cli, Command, GlobalArgs};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches};
use failure::{Done, Failure};
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match parse(std::env::args_os()) {
        Ok(cli) => {
            prepare(&cli.global);
            dispatch(cli)
        }
        Err(error) => match error.kind() {
            // Help goes where it was asked for; that it cannot be printed (`lichen --help | head`) is no news.
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => output::print(&error.render().to_string()),
            _ => Err(Failure::Usage(one_line(&error.render().to_string()))),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.to_string().is_empty() && !matches!(failure, Failure::ClosedPipe) {
                output::warn(&failure.line());
            }
            ExitCode::from(failure.status())
        }
    }
}

/// Reads the command line. Flags of the chat that stand before another command are an error instead of ignored.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(args)?;
    if let Some((name, _)) = matches.subcommand() {
        let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let chat = ChatArgs::augment_args(clap::Command::new("chat"));
        if let Some(flag) = chat.get_arguments().map(|a| a.get_id().as_str()).find(given) {
            let message = format!("--{} belongs after the command: lichen {name} ..", flag.replace('_', "-"));
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
    }
    Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut command))
}

fn dispatch(cli: Cli) -> Done {
    match cli.command {
        None => chat::chat(&cli.chat),
        Some(Command::Chat(args)) => chat::chat(&args),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Learn(args)) => learn::learn(&args),
        Some(Command::Memory(args)) => memory::memory(&args),
        Some(Command::Consolidate(args)) => consolidate::consolidate(&args),
        Some(Command::Train(args)) => train::train(&args),
        Some(Command::Eval(args)) => eval::eval(&args),
        Some(Command::Compare(args)) => compare::compare(&args),
        Some(Command::Bench(args)) => bench::bench(&args),
        Some(Command::Inspect(args)) => inspect::inspect(&args),
        Some(Command::Devices(args)) => devices::devices(args.json),
        Some(Command::Selftest(args)) => selftest::selftest(&args),
        Some(Command::Serve(args)) => serve::serve(&args),
        Some(Command::Quantize(args)) => quantize::quantize(&args),
        Some(Command::Average(args)) => average::average(&args),
        Some(Command::Grow(args)) => grow::grow(&args),
        Some(Command::New(args)) => new::new(&args),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lichen", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
    }
}

/// Colour and logs, from the flags and the environment.
fn prepare(args: &GlobalArgs) {
    output::set_color(args.color);
    let level = match args.verbose {
        // Drivers' chatter is for those who ask: a machine without any driver is no error of this program's, and
        // what does go wrong comes back as an error of our own.
        0 => "error,lichen=warn,lichen_host=warn,wgpu_hal=off,wgpu_core=off,wgpu=off,naga=off",
        1 => "warn,lichen=info,lichen_host=info",
        2 => "info,lichen=debug,lichen_host=debug",
        _ => "trace",
    };
    let logger = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level)).try_init();
    if let Err(error) = logger {
        output::warn(&format!("no logs: {error}"));
    }
}

/// clap's message on one line, without its usage block.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let mut message = String::new();
    for line in lines.take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information")) {
        let part = line.trim_start_matches("error: ");
        if !message.is_empty() {
            message.push_str(if message.ends_with(':') { " " } else { "; " });
        }
        message.push_str(part);
    }
    if message.is_empty() {
        message.push_str("wrong usage");
    }
    message + "; see 'lichen --help'"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        for args in [
            "lichen",
            "lichen -v run -p x",
            "lichen run -v -p x",
            "lichen --temp 1",
            "lichen chat --temp 1",
            "lichen memory list -m x",
        ] {
            assert!(parse(args.split(' ').map(OsString::from)).is_ok(), "{args}");
        }
    }

    #[test]
    fn usage_errors_are_one_line() {
        for args in ["lichen --tmep 1", "lichen train", "lichen new --size huge --out x", "lichen --temp 1 run -p x"] {
            let error = parse(args.split(' ').map(OsString::from)).expect_err("is wrong");
            let line = one_line(&error.render().to_string());
            assert!(!line.contains('\n') && !line.contains("Usage") && line.contains("--"), "{line}");
        }
    }
}
