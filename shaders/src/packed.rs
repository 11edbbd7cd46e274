//! Weights in few bits: half precision, or integers of 8 or 4 bits in blocks that share a scale.
//!
//! A packed matrix [rows, columns] is `[quants | scales]` in 32-bit words, both row-major. A block is 32 neighbours of a
//! row, its scale `d` one f16 (two to a word, the matrix padded to a whole word):
//!
//! * `F16`: two f16 a word, no scales; 16 bits a weight.
//! * `Q8`: four signed bytes a word, `w = d q`; 8.5 bits a weight.
//! * `Q4`: 32 nibbles in four words, byte j of a block holding q of neighbour j in its low and of neighbour 16 + j in its
//!   high half, `w = d (q - 8)`; 4.5 bits a weight.
//!
//! The blocks and bits are those of the common Q8_0 and Q4_0 schemes of GGUF files, so that figures compare at equal
//! size; the layout is our own: quants lie whole, for aligned words, and apart from their scales. Scales are f16
//! because half a bit a weight for float32 would buy no accuracy that the rounding of 4 bits does not hide. Q4's scale
//! is the one of a few near the largest element that leaves the least squared error.

use crate::kernel::Real;
use half::f16;

/// Neighbours that share a scale.
pub const BLOCK: usize = 32;

/// How the weights of a packed matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Half precision.
    F16,
    /// 8 bits and a scale.
    Q8,
    /// 4 bits and a scale.
    Q4,
}

impl Format {
    /// Every format; a kernel's params name one by its place here.
    pub const ALL: [Self; 3] = [Self::F16, Self::Q8, Self::Q4];

    /// Its place in [`Format::ALL`].
    pub fn code(self) -> u32 {
        self as u32
    }
    /// The format of a code; the last one for codes that name none.
    pub fn of(code: u32) -> Self {
        Self::ALL.get(code as usize).copied().unwrap_or(Self::Q4)
    }
    /// Whether blocks of integers share scales.
    pub fn has_scales(self) -> bool {
        self != Self::F16
    }
    /// What a row's length must divide by.
    pub fn multiple(self) -> usize {
        match self {
            Self::F16 => 4,
            Self::Q8 | Self::Q4 => BLOCK,
        }
    }
    /// Words of the quants of some weights, a multiple of [`Format::multiple`].
    pub fn quant_words(self, weights: usize) -> usize {
        match self {
            Self::F16 => weights / 2,
            Self::Q8 => weights / 4,
            Self::Q4 => weights / 8,
        }
    }
    /// Words of a packed matrix of `rows * columns` weights.
    pub fn words(self, weights: usize) -> usize {
        let scales = match self {
            Self::F16 => 0,
            Self::Q8 | Self::Q4 => (weights / BLOCK).div_ceil(2),
        };
        self.quant_words(weights) + scales
    }
    /// Bits of a weight, its share of the scale among them.
    pub fn bits(self) -> f64 {
        match self {
            Self::F16 => 16.0,
            Self::Q8 => 8.5,
            Self::Q4 => 4.5,
        }
    }
}

/// Half number `i` of packed halves.
pub fn half_at(words: &[u32], i: usize) -> f16 {
    f16::from_bits((words[i / 2] >> (16 * (i % 2))) as u16)
}

/// Weights `first .. first + out.len()` of a packed matrix of `weights` weights.
pub fn decode<F: Real>(format: Format, weights: usize, words: &[u32], first: usize, out: &mut [F]) {
    let (quants, scales) = words.split_at(format.quant_words(weights));
    for (i, out) in (first..).zip(out) {
        let scale = |i: usize| half_at(scales, i / BLOCK).to_f64();
        *out = F::of(match format {
            Format::F16 => half_at(quants, i).to_f64(),
            Format::Q8 => f64::from((quants[i / 4] >> (8 * (i % 4))) as u8 as i8) * scale(i),
            Format::Q4 => {
                let (block, j) = (i / BLOCK, i % BLOCK);
                let byte = quants[block * 4 + j % 16 / 4] >> (8 * (j % 4));
                let q = byte >> (j / 16 * 4) & 15;
                f64::from(q as i32 - 8) * scale(i)
            }
        });
    }
}

/// Packs a matrix, whose rows' length must be a multiple of [`Format::multiple`]. Numbers must be finite; what half
/// precision cannot hold becomes its largest number.
pub fn encode(format: Format, weights: &[f32]) -> Vec<u32> {
    let mut words = vec![0; format.words(weights.len())];
    let (quants, scales) = words.split_at_mut(format.quant_words(weights.len()));
    let halves = |words: &mut [u32], i: usize, x: f32| {
        let x = f16::from_f32(x.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()));
        words[i / 2] |= u32::from(x.to_bits()) << (16 * (i % 2));
        x.to_f32()
    };
    match format {
        Format::F16 => weights.iter().enumerate().for_each(|(i, &w)| {
            halves(quants, i, w);
        }),
        Format::Q8 => {
            for (b, block) in weights.chunks(BLOCK).enumerate() {
                let most = block.iter().fold(0.0f32, |most, w| most.max(w.abs()));
                let by = reciprocal(halves(scales, b, most / 127.0));
                for (j, &w) in block.iter().enumerate() {
                    let q = (w * by).round_ties_even().clamp(-127.0, 127.0) as i8;
                    let i = b * BLOCK + j;
                    quants[i / 4] |= u32::from(q as u8) << (8 * (i % 4));
                }
            }
        }
        Format::Q4 => {
            for (b, block) in weights.chunks(BLOCK).enumerate() {
                let by = reciprocal(halves(scales, b, scale_of_4(block)));
                for (j, &w) in block.iter().enumerate() {
                    quants[b * 4 + j % 16 / 4] |= (nibble(w, by) as u32) << (8 * (j % 4) + j / 16 * 4);
                }
            }
        }
    }
    words
}

/// One over a scale; nothing for a scale of nothing.
fn reciprocal(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// `w / d + 8`, rounded, within 0 to 15, given `1 / d`.
#[inline(always)]
fn nibble(w: f32, by: f32) -> i32 {
    (w * by + 8.5).clamp(0.0, 15.0) as i32
}

/// The scale with the least squared error among some that bring the largest element near an end of the range. The
/// range reaches further down than up, so the scale may be negative.
fn scale_of_4(block: &[f32]) -> f32 {
    const LANES: usize = 8;
    let extreme = block.iter().fold(0.0f32, |most, &w| if w.abs() > most.abs() { w } else { most });
    let error = |d: f32| {
        let d = f16::from_f32(d.clamp(-65504.0, 65504.0)).to_f32();
        let by = reciprocal(d);
        // Sums side by side, so that they become vectors.
        let mut sums = [0.0f32; LANES];
        for some in block.chunks(LANES) {
            for (sum, &w) in sums.iter_mut().zip(some) {
                let off = d * (nibble(w, by) - 8) as f32 - w;
                *sum += off * off;
            }
        }
        sums.iter().sum::<f32>()
    };
    let ends = [8.0f32, 7.75, 7.5, 7.25, 7.0, 6.5, 6.0, 8.5, -7.0, -6.5];
    let mut best = (extreme / -ends[0], f32::INFINITY);
    for d in ends.map(|end| extreme / -end) {
        let e = error(d);
        if e < best.1 {
            best = (d, e);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Random;

    fn error(format: Format, weights: &[f32]) -> f64 {
        let mut back = vec![0.0f64; weights.len()];
        decode(format, weights.len(), &encode(format, weights), 0, &mut back);
        let square = |x: f64| x * x;
        let e: f64 = back.iter().zip(weights).map(|(b, &w)| square(b - f64::from(w))).sum();
        (e / weights.iter().map(|&w| square(f64::from(w))).sum::<f64>()).sqrt()
    }

    #[test]
    fn normal_weights_come_back_within_the_bits() {
        let mut random = Random::new(3);
        let weights: Vec<f32> = (0..64 * 96).map(|_| (random.normal() * 0.02) as f32).collect();
        for (format, most) in [(Format::F16, 3e-4), (Format::Q8, 8e-3), (Format::Q4, 0.095)] {
            let e = error(format, &weights);
            assert!(e < most && e > most / 4.0, "{format:?}: relative error {e}");
        }
    }

    #[test]
    fn odd_blocks_survive() {
        for format in Format::ALL {
            let mut back = vec![1.0f64; BLOCK * 3];
            // Zeros, one outlier among zeros, and numbers that half precision cannot hold.
            let mut weights = vec![0.0f32; BLOCK * 3];
            weights[BLOCK + 5] = -3.0;
            weights[2 * BLOCK..].fill(1e6);
            let words = encode(format, &weights);
            assert_eq!(words.len(), format.words(weights.len()));
            decode(format, weights.len(), &words, 0, &mut back);
            assert!(back[..BLOCK].iter().all(|&x| x == 0.0), "{format:?}");
            assert!((back[BLOCK + 5] + 3.0).abs() < 0.01 && back[BLOCK + 4] == 0.0, "{format:?}");
            assert!(back.iter().all(|x| x.is_finite()), "{format:?}");
            // A part from the middle is the same.
            let mut part = vec![0.0f64; 7];
            decode(format, weights.len(), &words, BLOCK + 2, &mut part);
            assert_eq!(part, back[BLOCK + 2..][..7]);
        }
    }
}
