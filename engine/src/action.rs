//! Actions: what a person asks a device for, written by the model as compact JSON and executed by an app.
//!
//! A catalogue names the actions and their arguments. Its skeleton pieces (`{"name":"timer.set","arguments":{`,
//! `"duration":"`) are literal tokens, so an action costs one token for its name, one for each argument's name and those
//! of the values. A refusal is one literal token. Values stand after a space, as words do in a sentence, so that what
//! is copied is the same tokens; [`read`] takes it off again.

use crate::error::Error;
use crate::tokenizer::Tokenizer;
use crate::when::Moment;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The action that refuses.
pub const UNKNOWN: &str = "unknown";
/// What a refusal is as JSON, in one literal token.
const REFUSAL: &str = r#"{"name":"unknown","arguments":{}}"#;
/// Ends a value when another argument follows.
pub(crate) const NEXT: &str = "\",";
/// Ends the last value and the action.
pub(crate) const END: &str = "\"}}";
/// Ends an action without arguments.
pub(crate) const EMPTY: &str = "}}";

/// What may be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Catalogue {
    actions: Vec<ActionSpec>,
}

/// One kind of action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionSpec {
    /// Its name, such as `timer.set`.
    pub name: String,
    /// What it does.
    pub about: String,
    /// Its arguments, in the order in which they are written.
    pub arguments: Vec<ArgumentSpec>,
}

/// One argument of a kind of action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgumentSpec {
    /// Its name.
    pub name: String,
    /// What it says.
    pub about: String,
    /// Whether the action means nothing without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The only values, if there are such.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// An action with its arguments in the catalogue's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// Names and values of its arguments.
    pub arguments: Vec<(String, String)>,
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Arguments<'a>(&'a [(String, String)]);
        impl Serialize for Arguments<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(self.0.len()))?;
                self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
        let mut all = serializer.serialize_struct("Action", 2)?;
        all.serialize_field("name", &self.name)?;
        all.serialize_field("arguments", &Arguments(&self.arguments))?;
        all.end()
    }
}

impl Action {
    /// The action that refuses.
    pub fn unknown() -> Self {
        Self { name: UNKNOWN.into(), arguments: Vec::new() }
    }
    /// The times among its arguments, as said at a moment: `{"time": "2026-11-24T07:00"}`.
    pub fn times(&self, now: Moment) -> Vec<(String, String)> {
        let times = self.arguments.iter().filter(|(name, _)| name == "time");
        times.filter_map(|(name, said)| Some((name.clone(), now.resolve(said)?.to_string()))).collect()
    }
    /// From `{"name": .., "arguments": {..}}`; values that are not text are taken as they are written.
    pub fn from_value(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let arguments = match value.get("arguments") {
            None => Vec::new(),
            Some(arguments) => arguments.as_object()?.iter().map(|(name, v)| (name.clone(), text(v))).collect(),
        };
        Some(Self { name: value.get("name")?.as_str()?.to_string(), arguments })
    }
}

fn bad(what: String) -> Error {
    Error::Action(what)
}

impl Catalogue {
    /// Reads a catalogue and checks it.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let catalogue: Self = serde_json::from_str(json).map_err(|e| bad(format!("the catalogue: {e}")))?;
        let plain = |text: &str| !text.is_empty() && text.chars().all(|c| !c.is_control() && !matches!(c, '"' | '\\'));
        let mut names = std::collections::HashSet::new();
        for action in &catalogue.actions {
            let mut arguments = std::collections::HashSet::new();
            let all = action.arguments.iter().flat_map(|a| a.values.iter().chain([&a.name]));
            if !plain(&action.name) || !all.clone().all(|text| plain(text)) {
                return Err(bad(format!("the catalogue: {:?} has a name or value that is no plain text", action.name)));
            }
            if !names.insert(&action.name) || !action.arguments.iter().all(|a| arguments.insert(&a.name)) {
                return Err(bad(format!("the catalogue: {:?} or an argument of it stands twice", action.name)));
            }
        }
        match catalogue.get(UNKNOWN) {
            Some(unknown) if unknown.arguments.is_empty() => Ok(catalogue),
            _ => Err(bad(format!("the catalogue has no {UNKNOWN:?} without arguments: refusing must be possible"))),
        }
    }
    /// As it stands in files.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
    /// All kinds of actions.
    pub fn actions(&self) -> &[ActionSpec] {
        &self.actions
    }
    /// A kind of action by its name.
    pub fn get(&self, name: &str) -> Option<&ActionSpec> {
        self.actions.iter().find(|a| a.name == name)
    }

    /// The literal tokens that a tokenizer needs for these actions.
    pub fn literals(&self) -> Vec<String> {
        let mut all = vec![REFUSAL.to_string(), NEXT.to_string(), END.to_string(), EMPTY.to_string()];
        for action in self.actions.iter().filter(|a| a.name != UNKNOWN) {
            all.push(opening(&action.name));
        }
        for argument in self.actions.iter().flat_map(|a| &a.arguments) {
            let key = key(&argument.name);
            if !all.contains(&key) {
                all.push(key);
            }
        }
        all
    }

    /// Whether an action is one of these, with what it needs and nothing else.
    pub fn check(&self, action: &Action) -> Result<(), Error> {
        let spec = self.get(&action.name).ok_or_else(|| bad(format!("there is no action {:?}", action.name)))?;
        let mut from = 0;
        for (name, value) in &action.arguments {
            let at = spec.arguments.iter().position(|a| a.name == *name);
            let at = at.ok_or_else(|| bad(format!("{} has no argument {name:?}", spec.name)))?;
            if at < from {
                return Err(bad(format!("{}: argument {name:?} stands twice or too late", spec.name)));
            }
            let argument = &spec.arguments[at];
            let known = argument.values.is_empty() || argument.values.contains(value);
            if !known || value.trim() != value || value.is_empty() || value.contains(['"', '\\', '\n', '\r', '\t']) {
                return Err(bad(format!("{}: {name} cannot be {value:?}", spec.name)));
            }
            from = at + 1;
        }
        let given = |name: &str| action.arguments.iter().any(|(n, _)| n == name);
        match spec.arguments.iter().find(|a| a.required && !given(&a.name)) {
            Some(missing) => Err(bad(format!("{} needs {:?}", spec.name, missing.name))),
            None => Ok(()),
        }
    }

    /// The tokens of an action, its opening tag included.
    pub fn encode(&self, tokenizer: &Tokenizer, action: &Action) -> Result<Vec<u32>, Error> {
        self.check(action)?;
        let literal =
            |text: &str| tokenizer.literal(text).ok_or_else(|| bad(format!("the tokenizer has no token for {text:?}")));
        if action.name == UNKNOWN {
            return Ok(vec![literal(REFUSAL)?]);
        }
        let act = tokenizer.special("<act>").ok_or_else(|| bad("the tokenizer has no <act> token".into()))?;
        let mut ids = vec![act, literal(&opening(&action.name))?];
        for (i, (name, value)) in action.arguments.iter().enumerate() {
            if i > 0 {
                ids.push(literal(NEXT)?);
            }
            ids.push(literal(&key(name))?);
            ids.extend(tokenizer.encode(&format!(" {value}")));
        }
        ids.push(literal(if action.arguments.is_empty() { EMPTY } else { END })?);
        Ok(ids)
    }
}

pub(crate) fn opening(name: &str) -> String {
    format!("{{\"name\":\"{name}\",\"arguments\":{{")
}
pub(crate) fn key(name: &str) -> String {
    format!("\"{name}\":\"")
}

/// The token that refuses.
pub fn refusal(tokenizer: &Tokenizer) -> Option<u32> {
    tokenizer.literal(REFUSAL)
}

/// An answer in parts: what to do, and what is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Actions in order.
    pub actions: Vec<Action>,
    /// The words beside them, as bytes.
    pub said: Vec<u8>,
}

/// What the next token of an answer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Bytes of what is said; none inside an action.
    Said(Vec<u8>),
    /// An action is whole.
    Done(Action),
}

/// Takes the tokens of an answer as they come.
#[derive(Clone, Debug)]
pub struct Reader {
    tokenizer: Tokenizer,
    act: Option<u32>,
    refusal: Option<u32>,
    ends: Vec<u32>,
    /// Tokens of the action that has begun.
    open: Option<Vec<u32>>,
}

impl Reader {
    /// At the start of an answer.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self {
            act: tokenizer.special("<act>"),
            refusal: refusal(tokenizer),
            ends: [END, EMPTY].iter().filter_map(|text| tokenizer.literal(text)).collect(),
            tokenizer: tokenizer.clone(),
            open: None,
        }
    }
    /// The next token. An action that is no JSON is left out.
    pub fn push(&mut self, id: u32) -> Heard {
        let nothing = Heard::Said(Vec::new());
        if let Some(mut ids) = self.open.take() {
            ids.push(id);
            if !self.ends.contains(&id) {
                self.open = Some(ids);
                return nothing;
            }
            let text = String::from_utf8_lossy(&self.tokenizer.decode(&ids)).into_owned();
            let action = serde_json::from_str(&text).ok().and_then(|value| Action::from_value(&value));
            return action.map_or(nothing, |mut action| {
                action.arguments.iter_mut().for_each(|(_, value)| *value = value.trim().to_string());
                Heard::Done(action)
            });
        }
        if self.act == Some(id) {
            self.open = Some(Vec::new());
            return nothing;
        }
        match self.refusal == Some(id) {
            true => Heard::Done(Action::unknown()),
            false => Heard::Said(self.tokenizer.decode(&[id])),
        }
    }
}

/// Reads the tokens of a whole answer. An action that is cut short is left out.
pub fn read(tokenizer: &Tokenizer, ids: &[u32]) -> Answer {
    let mut reader = Reader::new(tokenizer);
    let mut answer = Answer::default();
    for &id in ids {
        match reader.push(id) {
            Heard::Said(bytes) => answer.said.extend(bytes),
            Heard::Done(action) => answer.actions.push(action),
        }
    }
    answer
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn catalogue() -> Catalogue {
        let json = json!([
            {"name": "timer.set", "about": "a", "arguments": [
                {"name": "duration", "about": "b", "required": true}, {"name": "label", "about": "c"}]},
            {"name": "light.set", "about": "a", "arguments": [
                {"name": "state", "about": "b", "required": true, "values": ["on", "off"]},
                {"name": "room", "about": "c"}]},
            {"name": "call.end", "about": "a", "arguments": []},
            {"name": "unknown", "about": "a", "arguments": []},
        ]);
        Catalogue::from_json(&json.to_string()).expect("a catalogue")
    }
    pub(crate) fn tokenizer() -> Tokenizer {
        let texts = ["turn on the light", "set a timer for ten minutes"];
        let texts = (0..40).map(|i| texts[i % 2].to_string());
        Tokenizer::train(texts, 340, &catalogue().literals()).expect("training")
    }
    fn action(name: &str, arguments: &[(&str, &str)]) -> Action {
        let arguments = arguments.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        Action { name: name.into(), arguments }
    }

    #[test]
    fn actions_survive_tokens() {
        let (catalogue, tokenizer) = (catalogue(), tokenizer());
        let all = [
            action("timer.set", &[("duration", "10 min"), ("label", "größe")]),
            action("light.set", &[("state", "on")]),
            action("call.end", &[]),
            Action::unknown(),
        ];
        let mut ids: Vec<u32> = all.iter().flat_map(|a| catalogue.encode(&tokenizer, a).expect("encodes")).collect();
        ids.extend(tokenizer.encode("Done."));
        let answer = read(&tokenizer, &ids);
        assert_eq!((answer.actions, answer.said), (all.to_vec(), b"Done.".to_vec()));
        let one = catalogue.encode(&tokenizer, &all[1]).expect("encodes");
        assert_eq!(tokenizer.decode(&one), br#"{"name":"light.set","arguments":{"state":" on"}}"#);
        let written = serde_json::to_string(&all[0]).expect("writes");
        assert_eq!(written, r#"{"name":"timer.set","arguments":{"duration":"10 min","label":"größe"}}"#);
        // Cut short: not an action, and nothing said.
        assert_eq!(read(&tokenizer, &one[..3]), Answer::default());
    }

    #[test]
    fn impossible_actions_are_errors() {
        let (catalogue, tokenizer) = (catalogue(), tokenizer());
        for bad in [
            action("nothing", &[]),
            action("timer.set", &[]),
            action("timer.set", &[("label", "x"), ("duration", "1 s")]),
            action("timer.set", &[("duration", "1 s"), ("duration", "1 s")]),
            action("timer.set", &[("duration", "")]),
            action("timer.set", &[("duration", " x")]),
            action("timer.set", &[("duration", "a\"b")]),
            action("light.set", &[("state", "maybe")]),
            action("call.end", &[("room", "x")]),
        ] {
            assert!(catalogue.encode(&tokenizer, &bad).is_err(), "{bad:?}");
        }
        assert!(catalogue.encode(&Tokenizer::bytes(), &Action::unknown()).is_err());
    }

    #[test]
    fn bad_catalogues_are_errors() {
        let unknown = r#"{"name":"unknown","about":"","arguments":[]}"#;
        let one = |name: &str| format!(r#"{{"name":{name},"about":"","arguments":[]}}"#);
        assert!(Catalogue::from_json(&format!("[{unknown}]")).is_ok());
        for bad in ["", "[]", "{}", &format!("[{unknown},{unknown}]"), &format!("[{unknown},{}]", one(r#""a\"""#))] {
            assert!(matches!(Catalogue::from_json(bad), Err(Error::Action(_))), "{bad}");
        }
        let ours = include_str!("../../examples/assistant/actions.json");
        let ours = Catalogue::from_json(ours).expect("the catalogue of this repository");
        assert!((40..60).contains(&ours.actions().len()));
        assert_eq!(Catalogue::from_json(&ours.to_json()).expect("reads"), ours);
    }
}
