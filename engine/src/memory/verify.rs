//! Whether a memory is what was committed.

use super::record::{self, LESSONS, Record, SECTIONS, TEXTS};
use super::{Memory, Texts};
use crate::error::Error;
use std::collections::BTreeMap;
use std::fmt;

/// Something in a memory that is not as it was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The number of the lesson that it is wrong with.
    pub lesson: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lesson {}: {}", self.lesson, self.what)
    }
}

impl Memory {
    /// Looks at everything that is stored: records and the links between them, each section's SHA-256, its length
    /// against the model and its numbers, merged ones too, texts. Gives the problems in order of lessons; none where all is well. Of
    /// lessons without texts there is nothing but their records and sections to look at.
    ///
    /// # Errors
    /// Those of the store.
    pub fn verify(&self) -> Result<Vec<Problem>, Error> {
        let (snapshot, about) = self.look()?;
        let mut problems: Vec<(u64, String)> = Vec::new();
        let mut records: BTreeMap<u64, Option<Record>> = BTreeMap::new();
        snapshot.each(LESSONS, |id, bytes| {
            let record = Record::parse(bytes);
            records.insert(id, record.map_err(|what| problems.push((id, format!("its record: {what}")))).ok());
        })?;
        let whole = records.iter().filter_map(|(&id, record)| Some((id, record.clone()?))).collect();
        problems.extend(record::links(&whole, about.next));
        problems.extend(self.verify_merges(&snapshot, &whole)?);
        let mut sections = BTreeMap::new();
        snapshot.each(SECTIONS, |id, bytes| {
            let problem = match records.get(&id) {
                None => Some("it has a section and no record".into()),
                Some(None) => None,
                Some(Some(record)) => record::section(self.shape, record, Some(bytes)).err(),
            };
            sections.insert(id, ());
            problems.extend(problem.map(|what| (id, what)));
        })?;
        let bare = records.keys().filter(|id| !sections.contains_key(id));
        problems.extend(bare.map(|&id| (id, "its section is missing".into())));
        snapshot.each(TEXTS, |id, bytes| {
            if !records.contains_key(&id) {
                problems.push((id, "it has texts and no record".into()));
            }
            if let Err(what) = record::from_json::<Texts>(bytes) {
                problems.push((id, format!("its texts: {what}")));
            }
        })?;
        problems.sort();
        Ok(problems.into_iter().map(|(lesson, what)| Problem { lesson, what }).collect())
    }
}
