//! What the scan reads of each key channel, made from the projections of one token. Per head:
//! `qn = q / sqrt(|q|^2 + 1e-6)`, `kn` likewise, `w = exp(-0.6065 sigmoid(decay + decay_bias))`, `b = sigmoid(beta)`;
//! `keys = [qn, w, w kn, b kn, b kn]` (gated DeltaNet, arXiv 2412.06464, with the bounded decay of RWKV-7,
//! arXiv 2503.14456).
//!
//! Shapes: x [rows, x_stride] with q at 0 and k at `heads key`, decay [rows, heads, key], decay_bias [heads, key],
//! beta [rows, beta_stride] with `heads` values at `beta_offset`, keys [rows, heads, 5, key].
//! Cost: O(rows heads key), one invocation a head.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::shared::activation::{sigmoid, sigmoid_slope};

crate::params! {
    /// Tokens.
    rows: u32,
    /// Heads.
    heads: u32,
    /// Key channels of a head.
    key: u32,
    /// Elements from one row of x to the next.
    x_stride: u32,
    /// Elements from one row of beta to the next.
    beta_stride: u32,
    /// First element of the window in a row of beta.
    beta_offset: u32,
}

crate::kernel! {
    name: "delta_inputs",
    bindings(p) {
        read x: real [p.rows * p.x_stride],
        read decay: real [p.rows * p.heads * p.key],
        read decay_bias: real [p.heads * p.key],
        read beta: real [p.rows * p.beta_stride],
        write keys: real [p.rows * p.heads * 5 * p.key],
    }
    variants {
        head => [main => grid((p.rows * p.heads).div_ceil(64))],
    }
    choose(p, t): 0,
    backward: backward,
    tolerance: Tolerance::LOOSE,
}

/// The strongest decay is `e^-0.6065`, so that a chunk of steps stays within float32.
const STRONGEST: f64 = 0.6065;

/// `1 / sqrt(|v|^2 + 1e-6)`.
fn inverse_length<F: Real>(v: &[F]) -> F {
    let mut sum = F::of(1e-6);
    for &v in v {
        sum += v * v;
    }
    F::one() / sum.sqrt()
}

/// Where the parts of head h of row r lie.
struct Places {
    q: usize,
    k: usize,
    decay: usize,
    bias: usize,
    beta: usize,
    keys: usize,
}
fn places(p: &Params, r: usize, h: usize) -> Places {
    let (heads, key) = (p.heads as usize, p.key as usize);
    Places {
        q: r * p.x_stride as usize + h * key,
        k: r * p.x_stride as usize + (heads + h) * key,
        decay: (r * heads + h) * key,
        bias: h * key,
        beta: r * p.beta_stride as usize + p.beta_offset as usize + h,
        keys: (r * heads + h) * 5 * key,
    }
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let key = p.key as usize;
    for r in 0..p.rows as usize {
        for h in 0..p.heads as usize {
            let at = places(p, r, h);
            let (q, k) = (&a.x[at.q..][..key], &a.x[at.k..][..key]);
            let (q_scale, k_scale) = (inverse_length(q), inverse_length(k));
            let b = sigmoid(a.beta[at.beta]);
            let keys = &mut a.keys[at.keys..][..5 * key];
            for i in 0..key {
                let w = (-F::of(STRONGEST) * sigmoid(a.decay[at.decay + i] + a.decay_bias[at.bias + i])).exp();
                let kn = k[i] * k_scale;
                keys[i] = q[i] * q_scale;
                keys[key + i] = w;
                keys[2 * key + i] = w * kn;
                keys[3 * key + i] = b * kn;
                keys[4 * key + i] = b * kn;
            }
        }
    }
}

/// Adds the gradient of `v / sqrt(|v|^2 + 1e-6)` to that of v.
fn unit_backward<F: Real>(v: &[F], dn: &[F], dv: &mut [F]) {
    let s = inverse_length(v);
    let mut dot = F::zero();
    for (&v, &d) in v.iter().zip(dn) {
        dot += v * d;
    }
    for ((&v, &d), dv) in v.iter().zip(dn).zip(dv) {
        *dv += s * d - s * s * s * dot * v;
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let key = p.key as usize;
    let Grads { mut x, mut decay, mut decay_bias, mut beta, keys, .. } = g;
    let mut dkn = vec![F::zero(); key];
    for r in 0..p.rows as usize {
        for h in 0..p.heads as usize {
            let at = places(p, r, h);
            let (q, k) = (&a.x[at.q..][..key], &a.x[at.k..][..key]);
            let d = &keys[at.keys..][..5 * key];
            let k_scale = inverse_length(k);
            let b = sigmoid(a.beta[at.beta]);
            let mut db = F::zero();
            for i in 0..key {
                let logit = a.decay[at.decay + i] + a.decay_bias[at.bias + i];
                let w = (-F::of(STRONGEST) * sigmoid(logit)).exp();
                let (kn, write) = (k[i] * k_scale, d[3 * key + i] + d[4 * key + i]);
                db += write * kn;
                dkn[i] = d[2 * key + i] * w + write * b;
                let dlogit = -(d[key + i] + d[2 * key + i] * kn) * w * F::of(STRONGEST) * sigmoid_slope(logit);
                if let Some(dd) = decay.as_deref_mut() {
                    dd[at.decay + i] += dlogit;
                }
                if let Some(dd) = decay_bias.as_deref_mut() {
                    dd[at.bias + i] += dlogit;
                }
            }
            if let Some(dd) = beta.as_deref_mut() {
                dd[at.beta] += db * sigmoid_slope(a.beta[at.beta]);
            }
            if let Some(dx) = x.as_deref_mut() {
                unit_backward(q, &d[..key], &mut dx[at.q..][..key]);
                unit_backward(k, &dkn, &mut dx[at.k..][..key]);
            }
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    let plain =
        |rows, heads, key| Params { rows, heads, key, x_stride: 2 * heads * key, beta_stride: heads, beta_offset: 0 };
    c.add("one", plain(1, 1, 1));
    c.add("odd", plain(3, 2, 3)).gradient();
    c.add("window", Params { x_stride: 19, beta_stride: 7, beta_offset: 4, ..plain(2, 3, 2) }).gradient();
    // A silent head: the length must not divide by zero.
    c.add("silent", plain(2, 2, 4)).reals("x", |r, i| if i % 16 < 4 { 0.0 } else { r.normal() });
    for rows in [63, 64, 65] {
        c.add(&format!("r{rows}"), plain(rows, 1, 5));
    }
    c.add("token", Params { x_stride: 192, ..plain(1, 2, 24) });
    c.add("real", Params { x_stride: 256, beta_stride: 8, ..plain(33, 4, 32) });
}
