//! What is heard and seen, from examples through training and sessions.

use lichen::config::Senses;
use lichen::data::{Example, HEARD, PIXELS, SEEN, WINDOW};
use lichen::session::Session;
use lichen::train::{TrainOptions, Trainer};
use lichen::{Checkpoint, Config, Device, Mixer, Model, Random, Tokenizer};
use pollster::block_on;
use std::sync::Arc;

fn config() -> Config {
    Config {
        mixer: Mixer::SlopeDelta,
        vocab: 260,
        width: 64,
        layers: 3,
        heads: 2,
        key: 8,
        value: 16,
        rank: 4,
        sections: 8,
        picks: 2,
        neurons: 16,
        shared: 16,
        route: 8,
        turn: 8,
        senses: Some(Senses { sound: [4, 8], picture: [4, 8] }),
        ..Config::nano()
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint::random(&config(), Tokenizer::bytes(), 5)
}

fn options() -> TrainOptions {
    TrainOptions { batch: 4, micro: 2, context: 64, steps: 400, lr: 0.01, warmup: 5, ..TrainOptions::default() }
}

/// A picture of one shade, or a sound of one level, and a word for which it was.
fn example(random: &mut Random, sees: bool, bright: bool) -> Example {
    let shade = if bright { 0.7 } else { -0.7 };
    let mut noisy = |n: usize| (0..n).map(|_| shade + 0.2 * random.normal() as f32).collect::<Vec<f32>>();
    let mut example = match sees {
        true => Example { ids: vec![1, SEEN, 2], pictures: noisy(PIXELS), ..Example::default() },
        false => Example { ids: vec![1, HEARD, 2], sounds: noisy(3 * WINDOW), ..Example::default() },
    };
    example.ids.push(if bright { 100 } else { 101 });
    example.weights = vec![0.0, 0.0, 0.0, 1.0];
    example.widen(SEEN, 16);
    example.widen(HEARD, 3);
    example
}

#[test]
fn stems_learn_to_tell_bright_from_dark() {
    let mut trainer = Trainer::new(checkpoint(), options(), Arc::new(Device::cpu(1))).expect("a trainer");
    for _ in 0..60 {
        trainer
            .update(|random| {
                let (sees, bright) = (random.below(2) == 0, random.below(2) == 0);
                Ok(example(random, sees, bright))
            })
            .expect("an update");
    }
    let mut random = Random::new(77);
    let held_out: Vec<Example> = (0..32).map(|i| example(&mut random, i % 2 == 0, i % 4 < 2)).collect();
    let scores = trainer.score(&held_out).expect("scores");
    let right = scores.iter().filter(|s| s.exact).count();
    assert!(right >= 31, "{right} of 32 right");
    // A session sees and hears the same as the trainer.
    let model =
        Model::new(block_on(trainer.checkpoint()).expect("weights"), Arc::new(Device::cpu(1))).expect("a model");
    let mut session = Session::new(Arc::new(model)).expect("a session");
    for (example, score) in held_out.iter().zip(&scores) {
        session.reset().expect("resets");
        let mut prompt = example.clone();
        let answer = prompt.ids.pop().expect("an answer") as usize;
        prompt.weights.pop();
        block_on(session.perceive(&prompt)).expect("takes it in");
        let logits = block_on(session.logits()).expect("logits");
        let sum: f64 = logits.iter().map(|&l| f64::from(l - logits[answer]).exp()).sum();
        assert!((sum.ln() - score.loss).abs() < 1e-3, "{} {}", sum.ln(), score.loss);
    }
}

#[test]
fn sequences_of_any_lengths_learn_as_one_by_one() {
    // Grouping, padding and picking of rows must not change what a sequence costs.
    let mut random = Random::new(9);
    let mut all: Vec<Example> = (0..9)
        .map(|i| {
            let n = 3 + 7 * i;
            let ids: Vec<u32> = (0..n).map(|_| random.below(256) as u32).collect();
            let weights = (0..n).map(|t| if t % 3 == 0 { 0.0 } else { 0.5 }).collect();
            Example { ids, weights, ..Example::default() }
        })
        .collect();
    all.push(example(&mut random, true, false));
    all.push(example(&mut random, false, true));
    let mut trainer = Trainer::new(checkpoint(), options(), Arc::new(Device::cpu(2))).expect("a trainer");
    let together = trainer.score(&all).expect("scores");
    for (one, want) in all.iter().zip(&together) {
        let alone = trainer.score(std::slice::from_ref(one)).expect("a score")[0];
        assert!((alone.loss - want.loss).abs() < 1e-3 * want.loss, "{alone:?} {want:?}");
        assert_eq!(alone.predictions, one.weights.iter().skip(1).filter(|w| **w > 0.0).count());
    }
}

#[test]
fn contrast_brings_turns_about_one_fact_together() {
    let options = TrainOptions { contrast: 1.0, ..options() };
    let mut trainer = Trainer::new(checkpoint(), options, Arc::new(Device::cpu(1))).expect("a trainer");
    // Four facts, each with a word of its own among noise.
    let draw = |random: &mut Random| {
        let mut example = Example::default();
        for _ in 0..4 {
            let fact = random.below(4);
            let from = example.ids.len();
            example.ids.extend((0..5).map(|_| random.below(200) as u32));
            example.ids[from + 2] = 210 + fact as u32;
            example.about.push((from..from + 5, Some(format!("fact {fact}"))));
        }
        example.weights = vec![0.1; example.ids.len()];
        Ok(example)
    };
    let mut losses = Vec::new();
    for _ in 0..40 {
        losses.push(trainer.update(draw).expect("an update").contrast.expect("turns with fellows"));
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[35..]));
    assert!(last < 0.8 * first, "{first} {last}");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut random = Random::new(1);
    let whole = example(&mut random, true, true);
    let mut trainer = Trainer::new(checkpoint(), options(), Arc::new(Device::cpu(1))).expect("a trainer");
    let mut few = whole.clone();
    few.pictures.truncate(100);
    let mut wanted = whole.clone();
    wanted.weights[3] = 1.0;
    let mut unknown = whole.clone();
    unknown.ids[0] = 260;
    for bad in [few, wanted, unknown] {
        assert!(trainer.score(std::slice::from_ref(&bad)).is_err());
        let device = Arc::new(Device::cpu(1));
        let mut session =
            Session::new(Arc::new(Model::new(checkpoint(), device).expect("a model"))).expect("a session");
        assert!(block_on(session.perceive(&bad)).is_err());
        // Nothing of it was taken in.
        assert_eq!(session.position(), 0);
    }
    let contrast = TrainOptions { contrast: 0.1, ..options() };
    let plain = Checkpoint::random(&Config { turn: 0, ..config() }, Tokenizer::bytes(), 5);
    let error = Trainer::new(plain, contrast, Arc::new(Device::cpu(1))).err().expect("no turns to contrast");
    assert!(error.to_string().contains("turn"), "{error}");
    let blind = Checkpoint::random(&Config { senses: None, ..config() }, Tokenizer::bytes(), 5);
    let model = Model::new(blind, Arc::new(Device::cpu(1))).expect("a model");
    let mut session = Session::new(Arc::new(model)).expect("a session");
    assert!(block_on(session.perceive(&whole)).expect_err("is blind").to_string().contains("neither hear nor see"));
}

#[test]
fn routes_are_noted_for_every_row() {
    let model = Model::new(checkpoint(), Arc::new(Device::cpu(1))).expect("a model");
    let mut session = Session::new(Arc::new(model)).expect("a session");
    let mut random = Random::new(4);
    let seen = example(&mut random, true, true);
    let map = block_on(session.perceive_routed(&seen)).expect("a map");
    assert_eq!((map.rows(), map.layers.len()), (seen.ids.len(), 3));
    assert!(map.layers.iter().flatten().all(|picks| picks.len() == 2 && picks.iter().all(|(id, _)| *id < 8)));
    assert_eq!(map.overlap(&map), (1.0, 1.0));
    session.reset().expect("resets");
    let heard = block_on(session.perceive_routed(&example(&mut random, false, true))).expect("a map");
    let (sets, heat) = map.overlap(&heard);
    assert!((0.0..1.0).contains(&heat) && (0.0..=1.0).contains(&sets), "{sets} {heat}");
}
