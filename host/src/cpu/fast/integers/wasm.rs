//! Sums of products of bytes by wasm's vectors of 128 bits.

use super::super::packed::half;
use lichen_shaders::packed::BLOCK;
use std::arch::wasm32::*;

/// Blocks whose factors are made at once: as many as a vector holds.
const GROUP: usize = 4;

/// Dots of x with four rows. The four sums of a block are turned into one vector, so that its factors multiply once.
///
/// # Safety
/// As [`super::dots`] of four rows.
#[inline(always)]
pub(super) unsafe fn four<const Q4: bool>(x: &[u8], steps: &[f32], quants: *const u8, scales: *const u16) -> [f32; 4] {
    let blocks = steps.len();
    let whole = blocks / GROUP * GROUP;
    let at = |row: usize, b: usize| row * blocks + b;
    // SAFETY: by the caller's promises.
    unsafe {
        let mut sums = f32x4_splat(0.0);
        for b in (0..whole).step_by(GROUP) {
            let steps = v128_load(steps.as_ptr().add(b).cast());
            let factors: [v128; 4] = std::array::from_fn(|r| f32x4_mul(halves(scales.add(at(r, b))), steps));
            for (i, factors) in turned(factors).into_iter().enumerate() {
                sums = f32x4_add(sums, f32x4_mul(block::<Q4>(x, b + i, blocks, quants), factors));
            }
        }
        for b in whole..blocks {
            let factor = |r: usize| half(*scales.add(at(r, b))) * steps[b];
            let factors = f32x4(factor(0), factor(1), factor(2), factor(3));
            sums = f32x4_add(sums, f32x4_mul(block::<Q4>(x, b, blocks, quants), factors));
        }
        let mut dots = [0.0; 4];
        v128_store(dots.as_mut_ptr().cast(), sums);
        dots
    }
}

/// The products of block b with four rows, without its factors.
///
/// # Safety
/// As [`four`], with that block inside.
#[inline(always)]
unsafe fn block<const Q4: bool>(x: &[u8], b: usize, blocks: usize, quants: *const u8) -> v128 {
    let bytes = if Q4 { BLOCK / 2 } else { BLOCK };
    // SAFETY: by the caller's promises.
    unsafe {
        // Sixteen bits each: pairs of products are then one instruction.
        let x = x.as_ptr().add(b * BLOCK).cast::<i8>();
        let x = [0, 8, 16, 24].map(|i| i16x8_load_extend_i8x8(x.add(i)));
        let sums: [v128; 4] = std::array::from_fn(|r| {
            let at = quants.add((r * blocks + b) * bytes);
            let w = if Q4 {
                let (stored, eight) = (v128_load(at.cast()), i8x16_splat(8));
                let low = i8x16_sub(v128_and(stored, u8x16_splat(15)), eight);
                let high = i8x16_sub(u8x16_shr(stored, 4), eight);
                [
                    i16x8_extend_low_i8x16(low),
                    i16x8_extend_high_i8x16(low),
                    i16x8_extend_low_i8x16(high),
                    i16x8_extend_high_i8x16(high),
                ]
            } else {
                [0, 8, 16, 24].map(|i| i16x8_load_extend_i8x8(at.add(i).cast()))
            };
            let low = i32x4_add(i32x4_dot_i16x8(w[0], x[0]), i32x4_dot_i16x8(w[1], x[1]));
            let high = i32x4_add(i32x4_dot_i16x8(w[2], x[2]), i32x4_dot_i16x8(w[3], x[3]));
            i32x4_add(low, high)
        });
        f32x4_convert_i32x4(pairs(pairs(sums[0], sums[1]), pairs(sums[2], sums[3])))
    }
}

/// Sums of neighbours, of a and then of b.
#[inline(always)]
fn pairs(a: v128, b: v128) -> v128 {
    i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(a, b), i32x4_shuffle::<1, 3, 5, 7>(a, b))
}

/// Columns from rows.
#[inline(always)]
fn turned([a, b, c, d]: [v128; 4]) -> [v128; 4] {
    let (ab, cd) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d));
    let (ef, gh) = (i32x4_shuffle::<2, 6, 3, 7>(a, b), i32x4_shuffle::<2, 6, 3, 7>(c, d));
    [
        i64x2_shuffle::<0, 2>(ab, cd),
        i64x2_shuffle::<1, 3>(ab, cd),
        i64x2_shuffle::<0, 2>(ef, gh),
        i64x2_shuffle::<1, 3>(ef, gh),
    ]
}

/// Four finite half numbers, as [`half`] converts one.
///
/// # Safety
/// Four must lie there.
#[inline(always)]
unsafe fn halves(at: *const u16) -> v128 {
    // SAFETY: by the caller's promise.
    let wide = unsafe { i32x4_load_extend_i16x4(at.cast()) };
    let magnitude = v128_and(wide, i32x4_splat(0x7FFF));
    let normal = i32x4_add(i32x4_shl(magnitude, 13), i32x4_splat(112 << 23));
    let small = f32x4_mul(f32x4_convert_i32x4(magnitude), f32x4_splat(1.0 / 16_777_216.0));
    let value = v128_bitselect(small, normal, i32x4_lt(magnitude, i32x4_splat(0x400)));
    v128_or(value, v128_and(wide, i32x4_splat(i32::MIN)))
}
