//! Slope branch of MCSD as published (arXiv 2406.12230): a softmax over the past whose weights fall with distance,
//! `y_n = sum_{m<n} e^{-(n-m) beta} x_m / sum_{m<n} e^{-(n-m) beta}`, kept as a running mean S and a weight Z:
//! `Z = 1 + e^-beta Z`, `S += (x - S) / Z`. Channel group i has `beta = 2^(-8 (i + 1) / channels)`.
//! The first token of a stream has no past and is handed through.
//!
//! Shapes: x [batch, steps, x_stride] of which a window of `width` is read, state [batch, 2, width] (S, then Z),
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
    /// Groups of equal slope; divides width.
    channels: u32,
    /// Elements from one row of x to the next.
    x_stride: u32,
    /// First element of the window in a row of x.
    x_offset: u32,
}

crate::kernel! {
    name: "mcsd_slope",
    bindings(p) {
        read x: real [p.batch * p.steps * p.x_stride],
        read_write state: real [p.batch * 2 * p.width],
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

/// `e^-beta` of element c.
fn keep<F: Real>(p: &Params, c: usize) -> F {
    let i = c / (p.width / p.channels) as usize;
    let beta = F::of(-8.0 * (i as f64 + 1.0) / f64::from(p.channels)).exp2();
    (-beta).exp()
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (steps, width, stride) = (p.steps as usize, p.width as usize, p.x_stride as usize);
    for b in 0..p.batch as usize {
        for c in 0..width {
            let keep: F = keep(p, c);
            let at = b * 2 * width + c;
            let (mut s, mut z) = (a.state[at], a.state[at + width]);
            for r in b * steps..(b + 1) * steps {
                let x = a.x[r * stride + p.x_offset as usize + c];
                a.y[r * width + c] = if z > F::zero() { s } else { x };
                z = F::one() + keep * z;
                s += (x - s) / z;
            }
            if a.live[0] != 0 {
                a.state[at] = s;
                a.state[at + width] = z;
            }
        }
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (steps, width, stride) = (p.steps as usize, p.width as usize, p.x_stride as usize);
    let Grads { mut x, state, y, .. } = g;
    let mut past = vec![(F::zero(), F::zero()); steps];
    for b in 0..p.batch as usize {
        for c in 0..width {
            let keep: F = keep(p, c);
            let at = b * 2 * width + c;
            let place = |t: usize| (b * steps + t) * stride + p.x_offset as usize + c;
            let (mut s, mut z) = (a.state[at], a.state[at + width]);
            for (t, past) in past.iter_mut().enumerate() {
                *past = (s, z);
                z = F::one() + keep * z;
                s += (a.x[place(t)] - s) / z;
            }
            // A frozen state keeps its own gradient apart from that of the steps that were thrown away.
            let frozen = a.live[0] == 0;
            let (mut ds, mut dz) = if frozen { (F::zero(), F::zero()) } else { (state[at], state[at + width]) };
            for t in (0..steps).rev() {
                let (s, z) = past[t];
                let next = F::one() + keep * z;
                let dy = y[(b * steps + t) * width + c];
                let mut dx = ds / next;
                dz -= ds * (a.x[place(t)] - s) / (next * next);
                ds -= dx;
                if z > F::zero() {
                    ds += dy;
                } else {
                    dx += dy;
                }
                dz *= keep;
                if let Some(d) = x.as_deref_mut() {
                    d[place(t)] += dx;
                }
            }
            state[at] = if frozen { state[at] + ds } else { ds };
            state[at + width] = if frozen { state[at + width] + dz } else { dz };
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    let plain = |batch, steps, width, channels| Params { batch, steps, width, channels, x_stride: width, x_offset: 0 };
    // `weight` is every channel's Z: 0 for a fresh stream; below 0 the fresh branch is open to finite differences.
    let mut add = |name: &str, p: Params, weight: f64, live: u32, gradient: bool| {
        let width = p.width as usize;
        let state = move |r: &mut crate::cases::Random, i: usize| match i / width % 2 {
            0 if weight == 0.0 => 0.0,
            0 => r.normal(),
            _ => weight * (0.5 + r.uniform()),
        };
        let case = c.add(name, p).reals("state", state).ids("live", |_, _| live);
        if gradient {
            case.gradient();
        }
    };
    add("one", plain(1, 1, 1, 1), 1.0, 1, true);
    add("odd", plain(2, 5, 6, 3), 3.0, 1, true);
    add("fresh", plain(2, 4, 6, 2), -0.2, 1, true);
    add("frozen", plain(2, 3, 4, 2), 2.0, 0, true);
    add("window", Params { x_stride: 9, x_offset: 4, ..plain(2, 3, 5, 5) }, 5.0, 1, true);
    add("start", plain(2, 5, 8, 4), 0.0, 1, false);
    for width in [63, 64, 65] {
        add(&format!("w{width}"), plain(1, 3, width, 1), 1.0, 1, false);
    }
    add("token", Params { x_stride: 200, x_offset: 8, ..plain(1, 1, 192, 8) }, 20.0, 1, false);
    add("real", plain(2, 130, 96, 8), 0.0, 1, false);
}
