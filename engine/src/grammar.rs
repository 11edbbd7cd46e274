//! What a model may write, as a table over its tokens: words as they come, actions only as the catalogue has them.
//!
//! An answer is text with actions in it. In the first state every token of text may come, the token that ends, the one
//! that refuses and `<act>`; other specials and literals may not. After `<act>` comes the name of an action, then
//! arguments in the catalogue's order, none that is needed left out, then the end of the action and text again. A value
//! is one of the list where the catalogue has one, by the tokens that the tokenizer writes it with; otherwise any text
//! that needs no escape in JSON and is more than white space.
//!
//! Tokens that behave alike in every state share a class, so that the table is `[states, classes]` and small enough to
//! lie on a device beside the logits: `sample` masks what the state forbids. States that behave alike are one: most
//! actions end in the same last value.

use crate::action::{ActionSpec, Catalogue, EMPTY, END, NEXT, UNKNOWN, key, opening, refusal};
use crate::error::Error;
use crate::tokenizer::Tokenizer;
use lichen_shaders::sample::FORBIDDEN;
use std::collections::BTreeMap;

/// The state in which text is written: the first one.
pub const FREE: u32 = 0;
/// The state after `<act>`.
const ACT: u32 = 1;

/// States and classes of tokens, with the next state of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// As the `sample` kernel reads it.
    words: Vec<u32>,
}

/// How a token behaves. The pieces of listed values are text as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Never drawn.
    Forbidden,
    /// Like no other token: a literal, or a piece of a value that a list holds.
    Own(u32),
    /// Text that no value may hold.
    Escaped,
    /// Text, by what it makes of a value that is blank up to it.
    Text([u8; BLANKS.len()]),
}

/// How a value that is blank so far may end: whole characters of white space, or the first bytes of one beyond ASCII.
const BLANKS: [&[u8]; 9] =
    [&[], &[0xC2], &[0xE1], &[0xE1, 0x9A], &[0xE2], &[0xE2, 0x80], &[0xE2, 0x81], &[0xE3], &[0xE3, 0x80]];
/// The value holds more than white space.
const SEEN: u8 = BLANKS.len() as u8;

/// Where a value is after a text, if it was blank up to it and ended as `BLANKS` says.
fn blank(mut at: u8, text: &[u8]) -> u8 {
    for &byte in text {
        let Some(&before) = BLANKS.get(usize::from(at)) else { return SEEN };
        let all = [before, &[byte]].concat();
        at = match std::str::from_utf8(&all) {
            Ok(text) if text.trim().is_empty() => 0,
            _ => BLANKS.iter().position(|end| *end == all).map_or(SEEN, |at| at as u8),
        };
    }
    at
}

/// The next states of a state, by class; what is not there is forbidden.
type Row = BTreeMap<Class, u32>;

/// A table in the making.
struct Builder<'a> {
    tokenizer: &'a Tokenizer,
    classes: Vec<Class>,
    /// Classes of text, by what they make of a value that is blank so far; none for what no value may hold.
    texts: BTreeMap<Class, Option<[u8; BLANKS.len()]>>,
    rows: Vec<Row>,
    /// States by their rows.
    same: BTreeMap<Row, u32>,
    /// The first state of a free value, by what may follow it.
    values: BTreeMap<Row, u32>,
}

impl Grammar {
    /// Of what a catalogue has, for a tokenizer that has the literals for it.
    pub fn new(catalogue: &Catalogue, tokenizer: &Tokenizer) -> Result<Self, Error> {
        let actions: Vec<&ActionSpec> = catalogue.actions().iter().filter(|a| a.name != UNKNOWN).collect();
        let listed = actions.iter().flat_map(|a| &a.arguments).flat_map(|a| &a.values);
        let mut own: Vec<u32> = listed.flat_map(|value| piece(tokenizer, value)).collect();
        own.sort_unstable();
        // Literals and specials stay forbidden until they are named below.
        let mut classes = vec![Class::Forbidden; tokenizer.vocab()];
        let mut texts = BTreeMap::new();
        for (id, class) in (0..).zip(&mut classes) {
            let text = tokenizer.decode(&[id]);
            if text.is_empty() || tokenizer.is_literal(id) {
                continue;
            }
            let value = in_value(&text);
            *class = match value {
                _ if own.binary_search(&id).is_ok() => Class::Own(id),
                Some(to) => Class::Text(to),
                None => Class::Escaped,
            };
            texts.insert(*class, value);
        }
        let free = texts.keys().map(|class| (*class, FREE)).collect();
        let rows = vec![free, Row::new()];
        let mut builder = Builder { tokenizer, classes, texts, rows, same: BTreeMap::new(), values: BTreeMap::new() };

        let mut names = Row::new();
        for action in &actions {
            let mut row = builder.arguments(action, 0)?;
            if action.arguments.iter().all(|a| !a.required) {
                row.insert(builder.literal(EMPTY)?, FREE);
            }
            let state = builder.state(row);
            names.insert(builder.literal(&opening(&action.name))?, state);
        }
        let refusal = builder.own(refusal(tokenizer).ok_or_else(|| missing("a refusal"))?);
        let act = builder.own(tokenizer.special("<act>").ok_or_else(|| missing("<act>"))?);
        let end = tokenizer.special("<end>").map(|end| builder.own(end));
        let free = &mut builder.rows[FREE as usize];
        free.extend(end.into_iter().chain([refusal]).map(|class| (class, FREE)));
        // Where there is nothing to do, nothing is begun.
        if !names.is_empty() {
            free.insert(act, ACT);
        }
        builder.rows[ACT as usize] = names;
        Ok(builder.finish())
    }

    /// The table in words: states, classes, tokens, the class of each token, the next state of each state and class.
    pub fn words(&self) -> &[u32] {
        &self.words
    }
    /// How many states there are.
    pub fn states(&self) -> usize {
        self.words[0] as usize
    }
    /// How many classes of tokens there are.
    pub fn classes(&self) -> usize {
        self.words[1] as usize
    }

    /// The state after a token; none where the grammar forbids it.
    pub fn next(&self, state: u32, token: u32) -> Option<u32> {
        let tokens = self.words[2] as usize;
        let class = *self.words[3..][..tokens].get(token as usize)? as usize;
        if state as usize >= self.states() {
            return None;
        }
        let next = self.words[3 + tokens + state as usize * self.classes() + class];
        (next != FORBIDDEN).then_some(next)
    }

    /// The state after any token of a stream, whoever wrote it. What the grammar forbids ends what was begun: text may
    /// follow, and `<act>` begins an action from wherever it stands.
    pub fn follow(&self, state: u32, token: u32) -> u32 {
        self.next(state, token).or_else(|| self.next(FREE, token)).unwrap_or(FREE)
    }
}

fn missing(what: &str) -> Error {
    Error::Action(format!("the tokenizer has no token for {what}"))
}

/// The tokens of a value.
fn piece(tokenizer: &Tokenizer, value: &str) -> Vec<u32> {
    tokenizer.encode(&format!(" {value}"))
}

/// What a text makes of a value that is blank up to it; none if no value may hold it.
fn in_value(text: &[u8]) -> Option<[u8; BLANKS.len()]> {
    let escaped = text.iter().any(|b| matches!(b, b'"' | b'\\') || b.is_ascii_control());
    (!escaped).then(|| std::array::from_fn(|at| blank(at as u8, text)))
}

impl Builder<'_> {
    /// A literal's class, which it has for itself from now on.
    fn literal(&mut self, text: &str) -> Result<Class, Error> {
        let id = self.tokenizer.literal(text).ok_or_else(|| missing(&format!("{text:?}")))?;
        Ok(self.own(id))
    }
    fn own(&mut self, id: u32) -> Class {
        if let Some(class) = self.classes.get_mut(id as usize) {
            *class = Class::Own(id);
        }
        Class::Own(id)
    }

    /// The state with these next states.
    fn state(&mut self, row: Row) -> u32 {
        if let Some(&state) = self.same.get(&row) {
            return state;
        }
        let state = self.rows.len() as u32;
        self.rows.push(row.clone());
        self.same.insert(row, state);
        state
    }

    /// The arguments that may come from number `from` on, with the states of their values.
    fn arguments(&mut self, action: &ActionSpec, from: usize) -> Result<Row, Error> {
        let mut row = Row::new();
        for (at, argument) in action.arguments.iter().enumerate().skip(from) {
            let mut after = Row::new();
            let more = self.arguments(action, at + 1)?;
            if !more.is_empty() {
                let more = self.state(more);
                after.insert(self.literal(NEXT)?, more);
            }
            if action.arguments[at + 1..].iter().all(|a| !a.required) {
                after.insert(self.literal(END)?, FREE);
            }
            let value = match argument.values.is_empty() {
                true => self.value(after),
                false => {
                    let values = argument.values.iter().map(|value| piece(self.tokenizer, value)).collect();
                    self.listed(values, &after)
                }
            };
            row.insert(self.literal(&key(&argument.name))?, value);
            if argument.required {
                break;
            }
        }
        Ok(row)
    }

    /// One of a list of values, by the tokens that are left of each.
    fn listed(&mut self, values: Vec<Vec<u32>>, after: &Row) -> u32 {
        let mut row = Row::new();
        let mut heads: BTreeMap<u32, Vec<Vec<u32>>> = BTreeMap::new();
        for value in values {
            match value.split_first() {
                Some((&head, rest)) => heads.entry(head).or_default().push(rest.to_vec()),
                None => row.extend(after.iter().map(|(class, state)| (*class, *state))),
            }
        }
        for (head, rest) in heads {
            let state = self.listed(rest, after);
            row.insert(Class::Own(head), state);
        }
        self.state(row)
    }

    /// Any text but a blank one.
    fn value(&mut self, after: Row) -> u32 {
        if let Some(&state) = self.values.get(&after) {
            return state;
        }
        let first = self.rows.len() as u32;
        self.values.insert(after.clone(), first);
        for at in 0..=BLANKS.len() {
            // Once something was seen it stays so.
            let to = |to: &[u8; BLANKS.len()]| first + u32::from(to.get(at).copied().unwrap_or(SEEN));
            let row = self.texts.iter().filter_map(|(class, value)| Some((*class, to(value.as_ref()?))));
            let row = row.chain(after.iter().filter(|_| at == BLANKS.len()).map(|(class, state)| (*class, *state)));
            self.rows.push(row.collect());
        }
        first
    }

    fn finish(self) -> Grammar {
        // Numbered as the tokens come: the same catalogue and tokenizer give the same table.
        let mut numbers: BTreeMap<Class, u32> = BTreeMap::new();
        let mut order = Vec::new();
        let of_tokens: Vec<u32> = self
            .classes
            .iter()
            .map(|class| {
                *numbers.entry(*class).or_insert_with(|| {
                    order.push(*class);
                    order.len() as u32 - 1
                })
            })
            .collect();
        let next = self.rows.iter().flat_map(|row| order.iter().map(|class| row.get(class).copied()));
        let head = [self.rows.len() as u32, order.len() as u32, of_tokens.len() as u32];
        let next: Vec<u32> = next.map(|state| state.unwrap_or(FORBIDDEN)).collect();
        Grammar { words: [&head[..], &of_tokens, &next].concat() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::{catalogue, tokenizer};
    use crate::action::{Action, read};
    use lichen_shaders::cases::Random;

    fn ours() -> (Catalogue, Tokenizer) {
        let catalogue = Catalogue::from_json(include_str!("../../examples/assistant/actions.json")).expect("ours");
        let texts = (0..40).map(|i| format!("turn on the light {i} for ten minutes, every day and weekdays"));
        let tokenizer = Tokenizer::train(texts, 520, &catalogue.literals()).expect("training");
        (catalogue, tokenizer)
    }
    /// The state after tokens that are all allowed, from the first one on.
    fn walk(grammar: &Grammar, ids: &[u32]) -> Option<u32> {
        ids.iter().try_fold(FREE, |state, &id| grammar.next(state, id))
    }
    fn action(name: &str, arguments: &[(&str, &str)]) -> Action {
        let arguments = arguments.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        Action { name: name.into(), arguments }
    }

    #[test]
    fn every_action_of_the_catalogue_may_be_written() {
        let free = ["10 min", "größe", "日本", "£5", "あい", "a b", "\u{A0}x", "7:00, tomorrow", "}}", "e"];
        for (catalogue, tokenizer) in [(catalogue(), tokenizer()), ours()] {
            let grammar = Grammar::new(&catalogue, &tokenizer).expect("a grammar");
            let mut tried = 0;
            for spec in catalogue.actions() {
                let all = spec.arguments.len();
                for chosen in 0u32..1 << all {
                    for round in 0..free.len() {
                        let arguments: Vec<(String, String)> = (0..all)
                            .filter(|at| chosen >> at & 1 == 1)
                            .map(|at| (at, &spec.arguments[at]))
                            .map(|(at, a)| match a.values.get(round % a.values.len().max(1)) {
                                Some(value) => (a.name.clone(), value.clone()),
                                None => (a.name.clone(), free[(round + at) % free.len()].to_string()),
                            })
                            .collect();
                        let action = Action { name: spec.name.clone(), arguments };
                        let Ok(mut ids) = catalogue.encode(&tokenizer, &action) else { continue };
                        assert_eq!(walk(&grammar, &ids), Some(FREE), "{action:?}");
                        // Words around it, and the end of the answer.
                        ids.splice(0..0, tokenizer.encode("Sure: \"done\"\n"));
                        ids.extend(tokenizer.encode(" There you go."));
                        ids.extend(tokenizer.special("<end>"));
                        assert_eq!(walk(&grammar, &ids), Some(FREE), "{action:?}");
                        tried += 1;
                    }
                }
            }
            assert!(tried > 50, "{tried} actions");
        }
    }

    #[test]
    fn nothing_else_may_be_written() {
        let (catalogue, tokenizer) = (catalogue(), tokenizer());
        let grammar = Grammar::new(&catalogue, &tokenizer).expect("a grammar");
        let special = |name: &str| vec![tokenizer.special(name).expect("a special")];
        let literal = |text: &str| vec![tokenizer.literal(text).expect("a literal")];
        let text = |text: &str| tokenizer.encode(text);
        let (act, timer, light) = (special("<act>"), literal(&opening("timer.set")), literal(&opening("light.set")));
        let (duration, label) = (literal(&key("duration")), literal(&key("label")));
        let (state, room) = (literal(&key("state")), literal(&key("room")));
        let (next, end, empty) = (literal(NEXT), literal(END), literal(EMPTY));
        let set = [act.clone(), timer.clone(), duration.clone()].concat();
        let lit = [act.clone(), light.clone(), state.clone()].concat();
        // What may stand, and what may not follow it though it begins an allowed text elsewhere.
        let cases = [
            (vec![], vec![&timer, &duration, &next, &end, &empty]),
            (act.clone(), vec![&act, &next, &duration, &empty]),
            ([act.clone(), timer.clone()].concat(), vec![&label, &empty, &state, &next]),
            (set.clone(), vec![&end, &next, &label, &act]),
            ([set.clone(), text("  ")].concat(), vec![&end, &next]),
            ([set.clone(), text("\u{A0}")].concat(), vec![&end, &next]),
            ([set.clone(), text("\u{2003}\u{3000} \u{85}")].concat(), vec![&end, &next]),
            ([set.clone(), text(" 1 s")].concat(), vec![&empty, &label, &act]),
            ([set.clone(), text(" 1 s"), next.clone()].concat(), vec![&end, &duration, &room]),
            ([set.clone(), text(" 1 s"), next.clone(), label.clone(), text(" x")].concat(), vec![&next, &empty]),
            (lit.clone(), vec![&end, &next]),
            ([lit.clone(), text(" on")].concat(), vec![&empty, &room]),
            ([act.clone(), literal(&opening("call.end"))].concat(), vec![&end, &next, &room]),
        ];
        let refuses = vec![refusal(&tokenizer).expect("a refusal")];
        for (before, after) in cases {
            assert!(walk(&grammar, &before).is_some(), "{before:?} may stand");
            for after in after {
                assert_eq!(walk(&grammar, &[&before[..], after].concat()), None, "{before:?}, then {after:?}");
            }
            for name in crate::SPECIALS.iter().filter(|name| !matches!(**name, "<act>" | "<end>")) {
                assert_eq!(walk(&grammar, &[before.clone(), special(name)].concat()), None, "{before:?}, then {name}");
            }
            if !before.is_empty() {
                for after in [&special("<end>"), &refuses] {
                    assert_eq!(walk(&grammar, &[&before[..], after].concat()), None, "{before:?}, then {after:?}");
                }
            }
        }
        for value in ["maybe", "o", "on on", "Off", "\"", "\\", "a\nb", "\t", "\u{7f}"] {
            let listed = [lit.clone(), text(&format!(" {value}")), end.clone()].concat();
            assert_eq!(walk(&grammar, &listed), None, "{value:?}");
        }
        for value in ["\"", "\\", "a\nb", "\t", "\u{7f}", "\0"] {
            assert_eq!(walk(&grammar, &[set.clone(), text(&format!(" x{value}"))].concat()), None, "{value:?}");
        }
        assert_eq!(grammar.next(FREE, tokenizer.vocab() as u32), None);
        assert_eq!(grammar.next(grammar.states() as u32, 0), None);
    }

    /// Whatever is drawn of what is allowed reads as actions of the catalogue.
    #[test]
    fn random_walks_are_valid() {
        for (catalogue, tokenizer) in [(catalogue(), tokenizer()), ours()] {
            let grammar = Grammar::new(&catalogue, &tokenizer).expect("a grammar");
            let ends = [END, EMPTY].map(|text| tokenizer.literal(text).expect("a literal"));
            let all: Vec<u32> = (0..tokenizer.vocab() as u32).collect();
            let allowed: Vec<Vec<u32>> = (0..grammar.states() as u32)
                .map(|state| all.iter().copied().filter(|&id| grammar.next(state, id).is_some()).collect())
                .collect();
            let mut random = Random::new(5);
            let mut finished = 0;
            for _ in 0..3000 {
                let mut ids = vec![tokenizer.special("<act>").expect("<act>")];
                let mut state = ACT;
                while state != FREE {
                    let from = &allowed[state as usize];
                    // The literals that end are rare among all tokens: often they come when they may.
                    let id = match ends.iter().find(|id| from.contains(id)) {
                        Some(&id) if random.below(3) == 0 => id,
                        _ => from[random.below(from.len())],
                    };
                    state = grammar.next(state, id).expect("allowed");
                    ids.push(id);
                }
                let answer = read(&tokenizer, &ids);
                assert_eq!(answer.actions.len(), 1, "{:?}", String::from_utf8_lossy(&tokenizer.decode(&ids)));
                catalogue.check(&answer.actions[0]).expect("an action of the catalogue");
                finished += 1;
            }
            assert_eq!(finished, 3000);
        }
    }

    #[test]
    fn every_state_leads_back_to_text() {
        let (catalogue, tokenizer) = ours();
        let grammar = Grammar::new(&catalogue, &tokenizer).expect("a grammar");
        let [states, classes] = [grammar.states(), grammar.classes()];
        assert_eq!(grammar.words().len(), 3 + tokenizer.vocab() + states * classes);
        assert_eq!(grammar, Grammar::new(&catalogue, &tokenizer).expect("the same again"));
        let next = &grammar.words()[3 + tokenizer.vocab()..];
        let mut leads = vec![false; states];
        leads[FREE as usize] = true;
        for _ in 0..states {
            for state in 0..states {
                let row = &next[state * classes..][..classes];
                leads[state] |= row.iter().any(|&to| to != FORBIDDEN && leads[to as usize]);
            }
        }
        assert!(leads.iter().all(|leads| *leads), "{leads:?}");
        // Half a MiB at most, whatever the vocabulary.
        assert!(states * classes < 128 << 10, "{states} states, {classes} classes");
    }

    #[test]
    fn a_stream_is_followed_through_what_is_forbidden() {
        let (catalogue, tokenizer) = (catalogue(), tokenizer());
        let grammar = Grammar::new(&catalogue, &tokenizer).expect("a grammar");
        let act = tokenizer.special("<act>").expect("<act>");
        let ids = catalogue.encode(&tokenizer, &action("timer.set", &[("duration", "1 s")])).expect("encodes");
        let follow = |ids: &[u32]| ids.iter().fold(FREE, |state, &id| grammar.follow(state, id));
        for cut in 1..ids.len() {
            assert_ne!(follow(&ids[..cut]), FREE);
            // Another turn ends an action that was cut short, and one that begins anew is one.
            assert_eq!(follow(&[&ids[..cut], &tokenizer.user_turn("hello")].concat()), FREE);
            assert_eq!(follow(&[&ids[..cut], &[act]].concat()), ACT);
        }
        assert_eq!((follow(&ids), follow(&[u32::MAX])), (FREE, FREE));
    }

    #[test]
    fn white_space_is_known_however_it_is_cut() {
        for c in (0..=0x10FFFF).filter_map(char::from_u32) {
            let mut bytes = [0; 4];
            let bytes = c.encode_utf8(&mut bytes).as_bytes();
            let one = blank(0, bytes);
            assert_eq!(one, if c.is_whitespace() { 0 } else { SEEN }, "{c:?}");
            assert_eq!(bytes.iter().fold(0, |at, byte| blank(at, &[*byte])), one, "{c:?}");
        }
        // Half a character and something else: that reads as a replacement character.
        assert_eq!([&[0xE2, b' '][..], &[0xC2, 0xC2], &[0xE3, 0x80, b'a']].map(|text| blank(0, text)), [SEEN; 3]);
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let (catalogue, tokenizer) = (catalogue(), tokenizer());
        assert!(matches!(Grammar::new(&catalogue, &Tokenizer::bytes()), Err(Error::Action(_))));
        let texts = || (0..4).map(|_| "turn on the light".to_string());
        for at in 0..catalogue.literals().len() {
            let mut literals = catalogue.literals();
            let gone = literals.remove(at);
            let tokenizer = Tokenizer::train(texts(), 300, &literals).expect("training");
            assert!(matches!(Grammar::new(&catalogue, &tokenizer), Err(Error::Action(_))), "{gone:?}");
        }
        // Nothing but refusing: no action is begun.
        let none = Catalogue::from_json(r#"[{"name":"unknown","about":"","arguments":[]}]"#).expect("a catalogue");
        let grammar = Grammar::new(&none, &tokenizer).expect("a grammar");
        let act = tokenizer.special("<act>").expect("<act>");
        assert_eq!((grammar.next(FREE, act), grammar.follow(FREE, act)), (None, FREE));
        assert_eq!(grammar.next(FREE, refusal(&tokenizer).expect("a refusal")), Some(FREE));
    }
}
