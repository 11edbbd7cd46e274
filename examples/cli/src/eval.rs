//! `lichen eval`: how good a model is on held-out data.

use crate::args::{EvalArgs, Suite};
use crate::failure::{Done, Failure};
use crate::output::{note, print, print_json, short};
use crate::{cache, devices, interrupt, load, readers};
use lichen::Model;
use lichen::data::Dataset;
use lichen::eval::token_losses;
use serde_json::json;
use std::io::{self, IsTerminal};

/// Tokens of a passage. Long documents count as several: a book is not one observation.
const PASSAGE: usize = 1024;
/// Resamplings behind an interval.
const RESAMPLES: usize = 2000;

pub(crate) fn eval(args: &EvalArgs) -> Done {
    if args.model.list_devices {
        return devices::devices(false);
    }
    match args.suite {
        Suite::Lm => lm(args),
    }
}

/// One passage: surprise in nats, bytes that it stands for.
#[derive(Clone, Copy)]
struct Passage {
    nats: f64,
    bytes: f64,
}

/// Loss on held-out text. Each document is read once from an empty state.
fn lm(args: &EvalArgs) -> Done {
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
    let ci = interval(&passages);
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

/// 95% interval by resampling passages with replacement; always the same for the same passages.
fn interval(passages: &[Passage]) -> [f64; 2] {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut below = |n: usize| {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        ((u128::from(state.wrapping_mul(0x2545_F491_4F6C_DD1D)) * n as u128) >> 64) as usize
    };
    let mut ratios: Vec<f64> =
        (0..RESAMPLES).map(|_| ratio((0..passages.len()).map(|_| passages[below(passages.len())]))).collect();
    ratios.sort_by(f64::total_cmp);
    [ratios[RESAMPLES / 40], ratios[RESAMPLES - 1 - RESAMPLES / 40]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_mean_and_shrink_with_more_passages() {
        let passages = |n: usize| -> Vec<Passage> {
            (0..n).map(|i| Passage { nats: 10.0 + (i % 7) as f64, bytes: 10.0 }).collect()
        };
        let (few, many) = (interval(&passages(14)), interval(&passages(1400)));
        assert!(few[0] < 1.3 && 1.3 < few[1], "{few:?}");
        assert!(many[1] - many[0] < 0.3 * (few[1] - few[0]), "{few:?} {many:?}");
        assert_eq!(interval(&passages(1)), [1.0, 1.0]);
        assert_eq!(few, interval(&passages(14)));
    }
}
