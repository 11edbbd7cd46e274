//! Frames of sound and the windows that a stem reads.

use super::mel::{BANDS, LogMel, SILENCE};
use super::resample::Resampler;
use super::wav::{SoundError, check_length};
use crate::error::Error;

/// Frames that a window sees.
pub const SPAN: usize = 7;
/// Frames from one window to the next: 40 ms, 25 windows a second.
pub const STEP: usize = 4;

/// Frames that a window sees before its own.
const BEFORE: usize = SPAN / 2;

/// A sound as the stem reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Log-mel frames [n, 40], one every 10 ms; see [`LogMel`].
    pub frames: Vec<f32>,
}

impl Sound {
    /// Of samples of one channel, full scale 1, at `rate` samples a second.
    ///
    /// # Errors
    /// [`Error::Sound`]: a rate out of range, no samples, more than [`MOST_SECONDS`](super::MOST_SECONDS), a sample
    /// that is not finite.
    pub fn from_samples(samples: &[f32], rate: u32) -> Result<Self, Error> {
        let mut frames = Frames::new(rate)?;
        check_length(samples.len() as u64, rate)?;
        frames.push(&tamed(samples)?);
        Ok(frames.finish())
    }

    /// Windows [n, 7, 40] for the stem, n being [`Self::vectors`].
    pub fn windows(&self) -> Vec<f32> {
        let (mut windows, mut out) = (Windows::new(), Vec::with_capacity(self.vectors() * SPAN * BANDS));
        windows.push(&self.frames, &mut out);
        windows.finish(&mut out);
        out
    }

    /// Vectors that the stem makes of it: `ceil(frames / 4)`.
    pub fn vectors(&self) -> usize {
        (self.frames.len() / BANDS).div_ceil(STEP)
    }
}

/// Frames to windows: window t sees frames `4 t - 3 ..= 4 t + 3`, [`SILENCE`] where there are none. Streaming.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Frames from the first that the next window sees on.
    pending: Vec<f32>,
}

impl Default for Windows {
    fn default() -> Self {
        Self::new()
    }
}

impl Windows {
    /// Ready for the first frame.
    pub fn new() -> Self {
        Self { pending: vec![SILENCE; BEFORE * BANDS] }
    }

    /// Takes frames [n, 40]; appends the windows that are whole, [m, 7, 40].
    pub fn push(&mut self, frames: &[f32], windows: &mut Vec<f32>) {
        self.pending.extend_from_slice(frames);
        let mut at = 0;
        while let Some(window) = self.pending.get(at..at + SPAN * BANDS) {
            windows.extend_from_slice(window);
            at += STEP * BANDS;
        }
        self.pending.drain(..at);
    }

    /// Appends the window that the last frames still ask for, if any, and starts anew. Together `ceil(frames / 4)`
    /// windows come out.
    pub fn finish(&mut self, windows: &mut Vec<f32>) {
        if self.pending.len() > BEFORE * BANDS {
            self.pending.resize(SPAN * BANDS, SILENCE);
            windows.append(&mut self.pending);
        }
        *self = Self::new();
    }
}

/// A microphone's stream: samples of one channel at any rate in, windows for the stem out. The same bits however the
/// samples are cut.
pub struct Ear {
    frames: Frames,
    windows: Windows,
}

impl Ear {
    /// For `rate` samples a second.
    ///
    /// # Errors
    /// [`Error::Sound`]: a rate out of range.
    pub fn new(rate: u32) -> Result<Self, Error> {
        Ok(Self { frames: Frames::new(rate)?, windows: Windows::new() })
    }

    /// Takes samples, full scale 1; appends the windows that are settled, [n, 7, 40].
    ///
    /// # Errors
    /// [`Error::Sound`]: a sample that is not finite; then none of these samples were taken.
    pub fn push(&mut self, samples: &[f32], windows: &mut Vec<f32>) -> Result<(), Error> {
        self.frames.push(&tamed(samples)?);
        self.windows.push(&self.frames.frames, windows);
        self.frames.frames.clear();
        Ok(())
    }

    /// Appends the windows that are left, as if silence followed, and starts anew.
    pub fn finish(&mut self, windows: &mut Vec<f32>) {
        self.frames.end();
        self.windows.push(&self.frames.frames, windows);
        self.windows.finish(windows);
        self.frames.frames.clear();
    }
}

/// Samples within full scale.
fn tamed(samples: &[f32]) -> Result<Vec<f32>, SoundError> {
    match samples.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(SoundError::NotFinite { at, value: samples[at] }),
        None => Ok(samples.iter().map(|x| x.clamp(-1.0, 1.0)).collect()),
    }
}

/// From samples at any rate to frames.
pub(super) struct Frames {
    resampler: Resampler,
    mel: LogMel,
    even: Vec<f32>,
    frames: Vec<f32>,
}

impl Frames {
    pub(super) fn new(rate: u32) -> Result<Self, SoundError> {
        Ok(Self { resampler: Resampler::new(rate)?, mel: LogMel::new(), even: Vec::new(), frames: Vec::new() })
    }
    /// Takes finite samples within full scale.
    pub(super) fn push(&mut self, samples: &[f32]) {
        self.even.clear();
        self.resampler.push(samples, &mut self.even);
        self.mel.push(&self.even, &mut self.frames);
    }
    fn end(&mut self) {
        self.even.clear();
        self.resampler.finish(&mut self.even);
        self.mel.push(&self.even, &mut self.frames);
        self.mel.finish(&mut self.frames);
    }
    pub(super) fn finish(mut self) -> Sound {
        self.end();
        Sound { frames: self.frames }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    /// Frame i holds the number i.
    fn counted(frames: usize) -> Sound {
        Sound { frames: (0..frames * BANDS).map(|i| (i / BANDS) as f32).collect() }
    }

    #[test]
    fn windows_see_the_frames_around_theirs() {
        for frames in 0..20 {
            let sound = counted(frames);
            let windows = sound.windows();
            assert_eq!(sound.vectors(), frames.div_ceil(4));
            assert_eq!(windows.len(), sound.vectors() * SPAN * BANDS, "{frames} frames");
            for (i, &got) in windows.iter().enumerate() {
                let frame = (4 * (i / (SPAN * BANDS)) + i / BANDS % SPAN).checked_sub(3).filter(|&f| f < frames);
                assert_eq!(got, frame.map_or(SILENCE, |f| f as f32), "element {i} of {frames} frames");
            }
        }
    }

    #[test]
    fn an_ear_hears_what_a_sound_holds_however_it_is_cut() {
        let mut random = Random::new(9);
        for rate in [16_000, 44_100] {
            let samples: Vec<f32> = (0..rate / 3 + 17).map(|_| random.normal() as f32 * 0.3).collect();
            let want = Sound::from_samples(&samples, rate).expect("a sound").windows();
            assert_eq!(want.len(), 8 * SPAN * BANDS, "a third of a second");
            let (mut ear, mut got) = (Ear::new(rate).expect("a rate"), Vec::new());
            for longest in [100, 5_000] {
                got.clear();
                let mut rest = &samples[..];
                while !rest.is_empty() {
                    let (head, tail) = rest.split_at(random.below(longest).min(rest.len()));
                    ear.push(head, &mut got).expect("finite samples");
                    rest = tail;
                }
                ear.finish(&mut got);
                assert!(got == want, "{rate}, pieces of up to {longest}");
            }
        }
    }

    #[test]
    fn what_is_no_sound_is_refused() {
        let error = |samples: &[f32], rate| match Sound::from_samples(samples, rate) {
            Err(Error::Sound(e)) => e,
            other => panic!("{other:?}"),
        };
        assert!(matches!(error(&[], 16_000), SoundError::Empty));
        assert!(matches!(error(&[0.0], 10), SoundError::Rate { got: 10 }));
        assert!(matches!(error(&[0.0, f32::NAN], 16_000), SoundError::NotFinite { at: 1, .. }));
        assert!(matches!(error(&vec![0.0; 120_001], 1_000), SoundError::TooLong { seconds: 121 }));
        assert!(Sound::from_samples(&vec![0.0; 120_000], 1_000).is_ok());
        // Refused samples leave no trace.
        let (mut ear, mut got) = (Ear::new(16_000).expect("a rate"), Vec::new());
        assert!(ear.push(&[0.5, f32::INFINITY], &mut got).is_err());
        ear.finish(&mut got);
        assert!(got.is_empty());
    }
}
