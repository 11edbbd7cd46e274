//! How weights are stored: a precision for each part of a model, and what follows from it for every tensor, in files
//! and in the memory of devices.

use crate::config::{Config, Mixer, TensorSpec};
use crate::error::Error;
use crate::header::{Dtype, shorten};
use lichen_shaders::packed::Format;
use lichen_shaders::section_up_packed::slab_words;
use std::fmt;
use std::str::FromStr;

/// How the weights of a part are stored. Norms, biases, rates and convolutions are always float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Float32: exact.
    F32,
    /// Half precision: half the bytes. Router rows stay float32.
    F16,
    /// 8 bits and a scale for every 32 neighbours: 8.5 bits a weight.
    Q8,
    /// 4 bits and a scale: 4.5 bits a weight. The router and the low-rank projections keep 8.
    Q4,
}

/// How the weights of a model are stored. Its text, in files and on the command line, is the precision of the sections
/// and what differs from it: `q4`, `q4+embed=q8`, `q4+embed=q8+mixer=f16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Sections, one precision for all of them since their slabs have one size, and the router that picks them.
    pub sections: Precision,
    /// The token table, which is the head as well.
    pub embed: Precision,
    /// The recurrent blocks.
    pub mixer: Precision,
}

impl Precision {
    /// Every precision, by its name.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::F32, "f32"), (Self::F16, "f16"), (Self::Q8, "q8"), (Self::Q4, "q4")];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(p, _)| *p == self).map_or("", |(_, name)| name)
    }

    fn packing(self, config: &Config, spec: &TensorSpec) -> Option<Format> {
        let columns = if spec.is_sections() { config.width } else { spec.shape.get(1).copied().unwrap_or(1) };
        // Products in diagonal blocks have no packed form; and only matrices tolerate rounding.
        let blocks = config.mixer == Mixer::Mcsd && is_mixer(spec);
        let rows = spec.name.ends_with("route.rows");
        let wanted = match self {
            _ if !spec.decays || blocks || is_stem(spec) => None,
            // One row a section, all of them read for every token: the only bytes that grow with the model.
            _ if rows => Some(Format::Q8),
            Precision::F32 => None,
            Precision::F16 => Some(Format::F16),
            Precision::Q8 => Some(Format::Q8),
            Precision::Q4 => {
                let small = [".route.project", ".mix.decay", ".mix.gate"];
                Some(if small.iter().any(|end| spec.name.ends_with(end)) { Format::Q8 } else { Format::Q4 })
            }
        }?;
        // Rows too short for a block: the low-rank projections of small models.
        let fits = |format: Format| columns.is_multiple_of(format.multiple());
        let halves = Some(Format::F16).filter(|_| !(rows && self.floats()));
        Some(wanted).filter(|&f| fits(f)).or(halves.filter(|&f| fits(f)))
    }
    fn floats(self) -> bool {
        matches!(self, Precision::F32 | Precision::F16)
    }
    /// Whether a tensor that no device holds packed is stored in half precision all the same.
    fn halves(self, spec: &TensorSpec) -> bool {
        self != Precision::F32 && spec.decays && !spec.name.ends_with("route.rows")
    }
}

/// The stems run once for what is heard or seen, not for every token: they are small and stay as they are.
fn is_stem(spec: &TensorSpec) -> bool {
    ["hear.", "see.", "turn."].iter().any(|stem| spec.name.starts_with(stem))
}

fn is_mixer(spec: &TensorSpec) -> bool {
    spec.name.contains(".mix.")
}

impl Storage {
    /// Float32 throughout: exact.
    pub const F32: Self = Self::all(Precision::F32);
    /// Half precision throughout.
    pub const F16: Self = Self::all(Precision::F16);
    /// 8 bits throughout.
    pub const Q8: Self = Self::all(Precision::Q8);
    /// 4 bits throughout.
    pub const Q4: Self = Self::all(Precision::Q4);
    /// One precision for all parts, by name.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::F32, "f32"), (Self::F16, "f16"), (Self::Q8, "q8"), (Self::Q4, "q4")];

    /// One precision for all parts.
    pub const fn all(precision: Precision) -> Self {
        Self { sections: precision, embed: precision, mixer: precision }
    }
    /// Its parts by name.
    pub fn parts(self) -> [(&'static str, Precision); 3] {
        [("sections", self.sections), ("embed", self.embed), ("mixer", self.mixer)]
    }
    /// The precision of the part that a tensor belongs to.
    pub(crate) fn of(self, spec: &TensorSpec) -> Precision {
        match spec.name.as_str() {
            "embed" => self.embed,
            _ if is_mixer(spec) => self.mixer,
            _ => self.sections,
        }
    }

    /// How a tensor lies in the memory of a device that generates: packed, or as float32.
    pub fn packing(self, config: &Config, spec: &TensorSpec) -> Option<Format> {
        self.of(spec).packing(config, spec)
    }
    /// The same in a file, where floats stay floats: training goes on from there.
    pub(crate) fn packing_in_file(self, config: &Config, spec: &TensorSpec) -> Option<Format> {
        let floats = self.of(spec).floats();
        self.packing(config, spec).filter(|&format| !floats || format == Format::F16)
    }

    /// Bytes of one section in a device's memory.
    pub fn section_bytes(self, config: &Config) -> u64 {
        4 * match self.packing_of_sections(config) {
            None => config.stride() as u64,
            Some(format) => slab_words(format, config.neurons, config.width) as u64,
        }
    }
    fn packing_of_sections(self, config: &Config) -> Option<Format> {
        config.tensors().iter().find(|t| t.is_sections()).and_then(|t| self.packing(config, t))
    }
    fn bytes_of(self, config: &Config, sections: usize) -> u64 {
        let tensor = |spec: &TensorSpec| match self.packing(config, spec) {
            _ if spec.is_sections() => sections as u64 * self.section_bytes(config),
            None => 4 * spec.len() as u64,
            Some(format) => 4 * format.words(spec.len()) as u64,
        };
        config.tensors().iter().map(tensor).sum()
    }
    /// Bytes of all weights in a device's memory.
    pub fn resident_bytes(self, config: &Config) -> u64 {
        self.bytes_of(config, config.all_sections())
    }
    /// Bytes of the weights that one token reads: mixers, router, shared and picked sections, and the tied table once.
    pub fn active_bytes(self, config: &Config) -> u64 {
        self.bytes_of(config, config.slots())
    }

    /// Bytes of one section's slab in a file: a multiple of 256.
    pub(crate) fn slab_bytes(self, config: &Config) -> u64 {
        let half = config.neurons * config.width;
        let bytes = match self.sections {
            Precision::F32 => 8 * half,
            Precision::F16 => 4 * half,
            Precision::Q8 => 4 * slab_words(Format::Q8, config.neurons, config.width),
            Precision::Q4 => 4 * slab_words(Format::Q4, config.neurons, config.width),
        };
        (bytes as u64).next_multiple_of(256)
    }

    /// Element type, shape in the file and bytes of a tensor.
    pub(crate) fn layout(self, config: &Config, spec: &TensorSpec) -> (Dtype, Vec<u64>, u64) {
        let shape: Vec<u64> = spec.shape.iter().map(|&n| n as u64).collect();
        let len = spec.len() as u64;
        if spec.is_sections() {
            let slab = self.slab_bytes(config);
            return (Dtype::U8, vec![shape[0], slab], shape[0] * slab);
        }
        match self.packing_in_file(config, spec) {
            Some(format @ (Format::Q8 | Format::Q4)) => {
                let bytes = 4 * format.words(spec.len()) as u64;
                (Dtype::U8, vec![bytes], bytes)
            }
            Some(Format::F16) => (Dtype::F16, shape, len * 2),
            None if self.of(spec).halves(spec) => (Dtype::F16, shape, len * 2),
            None => (Dtype::F32, shape, len * 4),
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sections.name())?;
        let others = self.parts().into_iter().filter(|(_, precision)| *precision != self.sections);
        others.into_iter().try_for_each(|(part, precision)| write!(f, "+{part}={}", precision.name()))
    }
}

impl FromStr for Storage {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Config {
            field: "storage",
            got: shorten(text),
            rule:
                "must be f32, f16, q8 or q4, and +embed=.. or +mixer=.. where the token table or the recurrent blocks \
                   differ"
                    .into(),
        };
        let precision = |name: &str| Precision::ALL.iter().find(|(_, n)| *n == name).map(|(p, _)| *p).ok_or_else(bad);
        let (rest, parts) = text.split_once('+').map_or((text, None), |(rest, parts)| (rest, Some(parts)));
        let rest = precision(rest)?;
        let (mut embed, mut mixer) = (None, None);
        for part in parts.into_iter().flat_map(|parts| parts.split('+')) {
            let (slot, name) = match part.split_once('=') {
                Some(("embed", name)) => (&mut embed, name),
                Some(("mixer", name)) => (&mut mixer, name),
                _ => return Err(bad()),
            };
            if slot.replace(precision(name)?).is_some() {
                return Err(bad());
            }
        }
        Ok(Self { sections: rest, embed: embed.unwrap_or(rest), mixer: mixer.unwrap_or(rest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;
    use lichen_host::Device;

    const PRECISIONS: [Precision; 4] = [Precision::F32, Precision::F16, Precision::Q8, Precision::Q4];

    fn every() -> impl Iterator<Item = Storage> {
        let pairs = PRECISIONS.into_iter().flat_map(|a| PRECISIONS.map(|b| (a, b)));
        pairs.flat_map(|(sections, embed)| PRECISIONS.map(|mixer| Storage { sections, embed, mixer }))
    }

    #[test]
    fn names_come_back_and_others_are_refused() {
        for storage in every() {
            assert_eq!(storage.to_string().parse::<Storage>().expect("its own name"), storage);
        }
        for (storage, name) in Storage::ALL {
            assert_eq!(storage.to_string(), name);
        }
        let mixed = Storage { embed: Precision::Q8, mixer: Precision::F16, ..Storage::Q4 };
        assert_eq!(mixed.to_string(), "q4+embed=q8+mixer=f16");
        assert_eq!("q4+mixer=f16+embed=q8".parse::<Storage>().expect("in any order"), mixed);
        for bad in [
            "",
            "q5",
            "Q4",
            "q4 ",
            "q4+",
            "+embed=q8",
            "q4+q8",
            "q4+embed",
            "q4+embed=",
            "q4+embed=q5",
            "q4+table=q8",
            "q4+sections=q8",
            "q4+embed=q8=q8",
            "q4+embed=q8+embed=q8",
            "q4\n+embed=q8",
        ] {
            let error = bad.parse::<Storage>().expect_err(bad);
            assert!(matches!(&error, Error::Config { field: "storage", .. }), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn bytes_are_those_of_the_buffers() {
        let mcsd = Config { mixer: Mixer::Mcsd, ..Config::nano() };
        let dense = Config { sections: 0, picks: 0, ..Config::nano() };
        for (config, storage) in [Config::nano(), Config::small(), mcsd, dense]
            .into_iter()
            .flat_map(|c| every().map(move |s| (c.clone(), s)))
        {
            let weights = Weights::declare(&config, Some(storage), &Device::cpu(1), None);
            let held: usize = weights.iter().flat_map(|parts| &parts.buffers).map(|buffer| 4 * buffer.len()).sum();
            assert_eq!(storage.resident_bytes(&config), held as u64, "{storage}");
            let asleep = ((config.sections - config.picks) * config.layers) as u64 * storage.section_bytes(&config);
            assert_eq!(storage.active_bytes(&config), held as u64 - asleep, "{storage}");
        }
    }

    #[test]
    fn a_part_differs_in_its_own_tensors_alone() {
        let config = Config::bench160();
        let mixed = Storage { embed: Precision::Q8, mixer: Precision::F16, ..Storage::Q4 };
        for spec in config.tensors() {
            let like = match spec.name.as_str() {
                "embed" => Storage::Q8,
                name if name.contains(".mix.") => Storage::F16,
                _ => Storage::Q4,
            };
            assert_eq!(mixed.packing(&config, &spec), like.packing(&config, &spec), "{}", spec.name);
            assert_eq!(mixed.layout(&config, &spec), like.layout(&config, &spec), "{}", spec.name);
        }
        // Four bits more for each weight of the table.
        let [q4, mixed] =
            [Storage::Q4, Storage { embed: Precision::Q8, ..Storage::Q4 }].map(|s| s.active_bytes(&config));
        assert_eq!(mixed - q4, (config.vocab * config.width) as u64 / 2);
    }
}
