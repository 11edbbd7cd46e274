//! Sampling of the next token, with everything that a decoding loop needs to stay on the device.
//!
//! Penalty: each distinct id among the last `min(repeat_last_n, position, 256)` tokens has its logit divided by the
//! penalty when positive and multiplied when not (Keskar et al. 2019, arXiv 1909.05858). Temperature 0 takes the
//! highest logit. Otherwise the candidates are the top k (0 or more than 256 stands for 256) in descending order, with
//! weights `exp((l - max) / temperature)`, cut to the shortest prefix that holds `top_p` of their sum (Holtzman et al.
//! 2019, arXiv 1904.09751), and one is drawn by the random bits of (seed, position). Ties go to the lower id and NaN
//! counts as minus infinity. The id goes to `token`, `out[emitted]` and the ring `history[position % 256]`; both
//! counters step; a stop id clears `live`. When `live` is 0 or `out` is full nothing at all is written.
//!
//! Shapes: logits `[vocab]`, settings `[16]` as in [`setting`], control `[4]`: live, position, emitted, unused;
//! history `[256]`, token `[1]`, out `[capacity]`. Cost: O(vocab + k^2); one workgroup.

use crate::cases::{Cases, Draft};
use crate::kernel::{Real, Tolerance};
use crate::shared::order::{best, without_nan};
use std::borrow::Cow;

crate::params! {
    /// Logits.
    vocab: u32,
    /// Tokens that `out` holds.
    capacity: u32,
}

crate::kernel! {
    name: "sample",
    bindings(p) {
        read logits: real [p.vocab],
        read settings: index [16],
        read_write control: index [4],
        read_write history: index [256],
        write token: index [1],
        read_write out: index [p.capacity],
    }
    variants {
        // On software adapters too: on llvmpipe single-invocation forms drew wrong ids where their loops ran long (a
        // vocabulary of 32000, or one of 3000 with 256 candidates), and this one passes.
        workgroup => [main => [1, 1, 1]],
    }
    choose(p, t): 0,
    backward: none,
    tolerance: Tolerance::EXACT,
}

/// Places in the `settings` binding.
pub mod setting {
    /// Bits of the temperature as f32; 0 or less takes the highest logit.
    pub const TEMPERATURE: usize = 0;
    /// Candidates; 0 stands for as many as there may be.
    pub const TOP_K: usize = 1;
    /// Bits of the share of weight to keep as f32; 1 or more keeps all.
    pub const TOP_P: usize = 2;
    /// Bits of the repeat penalty as f32; 1 for none.
    pub const REPEAT_PENALTY: usize = 3;
    /// Low half of the seed.
    pub const SEED_LOW: usize = 4;
    /// High half of the seed.
    pub const SEED_HIGH: usize = 5;
    /// Tokens that the penalty looks back on, at most 256.
    pub const REPEAT_LAST_N: usize = 6;
    /// Stop ids in use, at most 8.
    pub const STOP_COUNT: usize = 7;
    /// First stop id.
    pub const STOPS: usize = 8;
}

/// Most candidates of a draw, and tokens in the ring.
pub const LIMIT: usize = 256;

/// Random bits of (seed, counter); twin of `shared/random.wgsl`.
pub fn random_bits(seed: [u32; 2], counter: u32) -> u32 {
    fn mix(value: u32) -> u32 {
        let x = value.wrapping_add(0x9E37_79B9);
        let x = (x ^ (x >> 16)).wrapping_mul(0x21F0_AAAD);
        let x = (x ^ (x >> 15)).wrapping_mul(0x735A_2D97);
        x ^ (x >> 15)
    }
    mix(mix(seed[0] ^ mix(counter)) ^ seed[1])
}

fn real<F: Real>(bits: u32) -> F {
    F::of(f64::from(f32::from_bits(bits)))
}

/// Finds the ids of so many highest scores, best first, ties by id; NaN counts as minus infinity.
pub type Best<F> = fn(&[F], usize) -> Vec<u32>;

/// The id drawn from these logits, penalty included.
fn draw<F: Real>(logits: &[F], settings: &[u32], position: u32, best: Best<F>) -> u32 {
    let temperature: F = real(settings[setting::TEMPERATURE]);
    if !(temperature > F::zero()) {
        return best(logits, 1)[0];
    }
    let k = match settings[setting::TOP_K] as usize {
        0 => LIMIT,
        k => k.min(LIMIT),
    };
    let ids = best(logits, k);
    let top = without_nan(logits[ids[0] as usize]);
    let weights: Vec<F> = ids
        .iter()
        .map(|&id| {
            let l = without_nan(logits[id as usize]);
            // Two infinities have no difference: equal to the top is certain, whatever the top is.
            if l == top { F::one() } else { ((l - top) / temperature).exp() }
        })
        .collect();
    let sum = |weights: &[F]| weights.iter().fold(F::zero(), |sum, &w| sum + w);
    let top_p: F = real(settings[setting::TOP_P]);
    let mut kept = weights.len();
    if top_p < F::one() {
        let wanted = top_p * sum(&weights);
        kept = (1..kept).find(|&n| sum(&weights[..n]) >= wanted).unwrap_or(kept);
    }
    let bits = random_bits([settings[setting::SEED_LOW], settings[setting::SEED_HIGH]], position) >> 8;
    let target = F::of(f64::from(bits) / f64::from(1 << 24)) * sum(&weights[..kept]);
    let mut cumulative = F::zero();
    for i in 0..kept {
        cumulative += weights[i];
        if cumulative > target {
            return ids[i];
        }
    }
    ids[kept - 1]
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    run(p, a, best);
}

/// Draws a token, given a way to find the best ids.
pub fn run<F: Real>(p: &Params, a: Args<F>, best: Best<F>) {
    let [live, position, emitted, _] = [a.control[0], a.control[1], a.control[2], a.control[3]];
    if live == 0 || emitted >= p.capacity || p.vocab == 0 {
        return;
    }
    let mut logits = Cow::Borrowed(a.logits);
    let penalty: F = real(a.settings[setting::REPEAT_PENALTY]);
    if penalty != F::one() {
        let last = a.settings[setting::REPEAT_LAST_N].min(position).min(LIMIT as u32);
        let mut seen: Vec<u32> = (1..=last).map(|back| a.history[(position - back) as usize % LIMIT]).collect();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            if let Some(l) = logits.to_mut().get_mut(id as usize) {
                *l = if *l > F::zero() { *l / penalty } else { *l * penalty };
            }
        }
    }
    let id = draw(&logits, a.settings, position, best);
    a.token[0] = id;
    a.out[emitted as usize] = id;
    a.history[position as usize % LIMIT] = id;
    a.control[1] = position.wrapping_add(1);
    a.control[2] = emitted + 1;
    let stops = (a.settings[setting::STOP_COUNT] as usize).min(a.settings.len() - setting::STOPS);
    if a.settings[setting::STOPS..][..stops].contains(&id) {
        a.control[0] = 0;
    }
}

/// Settings of a case: temperature, k, p, penalty, how far back, seed.
fn set(draft: Draft<'_>, temperature: f32, k: u32, top_p: f32, penalty: f32, back: u32, seed: u32) -> Draft<'_> {
    let stops = [1, 5];
    let mut all = [
        temperature.to_bits(),
        k,
        top_p.to_bits(),
        penalty.to_bits(),
        seed,
        seed ^ 0xABCD,
        back,
        2,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    all[setting::STOPS..][..2].copy_from_slice(&stops);
    draft.ids("settings", move |_, i| all[i])
}

fn cases(c: &mut Cases<Params>) {
    let start = |_: &mut crate::cases::Random, i: usize| [1, 300, 1, 0][i];
    let of = |vocab| Params { vocab, capacity: 3 };
    set(c.add("one", of(1)), 1.0, 0, 1.0, 1.0, 0, 7).ids("control", start);
    for vocab in [7, 255, 256, 257, 1000] {
        set(c.add(&format!("greedy{vocab}"), of(vocab)), 0.0, 0, 1.0, 1.0, 0, 0).ids("control", start);
        set(c.add(&format!("all{vocab}"), of(vocab)), 1.5, 0, 1.0, 1.0, 0, vocab).ids("control", start);
        set(c.add(&format!("k{vocab}"), of(vocab)), 0.7, 5, 0.9, 1.0, 0, vocab).ids("control", start);
    }
    for seed in 0..6 {
        set(c.add(&format!("seed{seed}"), of(500)), 2.0, 40, 0.95, 1.3, 64, seed)
            .ids("control", |_, i| [1, 40, 0, 0][i])
            .ids("history", |r, _| r.below(500) as u32);
    }
    // Nothing but ties: the candidates are the lowest ids.
    set(c.add("ties", of(3000)), 1.0, 200, 1.0, 1.0, 0, 3).reals("logits", |_, _| -0.5).ids("control", start);
    set(c.add("greedy_ties", of(700)), 0.0, 0, 1.0, 1.0, 0, 3)
        .reals("logits", |_, i| f64::from(i % 100 == 77))
        .ids("control", start);
    set(c.add("some_ties", of(3000)), 3.0, 256, 0.99, 1.0, 0, 4)
        .reals("logits", |r, _| r.below(40) as f64)
        .ids("control", start);
    set(c.add("zeros", of(300)), 0.0, 0, 1.0, 1.0, 0, 0)
        .reals("logits", |_, i| if i == 8 { 0.0 } else { -0.0 })
        .ids("control", start);
    // Masked and broken logits: NaN and minus infinity lose, and have no weight even when they are candidates.
    set(c.add("masked", of(600)), 1.0, 9, 1.0, 1.0, 0, 5)
        .reals("logits", |r, i| {
            [f64::NAN, f64::NEG_INFINITY, f64::NAN][i % 3] + if i % 200 == 100 { f64::NAN } else { r.normal() }
        })
        .ids("control", start);
    set(c.add("few_left", of(600)), 1.0, 9, 1.0, 1.0, 0, 5)
        .reals("logits", |_, i| if i % 250 == 249 { i as f64 / 100.0 } else { f64::NEG_INFINITY })
        .ids("control", start);
    set(c.add("infinite", of(600)), 1.0, 9, 1.0, 1.0, 0, 6)
        .reals("logits", |r, i| if i % 250 == 249 { f64::INFINITY } else { r.normal() })
        .ids("control", start);
    // The penalty turns the best two away; the ring has wrapped, and ids past the vocabulary mean nothing.
    set(c.add("penalty", of(300)), 0.0, 0, 1.0, 4.0, 256, 0)
        .reals("logits", |r, i| [9.0, 9.0, 5.0].get(i).copied().unwrap_or(4.0 * r.uniform()))
        .ids("control", |_, i| [1, 1000, 2, 0][i])
        .ids("history", |_, i| [0, 1, 0, 65538, u32::MAX][i % 5]);
    set(c.add("look_back", of(300)), 0.0, 0, 1.0, 4.0, 3, 0)
        .reals("logits", |_, i| f64::from(i as u32) / 10.0)
        .ids("control", |_, i| [1, 258, 0, 0][i])
        .ids("history", |_, i| if i == 255 { 299 } else { 298 - i as u32 % 6 });
    // A stop id ends the run; the last place of out may still be filled.
    set(c.add("stop", of(64)), 0.0, 0, 1.0, 1.0, 0, 0)
        .reals("logits", |_, i| f64::from(i == 5))
        .ids("control", |_, i| [1, 0, 2, 0][i]);
    set(c.add("tail", of(300)), 1.0, 0, 0.0, 1.0, 0, 11).ids("control", start);
    set(c.add("real", of(32000)), 0.7, 40, 0.95, 1.1, 64, 12)
        .ids("control", start)
        .ids("history", |r, _| r.below(32000) as u32);
    // Flat enough to draw from far down the list.
    set(c.add("flat", of(32000)), 5.0, 256, 0.9, 1.1, 256, 13)
        .ids("control", start)
        .ids("history", |r, _| r.below(32000) as u32);
    // Ids that differ by a power of two must not be taken for each other: the recent ones are the lower half's best.
    set(c.add("wide", of(70000)), 0.0, 0, 1.0, 2.0, 20, 14)
        .reals("logits", |r, i| if matches!(i, 900 | 66436) { 8.0 } else { r.uniform() * 7.0 })
        .ids("control", start)
        .ids("history", |_, _| 900);
}
