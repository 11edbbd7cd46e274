//! `matmul`: GEMM for many rows, one group at a time; dots for a few rows.

use super::Fresh;
use super::product::{Matrix, gemm, matvec};
use crate::pool::Pool;
use lichen_shaders::matmul::{Args, Grads, Params, Values};

/// Up to this many rows the weights' traffic is what counts, and dots beat GEMM's packing.
const FEW: usize = 4;

struct Shape {
    rows: usize,
    groups: usize,
    /// Inputs and outputs of a group.
    k: usize,
    n: usize,
    stride: usize,
    offset: usize,
    outputs: usize,
}
fn shape(p: &Params) -> Shape {
    let groups = p.groups as usize;
    Shape {
        rows: p.rows as usize,
        groups,
        k: p.inputs as usize / groups,
        n: p.outputs as usize / groups,
        stride: p.x_stride as usize,
        offset: p.x_offset as usize,
        outputs: p.outputs as usize,
    }
}

pub(super) fn forward(pool: &Pool, p: &Params, a: Args<f32>) {
    let s = shape(p);
    for g in 0..s.groups {
        let (x, y) = (s.offset + g * s.k, g * s.n);
        let w = &a.w[g * s.n * s.k..][..s.n * s.k];
        if s.rows <= FEW {
            matvec(pool, &a.x[x..], s.stride, w, s.k, &mut a.y[y..], s.outputs, s.rows);
        } else {
            let x = Matrix::new(a.x, x, s.stride);
            let w = Matrix::new(w, 0, s.k).transposed();
            gemm(pool, [s.rows, s.n, s.k], a.y, y, s.outputs, x, w, false);
        }
    }
}

pub(super) fn backward(pool: &Pool, p: &Params, a: Values<f32>, g: Grads<f32>, fresh: Fresh) {
    let s = shape(p);
    let Grads { mut x, mut w, y, .. } = g;
    let (mut add_x, add_w) = (!fresh.at(0), !fresh.at(1));
    if let Some(dx) = x.as_deref_mut().filter(|_| !add_x && s.stride != s.k * s.groups) {
        dx.fill(0.0);
        add_x = true;
    }
    for g in 0..s.groups {
        let at = s.offset + g * s.k;
        let dy = Matrix::new(y, g * s.n, s.outputs);
        if let Some(dx) = x.as_deref_mut() {
            gemm(pool, [s.rows, s.k, s.n], dx, at, s.stride, dy, Matrix::new(a.w, g * s.n * s.k, s.k), add_x);
        }
        if let Some(dw) = w.as_deref_mut() {
            let x = Matrix::new(a.x, at, s.stride);
            gemm(pool, [s.n, s.k, s.rows], dw, g * s.n * s.k, s.k, dy.transposed(), x, add_w);
        }
    }
}
