//! Sums of products of bytes by AVX2 and by AVX-512 with VNNI.

use super::super::lanes::prefetch;
use super::super::share::Scatter;
use super::{Quantized, STRIP, Turned};
use lichen_shaders::packed::BLOCK;
use std::arch::x86_64::*;

/// Blocks that one step of a row takes.
const GROUP: usize = 4;

/// R rows of quants, one after the other, and their blocks' scales, to be multiplied by x.
#[derive(Clone, Copy)]
struct Rows<'a> {
    x: &'a [u8],
    steps: &'a [f32],
    quants: *const u8,
    scales: *const u16,
}

/// Dots of x with R rows by VNNI, four blocks a step.
///
/// # Safety
/// As [`super::dots`], with that unit.
#[inline(always)]
pub(super) unsafe fn vnni<const Q4: bool, const R: usize>(
    x: &[u8],
    steps: &[f32],
    quants: *const u8,
    scales: *const u16,
) -> [f32; R] {
    let rows = Rows { x, steps, quants, scales };
    let whole = steps.len() / GROUP * GROUP;
    // SAFETY: by the caller's promises.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); R];
        for b in (0..whole).step_by(GROUP) {
            step::<Q4, true, R>(rows, b, &mut sums);
        }
        if whole < steps.len() {
            step::<Q4, false, R>(rows, whole, &mut sums);
        }
        let mut dots = [0.0; R];
        for r in 0..R {
            dots[r] = _mm512_reduce_add_ps(sums[r]);
        }
        dots
    }
}

/// Adds the products of four blocks from b on; of those that are left unless `WHOLE`, the missing ones being zeros.
///
/// # Safety
/// As [`vnni`].
#[inline(always)]
unsafe fn step<const Q4: bool, const WHOLE: bool, const R: usize>(rows: Rows<'_>, b: usize, sums: &mut [__m512; R]) {
    let blocks = rows.steps.len();
    let row = if Q4 { blocks * 16 } else { blocks * 32 };
    let held = if WHOLE { GROUP } else { blocks - b };
    let (m0, m1, few) = (mask(held * BLOCK), mask((held * BLOCK).saturating_sub(64)), mask(held) as u8);
    // SAFETY: by the caller's promises; masks keep reads inside the rows.
    unsafe {
        let zero = _mm512_setzero_si512();
        let ones = _mm512_set1_epi8(1);
        let x = rows.x.as_ptr().add(b * BLOCK);
        let (a, c) = (bytes::<WHOLE>(x, m0), bytes::<WHOLE>(x.wrapping_add(64), m1));
        let steps = _mm_maskz_loadu_ps(few, rows.steps.as_ptr().add(b));
        let scales = rows.scales.add(b);
        // The unit multiplies unsigned with signed bytes: what stored numbers have too much leaves with x, once for
        // all rows.
        if Q4 {
            let nibble = _mm512_set1_epi8(15);
            // The first halves of four blocks, and the second ones: what low and high nibbles belong to.
            let x0 = _mm512_shuffle_i64x2::<0x88>(a, c);
            let x1 = _mm512_shuffle_i64x2::<0xDD>(a, c);
            let all = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, ones, x0), ones, x1);
            let start = _mm512_sub_epi32(zero, _mm512_slli_epi32::<3>(all));
            // Four lanes a block.
            let lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
            for r in 0..R {
                let at = rows.quants.add(r * row + b * 16);
                prefetch(at, R * row);
                let w = bytes::<WHOLE>(at, mask(held * BLOCK / 2));
                let dot = _mm512_dpbusd_epi32(start, _mm512_and_si512(w, nibble), x0);
                let dot = _mm512_dpbusd_epi32(dot, _mm512_and_si512(_mm512_srli_epi16::<4>(w), nibble), x1);
                sums[r] = _mm512_fmadd_ps(
                    _mm512_cvtepi32_ps(dot),
                    _mm512_permutexvar_ps(lanes, four::<WHOLE>(scales.add(r * blocks), few, steps)),
                    sums[r],
                );
            }
        } else {
            let top = _mm512_set1_epi8(-128);
            let start0 = _mm512_sub_epi32(zero, _mm512_slli_epi32::<7>(_mm512_dpbusd_epi32(zero, ones, a)));
            let start1 = _mm512_sub_epi32(zero, _mm512_slli_epi32::<7>(_mm512_dpbusd_epi32(zero, ones, c)));
            // Eight lanes a block.
            let low = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
            let high = _mm512_setr_epi32(2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
            for r in 0..R {
                let at = rows.quants.add(r * row + b * 32);
                prefetch(at, R * row);
                prefetch(at, R * row + 64);
                let (w0, w1) = (bytes::<WHOLE>(at, m0), bytes::<WHOLE>(at.wrapping_add(64), m1));
                let dot0 = _mm512_dpbusd_epi32(start0, _mm512_xor_si512(w0, top), a);
                let dot1 = _mm512_dpbusd_epi32(start1, _mm512_xor_si512(w1, top), c);
                let scale = four::<WHOLE>(scales.add(r * blocks), few, steps);
                sums[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot0), _mm512_permutexvar_ps(low, scale), sums[r]);
                sums[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot1), _mm512_permutexvar_ps(high, scale), sums[r]);
            }
        }
    }
}

/// 64 bytes, or only some of them.
///
/// # Safety
/// They must be readable, and the machine must have AVX-512.
#[inline(always)]
unsafe fn bytes<const WHOLE: bool>(at: *const u8, some: u64) -> __m512i {
    // SAFETY: by the caller's promise.
    unsafe { if WHOLE { _mm512_loadu_si512(at.cast()) } else { _mm512_maskz_loadu_epi8(some, at.cast()) } }
}

/// Four scales, or only some of them, times as many steps; what lies beyond them means nothing.
///
/// # Safety
/// As [`bytes`].
#[inline(always)]
unsafe fn four<const WHOLE: bool>(scales: *const u16, some: u8, steps: __m128) -> __m512 {
    // SAFETY: by the caller's promise.
    unsafe {
        let halves = if WHOLE { _mm_loadl_epi64(scales.cast()) } else { _mm_maskz_loadu_epi16(some, scales.cast()) };
        _mm512_castps128_ps512(_mm_mul_ps(_mm_cvtph_ps(halves), steps))
    }
}

/// The lowest bits, at most 64.
#[inline(always)]
fn mask(bits: usize) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// Dots of x with R rows by AVX2, block by block. Pairs of products stay within 16 bits: no quant of x is -128.
///
/// # Safety
/// As [`super::dots`], with AVX2, FMA and F16C.
#[inline(always)]
pub(super) unsafe fn avx2<const Q4: bool, const R: usize>(
    x: &[u8],
    steps: &[f32],
    quants: *const u8,
    scales: *const u16,
) -> [f32; R] {
    let blocks = steps.len();
    let row = if Q4 { blocks * 16 } else { blocks * 32 };
    // SAFETY: by the caller's promises.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let nibble = _mm256_set1_epi8(15);
        let eight = _mm256_set1_epi8(8);
        let mut sums = [_mm256_setzero_ps(); R];
        for b in 0..blocks {
            let x = _mm256_loadu_si256(x.as_ptr().add(b * BLOCK).cast());
            // What nibbles have too much leaves with x, once for all rows.
            let bias = if Q4 { _mm256_maddubs_epi16(eight, x) } else { x };
            let step = _mm256_set1_ps(*steps.as_ptr().add(b));
            for r in 0..R {
                let pairs = if Q4 {
                    let at = quants.add(r * row + b * 16);
                    if b % 4 == 0 {
                        prefetch(at, R * row);
                    }
                    let w = _mm_loadu_si128(at.cast());
                    let w = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(w), w), nibble);
                    _mm256_sub_epi16(_mm256_maddubs_epi16(w, x), bias)
                } else {
                    let at = quants.add(r * row + b * 32);
                    if b % 2 == 0 {
                        prefetch(at, R * row);
                    }
                    let w = _mm256_loadu_si256(at.cast());
                    _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                };
                let dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
                let scale = _mm256_cvtph_ps(_mm_set1_epi16(*scales.add(r * blocks + b) as i16));
                sums[r] = _mm256_fmadd_ps(dot, _mm256_mul_ps(scale, step), sums[r]);
            }
        }
        let mut dots = [0.0; R];
        for r in 0..R {
            let half = _mm_add_ps(_mm256_castps256_ps128(sums[r]), _mm256_extractf128_ps::<1>(sums[r]));
            let half = _mm_add_ps(half, _mm_movehl_ps(half, half));
            dots[r] = _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
        }
        dots
    }
}

/// [`super::tiles`] by VNNI.
///
/// # Safety
/// The machine must have the unit, and nobody else may touch those rows of c meanwhile.
#[inline(always)]
pub(super) unsafe fn tiles(x: Quantized<'_>, sums: &[i32], from: &[usize], w: &Turned, c: Scatter, to: &[usize]) {
    assert!(from.len() == to.len(), "as many rows in as out");
    for column in (0..w.outputs).step_by(STRIP) {
        let mut i = 0;
        // SAFETY: by the caller's promises; a strip lies within the padded outputs.
        unsafe {
            while i + 6 <= to.len() {
                tile::<6>(x, sums, &from[i..i + 6], w, column, c, &to[i..i + 6]);
                i += 6;
            }
            if i + 3 <= to.len() {
                tile::<3>(x, sums, &from[i..i + 3], w, column, c, &to[i..i + 3]);
                i += 3;
            }
            while i < to.len() {
                tile::<1>(x, sums, &from[i..=i], w, column, c, &to[i..=i]);
                i += 1;
            }
        }
    }
}

/// M rows of x times a strip of outputs: integers of a block, then floats.
///
/// # Safety
/// As [`tiles`], of M rows.
#[inline(always)]
unsafe fn tile<const M: usize>(
    x: Quantized<'_>,
    sums: &[i32],
    from: &[usize],
    w: &Turned,
    column: usize,
    c: Scatter,
    to: &[usize],
) {
    let blocks = x.width / BLOCK;
    assert!(w.words.len() >= blocks * 8 * w.padded && w.scales.len() >= blocks * w.padded, "the weights are short");
    assert!(column + STRIP <= w.padded, "a strip outside the weights");
    let mut rows = [(std::ptr::null::<i32>(), std::ptr::null::<f32>(), std::ptr::null::<i32>()); M];
    for r in 0..M {
        let (quants, scales) = x.row(from[r]);
        rows[r] = (quants.as_ptr().cast(), scales.as_ptr(), sums[from[r] * blocks..][..blocks].as_ptr());
    }
    let width = (w.outputs - column).min(STRIP);
    // SAFETY: `row` checked the rows of x, the assertions the weights; c is the caller's.
    unsafe {
        let mut total = [[_mm512_setzero_ps(); 2]; M];
        for b in 0..blocks {
            let mut dots = [[_mm512_setzero_si512(); 2]; M];
            for r in 0..M {
                let start = _mm512_set1_epi32(-w.bias * *rows[r].2.add(b));
                dots[r] = [start; 2];
            }
            for k in 8 * b..8 * b + 8 {
                let at = w.words.as_ptr().add(k * w.padded + column);
                let w0 = _mm512_loadu_si512(at.cast());
                let w1 = _mm512_loadu_si512(at.add(16).cast());
                for r in 0..M {
                    let four = _mm512_set1_epi32(*rows[r].0.add(k));
                    dots[r][0] = _mm512_dpbusd_epi32(dots[r][0], w0, four);
                    dots[r][1] = _mm512_dpbusd_epi32(dots[r][1], w1, four);
                }
            }
            let at = w.scales.as_ptr().add(b * w.padded + column);
            let scales = [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16))];
            for r in 0..M {
                let scale = _mm512_set1_ps(*rows[r].1.add(b));
                for v in 0..2 {
                    let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[r][v]), scale);
                    total[r][v] = _mm512_fmadd_ps(scaled, scales[v], total[r][v]);
                }
            }
        }
        for r in 0..M {
            let to = c.row(to[r] + column, width).as_mut_ptr();
            let (m0, m1) = (mask(width) as u16, mask(width.saturating_sub(16)) as u16);
            _mm512_mask_storeu_ps(to, m0, total[r][0]);
            _mm512_mask_storeu_ps(to.wrapping_add(16), m1, total[r][1]);
        }
    }
}
