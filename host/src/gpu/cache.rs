//! Compiled pipelines as bytes, so that a later process need not compile them again. Only Vulkan gives them out.

use super::context::Context;
use sha2::{Digest, Sha256};

/// Compiled pipelines of one kind of adapter.
pub(super) struct PipelineCache {
    /// Names adapter and backend; the driver's version is checked by the data itself.
    key: String,
    raw: wgpu::PipelineCache,
}

impl PipelineCache {
    /// The name under which an adapter's pipelines are kept; `None` where there is nothing to keep.
    pub(super) fn key(adapter: &wgpu::Adapter) -> Option<String> {
        let offered = adapter.features().contains(wgpu::Features::PIPELINE_CACHE);
        wgpu::util::pipeline_cache_key(&adapter.get_info()).filter(|_| offered)
    }

    /// A cache on a device that was opened for it, filled from `kept` where that is of use. Whatever is wrong with
    /// `kept`, or with the cache itself, only costs time.
    pub(super) fn open(context: &Context, key: String, kept: Option<&[u8]>) -> Option<Self> {
        let data = kept.and_then(|bytes| unsealed(&key, bytes));
        if let Some(kept) = kept.filter(|_| data.is_none()) {
            log::debug!("{}: {} bytes are no pipelines of {key}", context.name(), kept.len());
        }
        let attempts = [data, None];
        for data in &attempts[usize::from(data.is_none())..] {
            let descriptor = wgpu::PipelineCacheDescriptor { label: Some("lichen"), data: *data, fallback: true };
            // SAFETY: the seal says that this program wrote the data, whole, as it came from `get_data` of an adapter
            // of this key. wgpu and the driver check besides that it is of this driver's version.
            let raw = unsafe { context.device.create_pipeline_cache(&descriptor) };
            match context.check() {
                Ok(()) => return Some(Self { key, raw }),
                Err(error) => log::debug!("no pipeline cache: {error}"),
            }
        }
        None
    }

    /// What pipelines are made with.
    pub(super) fn raw(&self) -> &wgpu::PipelineCache {
        &self.raw
    }

    /// Key and bytes of all pipelines so far; `None` when the driver gives none.
    pub(super) fn contents(&self) -> Option<(String, Vec<u8>)> {
        Some((self.key.clone(), sealed(&self.key, &self.raw.get_data()?)))
    }
}

/// Drivers trust what they are given, and wgpu checks its head alone: the whole is therefore hashed.
fn hash(key: &str, data: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(key).chain_update([0]).chain_update(data).finalize().into()
}

pub(super) fn sealed(key: &str, data: &[u8]) -> Vec<u8> {
    [&hash(key, data)[..], data].concat()
}

fn unsealed<'a>(key: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (seal, data) = bytes.split_first_chunk::<32>()?;
    (*seal == hash(key, data)).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_data_of_its_own_key_passes() {
        let bytes = sealed("a", b"pipelines");
        assert_eq!(unsealed("a", &bytes), Some(&b"pipelines"[..]));
        assert_eq!(unsealed("b", &bytes), None);
        for damaged in [&bytes[..bytes.len() - 1], &bytes[..31], &[], &[&bytes[..], b"x"].concat()] {
            assert_eq!(unsealed("a", damaged), None);
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(unsealed("a", &flipped), None);
        }
    }
}
