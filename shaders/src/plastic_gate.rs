//! Gate of the plastic pool: which written sections open for a summary of the turn, and how far.
//!
//! `c_s = max over a section's keys of cos(key, u)`, `open_s = max(0, tanh(24 (c_s - theta_s)))`. The `picks` most open
//! sections are written in ascending order of id, ties to the lower id; slots left over hold [`crate::NONE`] and 0, so
//! that with no gate open the layer is the base model bit for bit. Sections rank by `c_s - theta_s`, which orders like
//! open_s and still tells sections apart where tanh saturates. A key or a u of zeros has cosine 0 with everything.
//! Shapes: u [rows, dim], key [sections, keys, dim], theta `[sections]`, ids and open [rows, picks].
//! picks is at most 64: a workgroup keeps the best 64 at hand. Cost: O(rows sections keys dim).

use crate::NONE;
use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::shared::order::best;

crate::params! {
    /// Summaries.
    rows: u32,
    /// Elements of u and of a key.
    dim: u32,
    /// Plastic sections.
    sections: u32,
    /// Keys of a section.
    keys: u32,
    /// Slots of a row.
    picks: u32,
}

crate::kernel! {
    name: "plastic_gate",
    bindings(p) {
        read u: real [p.rows * p.dim],
        read key: real [p.sections * p.keys * p.dim],
        read theta: real [p.sections],
        write ids: index [p.rows * p.picks],
        write open: real [p.rows * p.picks],
    }
    variants {
        // On software adapters too: a barrier for every 64 sections is nothing beside their keys.
        workgroup => [main => grid(p.rows)],
    }
    choose(p, t): 0,
    backward: none,
    tolerance: Tolerance::LOOSE,
}

/// How steeply a gate opens past its threshold.
const STEEPNESS: f64 = 24.0;

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
    let (dim, picks, slab) = (p.dim as usize, p.picks as usize, (p.keys * p.dim) as usize);
    for row in 0..p.rows as usize {
        let u = &a.u[row * dim..][..dim];
        let margins: Vec<F> =
            a.theta.iter().enumerate().map(|(s, &theta)| margin(u, &a.key[s * slab..][..slab], theta)).collect();
        let mut picked = best(&margins, picks);
        picked.retain(|&s| margins[s as usize] > F::zero());
        picked.sort_unstable();
        for k in 0..picks {
            let id = picked.get(k).copied();
            a.ids[row * picks + k] = id.unwrap_or(NONE);
            a.open[row * picks + k] = id.map_or(F::zero(), |s| (F::of(STEEPNESS) * margins[s as usize]).tanh());
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    c.add("one", Params { rows: 1, dim: 1, sections: 1, keys: 1, picks: 1 }).reals("theta", |_, _| -0.01);
    c.add("odd", Params { rows: 3, dim: 5, sections: 7, keys: 3, picks: 3 });
    c.add("few", Params { rows: 2, dim: 4, sections: 3, keys: 1, picks: 5 });
    for sections in [63, 64, 65] {
        c.add(&format!("s{sections}"), Params { rows: 2, dim: 7, sections, keys: 2, picks: 4 });
    }
    // One row opens nothing; keys of zeros, unused ones, never open a gate with a positive threshold.
    c.add("shut", Params { rows: 2, dim: 3, sections: 5, keys: 2, picks: 2 })
        .reals("u", |_, i| if i < 3 { 0.0 } else { 1.0 })
        .reals("key", |_, i| if i < 12 { 0.0 } else { 1.0 })
        .reals("theta", |_, _| 0.9);
    // The same key everywhere: all gates open alike and the lowest ids win.
    c.add("ties", Params { rows: 1, dim: 3, sections: 140, keys: 1, picks: 6 })
        .reals("key", |_, i| [0.5, -1.0, 2.0][i % 3])
        .reals("u", |_, i| [0.4, -1.0, 2.1][i])
        .reals("theta", |_, i| if i == 130 { 0.5 } else { 0.75 });
    c.add("many", Params { rows: 1, dim: 6, sections: 300, keys: 1, picks: 64 });
    c.add("real", Params { rows: 4, dim: 64, sections: 512, keys: 4, picks: 3 })
        .reals("theta", |r, _| 0.3 + 0.05 * r.normal());
}
