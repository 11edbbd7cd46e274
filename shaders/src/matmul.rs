//! Rows times a matrix: `y = x W^T`, or block by block along the diagonal when `groups > 1`:
//! `y[r, g No + i] = sum_j w[g No + i, j] x[r, x_offset + g Ki + j]`, `Ki = inputs / groups`, `No = outputs / groups`.
//!
//! Shapes: x [rows, x_stride] of which a window of `inputs` is read, w [outputs, Ki], y [rows, outputs].
//! Cost: O(rows outputs Ki); w is read once for every 64 rows in `tile`, for every 4 in `row` and `block`, and for
//! each in `serial`.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};

crate::params! {
    /// Rows of x.
    rows: u32,
    /// Elements of x that a row uses, over all groups.
    inputs: u32,
    /// Elements of a row of y, over all groups.
    outputs: u32,
    /// Diagonal blocks; 1 is a plain product. Divides inputs and outputs.
    groups: u32,
    /// Elements from one row of x to the next.
    x_stride: u32,
    /// First element of the window in a row of x.
    x_offset: u32,
}

crate::kernel! {
    name: "matmul",
    bindings(p) {
        read x: real [p.rows * p.x_stride],
        read w: real [p.outputs * (p.inputs / p.groups.max(1))],
        write y: real [p.rows * p.outputs],
    }
    variants {
        row => [row => grid(p.outputs.div_ceil(4) * p.rows.div_ceil(4))],
        tile => [tile => grid(p.rows.div_ceil(64) * p.groups * (p.outputs / p.groups.max(1)).div_ceil(64))],
        serial => [serial => grid((quads(&p) * p.groups).div_ceil(8) * p.rows)],
        block => [block => grid((quads(&p) * p.groups).div_ceil(8) * p.rows.div_ceil(4))],
    }
    choose(p, t): match (t.software, p.rows) {
        (true, 0..=2) => 2,
        (true, _) => 3,
        (false, 0..=16) => 0,
        (false, _) => 1,
    },
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

/// Groups of 4 outputs in a diagonal block.
fn quads(p: &Params) -> u32 {
    (p.outputs / p.groups.max(1)).div_ceil(4)
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (ki, no) = ((p.inputs / p.groups) as usize, (p.outputs / p.groups) as usize);
    for (x, y) in a.x.chunks(p.x_stride as usize).zip(a.y.chunks_mut(p.outputs as usize)) {
        for (o, y) in y.iter_mut().enumerate() {
            let x = &x[p.x_offset as usize + o / no * ki..][..ki];
            let mut sum = F::zero();
            for (&x, &w) in x.iter().zip(&a.w[o * ki..]) {
                sum += x * w;
            }
            *y = sum;
        }
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (ki, no) = ((p.inputs / p.groups) as usize, (p.outputs / p.groups) as usize);
    let Grads { mut x, mut w, y, .. } = g;
    for (r, dy) in y.chunks(p.outputs as usize).enumerate() {
        for (o, &dy) in dy.iter().enumerate() {
            let at = r * p.x_stride as usize + p.x_offset as usize + o / no * ki;
            if let Some(dx) = x.as_deref_mut() {
                for (dx, &w) in dx[at..][..ki].iter_mut().zip(&a.w[o * ki..]) {
                    *dx += dy * w;
                }
            }
            if let Some(dw) = w.as_deref_mut() {
                for (dw, &x) in dw[o * ki..][..ki].iter_mut().zip(&a.x[at..]) {
                    *dw += dy * x;
                }
            }
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    let plain = |rows, inputs, outputs| Params { rows, inputs, outputs, groups: 1, x_stride: inputs, x_offset: 0 };
    c.add("one", plain(1, 1, 1));
    c.add("odd", plain(3, 7, 5)).gradient();
    c.add("window", Params { x_stride: 11, x_offset: 3, ..plain(3, 6, 4) }).gradient();
    c.add("blocks", Params { groups: 3, x_stride: 13, x_offset: 2, ..plain(5, 9, 6) }).gradient();
    c.add("wide_blocks", Params { groups: 2, ..plain(70, 66, 134) });
    // Both sides of each variant's edges: 4 and 8 outputs or rows, 16 inputs a step, 64 a tile.
    for (rows, inputs, outputs) in
        [(4, 15, 3), (5, 16, 4), (7, 17, 7), (8, 63, 8), (9, 64, 9), (16, 65, 17), (17, 33, 31)]
    {
        c.add(&format!("r{rows}i{inputs}o{outputs}"), plain(rows, inputs, outputs));
    }
    for edge in [63, 64, 65] {
        c.add(&format!("tile{edge}"), Params { x_stride: edge + 5, x_offset: 4, ..plain(edge, edge, edge) });
    }
    // More workgroups than one side of the grid holds.
    c.add("folded", plain(1, 1, 8 * 65535 + 1));
    c.add("token", plain(1, 192, 576));
    c.add("real", plain(129, 192, 288));
}
