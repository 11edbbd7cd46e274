//! All that the crate knows, read once.

use crate::catalogue::{ActionKind, catalogue};
use crate::error::{Error, Result};
use crate::facts::{self, Kind};
use crate::forms::ActionForm;
use crate::random::Random;
use crate::requests::{self, Requests};
use crate::split::{Split, hold_out};
use crate::template::Template;
use crate::words::{WORDS, Words};
use std::collections::{BTreeMap, HashSet};

/// A part of an own command: its wording, and what it does.
#[derive(Debug, Clone)]
pub struct Step {
    /// `dim the lights`.
    pub wording: String,
    /// What that is.
    pub action: ActionForm,
}

/// One topic of small talk: what people say, and the answer.
#[derive(Debug, Clone)]
pub struct Topic {
    /// The answer.
    pub reply: String,
    /// What people say.
    pub wordings: Vec<Template>,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct Data {
    /// The actions.
    pub catalogue: Vec<ActionKind>,
    /// The words.
    pub words: Words,
    /// Plain requests, by action.
    pub requests: Vec<Requests>,
    /// Requests that are refused.
    pub refused: Vec<Template>,
    /// Kinds of facts.
    pub kinds: Vec<Kind>,
    /// Small talk.
    pub topics: Vec<Topic>,
    /// Openers and endings, by what they go with.
    pub openers: BTreeMap<String, Vec<Template>>,
    /// Parts of own commands.
    pub steps: Vec<Step>,
    /// Wordings about own commands: `say`, `ask`, `use`.
    pub own: BTreeMap<String, Vec<Template>>,
}

impl Data {
    /// Reads everything.
    pub fn read() -> Result<Self> {
        let words = Words::read(WORDS)?;
        let nouns = |list: &str| {
            let of = |split: Split| words.entries(list, split).iter().map(move |noun| (noun.clone(), split));
            Split::ALL.into_iter().flat_map(of).collect()
        };
        let text = concat!(
            include_str!("../data/facts.txt"),
            "
",
            include_str!("../data/open.txt")
        );
        let kinds = facts::read(text, &nouns)?;
        let mut requests = requests::read(include_str!("../data/requests.txt"))?;
        requests.extend(requests::read(include_str!("../data/requests-home.txt"))?);
        let refused = list("unknown", include_str!("../data/unknown.txt"))?;
        let own = sections(include_str!("../data/own.txt"))?;
        let steps = include_str!("../data/steps.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        let steps = steps.map(|line| match line.split_once("=>") {
            Some((wording, action)) => {
                Ok(Step { wording: wording.trim().to_string(), action: ActionForm::read(action)? })
            }
            None => Err(Error::new(format!("steps.txt: {line:?} has no =>"))),
        });
        let mut data = Data {
            catalogue: catalogue()?,
            words: words.clone(),
            requests,
            refused,
            kinds,
            topics: topics(include_str!("../data/small-talk.txt"))?,
            openers: sections(include_str!("../data/openers.txt"))?,
            steps: steps.collect::<Result<_>>()?,
            own,
        };
        data.drop_held_out();
        data.give_back();
        Ok(data)
    }

    /// Every list of wordings.
    pub fn lists(&mut self) -> Vec<&mut Vec<Template>> {
        let plain = self.requests.iter_mut().flat_map(|r| r.patterns.iter_mut().map(|p| &mut p.wordings));
        let mut all: Vec<&mut Vec<Template>> = plain.collect();
        for kind in &mut self.kinds {
            all.extend([&mut kind.say, &mut kind.ask]);
            all.extend(kind.applied.iter_mut().map(|a| &mut a.wordings));
        }
        all.extend(self.topics.iter_mut().map(|t| &mut t.wordings));
        all.extend(self.own.values_mut().chain(self.openers.values_mut()));
        all.push(&mut self.refused);
        all
    }

    /// A wording that was added for training later, and reads like one that is held out, goes.
    fn drop_held_out(&mut self) {
        let held: HashSet<String> =
            self.lists().into_iter().flatten().filter(|w| w.split != Split::Train).flat_map(|w| w.shapes()).collect();
        for list in self.lists() {
            list.retain(|w| !w.training_only || !w.shapes().iter().any(|shape| held.contains(shape)));
        }
    }

    /// All wordings of requests, plain ones and those that use a fact.
    fn wordings(&mut self) -> impl Iterator<Item = &mut Template> {
        let plain = self.requests.iter_mut().flat_map(|r| &mut r.patterns).flat_map(|p| &mut p.wordings);
        let uses = self.kinds.iter_mut().flat_map(|k| &mut k.applied).flat_map(|a| &mut a.wordings);
        plain.chain(uses)
    }

    /// "take a photo" is both a plain request and one that uses a fact: what training has as either is held out as neither.
    fn give_back(&mut self) {
        loop {
            let learnt: HashSet<String> =
                self.wordings().filter(|w| w.split == Split::Train).flat_map(|w| w.expansions()).collect();
            let held = self.wordings().filter(|w| w.split != Split::Train);
            let known = held.filter(|w| w.expansions().iter().any(|text| learnt.contains(text)));
            let known: HashSet<String> = known.map(|w| w.id.clone()).collect();
            if known.is_empty() {
                break;
            }
            self.wordings().filter(|w| known.contains(&w.id)).for_each(|w| w.split = Split::Train);
        }
    }
}

fn list(name: &str, text: &str) -> Result<Vec<Template>> {
    let lines: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_string).collect();
    let splits = hold_out(&lines, 12);
    lines.iter().zip(splits).map(|(line, split)| Template::read(name, line, split)).collect()
}

/// Lists under `[headings]`.
fn sections(text: &str) -> Result<BTreeMap<String, Vec<Template>>> {
    let mut all = BTreeMap::new();
    for part in text.split("\n[").filter(|p| p.contains(']')) {
        if let Some((name, lines)) = part.split_once(']') {
            let name = name.trim_start_matches('[').to_string();
            all.insert(name.clone(), list(&name, lines)?);
        }
    }
    Ok(all)
}

/// `= answer`, then what people say.
fn topics(text: &str) -> Result<Vec<Topic>> {
    let mut all = Vec::new();
    for part in format!("\n{text}").split("\n= ").skip(1) {
        let (reply, lines) = part.split_once('\n').unwrap_or((part, ""));
        all.push(Topic { reply: reply.trim().to_string(), wordings: list(reply.trim(), lines)? });
    }
    Ok(all)
}

/// A wording of a split, if there is one.
pub fn wording<'a>(list: &'a [Template], split: Split, random: &mut Random) -> Option<&'a Template> {
    let count = list.iter().filter(|t| t.split == split).count();
    let place = random.below(count);
    list.iter().filter(|t| t.split == split).nth(place)
}
