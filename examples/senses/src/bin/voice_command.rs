//! A spoken command to the action it means: `voice_command [WAV | "words to be spoken"]`. Words are spoken by espeak-ng
//! where it is installed; without an argument a recording of this folder is used.

use lichen::data::Turn;
use lichen_senses::{Error, MOST, assistant, input, run, sound};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Speaks words into a file.
fn speak(words: &str) -> Result<PathBuf, Error> {
    let path = std::env::temp_dir().join(format!("lichen-voice-{}.wav", std::process::id()));
    let spoken = Command::new("espeak-ng").args(["-v", "en-us+f3", "-w"]).arg(&path).arg("--").arg(words).status();
    match spoken {
        Ok(status) if status.success() => Ok(path),
        Ok(status) => Err(Error::Other(format!("espeak-ng ended with {status}"))),
        Err(e) => Err(Error::Other(format!("{words:?} is no file, and espeak-ng cannot speak it: {e}"))),
    }
}

fn main() -> ExitCode {
    run(|arguments| {
        let spoken = arguments.join(" ");
        // What looks like a file's name is one, so that a slip in it is not spoken.
        let named = Path::new(&spoken).extension().is_some_and(|end| end.eq_ignore_ascii_case("wav"));
        let is_file = spoken.is_empty() || named || Path::new(&spoken).is_file();
        let path = match is_file {
            true if spoken.is_empty() => input("command.wav"),
            true => PathBuf::from(&spoken),
            false => speak(&spoken)?,
        };
        let heard = sound(&path);
        if !is_file {
            // Ours, and no longer needed, also when it could not be heard.
            let _ = std::fs::remove_file(&path);
        }
        let heard = heard?;
        let mut lichen = assistant()?;
        let start = Instant::now();
        let reply = pollster::block_on(lichen.ask(&Turn::default(), Some(&heard), None, MOST))?;
        let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
        for action in &reply.actions {
            println!("{}", serde_json::to_string(action).map_err(|e| Error::Other(e.to_string()))?);
        }
        println!("{}", reply.text);
        eprintln!("{:.1} s of sound, {milliseconds:.0} ms to the whole answer", heard.frames.len() as f64 / 4000.0);
        Ok(())
    })
}
