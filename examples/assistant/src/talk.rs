//! One dialogue in the making.

use crate::catalogue::Action;
use crate::data::{Data, wording};
use crate::error::{Error, Result};
use crate::facts::{Applied, Kind};
use crate::forms::{AnswerForm, Filled};
use crate::now::Now;
use crate::random::Random;
use crate::requests::Pattern;
use crate::slots::{Slots, capital};
use crate::split::Split;
use crate::style::{Style, drop_words, typo};
use crate::template::{Form, OPEN, Template};
use crate::words::Value;
use serde::Serialize;

/// One turn, of the user (`U`) or of the assistant (`S`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// Who says it.
    pub s: &'static str,
    /// What is said.
    pub t: String,
    /// When the user says it: `Mon 2026-11-23 14:05`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// The personal fact that is stated, or that the right answer depends on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What the assistant does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
}

/// A dialogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dialogue {
    /// Its turns, user first.
    pub turns: Vec<Turn>,
    /// Whether it is about a kind of fact that training never sees.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kind_held_out: bool,
}

/// What the assistant answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// What it says.
    pub reply: String,
    /// What it does.
    pub actions: Vec<Action>,
}

/// A fact that was stated.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// Its kind.
    pub kind: &'a Kind,
    /// Its value.
    pub value: Value,
}

/// Gaps whose content is what the user says, to the last word.
const FREE: [&str; 8] = ["task", "note", "message text", "phrase", "event", "trigger", "robot trigger", "c"];

/// Times that a request's gaps are filled in the hope that they do not tell the value.
const FILLINGS: usize = 10;

/// First words of statements that are orders: "note that" does not fit before them.
const ORDERS: &[&str] = &[
    "store",
    "save",
    "set",
    "write",
    "keep",
    "put",
    "make",
    "use",
    "take",
    "translate",
    "send",
    "tune",
    "dim",
    "look",
    "show",
    "plan",
    "type",
    "never",
    "meet",
    "learn",
    "let",
    "new",
    "call",
    "give",
    "remember",
    "tell",
    "do",
    "run",
    "start",
    "turn",
    "close",
    "open",
    "lock",
    "play",
    "stop",
    "pause",
    "read",
    "mute",
    "order",
    "dance",
    "go",
    "please",
];

/// Which openers fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A request.
    Request,
    /// A question about a fact.
    Question,
    /// A statement.
    Statement,
    /// A statement that replaces an earlier one.
    Update,
    /// Small talk: nothing is added.
    Bare,
}

/// The part of a kind's questions that any wording must come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The wordings of the split itself.
    Own,
    /// The wordings that training has.
    Known,
}

/// A dialogue in the making.
#[derive(Debug)]
pub struct Talk<'a> {
    /// All that can be said.
    pub data: &'a Data,
    /// Whose words and wordings are used.
    pub split: Split,
    /// How the user writes.
    pub style: Style,
    /// The time, where it is known.
    pub now: Option<Now>,
    /// What was said.
    pub turns: Vec<Turn>,
    /// What was stated.
    pub known: Vec<Known<'a>>,
    /// Chance.
    pub random: Random,
}

impl<'a> Talk<'a> {
    /// An empty dialogue.
    pub fn new(data: &'a Data, split: Split, mut random: Random) -> Self {
        let style = Style::draw(&mut random);
        Talk { data, split, style, now: None, turns: Vec::new(), known: Vec::new(), random }
    }
    /// What fills gaps here.
    pub fn slots(&self) -> Slots<'a> {
        Slots { words: &self.data.words, split: self.split, spoken: false, capitals: self.style.names }
    }
    /// What was stated about a kind, the newest first.
    pub fn value_of(&self, id: &str) -> Option<&Value> {
        self.known.iter().rev().find(|k| k.kind.id == id).map(|k| &k.value)
    }

    /// Adds an exchange.
    pub fn say(&mut self, text: String, about: Option<&str>, answer: Answer) {
        let now = if self.turns.is_empty() || self.random.chance(12) { self.now } else { None };
        self.say_at(text, about, answer, now);
    }
    /// Adds an exchange at a time.
    pub fn say_at(&mut self, text: String, about: Option<&str>, answer: Answer, now: Option<Now>) {
        let (about, now) = (about.map(str::to_string), now.map(Now::stamp));
        self.turns.push(Turn { s: "U", t: text, now, about, actions: Vec::new() });
        self.turns.push(Turn { s: "S", t: answer.reply, now: None, about: None, actions: answer.actions });
    }

    /// A wording as this user sends it, gaps filled.
    pub fn text(&mut self, template: &Template, filled: &mut Filled, sort: Sort) -> Result<String> {
        let slots = self.slots();
        let text = template.fill(&mut self.random, &mut |random, gap| Ok(filled.value(gap, &slots, random)?.said))?;
        // What is sent, noted or translated ends where the request ends: "and thanks" would be part of it.
        let open_end = template.last_gap().is_some_and(|gap| FREE.contains(&gap));
        self.dress(text, template.form, sort, open_end)
    }

    /// Opener, ending, dropped words, capitals.
    fn dress(&mut self, mut text: String, form: Form, sort: Sort, open_end: bool) -> Result<String> {
        let mut question = form == Form::Question;
        // "store blue as my favorite color" among the statements, "tell me my name" among the questions.
        let order = form == Form::Imperative
            && (sort == Sort::Question
                || text.trim_start_matches(OPEN).split(' ').next().is_some_and(|w| ORDERS.contains(&w)));
        let percent = match sort {
            Sort::Bare => 0,
            Sort::Update => 100,
            Sort::Statement => 55,
            _ => 45,
        };
        if sort == Sort::Question && self.random.chance(25) {
            text = drop_words(&text, 12, &mut self.random);
        }
        if self.random.chance(percent) {
            let list = match (sort, form) {
                (Sort::Update, _) => "update",
                (Sort::Statement, _) if order => "neutral",
                (Sort::Statement, _) => "statement",
                (Sort::Question | Sort::Request, Form::Imperative) => "imperative",
                (Sort::Question, _) => "question",
                _ => "neutral",
            };
            let opener = self.opener(list)?;
            question |= list == "imperative" && polite_question(&opener);
            text = format!("{opener} {text}");
        }
        let (percent, list) = match sort {
            Sort::Statement if order => (15, "fragment end"),
            Sort::Statement => (22, "statement end"),
            Sort::Question if form == Form::Question => (10, "question end"),
            Sort::Question => (10, "fragment end"),
            Sort::Request if form == Form::Imperative => (14, "request end"),
            Sort::Request => (12, "fragment end"),
            _ => (0, ""),
        };
        if !open_end && self.random.chance(percent) && !text.contains("please") {
            text = format!("{text} {}", self.opener(list)?);
        }
        if self.random.below(1000) < 15 {
            text = typo(&text, &mut self.random);
        }
        Ok(self.style.finish(&text, question, &mut self.random))
    }

    /// An opener or an ending: held-out ones in one case of three outside training.
    fn opener(&mut self, list: &str) -> Result<String> {
        let all = self.data.openers.get(list).ok_or_else(|| Error::new(format!("openers.txt has no {list:?}")))?;
        let split = if self.random.chance(33) { self.split } else { Split::Train };
        let found = wording(all, split, &mut self.random).or_else(|| all.first());
        match found {
            Some(template) => template.fill(&mut self.random, &mut |_, _| Ok(String::new())),
            None => Ok(String::new()),
        }
    }

    /// An answer, gaps filled.
    pub fn answer(&self, form: &AnswerForm, filled: &Filled) -> Result<Answer> {
        let actions = form.action.as_ref().map(|a| a.fill(filled)).transpose()?;
        Ok(Answer { reply: filled.reply(&form.reply)?, actions: actions.into_iter().collect() })
    }

    /// A new value of a kind, unlike any value in this dialogue.
    pub fn fresh(&mut self, kind: &Kind) -> Result<Value> {
        let slots = self.slots();
        let mut value = slots.value(&kind.value, &mut self.random)?;
        for _ in 0..20 {
            if self.known.iter().all(|k| k.value.norm.to_lowercase() != value.norm.to_lowercase()) {
                break;
            }
            value = slots.value(&kind.value, &mut self.random)?;
        }
        Ok(value)
    }

    /// The text of a statement, without adding it.
    pub fn statement(&mut self, kind: &Kind, value: &Value, sort: Sort) -> Result<String> {
        let template = wording(&kind.say, self.split, &mut self.random)
            .ok_or_else(|| Error::new(format!("{}: no statement for {}", kind.id, self.split.name())))?;
        self.text(template, &mut Filled::new().with("v", value.clone()), sort)
    }
    /// The user states a fact.
    pub fn state(&mut self, kind: &'a Kind, sort: Sort) -> Result<()> {
        let value = self.fresh(kind)?;
        let text = self.statement(kind, &value, sort)?;
        let reply = Filled::new().with("v", value.clone()).reply(&kind.ack)?;
        self.say(text, Some(&kind.id), Answer { reply, actions: Vec::new() });
        self.known.push(Known { kind, value });
        Ok(())
    }
    /// The text of a question about a fact, and the answer.
    pub fn question(&mut self, kind: &Kind, value: Option<&Value>, source: Source) -> Result<(String, Answer)> {
        let split = if source == Source::Own { self.split } else { Split::Train };
        let template = wording(&kind.ask, split, &mut self.random)
            .ok_or_else(|| Error::new(format!("{}: no question for {}", kind.id, split.name())))?;
        let text = self.text(template, &mut Filled::new(), Sort::Question)?;
        let reply = match value {
            Some(value) => Filled::new().with("v", value.clone()).reply(&kind.answer)?,
            None => capital(&kind.unknown),
        };
        Ok((text, Answer { reply, actions: Vec::new() }))
    }
    /// The text of a request that uses a fact, and the answer. Nothing where this split has no wording for one, or the
    /// wording that was drawn holds the value itself.
    pub fn applied(&mut self, kind: &'a Kind, value: Option<&Value>) -> Result<Option<(String, Answer)>> {
        let all: Vec<&Applied> = kind.applied_in(self.split);
        match self.random.pick(&all).copied() {
            Some(applied) => self.applied_as(applied, value),
            None => Ok(None),
        }
    }
    /// The same for one way in which a fact is used.
    pub fn applied_as(&mut self, applied: &Applied, value: Option<&Value>) -> Result<Option<(String, Answer)>> {
        let Some(template) = wording(&applied.wordings, self.split, &mut self.random) else { return Ok(None) };
        let form = if value.is_some() { &applied.with } else { &applied.without };
        for _ in 0..FILLINGS {
            let mut filled = value.iter().fold(Filled::new(), |f, v| f.with("v", (*v).clone()));
            let text = self.text(template, &mut filled, Sort::Request)?;
            // "send vincent my greetings" from Vincent himself would give the answer away.
            let told = |v: &Value| text.to_lowercase().contains(&v.norm.to_lowercase());
            if !value.is_some_and(told) || template.gaps().is_empty() {
                return Ok(Some((text, self.answer(form, &filled)?)));
            }
        }
        // "drop ana a line" for an app called Line: whatever fills the gaps, it is told.
        Ok(None)
    }
    /// The user asks for a fact, or for something that uses it; known or not.
    pub fn ask(&mut self, kind: &'a Kind, direct: bool) -> Result<()> {
        let value = self.value_of(&kind.id).cloned();
        let used = if direct { None } else { self.applied(kind, value.as_ref())? };
        let (text, answer) = match used {
            Some(found) => found,
            None => self.question(kind, value.as_ref(), Source::Own)?,
        };
        self.say(text, Some(&kind.id), answer);
        Ok(())
    }

    /// A plain request that nothing said so far changes.
    pub fn request(&mut self) -> Result<()> {
        // One in eight is a request that a fact could change, while that fact is unknown.
        if self.random.below(8) == 0
            && let Some(kind) = self.unstated(None)
            && !kind.applied_in(self.split).is_empty()
        {
            return self.ask(kind, false);
        }
        let data = self.data;
        for _ in 0..50 {
            let Some(requests) = self.random.pick(&data.requests) else { break };
            if let Some(pattern) = self.pattern(&requests.patterns) {
                let (text, answer, now) = self.plain(pattern)?;
                match now {
                    Some(now) => self.say_at(text, None, answer, Some(now)),
                    None => self.say(text, None, answer),
                }
                return Ok(());
            }
        }
        Ok(())
    }
    /// A pattern that this split has wordings for, and that nothing said so far changes.
    pub fn pattern(&mut self, patterns: &'a [Pattern]) -> Option<&'a Pattern> {
        let fits = |p: &&Pattern| p.has(self.split) && !self.known.iter().any(|k| p.touched_by(&k.kind.id));
        let all: Vec<&Pattern> = patterns.iter().filter(fits).collect();
        self.random.pick(&all).copied()
    }
    /// A pattern's request, the answer, and the time where the answer says it.
    pub fn plain(&mut self, pattern: &Pattern) -> Result<(String, Answer, Option<Now>)> {
        let template = wording(&pattern.wordings, self.split, &mut self.random)
            .ok_or_else(|| Error::new(format!("no wording for {}", self.split.name())))?;
        let mut filled = Filled::new();
        let mut form = pattern.answer.clone();
        let mut at = None;
        if let Some(without) = &pattern.without_now {
            at = match self.now {
                Some(now) => Some(now.later(&mut self.random)),
                // A dialogue that has begun without a clock has none.
                None if self.turns.is_empty() && self.random.chance(70) => Some(Now::draw(&mut self.random)),
                None => None,
            };
            match at {
                Some(now) => {
                    self.now = at;
                    for what in ["time", "date", "weekday", "month", "year"] {
                        filled = now.told(what).into_iter().fold(filled, |f, v| f.with(what, v));
                    }
                }
                None => form.reply = without.clone(),
            }
        }
        let text = self.text(template, &mut filled, Sort::Request)?;
        Ok((text, self.answer(&form, &filled)?, at))
    }

    /// A request that is refused.
    pub fn refused(&mut self) -> Result<()> {
        let data = self.data;
        let Some(template) = wording(&data.refused, self.split, &mut self.random) else { return Ok(()) };
        let text = self.text(template, &mut Filled::new(), Sort::Request)?;
        self.say(text, None, refusal());
        Ok(())
    }
    /// Small talk.
    pub fn small_talk(&mut self) -> Result<()> {
        let data = self.data;
        for _ in 0..20 {
            let Some(topic) = self.random.pick(&data.topics) else { break };
            if let Some(template) = wording(&topic.wordings, self.split, &mut self.random) {
                let text = self.text(template, &mut Filled::new(), Sort::Bare)?;
                self.say(text, None, Answer { reply: topic.reply.clone(), actions: Vec::new() });
                break;
            }
        }
        Ok(())
    }

    /// A kind that was not stated, and that what was stated leaves unambiguous: a sister of `of`, or any.
    pub fn unstated(&mut self, of: Option<&Kind>) -> Option<&'a Kind> {
        let (split, known) = (self.split, &self.known);
        let fits = |k: &&Kind| {
            k.open_to(split)
                && known.iter().all(|s| s.kind.id != k.id && !s.kind.clashes(k))
                && of.is_none_or(|of| of.id != k.id && k.area.iter().any(|a| of.area.contains(a)))
        };
        // Kinds made from nouns are many: they would drown the others.
        let open = match of {
            Some(of) => of.open,
            None => self.random.chance(15),
        };
        // The tent's color where its name was told: the same noun tells least.
        if let Some((noun, _)) = of.filter(|of| of.open && self.random.chance(35)).and_then(|of| of.id.rsplit_once('.'))
        {
            let same = |k: &&Kind| k.open && k.id.rsplit_once('.').is_some_and(|(n, _)| n == noun);
            let fits = |k: &&Kind| same(k) && self.known.iter().all(|s| s.kind.id != k.id);
            let all: Vec<&Kind> = self.data.kinds.iter().filter(fits).collect();
            if let Some(kind) = self.random.pick(&all) {
                return Some(kind);
            }
        }
        for _ in 0..60 {
            let kind = self.random.pick(&self.data.kinds)?;
            if fits(&kind) && kind.open == open {
                return Some(kind);
            }
        }
        let all: Vec<&Kind> = self.data.kinds.iter().filter(|k| k.open == open).filter(fits).collect();
        self.random.pick(&all).copied()
    }
}

/// Whether an opener makes a question of what follows it.
fn polite_question(opener: &str) -> bool {
    let word = |w: &str| matches!(w, "could" | "can" | "would" | "will" | "may");
    // "i would like you to" asks nothing.
    !opener.contains(" would") && opener.split(|c: char| !c.is_alphabetic()).any(word) || opener.contains("would you")
}

/// The refusal.
pub fn refusal() -> Answer {
    Answer { reply: "Sorry, I cannot do that.".to_string(), actions: vec![Action::unknown()] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts;

    /// A value among a wording's own words stays there however often its gaps are filled, and three letters in a row
    /// are too few for a slip.
    #[test]
    fn a_wording_that_holds_the_value_is_given_up() -> Result<()> {
        let text = "[drink]\nset value=person\nack Got it.\nanswer {v}.\nunknown I do not know.\n\
                    do order.start item={v} => Some {v}.\nelse => What?\n- make {person} a tea\n";
        let (data, kinds) = (Data::read()?, facts::read(text, &|_| Vec::new())?);
        let mut talk = Talk::new(&data, Split::Train, Random::new(1, "talk", 0));
        for _ in 0..20 {
            assert_eq!(talk.applied(&kinds[0], Some(&Value::same("Tea")))?, None);
            let (text, answer) = talk.applied(&kinds[0], Some(&Value::same("cocoa")))?.expect("a request");
            assert!(text.to_lowercase().contains("tea") && answer.reply == "Some cocoa.", "{text} {answer:?}");
        }
        Ok(())
    }
}
