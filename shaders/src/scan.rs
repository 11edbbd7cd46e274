//! Column scan: the recurrence that the delta rule, RWKV-7, gated DeltaNet, HGRN2 and Mamba-2 share (arXiv 2412.06464,
//! 2503.14456, 2404.07904, 2405.21060). Each value column j of a head's state goes its own way:
//! `c = sum_i s[i] kappa[i]`, `s[i] = w[i] s[i] - c eta[i] + write[i] v[j]`, `y[j] = sum_i q[i] s[i]`.
//!
//! Shapes: keys [batch, steps, heads, 5, key] in the order q, w, kappa, eta, write, v [batch, steps, heads, value],
//! state [batch, heads, key, value], y [batch, steps, heads, value]. key is at most 64.
//! Cost: O(batch steps heads key value), one invocation a column.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};

crate::params! {
    /// Streams.
    batch: u32,
    /// Steps of each stream.
    steps: u32,
    /// Heads.
    heads: u32,
    /// Key channels of a head, at most 64.
    key: u32,
    /// Value channels of a head.
    value: u32,
}

crate::kernel! {
    name: "scan",
    bindings(p) {
        read keys: real [p.batch * p.steps * p.heads * 5 * p.key],
        read v: real [p.batch * p.steps * p.heads * p.value],
        read_write state: real [p.batch * p.heads * p.key * p.value],
        read live: index [1],
        write y: real [p.batch * p.steps * p.heads * p.value],
    }
    variants {
        column => [column => grid((p.batch * p.heads * p.value).div_ceil(32))],
        serial => [serial => grid((p.batch * p.heads * p.value).div_ceil(32))],
    }
    choose(p, t): if t.software { 1 } else { 0 },
    backward: backward,
    tolerance: Tolerance::LOOSE,
}

/// The five key vectors of one head at one step.
struct Keys<'a, F> {
    q: &'a [F],
    w: &'a [F],
    kappa: &'a [F],
    eta: &'a [F],
    write: &'a [F],
}
fn split<F>(keys: &[F], at: usize, key: usize) -> Keys<'_, F> {
    let part = |n: usize| &keys[at + n * key..][..key];
    Keys { q: part(0), w: part(1), kappa: part(2), eta: part(3), write: part(4) }
}

/// One step of a head's state [key, value]; `c` is scratch [value].
fn step<F: Real>(k: &Keys<F>, v: &[F], s: &mut [F], c: &mut [F]) {
    read(k.kappa, s, c);
    for (i, s) in s.chunks_mut(v.len()).enumerate() {
        for ((s, &c), &v) in s.iter_mut().zip(&*c).zip(v) {
            *s = k.w[i] * *s - c * k.eta[i] + k.write[i] * v;
        }
    }
}

/// `out[j] = sum_i with[i] s[i, j]`.
fn read<F: Real>(with: &[F], s: &[F], out: &mut [F]) {
    out.fill(F::zero());
    for (s, &with) in s.chunks(out.len()).zip(with) {
        for (out, &s) in out.iter_mut().zip(s) {
            *out += with * s;
        }
    }
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (steps, heads, key, value) = (p.steps as usize, p.heads as usize, p.key as usize, p.value as usize);
    let mut c = vec![F::zero(); value];
    for (head, kept) in a.state.chunks_mut(key * value).enumerate() {
        let mut s = kept.to_vec();
        for t in 0..steps {
            let row = (head / heads * steps + t) * heads + head % heads;
            let k = split(a.keys, row * 5 * key, key);
            step(&k, &a.v[row * value..][..value], &mut s, &mut c);
            read(k.q, &s, &mut a.y[row * value..][..value]);
        }
        if a.live[0] != 0 {
            kept.copy_from_slice(&s);
        }
    }
}

/// Steps between the states that the gradient keeps; those in between are computed again.
const WINDOW: usize = 16;

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (steps, heads, key, value) = (p.steps as usize, p.heads as usize, p.key as usize, p.value as usize);
    let Grads { mut keys, mut v, state, y, .. } = g;
    let size = key * value;
    let (mut c, mut dc) = (vec![F::zero(); value], vec![F::zero(); value]);
    let mut window = vec![F::zero(); (WINDOW + 1) * size];
    let mut marks = vec![F::zero(); steps.div_ceil(WINDOW) * size];
    for (head, kept) in state.chunks_mut(size).enumerate() {
        let row = |t: usize| (head / heads * steps + t) * heads + head % heads;
        let at = |t: usize| split(a.keys, row(t) * 5 * key, key);
        let value_at = |t: usize| &a.v[row(t) * value..][..value];

        let mut s = a.state[head * size..][..size].to_vec();
        for t in 0..steps {
            if t % WINDOW == 0 {
                marks[t / WINDOW * size..][..size].copy_from_slice(&s);
            }
            step(&at(t), value_at(t), &mut s, &mut c);
        }

        // A frozen state keeps its own gradient apart from that of the steps that were thrown away.
        let mut ds = if a.live[0] != 0 { kept.to_vec() } else { vec![F::zero(); size] };
        for first in (0..steps).step_by(WINDOW).rev() {
            let last = (first + WINDOW).min(steps);
            window[..size].copy_from_slice(&marks[first / WINDOW * size..][..size]);
            for t in first..last {
                let (before, after) = window[(t - first) * size..].split_at_mut(size);
                after[..size].copy_from_slice(before);
                step(&at(t), value_at(t), &mut after[..size], &mut c);
            }
            for t in (first..last).rev() {
                let (before, after) = window[(t - first) * size..].split_at(size);
                let (k, v_t, dy) = (at(t), value_at(t), &y[row(t) * value..][..value]);
                for (i, ds) in ds.chunks_mut(value).enumerate() {
                    for (ds, &dy) in ds.iter_mut().zip(dy) {
                        *ds += k.q[i] * dy;
                    }
                }
                read(k.kappa, before, &mut c);
                read(k.eta, &ds, &mut dc);
                dc.iter_mut().for_each(|d| *d = -*d);
                if let Some(dv) = v.as_deref_mut() {
                    for (i, ds) in ds.chunks(value).enumerate() {
                        for (dv, &ds) in dv[row(t) * value..][..value].iter_mut().zip(ds) {
                            *dv += k.write[i] * ds;
                        }
                    }
                }
                if let Some(dk) = keys.as_deref_mut() {
                    let dk = &mut dk[row(t) * 5 * key..][..5 * key];
                    for i in 0..key {
                        let part = i * value..(i + 1) * value;
                        let (before, after, ds) = (&before[part.clone()], &after[part.clone()], &ds[part]);
                        dk[i] += dot(dy, after);
                        dk[key + i] += dot(ds, before);
                        dk[2 * key + i] += dot(&dc, before);
                        dk[3 * key + i] -= dot(&c, ds);
                        dk[4 * key + i] += dot(v_t, ds);
                    }
                }
                for (i, ds) in ds.chunks_mut(value).enumerate() {
                    for (ds, &dc) in ds.iter_mut().zip(&dc) {
                        *ds = k.w[i] * *ds + k.kappa[i] * dc;
                    }
                }
            }
        }
        for (kept, &ds) in kept.iter_mut().zip(&ds) {
            *kept = if a.live[0] != 0 { ds } else { *kept + ds };
        }
    }
}

fn dot<F: Real>(a: &[F], b: &[F]) -> F {
    let mut sum = F::zero();
    for (&a, &b) in a.iter().zip(b) {
        sum += a * b;
    }
    sum
}

/// Keys as `delta_inputs` makes them: unit q and k, a decay below 1, so that long streams stay bounded.
fn lifelike(p: Params) -> impl FnMut(&mut crate::cases::Random, usize) -> f64 {
    let key = p.key as usize;
    let mut head = vec![0.0; 5 * key];
    move |r, n| {
        let at = n % (5 * key);
        if at == 0 {
            let mut unit = || {
                let v: Vec<f64> = (0..key).map(|_| r.normal()).collect();
                let length = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-3);
                v.into_iter().map(|x| x / length).collect::<Vec<_>>()
            };
            let (q, k) = (unit(), unit());
            let b = r.uniform();
            for i in 0..key {
                let w = (-0.6065 * r.uniform()).exp();
                for (part, x) in [q[i], w, w * k[i], b * k[i], b * k[i]].into_iter().enumerate() {
                    head[part * key + i] = x;
                }
            }
        }
        head[at]
    }
}

fn cases(c: &mut Cases<Params>) {
    let mut add =
        |name: &str, (batch, steps): (u32, u32), (heads, key, value): (u32, u32, u32), live: u32, gradient: bool| {
            let p = Params { batch, steps, heads, key, value };
            let case = c.add(name, p).reals("keys", lifelike(p)).ids("live", |_, _| live);
            if gradient {
                case.gradient();
            }
        };
    add("one", (1, 1), (1, 1, 1), 1, true);
    add("odd", (2, 3), (2, 3, 5), 1, true);
    add("frozen", (1, 4), (2, 3, 2), 0, true);
    // Past two of the gradient's windows.
    add("long", (1, 35), (1, 2, 2), 1, true);
    for value in [31, 32, 33] {
        add(&format!("v{value}"), (1, 5), (1, 32, value), 1, false);
    }
    for key in [31, 33, 63, 64] {
        add(&format!("k{key}"), (2, 4), (1, key, 9), 1, false);
    }
    add("token", (1, 1), (2, 24, 48), 1, false);
    add("token_frozen", (1, 1), (2, 32, 48), 0, false);
    // More turns of a loop than some software adapters finish when each takes one channel.
    add("lengthy", (1, 1100), (1, 64, 2), 1, false);
    add("real", (1, 130), (4, 32, 64), 1, false);
}
