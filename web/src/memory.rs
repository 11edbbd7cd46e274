//! Lessons in a tab. The page keeps the memory's entries, the engine holds them for as long as it runs: what a change
//! here made is for the page to keep, all or nothing, before [`Lichen::use_memory`] lets the conversation have it.

use crate::conversation::Lichen;
use crate::failure::{thrown, with_code};
use crate::input::Input;
use js_sys::{Array, Uint8Array};
use lichen::learn::{KNOWN, Learned, Learner, Lesson, Phase, Step, Teaching, name};
use lichen::memory::{Imported, Memory, Pool, Texts};
use lichen::plastic::{Plastic, Written};
use lichen::{Choice, Device, Error, Model, Session, Store, memory};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use wasm_bindgen::prelude::*;

/// What was learned, and what is being learned.
#[derive(Default)]
pub(crate) struct Lessons {
    memory: Option<Memory>,
    pool: Option<Pool>,
    learner: Option<Learner>,
    under_way: Option<UnderWay>,
}

/// A lesson under way, or done and not yet committed.
struct UnderWay {
    teaching: Teaching,
    lesson: Lesson,
    learned: Option<Learned>,
}

/// What a page teaches.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Told {
    Statement(String),
    Answer { ask: String, answer: String },
    Correction { asked: String, said: String },
}

impl Lessons {
    /// The sections that the conversation has.
    pub(crate) fn plastic(&self) -> Option<Plastic> {
        self.pool.as_ref().map(|pool| pool.plastic().clone())
    }
}

#[wasm_bindgen]
impl Lichen {
    /// Takes in what the page keeps: entries `[table, key, bytes]`. What the memory held before is forgotten.
    pub fn load_memory(&mut self, entries: &Array) -> Result<(), JsValue> {
        let entry = |entry: JsValue| {
            let entry = Array::from(&entry);
            let key = entry.get(1).as_f64().filter(|key| *key >= 0.0)? as u64;
            Some((entry.get(0).as_string()?, key, Uint8Array::new(&entry.get(2)).to_vec()))
        };
        let read: Option<Vec<_>> = entries.iter().map(entry).collect();
        let read = read.ok_or_else(|| with_code("these are no entries of a memory", "lessons"))?;
        let store = Store::mirrored(read.iter().map(|(table, key, value)| (table.as_str(), *key, &value[..])));
        let store = store.map_err(|e| thrown(Error::from(e)))?;
        self.lessons.memory = Some(Memory::open_for(store, self.model.header()).map_err(thrown)?);
        Ok(())
    }

    /// What was changed since this was last asked: `[table, key, bytes]` each, without bytes where the entry is gone,
    /// without a key where the whole table is.
    pub fn changes(&self) -> Array {
        let made = self.lessons.memory.as_ref().map_or_else(Vec::new, |memory| memory.store().take_made());
        let change = |made: lichen::Made| {
            let mut all = Array::of1(&made.table.into());
            all.extend(made.key.map(|key| JsValue::from(key as f64)));
            all.extend(made.value.map(|value| JsValue::from(Uint8Array::from(&value[..]))));
            all
        };
        made.into_iter().map(change).collect()
    }

    /// Lets the conversation have what the memory holds, from the next token on. Between answers.
    pub async fn use_memory(&mut self) -> Result<(), JsValue> {
        let Some(memory) = &self.lessons.memory else { return Ok(()) };
        let before = self.lessons.pool.as_ref().map(Pool::lessons);
        let fits = match &mut self.lessons.pool {
            Some(pool) => pool.update(memory, &self.model).map_err(thrown)?,
            // Where nothing was learned nothing has to be looked at.
            None => memory.open_lessons().map_err(thrown)?.is_empty(),
        };
        if fits {
            // Muted sections are known by their places.
            if before != self.lessons.pool.as_ref().map(Pool::lessons) {
                self.session.unmute().map_err(thrown)?;
                self.stands = Some(self.session.state().await.map_err(thrown)?);
            }
            return Ok(());
        }
        let pool = memory.pool(&self.model).await.map_err(thrown)?;
        let mut session = Session::with_plastic(self.model.clone(), Some(pool.plastic().clone())).map_err(thrown)?;
        if self.session.position() > 0 {
            session.restore(&self.session.state().await.map_err(thrown)?).map_err(thrown)?;
            session.unmute().map_err(thrown)?;
        }
        self.stands = Some(session.state().await.map_err(thrown)?);
        (self.session, self.aside, self.lessons.pool) = (session, None, Some(pool));
        Ok(())
    }

    /// All lessons, the oldest first, as JSON.
    pub fn lessons(&self) -> Result<String, JsValue> {
        let all = self.memory()?.list().map_err(thrown)?;
        Ok(all.iter().map(of_lesson).collect::<Value>().to_string())
    }

    /// Answers some of the prompts that every lesson needs; how many are answered, of how many, as JSON. A memory keeps
    /// the answers.
    pub async fn prepare_lessons(&mut self) -> Result<String, JsValue> {
        if self.lessons.learner.is_none() {
            let mut learner = Learner::new(self.on_cpu().await.map_err(thrown)?).map_err(thrown)?;
            let kept = self.memory()?.cached(KNOWN).map_err(thrown)?;
            if let Some(kept) = kept {
                // What cannot be read is found anew.
                let _ = learner.recall(&kept);
            }
            self.lessons.learner = Some(learner);
        }
        let Lessons { learner: Some(learner), memory: Some(memory), .. } = &mut self.lessons else {
            return Err(unkept());
        };
        let before = learner.answered();
        let (known, all) = learner.prepare().map_err(thrown)?;
        if known == all && before < all {
            memory.put_cached(KNOWN, &learner.known()).map_err(thrown)?;
        }
        Ok(json!({ "known": known, "all": all }).to_string())
    }

    /// Begins a lesson: a statement as JSON text, or `{ask, answer}`, or `{asked, said}` for a correction. With an input
    /// that shows something the text gives it its name.
    pub fn begin_lesson(&mut self, told: &str, shown: Option<Input>) -> Result<(), JsValue> {
        let told: Told = serde_json::from_str(told).map_err(|_| {
            with_code("a lesson is a text, {ask, answer}, {asked, said}, or {name} with a picture or a sound", "input")
        })?;
        let teaching = match (told, shown.and_then(Input::shown)) {
            (Told::Statement(said), Some(shown)) => Teaching::Name { shown, name: name(&said) },
            (_, Some(_)) => return Err(with_code("what is shown takes a name", "input")),
            (Told::Statement(said), None) => Teaching::Statement(said),
            (Told::Answer { ask, answer }, None) => Teaching::Answer { ask, answer },
            (Told::Correction { asked, said }, None) => Teaching::Correction { asked, said },
        };
        let Lessons { learner: Some(learner), memory: Some(memory), .. } = &mut self.lessons else {
            return Err(unkept());
        };
        let sections = |memory: &Memory| -> Result<Vec<(u64, Written)>, Error> {
            memory.open_lessons()?.into_iter().map(|id| Ok((id, memory.section(id)?))).collect()
        };
        let earlier = sections(memory).map_err(thrown)?;
        let number = earlier.last().map_or(1, |(id, _)| id + 1);
        let lesson = learner.begin(&teaching, number, earlier.iter().map(|(id, written)| (*id, written)));
        let lesson = lesson.map_err(thrown)?;
        self.lessons.under_way = Some(UnderWay { teaching, lesson, learned: None });
        Ok(())
    }

    /// Goes on with a lesson, some tens of milliseconds on a fast machine; as JSON `{phase, share}`, `{done: true}`,
    /// or `{refused}` with the reason.
    pub fn step_lesson(&mut self) -> Result<String, JsValue> {
        let Lessons { learner: Some(learner), under_way: Some(under_way), .. } = &mut self.lessons else {
            return Err(with_code("no lesson is under way", "input"));
        };
        let step = under_way.lesson.step(learner).map_err(thrown)?;
        Ok(match step {
            Step::Going(phase, share) => json!({ "phase": doing(phase), "share": share }),
            Step::Done(learned) => {
                under_way.learned = Some(*learned);
                json!({ "done": true })
            }
            Step::Refused(why) => json!({ "refused": why }),
        }
        .to_string())
    }

    /// Puts the lesson that is done into the memory, at a time in seconds since 1970; gives the lesson as JSON. It may
    /// be asked again after the memory was loaded anew.
    pub fn commit_lesson(&mut self, created: f64) -> Result<String, JsValue> {
        let Lessons { memory: Some(memory), under_way: Some(under_way), .. } = &mut self.lessons else {
            return Err(unkept());
        };
        let UnderWay { teaching, lesson, learned: Some(learned) } = under_way else {
            return Err(with_code("the lesson is not done", "input"));
        };
        // Another tab may have taken back meanwhile what this one replaces.
        let open = memory.open_lessons().map_err(thrown)?;
        let replaces = lesson.replaces().filter(|id| open.contains(id));
        let id = memory.commit(learned, Some(&teaching.to_string()), created as u64, replaces).map_err(thrown)?;
        Ok(of_lesson(&memory.show(id).map_err(thrown)?).to_string())
    }

    /// Ends a lesson, done or not; what was not committed is gone.
    pub fn end_lesson(&mut self) {
        self.lessons.under_way = None;
    }

    /// Takes a lesson back; the number of the lesson that counts again, if it had replaced one.
    pub fn undo_lesson(&mut self, id: f64) -> Result<Option<f64>, JsValue> {
        let again = self.memory_mut()?.undo(id as u64).map_err(thrown)?;
        Ok(again.map(|id| id as f64))
    }

    /// Takes all lessons back; how many there were.
    pub fn clear_memory(&mut self) -> Result<usize, JsValue> {
        self.memory_mut()?.clear().map_err(thrown)
    }

    /// Forgets what was said in the lessons, not what was learned; of how many.
    pub fn erase_texts(&mut self) -> Result<usize, JsValue> {
        self.memory_mut()?.erase_texts().map_err(thrown)
    }

    /// All lessons as a file, as `lichen memory export` writes it, with what was said if `texts`.
    pub fn export_memory(&self, texts: bool) -> Result<Vec<u8>, JsValue> {
        self.memory()?.export(texts).map_err(thrown)
    }

    /// Adds the lessons of such a file; as JSON `{added, known}`, or `{model, texts, untold}` if it is of another model,
    /// to which its sections belong: then what was said has to be taught again.
    pub fn import_memory(&mut self, file: &[u8]) -> Result<String, JsValue> {
        let imported = self.memory_mut()?.import(file).map_err(thrown)?;
        Ok(match imported {
            Imported::Lessons { added, known } => json!({ "added": added, "known": known }),
            Imported::Texts { model, texts, untold } => {
                let texts: Vec<String> = texts.iter().map(Texts::line).collect();
                json!({ "model": model, "texts": texts, "untold": untold })
            }
        }
        .to_string())
    }
}

impl Lichen {
    fn memory(&self) -> Result<&Memory, JsValue> {
        self.lessons.memory.as_ref().ok_or_else(unkept)
    }
    fn memory_mut(&mut self) -> Result<&mut Memory, JsValue> {
        self.lessons.memory.as_mut().ok_or_else(unkept)
    }

    /// The model where lessons are learned.
    async fn on_cpu(&self) -> Result<Arc<Model>, Error> {
        let Some(file) = &self.file else { return Ok(self.model.clone()) };
        let (cpu, _) = Device::open(&Choice::Cpu, 1).await?;
        Ok(Arc::new(Model::open(file.clone(), Arc::new(cpu), None)?))
    }
}

fn unkept() -> JsValue {
    with_code("no memory was loaded", "input")
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Hearing => "hearing",
        Phase::Asking => "asking",
        Phase::Answering => "answering",
        Phase::Choosing => "choosing",
        Phase::Training => "training",
        Phase::Checking => "checking",
    }
}

fn of_lesson(lesson: &memory::Lesson) -> Value {
    json!({
        "id": lesson.id,
        "created": lesson.created,
        "said": lesson.texts.as_ref().map(Texts::line),
        "bytes": lesson.bytes,
        "replaces": lesson.replaces,
        "replaced_by": lesson.replaced_by,
        "shares_with": lesson.shares_with,
        "receipt": lesson.receipt,
    })
}
