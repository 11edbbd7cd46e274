//! Loss on held-out text.

use super::stats;
use crate::args::EvalArgs;
use crate::failure::{Done, Failure};
use crate::output::{note, print, print_json, short};
use crate::{cache, interrupt, load, readers};
use lichen::Model;
use lichen::data::Dataset;
use lichen::eval::token_losses;
use serde_json::json;
use std::io::{self, IsTerminal};

/// Tokens of a passage. Long documents count as several: a book is not one observation.
const PASSAGE: usize = 1024;

/// One passage: surprise in nats, bytes that it stands for.
#[derive(Clone, Copy)]
struct Passage {
    nats: f64,
    bytes: f64,
}

/// Loss on held-out text. Each document is read once from an empty state.
pub(super) fn lm(args: &EvalArgs) -> Done {
    let documents = readers::documents(&args.data)?;
    let model = load::model(&args.model)?;
    let data = Dataset::new(model.tokenizer(), documents)?;
    interrupt::listen();
    let (mut passages, mut read, mut count) = (Vec::new(), 0, 0);
    let shows = io::stderr().is_terminal();
    for document in data.documents() {
        if interrupt::pressed() {
            return Err(Failure::Interrupted("stopped; nothing was measured".into()));
        }
        passages.extend(measure(&model, document)?);
        read += document.len();
        count += 1;
        if shows {
            eprint!("\r{:3}%", 100 * read / data.tokens().len().max(1));
        }
    }
    if shows {
        eprint!("\r    \r");
    }
    cache::keep(model.device());
    let tokens = data.tokens().len() - count;
    let all = ratio(passages.iter().copied());
    if !all.is_finite() {
        return Err(Failure::Failed("there is no text to measure in --data".into()));
    }
    let figure = |rows: &[usize]| ratio(rows.iter().map(|&i| passages[i]));
    let (_, ci) = stats::interval(passages.len(), stats::RESAMPLES, figure);
    if args.json {
        return print_json(&json!({
            "suite": "lm", "nats_per_byte": all, "nats_per_byte_ci95": ci, "n": passages.len(), "documents": count,
            "tokens": tokens, "bytes": data.bytes(), "model": model.id(), "device": model.device().name(),
        }));
    }
    print(&format!("{all:.4} nats a byte (95% interval {:.4} to {:.4})\n", ci[0], ci[1]))?;
    let bytes = short(data.bytes());
    note(&format!("{count} documents, {} passages, {} tokens, {bytes} bytes", passages.len(), short(tokens as u64)));
    Ok(())
}

fn measure(model: &Model, document: &[u32]) -> Done<Vec<Passage>> {
    let losses = token_losses(model.config(), model.weights(), model.device(), document);
    let losses = pollster::block_on(losses)?;
    let targets = document.get(1..).unwrap_or_default();
    let passage = |(losses, targets): (&[f32], &[u32])| Passage {
        nats: losses.iter().map(|&l| f64::from(l)).sum(),
        bytes: model.tokenizer().decode(targets).len() as f64,
    };
    Ok(losses.chunks(PASSAGE).zip(targets.chunks(PASSAGE)).map(passage).collect())
}

/// All nats over all bytes.
fn ratio(passages: impl Iterator<Item = Passage>) -> f64 {
    let (nats, bytes) = passages.fold((0.0, 0.0), |(n, b), p| (n + p.nats, b + p.bytes));
    nats / bytes
}
