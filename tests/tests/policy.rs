//! What comes into the build: the oldest compiler it needs, its licences, who imports whom.

use lichen_tests::report;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every package of the lock file, for all platforms and features.
fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked", "--all-features", "--quiet"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages").clone();
    assert!(packages.len() > 50, "only {} packages", packages.len());
    packages
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

fn ours(package: &Value) -> bool {
    package["source"].is_null()
}

fn version(text: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = text.split('.').map(|n| n.parse().unwrap_or(u32::MAX)).collect();
    numbers.resize(3, 0);
    numbers
}

#[test]
fn no_dependency_needs_a_newer_compiler() {
    let packages = packages();
    let declared: Vec<&str> = packages.iter().filter(|p| ours(p)).map(|p| text(p, "rust_version")).collect();
    let oldest = declared.first().copied().expect("our own packages are listed");
    assert!(!oldest.is_empty() && declared.iter().all(|v| *v == oldest), "one rust-version for all: {declared:?}");
    let newer = packages.iter().filter(|p| version(text(p, "rust_version").trim()) > version(oldest));
    let newer = newer.filter(|p| !text(p, "rust_version").is_empty());
    report(
        &newer
            .map(|p| format!("{} {} needs Rust {}", text(p, "name"), text(p, "version"), text(p, "rust_version")))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn versions_compare_by_number() {
    assert!(version("1.100") > version("1.90.2") && version("1.90") == version("1.90.0"));
    assert!(version("1.91") > version("1.90"));
}

/// An SPDX expression without parentheses inside its alternatives, which is all that is in use.
fn allowed(expression: &str, list: &[String]) -> bool {
    let plain = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // AND binds tighter in SPDX, but "A AND (B OR C)" is what people mean and write: each factor needs one match.
    plain.split(" AND ").all(|factor| factor.split(" OR ").any(|l| list.iter().any(|a| a == l.trim())))
}

#[test]
fn licences_are_on_the_list() {
    let file = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
    let list = file.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).expect("an allow list");
    let list: Vec<String> = list.split('"').skip(1).step_by(2).map(str::to_string).collect();
    assert!(allowed("(MIT OR GPL-3.0) AND Unicode-3.0", &list) && allowed("MIT/Apache-2.0", &list));
    assert!(!allowed("GPL-3.0-only", &list) && !allowed("MIT AND GPL-3.0", &list) && !allowed("", &list));
    let packages = packages();
    let wrong = packages.iter().filter(|p| !allowed(text(p, "license"), &list));
    report(&wrong.map(|p| format!("{}: licence \"{}\"", text(p, "name"), text(p, "license"))).collect::<Vec<_>>());
}

/// `examples, web -> engine -> host -> shaders`, and wgpu behind host alone.
#[test]
fn imports_run_one_way() {
    let packages = packages();
    let rules: [(&str, &[&str]); 4] = [
        ("lichen-shaders", &["lichen-host", "lichen", "wgpu", "naga", "rayon"]),
        ("lichen-host", &["lichen", "naga"]),
        ("lichen", &["wgpu", "naga", "rayon", "lichen-cli", "lichen-web", "memmap2"]),
        ("lichen-web", &["wgpu", "lichen-shaders"]),
    ];
    let mut problems = Vec::new();
    for (name, forbidden) in rules {
        let package =
            packages.iter().find(|p| ours(p) && text(p, "name") == name).unwrap_or_else(|| panic!("no {name}"));
        let dependencies = package["dependencies"].as_array().expect("a list");
        assert!(!dependencies.is_empty());
        for dependency in dependencies.iter().filter(|d| d["kind"].is_null()) {
            if forbidden.contains(&text(dependency, "name")) {
                problems.push(format!("{name} depends on {}", text(dependency, "name")));
            }
        }
    }
    report(&problems);
}
