//! Sums of products of bytes by wasm's vectors of 128 bits.

use super::super::packed::half;
use lichen_shaders::packed::BLOCK;
use std::arch::wasm32::*;

/// Blocks that one step of a row takes: as many scales as a vector holds.
const GROUP: usize = 4;

/// Dots of x with R rows, four blocks a step.
///
/// # Safety
/// As [`super::dots`].
#[inline(always)]
pub(super) unsafe fn simd128<const Q4: bool, const R: usize>(
    x: &[u8],
    steps: &[f32],
    quants: *const u8,
    scales: *const u16,
) -> [f32; R] {
    let blocks = steps.len();
    let row = if Q4 { blocks * 16 } else { blocks * 32 };
    let whole = blocks / GROUP * GROUP;
    // SAFETY: by the caller's promises.
    unsafe {
        let mut sums = [f32x4_splat(0.0); R];
        for b in (0..whole).step_by(GROUP) {
            let four = v128_load(steps.as_ptr().add(b).cast());
            let mut factors = [f32x4_splat(0.0); R];
            for r in 0..R {
                factors[r] = f32x4_mul(halves(scales.add(r * blocks + b)), four);
            }
            add::<0, Q4, R>(x, b, quants, row, &factors, &mut sums);
            add::<1, Q4, R>(x, b, quants, row, &factors, &mut sums);
            add::<2, Q4, R>(x, b, quants, row, &factors, &mut sums);
            add::<3, Q4, R>(x, b, quants, row, &factors, &mut sums);
        }
        for b in whole..blocks {
            let mut factors = [f32x4_splat(0.0); R];
            for r in 0..R {
                factors[r] = f32x4_splat(half(*scales.add(r * blocks + b)) * steps[b]);
            }
            add::<0, Q4, R>(x, b, quants, row, &factors, &mut sums);
        }
        let mut dots = [0.0; R];
        for r in 0..R {
            let pairs = f32x4_add(sums[r], i32x4_shuffle::<2, 3, 0, 1>(sums[r], sums[r]));
            dots[r] = f32x4_extract_lane::<0>(pairs) + f32x4_extract_lane::<1>(pairs);
        }
        dots
    }
}

/// Adds the products of block b + I, whose factors are the lanes I.
///
/// # Safety
/// As [`simd128`], with that block inside.
#[inline(always)]
unsafe fn add<const I: usize, const Q4: bool, const R: usize>(
    x: &[u8],
    b: usize,
    quants: *const u8,
    row: usize,
    factors: &[v128; R],
    sums: &mut [v128; R],
) {
    // SAFETY: by the caller's promises.
    unsafe {
        let x = x.as_ptr().add((b + I) * BLOCK).cast::<i8>();
        // Sixteen bits each: pairs of products are then one instruction.
        let x0 = i16x8_load_extend_i8x8(x);
        let x1 = i16x8_load_extend_i8x8(x.add(8));
        let x2 = i16x8_load_extend_i8x8(x.add(16));
        let x3 = i16x8_load_extend_i8x8(x.add(24));
        for r in 0..R {
            let (w0, w1, w2, w3) = if Q4 {
                let w = v128_load(quants.add(r * row + (b + I) * 16).cast());
                let eight = i8x16_splat(8);
                let low = i8x16_sub(v128_and(w, u8x16_splat(15)), eight);
                let high = i8x16_sub(u8x16_shr(w, 4), eight);
                (
                    i16x8_extend_low_i8x16(low),
                    i16x8_extend_high_i8x16(low),
                    i16x8_extend_low_i8x16(high),
                    i16x8_extend_high_i8x16(high),
                )
            } else {
                let w = quants.add(r * row + (b + I) * 32).cast::<i8>();
                (
                    i16x8_load_extend_i8x8(w),
                    i16x8_load_extend_i8x8(w.add(8)),
                    i16x8_load_extend_i8x8(w.add(16)),
                    i16x8_load_extend_i8x8(w.add(24)),
                )
            };
            let low = i32x4_add(i32x4_dot_i16x8(w0, x0), i32x4_dot_i16x8(w1, x1));
            let high = i32x4_add(i32x4_dot_i16x8(w2, x2), i32x4_dot_i16x8(w3, x3));
            let dot = f32x4_convert_i32x4(i32x4_add(low, high));
            let factor = match I {
                0 => i32x4_shuffle::<0, 0, 0, 0>(factors[r], factors[r]),
                1 => i32x4_shuffle::<1, 1, 1, 1>(factors[r], factors[r]),
                2 => i32x4_shuffle::<2, 2, 2, 2>(factors[r], factors[r]),
                _ => i32x4_shuffle::<3, 3, 3, 3>(factors[r], factors[r]),
            };
            sums[r] = f32x4_add(sums[r], f32x4_mul(dot, factor));
        }
    }
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
