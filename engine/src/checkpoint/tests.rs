//! Files that come back as they were, and files that must not be read.

use super::*;
use serde_json::{Value, json};

fn tiny() -> Config {
    Config {
        vocab: 260,
        width: 64,
        layers: 2,
        heads: 2,
        key: 8,
        value: 16,
        rank: 4,
        sections: 8,
        picks: 2,
        neurons: 16,
        shared: 16,
        route: 8,
        ..Config::nano()
    }
}

fn random() -> Checkpoint {
    Checkpoint::random(&tiny(), Tokenizer::bytes(), 5)
}

fn file(storage: Storage) -> Vec<u8> {
    let mut out = Vec::new();
    random().write(storage, &mut out).expect("writing to memory");
    out
}

/// One precision for all parts, and parts that differ in each way.
fn storages() -> impl Iterator<Item = Storage> {
    let mixed = ["q4+embed=q8+mixer=f16", "f16+embed=q4+mixer=q8", "q8+embed=f32", "f32+mixer=q4"];
    let mixed = mixed.map(|name| name.parse().expect("a storage"));
    Storage::ALL.map(|(storage, _)| storage).into_iter().chain(mixed)
}

fn header_of(file: &[u8]) -> Value {
    let end = Header::header_len(file).expect("length") as usize;
    serde_json::from_slice(&file[8..end]).expect("json")
}

fn with_text(file: &[u8], text: &[u8]) -> Vec<u8> {
    let end = Header::header_len(file).expect("length") as usize;
    [&(text.len() as u64).to_le_bytes()[..], text, &file[end..]].concat()
}

/// The file with a changed header.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let file = file(Storage::F32);
    let mut header = header_of(&file);
    change(&mut header);
    with_text(&file, header.to_string().as_bytes())
}

#[test]
fn float32_is_exact() {
    let (before, file) = (random(), file(Storage::F32));
    let after = Checkpoint::parse(&file).expect("reading");
    assert_eq!(after.header.config, tiny());
    assert_eq!(after.header.file_len(), file.len() as u64);
    assert_eq!((after.header.id.len(), after.about()), (64, "random weights, seed 5"));
    for spec in tiny().tensors() {
        assert_eq!(before.tensor(&spec.name), after.tensor(&spec.name), "{}", spec.name);
    }
    let mut again = Vec::new();
    after.write(Storage::F32, &mut again).expect("writing");
    assert_eq!(again, file);
}

#[test]
fn half_precision_is_close_and_kept_from_the_router() {
    let (before, after) = (random(), Checkpoint::parse(&file(Storage::F16)).expect("reading"));
    for spec in tiny().tensors() {
        let (a, b) = (before.tensor(&spec.name).expect("tensor"), after.tensor(&spec.name).expect("tensor"));
        let halved = (spec.decays && !spec.name.ends_with("route.rows")) || spec.is_sections();
        for (a, b) in a.iter().zip(b) {
            let bound = if halved { a.abs() / 2048.0 + 6e-8 } else { 0.0 };
            assert!((a - b).abs() <= bound, "{}: {a} {b}", spec.name);
        }
    }
}

/// A config of which every product can be packed in blocks.
fn blocky() -> Config {
    Config { route: 32, rank: 32, heads: 2, key: 16, value: 32, ..tiny() }
}

#[test]
fn weights_come_back_as_the_packing_of_their_part_makes_them() {
    for config in [tiny(), blocky()] {
        for storage in storages() {
            let before = Checkpoint::random(&config, Tokenizer::bytes(), 5);
            let mut file = Vec::new();
            before.write(storage, &mut file).expect("writing");
            let after = Checkpoint::parse(&file).expect("reading");
            assert_eq!((after.header.storage, after.header.file_len()), (storage, file.len() as u64));
            for spec in config.tensors() {
                let (a, b) = (before.tensor(&spec.name).expect("tensor"), after.tensor(&spec.name).expect("tensor"));
                let row = if spec.is_sections() { 2 * config.neurons * config.width } else { spec.len() };
                for (a, b) in a.chunks(row.max(1)).zip(b.chunks(row.max(1))).filter(|(a, _)| a.len() == row) {
                    let halved =
                        spec.decays && storage.of(&spec) != Precision::F32 && !spec.name.ends_with("route.rows");
                    let Some(format) = storage.packing_in_file(&config, &spec).or(halved.then_some(Format::F16)) else {
                        assert_eq!(a, b, "{}", spec.name);
                        continue;
                    };
                    let mut want = vec![0.0; row];
                    packed::decode(format, row, &packed::encode(format, a), 0, &mut want);
                    assert_eq!(b, want, "{}", spec.name);
                }
            }
            // Rounding what was rounded changes nothing for 8 bits: the largest of a block stays the largest.
            if storage == Storage::Q8 {
                let mut again = Vec::new();
                after.write(storage, &mut again).expect("writing");
                assert_eq!(Checkpoint::parse(&again).expect("reading").tensors, after.tensors);
            }
        }
    }
}

#[test]
fn a_device_holds_the_words_of_the_file() {
    for storage in storages() {
        let mut file = Vec::new();
        Checkpoint::random(&blocky(), Tokenizer::bytes(), 5).write(storage, &mut file).expect("writing");
        let device = std::sync::Arc::new(lichen_host::Device::cpu(1));
        let model = crate::Model::open(std::sync::Arc::new(file.clone()), device, None).expect("loading");
        let back = pollster::block_on(model.checkpoint()).expect("reading back");
        let mut want = Checkpoint::parse(&file).expect("reading").tensors;
        // Files of floats keep the router's rows as floats, devices do not.
        for spec in blocky().tensors().iter().filter(|t| t.name.ends_with("route.rows")) {
            let rows = want.get_mut(&spec.name).expect("rows");
            packed::decode(Format::Q8, rows.len(), &packed::encode(Format::Q8, rows), 0, rows);
        }
        assert_eq!(back.tensors, want, "{storage:?}");
    }
}

#[test]
fn a_scale_that_is_no_number_is_refused() {
    let config = blocky();
    let mut weights = Checkpoint::random(&config, Tokenizer::bytes(), 5);
    // Too large for half precision, wherever it would go.
    let spec = &config.tensors()[0];
    let mut table = weights.tensor(&spec.name).expect("tensor").to_vec();
    table[7] = 1e5;
    weights.set(&spec.name, table).expect("fits");
    for storage in [Storage::Q8, Storage::Q4] {
        let error = weights.write(storage, &mut Vec::new()).expect_err("too large");
        assert!(matches!(&error, Error::NotFinite { name, at: 7, .. } if name == "embed"), "{error}");
    }
    // A file whose hashes are right and whose scale is infinite: the last word of the table holds two scales.
    let mut file = Vec::new();
    Checkpoint::random(&config, Tokenizer::bytes(), 5).write(Storage::Q4, &mut file).expect("writing");
    let header = Header::parse(&file, file.len() as u64).expect("reading");
    let end = (header.data_start + header.entries[0].len) as usize;
    file[end - 2..end].copy_from_slice(&f16::INFINITY.to_le_bytes());
    let table = &file[header.data_start as usize..end];
    let hash: String = Sha256::digest(table).iter().map(|b| format!("{b:02x}")).collect();
    let mut text = header_of(&file);
    text["__metadata__"]["sha256.embed"] = hash.into();
    let error = Checkpoint::parse(&with_text(&file, text.to_string().as_bytes())).expect_err("an infinite scale");
    assert!(matches!(&error, Error::NotFinite { name, .. } if name == "embed"), "{error}");
}

#[test]
fn streaming_random_weights_gives_the_same_file() {
    let mut out = Vec::new();
    for storage in storages() {
        out.clear();
        let header = write_random(&tiny(), Tokenizer::bytes(), 5, storage, &mut out).expect("writing");
        assert_eq!(out, file(storage));
        assert_eq!(header.id, Header::parse(&out, out.len() as u64).expect("reading").id);
    }
}

#[test]
fn other_programs_read_the_tensors() {
    for storage in storages() {
        let file = file(storage);
        let tensors = safetensors::SafeTensors::deserialize(&file).expect("safetensors");
        assert_eq!(tensors.len(), tiny().tensors().len());
        assert_eq!(tensors.tensor("layers.1.sections").expect("tensor").shape()[0], 9);
        assert_eq!(tensors.tensor("norm").expect("tensor").data().len(), 256);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let file = file(Storage::F16);
    let end = Header::header_len(&file).expect("length") as usize;
    for n in (0..end).step_by(37).chain([0, 7, 8, 9, end - 1, end, end + 1, file.len() - 1]) {
        let error = Checkpoint::parse(&file[..n]).expect_err("a truncated file");
        assert!(matches!(error, Error::File(_)) && !error.to_string().contains('\n'), "{n}: {error}");
    }
    assert!(matches!(Checkpoint::parse(&[&file[..], &[0]].concat()), Err(Error::File(_))));
}

#[test]
fn every_damaged_weight_is_found() {
    let good = file(Storage::F32);
    let header = Header::parse(&good, good.len() as u64).expect("header");
    for entry in &header.entries {
        let mut bad = good.clone();
        bad[(header.data_start + entry.offset + entry.len) as usize - 1] ^= 1;
        let error = Checkpoint::parse(&bad).expect_err("damaged");
        assert!(matches!(&error, Error::Hash { what } if what.contains(&entry.spec.name)), "{error}");
    }
    let text = |section: usize| format!("section {section} of layers.1.sections");
    let entry = header.entries.iter().find(|e| e.spec.name == "layers.1.sections").expect("entry");
    let mut bad = good.clone();
    bad[(header.data_start + entry.offset) as usize + 4 * 3 * tiny().stride()] ^= 1;
    assert!(matches!(Checkpoint::parse(&bad), Err(Error::Hash { what }) if what == text(3)));
}

#[test]
fn weights_that_are_not_finite_are_errors() {
    for value in [f32::NAN, f32::INFINITY, 1e6] {
        let mut checkpoint = random();
        let mut data = checkpoint.take("layers.0.mix.in").expect("tensor");
        data[77] = value;
        checkpoint.set("layers.0.mix.in", data).expect("set");
        let error = checkpoint.write(Storage::F16, &mut Vec::new()).expect_err("not finite");
        assert!(matches!(error, Error::NotFinite { at: 77, .. }), "{error}");
    }
    // A file whose hashes are right and whose weights are not.
    let mut bad = file(Storage::F32);
    let header = Header::parse(&bad, bad.len() as u64).expect("header");
    let entry = header.entries.iter().find(|e| e.spec.name == "norm").expect("entry");
    let from = (header.data_start + entry.offset) as usize;
    bad[from + 8..from + 12].copy_from_slice(&f32::NAN.to_le_bytes());
    let hash: Hash = Sha256::digest(&bad[from..from + 256]).into();
    let mut json = header_of(&bad);
    json["__metadata__"]["sha256.norm"] = crate::header::hex(&hash).into();
    let error = Checkpoint::parse(&with_text(&bad, json.to_string().as_bytes())).expect_err("not finite");
    assert!(matches!(error, Error::NotFinite { at: 2, .. }), "{error}");
}

#[test]
fn hostile_headers_are_errors_of_one_line() {
    let meta = |key: &'static str, value: Value| changed(move |h| h["__metadata__"][key] = value);
    let config = |key: &'static str, value: Value| {
        changed(move |h| {
            let mut config: Value =
                serde_json::from_str(h["__metadata__"]["config"].as_str().expect("text")).expect("json");
            config[key] = value;
            h["__metadata__"]["config"] = config.to_string().into();
        })
    };
    let remove =
        |key: &'static str| changed(move |h| drop(h["__metadata__"].as_object_mut().expect("map").remove(key)));
    let norm = |key: &'static str, value: Value| changed(move |h| h["norm"][key] = value);
    let good = file(Storage::F32);
    let text = header_of(&good).to_string();
    let twice =
        text.replacen("\"norm\":", "\"norm\":{\"dtype\":\"F32\",\"shape\":[64],\"data_offsets\":[0,256]},\"norm\":", 1);
    let meta_twice = text.replacen("\"about\":", "\"about\":\"a\",\"about\":", 1);
    let end = Header::header_len(&good).expect("length") as usize;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no format", remove("format")),
        ("no config", remove("config")),
        ("no storage", remove("storage")),
        ("no tokenizer", remove("tokenizer")),
        ("no hash", remove("sha256.norm")),
        ("unknown key", meta("colour", "green".into())),
        ("a hash of no tensor", meta("sha256.colour", "0".repeat(64).into())),
        ("short hash", meta("sha256.norm", "00".into())),
        ("no hex", meta("sha256.norm", "g".repeat(64).into())),
        ("too few hashes", meta("sha256.layers.0.sections", "0".repeat(64).into())),
        ("number for text", meta("about", 7.into())),
        ("storage", meta("storage", "f64".into())),
        ("storage of a part", meta("storage", "f32+embed=f64".into())),
        ("storage of no part", meta("storage", "f32+colour=f32".into())),
        ("storage of a part twice", meta("storage", "f32+embed=f32+embed=f32".into())),
        ("storage cut short", meta("storage", "f32+".into())),
        ("storage of another tensor", meta("storage", "f32+embed=q8".into())),
        ("storage without end", meta("storage", "f32+".repeat(1 << 16).into())),
        ("config text", meta("config", "{".into())),
        ("tokenizer text", meta("tokenizer", "{}".into())),
        ("other vocabulary", config("vocab", 261.into())),
        ("huge", config("sections", 1_000_000.into())),
        ("negative", config("layers", (-1).into())),
        ("overflow", config("width", u64::MAX.into())),
        ("unknown size", config("colour", 1.into())),
        ("other layers", config("layers", 3.into())),
        ("fewer layers", config("layers", 1.into())),
        ("shape", norm("shape", json!([65]))),
        ("shape of overflow", norm("shape", json!([u64::MAX, u64::MAX]))),
        ("negative shape", norm("shape", json!([-64]))),
        ("type", norm("dtype", "F16".into())),
        ("offsets", norm("data_offsets", json!([0, 256]))),
        ("offsets past the end", norm("data_offsets", json!([u64::MAX - 256, u64::MAX]))),
        ("three offsets", norm("data_offsets", json!([0, 1, 2]))),
        ("unknown field", norm("colour", "green".into())),
        ("no tensor", changed(|h| drop(h.as_object_mut().expect("map").remove("norm")))),
        ("extra tensor", changed(|h| h["extra"] = json!({"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}))),
        ("a tensor twice", with_text(&good, twice.as_bytes())),
        ("a key twice", with_text(&good, meta_twice.as_bytes())),
        ("not json", with_text(&good, &vec![b'['; 1 << 16])),
        ("not utf-8", with_text(&good, &[0xFF; 64])),
        ("not a map", with_text(&good, b"[1]")),
        ("length of 0", [&[0; 8][..], &good[8..]].concat()),
        ("length of everything", [&[0xFF; 8][..], &good[8..]].concat()),
        ("length past the file", [&(good.len() as u64).to_le_bytes()[..], &good[8..]].concat()),
        ("length too short", [&(end as u64 - 2000).to_le_bytes()[..], &good[8..]].concat()),
    ];
    for (what, file) in cases {
        let error = Checkpoint::parse(&file).expect_err(what).to_string();
        assert!(!error.contains('\n') && error.len() < 400, "{what}: {error}");
    }
    let error = Checkpoint::parse(&meta("format", "lichen-2".into())).expect_err("another version");
    assert!(matches!(&error, Error::Version { got, .. } if got == "lichen-2"), "{error}");
}

#[test]
fn random_damage_never_panics() {
    let good = file(Storage::F16);
    let end = Header::header_len(&good).expect("length") as usize;
    let mut random = lichen_shaders::cases::Random::new(1);
    for _ in 0..3000 {
        let mut bad = good[..end].to_vec();
        for _ in 0..1 + random.below(3) {
            bad[random.below(end)] = random.bits() as u8;
        }
        if let Err(error) = Header::parse(&bad, good.len() as u64) {
            assert!(!error.to_string().contains('\n'));
        }
    }
}

#[test]
fn unfinished_checkpoints_are_not_written() {
    let mut checkpoint = Checkpoint::new(tiny(), Tokenizer::bytes(), None, String::new());
    assert!(matches!(checkpoint.write(Storage::F32, &mut Vec::new()), Err(Error::Tensor { .. })));
    assert!(matches!(checkpoint.set("norm", vec![0.0; 63]), Err(Error::Tensor { .. })));
    assert!(matches!(checkpoint.set("colour", vec![0.0; 64]), Err(Error::Tensor { .. })));
    let other = Checkpoint::random(&Config { vocab: 300, ..tiny() }, Tokenizer::bytes(), 5);
    assert!(matches!(other.write(Storage::F32, &mut Vec::new()), Err(Error::File(_))));
}

#[test]
fn the_mean_of_two_lies_between_them() {
    let (first, other) = (random(), Checkpoint::random(&tiny(), Tokenizer::bytes(), 6));
    let tensors = |of: &Checkpoint| -> Vec<Vec<f32>> {
        tiny().tensors().iter().map(|spec| of.tensor(&spec.name).expect("its tensor").to_vec()).collect()
    };
    let mean = |share| first.clone().averaged(&other, share).expect("of the same sizes");
    assert_eq!(tensors(&mean(0.0)), tensors(&first));
    let quarter = mean(0.25);
    for ((mine, theirs), got) in tensors(&first).iter().zip(tensors(&other)).zip(tensors(&quarter)) {
        for ((&mine, theirs), got) in mine.iter().zip(theirs).zip(got) {
            let want = 0.75 * f64::from(mine) + 0.25 * f64::from(theirs);
            assert!((f64::from(got) - want).abs() <= 1e-6 * (1.0 + want.abs()), "{mine} and {theirs}: {got}");
        }
    }
    let far = |share| first.clone().averaged(&other, share).expect_err("no share").to_string();
    for share in [-0.1, 1.5, f32::NAN] {
        assert!(far(share).contains("share"), "{}", far(share));
    }
    let wider = Checkpoint::random(&Config { sections: 16, ..tiny() }, Tokenizer::bytes(), 5);
    assert!(first.clone().averaged(&wider, 0.5).expect_err("other sizes").to_string().contains("sizes"));
}
