//! What an answer is made of: actions with gaps, and a reply with gaps.

use crate::catalogue::{Action, Arguments};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::slots::{Slots, capital};
use crate::words::Value;

/// What the gaps of one turn were filled with.
#[derive(Debug, Clone, Default)]
pub struct Filled {
    values: Vec<(String, Value)>,
}

impl Filled {
    /// Nothing filled yet.
    pub fn new() -> Self {
        Filled::default()
    }
    /// Fills a gap with a given value.
    pub fn with(mut self, gap: &str, value: Value) -> Self {
        self.values.push((gap.to_string(), value));
        self
    }
    /// The value of a gap; drawn on first use. A number sign tells gaps of one kind apart: `{person#2}`; `{units>0}`
    /// and `{units>1}` are the two sides of an entry such as `miles>kilometers`.
    pub fn value(&mut self, gap: &str, slots: &Slots, random: &mut Random) -> Result<Value> {
        if let Some((_, value)) = self.values.iter().find(|(name, _)| name == gap) {
            return Ok(value.clone());
        }
        if let Some((pair, side)) = gap.split_once('>') {
            let pair = self.value(pair, slots, random)?.said;
            let value = Value::same(pair.split('>').nth(usize::from(side == "1")).unwrap_or_default());
            self.values.push((gap.to_string(), value.clone()));
            return Ok(value);
        }
        let value = slots.value(gap.split('#').next().unwrap_or(gap), random)?;
        self.values.push((gap.to_string(), value.clone()));
        Ok(value)
    }
    /// A text with its gaps filled by one of the forms of each value. Gaps must have been filled before.
    pub fn put(&self, text: &str, form: impl Fn(&Value) -> &str) -> Result<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((head, tail)) = rest.split_once('{') {
            let (gap, after) =
                tail.split_once('}').ok_or_else(|| Error::new(format!("{text:?}: a {{ without its }}")))?;
            let found = self.values.iter().find(|(name, _)| name == gap);
            let (_, value) = found.ok_or_else(|| Error::new(format!("{text:?}: nothing says what {gap:?} is")))?;
            out.push_str(head);
            out.push_str(form(value));
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
    /// A reply: as values are told, a capital first.
    pub fn reply(&self, text: &str) -> Result<String> {
        Ok(capital(&self.put(text, |v| &v.told)?))
    }
}

/// An action with gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionForm {
    /// Its name.
    pub name: String,
    arguments: Vec<(String, String)>,
}

impl ActionForm {
    /// Reads `light.set state=on; room={room}`.
    pub fn read(text: &str) -> Result<Self> {
        let text = text.trim();
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        let arguments = rest.split(';').map(str::trim).filter(|a| !a.is_empty());
        let arguments = arguments.map(|a| match a.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_string(), value.trim().to_string())),
            None => Err(Error::new(format!("action {text:?}: {a:?} has no ="))),
        });
        Ok(ActionForm { name: name.to_string(), arguments: arguments.collect::<Result<_>>()? })
    }
    /// The gaps of the arguments.
    pub fn gaps(&self) -> Vec<String> {
        let gaps = self.arguments.iter().flat_map(|(_, v)| v.split('{').skip(1));
        gaps.filter_map(|p| p.split('}').next()).map(str::to_string).collect()
    }
    /// The action, gaps filled.
    pub fn fill(&self, filled: &Filled) -> Result<Action> {
        let arguments = self.arguments.iter().map(|(k, v)| Ok((k.clone(), filled.put(v, |v| &v.norm)?)));
        Ok(Action { name: self.name.clone(), arguments: Arguments(arguments.collect::<Result<_>>()?) })
    }
}

/// An answer: what to do, if anything, and what to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerForm {
    /// What to do.
    pub action: Option<ActionForm>,
    /// What to say.
    pub reply: String,
}

impl AnswerForm {
    /// Reads `call.start contact={v} => Calling {v}.`; nothing stands before the arrow where nothing is done.
    pub fn read(text: &str) -> Result<Self> {
        let (action, reply) = text.split_once("=>").ok_or_else(|| Error::new(format!("answer {text:?} has no =>")))?;
        let action = if action.trim().is_empty() { None } else { Some(ActionForm::read(action)?) };
        Ok(AnswerForm { action, reply: reply.trim().to_string() })
    }
}
