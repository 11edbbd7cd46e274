//! The formats of the data sets that a recipe may name, as documents.

pub(crate) mod senses;
mod vary;

use crate::failure::{Done, Failure};
use crate::readers;
use lichen::data::{Document, Speaker, Turn};
use lichen::{Action, Random};
use senses::{Files, Sense};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The intent of what no label fits.
pub(crate) const OUT_OF_SCOPE: &str = "oos";

/// The seed of variants: the same recipe makes the same ones.
const VARIANTS: u64 = 11;

/// How a source's files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// `.txt` and `.jsonl` with `text`: windows of a stream.
    Text,
    /// `.jsonl` with `turns`: dialogues.
    Turns,
    /// `.jsonl` with `text`, `intent` and maybe `slots`: a label and what fills its slots.
    Intents,
    /// `.tsv` with English and another language, which the file's name ends by (`en-es.train.tsv`).
    Pairs,
    /// `.jsonl` with `sections` and `qa`: a story's section, questions and answers.
    Stories,
    /// An idx file of images, its labels beside it: digits that are seen.
    Digits,
    /// `.jsonl` with `file` and `name`, the files beside it or in a `.zip` of its name: things that are seen.
    Pictures,
    /// `.jsonl` with `file` and `word`, `label` or `reply` and `actions`, the files beside it or in a `.tar.xz`: what
    /// is heard.
    Clips,
    /// `.jsonl` with `file` and `text`: the words that are heard, as the task `words`.
    Transcripts,
}

/// The words of the digits.
pub(crate) const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// A piece of data, with what stands at its place of something heard or seen.
pub(crate) struct Item {
    pub(crate) document: Document,
    pub(crate) sense: Option<Sense>,
}

/// A line of a list of pictures.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Named {
    pub(crate) file: String,
    pub(crate) name: String,
}

/// A line of a list of sounds.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Clip {
    pub(crate) file: String,
    word: Option<String>,
    label: Option<String>,
    reply: Option<String>,
    text: Option<String>,
    #[serde(default)]
    actions: Vec<serde_json::Value>,
    pub(crate) speaker: Option<String>,
}
impl Clip {
    /// What the model answers.
    pub(crate) fn answer(&self) -> Done<Turn> {
        let words = [&self.reply, &self.word, &self.label].into_iter().flatten().next();
        let words = words.ok_or_else(|| Failure::Failed(format!("{} has no word, label or reply", self.file)))?;
        let actions = readers::actions(&self.actions).map_err(Failure::Failed)?;
        Ok(Turn { actions, ..Turn::new(Speaker::Lichen, words) })
    }
}

/// A turn of something heard and no words.
pub(crate) fn heard() -> Turn {
    Turn { heard: true, ..Turn::default() }
}
/// A turn of something seen and no words.
pub(crate) fn seen() -> Turn {
    Turn { seen: true, ..Turn::default() }
}

/// A line of an intents file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Labelled {
    pub(crate) text: String,
    pub(crate) intent: String,
    #[serde(default)]
    pub(crate) slots: Vec<Slot>,
}
/// One filled slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub(crate) struct Slot {
    pub(crate) slot: String,
    pub(crate) value: String,
}

impl Labelled {
    /// What a person says, with the name of the label set.
    pub(crate) fn asked(&self, set: &str) -> Turn {
        Turn { task: Some(set.into()), ..Turn::new(Speaker::User, self.text.trim()) }
    }
    /// `label; slot: value; slot: value`, or a refusal.
    pub(crate) fn answer(&self) -> Turn {
        if self.intent == OUT_OF_SCOPE {
            return Turn { actions: vec![Action::unknown()], ..Turn::new(Speaker::Lichen, "") };
        }
        let slots: String = self.slots.iter().map(|s| format!("; {}: {}", s.slot, s.value.trim())).collect();
        Turn::new(Speaker::Lichen, format!("{}{slots}", self.intent))
    }
}

/// A sentence to translate.
pub(crate) fn translate(language: &str, text: &str) -> Turn {
    Turn { task: Some(language.into()), ..Turn::new(Speaker::User, text) }
}

/// A line of a stories file.
#[derive(Deserialize)]
struct Story {
    sections: Vec<String>,
    qa: Vec<Question>,
}
#[derive(Deserialize)]
struct Question {
    question: String,
    answer1: String,
    cor_section: String,
}

/// The name of a set: that of its folder.
pub(crate) fn set_name(path: &Path) -> String {
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    folder.and_then(Path::file_name).map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The language of a file of pairs, from its name: `en-es.train.tsv` is Spanish.
pub(crate) fn language(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let pair = name.split('.').next()?;
    pair.split_once('-').map(|(_, to)| to.to_string())
}

/// Reads files, leaving out the clips of some speakers, and adds so many variants of each labelled request.
pub(crate) fn items(kind: Kind, paths: &[PathBuf], without: &[String], variants: usize) -> Done<Vec<Item>> {
    let silent = |document| Item { document, sense: None };
    if matches!(kind, Kind::Text | Kind::Turns) {
        return Ok(readers::documents(paths)?.into_iter().map(silent).collect());
    }
    let (mut all, mut perceived) = (Vec::new(), Vec::new());
    let mut pair = |asked: Turn, answer: Turn, sense: Sense| {
        // One thing is told from all others, also from those of the same name.
        let asked = Turn { about: Some(format!("{kind:?} {}", perceived.len())), ..asked };
        perceived.push(Item { document: Document::Turns(vec![asked, answer]), sense: Some(sense) });
    };
    for path in paths {
        match kind {
            Kind::Text | Kind::Turns => {}
            Kind::Digits => {
                for (picture, label) in senses::digits(path)? {
                    let word = DIGITS.get(usize::from(label)).copied().unwrap_or_default();
                    pair(seen(), Turn::new(Speaker::Lichen, word), Sense::picture(&picture));
                }
            }
            Kind::Pictures => {
                let files = Files::beside(path)?;
                for line in readers::lines::<Named>(path)? {
                    let picture = files.picture(&line.file)?;
                    pair(seen(), Turn::new(Speaker::Lichen, line.name), Sense::picture(&picture));
                }
            }
            Kind::Clips | Kind::Transcripts => {
                let files = Files::beside(path)?;
                let left_out = |clip: &Clip| clip.speaker.as_ref().is_some_and(|s| without.contains(s));
                for clip in readers::lines::<Clip>(path)?.into_iter().filter(|clip| !left_out(clip)) {
                    let sound = Sense::sound(&files.sound(&clip.file)?);
                    match kind {
                        Kind::Transcripts => {
                            let asked = Turn { task: Some("words".into()), ..heard() };
                            pair(asked, Turn::new(Speaker::Lichen, clip.text.unwrap_or_default()), sound);
                        }
                        _ => pair(heard(), clip.answer()?, sound),
                    }
                }
            }
            Kind::Intents => {
                let set = set_name(path);
                let lines = readers::lines::<Labelled>(path)?;
                let document = |line: &Labelled| Document::Turns(vec![line.asked(&set), line.answer()]);
                all.extend(lines.iter().map(document));
                let (values, mut random) = (vary::Values::of(&lines), Random::new(VARIANTS));
                for line in (0..variants).flat_map(|_| &lines) {
                    all.push(document(&values.vary(line, &mut random)));
                }
            }
            Kind::Pairs => {
                let language = language(path).ok_or_else(|| {
                    Failure::Failed(format!("{}: its name does not say the language (en-es.tsv)", path.display()))
                })?;
                for (from, to) in pairs(path)? {
                    all.push(Document::Turns(vec![translate(&language, &from), Turn::new(Speaker::Lichen, to)]));
                }
            }
            Kind::Stories => readers::lines::<Story>(path)?.iter().for_each(|story| all.extend(questions(story))),
        }
    }
    Ok(all.into_iter().map(silent).chain(perceived).collect())
}

/// The lines of a file of pairs.
pub(crate) fn pairs(path: &Path) -> Done<Vec<(String, String)>> {
    let text = readers::text(path)?;
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(lines.map(|(from, to)| (from.trim().to_string(), to.trim().to_string())).collect())
}

/// A section and the questions about it; a question about several sections is left out.
fn questions(story: &Story) -> Vec<Document> {
    let one = |q: &Question| {
        let section = q.cor_section.trim().parse::<usize>().ok()?.checked_sub(1)?;
        let told = story.sections.get(section)?.split_whitespace().collect::<Vec<_>>().join(" ");
        let asked = Turn { task: Some("story".into()), ..Turn::new(Speaker::User, format!("{told} {}", q.question)) };
        Some(Document::Turns(vec![asked, Turn::new(Speaker::Lichen, q.answer1.trim())]))
    };
    story.qa.iter().filter_map(one).collect()
}
