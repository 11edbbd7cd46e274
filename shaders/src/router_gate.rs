//! Gates of the picked sections: 1 for a shared one, `scale * sigmoid(a[s])` for a routed one, 0 for no section.
//!
//! Gates are independent sigmoids without renormalising, so that a new section never rescales an old one.
//! Shapes: a [rows, sections], the products with the router's rows; ids and gates [rows, always + picks]; id `always + s` is routed
//! section s, and an id that names no section gets 0. Cost: O(rows (always + picks)).

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::shared::activation::sigmoid;

crate::params! {
    /// Tokens.
    rows: u32,
    /// Routed sections.
    sections: u32,
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
        read a: real [p.rows * p.sections],
        read ids: index [p.rows * (p.always + p.picks)],
        write gates: real [p.rows * (p.always + p.picks)],
    }
    variants {
        flat => [main => grid((p.rows * (p.always + p.picks)).div_ceil(64))],
    }
    choose(p, t): 0,
    backward: backward,
    tolerance: Tolerance::LOOSE,
}

impl Params {
    /// Routed section of an id.
    fn routed(&self, id: u32) -> Option<usize> {
        id.checked_sub(self.always).filter(|&s| s < self.sections).map(|s| s as usize)
    }
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (sections, slots) = (p.sections as usize, (p.always + p.picks) as usize);
    for (i, (&id, gate)) in a.ids.iter().zip(a.gates).enumerate() {
        *gate = match p.routed(id) {
            _ if id < p.always => F::one(),
            Some(s) => F::of(f64::from(p.scale)) * sigmoid(a.a[i / slots * sections + s]),
            None => F::zero(),
        };
    }
}

/// With `s = sigmoid(a)`: `da = scale s (1 - s) dgate`.
fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (sections, slots) = (p.sections as usize, (p.always + p.picks) as usize);
    let Some(da) = g.a else { return };
    for (i, &id) in a.ids.iter().enumerate() {
        let Some(section) = p.routed(id) else { continue };
        let at = i / slots * sections + section;
        let s = sigmoid(a.a[at]);
        da[at] += g.gates[i] * F::of(f64::from(p.scale)) * s * (F::one() - s);
    }
}

fn cases(c: &mut Cases<Params>) {
    let any =
        |p: Params| move |r: &mut crate::cases::Random, _: usize| r.below((p.always + p.sections) as usize) as u32;
    let one = Params { rows: 1, sections: 1, picks: 1, always: 0, scale: 2.5 };
    c.add("one", one);
    let odd = Params { rows: 3, sections: 5, picks: 3, always: 1, scale: 1.5 };
    c.add("odd", odd).ids("ids", any(odd)).gradient();
    c.add("none", odd)
        .ids("ids", |_, i| [0, 1, 5, 6, crate::NONE, 0, 4, 2, 3, crate::NONE, 5, 1_000_000][i])
        .gradient();
    for rows in [15, 16, 17] {
        let p = Params { rows, ..odd };
        c.add(&format!("rows{rows}"), p).ids("ids", any(p));
    }
    let real = Params { rows: 33, sections: 330, picks: 5, always: 1, scale: 1.0 };
    c.add("real", real).ids("ids", any(real));
}
