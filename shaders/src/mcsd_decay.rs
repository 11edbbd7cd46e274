//! Decay branch of MCSD as published (arXiv 2406.12230): `y_n = sum_{m<n} alpha^{n-m} x_m`, kept as
//! `y = s`, `s = alpha (s + x)`. Channel group i has `alpha = 1 - 2^(-5 - i)`, the decays of RetNet (arXiv 2307.08621).
//!
//! Shapes: x [batch, steps, x_stride] of which a window of `width` is read, state [batch, width],
//! y [batch, steps, width]. Cost: O(batch steps width), one invocation a channel.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};

crate::params! {
    /// Streams.
    batch: u32,
    /// Steps of each stream.
    steps: u32,
    /// Elements of a row of y.
    width: u32,
    /// Groups of equal decay; divides width.
    channels: u32,
    /// Elements from one row of x to the next.
    x_stride: u32,
    /// First element of the window in a row of x.
    x_offset: u32,
}

crate::kernel! {
    name: "mcsd_decay",
    bindings(p) {
        read x: real [p.batch * p.steps * p.x_stride],
        read_write state: real [p.batch * p.width],
        read live: index [1],
        write y: real [p.batch * p.steps * p.width],
    }
    variants {
        walk => [main => grid((p.batch * p.width).div_ceil(64))],
    }
    choose(p, t): 0,
    backward: backward,
    tolerance: Tolerance::LOOSE,
}

/// alpha of element c.
fn keep<F: Real>(p: &Params, c: usize) -> F {
    let i = c / (p.width / p.channels) as usize;
    F::of(1.0 - (-5.0 - i as f64).exp2())
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (steps, width, stride) = (p.steps as usize, p.width as usize, p.x_stride as usize);
    for b in 0..p.batch as usize {
        for c in 0..width {
            let keep: F = keep(p, c);
            let mut s = a.state[b * width + c];
            for r in b * steps..(b + 1) * steps {
                a.y[r * width + c] = s;
                s = keep * (s + a.x[r * stride + p.x_offset as usize + c]);
            }
            if a.live[0] != 0 {
                a.state[b * width + c] = s;
            }
        }
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (steps, width, stride) = (p.steps as usize, p.width as usize, p.x_stride as usize);
    let Grads { mut x, state, y, .. } = g;
    for b in 0..p.batch as usize {
        for c in 0..width {
            let keep: F = keep(p, c);
            // A frozen state keeps its own gradient apart from that of the steps that were thrown away.
            let kept = state[b * width + c];
            let (mut ds, rest) = if a.live[0] != 0 { (kept, F::zero()) } else { (F::zero(), kept) };
            for r in (b * steps..(b + 1) * steps).rev() {
                ds *= keep;
                if let Some(dx) = x.as_deref_mut() {
                    dx[r * stride + p.x_offset as usize + c] += ds;
                }
                ds += y[r * width + c];
            }
            state[b * width + c] = ds + rest;
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    let plain = |batch, steps, width, channels| Params { batch, steps, width, channels, x_stride: width, x_offset: 0 };
    let mut add = |name: &str, p: Params, live: u32, gradient: bool| {
        let case = c.add(name, p).ids("live", |_, _| live);
        if gradient {
            case.gradient();
        }
    };
    add("one", plain(1, 1, 1, 1), 1, true);
    add("odd", plain(2, 5, 6, 3), 1, true);
    add("frozen", plain(2, 3, 4, 2), 0, true);
    add("window", Params { x_stride: 9, x_offset: 4, ..plain(2, 3, 5, 5) }, 1, true);
    for width in [63, 64, 65] {
        add(&format!("w{width}"), plain(1, 3, width, 1), 1, false);
    }
    add("token", Params { x_stride: 200, x_offset: 8, ..plain(1, 1, 192, 8) }, 1, false);
    add("real", plain(2, 130, 96, 8), 1, false);
}
