//! The recurrent block's small kernels: `conv` and `slope`. Channels lie side by side in vectors.

use super::Fresh;
use super::lanes::{exp, madd, sigmoid, small_exp_m1, vector};
use super::share::{Scratch, collect, cut, cut_wanted, pieces};
use crate::pool::Pool;
use std::ops::Range;

/// Sums partial gradients into one that may be fresh, if anybody wants it.
pub(super) fn gather(into: Option<&mut [f32]>, partial: &[f32], fresh: bool) {
    if let Some(into) = into {
        if fresh {
            into.fill(0.0);
        }
        collect(into, partial);
    }
}

pub(super) mod conv {
    use super::*;
    use lichen_shaders::conv::{Args, Grads, Params, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let (steps, width) = (p.steps as usize, p.width as usize);
        let cuts = pieces(p.batch as usize, 1, pool.threads());
        let parts = cut(a.y, &cuts, steps * width).into_iter().zip(cut(a.state, &cuts, 3 * width));
        let work = cuts.iter().cloned().zip(parts).collect();
        let live = a.live[0] != 0;
        pool.each(work, |(streams, (y, state)): (Range<usize>, _)| {
            let each = streams.zip(y.chunks_exact_mut(steps * width).zip(state.chunks_exact_mut(3 * width)));
            each.for_each(|(b, (y, state))| walk(*p, b, a.x, a.w, state, live, y));
        });
    }

    /// Input `t` of a stream, counted from the oldest in the state.
    #[inline(always)]
    fn input<'a>(p: &Params, b: usize, x: &'a [f32], state: &'a [f32], t: usize) -> &'a [f32] {
        let width = p.width as usize;
        match t.checked_sub(3) {
            None => &state[t * width..][..width],
            Some(t) => &x[(b * p.steps as usize + t) * p.x_stride as usize + p.x_offset as usize..][..width],
        }
    }

    #[inline(always)]
    fn taps<const F: bool>(w: &[f32], rows: [&[f32]; 4], y: &mut [f32]) {
        let n = y.len();
        let (w0, w1, w2, w3) = (&w[..n], &w[n..2 * n], &w[2 * n..3 * n], &w[3 * n..4 * n]);
        let [a, b, c, d] = rows.map(|r| &r[..n]);
        for i in 0..n {
            y[i] = madd::<F>(w3[i], d[i], madd::<F>(w2[i], c[i], madd::<F>(w1[i], b[i], w0[i] * a[i])));
        }
    }

    vector! {
        fn walk(p: Params, b: usize, x: &[f32], w: &[f32], state: &mut [f32], live: bool, y: &mut [f32]) {
            let (steps, width) = (p.steps as usize, p.width as usize);
            for (t, y) in y.chunks_exact_mut(width).enumerate() {
                taps::<FMA>(w, std::array::from_fn(|j| input(&p, b, x, state, t + j)), y);
                if p.silu != 0 {
                    y.iter_mut().for_each(|y| *y *= sigmoid::<FMA>(*y));
                }
            }
            for j in 0..if live { 3 } else { 0 } {
                // The states go forward in order, so that a short run shifts them before they are overwritten.
                match (steps + j).checked_sub(3) {
                    None => state.copy_within((steps + j) * width..(steps + j + 1) * width, j * width),
                    Some(_) => state[j * width..][..width].copy_from_slice(input(&p, b, x, &[], steps + j)),
                }
            }
        }
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let (steps, width) = (p.steps as usize, p.width as usize);
        let size = steps * p.x_stride as usize;
        let cuts = pieces(p.batch as usize, 1, pool.threads());
        let mut partial = Scratch::zeros(cuts.len() * 4 * width);
        let parts = cut_wanted(g.x, &cuts, size).into_iter().zip(cut(g.state, &cuts, 3 * width));
        let work = cuts.iter().cloned().zip(parts.zip(partial.chunks_mut(4 * width))).collect();
        let live = a.live[0] != 0;
        pool.each(work, |(streams, ((mut dx, dstate), dw)): (Range<usize>, ((Option<&mut [f32]>, &mut [f32]), _))| {
            for (i, b) in streams.enumerate() {
                let dx = dx.as_deref_mut().map(|dx| &mut dx[i * size..][..size]);
                let state = &a.state[b * 3 * width..][..3 * width];
                let dstate = &mut dstate[i * 3 * width..][..3 * width];
                back(*p, b, [a.x, a.w, state, g.y], live, dx, dstate, dw, fresh.at(0));
            }
        });
        gather(g.w, &partial, fresh.at(1));
    }

    vector! {
        fn back(
            p: Params, b: usize, reads: [&[f32]; 4], live: bool, dx: Option<&mut [f32]>, dstate: &mut [f32], dw: &mut [f32], fresh: bool,
        ) {
            let ([x, w, state, y], mut dx) = (reads, dx);
            let (steps, width) = (p.steps as usize, p.width as usize);
            // Gradients of the sums, with three rows of zeros at each end for the taps that reach past it.
            let mut sums = Scratch::new((steps + 6) * width);
            sums[..3 * width].fill(0.0);
            sums[(steps + 3) * width..].fill(0.0);
            for t in 0..steps {
                let rows: [&[f32]; 4] = std::array::from_fn(|j| input(&p, b, x, state, t + j));
                let d = &mut sums[(t + 3) * width..][..width];
                let dy = &y[(b * steps + t) * width..][..width];
                if p.silu != 0 {
                    taps::<FMA>(w, rows, d);
                    for (d, dy) in d.iter_mut().zip(dy) {
                        let s = sigmoid::<FMA>(*d);
                        *d = dy * s * (1.0 + *d * (1.0 - s));
                    }
                } else {
                    d.copy_from_slice(dy);
                }
                for (row, dw) in rows.iter().zip(dw.chunks_exact_mut(width)) {
                    for ((dw, d), x) in dw.iter_mut().zip(&*d).zip(*row) {
                        *dw = madd::<FMA>(*d, *x, *dw);
                    }
                }
            }
            let mut kept = Scratch::new(4 * width);
            let (kept, row) = kept.split_at_mut(3 * width);
            kept.copy_from_slice(dstate);
            let shift = if live { steps } else { 0 };
            for t in 0..steps + 3 {
                // Input t was multiplied by tap j in step t - j.
                taps::<FMA>(w, std::array::from_fn(|j| &sums[(t + 3 - j) * width..][..width]), row);
                if let Some(j) = t.checked_sub(shift).filter(|&j| j < 3) {
                    row.iter_mut().zip(&kept[j * width..]).for_each(|(d, k)| *d += k);
                }
                match t.checked_sub(3) {
                    None => dstate[t * width..][..width].copy_from_slice(row),
                    Some(t) => if let Some(dx) = dx.as_deref_mut() {
                        let dx = &mut dx[t * p.x_stride as usize..][..p.x_stride as usize];
                        if fresh {
                            dx.fill(0.0);
                        }
                        let dx = &mut dx[p.x_offset as usize..][..width];
                        dx.iter_mut().zip(&*row).for_each(|(dx, d)| *dx += d);
                    }
                }
            }
        }
    }
}

pub(super) mod slope {
    use super::*;
    use lichen_shaders::slope::{Args, Grads, Params, Values};

    /// `e^-b` and `1 - e^-b` of every channel.
    fn rates(log_rate: &[f32]) -> Scratch {
        let n = log_rate.len();
        let mut rates = Scratch::new(2 * n);
        let (keep, take) = rates.split_at_mut(n);
        decays(log_rate, keep, take);
        rates
    }
    vector! {
        fn decays(log_rate: &[f32], keep: &mut [f32], take: &mut [f32]) {
            for ((r, keep), take) in log_rate.iter().zip(keep).zip(take) {
                let b = exp::<FMA>(*r);
                *keep = exp::<FMA>(-b);
                // Slow channels would lose their digits to the difference.
                let (small, large) = (-small_exp_m1::<FMA>(-b), 1.0 - *keep);
                *take = if b < 0.34 { small } else { large };
            }
        }
    }

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let (steps, width) = (p.steps as usize, p.width as usize);
        let rates = rates(a.log_rate);
        let cuts = pieces(p.batch as usize, 1, pool.threads());
        let parts = cut(a.y, &cuts, steps * width).into_iter().zip(cut(a.state, &cuts, width));
        let work = cuts.iter().cloned().zip(parts).collect();
        let (live, rates) = (a.live[0] != 0, &*rates);
        pool.each(work, |(streams, (y, state)): (Range<usize>, _)| {
            for (b, (y, state)) in streams.zip(y.chunks_exact_mut(steps * width).zip(state.chunks_exact_mut(width))) {
                let mut u = Scratch::new(width);
                u.copy_from_slice(state);
                walk(*p, b, a.x, rates, a.gain, &mut u, y);
                if live {
                    state.copy_from_slice(&u);
                }
            }
        });
    }

    vector! {
        fn walk(p: Params, b: usize, x: &[f32], rates: &[f32], gain: &[f32], u: &mut [f32], y: &mut [f32]) {
            let n = p.width as usize;
            let (old, new, gain, u) = (&rates[..n], &rates[n..2 * n], &gain[..n], &mut u[..n]);
            for (t, y) in y.chunks_exact_mut(n).enumerate() {
                let x = &x[(b * p.steps as usize + t) * p.x_stride as usize + p.x_offset as usize..][..n];
                for i in 0..n {
                    y[i] = madd::<FMA>(gain[i], u[i], x[i]);
                    u[i] = madd::<FMA>(old[i], u[i], new[i] * x[i]);
                }
            }
        }
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let (size, width) = ((p.steps * p.x_stride) as usize, p.width as usize);
        let rates = rates(a.log_rate);
        let cuts = pieces(p.batch as usize, 1, pool.threads());
        let mut partial = Scratch::zeros(cuts.len() * 2 * width);
        let (rate_part, gain_part) = partial.split_at_mut(cuts.len() * width);
        let parts = cut_wanted(g.x, &cuts, size).into_iter().zip(cut(g.state, &cuts, width));
        let sums = rate_part.chunks_mut(width).zip(gain_part.chunks_mut(width));
        let work = cuts.iter().cloned().zip(parts.zip(sums)).collect();
        let (live, r) = (a.live[0] != 0, &*rates);
        pool.each(
            work,
            |(streams, ((mut dx, state), (drate, dgain))): (Range<usize>, ((Option<&mut [f32]>, &mut [f32]), _))| {
                for (i, b) in streams.enumerate() {
                    let dx = dx.as_deref_mut().map(|dx| &mut dx[i * size..][..size]);
                    let kept = &mut state[i * width..][..width];
                    let mut du = Scratch::zeros(width);
                    if live {
                        du.copy_from_slice(kept);
                    }
                    let first = &a.state[b * width..][..width];
                    back(*p, b, [a.x, r, a.gain, first, g.y], dx, &mut du, drate, dgain, fresh.at(0));
                    kept.iter_mut().zip(du.iter()).for_each(|(kept, du)| *kept = if live { *du } else { *kept + du });
                }
            },
        );
        // The sums hold the gradient of e^-b; its derivative by the logarithm of b is -b e^-b.
        for part in rate_part.chunks_mut(width) {
            part.iter_mut().zip(r).zip(a.log_rate).for_each(|((d, old), log)| *d *= -old * log.exp());
        }
        gather(g.log_rate, rate_part, fresh.at(1));
        gather(g.gain, gain_part, fresh.at(2));
    }

    vector! {
        fn back(
            p: Params, b: usize, reads: [&[f32]; 5], dx: Option<&mut [f32]>, du: &mut [f32], drate: &mut [f32], dgain: &mut [f32], fresh: bool,
        ) {
            let ([x, rates, gain, first, y], mut dx) = (reads, dx);
            let (steps, n, stride) = (p.steps as usize, p.width as usize, p.x_stride as usize);
            let (old, new, gain) = (&rates[..n], &rates[n..2 * n], &gain[..n]);
            let (du, drate, dgain) = (&mut du[..n], &mut drate[..n], &mut dgain[..n]);
            let input = |t: usize| &x[(b * steps + t) * stride + p.x_offset as usize..][..n];
            let mut past = Scratch::new((steps + 1) * n);
            past[..n].copy_from_slice(first);
            for t in 0..steps {
                let (before, after) = past[t * n..(t + 2) * n].split_at_mut(n);
                let x = input(t);
                for i in 0..n {
                    after[i] = madd::<FMA>(old[i], before[i], new[i] * x[i]);
                }
            }
            for t in (0..steps).rev() {
                let (x, u, dy) = (input(t), &past[t * n..][..n], &y[(b * steps + t) * n..][..n]);
                if let Some(dx) = dx.as_deref_mut() {
                    let dx = &mut dx[t * stride..][..stride];
                    if fresh {
                        dx.fill(0.0);
                    }
                    let dx = &mut dx[p.x_offset as usize..][..n];
                    for i in 0..n {
                        dx[i] += madd::<FMA>(new[i], du[i], dy[i]);
                    }
                }
                for i in 0..n {
                    drate[i] = madd::<FMA>(du[i], u[i] - x[i], drate[i]);
                    dgain[i] = madd::<FMA>(dy[i], u[i], dgain[i]);
                    du[i] = madd::<FMA>(old[i], du[i], gain[i] * dy[i]);
                }
            }
        }
    }
}
