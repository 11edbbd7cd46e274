//! Kinds of personal facts: how they are stated, asked for and used.

use crate::error::{Error, Result};
use crate::forms::AnswerForm;
use crate::split::{Split, hold_out_after};
use crate::template::Template;
use std::collections::{BTreeMap, HashMap};

/// Requests whose answer uses a fact.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The answer where the fact is known. `{v}` is its value.
    pub with: AnswerForm,
    /// The answer where it is not.
    pub without: AnswerForm,
    /// Wordings.
    pub wordings: Vec<Template>,
}

/// A kind of fact.
#[derive(Debug, Clone)]
pub struct Kind {
    /// `wife.name`.
    pub id: String,
    /// The gap that its values fill.
    pub value: String,
    /// What it has to do with: kinds of one area are sisters.
    pub area: Vec<String>,
    /// Areas whose requests it would change too, so that both in one dialogue are ambiguous.
    pub clash: Vec<String>,
    /// Whether it is one of the kinds made up from a noun and a property.
    pub open: bool,
    /// The only split that has it, for kinds that are held out.
    pub only: Option<Split>,
    /// The reply to a statement.
    pub ack: String,
    /// The answer to a question.
    pub answer: String,
    /// The answer where nothing is known.
    pub unknown: String,
    /// Statements.
    pub say: Vec<Template>,
    /// Questions.
    pub ask: Vec<Template>,
    /// Requests that use it.
    pub applied: Vec<Applied>,
}

impl Kind {
    /// Whether two kinds cannot be in one dialogue.
    pub fn clashes(&self, other: &Kind) -> bool {
        let hits = |a: &Kind, b: &Kind| a.clash.iter().any(|c| b.area.contains(c) || *c == b.id);
        hits(self, other) || hits(other, self)
    }
    /// Whether a split may use it.
    pub fn open_to(&self, split: Split) -> bool {
        self.only.is_none_or(|only| only == split)
    }
    /// The requests that a split has wordings for.
    pub fn applied_in(&self, split: Split) -> Vec<&Applied> {
        self.applied.iter().filter(|a| a.wordings.iter().any(|w| w.split == split)).collect()
    }
}

#[derive(Debug, Clone, Default)]
struct Block {
    name: String,
    settings: BTreeMap<String, String>,
    single: BTreeMap<String, String>,
    say: Vec<String>,
    ask: Vec<String>,
    applied: Vec<(String, String, Vec<String>)>,
}

/// The kinds of a file. `open` names the nouns of the blocks that are made for every noun of a list: list, noun, its split.
pub fn read(text: &str, nouns: &dyn Fn(&str) -> Vec<(String, Split)>) -> Result<Vec<Kind>> {
    let blocks = blocks(text)?;
    let mut templates: BTreeMap<(String, &str), Vec<Split>> = BTreeMap::new();
    // "my wife is called Ana" is the wording of "my dog is called Rex": what is held out of one family is held out of all.
    let mut before = HashMap::new();
    let mut assign = |lines: &[String]| {
        let lines: Vec<String> = lines.iter().map(|l| l.replace("{n}", "{k}")).collect();
        hold_out_after(&mut before, &lines, 12)
    };
    for block in &blocks {
        templates.insert((block.name.clone(), "say"), assign(&block.say));
        templates.insert((block.name.clone(), "ask"), assign(&block.ask));
        let uses: Vec<String> = block.applied.iter().flat_map(|(_, _, w)| w.clone()).collect();
        templates.insert((block.name.clone(), "use"), assign(&uses));
    }
    let families: BTreeMap<&str, &Block> = blocks.iter().map(|b| (b.name.as_str(), b)).collect();
    let mut kinds = Vec::new();
    for block in blocks.iter().filter(|b| b.settings.contains_key("value")) {
        match block.settings.get("nouns") {
            None => kinds.push(kind(block, &families, &templates, &block.name, &block.settings)?),
            Some(list) => {
                for (noun, split) in nouns(list) {
                    let mut settings = block.settings.clone();
                    settings.insert("k".to_string(), noun.clone());
                    for (_, text) in settings.iter_mut() {
                        *text = text.replace("{k}", &noun);
                    }
                    let id = block.name.replace("{k}", &noun);
                    let mut made = kind(block, &families, &templates, &id, &settings)?;
                    (made.open, made.only) = (true, Some(split));
                    kinds.push(made);
                }
            }
        }
    }
    Ok(kinds)
}

/// `[name key=value ..]` starts a block; inside, every line starts with what it is.
fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            blocks.push(Block { name: name.to_string(), ..Block::default() });
            continue;
        }
        let wrong = |what: &str| Error::new(format!("facts.txt: {line:?} {what}"));
        let block = blocks.last_mut().ok_or_else(|| wrong("is in no block"))?;
        let (word, rest) = line.split_once(' ').ok_or_else(|| wrong("is one word"))?;
        let rest = rest.trim().to_string();
        match word {
            "say" => block.say.push(rest),
            "ask" => block.ask.push(rest),
            "do" => block.applied.push((rest, String::new(), Vec::new())),
            "else" => block.applied.last_mut().ok_or_else(|| wrong("comes before its do"))?.1 = rest,
            "-" => block.applied.last_mut().ok_or_else(|| wrong("comes before its do"))?.2.push(rest),
            "ack" | "answer" | "unknown" => {
                block.single.insert(word.to_string(), rest);
            }
            "set" => {
                let (key, value) = rest.split_once('=').ok_or_else(|| wrong("has no ="))?;
                block.settings.insert(key.trim().to_string(), value.trim().to_string());
            }
            _ => return Err(wrong("starts with no word that is known here")),
        }
    }
    Ok(blocks)
}

fn kind(
    block: &Block,
    families: &BTreeMap<&str, &Block>,
    splits: &BTreeMap<(String, &str), Vec<Split>>,
    id: &str,
    settings: &BTreeMap<String, String>,
) -> Result<Kind> {
    let put = |text: &str| settings.iter().fold(text.to_string(), |t, (k, v)| t.replace(&format!("{{{k}}}"), v));
    let list =
        |key: &str| settings.get(key).map(|v| v.split_whitespace().map(str::to_string).collect()).unwrap_or_default();
    let mut sources = vec![block];
    for name in list("use") as Vec<String> {
        let family = families.get(name.as_str());
        sources.push(family.ok_or_else(|| Error::new(format!("facts.txt: {id} uses {name}, which there is not")))?);
    }
    let single = |key: &str| -> Result<String> {
        let found = sources.iter().find_map(|s| s.single.get(key)).map(|t| put(t));
        found.ok_or_else(|| Error::new(format!("facts.txt: {id} has no {key}")))
    };
    let only = match settings.get("held").map(String::as_str) {
        Some("validation") => Some(Split::Validation),
        Some("test") => Some(Split::Test),
        _ => None,
    };
    let mut kind = Kind {
        id: id.to_string(),
        value: settings.get("value").cloned().unwrap_or_default(),
        area: list("area"),
        clash: list("clash"),
        open: false,
        only,
        ack: single("ack")?,
        answer: single("answer")?,
        unknown: single("unknown")?,
        say: Vec::new(),
        ask: Vec::new(),
        applied: Vec::new(),
    };
    for source in sources {
        let of = |what: &'static str| splits.get(&(source.name.clone(), what)).cloned().unwrap_or_default();
        let read = |what: &str, lines: &[String], splits: &[Split]| -> Result<Vec<Template>> {
            let name = format!("{} {what}", source.name);
            let template = |(line, split): (&String, &Split)| {
                let mut template = Template::read(&name, &put(line), *split)?;
                // The line as it stands in the file names the template, whatever kind uses it.
                template.id = format!("{name}:{line}");
                Ok(template)
            };
            lines.iter().zip(splits).map(template).collect()
        };
        kind.say.extend(read("say", &source.say, &of("say"))?);
        kind.ask.extend(read("ask", &source.ask, &of("ask"))?);
        let uses = of("use");
        let mut place = 0;
        for (with, without, wordings) in &source.applied {
            let end = (place + wordings.len()).min(uses.len());
            kind.applied.push(Applied {
                with: AnswerForm::read(&put(with))?,
                without: AnswerForm::read(&put(without))?,
                wordings: read("use", wordings, &uses[place.min(end)..end])?,
            });
            place = end;
        }
    }
    Ok(kind)
}
