//! `section_up` and `section_down`: picks grouped by section, so that each section's weights are read once and
//! multiply all rows that picked it. The rows stay where they are; register tiles find them by their starts.
//!
//! Nothing is added to one element by two workers: slots belong to one section, a row's input gradient to one
//! worker that takes the sections in order, a weight gradient to one worker that takes the rows in order.
//!
//! All but the gradients of weights serve packed weights too, through [`Up`], [`Down`] and [`Whole`].

use super::Fresh;
use super::lanes::{LANES, dot, madd, prefetch, vector};
use super::product::{Rows, dots, outer, times};
use super::share::{Scatter, Scratch, cut, pieces};
use super::transpose::transpose;
use crate::pool::Pool;
use lichen_shaders::section_up::Params;
use std::ops::Range;

/// Below this many rows a section's weights are not worth transposing or unpacking for the tiles.
pub(super) const FEW: usize = 8;
/// Rows of one piece of work, so that the shared section, which all rows pick, is shared among the workers.
const PIECE: usize = 256;

/// Weights that are worth waking a worker for.
const ENOUGH: usize = 32 << 10;
/// Pieces for each worker: suppressed features make some of them short.
const PARTS: usize = 3;

/// What both kernels' params say.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    rows: usize,
    picks: usize,
    pub(super) width: usize,
    pub(super) neurons: usize,
    stride: usize,
    first: usize,
    per_chunk: usize,
    /// Elements of a slab's up half, and of its down half.
    half: usize,
    /// Slabs that each chunk really holds; the last one may be short.
    held: [usize; 4],
    sections: usize,
}

impl Shape {
    /// Of slabs whose halves have that many elements.
    pub(super) fn new(p: &Params, half: usize) -> Self {
        let (stride, per_chunk) = (p.stride as usize, p.per_chunk as usize);
        let held = |len: u32| match (len as usize).checked_sub(2 * half) {
            Some(rest) => (rest / stride + 1).min(per_chunk),
            None => 0,
        };
        Self {
            rows: p.rows as usize,
            picks: p.picks as usize,
            width: p.width as usize,
            neurons: p.neurons as usize,
            stride,
            first: p.first as usize,
            per_chunk,
            half,
            held: [p.c0, p.c1, p.c2, p.c3].map(held),
            sections: p.chunks.min(4) as usize * per_chunk,
        }
    }
    /// Of slabs of floats.
    fn plain(p: &Params) -> Self {
        Self::new(p, p.neurons as usize * p.width as usize)
    }
    fn holds(&self, section: usize) -> bool {
        section < self.sections && section % self.per_chunk < self.held[section / self.per_chunk]
    }
    /// A picked id's section within this window.
    fn section(&self, id: u32) -> Option<usize> {
        (id as usize).checked_sub(self.first).filter(|&s| self.holds(s))
    }
    /// A section's up or down half.
    pub(super) fn block<'a, T>(&self, chunks: [&'a [T]; 4], section: usize, down: bool) -> &'a [T] {
        let at = section % self.per_chunk * self.stride + if down { self.half } else { 0 };
        &chunks[section / self.per_chunk][at..at + self.half]
    }
    /// Up or down gradients of every section, left out where nobody wants them.
    fn gradients<'a>(
        &self,
        mut chunks: [Option<&'a mut [f32]>; 4],
        down: bool,
        fresh: Fresh,
    ) -> Vec<Option<&'a mut [f32]>> {
        for (i, chunk) in chunks.iter_mut().enumerate() {
            // Chunk 0 is the third binding of both kernels.
            if let (Some(chunk), true) = (chunk, fresh.at(2 + i)) {
                chunk.fill(0.0);
            }
        }
        let mut all = Vec::with_capacity(self.sections);
        for (chunk, held) in chunks.into_iter().zip(self.held).take(self.sections / self.per_chunk) {
            let whole = all.len() + self.per_chunk;
            if let Some(chunk) = chunk {
                all.extend(chunk.chunks_mut(self.stride).take(held).map(|slab| {
                    let (up, rest) = slab.split_at_mut(self.half);
                    Some(if down { &mut rest[..self.half] } else { up })
                }));
            }
            all.resize_with(whole, || None);
        }
        all
    }
}

/// Slots by section.
struct Plan {
    /// Ends of each section's slots: section s has `slots[bounds[s]..bounds[s + 1]]`.
    bounds: Vec<usize>,
    /// `row * picks + pick`, ascending within a section.
    slots: Vec<usize>,
}
impl Plan {
    /// Groups the picks of some rows: a counting sort.
    fn new(s: &Shape, ids: &[u32], rows: Range<usize>) -> Self {
        let picks = rows.start * s.picks..rows.end * s.picks;
        let mut bounds = vec![0; s.sections + 2];
        let found = || picks.clone().filter_map(|slot| Some((slot, s.section(ids[slot])?)));
        found().for_each(|(_, section)| bounds[section + 2] += 1);
        (1..bounds.len()).for_each(|i| bounds[i] += bounds[i - 1]);
        let mut slots = vec![0; *bounds.last().unwrap_or(&0)];
        for (slot, section) in found() {
            slots[bounds[section + 1]] = slot;
            bounds[section + 1] += 1;
        }
        bounds.pop();
        Self { bounds, slots }
    }
    fn of(&self, section: usize) -> &[usize] {
        &self.slots[self.bounds[section]..self.bounds[section + 1]]
    }
    /// Every section with picks, in pieces of at most [`PIECE`] slots, the largest first.
    fn work(&self) -> Vec<(usize, &[usize])> {
        let mut all: Vec<_> =
            (0..self.bounds.len() - 1).flat_map(|s| self.of(s).chunks(PIECE).map(move |part| (s, part))).collect();
        all.sort_by_key(|(s, part)| (std::cmp::Reverse(part.len()), *s));
        all
    }
}

/// Starts of rows of `width`: one for each slot, or for each slot's row.
fn starts(slots: &[usize], picks: usize, width: usize) -> Vec<usize> {
    slots.iter().map(|slot| slot / picks * width).collect()
}

/// The up weights of a window's sections and the rows z that they meet, in whatever form they are kept.
pub(super) trait Up: Sync {
    /// `h = W z` of one row of z, for some neurons of a section.
    fn one(&self, section: usize, neurons: Range<usize>, row: usize, h: &mut [f32]);
    /// `h[i] = W z` of many rows, those of some slots: row i of h starts at `to[i]`. `picks` slots share a row of z.
    ///
    /// Nobody else may touch those rows of h meanwhile, and they must not overlap.
    fn many(&self, section: usize, slots: &[usize], picks: usize, h: Scatter, to: &[usize]);
}

/// The weights of a window's sections, in whatever form they are kept.
pub(super) trait Whole: Sync {
    /// Shows `then` a section's up or down matrix [neurons, width] as floats.
    fn whole(&self, section: usize, down: bool, then: impl FnOnce(&[f32]));
}

/// The down weights of a window's sections, in whatever form they are kept.
pub(super) trait Down: Whole {
    /// Columns that [`Down::one`] takes together.
    const COLUMNS: usize;
    /// Rows below which [`Down::one`] for each beats [`Whole::whole`] for all.
    const FEW: usize;
    /// `y = sum over e of h[e] down[e]` of one row, for some columns; suppressed neurons are skipped.
    fn one(&self, section: usize, columns: Range<usize>, h: &[f32], y: &mut [f32]);
}

/// Weights that are floats already, and the rows that their up halves meet.
struct Plain<'a> {
    s: &'a Shape,
    chunks: [&'a [f32]; 4],
    z: &'a [f32],
}
impl Up for Plain<'_> {
    fn one(&self, section: usize, neurons: Range<usize>, r: usize, h: &mut [f32]) {
        let w = self.s.block(self.chunks, section, false);
        let width = self.s.width;
        row(&self.z[r * width..][..width], &w[neurons.start * width..neurons.end * width], h);
    }
    fn many(&self, section: usize, slots: &[usize], picks: usize, h: Scatter, to: &[usize]) {
        up_many(self.s, self.s.block(self.chunks, section, false), self.z, slots, picks, h, to);
    }
}
impl Down for Plain<'_> {
    const COLUMNS: usize = LANES;
    const FEW: usize = 0;
    fn one(&self, section: usize, columns: Range<usize>, h: &[f32], y: &mut [f32]) {
        combine(h, &self.s.block(self.chunks, section, true)[columns.start..], self.s.width, y);
    }
}
impl Whole for Plain<'_> {
    fn whole(&self, section: usize, down: bool, then: impl FnOnce(&[f32])) {
        then(self.s.block(self.chunks, section, down));
    }
}

/// `h = W z` of many rows of floats: see [`Up::many`]; W is [neurons, width].
pub(super) fn up_many(s: &Shape, w: &[f32], z: &[f32], slots: &[usize], picks: usize, h: Scatter, to: &[usize]) {
    let mut turned = Scratch::new(s.neurons * s.width);
    transpose(w, s.neurons, s.width, &mut turned);
    let from = starts(slots, picks, s.width);
    times(Rows { data: z, starts: &from }, s.width, &turned, s.neurons, h, to, false);
}

/// The up kernel: rows of z to h [rows, picks, neurons].
pub(super) fn run_up(pool: &Pool, s: &Shape, weights: &impl Up, ids: &[u32], h: &mut [f32]) {
    let h = Scatter::new(h);
    if s.rows < 3 {
        return each_slot(pool, s, ids, s.neurons, LANES, |slot, section, part| {
            // SAFETY: every part of every slot is visited once.
            let h = unsafe { h.row(slot * s.neurons + part.start, part.len()) };
            weights.one(section, part, slot / s.picks, h);
            square(h);
        });
    }
    let plan = Plan::new(s, ids, 0..s.rows);
    pool.each(plan.work(), |(section, slots)| {
        let to = starts(slots, 1, s.neurons);
        if slots.len() < FEW {
            for (&slot, &to) in slots.iter().zip(&to) {
                // SAFETY: every slot is in one piece of work.
                let h = unsafe { h.row(to, s.neurons) };
                weights.one(section, 0..s.neurons, slot / s.picks, h);
            }
        } else {
            weights.many(section, slots, s.picks, h, &to);
        }
        for to in to {
            // SAFETY: every slot is in one piece of work.
            square(unsafe { h.row(to, s.neurons) });
        }
    });
}

/// The down kernel: h [rows, picks, neurons] to y [rows, picks, width].
pub(super) fn run_down<W: Down>(pool: &Pool, s: &Shape, weights: &W, ids: &[u32], h: &[f32], y: &mut [f32]) {
    let y = Scatter::new(y);
    if s.rows < 3 {
        return each_slot(pool, s, ids, s.width, W::COLUMNS, |slot, section, part| {
            let h = &h[slot * s.neurons..][..s.neurons];
            // SAFETY: every part of every slot is visited once.
            let y = unsafe { y.row(slot * s.width + part.start, part.len()) };
            weights.one(section, part, h, y);
        });
    }
    let plan = Plan::new(s, ids, 0..s.rows);
    pool.each(plan.work(), |(section, slots)| {
        let (from, to) = (starts(slots, 1, s.neurons), starts(slots, 1, s.width));
        if slots.len() < W::FEW {
            for (&from, &to) in from.iter().zip(&to) {
                // SAFETY: every slot is in one piece of work.
                let y = unsafe { y.row(to, s.width) };
                weights.one(section, 0..s.width, &h[from..][..s.neurons], y);
            }
            return;
        }
        weights.whole(section, true, |w| {
            times(Rows { data: h, starts: &from }, s.neurons, w, s.width, y, &to, false);
        });
    });
}

/// The up kernel backward: from dh to z's gradient, where it is wanted. `fresh`: its old contents mean nothing. Returns
/// the gradients of `up . z`, [rows, picks, neurons].
pub(super) fn up_gradient(
    pool: &Pool,
    s: &Shape,
    weights: &impl Whole,
    ids: &[u32],
    (h, dh): (&[f32], &[f32]),
    dz: Option<&mut [f32]>,
    fresh: bool,
) -> Scratch {
    let mut da = Scratch::new(h.len());
    let cuts = pieces(s.rows, 16, pool.threads());
    let widths = s.picks * s.neurons;
    let work = cuts.iter().cloned().zip(cut(&mut da, &cuts, widths)).collect();
    pool.each(work, |(rows, da): (Range<usize>, &mut [f32])| {
        let range = rows.start * widths..rows.end * widths;
        unsquare(&h[range.clone()], &dh[range], da);
    });
    if let Some(dz) = dz {
        let work = cuts.iter().cloned().zip(cut(dz, &cuts, s.width)).collect();
        pool.each(work, |(rows, dz): (Range<usize>, &mut [f32])| {
            if fresh {
                dz.fill(0.0);
            }
            let plan = Plan::new(s, ids, rows.clone());
            let dz = Scatter::new(dz);
            for section in (0..s.sections).filter(|&section| !plan.of(section).is_empty()) {
                let slots = plan.of(section);
                let from = starts(slots, 1, s.neurons);
                let to: Vec<usize> = slots.iter().map(|slot| (slot / s.picks - rows.start) * s.width).collect();
                weights.whole(section, false, |w| {
                    times(Rows { data: &da, starts: &from }, s.neurons, w, s.width, dz, &to, true);
                });
            }
        });
    }
    da
}

/// The down kernel backward: from the slots' gradient to h's. `fresh`: its old contents mean nothing.
pub(super) fn down_gradient(
    pool: &Pool,
    s: &Shape,
    weights: &impl Whole,
    ids: &[u32],
    dslots: &[f32],
    dh: &mut [f32],
    fresh: bool,
) {
    let plan = Plan::new(s, ids, 0..s.rows);
    if fresh && plan.slots.len() < s.rows * s.picks {
        dh.fill(0.0);
    }
    let dh = Scatter::new(dh);
    pool.each(plan.work(), |(section, slots)| {
        let mut turned = Scratch::new(s.neurons * s.width);
        weights.whole(section, true, |w| transpose(w, s.neurons, s.width, &mut turned));
        let (from, to) = (starts(slots, 1, s.width), starts(slots, 1, s.neurons));
        times(Rows { data: dslots, starts: &from }, s.width, &turned, s.neurons, dh, &to, !fresh);
    });
}

pub(super) mod up {
    use super::*;
    use lichen_shaders::section_up::{Args, Grads, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let s = Shape::plain(p);
        let weights = Plain { s: &s, chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3], z: a.z };
        run_up(pool, &s, &weights, a.ids, a.h);
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let s = Shape::plain(p);
        let slabs = Plain { s: &s, chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3], z: a.z };
        let da = up_gradient(pool, &s, &slabs, a.ids, (a.h, g.h), g.z, fresh.at(0));
        let plan = Plan::new(&s, a.ids, 0..s.rows);
        let gradients = s.gradients([g.chunk0, g.chunk1, g.chunk2, g.chunk3], false, fresh);
        weights(pool, &s, &plan, gradients, &da, a.z, s.width, s.picks);
    }
}

pub(super) mod down {
    use super::*;
    use lichen_shaders::section_down::{Args, Grads, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let s = Shape::plain(p);
        let weights = Plain { s: &s, chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3], z: &[] };
        run_down(pool, &s, &weights, a.ids, a.h, a.slots);
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let s = Shape::plain(p);
        let slabs = Plain { s: &s, chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3], z: &[] };
        if let Some(dh) = g.h {
            down_gradient(pool, &s, &slabs, a.ids, g.slots, dh, fresh.at(0));
        }
        let plan = Plan::new(&s, a.ids, 0..s.rows);
        let gradients = s.gradients([g.chunk0, g.chunk1, g.chunk2, g.chunk3], true, fresh);
        weights(pool, &s, &plan, gradients, a.h, g.slots, s.width, 1);
    }
}

/// Adds `sum over a section's slots of a^T b` to its gradient: a is a row of neurons for each slot, b a row of
/// `width` for every `per` slots. A section with many rows is cut by neurons.
fn weights(
    pool: &Pool,
    s: &Shape,
    plan: &Plan,
    gradients: Vec<Option<&mut [f32]>>,
    a: &[f32],
    b: &[f32],
    width: usize,
    per: usize,
) {
    let share = plan.slots.len().div_ceil(4 * pool.threads()).max(1);
    let mut work = Vec::new();
    for (section, gradient) in gradients.into_iter().enumerate() {
        let (Some(gradient), slots) = (gradient, plan.of(section)) else { continue };
        if !slots.is_empty() {
            // One cut for each share of all slots that the section has.
            let cuts = pieces(s.neurons, 12, slots.len().div_ceil(share));
            work.extend(cut(gradient, &cuts, width).into_iter().zip(cuts).map(|(g, cut)| (slots, cut, g)));
        }
    }
    work.sort_by_key(|(slots, neurons, _)| std::cmp::Reverse(slots.len() * neurons.len()));
    pool.each(work, |(slots, neurons, gradient)| {
        let from: Vec<usize> = slots.iter().map(|slot| slot * s.neurons + neurons.start).collect();
        let to = starts(slots, per, width);
        outer(gradient, Rows { data: a, starts: &from }, neurons.len(), Rows { data: b, starts: &to }, width);
    });
}

/// Runs `work` on every slot of this window, its section, and a part of `0..across` in whole units, shared among the
/// workers. The window's own slots are found first, for ids ascend and one worker could otherwise get them all; and
/// slots are cut, for a window may hold just one.
fn each_slot(
    pool: &Pool,
    s: &Shape,
    ids: &[u32],
    across: usize,
    unit: usize,
    work: impl Fn(usize, usize, Range<usize>) + Sync,
) {
    let found: Vec<_> =
        (0..s.rows * s.picks).filter_map(|slot| s.section(ids[slot]).map(|section| (slot, section))).collect();
    let cut = across.div_ceil(unit);
    let least = (ENOUGH * cut).div_ceil(s.neurons * s.width);
    let many = if pool.threads() == 1 { 1 } else { PARTS * pool.threads() };
    pool.each(pieces(found.len() * cut, least, many), |units| {
        let mut at = units.start;
        while at < units.end {
            let (i, first) = (at / cut, at % cut);
            let last = cut.min(first + units.end - at);
            let (slot, section) = found[i];
            work(slot, section, first * unit..across.min(last * unit));
            at += last - first;
        }
    });
}

vector! {
    /// `h = W z` of one row.
    fn row(z: &[f32], w: &[f32], h: &mut [f32]) {
        let width = z.len();
        for (h, w) in h.chunks_mut(4).zip(w.chunks(4 * width)) {
            if h.len() == 4 {
                h.copy_from_slice(&dots::<FMA>(z, w));
            } else {
                h.iter_mut().zip(w.chunks(width)).for_each(|(h, w)| *h = dot::<FMA>(z, w));
            }
        }
    }
}

vector! {
    /// `h = relu(h)^2` in place.
    fn square(h: &mut [f32]) {
        for h in h {
            let x = if *h > 0.0 { *h } else { 0.0 };
            *h = x * x;
        }
    }
}

vector! {
    /// Gradient before the square: `2 sqrt(h) dh`.
    fn unsquare(h: &[f32], dh: &[f32], da: &mut [f32]) {
        for ((&h, &dh), da) in h.iter().zip(dh).zip(da) {
            *da = 2.0 * h.sqrt() * dh;
        }
    }
}

vector! {
    /// `y = sum over e of h[e] down[e]`; suppressed neurons are skipped with their rows, which are `stride` apart.
    fn combine(h: &[f32], down: &[f32], stride: usize, y: &mut [f32]) {
        assert!(h.is_empty() || down.len() >= (h.len() - 1) * stride + y.len(), "rows are short");
        y.fill(0.0);
        let mut awake = h.iter().enumerate().filter(|(_, h)| **h != 0.0).map(|(e, h)| (e * stride, *h));
        // Four rows a sweep, and the next four on their way from memory meanwhile. A missing row counts as nothing.
        let mut next = take(&mut awake);
        while let Some(four) = next {
            next = take(&mut awake);
            let ahead = next.unwrap_or(four);
            let whole = y.len() / LANES * LANES;
            for i in (0..whole).step_by(LANES) {
                // SAFETY: `i + LANES <= y.len()`, and the assertion covers the rows.
                unsafe {
                    let at = y.as_mut_ptr().add(i).cast::<[f32; LANES]>();
                    let mut sums = *at;
                    for r in 0..4 {
                        prefetch(down.as_ptr(), ahead[r].0 + i);
                        let w: [f32; LANES] = *down.as_ptr().add(four[r].0 + i).cast();
                        for l in 0..LANES {
                            sums[l] = madd::<FMA>(four[r].1, w[l], sums[l]);
                        }
                    }
                    *at = sums;
                }
            }
            for i in whole..y.len() {
                for (row, h) in four {
                    y[i] = madd::<FMA>(h, down[row + i], y[i]);
                }
            }
        }
    }
}

/// The next four rows that are awake, by start and factor; a missing one is the first again with factor zero.
#[inline(always)]
pub(super) fn take(awake: &mut impl Iterator<Item = (usize, f32)>) -> Option<[(usize, f32); 4]> {
    let first = awake.next()?;
    let mut four = [(first.0, 0.0); 4];
    four[0] = first;
    for slot in &mut four[1..] {
        match awake.next() {
            Some(row) => *slot = row,
            None => break,
        }
    }
    Some(four)
}
