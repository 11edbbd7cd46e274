//! The `lichen` command: a language model that runs, and learns, on this machine alone.
//!
//! One file a command. Answers and JSON go to standard output, everything else to standard error. Errors are one
//! line that says what was wrong, where, and what to do.

mod answer;
mod args;
mod chat;
mod devices;
mod eval;
mod export;
mod failure;
mod files;
mod inspect;
mod interrupt;
mod load;
mod new;
mod output;
mod readers;
mod recipe;
mod run;
mod selftest;
mod stops;
mod train;

use args::{Cli, Command, GlobalArgs};
use clap::{CommandFactory, Parser, error::ErrorKind};
use failure::{Done, Failure};
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
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

fn dispatch(cli: Cli) -> Done {
    match cli.command {
        None => chat::chat(&cli.chat),
        Some(Command::Chat(args)) => chat::chat(&args),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Train(args)) => train::train(&args),
        Some(Command::Eval(args)) => eval::eval(&args),
        Some(Command::Inspect(args)) => inspect::inspect(&args),
        Some(Command::Devices(args)) => devices::devices(args.json),
        Some(Command::Selftest(args)) => selftest::selftest(&args),
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
        // Drivers' chatter is for those who ask.
        0 => "error,lichen=warn,lichen_host=warn",
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
    let mut parts = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            continue;
        }
        parts.push(line.trim_start_matches("error: "));
    }
    let mut message = String::new();
    for part in parts {
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
    }

    #[test]
    fn usage_errors_are_one_line() {
        for args in
            [&["lichen", "--tmep", "1"][..], &["lichen", "train"], &["lichen", "new", "--size", "huge", "--out", "x"]]
        {
            let error = Cli::try_parse_from(args).expect_err("is wrong");
            let line = one_line(&error.render().to_string());
            assert!(!line.contains('\n') && !line.contains("Usage") && line.contains("--"), "{line}");
        }
    }
}
