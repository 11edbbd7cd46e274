//! Packed matrices on the CPU: products with one row, weighted sums of rows, and unpacking.
//!
//! Weights are unpacked in registers where they are multiplied, a block of 32 at a time, and the block's scale multiplies
//! the block's sum. Words are read as bytes and halves, which lie in the same order on little-endian machines only.

use super::lanes::{LANES, madd, prefetch, sum, vector};
use super::sections::take;
use lichen_shaders::bytemuck::cast_slice;
use lichen_shaders::packed::{BLOCK, Format};

const _: () = assert!(cfg!(target_endian = "little"), "packed weights are read as little-endian bytes");
const _: () = assert!(BLOCK == 2 * LANES, "a block is two vectors");

/// A packed matrix, row-major.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    format: Format,
    /// Weights of a row.
    width: usize,
    quants: &'a [u8],
    /// One half a block, perhaps one more as padding; none for half precision.
    scales: &'a [u16],
}
impl<'a> Packed<'a> {
    /// The matrix of `rows` rows of `width` weights in these words.
    pub(super) fn new(format: Format, rows: usize, width: usize, words: &'a [u32]) -> Self {
        let (quants, scales) = words[..format.words(rows * width)].split_at(format.quant_words(rows * width));
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
    fn strides<B: Blocks>(&self, rows: usize) -> (usize, usize) {
        let (bytes, blocks) = (self.width * B::BYTES / BLOCK, if B::SCALED { self.width / BLOCK } else { 0 });
        assert!(rows * bytes <= self.quants.len() && rows * blocks <= self.scales.len(), "rows are short");
        assert!(!B::SCALED || self.width.is_multiple_of(BLOCK), "a row is no whole blocks");
        (bytes, blocks)
    }
}

/// How a format keeps a block of weights.
trait Blocks {
    /// Bytes of a block without its scale.
    const BYTES: usize;
    /// Whether blocks have scales.
    const SCALED: bool;
    /// What a stored number is above the one it stands for.
    const BIAS: f32;
    /// The stored numbers of a block.
    ///
    /// # Safety
    /// [`Blocks::BYTES`] must be readable at `at`, which may be unaligned.
    unsafe fn stored(at: *const u8) -> [[f32; LANES]; 2];
}

/// Blocks of half precision.
struct Halves;
impl Blocks for Halves {
    const BYTES: usize = 64;
    const SCALED: bool = false;
    const BIAS: f32 = 0.0;
    #[inline(always)]
    unsafe fn stored(at: *const u8) -> [[f32; LANES]; 2] {
        // SAFETY: by the caller's promise.
        let bits: [[u16; LANES]; 2] = unsafe { at.cast::<[[u16; LANES]; 2]>().read_unaligned() };
        let mut w = [[0.0; LANES]; 2];
        for l in 0..LANES {
            w[0][l] = half(bits[0][l]);
        }
        for l in 0..LANES {
            w[1][l] = half(bits[1][l]);
        }
        w
    }
}

/// Blocks of signed bytes.
struct Bytes;
impl Blocks for Bytes {
    const BYTES: usize = 32;
    const SCALED: bool = true;
    const BIAS: f32 = 0.0;
    #[inline(always)]
    unsafe fn stored(at: *const u8) -> [[f32; LANES]; 2] {
        // SAFETY: by the caller's promise.
        let q: [[i8; LANES]; 2] = unsafe { at.cast::<[[i8; LANES]; 2]>().read_unaligned() };
        let mut w = [[0.0; LANES]; 2];
        for l in 0..LANES {
            w[0][l] = f32::from(q[0][l]);
        }
        for l in 0..LANES {
            w[1][l] = f32::from(q[1][l]);
        }
        w
    }
}

/// Blocks of nibbles, the first half of the weights in the low ones.
struct Nibbles;
impl Blocks for Nibbles {
    const BYTES: usize = 16;
    const SCALED: bool = true;
    const BIAS: f32 = 8.0;
    #[inline(always)]
    unsafe fn stored(at: *const u8) -> [[f32; LANES]; 2] {
        // SAFETY: by the caller's promise.
        let q: [u8; LANES] = unsafe { at.cast::<[u8; LANES]>().read_unaligned() };
        let mut w = [[0.0; LANES]; 2];
        for l in 0..LANES {
            w[0][l] = (u32::from(q[l]) & 15) as f32;
        }
        for l in 0..LANES {
            w[1][l] = (u32::from(q[l]) >> 4) as f32;
        }
        w
    }
}

/// A half number, which must be finite: by integers, for not every machine that runs this converts halves, and small
/// ones would be slow as float32's own subnormal numbers.
#[inline(always)]
fn half(bits: u16) -> f32 {
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
            Format::F16 => rows::<FMA, Halves>(z, w, first, scales, h),
            Format::Q8 => rows::<FMA, Bytes>(z, w, first, scales, h),
            Format::Q4 => rows::<FMA, Nibbles>(z, w, first, scales, h),
        }
    }
}

#[inline(always)]
fn rows<const F: bool, B: Blocks>(z: &[f32], w: Packed<'_>, first: usize, scales: &mut [f32], h: &mut [f32]) {
    let (bytes, blocks) = w.strides::<B>(first + h.len());
    assert!(z.len() == w.width && scales.len() >= 4 * blocks, "a row or the room for scales is short");
    let mut e = 0;
    while e < h.len() {
        let many = (h.len() - e).min(4);
        if B::SCALED {
            let from = &w.scales[(first + e) * blocks..][..many * blocks];
            for line in (0..from.len()).step_by(BLOCK) {
                prefetch(from.as_ptr(), 4 * blocks + line);
            }
            for (to, &bits) in scales.iter_mut().zip(from) {
                *to = half(bits);
            }
        }
        // SAFETY: `strides` checked the rows, the assertion z and the scales.
        unsafe {
            let at = w.quants.as_ptr().add((first + e) * bytes);
            if many == 4 {
                h[e..e + 4].copy_from_slice(&dots::<F, B, 4>(z, at, scales.as_ptr()));
            } else {
                for r in 0..many {
                    [h[e + r]] = dots::<F, B, 1>(z, at.add(r * bytes), scales.as_ptr().add(r * blocks));
                }
            }
        }
        e += many;
    }
}

/// Dots of x with R packed rows, one after the other, and their blocks' scales.
///
/// # Safety
/// R rows as long as x must lie at `quants`, and the scales of their blocks at `scales`.
#[inline(always)]
unsafe fn dots<const F: bool, B: Blocks, const R: usize>(x: &[f32], quants: *const u8, scales: *const f32) -> [f32; R] {
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
                let [w0, w1] = B::stored(quants.add(r * row + b * B::BYTES));
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
    /// `y[i] = sum over e of h[e] W[e, first + i]`; suppressed neurons are skipped with their rows. `first` starts a
    /// block. `factors` is room for one number for each block of y and four rows.
    fn combine(h: &[f32], w: Packed<'_>, first: usize, factors: &mut [f32], y: &mut [f32]) {
        match w.format {
            Format::F16 => sweep::<FMA, Halves>(h, w, first, factors, y),
            Format::Q8 => sweep::<FMA, Bytes>(h, w, first, factors, y),
            Format::Q4 => sweep::<FMA, Nibbles>(h, w, first, factors, y),
        }
    }
}

#[inline(always)]
fn sweep<const F: bool, B: Blocks>(h: &[f32], w: Packed<'_>, first: usize, factors: &mut [f32], y: &mut [f32]) {
    let (bytes, blocks) = w.strides::<B>(h.len());
    let (whole, offset) = (y.len() / BLOCK, first / BLOCK);
    assert!(first.is_multiple_of(BLOCK) && first + y.len() <= w.width, "columns outside the matrix");
    assert!(factors.len() >= 4 * whole, "the room for factors is short");
    y.fill(0.0);
    let mut awake = h.iter().enumerate().filter(|(_, h)| **h != 0.0).map(|(e, h)| (e, *h));
    // Four rows a sweep, and the next four on their way from memory meanwhile. A missing row counts as nothing.
    let mut next = take(&mut awake);
    while let Some(four) = next {
        next = take(&mut awake);
        let ahead = next.unwrap_or(four);
        for r in 0..4 {
            let factors = &mut factors[r * whole..][..whole];
            if B::SCALED {
                let scales = &w.scales[four[r].0 * blocks + offset..][..whole];
                for line in (0..whole).step_by(BLOCK) {
                    prefetch(w.scales.as_ptr(), ahead[r].0 * blocks + offset + line);
                }
                for (factor, &bits) in factors.iter_mut().zip(scales) {
                    *factor = four[r].1 * half(bits);
                }
            } else {
                factors.fill(four[r].1);
            }
        }
        for b in 0..whole {
            // SAFETY: block b of y; `strides` and the assertions cover the rows' blocks and their factors.
            unsafe {
                let at = y.as_mut_ptr().add(b * BLOCK).cast::<[[f32; LANES]; 2]>();
                let [mut y0, mut y1] = *at;
                for r in 0..4 {
                    if (b * B::BYTES).is_multiple_of(64) {
                        prefetch(w.quants.as_ptr(), ahead[r].0 * bytes + (offset + b) * B::BYTES);
                    }
                    let factor = *factors.as_ptr().add(r * whole + b);
                    let [w0, w1] = B::stored(w.quants.as_ptr().add(four[r].0 * bytes + (offset + b) * B::BYTES));
                    for l in 0..LANES {
                        y0[l] = madd::<F>(factor, w0[l] - B::BIAS, y0[l]);
                    }
                    for l in 0..LANES {
                        y1[l] = madd::<F>(factor, w1[l] - B::BIAS, y1[l]);
                    }
                }
                *at = [y0, y1];
            }
        }
        // Only half precision has rows that are no whole blocks.
        for i in whole * BLOCK..y.len() {
            for (row, h) in four {
                let at = row * bytes + 2 * (first + i);
                let bits = u16::from_le_bytes([w.quants[at], w.quants[at + 1]]);
                y[i] = madd::<F>(h, half(bits), y[i]);
            }
        }
    }
}

vector! {
    /// The matrix as floats.
    fn unpack(w: Packed<'_>, to: &mut [f32]) {
        match w.format {
            Format::F16 => {
                for (to, bits) in to.iter_mut().zip(w.quants.chunks_exact(2)) {
                    *to = half(u16::from_le_bytes([bits[0], bits[1]]));
                }
            }
            Format::Q8 => scaled::<Bytes>(w, to),
            Format::Q4 => scaled::<Nibbles>(w, to),
        }
    }
}

#[inline(always)]
fn scaled<B: Blocks>(w: Packed<'_>, to: &mut [f32]) {
    for ((to, q), &bits) in to.chunks_exact_mut(BLOCK).zip(w.quants.chunks_exact(B::BYTES)).zip(w.scales) {
        // SAFETY: q has the bytes of one block.
        let stored = unsafe { B::stored(q.as_ptr()) };
        let scale = half(bits);
        for (to, stored) in to.chunks_exact_mut(LANES).zip(&stored) {
            for l in 0..LANES {
                to[l] = scale * (stored[l] - B::BIAS);
            }
        }
    }
}
