//! Sounds and pictures of data sets, held small.

use crate::failure::{Done, Failure};
use crate::readers;
use half::f16;
use lichen::Random;
use lichen::data::Example;
use lichen::frontend::{BANDS, Picture, SIDE, Sound, hear, see};
use lichen::graph::PICTURE;
use lichen::learn::Shown;
use serde::Deserialize;
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
    /// Of what the model takes.
    pub(crate) fn of(shown: &Shown) -> Self {
        match shown {
            Shown::Sound(sound) => Self::whole(sound),
            Shown::Picture(picture) => Self::picture(picture),
        }
    }
    /// As the model takes it.
    pub(crate) fn shown(&self) -> Shown {
        match self {
            Self::Sound(frames) => Shown::Sound(Sound { frames: frames.iter().map(|x| x.to_f32()).collect() }),
            Self::Picture(pixels) => {
                let channels = pixels.len() / (SIDE * SIDE);
                let level = |i: usize| pixels[i / 3 * channels + (i % 3).min(channels - 1)];
                let pixels = (0..SIDE * SIDE * 3).map(|i| f32::from(level(i)) / 127.5 - 1.0).collect();
                Shown::Picture(Picture { pixels })
            }
        }
    }
    /// Fills the place of an example, as it is or changed at random.
    pub(crate) fn fill(&self, example: &mut Example, random: Option<&mut Random>) {
        match random {
            Some(random) => self.shown().varied(random).fill(example),
            None => self.shown().fill(example),
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
    /// A WAV, PNG or JPEG file of them, by its name.
    pub(crate) fn sense(&self, name: &str) -> Done<Sense> {
        match Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("wav")) {
            true => Ok(Sense::sound(&self.sound(name)?)),
            false => Ok(Sense::picture(&self.picture(name)?)),
        }
    }
    /// A PNG or JPEG file of them.
    pub(crate) fn picture(&self, name: &str) -> Done<Picture> {
        see(&self.bytes(name)?).map_err(Failure::with(name))
    }
}

/// About so many sounds or pictures of a list, evenly spread: an idx file of images, or JSON lines that name a `file`.
pub(crate) fn sample(list: &Path, most: usize) -> Done<Vec<Sense>> {
    if is_digits(list) {
        let all = digits(list)?;
        return Ok(all.iter().step_by(all.len().div_ceil(most).max(1)).map(|(p, _)| Sense::picture(p)).collect());
    }
    let (from, all) = (Files::beside(list)?, readers::lines::<Line>(list)?);
    all.iter().step_by(all.len().div_ceil(most).max(1)).map(|line| from.sense(&line.file)).collect()
}

/// All sounds or pictures of such a list, with what they are.
pub(crate) fn labelled(list: &Path) -> Done<Vec<(Sense, String)>> {
    if is_digits(list) {
        return Ok(digits(list)?.iter().map(|(p, label)| (Sense::picture(p), label.to_string())).collect());
    }
    let from = Files::beside(list)?;
    let item = |line: Line| {
        let label = line.name.or(line.label).or(line.word);
        let label = label.ok_or_else(|| Failure::Failed(format!("{} has no name, label or word", line.file)))?;
        Ok((from.sense(&line.file)?, label))
    };
    readers::lines::<Line>(list)?.into_iter().map(item).collect()
}

/// A line of a list of sounds or pictures.
#[derive(Deserialize)]
struct Line {
    file: String,
    name: Option<String>,
    label: Option<String>,
    word: Option<String>,
}

/// Whether a list is an idx file of images.
pub(crate) fn is_digits(list: &Path) -> bool {
    list.file_name().is_some_and(|name| name.to_string_lossy().contains("idx3"))
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
    use lichen::data::{HEARD, SEEN};

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
