//! Any sampling rate to 16 kHz: a windowed sinc evaluated at the phases of the two rates' ratio (J. O. Smith, "Digital
//! Audio Resampling", CCRMA). Streaming: what comes out does not depend on how the samples are cut.

use super::wav::SoundError;
use std::f64::consts::PI;
use std::ops::RangeInclusive;

/// Samples a second that the front end works with.
pub const RATE: u32 = 16_000;

/// Samples a second that it takes.
pub const RATES: RangeInclusive<u32> = 1_000..=384_000;

/// Zero crossings of the sinc on each side, at the lower of the two rates.
const CROSSINGS: f64 = 32.0;

/// The cut as a share of the lower rate's half. At 16 kHz half of a tone's height is gone there, at 7.76 kHz, and all
/// of it (80 dB) at 8.39 kHz: what folds back lies above the highest band.
const CUT: f64 = 0.97;

/// Kaiser's parameter for 80 dB.
const BETA: f64 = 7.857;

/// Phases in the table at most; ratios with more of them interpolate between neighbours, which costs 1e-6.
const PHASES: usize = 1024;

/// A stream of samples at any rate to one at [`RATE`]. Output n lies at time `n / 16000` of the input, without delay.
#[derive(Clone, Debug)]
pub struct Resampler {
    /// Input samples of one output are `down / up`.
    up: usize,
    down: usize,
    /// Taps on each side.
    half: usize,
    phases: usize,
    /// [phases + 1, 2 half]; empty where nothing is to be done.
    table: Vec<f32>,
    /// Input that later outputs need.
    pending: Vec<f32>,
    /// First sample in `pending` under the next output's taps, and that output's place after its middle one, in
    /// parts of `up`.
    at: usize,
    part: usize,
}

impl Resampler {
    /// From this rate in samples a second.
    ///
    /// # Errors
    /// [`SoundError::Rate`] outside of [`RATES`].
    pub fn new(rate: u32) -> Result<Self, SoundError> {
        if !RATES.contains(&rate) {
            return Err(SoundError::Rate { got: rate });
        }
        let common = gcd(rate, RATE);
        let (up, down) = ((RATE / common) as usize, (rate / common) as usize);
        let lower = (f64::from(RATE) / f64::from(rate)).min(1.0);
        let half = (CROSSINGS / lower).ceil() as usize;
        let phases = up.min(PHASES);
        let table = if up == down { Vec::new() } else { table(lower * CUT, half, phases) };
        let mut new = Self { up, down, half, phases, table, pending: Vec::new(), at: 0, part: 0 };
        new.restart();
        Ok(new)
    }

    /// Takes samples; appends those at [`RATE`] that are settled.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        if self.table.is_empty() {
            return out.extend_from_slice(samples);
        }
        self.pending.extend_from_slice(samples);
        let taps = 2 * self.half;
        while let Some(window) = self.pending.get(self.at..self.at + taps) {
            let place = self.part * self.phases;
            let (phase, rest) = (place / self.up, place % self.up);
            let mut sum = dot(window, &self.table[phase * taps..][..taps]);
            if rest > 0 {
                let next = dot(window, &self.table[(phase + 1) * taps..][..taps]);
                sum += (next - sum) * (rest as f32 / self.up as f32);
            }
            out.push(sum);
            self.part += self.down;
            self.at += self.part / self.up;
            self.part %= self.up;
        }
        let done = self.at.min(self.pending.len());
        self.pending.drain(..done);
        self.at -= done;
    }

    /// Appends what is left, as if silence followed, and starts anew. Together `ceil(samples * 16000 / rate)` come out.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        if !self.table.is_empty() {
            self.push(&vec![0.0; self.half], out);
            self.restart();
        }
    }

    /// Silence before the first sample.
    fn restart(&mut self) {
        self.pending.clear();
        self.pending.resize(self.half - 1, 0.0);
        (self.at, self.part) = (0, 0);
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Taps [phases + 1, 2 half] of a low-pass at `cut` of the input's half rate; each row adds up to 1.
fn table(cut: f64, half: usize, phases: usize) -> Vec<f32> {
    let mut table = Vec::with_capacity((phases + 1) * 2 * half);
    for phase in 0..=phases {
        let middle = (half - 1) as f64 + phase as f64 / phases as f64;
        let tap = |j: usize| {
            let x = middle - j as f64;
            let sinc = if x == 0.0 { 1.0 } else { (PI * cut * x).sin() / (PI * cut * x) };
            let edge = (x / half as f64).clamp(-1.0, 1.0);
            sinc * bessel(BETA * (1.0 - edge * edge).sqrt())
        };
        let row: Vec<f64> = (0..2 * half).map(tap).collect();
        let sum: f64 = row.iter().sum();
        table.extend(row.iter().map(|x| (x / sum) as f32));
    }
    table
}

/// Bessel's I0 by its series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-12 {
        term *= (x / (2.0 * k)).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

/// Sum of products in eight lanes, always in the same order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a8.zip(b8) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn tone(rate: u32, hertz: f64, seconds: f64) -> Vec<f32> {
        let count = (f64::from(rate) * seconds) as usize;
        (0..count).map(|i| (2.0 * PI * hertz * i as f64 / f64::from(rate)).sin() as f32).collect()
    }
    fn whole(rate: u32, samples: &[f32]) -> Vec<f32> {
        let (mut resampler, mut out) = (Resampler::new(rate).expect("a rate"), Vec::new());
        resampler.push(samples, &mut out);
        resampler.finish(&mut out);
        out
    }

    #[test]
    fn tones_keep_their_place_and_height() {
        for rate in [1_000, 4_000, 7_919, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000, 383_999] {
            let hertz = 0.3 * f64::from(rate.min(RATE));
            let (got, want) = (whole(rate, &tone(rate, hertz, 0.5)), tone(RATE, hertz, 0.5));
            assert!(
                got.len().abs_diff(want.len()) <= 1 + RATE as usize / rate as usize,
                "{rate}: {} samples",
                got.len()
            );
            let edge = 2 * CROSSINGS as usize * (RATE as usize).div_ceil(rate as usize);
            let inner = edge..want.len() - edge;
            let worst = inner.map(|i| (got[i] - want[i]).abs()).fold(0.0, f32::max);
            assert!(worst < 3e-4, "{rate}: off by {worst}");
        }
    }

    #[test]
    fn tones_beyond_the_highest_pitch_vanish() {
        for (rate, hertz) in [(44_100, 8_600.0), (48_000, 12_000.0), (96_000, 40_000.0)] {
            let got = whole(rate, &tone(rate, hertz, 0.5));
            let loudest = got[200..got.len() - 200].iter().fold(0.0f32, |a, x| a.max(x.abs()));
            assert!(loudest < 3e-4, "{hertz} Hz at {rate} leave {loudest}");
        }
    }

    #[test]
    fn cuts_change_no_bit() {
        let mut random = Random::new(3);
        for rate in [8_000, 16_000, 22_050, 44_100, 48_000, 12_347] {
            let samples: Vec<f32> = (0..9_001).map(|_| random.normal() as f32 * 0.2).collect();
            let want = whole(rate, &samples);
            assert_eq!(want.len(), (samples.len() * RATE as usize).div_ceil(rate as usize));
            let (mut resampler, mut got) = (Resampler::new(rate).expect("a rate"), Vec::new());
            // Twice, because a resampler starts anew.
            for _ in 0..2 {
                got.clear();
                let mut rest = &samples[..];
                while !rest.is_empty() {
                    let (head, tail) = rest.split_at(random.below(700).min(rest.len()));
                    resampler.push(head, &mut got);
                    rest = tail;
                }
                resampler.finish(&mut got);
                assert!(got == want, "{rate}");
            }
        }
    }

    #[test]
    fn nothing_stays_nothing_and_absurd_rates_are_refused() {
        assert!(whole(44_100, &[]).is_empty() && whole(16_000, &[]).is_empty());
        for rate in [0, 1, 999, 384_001, u32::MAX] {
            assert!(matches!(Resampler::new(rate), Err(SoundError::Rate { got }) if got == rate));
        }
    }
}
