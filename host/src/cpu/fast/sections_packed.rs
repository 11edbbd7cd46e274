//! `section_up_packed`, `section_up_quantized` and `section_down_packed`: the walks of [`super::sections`] over packed
//! weights.
//!
//! For few rows weights are unpacked in registers where they are multiplied, a block of 32 at a time, and the block's
//! scale multiplies the block's sum; for many rows a section is unpacked to floats, or turned for tiles of integers,
//! once and the tiles do the rest.

use super::Fresh;
use super::integers::{self, Quantized, Turned, sums, tiled, tiles};
use super::lanes::{LANES, madd, prefetch, vector};
use super::packed::{Blocks, Bytes, Halves, Nibbles, Packed, half, row, unpack};
use super::sections::{Down, FEW, Shape, Up, Whole, down_gradient, run_down, run_up, take, up_gradient, up_many};
use super::share::{Scatter, Scratch};
use crate::pool::Pool;
use lichen_shaders::packed::{BLOCK, Format};
use std::ops::Range;

pub(super) mod up {
    use super::*;
    use lichen_shaders::section_up_packed::{Args, Grads, Params, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let s = Shape::new(&p.window(), p.half());
        let chunks = Chunks { s: &s, format: p.packing(), chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3] };
        run_up(pool, &s, &Floats { weights: chunks, z: a.z }, a.ids, a.h);
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let s = Shape::new(&p.window(), p.half());
        let chunks = Chunks { s: &s, format: p.packing(), chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3] };
        up_gradient(pool, &s, &chunks, a.ids, (a.h, g.h), g.z, fresh.at(0));
    }
}

pub(super) mod up_quantized {
    use super::*;
    use lichen_shaders::section_up_quantized::{Args, Params};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let s = Shape::new(&p.window(), p.half());
        let weights = Chunks { s: &s, format: p.packing(), chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3] };
        let (rows, z) = (p.rows as usize, Quantized::new(a.z, s.width));
        // Many rows need more of z than its words.
        let few = a.ids.len() < FEW;
        let room = if few {
            Scratch::new(0)
        } else if tiled() {
            sums(z, rows)
        } else {
            z.floats(rows)
        };
        run_up(pool, &s, &Integers { weights, z, room: &room }, a.ids, a.h);
    }
}

pub(super) mod down {
    use super::*;
    use lichen_shaders::section_down_packed::{Args, Grads, Params, Values};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let s = Shape::new(&p.window(), p.half());
        let weights = Chunks { s: &s, format: p.packing(), chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3] };
        run_down(pool, &s, &weights, a.ids, a.h, a.slots);
    }

    pub(in super::super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
        let Some(dh) = g.h else { return };
        let s = Shape::new(&p.window(), p.half());
        let weights = Chunks { s: &s, format: p.packing(), chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3] };
        down_gradient(pool, &s, &weights, a.ids, g.slots, dh, fresh.at(0));
    }
}

/// Packed weights of a window's sections.
struct Chunks<'a> {
    s: &'a Shape,
    format: Format,
    chunks: [&'a [u32]; 4],
}
impl<'a> Chunks<'a> {
    fn matrix(&self, section: usize, down: bool) -> Packed<'a> {
        Packed::new(self.format, self.s.neurons, self.s.width, self.s.block(self.chunks, section, down))
    }
    /// The matrix as floats.
    fn floats(&self, section: usize, down: bool) -> Scratch {
        let mut floats = Scratch::new(self.s.neurons * self.s.width);
        unpack(self.matrix(section, down), &mut floats);
        floats
    }
}
impl Down for Chunks<'_> {
    const COLUMNS: usize = BLOCK;
    const FEW: usize = FEW;
    fn one(&self, section: usize, columns: Range<usize>, h: &[f32], y: &mut [f32]) {
        let mut factors = Scratch::new(4 * (columns.len() / BLOCK));
        combine(h, self.matrix(section, true), columns.start, &mut factors, y);
    }
}
impl Whole for Chunks<'_> {
    fn whole(&self, section: usize, down: bool, then: impl FnOnce(&[f32])) {
        then(&self.floats(section, down));
    }
}

/// Packed weights that meet rows of floats.
struct Floats<'a> {
    weights: Chunks<'a>,
    z: &'a [f32],
}
impl Up for Floats<'_> {
    fn one(&self, section: usize, neurons: Range<usize>, r: usize, h: &mut [f32]) {
        let width = self.weights.s.width;
        let mut scales = Scratch::new(4 * (width / BLOCK));
        row(&self.z[r * width..][..width], self.weights.matrix(section, false), neurons.start, &mut scales, h);
    }
    fn many(&self, section: usize, slots: &[usize], picks: usize, h: Scatter, to: &[usize]) {
        up_many(self.weights.s, &self.weights.floats(section, false), self.z, slots, picks, h, to);
    }
}

/// Packed weights that meet rows in 8 bits.
struct Integers<'a> {
    weights: Chunks<'a>,
    z: Quantized<'a>,
    /// Of many rows: sums of z's blocks where integers have tiles, z as floats elsewhere.
    room: &'a [f32],
}
impl Up for Integers<'_> {
    fn one(&self, section: usize, neurons: Range<usize>, r: usize, h: &mut [f32]) {
        integers::row(self.z, r, self.weights.matrix(section, false), neurons.start, h);
    }
    fn many(&self, section: usize, slots: &[usize], picks: usize, h: Scatter, to: &[usize]) {
        if tiled() {
            let from: Vec<usize> = slots.iter().map(|slot| slot / picks).collect();
            let weights = Turned::new(self.weights.matrix(section, false), self.weights.s.neurons);
            return tiles(self.z, self.room, &from, &weights, h, to);
        }
        up_many(self.weights.s, &self.weights.floats(section, false), self.room, slots, picks, h, to);
    }
}

vector! {
    /// `y[i] = sum over e of h[e] W[e, first + i]`; suppressed neurons are skipped with their rows. `first` starts a
    /// block. `factors` is room for one number for each block of y and four rows.
    fn combine(h: &[f32], w: Packed<'_>, first: usize, factors: &mut [f32], y: &mut [f32]) {
        match w.format {
            Format::F16 => sweep::<FMA, AVX2, WIDE, Halves>(h, w, first, factors, y),
            Format::Q8 => sweep::<FMA, AVX2, WIDE, Bytes>(h, w, first, factors, y),
            Format::Q4 => sweep::<FMA, AVX2, WIDE, Nibbles>(h, w, first, factors, y),
        }
    }
}

#[inline(always)]
fn sweep<const F: bool, const AVX2: bool, const WIDE: bool, B: Blocks>(
    h: &[f32],
    w: Packed<'_>,
    first: usize,
    factors: &mut [f32],
    y: &mut [f32],
) {
    let (bytes, blocks) = w.strides::<B>(h.len());
    let (whole, offset) = (y.len() / BLOCK, first / BLOCK);
    assert!(first.is_multiple_of(BLOCK) && first + y.len() <= w.width, "columns outside the matrix");
    assert!(factors.len() >= 4 * whole, "the room for factors is short");
    y.fill(0.0);
    let mut awake = h.iter().enumerate().filter(|(_, h)| **h != 0.0).map(|(e, h)| (e, *h));
    // Four rows a sweep, and the next four on their way from memory meanwhile. A missing row counts as nothing.
    let mut next = take(&mut awake);
    while let Some(four) = next {
        next = take(&mut awake);
        let ahead = next.unwrap_or(four);
        for r in 0..4 {
            let factors = &mut factors[r * whole..][..whole];
            if B::SCALED {
                let scales = &w.scales[four[r].0 * blocks + offset..][..whole];
                for line in (0..whole).step_by(BLOCK) {
                    prefetch(w.scales.as_ptr(), ahead[r].0 * blocks + offset + line);
                }
                for b in 0..whole {
                    factors[b] = four[r].1 * half(scales[b]);
                }
            } else {
                factors.fill(four[r].1);
            }
        }
        for b in 0..whole {
            // SAFETY: block b of y; `strides` and the assertions cover the rows' blocks and their factors.
            unsafe {
                let at = y.as_mut_ptr().add(b * BLOCK).cast::<[[f32; LANES]; 2]>();
                let [mut y0, mut y1] = *at;
                let factors = factors.as_ptr().add(b);
                if B::BIAS != 0.0 {
                    let all = *factors + *factors.add(whole) + *factors.add(2 * whole) + *factors.add(3 * whole);
                    for l in 0..LANES {
                        y0[l] = madd::<F>(all, -B::BIAS, y0[l]);
                    }
                    for l in 0..LANES {
                        y1[l] = madd::<F>(all, -B::BIAS, y1[l]);
                    }
                }
                for r in 0..4 {
                    if (b * B::BYTES).is_multiple_of(64) {
                        prefetch(w.quants.as_ptr(), ahead[r].0 * bytes + (offset + b) * B::BYTES);
                    }
                    let factor = *factors.add(r * whole);
                    let [w0, w1] =
                        B::stored::<AVX2, WIDE>(w.quants.as_ptr().add(four[r].0 * bytes + (offset + b) * B::BYTES));
                    for l in 0..LANES {
                        y0[l] = madd::<F>(factor, w0[l], y0[l]);
                    }
                    for l in 0..LANES {
                        y1[l] = madd::<F>(factor, w1[l], y1[l]);
                    }
                }
                *at = [y0, y1];
            }
        }
        // Only half precision has rows that are no whole blocks.
        for i in whole * BLOCK..y.len() {
            for (row, h) in four {
                let at = row * bytes + 2 * (first + i);
                let bits = u16::from_le_bytes([w.quants[at], w.quants[at + 1]]);
                y[i] = madd::<F>(h, half(bits), y[i]);
            }
        }
    }
}
