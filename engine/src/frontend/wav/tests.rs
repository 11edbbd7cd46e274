use super::*;
use crate::Random;
use hound::{WavSpec, WavWriter};
use std::f64::consts::TAU;
use std::io::Cursor;

/// A file with `sample(frame, channel)`, full scale 1.
fn file(spec: WavSpec, frames: usize, mut sample: impl FnMut(usize, usize) -> f64) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).expect("a header");
    for i in 0..frames * usize::from(spec.channels) {
        let x = sample(i / usize::from(spec.channels), i % usize::from(spec.channels));
        match spec.sample_format {
            SampleFormat::Float => writer.write_sample(x as f32),
            SampleFormat::Int => writer.write_sample((x * (1i64 << (spec.bits_per_sample - 1)) as f64) as i32),
        }
        .expect("a sample");
    }
    writer.finalize().expect("a file");
    bytes.into_inner()
}
fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16, sample_format: SampleFormat) -> WavSpec {
    WavSpec { channels, sample_rate, bits_per_sample, sample_format }
}
fn plain() -> WavSpec {
    spec(1, 16_000, 16, SampleFormat::Int)
}
/// Two tones.
fn tones(rate: u32, frame: usize) -> f64 {
    let t = frame as f64 / f64::from(rate);
    0.3 * (TAU * 440.0 * t).sin() + 0.2 * (TAU * 2_500.0 * t).sin()
}
fn error(bytes: &[u8]) -> SoundError {
    match hear(bytes) {
        Err(Error::Sound(e)) => e,
        other => panic!("{other:?}"),
    }
}
/// The same file with this data length in its header.
fn claims(mut bytes: Vec<u8>, length: u32) -> Vec<u8> {
    let at = bytes.windows(4).position(|w| w == b"data").expect("a data chunk") + 4;
    bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    bytes
}

#[test]
fn every_kind_of_file_sounds_alike() {
    let samples: Vec<f32> = (0..8_000).map(|i| tones(16_000, i) as f32).collect();
    let want = Sound::from_samples(&samples, 16_000).expect("a sound");
    let mut specs = Vec::new();
    for (bits, format) in
        [(8, SampleFormat::Int), (16, SampleFormat::Int), (24, SampleFormat::Int), (32, SampleFormat::Int)]
            .into_iter()
            .chain([(32, SampleFormat::Float)])
    {
        specs.extend([(1, 16_000), (2, 48_000), (3, 44_100), (64, 8_000)].map(|(c, r)| spec(c, r, bits, format)));
    }
    for spec in specs {
        let rate = spec.sample_rate;
        // Channels differ, but not their mean.
        let split = |channel: u16| {
            if spec.channels == 1 { 0.0 } else { f64::from(channel) / f64::from(spec.channels - 1) - 0.5 }
        };
        let bytes = file(spec, rate as usize / 2, |i, c| tones(rate, i) + 0.2 * split(c as u16));
        let got = hear(&bytes).expect("a sound");
        assert_eq!(got.frames.len(), want.frames.len(), "{spec:?}");
        // Frames in the middle, and the bands around the tones, which rounding to 8 bits leaves alone.
        for frame in 5..40 {
            for band in [6, 7, 8, 23, 24, 25] {
                let at = frame * crate::frontend::BANDS + band;
                assert!((got.frames[at] - want.frames[at]).abs() < 0.05, "{spec:?}: frame {frame}, band {band}");
            }
        }
    }
}

#[test]
fn sixteen_bits_are_read_exactly() {
    let samples = |i: usize| ((i * 7919) % 65_536) as i32 - 32_768;
    let bytes = file(plain(), 3_000, |i, _| f64::from(samples(i)) / 32_768.0);
    let exact: Vec<f32> = (0..3_000).map(|i| samples(i) as f32 / 32_768.0).collect();
    assert_eq!(hear(&bytes).expect("a sound"), Sound::from_samples(&exact, 16_000).expect("a sound"));
}

#[test]
fn floats_past_full_scale_are_clipped() {
    let floats = spec(1, 16_000, 32, SampleFormat::Float);
    let loud = hear(&file(floats, 400, |i, _| if i % 40 < 20 { 1e30 } else { -3.0 })).expect("a sound");
    assert_eq!(loud, hear(&file(floats, 400, |i, _| if i % 40 < 20 { 1.0 } else { -1.0 })).expect("a sound"));
}

#[test]
fn chunks_of_other_kinds_are_passed_over() {
    let bytes = file(plain(), 500, |i, _| tones(16_000, i));
    let want = hear(&bytes).expect("a sound");
    // An odd length has a byte of padding after it.
    for length in [0u32, 1, 7, 26, 9_999] {
        let mut padded = bytes[..12].to_vec();
        padded.extend_from_slice(b"LIST");
        padded.extend_from_slice(&length.to_le_bytes());
        padded.resize(padded.len() + length.next_multiple_of(2) as usize, b'd');
        padded.extend_from_slice(&bytes[12..]);
        padded.extend_from_slice(b"what follows the samples");
        assert_eq!(hear(&padded).expect("a sound"), want, "a chunk of {length} bytes");
        assert_eq!(hear_from(Cursor::new(padded).chain(io::empty())).expect("a sound"), want);
    }
}

#[test]
fn what_is_no_wav_file_is_refused() {
    for bytes in [&b""[..], b"RIF", b"Just a text that somebody named talk.wav, for whatever reason.\n"] {
        assert!(matches!(error(bytes), SoundError::NotWav(_)), "{bytes:?}");
    }
    assert!(matches!(error(b"RIFF\x10\0\0\0AVI LIST\x04\0\0\0abcd"), SoundError::NotWav(_)));
    let whole = file(plain(), 300, |i, _| tones(16_000, i));
    for end in 0..whole.len() {
        let e = error(&whole[..end]);
        assert!(
            if end < 12 { matches!(e, SoundError::NotWav(_)) } else { matches!(e, SoundError::Damaged(_)) },
            "{end}: {e}"
        );
    }
    assert!(matches!(error(&file(plain(), 0, |_, _| 0.0)), SoundError::Empty));
}

#[test]
fn what_is_out_of_range_is_refused() {
    assert!(matches!(error(&file(spec(1, 999, 16, SampleFormat::Int), 9, |_, _| 0.0)), SoundError::Rate { got: 999 }));
    assert!(matches!(error(&file(spec(1, 384_001, 8, SampleFormat::Int), 9, |_, _| 0.0)), SoundError::Rate { .. }));
    assert!(matches!(
        error(&file(spec(65, 8_000, 8, SampleFormat::Int), 9, |_, _| 0.0)),
        SoundError::Channels { got: 65 }
    ));
    let floats = spec(2, 16_000, 32, SampleFormat::Float);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let bytes = file(floats, 100, |i, c| if (i, c) == (50, 1) { bad } else { 0.0 });
        assert!(matches!(error(&bytes), SoundError::NotFinite { at: 101, .. }));
    }
}

/// By the header, whatever follows it.
#[test]
fn what_is_too_long_is_refused_at_once() {
    let bytes = file(plain(), 100, |_, _| 0.0);
    let most = MOST_SECONDS * 16_000 * 2;
    assert!(matches!(error(&claims(bytes.clone(), most + 2)), SoundError::TooLong { seconds: 121 }));
    assert!(matches!(error(&claims(bytes.clone(), u32::MAX - 1)), SoundError::TooLong { .. }));
    assert!(matches!(error(&claims(bytes, most)), SoundError::Damaged(_)));
}

/// Damage gives an error or other numbers, never a panic or one that is not finite.
#[test]
fn damaged_files_do_no_harm() {
    let mut random = Random::new(21);
    let specs = [plain(), spec(2, 44_100, 24, SampleFormat::Int), spec(1, 8_000, 32, SampleFormat::Float)];
    let mut heard = 0;
    for spec in specs {
        let whole = file(spec, 200, |i, _| tones(spec.sample_rate, i));
        for turn in 0..1_500 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random.below(4) {
                // Most of the harm is done in the header.
                let range = if turn % 3 > 0 { 80 } else { bytes.len() };
                let at = random.below(range);
                bytes[at] = if turn % 2 > 0 { random.bits() as u8 } else { bytes[at] ^ 1 << random.below(8) };
            }
            bytes.truncate(bytes.len() - if turn % 5 > 0 { 0 } else { random.below(bytes.len()) });
            if let Ok(sound) = hear(&bytes) {
                assert!(sound.frames.iter().all(|x| x.is_finite()));
                heard += 1;
            }
        }
    }
    assert!((100..4_400).contains(&heard), "{heard} of 4500 were heard");
}
