//! Whole dialogues of all sorts.

use crate::data::Data;
use crate::error::Result;
use crate::facts::Kind;
use crate::now::Now;
use crate::own;
use crate::random::Random;
use crate::split::Split;
use crate::talk::{Dialogue, Sort, Talk};

/// Makes the dialogue number `index` of a split.
pub fn dialogue(data: &Data, split: Split, seed: u64, index: u64) -> Result<Dialogue> {
    let mut random = Random::new(seed, split.name(), index);
    let sort = random.below(100);
    let mut talk = Talk::new(data, split, random);
    if talk.random.chance(35) {
        talk.now = Some(Now::draw(&mut talk.random));
    }
    match sort {
        0..34 => {
            for _ in 0..talk.random.range(1, 3).min(2) {
                talk.request()?;
            }
        }
        34..42 => refusals(&mut talk)?,
        42..83 => {
            let held = split != Split::Train && talk.random.chance(10);
            facts(&mut talk, held)?;
        }
        83..88 => own::dialogue(&mut talk)?,
        88..95 => {
            for _ in 0..talk.random.range(1, 3) {
                talk.small_talk()?;
            }
        }
        _ => {
            talk.now = Some(Now::draw(&mut talk.random));
            for _ in 0..talk.random.range(2, 4) {
                match talk.random.below(10) {
                    0 => talk.refused()?,
                    1 => talk.small_talk()?,
                    _ => talk.request()?,
                }
            }
        }
    }
    // A question about such a kind may also come up in passing.
    let held = |id: &String| data.kinds.iter().any(|k| k.only.is_some() && !k.open && &k.id == id);
    let kind_held_out = split != Split::Train && talk.turns.iter().filter_map(|t| t.about.as_ref()).any(held);
    Ok(Dialogue { turns: talk.turns, kind_held_out })
}

fn refusals(talk: &mut Talk) -> Result<()> {
    if talk.random.chance(25) {
        talk.request()?;
    }
    talk.refused()?;
    if talk.random.chance(25) {
        talk.request()?;
    }
    Ok(())
}

/// How often something that was told changes: more often in training, where the newest has to win over what was told before.
pub fn changes(split: Split, held_out: usize, training: usize) -> usize {
    if split == Split::Train { training } else { held_out }
}

/// Something that has nothing to do with what was stated.
fn filler(talk: &mut Talk) -> Result<()> {
    match talk.random.below(10) {
        0 => talk.refused(),
        1 | 2 => talk.small_talk(),
        _ => talk.request(),
    }
}

/// A dialogue about one to three facts: told, asked, applied, replaced, and mixed up with others that were never told.
fn facts<'a>(talk: &mut Talk<'a>, held: bool) -> Result<()> {
    let Some(first) = first_kind(talk, held) else { return Ok(()) };
    if talk.random.chance(10) {
        return untold(talk, first);
    }
    if talk.random.chance(8) {
        filler(talk)?;
    }
    if talk.random.chance(14) {
        let direct = talk.random.chance(50);
        talk.ask(first, direct)?;
    }
    talk.state(first, Sort::Statement)?;
    let more = talk.random.word(&["0", "0", "0", "0", "0", "0", "1", "1", "1", "2"]).parse().unwrap_or(0);
    for _ in 0..more {
        let of = if talk.random.chance(70) { Some(first) } else { None };
        if let Some(kind) = talk.unstated(of) {
            if talk.random.chance(15) {
                filler(talk)?;
            }
            talk.state(kind, Sort::Statement)?;
        }
    }
    if talk.random.chance(22) {
        filler(talk)?;
    }
    // What is asked, in random order: stated facts, and mostly one that was not.
    let mut asked: Vec<&'a Kind> = talk.known.iter().map(|k| k.kind).collect();
    if more > 0 && talk.random.chance(30) {
        asked.truncate(2);
    }
    if more == 0 && talk.random.chance(30) {
        asked.push(first);
    }
    if talk.random.chance(65) {
        let of = if talk.random.chance(72) { Some(first) } else { None };
        let other = talk.unstated(of).or_else(|| talk.unstated(None));
        asked.extend(other);
    }
    talk.random.shuffle(&mut asked);
    for kind in asked {
        let direct = talk.random.chance(50);
        talk.ask(kind, direct)?;
    }
    if talk.random.chance(changes(talk.split, 17, 30)) {
        let place = talk.random.below(talk.known.len());
        if let Some(kind) = talk.known.get(place).map(|k| k.kind) {
            // Most people say that something has changed; some just say the new thing.
            let sort = if talk.random.chance(75) { Sort::Update } else { Sort::Statement };
            talk.state(kind, sort)?;
            let direct = talk.random.chance(50);
            talk.ask(kind, direct)?;
        }
    }
    Ok(())
}

/// The kind that a dialogue is about.
fn first_kind<'a>(talk: &mut Talk<'a>, held: bool) -> Option<&'a Kind> {
    if held {
        let split = talk.split;
        let all: Vec<&Kind> = talk.data.kinds.iter().filter(|k| !k.open && k.only == Some(split)).collect();
        return talk.random.pick(&all).copied();
    }
    for _ in 0..50 {
        let kind = talk.unstated(None)?;
        if kind.open || kind.only.is_none() {
            return Some(kind);
        }
    }
    None
}

/// Questions about things that nobody told.
fn untold<'a>(talk: &mut Talk<'a>, first: &'a Kind) -> Result<()> {
    let direct = talk.random.chance(50);
    talk.ask(first, direct)?;
    for _ in 0..talk.random.range(0, 2) {
        if let Some(kind) = talk.unstated(Some(first)) {
            let direct = talk.random.chance(50);
            talk.ask(kind, direct)?;
        }
    }
    Ok(())
}
