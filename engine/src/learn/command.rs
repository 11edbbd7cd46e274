//! Commands: a statement may say what to do at words of its own ("when I say movie time, dim the lights"). A model that is
//! told one takes note of it in two halves, the words before a colon and what is to be done behind it. So the words are
//! found in what was said, the unchanged model knows how to do the rest, and nothing but saying the words opens the
//! section.

use super::copies::mended;
use super::frames::text;
use super::lesson::{Frame, Lesson, Step};
use super::{ANSWERS, Learner, ask};
use crate::action::{self, Action};
use crate::assistant::Reply;
use crate::error::Error;
use crate::phrase::Phrase;
use std::collections::HashSet;

/// Words of a statement that are looked at for a command's own.
const MOST_WORDS: usize = 24;
/// Most words of a part.
const LONGEST: usize = 6;
/// Of so many prompts of the bank one may have a command's words: what is said all the time can call nothing.
const RARE: usize = 100;
/// What stands between the halves of a note.
const HALVES: &str = ": ";
/// What stands between the steps of what is to be done.
const STEPS: &str = ", ";
/// Ways to say a command's own words.
const CALLS: [&str; 6] = ["{}", "ok, {}", "{}, please", "hey, it is {} now", "and now {}", "lichen, {}"];
/// Ways to ask what they do.
const ASKS: [&str; 4] =
    ["what is {} for", "what do you do on {}", "what happens when i say {}", "tell me what {} means"];

/// A command that is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Command {
    /// The tokens that do it.
    acting: Vec<u32>,
    /// The same in words, as answers tell it.
    told: String,
    /// Parts of the statement that may be its words.
    parts: Vec<String>,
    /// What the model that heard it took for the words, for each part that was said to it.
    heads: Vec<String>,
}

impl Command {
    /// What a statement tells is a command if the unchanged model does what stands behind the colon of the note.
    fn told(learner: &mut Learner, said: &str, note: &[u32]) -> Result<Option<Self>, Error> {
        let tokenizer = learner.model.tokenizer().clone();
        let note = Reply::read(&tokenizer, &mended(&tokenizer, said, &HashSet::new(), note));
        let Some((head, told)) = note.text.split_once(HALVES).filter(|_| note.takes_note()) else { return Ok(None) };
        let rare = |phrase: Phrase| {
            RARE * learner.known.iter().filter(|known| phrase.is_in(&known.prompt)).count() <= learner.known.len()
        };
        let fits = |part: &String| Phrase::new(part).is_some_and(|phrase| phrase.is_in(head) && rare(phrase));
        let parts: Vec<String> = parts(said).into_iter().filter(fits).collect();
        // Asked for all of it at once, it may do the last step alone.
        let all = told.trim_end_matches(|c: char| c.is_ascii_punctuation()).split(STEPS).map(str::to_string).collect();
        let known = learner.answer(all)?;
        let steps: Vec<Vec<Action>> =
            known.iter().map(|known| action::read(&tokenizer, &known.answer).actions).collect();
        let catalogue = learner.model.header().actions.as_ref();
        let acting = steps.iter().flatten().map(|action| catalogue?.encode(&tokenizer, action).ok());
        let acting = acting.collect::<Option<Vec<_>>>();
        let does = |step: &Vec<Action>| !step.is_empty() && step.iter().all(|action| action.name != action::UNKNOWN);
        let Some(acting) = acting.filter(|_| steps.iter().all(does) && !parts.is_empty()) else { return Ok(None) };
        Ok(Some(Self { acting: acting.concat(), told: told.to_string(), parts, ..Self::default() }))
    }

    /// The part that answers took for the words, that to the part itself as much as all of them; of equals the longest.
    fn words(&self) -> &str {
        let alike = |(i, part): (usize, &String)| {
            let part = part.to_lowercase();
            let all = self.heads.iter().map(|head| strsim::normalized_levenshtein(&part, head)).collect::<Vec<_>>();
            all.get(i).copied().unwrap_or_default() + all.iter().sum::<f64>() / all.len().max(1) as f64
        };
        let scores = self.parts.iter().enumerate().map(|(i, part)| (alike((i, part)), part));
        let best = scores.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.len().cmp(&b.1.len())));
        best.map_or("", |(_, part)| part)
    }
}

impl Lesson {
    /// Looks for a command in what was said, a few parts of it at a time.
    pub(super) fn call(&mut self, learner: &mut Learner) -> Result<Step, Error> {
        let Some(mut command) = self.command.take() else {
            self.command = Command::told(learner, self.teaching.said(), &self.note)?;
            return if self.command.is_none() { self.choose(learner) } else { Ok(self.still(self.at + 1)) };
        };
        let next: Vec<String> = command.parts.iter().skip(command.heads.len()).take(ANSWERS).cloned().collect();
        for part in &next {
            let answer = self.heard(learner, part)?;
            let answer = Reply::read(learner.model.tokenizer(), &answer);
            let head = answer.text.split_once(HALVES).filter(|_| !answer.actions.is_empty());
            command.heads.push(head.map_or_else(String::new, |(head, _)| head.to_lowercase()));
        }
        if next.is_empty() {
            self.called(learner, &command)?;
        }
        self.command = Some(command);
        if next.is_empty() { self.choose(learner) } else { Ok(self.still(self.at + 1)) }
    }

    /// How a command is called and asked about. It is about nothing else.
    fn called(&mut self, learner: &mut Learner, command: &Command) -> Result<(), Error> {
        let (tokenizer, words) = (learner.model.tokenizer().clone(), command.words());
        self.phrase = Phrase::new(words);
        self.frames.clear();
        self.about.clear();
        let mut chars = words.chars();
        let capital: String = chars.next().map_or_else(String::new, |first| first.to_uppercase().collect());
        let said = tokenizer.encode(&format!("{capital}{}{HALVES}{}", chars.as_str(), command.told));
        let acting = [&command.acting[..], &said].concat();
        for way in CALLS {
            self.frame(learner, way.replace("{}", words), acting.clone())?;
        }
        for way in ASKS {
            let asked = way.replace("{}", words);
            let answer = self.heard(learner, &asked)?;
            let answer = mended(&tokenizer, self.teaching.said(), &HashSet::new(), &answer);
            // It is told right, or not at all.
            let whole = text(&tokenizer, &answer);
            if whole.ends_with(&command.told) && self.phrase.is_some_and(|phrase| phrase.is_in(&whole)) {
                self.frame(learner, asked, answer)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, learner: &mut Learner, prompt: String, answer: Vec<u32>) -> Result<(), Error> {
        self.about.push(self.prompts.len());
        self.frames.push(Frame { prompt: self.prompts.len(), answer });
        self.prompts.extend(learner.answer(vec![prompt])?);
        Ok(())
    }

    /// What the model answers that heard the statement.
    fn heard(&self, learner: &mut Learner, prompt: &str) -> Result<Vec<u32>, Error> {
        let state = self.state.as_ref().ok_or_else(|| Error::Memory("a lesson was not heard".into()))?;
        learner.session.restore(state)?;
        ask(&mut learner.session, &learner.sampler, prompt)
    }
}

/// Parts of a statement, of one to six words, that no comma or the like cuts.
fn parts(statement: &str) -> Vec<String> {
    let words: Vec<&str> = statement.split_whitespace().take(MOST_WORDS).collect();
    let ends = |word: &str| word.ends_with([',', '.', ';', ':', '?', '!']);
    let mut all: Vec<String> = Vec::new();
    for at in 0..words.len() {
        for n in 1..=LONGEST.min(words.len() - at) {
            let part = &words[at..at + n];
            if part[..n - 1].iter().any(|word| ends(word)) {
                break;
            }
            let part = part.join(" ").trim_matches(|c: char| c.is_ascii_punctuation()).to_string();
            if !part.is_empty() && !all.contains(&part) {
                all.push(part);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_parts() {
        let all = parts("on \"movie time\", dim it");
        assert_eq!(all, ["on", "on \"movie", "on \"movie time", "movie", "movie time", "time", "dim", "dim it", "it"]);
        assert!(parts(", . !").is_empty());
    }

    #[test]
    fn its_words_are_what_answers_take_for_them() {
        let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let command =
            |parts: &[&str], heads: &[&str]| Command { parts: owned(parts), heads: owned(heads), ..Command::default() };
        let rainy = command(&["rainy", "rainy day", "day"], &["rumy day", "rumy day", "sundayy day"]);
        assert_eq!(rainy.words(), "rainy day");
        assert_eq!(command(&["I", "broran", "broran I"], &["broran i go", "broran", "broran i go"]).words(), "broran");
        assert_eq!(command(&["rainy", "rainy day", "day"], &["", "", ""]).words(), "rainy day");
        assert_eq!(Command::default().words(), "");
    }
}
