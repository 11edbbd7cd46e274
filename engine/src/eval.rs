//! Held-out loss: how surprised the model is by text it has not seen.

use crate::config::Config;
use crate::error::Error;
use crate::graph::{self, Logits, Shape, StateBuffers};
use crate::weights::Weights;
use lichen_host::{Buffer, Device, Recording, Role};
use lichen_shaders::cross_entropy;
use lichen_shaders::kernel::Kind;

/// Tokens that run at once; the state carries over.
const CHUNK: usize = 256;

/// Loss over a stretch of text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Mean surprise of a token, in nats.
    pub nats_per_token: f64,
    /// Surprise of all tokens over the bytes they stand for.
    pub nats_per_byte: f64,
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Bytes they stand for.
    pub bytes: usize,
}

impl Loss {
    /// From the losses of tokens and the text they stand for.
    pub fn of(losses: &[f32], text: &[u8]) -> Self {
        let sum: f64 = losses.iter().map(|&l| f64::from(l)).sum();
        Self {
            nats_per_token: sum / losses.len().max(1) as f64,
            nats_per_byte: sum / text.len().max(1) as f64,
            tokens: losses.len(),
            bytes: text.len(),
        }
    }
}

/// Loss of each token after the first, in nats, reading the stream once from an empty state.
pub async fn token_losses(
    config: &Config,
    weights: &Weights,
    device: &Device,
    tokens: &[u32],
) -> Result<Vec<f32>, Error> {
    if let Some(&id) = tokens.iter().find(|&&id| id as usize >= config.vocab) {
        return Err(Error::Token { id, vocab: config.vocab });
    }
    let state = StateBuffers::declare(config, 1);
    state.reset(device)?;
    let mut losses = Vec::with_capacity(tokens.len());
    let mut whole: Option<Scorer> = None;
    let mut at = 0;
    while at + 1 < tokens.len() {
        let n = CHUNK.min(tokens.len() - 1 - at);
        let scorer = match whole.take() {
            Some(scorer) if n == CHUNK => scorer,
            _ => Scorer::new(config, weights, &state, device, n)?,
        };
        device.write(&scorer.ids.view(), &tokens[at..at + n])?;
        device.write(&scorer.targets.view(), &tokens[at + 1..at + 1 + n])?;
        device.run(&scorer.recording, 1)?;
        losses.extend(device.read::<f32>(&scorer.losses.view()).await?);
        whole = Some(scorer);
        at += n;
    }
    Ok(losses)
}

struct Scorer {
    recording: Recording,
    ids: Buffer,
    targets: Buffer,
    losses: Buffer,
}

impl Scorer {
    fn new(
        config: &Config,
        weights: &Weights,
        state: &StateBuffers,
        device: &Device,
        steps: usize,
    ) -> Result<Self, Error> {
        let shape = Shape::new(1, steps, Logits::All).reused();
        let mut graph = graph::build(config, weights, state, device, &shape, None)?;
        let targets = Buffer::new("targets", Kind::Index, Role::Scratch, steps);
        let even = Buffer::new("row weights", Kind::Real, Role::Weight, steps);
        let losses = Buffer::new("losses", Kind::Real, Role::Scratch, steps);
        device.write(&even.view(), &vec![1f32; steps])?;
        let call = cross_entropy::call(cross_entropy::Params { rows: steps as u32, classes: config.vocab as u32 });
        graph.recording.push(call, &[graph.logits.view(), targets.view(), even.view(), losses.view()])?;
        Ok(Self { recording: graph.recording, ids: graph.ids, targets, losses })
    }
}
