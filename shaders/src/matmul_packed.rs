//! Rows times a matrix in few bits: `y[r, o] = sum_j w[o, j] x[r, x_offset + j]`, the weights decoded as they are read.
//!
//! Shapes: x [rows, x_stride] of which a window of `inputs` is read, w the words of a packed matrix [outputs, inputs]
//! ([`crate::packed`]), y [rows, outputs]. inputs is a multiple of the format's. Cost: O(rows outputs inputs); w is
//! read once for every 64 rows in `tile`, for every 4 in `row` and `block`, and for each in `serial`.

use crate::cases::{Cases, Random};
use crate::kernel::{Real, Tolerance, grid};
use crate::packed::{Format, decode, encode};

crate::params! {
    /// Rows of x.
    rows: u32,
    /// Elements of x that a row uses.
    inputs: u32,
    /// Elements of a row of y.
    outputs: u32,
    /// Elements from one row of x to the next.
    x_stride: u32,
    /// First element of the window in a row of x.
    x_offset: u32,
    /// Code of the format of w.
    format: u32,
}

crate::kernel! {
    name: "matmul_packed",
    bindings(p) {
        read x: real [p.rows * p.x_stride],
        read w: index [Format::of(p.format).words((p.outputs * p.inputs) as usize) as u32],
        write y: real [p.rows * p.outputs],
    }
    variants {
        row => [row => grid(p.outputs.div_ceil(4) * p.rows.div_ceil(4))],
        tile => [tile => grid(p.rows.div_ceil(64) * p.outputs.div_ceil(64))],
        serial => [serial => grid(p.outputs.div_ceil(4).div_ceil(8) * p.rows)],
        block => [block => grid(p.outputs.div_ceil(4).div_ceil(8) * p.rows.div_ceil(4))],
    }
    constants(p) { format: p.format }
    choose(p, t): match (t.software, p.rows) {
        (true, 0..=2) => 2,
        (true, _) => 3,
        (false, 0..=16) => 0,
        (false, _) => 1,
    },
    backward: none,
    tolerance: Tolerance::TIGHT,
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (inputs, outputs) = (p.inputs as usize, p.outputs as usize);
    let mut w = vec![F::zero(); inputs];
    for o in 0..outputs {
        decode(Format::of(p.format), outputs * inputs, a.w, o * inputs, &mut w);
        for r in 0..p.rows as usize {
            let x = &a.x[r * p.x_stride as usize + p.x_offset as usize..][..inputs];
            let mut sum = F::zero();
            for (&x, &w) in x.iter().zip(&w) {
                sum += x * w;
            }
            a.y[r * outputs + o] = sum;
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    for format in Format::ALL {
        let mut add = |rows, inputs, outputs, before: u32, after: u32| {
            let x_stride = before + inputs + after;
            let p = Params { rows, inputs, outputs, x_stride, x_offset: before, format: format.code() };
            c.add(&format!("{format:?}_r{rows}i{inputs}o{outputs}"), p).words("w", |r: &mut Random, _| {
                let weights: Vec<f32> = (0..inputs * outputs).map(|_| r.normal() as f32).collect();
                encode(format, &weights)
            });
        };
        // Both sides of each variant's edges: 4 and 8 outputs or rows, 64 a tile; an odd number of blocks.
        for (rows, inputs, outputs) in
            [(1, 32, 1), (1, 32, 3), (2, 96, 5), (3, 64, 4), (4, 32, 7), (5, 160, 8), (9, 64, 9), (17, 32, 33)]
        {
            add(rows, inputs, outputs, 0, 0);
        }
        for edge in [63, 64, 65] {
            add(edge, 96, edge, 4, 1);
        }
        add(1, 192, 576, 0, 0);
        add(129, 192, 288, 0, 0);
    }
    // The smallest scales and weights: what a driver might flush to zero.
    let small = Params { rows: 2, inputs: 32, outputs: 4, x_stride: 32, x_offset: 0, format: 0 };
    for format in Format::ALL {
        c.add(&format!("{format:?}_small"), Params { format: format.code(), ..small }).words("w", |r, _| {
            let weights: Vec<f32> = (0..128).map(|_| r.normal() as f32 * 3e-6).collect();
            encode(format, &weights)
        });
    }
}
