//! `delta_inputs`: unit queries and keys, decays and write strengths of every head.

use super::Fresh;
use super::lanes::{dot, exp, sigmoid, vector};
use super::mixing::gather;
use super::share::{Scratch, cut, cut_wanted, pieces};
use crate::pool::Pool;
use lichen_shaders::delta_inputs::{Args, Grads, Params, Values};
use std::ops::Range;

/// The strongest decay is `e^-0.6065`.
const STRONGEST: f32 = 0.6065;

#[inline(always)]
fn make_head<const F: bool>(key: usize, reads: [&[f32]; 4], beta: f32, to: &mut [f32]) {
    let ([q, k, decay, bias], to) = (reads.map(|r| &r[..key]), &mut to[..5 * key]);
    let (q_scale, k_scale, b) = (inverse_length::<F>(q), inverse_length::<F>(k), sigmoid::<F>(beta));
    for i in 0..key {
        let w = exp::<F>(-STRONGEST * sigmoid::<F>(decay[i] + bias[i]));
        let kn = k[i] * k_scale;
        to[i] = q[i] * q_scale;
        to[key + i] = w;
        to[2 * key + i] = w * kn;
        to[3 * key + i] = b * kn;
        to[4 * key + i] = b * kn;
    }
}

#[inline(always)]
fn inverse_length<const F: bool>(v: &[f32]) -> f32 {
    1.0 / (dot::<F>(v, v) + 1e-6).sqrt()
}

/// Gradients of the unit key and of the decay's argument; returns that of the write strength.
#[inline(always)]
fn unmake_head<const F: bool>(
    key: usize,
    reads: [&[f32]; 3],
    b: f32,
    d: &[f32],
    dkn: &mut [f32],
    dlogit: &mut [f32],
) -> f32 {
    let ([k, decay, bias], d) = (reads.map(|r| &r[..key]), &d[..5 * key]);
    let (dkn, dlogit) = (&mut dkn[..key], &mut dlogit[..key]);
    let k_scale = inverse_length::<F>(k);
    for i in 0..key {
        let s = sigmoid::<F>(decay[i] + bias[i]);
        let w = exp::<F>(-STRONGEST * s);
        let write = d[3 * key + i] + d[4 * key + i];
        dkn[i] = d[2 * key + i] * w + write * b;
        dlogit[i] = -(d[key + i] + d[2 * key + i] * (k[i] * k_scale)) * w * STRONGEST * s * (1.0 - s);
    }
    (dot::<F>(&d[3 * key..4 * key], k) + dot::<F>(&d[4 * key..], k)) * k_scale
}

/// Adds the gradient of `v / |v|` to that of v.
#[inline(always)]
fn unit<const F: bool>(key: usize, v: &[f32], dn: &[f32], dv: &mut [f32]) {
    let (v, dn, dv) = (&v[..key], &dn[..key], &mut dv[..key]);
    let s = inverse_length::<F>(v);
    let pull = s * s * s * dot::<F>(v, dn);
    for i in 0..key {
        dv[i] += s * dn[i] - pull * v[i];
    }
}

pub(super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
    let size = (p.heads * 5 * p.key) as usize;
    let cuts = pieces(p.rows as usize, (1usize << 12).div_ceil(size), pool.threads());
    let work = cuts.iter().cloned().zip(cut(a.keys, &cuts, size)).collect();
    pool.each(work, |(rows, keys)| make(*p, rows, [a.x, a.decay, a.decay_bias, a.beta], keys));
}

/// Calls a function with the key width as a constant where it is a usual one: loops this short need it.
macro_rules! with_key {
    ($key:expr, $f:ident::<FMA>($($arg:expr),*)) => {
        match $key {
            16 => $f::<FMA>(16, $($arg),*),
            32 => $f::<FMA>(32, $($arg),*),
            key => $f::<FMA>(key, $($arg),*),
        }
    };
}

vector! {
    fn make(p: Params, rows: Range<usize>, reads: [&[f32]; 4], keys: &mut [f32]) {
        let [x, decay, bias, beta] = reads;
        let (heads, key, stride) = (p.heads as usize, p.key as usize, p.x_stride as usize);
        for (r, to) in rows.zip(keys.chunks_exact_mut(heads * 5 * key)) {
            for (h, to) in to.chunks_exact_mut(5 * key).enumerate() {
                let (q, k) = (&x[r * stride + h * key..][..key], &x[r * stride + (heads + h) * key..][..key]);
                let (decay, bias) = (&decay[(r * heads + h) * key..][..key], &bias[h * key..][..key]);
                let beta = beta[r * p.beta_stride as usize + p.beta_offset as usize + h];
                with_key!(key, make_head::<FMA>([q, k, decay, bias], beta, to));
            }
        }
    }
}

pub(super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
    let size = (p.heads * p.key) as usize;
    let cuts = pieces(p.rows as usize, (1usize << 10).div_ceil(size), pool.threads());
    let mut partial = Scratch::zeros(cuts.len() * size);
    let dx = cut_wanted(g.x, &cuts, p.x_stride as usize);
    let ddecay = cut_wanted(g.decay, &cuts, size);
    let dbeta = cut_wanted(g.beta, &cuts, p.beta_stride as usize);
    let parts = dx.into_iter().zip(ddecay.into_iter().zip(dbeta)).zip(partial.chunks_mut(size));
    let work = cuts.iter().cloned().zip(parts).collect();
    pool.each(work, |(rows, ((dx, (ddecay, dbeta)), dbias))| {
        unmake(*p, rows, [a.x, a.decay, a.decay_bias, a.beta, g.keys], [dx, ddecay, dbeta], dbias, fresh);
    });
    gather(g.decay_bias, &partial, fresh.at(2));
}

vector! {
    fn unmake(
        p: Params, rows: Range<usize>, reads: [&[f32]; 5], grads: [Option<&mut [f32]>; 3], dbias: &mut [f32], fresh: Fresh,
    ) {
        let [x, decay, bias, beta, dkeys] = reads;
        let [mut dx, mut ddecay, mut dbeta] = grads;
        let (heads, key) = (p.heads as usize, p.key as usize);
        let (stride, beta_stride) = (p.x_stride as usize, p.beta_stride as usize);
        let mut scratch = Scratch::new(2 * key);
        let (dkn, dlogit) = scratch.split_at_mut(key);
        for (i, r) in rows.enumerate() {
            if let (Some(dx), true) = (dx.as_deref_mut(), fresh.at(0)) {
                dx[i * stride..(i + 1) * stride].fill(0.0);
            }
            if let (Some(dbeta), true) = (dbeta.as_deref_mut(), fresh.at(3)) {
                dbeta[i * beta_stride..(i + 1) * beta_stride].fill(0.0);
            }
            for h in 0..heads {
                let (q, k) = (&x[r * stride + h * key..][..key], &x[r * stride + (heads + h) * key..][..key]);
                let (decay, bias) = (&decay[(r * heads + h) * key..][..key], &bias[h * key..][..key]);
                let at = p.beta_offset as usize + h;
                let (d, b) = (&dkeys[(r * heads + h) * 5 * key..][..5 * key], sigmoid::<FMA>(beta[r * beta_stride + at]));
                let db = with_key!(key, unmake_head::<FMA>([k, decay, bias], b, d, dkn, dlogit));
                if let Some(dd) = ddecay.as_deref_mut() {
                    let dd = &mut dd[(i * heads + h) * key..][..key];
                    if fresh.at(1) {
                        dd.copy_from_slice(dlogit);
                    } else {
                        dd.iter_mut().zip(&*dlogit).for_each(|(d, l)| *d += l);
                    }
                }
                dbias[h * key..][..key].iter_mut().zip(&*dlogit).for_each(|(d, l)| *d += l);
                if let Some(dbeta) = dbeta.as_deref_mut() {
                    dbeta[i * beta_stride + at] += db * b * (1.0 - b);
                }
                if let Some(dx) = dx.as_deref_mut() {
                    let row = &mut dx[i * stride..][..stride];
                    with_key!(key, unit::<FMA>(q, d, &mut row[h * key..]));
                    with_key!(key, unit::<FMA>(k, dkn, &mut row[(heads + h) * key..]));
                }
            }
        }
    }
}
