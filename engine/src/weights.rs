//! The buffers behind a model's weights: most tensors are one buffer; tables and sections too large for one
//! binding are split into parts that kernels walk one after the other.

use crate::checkpoint::unpack;
use crate::config::{Config, TensorSpec};
use crate::error::Error;
use crate::storage::Storage;
use bytemuck::Pod;
use lichen_host::{Buffer, Device, Role};
use lichen_shaders::kernel::Kind;
use lichen_shaders::packed::{self, Format};
use lichen_shaders::section_up_packed::{pack_slab, slab_words};
use std::collections::HashMap;

/// On a GPU a part stays within this many elements: 64 MiB, half of WebGPU's default binding.
const GPU_PART: usize = 16 << 20;
/// On the CPU parts only have to count in 32 bits.
const CPU_PART: usize = 1 << 31;

/// The name of the tensor in which sections of all layers lie when they come and go.
pub(crate) const ARENA: &str = "arena";

/// One tensor's buffers.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What it is.
    pub spec: TensorSpec,
    /// How its weights lie in the buffers; none for float32.
    pub format: Option<Format>,
    /// Rows (of the slowest axis) in every part but the last.
    pub rows: usize,
    /// Buffers in order.
    pub buffers: Vec<Buffer>,
}

/// Buffers of all weights, by tensor name.
#[derive(Clone, Debug)]
pub struct Weights {
    config: Config,
    /// Whether rows stay floats on the way, as gradients need them.
    pub(crate) floats: bool,
    order: Vec<String>,
    parts: HashMap<String, Parts>,
}

impl Weights {
    /// Declares the buffers of a config on a device, as its storage packs them or, without one, as the floats that
    /// training needs; nothing is allocated yet. With `places`, sections of all layers share an arena of so many.
    pub fn declare(config: &Config, storage: Option<Storage>, device: &Device, places: Option<usize>) -> Self {
        let part_len = if device.is_cpu() { CPU_PART } else { GPU_PART };
        let mut weights =
            Self { config: config.clone(), floats: storage.is_none(), order: Vec::new(), parts: HashMap::new() };
        let mut specs = config.tensors();
        if let (Some(places), Some(mut arena)) = (places, specs.iter().find(|t| t.is_sections()).cloned()) {
            specs.retain(|t| !t.is_sections());
            (arena.name, arena.shape[0]) = (ARENA.into(), places);
            specs.push(arena);
        }
        for spec in specs {
            let format = storage.and_then(|storage| storage.packing(config, &spec));
            let rows = spec.shape.first().copied().unwrap_or(1);
            let row_len = spec.len() / rows.max(1);
            // What a row takes, in words of its part.
            let words = |rows: usize| match format {
                None => rows * row_len,
                Some(format) if spec.is_sections() => rows * slab_words(format, config.neurons, config.width),
                Some(format) => format.words(rows * row_len),
            };
            // Only the token table and the sections may be walked in parts; everything else is far smaller.
            let per_part = match spec.name == "embed" || spec.is_sections() {
                // Views of logits start at multiples of 64 rows.
                true if spec.name == "embed" => (part_len / words(64).max(1) * 64).clamp(64, rows.max(64)),
                true => (part_len / words(1).max(1)).clamp(1, rows),
                false => rows,
            };
            let kind = if format.is_some() { Kind::Index } else { Kind::Real };
            let buffers = (0..rows.div_ceil(per_part))
                .map(|i| {
                    let len = words(per_part.min(rows - i * per_part));
                    let label = if per_part < rows { format!("{}.{i}", spec.name) } else { spec.name.clone() };
                    // An arena is used while it is not full.
                    let role = if spec.name == ARENA { Role::State } else { Role::Weight };
                    Buffer::new(label, kind, role, len)
                })
                .collect();
            weights.order.push(spec.name.clone());
            weights.parts.insert(spec.name.clone(), Parts { spec, format, rows: per_part, buffers });
        }
        weights
    }

    /// All tensors in file order.
    pub fn iter(&self) -> impl Iterator<Item = &Parts> {
        self.order.iter().filter_map(|name| self.parts.get(name))
    }
    /// One tensor's parts.
    pub fn parts(&self, name: &str) -> Result<&Parts, Error> {
        self.parts.get(name).ok_or_else(|| Error::Tensor {
            name: name.into(),
            got: "absent".into(),
            want: "part of the config".into(),
        })
    }
    /// The buffer of a tensor that is in one part.
    pub fn buffer(&self, name: &str) -> Result<&Buffer, Error> {
        Ok(&self.parts(name)?.buffers[0])
    }

    /// Copies a whole tensor to a device, packed as its buffers want it.
    pub fn upload(&self, device: &Device, name: &str, data: &[f32]) -> Result<(), Error> {
        let parts = self.parts(name)?;
        if data.len() != parts.spec.len() {
            let (got, want) = (format!("{} elements", data.len()), format!("{:?}", parts.spec.shape));
            return Err(Error::Tensor { name: name.into(), got, want });
        }
        let row_len = data.len() / parts.spec.shape.first().copied().unwrap_or(1).max(1);
        for (buffer, data) in parts.buffers.iter().zip(data.chunks(parts.rows * row_len)) {
            match parts.format {
                None => device.write(&buffer.view(), data)?,
                Some(format) if parts.spec.is_sections() => {
                    let (neurons, width) = (self.config.neurons, self.config.width);
                    let slab = |slab: &[f32]| pack_slab(format, neurons, width, &slab[..2 * neurons * width]);
                    let words: Vec<u32> = data.chunks(row_len).flat_map(slab).collect();
                    device.write(&buffer.view(), &words)?;
                }
                Some(format) => device.write(&buffer.view(), &packed::encode(format, data))?,
            }
        }
        Ok(())
    }

    /// Takes a tensor as it lies in the buffers of other weights, which from then on are those of both.
    pub(crate) fn share(&mut self, name: &str, other: &Self) -> Result<(), Error> {
        self.parts.insert(name.to_string(), other.parts(name)?.clone());
        Ok(())
    }

    /// The parts that hold a layer's sections: its own, or the arena.
    pub(crate) fn sections(&self, layer: usize) -> Result<&Parts, Error> {
        self.parts.get(ARENA).map_or_else(|| self.parts(&format!("layers.{layer}.sections")), Ok)
    }
    /// Whether sections come and go.
    pub(crate) fn paged(&self) -> bool {
        self.parts.contains_key(ARENA)
    }

    /// Copies a section to its place on a device, in the form that the buffers want: a stride of floats, or a slab of
    /// packed words.
    pub(crate) fn upload_slab<E: Pod>(
        &self,
        device: &Device,
        name: &str,
        place: usize,
        slab: &[E],
    ) -> Result<(), Error> {
        let parts = self.parts(name)?;
        let buffer = parts.buffers.get(place / parts.rows).ok_or_else(|| Error::Tensor {
            name: name.into(),
            got: format!("{} sections", parts.spec.shape[0]),
            want: format!("more than {place}"),
        })?;
        Ok(device.write(&buffer.slice(place % parts.rows * slab.len(), slab.len()), slab)?)
    }

    /// Copies the packed words of a whole matrix to a device; they must be of the format of its buffers.
    pub fn upload_words(&self, device: &Device, name: &str, words: &[u32]) -> Result<(), Error> {
        let parts = self.parts(name)?;
        let mismatch = |got: String| Error::Tensor { name: name.into(), got, want: format!("{:?}", parts.format) };
        let Some(format) = parts.format else { return Err(mismatch("packed words".into())) };
        if let [buffer] = &parts.buffers[..] {
            return Ok(device.write(&buffer.view(), words)?);
        }
        // Each part is a packed matrix of its own: its rows' quants, then its rows' scales.
        let row_len = parts.spec.shape[1];
        let (quants, scales) = words.split_at(format.quant_words(parts.spec.len()));
        let scales_of = |weights: usize| format.words(weights) - format.quant_words(weights);
        for (i, buffer) in parts.buffers.iter().enumerate() {
            let (first, end) = (i * parts.rows * row_len, ((i + 1) * parts.rows * row_len).min(parts.spec.len()));
            let part = [
                &quants[format.quant_words(first)..format.quant_words(end)],
                &scales[scales_of(first)..scales_of(end)],
            ];
            device.write(&buffer.view(), &part.concat())?;
        }
        Ok(())
    }

    /// Copies a whole tensor back from a device.
    pub async fn download(&self, device: &Device, name: &str) -> Result<Vec<f32>, Error> {
        let parts = self.parts(name)?;
        let row_len = parts.spec.len() / parts.spec.shape.first().copied().unwrap_or(1).max(1);
        let mut all = Vec::with_capacity(parts.spec.len());
        for buffer in &parts.buffers {
            let Some(format) = parts.format else {
                all.extend(device.read::<f32>(&buffer.view()).await?);
                continue;
            };
            let words = device.read::<u32>(&buffer.view()).await?;
            let mut spec = parts.spec.clone();
            spec.shape[0] = parts.rows.min(parts.spec.shape[0] - all.len() / row_len);
            all.extend(unpack(&self.config, &spec, format, &words));
        }
        Ok(all)
    }
}
