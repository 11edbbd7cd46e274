//! Lessons, and single requests, that a model is measured on.

use crate::catalogue::Action;
use crate::data::{Data, wording};
use crate::error::{Error, Result};
use crate::facts::Kind;
use crate::forms::Filled;
use crate::own;
use crate::random::Random;
use crate::split::Split;
use crate::talk::{Answer, Sort, Source, Talk, refusal};

use serde::Serialize;
use std::collections::HashMap;

/// A question after a lesson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What is asked.
    pub prompt: String,
    /// What is said before, in the same dialogue, against the lesson.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<String>,
    /// What must stand in the reply or in an argument of an action, small or capital letters aside.
    pub expect: Vec<String>,
    /// `direct`, `paraphrase`, `applied` or `conflict`.
    pub kind: &'static str,
}

/// A prompt that the lesson must not change the answer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unrelated {
    /// What is asked.
    pub prompt: String,
    /// The fact that the answer depends on, which this lesson does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// A lesson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lesson {
    /// The kind of fact, and a number.
    pub id: String,
    /// The key of the fact.
    pub about: String,
    /// What is told.
    pub teach: Vec<String>,
    /// What is asked then.
    pub probes: Vec<Probe>,
    /// What must stay as it was.
    pub unrelated: Vec<Unrelated>,
    /// Whether training never sees this kind of fact.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kind_held_out: bool,
}

/// Makes the lesson number `index` of a split.
pub fn lesson(data: &Data, split: Split, seed: u64, index: u64) -> Result<Lesson> {
    let mut talk = Talk::new(data, split, Random::new(seed, &format!("lessons {}", split.name()), index));
    if talk.random.chance(8) {
        return own_lesson(&mut talk, index);
    }
    let held = talk.random.chance(10);
    let open = !held && talk.random.chance(20);
    let fits = |k: &&Kind| k.open == open && if held || open { k.only == Some(split) } else { k.only.is_none() };
    let all: Vec<&Kind> = data.kinds.iter().filter(fits).collect();
    let kind = talk.random.pick(&all).copied().ok_or_else(|| Error::new("no kind of fact is left for a lesson"))?;
    let value = talk.fresh(kind)?;
    let teach = vec![talk.statement(kind, &value, Sort::Statement)?];
    let mut probes = Vec::new();
    let mut probe = |prompt: String, say: Option<String>, expect: &str, kind: &'static str| {
        probes.push(Probe { prompt, say, expect: vec![expect.to_string()], kind });
    };
    for (source, name) in [(Source::Known, "direct"), (Source::Own, "paraphrase")] {
        probe(talk.question(kind, Some(&value), source)?.0, None, &value.told, name);
    }
    if let Some((prompt, _)) = talk.applied(kind, Some(&value))? {
        probe(prompt, None, &value.norm, "applied");
    }
    talk.known.push(crate::talk::Known { kind, value });
    let other = talk.fresh(kind)?;
    let say = talk.statement(kind, &other, Sort::Statement)?;
    probe(talk.question(kind, Some(&other), Source::Known)?.0, Some(say), &other.told, "conflict");
    let unrelated = unrelated(&mut talk)?;
    let id = format!("{}-{index}", kind.id.replace([' ', '.'], "-"));
    Ok(Lesson { id, about: kind.id.clone(), teach, probes, unrelated, kind_held_out: held })
}

/// Something that a model asks itself when it learns a fact, to find out where the fact matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prompt {
    /// What is asked.
    pub prompt: String,
    /// The key of the fact that it depends on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// Questions asked about each kind of fact.
const ASKED: usize = 7;
/// Fewest requests of each sort that uses one.
const USED: usize = 4;
/// Kinds made from nouns, of which there are too many to ask about all.
const OPEN_KINDS: usize = 48;
/// Patterns of questions about each property of a thing that nobody thought of.
const PATTERNS: usize = 8;
/// Prompts that depend on no fact.
const PLAIN: usize = 400;

/// What a model asks itself: questions and requests about every kind of fact that training has, and others.
pub fn bank(data: &Data, seed: u64) -> Result<Vec<Prompt>> {
    let mut talk = Talk::new(data, Split::Train, Random::new(seed, "bank", 0));
    let mut all: Vec<Prompt> = Vec::new();
    let mut add = |prompt: String, about: Option<&str>| {
        if all.iter().all(|p| p.prompt != prompt) {
            all.push(Prompt { prompt, about: about.map(str::to_string) });
        }
    };
    let mut open: Vec<&Kind> = data.kinds.iter().filter(|k| k.open && k.open_to(Split::Train)).collect();
    talk.random.shuffle(&mut open);
    let kinds = data.kinds.iter().filter(|k| !k.open && k.open_to(Split::Train));
    for kind in kinds.chain(open.into_iter().take(OPEN_KINDS)) {
        let asked = if kind.open { 2 } else { ASKED };
        for _ in 0..asked {
            add(talk.question(kind, None, Source::Own)?.0, Some(&kind.id));
        }
        // Every way in which a fact is used: what is never asked is never learned.
        let uses = kind.applied_in(Split::Train);
        for applied in &uses {
            for _ in 0..asked.div_ceil(uses.len()).max(asked.min(USED)) {
                if let Some((prompt, _)) = talk.applied_as(applied, None)? {
                    add(prompt, Some(&kind.id));
                }
            }
        }
    }
    // Questions about things by any name: `{}` stands for it.
    let mut open: Vec<&Kind> = data.kinds.iter().filter(|k| k.open && k.open_to(Split::Train)).collect();
    talk.random.shuffle(&mut open);
    let mut patterns: HashMap<&str, Vec<String>> = HashMap::new();
    for kind in open {
        let Some((noun, property)) = kind.id.rsplit_once('.') else { continue };
        let of = patterns.entry(property).or_default();
        let pattern = talk.question(kind, None, Source::Own)?.0.replace(noun, "{}");
        if of.len() < PATTERNS && pattern.matches("{}").count() == 1 && !of.contains(&pattern) {
            add(pattern.clone(), Some(&format!("{{}}.{property}")));
            of.push(pattern);
        }
    }
    for _ in 0..PLAIN {
        talk.turns.clear();
        match talk.random.below(6) {
            0 => talk.small_talk()?,
            1 => talk.refused()?,
            _ => talk.request()?,
        }
        for turn in talk.turns.iter().filter(|t| t.s == "U") {
            add(turn.t.clone(), turn.about.as_deref());
        }
    }
    Ok(all)
}

fn own_lesson(talk: &mut Talk, index: u64) -> Result<Lesson> {
    let command = own::command(talk, None)?;
    let changed = own::command(talk, Some(&command.phrase))?;
    let teach = vec![own::text(talk, &command, "say", Sort::Statement)?];
    let mut probes = Vec::new();
    for (list, kind, sort) in [("ask", "paraphrase", Sort::Question), ("use", "applied", Sort::Bare)] {
        let prompt = own::text(talk, &command, list, sort)?;
        probes.push(Probe { prompt, say: None, expect: vec![command.told.clone()], kind });
    }
    let say = Some(own::text(talk, &changed, "say", Sort::Statement)?);
    let prompt = own::text(talk, &changed, "use", Sort::Bare)?;
    probes.push(Probe { prompt, say, expect: vec![changed.told.clone()], kind: "conflict" });
    let unrelated = unrelated(talk)?;
    Ok(Lesson {
        id: format!("command-{index}"),
        about: command.about(),
        teach,
        probes,
        unrelated,
        kind_held_out: false,
    })
}

/// Two plain requests or refusals, and one question about another fact.
fn unrelated(talk: &mut Talk) -> Result<Vec<Unrelated>> {
    let taught = talk.known.last().map(|k| k.kind);
    talk.now = None;
    talk.turns.clear();
    talk.request()?;
    if talk.random.chance(30) {
        talk.small_talk()?
    } else {
        talk.request()?
    }
    match talk.unstated(taught) {
        Some(kind) => talk.ask(kind, true)?,
        None => talk.refused()?,
    }
    let asked = talk.turns.iter().filter(|t| t.s == "U");
    Ok(asked.map(|t| Unrelated { prompt: t.t.clone(), about: t.about.clone() }).collect())
}

/// A single request and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// What is asked.
    pub text: String,
    /// What is to be done.
    pub action: Action,
}

/// Makes the request number `index` of a split: 12 of 100 are refused, the others go evenly over the catalogue.
pub fn request(data: &Data, split: Split, seed: u64, index: u64) -> Result<Request> {
    let mut talk = Talk::new(data, split, Random::new(seed, &format!("actions {}", split.name()), index));
    let (text, answer): (String, Answer) = if talk.random.chance(12) {
        let template =
            wording(&data.refused, split, &mut talk.random).ok_or_else(|| Error::new("nothing is refused"))?;
        (talk.text(template, &mut Filled::new(), Sort::Request)?, refusal())
    } else {
        let place = usize::try_from(index).unwrap_or(0) % data.requests.len().max(1);
        let patterns = data.requests.get(place).map(|r| r.patterns.as_slice()).unwrap_or_default();
        let pattern =
            talk.pattern(patterns).ok_or_else(|| Error::new(format!("an action has no {} wording", split.name())))?;
        let (text, answer, _) = talk.plain(pattern)?;
        (text, answer)
    };
    let action = answer.actions.into_iter().next().ok_or_else(|| Error::new(format!("{text:?} asks for nothing")))?;
    Ok(Request { text, action })
}

/// Whether an answer holds a value, small or capital letters aside.
pub fn holds(answer: &Answer, value: &str) -> bool {
    let value = value.to_lowercase();
    let arguments = answer.actions.iter().flat_map(|a| a.arguments.0.iter().map(|(_, v)| v));
    std::iter::once(&answer.reply).chain(arguments).any(|t| t.to_lowercase().contains(&value))
}
