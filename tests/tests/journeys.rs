//! Whole journeys with a small trained model: the same text, the same state and the same logits wherever it runs.
//!
//! The yardstick is the CPU device with plain references only. Devices may part in free runs after a near-tie,
//! which is printed; with the route forced their logits must agree.

use lichen::{Checkpoint, Device, Error, Model, Sampler, Session, State, Stop, Storage};
use lichen_host::Cpu;
use pollster::block_on;
use std::sync::Arc;

/// 74 thousand weights, trained on letters by `lichen train`.
const TINY: &[u8] = include_bytes!("../golden/tiny.safetensors");
/// Router gaps and logit gaps below these may tip either way.
const ROUTER_TIE: f32 = 1e-5;
const LOGIT_TIE: f32 = 1e-3;

fn model(device: Arc<Device>) -> Arc<Model> {
    stored(device, Storage::F16)
}

/// The golden model, its weights held by the device in some way.
fn stored(device: Arc<Device>, storage: Storage) -> Arc<Model> {
    let checkpoint = Checkpoint::parse(TINY).expect("the golden model is whole").stored(storage);
    Arc::new(Model::new(checkpoint, device).expect("the device takes the golden model"))
}

/// One precision for all parts, and parts that differ.
fn storages() -> impl Iterator<Item = Storage> {
    let mixed = ["q4+embed=q8+mixer=f16", "q8+embed=f32+mixer=q4"].map(|name| name.parse().expect("a storage"));
    Storage::ALL.map(|(storage, _)| storage).into_iter().chain(mixed)
}

fn session(device: Device) -> Session {
    Session::new(model(Arc::new(device))).expect("a session starts")
}

fn plain() -> Session {
    session(Device::Cpu(Cpu::plain()))
}

/// Devices to compare with the plain CPU: its fast forms and every adapter.
fn devices() -> Vec<(String, Arc<Device>)> {
    let (gpus, problems) = lichen_tests::gpus();
    assert!(problems.is_empty(), "{problems:?}");
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|v| v == "1");
    assert!(!(required && gpus.is_empty()), "REQUIRE_GPU=1 and there is no adapter");
    let cpus = [("CPU", 2), ("CPU/one thread", 1)].map(|(name, n)| (name.to_string(), Arc::new(Device::cpu(n))));
    cpus.into_iter().chain(gpus).collect()
}

fn generate(session: &mut Session, sampler: &Sampler, n: usize) -> (Vec<u32>, Stop) {
    let mut tokens = Vec::new();
    let stop = block_on(session.generate(sampler, n, |id| {
        tokens.push(id);
        true
    }));
    (tokens, stop.expect("generation runs"))
}

/// What the plain CPU says at the place where two runs part: was anything up to there a near-tie?
fn near_tie(before: &[u32]) -> Option<String> {
    let mut session = plain();
    let (logits, _, gaps) = block_on(session.traced(before)).expect("the trace runs");
    let vocab = session.model().config().vocab;
    let mut last = logits[logits.len() - vocab..].to_vec();
    last.sort_unstable_by(|a, b| b.total_cmp(a));
    let logit_gap = last[0] - last[1];
    let router_gap = gaps.iter().copied().fold(f32::INFINITY, f32::min);
    let tie = logit_gap < LOGIT_TIE || router_gap < ROUTER_TIE;
    tie.then(|| format!("logit gap {logit_gap:.1e}, smallest router gap {router_gap:.1e}"))
}

const PROMPT: &str = "ROMEO:\nWhat light is this?\n\nJULIET:\n";

#[test]
fn every_device_writes_the_same_text() {
    let greedy = Sampler::greedy();
    let prompt = plain().model().tokenizer().encode(PROMPT);
    let mut yardstick = plain();
    block_on(yardstick.prefill(&prompt)).expect("the prompt is read");
    let (want, _) = generate(&mut yardstick, &greedy, 256);
    assert_eq!(want.len(), 256);
    let mut failures = Vec::new();
    for (name, device) in devices() {
        let mut session = Session::new(model(device)).expect("a session starts");
        block_on(session.prefill(&prompt)).expect("the prompt is read");
        let (got, _) = generate(&mut session, &greedy, 256);
        let Some(at) = (0..256).find(|&i| got.get(i) != want.get(i)) else { continue };
        let before: Vec<u32> = prompt.iter().chain(&want[..at]).copied().collect();
        match near_tie(&before) {
            Some(tie) => println!("{name}: parts at token {at} after a near-tie ({tie})"),
            None => failures.push(format!("{name}: parts at token {at} with no near-tie before it")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn with_the_route_forced_logits_agree() {
    let text = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\nFirst Citizen:\nYou are all resolved rather to die than to famish?";
    for storage in storages() {
        let yardstick = stored(Arc::new(Device::Cpu(Cpu::plain())), storage);
        let mut yardstick = Session::new(yardstick).expect("a session starts");
        let tokens = yardstick.model().tokenizer().encode(text);
        let (want, routes, _) = block_on(yardstick.traced(&tokens)).expect("the trace runs");
        let power: f64 = want.iter().map(|&x| f64::from(x).powi(2)).sum();
        assert!(power > 1.0, "the logits say something");
        for (name, device) in devices() {
            let mut session = Session::new(stored(device, storage)).expect("a session starts");
            let got = block_on(session.forced(&tokens, &routes)).expect("the forced run runs");
            let error: f64 = got.iter().zip(&want).map(|(&g, &w)| (f64::from(g) - f64::from(w)).powi(2)).sum();
            let nmse = error / power;
            println!("{name}, {storage}: NMSE {nmse:.1e}");
            assert!(nmse <= 1e-6, "{name}, {storage}: NMSE {nmse:.2e} of the logits with the route forced");
        }
    }
}

#[test]
fn sections_that_come_and_go_change_nothing() {
    let tokens = plain().model().tokenizer().encode(PROMPT);
    for storage in storages() {
        let mut file = Vec::new();
        let checkpoint = Checkpoint::parse(TINY).expect("the golden model is whole");
        checkpoint.write(storage, &mut file).expect("writing to memory");
        let file = Arc::new(file);
        for (name, device) in devices() {
            let open = |budget| Model::open(file.clone(), device.clone(), budget).map(Arc::new);
            let Err(Error::Budget { least, .. }) = open(Some(0)) else { panic!("a budget of nothing is too small") };
            let all = open(None).expect("the whole model opens");
            assert_eq!(all.paging(), None);
            let mut all = Session::new(all).expect("a session starts");
            let want: Vec<_> = tokens.iter().map(|&t| block_on(all.step(t)).expect("a token is fed")).collect();
            let section = storage.section_bytes(all.model().config());
            // Room for one token's sections, for a few more, and for all of them.
            for more in [0, 5, 1 << 20] {
                let model = open(Some(least + more * section)).expect("the model opens");
                let new = || Session::new(model.clone()).expect("a session starts");
                // Two streams take each other's places.
                let (mut one, mut two) = (new(), new());
                for (i, &token) in tokens.iter().enumerate() {
                    assert_eq!(
                        block_on(one.step(token)).expect("a token is fed"),
                        want[i],
                        "{name}, {storage}, token {i}"
                    );
                    if i % 2 == 1 {
                        let at = i / 2;
                        assert_eq!(
                            block_on(two.step(tokens[at])).expect("a token is fed"),
                            want[at],
                            "{name}, {storage}"
                        );
                    }
                }
                let paging = model.paging().expect("sections come and go");
                assert!(paging.places <= paging.sections && (more == 0 || paging.found > 0), "{paging:?}");
                match more {
                    0 => assert!(paging.read > paging.places, "nobody gave a place up: {paging:?}"),
                    5 => assert_eq!(paging.places, 5 + model.config().slots() as u64),
                    _ => assert!(paging.read <= paging.sections, "a section came twice: {paging:?}"),
                }
                // The prompt at once, in chunks that the arena has places for.
                let mut whole = new();
                block_on(whole.prefill(&tokens)).expect("the prompt is read");
                let (a, b) = (block_on(whole.logits()).expect("logits"), &want[tokens.len() - 1]);
                let error: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                let power: f64 = b.iter().map(|&b| f64::from(b).powi(2)).sum();
                assert!(error <= 1e-6 * power, "{name}, {storage}: NMSE {:.2e}", error / power);
                let (drawn, _) = generate(&mut whole, &Sampler::greedy(), 4);
                assert_eq!(drawn.len(), 4);
            }
        }
    }
}

#[test]
fn a_seed_draws_the_same_tokens_again_and_another_seed_others() {
    let sampler =
        |seed| Sampler { temperature: 1.0, top_k: 40, top_p: 0.95, repeat_penalty: 1.1, seed, ..Sampler::greedy() };
    for (name, device) in devices() {
        let model = model(device);
        let prompt = model.tokenizer().encode(PROMPT);
        let draw = |seed| {
            let mut session = Session::new(model.clone()).expect("a session starts");
            block_on(session.prefill(&prompt)).expect("the prompt is read");
            generate(&mut session, &sampler(seed), 40).0
        };
        assert_eq!(draw(7), draw(7), "{name}");
        assert_ne!(draw(7), draw(8), "{name}");
    }
}

#[test]
fn a_stop_token_freezes_the_state_where_the_text_ends() {
    for (name, device) in devices() {
        let model = model(device);
        let prompt = model.tokenizer().encode(PROMPT);
        let mut free = Session::new(model.clone()).expect("a session starts");
        block_on(free.prefill(&prompt)).expect("the prompt is read");
        let (tokens, _) = generate(&mut free, &Sampler::greedy(), 60);
        // A token that first occurs in the middle of a burst.
        let at = (20..60).find(|&i| !tokens[..i].contains(&tokens[i]) && i % 8 != 7).unwrap_or(3);
        let stop = tokens[at];
        let first = tokens.iter().position(|&t| t == stop).unwrap_or(at);
        let mut session = Session::new(model.clone()).expect("a session starts");
        block_on(session.prefill(&prompt)).expect("the prompt is read");
        let (got, why) = generate(&mut session, &Sampler { stops: vec![stop], ..Sampler::greedy() }, 60);
        assert_eq!((got.as_slice(), why), (&tokens[..first], Stop::Token(stop)), "{name}");
        // Going on from here equals going on in a session that was fed the same tokens by hand.
        let mut fed = Session::new(model).expect("a session starts");
        block_on(fed.prefill(&prompt)).expect("the prompt is read");
        got.iter().for_each(|&t| drop(block_on(fed.step(t)).expect("a step runs")));
        let (a, b) = (block_on(session.state()).expect("a state"), block_on(fed.state()).expect("a state"));
        assert_eq!(a.position(), b.position(), "{name}");
        assert_eq!(a, b, "{name}: the state after a stop token");
    }
}

#[test]
fn a_state_moves_from_device_to_device() {
    let mut home = plain();
    let prompt = home.model().tokenizer().encode(PROMPT);
    block_on(home.prefill(&prompt)).expect("the prompt is read");
    let bytes = block_on(home.state()).expect("a state").to_bytes();
    let (want, _) = generate(&mut home, &Sampler::greedy(), 32);
    for (name, device) in devices() {
        let mut away = Session::new(model(device)).expect("a session starts");
        away.restore(&State::from_bytes(&bytes).expect("the bytes are whole")).expect("the state fits");
        let (got, _) = generate(&mut away, &Sampler::greedy(), 32);
        if got != want {
            let at = (0..32).find(|&i| got.get(i) != want.get(i)).unwrap_or(0);
            let before: Vec<u32> = prompt.iter().chain(&want[..at]).copied().collect();
            let tie = near_tie(&before);
            assert!(tie.is_some(), "{name}: parts at token {at} with no near-tie before it");
        }
    }
}

#[cfg(feature = "gpu")]
#[test]
fn a_lost_gpu_is_an_error_and_a_new_one_goes_on_from_the_state() {
    use lichen::{Error, HostError};
    for report in block_on(lichen_host::adapters()) {
        let choice = lichen_host::Choice::Named(report.index.to_string());
        let open = || Arc::new(Device::Gpu(block_on(lichen_host::Gpu::open(&choice)).expect("the adapter opens")));
        let device = open();
        let mut session = Session::new(model(device.clone())).expect("a session starts");
        let prompt = session.model().tokenizer().encode(PROMPT);
        block_on(session.prefill(&prompt)).expect("the prompt is read");
        let kept = block_on(session.state()).expect("a state");
        let (want, _) = generate(&mut session, &Sampler::greedy(), 16);
        let Device::Gpu(gpu) = &*device else { unreachable!("it was opened as a GPU") };
        gpu.lose();
        let lost = block_on(session.step(65));
        assert!(matches!(lost, Err(Error::Host(HostError::DeviceLost { .. }))), "{}: {lost:?}", report.name);
        let mut again = Session::new(model(open())).expect("a session starts");
        again.restore(&kept).expect("the state fits");
        assert_eq!(generate(&mut again, &Sampler::greedy(), 16).0, want, "{}", report.name);
    }
}

/// A changed execution plan shows as a difference of text. `BLESS=1` writes the new one.
#[test]
fn the_recording_of_one_token_is_as_printed() {
    let model = model(Arc::new(Device::Cpu(Cpu::plain())));
    let state = lichen::graph::StateBuffers::declare(model.config(), 1);
    let shape = lichen::graph::Shape::new(1, 1, lichen::graph::Logits::Last).reused();
    let graph = lichen::graph::build(model.config(), model.weights(), &state, model.device(), &shape, None);
    let got = graph.expect("the graph is built").recording.to_string();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/recording.txt");
    if std::env::var("BLESS").is_ok_and(|v| v == "1") {
        std::fs::write(path, &got).expect("the golden file can be written");
    }
    let want = std::fs::read_to_string(path).unwrap_or_default();
    assert!(got == want, "the plan changed (BLESS=1 accepts it):\n{got}");
}
