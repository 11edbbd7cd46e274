//! Sampling of the next token, with everything that a decoding loop needs to stay on the device.
//!
//! Bias: `BIAS` is added to the logit of `BIAS_ID`, if there is such an id, before everything else.
//!
//! Grammar: a table of states and classes of tokens. In state `control[3]` only tokens are candidates whose class leads
//! to a state; the state that the drawn one leads to is the new one. A state outside of the table, and so every state
//! where the table is `[0]`, allows everything and stays; so does one that allows none.
//!
//! Penalty: each distinct id among the last `min(repeat_last_n, position, 256)` tokens has its logit divided by the
//! penalty when positive and multiplied when not (Keskar et al. 2019, arXiv 1909.05858). Temperature 0 takes the
//! highest logit. Otherwise the candidates are the top k (0 or more than 256 stands for 256) in descending order, with
//! weights `exp((l - max) / temperature)`, cut to the shortest prefix that holds `top_p` of their sum (Holtzman et al.
//! 2019, arXiv 1904.09751), and one is drawn by the random bits of (seed, position). Ties go to the lower id and NaN
//! counts as minus infinity. The id goes to `token`, `out[emitted]` and the ring `history[position % 256]`; both
//! counters step; a stop id clears `live`. When `live` is 0 or `out` is full nothing at all is written.
//!
//! Shapes: logits `[vocab]`, settings `[18]` as in [`setting`], grammar `[grammar]`: states, classes, tokens, the class
//! of each token `[tokens]`, the next states `[states, classes]`, [`FORBIDDEN`] for none; tokens past the table are
//! forbidden. Control `[4]`: live, position, emitted, state; history `[256]`, token `[1]`, out `[capacity]`.
//! Cost: O(vocab + k^2); one workgroup.

use crate::cases::{Cases, Draft};
use crate::NONE;
use crate::kernel::{Real, Tolerance};
use crate::shared::order::{best, without_nan};
use std::borrow::Cow;

crate::params! {
    /// Logits.
    vocab: u32,
    /// Tokens that `out` holds.
    capacity: u32,
    /// Words of the grammar; 1 for none.
    grammar: u32,
}

crate::kernel! {
    name: "sample",
    bindings(p) {
        read logits: real [p.vocab],
        read settings: index [setting::LEN],
        read grammar: index [p.grammar],
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
    /// Id of the token whose logit is biased; `NONE` for none.
    pub const BIAS_ID: usize = 8;
    /// Bits of what is added to its logit, as f32.
    pub const BIAS: usize = 9;
    /// First stop id.
    pub const STOPS: usize = 10;
    /// Words of the binding: there is room for 8 stop ids.
    pub const LEN: usize = STOPS + 8;
}

/// The next state after a token that the grammar forbids.
pub const FORBIDDEN: u32 = u32::MAX;

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

/// The grammar in one state.
struct Rules<'a> {
    classes: &'a [u32],
    /// The next state of each class.
    next: &'a [u32],
}
impl<'a> Rules<'a> {
    /// None where everything is allowed.
    fn of(grammar: &'a [u32], state: u32) -> Option<Self> {
        let (head, rest) = grammar.split_first_chunk::<3>()?;
        let [states, count, tokens] = head.map(|word| word as usize);
        let (classes, next) = rest.split_at(tokens);
        let state = state as usize;
        (state < states).then(|| Self { classes, next: &next[state * count..][..count] })
    }
    fn next(&self, id: u32) -> u32 {
        self.classes.get(id as usize).map_or(FORBIDDEN, |&class| self.next[class as usize])
    }
}

/// The id drawn from these logits, bias and penalty included.
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
    let [live, position, emitted, state] = [a.control[0], a.control[1], a.control[2], a.control[3]];
    if live == 0 || emitted >= p.capacity || p.vocab == 0 {
        return;
    }
    let mut logits = Cow::Borrowed(a.logits);
    let biased = a.settings[setting::BIAS_ID] as usize;
    if biased < logits.len() {
        logits.to_mut()[biased] += real(a.settings[setting::BIAS]);
    }
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
    // Forbidden ids are left out, not lowered: an allowed one may have minus infinity itself.
    let rules = Rules::of(a.grammar, state).map(|rules| {
        let ids: Vec<u32> = (0..p.vocab).filter(|&id| rules.next(id) != FORBIDDEN).collect();
        (rules, ids)
    });
    let id = match rules.filter(|(_, ids)| !ids.is_empty()) {
        None => draw(&logits, a.settings, position, best),
        Some((rules, ids)) => {
            let few: Vec<F> = ids.iter().map(|&id| logits[id as usize]).collect();
            let id = ids[draw(&few, a.settings, position, best) as usize];
            a.control[3] = rules.next(id);
            id
        }
    };
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
    biased(draft, [temperature.to_bits(), k, top_p.to_bits(), penalty.to_bits(), seed, back], NONE, 0.0)
}

/// The same with a bias.
fn biased(draft: Draft<'_>, [temperature, k, top_p, penalty, seed, back]: [u32; 6], id: u32, bias: f32) -> Draft<'_> {
    let mut all = [0; setting::LEN];
    all[..setting::STOPS].copy_from_slice(&[
        temperature,
        k,
        top_p,
        penalty,
        seed,
        seed ^ 0xABCD,
        back,
        2,
        id,
        bias.to_bits(),
    ]);
    all[setting::STOPS..][..2].copy_from_slice(&[1, 5]);
    draft.ids("settings", move |_, i| all[i])
}

/// States and classes of the grammars below.
const STATES: u32 = 5;
const CLASSES: u32 = 9;

/// Words of a grammar for so many tokens.
const fn words(tokens: u32) -> u32 {
    3 + tokens + STATES * CLASSES
}

/// A grammar for `tokens` tokens of the classes that `class` gives, and the next states `row` in every state.
fn grammar(draft: Draft<'_>, tokens: u32, class: impl Fn(u32) -> u32, row: [u32; CLASSES as usize]) -> Draft<'_> {
    draft.words("grammar", |_, _| {
        let next = row.repeat(STATES as usize);
        [vec![STATES, CLASSES, tokens], (0..tokens).map(class).collect(), next].concat()
    })
}

fn cases(c: &mut Cases<Params>) {
    let start = |_: &mut crate::cases::Random, i: usize| [1, 300, 1, 0][i];
    let of = |vocab| Params { vocab, capacity: 3, grammar: 1 };
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
    under_a_grammar(c);
}

/// Cases of bias and grammar.
fn under_a_grammar(c: &mut Cases<Params>) {
    const NO: u32 = FORBIDDEN;
    let plain = |vocab| Params { vocab, capacity: 3, grammar: 1 };
    let of = |vocab| Params { vocab, capacity: 3, grammar: words(vocab) };
    let at = |state: u32| move |_: &mut crate::cases::Random, i: usize| [1, 300, 1, state][i];
    let greedy = [0.0f32.to_bits(), 0, 1.0f32.to_bits(), 1.0f32.to_bits(), 0, 0];
    let rising = |_: &mut crate::cases::Random, i: usize| i as f64 / 8.0;
    // The bias changes the winner, in both directions, and comes before the penalty: (3 + 4) / 2 wins over 3, not 4.
    biased(c.add("bias_up", plain(300)), greedy, 7, 60.0).reals("logits", rising).ids("control", at(0));
    biased(c.add("bias_down", plain(300)), greedy, 299, -2.0).reals("logits", rising).ids("control", at(0));
    let halved = [greedy[0], 0, greedy[2], 2.0f32.to_bits(), 0, 256];
    for (name, other) in [("bias_then_penalty", 3.0), ("bias_before_penalty", 4.0)] {
        biased(c.add(name, plain(300)), halved, 9, 4.0)
            .reals("logits", move |_, i| [3.0, other, 0.0][usize::from(i != 9) + usize::from(i != 9 && i != 20)])
            .ids("history", |_, _| 9)
            .ids("control", at(0));
    }
    // What is no number stays none.
    biased(c.add("bias_nan", plain(300)), greedy, 299, 9.0)
        .reals("logits", |_, i| if i == 299 { f64::NAN } else { i as f64 / 8.0 })
        .ids("control", at(0));
    for seed in 0..3 {
        let drawn = [1.0f32.to_bits(), 0, 0.9f32.to_bits(), 1.2f32.to_bits(), seed, 64];
        biased(c.add(&format!("bias_drawn{seed}"), plain(500)), drawn, 11, 8.0)
            .reals("logits", |r, _| r.normal())
            .ids("control", at(0))
            .ids("history", |r, _| r.below(500) as u32);
    }
    // Some classes forbidden, in every size; the state moves on.
    let some = [3, NO, 4, NO, NO, 0, NO, 1, 2];
    for vocab in [9, 255, 256, 257, 1000, 4096] {
        for (name, temperature, k) in [("greedy", 0.0, 0), ("all", 1.5, 0), ("k", 0.7, 5)] {
            let draft = c.add(&format!("grammar_{name}{vocab}"), of(vocab));
            let draft = set(draft, temperature, k, 0.95, 1.1, 64, vocab + k).ids("control", at(2));
            grammar(draft, vocab, |id| id * id % 31 % CLASSES, some).ids("history", |r, _| r.below(300) as u32);
        }
    }
    // The best by far is forbidden.
    let best = |_: &mut crate::cases::Random, i: usize| if i % 9 == 1 { 50.0 } else { i as f64 / 100.0 };
    for (name, temperature) in [("greedy", 0.0), ("drawn", 1.0)] {
        let draft = set(c.add(&format!("forbidden_best_{name}"), of(600)), temperature, 40, 1.0, 1.0, 0, 8);
        grammar(draft.reals("logits", best).ids("control", at(4)), 600, |id| id % CLASSES, some);
    }
    // Fewer allowed than candidates; in one lane of 256; a single one.
    let only = [NO, 2, NO, NO, NO, NO, NO, NO, NO];
    for (name, every, from) in [("few", 97, 3), ("one_lane", 256, 5), ("single", 5000, 2100)] {
        for k in [0, 4] {
            let draft = set(c.add(&format!("allowed_{name}{k}"), of(3000)), 2.0, k, 1.0, 1.0, 0, 21 + k);
            grammar(draft.ids("control", at(0)), 3000, |id| u32::from(id % every == from), only);
        }
    }
    // An allowed minus infinity or NaN goes before every forbidden number.
    for (name, temperature) in [("greedy", 0.0), ("drawn", 1.0)] {
        let draft = set(c.add(&format!("allowed_lowest_{name}"), of(600)), temperature, 0, 1.0, 1.0, 0, 9);
        let lowest = |r: &mut crate::cases::Random, i: usize| match i % 20 {
            1 => f64::NEG_INFINITY,
            11 => f64::NAN,
            _ => r.normal(),
        };
        grammar(draft.reals("logits", lowest).ids("control", at(0)), 600, |id| u32::from(id % 10 == 1), only);
        let draft = set(c.add(&format!("allowed_mixed_{name}"), of(600)), temperature, 0, 1.0, 1.0, 0, 9);
        let mixed = |r: &mut crate::cases::Random, i: usize| if i % 50 == 11 { r.normal() } else { f64::NEG_INFINITY };
        grammar(draft.reals("logits", mixed).ids("control", at(0)), 600, |id| u32::from(id % 10 == 1), only);
    }
    // Where none is allowed, and in a state outside of the table, everything is, and the state stays.
    let none = set(c.add("allowed_none", of(600)), 1.0, 40, 0.95, 1.0, 0, 10).ids("control", at(3));
    grammar(none, 600, |id| id % CLASSES, [NO; CLASSES as usize]);
    for state in [STATES, NO] {
        let outside = set(c.add(&format!("outside{state}"), of(600)), 1.0, 40, 0.95, 1.0, 0, 10).ids("control", at(state));
        grammar(outside, 600, |id| id % CLASSES, some);
    }
    // Tokens past the table are forbidden, and the best is one of them.
    let short = Params { grammar: words(40), ..of(600) };
    let draft = set(c.add("short_table", short), 0.0, 0, 1.0, 1.0, 0, 0).reals("logits", rising).ids("control", at(1));
    grammar(draft, 40, |id| id % CLASSES, some);
    // A stop id moves the state before it ends the run.
    let draft = set(c.add("grammar_stop", of(64)), 0.0, 0, 1.0, 1.0, 0, 0)
        .reals("logits", |_, i| f64::from(i == 5) + f64::from(i == 6) * 3.0)
        .ids("control", |_, i| [1, 0, 2, 4][i]);
    grammar(draft, 64, |id| id % CLASSES, some);
}
