//! What a model asks itself when it learns: questions and requests for every kind of fact that it knows to be told,
//! questions about things it has never heard of, and others that no fact should touch; and what turns look like in which
//! something else was seen or heard.

use crate::error::Error;
use serde::{Deserialize, Serialize};

/// Where a pattern names what a statement is about.
const PLACE: &str = "{}";
/// Most words that a thing is called by.
const WORDS: usize = 3;

/// Prompts that a model asks itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bank {
    prompts: Vec<String>,
    patterns: Vec<String>,
    shown: Vec<Vec<f32>>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Prompt { prompt: String },
    Turn { turn: Vec<f32> },
}

impl Bank {
    /// From JSON lines with a `prompt` each. Those that hold `{}` are patterns: they are asked with what a statement
    /// calls its own (`my NAME`) in that place. Lines with a `turn` hold the vector of one in which something was shown.
    ///
    /// # Errors
    /// [`Error::Memory`]: a line cannot be read, or there is no prompt at all.
    pub fn from_jsonl(text: &str) -> Result<Self, Error> {
        let mut bank = Self::default();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let line: Line = serde_json::from_str(line).map_err(|e| {
                let at = i + 1;
                Error::Memory(format!("line {at} of the prompts for learning has neither a prompt nor a turn: {e}"))
            })?;
            match line {
                Line::Prompt { prompt } if prompt.contains(PLACE) => bank.patterns.push(prompt),
                Line::Prompt { prompt } => bank.prompts.push(prompt),
                Line::Turn { turn } => bank.shown.push(turn),
            }
        }
        match bank.prompts.is_empty() {
            true => Err(Error::Memory("there are no prompts for learning".into())),
            false => Ok(bank),
        }
    }
    /// As JSON lines.
    pub fn to_jsonl(&self) -> String {
        let prompts = self.prompts.iter().chain(&self.patterns).map(|prompt| Line::Prompt { prompt: prompt.clone() });
        let turns = self.shown.iter().map(|turn| Line::Turn { turn: turn.clone() });
        prompts.chain(turns).map(|line| serde_json::to_string(&line).unwrap_or_default() + "\n").collect()
    }
    /// The same with the vectors of turns in which something was shown, to four digits behind the point.
    pub fn with_shown(self, turns: impl IntoIterator<Item = Vec<f32>>) -> Self {
        let rounded = |turn: Vec<f32>| turn.into_iter().map(|x| (x * 1e4).round() / 1e4).collect();
        Self { shown: turns.into_iter().map(rounded).collect(), ..self }
    }
    /// Vectors of turns in which something was shown, less the background.
    pub fn shown(&self) -> &[Vec<f32>] {
        &self.shown
    }
    /// Prompts that are asked in every lesson.
    pub fn prompts(&self) -> &[String] {
        &self.prompts
    }
    /// The patterns, filled with what a statement calls its own.
    pub(super) fn about(&self, statement: &str) -> Vec<String> {
        let things = things(statement);
        self.patterns.iter().flat_map(|p| things.iter().map(move |thing| p.replace(PLACE, thing))).collect()
    }
}

/// What a statement calls its own: up to three words after each `my` or `our`, or else after an article.
fn things(statement: &str) -> Vec<String> {
    let words: Vec<&str> = statement.split_whitespace().collect();
    let own = |word: &str| matches!(word, "my" | "our");
    let named = |word: &str| matches!(word, "the" | "a" | "an" | "one");
    let owns = words.iter().any(|word| own(&plain(word)));
    let mut all: Vec<String> = Vec::new();
    let starts =
        words.iter().enumerate().filter(|(_, word)| if owns { own(&plain(word)) } else { named(&plain(word)) });
    for (at, _) in starts {
        for n in 1..=WORDS {
            let Some(thing) = words.get(at + 1..at + 1 + n) else { break };
            let name = thing.join(" ");
            let name = name.trim_end_matches(|c: char| c.is_ascii_punctuation()).to_string();
            if !name.is_empty() && !all.contains(&name) {
                all.push(name);
            }
            // A name ends where its clause does.
            if thing.last().is_some_and(|w| w.ends_with([',', '.', ';', ':', '?', '!'])) {
                break;
            }
        }
    }
    all
}

/// A word without what stands around it, in small letters.
pub(super) fn plain(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_its_things() {
        assert_eq!(
            things("Another fact: my bread knife, has its place behind our old sofa."),
            ["bread", "bread knife", "old", "old sofa"]
        );
        assert_eq!(things("there is only one school address"), ["school", "school address"]);
        assert!(things("it is raining").is_empty());
        assert!(things("this is my").is_empty());
    }

    #[test]
    fn patterns_are_filled_and_bad_lines_named() {
        let bank =
            Bank::from_jsonl("{\"prompt\":\"who are you\"}\n\n{\"prompt\":\"where is my {}\",\"about\":\"x\"}\n");
        let bank = bank.expect("reads").with_shown([vec![0.12345, -1.0]]);
        assert_eq!(bank.prompts(), ["who are you"]);
        assert_eq!(bank.shown(), [[0.1235, -1.0]]);
        assert_eq!(Bank::from_jsonl(&bank.to_jsonl()).expect("reads"), bank);
        assert_eq!(bank.about("my hat is red"), ["where is my hat", "where is my hat is", "where is my hat is red"]);
        for bad in ["", "{\"prompt\":\"where is my {}\"}", "{\"prompt\":\"a\"}\nnonsense"] {
            assert!(Bank::from_jsonl(bad).is_err(), "{bad:?}");
        }
    }
}
