//! Wordings with gaps: `(set|start) a timer for {duration}`.
//!
//! Round brackets hold alternatives, one of which may be empty; curly brackets name what fills a gap. The whole line is held out or not,
//! with all its alternatives.

use crate::error::{Error, Result};
use crate::random::Random;
use crate::split::{Split, TRAINING_ONLY};

/// Stands before what was filled in, so that later steps leave it as it is.
pub(crate) const OPEN: char = '\u{1}';
/// Stands after what was filled in.
pub(crate) const CLOSE: char = '\u{2}';

/// What a wording is, grammatically: it decides which openers fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// "turn on the light": takes "could you", "please", ..
    Imperative,
    /// "what is the weather": takes "hey", "quick question", ..
    Question,
    /// "i need a timer", "lights on": takes "hey", "ok", ..
    Fragment,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Gap(String),
    Choice(Vec<Vec<Part>>),
}

/// A wording.
#[derive(Debug, Clone)]
pub struct Template {
    /// The line it was read from, with a prefix that names its list.
    pub id: String,
    /// The set that may use it.
    pub split: Split,
    /// Whether it may never be held out.
    pub training_only: bool,
    /// What it is grammatically.
    pub form: Form,
    parts: Vec<Part>,
}

impl Template {
    /// Reads a wording. A leading `+ ` keeps it for training, then `? ` or `. ` says that it is a question or a fragment.
    pub fn read(list: &str, line: &str, split: Split) -> Result<Self> {
        let bare = line.strip_prefix(TRAINING_ONLY);
        let training_only = bare.is_some();
        let id = format!("{list}:{line}");
        let line = bare.unwrap_or(line).trim_start();
        let (form, text) = match (line.strip_prefix("? "), line.strip_prefix(". ")) {
            (Some(rest), _) => (Form::Question, rest),
            (_, Some(rest)) => (Form::Fragment, rest),
            // "i need my shoe size" needs no sign to be told from an order.
            _ if line.starts_with("i ") || line.starts_with("we ") => (Form::Fragment, line),
            _ => (Form::Imperative, line),
        };
        let mut rest = text.trim();
        let parts = read_parts(&mut rest, 0).map_err(|e| Error::new(format!("wording {line:?}: {e}")))?;
        if !rest.is_empty() {
            return Err(Error::new(format!("wording {line:?}: a bracket closes that was never opened")));
        }
        Ok(Template { id, split, training_only, form, parts })
    }
    /// A wording with its gaps filled. What was filled in stands between two marks.
    pub fn fill(
        &self,
        random: &mut Random,
        value: &mut dyn FnMut(&mut Random, &str) -> Result<String>,
    ) -> Result<String> {
        let mut out = String::new();
        fill_parts(&self.parts, random, value, &mut out)?;
        Ok(out)
    }
    /// All texts that the alternatives make, gaps unfilled.
    pub fn expansions(&self) -> Vec<String> {
        expand(&self.parts).iter().map(|t| t.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
    /// The same with every gap left without its name: wordings that read alike whatever fills them are one.
    pub fn shapes(&self) -> Vec<String> {
        let shape = |text: &String| {
            let parts = text.split('{').map(|p| p.split_once('}').map_or(p, |(_, rest)| rest));
            parts.collect::<Vec<_>>().join("{}")
        };
        self.expansions().iter().map(shape).collect()
    }
    /// The gap that it ends with, if it does.
    pub fn last_gap(&self) -> Option<&str> {
        match self.parts.last() {
            Some(Part::Gap(name)) => Some(name),
            _ => None,
        }
    }
    /// The names of the gaps.
    pub fn gaps(&self) -> Vec<&str> {
        fn walk<'a>(parts: &'a [Part], out: &mut Vec<&'a str>) {
            for part in parts {
                match part {
                    Part::Text(_) => {}
                    Part::Gap(name) => out.push(name),
                    Part::Choice(all) => all.iter().for_each(|one| walk(one, out)),
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.parts, &mut out);
        out
    }
}

fn read_parts(rest: &mut &str, depth: usize) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    while let Some(first) = rest.chars().next() {
        match first {
            '{' => {
                let end = rest.find('}').ok_or_else(|| Error::new("a { without its }"))?;
                parts.push(Part::Gap(rest[1..end].to_string()));
                *rest = &rest[end + 1..];
            }
            '(' => {
                let mut all = Vec::new();
                loop {
                    *rest = &rest[1..];
                    all.push(read_parts(rest, depth + 1)?);
                    match rest.chars().next() {
                        Some('|') => {}
                        Some(')') => break,
                        _ => return Err(Error::new("a ( without its )")),
                    }
                }
                *rest = &rest[1..];
                parts.push(Part::Choice(all));
            }
            ')' | '|' if depth > 0 => break,
            ')' => break,
            _ => {
                let stops = |c: char| matches!(c, '{' | '(' | ')') || (c == '|' && depth > 0);
                // The first character is no stop unless it is a stray bar outside brackets, which is text.
                let end = rest.char_indices().skip(1).find(|(_, c)| stops(*c)).map_or(rest.len(), |(i, _)| i);
                parts.push(Part::Text(rest[..end].to_string()));
                *rest = &rest[end..];
            }
        }
    }
    Ok(parts)
}

fn fill_parts(
    parts: &[Part],
    random: &mut Random,
    value: &mut dyn FnMut(&mut Random, &str) -> Result<String>,
    out: &mut String,
) -> Result<()> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Gap(name) => {
                out.push(OPEN);
                out.push_str(&value(random, name)?);
                out.push(CLOSE);
            }
            Part::Choice(all) => {
                if let Some(one) = random.pick(all) {
                    fill_parts(one, random, value, out)?;
                }
            }
        }
    }
    Ok(())
}

fn expand(parts: &[Part]) -> Vec<String> {
    parts.iter().fold(vec![String::new()], |heads, part| {
        let tails = match part {
            Part::Text(text) => vec![text.clone()],
            Part::Gap(name) => vec![format!("{{{name}}}")],
            Part::Choice(all) => all.iter().flat_map(|one| expand(one)).collect(),
        };
        heads.iter().flat_map(|h| tails.iter().map(move |t| format!("{h}{t}"))).collect()
    })
}
