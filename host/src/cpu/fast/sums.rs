//! Sums of as many rows of products as there are lanes, all at once: adding up the lanes of one row after the other
//! would cost more than the products of a short row.

use super::lanes::{LANES, sum};
#[cfg(target_arch = "x86_64")]
use std::{arch::x86_64::*, mem::transmute};

/// As many rows of products with some x as there are lanes. On x86 vectors are named all the way: left to the
/// compiler, the sums' shuffles make it build vectors across the rows, element by element.
pub(super) trait Sixteen {
    /// Sum of the products of row r, which must be below [`LANES`].
    ///
    /// # Safety
    /// What the rows are made of must lie where they say.
    unsafe fn sum<const F: bool>(&self, r: usize) -> f32;
    /// The products of row r, added up to one vector.
    ///
    /// # Safety
    /// As [`Sixteen::sum`], with AVX2.
    #[cfg(target_arch = "x86_64")]
    unsafe fn avx2(&self, r: usize) -> __m256;
    /// The products of row r, added up to one vector.
    ///
    /// # Safety
    /// As [`Sixteen::sum`], with AVX-512.
    #[cfg(target_arch = "x86_64")]
    unsafe fn avx512(&self, r: usize) -> __m512;
}

/// Rows that hold their products already.
pub(super) struct Kept<'a>(pub(super) &'a [[f32; LANES]; LANES]);
impl Sixteen for Kept<'_> {
    #[inline(always)]
    unsafe fn sum<const F: bool>(&self, r: usize) -> f32 {
        sum(self.0[r])
    }
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx2(&self, r: usize) -> __m256 {
        let row = self.0[r].as_ptr();
        // SAFETY: a row is two vectors long.
        unsafe { _mm256_add_ps(_mm256_loadu_ps(row), _mm256_loadu_ps(row.add(8))) }
    }
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx512(&self, r: usize) -> __m512 {
        // SAFETY: a row is one vector long.
        unsafe { _mm512_loadu_ps(self.0[r].as_ptr()) }
    }
}

/// Sums of the products of each row, together: where vectors have shuffles, each step adds parts of two vectors.
///
/// # Safety
/// As [`Sixteen::sum`]; the constants are those of [`vector!`](super::lanes::vector).
#[inline(always)]
pub(super) unsafe fn sums<const F: bool, const AVX2: bool, const WIDE: bool>(rows: &impl Sixteen) -> [f32; LANES] {
    // SAFETY: by the caller's promises.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if WIDE {
            let (a, b) = (eight512(rows, 0), eight512(rows, 8));
            return transmute::<__m512, [f32; LANES]>(_mm512_add_ps(
                _mm512_shuffle_f32x4::<0x88>(a, b),
                _mm512_shuffle_f32x4::<0xDD>(a, b),
            ));
        } else if AVX2 {
            return transmute::<[__m256; 2], [f32; LANES]>([eight256(rows, 0), eight256(rows, 8)]);
        }
        let mut all = [0.0; LANES];
        for r in 0..LANES {
            all[r] = rows.sum::<F>(r);
        }
        all
    }
}

/// Sums of eight rows: of the first four in lanes of 128 bits 0 and 1, of the others in 2 and 3, two parts of each.
///
/// # Safety
/// As [`sums`], with AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn eight512(rows: &impl Sixteen, r: usize) -> __m512 {
    // SAFETY: by the caller's promises.
    unsafe {
        let (a, b) = (four512(rows, r), four512(rows, r + 4));
        _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b))
    }
}

/// Sums of four rows, a part of each in every lane of 128 bits.
///
/// # Safety
/// As [`sums`], with AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn four512(rows: &impl Sixteen, r: usize) -> __m512 {
    // SAFETY: by the caller's promises.
    unsafe {
        let (a, b) = (rows.avx512(r), rows.avx512(r + 1));
        let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (c, d) = (rows.avx512(r + 2), rows.avx512(r + 3));
        let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        _mm512_add_ps(_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xEE>(ab, cd))
    }
}

/// Sums of eight rows.
///
/// # Safety
/// As [`sums`], with AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn eight256(rows: &impl Sixteen, r: usize) -> __m256 {
    // SAFETY: by the caller's promises.
    unsafe {
        let (a, b) = (four256(rows, r), four256(rows, r + 4));
        _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
    }
}

/// Sums of four rows, a part of each in both lanes of 128 bits.
///
/// # Safety
/// As [`sums`], with AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn four256(rows: &impl Sixteen, r: usize) -> __m256 {
    // SAFETY: by the caller's promises.
    unsafe {
        let (a, b) = (rows.avx2(r), rows.avx2(r + 1));
        let ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (c, d) = (rows.avx2(r + 2), rows.avx2(r + 3));
        let cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        _mm256_add_ps(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xEE>(ab, cd))
    }
}
