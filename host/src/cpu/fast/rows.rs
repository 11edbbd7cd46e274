//! Kernels that treat each row on its own: `rms_norm`, `gate`, `add`, `section_sum`.

use super::Fresh;
use super::lanes::{axpy, dot, dot3, madd, sigmoid, vector};
use super::share::{Scratch, collect, cut, cut_wanted, pieces};
use crate::pool::Pool;
use std::ops::Range;

/// Elements that are worth waking a worker for.
const ENOUGH: usize = 1 << 14;

/// Rows that are worth waking a worker for.
fn least(width: usize) -> usize {
    ENOUGH.div_ceil(width.max(1))
}

pub(super) mod rms_norm {
    use super::*;
    use lichen_shaders::rms_norm::{Args, Grads, Params, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let width = p.width as usize;
        let cuts = pieces(p.rows as usize, least(width), pool.threads());
        let work = cuts.iter().cloned().zip(cut(a.y, &cuts, width)).collect();
        pool.each(work, |(rows, y)| norm(*p, rows, a.x, a.gain, y));
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let (width, gains) = (p.width as usize, (p.width * p.gains) as usize);
        let cuts = pieces(p.rows as usize, least(width), pool.threads());
        let mut partial = Scratch::zeros(cuts.len() * gains);
        let parts = cut_wanted(g.x, &cuts, width).into_iter().zip(partial.chunks_mut(gains));
        let work = cuts.iter().cloned().zip(parts).collect();
        pool.each(work, |(rows, (dx, dgain))| unnorm(*p, rows, [a.x, a.gain, g.y], dx, dgain, fresh.at(0)));
        if let Some(dgain) = g.gain {
            if fresh.at(1) {
                dgain.fill(0.0);
            }
            collect(dgain, &partial);
        }
    }

    #[inline(always)]
    fn scale<const F: bool>(width: usize, eps: f32, x: &[f32]) -> f32 {
        1.0 / (dot::<F>(x, x) / width as f32 + eps).sqrt()
    }

    #[inline(always)]
    fn norm_row<const F: bool>(width: usize, eps: f32, x: &[f32], gain: &[f32], y: &mut [f32]) {
        let (x, gain, y) = (&x[..width], &gain[..width], &mut y[..width]);
        let s = scale::<F>(width, eps, x);
        for i in 0..width {
            y[i] = x[i] * s * gain[i];
        }
    }

    #[inline(always)]
    fn unnorm_row<const F: bool>(
        width: usize,
        eps: f32,
        reads: [&[f32]; 3],
        dx: Option<&mut [f32]>,
        dgain: &mut [f32],
        fresh: bool,
    ) {
        let ([x, gain, dy], dgain) = (reads.map(|r| &r[..width]), &mut dgain[..width]);
        let s = scale::<F>(width, eps, x);
        let pull = dot3::<F>(dy, gain, x) * s * s * s / width as f32;
        for i in 0..width {
            dgain[i] = madd::<F>(dy[i] * s, x[i], dgain[i]);
        }
        let Some(dx) = dx else { return };
        let dx = &mut dx[..width];
        for i in 0..width {
            let old = if fresh { 0.0 } else { dx[i] };
            dx[i] = old + (dy[i] * gain[i] * s - x[i] * pull);
        }
    }

    vector! {
        fn norm(p: Params, rows: Range<usize>, x: &[f32], gain: &[f32], y: &mut [f32]) {
            let width = p.width as usize;
            for (r, y) in rows.zip(y.chunks_exact_mut(width)) {
                let (x, gain) = (&x[r * width..][..width], &gain[r % p.gains as usize * width..][..width]);
                // A width known to the compiler spares the short rows of heads their loops.
                match width {
                    32 => norm_row::<FMA>(32, p.eps, x, gain, y),
                    64 => norm_row::<FMA>(64, p.eps, x, gain, y),
                    _ => norm_row::<FMA>(width, p.eps, x, gain, y),
                }
            }
        }
    }

    vector! {
        fn unnorm(p: Params, rows: Range<usize>, reads: [&[f32]; 3], dx: Option<&mut [f32]>, dgain: &mut [f32], fresh: bool) {
            let [x, gain, dy] = reads;
            let (width, mut dx) = (p.width as usize, dx);
            for (i, r) in rows.enumerate() {
                let at = r % p.gains as usize * width;
                let (x, dy) = (&x[r * width..][..width], &dy[r * width..][..width]);
                let (gain, dgain) = (&gain[at..][..width], &mut dgain[at..][..width]);
                let dx = dx.as_deref_mut().map(|dx| &mut dx[i * width..][..width]);
                match width {
                    32 => unnorm_row::<FMA>(32, p.eps, [x, gain, dy], dx, dgain, fresh),
                    64 => unnorm_row::<FMA>(64, p.eps, [x, gain, dy], dx, dgain, fresh),
                    _ => unnorm_row::<FMA>(width, p.eps, [x, gain, dy], dx, dgain, fresh),
                }
            }
        }
    }
}

pub(super) mod gate {
    use super::*;
    use lichen_shaders::gate::{Args, Grads, Params, SILU, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let cuts = pieces(p.rows as usize, least(p.width as usize), pool.threads());
        let work = cuts.iter().cloned().zip(cut(a.y, &cuts, p.width as usize)).collect();
        pool.each(work, |(rows, y)| apply(*p, rows, a.a, a.b, y));
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, v: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let cuts = pieces(p.rows as usize, least(p.width as usize), pool.threads());
        let (da, db) = (cut_wanted(g.a, &cuts, p.a_stride as usize), cut_wanted(g.b, &cuts, p.b_stride as usize));
        let work = cuts.iter().cloned().zip(da.into_iter().zip(db)).collect();
        pool.each(work, |(rows, (da, db))| unapply(*p, rows, [v.a, v.b, g.y], da, db, [fresh.at(0), fresh.at(1)]));
    }

    vector! {
        fn apply(p: Params, rows: Range<usize>, a: &[f32], b: &[f32], y: &mut [f32]) {
            let width = p.width as usize;
            for (r, y) in rows.zip(y.chunks_exact_mut(width)) {
                let a = &a[r * p.a_stride as usize + p.a_offset as usize..][..width];
                let b = &b[r * p.b_stride as usize + p.b_offset as usize..][..width];
                for i in 0..width {
                    let s = sigmoid::<FMA>(a[i]);
                    y[i] = b[i] * if p.act == SILU { a[i] * s } else { s };
                }
            }
        }
    }

    vector! {
        fn unapply(
            p: Params, rows: Range<usize>, reads: [&[f32]; 3], da: Option<&mut [f32]>, db: Option<&mut [f32]>, fresh: [bool; 2],
        ) {
            let ([a, b, dy], mut da, mut db, width) = (reads, da, db, p.width as usize);
            for (i, r) in rows.enumerate() {
                let a = &a[r * p.a_stride as usize + p.a_offset as usize..][..width];
                let b = &b[r * p.b_stride as usize + p.b_offset as usize..][..width];
                let dy = &dy[r * width..][..width];
                if let Some(da) = da.as_deref_mut() {
                    let row = &mut da[i * p.a_stride as usize..][..p.a_stride as usize];
                    if fresh[0] {
                        row.fill(0.0);
                    }
                    let row = &mut row[p.a_offset as usize..][..width];
                    for i in 0..width {
                        let s = sigmoid::<FMA>(a[i]);
                        let slope = if p.act == SILU { 1.0 + a[i] * (1.0 - s) } else { 1.0 - s };
                        row[i] = madd::<FMA>(dy[i] * b[i], s * slope, row[i]);
                    }
                }
                if let Some(db) = db.as_deref_mut() {
                    let row = &mut db[i * p.b_stride as usize..][..p.b_stride as usize];
                    if fresh[1] {
                        row.fill(0.0);
                    }
                    let row = &mut row[p.b_offset as usize..][..width];
                    for i in 0..width {
                        let s = sigmoid::<FMA>(a[i]);
                        row[i] = madd::<FMA>(dy[i], if p.act == SILU { a[i] * s } else { s }, row[i]);
                    }
                }
            }
        }
    }
}

pub(super) mod add {
    use super::*;
    use lichen_shaders::add::{Args, Grads, Params, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let cuts = pieces(p.len as usize, ENOUGH, pool.threads());
        let work = cuts.iter().cloned().zip(cut(a.y, &cuts, 1)).collect();
        pool.each(work, |(range, y)| total(&a.a[range.clone()], &a.b[range], y));
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, _: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let cuts = pieces(p.len as usize, ENOUGH, pool.threads());
        let parts = cut_wanted(g.a, &cuts, 1).into_iter().zip(cut_wanted(g.b, &cuts, 1));
        let work = cuts.iter().cloned().zip(parts).collect();
        pool.each(work, |(range, (a, b)): (Range<usize>, _)| {
            for (d, fresh) in [(a, fresh.at(0)), (b, fresh.at(1))] {
                if let Some(d) = d {
                    pass(&g.y[range.clone()], d, fresh);
                }
            }
        });
    }
}

vector! {
    /// `y = a + b`.
    fn total(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = a + b;
        }
    }
}

vector! {
    /// `d += dy`, or a copy when d is fresh.
    fn pass(dy: &[f32], d: &mut [f32], fresh: bool) {
        if fresh {
            d.copy_from_slice(dy);
        } else {
            d.iter_mut().zip(dy).for_each(|(d, dy)| *d += dy);
        }
    }
}

pub(super) mod section_sum {
    use super::*;
    use lichen_shaders::NONE;
    use lichen_shaders::section_sum::{Args, Grads, Params, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let cuts = pieces(p.rows as usize, least(p.width as usize), pool.threads());
        let work = cuts.iter().cloned().zip(cut(a.y, &cuts, p.width as usize)).collect();
        pool.each(work, |(rows, y)| gather(*p, rows, [a.x, a.slots, a.gates], a.ids, y));
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let (width, picks) = (p.width as usize, p.picks as usize);
        let cuts = pieces(p.rows as usize, least(width), pool.threads());
        let parts = [(g.x, width), (g.slots, width * picks), (g.gates, picks)].map(|(d, n)| cut_wanted(d, &cuts, n));
        let [dx, dslots, dgates] = parts;
        let work = cuts.iter().cloned().zip(dx.into_iter().zip(dslots.into_iter().zip(dgates))).collect();
        pool.each(work, |(rows, (dx, (dslots, dgates)))| {
            spread(*p, rows, [a.slots, a.gates, g.y], a.ids, [dx, dslots, dgates], fresh);
        });
    }

    vector! {
        fn gather(p: Params, rows: Range<usize>, reads: [&[f32]; 3], ids: &[u32], y: &mut [f32]) {
            let ([x, slots, gates], width, picks) = (reads, p.width as usize, p.picks as usize);
            for (r, y) in rows.zip(y.chunks_exact_mut(width)) {
                y.copy_from_slice(&x[r * width..][..width]);
                for slot in r * picks..(r + 1) * picks {
                    if ids[slot] != NONE && gates[slot] != 0.0 {
                        axpy::<FMA>(gates[slot], &slots[slot * width..][..width], y);
                    }
                }
            }
        }
    }

    vector! {
        fn spread(p: Params, rows: Range<usize>, reads: [&[f32]; 3], ids: &[u32], grads: [Option<&mut [f32]>; 3], fresh: Fresh) {
            let ([slots, gates, y], width, picks) = (reads, p.width as usize, p.picks as usize);
            let [mut dx, mut dslots, mut dgates] = grads;
            for (i, r) in rows.enumerate() {
                let dy = &y[r * width..][..width];
                if let Some(dx) = dx.as_deref_mut() {
                    let dx = &mut dx[i * width..][..width];
                    if fresh.at(0) {
                        dx.copy_from_slice(dy);
                    } else {
                        dx.iter_mut().zip(dy).for_each(|(d, dy)| *d += dy);
                    }
                }
                for k in 0..picks {
                    let (slot, at) = (r * picks + k, i * picks + k);
                    let known = ids[slot] != NONE;
                    if let Some(d) = dslots.as_deref_mut() {
                        let d = &mut d[at * width..][..width];
                        let gate = gates[slot];
                        match (fresh.at(1), known) {
                            (true, true) => d.iter_mut().zip(dy).for_each(|(d, dy)| *d = gate * dy),
                            (true, false) => d.fill(0.0),
                            (false, true) => axpy::<FMA>(gate, dy, d),
                            (false, false) => {}
                        }
                    }
                    if let Some(d) = dgates.as_deref_mut() {
                        let old = if fresh.at(3) { 0.0 } else { d[at] };
                        d[at] = old + if known { dot::<FMA>(&slots[slot * width..][..width], dy) } else { 0.0 };
                    }
                }
            }
        }
    }
}
