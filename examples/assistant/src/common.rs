//! Free texts for training: tasks, notes, messages, titles and goods, put together from common words.
//!
//! A model that reads the same thirty notes again and again learns to say one of them. One that never reads the same note twice
//! has to copy what it was told.

use crate::error::{Error, Result};
use crate::random::Random;
use std::collections::BTreeMap;

/// Where the words and the forms are stored.
pub const COMMON: &str = include_str!("../data/common.txt");

/// Of 100 values of a list that has forms, how many are put together.
const SHARE: usize = 70;
/// How often a text is put together anew because it belongs to a held-out set.
const TRIES: usize = 20;

/// Common words and forms of texts, by list.
#[derive(Debug, Clone, Default)]
pub struct Common {
    lists: BTreeMap<String, Vec<String>>,
}

impl Common {
    /// Reads the lists: `[name]`, then entries with commas between them. `keep` says whether training may use an entry.
    pub fn read(text: &str, keep: &dyn Fn(&str) -> bool) -> Result<Self> {
        let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut name = None;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            if let Some(head) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                name = Some(head.to_string());
                continue;
            }
            let list = name.clone().ok_or_else(|| Error::new(format!("common.txt: {line:?} is in no list")))?;
            let entries = line.split(',').map(str::trim).filter(|e| !e.is_empty() && keep(e));
            lists.entry(list).or_default().extend(entries.map(str::to_string));
        }
        Ok(Common { lists })
    }

    /// The names of the lists.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(String::as_str)
    }
    /// The entries of a list, gaps unfilled.
    pub fn entries(&self, list: &str) -> &[String] {
        self.lists.get(list).map_or(&[], Vec::as_slice)
    }

    /// A text of a list. `other` fills gaps that are no lists here. Nothing where there is no such list, where chance prefers the
    /// list's own entries (never for lists that stand only here: `alone`), or where nothing that training `may` use was found.
    pub fn text(
        &self,
        list: &str,
        alone: bool,
        random: &mut Random,
        other: &mut dyn FnMut(&str, &mut Random) -> Result<String>,
        may: &dyn Fn(&str) -> bool,
    ) -> Result<Option<String>> {
        if !self.lists.contains_key(list) || !(alone || random.chance(SHARE)) {
            return Ok(None);
        }
        for _ in 0..TRIES {
            let text = self.fill(list, random, other)?;
            if may(&text) {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    fn fill(
        &self,
        list: &str,
        random: &mut Random,
        other: &mut dyn FnMut(&str, &mut Random) -> Result<String>,
    ) -> Result<String> {
        let Some(entries) = self.lists.get(list) else { return other(list, random) };
        let entry = random.pick(entries).ok_or_else(|| Error::new(format!("common.txt: {list:?} is empty")))?;
        let mut out = String::new();
        let mut rest = entry.as_str();
        while let Some((head, tail)) = rest.split_once('{') {
            let (name, after) = tail
                .split_once('}')
                .ok_or_else(|| Error::new(format!("common.txt: {entry:?} has a {{ without its }}")))?;
            out.push_str(head);
            out.push_str(&self.fill(name, random, other)?);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common() -> Result<Common> {
        Common::read("[thing]\nlamp, chair\n[task]\nmove the {thing} to {room}\n", &|e| e != "chair")
    }

    #[test]
    fn texts_are_put_together() -> Result<()> {
        let mut random = Random::new(1, "common", 0);
        let text = common()?.text("task", true, &mut random, &mut |_, _| Ok("attic".to_string()), &|_| true)?;
        assert_eq!(text.as_deref(), Some("move the lamp to attic"));
        Ok(())
    }

    #[test]
    fn what_is_held_out_is_never_said() -> Result<()> {
        let mut random = Random::new(1, "common", 0);
        let text = common()?
            .text("task", true, &mut random, &mut |_, _| Ok("attic".to_string()), &|t| t != "move the lamp to attic")?;
        assert_eq!(text, None);
        Ok(())
    }

    #[test]
    fn bad_files_are_told() {
        assert!(Common::read("lamp", &|_| true).is_err());
        let open = Common::read("[a]\nx {b\n", &|_| true).expect("a list");
        let mut random = Random::new(1, "common", 0);
        assert!(open.text("a", true, &mut random, &mut |_, _| Ok(String::new()), &|_| true).is_err());
    }
}
