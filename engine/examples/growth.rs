//! What growing costs: a model with S and the same with ten times S sections, generating by turns on the CPU.
//!
//! `cargo run --release -p lichen --no-default-features --example growth -- [model.safetensors|size] [rounds]
//! [tokens] [threads] [f32|f16|q8|q4]` prints tokens a second of both, the median of the paired ratios, and where the
//! time of both went. A model that is named by its size has random weights. The larger one has the weights of the
//! smaller, and nine more copies of its sections, whose router rows have the same numbers in another order. Choose a
//! model whose smaller version passes the last-level cache well: what stays in there is read faster.

use lichen::{Checkpoint, Config, Device, Error, Model, Random, Sampler, Session, Storage, Tokenizer};
use pollster::block_on;
use std::sync::Arc;
use std::time::Instant;

fn session(checkpoint: Checkpoint, storage: Storage, device: &Arc<Device>) -> Result<Session, Error> {
    let mut session = Session::new(Arc::new(Model::new(checkpoint.stored(storage), device.clone())?))?;
    block_on(session.prefill(&[70]))?;
    Ok(session)
}

/// The model with `times` as many routed sections.
fn grow(small: &Checkpoint, times: usize) -> Result<Checkpoint, Error> {
    let c = small.config();
    let config = Config { sections: c.sections * times, ..c.clone() };
    config.validate()?;
    let mut grown = Checkpoint::new(config.clone(), small.tokenizer().clone(), None, String::new());
    let mut random = Random::new(1);
    for (spec, wide) in c.tensors().iter().zip(config.tensors()) {
        let old = small.tensor(&spec.name).unwrap_or_default();
        let mut new = Vec::with_capacity(wide.len());
        new.extend_from_slice(old);
        // What every section has is what the grown config has more of; the shared sections come first.
        let routed = &old[old.len() - (wide.len() - old.len()) / (times - 1)..];
        while new.len() < wide.len() {
            let at = new.len();
            new.extend_from_slice(routed);
            if spec.name.ends_with("route.rows") {
                // Within each column, so that every dimension keeps its distribution.
                for column in 0..c.route {
                    for row in (1..c.sections).rev() {
                        let other = random.below(row + 1);
                        new.swap(at + row * c.route + column, at + other * c.route + column);
                    }
                }
            }
        }
        grown.set(&wide.name, new)?;
    }
    Ok(grown)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let source = arguments.first().map_or("nano", String::as_str);
    let small = match Config::named(source) {
        Some(size) => {
            let config = Config { vocab: Tokenizer::bytes().vocab(), ..size };
            Checkpoint::random(&config, Tokenizer::bytes(), 1)
        }
        None => Checkpoint::parse(&std::fs::read(source)?)?,
    };
    let (rounds, tokens, threads) = (number(1, 21), number(2, 100), number(3, 0));
    let wanted = arguments.get(4).map_or("f32", String::as_str);
    let storage = Storage::ALL.into_iter().find(|(_, name)| *name == wanted).ok_or("no such storage")?.0;
    let grown = grow(&small, 10)?;
    let device = Arc::new(Device::cpu(threads));
    println!("{}", device.name());
    for c in [small.config(), grown.config()] {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (all, active) = (mib(storage.resident_bytes(c)), mib(storage.active_bytes(c)));
        println!("{} sections: {all:.0} MiB of weights, {active:.1} MiB read for a token", c.sections);
    }
    let mut both = [session(small, storage, &device)?, session(grown, storage, &device)?];
    let mut seconds = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for (i, session) in both.iter_mut().enumerate() {
            let sampler = Sampler { temperature: 1.5, top_p: 1.0, seed: round as u64, ..Sampler::default() };
            let started = Instant::now();
            block_on(session.generate(&sampler, tokens, |_| true))?;
            // The first round warms pages up.
            if round > 0 {
                seconds[i].push(started.elapsed().as_secs_f64());
            }
        }
    }
    let mut ratios: Vec<f64> = seconds[1].iter().zip(&seconds[0]).map(|(grown, base)| grown / base).collect();
    ratios.sort_by(f64::total_cmp);
    for (name, s) in ["base ", "grown"].iter().zip(&seconds) {
        let best = s.iter().copied().fold(f64::INFINITY, f64::min);
        println!("{name}: best {:.1} tokens/s", tokens as f64 / best);
    }
    println!("grown over base, time a token: median {:.3} of {rounds} pairs", ratios[ratios.len() / 2]);
    #[allow(irrefutable_let_patterns, reason = "without GPU support there is only the CPU")]
    if let Device::Cpu(cpu) = &*device {
        let mut tables = Vec::new();
        for session in &mut both {
            cpu.time_kernels(true);
            block_on(session.generate(
                &Sampler { temperature: 1.5, top_p: 1.0, ..Sampler::default() },
                tokens,
                |_| true,
            ))?;
            tables.push(cpu.time_kernels(false));
        }
        println!("{:<14}{:>10}{:>10}  us a token", "", "base", "grown");
        for (kernel, [base, _]) in &tables[0] {
            let grown = tables[1].get(kernel).map_or(0.0, |t| t[0]);
            println!("{kernel:<14}{:>10.1}{:>10.1}", base * 1e6 / tokens as f64, grown * 1e6 / tokens as f64);
        }
    }
    Ok(())
}
