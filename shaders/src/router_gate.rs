//! Gates of the picked sections: 1 for a shared one, `scale * sigmoid(p . r_s)` for a routed one, 0 for no section.
//!
//! Gates are independent sigmoids without renormalising, so that a new section never rescales an old one.
//! Shapes: p [rows, width], r [sections, width], ids and gates [rows, always + picks]; id `always + s` is routed
//! section s, and an id that names no section gets 0. Cost: O(rows (always + picks) width).

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::shared::activation::sigmoid;

crate::params! {
    /// Tokens.
    rows: u32,
    /// Routed sections.
    sections: u32,
    /// Elements of p and of a router row.
    width: u32,
    /// Picked sections of a token.
    picks: u32,
    /// Sections that every token takes; the routed ids start after them.
    always: u32,
    /// Factor of routed gates.
    scale: f32,
}

crate::kernel! {
    name: "router_gate",
    bindings(p) {
        read p: real [p.rows * p.width],
        read r: real [p.sections * p.width],
        read ids: index [p.rows * (p.always + p.picks)],
        write gates: real [p.rows * (p.always + p.picks)],
    }
    variants {
        lanes => [main => grid((p.rows * (p.always + p.picks)).div_ceil(8))],
        serial => [serial => grid((p.rows * (p.always + p.picks)).div_ceil(8))],
    }
    choose(p, t): if t.software { 1 } else { 0 },
    backward: backward,
    tolerance: Tolerance::LOOSE,
}

impl Params {
    /// Routed section of an id.
    fn routed(&self, id: u32) -> Option<usize> {
        id.checked_sub(self.always).filter(|&s| s < self.sections).map(|s| s as usize)
    }
}

fn dot<F: Real>(a: &[F], b: &[F]) -> F {
    let mut sum = F::zero();
    for (&x, &y) in a.iter().zip(b) {
        sum += x * y;
    }
    sum
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (width, slots) = (p.width as usize, (p.always + p.picks) as usize);
    for (i, (&id, gate)) in a.ids.iter().zip(a.gates).enumerate() {
        *gate = match p.routed(id) {
            _ if id < p.always => F::one(),
            Some(s) => {
                F::of(f64::from(p.scale)) * sigmoid(dot(&a.p[i / slots * width..][..width], &a.r[s * width..][..width]))
            }
            None => F::zero(),
        };
    }
}

/// With `s = sigmoid(p . r)`: `d(p . r) = scale s (1 - s) dgate`.
fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (width, slots) = (p.width as usize, (p.always + p.picks) as usize);
    let Grads { p: mut dp, r: mut dr, gates, .. } = g;
    for (i, &id) in a.ids.iter().enumerate() {
        let Some(section) = p.routed(id) else { continue };
        let (row, at) = (i / slots * width, section * width);
        let s = sigmoid(dot(&a.p[row..][..width], &a.r[at..][..width]));
        let pull = gates[i] * F::of(f64::from(p.scale)) * s * (F::one() - s);
        if let Some(dp) = dp.as_deref_mut() {
            for j in 0..width {
                dp[row + j] += pull * a.r[at + j];
            }
        }
        if let Some(dr) = dr.as_deref_mut() {
            for j in 0..width {
                dr[at + j] += pull * a.p[row + j];
            }
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    let any =
        |p: Params| move |r: &mut crate::cases::Random, _: usize| r.below((p.always + p.sections) as usize) as u32;
    let one = Params { rows: 1, sections: 1, width: 1, picks: 1, always: 0, scale: 2.5 };
    c.add("one", one);
    let odd = Params { rows: 3, sections: 5, width: 7, picks: 3, always: 1, scale: 1.5 };
    c.add("odd", odd).ids("ids", any(odd)).gradient();
    c.add("none", odd)
        .ids("ids", |_, i| [0, 1, 5, 6, crate::NONE, 0, 4, 2, 3, crate::NONE, 5, 1_000_000][i])
        .gradient();
    for width in [7, 8, 9, 63, 64, 65] {
        let p = Params { width, ..odd };
        c.add(&format!("w{width}"), p).ids("ids", any(p));
    }
    let real = Params { rows: 33, sections: 330, width: 64, picks: 5, always: 1, scale: 1.0 };
    c.add("real", real).ids("ids", any(real));
}
