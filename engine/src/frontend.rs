//! Front ends: sound and pictures as bytes or samples in, the numbers that the stems read out. No files, no clock.
//!
//! Sound: mono at [`RATE`], a frame of [`BANDS`] log-mel bands every 10 ms, a window of [`SPAN`] frames every 40 ms.
//! Pictures: [`SIDE`] by [`SIDE`] pixels of red, green and blue.

mod mel;
mod picture;
mod resample;
mod sound;
mod vary;
mod wav;

pub use mel::{BANDS, HOP, LogMel, SILENCE, WINDOW};
pub use picture::{GRID, MOST_BYTES, MOST_PIXELS, Picture, PictureError, SIDE, see};
pub use resample::{RATE, RATES, Resampler};
pub use sound::{Ear, SPAN, STEP, Sound, Windows};
pub use wav::{MOST_CHANNELS, MOST_SECONDS, SoundError, hear, hear_from};
