//! How people write: capitals or none, commas or none, words left out, a letter in the wrong place.

use crate::random::Random;
use crate::slots::capital;
use crate::template::{CLOSE, OPEN};

/// How one person writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Sentences start with a capital and end with a stop.
    pub sentences: bool,
    /// Names have capitals.
    pub names: bool,
}

impl Style {
    /// Somebody's style: mostly small letters.
    pub fn draw(random: &mut Random) -> Self {
        let sentences = random.chance(30);
        Style { sentences, names: random.chance(if sentences { 90 } else { 30 }) }
    }
    /// A text as it is sent: `question` where a question mark fits.
    pub fn finish(self, text: &str, question: bool, random: &mut Random) -> String {
        let text = &articles(text);
        let mut out = String::new();
        let mut inside = false;
        let mut word = String::new();
        let keep_commas = self.sentences || random.chance(45);
        let flush = |word: &mut String, out: &mut String| {
            let first = word.split('\'').next().unwrap_or_default();
            if self.sentences && first == "i" {
                out.push_str(&capital(word));
            } else {
                out.push_str(word);
            }
            word.clear();
        };
        for c in text.chars() {
            match c {
                OPEN | CLOSE => {
                    flush(&mut word, &mut out);
                    inside = c == OPEN;
                }
                _ if inside => out.push(c),
                ',' if !keep_commas => {}
                c if c.is_alphabetic() || c == '\'' => word.push(c),
                c => {
                    flush(&mut word, &mut out);
                    out.push(c);
                }
            }
        }
        flush(&mut word, &mut out);
        let mut out = out.split_whitespace().collect::<Vec<_>>().join(" ");
        while out.starts_with([',', ' ']) {
            out.remove(0);
        }
        out = out.replace(" ,", ",").replace(" :", ":");
        if self.sentences {
            if !text.trim_start().starts_with(OPEN) {
                out = capital(&out);
            }
            if random.chance(85) && !out.ends_with(['.', '?', '!']) {
                out.push(if question { '?' } else { '.' });
            }
        } else if question && random.chance(12) && !out.ends_with('?') {
            out.push('?');
        }
        out
    }
}

/// Words that can be missing without changing what is meant.
const SPARE: [&str; 22] = [
    "the", "is", "my", "a", "an", "do", "you", "to", "of", "please", "me", "are", "for", "again", "can", "it", "that",
    "what's", "and", "by", "at", "did",
];

/// Leaves out some of the words that can be spared; the first word and what was filled in stay.
pub fn drop_words(text: &str, percent: usize, random: &mut Random) -> String {
    let mut inside = false;
    let mut kept: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let filled = inside || word.contains([OPEN, CLOSE]);
        inside = word.rfind(OPEN).map_or(inside && !word.contains(CLOSE), |o| word.rfind(CLOSE).is_none_or(|c| c < o));
        if filled || !SPARE.contains(&word) || !random.chance(percent) {
            kept.push(word);
        }
    }
    if kept.len() < 2 { text.to_string() } else { kept.join(" ") }
}

/// Swaps two letters inside a long word that was not filled in.
pub fn typo(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let mut inside = false;
    let mut places = Vec::new();
    for i in 1..chars.len().saturating_sub(2) {
        inside = match chars[i] {
            OPEN => true,
            CLOSE => false,
            _ => inside,
        };
        if !inside && chars[i - 1..=i + 2].iter().all(|c| c.is_ascii_lowercase()) && chars[0] != OPEN {
            places.push(i);
        }
    }
    if let Some(i) = random.pick(&places) {
        chars.swap(*i, i + 1);
    }
    chars.into_iter().collect()
}

/// "a" before a vowel is "an", whatever fills the gap that follows.
fn articles(text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_string).collect();
    for i in 1..words.len() {
        let next = words[i].trim_start_matches(OPEN);
        let vowel = next.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']);
        let consonant = ["u-", "uni", "use", "eu", "one"].iter().any(|c| next.to_lowercase().starts_with(c));
        if words[i - 1] == "a" && vowel && !consonant {
            words[i - 1] = "an".to_string();
        }
    }
    words.join(" ")
}
