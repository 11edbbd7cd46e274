//! `lichen inspect --export`: the weights as plain named float32 tensors, for other tools.

use crate::failure::{Done, Failure};
use crate::files;
use lichen::Checkpoint;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// A tensor of the export: name, shape, bytes.
type Plain = (String, Vec<usize>, Vec<u8>);

/// Writes all tensors. A layer's sections become `NAME.up` and `NAME.down`, both [sections, neurons, width]: row n of
/// `up` makes neuron n's value, row n of `down` is what it adds. The shared sections come first.
pub(crate) fn write(checkpoint: &Checkpoint, path: &Path) -> Done {
    let bad = |e: safetensors::SafeTensorError| Failure::Failed(format!("cannot export {}: {e}", path.display()));
    let plain = tensors(checkpoint)?;
    let mut views = Vec::with_capacity(plain.len());
    for (name, shape, bytes) in &plain {
        views.push((name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(bad)?));
    }
    let config = serde_json::to_string(checkpoint.config()).unwrap_or_default();
    let about = HashMap::from([
        ("config".to_string(), config),
        ("tokenizer".to_string(), checkpoint.tokenizer().to_json()),
        ("about".to_string(), checkpoint.about().to_string()),
        ("exported_from".to_string(), checkpoint.header.id.clone()),
    ]);
    let bytes = safetensors::serialize(views, Some(about)).map_err(bad)?;
    files::write(path, |out| out.write_all(&bytes).map_err(|e| Failure::file("write", path, &e)))
}

fn tensors(checkpoint: &Checkpoint) -> Done<Vec<Plain>> {
    let config = checkpoint.config();
    let half = config.neurons * config.width;
    let mut all = Vec::new();
    for spec in config.tensors() {
        let missing = || Failure::Failed(format!("the model has no tensor {}", spec.name));
        let data = checkpoint.tensor(&spec.name).ok_or_else(missing)?;
        if !spec.is_sections() {
            all.push((spec.name, spec.shape, bytemuck::cast_slice(data).to_vec()));
            continue;
        }
        let shape = vec![config.all_sections(), config.neurons, config.width];
        for (part, from) in [("up", 0), ("down", half)] {
            let rows = data.chunks(config.stride()).flat_map(|slab| &slab[from..from + half]);
            let bytes = rows.flat_map(|x| x.to_le_bytes()).collect();
            all.push((format!("{}.{part}", spec.name), shape.clone(), bytes));
        }
    }
    Ok(all)
}
