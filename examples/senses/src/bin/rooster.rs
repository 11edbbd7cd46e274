//! Sees a rooster, hears one crow and reads its name, through the same sections: what does it make of each, and how much
//! do the three share? Other files may be given: `rooster PICTURE WAV WORD`.

use lichen::data::{Encoder, Example, Turn};
use lichen::session::Session;
use lichen_senses::{Error, MOST, assistant, input, model, picture, run, sound, words};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    run(|arguments| {
        let file = |i: usize, name: &str| arguments.get(i).map_or_else(|| input(name), PathBuf::from);
        let (seen, heard) = (picture(&file(0, "rooster.png"))?, sound(&file(1, "crow.wav"))?);
        let word = arguments.get(2).map_or("rooster", String::as_str);
        let mut lichen = assistant()?;
        let nothing = Turn::default();
        let says = pollster::block_on(lichen.ask(&nothing, None, Some(&seen), MOST))?.text;
        println!("sees   {says}");
        lichen.forget()?;
        let says = pollster::block_on(lichen.ask(&nothing, Some(&heard), None, MOST))?.text;
        println!("hears  {says}");
        println!("reads  {word}");

        let model = model()?;
        let mut session = Session::new(model.clone())?;
        let mut route = |turn: &Turn, fill: &dyn Fn(&mut Example)| -> Result<_, Error> {
            session.reset()?;
            let mut example = Encoder::new(model.tokenizer(), None).prompt(turn, false)?;
            fill(&mut example);
            Ok(pollster::block_on(session.perceive_routed(&example))?)
        };
        let by_eye = route(&Turn { seen: true, ..Turn::default() }, &|e| e.see(&seen))?;
        let by_ear = route(&Turn { heard: true, ..Turn::default() }, &|e| e.hear(&heard))?;
        let by_word = route(&words(word), &|_| {})?;
        let unrelated = route(&words("what is the capital of france"), &|_| {})?;
        println!("shared sections and shared heat, means over layers (1: the same, 0: nothing)");
        for (name, a, b) in [
            ("picture ~ crow", &by_eye, &by_ear),
            ("picture ~ word", &by_eye, &by_word),
            ("crow ~ word", &by_ear, &by_word),
            ("picture ~ unrelated words", &by_eye, &unrelated),
            ("crow ~ unrelated words", &by_ear, &unrelated),
            ("word ~ unrelated words", &by_word, &unrelated),
        ] {
            let (sets, heat) = a.overlap(b);
            println!("{sets:.2} {heat:.2}  {name}");
        }
        Ok(())
    })
}
