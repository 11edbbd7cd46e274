//! `lichen inspect`: what a model file is, without loading it.

use crate::args::InspectArgs;
use crate::failure::{Done, Failure};
use crate::output::{bytes, for_terminal, print, print_json, short};
use crate::{export, files, load};
use lichen::{Checkpoint, Config, Header, Storage};
use serde_json::{Value, json};

/// Weights are float32 on every device, however they are stored.
const RESIDENT_BYTES: u64 = 4;

/// Bytes of weights in a device's memory.
pub(crate) struct Resident {
    /// What one token reads at most: of a suppressed neuron only the up half is read.
    pub(crate) active: u64,
    /// All of them.
    pub(crate) total: u64,
}

/// The bytes of a model's weights on a device: the one place that knows how they lie there.
pub(crate) fn resident(config: &Config, _storage: Storage) -> Resident {
    Resident { active: RESIDENT_BYTES * config.active_params(), total: RESIDENT_BYTES * config.total_params() }
}

pub(crate) fn inspect(args: &InspectArgs) -> Done {
    let path = args.file.as_deref().or(args.model.as_deref());
    let file = load::bytes(path)?;
    let header = load::header(path, &file)?;
    let checkpoint = match args.verify || args.export.is_some() {
        true => {
            let cannot = Failure::with(format!("cannot use {}", load::name(path)));
            Some(Checkpoint::parse(&file).map_err(cannot)?)
        }
        false => None,
    };
    if let (Some(out), Some(checkpoint)) = (&args.export, &checkpoint) {
        files::check_writable(out)?;
        files::may_overwrite(out, args.yes)?;
        export::write(checkpoint, out)?;
    }
    let verified = checkpoint.map(|_| true);
    match args.json {
        true => print_json(&as_json(path.map(|p| p.display().to_string()), &header, verified)),
        false => print(&as_text(&load::name(path), &header, verified)),
    }
}

pub(crate) fn storage(header: &Header) -> &'static str {
    match header.storage {
        Storage::F32 => "f32",
        Storage::F16 => "f16",
    }
}

fn as_json(file: Option<String>, header: &Header, verified: Option<bool>) -> Value {
    let c = &header.config;
    json!({
        "file": file, "id": header.id, "parent": header.parent, "about": header.about, "bytes": header.file_len(),
        "storage": storage(header), "config": c, "tokenizer_tokens": header.tokenizer.vocab(),
        "total_params": c.total_params(), "active_params": c.active_params(),
        "active_section_share": c.active_section_share(), "active_bytes_per_token": resident(c, header.storage).active,
        "sections": c.layers * c.sections, "section_bytes": RESIDENT_BYTES as usize * c.stride(),
        "hashes_ok": verified,
    })
}

fn as_text(name: &str, header: &Header, verified: Option<bool>) -> String {
    let c = &header.config;
    let mixer = serde_json::to_value(c.mixer).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default();
    let mut lines = vec![
        ("model", name.to_string()),
        ("id", header.id.clone()),
        ("about", for_terminal(&header.about).replace('\n', " ")),
        ("parent", header.parent.clone().unwrap_or_default()),
        ("file", format!("{}, weights as {}", bytes(header.file_len()), storage(header))),
        ("weights", format!("{} in all, {} active for a token", short(c.total_params()), short(c.active_params()))),
        (
            "layers",
            format!("{} of width {}, mixer {mixer}, {} heads of {} x {}", c.layers, c.width, c.heads, c.key, c.value),
        ),
        (
            "sections",
            format!(
                "{} a layer, {} of them woken, {} neurons each, {} neurons shared: {:.1}% active",
                c.sections,
                c.picks,
                c.neurons,
                c.shared,
                100.0 * c.active_section_share()
            ),
        ),
        ("reads", format!("{} a token", bytes(resident(c, header.storage).active))),
        ("vocabulary", format!("{} tokens", c.vocab)),
    ];
    if verified == Some(true) {
        lines.push(("hashes", "all match, all weights are finite".into()));
    }
    let line = |(key, value): &(&str, String)| format!("{key:<11} {value}\n");
    lines.iter().filter(|(_, value)| !value.is_empty()).map(line).collect()
}
