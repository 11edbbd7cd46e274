//! Sounds and pictures of data sets, held small, and the changes that make many of one.

use crate::failure::{Done, Failure};
use crate::readers;
use half::f16;
use lichen::Random;
use lichen::data::{Example, SEEN};
use lichen::frontend::{BANDS, Picture, SIDE, SILENCE, Sound, hear, see};
use lichen::graph::PICTURE;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

/// Longest sound that is trained on, in frames: 6 seconds.
const MOST_FRAMES: usize = 600;

/// What stands at the place of an example.
#[derive(Clone)]
pub(crate) enum Sense {
    /// Frames [n, 40].
    Sound(Vec<f16>),
    /// Pixels [32, 32, channels], one or three.
    Picture(Vec<u8>),
}

impl Sense {
    /// The start of a sound, as long as what is trained on.
    pub(crate) fn sound(sound: &Sound) -> Self {
        let most = sound.frames.len().min(MOST_FRAMES * BANDS);
        Self::Sound(sound.frames[..most].iter().map(|&x| f16::from_f32(x)).collect())
    }
    /// A whole sound.
    pub(crate) fn whole(sound: &Sound) -> Self {
        Self::Sound(sound.frames.iter().map(|&x| f16::from_f32(x)).collect())
    }
    pub(crate) fn picture(picture: &Picture) -> Self {
        let level = |x: f32| (127.5 * (x + 1.0)).round() as u8;
        let pixels = picture.pixels.as_chunks::<3>().0;
        match pixels.iter().all(|[r, g, b]| r == g && g == b) {
            true => Self::Picture(pixels.iter().map(|p| level(p[0])).collect()),
            false => Self::Picture(pixels.as_flattened().iter().map(|&x| level(x)).collect()),
        }
    }
    /// Vectors that it takes.
    pub(crate) fn vectors(&self) -> usize {
        match self {
            Self::Sound(frames) => (frames.len() / BANDS).div_ceil(4),
            Self::Picture(_) => PICTURE,
        }
    }
    /// Bytes that tell it from others.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Sound(frames) => bytemuck::cast_slice(frames),
            Self::Picture(pixels) => pixels,
        }
    }
    /// Fills the place of an example, as it is or changed at random.
    pub(crate) fn fill(&self, example: &mut Example, random: Option<&mut Random>) {
        match self {
            Self::Sound(frames) => {
                let mut frames: Vec<f32> = frames.iter().map(|x| x.to_f32()).collect();
                if let Some(random) = random {
                    frames = vary_sound(&frames, random);
                }
                example.hear(&Sound { frames });
            }
            Self::Picture(pixels) => {
                let channels = pixels.len() / (SIDE * SIDE);
                let at = |x: usize, y: usize, c: usize| {
                    f32::from(pixels[(y * SIDE + x) * channels + c.min(channels - 1)]) / 127.5 - 1.0
                };
                example.widen(SEEN, PICTURE);
                match random {
                    Some(random) => vary_picture(at, random, &mut example.pictures),
                    None => {
                        example.pictures.extend((0..SIDE * SIDE * 3).map(|i| at(i / 3 % SIDE, i / 3 / SIDE, i % 3)))
                    }
                }
            }
        }
    }
}

/// Uniform between two numbers.
fn between(random: &mut Random, low: f32, high: f32) -> f32 {
    low + (high - low) * random.uniform() as f32
}

/// Another speed and voice, louder or softer, noise, silence around it, and a band and a stretch left out
/// (SpecAugment, arXiv 1904.08779).
fn vary_sound(frames: &[f32], random: &mut Random) -> Vec<f32> {
    // A band is -2 + SCALE ln(1 + e); sums and gains are exact where e is.
    let scale = 4.0 / 1e6f32.ln();
    let n = frames.len() / BANDS;
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

/// Turned, moved, scaled and slanted a little, brighter or darker.
fn vary_picture(at: impl Fn(usize, usize, usize) -> f32, random: &mut Random, out: &mut Vec<f32>) {
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
}

/// The files that a list of items names: beside it, or in an archive of the list's name.
pub(crate) struct Files {
    folder: PathBuf,
    packed: HashMap<String, Vec<u8>>,
}

impl Files {
    /// For `NAME.jsonl`: files of its folder, of `NAME.tar.xz` or of `NAME.zip`.
    pub(crate) fn beside(list: &Path) -> Done<Self> {
        let folder = list.parent().unwrap_or(Path::new("")).to_path_buf();
        let stem = list.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut packed = HashMap::new();
        let archive = folder.join(format!("{stem}.tar.xz"));
        if archive.is_file() {
            let cannot = |e: io::Error| Failure::file("read", &archive, &e);
            let mut bytes = Vec::new();
            let mut file = io::BufReader::new(File::open(&archive).map_err(cannot)?);
            lzma_rs::xz_decompress(&mut file, &mut bytes).map_err(|e| cannot(io::Error::other(format!("{e:?}"))))?;
            let mut tar = tar::Archive::new(Cursor::new(bytes));
            for entry in tar.entries().map_err(cannot)? {
                let mut entry = entry.map_err(cannot)?;
                let name = entry.path().map_err(cannot)?.to_string_lossy().into_owned();
                let mut data = Vec::new();
                entry.read_to_end(&mut data).map_err(cannot)?;
                packed.insert(name, data);
            }
        }
        let archive = folder.join(format!("{stem}.zip"));
        if archive.is_file() {
            let cannot = |e: io::Error| Failure::file("read", &archive, &e);
            let file = File::open(&archive).map_err(cannot)?;
            let mut zip = zip::ZipArchive::new(file).map_err(|e| cannot(e.into()))?;
            for i in 0..zip.len() {
                let mut entry = zip.by_index(i).map_err(|e| cannot(e.into()))?;
                let mut data = Vec::new();
                entry.read_to_end(&mut data).map_err(cannot)?;
                packed.insert(entry.name().to_string(), data);
            }
        }
        Ok(Self { folder, packed })
    }
    fn bytes(&self, name: &str) -> Done<Vec<u8>> {
        match self.packed.get(name) {
            Some(bytes) => Ok(bytes.clone()),
            None => {
                let path = self.folder.join(name);
                fs::read(&path).map_err(|e| Failure::file("read", &path, &e))
            }
        }
    }
    /// A WAV file of them.
    pub(crate) fn sound(&self, name: &str) -> Done<Sound> {
        hear(&self.bytes(name)?).map_err(Failure::with(name))
    }
    /// A PNG or JPEG file of them.
    pub(crate) fn picture(&self, name: &str) -> Done<Picture> {
        see(&self.bytes(name)?).map_err(Failure::with(name))
    }
}

/// The digits of an idx file of images (`..-images-idx3-ubyte.gz`) and the file of labels beside it.
pub(crate) fn digits(images: &Path) -> Done<Vec<(Picture, u8)>> {
    let bad = |what: &str| Failure::Failed(format!("{}: {what}", images.display()));
    let labels = PathBuf::from(images.to_string_lossy().replace("images-idx3", "labels-idx1"));
    let (pixels, labels) = (readers::bytes(images)?, readers::bytes(&labels)?);
    let size =
        |bytes: &[u8], at: usize| bytes.get(at..at + 4).map(|b| b.iter().fold(0usize, |n, &b| n << 8 | usize::from(b)));
    let sizes = (size(&pixels, 0), size(&pixels, 4), size(&pixels, 8), size(&pixels, 12));
    let (Some(0x803), Some(count), Some(rows), Some(columns)) = sizes else {
        return Err(bad("is no idx file of images"));
    };
    let each = rows * columns;
    let whole = each > 0 && Some(pixels.len()) == count.checked_mul(each).map(|n| n + 16);
    if !whole || size(&labels, 0) != Some(0x801) || labels.len() != count + 8 {
        return Err(bad("and its labels do not fit each other"));
    }
    let picture = |(pixels, &label): (&[u8], &u8)| {
        Picture::from_gray(pixels, columns, rows).map(|picture| (picture, label)).map_err(Failure::with("digits"))
    };
    pixels[16..].chunks(each).zip(&labels[8..]).map(picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lichen::data::HEARD;

    fn example(place: u32) -> Example {
        Example { ids: vec![1, place, 2], weights: vec![0.0, 0.0, 1.0], ..Example::default() }
    }

    #[test]
    fn what_is_unchanged_is_what_the_front_end_gives() {
        let samples: Vec<f32> = (0..9000).map(|i| (i as f32 * 0.1).sin() * 0.3).collect();
        let sound = Sound::from_samples(&samples, 16_000).expect("a sound");
        let mut heard = example(HEARD);
        Sense::sound(&sound).fill(&mut heard, None);
        assert_eq!(heard.ids.len(), 2 + sound.vectors());
        let windows = sound.windows();
        assert!(heard.sounds.iter().zip(&windows).all(|(a, b)| (a - b).abs() < 2e-3));
        let colours: Vec<u8> = (0..32 * 32 * 3).map(|i| (i * 7 % 251) as u8).collect();
        let picture = Picture::from_rgb(&colours, 32, 32).expect("a picture");
        let mut seen = example(SEEN);
        Sense::picture(&picture).fill(&mut seen, None);
        assert_eq!(seen.ids.len(), 2 + PICTURE);
        assert!(seen.pictures.iter().zip(&picture.pixels).all(|(a, b)| (a - b).abs() < 1e-2));
    }

    #[test]
    fn changes_stay_within_what_the_front_ends_can_give() {
        let samples: Vec<f32> = (0..20_000).map(|i| (i as f32 * 0.05).sin()).collect();
        let sound = Sense::sound(&Sound::from_samples(&samples, 16_000).expect("a sound"));
        let gray = Sense::picture(&Picture::from_gray(&[255; 9], 3, 3).expect("a picture"));
        let mut random = Random::new(5);
        for _ in 0..50 {
            let (mut heard, mut seen) = (example(HEARD), example(SEEN));
            sound.fill(&mut heard, Some(&mut random));
            gray.fill(&mut seen, Some(&mut random));
            assert!(heard.sounds.iter().all(|x| (-2.0..5.0).contains(x)));
            assert_eq!(heard.ids.iter().filter(|&&id| id == HEARD).count() * 280, heard.sounds.len());
            assert!(seen.pictures.iter().all(|x| (-1.0..=1.0).contains(x)));
            assert_eq!(seen.pictures.len(), 32 * 32 * 3);
        }
    }
}
