//! The memory: a store of committed lessons, with receipts.
//!
//! A lesson is one section of the plastic pool. Committing it is one transaction: after it, whatever happens to the
//! process or the machine, the lesson is there whole; before it, nothing of it is. Any lesson can be undone, not only
//! the last: what is left is the memory as if it had never been taught, but for its number, which is not given out
//! again. A lesson may replace an older one, whose section then stays shut, to be open again when the newer is undone.
//! Sections of several lessons may be merged into one that serves in their place for as long as all of them are open;
//! their own stay, and serve again when one of the lessons is undone or replaced.
//!
//! A memory belongs to one model, for sections mean nothing to another. What was said lies in a table of its own:
//! nothing of it is needed to use what was learned, and it can be erased as a whole, or not be kept at all.
//!
//! One process writes. Memories over a store that was opened to read see its last commit, each time they are asked.
//! What is removed may still lie in unused parts of the file until other data takes its place, or until
//! [`Memory::scrub`].

mod error;
mod export;
mod merge;
mod pool;
mod record;
#[cfg(test)]
mod tests;
mod verify;

pub use error::MemoryError;
pub use export::Imported;
pub use pool::Pool;
pub use verify::Problem;

use crate::error::Error;
use crate::header::Header;
use crate::learn::{Learned, Receipt};
use crate::model::Model;
use crate::plastic::Written;
use lichen_host::{Change, Snapshot, Store};
use record::{ABOUT, About, CACHE, FORMAT, LESSONS, MERGED, MERGES, Record, SECTIONS, Shape, TEXTS, to_json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Committed lessons of one model.
#[derive(Debug)]
pub struct Memory {
    store: Store,
    model: String,
    shape: Shape,
    /// Whether a commit keeps what was said and the prompts that were taught; it does to start with. Without them
    /// a lesson works all the same, but another model cannot be taught it from an export, and `verify` has less to
    /// look at.
    pub keep_texts: bool,
}

/// A committed lesson.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// Its number, from 1 on.
    pub id: u64,
    /// When it was committed, in seconds since 1970.
    pub created: u64,
    /// What it did.
    pub receipt: Receipt,
    /// The older lesson that it replaced.
    pub replaces: Option<u64>,
    /// The newer lesson that replaced it; its section is shut while there is one.
    pub replaced_by: Option<u64>,
    /// The other lessons for which one merged section serves now, with this one; none where its own does.
    pub shares_with: Vec<u64>,
    /// Bytes of its section.
    pub bytes: u64,
    /// What was said, unless that was erased or never kept.
    pub texts: Option<Texts>,
}

/// What was said in a lesson. Not needed to use what was learned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    /// The words that taught it.
    pub said: Option<String>,
    /// Prompts and the answers that the lesson gives them.
    pub frames: Vec<(String, String)>,
}

impl Texts {
    /// What was said, or what was taught, on one line.
    pub fn line(&self) -> String {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        match (&self.said, self.frames.first()) {
            (Some(said), _) => flat(said),
            (None, Some((prompt, answer))) => format!("{} -> {}", flat(prompt), flat(answer)),
            (None, None) => String::new(),
        }
    }
}

impl Memory {
    /// The memory of a model in a store. A new store that may be written becomes that model's.
    ///
    /// # Errors
    /// [`MemoryError::OtherModel`]: the store holds another model's lessons. [`MemoryError::Unwritten`]: the model has
    /// no id and the store is a file. [`MemoryError::Version`], [`MemoryError::Damaged`]; and those of the store.
    pub fn open(store: Store, model: &Model) -> Result<Self, Error> {
        Self::open_for(store, model.header())
    }

    /// The same for a model that is on no device: its header is enough for all but [`Memory::pool`].
    ///
    /// # Errors
    /// As [`Memory::open`].
    pub fn open_for(store: Store, header: &Header) -> Result<Self, Error> {
        if header.id.is_empty() && store.lasts() {
            return Err(MemoryError::Unwritten.into());
        }
        let model = header.lineage().to_string();
        let memory = Self { store, model, shape: Shape::of(&header.config), keep_texts: true };
        let (snapshot, about) = memory.look()?;
        let is_new = snapshot.get(ABOUT, 0)?.is_none();
        drop(snapshot);
        if is_new && memory.store.writes() {
            memory.store.commit(&[Change::Put(ABOUT, 0, &to_json(&about))])?;
        }
        Ok(memory)
    }

    /// Gives the store back.
    pub fn into_store(self) -> Store {
        self.store
    }
    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Commits a lesson: all of it in one transaction, on the disk when this returns. Gives its number.
    ///
    /// `said` is what a person said, `created` the time in seconds since 1970, `replaces` the open lesson that this
    /// one is the newer version of.
    ///
    /// # Errors
    /// [`MemoryError::Misfit`]: lengths are not the model's, or a number is not finite. [`MemoryError::NoLesson`],
    /// [`MemoryError::Gone`] or [`MemoryError::Replaced`]: there is no such open lesson to replace. Those of the store:
    /// then nothing was changed.
    pub fn commit(
        &mut self,
        learned: &Learned,
        said: Option<&str>,
        created: u64,
        replaces: Option<u64>,
    ) -> Result<u64, Error> {
        let section = self.shape.encode(&learned.written)?;
        let (snapshot, mut about) = self.look()?;
        // Also looked at where nothing is replaced: nothing is added to what is damaged.
        let records = record::records(&snapshot, about.next, &self.name())?;
        if let Some(old) = replaces {
            if !records.contains_key(&old) {
                return Err(missing(old, about.next));
            }
            if let Some(&by) = record::replaced(&records).get(&old) {
                return Err(MemoryError::Replaced { id: old, by }.into());
            }
        }
        drop(snapshot);
        let id = about.take_id(&self.name())?;
        let new = New {
            id,
            record: Record {
                created,
                receipt: learned.receipt.clone(),
                replaces,
                bytes: section.len() as u64,
                sha256: record::hash(&section),
            },
            section: &section,
            texts: self.texts_of(said, &learned.frames),
        };
        self.add(&about, &[new], &[])?;
        Ok(id)
    }

    /// All lessons, the oldest first.
    ///
    /// # Errors
    /// [`MemoryError::Damaged`], and those of the store.
    pub fn list(&self) -> Result<Vec<Lesson>, Error> {
        let (snapshot, about) = self.look()?;
        let records = record::records(&snapshot, about.next, &self.name())?;
        let all = Links::of(&snapshot, &records, &self.name())?;
        records.into_iter().map(|(id, record)| self.lesson(&snapshot, id, record, &all)).collect()
    }

    /// One lesson.
    ///
    /// # Errors
    /// [`MemoryError::NoLesson`], [`MemoryError::Gone`], and as [`Memory::list`].
    pub fn show(&self, id: u64) -> Result<Lesson, Error> {
        let (snapshot, about) = self.look()?;
        let mut records = record::records(&snapshot, about.next, &self.name())?;
        let all = Links::of(&snapshot, &records, &self.name())?;
        let record = records.remove(&id).ok_or_else(|| missing(id, about.next))?;
        self.lesson(&snapshot, id, record, &all)
    }

    /// The number of the lesson that was committed last; none in an empty memory.
    ///
    /// # Errors
    /// As [`Memory::list`].
    pub fn last(&self) -> Result<Option<u64>, Error> {
        let (snapshot, about) = self.look()?;
        Ok(record::records(&snapshot, about.next, &self.name())?.last_key_value().map(|(&id, _)| id))
    }

    /// The lessons whose sections are open: not replaced by newer ones, ascending.
    ///
    /// # Errors
    /// As [`Memory::list`].
    pub fn open_lessons(&self) -> Result<Vec<u64>, Error> {
        let (snapshot, about) = self.look()?;
        let records = record::records(&snapshot, about.next, &self.name())?;
        let replaced = record::replaced(&records);
        Ok(records.into_keys().filter(|id| !replaced.contains_key(id)).collect())
    }

    /// What a lesson wrote, bit for bit, also where a merged section serves for it.
    ///
    /// # Errors
    /// [`MemoryError::Damaged`] if it is not what was committed, does not fit the model or holds a number that is
    /// not finite; [`MemoryError::NoLesson`], [`MemoryError::Gone`]; and those of the store.
    pub fn section(&self, id: u64) -> Result<Written, Error> {
        let (snapshot, about) = self.look()?;
        let Some(bytes) = snapshot.get(LESSONS, id)? else { return Err(missing(id, about.next)) };
        let record =
            Record::parse(&bytes).map_err(|what| record::damaged(&self.name(), id, &format!("its record: {what}")))?;
        self.section_of(&snapshot, id, &record)
    }

    /// Takes a lesson back: its record, its section and its texts go, and a merged section that knows of it: the other
    /// lessons' own serve again. If it had replaced an older lesson, that one
    /// is open again, which is what this returns; if it was itself replaced, the newer one now replaces the older.
    ///
    /// # Errors
    /// [`MemoryError::NoLesson`], [`MemoryError::Gone`], [`MemoryError::Damaged`]; those of the store: then nothing
    /// was changed.
    pub fn undo(&mut self, id: u64) -> Result<Option<u64>, Error> {
        let (snapshot, about) = self.look()?;
        let mut records = record::records(&snapshot, about.next, &self.name())?;
        let merges = record::merges(&snapshot, &records, &self.name())?;
        drop(snapshot);
        let gone = records.remove(&id).ok_or_else(|| missing(id, about.next))?;
        let newer = records.iter_mut().find(|(_, record)| record.replaces == Some(id));
        let newer = newer.map(|(&id, record)| {
            record.replaces = gone.replaces;
            (id, to_json(record))
        });
        let mut changes = [LESSONS, SECTIONS, TEXTS].map(|table| Change::Delete(table, id)).to_vec();
        changes.extend(newer.as_ref().map(|(newer, record)| Change::Put(LESSONS, *newer, record)));
        changes.extend(merge::dropped(&merges, &[id]));
        self.store.commit(&changes)?;
        Ok(gone.replaces.filter(|_| newer.is_none()))
    }

    /// Takes all lessons back, with their texts and the cache; says how many there were. Works on a damaged memory
    /// too. Their numbers are not given out again.
    ///
    /// # Errors
    /// Those of the store: then nothing was changed.
    pub fn clear(&mut self) -> Result<usize, Error> {
        let lessons = self.count(LESSONS)?;
        self.store.commit(&[LESSONS, SECTIONS, TEXTS, MERGES, MERGED, CACHE].map(Change::Clear))?;
        Ok(lessons)
    }

    /// Forgets what was said in all lessons; what was learned stays. Says of how many lessons it forgot it.
    ///
    /// # Errors
    /// Those of the store: then nothing was changed.
    pub fn erase_texts(&mut self) -> Result<usize, Error> {
        let texts = self.count(TEXTS)?;
        self.store.commit(&[Change::Clear(TEXTS)])?;
        Ok(texts)
    }

    /// Overwrites in the file what was undone, cleared or erased. Says false where somebody reads that at this moment.
    /// It takes as long as rewriting the part of the file behind what was removed.
    ///
    /// # Errors
    /// Those of the store; what the memory holds stays as it is.
    pub fn scrub(&mut self) -> Result<bool, Error> {
        Ok(self.store.scrub()?)
    }

    /// What whoever learns put under a number: things that can be computed again from the model alone, so that nothing of
    /// what was said is among them.
    ///
    /// # Errors
    /// Those of the store.
    pub fn cached(&self, number: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.store.get(CACHE, number)?)
    }
    /// Puts something under a number.
    ///
    /// # Errors
    /// Those of the store: then nothing was changed.
    pub fn put_cached(&mut self, number: u64, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.store.commit(&[Change::Put(CACHE, number, bytes)])?)
    }

    /// The memory as it is now, and what it says of itself.
    fn look(&self) -> Result<(Snapshot<'_>, About), Error> {
        let snapshot = self.store.snapshot()?;
        let about = match About::read(&snapshot, &self.name())? {
            Some(about) if about.model == self.model => about,
            Some(About { model: theirs, .. }) => {
                return Err(MemoryError::OtherModel { memory: self.name(), theirs, ours: self.model.clone() }.into());
            }
            None => {
                let mut entries = 0;
                for table in [LESSONS, SECTIONS, TEXTS] {
                    snapshot.each(table, |_, _| entries += 1)?;
                }
                if entries > 0 {
                    let what = "it holds lessons and does not say of which model".into();
                    return Err(MemoryError::Damaged { memory: self.name(), what }.into());
                }
                About { format: FORMAT, model: self.model.clone(), next: 1 }
            }
        };
        Ok((snapshot, about))
    }

    /// Adds lessons in one transaction, and other entries with them.
    fn add(&self, about: &About, new: &[New<'_>], others: &[(&'static str, u64, Vec<u8>)]) -> Result<(), Error> {
        let mut entries = vec![(ABOUT, 0, to_json(about))];
        for New { id, record, texts, .. } in new {
            let json = to_json(record);
            // JSON has no word for what is not a number.
            if Record::parse(&json).is_err() {
                return Err(MemoryError::Misfit("its receipt holds a number that is not finite".into()).into());
            }
            entries.push((LESSONS, *id, json));
            entries.extend(texts.iter().map(|texts| (TEXTS, *id, to_json(texts))));
        }
        let puts = entries.iter().chain(others).map(|(table, key, value)| Change::Put(table, *key, value));
        let sections = new.iter().map(|new| Change::Put(SECTIONS, new.id, new.section));
        Ok(self.store.commit(&puts.chain(sections).collect::<Vec<_>>())?)
    }

    /// The texts to keep of a lesson, if any.
    fn texts_of(&self, said: Option<&str>, frames: &[(String, String)]) -> Option<Texts> {
        let any = said.is_some() || !frames.is_empty();
        (self.keep_texts && any).then(|| Texts { said: said.map(str::to_string), frames: frames.to_vec() })
    }

    fn lesson(&self, snapshot: &Snapshot<'_>, id: u64, record: Record, all: &Links) -> Result<Lesson, Error> {
        let texts = record::texts(snapshot, id, &self.name())?;
        let Record { created, receipt, replaces, bytes, .. } = record;
        let shares_with = all.shared.iter().find(|lessons| lessons.contains(&id));
        let shares_with = shares_with.map_or_else(Vec::new, |all| all.iter().copied().filter(|o| *o != id).collect());
        let replaced_by = all.replaced.get(&id).copied();
        Ok(Lesson { id, created, receipt, replaces, replaced_by, shares_with, bytes, texts })
    }

    fn section_of(&self, snapshot: &Snapshot<'_>, id: u64, record: &Record) -> Result<Written, Error> {
        let bytes = snapshot.get(SECTIONS, id)?;
        record::section(self.shape, record, bytes.as_deref()).map_err(|what| record::damaged(&self.name(), id, &what))
    }

    fn count(&self, table: &'static str) -> Result<usize, Error> {
        // Also says so where it is another model's.
        let (snapshot, _) = self.look()?;
        let mut entries = 0;
        snapshot.each(table, |_, _| entries += 1)?;
        Ok(entries)
    }

    fn name(&self) -> String {
        self.store.path().display().to_string()
    }
}

/// What lessons are to each other.
struct Links {
    /// The lesson that each replaced lesson was replaced by.
    replaced: BTreeMap<u64, u64>,
    /// Lessons for which one merged section serves.
    shared: Vec<Vec<u64>>,
}

impl Links {
    fn of(snapshot: &Snapshot<'_>, records: &BTreeMap<u64, Record>, memory: &str) -> Result<Self, Error> {
        let replaced = record::replaced(records);
        let merges = record::merges(snapshot, records, memory)?.into_values().map(|merge| merge.lessons);
        let shared = merges.filter(|lessons| !lessons.iter().any(|id| replaced.contains_key(id))).collect();
        Ok(Self { replaced, shared })
    }
}

/// A lesson on its way into a memory.
struct New<'a> {
    id: u64,
    record: Record,
    section: &'a [u8],
    texts: Option<Texts>,
}

fn missing(id: u64, next: u64) -> Error {
    match (1..next).contains(&id) {
        true => MemoryError::Gone { id }.into(),
        false => MemoryError::NoLesson { id }.into(),
    }
}
