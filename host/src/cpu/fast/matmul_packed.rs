//! `matmul_packed` and `embed_packed`: weights are unpacked in registers for a few rows, piece by piece for GEMM
//! otherwise.

use super::packed::{Packed, row, unpack};
use super::product::{Matrix, gemm_alone};
use super::share::{Scatter, Scratch, pieces};
use crate::pool::Pool;
use lichen_shaders::packed::{BLOCK, Format};

/// Rows up to which decoding W again for each of them is cheaper than unpacking it for GEMM.
const FEW: usize = 4;
/// Weights that are worth waking a worker for.
const ENOUGH: usize = 16 << 10;
/// Outputs that are unpacked at once: with usual widths they stay in the second-level cache.
const PIECE: usize = 128;

pub(super) mod matmul {
    use super::*;
    use lichen_shaders::matmul_packed::{Args, Params};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let (rows, inputs, outputs) = (p.rows as usize, p.inputs as usize, p.outputs as usize);
        let (stride, offset) = (p.x_stride as usize, p.x_offset as usize);
        let w = Packed::new(Format::of(p.format), outputs, inputs, a.w);
        let y = Scatter::new(a.y);
        if rows <= FEW {
            let least = ENOUGH.div_ceil(inputs * BLOCK);
            pool.each(pieces(outputs.div_ceil(BLOCK), least, pool.threads()), |r| {
                let (first, end) = (r.start * BLOCK, outputs.min(r.end * BLOCK));
                let mut scales = Scratch::new(4 * (inputs / BLOCK));
                for i in 0..rows {
                    // SAFETY: every piece has columns of its own.
                    let y = unsafe { y.row(i * outputs + first, end - first) };
                    row(&a.x[i * stride + offset..][..inputs], w, first, &mut scales, y);
                }
            });
            return;
        }
        pool.each(pieces(outputs, PIECE / 2, outputs.div_ceil(PIECE).max(pool.threads())), |r| {
            let mut floats = Scratch::new(r.len() * inputs);
            unpack(w.from(r.start), &mut floats);
            let (x, w) = (Matrix::new(a.x, offset, stride), Matrix::new(&floats, 0, inputs).transposed());
            // SAFETY: every piece has columns of its own.
            unsafe { gemm_alone([rows, r.len(), inputs], y, r.start, outputs, x, w, false) };
        });
    }
}

pub(super) mod embed {
    use super::*;
    use lichen_shaders::embed_packed::{Args, Params};

    pub(in super::super) fn forward(_: &Pool, p: &Params, a: Args<f32>) {
        let (width, count) = (p.width as usize, p.count as usize);
        let table = Packed::new(Format::of(p.format), count, width, a.table);
        for (&id, x) in a.ids.iter().zip(a.x.chunks_exact_mut(width)) {
            let Some(row) = id.checked_sub(p.first).filter(|&row| row < p.count) else { continue };
            unpack(table.from(row as usize), x);
            x.iter_mut().for_each(|x| *x *= p.scale);
        }
    }
}
