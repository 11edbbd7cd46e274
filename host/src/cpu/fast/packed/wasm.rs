//! Stored numbers of a block as floats by wasm's vectors of 128 bits.

use super::LANES;
use std::arch::wasm32::*;
use std::mem::transmute;

/// A block of signed bytes.
///
/// # Safety
/// 32 bytes must be readable at `at`.
#[inline(always)]
pub(super) unsafe fn bytes(at: *const u8) -> [[f32; LANES]; 2] {
    // SAFETY: by the caller's promise; eight vectors of four floats are two of sixteen.
    unsafe {
        let eight = |i: usize| floats(i16x8_load_extend_i8x8(at.add(i).cast()));
        transmute::<[[v128; 2]; 4], [[f32; LANES]; 2]>([eight(0), eight(8), eight(16), eight(24)])
    }
}

/// A block of nibbles, the first half of the weights in the low ones.
///
/// # Safety
/// 16 bytes must be readable at `at`.
#[inline(always)]
pub(super) unsafe fn nibbles(at: *const u8) -> [[f32; LANES]; 2] {
    // SAFETY: as above.
    unsafe {
        let stored = v128_load(at.cast());
        let (low, high) = (v128_and(stored, u8x16_splat(15)), u8x16_shr(stored, 4));
        transmute::<[[v128; 2]; 4], [[f32; LANES]; 2]>([
            floats(u16x8_extend_low_u8x16(low)),
            floats(u16x8_extend_high_u8x16(low)),
            floats(u16x8_extend_low_u8x16(high)),
            floats(u16x8_extend_high_u8x16(high)),
        ])
    }
}

/// Eight integers of 16 bits as floats.
#[inline(always)]
fn floats(eight: v128) -> [v128; 2] {
    [i32x4_extend_low_i16x8(eight), i32x4_extend_high_i16x8(eight)].map(|four| f32x4_convert_i32x4(four))
}
