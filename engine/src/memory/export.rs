//! A memory as one small file: for another device, a backup, or another model.
//!
//! `lichen-memory-1\n`, the length of a JSON manifest (u64 LE), the manifest (the model's id, lessons with their
//! records and texts, merges with theirs), the lessons' sections one after the other, merged sections, SHA-256 of all
//! that.

use super::record::{self, FORMAT, MERGED, MERGES, Merge, Record, Shape, to_json};
use super::{Memory, MemoryError, New, Texts};
use crate::error::Error;
use crate::header::shorten;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// First bytes of a file, with its format version.
const MAGIC: &[u8; 16] = b"lichen-memory-1\n";

/// What importing a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// The file is of this model, and its lessons are in the memory.
    Lessons {
        /// The numbers of those that are new here, ascending.
        added: Vec<u64>,
        /// The numbers of those that were here before, recognised by their sections.
        known: Vec<u64>,
    },
    /// The file is of another model, to which its sections belong, and nothing was added: what was said in its open
    /// lessons, the oldest first, to be taught again.
    Texts {
        /// That model's id.
        model: String,
        /// What was said.
        texts: Vec<Texts>,
        /// Open lessons of which the file does not say what was said.
        untold: usize,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    model: String,
    lessons: Vec<Entry>,
    /// [`Merge`]s.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    merges: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: u64,
    /// A [`Record`].
    record: Value,
    texts: Option<Texts>,
}

/// A file that was read and checked.
struct File<'a> {
    model: String,
    lessons: BTreeMap<u64, (Record, Option<Texts>, &'a [u8])>,
    merges: BTreeMap<u64, (Merge, &'a [u8])>,
}

fn bad(what: impl Into<String>) -> Error {
    MemoryError::File(what.into()).into()
}

impl Memory {
    /// All lessons as the bytes of one file, with what was said in them if `texts`, and all merged sections.
    ///
    /// # Errors
    /// [`MemoryError::Damaged`]: a section is not what was committed. [`MemoryError::Unwritten`]: the model has no id
    /// by which the file could be told from another model's. Those of the store.
    pub fn export(&self, texts: bool) -> Result<Vec<u8>, Error> {
        if self.model.is_empty() {
            return Err(MemoryError::Unwritten.into());
        }
        let (snapshot, about) = self.look()?;
        let (mut lessons, mut sections) = (Vec::new(), Vec::new());
        let records = record::records(&snapshot, about.next, &self.name())?;
        let merges = record::merges(&snapshot, &records, &self.name())?;
        for (id, record) in records {
            let section = snapshot.get(record::SECTIONS, id)?;
            record::section(self.shape, &record, section.as_deref())
                .map_err(|what| record::damaged(&self.name(), id, &what))?;
            sections.extend(section.into_iter().flatten());
            let texts = if texts { record::texts(&snapshot, id, &self.name())? } else { None };
            lessons.push(Entry { id, record: serde_json::json!(record), texts });
        }
        for (&id, merge) in &merges {
            let section = snapshot.get(MERGED, id)?;
            record::section(self.shape, &merge.record, section.as_deref())
                .map_err(|what| record::damaged(&self.name(), id, &format!("of its merged section: {what}")))?;
            sections.extend(section.into_iter().flatten());
        }
        let merges = merges.into_values().map(|merge| serde_json::json!(merge)).collect();
        Ok(seal(&Manifest { model: self.model.clone(), lessons, merges }, &sections))
    }

    /// Adds the lessons of a file, in one transaction, under new numbers. Those that are here already are known by
    /// their sections and left as they are; links between lessons are kept, and where both here and there a newer
    /// lesson replaced the same older one, the imported one replaces the one here. A merged section comes along where
    /// all of its lessons are new here.
    ///
    /// Sections of another model mean nothing to this one: then nothing is added, and what was said is given back.
    ///
    /// # Errors
    /// [`MemoryError::File`]: the bytes are no file of a memory, are damaged, or do not fit the model; found before
    /// more is allocated than they are long. [`MemoryError::NothingToTeach`]: a file of another model without texts.
    /// [`MemoryError::Damaged`] of this memory, and those of the store: then nothing was changed.
    pub fn import(&mut self, bytes: &[u8]) -> Result<Imported, Error> {
        let file = File::read(bytes)?;
        if file.model != self.model {
            return file.retell(&self.model);
        }
        file.check(self.shape)?;
        let (snapshot, mut about) = self.look()?;
        let here = record::records(&snapshot, about.next, &self.name())?;
        drop(snapshot);
        let mut replaced = record::replaced(&here);
        let by_section: BTreeMap<&str, u64> = here.iter().map(|(&id, record)| (record.sha256.as_str(), id)).collect();
        // From numbers of the file to numbers here.
        let mut ids = BTreeMap::new();
        let (mut new, mut added, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for (id, (mut record, texts, section)) in file.lessons {
            if let Some(&same) = by_section.get(record.sha256.as_str()) {
                ids.insert(id, same);
                known.push(same);
                continue;
            }
            let own = about.take_id(&self.name())?;
            ids.insert(id, own);
            record.replaces = record.replaces.and_then(|old| ids.get(&old).copied());
            // To the end of the chain that it joins.
            while let Some(&newer) = record.replaces.and_then(|old| replaced.get(&old)) {
                record.replaces = Some(newer);
            }
            replaced.extend(record.replaces.map(|old| (old, own)));
            let texts = texts.filter(|_| self.keep_texts);
            new.push(New { id: own, record, section, texts });
            added.push(own);
        }
        let mut merged = Vec::new();
        for (Merge { mut lessons, record }, section) in file.merges.into_values() {
            lessons.iter_mut().for_each(|id| *id = ids.get(id).copied().unwrap_or_default());
            if lessons.iter().all(|id| added.contains(id)) {
                let first = lessons.first().copied().unwrap_or_default();
                merged.push((MERGES, first, to_json(&Merge { lessons, record })));
                merged.push((MERGED, first, section.to_vec()));
            }
        }
        if !new.is_empty() {
            self.add(&about, &new, &merged)?;
        }
        Ok(Imported::Lessons { added, known })
    }
}

impl<'a> File<'a> {
    /// Checks all that can be checked without a model.
    fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let Some((body, seal)) = bytes.split_last_chunk::<32>() else {
            return Err(bad("it is too short"));
        };
        let Some(rest) = body.strip_prefix(MAGIC) else {
            let version = body.strip_prefix(b"lichen-memory-").and_then(|rest| rest.split(|&b| b == b'\n').next());
            let version = version.ok_or_else(|| bad("it begins otherwise"))?;
            let got = shorten(&String::from_utf8_lossy(&version[..version.len().min(20)]));
            return Err(MemoryError::Version { memory: "the file".into(), got, reads: FORMAT }.into());
        };
        if <[u8; 32]>::from(Sha256::digest(body)) != *seal {
            return Err(bad("its SHA-256 does not match, so it is cut short or changed"));
        }
        let split = rest
            .split_first_chunk::<8>()
            .and_then(|(length, rest)| rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?));
        let (manifest, mut sections) = split.ok_or_else(|| bad("its parts do not add up"))?;
        let manifest: Manifest = record::from_json(manifest).map_err(bad)?;
        if manifest.model.len() != 64 || !manifest.model.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("its model's id is no SHA-256 in hex"));
        }
        let mut lessons = BTreeMap::new();
        for Entry { id, record, texts } in manifest.lessons {
            let wrong = |what: &str| bad(format!("lesson {id}: {what}"));
            let record = Record::from_value(record).map_err(|what| wrong(&what))?;
            let length = usize::try_from(record.bytes).ok();
            let split = length.and_then(|length| sections.split_at_checked(length));
            let (section, rest) = split.ok_or_else(|| wrong("its section is longer than what is left of the file"))?;
            record.check(section).map_err(|what| wrong(&what))?;
            sections = rest;
            if lessons.last_key_value().is_some_and(|(&last, _)| last >= id) {
                return Err(wrong("numbers must ascend"));
            }
            lessons.insert(id, (record, texts, section));
        }
        let mut merges = BTreeMap::new();
        for merge in manifest.merges {
            let merge = Merge::from_value(merge).map_err(|what| bad(format!("a merge: {what}")))?;
            let first = merge.lessons.first().copied().unwrap_or_default();
            let wrong = |what: &str| bad(format!("the merge of lesson {first}: {what}"));
            let length = usize::try_from(merge.record.bytes).ok();
            let split = length.and_then(|length| sections.split_at_checked(length));
            let (section, rest) = split.ok_or_else(|| wrong("its section is longer than what is left of the file"))?;
            merge.record.check(section).map_err(|what| wrong(&what))?;
            sections = rest;
            if merges.insert(first, (merge, section)).is_some() {
                return Err(wrong("there are two"));
            }
        }
        if !sections.is_empty() {
            return Err(bad(format!("{} bytes more than its lessons have", sections.len())));
        }
        Ok(Self { model: manifest.model, lessons, merges })
    }

    /// Checks links and sections against the model that the file is of.
    fn check(&self, shape: Shape) -> Result<(), Error> {
        let records = self.lessons.iter().map(|(&id, (record, ..))| (id, record.clone())).collect();
        if let Some((id, what)) = record::links(&records, u64::MAX).into_iter().next() {
            return Err(bad(format!("lesson {id}: {what}")));
        }
        let merges = self.merges.iter().map(|(&id, (merge, _))| (id, merge.clone())).collect();
        if let Some((id, what)) = record::merge_links(&merges, &records).into_iter().next() {
            return Err(bad(format!("lesson {id}: {what}")));
        }
        let own = self.lessons.iter().map(|(id, (_, _, section))| (id, section));
        for (id, section) in own.chain(self.merges.iter().map(|(id, (_, section))| (id, section))) {
            shape.decode(section).map_err(|what| bad(format!("lesson {id}: {what}")))?;
        }
        Ok(())
    }

    /// What was said in the open lessons.
    fn retell(self, ours: &str) -> Result<Imported, Error> {
        let replaced: BTreeSet<u64> = self.lessons.values().filter_map(|(record, ..)| record.replaces).collect();
        let open = self.lessons.into_iter().filter(|(id, _)| !replaced.contains(id));
        let (told, untold): (Vec<_>, Vec<_>) = open.map(|(_, (_, texts, _))| texts).partition(Option::is_some);
        let texts: Vec<Texts> = told.into_iter().flatten().collect();
        match texts.is_empty() {
            true => Err(MemoryError::NothingToTeach { theirs: self.model, ours: ours.into() }.into()),
            false => Ok(Imported::Texts { model: self.model, texts, untold: untold.len() }),
        }
    }
}

/// A file with this manifest and these sections.
fn seal(manifest: &impl Serialize, sections: &[u8]) -> Vec<u8> {
    let manifest = to_json(manifest);
    let length = (manifest.len() as u64).to_le_bytes();
    let mut file = [&MAGIC[..], &length, &manifest, sections].concat();
    let seal = Sha256::digest(&file);
    file.extend(seal);
    file
}
