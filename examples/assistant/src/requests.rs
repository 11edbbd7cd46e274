//! Plain requests: what people ask devices for, by action.

use crate::error::{Error, Result};
use crate::forms::{ActionForm, AnswerForm};
use crate::split::{Split, hold_out};
use crate::template::Template;

/// A way of asking for an action with certain arguments.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// What to do and say.
    pub answer: AnswerForm,
    /// What to say where nobody told the time, for patterns that need it.
    pub without_now: Option<String>,
    /// Personal facts that would change the answer: `coffee.taste`, `light.*`.
    pub touches: Vec<String>,
    /// Wordings.
    pub wordings: Vec<Template>,
}

impl Pattern {
    /// Whether a fact would change the answer.
    pub fn touched_by(&self, fact: &str) -> bool {
        self.touches.iter().any(|t| t == fact || t.strip_suffix('*').is_some_and(|head| fact.starts_with(head)))
    }
    /// Whether a split has a wording for it.
    pub fn has(&self, split: Split) -> bool {
        self.wordings.iter().any(|w| w.split == split)
    }
}

/// All patterns of one action.
#[derive(Debug, Clone)]
pub struct Requests {
    /// The action.
    pub action: String,
    /// Its patterns.
    pub patterns: Vec<Pattern>,
}

/// Reads patterns. `!` starts one with its action, `=` is the reply, `/` the reply without a time, `~` the facts that it depends on,
/// every other line a wording. Wordings are held out by action.
pub fn read(text: &str) -> Result<Vec<Requests>> {
    // First the lines, since what is held out depends on how many there are.
    let mut raw: Vec<(ActionForm, Vec<&str>, Vec<&str>)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(action) = line.strip_prefix("! ") {
            raw.push((ActionForm::read(action)?, Vec::new(), Vec::new()));
            continue;
        }
        let last = raw.last_mut().ok_or_else(|| Error::new(format!("{line:?} belongs to no action")))?;
        if line.starts_with(['=', '/', '~']) { last.1.push(line) } else { last.2.push(line) }
    }
    let mut all: Vec<Requests> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (action, _, _) in &raw {
        if !names.contains(&action.name) {
            names.push(action.name.clone());
        }
    }
    for name in names {
        let mine: Vec<_> = raw.iter().filter(|(a, _, _)| a.name == name).collect();
        let lines: Vec<String> = mine.iter().flat_map(|(_, _, w)| w.iter().map(|l| l.to_string())).collect();
        let mut splits = hold_out(&lines, 12).into_iter();
        let mut patterns = Vec::new();
        for (action, heads, wordings) in mine {
            let find = |sign: char| heads.iter().find_map(|h| h.strip_prefix(sign)).map(|h| h.trim().to_string());
            let reply = find('=').ok_or_else(|| Error::new(format!("{name}: a pattern has no reply")))?;
            let touches = find('~').map(|t| t.split_whitespace().map(str::to_string).collect()).unwrap_or_default();
            let wordings = wordings
                .iter()
                .map(|line| Template::read(&name, line, splits.next().unwrap_or(Split::Train)))
                .collect::<Result<Vec<_>>>()?;
            for wording in &wordings {
                let gaps = wording.gaps();
                if let Some(gap) = action.gaps().iter().find(|g| !gaps.contains(&g.as_str())) {
                    return Err(Error::new(format!("{}: does not say {gap}", wording.id)));
                }
            }
            let answer = AnswerForm { action: Some(action.clone()), reply };
            patterns.push(Pattern { answer, without_now: find('/'), touches, wordings });
        }
        all.push(Requests { action: name, patterns });
    }
    Ok(all)
}
