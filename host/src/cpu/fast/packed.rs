//! Packed weights in registers: blocks of 32 as floats, dots of a row, whole matrices.
//!
//! Words are read as bytes and halves, which lie in the same order on little-endian machines only. The vector
//! conversions of x86 are named: left to the compiler, it makes vectors across the rows of halves and nibbles and gathers
//! them byte by byte.

use super::lanes::{LANES, madd, prefetch, sum, vector};
use super::product::NARROW;
use super::sums::{Sixteen, sums};
use lichen_shaders::bytemuck::cast_slice;
use lichen_shaders::packed::{BLOCK, Format};
use std::marker::PhantomData;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
use std::{arch::x86_64::*, mem::transmute};

const _: () = assert!(cfg!(target_endian = "little"), "packed weights are read as little-endian bytes");
const _: () = assert!(BLOCK == 2 * LANES, "a block is two vectors");

/// A packed matrix, row-major.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) format: Format,
    /// Weights of a row.
    pub(super) width: usize,
    pub(super) quants: &'a [u8],
    /// One half a block, perhaps one more as padding; none for half precision.
    pub(super) scales: &'a [u16],
}
impl<'a> Packed<'a> {
    /// The matrix [rows, width] at the start of these words.
    pub(super) fn new(format: Format, rows: usize, width: usize, words: &'a [u32]) -> Self {
        let weights = rows * width;
        let (quants, scales) = words[..format.words(weights)].split_at(format.quant_words(weights));
        Self { format, width, quants: cast_slice(quants), scales: cast_slice(scales) }
    }
    /// Rows from `first` on.
    pub(super) fn from(self, first: usize) -> Self {
        let weights = first * self.width;
        let blocks = if self.format == Format::F16 { 0 } else { weights / BLOCK };
        Self { quants: &self.quants[4 * self.format.quant_words(weights)..], scales: &self.scales[blocks..], ..self }
    }
    /// Bytes from row to row, and scales; `rows` rows are checked to be there.
    #[inline(always)]
    pub(super) fn strides<B: Blocks>(&self, rows: usize) -> (usize, usize) {
        let (bytes, blocks) = (self.width * B::BYTES / BLOCK, if B::SCALED { self.width / BLOCK } else { 0 });
        assert!(rows * bytes <= self.quants.len() && rows * blocks <= self.scales.len(), "rows are short");
        assert!(!B::SCALED || self.width.is_multiple_of(BLOCK), "a row is no whole blocks");
        (bytes, blocks)
    }
}

/// How a format keeps a block of weights.
pub(super) trait Blocks {
    /// Bytes of a block without its scale.
    const BYTES: usize;
    /// Whether blocks have scales.
    const SCALED: bool;
    /// What a stored number is above the one it stands for.
    const BIAS: f32;
    /// The stored numbers of a block.
    ///
    /// # Safety
    /// [`Blocks::BYTES`] must be readable at `at`, which may be unaligned; `AVX2` and `WIDE` are those of
    /// [`vector!`](vector).
    unsafe fn stored<const AVX2: bool, const WIDE: bool>(at: *const u8) -> [[f32; LANES]; 2];
}

/// Blocks of half precision.
pub(super) struct Halves;
impl Blocks for Halves {
    const BYTES: usize = 64;
    const SCALED: bool = false;
    const BIAS: f32 = 0.0;
    #[inline(always)]
    unsafe fn stored<const AVX2: bool, const WIDE: bool>(at: *const u8) -> [[f32; LANES]; 2] {
        // SAFETY: by the caller's promise.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if WIDE {
                let w0 = _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()));
                let w1 = _mm512_cvtph_ps(_mm256_loadu_si256(at.add(32).cast()));
                return transmute::<[__m512; 2], [[f32; LANES]; 2]>([w0, w1]);
            } else if AVX2 {
                let w0 = _mm256_cvtph_ps(_mm_loadu_si128(at.cast()));
                let w1 = _mm256_cvtph_ps(_mm_loadu_si128(at.add(16).cast()));
                let w2 = _mm256_cvtph_ps(_mm_loadu_si128(at.add(32).cast()));
                let w3 = _mm256_cvtph_ps(_mm_loadu_si128(at.add(48).cast()));
                return transmute::<[__m256; 4], [[f32; LANES]; 2]>([w0, w1, w2, w3]);
            }
            let mut w = [[0.0; LANES]; 2];
            for l in 0..LANES {
                w[0][l] = half(at.cast::<u16>().add(l).read_unaligned());
            }
            for l in 0..LANES {
                w[1][l] = half(at.cast::<u16>().add(LANES + l).read_unaligned());
            }
            w
        }
    }
}

/// Blocks of signed bytes.
pub(super) struct Bytes;
impl Blocks for Bytes {
    const BYTES: usize = 32;
    const SCALED: bool = true;
    const BIAS: f32 = 0.0;
    #[inline(always)]
    unsafe fn stored<const AVX2: bool, const WIDE: bool>(at: *const u8) -> [[f32; LANES]; 2] {
        // SAFETY: by the caller's promise.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if WIDE {
                let w0 = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast())));
                let w1 = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at.add(16).cast())));
                return transmute::<[__m512; 2], [[f32; LANES]; 2]>([w0, w1]);
            } else if AVX2 {
                let w0 = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast())));
                let w1 = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.add(8).cast())));
                let w2 = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.add(16).cast())));
                let w3 = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.add(24).cast())));
                return transmute::<[__m256; 4], [[f32; LANES]; 2]>([w0, w1, w2, w3]);
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            return wasm::bytes(at);
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            {
                let mut w = [[0.0; LANES]; 2];
                for l in 0..LANES {
                    w[0][l] = f32::from(*at.cast::<i8>().add(l));
                }
                for l in 0..LANES {
                    w[1][l] = f32::from(*at.cast::<i8>().add(LANES + l));
                }
                w
            }
        }
    }
}

/// Blocks of nibbles, the first half of the weights in the low ones.
pub(super) struct Nibbles;
impl Blocks for Nibbles {
    const BYTES: usize = 16;
    const SCALED: bool = true;
    const BIAS: f32 = 8.0;
    #[inline(always)]
    unsafe fn stored<const AVX2: bool, const WIDE: bool>(at: *const u8) -> [[f32; LANES]; 2] {
        // SAFETY: by the caller's promise.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if WIDE {
                let q = _mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast()));
                let w0 = _mm512_cvtepi32_ps(_mm512_and_si512(q, _mm512_set1_epi32(15)));
                let w1 = _mm512_cvtepi32_ps(_mm512_srli_epi32::<4>(q));
                return transmute::<[__m512; 2], [[f32; LANES]; 2]>([w0, w1]);
            } else if AVX2 {
                let q0 = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast()));
                let q1 = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.add(8).cast()));
                let w0 = _mm256_cvtepi32_ps(_mm256_and_si256(q0, _mm256_set1_epi32(15)));
                let w1 = _mm256_cvtepi32_ps(_mm256_and_si256(q1, _mm256_set1_epi32(15)));
                let w2 = _mm256_cvtepi32_ps(_mm256_srli_epi32::<4>(q0));
                let w3 = _mm256_cvtepi32_ps(_mm256_srli_epi32::<4>(q1));
                return transmute::<[__m256; 4], [[f32; LANES]; 2]>([w0, w1, w2, w3]);
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            return wasm::nibbles(at);
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            {
                let mut w = [[0.0; LANES]; 2];
                for l in 0..LANES {
                    w[0][l] = f32::from(*at.add(l) & 15);
                }
                for l in 0..LANES {
                    w[1][l] = f32::from(*at.add(l) >> 4);
                }
                w
            }
        }
    }
}

/// A half number, which must be finite: by integers, for not every machine that runs this converts halves, and small
/// ones would be slow as float32's own subnormal numbers.
#[inline(always)]
pub(super) fn half(bits: u16) -> f32 {
    let wide = i32::from(bits as i16) as u32;
    let magnitude = wide & 0x7FFF;
    let normal = f32::from_bits((magnitude << 13) + (112 << 23));
    let small = magnitude as i32 as f32 * (1.0 / 16_777_216.0);
    let value = if magnitude < 0x400 { small } else { normal };
    f32::from_bits(value.to_bits() | (wide & 0x8000_0000))
}

vector! {
    /// `h[i] = W[first + i] z`. `scales` is room for those of four rows.
    fn row(z: &[f32], w: Packed<'_>, first: usize, scales: &mut [f32], h: &mut [f32]) {
        match w.format {
            Format::F16 => rows::<FMA, AVX2, WIDE, Halves>(z, w, first, scales, h),
            Format::Q8 => rows::<FMA, AVX2, WIDE, Bytes>(z, w, first, scales, h),
            Format::Q4 => rows::<FMA, AVX2, WIDE, Nibbles>(z, w, first, scales, h),
        }
    }
}

#[inline(always)]
fn rows<const F: bool, const AVX2: bool, const WIDE: bool, B: Blocks>(
    z: &[f32],
    w: Packed<'_>,
    first: usize,
    scales: &mut [f32],
    h: &mut [f32],
) {
    let (bytes, blocks) = w.strides::<B>(first + h.len());
    assert!(z.len() == w.width && scales.len() >= 4 * blocks, "a row or the room for scales is short");
    let mut e = 0;
    // Narrow rows' lanes are added up sixteen rows at a time.
    if B::SCALED && w.width <= NARROW {
        while e + LANES <= h.len() {
            // SAFETY: `strides` checked the rows, the assertion z; sixteen rows fit into h.
            unsafe {
                let quants = w.quants.as_ptr().add((first + e) * bytes);
                let scales = w.scales.as_ptr().add((first + e) * blocks);
                *h.as_mut_ptr().add(e).cast::<[f32; LANES]>() = dots_narrow::<F, AVX2, WIDE, B>(z, quants, scales);
            }
            e += LANES;
        }
    }
    while e < h.len() {
        // Four rows at a time; the last four again where fewer are left.
        let many = h.len().min(4);
        let at = e.min(h.len() - many);
        if B::SCALED {
            let from = &w.scales[(first + at) * blocks..][..many * blocks];
            for line in (0..from.len()).step_by(BLOCK) {
                prefetch(from.as_ptr(), 4 * blocks + line);
            }
            let scales = &mut scales[..from.len()];
            for b in 0..from.len() {
                scales[b] = half(from[b]);
            }
        }
        // SAFETY: `strides` checked the rows, the assertion z and the scales; four rows fit into h where there are.
        unsafe {
            let quants = w.quants.as_ptr().add((first + at) * bytes);
            if many == 4 {
                let four = dots::<F, AVX2, WIDE, B, 4>(z, quants, scales.as_ptr());
                *h.as_mut_ptr().add(at).cast::<[f32; 4]>() = four;
            } else {
                for r in 0..many {
                    let scales = scales.as_ptr().add(r * blocks);
                    [h[r]] = dots::<F, AVX2, WIDE, B, 1>(z, quants.add(r * bytes), scales);
                }
            }
        }
        e += 4;
    }
}

/// Dots of x with as many short rows as there are lanes: a block's products are added up for all rows together and
/// scaled as one vector.
///
/// # Safety
/// So many rows as long as x, whole blocks, must lie at `quants`, and the scales of their blocks at `scales`; the
/// constants are those of [`vector!`](vector).
#[inline(always)]
unsafe fn dots_narrow<const F: bool, const AVX2: bool, const WIDE: bool, B: Blocks>(
    x: &[f32],
    quants: *const u8,
    scales: *const u16,
) -> [f32; LANES] {
    let blocks = x.len() / BLOCK;
    let mut dots = [0.0; LANES];
    for b in 0..blocks {
        // SAFETY: a block of x, and by the caller's promise of each row.
        unsafe {
            let column = Column::<B> {
                x: *x.as_ptr().add(b * BLOCK).cast(),
                quants: quants.add(b * B::BYTES),
                row: blocks * B::BYTES,
                _format: PhantomData,
            };
            let sums = sums::<F, AVX2, WIDE>(&column);
            let mut scale = [0.0; LANES];
            for l in 0..LANES {
                scale[l] = half(*scales.add(l * blocks + b));
            }
            for l in 0..LANES {
                dots[l] = madd::<F>(scale[l], sums[l], dots[l]);
            }
        }
    }
    dots
}

/// One block of each of as many rows as there are lanes, times a block of x.
struct Column<B> {
    x: [[f32; LANES]; 2],
    quants: *const u8,
    /// Bytes from row to row.
    row: usize,
    _format: PhantomData<B>,
}
impl<B: Blocks> Sixteen for Column<B> {
    #[inline(always)]
    unsafe fn sum<const F: bool>(&self, r: usize) -> f32 {
        // SAFETY: by the caller's promise.
        let [w0, w1] = unsafe { B::stored::<false, false>(self.quants.add(r * self.row)) };
        let mut products = [0.0; LANES];
        for l in 0..LANES {
            products[l] = self.x[0][l] * (w0[l] - B::BIAS);
        }
        for l in 0..LANES {
            products[l] = madd::<F>(self.x[1][l], w1[l] - B::BIAS, products[l]);
        }
        sum(products)
    }
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx2(&self, r: usize) -> __m256 {
        // SAFETY: by the caller's promises.
        unsafe {
            let x = transmute::<[[f32; LANES]; 2], [__m256; 4]>(self.x);
            let stored = B::stored::<true, false>(self.quants.add(r * self.row));
            let w = transmute::<[[f32; LANES]; 2], [__m256; 4]>(stored);
            let bias = _mm256_set1_ps(B::BIAS);
            let mut products = _mm256_mul_ps(x[0], _mm256_sub_ps(w[0], bias));
            for i in 1..4 {
                products = _mm256_fmadd_ps(x[i], _mm256_sub_ps(w[i], bias), products);
            }
            products
        }
    }
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx512(&self, r: usize) -> __m512 {
        // SAFETY: by the caller's promises.
        unsafe {
            let [x0, x1] = transmute::<[[f32; LANES]; 2], [__m512; 2]>(self.x);
            let stored = B::stored::<true, true>(self.quants.add(r * self.row));
            let [w0, w1] = transmute::<[[f32; LANES]; 2], [__m512; 2]>(stored);
            let bias = _mm512_set1_ps(B::BIAS);
            _mm512_fmadd_ps(x1, _mm512_sub_ps(w1, bias), _mm512_mul_ps(x0, _mm512_sub_ps(w0, bias)))
        }
    }
}

/// Dots of x with R packed rows, one after the other, and their blocks' scales.
///
/// # Safety
/// R rows as long as x must lie at `quants`, and the scales of their blocks at `scales`; the constants are those of
/// [`vector!`](vector).
#[inline(always)]
unsafe fn dots<const F: bool, const AVX2: bool, const WIDE: bool, B: Blocks, const R: usize>(
    x: &[f32],
    quants: *const u8,
    scales: *const f32,
) -> [f32; R] {
    let blocks = x.len() / BLOCK;
    let row = x.len() * B::BYTES / BLOCK;
    let mut lanes = [[0.0; LANES]; R];
    for b in 0..blocks {
        // SAFETY: a block of x, and by the caller's promise of each row. Whole registers are read: slices here would
        // keep the sums in memory.
        unsafe {
            let x0: [f32; LANES] = *x.as_ptr().add(b * BLOCK).cast();
            let x1: [f32; LANES] = *x.as_ptr().add(b * BLOCK + LANES).cast();
            // The bias leaves with x, once for all rows.
            let mut start = [0.0; LANES];
            if B::BIAS != 0.0 {
                for l in 0..LANES {
                    start[l] = (x0[l] + x1[l]) * -B::BIAS;
                }
            }
            // As many lines of the next rows as these blocks have, one after the other.
            for line in 0..R * B::BYTES / 64 {
                prefetch(quants, R * (row + b * B::BYTES) + 64 * line);
            }
            for r in 0..R {
                let [w0, w1] = B::stored::<AVX2, WIDE>(quants.add(r * row + b * B::BYTES));
                let mut sums = if B::SCALED { start } else { lanes[r] };
                for l in 0..LANES {
                    sums[l] = madd::<F>(x0[l], w0[l], sums[l]);
                }
                for l in 0..LANES {
                    sums[l] = madd::<F>(x1[l], w1[l], sums[l]);
                }
                if B::SCALED {
                    let scale = *scales.add(r * blocks + b);
                    for l in 0..LANES {
                        lanes[r][l] = madd::<F>(scale, sums[l], lanes[r][l]);
                    }
                } else {
                    lanes[r] = sums;
                }
            }
        }
    }
    let mut dots = [0.0; R];
    for r in 0..R {
        dots[r] = sum(lanes[r]);
        // Only half precision has rows that are no whole blocks.
        for i in blocks * BLOCK..x.len() {
            // SAFETY: by the caller's promise.
            let bits = unsafe { quants.add(r * row + 2 * i).cast::<u16>().read_unaligned() };
            dots[r] = madd::<F>(x[i], half(bits), dots[r]);
        }
    }
    dots
}

vector! {
    /// The matrix as floats.
    fn unpack(w: Packed<'_>, to: &mut [f32]) {
        match w.format {
            Format::F16 => floats::<AVX2, WIDE, Halves>(w, to),
            Format::Q8 => floats::<AVX2, WIDE, Bytes>(w, to),
            Format::Q4 => floats::<AVX2, WIDE, Nibbles>(w, to),
        }
    }
}

#[inline(always)]
fn floats<const AVX2: bool, const WIDE: bool, B: Blocks>(w: Packed<'_>, to: &mut [f32]) {
    let blocks = to.len() / BLOCK;
    assert!(blocks * B::BYTES <= w.quants.len() && (!B::SCALED || blocks <= w.scales.len()), "the matrix is short");
    for b in 0..blocks {
        let scale = if B::SCALED { half(w.scales[b]) } else { 1.0 };
        // SAFETY: the assertion covers the block, `to` has room for it.
        unsafe {
            let [mut w0, mut w1] = B::stored::<AVX2, WIDE>(w.quants.as_ptr().add(b * B::BYTES));
            for l in 0..LANES {
                w0[l] = scale * (w0[l] - B::BIAS);
            }
            for l in 0..LANES {
                w1[l] = scale * (w1[l] - B::BIAS);
            }
            *to.as_mut_ptr().add(b * BLOCK).cast::<[[f32; LANES]; 2]>() = [w0, w1];
        }
    }
    // Only half precision has matrices that are no whole blocks.
    for i in blocks * BLOCK..to.len() {
        to[i] = half(u16::from_le_bytes([w.quants[2 * i], w.quants[2 * i + 1]]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lichen_shaders::cases::Random;
    use lichen_shaders::packed::{decode, encode};

    /// A block by each of the ways that this machine has, not only the one that it would pick.
    fn ways<B: Blocks>(at: *const u8) -> Vec<[[f32; LANES]; 2]> {
        // SAFETY: the callers pass a block; the instructions are asked for.
        unsafe {
            #[allow(unused_mut, reason = "other machines have but one way")]
            let mut ways = vec![B::stored::<false, false>(at)];
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
                    ways.push(B::stored::<true, false>(at));
                }
                if is_x86_feature_detected!("avx512f") {
                    ways.push(B::stored::<true, true>(at));
                }
            }
            ways
        }
    }

    fn check<B: Blocks>(format: Format) {
        let mut random = Random::new(7);
        // Down to where half precision has only subnormal numbers and zero.
        for magnitude in [1.0, 300.0, 1e-3, 1e-5, 3e-7, 0.0] {
            let weights: Vec<f32> = (0..4 * BLOCK).map(|_| (magnitude * random.normal()) as f32).collect();
            let words = encode(format, &weights);
            let mut want = vec![0.0f32; weights.len()];
            decode(format, weights.len(), &words, 0, &mut want);
            let w = Packed::new(format, 4, BLOCK, &words);
            for (b, want) in want.chunks(BLOCK).enumerate() {
                let scale = if B::SCALED { half(w.scales[b]) } else { 1.0 };
                for way in ways::<B>(w.quants[b * B::BYTES..][..B::BYTES].as_ptr()) {
                    let got: Vec<f32> = way.as_flattened().iter().map(|x| scale * (x - B::BIAS)).collect();
                    assert_eq!(got, want, "{format:?}");
                }
            }
        }
    }

    #[test]
    fn every_way_to_read_a_block_gives_its_weights() {
        check::<Halves>(Format::F16);
        check::<Bytes>(Format::Q8);
        check::<Nibbles>(Format::Q4);
    }
}
