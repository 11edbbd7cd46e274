//! Words that an answer copies from what was said. So small a model misspells one that it never met before
//! ("monstoudar" for "misstoudar"); what was said has it right.

use crate::phrase::{places, words};
use crate::tokenizer::Tokenizer;
use std::collections::HashSet;

/// Least tokens of a word that is spelled from parts, and so may be misspelled.
const PARTS: usize = 3;
/// Least likeness of a misspelled word to the right one: one less the edit distance over the longer one's length.
const ALIKE: f64 = 0.5;

/// An answer with words that are nearly ones that were said as they were said. Words in `old` stay: those were known.
pub(super) fn mended(tokenizer: &Tokenizer, said: &str, old: &HashSet<String>, answer: &[u32]) -> Vec<u32> {
    let spelled = |word: &str| tokenizer.encode(&format!(" {word}")).len() >= PARTS;
    let heard: HashSet<String> = words(said).collect();
    let sources: Vec<&str> =
        places(said).map(|at| &said[at]).filter(|w| !old.contains(&w.to_lowercase()) && spelled(w)).collect();
    // Words stand in runs of plain tokens; specials and literals stay where they are.
    let plain = |id: u32| {
        let bytes = tokenizer.decode(&[id]);
        !bytes.is_empty() && std::str::from_utf8(&bytes).ok().and_then(|text| tokenizer.literal(text)) != Some(id)
    };
    let mut all = Vec::new();
    for run in answer.chunk_by(|a, b| plain(*a) == plain(*b)) {
        let text = match plain(run[0]) {
            true => String::from_utf8(tokenizer.decode(run)).unwrap_or_default(),
            false => String::new(),
        };
        let (mut right, mut from) = (String::new(), 0);
        for at in places(&text) {
            let word = text[at.clone()].to_lowercase();
            if old.contains(&word) || heard.contains(&word) || !spelled(&word) {
                continue;
            }
            let near = sources.iter().map(|s| (strsim::normalized_levenshtein(&word, &s.to_lowercase()), s));
            let Some((alike, source)) = near.max_by(|a, b| a.0.total_cmp(&b.0)) else { continue };
            if alike >= ALIKE {
                right.push_str(&text[from..at.start]);
                right.push_str(source);
                from = at.end;
            }
        }
        match from {
            0 => all.extend_from_slice(run),
            _ => all.extend(tokenizer.encode(&(right + &text[from..]))),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mend(said: &str, old: &str, answer: &str) -> String {
        let tokenizer = Tokenizer::bytes();
        let ids = mended(&tokenizer, said, &words(old).collect(), &tokenizer.encode(answer));
        String::from_utf8(tokenizer.decode(&ids)).expect("text")
    }

    #[test]
    fn a_misspelled_word_is_mended() {
        let said = "Misstoudar is what my neighbour is called";
        assert_eq!(mend(said, "who is my neighbour", "It is Monstoudar, yes."), "It is Misstoudar, yes.");
        assert_eq!(mend(said, "", "Über Misstoudars Überdar"), "Über Misstoudar Überdar");
    }

    #[test]
    fn other_words_stay() {
        let said = "Misstoudar is what my neighbour is called";
        for answer in ["", "Calling Misstoudar.", "No idea: nothing", "neighbours"] {
            assert_eq!(mend(said, "neighbours neighbour calling", answer), answer);
        }
        // What was known before is no wrong copy of what is new.
        assert_eq!(mend("she is Marta", "Marte", "Marte"), "Marte");
    }

    #[test]
    fn specials_stay_where_they_are() {
        let tokenizer = Tokenizer::bytes();
        let end = tokenizer.special("<end>").expect("has it");
        let ids = [tokenizer.encode("Tehista"), vec![end], tokenizer.encode("Tehista.")].concat();
        let right = [tokenizer.encode("Zaista"), vec![end], tokenizer.encode("Zaista.")].concat();
        assert_eq!(mended(&tokenizer, "use Zaista", &HashSet::new(), &ids), right);
    }
}
