//! `lichen inspect`: what a model file is, without loading it.

use crate::args::InspectArgs;
use crate::failure::{Done, Failure};
use crate::output::{bytes, for_terminal, print, print_json, short};
use crate::{export, files, load};
use lichen::{Checkpoint, Header, Storage};
use serde_json::{Map, Value, json};

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

fn as_json(file: Option<String>, header: &Header, verified: Option<bool>) -> Value {
    let c = &header.config;
    let parts: Map<String, Value> =
        header.storage.parts().into_iter().map(|(part, held)| (part.into(), held.name().into())).collect();
    json!({
        "file": file, "id": header.id, "parent": header.parent, "grown_from": header.grown_from,
        "about": header.about, "bytes": header.file_len(),
        "storage": header.storage.to_string(), "parts": parts, "config": c, "tokenizer_tokens": header.tokenizer.vocab(),
        "total_params": c.total_params(), "active_params": c.active_params(),
        "active_section_share": c.active_section_share(), "active_bytes_per_token": header.storage.active_bytes(c),
        "resident_bytes": header.storage.resident_bytes(c),
        "sections": c.layers * c.sections, "section_bytes": header.storage.section_bytes(c),
        "hashes_ok": verified,
    })
}

/// The precision of all weights; of the others by name where they differ.
fn held(storage: Storage) -> String {
    let mut text = storage.sections.name().to_string();
    for (part, precision) in [("the token table", storage.embed), ("mixers", storage.mixer)] {
        if precision != storage.sections {
            text.push_str(&format!(", {part} as {}", precision.name()));
        }
    }
    text
}

fn as_text(name: &str, header: &Header, verified: Option<bool>) -> String {
    let c = &header.config;
    let mixer = serde_json::to_value(c.mixer).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default();
    let mut lines = vec![
        ("model", name.to_string()),
        ("id", header.id.clone()),
        ("about", for_terminal(&header.about).replace('\n', " ")),
        ("parent", header.parent.clone().unwrap_or_default()),
        ("file", format!("{}, weights as {}", bytes(header.file_len()), held(header.storage))),
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
        (
            "memory",
            format!(
                "{} on a device, {} read for a token",
                bytes(header.storage.resident_bytes(c)),
                bytes(header.storage.active_bytes(c))
            ),
        ),
        ("vocabulary", format!("{} tokens", c.vocab)),
    ];
    if verified == Some(true) {
        lines.push(("hashes", "all match, all weights are finite".into()));
    }
    let line = |(key, value): &(&str, String)| format!("{key:<11} {value}\n");
    lines.iter().filter(|(_, value)| !value.is_empty()).map(line).collect()
}
