//! Sounds and pictures from files, good and bad, and mixtures of data sets.

use crate::{Ran, file, lichen, text};
use serde_json::json;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Random weights that hear and see.
const RECIPE: &str = r#"{"model": {"like": "nano", "width": 64, "layers": 2, "heads": 2, "key": 8, "value": 16,
    "rank": 4, "sections": 8, "picks": 2, "neurons": 16, "shared": 16, "route": 8, "turn": 8,
    "senses": {"sound": [4, 8], "picture": [4, 8]}}, "tokenizer": {"bpe": 300}}"#;

/// A WAV file of 16 bits and one channel.
fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
    let bytes = samples.len() as u32 * 2;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend(rate.to_le_bytes());
    out.extend((2 * rate).to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend(bytes.to_le_bytes());
    out.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    out
}

/// A folder with a model that hears and sees, and files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let (folder, recipe) = file("recipe.json", RECIPE.as_bytes());
    let model = text(&folder.path().join("m.safetensors"));
    lichen(&["new", "--config", &recipe, "--out", &model]).ok();
    files.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).expect("writes"));
    folder
}

fn run(folder: &Path, flag: &str, name: &str) -> Ran {
    let (model, path) = (text(&folder.join("m.safetensors")), text(&folder.join(name)));
    lichen(&["run", "-m", &model, "--device", "cpu", "-t", "1", "-n", "4", flag, &path, "--json"])
}

#[test]
fn sounds_and_pictures_are_taken_or_refused_with_a_reason() {
    let tone: Vec<i16> = (0..8000).map(|i| ((i as f32 * 0.2).sin() * 9000.0) as i16).collect();
    let hour = {
        // The header of an hour, and a second of it.
        let mut bytes = wav(8000, &tone);
        bytes[40..44].copy_from_slice(&(3600u32 * 16_000).to_le_bytes());
        bytes
    };
    let files: &[(&str, &[u8])] = &[
        ("tone.wav", &wav(8000, &tone)),
        ("silence.wav", &wav(16_000, &[0; 16_000])),
        ("text.wav", b"this is no sound at all"),
        ("three.wav", b"RIF"),
        ("hour.wav", &hour),
        ("text.png", b"this is no picture"),
        ("three.jpg", &[0xFF, 0xD8, 0xFF]),
    ];
    let folder = folder(files);
    for name in ["tone.wav", "silence.wav"] {
        let json = run(folder.path(), "--audio", name).json();
        assert!(json["text"].is_string() && json["actions"].is_array(), "{json}");
    }
    for (flag, name) in [
        ("--audio", "text.wav"),
        ("--audio", "three.wav"),
        ("--audio", "hour.wav"),
        ("--image", "text.png"),
        ("--image", "three.jpg"),
        ("--image", "absent.png"),
    ] {
        run(folder.path(), flag, name).fails(1, &[name]);
    }
}

#[test]
fn one_pixel_is_a_picture_and_its_route_is_drawn() {
    // 1 x 1, 8 bits of grey.
    let pixel: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82";
    let folder = folder(&[("pixel.png", pixel)]);
    let (model, map) = (text(&folder.path().join("m.safetensors")), text(&folder.path().join("route.png")));
    let pixel = text(&folder.path().join("pixel.png"));
    let args = ["run", "-m", &model, "--device", "cpu", "-t", "1", "-n", "2", "--image", &pixel, "-p", "what is it"];
    let ran = lichen(&[&args[..], &["--route", "--route-png", &map]].concat()).ok();
    assert!(ran.err.contains("layer 0") && ran.err.contains("of 8"), "{}", ran.err);
    assert!(fs::read(&map).expect("a picture").starts_with(b"\x89PNG"));
    let json = lichen(&["compare", "-m", &model, "--device", "cpu", &pixel, "a dog", "a dog", "--json"]).json();
    let pairs = json["pairs"].as_array().expect("pairs");
    assert_eq!(pairs.len(), 3);
    assert_eq!(pairs[2]["jaccard"], 1.0, "the same words share all: {json}");
    lichen(&["compare", "-m", &model, "one"]).fails(2, &["two inputs"]);
}

#[test]
fn mixtures_of_sets_are_trained_measured_and_resumed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(&folder.path().join(name));
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("creates");
        fs::write(path, bytes).expect("writes");
    };
    let actions = json!([
        {"name": "light.set", "about": "", "arguments": [
            {"name": "state", "about": "", "required": true, "values": ["on", "off"]}]},
        {"name": "unknown", "about": "", "arguments": []}
    ]);
    put("actions.json", actions.to_string().as_bytes());
    put("books/a.txt", "the rock is bare and the lichen grows slowly on it, year after year. ".repeat(60).as_bytes());
    let on = json!({"turns": [
        {"s": "U", "t": "light on please", "about": "light.state"},
        {"s": "S", "t": "On.", "actions": [{"name": "light.set", "arguments": {"state": "on"}}]},
        {"s": "U", "t": "is the light on", "about": "light.state"}, {"s": "S", "t": "Yes."}]});
    put("talk.jsonl", format!("{on}\n").repeat(8).as_bytes());
    put("set/train.jsonl", b"{\"text\": \"play a song\", \"intent\": \"music\", \"slots\": [{\"slot\": \"what\", \"value\": \"a song\"}]}\n{\"text\": \"fly me home\", \"intent\": \"oos\"}\n");
    put("en-es.train.tsv", "Yes.\tSí.\nNo.\tNo.\n".as_bytes());
    put("clips.jsonl", b"{\"file\": \"a.wav\", \"word\": \"tone\", \"text\": \"tone\"}\n");
    let tone: Vec<i16> = (0..4000).map(|i| ((i as f32 * 0.3).sin() * 9000.0) as i16).collect();
    put("a.wav", &wav(16_000, &tone));
    let source = |name: &str, kind: &str, path: &str| json!({"name": name, "kind": kind, "paths": [path], "weight": 1});
    let mut sources = vec![
        source("books", "text", "books"),
        source("talk", "turns", "talk.jsonl"),
        source("set", "intents", "set/train.jsonl"),
        source("spanish", "pairs", "en-es.train.tsv"),
        source("clips", "clips", "clips.jsonl"),
        source("words", "transcripts", "clips.jsonl"),
    ];
    sources[1]["validation"] = json!(["talk.jsonl"]);
    sources[4]["again"] = json!(1.0);
    let mut recipe: serde_json::Value = serde_json::from_str(RECIPE).expect("JSON");
    recipe["tokenizer"] = json!({"bpe": 340});
    recipe["actions"] = "actions.json".into();
    recipe["sources"] = sources.into();
    recipe["train"] =
        json!({"batch": 4, "micro": 2, "context": 64, "steps": 6, "lr": 0.003, "warmup": 2, "contrast": 0.1});
    put("recipe.json", recipe.to_string().as_bytes());
    let train = |out: &str, more: &[&str]| {
        let (config, out, data) = (at("recipe.json"), at(out), text(folder.path()));
        lichen(&[&["train", "--config", &config, "--data", &data, "--out", &out, "-t", "1"][..], more].concat())
    };
    train("m", &[]).ok();
    let log = fs::read_to_string(at("m.log.jsonl")).expect("a log");
    assert!(log.lines().filter(|l| l.contains("\"contrast\":")).count() >= 6, "{log}");
    // The same twice.
    train("n", &[]).ok();
    assert_eq!(fs::read(at("m")).expect("reads"), fs::read(at("n")).expect("reads"));
    let asked = ["eval", "-m", &at("m"), "--device", "cpu", "--json"].map(str::to_string);
    let eval = |more: &[&str]| {
        let all: Vec<&str> = asked.iter().map(String::as_str).chain(more.iter().copied()).collect();
        lichen(&all).json()
    };
    let json = eval(&["--suite", "intents", "--data", &at("set/train.jsonl")]);
    crate::has(&json, &["accuracy", "accuracy_ci95", "oos_recall", "false_refusals", "slot_f1", "n"]);
    crate::has(
        &eval(&["--suite", "translate", "--data", &at("en-es.train.tsv")]),
        &["chrf", "chrf_ci95", "exact", "n"],
    );
    crate::has(&eval(&["--suite", "speech", "--data", &at("clips.jsonl")]), &["accuracy", "n"]);
    let fitted = eval(&["--suite", "intents", "--fit-refusals", "0.5", "--data", &at("set/train.jsonl")]);
    let bias = fitted["refusal_bias"].as_f64().expect("a number");
    lichen(&["quantize", &at("m"), "--to", "q8", "--refusal-bias", &bias.to_string(), "--out", &at("q")]).ok();
    let again = lichen(&[
        "eval",
        "-m",
        &at("q"),
        "--device",
        "cpu",
        "--json",
        "--suite",
        "intents",
        "--data",
        &at("set/train.jsonl"),
    ]);
    assert!((again.json()["refusal_bias"].as_f64().expect("a number") - bias).abs() < 1e-4);
    // What it is to be taught to name is told from what it was shown before; another bank keeps that.
    put("bank.jsonl", b"{\"prompt\": \"who are you\"}\n{\"prompt\": \"is the light on\"}\n");
    put("other.jsonl", b"{\"prompt\": \"who am i\"}\n");
    let buzz: Vec<i16> = (0..6000).map(|i| if i % 40 < 20 { 9000 } else { -9000 }).collect();
    put("b.wav", &wav(16_000, &buzz));
    put("named.jsonl", b"{\"file\": \"a.wav\", \"label\": \"tone\"}\n{\"file\": \"b.wav\", \"label\": \"buzz\"}\n");
    let quantized = |from: &str, more: &[&str], out: &str| {
        let (from, out) = (at(from), at(out));
        lichen(&[&["quantize", &from, "--to", "q8", "--out", &out][..], more].concat())
    };
    let (bank, other, named) = (at("bank.jsonl"), at("other.jsonl"), at("named.jsonl"));
    quantized("m", &["--shown", &named], "none").fails(2, &["--bank"]);
    quantized("m", &["--bank", &bank], "bare").ok();
    quantized("m", &["--bank", &bank, "--shown", &named], "full").ok();
    quantized("full", &["--bank", &other], "kept").ok();
    let teach = |model: &str| {
        let (model, memory, sound) = (at(model), at("memory"), at("a.wav"));
        lichen(&["learn", "this is a tone", "--audio", &sound, "-m", &model, "--memory", &memory, "--check"])
    };
    teach("bare").fails(1, &["--shown"]);
    assert!(!teach("kept").err.contains("--shown"));
    let names = lichen(&["eval", "-m", &at("kept"), "--device", "cpu", "--json", "--suite", "names", "--data", &named]);
    crate::has(&names.json(), &["efficacy", "generalisation", "locality", "n", "refused"]);
    fs::write(at("empty.jsonl"), "").expect("writes");
    let empty = at("empty.jsonl");
    lichen(&["eval", "-m", &at("m"), "--device", "cpu", "--suite", "actions", "--data", &empty])
        .fails(1, &["nothing to measure"]);
    // A path that is nowhere is named.
    fs::remove_file(at("clips.jsonl")).expect("removes");
    train("x", &[]).fails(1, &["clips.jsonl"]);
}
