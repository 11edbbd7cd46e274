//! Rows in 8 bits, for dots of integers: `q[r, j] = round(x[r, x_offset + j] / d)`, d being one scale for each block
//! of 32 neighbours.
//!
//! Shapes: x [rows, x_stride] of which a window of `inputs` is read, a multiple of 32; q [rows, [`row_words`]] words, a
//! row's quants, four signed bytes a word, and then its scales as float32.
//!
//! A scale is the power of two `2^(e - 6)` for a block whose largest magnitude lies in `[2^e, 2^(e + 1))`, as in MXINT8
//! (OCP Microscaling Formats 1.0): up to one bit is lost against `max / 127`, but dividing is exact then, so that all
//! devices give the same bits; the dots of the integers are exact too. Ties go to the even number, 128 becomes 127.
//! Blocks below `2^-120` count as zeros; a block that holds an infinity or NaN gets an infinite scale, which shows up
//! in every dot. Cost: O(rows inputs).

use crate::cases::{Cases, Random};
use crate::kernel::{Real, Tolerance, grid};
use crate::packed::BLOCK;

crate::params! {
    /// Rows of x.
    rows: u32,
    /// Elements of x that a row uses.
    inputs: u32,
    /// Elements from one row of x to the next.
    x_stride: u32,
    /// First element of the window in a row of x.
    x_offset: u32,
}

crate::kernel! {
    name: "quantize",
    bindings(p) {
        read x: real [p.rows * p.x_stride],
        write q: index [p.rows * row_words(p.inputs as usize) as u32],
    }
    variants {
        word => [word => grid((p.rows * p.inputs / 4).div_ceil(64))],
        block => [block => grid((p.rows * p.inputs / 32).div_ceil(8))],
    }
    choose(p, t): if t.software { 1 } else { 0 },
    backward: none,
    tolerance: Tolerance::EXACT,
}

/// Words of a row of so many elements.
pub const fn row_words(inputs: usize) -> usize {
    inputs / 4 + inputs / BLOCK
}

/// Bits of the scale of a block whose largest magnitude has these bits, and the scale's reciprocal.
#[inline(always)]
pub fn scale_of(magnitude: u32) -> (u32, f32) {
    match magnitude >> 23 {
        0..=6 => (0, 0.0),
        255 => (255 << 23, 0.0),
        e => ((e - 6) << 23, f32::from_bits((260 - e) << 23)),
    }
}

/// Writes one row's words. Inlined, so that it becomes what its caller is compiled for.
#[inline(always)]
pub fn encode_row(x: &[f32], row: &mut [u32]) {
    let (quants, scales) = row.split_at_mut(x.len() / 4);
    for ((x, quants), scale) in x.chunks(BLOCK).zip(quants.chunks_mut(BLOCK / 4)).zip(scales) {
        let magnitude = x.iter().map(|x| x.abs().to_bits()).max().unwrap_or(0);
        let (bits, factor) = scale_of(magnitude);
        *scale = bits;
        for (word, x) in quants.iter_mut().zip(x.chunks(4)) {
            let byte = |x: f32| (x * factor).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
            *word = u32::from_le_bytes(std::array::from_fn(|i| byte(x[i])));
        }
    }
}

/// Reads one row's words back as numbers.
pub fn decode_row<F: Real>(row: &[u32], x: &mut [F]) {
    let (quants, scales) = row.split_at(x.len() / 4);
    for (i, x) in x.iter_mut().enumerate() {
        let q = quants[i / 4].to_le_bytes()[i % 4] as i8;
        *x = F::of(f64::from(q) * f64::from(f32::from_bits(scales[i / BLOCK])));
    }
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let inputs = p.inputs as usize;
    for (r, q) in a.q.chunks_mut(row_words(inputs)).enumerate() {
        let x = &a.x[r * p.x_stride as usize + p.x_offset as usize..][..inputs];
        let x: Vec<f32> = x.iter().map(|x| x.wide() as f32).collect();
        encode_row(&x, q);
    }
}

/// Quantised rows of normals with outliers, for the cases of kernels that read such rows.
pub(crate) fn random_rows(random: &mut Random, rows: usize, inputs: usize) -> Vec<u32> {
    let mut words = vec![0; rows * row_words(inputs)];
    for row in words.chunks_mut(row_words(inputs)) {
        let x: Vec<f32> = (0..inputs).map(|_| random.outlier() as f32).collect();
        encode_row(&x, row);
    }
    words
}

fn cases(c: &mut Cases<Params>) {
    for (rows, inputs, before, after) in [(1, 32, 0, 0), (1, 192, 0, 0), (3, 64, 5, 2), (17, 96, 0, 32), (65, 160, 1, 0)] {
        let p = Params { rows, inputs, x_stride: before + inputs + after, x_offset: before };
        c.add(&format!("r{rows}i{inputs}"), p);
    }
    let p = Params { rows: 1, inputs: 320, x_stride: 320, x_offset: 0 };
    // Each block of another magnitude, from numbers too small for a scale to the largest ones, and a block of zeros.
    let magnitudes = [1e-37, 7.5e-37, 1e-36, 1e-30, 1e-3, 1.0, 1e10, 1e30, 3e38, 0.0];
    c.add("magnitudes", p).reals("x", |r, i| magnitudes[i / BLOCK] * (2.0 * r.uniform() - 1.0));
    // Ties between two integers, both signs, and the largest magnitude just below the next power of two.
    c.add("ties", p).reals("x", |_, i| match i % BLOCK {
        0 => 127.9,
        j => (j as f64 - 16.0) + 0.5,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_within_the_bits_and_broken_ones_show() {
        let mut random = Random::new(5);
        let x: Vec<f32> = (0..1024).map(|_| random.normal() as f32).collect();
        let mut words = vec![0; row_words(x.len())];
        encode_row(&x, &mut words);
        let mut back = vec![0.0f64; x.len()];
        decode_row(&words, &mut back);
        let square = |x: f64| x * x;
        let e: f64 = x.iter().zip(&back).map(|(x, b)| square(f64::from(*x) - b)).sum();
        let e = (e / x.iter().map(|x| square(f64::from(*x))).sum::<f64>()).sqrt();
        assert!((0.003..0.009).contains(&e), "relative error {e}");
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.5f32; BLOCK];
            x[7] = broken;
            let mut words = vec![0; row_words(BLOCK)];
            encode_row(&x, &mut words);
            let mut back = vec![0.0f32; BLOCK];
            decode_row(&words, &mut back);
            assert!(back.iter().any(|b| !b.is_finite()), "{broken}");
        }
    }
}
