//! Lessons on a small random model: reading in batches is reading, a section learns what it is trained on, and
//! nothing that is said can break a lesson.

use super::reader::{Last, Reader, Talk};
use super::writer::{Sequence, Target, Writer};
use super::*;
use crate::config::{Config, Mixer};
use crate::plastic::{KEYS, Plastic};
use crate::testing::{checkpoint, config};
use crate::tokenizer::Tokenizer;
use lichen_shaders::cases::Random;

const TURN: usize = 12;

fn model() -> Arc<Model> {
    let config = Config { layers: 3, turn: TURN, ..config(Mixer::SlopeDelta) };
    let mut checkpoint = checkpoint(&config, Tokenizer::bytes(), 9);
    let bank = "{\"prompt\":\"who are you\"}\n{\"prompt\":\"what is my name\"}\n{\"prompt\":\"where is my {}\"}";
    checkpoint.header.bank = Some(Bank::from_jsonl(bank).expect("a bank"));
    Arc::new(Model::new(checkpoint, Arc::new(Device::Cpu(Cpu::new(1)))).expect("model"))
}

fn ready() -> Learner {
    let mut learner = Learner::new(model()).expect("learner");
    while learner.prepare().map(|(known, all)| known < all).expect("prepares") {}
    learner
}

fn told(said: &str) -> Teaching {
    Teaching::Statement(said.into())
}

fn answer(ask: &str, answer: &str) -> Teaching {
    Teaching::Answer { ask: ask.into(), answer: answer.into() }
}

fn meant(said: &str) -> Teaching {
    Teaching::Correction { asked: "who am i".into(), said: said.into() }
}

fn gate(theta: f32, keys: Vec<f32>) -> Gate {
    Gate { theta, keys: keys.chunks(TURN).map(<[f32]>::to_vec).collect(), phrase: None, fact: None }
}

fn chance(logits: &[f32], token: u32) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|x| (x - top).exp()).sum();
    (logits[token as usize] - top).exp() / sum
}

/// The lowest probability of a token of the last answer, by feeding a session.
fn least(session: &mut Session, talk: &Talk) -> f32 {
    let mut least = 1f32;
    for (at, &id) in talk.ids.iter().enumerate() {
        if talk.answer().contains(&at) {
            least = least.min(chance(&now(session.logits()).expect("logits"), id));
        }
        now(session.prefill(&[id])).expect("feeds");
    }
    least
}

#[test]
fn reading_many_is_reading_each() {
    let model = model();
    let talk = |turns: &[(&str, &[u32])], on| Talk::new(model.tokenizer(), turns, on, Last::default()).expect("talk");
    let mut session = Session::new(model.clone()).expect("session");
    let mut reader = Reader::new(model.clone()).expect("reader");
    for goes_on in [false, true] {
        let talks = [
            talk(&[("hello", &[70, 71])], goes_on),
            talk(&[("one, two", &[72]), ("and then something longer", &[73, 74, 75, 76])], goes_on),
            talk(&[("x", &[])], goes_on),
        ];
        session.reset().expect("resets");
        if goes_on {
            now(session.prefill(&[80, 81, 82])).expect("feeds");
        }
        let state = now(session.state()).expect("state");
        let seen =
            reader.read(&talks.iter().collect::<Vec<_>>(), goes_on.then_some(&state), Some(&|_| true)).expect("reads");
        for (talk, seen) in talks.iter().zip(&seen) {
            session.restore(&state).expect("restores");
            let want = least(&mut session, talk);
            assert!((seen.least - want).abs() < 1e-4 * want, "{} is not {want}", seen.least);
            assert_eq!(seen.turns.len(), talk.turns.len());
            assert!(seen.turns.iter().all(|turn| turn.len() == TURN && turn.iter().all(|x| x.is_finite())));
            for entering in [&seen.entering.rows, &seen.entering.normed] {
                assert_eq!(entering.len(), talk.ids.len() * model.config().width);
            }
            assert_eq!(seen.chances.len(), talk.answer().len());
        }
    }
}

#[test]
fn a_section_learns_what_is_to_change_and_leaves_what_is_to_stay() {
    let model = model();
    let mut reader = Reader::new(model.clone()).expect("reader");
    let answers: [(&str, &[u32]); 4] =
        [("my name", &[90, 91]), ("who am i", &[90, 91]), ("hello", &[70]), ("what is the time", &[71, 72, 73])];
    let mut sequences = Vec::new();
    let mut talks = Vec::new();
    for (i, answer) in answers.iter().enumerate() {
        let talk = Talk::new(model.tokenizer(), &[*answer], false, Last::default()).expect("talk");
        let seen = reader.read(&[&talk], None, Some(&|_| true)).expect("reads").remove(0);
        let rows = talk.answer();
        let target = |(at, chances): (usize, Vec<f32>)| match i < 2 {
            true => (at - 1, Target::Token(talk.ids[at])),
            false => (at - 1, Target::Same(chances)),
        };
        sequences.push(Sequence {
            entering: seen.entering,
            rows: talk.ids.len() - 1,
            open: (rows.start - 1..rows.end - 1).map(|row| (row, 1.0)).collect(),
            targets: rows.zip(seen.chances).map(target).collect(),
        });
        talks.push(talk);
    }
    // Opening by nothing from the first row on, nothing is left to run beforehand: all rows run in every update. The
    // gradient is the same.
    let mut whole = sequences.clone();
    whole.iter_mut().for_each(|sequence| sequence.open.push((0, 1e-30)));
    let writer = |sequences| now(Writer::new(&model, sequences, None, &mut Random::new(3))).expect("writer");
    let gradient = |sequences| {
        let mut writer = writer(sequences);
        let mut random = Random::new(8);
        let mut some = writer.written(&model, &gate(2.0, vec![0.0; KEYS * TURN])).expect("written");
        some.slabs.iter_mut().flatten().for_each(|x| *x = (0.1 * random.normal()) as f32);
        writer.pool().write(model.device(), 0, &some).expect("writes");
        writer.gradient(&model).expect("a gradient")
    };
    let (got, want) = (gradient(sequences.clone()), gradient(whole));
    let power: f64 = want.iter().map(|&x| f64::from(x).powi(2)).sum();
    let error: f64 = got.iter().zip(&want).map(|(&a, &b)| f64::from(a - b).powi(2)).sum();
    assert!(power > 1e-6 && error <= 1e-6 * power, "NMSE {}", error / power);
    let mut writer = writer(sequences);
    while !writer.step(&model).expect("step") {}
    let (first, last) = (writer.losses[0], writer.losses[writer.losses.len() - 1]);
    assert!(first.guards < 1e-6, "a fresh section is silent: {first:?}");
    assert!(last.frames < 0.3 * first.frames, "{first:?} to {last:?}");
    assert!(last.guards < 0.5, "{last:?}");
    // In a session, behind a gate that opens for everything, it says what it was taught.
    let keys: Vec<f32> = (0..KEYS * TURN).map(|i| (i % 5) as f32 - 2.0).collect();
    let pool = now(Plastic::new(&model, 3)).expect("pool");
    pool.write(model.device(), 1, &writer.written(&model, &gate(-1.5, keys)).expect("written")).expect("writes");
    let mut plain = Session::new(model.clone()).expect("session");
    let mut taught = Session::with_plastic(model.clone(), Some(pool)).expect("session");
    let (before, after) = (least(&mut plain, &talks[0]), least(&mut taught, &talks[0]));
    assert!(after > 3.0 * before && after > 0.2, "{before} to {after}");
}

#[test]
fn whatever_is_said_a_lesson_ends() {
    let mut learner = ready();
    for statement in ["", "  \n", &"very long ".repeat(400)] {
        for teaching in [told(statement), answer("who am i", statement), answer(statement, "ada"), meant(statement)] {
            assert!(matches!(learner.begin(&teaching, 1, []), Err(Error::Memory(_))), "{teaching:?}");
        }
    }
    let odd = ["my name is ada", "\u{0}\u{1}�", "my my my my", "{} {} <user> <end>", "🙂🙂🙂", "my"];
    for teaching in odd.iter().flat_map(|said| [told(said), answer(said, said), meant(said)]) {
        let mut lesson = learner.begin(&teaching, 1, []).expect("begins");
        let mut steps = 0;
        loop {
            match lesson.step(&mut learner).expect("steps") {
                Step::Going(_, share) => assert!((0.0..=1.0).contains(&share), "{share}"),
                Step::Done(learned) => {
                    assert!(learned.written.slabs.iter().flatten().all(|x| x.is_finite()));
                    break;
                }
                Step::Refused(why) => {
                    assert!(!why.is_empty());
                    break;
                }
            }
            steps += 1;
            assert!(steps < 1000, "{teaching:?} goes on for ever");
        }
    }
}

/// Whatever is shown: a lesson on it ends, and what it writes are numbers.
#[test]
fn what_is_shown_can_be_named() {
    let tokenizer = crate::action::tests::tokenizer();
    let senses = Some(crate::config::Senses { sound: [4, 8], picture: [4, 8] });
    let config = Config { layers: 3, turn: TURN, vocab: tokenizer.vocab(), senses, ..config(Mixer::SlopeDelta) };
    let mut checkpoint = checkpoint(&config, tokenizer, 9);
    let bank = Bank::from_jsonl("{\"prompt\":\"who are you\"}\n{\"prompt\":\"what is my name\"}").expect("a bank");
    checkpoint.header.bank = Some(bank.clone());
    let device = Arc::new(Device::Cpu(Cpu::new(1)));
    let model = Arc::new(Model::new(checkpoint, device).expect("model"));
    let picture = |level| Shown::Picture(crate::frontend::Picture::from_gray(&[level; 64], 8, 8).expect("a picture"));
    let sound = |n| {
        let samples: Vec<f32> = (0..n).map(|i| (i as f32 * 0.1).sin()).collect();
        Shown::Sound(crate::frontend::Sound::from_samples(&samples, 16_000).expect("a sound"))
    };
    let others = [picture(10), picture(200), sound(9000)];
    let turns = turns_shown(&model, others.iter()).expect("vectors");
    assert!(turns.len() == 3 && turns.iter().all(|turn| turn.len() == TURN && turn.iter().all(|x| x.is_finite())));
    let mut learner = Learner::new(model).expect("learner");
    learner.bank = bank.with_shown(turns);
    while learner.prepare().map(|(known, all)| known < all).expect("prepares") {}
    for shown in [picture(0), picture(255), sound(1), sound(16_000)] {
        let teaching = Teaching::Name { shown, name: " Biscuit ".into() };
        let mut lesson = learner.begin(&teaching, 1, []).expect("begins");
        for steps in 0.. {
            assert!(steps < 1000, "{teaching} goes on for ever");
            match lesson.step(&mut learner).expect("steps") {
                Step::Going(..) => {}
                Step::Done(learned) => {
                    assert!(learned.written.slabs.iter().flatten().all(|x| x.is_finite()));
                    assert!(learned.frames.is_empty(), "what was shown cannot be asked again");
                    break;
                }
                Step::Refused(why) => {
                    assert!(!why.is_empty());
                    break;
                }
            }
        }
    }
    let long = Teaching::Name { shown: sound(112_000), name: "rain".into() };
    assert!(matches!(learner.begin(&long, 1, []), Err(Error::Memory(_))));
    let nameless = Teaching::Name { shown: picture(0), name: " ".into() };
    assert!(matches!(learner.begin(&nameless, 1, []), Err(Error::Memory(_))));
    let (mut blind, picture) = (ready(), picture(0));
    assert!(matches!(turns_shown(blind.model(), [&picture].into_iter()), Err(Error::Senses(_))));
    let named = Teaching::Name { shown: picture, name: "rain".into() };
    assert!(matches!(blind.begin(&named, 1, []), Err(Error::Senses(_))));
}

#[test]
fn kept_answers_are_taken_only_if_they_are_the_models_own() {
    let learner = ready();
    let kept = learner.known();
    let mut again = Learner::new(learner.model().clone()).expect("learner");
    assert!(again.begin(&told("my name is ada"), 1, []).is_err(), "the bank has not been answered");
    again.recall(&kept).expect("recalls");
    assert_eq!(again.known, learner.known);
    let changed = |change: fn(&mut Known)| {
        let mut all: Vec<Known> = serde_json::from_slice(&kept).expect("json");
        change(&mut all[0]);
        serde_json::to_vec(&all).expect("json")
    };
    let foreign: [fn(&mut Known); 4] = [
        |known| known.answer = vec![65, 66, 67],
        |known| known.answer = vec![9_999_999],
        |known| known.turn[0] += 1.0,
        |known| known.prompt.push('?'),
    ];
    for change in foreign {
        again.recall(&changed(change)).expect("recalls");
        assert!(again.known.is_empty());
    }
    assert!(again.recall(b"nonsense").is_err());
    assert!(again.prepare().expect("prepares").0 > 0);
}
