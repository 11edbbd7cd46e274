//! Sums of products of bytes by NEON, with its dot products where the machine has them.

use super::super::lanes::prefetch;
use super::super::packed::half;
use lichen_shaders::packed::BLOCK;
use std::arch::aarch64::*;

/// Dots of x with R rows, block by block.
///
/// # Safety
/// As [`super::dots`], with dot products where `DOTPROD`.
#[inline(always)]
pub(super) unsafe fn neon<const DOTPROD: bool, const Q4: bool, const R: usize>(
    x: &[u8],
    steps: &[f32],
    quants: *const u8,
    scales: *const u16,
) -> [f32; R] {
    let blocks = steps.len();
    let row = if Q4 { blocks * 16 } else { blocks * 32 };
    // SAFETY: by the caller's promises.
    unsafe {
        let mut sums = [vdupq_n_f32(0.0); R];
        for b in 0..blocks {
            let x0 = vld1q_s8(x.as_ptr().add(b * BLOCK).cast());
            let x1 = vld1q_s8(x.as_ptr().add(b * BLOCK + 16).cast());
            for r in 0..R {
                let (w0, w1) = if Q4 {
                    let at = quants.add(r * row + b * 16);
                    if b % 4 == 0 {
                        prefetch(at, R * row);
                    }
                    let w = vld1q_u8(at);
                    let eight = vdupq_n_s8(8);
                    let low = vreinterpretq_s8_u8(vandq_u8(w, vdupq_n_u8(15)));
                    let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(w));
                    (vsubq_s8(low, eight), vsubq_s8(high, eight))
                } else {
                    let at = quants.add(r * row + b * 32);
                    if b % 2 == 0 {
                        prefetch(at, R * row);
                    }
                    (vld1q_s8(at.cast()), vld1q_s8(at.add(16).cast()))
                };
                let dot = fours::<DOTPROD>(fours::<DOTPROD>(vdupq_n_s32(0), w0, x0), w1, x1);
                let scale = half(*scales.add(r * blocks + b)) * *steps.as_ptr().add(b);
                sums[r] = vfmaq_n_f32(sums[r], vcvtq_f32_s32(dot), scale);
            }
        }
        let mut dots = [0.0; R];
        for r in 0..R {
            dots[r] = vaddvq_f32(sums[r]);
        }
        dots
    }
}

/// Adds sixteen products to four sums.
///
/// # Safety
/// The machine must have dot products where `DOTPROD`.
#[inline(always)]
unsafe fn fours<const DOTPROD: bool>(mut sums: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: NEON is part of the architecture; dot products by the caller's promise.
    unsafe {
        if DOTPROD {
            // The intrinsic is not stable yet.
            std::arch::asm!(
                ".arch_extension dotprod",
                "sdot {sums:v}.4s, {w:v}.16b, {x:v}.16b",
                sums = inout(vreg) sums,
                w = in(vreg) w,
                x = in(vreg) x,
                options(pure, nomem, nostack, preserves_flags),
            );
            return sums;
        }
        // Two products stay within 16 bits, for no quant of x is -128.
        let pairs = vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
        vpadalq_s16(sums, pairs)
    }
}
