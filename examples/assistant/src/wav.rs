//! Sound files: 16-bit, one channel.

use crate::error::{Error, Result};

/// A recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Samples a second.
    pub rate: u32,
    /// The samples.
    pub samples: Vec<i16>,
}

impl Sound {
    /// Reads a 16-bit mono WAV. Lengths in the header may be wrong, as they are in a stream: the data then ends where the bytes end.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let wrong = |what: &str| Error::new(format!("not a 16-bit mono WAV: {what}"));
        if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
            return Err(wrong("no RIFF header"));
        }
        let number = |at: usize, length: usize| -> Option<u32> {
            let bytes = bytes.get(at..at.checked_add(length)?)?;
            Some(bytes.iter().rev().fold(0, |n, b| (n << 8) | u32::from(*b)))
        };
        let mut at = 12;
        let mut rate = None;
        loop {
            let name = bytes.get(at..at + 4).ok_or_else(|| wrong("no data"))?;
            let length = number(at + 4, 4).ok_or_else(|| wrong("cut short"))? as usize;
            let body = at + 8;
            match name {
                b"fmt " => {
                    if (number(body, 2), number(body + 2, 2), number(body + 14, 2)) != (Some(1), Some(1), Some(16)) {
                        return Err(wrong("another format"));
                    }
                    rate = number(body + 4, 4);
                }
                b"data" => {
                    let end = body.saturating_add(length).min(bytes.len());
                    let data = bytes.get(body..end).unwrap_or_default();
                    let samples = data.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
                    return Ok(Sound { rate: rate.ok_or_else(|| wrong("no format"))?, samples });
                }
                _ => {}
            }
            at = body.saturating_add(length).saturating_add(length % 2);
        }
    }
    /// The file.
    pub fn write(&self) -> Vec<u8> {
        let length = u32::try_from(2 * self.samples.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(44 + 2 * self.samples.len());
        out.extend(b"RIFF");
        out.extend(length.saturating_add(36).to_le_bytes());
        out.extend(b"WAVEfmt ");
        out.extend(16u32.to_le_bytes());
        out.extend([1u16, 1].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(self.rate.to_le_bytes());
        out.extend((2 * self.rate).to_le_bytes());
        out.extend([2u16, 16].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(b"data");
        out.extend(length.to_le_bytes());
        out.extend(self.samples.iter().flat_map(|s| s.to_le_bytes()));
        out
    }
    /// The same without the silence at both ends, of which 60 ms stay.
    pub fn trimmed(mut self) -> Self {
        let peak = self.samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
        let loud = |s: &i16| s.unsigned_abs() > peak / 100;
        let margin = self.rate as usize * 60 / 1000;
        let first = self.samples.iter().position(loud).unwrap_or(0);
        let last = self.samples.iter().rposition(loud).unwrap_or(0);
        self.samples.truncate((last + 1 + margin).min(self.samples.len()));
        self.samples.drain(..first.saturating_sub(margin));
        self
    }
    /// The same at 16 kHz: each sample is a windowed sinc over its neighbours, cut off below the new limit.
    pub fn at_16_khz(&self) -> Self {
        const RATE: usize = 16_000;
        let rate = self.rate as usize;
        if rate == RATE || rate == 0 {
            return self.clone();
        }
        let divisor = divisor(rate, RATE);
        let (step, phases) = (rate / divisor, RATE / divisor);
        let ratio = (step as f64 / phases as f64).max(1.0);
        let (cut, reach) = (0.94 / ratio, (16.0 * ratio).ceil() as usize);
        // One row of weights for every place that a new sample can have between two old ones.
        let row = |phase: usize| -> Vec<f64> {
            let weight = |i: usize| {
                let x = i as f64 - reach as f64 - phase as f64 / phases as f64;
                let angle = std::f64::consts::PI * cut * x;
                let sinc = if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
                sinc * (0.5 + 0.5 * (std::f64::consts::PI * x / (reach + 1) as f64).cos())
            };
            let row: Vec<f64> = (0..2 * reach + 2).map(weight).collect();
            let sum: f64 = row.iter().sum();
            row.iter().map(|w| w / sum).collect()
        };
        let rows: Vec<Vec<f64>> = (0..phases).map(row).collect();
        let samples = (0..self.samples.len() * phases / step).map(|i| {
            let (base, phase) = (i * step / phases, i * step % phases);
            let near = rows[phase].iter().enumerate().filter_map(|(k, w)| {
                let sample = self.samples.get((base + k).checked_sub(reach)?)?;
                Some(w * f64::from(*sample))
            });
            near.sum::<f64>().round().clamp(-32768.0, 32767.0) as i16
        });
        Sound { rate: 16_000, samples: samples.collect() }
    }
}

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, rate: u32) -> Sound {
        let wave = |i: u32| (8000.0 * (std::f64::consts::TAU * hertz * f64::from(i) / f64::from(rate)).sin()) as i16;
        Sound { rate, samples: (0..rate / 2).map(wave).collect() }
    }
    fn loudness(sound: &Sound) -> f64 {
        let middle = &sound.samples[sound.samples.len() / 4..3 * sound.samples.len() / 4];
        (middle.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / middle.len() as f64).sqrt()
    }

    #[test]
    fn files_come_back() {
        let sound = tone(440.0, 22_050);
        assert_eq!(Sound::read(&sound.write()), Ok(sound));
        assert!(Sound::read(b"RIFF").is_err());
        assert!(Sound::read(&tone(440.0, 8000).write()[..40]).is_err());
    }

    #[test]
    fn resampling_keeps_low_tones_and_drops_high_ones() {
        let low = tone(1000.0, 22_050);
        let kept = low.at_16_khz();
        assert_eq!(kept.rate, 16_000);
        assert!((loudness(&kept) / loudness(&low) - 1.0).abs() < 0.01);
        let high = tone(9_500.0, 22_050);
        assert!(loudness(&high.at_16_khz()) < 0.02 * loudness(&high));
    }

    #[test]
    fn silence_goes() {
        let mut sound = tone(440.0, 16_000);
        let length = sound.samples.len();
        sound.samples.splice(0..0, [0; 8000]);
        sound.samples.extend([0; 8000]);
        assert!(sound.trimmed().samples.len() <= length + 2 * 16_000 * 60 / 1000 + 2);
    }
}
