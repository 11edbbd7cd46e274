//! A stream of tokens through a model: prompt in, tokens out, state kept on the device.
//!
//! Three recordings do it all: a chunk of the prompt, one token, and one drawn token (the `sample` operation before
//! the same operations as for one token). Up to eight drawn tokens go in one submission; a stop token freezes the
//! state on the device, so running past it does no harm.

mod generate;
mod inspect;
#[cfg(test)]
mod tests;

pub use generate::Stop;
pub use inspect::{Route, RouteMap, Trace};

use crate::config::Config;
use crate::data::{Example, HEARD, PIXELS, SEEN, WINDOW};
use crate::error::Error;
use crate::grammar::FREE;
use crate::graph::{self, Graph, Logits, PICTURE, RouteBuffers, Shape, StateBuffers};
use crate::model::Model;
use crate::plastic::{MUTED, OPEN, Plastic};
use crate::state::{HISTORY, State, fingerprint};
use lichen_host::{Buffer, Device, Role};
use lichen_shaders::NONE;
use lichen_shaders::kernel::Kind;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Tokens of a prompt that run at once.
const CHUNK: usize = 256;
/// Recordings of shorter chunks that are kept.
const KEPT: usize = 6;
/// Bytes of activations of a chunk under a memory budget.
const ACTIVATIONS: usize = 24 << 20;

/// One stream of tokens. Sessions of one model are independent of each other.
pub struct Session {
    model: Arc<Model>,
    state: StateBuffers,
    /// One token.
    one: Graph,
    /// Chunks of the prompt, the last used at the end.
    chunks: Vec<(Form, Graph)>,
    draw: generate::Draw,
    plastic: Option<Plastic>,
    position: u32,
    history: VecDeque<u32>,
    /// Where the stream stands in the model's grammar.
    written: u32,
    /// What a person said so far, in the middle of a turn.
    said: Option<Vec<u32>>,
    /// Whether what turns open is muted.
    muting: bool,
    /// The route of the last token fed: its buffers and its row.
    last: Vec<RouteBuffers>,
    last_row: usize,
    stale: Mutex<Option<Stale>>,
    /// Whether a token was cut short between two layers: part of the state has seen it.
    torn: bool,
}

/// What a chunk's recording is for: rows, windows of sound, pictures.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    rows: usize,
    sounds: usize,
    pictures: usize,
}
impl Form {
    fn tokens(rows: usize) -> Self {
        Self { rows, sounds: 0, pictures: 0 }
    }
}

/// The device went further than the stream: what it takes to go back.
struct Stale {
    /// Tokens of the stream since the snapshot on the device.
    accepted: Vec<u32>,
    /// A stop token froze the state: only logits and routes are wrong.
    frozen: bool,
}

impl Session {
    /// An empty stream. On a GPU this compiles what the model needs, so that no token waits for it.
    pub fn new(model: Arc<Model>) -> Result<Self, Error> {
        Self::with_plastic(model, None)
    }

    /// The same, with what a device learned. Sections that are written later are used from the next token on.
    pub fn with_plastic(model: Arc<Model>, plastic: Option<Plastic>) -> Result<Self, Error> {
        let config = model.config();
        let state = StateBuffers::declare(config, 1);
        state.reset(model.device())?;
        let token = Buffer::new("token", Kind::Index, Role::Scratch, 1);
        let shape = Shape { plastic: plastic.clone(), ..Shape::new(1, 1, Logits::Last).reused() };
        let one = graph::build(config, model.weights(), &state, model.device(), &shape, Some(token))?;
        let draw = generate::Draw::new(&model, &state, &one)?;
        let last = one.routes.clone();
        let stale = Mutex::new(None);
        let mut session = Self {
            model,
            state,
            one,
            chunks: Vec::new(),
            draw,
            plastic,
            position: 0,
            history: VecDeque::new(),
            written: FREE,
            said: None,
            muting: false,
            last,
            last_row: 0,
            stale,
            torn: false,
        };
        session.prepare()?;
        Ok(session)
    }

    /// Makes a GPU compile before the first token what the session will run. A whole chunk and one token take every
    /// form that kernels have for the lengths between. The CPU compiles nothing, and its memory can wait.
    fn prepare(&mut self) -> Result<(), Error> {
        if self.device().is_cpu() {
            return Ok(());
        }
        let most = Form::tokens(self.chunk());
        let chunk = self.build_chunk(most)?;
        let graphs = [&self.one, &chunk].into_iter().flat_map(|graph| graph.heads.iter().chain([&graph.recording]));
        for recording in graphs.chain(self.draw.recordings()) {
            self.device().prepare(recording)?;
        }
        self.chunks.push((most, chunk));
        Ok(())
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }
    /// Tokens fed so far.
    pub fn position(&self) -> u32 {
        self.position
    }
    fn config(&self) -> &Config {
        self.model.config()
    }
    fn device(&self) -> &Device {
        self.model.device()
    }

    /// Feeds tokens; the logits of the last one stay on the device.
    pub async fn prefill(&mut self, tokens: &[u32]) -> Result<(), Error> {
        self.begin(tokens)?;
        for chunk in self.pieces(tokens, self.chunk()) {
            match chunk {
                [token] => self.feed(*token).await?,
                _ => self.feed_chunk(chunk, &[], &[], 0).await?,
            }
        }
        Ok(())
    }

    /// Feeds what may hold sounds and pictures among its tokens; its weights mean nothing here.
    pub async fn perceive(&mut self, input: &Example) -> Result<(), Error> {
        self.take_in(input, None).await
    }

    /// The same, noting which sections every row of it wakes.
    pub async fn perceive_routed(&mut self, input: &Example) -> Result<RouteMap, Error> {
        let mut map = RouteMap::new(self.config());
        self.take_in(input, Some(&mut map)).await?;
        Ok(map)
    }

    async fn take_in(&mut self, input: &Example, mut map: Option<&mut RouteMap>) -> Result<(), Error> {
        input.check(self.config())?;
        self.begin(&[])?;
        let (mut heard, mut seen) = (0, 0);
        for ids in self.pieces(&input.ids, self.chunk()) {
            let count = |place: u32| ids.iter().filter(|&&id| id == place).count();
            let (h, s) = (count(HEARD), count(SEEN));
            if h + s == 0 {
                match ids {
                    [token] => self.feed(*token).await?,
                    _ => self.feed_chunk(ids, &[], &[], 0).await?,
                }
                self.note_routes(map.as_deref_mut()).await?;
                continue;
            }
            // A picture that a chunk cuts in two is looked at in both.
            let (first, end) = (seen / PICTURE, (seen + s).div_ceil(PICTURE));
            let pictures = if s > 0 { &input.pictures[first * PIXELS..end * PIXELS] } else { &[] };
            let sounds = &input.sounds[heard * WINDOW..(heard + h) * WINDOW];
            self.feed_chunk(ids, sounds, pictures, seen % PICTURE).await?;
            self.note_routes(map.as_deref_mut()).await?;
            (heard, seen) = (heard + h, seen + s);
        }
        Ok(())
    }

    /// Feeds one token and reads its logits.
    pub async fn step(&mut self, token: u32) -> Result<Vec<f32>, Error> {
        self.begin(&[token])?;
        self.feed(token).await?;
        self.logits().await
    }

    /// Logits of the last token fed.
    pub async fn logits(&self) -> Result<Vec<f32>, Error> {
        if self.position == 0 {
            return Err(Error::EmptyPrompt);
        }
        self.settle()?;
        Ok(self.device().read(&self.one.logits.view()).await?)
    }

    /// The state as a value.
    pub async fn state(&self) -> Result<State, Error> {
        let mut tensors = Vec::new();
        let logits = if self.position == 0 { Vec::new() } else { self.logits().await? };
        for (_, buffer) in self.state.layers.iter().flatten() {
            tensors.push(self.device().read(&buffer.view()).await?);
        }
        let history = self.history.iter().copied().collect();
        Ok(State { fingerprint: fingerprint(self.config()), position: self.position, history, tensors, logits })
    }

    /// Puts a state back. The routes of its last token are not part of it.
    pub fn restore(&mut self, state: &State) -> Result<(), Error> {
        state.check(self.config(), &self.state)?;
        for ((_, buffer), data) in self.state.layers.iter().flatten().zip(&state.tensors) {
            self.device().write(&buffer.view(), data)?;
        }
        if state.position > 0 {
            self.device().write(&self.one.logits.view(), &state.logits)?;
        }
        self.position = state.position;
        self.history = state.history.iter().copied().collect();
        // An action that began longer ago than the history goes back is text from here on.
        self.written = state.history.iter().fold(FREE, |written, &token| self.follow(written, token));
        // So is a turn.
        self.said = None;
        state.history.iter().for_each(|&token| self.listen(token));
        self.last.clear();
        self.set_stale(None);
        self.torn = false;
        Ok(())
    }

    /// Goes back to the start of a stream.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.state.reset(self.device())?;
        self.position = 0;
        self.history.clear();
        self.written = FREE;
        self.said = None;
        self.last.clear();
        self.set_stale(None);
        self.torn = false;
        Ok(())
    }

    /// Tokens of a prompt that run at once: where sections come and go, no more than the arena has places for.
    fn chunk(&self) -> usize {
        let c = self.config();
        let Some(paging) = self.model.paging() else { return CHUNK };
        let places = paging.places as usize;
        // What a row takes: its slots, the scores, and some vectors of the model's width.
        let row = 4 * (c.slots() * (c.neurons + c.width) + 2 * c.sections + 2 * c.projection() + 16 * c.width);
        let most = (ACTIVATIONS / row).clamp(1, CHUNK);
        match places >= c.all_sections() {
            true => most,
            false => (places.saturating_sub(c.shared_sections()) / c.picks.max(1)).clamp(1, most),
        }
    }

    /// Checks tokens and wakes the state, which a stop token may have frozen.
    fn begin(&mut self, tokens: &[u32]) -> Result<(), Error> {
        self.whole()?;
        let vocab = self.config().vocab;
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::Token { id, vocab });
        }
        if self.stale.get_mut().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|s| !s.frozen) {
            self.settle()?;
        }
        self.set_stale(None);
        Ok(self.device().write(&self.state.control.view(), &[1u32, self.position, 0, 0])?)
    }

    /// An error if a token was cut short.
    fn whole(&self) -> Result<(), Error> {
        match self.torn {
            true => Err(Error::State("a token was cut short; restore a state or start again".into())),
            false => Ok(()),
        }
    }

    /// Notes a token that is now part of the state.
    fn accept(&mut self, token: u32) {
        self.position = self.position.wrapping_add(1);
        self.written = self.follow(self.written, token);
        self.listen(token);
        self.history.push_back(token);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    /// Where a stream stands in the grammar after another token; nowhere else than before without a grammar.
    fn follow(&self, written: u32, token: u32) -> u32 {
        self.model.grammar().map_or(written, |grammar| grammar.follow(written, token))
    }

    /// Follows what a person says.
    fn listen(&mut self, token: u32) {
        if let Some(plastic) = &self.plastic {
            let [user, answer, end] = plastic.marks();
            match &mut self.said {
                said if token == user => *said = Some(Vec::new()),
                said if token == answer || token == end => *said = None,
                Some(said) => said.push(token),
                None => {}
            }
        }
    }

    /// From now on what turns open of the pool is muted: shut at once and for the rest of the stream, because it knows
    /// better what they are about. Or no longer; what is muted stays so.
    pub fn mute(&mut self, on: bool) {
        self.muting = on;
    }
    /// Nothing is muted any more. The places of a pool are numbers: where other sections took them, those that were muted
    /// are not known again.
    pub fn unmute(&mut self) -> Result<(), Error> {
        match self.latch() {
            Some(latch) => Ok(self.device().write(&latch.slice(latch.len() - 2 - MUTED, MUTED), &[0f32; MUTED])?),
            None => Ok(()),
        }
    }

    /// Whether there is a pool of sections that a device wrote.
    pub fn learned(&self) -> bool {
        self.plastic.is_some()
    }
    /// Whether some of them are open.
    pub async fn opened(&self) -> Result<bool, Error> {
        let Some(latch) = self.latch().filter(|_| self.learned()) else { return Ok(false) };
        // The ids that are held stand behind the turn's sum and its rows.
        let held: Vec<f32> = self.device().read(&latch.slice(self.config().turn + 1, OPEN)).await?;
        Ok(held.iter().any(|id| *id != 0.0))
    }
    fn latch(&self) -> Option<&Buffer> {
        let layer = self.state.layers.get(self.config().turn_layer()).filter(|_| self.config().turn > 0)?;
        layer.iter().find(|(name, _)| *name == "latch").map(|(_, latch)| latch)
    }

    /// Writes the notes for some tokens, of which at most the last ends a turn: which section of the pool that names, and
    /// whether what it opens is muted.
    fn note(&self, tokens: &[u32]) -> Result<(), Error> {
        let (Some(plastic), Some(latch)) = (&self.plastic, self.latch()) else { return Ok(()) };
        let [user, answer, _] = plastic.marks();
        let Some((_, before)) = tokens.split_last().filter(|(last, _)| **last == answer) else { return Ok(()) };
        // What was said began here, or in what was fed before.
        let (earlier, since) = match before.iter().rposition(|&token| token == user) {
            Some(start) => (&[][..], &before[start + 1..]),
            None => (self.said.as_deref().unwrap_or_default(), before),
        };
        let said = self.model.tokenizer().decode(&[earlier, since].concat());
        let named = plastic.named(&String::from_utf8_lossy(&said)).map_or(0.0, |section| section as f32 + 1.0);
        let muting = f32::from(u8::from(self.muting));
        Ok(self.device().write(&latch.slice(latch.len() - 2, 2), &[named, muting])?)
    }

    /// Tokens that run at once. Where a turn may open sections of a pool, none stand behind its end: with a pool or without
    /// one, so that a shut pool leaves every bit.
    fn pieces<'a>(&self, tokens: &'a [u32], most: usize) -> Vec<&'a [u32]> {
        let answer = self.model.tokenizer().special("<lichen>").filter(|_| self.config().turn > 0);
        let turns = tokens.split_inclusive(|token| Some(*token) == answer);
        turns.flat_map(|turn| turn.chunks(most)).collect()
    }

    async fn feed(&mut self, token: u32) -> Result<(), Error> {
        self.device().write(&self.one.ids.view(), &[token])?;
        self.note(&[token])?;
        self.torn = !self.one.heads.is_empty();
        self.run(&self.one).await?;
        self.torn = false;
        self.accept(token);
        self.fed_one();
        Ok(())
    }

    /// Runs a graph. Where sections come and go, the ones that a layer wakes are brought in before it goes on.
    async fn run(&self, graph: &Graph) -> Result<(), Error> {
        let (model, device) = (&self.model, self.device());
        let mut runs = graph.heads.iter().chain([&graph.recording]);
        runs.next().map_or(Ok(()), |first| device.run(first, 1))?;
        for (layer, (next, route)) in runs.zip(&graph.routes).enumerate() {
            let ids = device.read::<u32>(&route.ids.view()).await?;
            if let (Some(mut pager), Some(places)) = (model.pager(), &route.places) {
                let at = pager.bring(model.weights(), device, layer, &ids)?;
                device.write(&places.slice(0, at.len()), &at)?;
                device.run(next, 1)?;
            }
        }
        Ok(())
    }
    fn fed_one(&mut self) {
        self.last.clone_from(&self.one.routes);
        self.last_row = 0;
    }

    /// Feeds rows of tokens, windows and pictures, whose vectors are taken from number `patch` on.
    async fn feed_chunk(
        &mut self,
        tokens: &[u32],
        sounds: &[f32],
        pictures: &[f32],
        patch: usize,
    ) -> Result<(), Error> {
        let n = tokens.len();
        let form = Form { rows: n, sounds: sounds.len() / WINDOW, pictures: pictures.len() / PIXELS };
        let graph = match self.chunks.iter().position(|(f, _)| *f == form) {
            Some(at) => self.chunks.remove(at).1,
            None => self.build_chunk(form)?,
        };
        self.device().write(&graph.ids.view(), tokens)?;
        self.note(tokens)?;
        let senses = [(&graph.sounds, sounds, HEARD, 0), (&graph.pictures, pictures, SEEN, patch)];
        for (buffers, input, place, first) in senses {
            let Some(buffers) = buffers else { continue };
            let mut next = first as u32..;
            let rows: Vec<u32> =
                tokens.iter().map(|&id| if id == place { next.next().unwrap_or(NONE) } else { NONE }).collect();
            self.device().write(&buffers.input.view(), input)?;
            self.device().write(&buffers.rows.view(), &rows)?;
        }
        self.torn = !graph.heads.is_empty();
        self.run(&graph).await?;
        self.torn = false;
        tokens.iter().for_each(|&token| self.accept(token));
        (self.last, self.last_row) = (graph.routes.clone(), n - 1);
        // The longest unused goes; whole chunks stay.
        let most = Form::tokens(self.chunk());
        if self.chunks.len() >= KEPT
            && let Some(at) = self.chunks.iter().position(|(form, _)| *form != most)
        {
            self.chunks.remove(at);
        }
        self.chunks.push((form, graph));
        Ok(())
    }

    /// A chunk's recording ends by copying its logits to where one token leaves them.
    fn build_chunk(&self, form: Form) -> Result<Graph, Error> {
        let Form { rows, sounds, pictures } = form;
        let plastic = self.plastic.clone();
        let shape = Shape { sounds, pictures, plastic, ..Shape::new(1, rows, Logits::Last).reused() };
        let mut graph = graph::build(self.config(), self.model.weights(), &self.state, self.device(), &shape, None)?;
        self.draw.copy.push(&mut graph.recording, &graph.logits, &self.one.logits)?;
        Ok(graph)
    }
}
