//! Measuring: that figures come and what they are called, never how large they are.

use crate::{file, lichen, model};

#[test]
fn bench_has_the_keys_that_scripts_rely_on() {
    let json = lichen(&["bench", "--quick", "--format", "json", "--device", "cpu", "-t", "2"]).json();
    let machine = &json["machine"];
    assert!(machine["cpu"].is_string() && machine["os"].is_string() && machine["devices"][0].is_string(), "{json}");
    let results = json["results"].as_array().expect("a list");
    assert_eq!(results.len(), 1, "{json}");
    for key in [
        "decode_tok_s",
        "decode_best_tok_s",
        "prefill128_tok_s",
        "prefill512_tok_s",
        "first_token_ms",
        "file_bytes",
        "total_params",
        "active_params",
        "active_bytes_per_token",
        "total_weight_bytes",
        "active_multiply_adds_per_token",
        "dense_multiply_adds_per_token",
        "decode_read_gb_s",
        "read_bandwidth_gb_s",
        "bandwidth_share",
    ] {
        let number = results[0][key].as_f64();
        assert!(number.is_some_and(|n| n.is_finite() && n > 0.0), "{key}: {json}");
    }
    // Where the system or the machine has no such figure there is null.
    for (key, known) in [
        ("peak_rss_bytes", cfg!(target_os = "linux")),
        ("lesson_s", false),
        ("lesson_peak_rss_bytes", false),
        ("joules_per_token", false),
        ("file_read_bytes_per_token", false),
    ] {
        let value = results[0].get(key).unwrap_or_else(|| panic!("{key} is missing: {json}"));
        assert!(value.as_f64() > Some(0.0) || (value.is_null() && !known), "{key}: {json}");
    }
}

#[test]
fn pairs_go_to_a_file_that_is_not_overwritten_unasked() {
    let (_folder, out) = file("out.csv", b"kept");
    let model = model();
    let pair = ["bench", "--quick", "--device", "cpu", "--paired", &model, &model, "--format", "csv", "--out", &out];
    lichen(&pair).fails(1, &["exists", "--yes"]);
    assert!(lichen(&[&pair[..], &["--yes"]].concat()).ok().out.is_empty());
    let text = std::fs::read_to_string(&out).expect("was written");
    assert!(text.starts_with("a,b,device,a_decode_tok_s,b_decode_tok_s,") && text.lines().count() == 2, "{text}");
}

#[test]
fn what_cannot_be_measured_is_named() {
    let (_folder, other) = file("lichen", b"not a program");
    lichen(&["bench", "--device", "cpu", "--paired-binary", "no such program"]).fails(1, &["no such program"]);
    let ran = lichen(&["bench", "--device", "cpu", "--quick", "--paired-binary", &other]);
    assert!(ran.status == Some(1) && ran.err.contains("cannot run another lichen"), "{}", ran.err);
    lichen(&["bench", "--quick", "--device", "cpu", "--paired", "nano"]).fails(2, &["--paired"]);
    lichen(&["bench", "--paired", "nano", "nano", "--paired-binary", &other]).fails(2, &["--paired"]);
    lichen(&["bench", "--size", "huge"]).fails(2, &["huge", "nano"]);
    lichen(&["bench", "no such model", "--device", "cpu"]).fails(1, &["no such model"]);
}
