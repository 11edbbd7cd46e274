//! Log-mel frames of sound at 16 kHz: 25 ms every 10 ms, 40 bands.

use super::resample::RATE;
use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex};
use std::f32::consts::TAU;
use std::sync::Arc;

/// Bands of a frame.
pub const BANDS: usize = 40;
/// Samples of a frame: 25 ms.
pub const WINDOW: usize = 400;
/// Samples from one frame to the next: 10 ms.
pub const HOP: usize = 160;

/// Points of the Fourier transform.
const POINTS: usize = 512;
/// Edges of the lowest and the highest band, in hertz.
const EDGES: (f32, f32) = (20.0, 7_600.0);
/// Energy that is as good as none, where 1 is that of a sine at full scale: 80 dB below it.
const FLOOR: f32 = 1e-8;
/// Energy of loud speech in a strong band: 20 dB below a sine at full scale.
const LOUD: f32 = 1e-2;
/// What a band is in digital silence, exactly; loud speech is 2 and a sine at full scale 3.3.
pub const SILENCE: f32 = -2.0;

/// A triangle over neighbouring points of the spectrum.
#[derive(Clone, Debug)]
struct Band {
    first: usize,
    weights: Vec<f32>,
}

/// Samples at 16 kHz to frames of [`BANDS`] numbers: `-2 + 4 ln(1 + e / FLOOR) / ln(LOUD / FLOOR)`, e the energy in a
/// triangle of HTK's mel scale from 20 to 7600 Hz, after the window's mean is taken away and a Hann window laid over it.
///
/// Frame i covers samples `160 i .. 160 i + 400`. Streaming: the same bits however the samples are cut. Samples that
/// are not finite give frames that are not.
#[derive(Clone)]
pub struct LogMel {
    plan: Arc<dyn RealToComplex<f32>>,
    hann: Vec<f32>,
    bands: Vec<Band>,
    /// Samples from the start of the next frame on.
    pending: Vec<f32>,
    /// Whether a frame came out before.
    begun: bool,
    points: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Default for LogMel {
    fn default() -> Self {
        Self::new()
    }
}

impl LogMel {
    /// Ready for the first sample.
    pub fn new() -> Self {
        let plan = RealFftPlanner::new().plan_fft_forward(POINTS);
        let hann: Vec<f32> = (0..WINDOW).map(|i| 0.5 - 0.5 * (TAU * i as f32 / WINDOW as f32).cos()).collect();
        // A sine's peak is its height times half of the window's sum.
        let scale = (2.0 / hann.iter().sum::<f32>()).powi(2);
        let (points, spectrum, scratch) = (plan.make_input_vec(), plan.make_output_vec(), plan.make_scratch_vec());
        Self { plan, hann, bands: bands(scale), pending: Vec::new(), begun: false, points, spectrum, scratch }
    }

    /// Takes samples; appends the frames that are whole, [n, 40].
    pub fn push(&mut self, samples: &[f32], frames: &mut Vec<f32>) {
        self.pending.extend_from_slice(samples);
        let mut at = 0;
        while at + WINDOW <= self.pending.len() {
            self.frame(at, frames);
            at += HOP;
        }
        self.begun |= at > 0;
        self.pending.drain(..at);
    }

    /// Appends the frame of samples that no frame holds yet, if there are any, filled up with zeros, and starts anew.
    /// Together `1 + ceil(max(0, samples - 400) / 160)` frames come out, none for no samples.
    pub fn finish(&mut self, frames: &mut Vec<f32>) {
        let held = if self.begun { WINDOW - HOP } else { 0 };
        if self.pending.len() > held {
            self.pending.resize(WINDOW, 0.0);
            self.frame(0, frames);
        }
        self.pending.clear();
        self.begun = false;
    }

    /// The frame that starts at sample `at` of those pending.
    fn frame(&mut self, at: usize, frames: &mut Vec<f32>) {
        let samples = &self.pending[at..at + WINDOW];
        // Cheap microphones add a constant, which would fill the lowest bands.
        let mean = samples.iter().sum::<f32>() / WINDOW as f32;
        let (inside, beyond) = self.points.split_at_mut(WINDOW);
        beyond.fill(0.0);
        for ((point, sample), weight) in inside.iter_mut().zip(samples).zip(&self.hann) {
            *point = (sample - mean) * weight;
        }
        self.plan
            .process_with_scratch(&mut self.points, &mut self.spectrum, &mut self.scratch)
            .unwrap_or_else(|_| unreachable!("the plan made these buffers"));
        let slope = 4.0 / (LOUD / FLOOR).ln();
        frames.extend(self.bands.iter().map(|band| {
            let points = self.spectrum[band.first..].iter().zip(&band.weights);
            let energy: f32 = points.map(|(point, weight)| weight * point.norm_sqr()).sum();
            SILENCE + slope * (1.0 + energy / FLOOR).ln()
        }));
    }
}

/// HTK's mel scale.
fn mel(hertz: f32) -> f32 {
    1127.0 * (1.0 + hertz / 700.0).ln()
}

/// Triangles of height `scale`, equally wide in mels, each from its lower neighbour's middle to its upper one's.
fn bands(scale: f32) -> Vec<Band> {
    let (low, high) = (mel(EDGES.0), mel(EDGES.1));
    let width = (high - low) / (BANDS + 1) as f32;
    let point = |i: usize| mel(i as f32 * RATE as f32 / POINTS as f32);
    let band = |b: usize| {
        let middle = low + width * (b + 1) as f32;
        let height = |i: usize| 1.0 - (point(i) - middle).abs() / width;
        let first = (0..=POINTS / 2).find(|&i| height(i) > 0.0).unwrap_or(0);
        let weights = (first..=POINTS / 2).map(height).take_while(|h| *h > 0.0).map(|h| h * scale).collect();
        Band { first, weights }
    };
    (0..BANDS).map(band).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn whole(samples: &[f32]) -> Vec<f32> {
        let (mut mel, mut frames) = (LogMel::new(), Vec::new());
        mel.push(samples, &mut frames);
        mel.finish(&mut frames);
        frames
    }
    fn sine(hertz: f32, height: f32, samples: usize) -> Vec<f32> {
        (0..samples).map(|i| height * (TAU * hertz * i as f32 / RATE as f32).sin()).collect()
    }

    #[test]
    fn every_sample_is_in_a_frame() {
        for (samples, frames) in [(0, 0), (1, 1), (399, 1), (400, 1), (401, 2), (560, 2), (561, 3), (16_000, 99)] {
            assert_eq!(whole(&vec![0.1; samples]).len(), frames * BANDS, "{samples} samples");
        }
        // A click as the very last sample is heard.
        let mut samples = vec![0.0; 561];
        samples[560] = 1.0;
        assert!(whole(&samples)[2 * BANDS..].iter().all(|&x| x > SILENCE));
    }

    #[test]
    fn silence_and_constants_are_silent() {
        assert!(whole(&[0.0; 1000]).iter().all(|&x| x == SILENCE));
        assert!(whole(&[0.5; 720]).iter().all(|&x| x < SILENCE + 0.01));
    }

    /// A direct transform in double precision and triangles as the book has them.
    #[test]
    fn frames_are_those_of_the_definition() {
        let mut random = Random::new(8);
        let samples: Vec<f32> = (0..WINDOW).map(|_| random.normal() as f32 * 0.1).collect();
        let mean = samples.iter().map(|&x| f64::from(x)).sum::<f64>() / WINDOW as f64;
        let tau = std::f64::consts::TAU;
        let hann = |i: usize| 0.5 - 0.5 * (tau * i as f64 / WINDOW as f64).cos();
        let power = |k: usize| {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, &x) in samples.iter().enumerate() {
                let (x, angle) = ((f64::from(x) - mean) * hann(i), tau * (i * k) as f64 / 512.0);
                re += x * angle.cos();
                im -= x * angle.sin();
            }
            (re * re + im * im) / 1e4
        };
        let to_mel = |f: f64| 2595.0 * (1.0 + f / 700.0).log10();
        let edge = |i: usize| to_mel(20.0) + (to_mel(7600.0) - to_mel(20.0)) * i as f64 / 41.0;
        let got = whole(&samples);
        for band in 0..BANDS {
            let (low, middle, high) = (edge(band), edge(band + 1), edge(band + 2));
            let energy: f64 = (0..=256)
                .map(|k| {
                    let m = to_mel(k as f64 * 31.25);
                    let rise = ((m - low) / (middle - low)).min((high - m) / (high - middle));
                    rise.max(0.0) * power(k)
                })
                .sum();
            let want = -2.0 + 4.0 * (1.0 + energy / 1e-8).ln() / 1e6f64.ln();
            assert!((f64::from(got[band]) - want).abs() < 1e-3, "band {band}: {} for {want}", got[band]);
        }
    }

    #[test]
    fn tones_lie_in_their_band_at_their_height() {
        for (hertz, band) in [(100.0, 1), (440.0, 7), (1_000.0, 13), (3_000.0, 26), (7_000.0, 39)] {
            let frames = whole(&sine(hertz, 1.0, 1_200));
            for frame in frames.chunks(BANDS).take(5) {
                let loudest = (0..BANDS).max_by(|&a, &b| frame[a].total_cmp(&frame[b])).expect("bands");
                assert_eq!(loudest, band, "{hertz} Hz");
                assert!((3.0..3.6).contains(&frame[band]), "{hertz} Hz: {}", frame[band]);
            }
        }
        let loud = whole(&sine(1_000.0, 0.1, 400))[13];
        assert!((1.9..2.3).contains(&loud), "20 dB below full scale: {loud}");
        assert!(whole(&sine(1_000.0, 1e-5, 400))[13] < SILENCE + 0.1, "100 dB below full scale");
    }

    #[test]
    fn cuts_change_no_bit() {
        let mut random = Random::new(5);
        let samples: Vec<f32> = (0..12_345).map(|_| random.normal() as f32 * 0.1).collect();
        let want = whole(&samples);
        let (mut mel, mut got) = (LogMel::new(), Vec::new());
        for longest in [2, 300, 1_000] {
            got.clear();
            let mut rest = &samples[..];
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(random.below(longest).min(rest.len()));
                mel.push(head, &mut got);
                rest = tail;
            }
            mel.finish(&mut got);
            assert!(got == want, "pieces of up to {longest}");
        }
    }
}
