//! Training, validation and test: what belongs to which, for ever the same.

use crate::random::hash;
use std::collections::HashMap;

/// Starts a wording that is for training only: it came after the held-out sets were drawn, and leaves them as they are.
pub const TRAINING_ONLY: &str = "+ ";

/// One of the three sets that data is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// What a model learns from.
    Train,
    /// What choices are made on.
    Validation,
    /// What is reported.
    Test,
}

impl Split {
    /// All three.
    pub const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::Test];
    /// The name that files have.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
    /// Where an invented word or number belongs: 70 of 100 to training. By its text alone, so that no list is needed.
    pub fn of_invented(text: &str) -> Split {
        match hash(text) % 100 {
            0..=14 => Split::Validation,
            15..=29 => Split::Test,
            _ => Split::Train,
        }
    }
}

/// Assigns the entries of a list: `percent` of 100 of them, at least one, to validation, as many to test, the rest to training. Lists of
/// fewer than eight entries belong to training, as do entries that start with [`TRAINING_ONLY`], which count for nothing here.
pub fn hold_out(entries: &[String], percent: usize) -> Vec<Split> {
    hold_out_after(&mut HashMap::new(), entries, percent)
}

/// The same where earlier lists have assigned some of the entries already: those stay where they are, whatever the list.
pub fn hold_out_after(before: &mut HashMap<String, Split>, entries: &[String], percent: usize) -> Vec<Split> {
    let open = |e: &&String| !e.starts_with(TRAINING_ONLY);
    let count = entries.iter().filter(open).count();
    let quota = if count < 8 { 0 } else { (count * percent).div_ceil(100) };
    let mut held = [Split::Validation, Split::Test].map(|split| {
        let taken = entries.iter().filter(|e| before.get(*e) == Some(&split)).count();
        (split, quota.saturating_sub(taken))
    });
    let mut free: Vec<&String> = entries.iter().filter(open).filter(|e| !before.contains_key(*e)).collect();
    free.sort_by_key(|e| hash(e));
    free.dedup();
    for entry in free {
        let split = match held.iter_mut().find(|(_, left)| *left > 0) {
            Some((split, left)) => {
                *left -= 1;
                *split
            }
            None => Split::Train,
        };
        before.insert(entry.clone(), split);
    }
    entries.iter().map(|e| before.get(e).copied().unwrap_or(Split::Train)).collect()
}
