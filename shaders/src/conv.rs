//! Causal convolution over four steps, channel by channel: `y_t = act(sum_j w[j] x[t - 3 + j])`, act identity or SiLU
//! (the short convolution of Mamba, arXiv 2312.00752, and of DeltaNet, arXiv 2406.06484).
//!
//! Shapes: x [batch, steps, x_stride] of which a window of `width` is read, w [4, width], state [batch, 3, width]
//! (the last three inputs, oldest first), y [batch, steps, width]. Cost: O(batch steps width).

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::shared::activation::{silu, silu_slope};

crate::params! {
    /// Streams.
    batch: u32,
    /// Steps of each stream.
    steps: u32,
    /// Channels.
    width: u32,
    /// Elements from one row of x to the next.
    x_stride: u32,
    /// First element of the window in a row of x.
    x_offset: u32,
    /// Whether y goes through SiLU.
    silu: u32,
}

crate::kernel! {
    name: "conv",
    bindings(p) {
        read x: real [p.batch * p.steps * p.x_stride],
        read w: real [4 * p.width],
        read_write state: real [p.batch * 3 * p.width],
        read live: index [1],
        write y: real [p.batch * p.steps * p.width],
    }
    variants {
        walk => [walk => grid((p.batch * p.width).div_ceil(64))],
        spread => [
            taps => grid((p.batch * p.steps * p.width).div_ceil(64)),
            shift => grid((p.batch * p.width).div_ceil(64)),
        ],
    }
    choose(p, t): if t.software || p.steps <= 4 { 0 } else { 1 },
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

/// Where input `t` of channel c in stream b lies; `t` counts from the oldest input in the state.
enum Place {
    State(usize),
    Input(usize),
}
fn place(p: &Params, b: usize, t: usize, c: usize) -> Place {
    if t < 3 {
        Place::State((b * 3 + t) * p.width as usize + c)
    } else {
        Place::Input((b * p.steps as usize + t - 3) * p.x_stride as usize + p.x_offset as usize + c)
    }
}
fn input<F: Real>(p: &Params, x: &[F], state: &[F], b: usize, t: usize, c: usize) -> F {
    match place(p, b, t, c) {
        Place::State(at) => state[at],
        Place::Input(at) => x[at],
    }
}

fn sum<F: Real>(p: &Params, x: &[F], w: &[F], state: &[F], b: usize, t: usize, c: usize) -> F {
    let mut sum = F::zero();
    for j in 0..4 {
        sum += w[j * p.width as usize + c] * input(p, x, state, b, t + j, c);
    }
    sum
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (steps, width) = (p.steps as usize, p.width as usize);
    for b in 0..p.batch as usize {
        for t in 0..steps {
            for c in 0..width {
                let s = sum(p, a.x, a.w, a.state, b, t, c);
                a.y[(b * steps + t) * width + c] = if p.silu != 0 { silu(s) } else { s };
            }
        }
        if a.live[0] != 0 {
            for j in 0..3 {
                for c in 0..width {
                    a.state[(b * 3 + j) * width + c] = input(p, a.x, a.state, b, steps + j, c);
                }
            }
        }
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (steps, width) = (p.steps as usize, p.width as usize);
    let Grads { mut x, mut w, state, y, .. } = g;
    // An input's gradient is added in several places, so the old state's gets a buffer of its own until the end.
    let mut old = vec![F::zero(); state.len()];
    for b in 0..p.batch as usize {
        let mut add = |t: usize, c: usize, d: F| match place(p, b, t, c) {
            Place::State(at) => old[at] += d,
            Place::Input(at) => {
                if let Some(dx) = x.as_deref_mut() {
                    dx[at] += d;
                }
            }
        };
        for t in 0..steps {
            for c in 0..width {
                let mut d = y[(b * steps + t) * width + c];
                if p.silu != 0 {
                    d *= silu_slope(sum(p, a.x, a.w, a.state, b, t, c));
                }
                for j in 0..4 {
                    add(t + j, c, d * a.w[j * width + c]);
                    if let Some(dw) = w.as_deref_mut() {
                        dw[j * width + c] += d * input(p, a.x, a.state, b, t + j, c);
                    }
                }
            }
        }
        let shift = if a.live[0] != 0 { steps } else { 0 };
        for j in 0..3 {
            for c in 0..width {
                add(shift + j, c, state[(b * 3 + j) * width + c]);
            }
        }
    }
    state.copy_from_slice(&old);
}

fn cases(c: &mut Cases<Params>) {
    let plain = |batch, steps, width| Params { batch, steps, width, x_stride: width, x_offset: 0, silu: 1 };
    c.add("one", plain(1, 1, 1)).ids("live", |_, _| 1);
    c.add("odd", plain(2, 5, 3)).ids("live", |_, _| 1).gradient();
    c.add("frozen", Params { silu: 0, ..plain(2, 2, 3) }).gradient();
    for steps in 1..=3 {
        let p = Params { x_stride: 9, x_offset: 4, silu: 0, ..plain(1, steps, 5) };
        c.add(&format!("window{steps}"), p).ids("live", |_, _| 1).gradient();
    }
    for width in [63, 64, 65] {
        c.add(&format!("w{width}"), plain(1, 2, width)).ids("live", |_, _| 1);
    }
    c.add("frozen_long", plain(2, 9, 40));
    c.add("token", Params { x_stride: 200, x_offset: 7, ..plain(1, 1, 192) }).ids("live", |_, _| 1);
    c.add("real", plain(2, 70, 192)).ids("live", |_, _| 1);
}
