//! `scan`: each head of each stream is one worker's; its value columns lie side by side in vectors and its state
//! stays in the nearest cache. The gradient keeps the state every [`WINDOW`] steps and computes those between again.

use super::Fresh;
use super::lanes::{LANES, madd, sum, vector};
use super::share::{Scatter, Scratch, pieces};
use super::sums::{Kept, sums};
use crate::pool::Pool;
use lichen_shaders::scan::{Args, Grads, Params, Values};

/// Steps between kept states.
const WINDOW: usize = 16;

/// Sums that go on side by side, because each addition waits for the one before.
const CHAINS: usize = 4;

/// Where one head's numbers lie.
#[derive(Clone, Copy)]
pub(super) struct Head {
    steps: usize,
    key: usize,
    value: usize,
    /// Row of its first step, in units of one head's numbers, and rows from step to step.
    first: usize,
    heads: usize,
}
impl Head {
    fn new(p: &Params, head: usize) -> Self {
        let (steps, heads) = (p.steps as usize, p.heads as usize);
        let first = head / heads * steps * heads + head % heads;
        Self { steps, key: p.key as usize, value: p.value as usize, first, heads }
    }
    fn keys(&self, t: usize) -> usize {
        (self.first + t * self.heads) * 5 * self.key
    }
    fn values(&self, t: usize) -> usize {
        (self.first + t * self.heads) * self.value
    }
}

pub(super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
    let (count, size) = ((p.batch * p.heads) as usize, (p.key * p.value) as usize);
    let (y, state) = (Scatter::new(a.y), Scatter::new(a.state));
    let live = a.live[0] != 0;
    pool.each(pieces(count, 1, pool.threads() * 2), |range| {
        let mut s = Scratch::new(size);
        for head in range {
            // SAFETY: each head has a state of its own, and one worker.
            let kept = unsafe { state.row(head * size, size) };
            s.copy_from_slice(kept);
            walk(Head::new(p, head), a.keys, a.v, &mut s, y);
            if live {
                kept.copy_from_slice(&s);
            }
        }
    });
}

/// Calls a function with the widths of keys and values as constants where they are usual ones, so that its loops unroll
/// and their sums stay in registers.
macro_rules! with_widths {
    ($h:expr, $f:ident::<$($with:ident),*>($($arg:expr),*)) => {
        match ($h.key, $h.value) {
            (16, value) => $f::<$($with),*>(16, value, $($arg),*),
            (32, 32) => $f::<$($with),*>(32, 32, $($arg),*),
            (32, value) => $f::<$($with),*>(32, value, $($arg),*),
            (key, value) => $f::<$($with),*>(key, value, $($arg),*),
        }
    };
}

vector! {
    /// All steps of one head; `s` goes from the first state to the last.
    fn walk(h: Head, keys: &[f32], v: &[f32], s: &mut [f32], y: Scatter) {
        with_widths!(h, walk_keys::<FMA>(h, keys, v, s, y));
    }
}

#[inline(always)]
fn walk_keys<const F: bool>(key: usize, value: usize, h: Head, keys: &[f32], v: &[f32], s: &mut [f32], y: Scatter) {
    for t in 0..h.steps {
        let k = &keys[h.keys(t)..][..5 * key];
        // SAFETY: each head writes rows of its own.
        let y = unsafe { y.row(h.values(t), value) };
        step::<F>(key, k, &v[h.values(t)..][..value], s, None, Some(y));
    }
}

/// One step of a state: `to` is the new state, in place when left out; `y` reads it.
#[inline(always)]
fn step<const F: bool>(
    key: usize,
    k: &[f32],
    v: &[f32],
    s: &mut [f32],
    mut to: Option<&mut [f32]>,
    mut y: Option<&mut [f32]>,
) {
    let (k, value) = (&k[..5 * key], v.len());
    let s = &mut s[..key * value];
    let part = |n: usize| &k[n * key..(n + 1) * key];
    let (q, w, kappa, eta, write) = (part(0), part(1), part(2), part(3), part(4));
    let mut j = 0;
    while j < value {
        let n = (value - j).min(LANES);
        if n < LANES {
            for j in j..value {
                let c: f32 = (0..key).map(|i| s[i * value + j] * kappa[i]).sum();
                let mut sum = 0.0;
                for i in 0..key {
                    let new = w[i] * s[i * value + j] - c * eta[i] + write[i] * v[j];
                    match &mut to {
                        Some(to) => to[i * value + j] = new,
                        None => s[i * value + j] = new,
                    }
                    sum += q[i] * new;
                }
                if let Some(y) = y.as_deref_mut() {
                    y[j] = sum;
                }
            }
            break;
        }
        let c = read::<F>(key, kappa, s, value, j);
        let vj = load(v, j);
        let mut sums = [[0.0; LANES]; CHAINS];
        // The last block may be short; its chains beyond the end are left out by the range.
        for first in (0..key).step_by(CHAINS) {
            for (chain, sum) in sums.iter_mut().enumerate() {
                let i = first + chain;
                if i >= key {
                    break;
                }
                let old = load(s, i * value + j);
                let mut new = [0.0; LANES];
                for l in 0..LANES {
                    new[l] = madd::<F>(w[i], old[l], madd::<F>(write[i], vj[l], -c[l] * eta[i]));
                    sum[l] = madd::<F>(q[i], new[l], sum[l]);
                }
                match &mut to {
                    Some(to) => to[i * value + j..][..LANES].copy_from_slice(&new),
                    None => s[i * value + j..][..LANES].copy_from_slice(&new),
                }
            }
        }
        if let Some(y) = y.as_deref_mut() {
            y[j..j + LANES].copy_from_slice(&total(&sums));
        }
        j += LANES;
    }
}

#[inline(always)]
fn load(x: &[f32], at: usize) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&x[at..at + LANES]);
    lanes
}

/// Sum of the chains.
#[inline(always)]
fn total(sums: &[[f32; LANES]; CHAINS]) -> [f32; LANES] {
    let mut total = [0.0; LANES];
    for l in 0..LANES {
        total[l] = (sums[0][l] + sums[1][l]) + (sums[2][l] + sums[3][l]);
    }
    total
}

/// `sum over i of with[i] s[i, j..]`.
#[inline(always)]
fn read<const F: bool>(key: usize, with: &[f32], s: &[f32], value: usize, j: usize) -> [f32; LANES] {
    let mut sums = [[0.0; LANES]; CHAINS];
    for first in (0..key).step_by(CHAINS) {
        for (chain, sum) in sums.iter_mut().enumerate() {
            let i = first + chain;
            if i >= key {
                break;
            }
            let s = &s[i * value + j..][..LANES];
            for l in 0..LANES {
                sum[l] = madd::<F>(with[i], s[l], sum[l]);
            }
        }
    }
    total(&sums)
}

pub(super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
    let (count, size) = ((p.batch * p.heads) as usize, (p.key * p.value) as usize);
    let Grads { mut keys, mut v, state, y, .. } = g;
    if let Some(keys) = keys.as_deref_mut().filter(|_| fresh.at(0)) {
        keys.fill(0.0);
    }
    if let Some(v) = v.as_deref_mut().filter(|_| fresh.at(1)) {
        v.fill(0.0);
    }
    let (keys, v, state) = (keys.map(Scatter::new), v.map(Scatter::new), Scatter::new(state));
    let live = a.live[0] != 0;
    pool.each(pieces(count, 1, pool.threads() * 2), |range| {
        for head in range {
            // SAFETY: each head has a state of its own, and one worker.
            let kept = unsafe { state.row(head * size, size) };
            // A frozen state keeps its own gradient apart from that of the steps that were thrown away.
            let mut ds = Scratch::zeros(size);
            if live {
                ds.copy_from_slice(kept);
            }
            back(Head::new(p, head), [a.keys, a.v, &a.state[head * size..][..size], y], &mut ds, keys, v);
            kept.iter_mut().zip(ds.iter()).for_each(|(kept, ds)| *kept = if live { *ds } else { *kept + ds });
        }
    });
}

vector! {
    /// All steps of one head in reverse; `ds` goes from the gradient of the last state to that of the first.
    fn back(h: Head, reads: [&[f32]; 4], ds: &mut [f32], dkeys: Option<Scatter>, dv: Option<Scatter>) {
        with_widths!(h, back_keys::<FMA, AVX2, WIDE>(h, reads, ds, dkeys, dv));
    }
}

#[inline(always)]
fn back_keys<const F: bool, const AVX2: bool, const WIDE: bool>(
    key: usize,
    value: usize,
    h: Head,
    reads: [&[f32]; 4],
    ds: &mut [f32],
    dkeys: Option<Scatter>,
    dv: Option<Scatter>,
) {
    let [keys, v, first, y] = reads;
    let size = key * value;
    let mut marks = Scratch::new(h.steps.div_ceil(WINDOW) * size);
    let mut window = Scratch::new((WINDOW + 1) * size);
    let mut row = Scratch::new(2 * value);
    let (c, dc) = row.split_at_mut(value);
    let mut s = Scratch::new(size);
    s.copy_from_slice(first);
    for t in 0..h.steps {
        if t % WINDOW == 0 {
            marks[t / WINDOW * size..][..size].copy_from_slice(&s);
        }
        let (k, v) = (&keys[h.keys(t)..][..5 * key], &v[h.values(t)..][..value]);
        step::<F>(key, k, v, &mut s, None, None);
    }
    for from in (0..h.steps).step_by(WINDOW).rev() {
        let to = (from + WINDOW).min(h.steps);
        window[..size].copy_from_slice(&marks[from / WINDOW * size..][..size]);
        for t in from..to {
            let (before, after) = window[(t - from) * size..].split_at_mut(size);
            let (k, v) = (&keys[h.keys(t)..][..5 * key], &v[h.values(t)..][..value]);
            step::<F>(key, k, v, before, Some(after), None);
        }
        for t in (from..to).rev() {
            let (before, after) = window[(t - from) * size..][..2 * size].split_at(size);
            let (k, v) = (&keys[h.keys(t)..][..5 * key], &v[h.values(t)..][..value]);
            let dy = &y[h.values(t)..][..value];
            // SAFETY: each head writes rows of its own.
            let (dk, dv) = unsafe { (dkeys.map(|d| d.row(h.keys(t), 5 * key)), dv.map(|d| d.row(h.values(t), value))) };
            columns::<F>(key, k, before, dy, ds, [&mut *c, &mut *dc], dv);
            if let Some(dk) = dk {
                rows::<F, AVX2, WIDE>(key, [before, after, ds], [dy, dc, c, v], dk);
            }
            earlier::<F>(key, k, dc, ds);
        }
    }
}

/// The gradient of the state before: `ds = w ds + kappa dc`.
#[inline(always)]
fn earlier<const F: bool>(key: usize, k: &[f32], dc: &[f32], ds: &mut [f32]) {
    let (w, kappa, value) = (&k[key..2 * key], &k[2 * key..3 * key], dc.len());
    let whole = value / LANES * LANES;
    for i in 0..key {
        let ds = &mut ds[i * value..][..value];
        for j in (0..whole).step_by(LANES) {
            // Whole registers go in and out: written through the slice, they would be done one by one.
            let (mut new, dc) = (load(ds, j), load(dc, j));
            for l in 0..LANES {
                new[l] = madd::<F>(w[i], new[l], kappa[i] * dc[l]);
            }
            ds[j..j + LANES].copy_from_slice(&new);
        }
        for j in whole..value {
            ds[j] = madd::<F>(w[i], ds[j], kappa[i] * dc[j]);
        }
    }
}

/// What one step's gradient needs of whole columns: `ds += q dy`, then c, its gradient dc, and that of v.
#[inline(always)]
fn columns<const F: bool>(
    key: usize,
    k: &[f32],
    before: &[f32],
    dy: &[f32],
    ds: &mut [f32],
    [c, dc]: [&mut [f32]; 2],
    mut dv: Option<&mut [f32]>,
) {
    let (k, value) = (&k[..5 * key], dy.len());
    let (q, kappa, eta, write) = (&k[..key], &k[2 * key..3 * key], &k[3 * key..4 * key], &k[4 * key..]);
    c.fill(0.0);
    dc.fill(0.0);
    let mut j = 0;
    while j + LANES <= value {
        let d = load(dy, j);
        c[j..j + LANES].copy_from_slice(&read::<F>(key, kappa, before, value, j));
        let (mut etas, mut writes) = ([[0.0; LANES]; CHAINS], [[0.0; LANES]; CHAINS]);
        for first in (0..key).step_by(CHAINS) {
            for (chain, (by_eta, by_write)) in etas.iter_mut().zip(&mut writes).enumerate() {
                let i = first + chain;
                if i >= key {
                    break;
                }
                let ds = &mut ds[i * value + j..][..LANES];
                for l in 0..LANES {
                    let new = madd::<F>(q[i], d[l], ds[l]);
                    ds[l] = new;
                    by_eta[l] = madd::<F>(-eta[i], new, by_eta[l]);
                    by_write[l] = madd::<F>(write[i], new, by_write[l]);
                }
            }
        }
        dc[j..j + LANES].copy_from_slice(&total(&etas));
        if let Some(dv) = dv.as_deref_mut() {
            dv[j..j + LANES].iter_mut().zip(total(&writes)).for_each(|(d, x)| *d += x);
        }
        j += LANES;
    }
    for j in j..value {
        let mut sum = 0.0;
        for i in 0..key {
            let at = i * value + j;
            ds[at] += q[i] * dy[j];
            c[j] += kappa[i] * before[at];
            dc[j] -= eta[i] * ds[at];
            sum += write[i] * ds[at];
        }
        if let Some(dv) = dv.as_deref_mut() {
            dv[j] += sum;
        }
    }
}

/// Gradients of the five key vectors: each element is a dot over a row of the state. The dots' lanes are added up
/// together, as many rows as there are lanes.
#[inline(always)]
fn rows<const F: bool, const AVX2: bool, const WIDE: bool>(
    key: usize,
    [before, after, ds]: [&[f32]; 3],
    [dy, dc, c, v]: [&[f32]; 4],
    dk: &mut [f32],
) {
    let (dk, value) = (&mut dk[..5 * key], dy.len());
    let [before, after, ds] = [before, after, ds].map(|s| &s[..key * value]);
    let [dc, c, v] = [dc, c, v].map(|x| &x[..value]);
    let whole = value / LANES * LANES;
    let mut block = [[[0.0; LANES]; LANES]; 5];
    for first in (0..key).step_by(LANES) {
        let count = (key - first).min(LANES);
        for r in 0..count {
            let at = (first + r) * value;
            let mut lanes = [[0.0; LANES]; 5];
            for j in (0..whole).step_by(LANES) {
                let (b, a, d) = (load(before, at + j), load(after, at + j), load(ds, at + j));
                let pairs = [(load(dy, j), a), (d, b), (load(dc, j), b), (load(c, j), d), (load(v, j), d)];
                for (lanes, (x, y)) in lanes.iter_mut().zip(pairs) {
                    for l in 0..LANES {
                        lanes[l] = madd::<F>(x[l], y[l], lanes[l]);
                    }
                }
            }
            for j in whole..value {
                let (b, a, d) = (before[at + j], after[at + j], ds[at + j]);
                for (lanes, x) in lanes.iter_mut().zip([dy[j] * a, d * b, dc[j] * b, c[j] * d, v[j] * d]) {
                    lanes[0] += x;
                }
            }
            for (block, lanes) in block.iter_mut().zip(lanes) {
                block[r] = lanes;
            }
        }
        for (n, block) in block.iter().enumerate() {
            let sums = if count == LANES {
                // SAFETY: a block has as many rows as there are lanes.
                unsafe { sums::<F, AVX2, WIDE>(&Kept(block)) }
            } else {
                block.map(sum)
            };
            let dk = &mut dk[n * key + first..][..count];
            if n == 3 {
                dk.iter_mut().zip(sums).for_each(|(dk, sum)| *dk -= sum);
            } else {
                dk.iter_mut().zip(sums).for_each(|(dk, sum)| *dk += sum);
            }
        }
    }
}
