//! Lessons: what a model knows after it was told, in the same conversation or by sections that it wrote.

use super::asker::Asker;
use super::{Report, answers, some, step, suite_of, wrong};
use crate::args::EvalArgs;
use crate::failure::{Done, Failure};
use crate::output::note;
use crate::{learn, load, readers, recall};
use lichen::data::{Speaker, Turn};
use lichen::learn::{Learner, Phase, Step, Teaching, opening};
use lichen::phrase::hash;
use lichen::plastic::Written;
use lichen::{Memory, Store};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

/// Most tokens of an answer.
const MOST: usize = 96;
/// Cosine from which on what was said is taken to be about what is asked, in the comparison with retrieval.
const NEAR: f32 = 0.6;
/// Where a memory's cache holds [`Taught`].
const TAUGHT: u64 = 1;
/// Lessons whose direct probes tell how much is kept.
const FIRST: usize = 50;

/// A lesson with what should be known after it.
#[derive(Deserialize)]
struct Lesson {
    id: String,
    teach: Vec<String>,
    probes: Vec<Probe>,
    #[serde(default)]
    unrelated: Vec<Unrelated>,
    /// The fact, where it has a name: of lessons about the same one the last counts.
    about: Option<String>,
    /// The id of an older lesson that this one corrects.
    replaces: Option<String>,
}

/// What was taught so far, for a run that goes on from there.
#[derive(Serialize, Deserialize)]
struct Taught {
    /// Of the suite's lessons.
    suite: u64,
    /// For each lesson its number in the memory; none where it was refused.
    ids: Vec<Option<u64>>,
    /// How long each took.
    seconds: Vec<f64>,
}

impl Taught {
    /// What a memory says, and its open sections.
    fn read(memory: &Memory, lessons: &[Lesson]) -> Done<(Self, HashMap<u64, Written>)> {
        let told: Vec<&str> = lessons.iter().flat_map(|lesson| &lesson.teach).map(String::as_str).collect();
        let suite = hash(&told.join("\n"));
        let done = match memory.cached(TAUGHT)? {
            Some(bytes) => serde_json::from_slice(&bytes).ok(),
            None if memory.last()?.is_none() => Some(Self { suite, ids: Vec::new(), seconds: Vec::new() }),
            None => None,
        };
        let done = done.filter(|done: &Self| done.suite == suite && done.ids.len() == done.seconds.len());
        let other = || Failure::Usage("the memory is not of an earlier run with these lessons".into());
        let done = done.ok_or_else(other)?;
        let open = memory.open_lessons()?.into_iter().map(|id| Ok((id, memory.section(id)?)));
        Ok((done, open.collect::<Done<_>>()?))
    }
    /// The lesson of the suite that has this number.
    fn lesson(&self, id: u64) -> Option<usize> {
        self.ids.iter().position(|taught| *taught == Some(id))
    }
}

/// A prompt whose answer must stay, byte for byte.
#[derive(Deserialize)]
struct Unrelated {
    prompt: String,
    /// The fact that the answer depends on: where another lesson tells it, the answer may change.
    about: Option<String>,
}

#[derive(Deserialize)]
struct Probe {
    prompt: String,
    expect: Vec<String>,
    kind: Kind,
    /// Said first, in the same conversation, and true from then on.
    say: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Direct,
    Paraphrase,
    Applied,
    Conflict,
}

fn read(args: &EvalArgs, files: &[PathBuf]) -> Done<Vec<Lesson>> {
    let mut lessons = Vec::new();
    for file in files {
        lessons.extend(readers::lines::<Lesson>(file)?);
    }
    Ok(some(lessons, args.most))
}

/// Asks a probe in a conversation of its own, after something was said in it.
fn passes(asker: &mut Asker, lesson: &Lesson, probe: &Probe, said: &[String]) -> Done<bool> {
    asker.forget()?;
    for said in said.iter().chain(&probe.say) {
        asker.ask(&Turn::new(Speaker::User, said), None, MOST)?;
    }
    let reply = asker.ask(&Turn::new(Speaker::User, &probe.prompt), None, MOST)?;
    let whole = reply.whole().to_lowercase();
    let right = probe.expect.iter().any(|want| whole.contains(&want.to_lowercase()));
    if !right && let Some(want) = probe.expect.first() {
        wrong(&format!("{} / {}", lesson.teach.join(" / "), probe.prompt), want, &reply.whole());
    }
    Ok(right)
}

/// Each probe in a conversation of its own, after the lesson was said in it.
pub(super) fn in_context(args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let lessons = read(args, files)?;
    let mut passed: Vec<(Kind, bool)> = Vec::new();
    for (i, lesson) in lessons.iter().enumerate() {
        step(i, lessons.len())?;
        for probe in &lesson.probes {
            passed.push((probe.kind, passes(asker, lesson, probe, &lesson.teach)?));
        }
    }
    shares(&passed, report);
    report.set("n", lessons.len());
    report.set("in_context", true);
    Ok(())
}

/// All lessons are taught, one after the other in one memory; then each probe is asked in a conversation of its own,
/// in which nothing of any lesson was said.
pub(super) fn taught(args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let lessons = read(args, files)?;
    if args.model.memory_budget.is_some() {
        return Err(Failure::Usage("lessons need all sections in memory: leave --memory-budget out".into()));
    }
    let model = load::to_learn(args.model.model.as_deref(), args.model.device.threads)?;
    let mut memory = match &args.memory {
        Some(path) => recall::to_write(path, model.header(), "eval")?,
        None => Memory::open(Store::in_memory().map_err(lichen::Error::from)?, &model)?,
    };
    let mut learner = learn::prepared(&model, Some(&mut memory), false)?;
    // What must stay is asked before anything is learned.
    let mut before = Vec::new();
    for prompt in staying(&lessons) {
        before.push(asker.alone(&Turn::new(Speaker::User, &prompt.prompt), None, MOST)?);
    }
    let able = abilities(args, asker)?;
    let (mut done, mut written) = Taught::read(&memory, &lessons)?;
    let mut longest = 0f64;
    let mut phases: Vec<(Phase, f64)> = Vec::new();
    for (i, lesson) in lessons.iter().enumerate().skip(done.seconds.len()) {
        step(i, lessons.len())?;
        let began = Instant::now();
        let said = lesson.teach.join(" ");
        let mut one = learner.begin(
            &Teaching::Statement(said.clone()),
            i as u64,
            written.iter().map(|(id, written)| (*id, written)),
        )?;
        let learned = loop {
            let (phase, began) = (one.phase(), Instant::now());
            let next = one.step(&mut learner)?;
            let took = began.elapsed().as_secs_f64();
            longest = longest.max(took);
            match phases.iter_mut().find(|(known, _)| *known == phase) {
                Some((_, sum)) => *sum += took,
                None => phases.push((phase, took)),
            }
            match next {
                Step::Going(..) => {}
                Step::Refused(why) => {
                    wrong(&said, "a lesson", &why);
                    break None;
                }
                Step::Done(learned) => break Some(learned),
            }
        };
        let mut id = None;
        if let Some(learned) = learned {
            if log::log_enabled!(log::Level::Info) {
                let r = &learned.receipt;
                let old = one.replaces().and_then(|old| done.lesson(old));
                let replaced = old.map_or(String::new(), |old| format!(", replaces {}", lessons[old].id));
                note(&format!(
                    "{}: {said:?}: {} frames, {} guards, loss {:.3} to {:.3}, drift {:.3}, {} of {} as wanted{replaced}",
                    lesson.id, r.frames, r.guards, r.loss_before, r.loss_after, r.drift, r.passed, r.checked
                ));
                learned.frames.iter().take(40).for_each(|(prompt, answer)| log::debug!("    {prompt:?} -> {answer:?}"));
            }
            let number = memory.commit(&learned, None, 0, one.replaces())?;
            one.replaces().map(|old| written.remove(&old));
            written.insert(number, learned.written);
            id = Some(number);
        }
        done.ids.push(id);
        done.seconds.push(began.elapsed().as_secs_f64());
        memory.put_cached(TAUGHT, &serde_json::to_vec(&done).unwrap_or_default())?;
    }
    let phases = phases.iter().map(|(phase, sum)| format!("{phase:?} {:.2}", sum / lessons.len().max(1) as f64));
    log::info!("seconds a lesson: {}", phases.collect::<Vec<_>>().join(", "));
    let pool = pollster::block_on(memory.pool(&model))?;
    let mut asker = Asker::with_plastic(&model, pool.plastic().clone())?;
    let tell_open = |learner: &mut Learner, prompt: &str| tell_open(learner, &lessons, &done, &written, prompt);
    let (mut passed, mut first) = (Vec::new(), Vec::new());
    for (i, lesson) in lessons.iter().enumerate() {
        step(i, lessons.len())?;
        for probe in counting(&lessons, i) {
            let right = passes(&mut asker, lesson, probe, &[])?;
            if !right {
                tell_open(&mut learner, &probe.prompt)?;
            }
            passed.push((probe.kind, right));
            if probe.kind == Kind::Direct && i < FIRST {
                first.push(right);
            }
        }
    }
    let mut same = Vec::new();
    for (prompt, before) in staying(&lessons).into_iter().zip(&before) {
        let after = asker.alone(&Turn::new(Speaker::User, &prompt.prompt), None, MOST)?;
        if after != *before {
            wrong(&prompt.prompt, &before.whole(), &after.whole());
            tell_open(&mut learner, &prompt.prompt)?;
        }
        same.push(after == *before);
    }
    shares(&passed, report);
    report.share("locality", &same);
    report.share("retention", &first);
    let mut worst = None;
    for ((list, before), after) in args.forgetting.iter().zip(&able).zip(abilities(args, &mut asker)?) {
        let drop = (before - after) / before.max(1e-9);
        report.lines.push(format!(
            "forgetting      {:6.2}%  ({}: {before:.4} to {after:.4})",
            100.0 * drop,
            list.display()
        ));
        worst = Some(worst.map_or(drop, |worst: f64| worst.max(drop)));
    }
    if let Some(worst) = worst {
        report.set("forgetting", worst);
    }
    let mean = done.seconds.iter().sum::<f64>() / done.seconds.len().max(1) as f64;
    let refused = done.ids.iter().filter(|id| id.is_none()).count();
    let bytes = written.values().next().map_or(0, Written::bytes);
    report.lines.push(format!(
        "{} lessons, {refused} refused, {mean:.1} s each (no step above {:.0} ms), {bytes} bytes each",
        lessons.len(),
        1e3 * longest
    ));
    report.set("n", lessons.len());
    report.set("refused", refused);
    report.set("lesson_s", mean);
    report.set("longest_step_s", longest);
    report.set("lesson_bytes", bytes);
    report.set("in_context", false);
    Ok(())
}

/// How good an asker is at the lists of other suites.
fn abilities(args: &EvalArgs, asker: &mut Asker) -> Done<Vec<f64>> {
    let whole = EvalArgs { most: None, ..args.clone() };
    let able = |list: &PathBuf| {
        let suite = suite_of(list)?;
        let mut report = Report::empty();
        answers(suite, &whole, std::slice::from_ref(list), asker, &mut report)?;
        report.main().ok_or_else(|| Failure::Failed(format!("there is nothing to measure in {}", list.display())))
    };
    args.forgetting.iter().map(able).collect()
}

/// Probes of a lesson to which its answer is the right one: where a newer lesson tells the same fact, only those that
/// are asked after something else was said.
fn counting(lessons: &[Lesson], i: usize) -> impl Iterator<Item = &Probe> {
    let lesson = &lessons[i];
    let newer = lessons[i + 1..].iter().any(|newer| {
        newer.replaces.as_ref() == Some(&lesson.id) || newer.about.is_some() && newer.about == lesson.about
    });
    lesson.probes.iter().filter(move |probe| probe.say.is_some() || !newer)
}

/// Says with -v which lessons open for a prompt, and how far.
fn tell_open(
    learner: &mut Learner,
    lessons: &[Lesson],
    done: &Taught,
    written: &HashMap<u64, Written>,
    prompt: &str,
) -> Done {
    if !log::log_enabled!(log::Level::Info) {
        return Ok(());
    }
    for turn in learner.turns([prompt].into_iter())? {
        let name = |id: &u64| done.lesson(*id).map_or("", |i| &lessons[i].id);
        let mut open: Vec<(f32, &str)> = written.iter().map(|(id, w)| (opening(w, prompt, &turn), name(id))).collect();
        open.retain(|(open, _)| *open > 0.0);
        open.sort_by(|a, b| b.0.total_cmp(&a.0));
        let open: Vec<String> = open.iter().map(|(open, id)| format!("{id} {open:.2}")).collect();
        note(&format!("    open: {}", if open.is_empty() { "nothing".into() } else { open.join(", ") }));
    }
    Ok(())
}

/// The other way to remember, for comparison: nothing is learned; what was said about what is asked, as far as the
/// vectors of turns tell, is said again before it, in the same conversation.
pub(super) fn retrieved(args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let lessons = read(args, files)?;
    let model = load::to_learn(args.model.model.as_deref(), args.model.device.threads)?;
    let mut learner = Learner::new(model)?;
    let told: Vec<String> = lessons.iter().map(|lesson| lesson.teach.join(" ")).collect();
    let keys = learner.turns(told.iter().map(String::as_str))?;
    let mut found = |prompt: &str| -> Done<Option<usize>> {
        let turns = learner.turns([prompt].into_iter())?;
        let near = turns.first().and_then(|turn| {
            let near = keys.iter().map(|key| cosine(key, turn)).enumerate();
            // Of equals the newest.
            near.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, near)| *near >= NEAR)
        });
        Ok(near.map(|(i, _)| i))
    };
    let mut passed = Vec::new();
    for (i, lesson) in lessons.iter().enumerate() {
        step(i, lessons.len())?;
        for probe in counting(&lessons, i) {
            let said = found(&probe.prompt)?.map_or(&[][..], |i| &lessons[i].teach);
            passed.push((probe.kind, passes(asker, lesson, probe, said)?));
        }
    }
    let mut same = Vec::new();
    for prompt in staying(&lessons) {
        let turn = Turn::new(Speaker::User, &prompt.prompt);
        let Some(i) = found(&prompt.prompt)? else {
            same.push(true);
            continue;
        };
        let before = asker.alone(&turn, None, MOST)?;
        asker.forget()?;
        for said in &lessons[i].teach {
            asker.ask(&Turn::new(Speaker::User, said), None, MOST)?;
        }
        same.push(asker.ask(&turn, None, MOST)? == before);
    }
    shares(&passed, report);
    report.share("locality", &same);
    report.set("n", lessons.len());
    report.set("baseline", "retrieval");
    Ok(())
}

/// Lessons that another way has kept in the weights of another model: probes are asked of that one, and what must stay
/// of both.
pub(super) fn kept(
    by: &std::path::Path,
    args: &EvalArgs,
    files: &[PathBuf],
    asker: &mut Asker,
    report: &mut Report,
) -> Done {
    let lessons = read(args, files)?;
    let model = load::to_learn(Some(by), args.model.device.threads)?;
    let mut other = Asker::new(&model)?;
    let mut passed = Vec::new();
    for (i, lesson) in lessons.iter().enumerate() {
        step(i, lessons.len())?;
        for probe in counting(&lessons, i) {
            passed.push((probe.kind, passes(&mut other, lesson, probe, &[])?));
        }
    }
    let mut same = Vec::new();
    for prompt in staying(&lessons) {
        let turn = Turn::new(Speaker::User, &prompt.prompt);
        let (before, after) = (asker.alone(&turn, None, MOST)?, other.alone(&turn, None, MOST)?);
        if before != after {
            wrong(&prompt.prompt, &before.whole(), &after.whole());
        }
        same.push(before == after);
    }
    shares(&passed, report);
    report.share("locality", &same);
    report.set("n", lessons.len());
    report.set("kept_by", model.id());
    Ok(())
}

/// Prompts whose answers no lesson should change.
fn staying(lessons: &[Lesson]) -> Vec<&Unrelated> {
    let told = |about: &Option<String>| about.is_some() && lessons.iter().any(|lesson| lesson.about == *about);
    lessons.iter().flat_map(|lesson| &lesson.unrelated).filter(|prompt| !told(&prompt.about)).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-12)
}

fn shares(passed: &[(Kind, bool)], report: &mut Report) {
    let of = |kinds: &[Kind]| -> Vec<bool> {
        passed.iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, right)| *right).collect()
    };
    report.share("efficacy", &of(&[Kind::Direct]));
    report.share("generalisation", &of(&[Kind::Paraphrase, Kind::Applied]));
    report.share("paraphrase", &of(&[Kind::Paraphrase]));
    report.share("applied", &of(&[Kind::Applied]));
    report.share("conflict", &of(&[Kind::Conflict]));
}
