//! What lies in the tables of a memory, as bytes.
//!
//! A section is little-endian float32, bit for bit: theta, keys [KEYS, turn], then the slab [2, NEURONS, width] of
//! each of the pool's layers; where it has words of its own, how many as 32 bits and their hash as 64, and where
//! it is known which fact it holds, the hash of that. Everything else is JSON.

use super::{MemoryError, Texts};
use crate::config::Config;
use crate::error::Error;
use crate::header::{hex, shorten};
use crate::learn::Receipt;
use crate::phrase::{MOST, Phrase};
use crate::plastic::{self, KEYS, NEURONS, Written};
use lichen_host::Snapshot;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Format version, model and next id, under 0.
pub(super) const ABOUT: &str = "about";
/// A [`Record`] by the lesson's id.
pub(super) const LESSONS: &str = "lessons";
/// A section by the lesson's id.
pub(super) const SECTIONS: &str = "sections";
/// [`Texts`] by the lesson's id.
pub(super) const TEXTS: &str = "texts";
/// A [`Merge`] by the number of its first lesson.
pub(super) const MERGES: &str = "merges";
/// The section of a merge, by the same number.
pub(super) const MERGED: &str = "merged";
/// Bytes of whoever learns, by its own numbers.
pub(super) const CACHE: &str = "cache";
/// The format version that this program reads and writes.
pub(super) const FORMAT: u32 = 1;

/// JSON of a value. That of the types here cannot fail; an empty entry would be found as damage.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// A value from JSON, or what is wrong with it on one short line.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| shorten(&e.to_string()))
}

/// SHA-256 in hex.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// What a memory says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub(super) format: u32,
    /// The model's id; empty for one that was never written.
    pub(super) model: String,
    /// The id of the next lesson: it only ever grows.
    pub(super) next: u64,
}

impl About {
    /// None in a store that nothing was ever written to.
    pub(super) fn read(snapshot: &Snapshot<'_>, memory: &str) -> Result<Option<Self>, Error> {
        let Some(bytes) = snapshot.get(ABOUT, 0)? else { return Ok(None) };
        Self::parse(&bytes, memory).map(Some)
    }
    fn parse(bytes: &[u8], memory: &str) -> Result<Self, Error> {
        let damaged = |what: String| MemoryError::Damaged {
            memory: memory.into(),
            what: format!("what it says of itself: {what}"),
        };
        let value: Value = from_json(bytes).map_err(damaged)?;
        // The version comes first: another one may mean anything else by the rest.
        match value.get("format") {
            Some(format) if *format == FORMAT => {}
            Some(Value::Number(got)) => {
                return Err(MemoryError::Version { memory: memory.into(), got: got.to_string(), reads: FORMAT }.into());
            }
            _ => return Err(damaged("no format version".into()).into()),
        }
        let about: Self = serde_json::from_value(value).map_err(|e| damaged(shorten(&e.to_string())))?;
        match about.next {
            0 => Err(damaged("lessons count up from 1".into()).into()),
            _ => Ok(about),
        }
    }
    /// A number for a lesson that was given to none before.
    pub(super) fn take_id(&mut self, memory: &str) -> Result<u64, Error> {
        let (id, next) = (self.next, self.next.checked_add(1));
        self.next = next.ok_or_else(|| damaged(memory, id, "there is no number after it"))?;
        Ok(id)
    }
}

/// A committed lesson, but for its section and its texts. Who replaced it stands in the record of the one that did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Unix seconds.
    pub(super) created: u64,
    pub(super) receipt: Receipt,
    /// An older lesson.
    pub(super) replaces: Option<u64>,
    /// Length of the section in bytes.
    pub(super) bytes: u64,
    /// Of the section, in hex.
    pub(super) sha256: String,
}

impl Record {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        Self::from_value(from_json(bytes)?)
    }
    pub(super) fn from_value(mut value: Value) -> Result<Self, String> {
        // A receipt has as many lines as the program had that wrote it.
        if let Some(Value::Object(receipt)) = value.get_mut("receipt") {
            let mut whole = json!(Receipt::default());
            whole.as_object_mut().into_iter().for_each(|whole| whole.append(receipt));
            value["receipt"] = whole;
        }
        serde_json::from_value(value).map_err(|e| shorten(&e.to_string()))
    }

    /// Whether these are the bytes that were committed.
    pub(super) fn check(&self, section: &[u8]) -> Result<(), String> {
        if section.len() as u64 != self.bytes {
            return Err(format!("its section has {} bytes, {} were committed", section.len(), self.bytes));
        }
        match hash(section) == self.sha256 {
            true => Ok(()),
            false => Err("the SHA-256 of its section does not match".into()),
        }
    }
}

/// A section that was trained to do what those of several lessons do. Theirs stay where they are. Whether it serves in
/// their place is not stored: it does while all of its lessons are open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Merge {
    /// Their numbers, ascending.
    pub(super) lessons: Vec<u64>,
    /// As of a lesson; it replaces none.
    pub(super) record: Record,
}

impl Merge {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        Self::from_value(from_json(bytes)?)
    }
    pub(super) fn from_value(mut value: Value) -> Result<Self, String> {
        if let Some(record) = value.get_mut("record") {
            *record = json!(Record::from_value(record.take())?);
        }
        serde_json::from_value(value).map_err(|e| shorten(&e.to_string()))
    }
}

/// What is wrong with merges, each with the number that it lies under.
pub(super) fn merge_links(merges: &BTreeMap<u64, Merge>, records: &BTreeMap<u64, Record>) -> Vec<(u64, String)> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (&first, Merge { lessons, record }) in merges {
        let ascending = lessons.len() > 1 && lessons.first() == Some(&first) && lessons.is_sorted_by(|a, b| a < b);
        if !ascending || record.replaces.is_some() {
            problems.push((first, "its merged section is not of it and later lessons".into()));
        }
        if let Some(gone) = lessons.iter().find(|id| !records.contains_key(id)) {
            problems.push((first, format!("its merged section is also of lesson {gone}, which is not there")));
        }
        if let Some(twice) = lessons.iter().find(|id| !seen.insert(**id)) {
            problems.push((first, format!("its merged section is also of lesson {twice}, which has another one")));
        }
    }
    problems
}

/// All merges of a memory, checked against its records.
pub(super) fn merges(
    snapshot: &Snapshot<'_>,
    records: &BTreeMap<u64, Record>,
    memory: &str,
) -> Result<BTreeMap<u64, Merge>, Error> {
    let mut merges = BTreeMap::new();
    let mut problem = None;
    snapshot.each(MERGES, |id, bytes| match Merge::parse(bytes) {
        Ok(merge) => drop(merges.insert(id, merge)),
        Err(what) => problem = problem.take().or(Some((id, format!("its merge: {what}")))),
    })?;
    match problem.or_else(|| merge_links(&merges, records).into_iter().next()) {
        Some((id, what)) => Err(damaged(memory, id, &what)),
        None => Ok(merges),
    }
}

/// What is wrong with the ids of lessons and the links between them, with the lesson that it is wrong with.
pub(super) fn links(records: &BTreeMap<u64, Record>, next: u64) -> Vec<(u64, String)> {
    let mut problems = Vec::new();
    let mut replaced = BTreeMap::new();
    for (&id, record) in records {
        if id == 0 || id >= next {
            problems.push((id, format!("no such number was given out yet (the next is {next})")));
        }
        let Some(old) = record.replaces else { continue };
        if old >= id || !records.contains_key(&old) {
            problems.push((id, format!("it replaces lesson {old}, which is no earlier lesson that is there")));
        }
        if let Some(other) = replaced.insert(old, id) {
            problems.push((id, format!("it replaces lesson {old}, and so does lesson {other}")));
        }
    }
    problems
}

/// All records of a memory, their links checked.
pub(super) fn records(snapshot: &Snapshot<'_>, next: u64, memory: &str) -> Result<BTreeMap<u64, Record>, Error> {
    let mut records = BTreeMap::new();
    let mut problem = None;
    snapshot.each(LESSONS, |id, bytes| match Record::parse(bytes) {
        Ok(record) => drop(records.insert(id, record)),
        Err(what) => problem = problem.take().or(Some((id, format!("its record: {what}")))),
    })?;
    match problem.or_else(|| links(&records, next).into_iter().next()) {
        Some((id, what)) => Err(damaged(memory, id, &what)),
        None => Ok(records),
    }
}

/// The lesson that each replaced lesson was replaced by.
pub(super) fn replaced(records: &BTreeMap<u64, Record>) -> BTreeMap<u64, u64> {
    records.iter().filter_map(|(&id, record)| Some((record.replaces?, id))).collect()
}

/// What was said in a lesson, if it is still there.
pub(super) fn texts(snapshot: &Snapshot<'_>, id: u64, memory: &str) -> Result<Option<Texts>, Error> {
    let bytes = snapshot.get(TEXTS, id)?;
    bytes.map(|bytes| from_json(&bytes)).transpose().map_err(|what| damaged(memory, id, &format!("its texts: {what}")))
}

/// An error about one lesson.
pub(super) fn damaged(memory: &str, id: u64, what: &str) -> Error {
    MemoryError::Damaged { memory: memory.into(), what: format!("lesson {id}: {what}") }.into()
}

/// Sizes of a model's sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Elements of the keys.
    keys: usize,
    /// Layers.
    slabs: usize,
    /// Elements of a slab.
    slab: usize,
}

impl Shape {
    pub(super) fn of(config: &Config) -> Self {
        Self { keys: KEYS * config.turn, slabs: plastic::layers(config).len(), slab: 2 * NEURONS * config.width }
    }
    /// Bytes of a section that has no words of its own and may hold any fact.
    pub(super) fn bytes(&self) -> usize {
        4 * (1 + self.keys + self.slabs * self.slab)
    }

    /// A section as bytes.
    pub(super) fn encode(&self, written: &Written) -> Result<Vec<u8>, Error> {
        let Written { phrase, fact, theta, keys, slabs } = written;
        let misfit = |what: String| Err(MemoryError::Misfit(what).into());
        if self.keys == 0 {
            return misfit("it cannot learn on a device, for it has no vectors of turns".into());
        }
        if keys.len() != self.keys || slabs.len() != self.slabs || slabs.iter().any(|slab| slab.len() != self.slab) {
            let got: Vec<_> = slabs.iter().map(Vec::len).collect();
            return misfit(format!(
                "{} numbers of keys and slabs of {got:?}, it takes {} and {} slabs of {}",
                keys.len(),
                self.keys,
                self.slabs,
                self.slab
            ));
        }
        let mut bytes = Vec::with_capacity(self.bytes());
        for x in [theta].into_iter().chain(keys).chain(slabs.iter().flatten()) {
            if !x.is_finite() {
                return misfit(format!("its section holds {x}"));
            }
            bytes.extend(x.to_le_bytes());
        }
        if let Some(Phrase { count, hash }) = phrase {
            bytes.extend(count.to_le_bytes());
            bytes.extend(hash.to_le_bytes());
        } else if let Some(fact) = fact {
            bytes.extend(fact.to_le_bytes());
        }
        Ok(bytes)
    }

    /// A section from bytes, or what is wrong with them.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Written, String> {
        let (bytes, about) = bytes.split_at_checked(self.bytes()).unwrap_or((bytes, &[]));
        let hash = |bytes: &[u8]| bytes.iter().rev().fold(0, |hash, &byte| hash << 8 | u64::from(byte));
        let (phrase, fact) = match *about {
            [] if bytes.len() == self.bytes() => (None, None),
            ref fact if fact.len() == 8 => (None, Some(hash(fact))),
            [a, b, c, d, ref words @ ..] if words.len() == 8 => {
                (Some(Phrase { count: u32::from_le_bytes([a, b, c, d]), hash: hash(words) }), None)
            }
            _ => {
                let (got, own) = (bytes.len() + about.len(), self.bytes());
                return Err(format!("its section has {got} bytes, the model's have {own}"));
            }
        };
        if let Some(phrase) = phrase.filter(|phrase| !(1..=MOST as u32).contains(&phrase.count)) {
            return Err(format!("its section has {} words of its own", phrase.count));
        }
        let numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
        if let Some(x) = numbers.iter().find(|x| !x.is_finite()) {
            return Err(format!("its section holds {x}"));
        }
        let (gate, slabs) = numbers.split_at(1 + self.keys);
        let slabs = slabs.chunks_exact(self.slab).map(<[f32]>::to_vec).collect();
        Ok(Written { phrase, fact, theta: gate[0], keys: gate[1..].to_vec(), slabs })
    }
}

/// The section of a lesson as it was committed, or what is wrong with it.
pub(super) fn section(shape: Shape, record: &Record, bytes: Option<&[u8]>) -> Result<Written, String> {
    let bytes = bytes.ok_or("its section is missing")?;
    record.check(bytes)?;
    shape.decode(bytes)
}
