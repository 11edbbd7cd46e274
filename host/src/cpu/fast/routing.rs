//! `router` and `router_gate`: a short ordered list of the highest scores, and the gates of some ids.

use super::Fresh;
use super::lanes::{LANES, sigmoid, vector};
use super::share::{Scratch, cut, pieces};
use crate::pool::Pool;
use std::ops::Range;

/// Rows that are worth waking a worker for.
const ENOUGH: usize = 64;
/// Scores whose highest ones are kept together.
const GROUP: usize = 8 * LANES;

pub(super) mod router {
    use super::*;
    use lichen_shaders::router::{Args, Params};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let (rows, sections) = (p.rows as usize, p.sections as usize);
        let slots = (p.always + p.picks) as usize;
        let cuts = pieces(rows, ENOUGH, pool.threads());
        let parts = cut(a.scores, &cuts, sections).into_iter().zip(cut(a.ids, &cuts, slots));
        let work = cuts.iter().cloned().zip(parts).collect();
        pool.each(work, |(rows, (scores, ids)): (Range<usize>, (&mut [f32], &mut [u32]))| {
            let mut left = Scratch::new(sections);
            let mut tops = Scratch::new(sections.div_ceil(GROUP) * LANES);
            let products = a.a[rows.start * sections..rows.end * sections].chunks_exact(sections);
            for ((products, scores), ids) in
                products.zip(scores.chunks_exact_mut(sections)).zip(ids.chunks_exact_mut(slots))
            {
                score(products, a.bias, scores);
                let (always, picked) = ids.split_at_mut(p.always as usize);
                always.iter_mut().zip(0..).for_each(|(slot, id)| *slot = id);
                pick(scores, &mut left, &mut tops, picked);
                picked.iter_mut().for_each(|id| *id += p.always);
            }
        });
    }

    vector! {
        /// Scores from products. NaN becomes minus infinity, so that it never wins.
        fn score(products: &[f32], bias: &[f32], scores: &mut [f32]) {
            for ((score, product), bias) in scores.iter_mut().zip(products).zip(bias) {
                let s = sigmoid::<FMA>(*product) + bias;
                *score = if s.is_nan() { f32::NEG_INFINITY } else { s };
            }
        }
    }

    /// Highest of some scores.
    #[inline(always)]
    fn top(scores: &[f32]) -> f32 {
        let mut tops = columns(scores);
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

    /// Highest of every [`LANES`]th score.
    #[inline(always)]
    fn columns(scores: &[f32]) -> [f32; LANES] {
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
        tops
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
        /// `left` is scratch as long as the scores, `tops` [`LANES`] for each [`GROUP`] of them: the highest scores of
        /// its columns, so that a pick looks at one group and not at all sections.
        fn pick(scores: &[f32], left: &mut [f32], tops: &mut [f32], picked: &mut [u32]) {
            left.copy_from_slice(scores);
            for (tops, group) in tops.chunks_exact_mut(LANES).zip(left.chunks(GROUP)) {
                tops.copy_from_slice(&columns(group));
            }
            for n in 0..picked.len() {
                let highest = top(tops);
                let at = if highest > f32::NEG_INFINITY {
                    let group = first(tops, highest).unwrap_or(0) / LANES * GROUP;
                    group + first(&left[group..], highest).unwrap_or(0)
                } else {
                    // Only sections without a score are left: the lowest id that was not taken.
                    (0..left.len()).find(|&s| !picked[..n].contains(&(s as u32))).unwrap_or(0)
                };
                left[at] = f32::NEG_INFINITY;
                let (group, many) = (at / GROUP, left.len());
                let renewed = columns(&left[group * GROUP..many.min((group + 1) * GROUP)]);
                tops[group * LANES..][..LANES].copy_from_slice(&renewed);
                picked[n] = at as u32;
            }
            picked.sort_unstable();
        }
    }
}

pub(super) mod router_gate {
    use super::*;
    use lichen_shaders::router_gate::{Args, Grads, Params, Values};

    pub(in super::super) fn forward(_: &Pool, p: &Params, a: Args<f32>) {
        make(*p, a.a, a.ids, a.gates);
    }

    /// Routed section of an id.
    #[inline(always)]
    fn routed(p: &Params, id: u32) -> Option<usize> {
        id.checked_sub(p.always).filter(|&s| s < p.sections).map(|s| s as usize)
    }

    vector! {
        fn make(p: Params, products: &[f32], ids: &[u32], gates: &mut [f32]) {
            let (sections, slots) = (p.sections as usize, (p.always + p.picks) as usize);
            for (i, (gate, &id)) in gates.iter_mut().zip(ids).enumerate() {
                *gate = match routed(&p, id) {
                    _ if id < p.always => 1.0,
                    Some(s) => p.scale * sigmoid::<FMA>(products[i / slots * sections + s]),
                    None => 0.0,
                };
            }
        }
    }

    pub(in super::super) fn backward(_: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let Some(da) = g.a else { return };
        if fresh.at(0) {
            da.fill(0.0);
        }
        unmake(*p, a.a, a.ids, g.gates, da);
    }

    vector! {
        fn unmake(p: Params, products: &[f32], ids: &[u32], dgates: &[f32], da: &mut [f32]) {
            let (sections, slots) = (p.sections as usize, (p.always + p.picks) as usize);
            for (i, (&id, dgate)) in ids.iter().zip(dgates).enumerate() {
                let Some(section) = routed(&p, id) else { continue };
                let at = i / slots * sections + section;
                let s = sigmoid::<FMA>(products[at]);
                da[at] += dgate * p.scale * s * (1.0 - s);
            }
        }
    }
}
