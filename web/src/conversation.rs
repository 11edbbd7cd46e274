//! One conversation with a model on one device.
//!
//! A turn goes [`Lichen::begin`], [`Lichen::more`] until it says why it stopped, [`Lichen::finish`]. Between two calls
//! of `more` the worker may do other things, so that a page can stop an answer.

use crate::failure::thrown;
use crate::input::Input;
use crate::memory::Lessons;
use crate::report::of_device;
use crate::routes::{of_map, of_token};
use js_sys::Function;
use lichen::action::{Heard, Reader};
use lichen::data::Example;
use lichen::when::Moment;
use lichen::{
    Action, Choice, Device, Error, Model, Reply, Sampler, Session, State, Stop, Utf8Stream, reread, was_told,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use wasm_bindgen::prelude::*;

/// How a turn is answered; what is left out is as in `lichen run`.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    repeat_penalty: f32,
    seed: u64,
    /// Most tokens of the answer.
    max_tokens: usize,
    /// Whether to note which sections the turn wakes.
    routes: bool,
}
impl Default for Options {
    fn default() -> Self {
        let (temperature, top_k, top_p, repeat_penalty) = (0.0, 40, 0.95, 1.0);
        Self { temperature, top_k, top_p, repeat_penalty, seed: 0, max_tokens: 256, routes: false }
    }
}

/// An answer under way.
struct Answer {
    sampler: Sampler,
    reader: Reader,
    utf8: Utf8Stream,
    now: Option<Moment>,
    prompt: Example,
    ids: Vec<u32>,
    left: usize,
    routes: bool,
}

/// A model with a conversation.
#[wasm_bindgen]
pub struct Lichen {
    /// The model's file, where the model is on a GPU: lessons are learned on the CPU.
    pub(crate) file: Option<Arc<Vec<u8>>>,
    pub(crate) model: Arc<Model>,
    pub(crate) session: Session,
    /// A stream beside the conversation: what inputs wake is looked at here.
    pub(crate) aside: Option<Session>,
    pub(crate) lessons: Lessons,
    answer: Option<Answer>,
    /// The conversation before the last turn; none at its start.
    before: Option<State>,
    /// The conversation as it stands.
    pub(crate) stands: Option<State>,
}

#[wasm_bindgen]
impl Lichen {
    /// A model file on `cpu`, `gpu` or the best device (`auto`).
    pub async fn open(file: Vec<u8>, device: String) -> Result<Lichen, JsValue> {
        let (device, _) = Device::open(&Choice::from(device.as_str()), 1).await.map_err(thrown)?;
        let file = Arc::new(file);
        let model = Arc::new(Model::open(file.clone(), Arc::new(device), None).map_err(thrown)?);
        let session = Session::new(model.clone()).map_err(thrown)?;
        let file = Some(file).filter(|_| !model.device().is_cpu());
        let lessons = Lessons::default();
        Ok(Self { file, model, session, aside: None, lessons, answer: None, before: None, stands: None })
    }

    /// The model, the device, and what a token costs, as JSON.
    pub fn info(&self) -> String {
        let (header, config) = (self.model.header(), self.model.config());
        let action = |a: &lichen::action::ActionSpec| (a.name.clone(), json!(a.about));
        let actions = header.actions.iter().flat_map(|catalogue| catalogue.actions()).map(action);
        let storage = header.storage;
        json!({
            "model": {
                "id": header.id,
                "lineage": header.lineage(),
                "about": header.about,
                "weights": config.total_params(),
                "active_weights": config.active_params(),
                "layers": config.layers,
                "width": config.width,
                "sections": config.sections,
                "picks": config.picks,
                "neurons": config.neurons,
                "active_section_share": config.active_section_share(),
                "vocabulary": config.vocab,
                "storage": storage.to_string(),
                "senses": config.senses.is_some(),
                "learns": header.learns(),
                "actions": actions.collect::<serde_json::Map<_, _>>(),
            },
            "device": of_device(self.model.device()),
            "bytes_per_token": storage.active_bytes(config),
            "resident_bytes": storage.resident_bytes(config),
        })
        .to_string()
    }

    /// Takes a person's turn in. Gives its tokens, and with `routes` which sections they wake, as JSON.
    pub async fn begin(&mut self, input: &Input, options: &str) -> Result<String, JsValue> {
        let options: Options = serde_json::from_str(options)
            .map_err(|e| crate::failure::with_code(&format!("options of an answer: {e}"), "input"))?;
        let prompt = input.prompt(&self.model, self.session.position() > 0).map_err(thrown)?;
        let sampler = self.sampler(&options).suited(&self.model, &prompt);
        sampler.validate(self.model.config().vocab).map_err(thrown)?;
        let routes = options.routes && self.model.config().sections > 0;
        let mut said = json!({ "tokens": prompt.ids.len() });
        let before = match (self.session.learned(), &self.stands) {
            (false, _) => None,
            (true, Some(stands)) => Some(stands.clone()),
            (true, None) => Some(self.session.state().await.map_err(thrown)?),
        };
        if routes {
            let map = self.session.perceive_routed(&prompt).await.map_err(thrown)?;
            said["route"] = of_map(self.model.tokenizer(), &prompt.ids, &map);
        } else {
            self.session.perceive(&prompt).await.map_err(thrown)?;
        }
        if let Some(before) = &before {
            was_told(&mut self.session, before, &prompt).await.map_err(thrown)?;
        }
        self.answer = Some(Answer {
            sampler,
            reader: Reader::new(self.model.tokenizer()),
            utf8: Utf8Stream::default(),
            now: input.moment(),
            prompt,
            ids: Vec::new(),
            left: options.max_tokens,
            // On a GPU each look at a token's route would be a wait: there `answer_routes` looks at all at once.
            routes: routes && self.model.device().is_cpu(),
        });
        Ok(said.to_string())
    }

    /// Draws up to `most` more tokens. `on` gets each as JSON `{id, text?, action?, route?}` and answers whether to go
    /// on. Gives why the answer is over: `end`, `length`, `stopped`; nothing when it is not.
    pub async fn more(&mut self, most: usize, on: &Function) -> Result<Option<String>, JsValue> {
        let Some(answer) = &mut self.answer else { return Ok(Some("end".into())) };
        let step = if answer.routes { 1 } else { most };
        let mut drawn = 0;
        while drawn < most && answer.left > 0 {
            let n = step.min(most - drawn).min(answer.left);
            let (mut failure, mut last) = (None, None);
            let Answer { sampler, reader, utf8, now, ids, left, routes, .. } = &mut *answer;
            let stop = self.session.generate(sampler, n, |id| {
                ids.push(id);
                *left -= 1;
                let event = event(id, reader.push(id), utf8, *now);
                if *routes {
                    last = Some((id, event));
                    return true;
                }
                tell(on, &event, &mut failure)
            });
            let stop = stop.await.map_err(thrown)?;
            let mut go_on = true;
            if let Some((id, mut event)) = last {
                let route = self.session.routes().await.map_err(thrown)?;
                event["route"] = of_token(self.model.tokenizer(), id, &route);
                go_on = tell(on, &event, &mut failure);
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
            match stop {
                Stop::Token(_) => return Ok(Some("end".into())),
                Stop::Caller => return Ok(Some("stopped".into())),
                Stop::Length if !go_on => return Ok(Some("stopped".into())),
                Stop::Length => drawn += n,
            }
        }
        Ok((answer.left == 0).then(|| "length".into()))
    }

    /// Ends an answer: what was left of its text, the number of its tokens, and the state of the conversation, which
    /// [`Lichen::restore`] takes back.
    pub async fn finish(&mut self) -> Result<Finished, JsValue> {
        let text = self.answer.as_mut().map_or_else(String::new, |answer| answer.utf8.finish());
        let mut noted = false;
        if let Some(answer) = &self.answer {
            noted = Reply::read(self.model.tokenizer(), &answer.ids).takes_note();
            if noted {
                reread(&mut self.session, &answer.prompt, &answer.ids).await.map_err(thrown)?;
            }
        }
        let state = self.session.state().await.map_err(thrown)?;
        let bytes = state.to_bytes();
        self.before = self.stands.replace(state);
        Ok(Finished { text, noted, bytes })
    }

    /// Which sections the tokens of the last answer woke, as JSON like that of [`Lichen::begin`]: a stream beside the
    /// conversation reads the turn again. On the CPU they came with the tokens.
    pub async fn answer_routes(&mut self) -> Result<String, JsValue> {
        let Some(answer) = self.answer.take() else { return Ok("null".into()) };
        let before = self.before.take();
        let model = self.model.clone();
        let aside = self.aside().map_err(thrown)?;
        if let Some(before) = &before {
            aside.restore(before).map_err(thrown)?;
        }
        aside.perceive(&answer.prompt).await.map_err(thrown)?;
        let said = Example { weights: vec![0.0; answer.ids.len()], ids: answer.ids, ..Example::default() };
        let map = aside.perceive_routed(&said).await.map_err(thrown)?;
        Ok(of_map(model.tokenizer(), &said.ids, &map).to_string())
    }

    /// Which sections an input wakes where nothing was said before, as JSON.
    pub async fn route(&mut self, input: &Input) -> Result<String, JsValue> {
        let (prompt, map) = self.alone(input).await.map_err(thrown)?;
        Ok(of_map(self.model.tokenizer(), &prompt.ids, &map).to_string())
    }

    /// What two inputs share on their way through the sections, as JSON: their routes, how much each section of each
    /// layer was woken, and the overlap of the sets (`jaccard`) and of the amounts (`weighted_jaccard`).
    pub async fn compare(&mut self, a: &Input, b: &Input) -> Result<String, JsValue> {
        let (first, a) = self.alone(a).await.map_err(thrown)?;
        let (second, b) = self.alone(b).await.map_err(thrown)?;
        let (jaccard, weighted) = a.overlap(&b);
        let heat: Vec<Value> = (0..a.layers.len()).map(|layer| json!([a.heat(layer), b.heat(layer)])).collect();
        let tokenizer = self.model.tokenizer();
        Ok(json!({
            "a": of_map(tokenizer, &first.ids, &a),
            "b": of_map(tokenizer, &second.ids, &b),
            "heat": heat,
            "jaccard": jaccard,
            "weighted_jaccard": weighted,
        })
        .to_string())
    }

    /// Goes on with a conversation that [`Lichen::finish`] gave out.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), JsValue> {
        let state = State::from_bytes(bytes).map_err(thrown)?;
        self.session.restore(&state).map_err(thrown)?;
        (self.answer, self.before, self.stands) = (None, None, Some(state));
        Ok(())
    }

    /// Forgets the conversation.
    pub fn forget(&mut self) -> Result<(), JsValue> {
        self.session.reset().map_err(thrown)?;
        (self.answer, self.before, self.stands) = (None, None, None);
        Ok(())
    }

    /// Loses the GPU on purpose, as a driver reset would; whether there was one.
    pub fn lose(&self) -> bool {
        match &**self.model.device() {
            Device::Gpu(gpu) => {
                gpu.lose();
                true
            }
            Device::Cpu(_) => false,
        }
    }
}

impl Lichen {
    fn sampler(&self, options: &Options) -> Sampler {
        let user = self.model.tokenizer().special("<user>");
        let mut sampler = Sampler {
            temperature: options.temperature,
            top_k: options.top_k,
            top_p: options.top_p,
            repeat_penalty: options.repeat_penalty,
            seed: options.seed,
            ..Sampler::for_model(&self.model)
        };
        sampler.stops.extend(user);
        sampler
    }

    /// The stream beside the conversation, empty.
    fn aside(&mut self) -> Result<&mut Session, Error> {
        let aside = match self.aside.take() {
            None => Session::with_plastic(self.model.clone(), self.lessons.plastic())?,
            Some(mut known) => {
                known.reset()?;
                known
            }
        };
        Ok(self.aside.insert(aside))
    }

    async fn alone(&mut self, input: &Input) -> Result<(Example, lichen::session::RouteMap), Error> {
        let prompt = input.prompt(&self.model, false)?;
        let map = self.aside()?.perceive_routed(&prompt).await?;
        Ok((prompt, map))
    }
}

/// What [`Lichen::finish`] gives.
#[wasm_bindgen]
pub struct Finished {
    text: String,
    noted: bool,
    bytes: Vec<u8>,
}

#[wasm_bindgen]
impl Finished {
    /// What was left of the text: a character that the answer did not complete.
    #[wasm_bindgen(getter)]
    pub fn text(&self) -> String {
        self.text.clone()
    }
    /// Whether the answer took note of something that was told.
    #[wasm_bindgen(getter)]
    pub fn noted(&self) -> bool {
        self.noted
    }
    /// The state of the conversation.
    #[wasm_bindgen(getter)]
    pub fn state(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}

/// What a token says, for the page.
fn event(id: u32, heard: Heard, utf8: &mut Utf8Stream, now: Option<Moment>) -> Value {
    let mut event = json!({ "id": id });
    match heard {
        Heard::Said(bytes) => {
            let text = utf8.push(&bytes);
            if !text.is_empty() {
                event["text"] = text.into();
            }
        }
        Heard::Done(action) => event["action"] = of_action(&action, now),
    }
    event
}

/// An action with its times as they resolve where the moment is known.
fn of_action(action: &Action, now: Option<Moment>) -> Value {
    let mut value = json!(action);
    let times = now.map_or_else(Vec::new, |now| action.times(now));
    if !times.is_empty() {
        let times = times.into_iter().map(|(name, time)| (name, time.into()));
        value["resolved"] = times.collect::<serde_json::Map<_, _>>().into();
    }
    value
}

/// Gives an event to the page; whether to go on.
fn tell(on: &Function, event: &Value, failure: &mut Option<JsValue>) -> bool {
    match on.call1(&JsValue::NULL, &event.to_string().into()) {
        Ok(go_on) => go_on.is_truthy(),
        Err(thrown) => {
            *failure = Some(thrown);
            false
        }
    }
}
