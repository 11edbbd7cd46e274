//! `quantize` and `matmul_quantized`: rows and weights as integers where a machine multiplies
//! those faster, as floats of the same value otherwise.

use super::integers::{Quantized, Turned, row, sums, tiled, tiles};
use super::packed::{Packed, unpack};
use super::product::{Matrix, gemm_alone};
use super::share::{Scatter, Scratch, pieces};
use crate::pool::Pool;
use lichen_shaders::packed::{BLOCK, Format};

/// Rows up to which W as it lies is read again for each of them.
const FEW: usize = 4;
/// Weights that are worth waking a worker for.
const ENOUGH: usize = 32 << 10;
/// Outputs that are turned or unpacked at once: with usual widths they stay in the second-level cache.
const PIECE: usize = 128;

pub(super) mod quantize {
    use super::super::lanes::vector;
    use super::*;
    use lichen_shaders::quantize::{Args, Params, encode_row, row_words};

    pub(in super::super) fn forward(_: &Pool, p: &Params, a: Args<f32>) {
        let inputs = p.inputs as usize;
        for (r, q) in a.q.chunks_exact_mut(row_words(inputs)).enumerate() {
            one(&a.x[r * p.x_stride as usize + p.x_offset as usize..][..inputs], q);
        }
    }

    vector! {
        fn one(x: &[f32], q: &mut [u32]) {
            encode_row(x, q);
        }
    }
}

pub(super) mod matmul {
    use super::*;
    use lichen_shaders::matmul_quantized::{Args, Params};

    pub(in super::super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
        let (rows, inputs, outputs) = (p.rows as usize, p.inputs as usize, p.outputs as usize);
        let w = Packed::new(Format::of(p.format), outputs, inputs, a.w);
        let x = Quantized::new(a.x, inputs);
        let y = Scatter::new(a.y);
        if rows <= FEW {
            let least = ENOUGH.div_ceil(inputs * BLOCK);
            pool.each(pieces(outputs.div_ceil(BLOCK), least, pool.threads()), |r| {
                let (first, end) = (r.start * BLOCK, outputs.min(r.end * BLOCK));
                for i in 0..rows {
                    // SAFETY: every piece has columns of its own.
                    let y = unsafe { y.row(i * outputs + first, end - first) };
                    row(x, i, w, first, y);
                }
            });
            return;
        }
        let work = pieces(outputs, PIECE / 2, outputs.div_ceil(PIECE).max(pool.threads()));
        if tiled() {
            let (sums, from) = (sums(x, rows), (0..rows).collect::<Vec<usize>>());
            pool.each(work, |r| {
                let to: Vec<usize> = from.iter().map(|i| i * outputs + r.start).collect();
                // Every piece has columns of its own.
                tiles(x, &sums, &from, &Turned::new(w.from(r.start), r.len()), y, &to);
            });
            return;
        }
        let floats = x.floats(rows);
        pool.each(work, |r| {
            let mut weights = Scratch::new(r.len() * inputs);
            unpack(w.from(r.start), &mut weights);
            let (x, w) = (Matrix::new(&floats, 0, inputs), Matrix::new(&weights, 0, inputs).transposed());
            // SAFETY: every piece has columns of its own.
            unsafe { gemm_alone([rows, r.len(), inputs], y, r.start, outputs, x, w, false) };
        });
    }
}
