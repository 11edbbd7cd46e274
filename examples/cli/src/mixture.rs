//! Several data sets as one stream of sequences: what a recipe's `sources` say.

use crate::failure::{Done, Failure};
use crate::sets::senses::Sense;
use crate::sets::{Item, Kind, items};
use lichen::data::{Document, Emphasis, Encoder, Example};
use lichen::{Catalogue, Random, Tokenizer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Most bytes of a source that the vocabulary is learned from, so that a large one does not fill it alone.
const SAMPLE: usize = 3 << 20;

/// One source of a recipe.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceSpec {
    /// What reports call it.
    pub(crate) name: String,
    kind: Kind,
    /// Files and folders, below one of the folders of `--data`.
    paths: Vec<PathBuf>,
    /// Held-out files, measured at saves.
    #[serde(default)]
    validation: Vec<PathBuf>,
    /// Share of all tokens, beside those of the other sources.
    weight: f64,
    /// Weight of an answer's tokens.
    #[serde(default = "one")]
    answer: f32,
    /// Weight of the tokens of a person's turn.
    #[serde(default = "tenth")]
    said: f32,
    /// Speakers whose clips are left out of training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    without: Vec<String>,
    /// Variants of each labelled request, besides itself.
    #[serde(default, skip_serializing_if = "none")]
    variants: usize,
    /// Share of the draws of what is seen or heard in which it comes twice in one conversation, changed otherwise each
    /// time: with contrast, both turns are about the same.
    #[serde(default, skip_serializing_if = "never")]
    again: f64,
}
fn never(share: &f64) -> bool {
    *share == 0.0
}
fn none(count: &usize) -> bool {
    *count == 0
}
fn one() -> f32 {
    1.0
}
fn tenth() -> f32 {
    0.1
}

impl SourceSpec {
    /// Whether its numbers make sense.
    pub(crate) fn is_valid(&self) -> bool {
        let weights = [self.weight, self.answer.into(), self.said.into()];
        !self.paths.is_empty()
            && self.weight > 0.0
            && self.variants <= 100
            && (0.0..=1.0).contains(&self.again)
            && weights.iter().all(|w| w.is_finite() && *w >= 0.0)
    }
}

/// A source that was read, not yet encoded.
pub(crate) struct Raw {
    spec: SourceSpec,
    items: Vec<Item>,
    validation: Vec<Item>,
}

/// A source that sequences are drawn from.
struct Source {
    name: String,
    /// Chance of a draw.
    chance: f64,
    emphasis: Emphasis,
    again: f64,
    items: Items,
    /// Held-out sequences that only ask for the answers.
    held_out: Vec<(Example, Option<Sense>)>,
}

enum Items {
    /// A stream that windows are cut from.
    Stream {
        tag: u32,
        tokens: Vec<u32>,
    },
    Sequences(Vec<(Example, Option<Sense>)>),
}

/// How often the tokens of a person's turn are learned; then they weigh as much more. The head, a third of a token's
/// work, is spared for the others.
const HEARD_OUT: f64 = 0.25;

/// All sources of a recipe.
pub(crate) struct Mixture {
    sources: Vec<Source>,
    context: usize,
    fingerprint: String,
}

/// Finds a recipe's path below one of the folders that were given.
fn find(roots: &[PathBuf], path: &Path) -> Done<PathBuf> {
    let found = roots.iter().map(|root| root.join(path)).find(|path| path.exists());
    found.ok_or_else(|| {
        let names: Vec<_> = roots.iter().map(|r| r.display().to_string()).collect();
        Failure::Failed(format!("the recipe needs {}, which is in none of {}", path.display(), names.join(", ")))
    })
}

/// Reads all sources.
pub(crate) fn read(specs: &[SourceSpec], roots: &[PathBuf]) -> Done<Vec<Raw>> {
    let read = |spec: &SourceSpec| {
        let files = |paths: &[PathBuf], without: &[String], variants| -> Done<Vec<Item>> {
            let found: Done<Vec<_>> = paths.iter().map(|path| find(roots, path)).collect();
            match found? {
                found if found.is_empty() => Ok(Vec::new()),
                found => items(spec.kind, &found, without, variants),
            }
        };
        let (items, validation) = (files(&spec.paths, &spec.without, spec.variants)?, files(&spec.validation, &[], 0)?);
        match items.is_empty() {
            true => Err(Failure::Failed(format!("source {}: there is nothing in its files", spec.name))),
            false => Ok(Raw { spec: spec.clone(), items, validation }),
        }
    };
    specs.iter().map(read).collect()
}

/// The texts of a document.
pub(crate) fn parts(document: &Document) -> Vec<&str> {
    match document {
        Document::Text(text) => vec![text],
        Document::Turns(turns) => turns.iter().map(|turn| turn.text.as_str()).collect(),
    }
}

/// Texts for a vocabulary: of each source its start.
pub(crate) fn texts(raw: &[Raw]) -> Vec<String> {
    let mut all = Vec::new();
    for raw in raw {
        let mut bytes = 0;
        // Spread over the whole source: its files may differ.
        let step = 1 + raw.items.len() / 50_000;
        for item in raw.items.iter().step_by(step) {
            for text in parts(&item.document) {
                if bytes >= SAMPLE {
                    break;
                }
                let mut end = text.len().min(SAMPLE / 8);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                bytes += end;
                all.push(text[..end].to_string());
            }
        }
    }
    all
}

impl Mixture {
    /// Encodes sources.
    pub(crate) fn new(raw: Vec<Raw>, tokenizer: &Tokenizer, actions: Option<&Catalogue>, context: usize) -> Done<Self> {
        let encoder = Encoder::new(tokenizer, actions);
        let mut sources = Vec::new();
        let mut hash = Sha256::new();
        for Raw { spec, items: all, validation } in raw {
            let at_fault = |e| Failure::Failed(format!("source {}: {e}", spec.name));
            let encode = |items: Vec<Item>, emphasis| -> Done<Vec<(Example, Option<Sense>)>> {
                let mut examples = Vec::with_capacity(items.len());
                for Item { document, sense } in items {
                    let mut example = encoder.encode(&document, emphasis).map_err(at_fault)?;
                    example.truncate(context - sense.as_ref().map_or(0, |s| s.vectors().min(context / 2)));
                    // What asks for nothing after its cut teaches nothing.
                    if example.weights.iter().skip(1).any(|&w| w > 0.0) {
                        examples.push((example, sense));
                    }
                }
                Ok(examples)
            };
            let (emphasis, again) = (Emphasis { answer: spec.answer, said: spec.said }, spec.again);
            let count = all.len();
            let (items, rows) = match spec.kind {
                Kind::Text => {
                    let stream = |item: &Item| Ok(encoder.encode(&item.document, emphasis).map_err(at_fault)?.ids);
                    let tokens = all.iter().map(stream).collect::<Done<Vec<_>>>()?.concat();
                    if tokens.len() <= context {
                        return Err(Failure::Failed(format!("source {}: it has less than a sequence", spec.name)));
                    }
                    hash.update(bytemuck::cast_slice::<u32, u8>(&tokens));
                    (Items::Stream { tag: tokens[0], tokens }, context as f64)
                }
                _ => {
                    let examples = encode(all, emphasis)?;
                    let mut rows = 0;
                    for (example, sense) in &examples {
                        hash.update(bytemuck::cast_slice::<u32, u8>(&example.ids));
                        hash.update(sense.as_ref().map_or(&[][..], Sense::bytes));
                        rows += example.rows() + sense.as_ref().map_or(0, Sense::vectors);
                    }
                    let mean = rows as f64 / examples.len().max(1) as f64;
                    (Items::Sequences(examples), mean.max(1.0))
                }
            };
            let held_out = encode(validation, Emphasis { answer: 1.0, said: 0.0 })?;
            log::info!("{}: {rows:.1} tokens a sequence, {count} documents", spec.name);
            sources.push(Source { name: spec.name, chance: spec.weight / rows, emphasis, again, items, held_out });
        }
        let all: f64 = sources.iter().map(|s| s.chance).sum();
        sources.iter_mut().for_each(|s| s.chance /= all);
        let fingerprint = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { sources, context, fingerprint })
    }

    /// SHA-256 of all tokens, hex.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
    /// Tokens of all sources.
    pub(crate) fn tokens(&self) -> usize {
        let of = |s: &Source| match &s.items {
            Items::Stream { tokens, .. } => tokens.len(),
            Items::Sequences(all) => all.iter().map(|(e, _)| e.ids.len()).sum(),
        };
        self.sources.iter().map(of).sum()
    }

    /// One sequence.
    pub(crate) fn draw(&self, random: &mut Random) -> Example {
        let mut at = random.uniform();
        let last = self.sources.len() - 1;
        let chosen = self.sources.iter().position(|s| {
            at -= s.chance;
            at < 0.0
        });
        let source = &self.sources[chosen.unwrap_or(last)];
        match &source.items {
            Items::Sequences(all) => {
                let (mut example, sense) = all[random.below(all.len())].clone();
                let Emphasis { answer, said } = source.emphasis;
                if said < answer {
                    let factor = if random.uniform() < HEARD_OUT { (1.0 / HEARD_OUT) as f32 } else { 0.0 };
                    example.weights.iter_mut().filter(|w| **w == said).for_each(|w| *w *= factor);
                }
                if let Some(sense) = sense {
                    let twice = 2 * (example.rows() + 1 + sense.vectors()) <= self.context;
                    let again = (twice && random.uniform() < source.again).then(|| example.clone());
                    sense.fill(&mut example, Some(random));
                    if let Some(mut again) = again {
                        sense.fill(&mut again, Some(random));
                        example.append(again);
                    }
                    example.truncate(self.context);
                }
                example
            }
            Items::Stream { tag, tokens } => {
                let from = random.below(tokens.len() - self.context);
                let ids = [&[*tag], &tokens[from..from + self.context]].concat();
                Example { weights: vec![1.0; ids.len()], ids, ..Example::default() }
            }
        }
    }

    /// At most `n` held-out sequences of each source that has such, always the same.
    pub(crate) fn held_out(&self, n: usize) -> impl Iterator<Item = (&str, Vec<Example>)> {
        self.sources.iter().filter(|s| !s.held_out.is_empty()).map(move |s| {
            let step = (s.held_out.len() / n).max(1);
            let whole = |(example, sense): &(Example, Option<Sense>)| {
                let mut example = example.clone();
                if let Some(sense) = sense {
                    sense.fill(&mut example, None);
                }
                example
            };
            (s.name.as_str(), s.held_out.iter().step_by(step).take(n).map(whole).collect())
        })
    }
}
