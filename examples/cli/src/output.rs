//! Standard output and error: answers and JSON on the one, everything else on the other.

use crate::failure::{Done, Failure};
use serde_json::Value;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

static COLOR: OnceLock<bool> = OnceLock::new();

/// Decides once whether messages are coloured.
pub(crate) fn set_color(choice: Color) {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    let on = match choice {
        Color::Auto => io::stderr().is_terminal() && !no_color && !dumb,
        Color::Always => true,
        Color::Never => false,
    };
    COLOR.get_or_init(|| on);
}

/// Text for standard error, faint when colour is on.
pub(crate) fn faint(text: &str) -> String {
    paint("2", text)
}
/// Text for standard error, bold when colour is on.
pub(crate) fn bold(text: &str) -> String {
    paint("1", text)
}
fn paint(code: &str, text: &str) -> String {
    match COLOR.get() {
        Some(true) => format!("\x1b[{code}m{text}\x1b[0m"),
        _ => text.to_string(),
    }
}

/// Prints at once, so that answers stream.
pub(crate) fn print(text: &str) -> Done {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| Failure::stdout(&e))
}

/// Prints one JSON object.
pub(crate) fn print_json(value: &Value) -> Done {
    print(&format!("{value}\n"))
}

/// A line on standard error. Nobody can be told when that fails.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Something a person should know, on standard error.
pub(crate) fn warn(text: &str) {
    note(&format!("lichen: {text}"));
}

/// What a terminal may be shown: a model may write anything, so that control characters (escape sequences among
/// them) are made visible instead of obeyed. Elsewhere text passes as it is.
pub(crate) fn for_terminal(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// `12345678` as `12.3M`.
pub(crate) fn short(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{:.1}k", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", n as f64 / 1e6),
        _ => format!("{:.2}G", n as f64 / 1e9),
    }
}

/// `12345678` bytes as `11.8 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", n as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [short(999), short(1_500), short(10_020_000), short(9_500_000_000)],
            ["999", "1.5k", "10.0M", "9.50G"]
        );
        assert_eq!([bytes(12), bytes(2048), bytes(3 << 20)], ["12 B", "2.0 KiB", "3.0 MiB"]);
    }

    #[test]
    fn a_terminal_is_not_steered_by_a_model() {
        assert_eq!(for_terminal("a\x1b[2Jb\n\tc\u{9b}"), "a\u{fffd}[2Jb\n\tc\u{fffd}");
    }
}
