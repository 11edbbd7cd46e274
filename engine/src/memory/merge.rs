//! Merged sections: one that does in the pool what those of several lessons do. The lessons' own stay in the store, so
//! that any of them can be undone or replaced as before; whether a merge serves follows from which lessons are open.

use super::record::{self, MERGED, MERGES, Merge, Record, SECTIONS, to_json};
use super::{Memory, MemoryError, missing};
use crate::error::Error;
use crate::learn::{InUse, Merged};
use crate::plastic::Written;
use lichen_host::{Change, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// A section that has a place in the pool.
pub(super) struct Serving {
    /// The lessons that it serves for, ascending: it lies under the number of the first.
    pub(super) lessons: Vec<u64>,
    pub(super) record: Record,
    table: &'static str,
}

/// What takes the merges of these lessons out of the store.
pub(super) fn dropped(merges: &BTreeMap<u64, Merge>, lessons: &[u64]) -> Vec<Change<'static>> {
    let of = merges.iter().filter(|(_, merge)| merge.lessons.iter().any(|id| lessons.contains(id)));
    of.flat_map(|(&id, _)| [MERGES, MERGED].map(|table| Change::Delete(table, id))).collect()
}

impl Memory {
    /// The sections that serve now, in the order of the pool, and what their lessons may be asked as far as that is
    /// kept: what [`Learner::consolidate`](crate::learn::Learner::consolidate) takes.
    ///
    /// # Errors
    /// As [`Memory::pool`].
    pub fn in_use(&self) -> Result<Vec<InUse>, Error> {
        let (snapshot, serving) = self.serving()?;
        let one = |serving: Serving| {
            let mut told = Vec::new();
            for &id in &serving.lessons {
                told.extend(record::texts(&snapshot, id, &self.name())?);
            }
            let written = self.serving_section(&snapshot, &serving)?;
            let prompts = told.into_iter().flat_map(|texts| texts.frames).map(|(prompt, _)| prompt).collect();
            Ok(InUse { lessons: serving.lessons, written, prompts })
        };
        serving.into_iter().map(one).collect()
    }

    /// Lets merged sections serve for their lessons, which are open, from now on: all of them in one transaction.
    /// `created` is the time in seconds since 1970. What was merged of these lessons before is dropped.
    ///
    /// # Errors
    /// [`MemoryError::Misfit`]: lengths are not the model's, a number is not finite, or a section is not of two lessons
    /// or more that no other has. [`MemoryError::NoLesson`], [`MemoryError::Gone`] or [`MemoryError::Replaced`]: one of
    /// the lessons is not open. Those of the store: then nothing was changed.
    pub fn merge(&mut self, merged: &[Merged], created: u64) -> Result<(), Error> {
        let (snapshot, about) = self.look()?;
        let records = record::records(&snapshot, about.next, &self.name())?;
        let before = record::merges(&snapshot, &records, &self.name())?;
        drop(snapshot);
        let replaced = record::replaced(&records);
        let mut changes = Vec::new();
        let mut new = Vec::new();
        let mut seen = BTreeSet::new();
        for Merged { lessons, written, receipt } in merged {
            for &id in lessons {
                if !records.contains_key(&id) {
                    return Err(missing(id, about.next));
                }
                if let Some(&by) = replaced.get(&id) {
                    return Err(MemoryError::Replaced { id, by }.into());
                }
            }
            let ascending = lessons.is_sorted_by(|a, b| a < b);
            let (true, true, Some(&first)) = (ascending, lessons.len() > 1, lessons.first()) else {
                return Err(MemoryError::Misfit("a merged section is of several lessons, in their order".into()).into());
            };
            if !lessons.iter().all(|&id| seen.insert(id)) {
                return Err(MemoryError::Misfit("two merged sections are of the same lesson".into()).into());
            }
            let section = self.shape.encode(written)?;
            let (bytes, sha256) = (section.len() as u64, record::hash(&section));
            let record = Record { created, receipt: receipt.clone(), replaces: None, bytes, sha256 };
            let json = to_json(&Merge { lessons: lessons.clone(), record });
            if Merge::parse(&json).is_err() {
                return Err(MemoryError::Misfit("its receipt holds a number that is not finite".into()).into());
            }
            changes.extend(dropped(&before, lessons));
            new.extend([(MERGES, first, json), (MERGED, first, section)]);
        }
        changes.extend(new.iter().map(|(table, id, value)| Change::Put(table, *id, value)));
        Ok(self.store.commit(&changes)?)
    }

    /// Drops all merged sections, so that every lesson's own serves again; says how many there were. Works where they
    /// are damaged too.
    ///
    /// # Errors
    /// Those of the store: then nothing was changed.
    pub fn split(&mut self) -> Result<usize, Error> {
        let merges = self.count(MERGES)?;
        self.store.commit(&[MERGES, MERGED].map(Change::Clear))?;
        Ok(merges)
    }

    /// The memory as it is now, and the sections that serve, in the order of their first lessons.
    pub(super) fn serving(&self) -> Result<(Snapshot<'_>, Vec<Serving>), Error> {
        let (snapshot, about) = self.look()?;
        let records = record::records(&snapshot, about.next, &self.name())?;
        let merges = record::merges(&snapshot, &records, &self.name())?;
        let replaced = record::replaced(&records);
        let mut open = records;
        open.retain(|id, _| !replaced.contains_key(id));
        let mut all = BTreeMap::new();
        for (first, Merge { lessons, record }) in merges {
            if lessons.iter().all(|id| open.contains_key(id)) {
                lessons.iter().for_each(|id| drop(open.remove(id)));
                all.insert(first, Serving { lessons, record, table: MERGED });
            }
        }
        let own = |(id, record)| (id, Serving { lessons: vec![id], record, table: SECTIONS });
        all.extend(open.into_iter().map(own));
        Ok((snapshot, all.into_values().collect()))
    }

    pub(super) fn serving_section(&self, snapshot: &Snapshot<'_>, serving: &Serving) -> Result<Written, Error> {
        let Serving { lessons, record, table } = serving;
        let first = lessons.first().copied().unwrap_or_default();
        let bytes = snapshot.get(table, first)?;
        let merged = if *table == MERGED { "of its merged section: " } else { "" };
        record::section(self.shape, record, bytes.as_deref())
            .map_err(|what| record::damaged(&self.name(), first, &format!("{merged}{what}")))
    }

    /// What is wrong with merges, by the number of their first lesson.
    pub(super) fn verify_merges(
        &self,
        snapshot: &Snapshot<'_>,
        records: &BTreeMap<u64, Record>,
    ) -> Result<Vec<(u64, String)>, Error> {
        let (mut problems, mut merges) = (Vec::new(), BTreeMap::new());
        snapshot.each(MERGES, |id, bytes| match Merge::parse(bytes) {
            Ok(merge) => drop(merges.insert(id, merge)),
            Err(what) => problems.push((id, format!("its merge: {what}"))),
        })?;
        problems.extend(record::merge_links(&merges, records));
        let mut without = merges.clone();
        snapshot.each(MERGED, |id, bytes| {
            let checked = match merges.get(&id) {
                Some(merge) => record::section(self.shape, &merge.record, Some(bytes)).map(drop),
                None => Err("there is no record of it".into()),
            };
            without.remove(&id);
            problems.extend(checked.err().map(|what| (id, format!("of its merged section: {what}"))));
        })?;
        problems.extend(without.into_keys().map(|id| (id, "its merged section is missing".into())));
        Ok(problems)
    }
}
