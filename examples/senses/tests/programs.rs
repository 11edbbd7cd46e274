//! The four programs on the input that comes with them.

use std::process::Command;

/// What a program prints.
fn output(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).output().expect("runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("the output is UTF-8")
}

#[test]
fn a_rooster_is_seen_heard_and_read() {
    let said = output(env!("CARGO_BIN_EXE_rooster"), &[]);
    for line in ["sees   rooster", "hears  rooster", "reads  rooster", "picture ~ crow", "word ~ unrelated words"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn a_spoken_command_becomes_an_action() {
    let said = output(env!("CARGO_BIN_EXE_voice_command"), &[]);
    assert!(said.starts_with("{\"name\":\"light.set\""), "{said}");
}

#[test]
fn spoken_digits_are_written_down() {
    assert_eq!(output(env!("CARGO_BIN_EXE_dictate_digits"), &[]).trim(), "42719");
}

#[test]
fn commands_move_the_robot() {
    let said = output(env!("CARGO_BIN_EXE_robot"), &["move forward two meters", "turn left", "bake me a cake"]);
    assert!(said.contains("now 2.0 m north, 0.0 m east, 0.0 m up, looking at 0 degrees"), "{said}");
    assert!(said.contains("looking at 270 degrees") && said.contains("{\"name\":\"unknown\""), "{said}");
}

#[test]
fn what_is_no_sound_is_an_error_in_one_line() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let ran = Command::new(env!("CARGO_BIN_EXE_dictate_digits")).arg(readme).output().expect("runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && said.trim().lines().count() == 1 && said.contains("Cargo.toml"), "{said}");
}
