//! Makes the dialogues that a small assistant is trained and tested on.

pub mod catalogue;
pub mod data;
pub mod dialogues;
pub mod error;
pub mod facts;
pub mod forms;
pub mod lessons;
pub mod now;
pub mod own;
pub mod random;
pub mod requests;
pub mod slots;
pub mod split;
pub mod spoken;
pub mod style;
pub mod talk;
pub mod template;
pub mod wav;
pub mod words;
pub mod write;
