//! `lichen learn`: one lesson, written into sections of the memory.

use crate::args::LearnArgs;
use crate::failure::{Done, Failure};
use crate::input::Input;
use crate::output::{bytes, faint, note, print, print_json};
use crate::sets::senses::Sense;
use crate::{interrupt, load, output, recall};
use lichen::Model;
use lichen::learn::{KNOWN, Learned, Learner, Lesson, Phase, Receipt, Step, Teaching, name};
use lichen::memory::Memory;
use lichen::plastic::Written;
use serde_json::json;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(crate) fn learn(args: &LearnArgs) -> Done {
    let teaching = teaching(args)?;
    let model = load::to_learn(args.model.as_deref(), args.threads)?;
    let path = recall::path(args.memory.as_deref(), model.header().lineage()).ok_or_else(recall::nowhere)?;
    interrupt::listen();
    let mut memory = match args.check {
        // A dry run changes nothing, not even a memory that is not there yet.
        true => recall::to_read(&path, model.header())?,
        false => Some(recall::to_write(&path, model.header(), "learn")?),
    };
    if let Some(memory) = &mut memory {
        memory.keep_texts = !args.no_texts;
    }
    let mut learner = prepared(&model, memory.as_mut(), args.check)?;
    match &mut memory {
        Some(memory) if !args.check => learn_for_good(&mut learner, &teaching, memory, args.json),
        memory => {
            let began = Instant::now();
            let (learned, replaces) = teach(&mut learner, &teaching, memory.as_ref())?;
            let seconds = began.elapsed().as_secs_f64();
            Taught { teaching: &teaching, learned: &learned, replaces, seconds }.show(None, args.json)
        }
    }
}

/// Teaches, commits, and shows the receipt.
pub(crate) fn learn_for_good(learner: &mut Learner, teaching: &Teaching, memory: &mut Memory, as_json: bool) -> Done {
    let began = Instant::now();
    let (learned, replaces) = teach(learner, teaching, Some(memory))?;
    let seconds = began.elapsed().as_secs_f64();
    let id = memory.commit(&learned, Some(&teaching.to_string()), seconds_since_1970(), replaces)?;
    Taught { teaching, learned: &learned, replaces, seconds }.show(Some(id), as_json)
}

/// What the arguments teach.
fn teaching(args: &LearnArgs) -> Done<Teaching> {
    let shown = match (&args.image, &args.audio) {
        (Some(image), _) => Some(Input::default().seeing(image)?),
        (_, Some(audio)) => Some(Input::default().hearing(audio)?),
        _ => None,
    };
    if let Some(shown) = shown.and_then(Input::shown) {
        return Ok(naming(&shown, &args.statement.join(" ")));
    }
    match (&args.statement[..], &args.ask, &args.answer) {
        ([], Some(ask), Some(answer)) => Ok(Teaching::Answer { ask: ask.clone(), answer: answer.clone() }),
        ([], _, _) => Err(Failure::Usage("say what to learn: lichen learn \"I take my coffee without sugar\"".into())),
        (words, _, _) => Ok(Teaching::Statement(words.join(" "))),
    }
}

/// What gives something its name.
pub(crate) fn naming(shown: &Sense, said: &str) -> Teaching {
    Teaching::Name { shown: shown.shown(), name: name(said) }
}

/// A learner that knows the unchanged model's answers: those that the memory keeps, or all anew.
pub(crate) fn prepared(model: &Arc<Model>, memory: Option<&mut Memory>, read_only: bool) -> Done<Learner> {
    let mut learner = Learner::new(model.clone())?;
    let kept = memory.as_ref().map(|memory| memory.cached(KNOWN)).transpose()?.flatten();
    if let Some(kept) = kept {
        learner.recall(&kept)?;
    }
    let mut found = false;
    loop {
        let before = learner.answered();
        let (known, all) = learner.prepare()?;
        found |= known > before;
        if known == all {
            break;
        }
        progress("preparing, once for this model", known as f32 / all as f32)?;
    }
    clear();
    if let Some(memory) = memory.filter(|_| found && !read_only) {
        memory.put_cached(KNOWN, &learner.known())?;
    }
    Ok(learner)
}

/// Teaches; gives what was learned, and the lesson that it replaces.
fn teach(learner: &mut Learner, teaching: &Teaching, memory: Option<&Memory>) -> Done<(Learned, Option<u64>)> {
    let mut earlier: Vec<(u64, Written)> = Vec::new();
    if let Some(memory) = memory {
        for id in memory.open_lessons()? {
            earlier.push((id, memory.section(id)?));
        }
    }
    let number = earlier.iter().map(|(id, _)| id + 1).max().unwrap_or(1);
    let mut lesson = learner.begin(teaching, number, earlier.iter().map(|(id, written)| (*id, written)))?;
    let learned = steps(&mut lesson, learner);
    clear();
    Ok((learned?, lesson.replaces()))
}

fn steps(lesson: &mut Lesson, learner: &mut Learner) -> Done<Learned> {
    loop {
        match lesson.step(learner)? {
            Step::Going(phase, share) => progress(doing(phase), share)?,
            Step::Done(learned) => return Ok(*learned),
            Step::Refused(why) => return Err(Failure::Failed(format!("not learned: {why}"))),
        }
    }
}

pub(crate) fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Hearing => "listening",
        Phase::Asking => "asking itself",
        Phase::Answering => "finding what changes",
        Phase::Choosing => "choosing what opens it",
        Phase::Training => "writing",
        Phase::Checking => "checking",
    }
}

/// Shows how far something is, and ends it on Ctrl-C.
pub(crate) fn progress(what: &str, share: f32) -> Done {
    if interrupt::pressed() {
        clear();
        return Err(Failure::Interrupted("stopped; nothing was changed".into()));
    }
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what} {:.0}%", 100.0 * share);
    }
    Ok(())
}

pub(crate) fn clear() {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

pub(crate) fn seconds_since_1970() -> u64 {
    // A clock before 1970 is wrong; a lesson is worth more than its date.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A lesson that was learned.
struct Taught<'a> {
    teaching: &'a Teaching,
    learned: &'a Learned,
    replaces: Option<u64>,
    seconds: f64,
}

impl Taught<'_> {
    /// Prints the receipt; `id` is the lesson's number if it was committed.
    fn show(&self, id: Option<u64>, as_json: bool) -> Done {
        let Learned { written, receipt, frames } = self.learned;
        let size = written.bytes();
        if as_json {
            let mut all = json!(receipt);
            all["id"] = json!(id);
            all["replaces"] = json!(self.replaces);
            all["sections"] = json!(written.slabs.len());
            all["bytes"] = json!(size);
            all["seconds"] = json!(self.seconds);
            return print_json(&all);
        }
        let number = id.map_or("would be learned".to_string(), |id| format!("lesson {id}"));
        let replaces = self.replaces.map_or(String::new(), |old| format!(", in place of lesson {old}"));
        print(&format!("{number}{replaces}\n"))?;
        lines(receipt, size as u64, written.slabs.len(), self.seconds).iter().try_for_each(|line| print(line))?;
        if let Teaching::Name { name, .. } = self.teaching {
            note(&faint(&output::for_terminal(&format!("its name from now on: {name}"))));
        }
        if let Some((prompt, answer)) = frames.first() {
            note(&faint(&output::for_terminal(&format!("for example: {prompt} - {answer}"))));
        }
        Ok(())
    }
}

fn lines(receipt: &Receipt, size: u64, sections: usize, seconds: f64) -> [String; 3] {
    [
        format!("written   one section in each of {sections} layers, {}, in {seconds:.1} s\n", bytes(size)),
        format!(
            "trained   {} prompts whose answers change: loss {:.2} to {:.2}; {} that stay: drift {:.3} nats a token\n",
            receipt.frames, receipt.loss_before, receipt.loss_after, receipt.guards, receipt.drift
        ),
        format!("checked   {} of {} answers as they should be\n", receipt.passed, receipt.checked),
    ]
}
