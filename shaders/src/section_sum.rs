//! Sum of the sections' outputs: `y[t] = x[t] + sum over k of gates[t, k] * slots[t, k]`, in the order of the slots.
//!
//! Slots without a section ([`crate::NONE`]) and those whose gate is 0 are not read, so that a token whose gates are
//! all shut leaves x bit for bit. Shapes: x and y [rows, width], slots [rows, picks, width], ids and gates
//! [rows, picks]. Cost: O(rows picks width). One invocation an element: the same order of sums on every device.

use crate::NONE;
use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};

crate::params! {
    /// Tokens.
    rows: u32,
    /// Slots of a token.
    picks: u32,
    /// Elements of a token's vector.
    width: u32,
}

crate::kernel! {
    name: "section_sum",
    bindings(p) {
        read x: real [p.rows * p.width],
        read slots: real [p.rows * p.picks * p.width],
        read ids: index [p.rows * p.picks],
        read gates: real [p.rows * p.picks],
        write y: real [p.rows * p.width],
    }
    variants {
        main => [main => grid((p.rows * p.width).div_ceil(64))],
    }
    choose(p, t): 0,
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (width, picks) = (p.width as usize, p.picks as usize);
    a.y.copy_from_slice(a.x);
    for (i, (&id, &gate)) in a.ids.iter().zip(a.gates).enumerate() {
        if id == NONE || gate == F::zero() {
            continue;
        }
        let y = &mut a.y[i / picks * width..][..width];
        let slot = &a.slots[i * width..][..width];
        for j in 0..width {
            y[j] += gate * slot[j];
        }
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (width, picks) = (p.width as usize, p.picks as usize);
    let Grads { x, mut slots, mut gates, y, .. } = g;
    if let Some(dx) = x {
        for (dx, &dy) in dx.iter_mut().zip(y) {
            *dx += dy;
        }
    }
    for (i, (&id, &gate)) in a.ids.iter().zip(a.gates).enumerate() {
        if id == NONE {
            continue;
        }
        let dy = &y[i / picks * width..][..width];
        if let Some(dslots) = slots.as_deref_mut() {
            for j in 0..width {
                dslots[i * width + j] += gate * dy[j];
            }
        }
        if let Some(dgates) = gates.as_deref_mut() {
            for j in 0..width {
                dgates[i] += a.slots[i * width + j] * dy[j];
            }
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    let some = |r: &mut crate::cases::Random, _: usize| if r.below(3) == 0 { NONE } else { r.below(9) as u32 };
    c.add("one", Params { rows: 1, picks: 1, width: 1 });
    c.add("odd", Params { rows: 3, picks: 3, width: 7 }).ids("ids", some).gradient();
    // A shut gate and an empty slot hide whatever their slots hold.
    c.add("shut", Params { rows: 2, picks: 2, width: 3 })
        .ids("ids", |_, i| [0, 1, NONE, NONE][i])
        .reals("gates", |_, i| [0.0, 2.0, 1.0, 1.0][i])
        .reals("slots", |r, i| if (3..6).contains(&i) { r.normal() } else { f64::NAN });
    for width in [63, 64, 65] {
        c.add(&format!("w{width}"), Params { rows: 2, picks: 4, width }).ids("ids", some);
    }
    c.add("real", Params { rows: 33, picks: 6, width: 192 }).ids("ids", some);
}
