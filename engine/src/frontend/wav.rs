//! WAV files: any rate from 1 to 384 kHz, up to 64 channels, whole numbers of 8 to 32 bits and floats.

use super::resample::RATES;
use super::sound::{Frames, Sound};
use crate::error::Error;
use hound::{SampleFormat, WavReader};
use std::io::{self, BufReader, ErrorKind, Read};

/// Longest sound that is taken at once, in seconds.
pub const MOST_SECONDS: u32 = 120;
/// Most channels of a sound; their mean is heard.
pub const MOST_CHANNELS: u16 = 64;

/// Samples that are decoded before they go on.
const BLOCK: usize = 4096;
/// Longest format chunk: the longest that is in use has 40 bytes.
const FORMAT_BYTES: u32 = 64;

/// Why a sound cannot be heard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SoundError {
    /// Other bytes than those of a WAV file.
    #[error("not a WAV file: {0}")]
    NotWav(&'static str),
    /// A WAV file that ends early or contradicts itself.
    #[error("the WAV file is damaged: {0}")]
    Damaged(String),
    /// A WAV file with samples of another kind.
    #[error("the WAV file holds {0}; whole numbers of 8, 16, 24 or 32 bits and floats of 32 bits are read")]
    Kind(String),
    /// A sampling rate that nobody records at.
    #[error("{got} samples a second are out of range: {} to {} are taken", RATES.start(), RATES.end())]
    Rate {
        /// Samples a second.
        got: u32,
    },
    /// Too many channels.
    #[error("{got} channels are too many: up to {MOST_CHANNELS} are taken")]
    Channels {
        /// Channels.
        got: u16,
    },
    /// Longer than [`MOST_SECONDS`].
    #[error("{seconds} seconds are too long: cut the sound into pieces of up to {MOST_SECONDS} seconds")]
    TooLong {
        /// By the header, rounded up.
        seconds: u64,
    },
    /// There is nothing to hear.
    #[error("it holds no samples")]
    Empty,
    /// A sample that is not a finite number.
    #[error("sample {at} is {value}")]
    NotFinite {
        /// Sample, over all channels.
        at: usize,
        /// Its value.
        value: f32,
    },
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Log-mel frames of a WAV file in memory.
///
/// # Errors
/// [`Error::Sound`]; its [`SoundError`] says what is wrong with the bytes.
pub fn hear(wav: &[u8]) -> Result<Sound, Error> {
    hear_from(wav)
}

/// The same from anything that gives bytes. Memory goes with the frames, not with what a header claims.
///
/// # Errors
/// [`Error::Sound`]; its [`SoundError`] says what is wrong with the bytes.
pub fn hear_from(wav: impl Read) -> Result<Sound, Error> {
    let mut wav = BufReader::new(wav);
    let head = head(&mut wav)?;
    let mut reader = WavReader::new(head.chain(wav)).map_err(damage)?;
    let spec = reader.spec();
    let mut frames = Frames::new(spec.sample_rate)?;
    if spec.channels > MOST_CHANNELS {
        return Err(SoundError::Channels { got: spec.channels }.into());
    }
    check_length(u64::from(reader.duration()), spec.sample_rate)?;
    let channels = usize::from(spec.channels);
    match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Float, 32) => mix(reader.samples::<f32>(), channels, &mut frames)?,
        (SampleFormat::Int, bits @ (8 | 16 | 24 | 32)) => {
            let scale = 1.0 / (1u64 << (bits - 1)) as f32;
            mix(reader.samples::<i32>().map(|x| x.map(|x| x as f32 * scale)), channels, &mut frames)?;
        }
        (SampleFormat::Float, bits) => return Err(SoundError::Kind(format!("floats of {bits} bits")).into()),
        (SampleFormat::Int, bits) => return Err(SoundError::Kind(format!("whole numbers of {bits} bits")).into()),
    }
    Ok(frames.finish())
}

/// Refuses what is empty or longer than [`MOST_SECONDS`], before anything is allocated for it.
pub(super) fn check_length(samples: u64, rate: u32) -> Result<(), SoundError> {
    match samples {
        0 => Err(SoundError::Empty),
        n if n > u64::from(MOST_SECONDS) * u64::from(rate) => {
            Err(SoundError::TooLong { seconds: n.div_ceil(u64::from(rate)) })
        }
        _ => Ok(()),
    }
}

/// The mean of the channels, block by block.
fn mix(
    samples: impl Iterator<Item = hound::Result<f32>>,
    channels: usize,
    frames: &mut Frames,
) -> Result<(), SoundError> {
    let mut block = Vec::with_capacity(BLOCK);
    let (mut sum, mut in_sum) = (0.0f32, 0);
    for (at, sample) in samples.enumerate() {
        let value = sample.map_err(damage)?;
        if !value.is_finite() {
            return Err(SoundError::NotFinite { at, value });
        }
        // Files of floats may pass full scale; players clip them too.
        sum += value.clamp(-1.0, 1.0);
        in_sum += 1;
        if in_sum == channels {
            block.push(sum / channels as f32);
            (sum, in_sum) = (0.0, 0);
        }
        if block.len() == BLOCK {
            frames.push(&block);
            block.clear();
        }
    }
    frames.push(&block);
    Ok(())
}

fn damage(error: hound::Error) -> SoundError {
    match error {
        hound::Error::IoError(e) if matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::Other) => ends(),
        hound::Error::IoError(e) => SoundError::Read(e),
        hound::Error::Unsupported | hound::Error::InvalidSampleFormat | hound::Error::TooWide => {
            SoundError::Kind("samples of another kind".into())
        }
        e => SoundError::Damaged(e.to_string()),
    }
}

fn ends() -> SoundError {
    SoundError::Damaged("it ends before its last sample".into())
}

/// Reads up to the first sample and returns a header without the chunks that say nothing about samples. `hound` does
/// not know that a chunk of odd length is followed by a byte of padding and would lose its way.
fn head(wav: &mut impl Read) -> Result<Vec<u8>, SoundError> {
    let mut tags = [0; 12];
    wav.read_exact(&mut tags).map_err(|e| early(e, SoundError::NotWav("it is shorter than the header of one")))?;
    if &tags[..4] != b"RIFF" {
        return Err(SoundError::NotWav("it does not begin with RIFF"));
    }
    if &tags[8..] != b"WAVE" {
        return Err(SoundError::NotWav("a RIFF file, but not of sound"));
    }
    let mut head = tags.to_vec();
    loop {
        let mut chunk = [0; 8];
        wav.read_exact(&mut chunk).map_err(|e| early(e, ends()))?;
        let [kind @ .., a, b, c, d] = chunk;
        let length = u32::from_le_bytes([a, b, c, d]);
        let padded = u64::from(length) + u64::from(length % 2);
        match &kind {
            b"data" => {
                head.extend_from_slice(&chunk);
                return Ok(head);
            }
            b"fmt " if length > FORMAT_BYTES => {
                return Err(SoundError::Damaged(format!("a format chunk of {length} bytes")));
            }
            b"fmt " => {
                let mut format = vec![0; padded as usize];
                wav.read_exact(&mut format).map_err(|e| early(e, ends()))?;
                head.extend_from_slice(&chunk);
                head.extend_from_slice(&format[..length as usize]);
            }
            _ => {
                if io::copy(&mut wav.take(padded), &mut io::sink())? < padded {
                    return Err(ends());
                }
            }
        }
    }
}

/// What an early end means here; other errors stay what they are.
fn early(error: io::Error, end: SoundError) -> SoundError {
    if error.kind() == ErrorKind::UnexpectedEof { end } else { SoundError::Read(error) }
}

#[cfg(test)]
mod tests;
