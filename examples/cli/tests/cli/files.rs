//! Model files: made, shown, damaged.

use crate::{Ran, file, lichen, model, text, tiny};
use std::fs;

fn run(path: &str) -> Ran {
    lichen(&["run", "-m", path, "-p", "a", "-n", "1", "--device", "cpu"])
}

#[test]
fn inspect_has_the_keys_that_scripts_rely_on() {
    let json = lichen(&["inspect", &model(), "--verify", "--json"]).json();
    for key in ["total_params", "active_params", "active_bytes_per_token"] {
        assert!(json[key].as_u64() > Some(0), "{key}: {json}");
    }
    assert!(json["active_section_share"].as_f64() > Some(0.0), "{json}");
    assert!(json["config"]["width"] == 64 && json["hashes_ok"] == true && json["id"].is_string(), "{json}");
    assert!(lichen(&["inspect", "-m", &model(), "--json"]).json()["hashes_ok"].is_null());
    assert!(lichen(&["inspect", &model()]).ok().out.contains("sections"));
}

#[test]
fn exports_are_plain_tensors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = text(&folder.path().join("plain.safetensors"));
    lichen(&["inspect", &model(), "--export", &out]).ok();
    let bytes = fs::read(&out).expect("was written");
    let plain = safetensors::SafeTensors::deserialize(&bytes).expect("is safetensors");
    let up = plain.tensor("layers.1.sections.up").expect("is there");
    assert_eq!((up.shape(), up.dtype()), (&[9, 8, 64][..], safetensors::Dtype::F32));
    assert_eq!(plain.tensor("embed").expect("is there").shape(), [260, 64]);
    lichen(&["inspect", &model(), "--export", &out]).fails(1, &["--yes"]);
    lichen(&["inspect", &model(), "--export", &out, "--yes"]).ok();
}

#[test]
fn damaged_files_are_named_and_refused() {
    let good = fs::read(model()).expect("reads");
    let header = u64::from_le_bytes(good[..8].try_into().expect("eight bytes")) as usize;
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let oversized = [&u64::MAX.to_le_bytes()[..], &good[8..]].concat();
    let foreign = {
        let data = [0u8; 16];
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![4], &data).expect("is a tensor");
        safetensors::serialize([("weight", view)], None).expect("is written")
    };
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("text", b"# Read me\n\nNot a model at all, but long enough to look like one.\n".to_vec()),
        ("cut in the length", good[..5].to_vec()),
        ("cut in the header", good[..header / 2].to_vec()),
        ("cut in the weights", good[..good.len() - 10].to_vec()),
        ("longer", [&good[..], b"more"].concat()),
        ("oversized header", oversized),
        ("of another program", foreign),
        ("flipped in the header", flipped(20)),
        ("flipped in the first weight", flipped(header + 8)),
        ("flipped in the last weight", flipped(good.len() - 1)),
    ] {
        let (_folder, path) = file("bad.safetensors", &bytes);
        println!("{what}");
        run(&path).fails(1, &["bad.safetensors"]);
        lichen(&["inspect", &path, "--verify"]).fails(1, &["bad.safetensors"]);
    }
    run("/no/such/model").fails(1, &["/no/such/model", "no such file"]);
    run(&text(tiny())).fails(1, &["folder"]);
}

#[test]
fn weights_that_are_not_numbers_are_refused() {
    // A correct file in every other way: the hash is that of the NaN.
    let good = fs::read(model()).expect("reads");
    let header = u64::from_le_bytes(good[..8].try_into().expect("eight bytes")) as usize;
    let mut json: serde_json::Value = serde_json::from_slice(&good[8..8 + header]).expect("is JSON");
    let offsets = &json["norm"]["data_offsets"];
    let at = |i: usize| 8 + header + offsets[i].as_u64().expect("a number") as usize;
    let (from, to) = (at(0), at(1));
    let mut data = good.clone();
    data[from..from + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    json["__metadata__"]["sha256.norm"] = sha256(&data[from..to]).into();
    let mut text = serde_json::to_vec(&json).expect("is written");
    text.resize((text.len() + 8).next_multiple_of(64) - 8, b' ');
    let bytes = [&(text.len() as u64).to_le_bytes()[..], &text, &data[8 + header..]].concat();
    let (_folder, path) = file("nan.safetensors", &bytes);
    run(&path).fails(1, &["nan.safetensors", "norm", "NaN"]);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn new_models_are_repeatable_and_never_overwrite_unasked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = text(&tiny().join("tiny.json"));
    let path = |name: &str| text(&folder.path().join(name));
    let new = |name: &str, seed: &str, more: &[&str]| {
        lichen(&[&["new", "--config", &config, "--out", &path(name), "--seed", seed], more].concat())
    };
    new("a", "1", &[]).ok();
    new("b", "1", &[]).ok();
    new("c", "1", &["--storage", "f32"]).ok();
    let read = |name: &str| fs::read(path(name)).expect("is there");
    assert_eq!(read("a"), read("b"));
    assert!(read("c").len() > read("a").len());
    new("a", "2", &[]).fails(1, &["--yes"]);
    assert_eq!(read("a"), read("b"));
    new("a", "2", &["--yes"]).ok();
    assert_ne!(read("a"), read("b"));
    new("no/such/folder/a", "1", &[]).fails(1, &["does not exist"]);
    new("", "1", &[]).fails(1, &["folder"]);
    #[cfg(target_os = "linux")]
    lichen(&["new", "--config", &config, "--out", "/dev/full"]).fails(1, &["/dev/full", "space"]);
    assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 3);
}

#[test]
fn bad_recipes_are_named() {
    for (recipe, says) in [
        ("{", "recipe"),
        (r#"{"model": "enormous"}"#, "enormous"),
        (r#"{"model": {"like": "nano", "width": 100}}"#, "width"),
        (r#"{"model": "nano", "train": {"batch": 0}}"#, "batch"),
        (r#"{"model": "nano", "tokenizer": {"bpe": 10}}"#, "265"),
    ] {
        let (folder, path) = file("recipe.json", recipe.as_bytes());
        let out = text(&folder.path().join("m"));
        lichen(&["train", "--config", &path, "--data", &path, "--out", &out]).fails(1, &[says]);
    }
}

#[test]
fn fewer_bits_run_and_say_what_they_cost() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(&folder.path().join(name));
    let id = lichen(&["inspect", &model(), "--json"]).json()["id"].clone();
    let (mut bytes, mut change) = (u64::MAX, -1.0);
    for storage in ["f32", "q8", "q4"] {
        let out = at(storage);
        let json = lichen(&["quantize", &model(), "--to", storage, "--out", &out, "--json"]).json();
        assert_eq!((&json["storage"], &json["parent"]), (&storage.into(), &id), "{json}");
        // Each is smaller than the one before and further from the start.
        let (now, far) = (json["bytes"].as_u64().expect("bytes"), json["relative_change"].as_f64().expect("a share"));
        assert!(now < bytes && far > change && far < 0.15, "{json}");
        (bytes, change) = (now, far);
        assert_eq!(fs::metadata(&out).expect("was written").len(), now);
        let about = lichen(&["inspect", &out, "--verify", "--json"]).json();
        assert_eq!(
            (&about["storage"], &about["id"], &about["hashes_ok"]),
            (&storage.into(), &json["id"], &true.into())
        );
        run(&out).ok();
    }
    let mixed =
        ["quantize", &model(), "--to", "q4", "--embed", "q8", "--mixer", "f16", "--out", &at("mixed"), "--json"];
    let json = lichen(&mixed).json();
    assert_eq!(json["storage"], "q4+embed=q8+mixer=f16", "{json}");
    assert!(json["bytes"].as_u64() > Some(bytes) && json["relative_change"].as_f64() < Some(change), "{json}");
    let about = lichen(&["inspect", &at("mixed"), "--verify", "--json"]).json();
    assert_eq!((&about["storage"], &about["hashes_ok"]), (&json["storage"], &true.into()));
    assert_eq!(about["parts"], serde_json::json!({ "sections": "q4", "embed": "q8", "mixer": "f16" }));
    assert_eq!(about["active_bytes_per_token"], json["active_bytes_per_token"]);
    let text = lichen(&["inspect", &at("mixed")]).ok().out;
    assert!(text.contains("weights as q4, the token table as q8, mixers as f16"), "{text}");
    run(&at("mixed")).ok();
    // Its export is the weights as they are held now: the mixers as they came, the table rounded.
    let exported = |model: &str, name: &str, tensor: &str| {
        lichen(&["inspect", model, "--export", &at(name), "--yes"]).ok();
        let plain = fs::read(at(name)).expect("was written");
        let plain = safetensors::SafeTensors::deserialize(&plain).expect("is safetensors");
        plain.tensor(tensor).expect("is there").data().to_vec()
    };
    for (tensor, same) in [("layers.1.mix.in", true), ("embed", false), ("layers.1.sections.up", false)] {
        let (before, after) = (exported(&model(), "before", tensor), exported(&at("mixed"), "after", tensor));
        assert!(before.len() == after.len() && (before == after) == same, "{tensor}");
    }
    lichen(&["quantize", &at("mixed"), "--to", "q4", "--embed", "q8", "--mixer", "f16", "--out", &at("again")])
        .fails(2, &["q4+embed=q8+mixer=f16 already"]);
    lichen(&["quantize", &model(), "--to", "q4", "--embed", "q5", "--out", &at("q5")]).fails(2, &["q5", "--embed"]);
    lichen(&["quantize", &at("q4"), "--to", "q4", "--out", &at("again")]).fails(2, &["q4 already"]);
    lichen(&["quantize", &model(), "--to", "q4", "--out", &at("q4")]).fails(1, &["exists", "--yes"]);
    lichen(&["quantize", &model(), "--to", "q5", "--out", &at("q5")]).fails(2, &["q5", "q8"]);
    lichen(&["quantize", &at("nothing"), "--to", "q4", "--out", &at("x")]).fails(1, &["nothing"]);
    assert!(!folder.path().join("x").exists());
}

#[test]
fn two_models_become_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(&folder.path().join(name));
    let half = |other: &str, out: &str| lichen(&["average", &model(), other, "--share", "0.5", "--out", &at(out)]);
    // The mean of a model and itself answers as it does.
    let ran = half(&model(), "same").ok();
    assert!(ran.err.contains("50%"), "{}", ran.err);
    assert_eq!(run(&at("same")).ok().out, run(&model()).ok().out);
    let id = |file: &str| lichen(&["inspect", "-m", file, "--verify", "--json"]).json();
    assert_eq!((&id(&at("same"))["parent"], &id(&at("same"))["hashes_ok"]), (&id(&model())["id"], &true.into()));
    half(&model(), "same").fails(1, &["exists", "--yes"]);
    lichen(&["new", "--size", "nano", "--out", &at("other")]).ok();
    half(&at("other"), "x").fails(1, &["cannot average", "sizes"]);
    lichen(&["average", &model(), &model(), "--share", "2", "--out", &at("x")]).fails(1, &["share is 2"]);
    half(&at("nothing"), "x").fails(1, &["nothing"]);
    assert!(!folder.path().join("x").exists());
}

#[test]
fn a_model_that_grows_answers_as_before() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(&folder.path().join(name));
    let before = lichen(&["inspect", &model(), "--json"]).json();
    let sections = before["config"]["sections"].as_u64().expect("a number");
    let more = (2 * sections).to_string();
    let ran = lichen(&["grow", &model(), "--sections", &more, "--out", &at("grown")]).ok();
    assert!(ran.err.contains(&format!("{more} sections a layer instead of {sections}")), "{}", ran.err);
    let after = lichen(&["inspect", &at("grown"), "--verify", "--json"]).json();
    assert_eq!((&after["config"]["sections"], &after["hashes_ok"]), (&(2 * sections).into(), &true.into()));
    assert_eq!((&after["parent"], &after["grown_from"]), (&before["id"], &before["id"]));
    assert_eq!(run(&at("grown")).ok().out, run(&model()).ok().out);
    lichen(&["grow", &model(), "--sections", "1", "--out", &at("x")]).fails(1, &["sections is 1", "more than"]);
    lichen(&["grow", &model(), "--sections", &more, "--out", &at("grown")]).fails(1, &["exists", "--yes"]);
    assert!(!folder.path().join("x").exists());
}
