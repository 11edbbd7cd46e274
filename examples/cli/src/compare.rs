//! `lichen compare`: what inputs share on their way through the sections.

use crate::args::CompareArgs;
use crate::failure::{Done, Failure};
use crate::input::Input;
use crate::output::{note, print, print_json};
use crate::{devices, load};
use lichen::session::RouteMap;
use serde_json::json;
use std::path::Path;

/// A word, a picture by its ending, or a sound by its ending.
fn input(text: &str) -> Done<Input> {
    let path = Path::new(text);
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "wav" => Input::words("").hearing(path),
        "png" | "jpg" | "jpeg" => Input::words("").seeing(path),
        _ => Ok(Input::words(text)),
    }
}

pub(crate) fn compare(args: &CompareArgs) -> Done {
    if args.model.list_devices {
        return devices::devices(false);
    }
    if args.inputs.len() < 2 {
        return Err(Failure::Usage("compare needs two inputs or more: words, .wav, .png or .jpg files".into()));
    }
    let model = load::model(&args.model)?;
    if model.config().sections == 0 {
        return Err(Failure::Failed("this model has no sections to compare: every token wakes all of it".into()));
    }
    let mut session = load::session(&model)?;
    let mut maps: Vec<RouteMap> = Vec::new();
    for text in &args.inputs {
        session.reset()?;
        let prompt = input(text)?.prompt(&model, false)?;
        maps.push(pollster::block_on(session.perceive_routed(&prompt))?);
    }
    let mut pairs = Vec::new();
    for (i, a) in maps.iter().enumerate() {
        for (j, b) in maps.iter().enumerate().skip(i + 1) {
            let (sets, heat) = a.overlap(b);
            pairs.push((i, j, sets, heat));
        }
    }
    if args.json {
        let pair = |&(i, j, sets, heat): &(usize, usize, f32, f32)| json!({ "a": args.inputs[i], "b": args.inputs[j], "jaccard": sets, "weighted_jaccard": heat });
        return print_json(&json!({ "pairs": pairs.iter().map(pair).collect::<Vec<_>>() }));
    }
    note("shared sections (Jaccard), and shared heat (weighted Jaccard), means over layers");
    for (i, j, sets, heat) in pairs {
        print(&format!("{sets:5.2} {heat:5.2}  {} ~ {}\n", args.inputs[i], args.inputs[j]))?;
    }
    Ok(())
}
