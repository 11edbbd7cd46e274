//! The actions that a device can be asked for, and one that was.

use crate::error::{Error, Result};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// The catalogue as it is stored.
pub const CATALOGUE: &str = include_str!("../actions.json");

/// One kind of action.
#[derive(Debug, Clone, Deserialize)]
pub struct ActionKind {
    /// Its name: `timer.set`.
    pub name: String,
    /// What it does.
    pub about: String,
    /// What it takes.
    pub arguments: Vec<ArgumentKind>,
}

/// One argument of an action.
#[derive(Debug, Clone, Deserialize)]
pub struct ArgumentKind {
    /// Its name.
    pub name: String,
    /// What it says.
    pub about: String,
    /// Whether the action is senseless without it.
    #[serde(default)]
    pub required: bool,
    /// What it may be; anything where empty.
    #[serde(default)]
    pub values: Vec<String>,
}

/// Reads the catalogue.
pub fn catalogue() -> Result<Vec<ActionKind>> {
    serde_json::from_str(CATALOGUE).map_err(|e| Error::new(format!("actions.json: {e}")))
}

/// The arguments of an action, in the order of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments(pub Vec<(String, String)>);

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// An action with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: Arguments,
}

impl Action {
    /// The refusal.
    pub fn unknown() -> Self {
        Action { name: "unknown".to_string(), arguments: Arguments::default() }
    }
    /// Says what is wrong with this action, if anything is.
    pub fn check(&self, catalogue: &[ActionKind]) -> Result<()> {
        let wrong = |what: String| Err(Error::new(format!("{}: {what}", self.name)));
        let Some(kind) = catalogue.iter().find(|k| k.name == self.name) else {
            return wrong("no such action".to_string());
        };
        let mut last = None;
        for (name, value) in &self.arguments.0 {
            let Some(place) = kind.arguments.iter().position(|a| &a.name == name) else {
                return wrong(format!("no argument {name}"));
            };
            if last.is_some_and(|last| last >= place) {
                return wrong(format!("{name} stands too late"));
            }
            last = Some(place);
            let values = &kind.arguments[place].values;
            if value.trim().is_empty() || (!values.is_empty() && !values.contains(value)) {
                return wrong(format!("{name} cannot be {value:?}"));
            }
        }
        for argument in kind.arguments.iter().filter(|a| a.required) {
            if !self.arguments.0.iter().any(|(name, _)| name == &argument.name) {
                return wrong(format!("no {}", argument.name));
            }
        }
        Ok(())
    }
}
