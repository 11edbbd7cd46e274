//! The buffers behind a model's weights: most tensors are one buffer; tables and sections too large for one
//! binding are split into parts that kernels walk one after the other.

use crate::config::{Config, TensorSpec};
use crate::error::Error;
use lichen_host::{Buffer, Device, Role};
use lichen_shaders::kernel::Kind;
use std::collections::HashMap;

/// On a GPU a part stays within this many elements: 64 MiB, half of WebGPU's default binding.
const GPU_PART: usize = 16 << 20;
/// On the CPU parts only have to count in 32 bits.
const CPU_PART: usize = 1 << 31;

/// One tensor's buffers.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What it is.
    pub spec: TensorSpec,
    /// Rows (of the slowest axis) in every part but the last.
    pub rows: usize,
    /// Buffers in order.
    pub buffers: Vec<Buffer>,
}

/// Buffers of all weights, by tensor name.
#[derive(Clone, Debug)]
pub struct Weights {
    order: Vec<String>,
    parts: HashMap<String, Parts>,
}

impl Weights {
    /// Declares the buffers of a config on a device; nothing is allocated yet.
    pub fn declare(config: &Config, device: &Device) -> Self {
        let part_len = if device.is_cpu() { CPU_PART } else { GPU_PART };
        let mut weights = Self { order: Vec::new(), parts: HashMap::new() };
        for spec in config.tensors() {
            let rows = spec.shape.first().copied().unwrap_or(1);
            let row_len = spec.len() / rows.max(1);
            // Only the token table and the sections may be walked in parts; everything else is far smaller.
            let per_part = match spec.name == "embed" || spec.is_sections() {
                // Views of logits start at multiples of 64 rows.
                true if spec.name == "embed" => (part_len / row_len.max(1) / 64 * 64).clamp(64, rows.max(64)),
                true => (part_len / row_len.max(1)).clamp(1, rows),
                false => rows,
            };
            let buffers = (0..rows.div_ceil(per_part))
                .map(|i| {
                    let len = per_part.min(rows - i * per_part) * row_len;
                    let label = if per_part < rows { format!("{}.{i}", spec.name) } else { spec.name.clone() };
                    Buffer::new(label, Kind::Real, Role::Weight, len)
                })
                .collect();
            weights.order.push(spec.name.clone());
            weights.parts.insert(spec.name.clone(), Parts { spec, rows: per_part, buffers });
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

    /// Copies a whole tensor to a device.
    pub fn upload(&self, device: &Device, name: &str, data: &[f32]) -> Result<(), Error> {
        let parts = self.parts(name)?;
        if data.len() != parts.spec.len() {
            let (got, want) = (format!("{} elements", data.len()), format!("{:?}", parts.spec.shape));
            return Err(Error::Tensor { name: name.into(), got, want });
        }
        let mut rest = data;
        for buffer in &parts.buffers {
            let (head, tail) = rest.split_at(buffer.len());
            device.write(&buffer.view(), head)?;
            rest = tail;
        }
        Ok(())
    }
    /// Copies a whole tensor back from a device.
    pub async fn download(&self, device: &Device, name: &str) -> Result<Vec<f32>, Error> {
        let mut all = Vec::new();
        for buffer in &self.parts(name)?.buffers {
            all.extend(device.read::<f32>(&buffer.view()).await?);
        }
        Ok(all)
    }
}
