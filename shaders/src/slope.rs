//! Slope branch: an exponentially weighted past of each channel, added to the present. With `b = exp(log_rate)`:
//! `y_t = x_t + gain u_{t-1}`, `u_t = e^-b u_{t-1} + (1 - e^-b) x_t` (the learned kin of MCSD's, arXiv 2406.12230).
//!
//! Shapes: x [batch, steps, x_stride] of which a window of `width` is read, log_rate and gain \[width\],
//! state [batch, width], y [batch, steps, width]. Cost: O(batch steps width), one invocation a channel.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};

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
}

crate::kernel! {
    name: "slope",
    bindings(p) {
        read x: real [p.batch * p.steps * p.x_stride],
        read log_rate: real [p.width],
        read gain: real [p.width],
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

/// `e^-b` and `1 - e^-b`; the second on its own, because slow channels have b far below 1.
fn keep<F: Real>(log_rate: F) -> (F, F) {
    let b = log_rate.exp();
    ((-b).exp(), -(-b).exp_m1())
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (steps, width, stride) = (p.steps as usize, p.width as usize, p.x_stride as usize);
    for b in 0..p.batch as usize {
        for c in 0..width {
            let (old, new) = keep(a.log_rate[c]);
            let mut u = a.state[b * width + c];
            for r in b * steps..(b + 1) * steps {
                let x = a.x[r * stride + p.x_offset as usize + c];
                a.y[r * width + c] = x + a.gain[c] * u;
                u = old * u + new * x;
            }
            if a.live[0] != 0 {
                a.state[b * width + c] = u;
            }
        }
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (steps, width, stride) = (p.steps as usize, p.width as usize, p.x_stride as usize);
    let Grads { mut x, mut log_rate, mut gain, state, y, .. } = g;
    let mut past = vec![F::zero(); steps];
    for b in 0..p.batch as usize {
        for c in 0..width {
            let (old, new) = keep(a.log_rate[c]);
            let at = |t: usize| (b * steps + t) * stride + p.x_offset as usize + c;
            let mut u = a.state[b * width + c];
            for (t, past) in past.iter_mut().enumerate() {
                *past = u;
                u = old * u + new * a.x[at(t)];
            }
            // A frozen state keeps its own gradient apart from that of the steps that were thrown away.
            let kept = state[b * width + c];
            let (mut du, rest) = if a.live[0] != 0 { (kept, F::zero()) } else { (F::zero(), kept) };
            let (mut dold, mut dgain) = (F::zero(), F::zero());
            for t in (0..steps).rev() {
                let dy = y[(b * steps + t) * width + c];
                dold += du * (past[t] - a.x[at(t)]);
                dgain += dy * past[t];
                if let Some(dx) = x.as_deref_mut() {
                    dx[at(t)] += dy + new * du;
                }
                du = a.gain[c] * dy + old * du;
            }
            state[b * width + c] = du + rest;
            if let Some(d) = gain.as_deref_mut() {
                d[c] += dgain;
            }
            if let Some(d) = log_rate.as_deref_mut() {
                d[c] -= dold * old * a.log_rate[c].exp();
            }
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    let plain = |batch, steps, width| Params { batch, steps, width, x_stride: width, x_offset: 0 };
    // From e^-6, slower than the slowest MCSD slope, to e, which forgets at once.
    let mut add = |name: &str, p: Params, live: u32, gradient: bool| {
        let case = c.add(name, p).reals("log_rate", |r, _| 7.0 * r.uniform() - 6.0).ids("live", |_, _| live);
        if gradient {
            case.gradient();
        }
    };
    add("one", plain(1, 1, 1), 1, true);
    add("odd", plain(2, 5, 3), 1, true);
    add("frozen", plain(2, 4, 3), 0, true);
    add("window", Params { x_stride: 9, x_offset: 4, ..plain(3, 3, 5) }, 1, true);
    for width in [63, 64, 65] {
        add(&format!("w{width}"), plain(1, 3, width), 1, false);
    }
    add("token", Params { x_stride: 200, x_offset: 8, ..plain(1, 1, 192) }, 1, false);
    add("real", plain(2, 130, 96), 1, false);
}
