//! Writes down spoken digits: `dictate_digits [WAV]`. The recording is cut at its pauses.

use lichen::data::Turn;
use lichen::frontend::{BANDS, SILENCE, Sound};
use lichen_senses::{MOST, assistant, input, run, sound};
use std::path::PathBuf;
use std::process::ExitCode;

/// Frames of 10 ms that make a pause, and the fewest of a word.
const PAUSE: usize = 15;
const WORD: usize = 10;

const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// The parts of a sound between its pauses.
fn words(sound: &Sound) -> Vec<Sound> {
    let loudness: Vec<f32> =
        sound.frames.chunks(BANDS).map(|frame| frame.iter().sum::<f32>() / BANDS as f32 - SILENCE).collect();
    let most = loudness.iter().copied().fold(0.0, f32::max);
    let loud = |i: usize| loudness[i] > 0.35 * most;
    let (mut words, mut from, mut last) = (Vec::new(), None, 0);
    let mut keep = |from: usize, to: usize| {
        if to - from >= WORD {
            // A little of what lies around it.
            let (from, to) = (from.saturating_sub(5), (to + 5).min(loudness.len()));
            words.push(Sound { frames: sound.frames[from * BANDS..to * BANDS].to_vec() });
        }
    };
    for i in 0..loudness.len() {
        if loud(i) {
            from.get_or_insert(i);
            last = i;
        } else if let Some(start) = from.filter(|_| i - last > PAUSE) {
            keep(start, last + 1);
            from = None;
        }
    }
    if let Some(start) = from {
        keep(start, last + 1);
    }
    words
}

fn main() -> ExitCode {
    run(|arguments| {
        let heard = sound(&arguments.first().map_or_else(|| input("digits.wav"), PathBuf::from))?;
        let mut lichen = assistant()?;
        let mut written = String::new();
        for word in words(&heard) {
            lichen.forget()?;
            let reply = pollster::block_on(lichen.ask(&Turn::default(), Some(&word), None, MOST))?;
            match DIGITS.iter().position(|digit| *digit == reply.text) {
                Some(digit) => written += &digit.to_string(),
                None => written += &format!(" ({}) ", reply.text),
            }
        }
        println!("{written}");
        Ok(())
    })
}
