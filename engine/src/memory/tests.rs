//! Memories in memory alone, with a small random model.

mod damage;
mod files;
mod merge;

use super::record::Shape;
use super::*;
use crate::checkpoint::Checkpoint;
use crate::config::{Config, Mixer};
use crate::phrase::Phrase;
use crate::plastic::{KEYS, NEURONS, Written};
use crate::session::Session;
use crate::storage::Storage;
use crate::testing::{self, config, now};
use crate::tokenizer::Tokenizer;
use lichen_host::{Cpu, Device};
use lichen_shaders::cases::Random;
use std::sync::Arc;

const TURN: usize = 12;
const WIDTH: usize = 64;

fn checkpoint(seed: u64) -> Checkpoint {
    let config = Config { layers: 3, turn: TURN, ..config(Mixer::Delta) };
    testing::checkpoint(&config, Tokenizer::bytes(), seed)
}

/// A model that was written, and so has an id.
fn model_of(seed: u64) -> Arc<Model> {
    let mut file = Vec::new();
    checkpoint(seed).write(Storage::F32, &mut file).expect("writing");
    let device = Arc::new(Device::Cpu(Cpu::new(1)));
    Arc::new(Model::open(Arc::new(file), device, None).expect("model"))
}

fn model() -> Arc<Model> {
    model_of(9)
}

fn memory(model: &Model) -> Memory {
    Memory::open(Store::in_memory().expect("store"), model).expect("memory")
}

/// A section that opens for whatever is said; each seed another one.
fn learned(seed: u64) -> Learned {
    let mut random = Random::new(seed);
    let mut normal = |len: usize, size: f64| (0..len).map(|_| (size * random.normal()) as f32).collect::<Vec<_>>();
    let keys = normal(KEYS * TURN, 1.0);
    let slabs = (0..2).map(|_| normal(2 * NEURONS * WIDTH, 0.3)).collect();
    let receipt = Receipt { frames: 3, loss_before: 2.5, loss_after: 0.25, ..Receipt::default() };
    let frames = vec![(format!("what is {seed}?"), format!("it is {seed}"))];
    Learned { written: Written { phrase: None, fact: None, theta: -1.5, keys, slabs }, receipt, frames }
}

/// Commits what a seed stands for.
fn teach(memory: &mut Memory, seed: u64, replaces: Option<u64>) -> u64 {
    memory.commit(&learned(seed), Some(&format!("it is {seed}")), 1000 + seed, replaces).expect("commits")
}

/// Everything that a pool holds, as bits.
fn bits(pool: &Pool, model: &Model) -> Vec<Vec<u32>> {
    let read = |buffer: &lichen_host::Buffer| now(model.device().read::<u32>(&buffer.view())).expect("reads");
    let slabs = (0..3).filter_map(|layer| pool.plastic().slabs(layer));
    [pool.plastic().gate()].into_iter().chain(slabs).map(read).collect()
}

fn pool(memory: &Memory, model: &Model) -> Pool {
    now(memory.pool(model)).expect("pool")
}

/// Logits of an answer's first tokens, as bits, with a memory's pool or without one.
fn answered(model: &Arc<Model>, pool: Option<&Pool>) -> Vec<u32> {
    let mark = |name: &str| model.tokenizer().special(name).expect("special");
    let plastic = pool.map(|pool| pool.plastic().clone());
    let mut session = Session::with_plastic(model.clone(), plastic).expect("session");
    now(session.prefill(&[mark("<user>"), 70, 71, mark("<lichen>"), 72])).expect("prefill");
    now(session.logits()).expect("logits").iter().map(|x| x.to_bits()).collect()
}

/// The memory holds these lessons, of these seeds, and works as one that never held anything else.
#[track_caller]
fn is(memory: &Memory, model: &Arc<Model>, open: &[(u64, u64)]) {
    assert_eq!(memory.open_lessons().expect("reads"), open.iter().map(|&(id, _)| id).collect::<Vec<_>>());
    let mut other = self::memory(model);
    for &(_, seed) in open {
        teach(&mut other, seed, None);
    }
    let (pool, want) = (pool(memory, model), self::pool(&other, model));
    assert_eq!(bits(&pool, model), bits(&want, model));
    let logits = answered(model, Some(&pool));
    assert_eq!(logits, answered(model, Some(&want)));
    assert_eq!(logits == answered(model, None), open.is_empty());
    assert_eq!(memory.verify().expect("reads"), []);
}

#[test]
fn words_of_its_own_survive_as_a_hash() {
    let model = model();
    let mut memory = memory(&model);
    let mut lesson = learned(1);
    let plain = memory.commit(&lesson, None, 77, None).expect("commits");
    lesson.written.phrase = Phrase::new("purple banana");
    let named = memory.commit(&lesson, None, 77, None).expect("commits");
    let memory = Memory::open(memory.into_store(), &model).expect("opens");
    assert_eq!(memory.section(plain).expect("section"), Written { phrase: None, ..lesson.written.clone() });
    assert_eq!(memory.section(named).expect("section"), lesson.written);
    assert_eq!(memory.verify().expect("reads"), []);
    // Nothing else opens it.
    let pool = now(memory.pool(&model)).expect("pool");
    assert_eq!(pool.plastic().named("a purple banana"), pool.place(named));
    assert_eq!(pool.plastic().named("a banana"), None);
    let shape = Shape::of(model.config());
    let bytes = shape.encode(&lesson.written).expect("bytes");
    assert!(!bytes.windows(6).any(|part| part == b"purple" || part == b"banana"));
    let whole = shape.bytes();
    for bad in [&bytes[..whole + 11], &bytes[..whole + 1], &[&bytes[..], &[0]].concat(), &bytes[..whole - 4]] {
        assert!(shape.decode(bad).is_err_and(|why| why.contains("bytes")), "{} bytes", bad.len());
    }
    let none = [&bytes[..whole], &[0; 12]].concat();
    assert!(shape.decode(&none).is_err_and(|why| why.contains("0 words")));
}

#[test]
fn bits_and_receipts_survive() {
    let model = model();
    let mut memory = memory(&model);
    let mut lesson = learned(1);
    lesson.written.slabs[1][..5].copy_from_slice(&[-0.0, f32::MIN_POSITIVE / 8.0, f32::MAX, f32::EPSILON, -1e-45]);
    let id = memory.commit(&lesson, Some("Ä\n\"b\""), 77, None).expect("commits");
    let memory = Memory::open(memory.into_store(), &model).expect("opens");
    let got = memory.section(id).expect("section");
    let flat = |w: &Written| {
        let all = [w.theta].into_iter().chain(w.keys.clone()).chain(w.slabs.concat());
        all.map(f32::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(flat(&got), flat(&lesson.written));
    let shown = memory.show(id).expect("shown");
    let texts = Texts { said: Some("Ä\n\"b\"".into()), frames: lesson.frames.clone() };
    let bytes = 4 * (1 + KEYS * TURN + 2 * 2 * NEURONS * WIDTH) as u64;
    let want = Lesson {
        id: 1,
        created: 77,
        receipt: lesson.receipt,
        replaces: None,
        replaced_by: None,
        shares_with: Vec::new(),
        bytes,
        texts: Some(texts),
    };
    assert_eq!((&shown, memory.list().expect("list")), (&want, vec![want.clone()]));
    assert_eq!(memory.last().expect("last"), Some(1));
}

#[test]
fn an_undone_lesson_was_never_taught() {
    let model = model();
    let mut memory = memory(&model);
    is(&memory, &model, &[]);
    teach(&mut memory, 1, None);
    teach(&mut memory, 2, None);
    teach(&mut memory, 3, None);
    is(&memory, &model, &[(1, 1), (2, 2), (3, 3)]);
    assert_eq!(memory.undo(2).expect("undoes"), None);
    is(&memory, &model, &[(1, 1), (3, 3)]);
    assert_eq!(memory.undo(3).expect("undoes"), None);
    assert_eq!(memory.last().expect("last"), Some(1));
    // A number is given out once.
    assert_eq!(teach(&mut memory, 2, None), 4);
    is(&memory, &model, &[(1, 1), (4, 2)]);
    assert_eq!(memory.clear().expect("clears"), 2);
    is(&memory, &model, &[]);
    let mut memory = Memory::open(memory.into_store(), &model).expect("opens");
    assert_eq!(teach(&mut memory, 5, None), 5);
    assert!(matches!(memory.undo(4), Err(Error::Lessons(MemoryError::Gone { id: 4 }))));
    assert!(matches!(memory.undo(6), Err(Error::Lessons(MemoryError::NoLesson { id: 6 }))));
    assert!(matches!(memory.show(0), Err(Error::Lessons(MemoryError::NoLesson { id: 0 }))));
    assert!(matches!(memory.section(1), Err(Error::Lessons(MemoryError::Gone { id: 1 }))));
}

#[test]
fn chains_of_replaced_lessons_close_up() {
    let model = model();
    // A replaced by B replaced by C, with one more beside them.
    let chain = || {
        let mut memory = memory(&model);
        teach(&mut memory, 9, None);
        for seed in 1..=3 {
            let older = (seed > 1).then_some(seed);
            assert_eq!(teach(&mut memory, seed, older), seed + 1);
        }
        memory
    };
    let links = |memory: &Memory| -> Vec<_> {
        memory.list().expect("list").iter().map(|l| (l.id, l.replaces, l.replaced_by)).collect()
    };
    let mut memory = chain();
    is(&memory, &model, &[(1, 9), (4, 3)]);
    assert_eq!(links(&memory), [(1, None, None), (2, None, Some(3)), (3, Some(2), Some(4)), (4, Some(3), None)]);
    // The middle: C now replaces A, which opens when C goes.
    assert_eq!(memory.undo(3).expect("undoes"), None);
    assert_eq!(links(&memory), [(1, None, None), (2, None, Some(4)), (4, Some(2), None)]);
    is(&memory, &model, &[(1, 9), (4, 3)]);
    assert_eq!(memory.undo(4).expect("undoes"), Some(2));
    is(&memory, &model, &[(1, 9), (2, 1)]);
    // The newest: B opens; then B: A opens.
    let mut memory = chain();
    assert_eq!(memory.undo(4).expect("undoes"), Some(3));
    is(&memory, &model, &[(1, 9), (3, 2)]);
    assert_eq!(memory.undo(3).expect("undoes"), Some(2));
    is(&memory, &model, &[(1, 9), (2, 1)]);
    // The oldest: B replaces nothing any more, and nothing opens when it goes.
    let mut memory = chain();
    assert_eq!(memory.undo(2).expect("undoes"), None);
    assert_eq!(links(&memory), [(1, None, None), (3, None, Some(4)), (4, Some(3), None)]);
    assert_eq!(memory.undo(4).expect("undoes"), Some(3));
    assert_eq!(memory.undo(3).expect("undoes"), None);
    is(&memory, &model, &[(1, 9)]);
    // One lesson is replaced by one.
    let mut memory = chain();
    let twice = memory.commit(&learned(5), None, 0, Some(2));
    assert!(matches!(twice, Err(Error::Lessons(MemoryError::Replaced { id: 2, by: 3 }))), "{twice:?}");
    let never = memory.commit(&learned(5), None, 0, Some(5));
    assert!(matches!(never, Err(Error::Lessons(MemoryError::NoLesson { id: 5 }))), "{never:?}");
    is(&memory, &model, &[(1, 9), (4, 3)]);
}

#[test]
fn a_live_pool_follows_its_memory() {
    let model = model();
    let mut memory = memory(&model);
    let mut live = pool(&memory, &model);
    assert_eq!((live.plastic().capacity(), live.lessons()), (8, Vec::new()));
    let mut follow = |memory: &Memory| {
        assert!(live.update(memory, &model).expect("updates"));
        let fresh = pool(memory, &model);
        assert_eq!((bits(&live, &model), live.lessons()), (bits(&fresh, &model), fresh.lessons()));
    };
    for seed in 1..=3 {
        teach(&mut memory, seed, None);
    }
    follow(&memory);
    teach(&mut memory, 4, Some(2));
    follow(&memory);
    memory.undo(1).expect("undoes");
    follow(&memory);
    memory.undo(4).expect("undoes");
    follow(&memory);
    memory.clear().expect("clears");
    follow(&memory);
    for seed in 1..=8 {
        teach(&mut memory, seed, None);
    }
    assert!(live.update(&memory, &model).expect("updates"));
    assert_eq!((live.lessons(), live.place(6), live.place(4)), ((5..=12).collect(), Some(1), None));
    // A ninth does not fit, and the pool stays as it was; a new one has twice the room.
    let before = bits(&live, &model);
    teach(&mut memory, 9, None);
    assert!(!live.update(&memory, &model).expect("updates"));
    assert_eq!((bits(&live, &model), live.lessons().len()), (before, 8));
    let fresh = pool(&memory, &model);
    assert_eq!((fresh.plastic().capacity(), fresh.lessons().len()), (16, 9));
    // A session that was there before uses what was written since.
    let mark = |name: &str| model.tokenizer().special(name).expect("special");
    let prompt = [mark("<user>"), 70, 71, mark("<lichen>"), 72];
    let mut session = Session::with_plastic(model.clone(), Some(live.plastic().clone())).expect("session");
    memory.clear().expect("clears");
    assert!(live.update(&memory, &model).expect("updates"));
    now(session.prefill(&prompt)).expect("prefill");
    let logits: Vec<u32> = now(session.logits()).expect("logits").iter().map(|x| x.to_bits()).collect();
    assert_eq!(logits, answered(&model, None));
}

#[test]
fn what_does_not_fit_is_not_committed() {
    let model = model();
    let mut memory = memory(&model);
    let with = |change: fn(&mut Learned)| {
        let mut lesson = learned(1);
        change(&mut lesson);
        lesson
    };
    for (lesson, says) in [
        (with(|l| l.written.keys.truncate(1)), "keys"),
        (with(|l| l.written.slabs.truncate(1)), "slabs"),
        (with(|l| l.written.slabs[1].push(0.0)), "slabs"),
        (with(|l| l.written.theta = f32::NAN), "NaN"),
        (with(|l| l.written.keys[3] = f32::INFINITY), "inf"),
        (with(|l| l.written.slabs[1][7] = f32::NEG_INFINITY), "-inf"),
        (with(|l| l.receipt.drift = f64::NAN), "receipt"),
    ] {
        match memory.commit(&lesson, None, 0, None) {
            Err(Error::Lessons(MemoryError::Misfit(what))) => assert!(what.contains(says), "{what}"),
            other => panic!("{says}: {other:?}"),
        }
    }
    is(&memory, &model, &[]);
    assert_eq!(teach(&mut memory, 1, None), 1);
    // A model that has no vectors of turns has a memory too, and nothing to put in.
    let config = Config { turn: 0, ..checkpoint(1).header.config.clone() };
    let device = Arc::new(Device::Cpu(Cpu::new(1)));
    let without = Model::new(Checkpoint::random(&config, Tokenizer::bytes(), 1), device).expect("model");
    let mut memory = self::memory(&without);
    let keyless = with(|l| l.written.keys.clear());
    assert!(matches!(memory.commit(&keyless, None, 0, None), Err(Error::Lessons(MemoryError::Misfit(_)))));
    assert!(memory.list().expect("list").is_empty() && now(memory.pool(&without)).is_err());
}

#[test]
fn texts_are_kept_or_not_and_erased_as_a_whole() {
    let model = model();
    let mut memory = memory(&model);
    teach(&mut memory, 1, None);
    memory.keep_texts = false;
    teach(&mut memory, 2, None);
    memory.keep_texts = true;
    teach(&mut memory, 3, None);
    memory.put_cached(7, b"answers").expect("puts");
    assert_eq!(memory.cached(7).expect("gets"), Some(b"answers".to_vec()));
    let said = |memory: &Memory| -> Vec<bool> {
        memory.list().expect("list").iter().map(|lesson| lesson.texts.is_some()).collect()
    };
    assert_eq!(said(&memory), [true, false, true]);
    memory.undo(3).expect("undoes");
    assert_eq!(memory.store().get(TEXTS, 3).expect("reads"), None);
    assert_eq!(memory.erase_texts().expect("erases"), 1);
    assert_eq!(said(&memory), [false, false]);
    assert_eq!(memory.cached(7).expect("gets"), Some(b"answers".to_vec()));
    is(&memory, &model, &[(1, 1), (2, 2)]);
}

#[test]
fn a_memory_opens_on_its_own_model_alone() {
    let (model, other) = (model(), model_of(10));
    let mut memory = memory(&model);
    teach(&mut memory, 1, None);
    assert!(now(memory.pool(&other)).is_err());
    let mut live = pool(&memory, &model);
    assert!(live.update(&memory, &other).is_err());
    match Memory::open(memory.into_store(), &other) {
        Err(Error::Lessons(error @ MemoryError::OtherModel { .. })) => {
            let says = error.to_string();
            assert!(says.contains(model.id()) && says.contains(other.id()) && says.contains("import"), "{says}");
        }
        result => panic!("{result:?}"),
    }
    // A model that was never written has a memory in memory.
    let device = Arc::new(Device::Cpu(Cpu::new(1)));
    let unwritten = Arc::new(Model::new(checkpoint(9), device).expect("model"));
    let mut memory = self::memory(&unwritten);
    teach(&mut memory, 1, None);
    is(&memory, &unwritten, &[(1, 1)]);
    assert!(matches!(memory.export(true), Err(Error::Lessons(MemoryError::Unwritten))));
}

#[test]
fn a_grown_model_answers_as_before_and_opens_the_memory() {
    for (storage, name) in Storage::ALL {
        let opened = |file: &[u8]| {
            let device = Arc::new(Device::Cpu(Cpu::new(1)));
            Arc::new(Model::open(Arc::new(file.to_vec()), device, None).expect("model"))
        };
        let (mut file, mut larger) = (Vec::new(), Vec::new());
        checkpoint(9).write(storage, &mut file).expect("writing");
        let before = Checkpoint::parse(&file).expect("reads");
        before.grown(21, 5).expect("grows").write(storage, &mut larger).expect("writing");
        let (model, grown) = (opened(&file), opened(&larger));
        assert_eq!((grown.config().sections, grown.header().lineage()), (21, model.id()));
        assert_eq!(answered(&grown, None), answered(&model, None), "{name}");
        let mut memory = memory(&model);
        teach(&mut memory, 3, None);
        let mut memory = Memory::open(memory.into_store(), &grown).expect("opens");
        let open = pool(&memory, &grown);
        assert_eq!(answered(&grown, Some(&open)), answered(&model, Some(&pool(&memory, &model))), "{name}");
        // And what the larger one learned is the smaller one's too.
        teach(&mut memory, 4, None);
        let memory = Memory::open(memory.into_store(), &model).expect("opens");
        assert_eq!(memory.open_lessons().expect("reads"), [1, 2]);
        // In other bits it is another model.
        let mut other = Vec::new();
        let to = if storage == Storage::F32 { Storage::F16 } else { Storage::F32 };
        Checkpoint::parse(&larger).expect("reads").write(to, &mut other).expect("writing");
        let other = opened(&other);
        assert_eq!(other.header().lineage(), other.id());
        assert!(matches!(
            Memory::open(memory.into_store(), &other),
            Err(Error::Lessons(MemoryError::OtherModel { .. }))
        ));
    }
    assert!(checkpoint(9).grown(8, 1).is_err() && checkpoint(9).grown(1 << 21, 1).is_err());
}
