//! Recipes: a JSON file that says what to train.
//!
//! ```json
//! {
//!   "like": "other.json" (a recipe beside this one: all is as there but for what this one says),
//!   "about": "what the model is, for those who chat with it",
//!   "model": "nano", or {"like": "nano", "layers": 4}, or all sizes; "vocab" is the tokenizer's,
//!   "tokenizer": "bytes", or {"bpe": 2048} (learned from the training text),
//!   "storage": "f16" or "f32",
//!   "openings": 0.3 (share of paragraphs that are also told as an answer to their first words),
//!   "actions": "actions.json" (the catalogue of actions, beside the recipe),
//!   "sources": [{"name": "intents", "kind": "intents", "paths": ["snips2017/train.jsonl"], "weight": 5}, ..]
//!     (data sets below --data, as a mixture; without them all of --data is one stream of text),
//!   "train": {"batch": 16, "context": 256, "steps": 1000, "lr": 0.003}
//! }
//! ```

use crate::args::StorageArg;
use crate::failure::{Done, Failure};
use crate::mixture::SourceSpec;
use lichen::train::TrainOptions;
use lichen::{Catalogue, Config, SPECIALS, Tokenizer};
use serde::Deserialize;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Recipes that may be like one another in a row.
const DEPTH: usize = 8;

/// What to train.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// What the model is, for those who chat with it.
    #[serde(default)]
    pub(crate) about: String,
    model: Value,
    #[serde(default)]
    tokenizer: Alphabet,
    /// How the finished model is stored.
    #[serde(default = "half")]
    pub(crate) storage: StorageArg,
    /// Share of the paragraphs of plain texts that are also told as an answer to their first words.
    #[serde(default)]
    pub(crate) openings: f64,
    /// The catalogue of actions that it learns to write; a path from the recipe's folder.
    #[serde(default)]
    actions: Option<PathBuf>,
    /// Data sets that are mixed; without them all data are one stream of text.
    #[serde(default)]
    pub(crate) sources: Vec<SourceSpec>,
    /// The catalogue that `actions` names.
    #[serde(skip)]
    pub(crate) catalogue: Option<Catalogue>,
    /// How to train it.
    #[serde(default)]
    pub(crate) train: TrainOptions,
}

/// Which tokenizer.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Alphabet {
    #[default]
    Bytes,
    Bpe(usize),
}

fn half() -> StorageArg {
    StorageArg::F16
}

impl Recipe {
    /// Reads and checks a recipe, all but what needs the data.
    pub(crate) fn read(path: &Path) -> Done<Self> {
        let bad = |e: String| Failure::Failed(format!("recipe {}: {e}", path.display()));
        let mut recipe: Self = serde_json::from_value(whole(path, 0)?).map_err(|e| bad(e.to_string()))?;
        if let Some(file) = &recipe.actions {
            let file = path.parent().unwrap_or(Path::new("")).join(file);
            let json = fs::read_to_string(&file).map_err(|e| Failure::file("read", &file, &e))?;
            recipe.catalogue = Some(Catalogue::from_json(&json).map_err(Failure::with(file.display()))?);
        }
        if let Some(source) = recipe.sources.iter().find(|s| !s.is_valid()) {
            return Err(bad(format!("source {}: its weights must be positive, its paths some", source.name)));
        }
        recipe.train.validate().map_err(|e| bad(e.to_string()))?;
        if !(0.0..=1.0).contains(&recipe.openings) {
            return Err(bad(format!("openings is {}, it must be from 0 to 1", recipe.openings)));
        }
        let vocab = match recipe.tokenizer {
            Alphabet::Bytes => Tokenizer::bytes().vocab(),
            Alphabet::Bpe(n) => n,
        };
        let literals = recipe.catalogue.as_ref().map_or(0, |c| c.literals().len());
        let least = match recipe.tokenizer {
            Alphabet::Bytes => vocab,
            Alphabet::Bpe(_) => SPECIALS.len() + literals + 256,
        };
        if vocab < least {
            return Err(bad(format!(
                "tokenizer: bpe is {vocab}, it must be at least {least}: bytes and special tokens"
            )));
        }
        recipe.config(vocab).map_err(|e| bad(e.to_string()))?;
        Ok(recipe)
    }
    /// A size of the family, without training.
    pub(crate) fn sized(name: &str) -> Self {
        let train = TrainOptions::default();
        Self {
            about: String::new(),
            model: name.into(),
            tokenizer: Alphabet::Bytes,
            storage: half(),
            openings: 0.0,
            actions: None,
            sources: Vec::new(),
            catalogue: None,
            train,
        }
    }

    /// The tokenizer, learned from the texts where the recipe says so.
    pub(crate) fn tokenizer(&self, texts: Vec<String>) -> Done<Tokenizer> {
        let Alphabet::Bpe(vocab) = self.tokenizer else { return Ok(Tokenizer::bytes()) };
        let literals = self.catalogue.as_ref().map_or_else(Vec::new, Catalogue::literals);
        Ok(Tokenizer::train(texts.into_iter(), vocab, &literals)?)
    }

    /// The model's sizes, with the tokenizer's vocabulary unless the recipe names one.
    pub(crate) fn config(&self, vocab: usize) -> Done<Config> {
        let named = |name: &str| {
            let unknown =
                || Failure::Failed(format!("model: there is no size \"{name}\"; nano, small, bench160, 3b, 10b"));
            Config::named(name).ok_or_else(unknown)
        };
        let config: Config = match &self.model {
            Value::String(name) => Config { vocab, ..named(name)? },
            Value::Object(sizes) => {
                let mut sizes = sizes.clone();
                let mut all = match sizes.remove("like") {
                    Some(Value::String(name)) => to_object(serde_json::to_value(named(&name)?))?,
                    Some(_) => return Err(Failure::Failed("model: \"like\" must be the name of a size".into())),
                    None => serde_json::Map::new(),
                };
                all.insert("vocab".into(), vocab.into());
                all.extend(sizes);
                serde_json::from_value(Value::Object(all)).map_err(|e| Failure::Failed(format!("model: {e}")))?
            }
            _ => return Err(Failure::Failed("model: must be the name of a size or an object".into())),
        };
        if config.vocab != vocab {
            let got = config.vocab;
            return Err(Failure::Failed(format!(
                "model: vocab is {got}, the tokenizer has {vocab} tokens; leave vocab out"
            )));
        }
        config.validate()?;
        Ok(config)
    }
    /// The sizes for random weights: a named size as the family has it, with its own vocabulary.
    pub(crate) fn untrained(&self) -> Done<Config> {
        let vocab = match (&self.model, self.tokenizer) {
            (Value::String(name), Alphabet::Bytes) => Config::named(name).map_or(0, |c| c.vocab),
            (_, Alphabet::Bytes) => Tokenizer::bytes().vocab(),
            (_, Alphabet::Bpe(n)) => n,
        };
        self.config(vocab)
    }
}

/// A recipe with what it leaves to the one that it is like.
fn whole(path: &Path, depth: usize) -> Done<Value> {
    let text = fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e))?;
    let bad = |e: &str| Failure::Failed(format!("recipe {}: {e}", path.display()));
    let mut own: Value = serde_json::from_str(&text).map_err(|e| bad(&e.to_string()))?;
    match own.as_object_mut().and_then(|own| own.remove("like")) {
        None => Ok(own),
        Some(_) if depth == DEPTH => Err(bad("it is like a recipe that is like another, and so on without an end")),
        Some(Value::String(other)) => {
            let mut all = whole(&path.parent().unwrap_or(Path::new("")).join(other), depth + 1)?;
            lay_over(&mut all, own);
            Ok(all)
        }
        Some(_) => Err(bad("\"like\" must be the name of a recipe's file")),
    }
}

/// Replaces what `own` names, in objects within objects too.
fn lay_over(all: &mut Value, own: Value) {
    match (all, own) {
        (Value::Object(all), Value::Object(own)) => {
            own.into_iter().for_each(|(key, value)| lay_over(all.entry(key).or_insert(Value::Null), value));
        }
        (all, own) => *all = own,
    }
}

fn to_object(value: serde_json::Result<Value>) -> Done<serde_json::Map<String, Value>> {
    match value {
        Ok(Value::Object(map)) => Ok(map),
        other => Err(Failure::Failed(format!("model: sizes are {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Result<Recipe, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn sizes_come_by_name_by_likeness_or_whole() {
        let nano = recipe(r#"{"model": "nano"}"#).expect("reads").config(260).expect("is valid");
        assert_eq!(nano, Config { vocab: 260, ..Config::nano() });
        let like = recipe(r#"{"model": {"like": "nano", "layers": 2}, "tokenizer": {"bpe": 512}}"#).expect("reads");
        assert_eq!(like.config(512).expect("is valid"), Config { vocab: 512, layers: 2, ..Config::nano() });
        for bad in [
            r#"{"model": "tiny"}"#,
            r#"{"model": {"layers": 2}}"#,
            r#"{"model": {"like": "nano", "vocab": 100}}"#,
            r#"{"model": {"like": "nano", "leyers": 1}}"#,
        ] {
            assert!(recipe(bad).expect("reads").config(260).is_err(), "{bad}");
        }
        assert!(recipe(r#"{"model": "nano", "tokeniser": "bytes"}"#).is_err());
        assert!(recipe(r#"{"model": "nano", "train": {"batchsize": 1}}"#).is_err());
    }

    #[test]
    fn a_recipe_may_be_like_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writes");
        let read = |name: &str| Recipe::read(&folder.path().join(name));
        write("a.json", r#"{"model": {"like": "nano", "layers": 4}, "train": {"steps": 7, "lr": 0.5}}"#);
        write("b.json", r#"{"like": "a.json", "about": "b", "model": {"layers": 3}, "train": {"steps": 9}}"#);
        let b = read("b.json").expect("reads");
        assert_eq!((b.about.as_str(), b.train.steps, b.train.lr), ("b", 9, 0.5));
        assert_eq!(b.config(260).expect("is valid"), Config { vocab: 260, layers: 3, ..Config::nano() });
        write("c.json", r#"{"like": "c.json"}"#);
        write("d.json", r#"{"like": 4}"#);
        write("e.json", r#"{"like": "nothing.json"}"#);
        for bad in ["c.json", "d.json", "e.json"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_recipes_of_this_repository_are_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
        let mut found = 0;
        for entry in fs::read_dir(folder).expect("the recipes are there") {
            let path = entry.expect("reads").path();
            if path.extension().is_some_and(|extension| extension == "json") {
                Recipe::read(&path).expect("is valid");
                found += 1;
            }
        }
        assert!(found >= 2);
    }
}
