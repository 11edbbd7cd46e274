//! `section_up_packed` and `section_down_packed`: the walks of [`super::sections`] over packed weights.
//!
//! For few rows weights are unpacked in registers; for many rows a section is unpacked to floats once and the tiles do
//! the rest.

use super::packed::{Packed, combine, row, unpack};
use super::sections::{self, Shape, Weights, run_down, run_up, square};
use super::share::Scratch;
use crate::pool::Pool;
use lichen_shaders::packed::{BLOCK, Format};
use std::ops::Range;

pub(super) mod up {
    use super::*;
    use lichen_shaders::section_up_packed::{Args, Params};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let s = Shape::new(&p.window(), p.half());
        let weights = Chunks { s: &s, format: p.packing(), chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3] };
        run_up(pool, &s, &weights, a.ids, a.z, a.h);
    }
}

pub(super) mod down {
    use super::*;
    use lichen_shaders::section_down_packed::{Args, Params};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let s = Shape::new(&p.window(), p.half());
        let weights = Chunks { s: &s, format: p.packing(), chunks: [a.chunk0, a.chunk1, a.chunk2, a.chunk3] };
        run_down(pool, &s, &weights, a.ids, a.h, a.slots);
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
}
impl Weights for Chunks<'_> {
    const COLUMNS: usize = BLOCK;
    const FEW: usize = sections::FEW;
    fn up(&self, section: usize, neurons: Range<usize>, z: &[f32], h: &mut [f32]) {
        row(z, self.matrix(section, false), neurons.start, &mut Scratch::new(4 * (self.s.width / BLOCK)), h);
        square(h);
    }
    fn down(&self, section: usize, columns: Range<usize>, h: &[f32], y: &mut [f32]) {
        let mut factors = Scratch::new(4 * (columns.len() / BLOCK));
        combine(h, self.matrix(section, true), columns.start, &mut factors, y);
    }
    fn whole(&self, section: usize, down: bool, then: impl FnOnce(&[f32])) {
        let mut floats = Scratch::new(self.s.neurons * self.s.width);
        unpack(self.matrix(section, down), &mut floats);
        then(&floats);
    }
}
