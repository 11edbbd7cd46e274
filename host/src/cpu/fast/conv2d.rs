//! `conv2d`: blocks of unrolled windows times the filters, as one GEMM each.
//!
//! Blocks and partial sums are cut by the params alone, never by the number of threads, so results are the same for
//! any number of them.

use super::Fresh;
use super::lanes::{madd, sigmoid, vector};
use super::mixing::gather;
use super::product::{Matrix, gemm_alone};
use super::share::{Scatter, Scratch, cut_wanted, pieces};
use crate::pool::Pool;
use lichen_shaders::conv2d::{Args, Grads, Params, Values};
use std::ops::Range;

/// Elements of a block of unrolled windows: it is written once and read up to three times, so it should stay in L2.
const BLOCK: usize = 256 << 10;

/// Windows of a block at most and at least: few taps must not make it long, many not so short that GEMM packs the
/// filters for nothing.
const WINDOWS: (usize, usize) = (128, 2048);

/// Output places from which a partial sum of the filters' gradient costs little beside its products.
const PARTIAL: usize = 256;

/// Elements that all partial sums of the filters' gradient may take.
const PARTIALS: usize = 4 << 20;

#[derive(Clone, Copy)]
struct Shape {
    p: Params,
    /// Weights of a filter.
    taps: usize,
    /// Output channels.
    width: usize,
    /// Output places of one input.
    places: usize,
    /// Windows of a block.
    block: usize,
}
fn shape(p: &Params) -> Shape {
    let taps = p.taps() as usize;
    let block = (BLOCK / taps.max(1)).clamp(WINDOWS.0, WINDOWS.1);
    Shape { p: *p, taps, width: p.out_c as usize, places: (p.out_h * p.out_w) as usize, block }
}

/// The filter at one output place: elements of each of its rows that lie inside the input, the rows that do, and where
/// in all inputs the first of those begins, the next ones `in_w in_c` elements apart.
struct Window {
    run: Range<usize>,
    rows: Range<usize>,
    from: usize,
}

/// Every window from output place `first` on; counting is much cheaper than dividing each place anew.
#[inline(always)]
fn windows_from(p: &Params, first: usize) -> impl Iterator<Item = Window> {
    let p = *p;
    let (row, mut ox) = (first / p.out_w as usize, first % p.out_w as usize);
    let (mut b, mut oy) = (row / p.out_h as usize, row % p.out_h as usize);
    let inside = |start: isize, taps: u32, length: u32| {
        let end = (length as isize - start).clamp(0, taps as isize) as usize;
        (-start).clamp(0, end as isize) as usize..end
    };
    let (high, wide, deep) = (p.in_h as usize, p.in_w as usize, p.in_c as usize);
    std::iter::repeat_with(move || {
        let left = (ox * p.stride_w as usize) as isize - p.pad_w as isize;
        let top = (oy * p.stride_h as usize) as isize - p.pad_h as isize;
        let (rows, columns) = (inside(top, p.kernel_h, p.in_h), inside(left, p.kernel_w, p.in_w));
        let rows = if columns.is_empty() { 0..0 } else { rows };
        let from = ((b * high + top.max(0) as usize) * wide + left.max(0) as usize) * deep;
        ox += 1;
        if ox == p.out_w as usize {
            (ox, oy) = (0, oy + 1);
            if oy == p.out_h as usize {
                (oy, b) = (0, b + 1);
            }
        }
        Window { run: columns.start * deep..columns.end * deep, rows, from }
    })
}

/// Copies a run of any length; most are too short for a call.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    if from.len() >= 64 {
        to.copy_from_slice(from);
    } else {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
}

vector! {
    /// The windows of some output places, one a row of `windows`, zeros where they leave the input.
    fn unroll(p: Params, taps: usize, x: &[f32], first: usize, windows: &mut [f32]) {
        let (line, row) = ((p.kernel_w * p.in_c) as usize, (p.in_w * p.in_c) as usize);
        for (window, Window { run, rows, from }) in windows.chunks_exact_mut(taps).zip(windows_from(&p, first)) {
            if run.len() < line || rows.len() < p.kernel_h as usize {
                window.fill(0.0);
            }
            for (i, ky) in rows.enumerate() {
                copy(&x[from + i * row..][..run.len()], &mut window[ky * line..][run.clone()]);
            }
        }
    }
}

vector! {
    /// Adds gradients of windows to that of the inputs, whose first element is `start` of all.
    fn roll(p: Params, taps: usize, windows: &[f32], first: usize, dx: &mut [f32], start: usize) {
        let (line, row) = ((p.kernel_w * p.in_c) as usize, (p.in_w * p.in_c) as usize);
        for (window, Window { run, rows, from }) in windows.chunks_exact(taps).zip(windows_from(&p, first)) {
            for (i, ky) in rows.enumerate() {
                let from = &mut dx[from - start + i * row..][..run.len()];
                from.iter_mut().zip(&window[ky * line..][run.clone()]).for_each(|(dx, d)| *dx += d);
            }
        }
    }
}

vector! {
    /// Adds the bias to rows of sums and takes them through SiLU where it is wanted.
    fn activate(silu: bool, bias: &[f32], y: &mut [f32]) {
        for y in y.chunks_exact_mut(bias.len()) {
            if silu {
                for (y, b) in y.iter_mut().zip(bias) {
                    let s = *y + b;
                    *y = s * sigmoid::<FMA>(s);
                }
            } else {
                y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
    }
}

vector! {
    /// Turns sums without their bias into gradients of the sums.
    fn slope(bias: &[f32], dy: &[f32], sums: &mut [f32]) {
        let width = bias.len();
        for (d, dy) in sums.chunks_exact_mut(width).zip(dy.chunks_exact(width)) {
            for ((d, dy), b) in d.iter_mut().zip(dy).zip(bias) {
                let x = *d + b;
                let s = sigmoid::<FMA>(x);
                *d = dy * s * madd::<FMA>(x, 1.0 - s, 1.0);
            }
        }
    }
}

vector! {
    /// Adds up rows.
    fn add_rows(rows: &[f32], sum: &mut [f32]) {
        for row in rows.chunks_exact(sum.len()) {
            sum.iter_mut().zip(row).for_each(|(s, x)| *s += x);
        }
    }
}

/// `c = a b` or `c += a b`, rows of `n`, in this thread's own memory.
fn product(size: [usize; 3], c: &mut [f32], a: Matrix, b: Matrix, add: bool) {
    let row = size[1];
    // SAFETY: c is borrowed by this call alone.
    unsafe { gemm_alone(size, Scatter::new(c), 0, row, a, b, add) };
}

pub(super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
    let s = shape(p);
    let filters = Matrix::new(a.w, 0, s.taps).transposed();
    let work = a.y.chunks_mut(s.block * s.width).enumerate().collect();
    pool.each(work, |(i, y): (usize, &mut [f32])| {
        let rows = y.len() / s.width;
        let mut windows = Scratch::new(rows * s.taps);
        unroll(s.p, s.taps, a.x, i * s.block, &mut windows);
        product([rows, s.width, s.taps], y, Matrix::new(&windows, 0, s.taps), filters, false);
        activate(s.p.silu != 0, a.bias, y);
    });
}

pub(super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
    let s = shape(p);
    let (batch, size) = (p.batch as usize, (p.in_h * p.in_w * p.in_c) as usize);
    let filters = if g.w.is_some() { s.width * s.taps } else { 0 };
    // Whole inputs, because windows overlap.
    let most = (PARTIALS / filters.max(1)).clamp(1, 64);
    let cuts = pieces(batch, PARTIAL.div_ceil(s.places.max(1)), most);
    let mut sums = Scratch::zeros(cuts.len() * (filters + s.width));
    let (dw, dbias) = sums.split_at_mut(cuts.len() * filters);
    let mut dw_parts: Vec<&mut [f32]> = dw.chunks_mut(filters.max(1)).collect();
    dw_parts.resize_with(cuts.len(), Default::default);
    let parts = cut_wanted(g.x, &cuts, size).into_iter().zip(dw_parts).zip(dbias.chunks_mut(s.width));
    let work = cuts.iter().cloned().zip(parts).collect();
    pool.each(work, |(inputs, ((dx, dw), dbias)): (Range<usize>, ((Option<&mut [f32]>, &mut [f32]), &mut [f32]))| {
        back(&s, inputs, [a.x, a.w, a.bias, g.y], dx, dw, dbias, fresh.at(0));
    });
    if filters > 0 {
        gather(g.w, dw, fresh.at(1));
    }
    gather(g.bias, dbias, fresh.at(2));
}

/// The gradient for some inputs; that of the filters is not wanted where `dw` is empty.
fn back(
    s: &Shape,
    inputs: Range<usize>,
    [x, w, bias, dy]: [&[f32]; 4],
    mut dx: Option<&mut [f32]>,
    dw: &mut [f32],
    dbias: &mut [f32],
    fresh: bool,
) {
    if let Some(dx) = dx.as_deref_mut().filter(|_| fresh) {
        dx.fill(0.0);
    }
    let (taps, width) = (s.taps, s.width);
    let start = inputs.start * (s.p.in_h * s.p.in_w * s.p.in_c) as usize;
    let (first, last) = (inputs.start * s.places, inputs.end * s.places);
    let most = s.block.min(last - first);
    let (mut windows, mut slopes) = (Scratch::new(most * taps), Scratch::new(most * width));
    for at in (first..last).step_by(s.block) {
        let rows = s.block.min(last - at);
        let windows = &mut windows[..rows * taps];
        let mut d = &dy[at * width..][..rows * width];
        if s.p.silu != 0 || !dw.is_empty() {
            unroll(s.p, taps, x, at, windows);
        }
        if s.p.silu != 0 {
            let slopes = &mut slopes[..rows * width];
            let filters = Matrix::new(w, 0, taps).transposed();
            product([rows, width, taps], slopes, Matrix::new(windows, 0, taps), filters, false);
            slope(bias, d, slopes);
            d = slopes;
        }
        add_rows(d, dbias);
        let d = Matrix::new(d, 0, width);
        if !dw.is_empty() {
            product([width, taps, rows], dw, d.transposed(), Matrix::new(windows, 0, taps), true);
        }
        if let Some(dx) = dx.as_deref_mut() {
            product([rows, taps, width], windows, d, Matrix::new(w, 0, taps), false);
            roll(s.p, taps, windows, at, dx, start);
        }
    }
}
