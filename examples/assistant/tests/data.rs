//! What the data promises: nothing held out is learnt, every action is valid, the same seed makes the same lines.

use lichen_assistant::catalogue::Action;
use lichen_assistant::data::Data;
use lichen_assistant::dialogues::dialogue;
use lichen_assistant::error::Result;
use lichen_assistant::forms::Filled;
use lichen_assistant::lessons::{self, holds};
use lichen_assistant::random::Random;
use lichen_assistant::slots::Slots;
use lichen_assistant::split::Split;
use lichen_assistant::spoken;
use lichen_assistant::talk::{Answer, Dialogue, Talk};
use lichen_assistant::template::Template;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

const SEED: u64 = 7;

fn dialogues(data: &Data, split: Split, count: u64) -> Vec<Dialogue> {
    (0..count).map(|i| dialogue(data, split, SEED, i).expect("a dialogue")).collect()
}

#[test]
fn no_wording_is_in_two_splits() -> Result<()> {
    let mut data = Data::read()?;
    let mut splits: HashMap<String, Split> = HashMap::new();
    let mut held = [0; 3];
    let mut shapes: [HashSet<String>; 2] = Default::default();
    for template in data.lists().into_iter().flatten() {
        assert!(!template.training_only || template.split == Split::Train, "{} is held out", template.id);
        match (template.training_only, template.split) {
            (true, _) => shapes[0].extend(template.shapes()),
            (_, Split::Train) => {}
            _ => shapes[1].extend(template.shapes()),
        }
        let before = splits.insert(template.id.clone(), template.split);
        assert!(before.is_none_or(|b| b == template.split), "{} is in two splits", template.id);
    }
    assert_eq!(shapes[0].intersection(&shapes[1]).next(), None, "added for training, but held out");
    splits.retain(|id, _| !id.contains(":+ "));
    splits.values().for_each(|s| held[*s as usize] += 1);
    assert!(held[1] * 100 > 8 * splits.len() && held[2] * 100 > 8 * splits.len(), "{held:?}");
    // Nor do the alternatives of one wording make another one.
    let share = |lists: Vec<&Vec<Template>>, name: &str| {
        let mut texts: HashMap<String, Split> = HashMap::new();
        for template in lists.into_iter().flatten() {
            for text in template.expansions() {
                let before = texts.insert(text.clone(), template.split);
                assert!(before.is_none_or(|b| b == template.split), "{name}: {text:?} is in two splits");
            }
        }
    };
    for requests in &data.requests {
        share(requests.patterns.iter().map(|p| &p.wordings).collect(), &requests.action);
    }
    for kind in &data.kinds {
        share(vec![&kind.say], &kind.id);
        share(vec![&kind.ask], &kind.id);
        share(kind.applied.iter().map(|a| &a.wordings).collect(), &kind.id);
    }
    share(vec![&data.refused], "unknown");
    // What training asks for plainly is not held out as a request that uses a fact, nor the other way round.
    let uses = data.kinds.iter().flat_map(|k| &k.applied).flat_map(|a| &a.wordings);
    let all: Vec<&Template> =
        data.requests.iter().flat_map(|r| &r.patterns).flat_map(|p| &p.wordings).chain(uses).collect();
    let of = |train: bool| all.iter().filter(move |w| (w.split == Split::Train) == train).flat_map(|w| w.expansions());
    let learnt: BTreeSet<String> = of(true).collect();
    assert_eq!(of(false).find(|text| learnt.contains(text)), None);
    Ok(())
}

#[test]
fn no_word_is_in_two_splits() -> Result<()> {
    let data = Data::read()?;
    for list in data.words.held_lists() {
        let sets = Split::ALL.map(|s| data.words.entries(list, s).iter().collect::<BTreeSet<_>>());
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(sets[a].is_disjoint(&sets[b]), "{list}");
        }
        assert!(sets.iter().all(|s| !s.is_empty()), "{list} leaves a split empty");
    }
    let mut seen: HashMap<String, Split> = HashMap::new();
    for split in Split::ALL {
        let mut random = Random::new(SEED, "words", 0);
        for _ in 0..5_000 {
            let word = data.words.invented(split, &mut random);
            assert!(data.words.may_use(&word, split));
            assert!(seen.insert(word.clone(), split).is_none_or(|s| s == split), "{word}");
        }
    }
    Ok(())
}

/// Every list of common words makes texts, in training alone; no word of it is held out, and no text is.
#[test]
fn texts_of_common_words_are_for_training() -> Result<()> {
    let data = Data::read()?;
    let held = |word: &String| {
        data.words.held_lists().any(|list| {
            [Split::Validation, Split::Test].iter().any(|split| data.words.entries(list, *split).contains(word))
        })
    };
    let slots = |split| Slots { words: &data.words, split, spoken: false, capitals: false };
    for list in data.words.common().names() {
        assert_eq!(data.words.common().entries(list).iter().find(|word| held(word)), None, "{list}");
        let mut random = Random::new(SEED, list, 0);
        let texts = (0..200).map(|_| slots(Split::Train).value(list, &mut random)).collect::<Result<Vec<_>>>()?;
        for text in &texts {
            assert!(!text.said.is_empty() && !text.said.contains(['{', '}']), "{list}: {:?}", text.said);
        }
        if data.words.has(list) {
            let known: BTreeSet<&String> = data.words.entries(list, Split::Test).iter().collect();
            let said: BTreeSet<String> = texts.iter().map(|t| t.said.clone()).collect();
            assert!(said.iter().all(|text| !known.contains(text)), "{list}");
            let shared = (0..200).map(|_| slots(Split::Test).value(list, &mut random)).collect::<Result<Vec<_>>>()?;
            assert!(shared.iter().all(|text| !said.contains(&text.said)), "{list}");
        } else {
            assert!(slots(Split::Test).value(list, &mut random).is_err(), "{list}");
        }
    }
    Ok(())
}

/// Values of facts as training states them never come up in the held-out sets, small closed lists (days, modes, cameras) aside.
#[test]
fn no_value_of_a_fact_is_in_two_splits() -> Result<()> {
    let data = Data::read()?;
    let closed = ["week day", "travel mode", "camera"];
    let mut seen: HashMap<(String, String), Split> = HashMap::new();
    let mut both = 0;
    for split in Split::ALL {
        let mut talk = Talk::new(&data, split, Random::new(SEED, "values", 0));
        for kind in data.kinds.iter().filter(|k| k.open_to(split) && !closed.contains(&k.value.as_str())) {
            for _ in 0..if kind.open { 1 } else { 40 } {
                let value = talk.fresh(kind)?.norm.to_lowercase();
                let before = seen.insert((kind.value.clone(), value), split);
                both += usize::from(before.is_some_and(|b| b != split));
            }
        }
    }
    // A street keeps its name out, not its number; a wish its thing. Those count as one value only by the whole text.
    assert_eq!(both, 0);
    Ok(())
}

#[test]
fn kinds_are_complete() -> Result<()> {
    let data = Data::read()?;
    let kinds: Vec<_> = data.kinds.iter().filter(|k| !k.open).collect();
    assert!(kinds.len() >= 45, "{}", kinds.len());
    for held in [Split::Validation, Split::Test] {
        assert_eq!(kinds.iter().filter(|k| k.only == Some(held)).count(), 3);
    }
    for kind in &data.kinds {
        assert!(kind.say.len() >= 15, "{}: {} statements", kind.id, kind.say.len());
        assert!(kind.ask.len() >= 10, "{}: {} questions", kind.id, kind.ask.len());
        for split in Split::ALL {
            assert!(kind.say.iter().any(|t| t.split == split), "{}: no statement for {}", kind.id, split.name());
            assert!(kind.ask.iter().any(|t| t.split == split), "{}: no question for {}", kind.id, split.name());
            assert!(kind.open || !kind.applied_in(split).is_empty(), "{}: no use in {}", kind.id, split.name());
        }
        for template in &kind.say {
            assert!(template.gaps().contains(&"v"), "{}", template.id);
        }
        for applied in &kind.applied {
            assert_ne!(applied.with, applied.without, "{}", kind.id);
        }
    }
    Ok(())
}

#[test]
fn dialogues_are_sound() -> Result<()> {
    let data = Data::read()?;
    for split in Split::ALL {
        let mut actions: BTreeMap<String, usize> = BTreeMap::new();
        for (number, dialogue) in dialogues(&data, split, 6_000).iter().enumerate() {
            let place = format!("{} {number}", split.name());
            assert!(!dialogue.turns.is_empty(), "{place}: empty");
            assert!(!dialogue.kind_held_out || split != Split::Train, "{place}: a held-out kind");
            for (i, turn) in dialogue.turns.iter().enumerate() {
                assert_eq!(turn.s, if i % 2 == 0 { "U" } else { "S" }, "{place}");
                assert!(!turn.t.trim().is_empty(), "{place}: an empty turn");
                assert!(!turn.t.contains(['{', '}', '|', '\u{1}', '\u{2}']), "{place}: {}", turn.t);
                assert!(!turn.t.contains("  "), "{place}: {}", turn.t);
                for action in &turn.actions {
                    action.check(&data.catalogue).unwrap_or_else(|e| panic!("{place}: {e}"));
                    *actions.entry(action.name.clone()).or_default() += 1;
                }
            }
            let line = serde_json::to_string(dialogue).expect("a line");
            let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(read["turns"].as_array().map(Vec::len), Some(dialogue.turns.len()));
        }
        for kind in &data.catalogue {
            assert!(
                actions.get(&kind.name).is_some_and(|n| *n >= 15),
                "{}: {} in {actions:?}",
                kind.name,
                split.name()
            );
        }
    }
    Ok(())
}

#[test]
fn the_same_seed_makes_the_same_lines() -> Result<()> {
    let (one, two) = (Data::read()?, Data::read()?);
    assert_eq!(dialogues(&one, Split::Train, 300), dialogues(&two, Split::Train, 300));
    assert_eq!(lessons::lesson(&one, Split::Test, SEED, 3)?, lessons::lesson(&two, Split::Test, SEED, 3)?);
    assert_ne!(dialogue(&one, Split::Train, 1, 0)?, dialogue(&one, Split::Train, 2, 0)?);
    Ok(())
}

/// What a lesson expects is what a dialogue in which the fact was just told answers.
#[test]
fn expected_values_stand_in_answers() -> Result<()> {
    let data = Data::read()?;
    for split in Split::ALL {
        let mut talk = Talk::new(&data, split, Random::new(SEED, "answers", 0));
        for kind in data.kinds.iter().filter(|k| k.open_to(split)) {
            for _ in 0..if kind.open { 1 } else { 20 } {
                let value = talk.fresh(kind)?;
                let (_, answer) = talk.question(kind, Some(&value), lichen_assistant::talk::Source::Own)?;
                assert!(holds(&answer, &value.told), "{}: {answer:?}", kind.id);
                let ack = Filled::new().with("v", value.clone()).reply(&kind.ack)?;
                assert!(holds(&Answer { reply: ack, actions: Vec::new() }, &value.told), "{}", kind.id);
                if let Some((_, answer)) = talk.applied(kind, Some(&value))? {
                    assert!(holds(&answer, &value.norm), "{}: {answer:?}", kind.id);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn lessons_and_requests_are_sound() -> Result<()> {
    let data = Data::read()?;
    for split in [Split::Validation, Split::Test] {
        for i in 0..300 {
            let lesson = lessons::lesson(&data, split, SEED, i)?;
            assert!(lesson.probes.len() >= 3 && lesson.unrelated.len() == 3, "{lesson:?}");
            assert!(lesson.probes.iter().any(|p| p.kind == "conflict" && p.say.is_some()), "{lesson:?}");
            for probe in &lesson.probes {
                assert!(!probe.prompt.is_empty() && probe.expect.iter().all(|e| !e.is_empty()), "{lesson:?}");
                // Otherwise the right answer would show nothing.
                let told = probe.expect.iter().any(|e| probe.prompt.to_lowercase().contains(&e.to_lowercase()));
                assert!(!told, "{lesson:?}");
            }
        }
        let mut actions: BTreeMap<String, usize> = BTreeMap::new();
        for i in 0..1_500 {
            let request = lessons::request(&data, split, SEED, i)?;
            request.action.check(&data.catalogue)?;
            *actions.entry(request.action.name).or_default() += 1;
        }
        assert_eq!(actions.len(), data.catalogue.len());
        let refused = actions.get(&Action::unknown().name).copied().unwrap_or(0);
        assert!((120..240).contains(&refused), "{refused}");
    }
    Ok(())
}

#[test]
fn spoken_commands_agree_with_written_ones() -> Result<()> {
    let data = Data::read()?;
    let commands = spoken::Commands::read(&data)?;
    let wordings: usize = commands.requests().iter().flat_map(|r| &r.patterns).map(|p| p.wordings.len()).sum();
    assert!(wordings >= 60, "{wordings}");
    for i in 0..2_000 {
        let (clip, voice) = commands.command(Split::Train, SEED, i)?;
        assert!(clip.text.chars().all(|c| c.is_ascii_lowercase() || c == ' ' || c == '\''), "{}", clip.text);
        assert!(!clip.reply.is_empty() && (130..=210).contains(&voice.rate) && (20..=80).contains(&voice.pitch));
        for action in &clip.actions {
            action.check(&data.catalogue)?;
        }
    }
    // The same action is answered in the same way.
    let patterns = data.requests.iter().flat_map(|r| &r.patterns).filter(|p| p.without_now.is_none());
    let written: HashMap<String, &str> =
        patterns.map(|p| (format!("{:?}", p.answer.action), p.answer.reply.as_str())).collect();
    for pattern in commands.requests().iter().flat_map(|r| &r.patterns) {
        if let Some(reply) = written.get(&format!("{:?}", pattern.answer.action)) {
            assert_eq!(*reply, pattern.answer.reply);
        }
    }
    Ok(())
}

#[test]
fn no_voice_is_in_two_splits() {
    let sets = [&spoken::TRAIN_VOICES[..], &spoken::VALIDATION_VOICES, &spoken::TEST_VOICES];
    let sets = sets.map(|s| s.iter().collect::<BTreeSet<_>>());
    assert!(sets[0].is_disjoint(&sets[1]) && sets[0].is_disjoint(&sets[2]) && sets[1].is_disjoint(&sets[2]));
    assert!(sets[1].len() >= 8 && sets[2].len() >= 8);
    assert!(!spoken::ACCENTS.contains(&spoken::TEST_ACCENT));
}
