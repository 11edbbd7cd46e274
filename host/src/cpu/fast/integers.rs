//! Dots of rows in 8 bits with packed weights of 8 or 4: exact integers within a block, which its two scales multiply.
//!
//! One row meets the weights as they lie. Where integers multiply in 512 bits (VNNI), many rows meet weights turned so
//! that every lane adds up an output of its own; elsewhere many rows go the way of floats, whose products are the same
//! numbers.

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::lanes::prefetch;
use super::packed::{Bytes, Nibbles, Packed, half};
use super::share::{Scatter, Scratch};
use super::transpose::transpose;
use lichen_shaders::bytemuck::{cast_slice, cast_slice_mut};
use lichen_shaders::packed::{BLOCK, Format};
use lichen_shaders::quantize::row_words;

/// Rows in 8 bits.
#[derive(Clone, Copy)]
pub(super) struct Quantized<'a> {
    words: &'a [u32],
    width: usize,
}
impl<'a> Quantized<'a> {
    /// The rows of that many elements in these words.
    pub(super) fn new(words: &'a [u32], width: usize) -> Self {
        Self { words, width }
    }
    /// Quants and scales of a row.
    pub(super) fn row(self, r: usize) -> (&'a [u8], &'a [f32]) {
        let row = &self.words[r * row_words(self.width)..][..row_words(self.width)];
        let (quants, scales) = row.split_at(self.width / 4);
        (cast_slice(quants), cast_slice(scales))
    }
    /// So many rows as floats, one after the other.
    pub(super) fn floats(self, rows: usize) -> Scratch {
        let mut floats = Scratch::new(rows * self.width);
        for (r, to) in floats.chunks_exact_mut(self.width).enumerate() {
            let (quants, scales) = self.row(r);
            for ((to, quants), scale) in to.chunks_exact_mut(BLOCK).zip(quants.chunks_exact(BLOCK)).zip(scales) {
                to.iter_mut().zip(quants).for_each(|(to, q)| *to = scale * f32::from(*q as i8));
            }
        }
        floats
    }
}

/// What a machine has for sums of products of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each architecture has some of them")]
enum Unit {
    /// AVX-512 with VNNI.
    Vnni,
    Avx2,
    /// NEON with dot products.
    Dotprod,
    Neon,
    /// Whatever the compiler makes of loops.
    Any,
}

/// Compiles a function for each [`Unit`] and picks one at run time.
macro_rules! integers {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx512vnni+avx2+fma+f16c",
            "x86_64+avx2+fma+f16c"
        ))]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            const UNIT: u8 = if multiversion::target::target_cfg_f!(target_feature = "avx512vnni") {
                Unit::Vnni as u8
            } else if multiversion::target::target_cfg_f!(all(target_feature = "avx2", target_feature = "f16c")) {
                Unit::Avx2 as u8
            } else if cfg!(target_arch = "aarch64") {
                Unit::Neon as u8
            } else {
                Unit::Any as u8
            };
            $body
        }
    };
}

integers! {
    /// `y[i] = W[first + i] x` for a row x.
    pub(super) fn row(x: Quantized<'_>, r: usize, w: Packed<'_>, first: usize, y: &mut [f32]) {
        // Their one instruction is written out, so the rest need not be compiled for them.
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            return match w.format {
                Format::Q8 => rows::<{ Unit::Dotprod as u8 }, false>(x.row(r), w, first, y),
                Format::Q4 => rows::<{ Unit::Dotprod as u8 }, true>(x.row(r), w, first, y),
                Format::F16 => unreachable!("half precision has no blocks"),
            };
        }
        match w.format {
            Format::Q8 => rows::<UNIT, false>(x.row(r), w, first, y),
            Format::Q4 => rows::<UNIT, true>(x.row(r), w, first, y),
            Format::F16 => unreachable!("half precision has no blocks"),
        }
    }
}

/// The products of a row with some rows of W, four at a time.
#[inline(always)]
fn rows<const UNIT: u8, const Q4: bool>((x, steps): (&[u8], &[f32]), w: Packed<'_>, first: usize, y: &mut [f32]) {
    let blocks = steps.len();
    let (bytes, _) = if Q4 { w.strides::<Nibbles>(first + y.len()) } else { w.strides::<Bytes>(first + y.len()) };
    assert!(x.len() == w.width && blocks * BLOCK == w.width, "a row of another width");
    let mut e = 0;
    while e < y.len() {
        // Four rows; the last four again where fewer are left.
        let many = y.len().min(4);
        let at = e.min(y.len() - many);
        for line in (0..many * blocks).step_by(BLOCK) {
            prefetch(w.scales.as_ptr(), (first + at + 4) * blocks + line);
        }
        // SAFETY: `strides` checked the rows and their scales, the assertion x; the unit is that of this build of the
        // caller; four rows fit into y where there are.
        unsafe {
            let quants = w.quants.as_ptr().add((first + at) * bytes);
            let scales = w.scales.as_ptr().add((first + at) * blocks);
            if many == 4 {
                let four = dots::<UNIT, Q4, 4>(x, steps, quants, scales);
                *y.as_mut_ptr().add(at).cast::<[f32; 4]>() = four;
            } else {
                for r in 0..many {
                    [y[r]] = dots::<UNIT, Q4, 1>(x, steps, quants.add(r * bytes), scales.add(r * blocks));
                }
            }
        }
        e += 4;
    }
}

/// Dots of x, whose blocks' scales are `steps`, with R rows of quants, one after the other.
///
/// # Safety
/// R rows as long as x must lie at `quants` and the scales of their blocks at `scales`; the machine must have the unit.
#[inline(always)]
unsafe fn dots<const UNIT: u8, const Q4: bool, const R: usize>(
    x: &[u8],
    steps: &[f32],
    quants: *const u8,
    scales: *const u16,
) -> [f32; R] {
    // SAFETY: by the caller's promises.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if UNIT == Unit::Vnni as u8 {
            return x86::vnni::<Q4, R>(x, steps, quants, scales);
        } else if UNIT == Unit::Avx2 as u8 {
            return x86::avx2::<Q4, R>(x, steps, quants, scales);
        }
        #[cfg(target_arch = "aarch64")]
        if UNIT == Unit::Dotprod as u8 {
            return arm::neon::<true, Q4, R>(x, steps, quants, scales);
        } else if UNIT == Unit::Neon as u8 {
            return arm::neon::<false, Q4, R>(x, steps, quants, scales);
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        if R == 4 {
            let four = wasm::four::<Q4>(x, steps, quants, scales);
            return std::array::from_fn(|r| four[r]);
        }
        any::<Q4, R>(x, steps, quants, scales)
    }
}

/// [`dots`] by loops.
///
/// # Safety
/// As [`dots`].
#[inline(always)]
unsafe fn any<const Q4: bool, const R: usize>(
    x: &[u8],
    steps: &[f32],
    quants: *const u8,
    scales: *const u16,
) -> [f32; R] {
    let (blocks, bytes) = (steps.len(), if Q4 { BLOCK / 2 } else { BLOCK });
    let mut dots = [0.0; R];
    for (r, dot) in dots.iter_mut().enumerate() {
        for (b, x) in x.chunks_exact(BLOCK).enumerate() {
            // SAFETY: by the caller's promise.
            let (w, scale) = unsafe {
                let block = r * blocks + b;
                (std::slice::from_raw_parts(quants.add(block * bytes), bytes), half(*scales.add(block)))
            };
            // Pairs of 16-bit products are what small vector units add up in one instruction.
            let product = |x: u8, w: i16| i32::from(i16::from(x as i8)) * i32::from(w);
            let mut sum = 0;
            if Q4 {
                for i in 0..BLOCK / 2 {
                    sum += product(x[i], i16::from(w[i] & 15) - 8);
                }
                for i in 0..BLOCK / 2 {
                    sum += product(x[BLOCK / 2 + i], i16::from(w[i] >> 4) - 8);
                }
            } else {
                for i in 0..BLOCK {
                    sum += product(x[i], i16::from(w[i] as i8));
                }
            }
            *dot += scale * steps[b] * sum as f32;
        }
    }
    dots
}

/// What [`tiles`] needs of some rows in 8 bits beside them: the sum of each block's quants.
pub(super) fn sums(x: Quantized<'_>, rows: usize) -> Scratch {
    let blocks = x.width / BLOCK;
    let mut sums = Scratch::new(rows * blocks);
    for (r, sums) in cast_slice_mut::<f32, i32>(&mut sums).chunks_exact_mut(blocks).enumerate() {
        for (sum, quants) in sums.iter_mut().zip(x.row(r).0.chunks_exact(BLOCK)) {
            *sum = quants.iter().map(|&q| i32::from(q as i8)).sum();
        }
    }
    sums
}

/// Some rows of W for [`tiles`], outputs fastest.
pub(super) struct Turned {
    /// [width / 4, outputs] words of four stored numbers, none below 0.
    words: Scratch,
    /// [blocks, outputs].
    scales: Scratch,
    /// Outputs, filled up with zeros to whole [`STRIP`]s.
    padded: usize,
    outputs: usize,
    /// What a stored number is above the one it stands for.
    bias: i32,
}

/// Outputs of a tile.
const STRIP: usize = 32;

impl Turned {
    /// Of the first rows of W; worth it only where [`tiled`].
    pub(super) fn new(w: Packed<'_>, outputs: usize) -> Self {
        let (words, blocks) = (w.width / 4, w.width / BLOCK);
        let padded = outputs.next_multiple_of(STRIP);
        let mut plain = Scratch::zeros(padded * words);
        let mut scales = Scratch::zeros(blocks * padded);
        stored(w, &mut plain[..outputs * words]);
        for o in 0..outputs {
            for b in 0..blocks {
                scales[b * padded + o] = half(w.scales[o * blocks + b]);
            }
        }
        let mut turned = Scratch::new(padded * words);
        transpose(&plain, padded, words, &mut turned);
        Self { words: turned, scales, padded, outputs, bias: if w.format == Format::Q4 { 8 } else { 128 } }
    }
}

super::lanes::vector! {
    /// The stored numbers of the first rows of W, moved to where none is below 0, as bytes.
    fn stored(w: Packed<'_>, to: &mut [f32]) {
        let to: &mut [u8] = cast_slice_mut(to);
        if w.format == Format::Q4 {
            for (to, from) in to.chunks_exact_mut(BLOCK).zip(w.quants.chunks_exact(BLOCK / 2)) {
                for i in 0..BLOCK / 2 {
                    to[i] = from[i] & 15;
                    to[BLOCK / 2 + i] = from[i] >> 4;
                }
            }
        } else {
            to.iter_mut().zip(w.quants).for_each(|(to, from)| *to = from ^ 128);
        }
    }
}

integers! {
    /// Whether this machine has [`tiles`].
    pub(super) fn tiled() -> bool {
        UNIT == Unit::Vnni as u8
    }
}

integers! {
    /// `c[i] = W x[from[i]]`: row i of c starts at `to[i]`. `sums` are those of x.
    ///
    /// Nobody else may touch those rows of c meanwhile, and they must not overlap.
    pub(super) fn tiles(x: Quantized<'_>, sums: &[f32], from: &[usize], w: &Turned, c: Scatter, to: &[usize]) {
        #[cfg(target_arch = "x86_64")]
        if UNIT == Unit::Vnni as u8 {
            // SAFETY: this build has the unit; rows of c are the caller's.
            return unsafe { x86::tiles(x, cast_slice(sums), from, w, c, to) };
        }
        let _ = (UNIT, x, sums, from, w, c, to, w.outputs, w.padded, w.bias, &w.words, &w.scales);
        unreachable!("callers ask `tiled`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lichen_shaders::cases::Random;
    use lichen_shaders::packed::encode;
    use lichen_shaders::quantize::encode_row;

    /// Dots of three rows by each way that this machine has, not only the one that it would pick.
    fn ways<const Q4: bool>(x: &[u8], w: Packed<'_>) -> Vec<[f32; 3]> {
        // With scales of 1 sums stay below 2^24, so floats hold them exactly.
        let ones = (vec![1.0; x.len() / BLOCK], vec![0x3C00; 3 * x.len() / BLOCK]);
        let (steps, quants, scales) = (&ones.0[..], w.quants.as_ptr(), ones.1.as_ptr());
        // SAFETY: the caller passes three rows; the units are asked for.
        unsafe {
            #[allow(unused_mut, reason = "some machines have but one way")]
            let mut ways = vec![any::<Q4, 3>(x, steps, quants, scales)];
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    ways.push(x86::avx2::<Q4, 3>(x, steps, quants, scales));
                }
                if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw") {
                    ways.push(x86::vnni::<Q4, 3>(x, steps, quants, scales));
                }
            }
            #[cfg(target_arch = "aarch64")]
            {
                ways.push(arm::neon::<false, Q4, 3>(x, steps, quants, scales));
                if std::arch::is_aarch64_feature_detected!("dotprod") {
                    ways.push(arm::neon::<true, Q4, 3>(x, steps, quants, scales));
                }
            }
            ways
        }
    }

    #[test]
    fn every_way_gives_the_exact_integers() {
        let mut random = Random::new(9);
        for blocks in 1..=9 {
            let width = blocks * BLOCK;
            for full in [false, true] {
                let mut number =
                    |full| if full { if random.below(2) == 0 { 1.99 } else { -1.99 } } else { random.normal() as f32 };
                let x: Vec<f32> = (0..width).map(|_| number(full)).collect();
                let weights: Vec<f32> = (0..3 * width).map(|_| number(full)).collect();
                let mut words = vec![0; row_words(width)];
                encode_row(&x, &mut words);
                let x = Quantized::new(&words, width);
                for format in [Format::Q8, Format::Q4] {
                    let packed = encode(format, &weights);
                    let w = Packed::new(format, 3, width, &packed);
                    let want: [f32; 3] = std::array::from_fn(|r| {
                        let sum = (0..width).map(|i| {
                            let q = match format {
                                Format::Q4 => {
                                    let byte = w.quants[r * width / 2 + i / BLOCK * 16 + i % 16];
                                    i32::from(byte >> (i % BLOCK / 16 * 4) & 15) - 8
                                }
                                _ => i32::from(w.quants[r * width + i] as i8),
                            };
                            q * i32::from(x.row(0).0[i] as i8)
                        });
                        sum.sum::<i32>() as f32
                    });
                    let got = match format {
                        Format::Q4 => ways::<true>(x.row(0).0, w),
                        _ => ways::<false>(x.row(0).0, w),
                    };
                    for (way, got) in got.into_iter().enumerate() {
                        assert_eq!(got, want, "{format:?}, {blocks} blocks, way {way}");
                    }
                }
            }
        }
    }
}
