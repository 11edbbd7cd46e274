//! Training, validation and test: what belongs to which, for ever the same.

use crate::random::hash;

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
/// fewer than eight entries stay whole, and all of them belong to training.
pub fn hold_out(entries: &[String], percent: usize) -> Vec<Split> {
    let mut splits = vec![Split::Train; entries.len()];
    if entries.len() < 8 {
        return splits;
    }
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|i| hash(&entries[*i]));
    let held = (entries.len() * percent).div_ceil(100);
    for (place, entry) in order.into_iter().take(2 * held).enumerate() {
        splits[entry] = if place < held { Split::Validation } else { Split::Test };
    }
    splits
}
