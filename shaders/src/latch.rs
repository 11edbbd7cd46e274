//! Gate of the plastic pool: which written sections open for what a person just said, held until the answer ends.
//!
//! From a `user` token on, rows of x are summed. At the `answer` token their mean less the background is u, and
//! `c_s = max over a section's keys of cos(key, u)`, `open_s = max(0, tanh(24 (c_s - theta_s)))`. The `picks` most open
//! sections are held, ascending by id, ties to the lower id; the rest of the slots hold [`crate::NONE`] and 0. From the
//! answer token to the `end` token every row gives out what is held; all other rows give out nothing, so that there the
//! layer is the base model bit for bit. Sections rank by `c_s - theta_s`, which orders like open_s and still tells
//! sections apart where tanh saturates. A key or a u of zeros has cosine 0 with everything.
//!
//! A state has two notes of the caller's. The first may name a section: at the next answer token that one alone is held,
//! fully open, whatever u is; what was said had the section's own words. Where the second is not 0, what an answer token
//! opens is muted: not held, now or later in the stream. There is room for `muted` sections; the oldest makes way.
//!
//! Shapes: x [batch, steps, dim], tokens [batch, steps], gate `[dim + sections (1 + keys dim)]`: the background, then
//! theta and the keys of each section; state `[batch, dim + 3 + 2 picks + muted]`: the sum, how many rows are in it (0
//! outside of a turn), the held ids plus one, how far they are open, the muted ids plus one, the named one
//! plus one, whether to mute; ids and open [batch, steps, picks]. dim is at most 1024,
//! picks and muted at most 64. Cost: O(rows dim), and O(sections keys dim) at an answer token.

use crate::NONE;
use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::shared::order::best;

crate::params! {
    /// Streams.
    batch: u32,
    /// Steps of each stream.
    steps: u32,
    /// Elements of a row of x and of a key.
    dim: u32,
    /// Plastic sections.
    sections: u32,
    /// Keys of a section.
    keys: u32,
    /// Slots of a row.
    picks: u32,
    /// Sections of a stream that can be muted.
    muted: u32,
    /// The token that starts what a person says.
    user: u32,
    /// The token that starts the answer.
    answer: u32,
    /// The token that ends it.
    end: u32,
}

crate::kernel! {
    name: "latch",
    bindings(p) {
        read x: real [p.batch * p.steps * p.dim],
        read tokens: index [p.batch * p.steps],
        read gate: real [p.dim + p.sections * (1 + p.keys * p.dim)],
        read_write state: real [p.batch * (p.dim + 3 + 2 * p.picks + p.muted)],
        read live: index [1],
        write ids: index [p.batch * p.steps * p.picks],
        write open: real [p.batch * p.steps * p.picks],
    }
    variants {
        // On software adapters too: few rows are answer tokens.
        workgroup => [main => grid(p.batch)],
    }
    choose(p, t): 0,
    backward: none,
    tolerance: Tolerance::LOOSE,
}

/// How steeply a gate opens past its threshold.
pub const STEEPNESS: f64 = 24.0;

/// `c_s - theta_s`, or minus infinity for a section that stays shut.
fn margin<F: Real>(u: &[F], keys: &[F], theta: F) -> F {
    let mut closest = F::neg_infinity();
    for key in keys.chunks(u.len()) {
        let (mut dot, mut uu, mut kk) = (F::zero(), F::zero(), F::zero());
        for (&x, &k) in u.iter().zip(key) {
            dot += x * k;
            uu += x * x;
            kk += k * k;
        }
        let cosine = dot / (uu.sqrt() * kk.sqrt()).max(F::of(1e-12));
        if cosine > closest {
            closest = cosine;
        }
    }
    let margin = closest - theta;
    if margin > F::zero() { margin } else { F::neg_infinity() }
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (dim, picks, steps) = (p.dim as usize, p.picks as usize, p.steps as usize);
    let (background, sections) = a.gate.split_at(dim);
    let slab = 1 + p.keys as usize * dim;
    for (b, kept) in a.state.chunks_mut(dim + 3 + 2 * picks + p.muted as usize).enumerate() {
        let mut state = kept.to_vec();
        let (sum, rest) = state.split_at_mut(dim);
        let (count, held) = rest.split_at_mut(1);
        let (held, open) = held.split_at_mut(picks);
        let (open, muted) = open.split_at_mut(picks);
        let (muted, notes) = muted.split_at_mut(p.muted as usize);
        for row in b * steps..(b + 1) * steps {
            let x = &a.x[row * dim..][..dim];
            let token = a.tokens[row];
            if token == p.user {
                sum.fill(F::zero());
                count[0] = F::zero();
            }
            if token == p.user || (count[0] > F::zero() && token != p.answer && token != p.end) {
                sum.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
                count[0] += F::one();
            }
            if token == p.user || token == p.answer || token == p.end {
                held.fill(F::zero());
                open.fill(F::zero());
            }
            if token == p.answer && count[0] > F::zero() {
                let is_muted = |s: u32| muted.contains(&F::of(f64::from(s) + 1.0));
                let named = (notes[0].wide() as u32).checked_sub(1).filter(|named| !is_muted(*named));
                let opened: Vec<(u32, F)> = match named {
                    Some(named) => vec![(named, F::one())],
                    None => {
                        let u: Vec<F> = sum.iter().zip(background).map(|(&s, &b)| s / count[0] - b).collect();
                        let margin = |(s, section): (usize, &[F])| match is_muted(s as u32) {
                            true => F::neg_infinity(),
                            false => margin(&u, &section[1..], section[0]),
                        };
                        let margins: Vec<F> = sections.chunks(slab).enumerate().map(margin).collect();
                        let mut picked = best(&margins, picks);
                        picked.retain(|&s| margins[s as usize] > F::zero());
                        picked.sort_unstable();
                        picked.iter().map(|&s| (s, (F::of(STEEPNESS) * margins[s as usize]).tanh())).collect()
                    }
                };
                for (k, (s, by)) in opened.into_iter().enumerate() {
                    let id = F::of(f64::from(s) + 1.0);
                    if notes[1] == F::zero() {
                        (held[k], open[k]) = (id, by);
                        continue;
                    }
                    let free = muted.iter().position(|&m| m == F::zero());
                    let Some(at) = free.or(muted.len().checked_sub(1)) else { continue };
                    if free.is_none() {
                        muted.rotate_left(1);
                    }
                    muted[at] = id;
                }
            }
            if token == p.answer {
                notes[0] = F::zero();
            }
            if token == p.answer || token == p.end {
                sum.fill(F::zero());
                count[0] = F::zero();
            }
            for k in 0..picks {
                let id = held[k].wide() as u32;
                a.ids[row * picks + k] = if id == 0 { NONE } else { id - 1 };
                a.open[row * picks + k] = open[k];
            }
        }
        if a.live[0] != 0 {
            kept.copy_from_slice(&state);
        }
    }
}

/// Tokens of the test cases: a person's turn of three, the answer of two, its end, something between turns.
const TURN: [u32; 8] = [7, 1, 8, 9, 2, 8, 3, 9];

fn cases(c: &mut Cases<Params>) {
    let plain = |dim, sections, keys, picks| Params {
        batch: 1,
        steps: 8,
        dim,
        sections,
        keys,
        picks,
        muted: 3,
        user: 1,
        answer: 2,
        end: 3,
    };
    // States of a stream that starts, and of one in the middle of a turn.
    let mut add = |name: &'static str, p: Params, tokens: &'static [u32], begun: bool, theta: f64| {
        let (dim, picks) = (p.dim as usize, p.picks as usize);
        let width = dim + 3 + 2 * picks + p.muted as usize;
        let slab = 1 + p.keys as usize * dim;
        c.add(name, p)
            .ids("tokens", move |_, i| tokens[i % tokens.len()])
            .ids("live", |_, _| 1)
            .reals("state", move |r, i| match (begun, i % width) {
                (_, at) if at == width - 2 => 3.0 * f64::from(u8::from(name.starts_with("named"))),
                (_, at) if at == width - 1 => f64::from(u8::from(name.ends_with("muted"))),
                (false, _) => 0.0,
                (true, at) if at < dim => r.normal(),
                (true, at) if at == dim => 2.0,
                (true, at) if at == dim + 1 => 1.0,
                (true, at) if at == dim + 1 + picks => 0.5,
                _ => 0.0,
            })
            .reals("gate", move |r, i| match i.checked_sub(dim) {
                None => 0.1 * r.normal(),
                Some(at) if at % slab == 0 => theta,
                Some(_) => r.normal(),
            });
    };
    add("one", Params { steps: 1, ..plain(1, 1, 1, 1) }, &[2], true, -0.01);
    add("odd", Params { batch: 3, ..plain(5, 7, 3, 3) }, &TURN, false, 0.1);
    add("goes_on", Params { batch: 2, ..plain(5, 7, 3, 3) }, &[8, 9, 2, 8], true, 0.1);
    add("holds", Params { steps: 3, ..plain(6, 4, 2, 2) }, &[8], true, 0.0);
    add("ends", Params { steps: 2, ..plain(6, 4, 2, 2) }, &[3, 8], true, 0.0);
    // Nobody said anything before the first answer; then nothing opens for what was said.
    add("unasked", plain(6, 4, 2, 2), &[2, 8, 3, 8, 1, 8], false, -1.5);
    add("shut", plain(6, 4, 2, 2), &TURN, false, 1.5);
    add("empty", plain(6, 0, 2, 2), &TURN, false, 0.0);
    add("few", plain(4, 3, 1, 5), &TURN, false, -0.5);
    // The first answer is named, those after it are not.
    add("named", Params { batch: 2, ..plain(6, 4, 2, 2) }, &TURN, false, 0.0);
    add("named_shut", Params { steps: 7, ..plain(6, 4, 2, 1) }, &[1, 2, 8, 1, 2, 8, 3], false, 1.5);
    // Turns after turns mute what they open, and more than there is room for.
    add("muted", Params { steps: 27, ..plain(6, 9, 2, 2) }, &[1, 2, 3], false, -0.3);
    add("full_muted", Params { steps: 40, muted: 2, ..plain(6, 9, 2, 4) }, &[1, 2, 8, 3], false, -1.5);
    add("none_muted", Params { steps: 6, muted: 0, ..plain(6, 4, 2, 2) }, &[1, 2, 3], false, -1.5);
    add("named_muted", Params { steps: 24, ..plain(6, 5, 2, 2) }, &[1, 2, 8], false, 0.5);
    add("named_unasked", Params { steps: 4, ..plain(6, 4, 2, 2) }, &[9, 2, 8, 9], false, -1.5);
    for (name, sections) in [("s63", 63), ("s64", 64), ("s65", 65)] {
        add(name, plain(7, sections, 2, 4), &TURN, false, 0.2);
    }
    for (name, dim) in [("d63", 63), ("d65", 65)] {
        add(name, plain(dim, 3, 1, 2), &TURN, false, -0.1);
    }
    add("many", Params { steps: 6, ..plain(6, 300, 1, 64) }, &TURN, false, 0.0);
    add("real", Params { steps: 24, ..plain(64, 600, 2, 3) }, &TURN, false, 0.05);
    // The same key everywhere: all gates open alike and the lowest ids win.
    c.add("ties", Params { steps: 3, ..plain(3, 140, 1, 6) })
        .ids("tokens", |_, i| [1, 2, 9][i])
        .ids("live", |_, _| 1)
        .reals("state", |_, _| 0.0)
        .reals("x", |_, i| [0.4, -1.0, 2.1][i % 3])
        .reals("gate", |_, i| match i.checked_sub(3) {
            None => 0.0,
            Some(at) => match at % 4 {
                0 if at / 4 == 130 => 0.5,
                0 => 0.75,
                k => [0.5, -1.0, 2.0][k - 1],
            },
        });
    // Keys of zeros never open a gate with a positive threshold; a frozen state stays.
    c.add("zeros", Params { steps: 4, ..plain(3, 5, 2, 2) })
        .ids("tokens", |_, i| [1, 9, 2, 9][i])
        .ids("live", |_, _| 0)
        .reals("state", |_, _| 0.0)
        .reals("gate", |_, i| if i >= 3 && (i - 3) % 7 == 0 { 0.1 } else { 0.0 });
}
