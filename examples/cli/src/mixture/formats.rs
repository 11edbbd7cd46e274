//! The formats of the data sets that a recipe may name, as documents.

use crate::failure::{Done, Failure};
use crate::readers;
use lichen::Action;
use lichen::data::{Document, Speaker, Turn};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The intent of what no label fits.
const OUT_OF_SCOPE: &str = "oos";

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

/// Reads files as documents.
pub(crate) fn documents(kind: Kind, paths: &[PathBuf]) -> Done<Vec<Document>> {
    if matches!(kind, Kind::Text | Kind::Turns) {
        return readers::documents(paths);
    }
    let mut all = Vec::new();
    for path in paths {
        match kind {
            Kind::Text | Kind::Turns => {}
            Kind::Intents => {
                let set = set_name(path);
                let lines = readers::lines::<Labelled>(path)?;
                all.extend(lines.iter().map(|line| Document::Turns(vec![line.asked(&set), line.answer()])));
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
    Ok(all)
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
