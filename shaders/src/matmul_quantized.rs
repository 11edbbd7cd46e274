//! Rows in 8 bits times a matrix in 8 or 4 bits: `y[r, o] = sum_j w[o, j] x[r, j]`, by integers within a block.
//!
//! Shapes: x the words of [rows, inputs] as [`crate::quantize`] leaves them, w those of a packed matrix
//! [outputs, inputs] in `Q8` or `Q4` ([`crate::packed`]), y [rows, outputs]. A block's dot is an exact integer, which the two
//! scales of its block multiply. inputs is a multiple of 32. Cost: O(rows outputs inputs); w is read once for
//! every 64 rows in `tile`, for every 4 in `row` and `block`, and for each in `serial`.

use crate::cases::{Cases, Random};
use crate::kernel::{Real, Tolerance, grid};
use crate::packed::{Format, decode, encode};
use crate::quantize::{decode_row, encode_row, random_rows, row_words};

crate::params! {
    /// Rows of x.
    rows: u32,
    /// Elements of a row of x.
    inputs: u32,
    /// Elements of a row of y.
    outputs: u32,
    /// Code of the format of w, which must have scales.
    format: u32,
}

crate::kernel! {
    name: "matmul_quantized",
    bindings(p) {
        read x: index [p.rows * row_words(p.inputs as usize) as u32],
        read w: index [Format::of(p.format).words((p.outputs * p.inputs) as usize) as u32],
        write y: real [p.rows * p.outputs],
    }
    variants {
        row => [row => grid(p.outputs.div_ceil(8) * p.rows.div_ceil(4))],
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
    let (mut x, mut w) = (vec![F::zero(); inputs], vec![F::zero(); inputs]);
    for (r, row) in a.x.chunks(row_words(inputs)).enumerate() {
        decode_row(row, &mut x);
        for o in 0..outputs {
            decode(Format::of(p.format), outputs * inputs, a.w, o * inputs, &mut w);
            let mut sum = F::zero();
            for (&x, &w) in x.iter().zip(&w) {
                sum += x * w;
            }
            a.y[r * outputs + o] = sum;
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    for format in [Format::Q8, Format::Q4] {
        let weights = move |r: &mut Random, n: u32, of: fn(&mut Random) -> f64| {
            encode(format, &(0..n).map(|_| of(r) as f32).collect::<Vec<f32>>())
        };
        // Both sides of each variant's edges: 4 and 8 outputs or rows, 64 a tile; odd numbers of blocks, and such as
        // leave some for the end of wide registers.
        for (rows, inputs, outputs) in [
            (1, 32, 1),
            (1, 32, 3),
            (2, 96, 5),
            (3, 64, 4),
            (4, 32, 7),
            (5, 160, 8),
            (9, 64, 9),
            (17, 32, 33),
            (63, 96, 63),
            (64, 96, 64),
            (65, 96, 65),
            (1, 192, 576),
            (1, 224, 50),
            (129, 192, 288),
        ] {
            let p = Params { rows, inputs, outputs, format: format.code() };
            c.add(&format!("{format:?}_r{rows}i{inputs}o{outputs}"), p)
                .words("x", |r, _| random_rows(r, rows as usize, inputs as usize))
                .words("w", |r, _| weights(r, inputs * outputs, Random::outlier));
        }
        // Every product as large as it can be, of either sign: what narrow sums might not hold.
        let p = Params { rows: 5, inputs: 256, outputs: 34, format: format.code() };
        c.add(&format!("{format:?}_full"), p)
            .words("x", |_, _| {
                let mut words = vec![0; 5 * row_words(256)];
                for (r, row) in words.chunks_mut(row_words(256)).enumerate() {
                    encode_row(&[if r % 2 == 0 { 1.99 } else { -1.99 }; 256], row);
                }
                words
            })
            .words("w", |r, _| weights(r, 34 * 256, |r| if r.below(200) == 0 { -1.0 } else { 1.0 }));
        // The smallest scales and weights: what a driver might flush to zero.
        let p = Params { rows: 2, inputs: 32, outputs: 4, format: format.code() };
        c.add(&format!("{format:?}_small"), p)
            .words("x", |r, _| random_rows(r, 2, 32))
            .words("w", |r, _| weights(r, 128, |r| r.normal() * 3e-6));
    }
}
