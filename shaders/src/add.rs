//! Sum of two streams, as residual connections need it: `y = a + b`.
//!
//! Shapes: a, b, y \[len\]. Cost: O(len), one invocation an element.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};

crate::params! {
    /// Elements.
    len: u32,
}

crate::kernel! {
    name: "add",
    bindings(p) {
        read a: real [p.len],
        read b: real [p.len],
        write y: real [p.len],
    }
    variants {
        flat => [main => grid(p.len.div_ceil(64))],
    }
    choose(p, t): 0,
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

fn reference<F: Real>(_: &Params, a: Args<F>) {
    for ((y, &l), &r) in a.y.iter_mut().zip(a.a).zip(a.b) {
        *y = l + r;
    }
}

fn backward<F: Real>(_: &Params, _: Values<F>, g: Grads<F>) {
    for d in [g.a, g.b].into_iter().flatten() {
        for (d, &dy) in d.iter_mut().zip(g.y) {
            *d += dy;
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    c.add("one", Params { len: 1 });
    c.add("odd", Params { len: 7 }).gradient();
    for len in [63, 64, 65] {
        c.add(&format!("n{len}"), Params { len });
    }
    c.add("real", Params { len: 33 * 192 });
}
