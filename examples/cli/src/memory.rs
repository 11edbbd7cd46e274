//! `lichen memory`: what was learned on this device, and taking it back.

use crate::args::{MemoryArgs, MemoryCommand};
use crate::failure::{Done, Failure};
use crate::output::{bytes, note, print, print_json};
use crate::{files, load, output, recall};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lichen::Header;
use lichen::learn::recited;
use lichen::memory::{Imported, Lesson, Memory, Problem, Texts};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

pub(crate) fn memory(args: &MemoryArgs) -> Done {
    let model = args.model.as_deref();
    let header = load::header(model, &load::bytes(model)?)?;
    let path = recall::path(args.memory.as_deref(), header.lineage()).ok_or_else(recall::nowhere)?;
    let at = At { path, model: args.model.clone(), header };
    match &args.command {
        MemoryCommand::List(args) => at.list(args.json),
        MemoryCommand::Show { id, json } => at.show(*id, *json),
        MemoryCommand::Undo { id } => at.undo(*id),
        MemoryCommand::Export { file, no_texts, yes } => at.export(file, !no_texts, *yes),
        MemoryCommand::Import { file } => at.import(file),
        MemoryCommand::Verify { hashes, json } => at.verify(*hashes, *json),
        MemoryCommand::Clear { yes } => at.clear(*yes),
        MemoryCommand::EraseTexts => at.erase_texts(),
    }
}

/// A memory that may not be there yet, and its model.
struct At {
    path: PathBuf,
    /// The model's file; none for the built-in one.
    model: Option<PathBuf>,
    header: Header,
}

/// How a lesson's prompts were answered.
struct Recited {
    lesson: u64,
    right: usize,
    of: usize,
}

impl At {
    fn read(&self) -> Done<Option<Memory>> {
        recall::to_read(&self.path, &self.header)
    }
    /// To change what is there; none where nothing is, and then nothing is made.
    fn change(&self, what: &str) -> Done<Option<Memory>> {
        match recall::exists(&self.path) {
            true => recall::to_write(&self.path, &self.header, what).map(Some),
            false => Ok(None),
        }
    }

    fn list(&self, as_json: bool) -> Done {
        let lessons = self.read()?.map_or_else(|| Ok(Vec::new()), |memory| memory.list())?;
        if as_json {
            let lessons: Vec<Value> = lessons.iter().map(lesson_json).collect();
            let path = self.path.display().to_string();
            return print_json(&json!({ "memory": path, "model": self.header.id, "lessons": lessons }));
        }
        if lessons.is_empty() {
            note("nothing was learned yet");
        }
        lines(&lessons).iter().try_for_each(|line| print(&format!("{}\n", shown(line))))
    }

    fn show(&self, id: u64, as_json: bool) -> Done {
        let memory = self.read()?.ok_or_else(|| no_lesson(id))?;
        let lesson = memory.show(id)?;
        if as_json {
            let mut value = lesson_json(&lesson);
            value["receipt"] = json!(lesson.receipt);
            value["frames"] = lesson.texts.map_or(Value::Null, |texts| json!(texts.frames));
            return print_json(&value);
        }
        details(&lesson).iter().try_for_each(|line| print(&format!("{}\n", shown(line))))
    }

    fn undo(&self, id: Option<u64>) -> Done {
        let memory = match (self.change("memory undo")?, id) {
            (Some(memory), _) => memory,
            (None, Some(id)) => return Err(no_lesson(id)),
            (None, None) => return Err(nothing()),
        };
        undo(memory, id).map(drop)
    }

    fn export(&self, file: &Path, texts: bool, yes: bool) -> Done {
        let memory = self.read()?.ok_or_else(nothing)?;
        let lessons = memory.list()?.len();
        let exported = memory.export(texts)?;
        files::check_writable(file)?;
        files::may_overwrite(file, yes)?;
        let cannot = |e: io::Error| Failure::file("write", file, &e);
        files::write(file, |out| private(out.get_ref()).and_then(|()| out.write_all(&exported)).map_err(cannot))?;
        note(&format!("{}: {}, {}", file.display(), count(lessons, "lesson"), bytes(exported.len() as u64)));
        Ok(())
    }

    fn import(&self, file: &Path) -> Done {
        let exported = files::map(file)?;
        let mut memory = recall::to_write(&self.path, &self.header, "memory import")?;
        let imported = memory.import(&exported).map_err(Failure::with(format!("cannot import {}", file.display())))?;
        let (model, texts, untold) = match imported {
            Imported::Lessons { added, known } => {
                let known = if known.is_empty() { String::new() } else { format!(", {} known before", known.len()) };
                note(&format!("{} learned{known}", count(added.len(), "lesson")));
                return Ok(());
            }
            Imported::Texts { model, texts, untold } => (model, texts, untold),
        };
        for said in texts.iter().map(Texts::line) {
            print(&format!("{}\n", shown(&said)))?;
        }
        let untold = if untold > 0 {
            format!(", without {} of which nothing is known", count(untold, "lesson"))
        } else {
            String::new()
        };
        Err(Failure::Failed(format!(
            "cannot import {}: it is of model {model}, this is {}; teach it again what was said, which stands on \
standard output{untold}",
            file.display(),
            self.header.id
        )))
    }

    fn verify(&self, hashes: bool, as_json: bool) -> Done {
        let memory = self.read()?;
        let mut problems = memory.as_ref().map_or_else(|| Ok(Vec::new()), Memory::verify)?;
        let lessons = match &memory {
            // What is damaged is not asked anything.
            Some(memory) if problems.is_empty() => memory.list()?,
            _ => Vec::new(),
        };
        let asked = match &memory {
            Some(memory) if !hashes => self.recite(memory, &lessons)?,
            _ => Vec::new(),
        };
        problems.extend(asked.iter().filter(|asked| asked.right * 4 < asked.of * 3).map(|asked| Problem {
            lesson: asked.lesson,
            what: format!("only {} of {} answers are as it taught them: teach it again", asked.right, asked.of),
        }));
        let path = self.path.display();
        if as_json {
            let all: Vec<Value> = problems.iter().map(|p| json!({ "lesson": p.lesson, "what": p.what })).collect();
            let asked: Vec<Value> = asked
                .iter()
                .map(|asked| json!({ "lesson": asked.lesson, "right": asked.right, "asked": asked.of }))
                .collect();
            let ok = problems.is_empty();
            print_json(&json!({ "memory": path.to_string(), "ok": ok, "problems": all, "answers": asked }))?;
        } else if problems.is_empty() {
            let bare = lessons
                .iter()
                .filter(|lesson| lesson.texts.as_ref().is_none_or(|texts| texts.frames.is_empty()))
                .count();
            let bare = match bare {
                0 => String::new(),
                _ => format!("; of {bare} nothing is kept that could be asked, so their sections alone were checked"),
            };
            print(&format!("{}, all as they were committed{bare}\n", count(lessons.len(), "lesson")))?;
            for Recited { lesson, right, of } in &asked {
                print(&format!("lesson {lesson}: {right} of {of} answers as it taught them\n"))?;
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        if !as_json {
            problems.iter().try_for_each(|problem| print(&format!("{problem}\n")))?;
        }
        Err(Failure::Failed(format!(
            "{path} is not as it should be in {}; import a backup into a new memory, undo the lesson, or clear all",
            count(problems.len(), "place")
        )))
    }

    /// Asks again what the open lessons taught, of those whose texts are kept.
    fn recite(&self, memory: &Memory, lessons: &[Lesson]) -> Done<Vec<Recited>> {
        let told = |lesson: &&Lesson| lesson.texts.as_ref().is_some_and(|t| !t.frames.is_empty());
        let told: Vec<&Lesson> = lessons.iter().filter(|l| l.replaced_by.is_none()).filter(told).collect();
        if told.is_empty() {
            return Ok(Vec::new());
        }
        let model = load::to_learn(self.model.as_deref(), None)?;
        let pool = pollster::block_on(memory.pool(&model))?;
        let mut session = load::session_with(&model, Some(&pool))?;
        let recite = |lesson: &&Lesson| {
            let frames = lesson.texts.as_ref().map_or(&[][..], |texts| &texts.frames);
            Ok(Recited { lesson: lesson.id, right: recited(&mut session, frames)?, of: frames.len() })
        };
        told.iter().map(recite).collect()
    }

    fn clear(&self, yes: bool) -> Done {
        if !recall::exists(&self.path) {
            note("nothing was learned yet");
            return Ok(());
        }
        if !yes {
            let asked = io::stdin().is_terminal() && io::stderr().is_terminal();
            let question = || files::confirm(&format!("take back all that was learned in {}?", self.path.display()));
            if !asked || !question() {
                let path = self.path.display();
                return Err(Failure::Failed(format!(
                    "{path} was left alone; add --yes to take back all that was learned"
                )));
            }
        }
        let mut memory = recall::to_write(&self.path, &self.header, "memory clear")?;
        note(&format!("{} taken back", count(memory.clear()?, "lesson")));
        scrub(&mut memory);
        Ok(())
    }

    fn erase_texts(&self) -> Done {
        let erased = match self.change("memory erase-texts")? {
            Some(mut memory) => {
                let erased = memory.erase_texts()?;
                scrub(&mut memory);
                erased
            }
            None => 0,
        };
        note(&format!("what was said in {} is erased; what was learned stays", count(erased, "lesson")));
        Ok(())
    }
}

/// Undoes a lesson, or the last, and says so; gives the memory back.
pub(crate) fn undo(mut memory: Memory, id: Option<u64>) -> Done<Memory> {
    let id = match id {
        Some(id) => id,
        None => memory.last()?.ok_or_else(nothing)?,
    };
    match memory.undo(id)? {
        Some(older) => note(&format!("lesson {id} is undone; lesson {older}, which it had replaced, counts again")),
        None => note(&format!("lesson {id} is undone")),
    }
    scrub(&mut memory);
    Ok(memory)
}

/// Leaves nothing of what was removed in the file, as far as that can be done.
pub(crate) fn scrub(memory: &mut Memory) {
    let why = match memory.scrub() {
        Ok(true) => return,
        Ok(false) => "another program reads it at this moment".to_string(),
        Err(error) => error.to_string(),
    };
    output::warn(&format!("what was taken back could not be overwritten on the disk ({why}); erase-texts tries again"));
}

/// A line for each lesson.
pub(crate) fn lines(lessons: &[Lesson]) -> Vec<String> {
    let width = lessons.last().map_or(1, |lesson| lesson.id.to_string().len());
    let shares = |lesson: &Lesson| match lesson.shares_with.is_empty() {
        true => String::new(),
        false => format!("  (shares a section with {})", numbers(&lesson.shares_with)),
    };
    let line = |lesson: &Lesson| {
        let shares = shares(lesson);
        let said = lesson.texts.as_ref().map_or("(what was said is not kept)".into(), Texts::line);
        let by = lesson.replaced_by.map_or(String::new(), |by| format!("  (replaced by {by})"));
        format!("{:>width$}  {}  {:>9}  {said}{by}{shares}", lesson.id, date(lesson.created), bytes(lesson.bytes))
    };
    lessons.iter().map(line).collect()
}

/// All that is known of a lesson, a line each.
fn details(lesson: &Lesson) -> Vec<String> {
    let (receipt, texts) = (&lesson.receipt, lesson.texts.as_ref());
    let open = match lesson.replaced_by {
        Some(by) => format!("replaced by lesson {by}"),
        None if lesson.shares_with.is_empty() => "in use".into(),
        None => format!("for which one serves that it shares with lesson {}", numbers(&lesson.shares_with)),
    };
    let mut lines = vec![
        format!("lesson    {}, of {}", lesson.id, date(lesson.created)),
        format!("said      {}", texts.map_or("(not kept)".into(), Texts::line)),
        format!("section   {}, {open}", bytes(lesson.bytes)),
    ];
    lines.extend(lesson.replaces.map(|older| format!("replaces  lesson {older}")));
    lines.extend([
        format!("loss      {:.3} before, {:.3} after, in nats a token", receipt.loss_before, receipt.loss_after),
        format!("drift     {:.5} nats on {}", receipt.drift, count(receipt.guards, "guard")),
        format!("checked   {} of {} answers were right", receipt.passed, receipt.checked),
        format!("frames    {}", receipt.frames),
    ]);
    let frames = texts.map_or(&[][..], |texts| &texts.frames);
    lines.extend(frames.iter().map(|(prompt, answer)| format!("          {} -> {}", flat(prompt), flat(answer))));
    lines
}

fn lesson_json(lesson: &Lesson) -> Value {
    json!({
        "id": lesson.id, "created": lesson.created, "said": lesson.texts.as_ref().and_then(|t| t.said.as_ref()),
        // A lesson writes one section, which has a part in each of the pool's layers.
        "sections": 1, "bytes": lesson.bytes, "replaces": lesson.replaces, "replaced_by": lesson.replaced_by,
        "shares_with": lesson.shares_with,
    })
}

/// Numbers of lessons for people.
pub(crate) fn numbers(lessons: &[u64]) -> String {
    lessons.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What was said may hold anything; a terminal is not steered by it.
fn shown(line: &str) -> String {
    if io::stdout().is_terminal() { output::for_terminal(line) } else { line.to_string() }
}

/// A moment in the time of this place.
fn date(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    moment.map_or_else(
        || format!("second {seconds}"),
        |moment| moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn nothing() -> Failure {
    Failure::Failed("nothing was learned yet".into())
}
fn no_lesson(id: u64) -> Failure {
    Failure::Failed(format!("there is no lesson {id}: nothing was learned yet"))
}

/// Only its owner may read what somebody said.
#[cfg(unix)]
fn private(file: &std::fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // A pipe or a device has permissions of its own.
    match file.metadata()?.is_file() {
        true => file.set_permissions(std::fs::Permissions::from_mode(0o600)),
        false => Ok(()),
    }
}
#[cfg(not(unix))]
fn private(_: &std::fs::File) -> io::Result<()> {
    Ok(())
}
