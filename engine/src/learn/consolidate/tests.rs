//! Consolidation on a small random model: what serves in the end answers as what served before.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::config::{Config, Mixer};
use crate::learn::{Bank, ask};
use crate::model::Model;
use crate::phrase::Phrase;
use crate::plastic::NEURONS;
use crate::sampler::Sampler;
use crate::testing::{self, config};
use crate::tokenizer::Tokenizer;
use lichen_host::{Cpu, Device};
use lichen_shaders::cases::Random;

const TURN: usize = 12;
const PROMPTS: [&str; 16] = [
    "who are you",
    "what is my name",
    "a cup of tea",
    "1 2 3",
    "turn it off!",
    "WHERE",
    "order pizza",
    "zzz",
    "my sister",
    "is it raining",
    "xylophone",
    "?",
    "play music",
    "how much is it",
    "the wifi password",
    "good night",
];

fn checkpoint() -> Checkpoint {
    let config = Config { layers: 3, turn: TURN, ..config(Mixer::SlopeDelta) };
    let mut checkpoint = testing::checkpoint(&config, Tokenizer::bytes(), 9);
    let bank: String = PROMPTS.iter().map(|prompt| format!("{{\"prompt\":\"{prompt}\"}}\n")).collect();
    checkpoint.header.bank = Some(Bank::from_jsonl(&bank).expect("a bank"));
    checkpoint
}

fn ready() -> Learner {
    let model = Model::new(checkpoint(), Arc::new(Device::Cpu(Cpu::new(1)))).expect("model");
    let mut learner = Learner::new(Arc::new(model)).expect("learner");
    while learner.prepare().map(|(known, all)| known < all).expect("prepares") {}
    learner
}

/// A section that opens for the prompts nearest to one of the bank's, and does so much there.
fn section(learner: &Learner, lesson: u64, prompt: usize, size: f64) -> InUse {
    let mut random = Random::new(lesson);
    let key = unit(&learner.known[prompt].turn);
    let gate = Gate { keys: vec![key.clone(); KEYS], theta: 0.0, phrase: None, fact: None };
    let mut near: Vec<f32> = learner.known.iter().map(|known| gate.nearness(&known.turn)).collect();
    near.sort_by(|a, b| b.total_cmp(a));
    let width = learner.model.config().width;
    let slab = |_| (0..2 * NEURONS * width).map(|_| (size * random.normal()) as f32).collect();
    let slabs = (0..2).map(slab).collect();
    // Three of them open it, well enough.
    let written =
        Written { phrase: None, fact: None, theta: near[LEAST - 1] - 0.03, keys: [&key[..], &key[..]].concat(), slabs };
    InUse { lessons: vec![lesson], written, prompts: vec![PROMPTS[prompt].into(), "a new one".into()] }
}

fn run(learner: &mut Learner, all: &[InUse]) -> Consolidated {
    let mut merging = learner.consolidate(all.to_vec()).expect("begins");
    let mut last = 0.0;
    for _ in 0..20_000 {
        match merging.step(learner).expect("steps") {
            Merging::Going { share, .. } => {
                assert!((last..=1.0).contains(&share), "{last} to {share}");
                last = share;
            }
            Merging::Done(done) => return done,
        }
    }
    panic!("it goes on for ever");
}

/// The answers to the bank with these sections.
fn answers(learner: &Learner, all: &[Written]) -> Vec<Vec<u32>> {
    let pool = now(Plastic::new(&learner.model, all.len())).expect("pool");
    for (place, written) in all.iter().enumerate() {
        pool.write(learner.model.device(), place, written).expect("writes");
    }
    let mut session = Session::with_plastic(learner.model.clone(), Some(pool)).expect("session");
    let sampler = Sampler { temperature: 0.0, ..Sampler::for_model(&learner.model) };
    let answer = |prompt: &&str| {
        session.reset().expect("resets");
        ask(&mut session, &sampler, prompt).expect("answers")
    };
    PROMPTS.iter().map(answer).collect()
}

/// Consolidates sections of single lessons, twice; every lesson is accounted for, and no answer to the bank is another.
fn kept(learner: &mut Learner, all: &[InUse]) -> Consolidated {
    let done = run(learner, all);
    assert_eq!(run(learner, all), done, "the same again is the same");
    let mut seen: Vec<u64> = done.merged.iter().flat_map(|merged| merged.lessons.clone()).collect();
    seen.extend(done.refused.iter().flat_map(|(lessons, _)| lessons.clone()));
    seen.sort_unstable();
    let single = all.iter().filter(|section| section.lessons.len() == 1);
    assert_eq!(seen, single.map(|section| section.lessons[0]).collect::<Vec<_>>());
    let before: Vec<Written> = all.iter().map(|section| section.written.clone()).collect();
    let merged = done.merged.iter().map(|merged| (merged.lessons[0], merged.written.clone()));
    let left = all.iter().filter(|section| !done.merged.iter().any(|m| m.lessons.contains(&section.lessons[0])));
    let mut after: Vec<(u64, Written)> = merged.chain(left.map(|s| (s.lessons[0], s.written.clone()))).collect();
    after.sort_by_key(|(lesson, _)| *lesson);
    let after: Vec<Written> = after.into_iter().map(|(_, written)| written).collect();
    assert_eq!(after.len() + done.merged.len(), before.len());
    assert_eq!(answers(learner, &after), answers(learner, &before));
    for merged in &done.merged {
        assert!(merged.lessons.len() == 2 && merged.lessons.is_sorted());
        assert!(merged.receipt.checked >= LEAST && merged.receipt.passed == merged.receipt.checked, "{merged:?}");
    }
    done
}

#[test]
fn what_is_merged_answers_as_before_and_the_rest_is_left() {
    let mut learner = ready();
    // Two that do nothing can become one that does nothing. One that nothing opens and one of two lessons stay.
    let mut quiet = vec![section(&learner, 1, 0, 0.0), section(&learner, 2, 7, 0.0)];
    quiet.push(InUse { written: Written { theta: 2.0, ..quiet[0].written.clone() }, ..section(&learner, 5, 2, 0.0) });
    quiet.push(InUse { lessons: vec![6, 7], ..section(&learner, 6, 3, 0.3) });
    // So does one that words of its own open.
    let named = Written { phrase: Phrase::new("good night"), ..quiet[0].written.clone() };
    quiet.push(InUse { written: named, ..section(&learner, 8, 2, 0.0) });
    let done = kept(&mut learner, &quiet);
    assert_eq!(done.merged.iter().map(|merged| &merged.lessons[..]).collect::<Vec<_>>(), [[1, 2]], "{done:?}");
    assert!(done.refused[0].1.contains("too few"), "{:?}", done.refused);
    assert!(done.refused[1].0 == [8] && done.refused[1].1.contains("words of its own"), "{:?}", done.refused);
    // Two that shout different things can hardly become one.
    let loud = [section(&learner, 3, 4, 1.0), section(&learner, 4, 10, 1.0)];
    let shut = Written { theta: 2.0, ..loud[0].written.clone() };
    let written: Vec<Written> = loud.iter().map(|section| section.written.clone()).collect();
    assert_ne!(answers(&learner, &written), answers(&learner, &[shut]), "they change nothing");
    let done = kept(&mut learner, &loud);
    assert!(done.merged.is_empty() && done.refused[0].1.contains("would be others"), "{done:?}");
}

#[test]
fn few_sections_are_left_alone() {
    let mut learner = ready();
    assert_eq!(run(&mut learner, &[]), Consolidated::default());
    let one = section(&learner, 1, 0, 0.5);
    let done = run(&mut learner, std::slice::from_ref(&one));
    assert!(done.merged.is_empty() && done.refused.len() == 1, "{done:?}");
    let misfit = InUse { written: Written { slabs: Vec::new(), ..one.written.clone() }, ..one };
    assert!(learner.consolidate(vec![misfit]).is_err());
    let mut unprepared = Learner::new(learner.model.clone()).expect("learner");
    assert!(unprepared.consolidate(Vec::new()).is_err(), "the bank has not been answered");
}
