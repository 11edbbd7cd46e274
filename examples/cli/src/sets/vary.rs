//! Labelled requests, said a little otherwise: other values in their slots, a word less, a slip of the keyboard. What a
//! label or a slot's value stands for stays.

use super::Labelled;
use lichen::Random;
use std::collections::BTreeMap;

/// Chance that a slot gets the value of another request.
const SWAP: f64 = 0.5;
/// Chance that a request loses a word.
const DROP: f64 = 0.3;
/// Chance of a slip: two letters swapped, one missing, or one doubled.
const SLIP: f64 = 0.25;
/// Words below which nothing is left out.
const SHORT: usize = 4;

/// All values that requests have for each slot.
pub(super) struct Values<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Values<'a> {
    /// Of these requests.
    pub(super) fn of(lines: &'a [Labelled]) -> Self {
        let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for slot in lines.iter().flat_map(|line| &line.slots) {
            all.entry(&slot.slot).or_default().push(slot.value.trim());
        }
        Self(all)
    }
    /// The request, said otherwise.
    pub(super) fn vary(&self, line: &Labelled, random: &mut Random) -> Labelled {
        let mut line = line.clone();
        for i in 0..line.slots.len() {
            if random.uniform() < SWAP {
                self.swap(&mut line, i, random);
            }
        }
        let mut words: Vec<String> = line.text.split_whitespace().map(str::to_string).collect();
        let values = line.slots.iter().flat_map(|s| s.value.split_whitespace()).map(bare);
        let kept: Vec<String> = values.collect();
        let free = |words: &[String]| -> Vec<usize> {
            (0..words.len()).filter(|&i| !kept.contains(&bare(&words[i]))).collect()
        };
        let places = free(&words);
        if words.len() >= SHORT && !places.is_empty() && random.uniform() < DROP {
            words.remove(places[random.below(places.len())]);
        }
        let places: Vec<usize> = free(&words).into_iter().filter(|&i| words[i].chars().count() > 3).collect();
        if !places.is_empty() && random.uniform() < SLIP {
            let word = &mut words[places[random.below(places.len())]];
            *word = slip(word, random);
        }
        line.text = words.join(" ");
        line
    }
    /// Puts another request's value in slot `i`, where its own stands just once in the text.
    fn swap(&self, line: &mut Labelled, i: usize, random: &mut Random) {
        let slot = &line.slots[i];
        let (old, Some(values)) = (slot.value.trim().to_string(), self.0.get(slot.slot.as_str())) else { return };
        let new = values[random.below(values.len())].to_string();
        let mut found = line.text.match_indices(&old);
        let (Some((at, _)), None) = (found.next(), found.next()) else { return };
        let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        let whole = edge(line.text[..at].chars().next_back()) && edge(line.text[at + old.len()..].chars().next());
        // A value inside another one's would change both.
        let alone = line.slots.iter().enumerate().all(|(n, s)| n == i || !s.value.contains(&old));
        if whole && alone && !old.is_empty() {
            line.text.replace_range(at..at + old.len(), &new);
            line.slots[i].value = new;
        }
    }
}

/// A word without capitals and what stands around it.
fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// A word, mistyped behind its first letter.
fn slip(word: &str, random: &mut Random) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let at = 1 + random.below(letters.len() - 2);
    match random.below(3) {
        0 => letters.swap(at, at + 1),
        1 => drop(letters.remove(at)),
        _ => letters.insert(at, letters[at]),
    }
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::Slot;
    use super::*;

    fn line(text: &str, slots: &[(&str, &str)]) -> Labelled {
        let slots = slots.iter().map(|(slot, value)| Slot { slot: slot.to_string(), value: value.to_string() });
        Labelled { text: text.into(), intent: "play".into(), slots: slots.collect() }
    }

    /// Every value still stands in the text, whatever was changed; the label stays; something does change.
    #[test]
    fn values_stay_in_the_text() {
        let lines = [
            line("could you play some Yellow Sun by Ana", &[("title", "Yellow Sun"), ("artist", "Ana")]),
            line("put on éclair, loud please", &[("title", "éclair")]),
            line("play the the", &[("artist", "the the")]),
            line("go", &[]),
        ];
        let values = Values::of(&lines);
        let mut random = Random::new(3);
        let mut others = 0;
        for _ in 0..500 {
            for line in &lines {
                let new = values.vary(line, &mut random);
                assert_eq!(new.intent, line.intent);
                assert!(!new.text.is_empty());
                for (new_slot, slot) in new.slots.iter().zip(&line.slots) {
                    assert_eq!(new_slot.slot, slot.slot);
                    assert!(new.text.contains(&new_slot.value), "{:?} lost {:?}", new.text, new_slot.value);
                }
                others += usize::from(new.text != line.text);
            }
        }
        assert!(others > 500, "{others} of 2000 changed");
    }
}
