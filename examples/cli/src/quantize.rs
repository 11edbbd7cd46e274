//! `lichen quantize`: the same model in fewer bits.

use crate::args::QuantizeArgs;
use crate::failure::{Done, Failure};
use crate::output::{bytes, note, print_json};
use crate::sets::senses::{Sense, sample};
use crate::{files, load};
use lichen::learn::{Bank, turns_shown};
use lichen::{Checkpoint, Precision};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Sounds or pictures of a list whose vectors are kept.
const SAMPLE: usize = 96;

pub(crate) fn quantize(args: &QuantizeArgs) -> Done {
    let path = args.file.as_deref().or(args.model.as_deref());
    let file = load::bytes(path)?;
    let before = load::header(path, &file)?;
    let storage = args.parts.storage(args.to);
    let bank = args.bank.as_deref().map(bank).transpose()?.or(before.bank.clone());
    let kept = before.bank.iter().flat_map(|bank| bank.shown().to_vec()).collect();
    let bank = bank.map(|bank| with_shown(bank, kept, &args.shown, path)).transpose()?;
    if bank.is_none() && !args.shown.is_empty() {
        return Err(Failure::Usage("--shown adds to prompts for learning: name some with --bank".into()));
    }
    let same = bank.as_ref().is_none_or(|bank| Some(bank) == before.bank.as_ref())
        && args.about.as_ref().is_none_or(|about| *about == before.about);
    if before.storage == storage && same && args.refusal_bias.is_none_or(|bias| bias == before.refusal_bias) {
        let why = format!("{} is stored as {storage} already", load::name(path));
        return Err(Failure::Usage(why));
    }
    if before.storage.parts().iter().any(|(_, part)| matches!(part, Precision::Q8 | Precision::Q4)) {
        note(&format!("{} was rounded before: start from the trained model for the best result", load::name(path)));
    }
    files::check_writable(&args.out)?;
    files::may_overwrite(&args.out, args.yes)?;
    let mut checkpoint = load::checkpoint(path)?;
    checkpoint.header.parent = Some(before.id.clone());
    if let Some(bias) = args.refusal_bias {
        if !bias.is_finite() || checkpoint.header.actions.is_none() {
            return Err(Failure::Usage("--refusal-bias is a number, for a model that knows actions".into()));
        }
        checkpoint.header.refusal_bias = bias;
    }
    checkpoint.header.bank = bank;
    if let Some(about) = &args.about {
        checkpoint.header.about.clone_from(about);
    }
    files::write(&args.out, |out| {
        checkpoint.write(storage, out).map_err(Failure::with(format!("cannot write {}", args.out.display())))
    })?;
    let written = files::map(&args.out)?;
    let after = Checkpoint::parse(&written).map_err(Failure::with(format!("cannot use {}", args.out.display())))?;
    let change = change(&checkpoint, &after);
    let (old, new) = (before.file_len(), after.header.file_len());
    if args.json {
        return print_json(&json!({
            "out": args.out.display().to_string(), "id": after.header.id, "parent": before.id,
            "storage": storage.to_string(), "bytes": new, "bytes_before": old, "relative_change": change,
            "active_bytes_per_token": storage.active_bytes(&before.config),
        }));
    }
    note(&format!(
        "{}: {} instead of {}, weights changed by {:.2}%, {} read a token",
        args.out.display(),
        bytes(new),
        bytes(old),
        change * 100.0,
        bytes(storage.active_bytes(&before.config)),
    ));
    Ok(())
}

/// Reads what a model asks itself when it learns.
fn bank(path: &Path) -> Done<Bank> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e))?;
    Bank::from_jsonl(&text).map_err(Failure::with(format!("cannot use {}", path.display())))
}

/// With the vectors of a sample of each list, or else those that the model has.
fn with_shown(bank: Bank, kept: Vec<Vec<f32>>, lists: &[PathBuf], model: Option<&Path>) -> Done<Bank> {
    if lists.is_empty() {
        return Ok(if bank.shown().is_empty() { bank.with_shown(kept) } else { bank });
    }
    let model = load::to_learn(model, None)?;
    let mut all = Vec::new();
    for list in lists {
        all.extend(sample(list, SAMPLE)?.iter().map(Sense::shown));
    }
    Ok(bank.with_shown(turns_shown(&model, all.iter())?))
}

/// Root of the squared difference of all weights over their squares.
fn change(before: &Checkpoint, after: &Checkpoint) -> f64 {
    let (mut difference, mut whole) = (0.0, 0.0);
    for spec in before.config().tensors() {
        let (Some(a), Some(b)) = (before.tensor(&spec.name), after.tensor(&spec.name)) else { continue };
        for (&a, &b) in a.iter().zip(b) {
            difference += f64::from(a - b).powi(2);
            whole += f64::from(a).powi(2);
        }
    }
    if whole > 0.0 { (difference / whole).sqrt() } else { 0.0 }
}
