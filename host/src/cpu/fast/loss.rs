//! `embed` and `cross_entropy`: the two ends of a model, one row at a time.

use super::Fresh;
use super::lanes::{LANES, exp, vector};
use super::share::{Scratch, cut, cut_wanted, pieces};
use crate::pool::Pool;

pub(super) mod embed {
    use super::*;
    use lichen_shaders::embed::{Args, Grads, Params, Values};

    fn place(p: &Params, id: u32) -> Option<usize> {
        let row = id.checked_sub(p.first).filter(|&row| row < p.count)?;
        Some(row as usize * p.width as usize)
    }

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let width = p.width as usize;
        let cuts = pieces(a.ids.len(), 64, pool.threads());
        let work = cuts.iter().cloned().zip(cut(a.x, &cuts, width)).collect();
        pool.each(work, |(rows, x): (_, &mut [f32])| {
            for (&id, x) in a.ids[rows].iter().zip(x.chunks_mut(width)) {
                if let Some(at) = place(p, id) {
                    scale_to(p.scale, &a.table[at..][..width], x);
                }
            }
        });
    }

    /// One worker: ids repeat, and the rows are few next to the rest of a step.
    pub(in super::super) fn backward(_: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let width = p.width as usize;
        let Some(table) = g.table else { return };
        if fresh.at(1) {
            table.fill(0.0);
        }
        for (&id, dx) in a.ids.iter().zip(g.x.chunks(width)) {
            if let Some(at) = place(p, id) {
                scale_add(p.scale, dx, &mut table[at..][..width]);
            }
        }
    }
}

vector! {
    /// `y = a x`.
    fn scale_to(a: f32, x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = a * x);
    }
}
vector! {
    /// `y += a x`.
    fn scale_add(a: f32, x: &[f32], y: &mut [f32]) {
        super::lanes::axpy::<FMA>(a, x, y);
    }
}

pub(super) mod cross_entropy {
    use super::*;
    use lichen_shaders::cross_entropy::{Args, Grads, Params, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let classes = p.classes as usize;
        let cuts = pieces(a.loss.len(), 8, pool.threads() * 4);
        let work = cuts.iter().cloned().zip(cut(a.loss, &cuts, 1)).collect();
        pool.each(work, |(rows, loss): (std::ops::Range<usize>, &mut [f32])| {
            let mut e = Scratch::new(classes);
            for (r, loss) in rows.zip(loss) {
                let logits = &a.logits[r * classes..][..classes];
                *loss = match logits.get(a.targets[r] as usize) {
                    // A row that counts for nothing is not read.
                    Some(_) if a.weight[r] == 0.0 => 0.0,
                    Some(&target) => {
                        let (top, sum) = exponentials(logits, &mut e);
                        a.weight[r] * (sum.ln() + (top - target))
                    }
                    None => 0.0,
                };
            }
        });
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let classes = p.classes as usize;
        let cuts = pieces(g.loss.len(), 8, pool.threads() * 4);
        let parts = cut_wanted(g.logits, &cuts, classes).into_iter().zip(cut_wanted(g.weight, &cuts, 1));
        let work = cuts.iter().cloned().zip(parts).collect();
        pool.each(work, |(rows, (mut dlogits, mut dweight)): (std::ops::Range<usize>, _)| {
            let mut e = Scratch::new(classes);
            for (i, r) in rows.enumerate() {
                let (logits, target) = (&a.logits[r * classes..][..classes], a.targets[r] as usize);
                let (pull, known) = (a.weight[r] * g.loss[r], target < classes);
                let row = dlogits.as_deref_mut().map(|d: &mut [f32]| &mut d[i * classes..][..classes]);
                let weight = dweight.as_deref_mut().map(|d: &mut [f32]| &mut d[i]);
                if !known || (pull == 0.0 && weight.is_none()) {
                    row.filter(|_| fresh.at(0)).into_iter().for_each(|d| d.fill(0.0));
                    weight.filter(|_| fresh.at(2)).into_iter().for_each(|d| *d = 0.0);
                    continue;
                }
                let (top, sum) = exponentials(logits, &mut e);
                if let Some(d) = row {
                    pull_down(pull / sum, &e, d, fresh.at(0));
                    d[target] -= pull;
                }
                if let Some(d) = weight {
                    let old = if fresh.at(2) { 0.0 } else { *d };
                    *d = old + (sum.ln() + (top - logits[target])) * g.loss[r];
                }
            }
        });
    }
}

vector! {
    /// The largest logit; `e` gets the exponentials past it, and their sum is returned.
    fn exponentials(logits: &[f32], e: &mut [f32]) -> (f32, f32) {
        let mut tops = [f32::NEG_INFINITY; LANES];
        let blocks = logits.chunks_exact(LANES);
        let rest = blocks.remainder();
        for block in blocks {
            for l in 0..LANES {
                tops[l] = if block[l] > tops[l] { block[l] } else { tops[l] };
            }
        }
        let top = tops.iter().chain(rest).fold(f32::NEG_INFINITY, |top, &x| top.max(x));
        let mut sums = [0.0; LANES];
        let e = &mut e[..logits.len()];
        for (x, e) in logits.chunks_exact(LANES).zip(e.chunks_exact_mut(LANES)) {
            for l in 0..LANES {
                e[l] = exp::<FMA>(x[l] - top);
                sums[l] += e[l];
            }
        }
        let whole = logits.len() - rest.len();
        for (l, (x, e)) in rest.iter().zip(&mut e[whole..]).enumerate() {
            *e = exp::<FMA>(x - top);
            sums[l] += *e;
        }
        (top, super::lanes::sum(sums))
    }
}

vector! {
    /// `d = scale e`, or `+=` when d is not fresh.
    fn pull_down(scale: f32, e: &[f32], d: &mut [f32], fresh: bool) {
        if fresh {
            d.iter_mut().zip(e).for_each(|(d, e)| *d = scale * e);
        } else {
            super::lanes::axpy::<FMA>(scale, e, d);
        }
    }
}
