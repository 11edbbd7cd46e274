//! The changes that make many of one sound or picture: for training, and for lessons about what is heard or seen.

use super::{BANDS, Picture, SIDE, SILENCE, Sound};
use lichen_shaders::cases::Random;

/// Uniform between two numbers.
fn between(random: &mut Random, low: f32, high: f32) -> f32 {
    low + (high - low) * random.uniform() as f32
}

impl Sound {
    /// At another speed and in another voice, louder or softer, with noise, silence around it, and a band and a stretch
    /// left out (SpecAugment, arXiv 1904.08779).
    pub fn varied(&self, random: &mut Random) -> Self {
        Self { frames: vary_sound(&self.frames, random) }
    }
}

impl Picture {
    /// Turned, moved, scaled and slanted a little, brighter or darker.
    pub fn varied(&self, random: &mut Random) -> Self {
        Self { pixels: vary_picture(&self.pixels, random) }
    }
}

fn vary_sound(frames: &[f32], random: &mut Random) -> Vec<f32> {
    // A band is -2 + SCALE ln(1 + e); sums and gains are exact where e is.
    let scale = 4.0 / 1e6f32.ln();
    let n = frames.len() / BANDS;
    if n == 0 {
        return Vec::new();
    }
    let speed = between(random, 0.85, 1.18);
    let warp = between(random, 0.93, 1.07);
    let gain = between(random, -12.0, 9.0) * 0.1 * std::f32::consts::LN_10;
    let gain = gain.exp();
    let noisy = random.uniform() < 0.7;
    let noise = between(random, 0.0, 7.0);
    let tilt = between(random, -2.0, 1.0);
    let (before, after) = (random.below(25), random.below(25));
    let len = ((n as f32 / speed) as usize).max(1);
    let (band, bands) = (random.below(BANDS), random.below(6));
    let (hole, holes) = (random.below(len), random.below(len / 8 + 1));
    let mut out = vec![0.0; (before + len + after) * BANDS];
    for (t, frame) in out.chunks_mut(BANDS).enumerate() {
        let inside = t.checked_sub(before).filter(|&t| t < len);
        let at = inside.map_or(0.0, |t| t as f32 * speed).min((n.max(1) - 1) as f32);
        let (t0, share) = (at as usize, at.fract());
        let t1 = (t0 + 1).min(n.max(1) - 1);
        let hidden = inside.is_some_and(|t| (hole..hole + holes).contains(&t));
        for (b, x) in frame.iter_mut().enumerate() {
            let mut energy = 0.0;
            if inside.is_some() && !hidden && !(band..band + bands).contains(&b) {
                let from = (b as f32 * warp).min((BANDS - 1) as f32);
                let (b0, s) = (from as usize, from.fract());
                let b1 = (b0 + 1).min(BANDS - 1);
                let row = |t: usize| (1.0 - s) * frames[t * BANDS + b0] + s * frames[t * BANDS + b1];
                let value = (1.0 - share) * row(t0) + share * row(t1);
                energy = gain * (((value - SILENCE) / scale).exp() - 1.0);
            }
            if noisy {
                // The energy of noise in one frame and band is far from even.
                let ups = between(random, 0.2, 1.8);
                energy += ups * (noise + tilt * b as f32 / BANDS as f32).exp();
            }
            *x = SILENCE + scale * (1.0 + energy.max(0.0)).ln();
        }
    }
    out
}

fn vary_picture(pixels: &[f32], random: &mut Random) -> Vec<f32> {
    let at = |x: usize, y: usize, c: usize| pixels[(y * SIDE + x) * 3 + c];
    let mut out = Vec::with_capacity(pixels.len());
    let angle = between(random, -0.2, 0.2);
    let (size_x, size_y) = (between(random, 0.85, 1.15), between(random, 0.85, 1.15));
    let slant = between(random, -0.15, 0.15);
    let (move_x, move_y) = (between(random, -2.5, 2.5), between(random, -2.5, 2.5));
    let (contrast, light) = (between(random, 0.75, 1.15), between(random, -0.1, 0.1));
    let (sin, cos) = angle.sin_cos();
    let middle = (SIDE as f32 - 1.0) / 2.0;
    for i in 0..SIDE * SIDE {
        let (x, y) = ((i % SIDE) as f32 - middle - move_x, (i / SIDE) as f32 - middle - move_y);
        let x = x + slant * y;
        let (u, v) = ((cos * x - sin * y) * size_x + middle, (sin * x + cos * y) * size_y + middle);
        // Outside, the border goes on.
        let (u, v) = (u.clamp(0.0, SIDE as f32 - 1.0), v.clamp(0.0, SIDE as f32 - 1.0));
        let (u0, v0) = (u as usize, v as usize);
        let (u1, v1) = ((u0 + 1).min(SIDE - 1), (v0 + 1).min(SIDE - 1));
        let (a, b) = (u.fract(), v.fract());
        for c in 0..3 {
            let top = (1.0 - a) * at(u0, v0, c) + a * at(u1, v0, c);
            let bottom = (1.0 - a) * at(u0, v1, c) + a * at(u1, v1, c);
            out.push((contrast * ((1.0 - b) * top + b * bottom) + light).clamp(-1.0, 1.0));
        }
    }
    out
}
