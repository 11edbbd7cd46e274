//! `lichen new`: a model with random weights, for tests and for measuring what a size costs.

use crate::args::NewArgs;
use crate::failure::{Done, Failure};
use crate::files;
use crate::output::{bytes, note, short};
use crate::recipe::Recipe;
use lichen::{SPECIALS, Tokenizer};
use serde_json::{Value, json};

pub(crate) fn new(args: &NewArgs) -> Done {
    let recipe = match (&args.config, &args.size) {
        (Some(path), _) => Recipe::read(path)?,
        (None, Some(size)) => Recipe::sized(size),
        (None, None) => return Err(Failure::Usage("new needs --size or --config".into())),
    };
    let config = recipe.untrained()?;
    files::check_writable(&args.out)?;
    files::may_overwrite(&args.out, args.yes)?;
    let tokenizer = tokenizer(config.vocab)?;
    let header = files::write(&args.out, |out| {
        lichen::write_random(&config, tokenizer, args.seed, args.parts.storage(args.storage), out)
            .map_err(Failure::with(format!("cannot write {}", args.out.display())))
    })?;
    let (total, active) = (short(config.total_params()), short(config.active_params()));
    note(&format!("{}: {total} weights, {active} active, {}", args.out.display(), bytes(header.file_len())));
    Ok(())
}

/// A tokenizer for random weights: bytes where they are the whole vocabulary, else a placeholder.
pub(crate) fn tokenizer(vocab: usize) -> Done<Tokenizer> {
    match Tokenizer::bytes() {
        bytes if bytes.vocab() == vocab => Ok(bytes),
        _ => placeholder(vocab),
    }
}

/// A vocabulary of any size that was learned from nothing: bytes, then pairs of them. It reads and writes all
/// text, so that a model of random weights does everything that a trained one does.
fn placeholder(vocab: usize) -> Done<Tokenizer> {
    let bytes = Tokenizer::train(std::iter::empty(), SPECIALS.len() + 256, &[])?;
    let bad = |what: &str| Failure::Failed(format!("there is no placeholder vocabulary of {vocab} tokens: {what}"));
    let mut json: Value = serde_json::from_str(&bytes.to_json()).map_err(|e| bad(&e.to_string()))?;
    let ids = json["model"]["vocab"].as_object().ok_or_else(|| bad("no vocabulary to extend"))?;
    let mut letters: Vec<(u64, String)> = ids.iter().filter_map(|(t, id)| Some((id.as_u64()?, t.clone()))).collect();
    letters.retain(|(_, token)| token.chars().count() == 1);
    letters.sort();
    let more = vocab.checked_sub(bytes.vocab()).ok_or_else(|| bad("it must hold all bytes"))?;
    let pairs = letters.iter().flat_map(|(_, a)| letters.iter().map(move |(_, b)| (a, b)));
    let pairs: Vec<_> = pairs.take(more).collect();
    if pairs.len() < more {
        return Err(bad("there are not as many pairs of bytes"));
    }
    for (i, (a, b)) in pairs.iter().enumerate() {
        json["model"]["vocab"][format!("{a}{b}")] = (bytes.vocab() + i).into();
    }
    json["model"]["merges"] = pairs.iter().map(|(a, b)| json!([a, b])).collect();
    Ok(Tokenizer::from_json(&json.to_string())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_read_and_write_all_text() {
        for vocab in [265, 266, 2048] {
            let tokenizer = placeholder(vocab).expect("is made");
            assert_eq!(tokenizer.vocab(), vocab);
            let text = "Größe: 42 km, \u{1F98A}!\n";
            let ids = tokenizer.encode(text);
            assert_eq!(tokenizer.decode(&ids), text.as_bytes());
        }
        assert!(placeholder(100).is_err() && placeholder(1 << 20).is_err());
    }
}
