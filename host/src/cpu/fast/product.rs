//! Products of matrices: GEMM for whole matrices, register tiles for rows that lie scattered, dots for one row.

use super::lanes::{LANES, axpy, dot, madd, prefetch, sum, vector};
use super::share::{Scatter, pieces};
use super::sums::{Sixteen, sums};
use crate::pool::Pool;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// A matrix inside a slice: element (i, j) is `data[start + i * row + j * column]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) start: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}
impl<'a> Matrix<'a> {
    /// Rows of `row` elements from `start`.
    pub(super) fn new(data: &'a [f32], start: usize, row: usize) -> Self {
        Self { data, start, row, column: 1 }
    }
    /// The transpose.
    pub(super) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
    fn check(&self, rows: usize, columns: usize) {
        let last = self.start + rows.saturating_sub(1) * self.row + columns.saturating_sub(1) * self.column;
        assert!(last < self.data.len(), "a matrix outside its buffer");
    }
}

/// `c = a b`, or `c += a b` when `add`; c is `m` rows of `n` from `start`, `row` elements apart; k is inside.
pub(super) fn gemm(
    pool: &Pool,
    [m, n, k]: [usize; 3],
    c: &mut [f32],
    start: usize,
    row: usize,
    a: Matrix,
    b: Matrix,
    add: bool,
) {
    let at = Scatter::new(c);
    // The longer side is cut, so that what every thread packs for itself is the shorter one.
    let long = m.max(n);
    pool.each(pieces(long, 32, if m * n * k < ALONE { 1 } else { pool.threads() }), |cut| {
        let (rows, columns) = if m >= n { (cut, 0..n) } else { (0..m, cut) };
        let a = Matrix { start: a.start + rows.start * a.row, ..a };
        let b = Matrix { start: b.start + columns.start * b.column, ..b };
        let start = start + rows.start * row + columns.start;
        // SAFETY: no two cuts share an element of c, which is borrowed by this call alone.
        unsafe { gemm_alone([rows.len(), columns.len(), k], at, start, row, a, b, add) };
    });
}

/// [`gemm`] on this thread.
///
/// # Safety
/// Nobody else may touch those elements of c meanwhile.
pub(super) unsafe fn gemm_alone(
    [m, n, k]: [usize; 3],
    c: Scatter,
    start: usize,
    row: usize,
    a: Matrix,
    b: Matrix,
    add: bool,
) {
    if m * n * k == 0 {
        return;
    }
    a.check(m, k);
    b.check(k, n);
    // SAFETY: the matrices were checked to lie inside their slices, and c's last row is asked for beside its first.
    unsafe {
        c.row(start + (m - 1) * row, n);
        let c = c.row(start, 1).as_mut_ptr();
        let (pa, pb) = (a.data.as_ptr().add(a.start), b.data.as_ptr().add(b.start));
        let strides = |m: Matrix| (m.column as isize, m.row as isize);
        let ((ac, ar), (bc, br)) = (strides(a), strides(b));
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            row as isize,
            add,
            pa,
            ac,
            ar,
            pb,
            bc,
            br,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Multiplications below which a GEMM is not worth waking a worker for.
const ALONE: usize = 1 << 18;

/// Weights from which one row's product is worth waking the workers for.
const SHARED: usize = 16 << 10;

/// `y[r] = W x[r]` for a few rows: W is streamed once, some of its rows at a time.
pub(super) fn matvec(
    pool: &Pool,
    x: &[f32],
    x_stride: usize,
    w: &[f32],
    k: usize,
    y: &mut [f32],
    y_stride: usize,
    rows: usize,
) {
    let y = Scatter::new(y);
    let n = w.len() / k.max(1);
    let threads = if w.len() < SHARED { 1 } else { pool.threads() };
    // Pieces of whole vectors of columns.
    pool.each(pieces(n.div_ceil(LANES), 1, threads), |r| {
        let part = r.start * LANES..n.min(r.end * LANES);
        matvec_part(x, x_stride, &w[part.start * k..part.end * k], k, y, part.start, y_stride, rows);
    });
}

vector! {
    /// The part of [`matvec`] for some rows of W, whose outputs start at column `first`.
    fn matvec_part(x: &[f32], x_stride: usize, w: &[f32], k: usize, y: Scatter, first: usize, y_stride: usize, rows: usize) {
        let n = w.len() / k;
        let narrow = if k <= NARROW && k.is_multiple_of(LANES) { n / LANES } else { 0 };
        for (block, sixteen) in w.chunks_exact(LANES * k).take(narrow).enumerate() {
            for r in 0..rows {
                // SAFETY: each call and each block has columns of its own.
                let y = unsafe { y.row(r * y_stride + first + block * LANES, LANES) };
                y.copy_from_slice(&dots_narrow::<FMA, AVX2, WIDE>(&x[r * x_stride..][..k], sixteen));
            }
        }
        let (first, w) = (first + narrow * LANES, &w[narrow * LANES * k..]);
        let n = n - narrow * LANES;
        for (block, four) in w.chunks(4 * k).enumerate() {
            for r in 0..rows {
                let x = &x[r * x_stride..][..k];
                // SAFETY: each call and each block has columns of its own.
                let y = unsafe { y.row(r * y_stride + first + block * 4, 4.min(n - block * 4)) };
                if y.len() == 4 {
                    y.copy_from_slice(&dots::<FMA>(x, four));
                } else {
                    y.iter_mut().zip(four.chunks(k)).for_each(|(y, w)| *y = dot::<FMA>(x, w));
                }
            }
        }
    }
}

/// Longest rows for which adding up the lanes costs more than the products.
pub(super) const NARROW: usize = 64;

/// As many rows of floats as there are lanes, times x.
struct Narrow<'a> {
    x: &'a [f32],
    rows: &'a [f32],
}
impl Sixteen for Narrow<'_> {
    #[inline(always)]
    unsafe fn sum<const F: bool>(&self, r: usize) -> f32 {
        let k = self.x.len();
        dot::<F>(self.x, &self.rows[r * k..][..k])
    }
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx2(&self, r: usize) -> __m256 {
        let k = self.x.len();
        // SAFETY: so many rows of whole vectors are there by the caller's promise.
        unsafe {
            let (x, w) = (self.x.as_ptr(), self.rows.as_ptr().add(r * k));
            let mut products = _mm256_mul_ps(_mm256_loadu_ps(x), _mm256_loadu_ps(w));
            for i in (8..k).step_by(8) {
                products = _mm256_fmadd_ps(_mm256_loadu_ps(x.add(i)), _mm256_loadu_ps(w.add(i)), products);
            }
            products
        }
    }
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx512(&self, r: usize) -> __m512 {
        let k = self.x.len();
        // SAFETY: so many rows of whole vectors are there by the caller's promise.
        unsafe {
            let (x, w) = (self.x.as_ptr(), self.rows.as_ptr().add(r * k));
            let mut products = _mm512_mul_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(w));
            for i in (LANES..k).step_by(LANES) {
                products = _mm512_fmadd_ps(_mm512_loadu_ps(x.add(i)), _mm512_loadu_ps(w.add(i)), products);
            }
            products
        }
    }
}

/// Dots of x with as many rows as there are lanes; their length is a multiple of that.
#[inline(always)]
fn dots_narrow<const F: bool, const AVX2: bool, const WIDE: bool>(x: &[f32], rows: &[f32]) -> [f32; LANES] {
    assert!(x.len().is_multiple_of(LANES) && rows.len() >= LANES * x.len(), "rows are short");
    // SAFETY: the assertion covers x and the rows.
    unsafe { sums::<F, AVX2, WIDE>(&Narrow { x, rows }) }
}

/// Dots of x with four rows.
#[inline(always)]
pub(super) fn dots<const F: bool>(x: &[f32], four: &[f32]) -> [f32; 4] {
    let k = x.len();
    assert!(four.len() >= 4 * k, "four rows are short");
    let mut lanes = [[0.0; LANES]; 4];
    let whole = k / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        // SAFETY: `i + LANES <= k`, and the assertion covers four rows of k elements. Whole registers are read:
        // slices here would keep the sums in memory.
        unsafe {
            let x: [f32; LANES] = *x.as_ptr().add(i).cast();
            for r in 0..4 {
                // The same place of the next four rows.
                prefetch(four.as_ptr(), (4 + r) * k + i);
                let w: [f32; LANES] = *four.as_ptr().add(r * k + i).cast();
                for l in 0..LANES {
                    lanes[r][l] = madd::<F>(x[l], w[l], lanes[r][l]);
                }
            }
        }
    }
    let mut sums = [sum(lanes[0]), sum(lanes[1]), sum(lanes[2]), sum(lanes[3])];
    for i in whole..k {
        for r in 0..4 {
            sums[r] = madd::<F>(x[i], four[r * k + i], sums[r]);
        }
    }
    sums
}

/// Rows of a buffer by the elements at which they start.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    pub(super) starts: &'a [usize],
}
impl Rows<'_> {
    fn check(&self, len: usize) {
        let last = self.starts.iter().copied().max().unwrap_or(0);
        assert!(self.starts.is_empty() || last + len <= self.data.len(), "a row outside its buffer");
    }
}

vector! {
    /// `c[i] = a[i] B`, or `+=` when `add`: rows of `a` have `k` elements; B is `[k, n]`; row i of c starts at `to[i]`.
    ///
    /// Nobody else may touch those rows of c meanwhile, and they must not overlap.
    fn times(a: Rows<'_>, k: usize, b: &[f32], n: usize, c: Scatter, to: &[usize], add: bool) {
        a.check(k);
        assert!(b.len() >= k * n && to.len() == a.starts.len(), "B or c is short");
        let mut column = 0;
        if WIDE {
            while column + 4 * LANES <= n {
                strip::<FMA, 6, 4>(a, k, &b[column..], n, c, to, column, add);
                column += 4 * LANES;
            }
        }
        while column + LANES <= n {
            strip::<FMA, 6, 1>(a, k, &b[column..], n, c, to, column, add);
            column += LANES;
        }
        if column < n {
            for (&from, &to) in a.starts.iter().zip(to) {
                // SAFETY: the caller keeps others away from these rows.
                let c = unsafe { c.row(to + column, n - column) };
                if !add {
                    c.fill(0.0);
                }
                for (i, &x) in a.data[from..from + k].iter().enumerate() {
                    axpy::<FMA>(x, &b[i * n + column..i * n + n], c);
                }
            }
        }
    }
}

/// `NV` vectors of columns from `column`, `M` rows at a time, then single ones.
#[inline(always)]
fn strip<const F: bool, const M: usize, const NV: usize>(
    a: Rows<'_>,
    k: usize,
    b: &[f32],
    n: usize,
    c: Scatter,
    to: &[usize],
    column: usize,
    add: bool,
) {
    let mut i = 0;
    while i + M <= to.len() {
        tile::<F, M, NV>(a, k, b, n, c, to, i, column, add);
        i += M;
    }
    if M == 6 && i + 3 <= to.len() {
        tile::<F, 3, NV>(a, k, b, n, c, to, i, column, add);
        i += 3;
    }
    while i < to.len() {
        tile::<F, 1, NV>(a, k, b, n, c, to, i, column, add);
        i += 1;
    }
}

#[inline(always)]
fn tile<const F: bool, const M: usize, const NV: usize>(
    a: Rows<'_>,
    k: usize,
    b: &[f32],
    n: usize,
    c: Scatter,
    to: &[usize],
    first: usize,
    column: usize,
    add: bool,
) {
    let starts: [usize; M] = std::array::from_fn(|m| a.starts[first + m]);
    let mut sums = [[[0.0f32; LANES]; NV]; M];
    assert!(k == 0 || b.len() >= (k - 1) * n + NV * LANES, "B is short");
    for i in 0..k {
        // SAFETY: `times` checked that every row of a has k elements; the assertion above covers row i of B.
        unsafe {
            let row: [[f32; LANES]; NV] = std::array::from_fn(|v| *b.as_ptr().add(i * n + v * LANES).cast());
            for m in 0..M {
                let x = *a.data.get_unchecked(starts[m] + i);
                for v in 0..NV {
                    for l in 0..LANES {
                        sums[m][v][l] = madd::<F>(x, row[v][l], sums[m][v][l]);
                    }
                }
            }
        }
    }
    for m in 0..M {
        // SAFETY: the caller of `times` keeps others away from these rows.
        let c = unsafe { c.row(to[first + m] + column, NV * LANES) };
        for (c, s) in c.chunks_exact_mut(LANES).zip(&sums[m]) {
            for l in 0..LANES {
                c[l] = if add { c[l] + s[l] } else { s[l] };
            }
        }
    }
}

vector! {
    /// `c += sum over t of a[t]^T b[t]`: c is `[m, n]`, a's rows have `m` elements and b's `n`.
    fn outer(c: &mut [f32], a: Rows<'_>, m: usize, b: Rows<'_>, n: usize) {
        a.check(m);
        b.check(n);
        assert!(c.len() >= m * n && a.starts.len() == b.starts.len(), "c is short");
        let mut column = 0;
        if WIDE {
            while column + 4 * LANES <= n {
                outer_strip::<FMA, 6, 4>(c, a, m, b, n, column);
                column += 4 * LANES;
            }
        }
        while column + LANES <= n {
            outer_strip::<FMA, 6, 1>(c, a, m, b, n, column);
            column += LANES;
        }
        if column < n {
            for (&at, &bt) in a.starts.iter().zip(b.starts) {
                for i in 0..m {
                    axpy::<FMA>(a.data[at + i], &b.data[bt + column..bt + n], &mut c[i * n + column..i * n + n]);
                }
            }
        }
    }
}

#[inline(always)]
fn outer_strip<const F: bool, const M: usize, const NV: usize>(
    c: &mut [f32],
    a: Rows<'_>,
    m: usize,
    b: Rows<'_>,
    n: usize,
    column: usize,
) {
    let mut i = 0;
    while i + M <= m {
        outer_tile::<F, M, NV>(c, a, i, b, n, column);
        i += M;
    }
    if M == 6 && i + 4 <= m {
        outer_tile::<F, 4, NV>(c, a, i, b, n, column);
        i += 4;
    }
    while i < m {
        outer_tile::<F, 1, NV>(c, a, i, b, n, column);
        i += 1;
    }
}

#[inline(always)]
fn outer_tile<const F: bool, const M: usize, const NV: usize>(
    c: &mut [f32],
    a: Rows<'_>,
    first: usize,
    b: Rows<'_>,
    n: usize,
    column: usize,
) {
    let mut sums = [[[0.0f32; LANES]; NV]; M];
    for (&at, &bt) in a.starts.iter().zip(b.starts) {
        // SAFETY: `outer` checked that all rows of a and b lie inside their buffers.
        unsafe {
            let from = b.data.as_ptr().add(bt + column);
            let row: [[f32; LANES]; NV] = std::array::from_fn(|v| *from.add(v * LANES).cast());
            for m in 0..M {
                let x = *a.data.get_unchecked(at + first + m);
                for v in 0..NV {
                    for l in 0..LANES {
                        sums[m][v][l] = madd::<F>(x, row[v][l], sums[m][v][l]);
                    }
                }
            }
        }
    }
    for m in 0..M {
        let c = &mut c[(first + m) * n + column..][..NV * LANES];
        for (c, s) in c.chunks_exact_mut(LANES).zip(&sums[m]) {
            for l in 0..LANES {
                c[l] += s[l];
            }
        }
    }
}
