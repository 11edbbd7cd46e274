//! Word lists and invented words.

use crate::common::{COMMON, Common};
use crate::error::{Error, Result};
use crate::random::{Random, hash};
use crate::split::Split;
use std::collections::{BTreeMap, HashMap};

/// Where the word lists are stored.
pub const WORDS: &str = include_str!("../data/words.txt");

/// What fills a gap: what the user says, what an action carries, and what a reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// As the user says it: `ten minutes`.
    pub said: String,
    /// As actions carry it: `10 min`.
    pub norm: String,
    /// As replies say it.
    pub told: String,
}

impl Value {
    /// A value that is the same everywhere.
    pub fn same(text: impl Into<String>) -> Self {
        let text = text.into();
        Value { said: text.clone(), norm: text.clone(), told: text }
    }
    /// A value that is said in one way and carried, and told, in another.
    pub fn new(said: impl Into<String>, norm: impl Into<String>) -> Self {
        let norm = norm.into();
        Value { said: said.into(), norm: norm.clone(), told: norm }
    }
}

/// One list.
#[derive(Debug, Clone, Default)]
struct List {
    /// Takes invented words too.
    open: bool,
    /// Names that some people write with capitals.
    proper: bool,
    /// Replies say what the user said, not what the action carries.
    said: bool,
    /// Entries by split: training, validation, test. What is held out of no list stands in all three.
    entries: [Vec<String>; 3],
}

/// All lists.
#[derive(Debug, Clone)]
pub struct Words {
    lists: BTreeMap<String, List>,
    split_of: HashMap<String, Split>,
    trigrams: Vec<String>,
    /// Common words, and texts made of them, for training.
    common: Common,
}

/// What may stand behind the name of a list.
const FLAGS: [&str; 5] = ["open", "proper", "closed", "spaced", "said"];
const ONSETS: [&str; 24] = [
    "b", "br", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "kr", "st", "sh", "ch", "j", "tr",
    "pl", "w", "h",
];
const NUCLEI: [&str; 16] = ["a", "e", "i", "o", "u", "ai", "or", "an", "el", "en", "ou", "is", "ar", "um", "ea", "il"];

impl Words {
    /// Reads the lists: `[name flags]`, then entries with commas between them, or spaces under the flag `spaced`.
    pub fn read(text: &str) -> Result<Self> {
        let mut raw: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
        let mut name = String::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            if let Some(head) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                let (flags, words): (Vec<&str>, Vec<&str>) = head.split_whitespace().partition(|w| FLAGS.contains(w));
                name = words.join(" ");
                raw.entry(name.clone()).or_default().0.extend(flags.into_iter().map(str::to_string));
                continue;
            }
            let (flags, entries) =
                raw.get_mut(&name).ok_or_else(|| Error::new(format!("words.txt: {line:?} is in no list")))?;
            if flags.iter().any(|f| f == "spaced") {
                entries.extend(line.split_whitespace().map(str::to_string));
            } else {
                entries.extend(line.split(',').map(str::trim).filter(|e| !e.is_empty()).map(str::to_string));
            }
        }
        let mut words =
            Words { lists: BTreeMap::new(), split_of: HashMap::new(), trigrams: Vec::new(), common: Common::default() };
        for (name, (flags, mut entries)) in raw {
            entries.sort();
            entries.dedup();
            let has = |flag: &str| flags.iter().any(|f| f == flag);
            let mut list =
                List { open: has("open"), proper: has("proper"), said: has("said"), entries: Default::default() };
            if has("closed") || entries.len() < 8 {
                list.entries = [entries.clone(), entries.clone(), entries];
            } else {
                words.assign(&mut list, entries);
            }
            words.lists.insert(name, list);
        }
        let mut trigrams: Vec<String> = Vec::new();
        for list in words.lists.values() {
            for word in list.entries[0].iter().flat_map(|e| e.split(' ')) {
                if word.bytes().all(|b| b.is_ascii_lowercase()) {
                    trigrams.extend((0..word.len().saturating_sub(2)).map(|i| word[i..i + 3].to_string()));
                }
            }
        }
        trigrams.sort();
        trigrams.dedup();
        words.trigrams = trigrams;
        let keep = |word: &str| words.split_of.get(word).is_none_or(|split| *split == Split::Train);
        words.common = Common::read(COMMON, &keep)?;
        Ok(words)
    }

    /// Spreads entries over the splits. An entry that an earlier list has keeps its split, so that no word is both learnt and held out.
    fn assign(&mut self, list: &mut List, mut entries: Vec<String>) {
        let quota = (entries.len() * 15).div_ceil(100);
        entries.sort_by_key(|e| hash(e));
        let mut free = Vec::new();
        for entry in entries {
            match self.split_of.get(&entry) {
                Some(split) => list.entries[*split as usize].push(entry),
                None => free.push(entry),
            }
        }
        for entry in free {
            let split = [Split::Validation, Split::Test]
                .into_iter()
                .find(|s| list.entries[*s as usize].len() < quota)
                .unwrap_or(Split::Train);
            self.split_of.insert(entry.clone(), split);
            list.entries[split as usize].push(entry);
        }
    }

    /// Whether there is such a list.
    pub fn has(&self, list: &str) -> bool {
        self.lists.contains_key(list)
    }
    /// Whether the entries of a list are names.
    pub fn proper(&self, list: &str) -> bool {
        self.lists.get(list).is_some_and(|l| l.proper)
    }
    /// The entries of a list that a split may use.
    pub fn entries(&self, list: &str, split: Split) -> &[String] {
        self.lists.get(list).map_or(&[], |l| &l.entries[split as usize])
    }
    /// The names of the lists that hold entries out.
    pub fn held_lists(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().filter(|(_, l)| l.entries[0] != l.entries[1]).map(|(name, _)| name.as_str())
    }

    /// An entry of a list; from open lists, an invented word in 6 of 10 cases. `said=norm` in a list tells the two apart.
    pub fn value(&self, list: &str, split: Split, random: &mut Random) -> Result<Value> {
        let found = self.lists.get(list).ok_or_else(|| Error::new(format!("words.txt has no list {list:?}")))?;
        if found.open && random.chance(60) {
            return Ok(Value::same(self.invented(split, random)));
        }
        let entry =
            random.pick(&found.entries[split as usize]).cloned().unwrap_or_else(|| self.invented(split, random));
        Ok(match entry.split_once('=') {
            Some((said, norm)) if found.said => Value { told: said.to_string(), ..Value::new(said, norm) },
            Some((said, norm)) => Value::new(said, norm),
            None => Value::same(entry),
        })
    }

    /// Common words, and texts made of them, for training.
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// Whether a split may use a text that is in no list of its own.
    pub fn may_use(&self, text: &str, split: Split) -> bool {
        self.split_of.get(text).copied().unwrap_or_else(|| Split::of_invented(text)) == split
    }

    /// A word that nobody knows: syllables in two of three cases, pieces of real words in the third.
    pub fn invented(&self, split: Split, random: &mut Random) -> String {
        loop {
            let mut word = String::new();
            if random.below(3) < 2 || self.trigrams.is_empty() {
                for _ in 0..random.word(&["2", "2", "2", "3", "3", "4"]).parse().unwrap_or(2) {
                    word.push_str(random.word(&ONSETS));
                    word.push_str(random.word(&NUCLEI));
                }
            } else {
                for _ in 0..random.range(2, 3) {
                    word.push_str(random.pick(&self.trigrams).map_or("", String::as_str));
                }
                word.truncate(random.range(4, 9));
            }
            if word.len() >= 3 && self.may_use(&word, split) {
                return word;
            }
        }
    }
}
