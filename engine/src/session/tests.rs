//! Sessions on the CPU with a small random model: every way to the same tokens leaves the same state.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::config::Mixer;
use crate::data::{Encoder, Speaker, Turn};
use crate::phrase::Phrase;
use crate::plastic::{KEYS, NEURONS, Plastic, Written};
use crate::sampler::Sampler;
use crate::testing::{checkpoint, config, now};
use crate::tokenizer::Tokenizer;
use lichen_host::Cpu;

fn model(config: &Config) -> Arc<Model> {
    let checkpoint = checkpoint(config, Tokenizer::bytes(), 9);
    let device = Arc::new(Device::Cpu(Cpu::new(1)));
    Arc::new(Model::new(checkpoint, device).expect("model"))
}

/// A model that was taught actions.
fn acting() -> Arc<Model> {
    let tokenizer = crate::action::tests::tokenizer();
    let mut checkpoint = checkpoint(&Config { vocab: tokenizer.vocab(), ..config(Mixer::Delta) }, tokenizer, 9);
    checkpoint.header.actions = Some(crate::action::tests::catalogue());
    checkpoint.header.refusal_bias = -2.5;
    Arc::new(Model::new(checkpoint, Arc::new(Device::Cpu(Cpu::new(1)))).expect("model"))
}

fn session(model: &Arc<Model>) -> Session {
    Session::new(model.clone()).expect("session")
}

fn prompt(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 37 + 11) % 256).collect()
}

fn near(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let error: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let size: f64 = b.iter().map(|&b| f64::from(b).powi(2)).sum();
    assert!(size > 0.0 || a == b);
    assert!(error / size.max(1e-30) < 1e-6, "NMSE {}", error / size);
}

fn near_states(a: &State, b: &State) {
    assert_eq!((a.position, &a.history), (b.position, &b.history));
    a.tensors.iter().zip(&b.tensors).for_each(|(a, b)| near(a, b));
    near(&a.logits, &b.logits);
}

fn generated(session: &mut Session, sampler: &Sampler, n: usize) -> (Vec<u32>, Stop) {
    let mut tokens = Vec::new();
    let stop = now(session.generate(sampler, n, |token| {
        tokens.push(token);
        true
    }));
    (tokens, stop.expect("generation"))
}

#[test]
fn a_prompt_in_chunks_is_the_same_as_step_by_step() {
    for mixer in [Mixer::SlopeDelta, Mixer::Mcsd, Mixer::Slope, Mixer::Delta] {
        let model = model(&config(mixer));
        for n in [1, 2, 63, 64, 65, 150] {
            let tokens = prompt(n);
            let (mut whole, mut steps, mut halves) = (session(&model), session(&model), session(&model));
            now(whole.prefill(&tokens)).expect("prefill");
            let logits: Vec<Vec<f32>> = tokens.iter().map(|&t| now(steps.step(t)).expect("step")).collect();
            now(halves.prefill(&tokens[..n / 2])).expect("prefill");
            now(halves.prefill(&[])).expect("nothing");
            now(halves.prefill(&tokens[n / 2..])).expect("prefill");
            near(&now(whole.logits()).expect("logits"), &logits[n - 1]);
            let state = now(whole.state()).expect("state");
            near_states(&now(steps.state()).expect("state"), &state);
            near_states(&now(halves.state()).expect("state"), &state);
            let (a, b) = (now(whole.routes()).expect("routes"), now(steps.routes()).expect("routes"));
            assert_eq!(a.len(), 2);
            assert!(a.iter().zip(&b).all(|(a, b)| a.picks.iter().map(|p| p.0).eq(b.picks.iter().map(|p| p.0))));
            assert!(a.iter().all(|r| r.picks.len() == 2
                && r.gap >= 0.0
                && r.picks.iter().all(|p| p.0 < 8 && p.1 > 0.0 && p.1 < 1.0)));
        }
    }
}

#[test]
fn a_dense_model_runs() {
    let model = model(&Config { sections: 0, picks: 0, shared: 32, ..config(Mixer::SlopeDelta) });
    let (mut whole, mut steps) = (session(&model), session(&model));
    now(whole.prefill(&prompt(70))).expect("prefill");
    for token in prompt(70) {
        now(steps.step(token)).expect("step");
    }
    near_states(&now(whole.state()).expect("state"), &now(steps.state()).expect("state"));
    assert_eq!(now(whole.routes()).expect("routes"), []);
    assert_eq!(generated(&mut whole, &Sampler::greedy(), 5).0.len(), 5);
}

#[test]
fn bursts_of_every_size_generate_the_same() {
    let model = model(&config(Mixer::SlopeDelta));
    for sampler in [
        Sampler::greedy(),
        Sampler { temperature: 1.5, top_k: 50, seed: 4, ..Sampler::default() },
        Sampler { repeat_penalty: 1.3, temperature: 1.0, ..Sampler::default() },
    ] {
        let run = |burst: usize| {
            let mut session = session(&model);
            session.set_burst(burst);
            now(session.prefill(&prompt(20))).expect("prefill");
            let (tokens, stop) = generated(&mut session, &sampler, 21);
            assert_eq!((tokens.len(), stop), (21, Stop::Length));
            (tokens, now(session.state()).expect("state"))
        };
        let want = run(1);
        assert_eq!(run(3), want);
        assert_eq!(run(8), want);
        // The state has seen exactly the tokens that came out.
        let mut fed = session(&model);
        now(fed.prefill(&prompt(20))).expect("prefill");
        want.0.iter().for_each(|&t| drop(now(fed.step(t)).expect("step")));
        assert_eq!(now(fed.state()).expect("state"), want.1);
    }
}

#[test]
fn a_caller_that_stops_leaves_the_state_of_what_it_got() {
    let model = model(&config(Mixer::SlopeDelta));
    let sampler = Sampler { temperature: 1.0, seed: 2, ..Sampler::default() };
    let mut straight = session(&model);
    now(straight.prefill(&prompt(9))).expect("prefill");
    let (all, _) = generated(&mut straight, &sampler, 16);
    for burst in [1, 8] {
        for enough in 1..=14 {
            let mut session = session(&model);
            session.set_burst(burst);
            now(session.prefill(&prompt(9))).expect("prefill");
            let mut got = Vec::new();
            let stop = now(session.generate(&sampler, 16, |token| {
                got.push(token);
                got.len() < enough
            }));
            assert_eq!((stop.expect("generation"), &got[..]), (Stop::Caller, &all[..enough]));
            assert_eq!(session.position() as usize, 9 + enough);
            // Going on gives what a straight run gives, whether the stream is looked at in between or not.
            if enough % 2 == 0 {
                assert_eq!(now(session.routes()).expect("routes").len(), 2);
            }
            let (rest, _) = generated(&mut session, &sampler, 16 - enough);
            assert_eq!(rest, all[enough..]);
            assert_eq!(now(session.state()).expect("state"), now(straight.state()).expect("state"));
        }
    }
}

#[test]
fn a_stop_token_freezes_the_state() {
    let model = model(&config(Mixer::SlopeDelta));
    let free = Sampler { temperature: 1.5, seed: 7, ..Sampler::default() };
    let mut first = session(&model);
    now(first.prefill(&prompt(9))).expect("prefill");
    let (all, _) = generated(&mut first, &free, 12);
    for at in [0, 3, 6, 11] {
        let sampler = Sampler { stops: vec![all[at]], ..free.clone() };
        let kept = all.iter().position(|t| *t == all[at]).expect("drawn");
        let mut fed = session(&model);
        now(fed.prefill(&prompt(9))).expect("prefill");
        all[..kept].iter().for_each(|&t| drop(now(fed.step(t)).expect("step")));
        let want = now(fed.state()).expect("state");
        for burst in [1, 8] {
            for look in [true, false] {
                let mut session = session(&model);
                session.set_burst(burst);
                now(session.prefill(&prompt(9))).expect("prefill");
                let (tokens, stop) = generated(&mut session, &sampler, 12);
                assert_eq!((&tokens[..], stop), (&all[..kept], Stop::Token(all[at])));
                if look {
                    assert_eq!(now(session.state()).expect("state"), want);
                }
                // The next turn goes on from there.
                now(session.prefill(&[1, 2, 3])).expect("prefill");
                let mut next = self::session(&model);
                next.restore(&want).expect("restore");
                now(next.prefill(&[1, 2, 3])).expect("prefill");
                assert_eq!(now(session.state()).expect("state"), now(next.state()).expect("state"));
            }
        }
    }
}

#[test]
fn a_dropped_generation_rolls_back() {
    let model = model(&config(Mixer::SlopeDelta));
    let mut session = session(&model);
    session.set_burst(8);
    now(session.prefill(&prompt(9))).expect("prefill");
    let want = now(session.state()).expect("state");
    // What a future dropped while it waits for the device leaves behind.
    now(async {
        session.device().run(&session.draw.save, 1).expect("run");
        session.set_stale(Some(Stale { accepted: Vec::new(), frozen: false }));
        session.device().run(&session.draw.sample_and_feed, 4).expect("run");
    });
    let mut other = self::session(&model);
    other.restore(&want).expect("restore");
    now(other.prefill(&[5, 6])).expect("prefill");
    now(session.prefill(&[5, 6])).expect("prefill");
    assert_eq!(now(session.state()).expect("state"), now(other.state()).expect("state"));
}

#[test]
fn states_are_values() {
    let model = model(&config(Mixer::SlopeDelta));
    let mut session = session(&model);
    let empty = now(session.state()).expect("state");
    now(session.prefill(&prompt(300))).expect("prefill");
    let saved = State::from_bytes(&now(session.state()).expect("state").to_bytes()).expect("bytes");
    assert_eq!((saved.position(), saved.history().len()), (300, 256));
    let sampler = Sampler { temperature: 1.0, repeat_penalty: 1.2, repeat_last_n: 256, ..Sampler::default() };
    let first = generated(&mut session, &sampler, 10);
    let mut other = self::session(&model);
    other.restore(&saved).expect("restore");
    assert_eq!(generated(&mut other, &sampler, 10), first);
    session.restore(&saved).expect("restore");
    assert_eq!(generated(&mut session, &sampler, 10), first);
    session.reset().expect("reset");
    assert_eq!(now(session.state()).expect("state"), empty);
    session.restore(&empty).expect("restore");
    assert!(matches!(now(session.generate(&sampler, 1, |_| true)), Err(Error::EmptyPrompt)));
    let larger = self::session(&self::model(&Config { layers: 3, ..config(Mixer::SlopeDelta) }));
    assert!(matches!(session.restore(&now(larger.state()).expect("state")), Err(Error::State(_))));
}

#[test]
fn wrong_input_is_an_error() {
    let model = model(&config(Mixer::SlopeDelta));
    let mut session = session(&model);
    assert!(matches!(now(session.prefill(&[3, 260])), Err(Error::Token { id: 260, vocab: 260 })));
    assert!(matches!(now(session.step(u32::MAX)), Err(Error::Token { .. })));
    assert!(matches!(now(session.logits()), Err(Error::EmptyPrompt)));
    assert!(matches!(now(session.generate(&Sampler::greedy(), 1, |_| true)), Err(Error::EmptyPrompt)));
    assert_eq!(session.position(), 0);
    now(session.prefill(&[3])).expect("prefill");
    assert!(now(session.generate(&Sampler { top_p: 7.0, ..Sampler::greedy() }, 1, |_| true)).is_err());
    assert_eq!(generated(&mut session, &Sampler::greedy(), 0), (vec![], Stop::Length));
    assert!(now(session.forced(&[1], &[vec![0, 1, 2]])).is_err());
    assert!(now(session.forced(&[1], &[vec![0, 1, 2], vec![0, 1, 9]])).is_err());
}

#[test]
fn a_forced_run_repeats_a_traced_one() {
    let model = model(&config(Mixer::SlopeDelta));
    let (mut free, mut forced, mut plain) = (session(&model), session(&model), session(&model));
    let tokens = prompt(100);
    let (logits, ids, gaps) = now(free.traced(&tokens)).expect("traced");
    assert_eq!((logits.len(), ids.len(), ids[0].len(), gaps.len()), (100 * 260, 2, 100 * 3, 100));
    let again = now(forced.forced(&tokens, &ids)).expect("forced");
    near(&again, &logits);
    now(plain.prefill(&tokens)).expect("prefill");
    for session in [&free, &forced] {
        near_states(&now(session.state()).expect("state"), &now(plain.state()).expect("state"));
        near(&now(session.logits()).expect("logits"), &logits[99 * 260..]);
    }
    assert_eq!(generated(&mut free, &Sampler::greedy(), 4), generated(&mut plain, &Sampler::greedy(), 4));
}

#[test]
fn weights_come_back_from_the_device() {
    let config = config(Mixer::SlopeDelta);
    let mut file = Vec::new();
    crate::write_random(&config, Tokenizer::bytes(), 3, crate::Storage::F16, &mut file).expect("writing");
    let device = Arc::new(Device::Cpu(Cpu::new(1)));
    let model = Model::open(Arc::new(file.clone()), device.clone(), None).expect("loading");
    let (want, got) = (Checkpoint::parse(&file).expect("parsing"), now(model.checkpoint()).expect("reading back"));
    assert!(config.tensors().iter().all(|t| want.tensor(&t.name) == got.tensor(&t.name)));
    assert_eq!((got.header.parent.as_deref(), model.id()), (Some(want.header.id.as_str()), want.header.id.as_str()));
    let unfinished = Checkpoint::new(config, Tokenizer::bytes(), None, String::new());
    assert!(matches!(Model::new(unfinished, device), Err(Error::Tensor { .. })));
}

/// A file on a disk that fails while the switch is on.
struct Failing {
    file: Vec<u8>,
    broken: std::sync::atomic::AtomicBool,
}
impl crate::Source for Failing {
    fn size(&self) -> u64 {
        self.file.size()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        match self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err(std::io::Error::other("the disk is gone")),
            false => self.file.read_at(offset, into),
        }
    }
}

fn paged(source: Arc<dyn crate::Source>) -> Arc<Model> {
    let open = |budget| Model::open(source.clone(), Arc::new(Device::Cpu(Cpu::new(1))), Some(budget));
    let Err(Error::Budget { least, .. }) = open(0) else { panic!("a budget of nothing is too small") };
    assert!(matches!(open(least - 1), Err(Error::Budget { .. })));
    Arc::new(open(least).expect("opening"))
}

fn file() -> Vec<u8> {
    let mut file = Vec::new();
    crate::write_random(&config(Mixer::Delta), Tokenizer::bytes(), 3, crate::Storage::Q8, &mut file).expect("writing");
    file
}

#[test]
fn a_token_cut_short_by_the_disk_is_not_built_upon() {
    let source = Arc::new(Failing { file: file(), broken: false.into() });
    let model = paged(source.clone());
    let (mut session, mut other) = (session(&model), session(&model));
    now(session.prefill(&prompt(20))).expect("prefill");
    let state = now(session.state()).expect("state");
    let want: Vec<_> = prompt(9).iter().map(|&t| now(session.step(t)).expect("step")).collect();
    session.restore(&state).expect("restoring");

    source.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let failed = prompt(9).iter().find_map(|&t| now(session.step(t)).err());
    let said = failed.expect("some section is not in the arena").to_string();
    assert!(said.contains("the disk is gone"), "{said}");
    source.broken.store(false, std::sync::atomic::Ordering::Relaxed);
    for result in [now(session.step(1)).map(drop), now(session.state()).map(drop), now(session.prefill(&[1]))] {
        assert!(matches!(result, Err(Error::State(_))), "{result:?}");
    }
    assert!(matches!(now(session.generate(&Sampler::greedy(), 1, |_| true)), Err(Error::State(_))));
    session.restore(&state).expect("restoring");
    let again: Vec<_> = prompt(9).iter().map(|&t| now(session.step(t)).expect("step")).collect();
    assert_eq!(again, want);
    now(other.prefill(&prompt(20))).expect("other streams go on");
}

#[test]
fn a_damaged_section_is_found_when_it_is_asked_for() {
    let mut file = file();
    // The last byte of the last layer's sections: only norms of the output come after them.
    let damaged = file.len() - 4 * 64 - 1;
    file[damaged] ^= 1;
    let model = paged(Arc::new(file));
    let mut session = session(&model);
    let route = |last: u32| vec![vec![0, 1, 2], vec![0, 1, last]];
    now(session.forced(&[5], &route(7))).expect("the others are whole");
    let result = now(session.forced(&[5], &route(8)));
    assert!(matches!(&result, Err(Error::Hash { what }) if what.contains("section 8")), "{result:?}");
}

#[test]
fn the_grammar_is_followed_in_bursts_of_every_size() {
    let model = acting();
    let (tokenizer, grammar) = (model.tokenizer(), model.grammar().expect("a grammar"));
    let act = tokenizer.special("<act>").expect("<act>");
    let end = tokenizer.literal("\"}}").expect("an end");
    let (mut acted, mut ended) = (0, 0);
    for seed in 0..8 {
        // An action that is drawn, or one that was fed and ends as soon as it may, with words after it.
        let bias = Some(([act, end][seed as usize % 2], 1e3));
        let sampler = Sampler { temperature: 1.5, top_k: 0, top_p: 1.0, seed, bias, ..Sampler::greedy() };
        let fed = vec![act; seed as usize % 2];
        let run = |burst: usize| {
            let mut session = session(&model);
            session.set_burst(burst);
            now(session.prefill(&[tokenizer.user_turn("turn on the light"), fed.clone()].concat())).expect("prefill");
            let (first, _) = generated(&mut session, &sampler, 21);
            // Going on with another call, and in another session from a state that was kept.
            let kept = now(session.state()).expect("state");
            let (rest, _) = generated(&mut session, &sampler, 21);
            let mut other = self::session(&model);
            other.set_burst(burst);
            other.restore(&kept).expect("restore");
            assert_eq!(generated(&mut other, &sampler, 21).0, rest, "burst {burst}, seed {seed}");
            ([first, rest].concat(), session.written)
        };
        let (tokens, written) = run(1);
        let mut state = fed.iter().fold(crate::grammar::FREE, |state, &id| grammar.follow(state, id));
        for &token in &tokens {
            state = grammar.next(state, token).expect("what is drawn is allowed");
            acted += usize::from(token == act);
            ended += usize::from(token == end);
        }
        assert_eq!(state, written);
        assert_eq!(run(3), (tokens.clone(), written), "seed {seed}");
        assert_eq!(run(8), (tokens, written), "seed {seed}");
    }
    assert!(acted > 0 && ended > 0, "{acted} actions begin, {ended} end");
}

#[test]
fn the_grammar_is_right_after_a_caller_stops_and_after_a_turn() {
    let model = acting();
    let (tokenizer, grammar) = (model.tokenizer(), model.grammar().expect("a grammar"));
    let act = tokenizer.special("<act>").expect("<act>");
    let sampler = Sampler { temperature: 1.5, top_k: 0, top_p: 1.0, seed: 3, ..Sampler::greedy() };
    let prompt = [tokenizer.user_turn("set a timer"), vec![act]].concat();
    let mut straight = session(&model);
    now(straight.prefill(&prompt)).expect("prefill");
    let (all, _) = generated(&mut straight, &sampler, 16);
    for burst in [1, 8] {
        for enough in 1..=14 {
            let mut session = session(&model);
            session.set_burst(burst);
            now(session.prefill(&prompt)).expect("prefill");
            let mut got = Vec::new();
            let stop = now(session.generate(&sampler, 16, |token| {
                got.push(token);
                got.len() < enough
            }));
            assert_eq!((stop.expect("generation"), &got[..]), (Stop::Caller, &all[..enough]));
            assert_eq!(generated(&mut session, &sampler, 16 - enough).0, all[enough..]);
            // Another turn: what was begun is over, and the answer begins as text.
            now(session.prefill(&tokenizer.user_turn("hello"))).expect("prefill");
            assert_eq!(session.written, crate::grammar::FREE);
            let (next, _) = generated(&mut session, &sampler, 5);
            let end = next.iter().try_fold(crate::grammar::FREE, |state, &token| grammar.next(state, token));
            assert_eq!(end, Some(session.written));
            session.reset().expect("reset");
            assert_eq!(session.written, crate::grammar::FREE);
        }
    }
}

#[test]
fn a_sampler_fits_its_model() {
    let model = acting();
    let turn = |task: Option<&str>| {
        let turn = Turn { task: task.map(str::to_string), ..Turn::new(Speaker::User, "hello") };
        Encoder::new(model.tokenizer(), None).prompt(&turn, false).expect("a prompt")
    };
    assert_eq!(Sampler::for_model(&model).suited(&model, &turn(None)).bias, None);
    let sampler = Sampler::for_model(&model).suited(&model, &turn(Some("labels")));
    let refusal = crate::action::refusal(model.tokenizer()).expect("a refusal");
    assert_eq!((sampler.bias, sampler.stops.clone()), (Some((refusal, -2.5)), vec![0]));
    assert!(sampler.constrained && sampler.validate(model.config().vocab).is_ok());
    // One that was taught no actions is sampled as ever.
    let plain = self::model(&config(Mixer::Delta));
    let want = Sampler { stops: vec![256], ..Sampler::default() };
    assert!(plain.grammar().is_none());
    assert_eq!(Sampler::for_model(&plain), want);
    // A bias that forbids in effect is obeyed, and without the grammar anything may come.
    let mut session = session(&model);
    let prompt = model.tokenizer().user_turn("hello");
    now(session.prefill(&prompt)).expect("prefill");
    let certain = Sampler { bias: Some((refusal, 1e4)), ..Sampler::greedy() };
    assert_eq!(generated(&mut session, &certain, 3).0, [refusal; 3]);
    let name = model.tokenizer().literal(r#"{"name":"call.end","arguments":{"#).expect("a name");
    let loose = Sampler { bias: Some((name, 1e4)), constrained: false, ..Sampler::greedy() };
    assert_eq!(generated(&mut session, &loose, 3).0, [name; 3]);
    assert_eq!(session.written, crate::grammar::FREE);
    let tight = Sampler { constrained: true, ..loose };
    assert!(!generated(&mut session, &tight, 3).0.contains(&name));
}

#[test]
fn a_model_whose_tokenizer_cannot_write_its_actions_is_an_error() {
    let mut checkpoint = Checkpoint::random(&config(Mixer::Delta), Tokenizer::bytes(), 9);
    checkpoint.header.actions = Some(crate::action::tests::catalogue());
    let device = Arc::new(Device::Cpu(Cpu::new(1)));
    assert!(matches!(Model::new(checkpoint, device), Err(Error::Action(_))));
}

/// A model whose turns have vectors, and a pool for it.
fn learner() -> (Arc<Model>, Plastic) {
    let model = model(&Config { turn: 12, layers: 3, ..config(Mixer::SlopeDelta) });
    let pool = now(Plastic::new(&model, 5)).expect("pool");
    (model, pool)
}

/// A section that opens for whatever was said, or for nothing.
fn written(theta: f32) -> Written {
    let mut random = lichen_shaders::cases::Random::new(4);
    let mut normal = |len: usize, size: f64| (0..len).map(|_| (size * random.normal()) as f32).collect::<Vec<_>>();
    let keys = normal(KEYS * 12, 1.0);
    Written { phrase: None, fact: None, theta, keys, slabs: (0..2).map(|_| normal(2 * NEURONS * 64, 0.3)).collect() }
}

/// `<user> a b <lichen> c d <end> e f`, with the tokens' names in the bytes' vocabulary.
fn dialogue(model: &Model) -> Vec<u32> {
    let mark = |name: &str| model.tokenizer().special(name).expect("special");
    vec![mark("<user>"), 70, 71, mark("<lichen>"), 72, 73, mark("<end>"), 74, 75]
}

#[test]
fn shut_gates_leave_every_bit() {
    let (model, pool) = learner();
    let tokens = dialogue(&model);
    let (mut plain, mut shut) =
        (session(&model), Session::with_plastic(model.clone(), Some(pool.clone())).expect("session"));
    // The pool's first section opens for nothing, its second has no weights.
    pool.write(model.device(), 0, &written(1.1)).expect("write");
    let silent = Written { slabs: vec![vec![0.0; 2 * NEURONS * 64]; 2], ..written(-1.5) };
    pool.write(model.device(), 1, &silent).expect("write");
    pool.shut(model.device(), 1).expect("shut");
    for &token in &tokens {
        let (a, b) = (now(plain.step(token)).expect("step"), now(shut.step(token)).expect("step"));
        assert_eq!(
            a.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            b.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
    }
    let (mut plain, mut whole) = (session(&model), Session::with_plastic(model.clone(), Some(pool)).expect("session"));
    now(plain.prefill(&tokens)).expect("prefill");
    now(whole.prefill(&tokens)).expect("prefill");
    assert_eq!(now(plain.logits()).expect("logits"), now(whole.logits()).expect("logits"));
}

#[test]
fn an_open_section_speaks_in_answers_alone() {
    let (model, pool) = learner();
    pool.write(model.device(), 3, &written(-1.5)).expect("write");
    let tokens = dialogue(&model);
    let new = || Session::with_plastic(model.clone(), Some(pool.clone())).expect("session");
    let (mut plain, mut open, mut whole) = (session(&model), new(), new());
    let mut states = Vec::new();
    for (i, &token) in tokens.iter().enumerate() {
        let (a, b) = (now(plain.step(token)).expect("step"), now(open.step(token)).expect("step"));
        // From the answer's mark on; after its end the gates are shut, but what they did is part of the state.
        assert_eq!(a == b, i < 3, "token {i}");
        states.push(now(open.state()).expect("state"));
    }
    now(whole.prefill(&tokens)).expect("prefill");
    near_states(&now(whole.state()).expect("state"), &states[8]);
    // A state from the middle of an answer, or of a question, goes on alike.
    for from in [1, 2, 4, 6] {
        let mut again = new();
        again.restore(&states[from]).expect("restore");
        now(again.prefill(&tokens[from + 1..])).expect("prefill");
        near_states(&now(again.state()).expect("state"), &states[8]);
    }
    // Once it is shut again, nothing is left of it.
    pool.shut(model.device(), 3).expect("shut");
    let (mut plain, mut shut) = (session(&model), new());
    for &token in &tokens {
        assert_eq!(now(plain.step(token)).expect("step"), now(shut.step(token)).expect("step"));
    }
}

#[test]
fn a_section_with_words_of_its_own_opens_where_they_are_said() {
    let (model, pool) = learner();
    let named = |words: &str| Written { phrase: Phrase::new(words), ..written(-1.5) };
    let mark = |name: &str| model.tokenizer().special(name).expect("special");
    let turn = |said: &str| {
        [&[mark("<user>")][..], &model.tokenizer().encode(said), &[mark("<lichen>"), 72, 73, mark("<end>"), 74]]
            .concat()
    };
    let new = || Session::with_plastic(model.clone(), Some(pool.clone())).expect("session");
    pool.write(model.device(), 1, &named("movie time")).expect("write");
    for (said, opens) in
        [("ok, Movie time!", true), ("movie time", true), ("what time", false), ("the movie", false), ("", false)]
    {
        let tokens = turn(said);
        let (mut plain, mut steps, mut whole, mut halves) = (session(&model), new(), new(), new());
        for &token in &tokens {
            now(plain.step(token)).expect("step");
            now(steps.step(token)).expect("step");
        }
        now(whole.prefill(&tokens)).expect("prefill");
        // A state in the middle of the turn knows what was said.
        now(halves.prefill(&tokens[..4])).expect("prefill");
        let mut again = new();
        again.restore(&now(halves.state()).expect("state")).expect("restore");
        now(again.prefill(&tokens[4..])).expect("prefill");
        let [plain, steps, whole, again] =
            [&plain, &steps, &whole, &again].map(|session| now(session.state()).expect("state"));
        near_states(&whole, &steps);
        near_states(&again, &steps);
        assert_eq!(plain.tensors != steps.tensors, opens, "{said:?}");
    }
    // A second turn in the same stream, and in the same chunk, has words of its own.
    let (first, second) = (turn("movie time"), turn("hello"));
    let (mut apart, mut both) = (new(), new());
    now(apart.prefill(&first)).expect("prefill");
    now(apart.prefill(&second)).expect("prefill");
    now(both.prefill(&[first, second].concat())).expect("prefill");
    near_states(&now(both.state()).expect("state"), &now(apart.state()).expect("state"));
    // Of two the longer, of equals the first; with other words, or shut, none.
    pool.write(model.device(), 3, &named("long movie time")).expect("write");
    pool.write(model.device(), 4, &named("movie time")).expect("write");
    assert_eq!(pool.named("it is a long movie time"), Some(3));
    assert_eq!(pool.named("movie time"), Some(1));
    pool.shut(model.device(), 1).expect("shut");
    assert_eq!(pool.named("movie time"), Some(4));
    pool.write(model.device(), 4, &written(-1.5)).expect("write");
    assert_eq!(pool.named("movie time"), None);
}

#[test]
fn what_a_stream_mutes_stays_shut() {
    let (model, pool) = learner();
    pool.write(model.device(), 3, &written(-1.5)).expect("write");
    pool.write(model.device(), 1, &Written { phrase: Phrase::new("fg"), ..written(-1.5) }).expect("write");
    let mut muting = Session::with_plastic(model.clone(), Some(pool)).expect("session");
    let (turn, mut plain) = (dialogue(&model), session(&model));
    let named = [&turn[..1], &model.tokenizer().encode("fg"), &turn[3..]].concat();
    let answers = |session: &mut Session, tokens: &[u32]| {
        now(session.prefill(tokens)).expect("prefill");
        now(session.logits()).expect("logits")
    };
    // One is muted by what it opens for, the other by its words; then nothing is left that could open.
    muting.mute(true);
    for tokens in [&named, &turn, &turn] {
        assert_eq!(answers(&mut muting, tokens), answers(&mut plain, tokens));
    }
    muting.mute(false);
    let state = now(muting.state()).expect("state");
    for tokens in [&named, &turn] {
        assert_eq!(answers(&mut muting, tokens), answers(&mut plain, tokens), "muted for good");
    }
    muting.restore(&state).expect("restore");
    plain.restore(&state).expect("restore");
    assert_eq!(answers(&mut muting, &turn), answers(&mut plain, &turn), "a state knows what is muted");
    muting.unmute().expect("unmute");
    assert_ne!(answers(&mut muting, &turn), answers(&mut plain, &turn), "it opens again");
    // Another stream is muted no more.
    muting.reset().expect("reset");
    plain.reset().expect("reset");
    assert_ne!(answers(&mut muting, &turn), answers(&mut plain, &turn));
}

#[test]
fn sections_that_do_not_fit_are_errors() {
    let (model, pool) = learner();
    let device = model.device();
    assert!(pool.write(device, 5, &written(0.0)).is_err());
    assert!(pool.write(device, 0, &Written { keys: vec![0.0; 3], ..written(0.0) }).is_err());
    assert!(pool.write(device, 0, &Written { slabs: vec![vec![0.0; 7]; 2], ..written(0.0) }).is_err());
    let without = super::tests::model(&config(Mixer::SlopeDelta));
    assert!(matches!(now(Plastic::new(&without, 1)), Err(Error::Memory(_))));
}
