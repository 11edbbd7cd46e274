//! Words, and phrases of them that are known again without being kept.

use sha2::{Digest, Sha256};
use std::ops::Range;

/// Most words of a phrase.
pub const MOST: usize = 8;

/// Some words in order, as nobody can read them: how many, and a hash of them in small letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Phrase {
    /// Words.
    pub count: u32,
    /// The first 64 bits of the SHA-256 of the words with a space between two.
    pub hash: u64,
}

impl Phrase {
    /// Of a text's words; none where there are none, or more than [`MOST`].
    pub fn new(text: &str) -> Option<Self> {
        let words: Vec<String> = words(text).collect();
        (1..=MOST).contains(&words.len()).then(|| Self::of(&words))
    }
    fn of(words: &[String]) -> Self {
        Self { count: words.len() as u32, hash: hash(&words.join(" ")) }
    }
    /// The phrases in a text of so many words, from the first to the last.
    pub fn within(text: &[String], count: u32) -> impl Iterator<Item = Self> {
        text.windows((count as usize).max(1)).map(Self::of)
    }
    /// Whether a text's words hold it.
    pub fn is_in(self, text: &str) -> bool {
        Self::within(&words(text).collect::<Vec<_>>(), self.count).any(|phrase| phrase == self)
    }
}

/// The first 64 bits of a text's SHA-256.
pub fn hash(text: &str) -> u64 {
    Sha256::digest(text.as_bytes()).iter().take(8).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

/// The words of a text, in small letters.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    places(text).map(|at| text[at].to_lowercase())
}

/// Where the words of a text stand.
pub fn places(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut from = 0;
    let parts = text.split(|c: char| !c.is_alphanumeric()).map(move |word| {
        // What parts two words is one character.
        let at = from..from + word.len();
        from = at.end + text[at.end..].chars().next().map_or(0, char::len_utf8);
        at
    });
    parts.filter(|at| !at.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_where_they_are() {
        let text = "Ärger, «movie-time»!\u{1F642}x";
        let found: Vec<&str> = places(text).map(|at| &text[at]).collect();
        assert_eq!(found, ["Ärger", "movie", "time", "x"]);
        assert_eq!(words(text).next().as_deref(), Some("ärger"));
        assert_eq!(words(" , ").count(), 0);
    }

    #[test]
    fn a_phrase_is_known_again() {
        let phrase = Phrase::new("Movie time").expect("a phrase");
        for said in ["movie time", "ok, MOVIE TIME!", "is it \"movie-time\" now"] {
            assert!(phrase.is_in(said), "{said}");
        }
        for said in ["", "movie", "time movie", "a movie at some time", "movie times", "movietime"] {
            assert!(!phrase.is_in(said), "{said}");
        }
        assert_eq!(Phrase::new("?!"), None);
        assert_eq!(Phrase::new("one two three four five six seven eight nine"), None);
    }
}
