//! Drawing tokens on the device, several in one submission.

use super::{Session, Stale};
use crate::error::Error;
use crate::grammar::Grammar;
use crate::graph::{Graph, StateBuffers};
use crate::model::Model;
use crate::sampler::Sampler;
use crate::state::{HISTORY, ring};
use lichen_host::{Buffer, Recording, Role};
use lichen_shaders::kernel::{Call, Kind};
use lichen_shaders::sample::setting;
use lichen_shaders::{NONE, add, sample};
use std::sync::PoisonError;

/// Most tokens of one submission.
const BURST: usize = 8;

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// As many tokens as were asked for.
    Length,
    /// A stop token was drawn; it was neither given out nor fed.
    Token(u32),
    /// The caller had enough; the last token it got was fed.
    Caller,
}

/// Copies buffers on the device: what is added to zero stays what it is.
pub(super) struct Copy {
    zeros: Buffer,
}
impl Copy {
    /// Appends a copy of a whole buffer, no longer than the longest that this was made for.
    pub(super) fn push(&self, recording: &mut Recording, from: &Buffer, to: &Buffer) -> Result<(), Error> {
        let call = add::call(add::Params { len: from.len() as u32 });
        Ok(recording.push(call, &[from.view(), self.zeros.slice(0, from.len()), to.view()])?)
    }
}

/// Buffers and recordings of drawing.
pub(super) struct Draw {
    settings: Buffer,
    history: Buffer,
    /// Whether what is drawn follows the model's grammar.
    constrained: bool,
    out: Buffer,
    pub(super) copy: Copy,
    /// `sample` alone.
    sample: Recording,
    /// `sample`, then feeding what it drew.
    pub(super) sample_and_feed: Recording,
    /// State and logits to their snapshot, and back.
    pub(super) save: Recording,
    back: Recording,
    burst: usize,
    most: usize,
}

impl Draw {
    pub(super) fn new(model: &Model, state: &StateBuffers, one: &Graph) -> Result<Self, Error> {
        let index = |label: &str, len: usize| Buffer::new(label, Kind::Index, Role::State, len);
        let (settings, history, out) =
            (index("settings", setting::LEN), index("history", HISTORY), index("out", BURST));
        // A table of no states allows everything.
        let words = model.grammar().map_or(&[0][..], Grammar::words);
        let grammar = index("grammar", words.len());
        model.device().write(&grammar.view(), words)?;
        let params =
            sample::Params { vocab: model.config().vocab as u32, capacity: BURST as u32, grammar: words.len() as u32 };
        let call = || sample::call(params);
        let args = [&one.logits, &settings, &grammar, &state.control, &history, &one.ids, &out].map(Buffer::view);
        let mut sample = Recording::new("sample");
        sample.push(call(), &args)?;
        let mut sample_and_feed = Recording::new("sample and feed");
        sample_and_feed.push(call(), &args)?;
        let paged = !one.heads.is_empty();
        for op in one.recording.ops().iter().filter(|_| !paged) {
            sample_and_feed.push(Call { kernel: op.kernel, params: op.params.clone() }, &op.args)?;
        }
        let kept = || state.layers.iter().flatten().map(|(_, buffer)| buffer).chain([&one.logits]);
        let longest = kept().map(Buffer::len).max().unwrap_or(1);
        let copy = Copy { zeros: Buffer::new("zeros", Kind::Real, Role::State, longest) };
        let (mut save, mut back) = (Recording::new("snapshot"), Recording::new("roll back"));
        for buffer in kept() {
            let before = Buffer::new(format!("{} before", buffer.label()), Kind::Real, Role::State, buffer.len());
            copy.push(&mut save, buffer, &before)?;
            copy.push(&mut back, &before, buffer)?;
        }
        // The CPU gains nothing by looking ahead, and gives each token out the moment it is drawn; where sections come
        // and go, no two tokens can go in one submission.
        let burst = if model.device().is_cpu() || paged { 1 } else { BURST };
        let most = if paged { 1 } else { BURST };
        Ok(Self { settings, history, constrained: true, out, copy, sample, sample_and_feed, save, back, burst, most })
    }

    pub(super) fn recordings(&self) -> [&Recording; 4] {
        [&self.sample, &self.sample_and_feed, &self.save, &self.back]
    }
}

impl Session {
    /// Most tokens that are drawn in one submission, from 1 to 8. More is faster on a GPU; with 1 each token is
    /// given out before it is fed. The default is 1 on the CPU and 8 elsewhere; it stays 1 where sections come and go.
    pub fn set_burst(&mut self, tokens: usize) {
        self.draw.burst = tokens.clamp(1, self.draw.most);
    }

    /// Draws up to `n` tokens after the last one fed, feeding each, and gives them to `on` as they come; `on`
    /// answers whether to go on. Afterwards the state has seen exactly the tokens that `on` got.
    ///
    /// A model that was taught actions writes only those of its catalogue. Where the answer stands in the grammar
    /// follows from the whole stream: an `<act>` or a part of an action that was fed is gone on from.
    pub async fn generate(
        &mut self,
        sampler: &Sampler,
        n: usize,
        mut on: impl FnMut(u32) -> bool,
    ) -> Result<Stop, Error> {
        sampler.validate(self.config().vocab)?;
        if self.position == 0 {
            return Err(Error::EmptyPrompt);
        }
        self.settle()?;
        self.draw.constrained = sampler.constrained;
        self.device().write(&self.draw.settings.view(), &sampler.settings())?;
        self.device().write(&self.draw.history.view(), &ring(&self.history, self.position))?;
        let mut made = 0;
        // Short at first: the first words appear at once.
        let mut burst = 1;
        while made < n {
            let count = burst.min(self.draw.burst).min(n - made);
            burst = (2 * burst).min(BURST);
            let stop = match count {
                1 => self.draw_one(sampler, &mut on).await?,
                _ => self.draw_many(sampler, count, &mut on).await?,
            };
            if let Some(stop) = stop {
                return Ok(stop);
            }
            made += count;
        }
        Ok(Stop::Length)
    }

    pub(super) fn set_stale(&mut self, stale: Option<Stale>) {
        *self.stale.get_mut().unwrap_or_else(PoisonError::into_inner) = stale;
    }

    /// Readies the device's counters for a submission.
    fn arm(&self) -> Result<(), Error> {
        // No table has the state `NONE`: there everything is allowed.
        let written = if self.draw.constrained { self.written } else { NONE };
        self.device().write(&self.state.control.view(), &[1u32, self.position, 0, written])?;
        Ok(self.device().write(&self.draw.out.view(), &[NONE; BURST])?)
    }

    async fn draw_one(&mut self, sampler: &Sampler, on: &mut impl FnMut(u32) -> bool) -> Result<Option<Stop>, Error> {
        self.arm()?;
        self.device().run(&self.draw.sample, 1)?;
        let token = self.device().read::<u32>(&self.draw.out.slice(0, 1)).await?[0];
        if sampler.stops.contains(&token) {
            return Ok(Some(Stop::Token(token)));
        }
        let go_on = on(token);
        self.feed(token).await?;
        Ok((!go_on).then_some(Stop::Caller))
    }

    async fn draw_many(
        &mut self,
        sampler: &Sampler,
        count: usize,
        on: &mut impl FnMut(u32) -> bool,
    ) -> Result<Option<Stop>, Error> {
        self.device().run(&self.draw.save, 1)?;
        self.arm()?;
        // Should the caller drop this future while it waits, the next call knows where to go back to.
        self.set_stale(Some(Stale { accepted: Vec::new(), frozen: false }));
        self.device().run(&self.draw.sample_and_feed, count)?;
        let tokens = self.device().read::<u32>(&self.draw.out.view()).await?;
        let mut accepted = Vec::with_capacity(count);
        let mut stop = None;
        for &token in tokens.iter().take(count) {
            if sampler.stops.contains(&token) {
                stop = Some(Stop::Token(token));
                break;
            }
            accepted.push(token);
            self.accept(token);
            if !on(token) {
                stop = Some(Stop::Caller);
                break;
            }
        }
        self.fed_one();
        let frozen = matches!(stop, Some(Stop::Token(_)));
        self.set_stale((accepted.len() < count).then_some(Stale { accepted, frozen }));
        Ok(stop)
    }

    /// Makes state, logits and routes on the device those of the last token of the stream: back to the snapshot,
    /// then the accepted tokens again.
    pub(super) fn settle(&self) -> Result<(), Error> {
        self.whole()?;
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Stale { accepted, .. }) = stale.as_ref() {
            self.device().run(&self.draw.back, 1)?;
            self.device().write(&self.state.control.slice(0, 1), &[1u32])?;
            for &token in accepted {
                self.device().write(&self.one.ids.view(), &[token])?;
                self.device().run(&self.one.recording, 1)?;
            }
            *stale = None;
        }
        Ok(())
    }
}
