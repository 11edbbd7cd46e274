//! The transpose of a matrix, in blocks of as many rows and columns as there are lanes.

use super::lanes::{LANES, vector};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

vector! {
    /// Writes the transpose of the `[m, n]` matrix `a` to `to`.
    fn transpose(a: &[f32], m: usize, n: usize, to: &mut [f32]) {
        let (a, to) = (&a[..m * n], &mut to[..m * n]);
        for i in (0..m).step_by(LANES) {
            for j in (0..n).step_by(LANES) {
                if i + LANES <= m && j + LANES <= n {
                    #[cfg(target_arch = "x86_64")]
                    if WIDE {
                        // SAFETY: sixteen rows from i and as many columns from j are inside, and this function has AVX-512.
                        unsafe { turn512(a.as_ptr().add(i * n + j), n, to.as_mut_ptr().add(j * m + i), m) };
                        continue;
                    }
                    let mut block = [[0.0f32; LANES]; LANES];
                    for r in 0..LANES {
                        let row = &a[(i + r) * n + j..][..LANES];
                        for l in 0..LANES {
                            block[l][r] = row[l];
                        }
                    }
                    for (l, row) in block.iter().enumerate() {
                        to[(j + l) * m + i..][..LANES].copy_from_slice(row);
                    }
                } else {
                    for r in i..m.min(i + LANES) {
                        for l in j..n.min(j + LANES) {
                            to[l * m + r] = a[r * n + l];
                        }
                    }
                }
            }
        }
    }
}

/// Writes the transpose of 16 rows of 16 floats, which are `n` apart, to rows that are `m` apart.
///
/// # Safety
/// All of them must lie inside their buffers; needs AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn turn512(from: *const f32, n: usize, to: *mut f32, m: usize) {
    // SAFETY: by the caller's promises.
    unsafe {
        // Part p of `fours[g][c]` is column 4p + c of rows 4g to 4g + 3. No closures: they would lack the instructions.
        let mut fours = [[_mm512_setzero_ps(); 4]; 4];
        for (g, four) in fours.iter_mut().enumerate() {
            let row = from.add(4 * g * n);
            let (a, b) = (_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(n)));
            let (c, d) = (_mm512_loadu_ps(row.add(2 * n)), _mm512_loadu_ps(row.add(3 * n)));
            let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
            four[0] = _mm512_shuffle_ps::<0x44>(ab, cd);
            four[1] = _mm512_shuffle_ps::<0xEE>(ab, cd);
            let (ab, cd) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
            four[2] = _mm512_shuffle_ps::<0x44>(ab, cd);
            four[3] = _mm512_shuffle_ps::<0xEE>(ab, cd);
        }
        for c in 0..4 {
            let (low, high) = ([fours[0][c], fours[1][c]], [fours[2][c], fours[3][c]]);
            let even = _mm512_shuffle_f32x4::<0x88>(low[0], low[1]);
            let other = _mm512_shuffle_f32x4::<0x88>(high[0], high[1]);
            _mm512_storeu_ps(to.add(c * m), _mm512_shuffle_f32x4::<0x88>(even, other));
            _mm512_storeu_ps(to.add((8 + c) * m), _mm512_shuffle_f32x4::<0xDD>(even, other));
            let odd = _mm512_shuffle_f32x4::<0xDD>(low[0], low[1]);
            let other = _mm512_shuffle_f32x4::<0xDD>(high[0], high[1]);
            _mm512_storeu_ps(to.add((4 + c) * m), _mm512_shuffle_f32x4::<0x88>(odd, other));
            _mm512_storeu_ps(to.add((12 + c) * m), _mm512_shuffle_f32x4::<0xDD>(odd, other));
        }
    }
}
