//! `router` and `router_gate`: scores of all sections by one product, then a short ordered list a row.

use super::Fresh;
use super::lanes::{LANES, axpy, dot, sigmoid, vector};
use super::product::{Matrix, gemm, matvec};
use super::share::{Scatter, Scratch, collect, cut, cut_wanted, pieces};
use crate::pool::Pool;
use std::ops::Range;

/// Rows that are worth waking a worker for.
const ENOUGH: usize = 64;

pub(super) mod router {
    use super::*;
    use lichen_shaders::router::{Args, Params};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let (rows, sections, width) = (p.rows as usize, p.sections as usize, p.width as usize);
        let few = rows <= 4;
        if few {
            let scores = Scatter::new(a.scores);
            matvec(pool, a.p, width, a.r, width, scores, sections, rows, |part: Range<usize>| {
                for row in 0..rows {
                    // SAFETY: the product is the only one to hold these columns, and is done with them.
                    let scores = unsafe { scores.row(row * sections + part.start, part.len()) };
                    finish(scores, &a.bias[part.clone()]);
                }
            });
        } else {
            let r = Matrix::new(a.r, 0, width).transposed();
            gemm(pool, [rows, sections, width], a.scores, 0, sections, Matrix::new(a.p, 0, width), r, false);
        }
        let slots = (p.always + p.picks) as usize;
        let cuts = pieces(rows, ENOUGH, pool.threads());
        let work = cut(a.scores, &cuts, sections).into_iter().zip(cut(a.ids, &cuts, slots)).collect();
        pool.each(work, |(scores, ids): (&mut [f32], &mut [u32])| {
            let (mut left, mut tops) = (Scratch::new(sections), Scratch::new(sections.div_ceil(LANES)));
            for (scores, ids) in scores.chunks_exact_mut(sections).zip(ids.chunks_exact_mut(slots)) {
                if !few {
                    finish(scores, a.bias);
                }
                let (always, picked) = ids.split_at_mut(p.always as usize);
                always.iter_mut().zip(0..).for_each(|(slot, id)| *slot = id);
                pick(scores, &mut left, &mut tops, picked);
                picked.iter_mut().for_each(|id| *id += p.always);
            }
        });
    }

    vector! {
        /// Scores from products. NaN becomes minus infinity, so that it never wins.
        fn finish(scores: &mut [f32], bias: &[f32]) {
            for (score, bias) in scores.iter_mut().zip(bias) {
                let s = sigmoid::<FMA>(*score) + bias;
                *score = if s.is_nan() { f32::NEG_INFINITY } else { s };
            }
        }
    }

    /// Highest of some scores.
    #[inline(always)]
    fn top(scores: &[f32]) -> f32 {
        let mut tops = [f32::NEG_INFINITY; LANES];
        let blocks = scores.chunks_exact(LANES);
        let rest = blocks.remainder();
        for block in blocks {
            for l in 0..LANES {
                tops[l] = if block[l] > tops[l] { block[l] } else { tops[l] };
            }
        }
        for (top, &x) in tops.iter_mut().zip(rest) {
            *top = if x > *top { x } else { *top };
        }
        // As a tree: a chain through all lanes would take longer than the rest.
        let mut half = LANES / 2;
        while half > 0 {
            for l in 0..half {
                tops[l] = if tops[l + half] > tops[l] { tops[l + half] } else { tops[l] };
            }
            half /= 2;
        }
        tops[0]
    }

    /// Place of the first element that is `x`.
    #[inline(always)]
    fn first(scores: &[f32], x: f32) -> Option<usize> {
        for (i, block) in scores.chunks(LANES).enumerate() {
            let mut found = false;
            for &score in block {
                found |= score == x;
            }
            if found {
                return block.iter().position(|&score| score == x).map(|at| i * LANES + at);
            }
        }
        None
    }

    vector! {
        /// Ids of the highest scores, as many as `picked` has room for, ascending. Ties go to the lower id.
        /// `left` is scratch as long as the scores, `tops` a fraction of [`LANES`] of that: the highest score of
        /// each block, so that a pick looks at one block and not at all sections.
        fn pick(scores: &[f32], left: &mut [f32], tops: &mut [f32], picked: &mut [u32]) {
            left.copy_from_slice(scores);
            for (high, block) in tops.iter_mut().zip(left.chunks(LANES)) {
                *high = top(block);
            }
            for n in 0..picked.len() {
                let highest = top(tops);
                let at = if highest > f32::NEG_INFINITY {
                    let block = first(tops, highest).unwrap_or(0) * LANES;
                    block + first(&left[block..], highest).unwrap_or(0)
                } else {
                    // Only sections without a score are left: the lowest id that was not taken.
                    (0..left.len()).find(|&s| !picked[..n].contains(&(s as u32))).unwrap_or(0)
                };
                left[at] = f32::NEG_INFINITY;
                let block = at / LANES * LANES;
                tops[at / LANES] = top(&left[block..left.len().min(block + LANES)]);
                picked[n] = at as u32;
            }
            picked.sort_unstable();
        }
    }
}

pub(super) mod router_gate {
    use super::*;
    use lichen_shaders::router_gate::{Args, Grads, Params, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let slots = (p.always + p.picks) as usize;
        let cuts = pieces(p.rows as usize, ENOUGH, pool.threads());
        let work = cuts.iter().cloned().zip(cut(a.gates, &cuts, slots)).collect();
        pool.each(work, |(rows, gates)| make(*p, rows, a.p, a.r, a.ids, gates));
    }

    /// Routed section of an id.
    #[inline(always)]
    fn routed(p: &Params, id: u32) -> Option<usize> {
        id.checked_sub(p.always).filter(|&s| s < p.sections).map(|s| s as usize)
    }

    vector! {
        fn make(p: Params, rows: Range<usize>, points: &[f32], r: &[f32], ids: &[u32], gates: &mut [f32]) {
            let (width, slots) = (p.width as usize, (p.always + p.picks) as usize);
            for (row, gates) in rows.zip(gates.chunks_exact_mut(slots)) {
                let point = &points[row * width..][..width];
                for (gate, &id) in gates.iter_mut().zip(&ids[row * slots..]) {
                    *gate = match routed(&p, id) {
                        _ if id < p.always => 1.0,
                        Some(s) => p.scale * sigmoid::<FMA>(dot::<FMA>(point, &r[s * width..][..width])),
                        None => 0.0,
                    };
                }
            }
        }
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let width = p.width as usize;
        let cuts = pieces(p.rows as usize, ENOUGH, pool.threads());
        let size = a.r.len();
        let mut partial = Scratch::zeros(cuts.len() * size);
        let parts = cut_wanted(g.p, &cuts, width).into_iter().zip(partial.chunks_mut(size));
        let work = cuts.iter().cloned().zip(parts).collect();
        pool.each(work, |(rows, (dp, dr))| unmake(*p, rows, [a.p, a.r, g.gates], a.ids, dp, dr, fresh.at(0)));
        if let Some(dr) = g.r {
            if fresh.at(1) {
                dr.fill(0.0);
            }
            collect(dr, &partial);
        }
    }

    vector! {
        fn unmake(
            p: Params, rows: Range<usize>, reads: [&[f32]; 3], ids: &[u32], dp: Option<&mut [f32]>, dr: &mut [f32], fresh: bool,
        ) {
            let ([points, r, dgates], mut dp) = (reads, dp);
            let (width, slots) = (p.width as usize, (p.always + p.picks) as usize);
            for (i, row) in rows.enumerate() {
                let point = &points[row * width..][..width];
                let mut dp = dp.as_deref_mut().map(|dp| &mut dp[i * width..][..width]);
                if let (Some(dp), true) = (dp.as_deref_mut(), fresh) {
                    dp.fill(0.0);
                }
                for slot in row * slots..(row + 1) * slots {
                    let Some(section) = routed(&p, ids[slot]) else { continue };
                    let at = section * width..(section + 1) * width;
                    let s = sigmoid::<FMA>(dot::<FMA>(point, &r[at.clone()]));
                    let pull = dgates[slot] * p.scale * s * (1.0 - s);
                    if let Some(dp) = dp.as_deref_mut() {
                        axpy::<FMA>(pull, &r[at.clone()], dp);
                    }
                    axpy::<FMA>(pull, point, &mut dr[at]);
                }
            }
        }
    }
}
