//! What growing costs: a model with S and the same with ten times S sections, generating by turns on the CPU.
//!
//! `cargo run --release -p lichen --no-default-features --example growth -- [model.safetensors|size] [rounds]
//! [tokens] [threads] [f32|f16|q8|q4] [cold]` prints tokens a second of both, the median of the paired ratios, and
//! where the time of both went. Of a model file only the sizes are taken: weights are random, so that the route is
//! spread over all sections of both.
//!
//! What stays in the caches from token to token is read faster, and of the smaller model more stays. With `cold`,
//! which wants turns of one token, the caches are emptied before each turn, so that both read all from memory.

use lichen::{Checkpoint, Config, Device, Error, Header, Model, Sampler, Session, Storage, Tokenizer};
use pollster::block_on;
use std::sync::Arc;
use std::time::Instant;

/// More bytes than the caches of common machines hold.
const MOST_CACHE: usize = 256 << 20;

fn session(config: &Config, storage: Storage, device: &Arc<Device>) -> Result<Session, Error> {
    config.validate()?;
    let checkpoint = Checkpoint::random(config, Tokenizer::bytes(), 1).stored(storage);
    let mut session = Session::new(Arc::new(Model::new(checkpoint, device.clone())?))?;
    block_on(session.prefill(&[70]))?;
    Ok(session)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let model = arguments.first().map_or("nano", String::as_str);
    let config = match Config::named(model) {
        Some(size) => size,
        None => Header::read(&std::fs::read(model)?)?.config,
    };
    let config = Config { vocab: Tokenizer::bytes().vocab(), ..config };
    let (rounds, tokens, threads) = (number(1, 21), number(2, 100), number(3, 0));
    let wanted = arguments.get(4).map_or("f32", String::as_str);
    let storage: Storage = wanted.parse()?;
    let grown = Config { sections: config.sections * 10, ..config.clone() };
    let device = Arc::new(Device::cpu(threads));
    println!("{}", device.name());
    for c in [&config, &grown] {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (all, active) = (mib(storage.resident_bytes(c)), mib(storage.active_bytes(c)));
        println!("{} sections: {all:.0} MiB of weights, {active:.1} MiB read for a token", c.sections);
    }
    let mut both = [session(&config, storage, &device)?, session(&grown, storage, &device)?];
    let mut others = vec![0u8; if arguments.get(5).is_some_and(|a| a == "cold") { MOST_CACHE } else { 0 }];
    let mut seconds = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for (i, session) in both.iter_mut().enumerate() {
            let sampler = Sampler { temperature: 1.5, top_p: 1.0, seed: round as u64, ..Sampler::default() };
            others.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
            std::hint::black_box(&others);
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
