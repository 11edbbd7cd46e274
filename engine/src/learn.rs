//! Lessons: what a person says once becomes weights of a section of the plastic pool.

use crate::plastic::Written;
use serde::{Deserialize, Serialize};

/// What a lesson did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Prompts whose answers the lesson changes.
    pub frames: usize,
    /// Prompts whose answers it was trained to leave alone.
    pub guards: usize,
    /// Mean loss of the frames' answers before, in nats a token.
    pub loss_before: f64,
    /// The same after.
    pub loss_after: f64,
    /// How far the answers to guards moved: mean Kullback-Leibler divergence, in nats a token.
    pub drift: f64,
    /// Answers that were generated to check the lesson.
    pub checked: usize,
    /// How many of them were as they should be.
    pub passed: usize,
}

/// A lesson that was trained and checked, to be committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The section.
    pub written: Written,
    /// What was done.
    pub receipt: Receipt,
    /// Prompts and the answers that the lesson gives them: not needed to use what was learned.
    pub frames: Vec<(String, String)>,
}
