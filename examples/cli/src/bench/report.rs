//! Figures as a table for people, as CSV and as JSON.

use super::machine::Machine;
use crate::args::Format;
use crate::output::{bytes, short};
use serde::Serialize;
use serde_json::{Value, json};

/// How people read a figure.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Text,
    Number,
    Bytes,
    GbPerSecond,
    PerSecond,
    Share,
    Ratio,
    Seconds,
    Milliseconds,
    Joules,
}

/// A figure: its stable name, its name for people, its unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column(&'static str, &'static str, Unit);

/// Figures of one model on one device, [`super::measure::Single`].
pub(super) const SINGLE: &[Column] = &[
    Column("model", "model", Unit::Text),
    Column("device", "device", Unit::Text),
    Column("storage", "weights stored as", Unit::Text),
    Column("total_params", "weights", Unit::Number),
    Column("active_params", "weights of a token", Unit::Number),
    Column("decode_tok_s", "decode, median", Unit::PerSecond),
    Column("decode_best_tok_s", "decode, best", Unit::PerSecond),
    Column("prefill128_tok_s", "prefill, 128 tokens", Unit::PerSecond),
    Column("prefill512_tok_s", "prefill, 512 tokens", Unit::PerSecond),
    Column("first_token_ms", "process of one token", Unit::Milliseconds),
    Column("lesson_s", "lesson", Unit::Seconds),
    Column("lesson_peak_rss_bytes", "peak memory of a lesson", Unit::Bytes),
    Column("peak_rss_bytes", "peak memory of a run", Unit::Bytes),
    Column("file_bytes", "file", Unit::Bytes),
    Column("active_bytes_per_token", "weights of a token, bytes", Unit::Bytes),
    Column("total_weight_bytes", "weights, bytes", Unit::Bytes),
    Column("active_multiply_adds_per_token", "multiply-adds a token", Unit::Number),
    Column("dense_multiply_adds_per_token", "the same, dense", Unit::Number),
    Column("decode_read_gb_s", "decode reads, at most", Unit::GbPerSecond),
    Column("read_bandwidth_gb_s", "the machine reads", Unit::GbPerSecond),
    Column("bandwidth_share", "share of it", Unit::Share),
    Column("file_read_bytes_per_token", "read from the file a token", Unit::Bytes),
    Column("joules_per_token", "energy a token", Unit::Joules),
    Column("energy_sensor", "energy by", Unit::Text),
    Column("tokens", "tokens a repeat", Unit::Number),
    Column("repeats", "repeats", Unit::Number),
];

/// Figures of two by turns, [`super::measure::Pair`].
pub(super) const PAIR: &[Column] = &[
    Column("a", "A", Unit::Text),
    Column("b", "B", Unit::Text),
    Column("device", "device", Unit::Text),
    Column("a_decode_tok_s", "A, decode", Unit::PerSecond),
    Column("b_decode_tok_s", "B, decode", Unit::PerSecond),
    Column("time_ratio_median", "time of a token, B over A, median", Unit::Ratio),
    Column("time_ratio_p10", "10th percentile", Unit::Ratio),
    Column("time_ratio_p90", "90th percentile", Unit::Ratio),
    Column("tokens", "tokens a round", Unit::Number),
    Column("rounds", "rounds", Unit::Number),
];

/// A result as JSON.
pub(super) fn value(result: &impl Serialize) -> Value {
    serde_json::to_value(result).unwrap_or_default()
}

/// The whole report.
pub(super) fn render(format: Format, machine: &Machine, columns: &[Column], rows: &[Value]) -> String {
    match format {
        Format::Json => format!("{}\n", json!({ "machine": machine, "results": rows })),
        Format::Csv => csv(machine, columns, rows),
        Format::Markdown => {
            // Figures that nobody asked for are left out, lessons among them; others that are not known say so.
            let decoding = rows.iter().all(|row| row["prefill128_tok_s"].is_null());
            let known =
                |c: &&Column| !(decoding || c.0.starts_with("lesson_")) || rows.iter().any(|row| !row[c.0].is_null());
            let columns: Vec<Column> = columns.iter().filter(known).copied().collect();
            format!("{}\n{}{}", heading(machine), table(&columns, rows), remark(machine, rows))
        }
    }
}

fn heading(machine: &Machine) -> String {
    let part = |what: &str, n: Option<u64>| n.map(|n| format!(", {} {what}", bytes(n))).unwrap_or_default();
    let memory = part("of memory", machine.memory_bytes);
    let cache = part("of last-level cache", machine.last_level_cache_bytes);
    format!("{}, {} threads{memory}{cache}\n{}\nlichen {}\n", machine.cpu, machine.threads, machine.os, machine.lichen)
}

/// What people should know about the share of the bandwidth.
fn remark(machine: &Machine, rows: &[Value]) -> &'static str {
    let cache = machine.last_level_cache_bytes.unwrap_or(0);
    let cached = |row: &Value| {
        let share = row["bandwidth_share"].as_f64();
        share > Some(1.0) || (share.is_some() && row["active_bytes_per_token"].as_u64() < Some(cache))
    };
    match rows.iter().any(cached) {
        true => {
            "\nWeights of a token that fit in the cache are read from it: the share of the memory's rate says little.\n"
        }
        false => "",
    }
}

/// A line for each figure, a column for each result: many figures of few results fit a page this way.
fn table(columns: &[Column], rows: &[Value]) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for Column(key, label, unit) in columns {
        let shown = rows.iter().map(|row| show(&row[*key], *unit));
        lines.push([label.to_string()].into_iter().chain(shown).collect());
    }
    let width = |i: usize| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..=rows.len()).map(width).collect();
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        for (i, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let cell = cell.replace('|', "\\|");
            match i {
                0 => text.push_str(&format!("| {cell:<width$} |")),
                _ => text.push_str(&format!(" {cell:>width$} |")),
            }
        }
        text.push('\n');
        if n == 0 {
            for (i, &width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width);
                text.push_str(&if i == 0 { format!("|-{dashes}-|") } else { format!("-{dashes}:|") });
            }
            text.push('\n');
        }
    }
    text
}

/// One line a result, the machine's figures at its end: lines of many machines can stand in one file.
fn csv(machine: &Machine, columns: &[Column], rows: &[Value]) -> String {
    let here = [
        ("cpu", machine.cpu.clone()),
        ("cpu_threads", machine.threads.to_string()),
        ("os", machine.os.clone()),
        ("memory_bytes", machine.memory_bytes.map_or(String::new(), |n| n.to_string())),
        ("load_average", machine.load_average.map_or(String::new(), |n| n.to_string())),
        ("lichen", machine.lichen.to_string()),
    ];
    let names = columns.iter().map(|c| c.0).chain(here.iter().map(|(name, _)| *name));
    let mut text = names.collect::<Vec<_>>().join(",") + "\n";
    for row in rows {
        let cell = |Column(key, ..): &Column| match &row[*key] {
            Value::Null => String::new(),
            Value::String(text) => quoted(text),
            other => other.to_string(),
        };
        let cells = columns.iter().map(cell).chain(here.iter().map(|(_, value)| quoted(value)));
        text.push_str(&(cells.collect::<Vec<_>>().join(",") + "\n"));
    }
    text
}

/// A field of CSV (RFC 4180).
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    }
}

/// A figure for people.
fn show(value: &Value, unit: Unit) -> String {
    if let Some(text) = value.as_str() {
        return text.to_string();
    }
    let Some(n) = value.as_f64() else { return "n/a".into() };
    match unit {
        Unit::Text => n.to_string(),
        Unit::Number => short(n as u64),
        Unit::Bytes => bytes(n as u64),
        Unit::GbPerSecond => format!("{} GB/s", digits(n)),
        Unit::PerSecond => format!("{} tokens/s", digits(n)),
        Unit::Share => format!("{:.0}%", 100.0 * n),
        Unit::Ratio => format!("{n:.3}"),
        Unit::Milliseconds => show(&(n / 1e3).into(), Unit::Seconds),
        Unit::Seconds if n < 1.0 => format!("{} ms", digits(1e3 * n)),
        Unit::Seconds => format!("{} s", digits(n)),
        Unit::Joules if n < 1.0 => format!("{} mJ", digits(1e3 * n)),
        Unit::Joules => format!("{} J", digits(n)),
    }
}

/// Three digits that matter, whole numbers from 100 on.
pub(super) fn digits(n: f64) -> String {
    match n.abs() {
        a if a >= 100.0 => format!("{n:.0}"),
        a if a >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::{Pair, Single};
    use super::*;

    fn machine() -> Machine {
        Machine {
            cpu: "A \"fast\" one, really".into(),
            threads: 2,
            os: "an OS".into(),
            devices: vec!["cpu (2 threads)".into()],
            memory_bytes: Some(1 << 30),
            last_level_cache_bytes: None,
            load_average: Some(0.25),
            lichen: "0.1.0",
        }
    }

    fn single() -> Single {
        Single {
            model: "nano".into(),
            device: "cpu".into(),
            storage: "f32".into(),
            total_params: 10_000_000,
            active_params: 1_700_000,
            decode_tok_s: 1234.5,
            decode_best_tok_s: 1300.0,
            prefill128_tok_s: Some(5000.0),
            prefill512_tok_s: None,
            first_token_ms: Some(42.1),
            lesson_s: None,
            lesson_peak_rss_bytes: None,
            peak_rss_bytes: Some(3 << 20),
            file_bytes: None,
            active_bytes_per_token: 6_800_000,
            total_weight_bytes: 40_000_000,
            active_multiply_adds_per_token: 1_700_000,
            dense_multiply_adds_per_token: 10_000_000,
            decode_read_gb_s: 8.4,
            read_bandwidth_gb_s: Some(4.2),
            bandwidth_share: Some(2.0),
            file_read_bytes_per_token: None,
            joules_per_token: Some(0.0125),
            energy_sensor: None,
            tokens: 128,
            repeats: 9,
        }
    }

    fn pair() -> Pair {
        Pair {
            a: "x".into(),
            b: "y|z".into(),
            device: "cpu".into(),
            a_decode_tok_s: 10.0,
            b_decode_tok_s: 20.0,
            time_ratio_median: 0.5,
            time_ratio_p10: 0.4,
            time_ratio_p90: 0.6,
            tokens: 128,
            rounds: 21,
        }
    }

    #[test]
    fn every_figure_has_a_column() {
        for (value, columns) in [(value(&single()), SINGLE), (value(&pair()), PAIR)] {
            let mut fields: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
            let mut names: Vec<&str> = columns.iter().map(|c| c.0).collect();
            fields.sort_unstable();
            names.sort_unstable();
            assert_eq!(fields, names);
        }
    }

    #[test]
    fn tables_are_aligned_and_say_what_is_not_known() {
        let text = render(Format::Markdown, &machine(), SINGLE, &[value(&single()), value(&single())]);
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with('|')).collect();
        // The names' line and one a figure, but for lessons.
        assert_eq!(lines.len(), SINGLE.len() - 1);
        assert!(lines.iter().all(|l| l.chars().count() == lines[0].chars().count()), "{text}");
        for says in ["1234 tokens/s", "42.1 ms", "200%", "12.5 mJ", "n/a", "8.40 GB/s", "in the cache", "1.00 GiB"] {
            assert!(text.contains(says), "{says} is missing:\n{text}");
        }
        assert!(table(PAIR, &[value(&pair())]).contains("y\\|z"));
    }

    #[test]
    fn what_was_not_asked_for_is_left_out() {
        let decoding = Single { prefill128_tok_s: None, read_bandwidth_gb_s: None, bandwidth_share: None, ..single() };
        let text = render(Format::Markdown, &machine(), SINGLE, &[value(&decoding)]);
        assert!(text.contains("decode, best") && !text.contains("prefill") && !text.contains("n/a"), "{text}");
    }

    #[test]
    fn csv_has_a_field_for_every_name() {
        let text = render(Format::Csv, &machine(), SINGLE, &[value(&single())]);
        let [names, row] = text.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {text}") };
        // The machine's name holds the only comma in quotes.
        assert_eq!(names.split(',').count(), row.split(',').count() - 1, "{text}");
        assert!(row.contains("\"A \"\"fast\"\" one, really\"") && row.contains(",,"), "{row}");
    }

    #[test]
    fn json_has_null_for_what_is_not_known() {
        let text = render(Format::Json, &machine(), SINGLE, &[value(&single())]);
        let json: Value = serde_json::from_str(&text).expect("is JSON");
        assert!(json["results"][0]["file_bytes"].is_null() && json["machine"]["threads"] == 2, "{json}");
    }
}
