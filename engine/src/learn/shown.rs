//! What a lesson names: something that was seen or heard.

use crate::data::{Example, Turn};
use crate::error::Error;
use crate::frontend::{Picture, STEP, Sound};
use lichen_shaders::cases::Random;

/// Longest sound of a lesson, in vectors: 6 s, as in training.
const LONGEST: usize = 600 / STEP;
/// Ways to begin saying what something is called; of two that fit, the first counts.
const OPENINGS: [&str; 32] = [
    "the name of this is",
    "this sound is called",
    "this picture shows",
    "this is the sound of",
    "this sounds like",
    "this one is called",
    "this is called",
    "this sound is",
    "that sound is",
    "you hear",
    "you see",
    "we call this",
    "i call this",
    "that is called",
    "that's called",
    "it is called",
    "it's called",
    "its name is",
    "his name is",
    "her name is",
    "the name is",
    "here you see",
    "here is",
    "here's",
    "this is",
    "that is",
    "that's",
    "it is",
    "it's",
    "call this",
    "call it",
    "meet",
];
const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// Something that is seen or heard.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// A picture.
    Picture(Picture),
    /// A sound.
    Sound(Sound),
}

impl Shown {
    /// The same a little changed: as another picture of it, or another time that it is heard.
    pub fn varied(&self, random: &mut Random) -> Self {
        match self {
            Self::Picture(picture) => Self::Picture(picture.varied(random)),
            Self::Sound(sound) => Self::Sound(sound.varied(random)),
        }
    }
    /// Marks in a turn that it is shown.
    pub(super) fn mark(&self, turn: &mut Turn) {
        match self {
            Self::Picture(_) => turn.seen = true,
            Self::Sound(_) => turn.heard = true,
        }
    }
    /// Puts it to its place in an example.
    pub fn fill(&self, example: &mut Example) {
        match self {
            Self::Picture(picture) => example.see(picture),
            Self::Sound(sound) => example.hear(sound),
        }
    }
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Sound(sound) if sound.vectors() > LONGEST => {
                Err(Error::Memory("a sound of more than 6 seconds is too long to be taught".into()))
            }
            _ => Ok(()),
        }
    }
}

/// The name in what is said of something: `Biscuit` in "this is Biscuit", `rooster` in "This is a rooster."; nothing in
/// what does not begin like that.
pub fn named(said: &str) -> Option<String> {
    let said = bare(said);
    let after = |start: &&str| {
        let (head, rest) = said.split_at_checked(start.len())?;
        (head.eq_ignore_ascii_case(start) && rest.starts_with(' ')).then(|| rest.trim_start())
    };
    let name = OPENINGS.iter().find_map(after)?;
    Some(match name.split_once(' ') {
        Some((first, rest)) if ARTICLES.iter().any(|a| a.eq_ignore_ascii_case(first)) => rest.trim_start().into(),
        _ => name.into(),
    })
}

/// The same; what does not begin like that is the name itself.
pub fn name(said: &str) -> String {
    named(said).unwrap_or_else(|| bare(said))
}

/// Without what ends a sentence, and with plain apostrophes.
fn bare(said: &str) -> String {
    said.trim().trim_end_matches(['.', '!']).trim_end().replace('\u{2019}', "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        for (said, want) in [
            ("this is Biscuit", "Biscuit"),
            (" This is a rooster. ", "rooster"),
            ("it's the old mill", "old mill"),
            ("It\u{2019}s called Biscuit!", "Biscuit"),
            ("his name is Otto", "Otto"),
            ("call it rain", "rain"),
            ("This is the sound of rain!", "rain"),
        ] {
            assert_eq!((named(said).as_deref(), name(said).as_str()), (Some(want), want), "{said:?}");
        }
        for said in
            ["Thistle", "The Beatles", "this is", "a", "", "été", "I take my coffee without sugar", "meeting room"]
        {
            assert_eq!((named(said), name(said).as_str()), (None, said), "{said:?}");
        }
    }

    #[test]
    fn long_sounds_are_refused() {
        let sound = |seconds: usize| Shown::Sound(Sound { frames: vec![0.0; seconds * 100 * crate::frontend::BANDS] });
        assert!(sound(6).check().is_ok() && sound(7).check().is_err());
    }
}
